//! Queues on sliding limits of one second, by the promises alone.
//!
//! The model says who is granted what and in which order, who is denied and for how long, who must
//! wait, and what is in use afterwards. First come, first served: only a critical request overtakes,
//! and none that is critical, too. A throttled request (CL.THROTTLE) has a limit of its own, and
//! does not wait.

use super::grants::GrantLog;
use std::collections::{BTreeMap, VecDeque};

/// Microseconds.
pub const PERIOD: u64 = 1_000_000;

/// The capacity, and the units that come back in two seconds, of a throttled request's limit.
pub const THROTTLE: (u64, u64) = (5, 1);
const THROTTLE_INTERVAL: u64 = 2_000_000;

/// A key by the numbers of its database and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueKey {
    pub db: usize,
    pub key: usize,
}

/// What a key holds, as far as anybody can see.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Limiter {
        grants: GrantLog,
        pin: Option<u64>,
        /// The time at which the limit of throttled requests is full.
        full: u64,
    },
    Text,
}

impl Value {
    fn fresh() -> Self {
        Self::Limiter { grants: GrantLog::default(), pin: None, full: 0 }
    }
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct QueuedCall {
    pub cost: u64,
    /// The call's own limit; else the policy's.
    pub limit: Option<u64>,
    pub critical: bool,
    /// By RL.RESERVE, not by RL.ACQUIRE.
    pub reserves: bool,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    Granted,
    Denied,
    Refused(&'static str),
    MustWait,
}

/// The units of a limit that a request may use. The last 30 % of a capacity are for critical ones.
pub const fn usable(limit: u64, critical: bool) -> u64 {
    if critical { limit } else { limit - limit * 30 / 100 }
}

/// A client in a queue.
pub struct Waiter<W> {
    pub call: QueuedCall,
    /// The time at which it leaves the queue if it is not served before, if that is known.
    pub until: Option<u64>,
    /// The client, as the test knows it.
    pub who: W,
}

/// All keys and all queues.
pub struct QueueModel<W> {
    pub now: u64,
    pub policy: Option<u64>,
    values: BTreeMap<QueueKey, Value>,
    pub queues: BTreeMap<QueueKey, VecDeque<Waiter<W>>>,
}

impl<W> QueueModel<W> {
    pub fn new(now: u64, policy: u64) -> Self {
        Self { now, policy: Some(policy), values: BTreeMap::new(), queues: BTreeMap::new() }
    }

    pub fn used(&self, key: QueueKey) -> u64 {
        match self.values.get(&key) {
            Some(Value::Limiter { grants, .. }) => grants.younger(self.now, PERIOD),
            _ => 0,
        }
    }

    /// What happens to a request if no queue is in its way.
    pub fn outcome(&self, key: QueueKey, call: &QueuedCall) -> Outcome {
        if self.is_text(key) {
            return Outcome::Refused("WRONGTYPE");
        }
        match self.pinned(key).or(call.limit).or(self.policy).map(|limit| usable(limit, call.critical)) {
            None => Outcome::Refused("ERR no limits"),
            Some(most) if call.cost > most => Outcome::Denied,
            Some(most) if self.used(key) + call.cost <= most => Outcome::Granted,
            Some(_) => Outcome::MustWait,
        }
    }

    pub fn pinned(&self, key: QueueKey) -> Option<u64> {
        if let Some(Value::Limiter { pin, .. }) = self.values.get(&key) { *pin } else { None }
    }

    /// Whether a waiter stands in the way of a request that comes now.
    pub fn is_behind(&self, key: QueueKey, critical: bool) -> bool {
        self.head(key).is_some_and(|head| head.critical || !critical)
    }

    /// Puts a waiter behind those that are as critical.
    pub fn join(&mut self, key: QueueKey, waiter: Waiter<W>) {
        let queue = self.queues.entry(key).or_default();
        let others = queue.iter().position(|other| waiter.call.critical && !other.call.critical);
        queue.insert(others.unwrap_or(queue.len()), waiter);
    }

    /// The key and its queue alone, with those served who can be served now.
    fn alone(&self, key: QueueKey) -> QueueModel<()> {
        let queue = self.queues.get(&key).into_iter().flatten();
        let queue = queue.map(|waiter| Waiter { call: waiter.call, until: waiter.until, who: () });
        let mut alone = QueueModel {
            now: self.now,
            policy: self.policy,
            values: self.values.get(&key).map(|value| (key, value.clone())).into_iter().collect(),
            queues: BTreeMap::from([(key, queue.collect())]),
        };
        alone.pass_to(self.now);
        alone
    }

    /// Time passes. Those leave whose wait has ended, and those are served who can be served.
    fn pass_to(&mut self, now: u64) {
        self.now = now;
        for queue in self.queues.values_mut() {
            queue.retain(|waiter| waiter.until.is_none_or(|until| until > now));
        }
        self.settle();
    }

    /// The next moment at which units come back, or a wait ends.
    fn next_moment(&self, key: QueueKey) -> Option<u64> {
        let leave = self.queues.get(&key).into_iter().flatten().filter_map(|waiter| waiter.until);
        leave.chain(self.next_return(key)).min()
    }

    /// The time until a request is granted if nobody else asks, which those who wait have done
    /// already. `None` if that is never.
    pub fn wait(&self, key: QueueKey, call: &QueuedCall) -> Option<u64> {
        if self.outcome(key, call) == Outcome::Denied {
            return None;
        }
        let mut later = self.alone(key);
        loop {
            let next = later.next_moment(key);
            let free = !later.is_behind(key, call.critical);
            match later.outcome(key, call) {
                Outcome::Denied if free => return None,
                Outcome::Granted | Outcome::Refused(_) if free => {
                    let wait = later.now - self.now;
                    // It asks again in whole milliseconds. A waiter may have been served by then.
                    let told = self.now + 1000 * wait.div_ceil(1000).max(1);
                    if next.is_none_or(|next| next > told) {
                        return Some(wait);
                    }
                }
                _ => {}
            }
            later.pass_to(next?);
        }
    }

    /// [`QueueModel::wait`] for a throttled request. The limit of its arguments holds, or the pin.
    pub fn throttle_wait(&self, key: QueueKey, units: u64) -> Option<u64> {
        if self.pinned(key).is_some() {
            return self
                .wait(key, &QueuedCall { cost: units, limit: None, critical: false, reserves: false });
        }
        let room = (THROTTLE.0.checked_sub(units)?) * THROTTLE_INTERVAL;
        let mut later = self.alone(key);
        while let Some(next) = later.next_moment(key).filter(|_| later.length(key) > 0) {
            later.pass_to(next);
        }
        let full = if let Some(Value::Limiter { full, .. }) = self.values.get(&key) { *full } else { 0 };
        Some(full.saturating_sub(room).max(later.now) - self.now)
    }

    /// Takes the units of a throttled request that is granted.
    pub fn throttle(&mut self, key: QueueKey, units: u64) {
        if self.pinned(key).is_some() {
            return self.grant(key, units);
        }
        let now = self.now;
        if let Value::Limiter { full, .. } = self.values.entry(key).or_insert_with(Value::fresh) {
            *full = now.max(*full) + units * THROTTLE_INTERVAL;
        }
    }

    /// What happens to a request that comes now. Its units are taken if it is granted.
    pub fn arrives(&mut self, key: QueueKey, call: &QueuedCall) -> Outcome {
        let outcome = match self.outcome(key, call) {
            Outcome::Granted if self.is_behind(key, call.critical) => Outcome::MustWait,
            outcome => outcome,
        };
        if outcome == Outcome::Granted {
            self.grant(key, call.cost);
        }
        outcome
    }

    /// The reply to a client whose wait ends without a grant.
    pub fn at_last(&self, key: QueueKey, call: &QueuedCall) -> Outcome {
        match self.outcome(key, call) {
            // Without limits, that is the reply.
            refused @ Outcome::Refused(_) => refused,
            _ => Outcome::Denied,
        }
    }

    fn grant(&mut self, key: QueueKey, units: u64) {
        let now = self.now;
        match self.values.entry(key).or_insert_with(Value::fresh) {
            Value::Limiter { grants, .. } => grants.take(now, units),
            Value::Text => panic!("no units are taken from a text"),
        }
    }

    pub fn length(&self, key: QueueKey) -> usize {
        self.queues.get(&key).map_or(0, VecDeque::len)
    }

    /// The request that is served next.
    pub fn head(&self, key: QueueKey) -> Option<&QueuedCall> {
        Some(&self.queues.get(&key)?.front()?.call)
    }

    /// Answers every client that can be answered now. Returns them with their outcomes.
    pub fn settle(&mut self) -> Vec<(Waiter<W>, Outcome)> {
        let mut answered = Vec::new();
        let keys: Vec<QueueKey> = self.queues.keys().copied().collect();
        for key in keys {
            while let Some(head) = self.queues[&key].front() {
                let outcome = match self.outcome(key, &head.call) {
                    Outcome::MustWait => break,
                    other => other,
                };
                let head = self.queues.get_mut(&key).unwrap().pop_front().unwrap();
                if outcome == Outcome::Granted {
                    self.grant(key, head.call.cost);
                }
                answered.push((head, outcome));
            }
        }
        answered
    }

    /// The next moment at which units come back to a key with a queue.
    pub fn next_units(&self) -> Option<u64> {
        let waited_for = self.queues.iter().filter(|(_, queue)| !queue.is_empty());
        waited_for.filter_map(|(key, _)| self.next_return(*key)).min()
    }

    /// The next moment at which units come back to a key.
    fn next_return(&self, key: QueueKey) -> Option<u64> {
        let Some(Value::Limiter { grants, .. }) = self.values.get(&key) else { return None };
        grants.ends(self.now, PERIOD).next()
    }

    /// Gives the newest units back. Returns how many there were.
    pub fn refund(&mut self, key: QueueKey, units: u64) -> u64 {
        let now = self.now;
        match self.values.get_mut(&key) {
            Some(Value::Limiter { grants, .. }) => grants.give_back(now, PERIOD, units),
            _ => 0,
        }
    }

    pub fn reset(&mut self, key: QueueKey) {
        if let Some(Value::Limiter { grants, full, .. }) = self.values.get_mut(&key) {
            grants.clear();
            *full = 0;
        }
    }

    pub fn pin(&mut self, key: QueueKey, limit: u64) {
        if let Value::Limiter { pin, .. } = self.values.entry(key).or_insert_with(Value::fresh) {
            *pin = Some(limit);
        }
    }

    pub fn unpin(&mut self, key: QueueKey) {
        if let Some(Value::Limiter { pin, .. }) = self.values.get_mut(&key) {
            *pin = None;
        }
    }

    pub fn is_text(&self, key: QueueKey) -> bool {
        self.values.get(&key) == Some(&Value::Text)
    }

    /// Somebody writes a text over the key.
    pub fn becomes_text(&mut self, key: QueueKey) {
        self.values.insert(key, Value::Text);
    }

    /// True if there must be a value, because something is pinned or in use.
    pub fn must_be_there(&self, key: QueueKey) -> bool {
        let throttled =
            matches!(self.values.get(&key), Some(Value::Limiter { full, .. }) if *full > self.now);
        throttled || self.pinned(key).is_some() || self.used(key) > 0
    }

    pub fn delete(&mut self, key: QueueKey) {
        self.values.remove(&key);
    }

    pub fn flush(&mut self, db: usize) {
        self.values.retain(|key, _| key.db != db);
    }

    pub fn flush_all(&mut self) {
        self.values.clear();
    }

    /// The two databases change keys.
    pub fn swap_databases(&mut self) {
        let values = std::mem::take(&mut self.values);
        let swapped = |(key, value): (QueueKey, Value)| (QueueKey { db: 1 - key.db, ..key }, value);
        self.values = values.into_iter().map(swapped).collect();
    }

    pub fn copy(&mut self, from: QueueKey, to: QueueKey) {
        let value = self.values.get(&from).cloned().unwrap_or_else(Value::fresh);
        self.values.insert(to, value);
    }

    pub fn rename(&mut self, from: QueueKey, to: QueueKey) {
        self.copy(from, to);
        self.delete(from);
    }
}
