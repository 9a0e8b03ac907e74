//! RL.BATCH: many requests in one atomic step.

mod blame;
mod demand;

use crate::commands::arguments::{CRITICAL, KEY, LIMITS, cost};
use crate::commands::cursor::{ArgCursor, chosen};
use crate::commands::hints;
use crate::commands::options::{Options, flags};
use crate::core::limits::Request;
use crate::core::text::token::shown;
use crate::core::time::Micros;
use crate::core::wait_queue::WaiterClass;
use crate::limiter::Error;
use crate::limiter::acquire::{self, AcquireDecision};
use crate::limiter::apply::EffectBatch;
use crate::limiter::ends::{tried_out, try_out};
use crate::limiter::reply::{Index, RateLimitReply};
use crate::limiter::resolve::KeyView;
use crate::limiter::track::{self, Recording};
use crate::observe::top::RequestOutcome;
use crate::observe::{alerts, metrics, top};
use crate::queue::{LaterKey, decide};
use crate::server::context::Context;
use crate::server::fast::prefetch::prefetch;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::reply::{Each, Reply};
use crate::server::keys::key::Key;
use crate::server::load::argument::Argument;
use crate::settings;
use crate::types::ratelimit::RateLimit;
use rustc_hash::{FxBuildHasher, FxHashSet};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

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
    ctx: &'a Context<'a>,
    now: Micros,
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

fn parse<'a>(ctx: &'a Context<'a>, args: Args<'a>) -> Result<Batch<'a>, Error> {
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
    while let Some((option, _)) = cursor.option(const { &Options::of(ARGUMENTS) })? {
        match option {
            "CRITICAL" => critical = true,
            _ => return Err(hints::not_taken(option)),
        }
    }
    Ok(Batch { ctx, now: ctx.now(), mode, items, critical })
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
    ctx.settle_keys(batch.items.iter().map(|item| item.key));
    let mut opened = batch.open()?;
    let alone: Vec<RateLimitReply> = opened.decision.iter().map(|one| one.reply).collect();
    let decision = if !opened.shared && (batch.mode == Mode::Each || all_granted(&alone)) {
        opened.decision.iter_mut().for_each(AcquireDecision::close);
        batch.take_apart(opened)?
    } else {
        let closes = opened.decision.iter().any(AcquireDecision::would_close);
        let shared = opened.shared;
        drop(opened);
        let played = if shared { batch.play(batch.now)? } else { alone };
        if batch.mode == Mode::Each || all_granted(&played) {
            batch.in_turn()?
        } else {
            batch.blame(closes, &played)?
        }
    };
    batch.answer(&decision);
    Ok(())
}

fn all_granted(replies: &[RateLimitReply]) -> bool {
    replies.iter().all(|reply| reply.granted > 0)
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

    /// Decides an item at `at`, as if it came alone.
    fn decide(
        &self,
        item: &BatchItem<'_>,
        value: Option<&RateLimit>,
        at: Micros,
    ) -> Result<AcquireDecision, Error> {
        decide(self.ctx, item.key, value, Some(item.limits), &self.request(item), at)
    }

    /// Decides all items, so that every error is found before anything is taken.
    fn open(&self) -> Result<BatchKeys<'a>, Error> {
        let count = self.items.len();
        let mut opened =
            BatchKeys { keys: Vec::with_capacity(count), decision: Vec::with_capacity(count), shared: false };
        // A value has one address, however often its key is open. Only keys that do not exist must
        // be compared by their names.
        let mut values = FxHashSet::with_capacity_and_hasher(count, FxBuildHasher);
        let mut missing = HashSet::new();
        for items in self.items.chunks(AHEAD) {
            let before = opened.keys.len();
            opened.keys.extend(items.iter().map(|item| self.ctx.write(item.key)));
            for (key, item) in opened.keys.iter_mut().skip(before).zip(items) {
                let at = opened.decision.len();
                let held =
                    key.value::<RateLimit>().map_err(|wrong| Error::from(wrong).of_item("item", at))?;
                if let Some(hint) = held.as_deref().and_then(RateLimit::prefetch_hint) {
                    prefetch(hint);
                }
                // Matched, because `map_err` would copy 200 bytes.
                match self.decide(item, held.as_deref(), self.now) {
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
    fn take_apart(&self, opened: BatchKeys<'a>) -> Result<Vec<AcquireDecision>, Error> {
        let BatchKeys { keys, decision, .. } = opened;
        EffectBatch::run(self.ctx, |effects| {
            for ((mut key, one), item) in keys.into_iter().zip(&decision).zip(&self.items) {
                self.apply(&mut key, item, one, effects)?;
            }
            Ok::<(), Error>(())
        })?;
        Ok(decision)
    }

    /// Replies to each item, counts, and reports to observers. This happens after all units are
    /// taken: servers before redis/redis#9422 (2021) notify a client that tracks the keys of each
    /// change at once, even in the middle of a reply.
    fn answer(&self, decision: &[AcquireDecision]) {
        let (ctx, main, now) = (self.ctx, self.ctx.main(), self.now);
        let mut denied: Vec<&[u8]> = Vec::new();
        for (item, one) in self.items.iter().zip(decision) {
            let granted = one.reply.granted > 0;
            one.count(main);
            // An item that only other items deny is not to blame.
            if one.reply.index != Index::Batch {
                top::decided(main, item.key.bytes(), RequestOutcome::of(granted), now);
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
    fn in_turn(&self) -> Result<Vec<AcquireDecision>, Error> {
        EffectBatch::run(self.ctx, |effects| {
            let mut decision = Vec::with_capacity(self.items.len());
            for item in &self.items {
                let mut key = self.ctx.write(item.key);
                let mut one = self.decide(item, key.value::<RateLimit>()?.as_deref(), self.now)?;
                one.close();
                self.apply(&mut key, item, &one, effects)?;
                decision.push(one);
            }
            Ok(decision)
        })
    }

    /// Decides the items at `at`, one after the other, each on what the items before it left. The
    /// keys stay as they are.
    ///
    /// # Errors
    /// An item would leave aside more limits on its key than a key remembers.
    fn play(&self, at: Micros) -> Result<Vec<RateLimitReply>, Error> {
        let main = self.ctx.main();
        let mut copies: HashMap<&[u8], Option<RateLimit>> = HashMap::new();
        let mut replies = Vec::with_capacity(self.items.len());
        for (position, item) in self.items.iter().enumerate() {
            let of_item = |error: Error| error.of_item("item", position);
            let copy = match copies.entry(item.key.bytes()) {
                Entry::Occupied(there) => there.into_mut(),
                Entry::Vacant(free) => free.insert(self.copy(item, at)?),
            };
            let found = KeyView::of(self.ctx, item.key, copy.as_ref(), at);
            let mut one = self.decide_at(item, found).map_err(of_item)?;
            if self.mode == Mode::Each {
                one.close();
            }
            // A change that does not fit is left out.
            let _ = one.change(main, |change| try_out(main, copy, at, change).map(drop));
            replies.push(one.reply);
        }
        Ok(replies)
    }

    /// A copy of an item's key at `at`, when those have left its queue who take units before the item.
    fn copy(&self, item: &BatchItem<'_>, at: Micros) -> Result<Option<RateLimit>, Error> {
        let key = self.ctx.write(item.key);
        let held = key.value::<RateLimit>()?;
        let copy = tried_out(KeyView::of(self.ctx, item.key, held.as_deref(), self.now))?;
        if at == self.now {
            return Ok(copy);
        }
        let found = KeyView::of(self.ctx, item.key, copy.as_ref(), self.now);
        Ok(LaterKey::of(self.ctx, item.key, found, WaiterClass::of(self.critical)).value(at))
    }

    /// Decides an item on its key, now or later. Later, `found` is what the queue leaves.
    fn decide_at(&self, item: &BatchItem<'_>, found: KeyView<'_>) -> Result<AcquireDecision, Error> {
        if found.now == self.now {
            return self.decide(item, found.value, self.now);
        }
        acquire::decide(found, Some(item.limits), &self.request(item))
    }

    fn recording(&self) -> Recording<'a, 'a> {
        Recording { ctx: self.ctx, now: self.now, event: c"rl.batch" }
    }

    /// Applies the decision on an item.
    fn apply(
        &self,
        key: &mut Key<'a>,
        item: &BatchItem<'_>,
        decision: &AcquireDecision,
        effects: &mut EffectBatch<'a>,
    ) -> Result<(), Error> {
        let main = self.ctx.main();
        // This is asked now and not when the item was decided, because each tracked key takes up room.
        let counts = track::any(main) && track::counts(main, key.value::<RateLimit>()?.as_deref(), false);
        let counted = counts.then(|| track::decided(item.cost, decision.reply.granted));
        self.recording().beside(effects, key, counted, |make| decision.change(main, make))
    }
}
