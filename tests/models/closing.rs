//! `block=` by the same limit without it, and a list of all blocks that is read again from
//! its start at every step.
//!
//! It promises which denial begins a block, how long it lasts, and when it is forgotten.

use floodgate::core::limits::{Limits, Request, State, decide, full_at};
use floodgate::core::retry_after::RetryAfter;
use floodgate::core::time::Micros;

const MS: u64 = 1_000;

/// `block=`, `grow=` in hundredths and `maxblock=`, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct BlockOptions {
    pub length: u64,
    pub grow: u64,
    pub longest: u64,
}

impl BlockOptions {
    pub fn text(self) -> String {
        let (whole, part) = (self.grow / 100, self.grow % 100);
        format!(":block={}ms:grow={whole}.{part:02}:maxblock={}ms", self.length / MS, self.longest / MS)
    }
}

/// One block as it was begun.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    pub at: u64,
    pub length: u64,
    /// When the units are back for want of which it began.
    pub units: u64,
    pub grows: bool,
}

impl Begun {
    pub fn end(self) -> u64 {
        self.at + self.length
    }
}

pub struct ClosingModel {
    /// The limit without `block=`, and what is in use of it.
    pub plain: Limits,
    pub states: Vec<State>,
    pub options: BlockOptions,
    pub blocks: Vec<Begun>,
    /// Units were granted after its end, or given back.
    pub was_open: bool,
}

impl ClosingModel {
    pub fn closed_until(&self, now: u64) -> Option<u64> {
        self.blocks.last().map(|last| last.end()).filter(|&end| now < end)
    }

    /// Whether a denial begins no block, since it wants what the last one wanted.
    pub fn covers(&self, now: u64) -> bool {
        let Some(last) = self.blocks.last() else { return false };
        now < last.end() || now < last.units && !self.was_open
    }

    /// The answer, and whether it begins a block.
    pub fn expect(&self, now: u64, request: &Request, blocks: bool) -> (u64, RetryAfter, bool) {
        let asked = |request: &Request| decide(self.plain.as_slice(), &self.states, Micros(now), request);
        let plain = asked(request);
        let closed = self.closed_until(now).map_or(RetryAfter::Now, |end| RetryAfter::After(end - now));
        let before = plain.status.retry.max(closed);
        let wants = matches!(plain.status.retry, RetryAfter::After(_));
        let kept = asked(&Request { critical: true, ..*request }).is_granted();
        let begins = blocks && wants && !kept && !self.covers(now);
        let retry = if begins { before.max(RetryAfter::After(self.next_length(now))) } else { before };
        (if retry == RetryAfter::Now { plain.granted } else { 0 }, retry, begins)
    }

    pub fn next_length(&self, now: u64) -> u64 {
        let BlockOptions { length, grow, longest } = self.options;
        match self.blocks.last() {
            Some(last) if last.grows && now <= last.end() + 2 * last.length => {
                (last.length * grow / 100).max(length).min(longest)
            }
            _ => length,
        }
    }

    pub fn begin(&mut self, now: u64, request: &Request) {
        let plain = decide(self.plain.as_slice(), &self.states, Micros(now), request);
        self.was_open = false;
        let RetryAfter::After(units) = plain.status.retry else { panic!("nothing is wanted") };
        let grows = self.options.grow > 100 && self.options.longest > self.options.length;
        self.blocks.push(Begun { at: now, length: self.next_length(now), units: now + units, grows });
    }

    /// When nothing is used and no block is remembered.
    pub fn over_at(&self, now: u64) -> u64 {
        let full = full_at(self.plain.as_slice(), &self.states, Micros(now)).0;
        let remembered = self.blocks.last().map_or(0, |last| match last.grows {
            true => last.end() + 2 * last.length + 1,
            false => last.end(),
        });
        full.max(remembered)
    }
}
