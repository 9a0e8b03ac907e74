//! The service's side of one stream. It answers reports in their order, each with two trips to
//! Redis.

use super::limit::{HoldIndex, Limit};
use crate::lease::account::{Assignment, KeySnapshot, LeaseAccount, Plan, Usage};
use crate::lease::terms::{LeaseKind, LeaseTerms, SPAN_SECONDS};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How Redis treats a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redis {
    Answers,
    /// Redis cannot be asked at all.
    Away,
    /// The reservation is not made, or it is made and its answer is lost (`done`).
    Lost {
        done: bool,
    },
    /// The key is blocked or has a pin.
    Overruled,
}

/// The times that a report, the trips to Redis and the answer take, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delays {
    pub there: u64,
    pub between: u64,
    pub back: u64,
}

#[derive(Debug)]
struct Report {
    usage: Usage,
    redis: Redis,
    arrives: u64,
    delays: Delays,
    snapshot: Option<KeySnapshot>,
}

/// The Envoys of a limit as Redis knows them: the stream, and the time of its last place.
pub type Present = Vec<(usize, u64)>;

#[derive(Debug)]
pub struct Stream {
    pub id: usize,
    owner: usize,
    account: LeaseAccount,
    held: Option<(HoldIndex, u64)>,
    reports: VecDeque<Report>,
    answers: VecDeque<(u64, Assignment)>,
}

impl Stream {
    pub fn new(id: usize, owner: usize, terms: LeaseTerms) -> Self {
        Self {
            id,
            owner,
            account: LeaseAccount::new(terms),
            held: None,
            reports: VecDeque::new(),
            answers: VecDeque::new(),
        }
    }

    pub fn send(&mut self, usage: Usage, redis: Redis, delays: Delays, now: u64) {
        // No report overtakes another one.
        let arrives = self.reports.back().map_or(0, |last| last.arrives).max(now + delays.there);
        self.reports.push_back(Report { usage, redis, arrives, delays, snapshot: None });
    }

    /// True if reports or answers are under way.
    pub fn is_busy(&self) -> bool {
        !self.reports.is_empty() || !self.answers.is_empty()
    }

    /// The next answer, if it has arrived by `now`.
    pub fn answer(&mut self, now: u64) -> Option<Assignment> {
        self.answers.pop_front_if(|(arrives, _)| *arrives <= now).map(|(_, assignment)| assignment)
    }

    /// Does what is due at `now`.
    pub fn go_on(&mut self, begin: Instant, now: u64, limit: &mut Limit, present: &mut Present) {
        let moment = begin + Duration::from_millis(now);
        while let Some(report) = self.reports.front_mut() {
            if now < report.arrives {
                return;
            }
            let snapshot = *report.snapshot.get_or_insert_with(|| {
                self.account.add_report(report.usage);
                present.retain(|(id, at)| *id != self.id && now < at + SPAN_SECONDS * 1000);
                present.push((self.id, now));
                KeySnapshot {
                    envoys: present.len() as u64,
                    remaining: limit.free(now),
                    overruled: report.redis == Redis::Overruled,
                    debt: limit.is_in_debt(now),
                }
            });
            if now < report.arrives + report.delays.between {
                return;
            }
            let (redis, back) = (report.redis, report.delays.back);
            self.reports.pop_front();
            if let Some(assignment) = self.decide(redis, &snapshot, moment, now, limit) {
                let arrives = self.answers.back().map_or(0, |(last, _)| *last).max(now + back);
                self.answers.push_back((arrives, assignment));
            }
        }
    }

    fn decide(
        &mut self,
        redis: Redis,
        snapshot: &KeySnapshot,
        moment: Instant,
        now: u64,
        limit: &mut Limit,
    ) -> Option<Assignment> {
        if redis == Redis::Away {
            return None;
        }
        let held = self.held.map_or(0, |(_, units)| units);
        let reserve = match self.account.plan(held, snapshot, moment) {
            Plan::Deny => return Some(self.account.deny(moment)),
            Plan::Abandon => None,
            Plan::Reserve(reserve) => Some(reserve),
        };
        let used = self.account.take_unsettled();
        let old = self.held.take();
        if redis == (Redis::Lost { done: false }) {
            return None;
        }
        if let Some((index, _)) = old {
            let used = match self.account.terms().kind() {
                LeaseKind::Share => 0,
                LeaseKind::Units => used,
            };
            limit.settle(index, used, now);
        }
        let granted = reserve.map_or(0, |reserve| {
            let cost = if redis == Redis::Overruled { 0 } else { reserve.cost };
            let (index, granted) = limit.reserve(self.owner, cost, now);
            self.held = Some((index, granted));
            granted
        });
        if redis == (Redis::Lost { done: true }) {
            self.held = None;
            return None;
        }
        Some(match reserve {
            Some(reserve) => self.account.assign(&reserve, granted, moment),
            None => Assignment::Abandon,
        })
    }
}
