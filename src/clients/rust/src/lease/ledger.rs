//! The units that a process has on lease, and those that it wants next.

use std::time::{Duration, Instant};

use crate::decision::{Decision, Source};
use crate::lease::LeaseCounters;

/// The least units of a block. Fewer are not worth its two round trips.
const LEAST: u64 = 10;

/// Units that were taken, and may be spent until `until`.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) id: String,
    pub(super) used: u64,
    left: u64,
    pub(super) until: Instant,
    decision: Decision,
}

impl Block {
    pub(super) fn new(id: String, decision: Decision, until: Instant) -> Self {
        Self { id, used: 0, left: decision.granted, until, decision }
    }
}

pub(super) struct Ledger {
    pub(super) interval: Duration,
    pub(super) processes: u32,
    /// The units that are left by the last word of the server; below 0 without a limit.
    pub(super) remaining: i64,
    pub(super) counters: LeaseCounters,
    pub(super) is_taking: bool,
    /// The blocks, in the order in which they end.
    blocks: Vec<Block>,
    /// The time before which no block is asked for, after one that was refused.
    rests: Option<Instant>,
    // Units that were asked for in the interval that runs, and in the one before.
    began: Instant,
    current: u64,
    previous: u64,
}

impl Ledger {
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            processes: 1,
            remaining: 0,
            counters: LeaseCounters::default(),
            is_taking: false,
            blocks: Vec::new(),
            rests: None,
            began: now,
            current: 0,
            previous: 0,
        }
    }

    /// Records a request for `cost` units.
    pub(super) fn note(&mut self, cost: u64, now: Instant) {
        let passed = now.saturating_duration_since(self.began);
        if passed >= self.interval {
            let is_next = passed < self.interval.saturating_mul(2);
            self.previous = if is_next { self.current } else { 0 };
            self.current = 0;
            self.began = if is_next { self.began + self.interval } else { now };
        }
        self.current = self.current.saturating_add(cost);
    }

    /// Spends `cost` units of the blocks that end first, or none.
    pub(super) fn spend(&mut self, cost: u64, now: Instant) -> Option<Decision> {
        if cost == 0 || self.left(now) < cost {
            return None;
        }
        let mut missing = cost;
        let mut decision = None;
        for block in self.blocks.iter_mut().filter(|block| now < block.until) {
            let part = missing.min(block.left);
            block.left -= part;
            block.used += part;
            missing -= part;
            let Decision { remaining, .. } = block.decision;
            let left = i64::try_from(block.left).unwrap_or(i64::MAX);
            let remaining = if remaining < 0 { remaining } else { remaining.saturating_add(left) };
            decision = Some(Decision {
                granted: cost,
                remaining,
                retry_after_ms: 0,
                source: Source::Lease,
                ..block.decision
            });
            if missing == 0 {
                break;
            }
        }
        self.counters.leased += 1;
        decision
    }

    /// Removes the blocks that are spent or whose interval is over. They must be settled.
    pub(super) fn over(&mut self, now: Instant) -> Vec<Block> {
        self.blocks.extract_if(.., |block| block.left == 0 || now >= block.until).collect()
    }

    /// Removes all blocks. They must be settled.
    pub(super) fn all(&mut self) -> Vec<Block> {
        std::mem::take(&mut self.blocks)
    }

    /// The number of units that may be spent without asking.
    pub(super) fn left(&self, now: Instant) -> u64 {
        self.blocks.iter().filter(|block| now < block.until).map(|block| block.left).sum()
    }

    /// The units of the next block; `None` if more than half as many are left. The block counts as
    /// being taken from now on.
    pub(super) fn wants(&mut self, now: Instant) -> Option<u64> {
        if self.is_taking || self.rests.is_some_and(|until| now < until) {
            return None;
        }
        let share = match u64::try_from(self.remaining) {
            Ok(remaining) => remaining / (2 * u64::from(self.processes)),
            Err(_) => u64::MAX,
        };
        let wanted = self.recent(now).min(share);
        if wanted < LEAST || self.left(now) > wanted / 2 {
            return None;
        }
        self.is_taking = true;
        Some(wanted)
    }

    /// Adds the block that was asked for.
    pub(super) fn arrived(&mut self, block: Block) {
        self.is_taking = false;
        self.remaining = block.decision.remaining;
        self.blocks.push(block);
    }

    /// Records that the block was refused. The next is not asked for before `until`.
    pub(super) fn rests_until(&mut self, until: Instant) {
        self.is_taking = false;
        self.rests = Some(until);
    }

    /// Units that were asked for in the interval until now: what was in the one before counts
    /// as much as it reaches into it.
    fn recent(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.began).min(self.interval);
        let before = u128::from(self.previous) * self.interval.saturating_sub(passed).as_nanos()
            / self.interval.as_nanos();
        self.current.saturating_add(u64::try_from(before).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests;
