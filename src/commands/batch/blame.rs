//! The replies to a batch of which not all items can be granted: which item denies it, and for how
//! long.

use super::demand::Demand;
use super::{Batch, BatchItem, all_granted};
use crate::core::limits::LimitStatus;
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::core::wait_queue::WaiterClass;
use crate::limiter::Error;
use crate::limiter::acquire::{self, AcquireDecision, status_only};
use crate::limiter::apply::EffectBatch;
use crate::limiter::ends::{PinEnd, all_at_once, tell_whole};
use crate::limiter::reply::{Index, RateLimitReply};
use crate::limiter::resolve::{KeyView, Source};
use crate::queue;
use crate::server::keys::key::ReadKey;
use crate::types::ratelimit::RateLimit;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

impl<'a> Batch<'a> {
    /// Closes the limits that deny an item by itself, whatever the other items ask for.
    fn close(&self, effects: &mut EffectBatch<'a>) -> Result<(), Error> {
        let main = self.ctx.main();
        for item in &self.items {
            let mut key = self.ctx.write(item.key);
            let mut one = self.decide(item, key.value::<RateLimit>()?.as_deref(), self.now)?;
            if one.would_close() {
                one.close();
                one.count_blocks(main);
                self.recording().beside(effects, &mut key, None, |make| one.change(main, make))?;
            }
        }
        Ok(())
    }

    /// The replies to a batch of which not all items can be granted. `played` are the replies to the
    /// items one after the other. `closes` is true if some item alone closes limits.
    pub(super) fn blame(
        &self,
        closes: bool,
        played: &[RateLimitReply],
    ) -> Result<Vec<AcquireDecision>, Error> {
        EffectBatch::run(self.ctx, |effects| {
            if closes {
                self.close(effects)?;
            }
            let verdicts = self.judge(played, self.now)?;
            let longest = self.longest_wait(&verdicts);
            let denied = |one: AcquireDecision| {
                let mut reply = one.reply;
                if reply.granted > 0 {
                    reply.granted = 0;
                    reply.status.retry = longest;
                    reply.index = Index::Batch;
                }
                one.denied(reply)
            };
            let mut verdicts: Vec<AcquireDecision> = verdicts.into_iter().map(denied).collect();
            tell_whole(verdicts.iter_mut().map(|one| &mut one.reply.status.retry), longest);
            // A clock that stepped back is recorded, and so are denials on tracked keys.
            for (item, one) in self.items.iter().zip(&verdicts) {
                self.apply(&mut self.ctx.write(item.key), item, one, effects)?;
            }
            Ok(verdicts)
        })
    }

    /// Returns the answer that each item would get at `at` as a part of its batch. `played` are the
    /// replies to the items one after the other at that time.
    fn judge(&self, played: &[RateLimitReply], at: Micros) -> Result<Vec<AcquireDecision>, Error> {
        let (ctx, now) = (self.ctx, self.now);
        let (mut wanted, mut after_pins) = (Demand::default(), Demand::default());
        let mut queued = HashMap::new();
        let judged = self.items.iter().zip(played).map(|(item, played)| {
            let key = ctx.write(item.key);
            let held = key.value::<RateLimit>()?;
            let found = KeyView::of(ctx, item.key, held.as_deref(), now);
            let copy = if at > now { self.copy(item, at)? } else { None };
            let found = found.at(copy.as_ref().or(found.value), at);
            let mut decision = self.decide_at(item, found)?;
            let denial = self.denial(found, item, &mut wanted, &mut after_pins)?;
            let reply = &mut decision.reply;
            match (reply.index, denial) {
                (Index::Queue, _) => {
                    let behind = match queued.entry(item.key.bytes()) {
                        Entry::Occupied(there) => *there.get(),
                        Entry::Vacant(free) => *free.insert(self.retry_behind(&key)?),
                    };
                    reply.status.retry = behind.unwrap_or(reply.status.retry);
                }
                // A block stands until then, and the batch may have to wait for longer.
                (Index::Blocked, Some(denial)) => {
                    reply.status.retry = reply.status.retry.max(denial.status.retry);
                }
                (Index::Blocked, None) => {}
                _ if played.granted > 0 => {
                    let before = status_only(found, Some(item.limits), &self.request(item))?;
                    reply.granted = played.granted;
                    reply.status = LimitStatus { retry: RetryAfter::Now, ..before };
                }
                (_, denial) => {
                    // Alone, the item may have to wait for those who take units before it.
                    let alone = reply.status.retry;
                    *reply = denial.unwrap_or(*played);
                    reply.status.retry = reply.status.retry.max(alone);
                }
            }
            Ok(decision)
        });
        judged.collect()
    }

    /// The time until all items would be granted at once.
    fn longest_wait(&self, verdicts: &[AcquireDecision]) -> RetryAfter {
        let longest = |all: &[AcquireDecision]| {
            all.iter().map(|one| one.reply.status.retry).max().unwrap_or(RetryAfter::Now)
        };
        let ends = self.items.iter().map(|item| queue::ends(self.ctx, item.key)).sum();
        all_at_once(longest(verdicts), ends, self.now, |then| {
            let played = self.play(then)?;
            if all_granted(&played) {
                return Ok(RetryAfter::Now);
            }
            Ok(longest(&self.judge(&played, then)?))
        })
    }

    /// The time until all items of a key would be granted at once after its queue.
    fn retry_behind(&self, key: &ReadKey<'_>) -> Result<Option<RetryAfter>, Error> {
        queue::retry_behind(self.ctx, key, WaiterClass::of(self.critical), self.now, |then| {
            let (mut wanted, mut after_pins) = (Demand::default(), Demand::default());
            let mut longest = RetryAfter::Now;
            for item in self.items.iter().filter(|item| item.key.bytes() == key.name().bytes()) {
                let alone = acquire::decide(then, Some(item.limits), &self.request(item))?;
                let together = self.denial(then, item, &mut wanted, &mut after_pins)?;
                let together = together.map_or(RetryAfter::Now, |denial| denial.status.retry);
                longest = longest.max(alone.reply.status.retry).max(together);
            }
            Ok(longest)
        })
    }

    /// The denial of an item whose limits cannot give what the batch so far and the item want. The
    /// item's demand is added to `wanted`, and its demand after the key's pin has ended to
    /// `after_pins`.
    fn denial(
        &self,
        found: KeyView<'_>,
        item: &BatchItem<'a>,
        wanted: &mut Demand<'a>,
        after_pins: &mut Demand<'a>,
    ) -> Result<Option<RateLimitReply>, Error> {
        let (resolved, source) = match found.resolve(Some(item.limits)) {
            // A block holds even without limits.
            Err(Error::NoLimits) if found.is_blocked() => return Ok(None),
            resolved => resolved?,
        };
        let Some((limits, states)) = found.usage_of(&resolved) else { return Ok(None) };
        let set = limits.get(found.main);
        let (key, request) = (item.key.bytes(), self.request(item));
        let mut denial = wanted.add(key, set.limits(), &states, found.now, &request);
        // The limits that hold later are looked up again.
        drop(set);
        if source == Source::Pin {
            let pin_end = PinEnd::of(found, |then| {
                let denial = self.denial(then, item, after_pins, &mut Demand::default())?;
                Ok(denial.map_or(RetryAfter::Now, |denial| denial.status.retry))
            });
            if let Some((pin_end, denial)) = pin_end.zip(denial.as_mut()) {
                denial.status.retry = pin_end.wait(denial.status.retry, found.now);
            }
        }
        Ok(denial)
    }
}
