//! Queues on sliding limits of one second, by the promises alone.
//!
//! The model says who is granted what and in which order, who is denied, who must wait, and what is
//! in use afterwards. First come, first served: only a critical request overtakes.

use super::grants::GrantLog;
use std::collections::{BTreeMap, VecDeque};

/// Microseconds.
pub const PERIOD: u64 = 1_000_000;

/// A key by the numbers of its database and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueKey {
    pub db: usize,
    pub key: usize,
}

/// What a key holds, as far as anybody can see.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Limiter { grants: GrantLog, pin: Option<u64> },
    Text,
}

impl Value {
    fn fresh() -> Self {
        Self::Limiter { grants: GrantLog::default(), pin: None }
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

/// A client in a queue.
pub struct Waiter<W> {
    pub call: QueuedCall,
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
        let pin = match self.values.get(&key) {
            Some(Value::Text) => return Outcome::Refused("WRONGTYPE"),
            Some(Value::Limiter { pin, .. }) => *pin,
            None => None,
        };
        match pin.or(call.limit).or(self.policy) {
            None => Outcome::Refused("ERR no limits"),
            Some(limit) if call.cost > limit => Outcome::Denied,
            Some(limit) if self.used(key) + call.cost <= limit => Outcome::Granted,
            Some(_) => Outcome::MustWait,
        }
    }

    /// What happens to a request that comes now. Its units are taken if it is granted.
    pub fn arrives(&mut self, key: QueueKey, call: &QueuedCall) -> Outcome {
        let outcome = match self.outcome(key, call) {
            Outcome::Granted if self.length(key) > 0 && !call.critical => Outcome::MustWait,
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
        let next = self.queues.iter().filter_map(|(key, queue)| {
            let Some(Value::Limiter { grants, .. }) = self.values.get(key) else { return None };
            queue.front()?;
            grants.ends(self.now, PERIOD).next()
        });
        next.min()
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
        if let Some(Value::Limiter { grants, .. }) = self.values.get_mut(&key) {
            grants.clear();
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
        let pinned = matches!(self.values.get(&key), Some(Value::Limiter { pin: Some(_), .. }));
        pinned || self.used(key) > 0
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
