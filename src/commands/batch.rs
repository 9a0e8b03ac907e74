//! RL.BATCH: many requests in one atomic step.

use super::Error;
use super::acquire::Judged;
use super::arguments::{Walk, cost, number, unexpected};
use super::commit::{self, Together};
use super::resolve::usage;
use super::six::{Index, Six};
use super::track;
use super::waiting::judge;
use crate::core::clock::Micros;
use crate::core::limits::{Limit, Request, State, Wait, decide, look};
use crate::observe::{alerts, metrics, top};
use crate::server::args::{Arg, Args};
use crate::server::context::Context;
use crate::server::key::Key;
use crate::server::reply;
use crate::settings;
use crate::types::ratelimit::RateLimit;
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
struct Item<'a> {
    key: Arg<'a>,
    limits: &'a [u8],
    cost: u64,
}

#[derive(Debug)]
struct Batch<'a> {
    mode: Mode,
    items: Vec<Item<'a>>,
    critical: bool,
}

fn parse<'a>(ctx: &Context<'_>, args: Args<'a>) -> Result<Batch<'a>, Error> {
    let mut walk = Walk::new(args);
    let mode = walk.required()?;
    let mode = if mode.is("ALL") {
        Mode::All
    } else if mode.is("EACH") {
        Mode::Each
    } else {
        return Err(unexpected(mode));
    };
    let count = number("numitems", walk.required()?, 1, settings::batch_max(ctx.main()))?;
    let count = usize::try_from(count).map_err(|_| Error::Arity)?;
    if walk.left() < count.saturating_mul(3) {
        return Err(Error::Other("numitems is more than the items that follow".to_owned()));
    }
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        let (key, limits, units) = (walk.required()?, walk.required()?, walk.required()?);
        items.push(Item { key, limits: limits.bytes(), cost: cost(units)? });
    }
    let critical = walk.keyword("CRITICAL");
    walk.end()?;
    Ok(Batch { mode, items, critical })
}

/// `RL.BATCH ALL|EACH numitems key limits cost [key limits cost …] [CRITICAL]`
///
/// # Errors
/// Any malformed item or key of another type; then nothing is taken.
pub fn batch(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let batch = parse(ctx, args)?;
    // Opened before the clock is read, and all before any is: what the processor
    // has to fetch from memory for them then arrives meanwhile.
    let keys: Vec<Key<'_>> = batch.items.iter().map(|item| ctx.write(item.key)).collect();
    let now = ctx.now();
    let judged = batch.decide(ctx, keys, now)?;
    batch.observe(ctx, now, &judged);
    reply::array(ctx, judged.len());
    for one in &judged {
        one.six.send(ctx);
    }
    Ok(())
}

impl<'a> Batch<'a> {
    fn request(&self, item: &Item<'_>) -> Request {
        Request { cost: item.cost, calls: 1, partial: false, critical: self.critical }
    }

    /// Decides an item as if it came alone.
    fn judge(
        &self,
        ctx: &Context<'_>,
        item: &Item<'_>,
        value: Option<&RateLimit>,
        now: Micros,
    ) -> Result<Judged, Error> {
        judge(ctx, item.key, value, Some(item.limits), &self.request(item), now)
    }

    /// Counts, and tells those who watch. Items that only shared the fate of others
    /// are nobody's fault.
    fn observe(&self, ctx: &Context<'_>, now: Micros, judged: &[Judged]) {
        let main = ctx.main();
        let mut granted = 0;
        for (item, one) in self.items.iter().zip(judged) {
            granted += u64::from(one.six.granted > 0);
            one.count(main);
            if one.six.index != Index::Batch {
                top::decided(main, item.key.bytes(), one.six.granted > 0, now);
            }
        }
        let all = judged.len() as u64;
        metrics::count(main, |m| &mut m.batch_calls);
        metrics::add(main, |m| &mut m.batch_granted, granted);
        metrics::add(main, |m| &mut m.batch_denied, all - granted);
        let denied = self.items.iter().zip(judged).filter(|(_, one)| one.six.granted == 0);
        alerts::batch(main, now, all, denied.map(|(item, _)| item.key.bytes()));
    }

    /// Decides all items and takes what is granted.
    fn decide(&self, ctx: &Context<'_>, mut keys: Vec<Key<'a>>, now: Micros) -> Result<Vec<Judged>, Error> {
        let mut judged = Vec::with_capacity(keys.len());
        // A value has one address however often its key is open; only keys that
        // are not there yet have to be told apart by their names.
        let mut addresses = Vec::with_capacity(keys.len());
        let mut missing = HashSet::new();
        let mut shared = false;
        // Whatever can be wrong is found before anything is taken.
        for (key, item) in keys.iter_mut().zip(&self.items) {
            let held = key.value::<RateLimit>()?;
            judged.push(self.judge(ctx, item, held.as_deref(), now)?);
            match held {
                Some(held) => addresses.push(held.address()),
                None => shared |= !missing.insert(item.key.bytes()),
            }
        }
        addresses.sort_unstable();
        shared |= !addresses.is_sorted_by(|one, next| one < next);
        let denied = || judged.iter().any(|one| one.six.granted == 0);
        if !shared && (self.mode == Mode::Each || !denied()) {
            // The items cannot disturb each other.
            let mut together = Together::default();
            for ((key, one), item) in keys.iter_mut().zip(&judged).zip(&self.items) {
                take(ctx, key, item, one, now, &mut together)?;
            }
            together.propagate(ctx);
            return Ok(judged);
        }
        drop(keys);
        if self.mode == Mode::All
            && let Some(denials) = self.blame(ctx, now)?
        {
            return Ok(denials);
        }
        self.in_turn(ctx, now)
    }

    /// Decides the items one after the other, each on what those before it left,
    /// and propagates them as one.
    fn in_turn(&self, ctx: &Context<'_>, now: Micros) -> Result<Vec<Judged>, Error> {
        let mut together = Together::default();
        let mut judged = Vec::with_capacity(self.items.len());
        for item in &self.items {
            let mut key = ctx.write(item.key);
            let one = self.judge(ctx, item, key.value::<RateLimit>()?.as_deref(), now)?;
            take(ctx, &mut key, item, &one, now, &mut together)?;
            judged.push(one);
        }
        together.propagate(ctx);
        Ok(judged)
    }

    /// Counts a batch of which nothing was granted towards the tracked keys.
    fn count_denied(&self, ctx: &Context<'_>, now: Micros) -> Result<(), Error> {
        let mut together = Together::default();
        for item in &self.items {
            let mut key = ctx.write(item.key);
            if track::counts(ctx.main(), key.value::<RateLimit>()?.as_deref(), false) {
                let counted = track::decided(item.cost, 0);
                together.apply(ctx, &mut key, &commit::effect(ctx, now, counted), c"rl.batch")?;
            }
        }
        together.propagate(ctx);
        Ok(())
    }

    /// The replies when not all can be granted; `None` when they can.
    fn blame(&self, ctx: &Context<'_>, now: Micros) -> Result<Option<Vec<Judged>>, Error> {
        let mut verdicts = Vec::with_capacity(self.items.len());
        let mut wanted = Wanted::default();
        for item in &self.items {
            let mut key = ctx.read(item.key);
            let held = key.value::<RateLimit>()?;
            let request = self.request(item);
            let mut judged = judge(ctx, item.key, held.as_deref(), Some(item.limits), &request, now)?;
            if !matches!(judged.six.index, Index::Blocked | Index::Line)
                && let Some((limits, states)) =
                    usage(ctx.main(), item.key.bytes(), held.as_deref(), Some(item.limits), now)?
            {
                let set = limits.get(ctx.main());
                let demands = wanted.add(item.key.bytes(), set.limits(), request);
                judged.six = as_part(judged.six, &request, set.limits(), &states, &demands, now);
            }
            verdicts.push(judged);
        }
        if verdicts.iter().all(|judged| judged.six.granted > 0) {
            return Ok(None);
        }
        self.count_denied(ctx, now)?;
        let longest = verdicts.iter().map(|judged| judged.six.standing.retry).max().unwrap_or(Wait::Now);
        for Judged { six, .. } in &mut verdicts {
            if six.granted > 0 {
                six.granted = 0;
                six.standing.retry = longest;
                six.index = Index::Batch;
            }
        }
        Ok(Some(verdicts))
    }
}

/// Makes so what was decided of an item.
fn take<'a>(
    ctx: &Context<'_>,
    key: &mut Key<'a>,
    item: &Item<'a>,
    judged: &Judged,
    now: Micros,
    together: &mut Together<'a>,
) -> Result<(), Error> {
    // Asked now, not when it was decided: each key that is tracked takes of the room.
    let counts =
        track::any(ctx.main()) && track::counts(ctx.main(), key.value::<RateLimit>()?.as_deref(), false);
    judged.change(ctx.main(), |change| {
        together.apply(ctx, key, &commit::effect(ctx, now, change), c"rl.batch")
    })?;
    if counts {
        let counted = track::decided(item.cost, judged.six.granted);
        together.apply(ctx, key, &commit::effect(ctx, now, counted), c"rl.batch")?;
    }
    Ok(())
}

/// The answer to an item as a part of its batch: denied where the items before
/// it leave too little, else as things stand before anything is taken.
fn as_part(
    alone: Six,
    request: &Request,
    limits: &[Limit],
    states: &[State],
    demands: &[Request],
    now: Micros,
) -> Six {
    // Demands only add up, so a limit that denies the item alone denies here too.
    let mut denial: Option<Six> = None;
    for (index, ((limit, state), demand)) in limits.iter().zip(states).zip(demands).enumerate() {
        let decision = decide(slice::from_ref(limit), slice::from_ref(state), now, demand);
        if !decision.is_granted()
            && denial.is_none_or(|longest| decision.standing.retry > longest.standing.retry)
        {
            denial = Some(Six { granted: 0, standing: decision.standing, index: Index::Limit(index) });
        }
    }
    let mut six = denial.unwrap_or(alone);
    if six.granted > 0
        && let Index::Limit(index) = six.index
        && let Some((limit, state)) = limits.get(index).zip(states.get(index))
        // Of shadow limits alone the item is as unlimited, and none binds.
        && six.standing.limit.is_some()
    {
        let taken = if limit.per_call() { request.calls } else { request.cost };
        six.standing.remaining = six.standing.remaining.map(|left| left.saturating_add(taken));
        six.standing.reset_after_us = look(limit, state, now, 1).reset_after_us;
    }
    six
}

/// What a batch wants of each limit of each key so far.
#[derive(Debug, Default)]
struct Wanted<'a>(HashMap<&'a [u8], Vec<(Limit, Request)>>);

impl<'a> Wanted<'a> {
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
