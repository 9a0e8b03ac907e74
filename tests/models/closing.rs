//! `block=` by the same limit without it, and a list of all blocks that is read again from
//! its start at every step.
//!
//! It promises which denial begins a block, how long it lasts, and when it is forgotten.

use floodgate::core::limits::{Limits, Request, State, decide, full_at, limit_quota};
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
    /// The units that must be free for the request that began it.
    pub need: u64,
    /// When they are free, as of the last change.
    pub units: u64,
    /// Units were granted after its end.
    pub granted: bool,
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
}

impl ClosingModel {
    pub fn closed_until(&self, now: u64) -> Option<u64> {
        self.blocks.last().map(|last| last.end()).filter(|&end| now < end)
    }

    /// Whether a denial begins no block, since it wants what the last one wanted.
    pub fn covers(&self, now: u64) -> bool {
        let Some(last) = self.blocks.last() else { return false };
        now < last.end() || now < last.units
    }

    fn asked(&self, now: u64, request: &Request) -> RetryAfter {
        decide(self.plain.as_slice(), &self.states, Micros(now), request).status.retry
    }

    /// Units were granted.
    pub fn granted(&mut self, now: u64) {
        if let Some(last) = self.blocks.last_mut() {
            last.granted |= last.end() <= now;
        }
        self.changed(now);
    }

    /// Units were charged or carried over, or a clock that stepped back was recorded.
    pub fn changed(&mut self, now: u64) {
        self.note(now);
        self.forget(now);
    }

    /// A block that no longer matters does not come again, even if the clock steps back.
    pub fn forget(&mut self, now: u64) {
        if self.remembered_until() <= now && !self.covers(now) {
            self.blocks.clear();
        }
    }

    /// The units in use changed.
    pub fn note(&mut self, now: u64) {
        if let Some(last) = self.blocks.last_mut()
            && now < last.at
        {
            (last.at, last.granted) = (now, false);
        }
        if !self.covers(now) {
            return;
        }
        let Some(need) = self.blocks.last().map(|last| last.need) else { return };
        let back = match self.asked(now, &Request { cost: need, calls: need, partial: false, critical: true })
        {
            RetryAfter::After(us) => now + us,
            RetryAfter::Now => now,
            // More than the limit holds now.
            RetryAfter::Never => full_at(self.plain.as_slice(), &self.states, Micros(now)).0,
        };
        if let Some(last) = self.blocks.last_mut() {
            last.units = if last.granted { back.min(last.units) } else { back };
        }
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
        let RetryAfter::After(units) = self.asked(now, request) else { panic!("nothing is wanted") };
        let limit = &self.plain.as_slice()[0];
        let all = limit.capacity().unwrap();
        let kept = all - limit_quota(limit, &State::Fresh, Micros(now), 1).remaining.unwrap();
        let least = if limit.per_call() { request.calls } else { request.least(limit) };
        let grows = self.options.grow > 100 && self.options.longest > self.options.length;
        self.blocks.push(Begun {
            at: now,
            length: self.next_length(now),
            need: least + if request.critical { 0 } else { kept },
            units: now + units,
            granted: false,
            grows,
        });
    }

    /// When nothing is used and no block is remembered.
    pub fn over_at(&self, now: u64) -> u64 {
        let full = full_at(self.plain.as_slice(), &self.states, Micros(now)).0;
        full.max(self.remembered_until())
    }

    fn remembered_until(&self) -> u64 {
        self.blocks.last().map_or(0, |last| match last.grows {
            true => last.end() + 2 * last.length + 1,
            false => last.end(),
        })
    }
}
