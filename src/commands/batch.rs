//! RL.BATCH: many requests in one atomic step.

use super::Error;
use super::acquire::{Judged, judge};
use super::arguments::{Walk, cost, number, unexpected};
use super::commit::{self, Together};
use super::resolve::{Resolved, resolve};
use super::six::{Index, Six};
use crate::core::clock::Micros;
use crate::core::limits::{Request, Wait, look};
use crate::observe::metrics;
use crate::server::args::{Arg, Args};
use crate::server::context::Context;
use crate::server::reply;
use crate::settings;
use crate::types::ratelimit::RateLimit;

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
    let now = ctx.now();
    // Whatever can be wrong is found before anything is taken.
    for item in &batch.items {
        let mut key = ctx.read(item.key);
        let held = key.value::<RateLimit>()?;
        judge(ctx, item.key.bytes(), held.as_deref(), Some(item.limits), &batch.request(item), now)?;
    }
    let replies = match batch.mode {
        Mode::Each => batch.grant(ctx, now)?,
        Mode::All => match batch.blame(ctx, now)? {
            None => batch.grant(ctx, now)?,
            Some(denials) => denials,
        },
    };
    let granted = replies.iter().filter(|six| six.granted > 0).count() as u64;
    metrics::count(ctx.main(), |m| &mut m.batch_calls);
    metrics::add(ctx.main(), |m| &mut m.batch_granted, granted);
    metrics::add(ctx.main(), |m| &mut m.batch_denied, replies.len() as u64 - granted);
    reply::array(ctx, replies.len());
    for six in &replies {
        six.send(ctx);
    }
    Ok(())
}

impl<'a> Batch<'a> {
    fn request(&self, item: &Item<'_>) -> Request {
        Request { cost: item.cost, calls: 1, partial: false, critical: self.critical }
    }

    /// Decides the items one after the other, each on what those before it left,
    /// and propagates them as one.
    fn grant(&self, ctx: &Context<'_>, now: Micros) -> Result<Vec<Six>, Error> {
        let mut together = Together::default();
        let mut replies = Vec::with_capacity(self.items.len());
        for item in &self.items {
            let mut key = ctx.write(item.key);
            let judged = {
                let held = key.value::<RateLimit>()?;
                judge(ctx, item.key.bytes(), held.as_deref(), Some(item.limits), &self.request(item), now)?
            };
            judged.change(ctx.main(), |change| {
                together.apply(ctx, &mut key, &commit::effect(ctx, now, change), c"rl.batch")
            })?;
            replies.push(judged.six);
        }
        together.propagate(ctx);
        Ok(replies)
    }

    /// The replies when not all can be granted; `None` when they can.
    fn blame(&self, ctx: &Context<'_>, now: Micros) -> Result<Option<Vec<Six>>, Error> {
        let mut replies = Vec::with_capacity(self.items.len());
        let mut sums = Sums::default();
        for item in &self.items {
            let mut key = ctx.read(item.key);
            let held = key.value::<RateLimit>()?;
            // The batch as a whole must fit, so each item asks for what those
            // before it on the same key want too.
            let request = sums.add(item, self.request(item));
            let judged = judge(ctx, item.key.bytes(), held.as_deref(), Some(item.limits), &request, now)?;
            replies.push(Self::untaken(ctx, held.as_deref(), item, &judged, now)?);
        }
        let longest = replies.iter().map(|six| six.standing.retry).max().unwrap_or(Wait::Now);
        if replies.iter().all(|six| six.granted > 0) {
            return Ok(None);
        }
        for six in &mut replies {
            if six.granted > 0 {
                six.granted = 0;
                six.standing.retry = longest;
                six.index = Index::Batch;
            }
        }
        Ok(Some(replies))
    }

    /// The reply of a granted item as things stand without it.
    fn untaken(
        ctx: &Context<'_>,
        value: Option<&RateLimit>,
        item: &Item<'_>,
        judged: &Judged,
        now: Micros,
    ) -> Result<Six, Error> {
        let mut six = judged.six;
        if six.granted > 0
            && let Index::Limit(index) = six.index
        {
            let main = ctx.main();
            let (resolved, _) = resolve(main, item.key.bytes(), value, Some(item.limits), now)?;
            let (limits, states) = match (&resolved, value) {
                (Resolved::Own, Some(value)) => (value.limits(), value.with_states(<[_]>::to_vec)),
                (Resolved::Own, None) => (None, Vec::new()),
                (Resolved::Other(other), Some(value)) => {
                    (Some(other.clone()), value.realigned(main, other.get(main).limits(), now).0)
                }
                (Resolved::Other(other), None) => {
                    let fresh = other
                        .get(main)
                        .limits()
                        .iter()
                        .map(|_| crate::core::limits::State::default())
                        .collect();
                    (Some(other.clone()), fresh)
                }
            };
            if let Some(limits) = limits
                && let Some((limit, state)) = limits.get(main).limits().get(index).zip(states.get(index))
            {
                let look = look(limit, state, now, item.cost);
                six.standing.remaining = look.remaining;
                six.standing.reset_after_us = look.reset_after_us;
            }
        }
        Ok(six)
    }
}

/// What a batch wants of each key so far.
#[derive(Debug, Default)]
struct Sums<'a>(std::collections::HashMap<&'a [u8], (u64, u64)>);

impl<'a> Sums<'a> {
    fn add(&mut self, item: &Item<'a>, request: Request) -> Request {
        let (cost, calls) = self.0.entry(item.key.bytes()).or_default();
        *cost = cost.saturating_add(request.cost);
        *calls += request.calls;
        Request { cost: *cost, calls: *calls, ..request }
    }
}
