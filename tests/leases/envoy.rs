//! One bucket as Envoy 1.40 keeps it: tokens, assignments, reports. The model rounds only what
//! Envoy rounds.

use crate::lease::account::{Assignment, Usage};
use crate::lease::terms::{TTL_SECONDS, Tokens};
use std::time::Duration;

/// The time between two reports of all buckets, from the Envoy's first bucket on. A new bucket is
/// reported at once, too.
pub const REPORT_MS: u64 = 5000;

/// The token bucket of an Envoy. A token has as many parts as an interval has milliseconds, so
/// `fill` parts come in each millisecond.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: Tokens,
    interval_ms: u64,
    parts: u64,
    filled_at: u64,
}

impl Bucket {
    fn full(tokens: Tokens, interval_ms: u64, now: u64) -> Self {
        Self { tokens, interval_ms, parts: tokens.burst * interval_ms, filled_at: now }
    }

    /// The bucket that replaces `old`. It keeps the part that was filled, in whole tokens.
    fn instead_of(mut old: Self, tokens: Tokens, now: u64) -> Self {
        old.fill(now);
        let left = tokens.burst * old.parts / (old.tokens.burst * old.interval_ms);
        Self { tokens, parts: left * old.interval_ms, filled_at: now, ..old }
    }

    fn fill(&mut self, now: u64) {
        let come = self.tokens.fill * (now - self.filled_at);
        self.parts = (self.parts + come).min(self.tokens.burst * self.interval_ms);
        self.filled_at = now;
    }

    fn take(&mut self, most: u64, now: u64) -> u64 {
        self.fill(now);
        let taken = most.min(self.parts / self.interval_ms);
        self.parts -= taken * self.interval_ms;
        taken
    }
}

/// One bucket of the quota filter. It denies all without an assignment, and after the assignment
/// has ended.
#[derive(Debug)]
pub struct Envoy {
    interval_ms: u64,
    /// The offset of the reports. They start when the Envoy meets its first bucket.
    turn: u64,
    /// The time of the next report of this bucket. `None` before its first request, and after it
    /// was abandoned.
    reports_at: Option<u64>,
    reported_at: u64,
    assignment: Option<Assignment>,
    ends_at: u64,
    bucket: Option<Bucket>,
    allowed: u64,
    denied: u64,
}

impl Envoy {
    pub const fn new(interval_ms: u64, turn: u64) -> Self {
        Self {
            interval_ms,
            turn: turn % REPORT_MS,
            reports_at: None,
            reported_at: 0,
            assignment: None,
            ends_at: 0,
            bucket: None,
            allowed: 0,
            denied: 0,
        }
    }

    /// Ends an assignment whose time is over.
    pub fn expire(&mut self, now: u64) {
        if self.assignment.is_some() && now >= self.ends_at {
            (self.assignment, self.bucket) = (None, None);
        }
    }

    /// Takes an answer. The same assignment again only lasts longer.
    pub fn receive(&mut self, assignment: Assignment, now: u64) {
        if self.reports_at.is_none() {
            // The Envoy does not know the bucket any more.
            return;
        }
        match assignment {
            Assignment::Tokens(tokens) => {
                if self.assignment != Some(assignment) {
                    self.bucket = Some(match self.bucket {
                        Some(old) => Bucket::instead_of(old, tokens, now),
                        None => Bucket::full(tokens, self.interval_ms, now),
                    });
                }
            }
            Assignment::DenyAll => self.bucket = None,
            Assignment::Abandon => {
                *self = Self::new(self.interval_ms, self.turn);
                return;
            }
        }
        self.assignment = Some(assignment);
        self.ends_at = now + TTL_SECONDS * 1000;
    }

    /// Sends `times` requests. Returns the number that the bucket allows. The first request makes
    /// the bucket, which is reported at once.
    pub fn ask(&mut self, times: u64, now: u64) -> u64 {
        if times > 0 && self.reports_at.is_none() {
            self.reports_at = Some(now);
            self.reported_at = now;
        }
        let passed = self.bucket.as_mut().map_or(0, |bucket| bucket.take(times, now));
        self.allowed += passed;
        self.denied += times - passed;
        passed
    }

    /// The report that is due at `now`, if there is one.
    pub fn report(&mut self, now: u64) -> Option<Usage> {
        if self.reports_at.is_none_or(|at| now < at) {
            return None;
        }
        let elapsed = Duration::from_secs((now - self.reported_at) / 1000);
        self.reported_at = now;
        let since = (now + REPORT_MS - self.turn) % REPORT_MS;
        self.reports_at = Some(now + REPORT_MS - since);
        let (allowed, denied) = (std::mem::take(&mut self.allowed), std::mem::take(&mut self.denied));
        Some(Usage { allowed, denied, elapsed })
    }
}
