//! RL.RESERVE: takes units and places until they are settled, on one key or on several keys at
//! once.

use crate::commands::arguments::{COST, CRITICAL, ID, KEY, LIMITS, NUMKEYS, SHORTAGE, TTL, cost, length};
use crate::commands::cursor::ArgCursor;
use crate::commands::hints;
use crate::commands::options::Options;
use crate::core::limits::Request;
use crate::core::reservations::MAX_ID;
use crate::core::retry_after::RetryAfter;
use crate::core::text::token::shown;
use crate::core::time::Micros;
use crate::core::wait_queue::WaiterClass;
use crate::limiter::Error;
use crate::limiter::apply::{self, EffectBatch, commit_with};
use crate::limiter::ends::{all_at_once, tell_whole, tried_out};
use crate::limiter::reply::RateLimitReply;
use crate::limiter::reserve::{ReserveDecision, Terms, decide, is_open, released, send};
use crate::limiter::resolve::KeyView;
use crate::limiter::track::{self, Recording};
use crate::observe::top::RequestOutcome;
use crate::observe::{metrics, top};
use crate::queue::{self, LaterKey, QueueAdmission, QueuedDecision, QueuedRequest};
use crate::server::context::Context;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::random;
use crate::server::keys::key::{Key, ReadKey};
use crate::server::load::argument::Argument;
use crate::settings;
use crate::types::effect::ratelimit::{RateLimitChange, Settle};
use crate::types::ratelimit::RateLimit;
use crate::types::ratelimit::reservations::Settlement;

#[derive(Clone, Copy, Debug)]
struct ReserveItem<'a> {
    key: Arg<'a>,
    limits: &'a [u8],
}

#[derive(Debug)]
struct ReserveCall<'a> {
    ctx: &'a Context<'a>,
    now: Micros,
    items: Vec<ReserveItem<'a>>,
    /// The ID is empty until the call has one.
    terms: Terms<'a>,
    wait_us: u64,
    /// True if the reservation is open on some of the keys and lost on others, so that it no longer
    /// counts. Its open parts are given back, and the request is decided again.
    torn: bool,
}

/// `numkeys key limits [key limits …] [COST n] TTL d [ID id] [PARTIAL | WAIT d] [CRITICAL]`
pub const ARGUMENTS: &[Argument] = &[
    NUMKEYS,
    Argument::group("item", &[KEY, LIMITS]).multiple(),
    COST,
    TTL,
    ID.after("ID").optional(),
    SHORTAGE,
    CRITICAL,
];
const OPTIONS: Options = Options::of(ARGUMENTS);

/// Checks an ID that a caller chose.
///
/// # Errors
/// The ID is empty or too long.
pub fn id_of(arg: Arg<'_>) -> Result<&[u8], Error> {
    match arg.bytes() {
        id if (1..=MAX_ID).contains(&id.len()) => Ok(id),
        _ => Err(Error::Range { name: "ID", expected: format!("1 to {MAX_ID} bytes") }),
    }
}

fn parse<'a>(ctx: &'a Context<'a>, args: Args<'a>) -> Result<ReserveCall<'a>, Error> {
    let mut cursor = ArgCursor::new(args);
    let count = cursor.count("numkeys", settings::batch_max(ctx.main()), 2)?;
    let mut items = Vec::with_capacity(count);
    for at in 0..count {
        let (key, limits) = (cursor.required()?, cursor.required()?);
        if OPTIONS.is_keyword(limits) {
            let hint = format!(
                "limits are missing: write * after '{}' to use the limits that the server has for it",
                shown(key.bytes())
            );
            return Err(Error::near(limits.bytes(), hint).of_item("key", at));
        }
        items.push(ReserveItem { key, limits: limits.bytes() });
    }
    let mut names: Vec<_> = items.iter().map(|item| item.key.bytes()).collect();
    names.sort_unstable();
    names.dedup();
    if names.len() < items.len() {
        return Err(Error::Other("a reservation cannot name a key twice".to_owned()));
    }
    let terms = Terms { request: Request::of(1), ttl_us: 0, id: &[] };
    let mut call = ReserveCall { ctx, now: ctx.now(), items, terms, wait_us: 0, torn: false };
    while let Some((option, value)) = cursor.option(&OPTIONS)? {
        match option {
            "COST" => call.terms.request.cost = cost(value)?,
            "TTL" => call.terms.ttl_us = length(value)?,
            "ID" => call.terms.id = id_of(value)?,
            "WAIT" => {
                call.wait_us = queue::wait_option(ctx.main(), value)?;
                if call.items.len() > 1 {
                    return Err(Error::Other("WAIT works with one key only".to_owned()));
                }
            }
            "PARTIAL" => call.terms.request.partial = true,
            "CRITICAL" => call.terms.request.critical = true,
            _ => return Err(hints::not_taken(option)),
        }
    }
    if call.terms.ttl_us == 0 {
        let counted = OPTIONS.counted_as_key(call.items.iter().map(|item| item.key));
        return Err(counted.unwrap_or_else(|| {
            Error::Usage("syntax error: a reservation needs TTL, such as TTL 30s".to_owned())
        }));
    }
    Ok(call)
}

/// `RL.RESERVE numkeys key limits [key limits …] [COST n] TTL d [ID id] [PARTIAL | WAIT d]
/// [CRITICAL]` reserves units on all of the keys, or on none. It replies `[id|nil, [six integers
/// per key]]`.
///
/// # Errors
/// Malformed arguments, or a key of another type. Nothing is taken then.
pub fn reserve(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let fresh: [u8; 32];
    let mut call = parse(ctx, args)?;
    let is_named = !call.terms.id.is_empty();
    if !is_named {
        fresh = random::hex();
        call.terms.id = &fresh;
    }
    if call.items.len() > 1 {
        ctx.settle_keys(call.items.iter().map(|item| item.key));
        call.torn = is_named && call.is_torn()?;
    }
    let Some(mut all) = call.decide_all()? else { return Ok(()) };
    call.even_out(&mut all)?;
    let longest = all.iter().filter(|one| one.reply.granted == 0).map(|one| one.reply.status.retry).max();
    if let Some(longest) = longest {
        let longest = call.longest_wait(longest)?;
        call.deny_all(&mut all, longest);
    }
    EffectBatch::run(ctx, |effects| {
        for (item, one) in call.items.iter().zip(&all) {
            if call.torn {
                call.release(item.key, effects)?;
            }
            apply_decision(ctx, &mut ctx.write(item.key), one, &call.terms, call.now, effects)?;
        }
        Ok::<(), Error>(())
    })?;
    let replies: Vec<RateLimitReply> = all.iter().map(|one| one.reply).collect();
    send(ctx, longest.is_none().then_some(call.terms.id), &replies);
    Ok(())
}

impl<'a> ReserveCall<'a> {
    /// Adds the key that an error is about, if the call has several.
    fn of_key(&self, error: Error, at: usize) -> Error {
        if self.items.len() > 1 { error.of_item("key", at) } else { error }
    }

    /// Decides the reservation on each of the keys; `None` if the call waits.
    fn decide_all(&self) -> Result<Option<Vec<ReserveDecision>>, Error> {
        let Self { ctx, now, terms, wait_us, .. } = self;
        let mut all = Vec::with_capacity(self.items.len());
        for (at, item) in self.items.iter().enumerate() {
            let mut key = ctx.write(item.key);
            let mut one = self.decide(&key, at, terms)?;
            let ask = QueuedRequest::reserve(terms, item.limits);
            let wants = one.takes() || one.reply.granted == 0;
            let mut may_wait = *wait_us > 0;
            if wants && queue::has_queue(ctx, item.key) {
                match queue::admit(ctx, &key, &ask, *wait_us, *now)? {
                    QueueAdmission::Enqueued => return Ok(None),
                    QueueAdmission::Denied(decision) => {
                        if let QueuedDecision::Reserve(denial) = *decision {
                            one = denial;
                        }
                        may_wait = false;
                    }
                    QueueAdmission::NoQueue => {}
                }
            }
            let RateLimitReply { granted, status, .. } = one.reply;
            if may_wait && granted == 0 && status.retry != RetryAfter::Never {
                // A clock that stepped back is recorded first, because the wait goes by it.
                let recording = Recording { ctx, now: *now, event: c"rl.reserve" };
                recording.alone(&mut key, None, |make| one.change(ctx.main(), terms, *now, make))?;
                if queue::join(ctx, &key, &ask, *wait_us, status.retry, *now) {
                    return Ok(None);
                }
            }
            one.close();
            all.push(one);
        }
        Ok(Some(all))
    }

    /// The time until all keys would grant the reservation at once. `longest` is the longest wait on
    /// one of them.
    fn longest_wait(&self, longest: RetryAfter) -> Result<RetryAfter, Error> {
        if self.items.len() == 1 {
            return Ok(longest);
        }
        let Self { ctx, now, ref terms, torn, .. } = *self;
        let copies = self.items.iter().map(|item| self.copy(item.key)).collect::<Result<Vec<_>, _>>()?;
        // The copies of a torn reservation's keys have back what they still hold of it.
        let later_key = if torn { LaterKey::changed } else { LaterKey::of };
        let class = WaiterClass::of(terms.request.critical);
        let later = self.items.iter().zip(&copies).map(|(item, copy)| {
            later_key(ctx, item.key, KeyView::of(ctx, item.key, copy.as_ref(), now), class)
        });
        let later: Vec<_> = later.collect();
        let ends = self.items.iter().map(|item| queue::ends(ctx, item.key)).sum();
        Ok(all_at_once(longest, ends, now, |then| {
            let mut longest = RetryAfter::Now;
            for (item, key) in self.items.iter().zip(&later) {
                let retry = |then: KeyView<'_>| Ok(decide(then, item.limits, terms)?.reply.status.retry);
                longest = longest.max(key.retry(then, retry)?);
            }
            Ok(longest)
        }))
    }

    /// Denies the reservation on all keys, because one of them denies it.
    fn deny_all(&self, all: &mut [ReserveDecision], longest: RetryAfter) {
        let main = self.ctx.main();
        metrics::add(main, |m| &mut m.reservations_denied, self.items.len() as u64);
        for (item, one) in self.items.iter().zip(&mut *all) {
            if one.reply.granted == 0 {
                top::decided(main, item.key.bytes(), RequestOutcome::Denied, self.now);
            } else {
                one.deny_with_others(longest);
            }
        }
        tell_whole(all.iter_mut().map(|one| &mut one.reply.status.retry), longest);
    }

    /// Decides the reservation on one of the keys. Units that the key still holds of a torn
    /// reservation count as given back.
    fn decide(&self, key: &ReadKey<'_>, at: usize, terms: &Terms<'_>) -> Result<ReserveDecision, Error> {
        let (ctx, now) = (self.ctx, self.now);
        let of_key = |error: Error| self.of_key(error, at);
        let limits = self.items.get(at).map_or(&[][..], |item| item.limits);
        let held = key.value::<RateLimit>().map_err(|wrong| of_key(wrong.into()))?;
        let found = KeyView::of(ctx, key.name(), held.as_deref(), now);
        let decide_on = |value| decide(found.at(value, now), limits, terms).map_err(of_key);
        match held.as_deref().filter(|value| self.torn && is_open(Some(value), terms.id, now)) {
            Some(value) => decide_on(released(ctx.main(), value, terms.id, now).as_ref()),
            None => decide_on(held.as_deref()),
        }
    }

    /// Evens out a call with PARTIAL: every key gives as much as the one that can give least. A key
    /// that could give more is decided again for that many units.
    fn even_out(&self, all: &mut [ReserveDecision]) -> Result<(), Error> {
        let least = all.iter().map(|one| one.reply.granted).min().unwrap_or(0);
        if !self.terms.request.partial || least == 0 {
            return Ok(());
        }
        let terms = Terms { request: Request { cost: least, ..self.terms.request }, ..self.terms };
        for (at, (item, one)) in self.items.iter().zip(all).enumerate() {
            // A reservation that already exists is reported as it was granted.
            if one.takes() && one.reply.granted > least {
                *one = self.decide(&self.ctx.write(item.key), at, &terms)?;
            }
        }
        Ok(())
    }

    /// True if the reservation is torn. Only one that the caller named can be.
    fn is_torn(&self) -> Result<bool, Error> {
        let mut open = 0;
        for (at, item) in self.items.iter().enumerate() {
            let key = self.ctx.write(item.key);
            let held = key.value::<RateLimit>().map_err(|wrong| self.of_key(wrong.into(), at))?;
            open += usize::from(is_open(held.as_deref(), self.terms.id, self.now));
        }
        Ok(open > 0 && open < self.items.len())
    }

    /// A copy of a key as a denied call leaves it: a clock that stepped back is recorded on it, and
    /// what it still holds of a torn reservation is given back.
    fn copy(&self, name: Arg<'_>) -> Result<Option<RateLimit>, Error> {
        let (ctx, now, id) = (self.ctx, self.now, self.terms.id);
        let key = ctx.write(name);
        let held = key.value::<RateLimit>()?;
        Ok(match tried_out(KeyView::of(ctx, name, held.as_deref(), now))? {
            Some(value) if self.torn && is_open(Some(&value), id, now) => {
                released(ctx.main(), &value, id, now)
            }
            copy => copy,
        })
    }

    /// Gives back what one key still holds of a reservation that another key has lost.
    fn release(&self, name: Arg<'a>, effects: &mut EffectBatch<'a>) -> Result<(), Error> {
        let (ctx, now, id) = (self.ctx, self.now, self.terms.id);
        let mut key = ctx.write(name);
        if is_open(key.value::<RateLimit>()?.as_deref(), id, now) {
            let change = RateLimitChange::Settle(Settle { id, how: Settlement::Release });
            commit_with(ctx, effects, &mut key, &apply::effect(ctx, now, change), c"rl.release")?;
            metrics::count(ctx.main(), |m| &mut m.reservations_released);
        }
        Ok(())
    }
}

/// Applies the decision on one key, and counts it.
///
/// # Errors
/// The effect does not fit.
pub fn apply_decision<'a>(
    ctx: &Context<'_>,
    key: &mut Key<'a>,
    one: &ReserveDecision,
    terms: &Terms<'_>,
    now: Micros,
    effects: &mut EffectBatch<'a>,
) -> Result<(), Error> {
    one.count(ctx.main());
    let granted = if one.takes() { one.reply.granted } else { 0 };
    if granted > 0 {
        top::decided(ctx.main(), key.name().bytes(), RequestOutcome::Granted, now);
        queue::note_reserved(ctx, key.name(), terms.id);
    } else if one.reply.granted > 0 {
        // The same reservation already exists, and a retry is no new request.
        return Ok(());
    }
    let value = key.value::<RateLimit>()?;
    let counted = track::counted(ctx.main(), value.as_deref(), false, terms.request.cost, granted);
    let recording = Recording { ctx, now, event: c"rl.reserve" };
    recording.beside(effects, key, counted, |make| one.change(ctx.main(), terms, now, make))
}
