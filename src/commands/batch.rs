//! RL.BATCH: many requests in one atomic step.

use super::arguments::cost;
use crate::commands::arguments::ArgCursor;
use crate::core::limits::{self, Limit, LimitStatus, MAX_LIMITS, MAX_ORPHANS, Request, State, look};
use crate::core::retry_after::RetryAfter;
use crate::core::text::token::shown;
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::acquire::AcquireDecision;
use crate::limiter::apply;
use crate::limiter::apply::EffectBatch;
use crate::limiter::ends::PinEnd;
use crate::limiter::reply::{Index, RateLimitReply};
use crate::limiter::resolve::{Source, resolve, usage_of};
use crate::limiter::track;
use crate::observe::{alerts, metrics, top};
use crate::queue::decide;
use crate::server::context::Context;
use crate::server::fast::prefetch::prefetch;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::reply;
use crate::server::keys::key::Key;
use crate::server::main_thread::MainThread;
use crate::settings;
use crate::types::effect::ratelimit::{AppliedRateLimit, RateLimitEffect};
use crate::types::ratelimit::RateLimit;
use rustc_hash::{FxBuildHasher, FxHashSet};
use std::collections::{HashMap, HashSet};
use std::slice;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Grants all or takes nothing.
    All,
    /// Decides each on its own.
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

fn parse<'a>(ctx: &Context<'_>, args: Args<'a>) -> Result<Batch<'a>, Error> {
    let mut walk = ArgCursor::new(args);
    let mode = walk.required()?;
    let mode = if mode.is("ALL") {
        Mode::All
    } else if mode.is("EACH") {
        Mode::Each
    } else {
        return Err(Error::Usage(format!(
            "syntax error near '{}', write ALL or EACH first",
            shown(mode.bytes())
        )));
    };
    let count = walk.count("numitems", settings::batch_max(ctx.main()), 3)?;
    let mut items = Vec::with_capacity(count);
    for at in 0..count {
        let (key, limits, units) = (walk.required()?, walk.required()?, walk.required()?);
        let cost = cost(units).map_err(|error| error.of_item("item", at))?;
        items.push(BatchItem { key, limits: limits.bytes(), cost });
    }
    let mut critical = false;
    while walk.option(&["CRITICAL"])?.is_some() {
        critical = true;
    }
    Ok(Batch { mode, items, critical })
}

/// So many keys are opened before they are decided: what the processor has to fetch
/// from memory for them arrives meanwhile, and is still near when it is needed.
const AHEAD: usize = 8;

/// `RL.BATCH ALL|EACH numitems key limits cost [key limits cost …] [CRITICAL]`
///
/// # Errors
/// Any malformed item or key of another type; then nothing is taken.
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
            batch.refuse_crowds(ctx, now)?;
            batch.in_turn(ctx, now)?
        }
    };
    batch.answer(ctx, now, &decision);
    Ok(())
}

/// All keys of a batch, and each item decided as if it came alone.
#[derive(Debug)]
struct Opened<'a> {
    keys: Vec<Key<'a>>,
    decision: Vec<AcquireDecision>,
    /// Some key comes more than once.
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

    /// Decides all items, so that whatever can be wrong is found before anything
    /// is taken.
    fn open(&self, ctx: &'a Context<'a>, now: Micros) -> Result<Opened<'a>, Error> {
        let count = self.items.len();
        let mut opened =
            Opened { keys: Vec::with_capacity(count), decision: Vec::with_capacity(count), shared: false };
        // A value has one address however often its key is open; only keys that
        // are not there yet have to be told apart by their names.
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
                let one = self.decide(ctx, item, held.as_deref(), now);
                opened.decision.push(one.map_err(|error| error.of_item("item", at))?);
                opened.shared |= match held {
                    Some(held) => !values.insert(held.address()),
                    None => !missing.insert(item.key.bytes()),
                };
            }
        }
        Ok(opened)
    }

    /// Takes what was decided of items that cannot disturb each other, and closes
    /// their keys.
    fn take_apart(
        &self,
        ctx: &'a Context<'a>,
        opened: Opened<'a>,
        now: Micros,
    ) -> Result<Vec<AcquireDecision>, Error> {
        let Opened { keys, decision, .. } = opened;
        let mut together = EffectBatch::new(ctx);
        for ((mut key, one), item) in keys.into_iter().zip(&decision).zip(&self.items) {
            take(ctx, &mut key, item, one, now, &mut together)?;
        }
        together.propagate(ctx);
        Ok(decision)
    }

    /// Replies item by item, counts, and tells those who watch. Only when all is
    /// taken: before redis/redis#9422 (2021) a client that tracks the keys was told
    /// of each change at once, also amid a reply.
    fn answer(&self, ctx: &Context<'_>, now: Micros, decision: &[AcquireDecision]) {
        let main = ctx.main();
        let mut denied: Vec<&[u8]> = Vec::new();
        reply::array(ctx, decision.len());
        for (item, one) in self.items.iter().zip(decision) {
            let granted = one.reply.granted > 0;
            one.count(main);
            // Items that only shared the fate of others are nobody's fault.
            if one.reply.index != Index::Batch {
                top::decided(main, item.key.bytes(), granted, now);
            }
            if !granted {
                denied.push(item.key.bytes());
            }
            one.reply.send(ctx);
        }
        let all = decision.len() as u64;
        metrics::count(main, |m| &mut m.batch_calls);
        metrics::add(main, |m| &mut m.batch_granted, all - denied.len() as u64);
        metrics::add(main, |m| &mut m.batch_denied, denied.len() as u64);
        alerts::batch(main, now, all, denied.into_iter());
    }

    /// Decides the items one after the other, each on what those before it left,
    /// and propagates them as one.
    fn in_turn(&self, ctx: &Context<'_>, now: Micros) -> Result<Vec<AcquireDecision>, Error> {
        let mut together = EffectBatch::new(ctx);
        let mut decision = Vec::with_capacity(self.items.len());
        for item in &self.items {
            let mut key = ctx.write(item.key);
            let mut one = self.decide(ctx, item, key.value::<RateLimit>()?.as_deref(), now)?;
            one.close();
            take(ctx, &mut key, item, &one, now, &mut together)?;
            decision.push(one);
        }
        together.propagate(ctx);
        Ok(decision)
    }

    /// Refuses a batch whose items would leave aside more limits on one key than it
    /// remembers, before anything is taken.
    fn refuse_crowds(&self, ctx: &Context<'_>, now: Micros) -> Result<(), Error> {
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
            let aside = held.as_deref().map_or(0, |value| value.orphans().len());
            if aside + (texts.len() + 1) * MAX_LIMITS > MAX_ORPHANS {
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

    /// Records what there is to record of a batch of which nothing was granted: a clock
    /// that stepped back, and denials on tracked keys.
    fn record_denied(
        &self,
        ctx: &'a Context<'a>,
        verdicts: &[AcquireDecision],
        now: Micros,
        mut together: EffectBatch<'a>,
    ) -> Result<(), Error> {
        for (item, one) in self.items.iter().zip(verdicts) {
            let mut key = ctx.write(item.key);
            take(ctx, &mut key, item, one, now, &mut together)?;
        }
        together.propagate(ctx);
        Ok(())
    }

    /// Closes the limits that deny an item for its own sake, whatever the other items
    /// want.
    fn close(&self, ctx: &'a Context<'a>, now: Micros, together: &mut EffectBatch<'a>) -> Result<(), Error> {
        for item in &self.items {
            let mut key = ctx.write(item.key);
            let mut one = self.decide(ctx, item, key.value::<RateLimit>()?.as_deref(), now)?;
            if one.would_close() {
                one.close();
                one.count_blocks(ctx.main());
                one.change(ctx.main(), |change| {
                    together.apply(ctx, &mut key, &apply::effect(ctx, now, change), c"rl.batch")
                })?;
            }
        }
        Ok(())
    }

    /// The replies when not all can be granted; `None` when they can. `closes` where an
    /// item alone closes limits.
    fn blame(
        &self,
        ctx: &'a Context<'a>,
        closes: bool,
        now: Micros,
    ) -> Result<Option<Vec<AcquireDecision>>, Error> {
        let mut together = EffectBatch::new(ctx);
        if closes {
            self.close(ctx, now, &mut together)?;
        }
        let mut verdicts = Vec::with_capacity(self.items.len());
        let (mut wanted, mut after_pins) = (Demand::default(), Demand::default());
        for item in &self.items {
            let key = ctx.write(item.key);
            let held = key.value::<RateLimit>()?;
            let mut decision = self.decide(ctx, item, held.as_deref(), now)?;
            if !matches!(decision.reply.index, Index::Blocked | Index::Line) {
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
        self.record_denied(ctx, &verdicts, now, together)?;
        Ok(Some(verdicts))
    }

    /// The answer to an item as a part of its batch; `alone` is that as if it came alone.
    /// What it wants is added to `wanted`, and to `after_pins` what it wants once the
    /// key's pin has ended.
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
        let (resolved, source) = resolve(main, name, value, Some(item.limits), now)?;
        let Some((limits, states)) = usage_of(main, value, &resolved, now) else { return Ok(alone) };
        let set = limits.get(main);
        let demands = wanted.add(name, set.limits(), request);
        let mut reply = as_part(alone, &request, set.limits(), &states, &demands, now);
        // What holds later is looked up anew.
        drop(set);
        if let Some(value) = value.filter(|_| source == Source::Pin) {
            let pin_end = PinEnd::of(main, value, now, |value, then| {
                let granted = RateLimitReply {
                    granted: item.cost,
                    status: LimitStatus::UNLIMITED,
                    index: Index::Limit(0),
                };
                let mut none_after = Demand::default();
                let then = self.part(main, item, granted, value, then, after_pins, &mut none_after)?;
                Ok(then.status.retry)
            });
            if let Some(pin_end) = pin_end.filter(|_| reply.granted == 0) {
                reply.status.retry = pin_end.wait(reply.status.retry, now);
            }
        }
        Ok(reply)
    }
}

/// Makes so what was decided of an item.
fn take<'a>(
    ctx: &Context<'_>,
    key: &mut Key<'a>,
    item: &BatchItem<'a>,
    decision: &AcquireDecision,
    now: Micros,
    together: &mut EffectBatch<'a>,
) -> Result<(), Error> {
    // Asked now, not when it was decided: each key that is tracked takes of the room.
    let counts =
        track::any(ctx.main()) && track::counts(ctx.main(), key.value::<RateLimit>()?.as_deref(), false);
    decision.change(ctx.main(), |change| {
        together.apply(ctx, key, &apply::effect(ctx, now, change), c"rl.batch")
    })?;
    if counts {
        let counted = track::decided(item.cost, decision.reply.granted);
        together.apply(ctx, key, &apply::effect(ctx, now, counted), c"rl.batch")?;
    }
    Ok(())
}

/// The answer to an item as a part of its batch: denied where the items before
/// it leave too little, else as things stand before anything is taken.
fn as_part(
    alone: RateLimitReply,
    request: &Request,
    limits: &[Limit],
    states: &[State],
    demands: &[Request],
    now: Micros,
) -> RateLimitReply {
    // Demands only add up, so a limit that denies the item alone denies here too.
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
        // Of shadow limits alone the item is as unlimited, and none binds.
        && reply.status.limit.is_some()
    {
        let taken = if limit.per_call() { request.calls } else { request.cost };
        reply.status.remaining = reply.status.remaining.map(|left| left.saturating_add(taken));
        reply.status.reset = look(limit, state, now, 1).reset;
    }
    reply
}

/// What a batch wants of each limit of each key so far.
#[derive(Debug, Default)]
struct Demand<'a>(HashMap<&'a [u8], Vec<(Limit, Request)>>);

impl<'a> Demand<'a> {
    /// Adds what an item wants; gives what the items up to it want of each of
    /// its limits. Limits are the same where they count the same usage.
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
