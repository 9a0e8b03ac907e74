//! The assignments of one bucket of one Envoy, and the units to reserve for them. They count what
//! may still be used, and what counts as used. This code has no clock and does not know Redis.

use super::terms::{EarlierUse, FORGOTTEN_SECONDS, LeaseTerms, ResizedBucket, Tokens};
use std::time::{Duration, Instant};

/// A bucket is abandoned after this many reports without a request.
pub const IDLE_REPORTS: u32 = 6;

/// The use of a bucket that an Envoy reports, since its last report.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub allowed: u64,
    pub denied: u64,
    pub elapsed: Duration,
}

/// The answer to a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignment {
    Tokens(Tokens),
    DenyAll,
    /// Nobody has asked for long. Both sides forget the bucket.
    Abandon,
}

/// What Redis shows of the key before a reservation.
#[derive(Clone, Copy, Debug)]
pub struct KeySnapshot {
    pub envoys: u64,
    /// The units that nobody has reserved or used.
    pub remaining: u64,
    /// True if an operator decides on the key, by a block or a pin. What a pin allows is not known
    /// here.
    pub overruled: bool,
    /// True if more units are in use than the limit has.
    pub debt: bool,
}

/// What to do after a report.
#[derive(Clone, Copy, Debug)]
pub enum Plan {
    /// Allow nothing, and settle nothing. The old reservation must count until the old assignments
    /// are over. If it were given back, it could not be reserved again.
    Deny,
    /// Allow nothing. Nothing counts any more.
    Abandon,
    /// Settle the old reservation, and reserve anew.
    Reserve(ReserveOrder),
}

/// A reservation to make.
#[derive(Clone, Copy, Debug)]
pub struct ReserveOrder {
    /// The units of the bucket to assign.
    wanted: u64,
    before: EarlierUse,
    /// The units that cover the bucket and what was allowed before.
    pub cost: u64,
}

/// An assignment that was sent to the Envoy.
#[derive(Clone, Copy, Debug)]
struct SentAssignment {
    tokens: Tokens,
    /// The number of the Envoy's bucket. The number grows when a bucket starts full.
    bucket: u64,
    /// The time at which another assignment was sent.
    replaced: Option<Instant>,
}

/// One bucket of one Envoy.
#[derive(Debug)]
pub struct LeaseAccount {
    terms: LeaseTerms,
    /// The assignments that count.
    assigned: Vec<SentAssignment>,
    /// The time of the last answer.
    answered: Option<Instant>,
    /// The number of the bucket that the Envoy has now. It grows when a bucket starts full.
    bucket: u64,
    /// The units that the Envoy has used since the last settlement.
    unsettled: u64,
    /// The units that it would use in an interval of its bucket.
    demand: u64,
    idle: u32,
}

impl LeaseAccount {
    pub const fn new(terms: LeaseTerms) -> Self {
        Self { terms, assigned: Vec::new(), answered: None, bucket: 0, unsettled: 0, demand: 0, idle: 0 }
    }

    pub const fn terms(&self) -> &LeaseTerms {
        &self.terms
    }

    /// Counts the use in a report. An Envoy reports each use once, so it is counted even if Redis
    /// does not answer.
    pub fn add_report(&mut self, usage: Usage) {
        let asked = usage.allowed.saturating_add(usage.denied);
        self.unsettled = self.unsettled.saturating_add(usage.allowed);
        self.idle = if asked == 0 { self.idle.saturating_add(1) } else { 0 };
        let elapsed = usage.elapsed.as_millis().max(1000);
        let demand = u128::from(asked).saturating_mul(u128::from(self.terms.fill_seconds()) * 1000) / elapsed;
        self.demand = u64::try_from(demand).unwrap_or(u64::MAX);
    }

    /// The requests that the Envoy may still use, or whose use still counts.
    fn before(&mut self, now: Instant) -> EarlierUse {
        let afterwards = Duration::from_millis(self.terms.afterwards_ms());
        self.assigned.retain(|one| {
            one.replaced.is_none_or(|replaced| now.saturating_duration_since(replaced) < afterwards)
        });
        let forgotten = Duration::from_secs(FORGOTTEN_SECONDS);
        let has_tokens =
            self.assigned.last().is_some_and(|last| last.replaced.is_none() && !last.tokens.is_none());
        let recent = self.answered.is_some_and(|at| now.saturating_duration_since(at) < forgotten);
        if !(has_tokens && recent) {
            // The Envoy denies all, or its assignment has ended. So its next bucket starts full.
            self.bucket += 1;
        }
        let mut before = EarlierUse::default();
        let mut of_one = ResizedBucket::default();
        let mut which = 0;
        for one in &self.assigned {
            if one.bucket != which {
                before.gone = before.gone.saturating_add(of_one.most());
                (of_one, which) = (ResizedBucket::default(), one.bucket);
            }
            of_one = of_one.or(one.tokens);
        }
        if which == self.bucket {
            before.current = of_one;
        } else {
            before.gone = before.gone.saturating_add(of_one.most());
        }
        before
    }

    /// Plans the answer to the report. `held` is the number of units that are reserved now.
    pub fn plan(&mut self, held: u64, snapshot: &KeySnapshot, now: Instant) -> Plan {
        let before = self.before(now);
        let leaving = self.idle >= IDLE_REPORTS;
        if snapshot.overruled || snapshot.debt {
            // Without requests and without an assignment that counts, nothing is left to wait for.
            let over = leaving && before.and(Tokens::default()) == 0;
            return if over { Plan::Abandon } else { Plan::Deny };
        }
        let wanted = if leaving {
            0
        } else {
            let free = snapshot.remaining.saturating_add(held.saturating_sub(self.unsettled));
            self.terms.wanted(snapshot.envoys, free, self.demand)
        };
        let cost = before.and(self.terms.tokens(wanted));
        if leaving && cost == 0 {
            return Plan::Abandon;
        }
        Plan::Reserve(ReserveOrder { wanted, before, cost })
    }

    /// The units at which the old reservation is settled. What the Envoy uses from now on belongs
    /// to the next reservation.
    pub fn take_unsettled(&mut self) -> u64 {
        std::mem::take(&mut self.unsettled)
    }

    /// The answer that the `granted` units allow. It counts as sent at `now`.
    pub fn assign(&mut self, reserve: &ReserveOrder, granted: u64, now: Instant) -> Assignment {
        let tokens = self.terms.covered(reserve.wanted, reserve.before, granted);
        self.record(tokens, now);
        if tokens.is_none() { Assignment::DenyAll } else { Assignment::Tokens(tokens) }
    }

    /// The answer to deny all. It counts as sent at `now`.
    pub fn deny(&mut self, now: Instant) -> Assignment {
        self.record(Tokens::default(), now);
        Assignment::DenyAll
    }

    fn record(&mut self, tokens: Tokens, now: Instant) {
        self.answered = Some(now);
        match self.assigned.last_mut() {
            Some(last) if last.replaced.is_none() && last.tokens == tokens && last.bucket == self.bucket => {}
            last => {
                if let Some(last) = last {
                    last.replaced.get_or_insert(now);
                }
                self.assigned.push(SentAssignment { tokens, bucket: self.bucket, replaced: None });
            }
        }
    }
}
