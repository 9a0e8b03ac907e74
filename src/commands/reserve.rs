//! RL.RESERVE: takes units and places until they are settled, on one key or on
//! a whole hierarchy at once.

use super::arguments::{cost, length};
use crate::commands::arguments::ArgCursor;
use crate::core::reservations::MAX_ID;
use crate::core::retry_after::RetryAfter;
use crate::core::text::token::shown;
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::apply;
use crate::limiter::apply::{EffectBatch, commit};
use crate::limiter::reply::{Index, RateLimitReply};
use crate::limiter::reserve::{ReserveDecision, Terms, decide, is_open, released, send};
use crate::limiter::track;
use crate::observe::{metrics, top};
use crate::queue;
use crate::queue::{QueueAdmission, QueuedRequest};
use crate::server::context::Context;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::random;
use crate::server::keys::key::{Key, ReadKey};
use crate::settings;
use crate::types::effect::ratelimit::RateLimitChange;
use crate::types::ratelimit::RateLimit;
use crate::types::ratelimit::reservations::Settlement;

#[derive(Clone, Copy, Debug)]
struct ReserveItem<'a> {
    key: Arg<'a>,
    limits: &'a [u8],
}

#[derive(Debug)]
struct ReserveCall<'a> {
    items: Vec<ReserveItem<'a>>,
    cost: u64,
    ttl_us: u64,
    id: Option<&'a [u8]>,
    partial: bool,
    critical: bool,
    wait_us: u64,
}

const KEYWORDS: [&str; 6] = ["COST", "TTL", "ID", "PARTIAL", "WAIT", "CRITICAL"];

/// An id that a caller chose.
///
/// # Errors
/// It is empty or too long.
pub fn id_of(arg: Arg<'_>) -> Result<&[u8], Error> {
    match arg.bytes() {
        id if (1..=MAX_ID).contains(&id.len()) => Ok(id),
        _ => Err(Error::Range { name: "ID", expected: format!("1 to {MAX_ID} bytes") }),
    }
}

fn parse<'a>(ctx: &Context<'_>, args: Args<'a>) -> Result<ReserveCall<'a>, Error> {
    let mut walk = ArgCursor::new(args);
    let count = walk.count("numkeys", settings::batch_max(ctx.main()), 2)?;
    let mut items = Vec::with_capacity(count);
    for at in 0..count {
        let (key, limits) = (walk.required()?, walk.required()?);
        if KEYWORDS.iter().any(|keyword| limits.is(keyword)) {
            let way = format!(
                "limits are missing: write * after '{}' to use the limits that the server has for it",
                shown(key.bytes())
            );
            return Err(Error::near(limits.bytes(), way).of_item("key", at));
        }
        items.push(ReserveItem { key, limits: limits.bytes() });
    }
    let mut names: Vec<_> = items.iter().map(|item| item.key.bytes()).collect();
    names.sort_unstable();
    names.dedup();
    if names.len() < items.len() {
        return Err(Error::Other("a reservation cannot name a key twice".to_owned()));
    }
    let mut call =
        ReserveCall { items, cost: 1, ttl_us: 0, id: None, partial: false, critical: false, wait_us: 0 };
    let mut waits = false;
    while let Some(option) = walk.option(&KEYWORDS)? {
        match option {
            "COST" => call.cost = cost(walk.value_of(option)?)?,
            "TTL" => call.ttl_us = length(walk.value_of(option)?)?,
            "ID" => call.id = Some(id_of(walk.value_of(option)?)?),
            "WAIT" => {
                call.wait_us = queue::wait_option(ctx.main(), walk.value_of(option)?)?;
                if call.items.len() > 1 {
                    return Err(Error::Other("WAIT works with one key only".to_owned()));
                }
                waits = true;
            }
            "PARTIAL" => call.partial = true,
            _ => call.critical = true,
        }
    }
    if waits && call.partial {
        return Err(Error::Usage("syntax error: PARTIAL and WAIT exclude each other".to_owned()));
    }
    if call.ttl_us == 0 {
        return Err(Error::Usage("syntax error: a reservation needs TTL, such as TTL 30s".to_owned()));
    }
    Ok(call)
}

/// `RL.RESERVE numkeys key limits [key limits …] [COST n] TTL d [ID id]
/// [PARTIAL | WAIT d] [CRITICAL]`
///
/// # Errors
/// Malformed arguments or a key of another type; then nothing is taken.
pub fn reserve(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let call = parse(ctx, args)?;
    let now = ctx.now();
    let fresh: [u8; 32];
    let id = if let Some(id) = call.id {
        id
    } else {
        fresh = random::hex();
        &fresh
    };
    let ReserveCall { cost, partial, ttl_us, critical, .. } = call;
    let terms = Terms { cost, partial, ttl_us, id, critical };
    if call.items.len() > 1 {
        ctx.settle_keys(call.items.iter().map(|item| item.key));
    }
    let torn = call.is_torn(ctx, id, now)?;
    let mut all = Vec::with_capacity(call.items.len());
    for (at, item) in call.items.iter().enumerate() {
        let mut key = ctx.write(item.key);
        let mut one = call.decide(ctx, &key, at, &terms, torn, now)?;
        let ask = || QueuedRequest::reserve(&terms, item.limits);
        let wants = one.takes() || one.reply.granted == 0;
        if wants && queue::has_queue(ctx, item.key) {
            match queue::admit(ctx, &key, &ask(), call.wait_us, now)? {
                QueueAdmission::NoQueue => {}
                QueueAdmission::Enqueued => return Ok(()),
                QueueAdmission::Denied(decision) => one = one.denied(decision.reply()),
            }
        }
        let retry = one.reply.status.retry;
        if call.wait_us > 0
            && one.reply.granted == 0
            && one.reply.index != Index::Line
            && retry != RetryAfter::Never
        {
            // A clock that stepped back is recorded before it waits by it.
            one.change(ctx.main(), &terms, now, |change| {
                commit(ctx, &mut key, &apply::effect(ctx, now, change), c"rl.reserve").map(drop)
            })?;
            if queue::join(ctx, &key, &ask(), call.wait_us, retry, now) {
                return Ok(());
            }
        }
        one.close();
        all.push(one);
    }
    call.even_out(ctx, &mut all, &terms, torn, now)?;
    let longest = all.iter().filter(|one| one.reply.granted == 0).map(|one| one.reply.status.retry).max();
    if let Some(longest) = longest {
        metrics::count(ctx.main(), |m| &mut m.reservations_denied);
        for (item, one) in call.items.iter().zip(&mut all) {
            if one.reply.granted == 0 {
                top::decided(ctx.main(), item.key.bytes(), false, now);
            } else {
                one.deny_with_others(longest);
            }
        }
    }
    let mut together = EffectBatch::new(ctx);
    for (item, one) in call.items.iter().zip(&all) {
        if torn {
            release(ctx, item.key, id, now, &mut together)?;
        }
        settle(ctx, &mut ctx.write(item.key), one, &terms, now, &mut together)?;
    }
    together.propagate(ctx);
    let replies: Vec<RateLimitReply> = all.iter().map(|one| one.reply).collect();
    send(ctx, longest.is_none().then_some(id), &replies);
    Ok(())
}

impl ReserveCall<'_> {
    /// Says which key an error is about, where there are several.
    fn of_key(&self, error: Error, at: usize) -> Error {
        if self.items.len() > 1 { error.of_item("key", at) } else { error }
    }

    /// Decides it on one of the keys, as if what it still holds of a torn one were given
    /// back.
    fn decide(
        &self,
        ctx: &Context<'_>,
        key: &ReadKey<'_>,
        at: usize,
        terms: &Terms<'_>,
        torn: bool,
        now: Micros,
    ) -> Result<ReserveDecision, Error> {
        let of_key = |error: Error| self.of_key(error, at);
        let limits = self.items.get(at).map_or(&[][..], |item| item.limits);
        let held = key.value::<RateLimit>().map_err(|wrong| of_key(wrong.into()))?;
        let name = key.name().bytes();
        let decide_on =
            |value: Option<&RateLimit>| decide(ctx, name, value, limits, terms, now).map_err(of_key);
        match held.as_deref().filter(|value| torn && is_open(Some(value), terms.id, now)) {
            Some(value) => decide_on(released(ctx.main(), value, terms.id, now).as_ref()),
            None => decide_on(held.as_deref()),
        }
    }

    /// With PARTIAL every key gives as much as the one that can give least. A key that
    /// could give more is decided anew for so much.
    fn even_out(
        &self,
        ctx: &Context<'_>,
        all: &mut [ReserveDecision],
        terms: &Terms<'_>,
        torn: bool,
        now: Micros,
    ) -> Result<(), Error> {
        let least = all.iter().map(|one| one.reply.granted).min().unwrap_or(0);
        if !terms.partial || least == 0 {
            return Ok(());
        }
        let terms = Terms { cost: least, ..*terms };
        for (at, (item, one)) in self.items.iter().zip(all).enumerate() {
            // What stands already is told as it was granted.
            if one.takes() && one.reply.granted > least {
                *one = self.decide(ctx, &ctx.write(item.key), at, &terms, torn, now)?;
            }
        }
        Ok(())
    }

    /// True when the reservation is open on some of the keys and lost on others: it is
    /// none any more. What is open of it goes back, and the request is decided anew.
    fn is_torn(&self, ctx: &Context<'_>, id: &[u8], now: Micros) -> Result<bool, Error> {
        if self.id.is_none() || self.items.len() < 2 {
            return Ok(false);
        }
        let mut open = 0;
        for (at, item) in self.items.iter().enumerate() {
            let key = ctx.write(item.key);
            let held = key.value::<RateLimit>().map_err(|wrong| self.of_key(wrong.into(), at))?;
            open += usize::from(is_open(held.as_deref(), id, now));
        }
        Ok(open > 0 && open < self.items.len())
    }
}

/// Gives back what one key still holds of a reservation that another has lost.
fn release<'a>(
    ctx: &'a Context<'_>,
    name: Arg<'a>,
    id: &[u8],
    now: Micros,
    together: &mut EffectBatch<'a>,
) -> Result<(), Error> {
    let mut key = ctx.write(name);
    if is_open(key.value::<RateLimit>()?.as_deref(), id, now) {
        let change = RateLimitChange::Settle { id, how: Settlement::Release };
        together.apply(ctx, &mut key, &apply::effect(ctx, now, change), c"rl.release")?;
        metrics::count(ctx.main(), |m| &mut m.reservations_released);
    }
    Ok(())
}

/// Takes what was decided on one key, and counts it.
///
/// # Errors
/// The effect does not fit.
pub fn settle<'a>(
    ctx: &Context<'_>,
    key: &mut Key<'a>,
    one: &ReserveDecision,
    terms: &Terms<'_>,
    now: Micros,
    together: &mut EffectBatch<'a>,
) -> Result<(), Error> {
    one.count(ctx.main());
    let granted = if one.takes() { one.reply.granted } else { 0 };
    if granted > 0 {
        top::decided(ctx.main(), key.name().bytes(), true, now);
    } else if one.reply.granted > 0 {
        // The same reservation stands already: a retry is no new request.
        return Ok(());
    }
    let counts = track::counts(ctx.main(), key.value::<RateLimit>()?.as_deref(), false);
    one.change(ctx.main(), terms, now, |change| {
        together.apply(ctx, key, &apply::effect(ctx, now, change), c"rl.reserve")
    })?;
    if counts {
        let counted = track::decided(terms.cost, granted);
        together.apply(ctx, key, &apply::effect(ctx, now, counted), c"rl.reserve")?;
    }
    Ok(())
}
