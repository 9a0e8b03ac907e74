//! RL.BATCH: many requests in one atomic step.

use crate::commands::arguments::{ArgCursor, CRITICAL, KEY, LIMITS, chosen, cost, flags};
use crate::commands::options::Options;
use crate::core::limits::{self, Limit, LimitStatus, MAX_LIMITS, MAX_UNLISTED, Request, State, limit_quota};
use crate::core::retry_after::RetryAfter;
use crate::core::text::token::shown;
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::acquire::AcquireDecision;
use crate::limiter::apply::EffectBatch;
use crate::limiter::ends::PinEnd;
use crate::limiter::reply::{Index, RateLimitReply};
use crate::limiter::resolve::{KeyView, Source};
use crate::limiter::track::{self, Recording};
use crate::observe::{alerts, metrics, top};
use crate::queue::decide;
use crate::server::context::Context;
use crate::server::fast::prefetch::prefetch;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::reply::{Each, Reply};
use crate::server::keys::key::Key;
use crate::server::load::argument::Argument;
use crate::server::main_thread::MainThread;
use crate::settings;
use crate::types::effect::ratelimit::{AppliedRateLimit, RateLimitEffect};
use crate::types::ratelimit::RateLimit;
use rustc_hash::{FxBuildHasher, FxHashSet};
use std::collections::{HashMap, HashSet};
use std::slice;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// All items are granted, or nothing is taken.
    All,
    /// Each item is decided on its own.
    Each,
}

#[derive(Clone, Copy, Debug)]
struct BatchItem<'a> {
    key: Arg<'a>,
    limits: &'a [u8],
    cost: u64,
}

#[derive(Debug)]
struct Batch<'a> {
    mode: Mode,
    items: Vec<BatchItem<'a>>,
    critical: bool,
}

const MODES: [(&str, Mode); 2] = [("ALL", Mode::All), ("EACH", Mode::Each)];
/// `ALL|EACH numitems key limits cost [key limits cost …] [CRITICAL]`
pub const ARGUMENTS: &[Argument] = &[
    Argument::one_of("mode", const { &flags(&MODES) }),
    Argument::integer("numitems"),
    Argument::group("item", &[KEY, LIMITS, Argument::integer("cost")]).multiple(),
    CRITICAL,
];

fn parse<'a>(ctx: &Context<'_>, args: Args<'a>) -> Result<Batch<'a>, Error> {
    let mut cursor = ArgCursor::new(args);
    let mode = cursor.required()?;
    let first = || format!("syntax error near '{}', write ALL or EACH first", shown(mode.bytes()));
    let mode = chosen(mode, &MODES).ok_or_else(|| Error::Usage(first()))?;
    let count = cursor.count("numitems", settings::batch_max(ctx.main()), 3)?;
    let mut items = Vec::with_capacity(count);
    for at in 0..count {
        let (key, limits, units) = (cursor.required()?, cursor.required()?, cursor.required()?);
        let cost = cost(units).map_err(|error| error.of_item("item", at))?;
        items.push(BatchItem { key, limits: limits.bytes(), cost });
    }
    let mut critical = false;
    while cursor.option(const { &Options::of(ARGUMENTS) })?.is_some() {
        critical = true;
    }
    Ok(Batch { mode, items, critical })
}

/// The number of keys that are opened before they are decided. The memory that the processor
/// fetches for them arrives in the meantime, and is still in its caches when it is needed.
const AHEAD: usize = 8;

/// `RL.BATCH ALL|EACH numitems key limits cost [key limits cost …] [CRITICAL]` takes the units of
/// all items (ALL), or of each item that is granted by itself (EACH). It replies six integers for
/// each item.
///
/// # Errors
/// An item is malformed, or its key holds another type. Nothing is taken then.
pub fn batch(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let batch = parse(ctx, args)?;
    let now = ctx.now();
    ctx.settle_keys(batch.items.iter().map(|item| item.key));
    let mut opened = batch.open(ctx, now)?;
    let denied = || opened.decision.iter().any(|one| one.reply.granted == 0);
    let decision = if !opened.shared && (batch.mode == Mode::Each || !denied()) {
        opened.decision.iter_mut().for_each(AcquireDecision::close);
        batch.take_apart(ctx, opened, now)?
    } else {
        let closes = opened.decision.iter().any(AcquireDecision::would_close);
        drop(opened);
        let denials = if batch.mode == Mode::All { batch.blame(ctx, closes, now)? } else { None };
        if let Some(denials) = denials {
            denials
        } else {
            batch.refuse_too_many_limits(ctx, now)?;
            batch.in_turn(ctx, now)?
        }
    };
    batch.answer(ctx, now, &decision);
    Ok(())
}

/// All keys of a batch, and a decision on each item as if it came alone.
#[derive(Debug)]
struct BatchKeys<'a> {
    keys: Vec<Key<'a>>,
    decision: Vec<AcquireDecision>,
    /// True if some key comes more than once.
    shared: bool,
}

impl<'a> Batch<'a> {
    fn request(&self, item: &BatchItem<'_>) -> Request {
        Request { cost: item.cost, calls: 1, partial: false, critical: self.critical }
    }

    /// Decides an item as if it came alone.
    fn decide(
        &self,
        ctx: &Context<'_>,
        item: &BatchItem<'_>,
        value: Option<&RateLimit>,
        now: Micros,
    ) -> Result<AcquireDecision, Error> {
        decide(ctx, item.key, value, Some(item.limits), &self.request(item), now)
    }

    /// Decides all items, so that every error is found before anything is taken.
    fn open(&self, ctx: &'a Context<'a>, now: Micros) -> Result<BatchKeys<'a>, Error> {
        let count = self.items.len();
        let mut opened =
            BatchKeys { keys: Vec::with_capacity(count), decision: Vec::with_capacity(count), shared: false };
        // A value has one address, however often its key is open. Only keys that do not exist must
        // be compared by their names.
        let mut values = FxHashSet::with_capacity_and_hasher(count, FxBuildHasher);
        let mut missing = HashSet::new();
        for items in self.items.chunks(AHEAD) {
            let before = opened.keys.len();
            opened.keys.extend(items.iter().map(|item| ctx.write(item.key)));
            for (key, item) in opened.keys.iter_mut().skip(before).zip(items) {
                let at = opened.decision.len();
                let held =
                    key.value::<RateLimit>().map_err(|wrong| Error::from(wrong).of_item("item", at))?;
                if let Some(far) = held.as_deref().and_then(RateLimit::prefetch_hint) {
                    prefetch(far);
                }
                // Matched, because `map_err` would copy 200 bytes.
                match self.decide(ctx, item, held.as_deref(), now) {
                    Ok(one) => opened.decision.push(one),
                    Err(error) => return Err(error.of_item("item", at)),
                }
                opened.shared |= match held {
                    Some(held) => !values.insert(held.address()),
                    None => !missing.insert(item.key.bytes()),
                };
            }
        }
        Ok(opened)
    }

    /// Takes the units of items that cannot affect each other, and closes their keys.
    fn take_apart(
        &self,
        ctx: &'a Context<'a>,
        opened: BatchKeys<'a>,
        now: Micros,
    ) -> Result<Vec<AcquireDecision>, Error> {
        let BatchKeys { keys, decision, .. } = opened;
        let mut effects = EffectBatch::new(ctx);
        for ((mut key, one), item) in keys.into_iter().zip(&decision).zip(&self.items) {
            apply_decision(ctx, &mut key, item, one, now, &mut effects)?;
        }
        effects.propagate(ctx);
        Ok(decision)
    }

    /// Replies to each item, counts, and reports to observers. This happens after all units are
    /// taken: servers before redis/redis#9422 (2021) notify a client that tracks the keys of each
    /// change at once, even in the middle of a reply.
    fn answer(&self, ctx: &Context<'_>, now: Micros, decision: &[AcquireDecision]) {
        let main = ctx.main();
        let mut denied: Vec<&[u8]> = Vec::new();
        for (item, one) in self.items.iter().zip(decision) {
            let granted = one.reply.granted > 0;
            one.count(main);
            // An item that only other items deny is not to blame.
            if one.reply.index != Index::Batch {
                top::decided(main, item.key.bytes(), granted, now);
            }
            if !granted {
                denied.push(item.key.bytes());
            }
        }
        Each(decision, |ctx: &Context<'_>, one: &AcquireDecision| one.reply.send(ctx)).send(ctx);
        let all = decision.len() as u64;
        metrics::count(main, |m| &mut m.batch_calls);
        metrics::add(main, |m| &mut m.batch_granted, all - denied.len() as u64);
        metrics::add(main, |m| &mut m.batch_denied, denied.len() as u64);
        alerts::batch(main, now, all, denied.into_iter());
    }

    /// Decides the items one after the other, each on what the items before it left. Propagates
    /// them as one effect.
    fn in_turn(&self, ctx: &Context<'_>, now: Micros) -> Result<Vec<AcquireDecision>, Error> {
        let mut effects = EffectBatch::new(ctx);
        let mut decision = Vec::with_capacity(self.items.len());
        for item in &self.items {
            let mut key = ctx.write(item.key);
            let mut one = self.decide(ctx, item, key.value::<RateLimit>()?.as_deref(), now)?;
            one.close();
            apply_decision(ctx, &mut key, item, &one, now, &mut effects)?;
            decision.push(one);
        }
        effects.propagate(ctx);
        Ok(decision)
    }

    /// Refuses a batch, before anything is taken, if its items would leave aside more limits on one
    /// key than a key remembers.
    fn refuse_too_many_limits(&self, ctx: &Context<'_>, now: Micros) -> Result<(), Error> {
        let mut texts: HashMap<&[u8], HashSet<&[u8]>> = HashMap::new();
        for item in &self.items {
            texts.entry(item.key.bytes()).or_default().insert(item.limits);
        }
        let mut played: HashMap<&[u8], Option<RateLimit>> = HashMap::new();
        for (name, texts) in texts {
            let item = self.items.iter().find(|item| item.key.bytes() == name);
            let Some(item) = item.filter(|_| texts.len() > 1) else { continue };
            let key = ctx.write(item.key);
            let held = key.value::<RateLimit>()?;
            let unlisted = held.as_deref().map_or(0, |value| value.unlisted().len());
            if unlisted + (texts.len() + 1) * MAX_LIMITS > MAX_UNLISTED {
                played.insert(name, held.as_deref().map(RateLimit::simulation));
            }
        }
        for (at, item) in self.items.iter().enumerate() {
            let Some(value) = played.get_mut(item.key.bytes()) else { continue };
            let mut one =
                self.decide(ctx, item, value.as_ref(), now).map_err(|error| error.of_item("item", at))?;
            one.close();
            one.change(ctx.main(), |change| {
                let effect = RateLimitEffect { now, expires: false, change };
                let applied = effect.apply(ctx.main(), value.as_mut());
                if let Ok(AppliedRateLimit::Created(created, _)) = applied {
                    *value = Some(created.simulation());
                }
                Ok::<(), Error>(())
            })?;
        }
        Ok(())
    }

    /// Records what must be recorded of a batch of which nothing was granted: a clock that stepped
    /// back, and denials on tracked keys.
    fn record_denied(
        &self,
        ctx: &'a Context<'a>,
        verdicts: &[AcquireDecision],
        now: Micros,
        mut effects: EffectBatch<'a>,
    ) -> Result<(), Error> {
        for (item, one) in self.items.iter().zip(verdicts) {
            let mut key = ctx.write(item.key);
            apply_decision(ctx, &mut key, item, one, now, &mut effects)?;
        }
        effects.propagate(ctx);
        Ok(())
    }

    /// Closes the limits that deny an item by itself, whatever the other items ask for.
    fn close(&self, ctx: &'a Context<'a>, now: Micros, effects: &mut EffectBatch<'a>) -> Result<(), Error> {
        for item in &self.items {
            let mut key = ctx.write(item.key);
            let mut one = self.decide(ctx, item, key.value::<RateLimit>()?.as_deref(), now)?;
            if one.would_close() {
                one.close();
                one.count_blocks(ctx.main());
                let recording = Recording { ctx, now, event: c"rl.batch" };
                recording.beside(effects, &mut key, None, |make| one.change(ctx.main(), make))?;
            }
        }
        Ok(())
    }

    /// The replies if not all items can be granted; `None` if they can. `closes` is true if some
    /// item alone closes limits.
    fn blame(
        &self,
        ctx: &'a Context<'a>,
        closes: bool,
        now: Micros,
    ) -> Result<Option<Vec<AcquireDecision>>, Error> {
        let mut effects = EffectBatch::new(ctx);
        if closes {
            self.close(ctx, now, &mut effects)?;
        }
        let mut verdicts = Vec::with_capacity(self.items.len());
        let (mut wanted, mut after_pins) = (Demand::default(), Demand::default());
        for item in &self.items {
            let key = ctx.write(item.key);
            let held = key.value::<RateLimit>()?;
            let mut decision = self.decide(ctx, item, held.as_deref(), now)?;
            if !matches!(decision.reply.index, Index::Blocked | Index::Queue) {
                let (alone, value) = (decision.reply, held.as_deref());
                decision.reply =
                    self.part(ctx.main(), item, alone, value, now, &mut wanted, &mut after_pins)?;
            }
            verdicts.push(decision);
        }
        if verdicts.iter().all(|decision| decision.reply.granted > 0) {
            return Ok(None);
        }
        let longest =
            verdicts.iter().map(|decision| decision.reply.status.retry).max().unwrap_or(RetryAfter::Now);
        let denied = |one: AcquireDecision| {
            let mut reply = one.reply;
            if reply.granted > 0 {
                reply.granted = 0;
                reply.status.retry = longest;
                reply.index = Index::Batch;
            }
            one.denied(reply)
        };
        let verdicts: Vec<AcquireDecision> = verdicts.into_iter().map(denied).collect();
        self.record_denied(ctx, &verdicts, now, effects)?;
        Ok(Some(verdicts))
    }

    /// The reply to an item as a part of its batch. `alone` is its reply as if it came alone. The
    /// item's demand is added to `wanted`, and its demand after the key's pin has ended to
    /// `after_pins`.
    #[allow(clippy::too_many_arguments)]
    fn part(
        &self,
        main: MainThread,
        item: &BatchItem<'a>,
        alone: RateLimitReply,
        value: Option<&RateLimit>,
        now: Micros,
        wanted: &mut Demand<'a>,
        after_pins: &mut Demand<'a>,
    ) -> Result<RateLimitReply, Error> {
        let (name, request) = (item.key.bytes(), self.request(item));
        let found = KeyView { main, name, value, now };
        let (resolved, source) = found.resolve(Some(item.limits))?;
        let Some((limits, states)) = found.usage_of(&resolved) else { return Ok(alone) };
        let set = limits.get(main);
        let demands = wanted.add(name, set.limits(), request);
        let mut reply = as_part(alone, &request, set.limits(), &states, &demands, now);
        // The limits that hold later are looked up again.
        drop(set);
        if source == Source::Pin {
            let pin_end = PinEnd::of(found, |then| {
                let granted = RateLimitReply {
                    granted: item.cost,
                    status: LimitStatus::UNLIMITED,
                    index: Index::Limit(0),
                };
                let mut none_after = Demand::default();
                let part =
                    self.part(main, item, granted, then.value, then.now, after_pins, &mut none_after)?;
                Ok(part.status.retry)
            });
            if let Some(pin_end) = pin_end.filter(|_| reply.granted == 0) {
                reply.status.retry = pin_end.wait(reply.status.retry, now);
            }
        }
        Ok(reply)
    }
}

/// Applies the decision on an item.
fn apply_decision<'a>(
    ctx: &Context<'_>,
    key: &mut Key<'a>,
    item: &BatchItem<'a>,
    decision: &AcquireDecision,
    now: Micros,
    effects: &mut EffectBatch<'a>,
) -> Result<(), Error> {
    // This is asked now and not when the item was decided, because each tracked key takes up room.
    let counts =
        track::any(ctx.main()) && track::counts(ctx.main(), key.value::<RateLimit>()?.as_deref(), false);
    let counted = counts.then(|| track::decided(item.cost, decision.reply.granted));
    let recording = Recording { ctx, now, event: c"rl.batch" };
    recording.beside(effects, key, counted, |make| decision.change(ctx.main(), make))
}

/// The reply to an item as a part of its batch. It is denied if the items before it leave too
/// little. Otherwise its status is that before anything is taken.
fn as_part(
    alone: RateLimitReply,
    request: &Request,
    limits: &[Limit],
    states: &[State],
    demands: &[Request],
    now: Micros,
) -> RateLimitReply {
    // Demands only add up, so a limit that denies the item alone denies it here, too.
    let mut denial: Option<RateLimitReply> = None;
    for (index, ((limit, state), demand)) in limits.iter().zip(states).zip(demands).enumerate() {
        let decision = limits::decide(slice::from_ref(limit), slice::from_ref(state), now, demand);
        if !decision.is_granted() && denial.is_none_or(|longest| decision.status.retry > longest.status.retry)
        {
            denial = Some(RateLimitReply { granted: 0, status: decision.status, index: Index::Limit(index) });
        }
    }
    let mut reply = denial.unwrap_or(alone);
    if reply.granted > 0
        && let Index::Limit(index) = reply.index
        && let Some((limit, state)) = limits.get(index).zip(states.get(index))
        // Under shadow limits alone the item is unlimited, and no limit binds.
        && reply.status.limit.is_some()
    {
        let taken = if limit.per_call() { request.calls } else { request.cost };
        reply.status.remaining = reply.status.remaining.map(|left| left.saturating_add(taken));
        reply.status.reset = limit_quota(limit, state, now, 1).reset;
    }
    reply
}

/// The demand of a batch on each limit of each key so far.
#[derive(Debug, Default)]
struct Demand<'a>(HashMap<&'a [u8], Vec<(Limit, Request)>>);

impl<'a> Demand<'a> {
    /// Adds the demand of an item. Returns the demands of the items so far on each of its limits.
    /// Limits are the same if they count the same usage.
    fn add(&mut self, key: &'a [u8], limits: &[Limit], request: Request) -> Vec<Request> {
        let all = self.0.entry(key).or_default();
        let mut demands = Vec::with_capacity(limits.len());
        for limit in limits {
            if let Some((_, sum)) = all.iter_mut().find(|(other, _)| other.same_identity(limit)) {
                sum.cost = sum.cost.saturating_add(request.cost);
                sum.calls = sum.calls.saturating_add(request.calls);
                demands.push(*sum);
            } else {
                all.push((limit.clone(), request));
                demands.push(request);
            }
        }
        demands
    }
}
