//! The service that Kuadrant's gateways ask: look first and report afterwards, or
//! hold what a request may cost and say later what it did.
//!
//! | method | commands |
//! |---|---|
//! | `CheckRateLimit` | RL.QUOTA for each descriptor: nothing is taken |
//! | `Report` | RL.CHARGE for each descriptor, whatever is left |
//! | `Reserve` | one RL.RESERVE over all descriptors: all or nothing |
//! | `Commit` | one RL.COMMIT; RL.RELEASE for an amount of 0; without an id as `Report` |

pub mod message;
mod wire;

pub use wire::KuadrantServer;

use crate::config::{Mode, Rule};
use crate::decision::figures::of_six;
use crate::decision::{Ask, Decision, Figures, Hits, MOST_UNITS};
use crate::key::key;
use crate::link::{Link, Unanswered};
use crate::plan::{Met, Planned};
use crate::service::{Service, asked_deadline};
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use message::{CommitRequest, CommitResponse, ReserveRequest, ReserveResponse};
use redis::{Pipeline, Value};
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// How long capacity is held where the request does not say.
const HOLD_MS: u64 = 60_000;
/// The longest that it is held.
const LONGEST_HOLD_MS: u64 = 24 * 3_600_000;

/// The four methods.
pub struct Kuadrant(pub Arc<Service>);

/// What became of a reservation, as RL.COMMIT and RL.RELEASE reply it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    /// Unknown, or settled before.
    Nothing,
    Now,
    /// Its time had ended, so that it stood at what was reserved; the difference is
    /// made good.
    Late,
}

impl Kuadrant {
    /// Would one unit be granted on all limits?
    async fn check_rate_limit(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        let deadline = self.0.deadline(asked_deadline(&request));
        let request = request.get_ref();
        let mut planned = self.0.plan(&request.domain, &request.descriptors, request.hits_addend)?;
        for ask in &mut planned.asks {
            ask.hits = Hits::Look;
        }
        self.0.answer(request, planned, deadline).await.map(Response::new)
    }

    /// Charges what was used.
    async fn report(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        let deadline = self.0.deadline(asked_deadline(&request));
        let request = request.get_ref();
        let planned = self.0.plan(&request.domain, &request.descriptors, request.hits_addend)?;
        let charge = charge(&self.0.link, &planned);
        self.0.within(deadline, charge).await?;
        Ok(Response::new(RateLimitResponse { overall_code: Code::Ok.into(), ..RateLimitResponse::default() }))
    }

    async fn reserve(&self, request: Request<ReserveRequest>) -> Result<Response<ReserveResponse>, Status> {
        let deadline = self.0.deadline(asked_deadline(&request));
        let ReserveRequest { domain, descriptors, amount, ttl } = request.get_ref();
        let hold_ms = match ttl {
            None => HOLD_MS,
            Some(ttl) => u64::try_from(ttl.seconds)
                .ok()
                .and_then(|seconds| seconds.checked_mul(1000))
                .and_then(|ms| ms.checked_add(u64::try_from(ttl.nanos).ok()?.div_ceil(1_000_000)))
                .filter(|ms| *ms > 0)
                .ok_or_else(|| Status::invalid_argument("the ttl of the request is not above 0"))?,
        }
        .min(LONGEST_HOLD_MS);
        let mut planned = self.0.plan(domain, descriptors, 0)?;
        for ask in &mut planned.asks {
            ask.hits = Hits::of(*amount, false);
        }
        let held = |id: &str| ReserveResponse { code: Code::Ok.into(), reservation_id: id.to_owned() };
        let denied = ReserveResponse { code: Code::OverLimit.into(), reservation_id: String::new() };
        if *amount == 0 {
            // Nothing is held, so that its commit is a report.
            let request = RateLimitRequest { domain: domain.clone(), ..RateLimitRequest::default() };
            let answer = self.0.answer(&request, planned, deadline).await?;
            let code = answer.overall_code;
            return Ok(Response::new(ReserveResponse { code, reservation_id: String::new() }));
        }
        let items = items(&planned, true);
        if items.is_empty() {
            return Ok(Response::new(held("")));
        }
        let (id, figures) = self.0.within(deadline, hold(&self.0.link, &items, *amount, hold_ms)).await?;
        self.count(domain, &items, &figures, id.is_none());
        Ok(Response::new(id.as_deref().map_or(denied, held)))
    }

    async fn commit(&self, request: Request<CommitRequest>) -> Result<Response<CommitResponse>, Status> {
        let deadline = self.0.deadline(asked_deadline(&request));
        let CommitRequest { domain, descriptors, reservation_id, actual_amount } = request.get_ref();
        let mut planned = self.0.plan(domain, descriptors, 0)?;
        if reservation_id.is_empty() {
            if *actual_amount > 0 {
                for ask in &mut planned.asks {
                    ask.hits = Hits::of(*actual_amount, false);
                }
                self.0.within(deadline, charge(&self.0.link, &planned)).await?;
            }
            return Ok(Response::new(CommitResponse { reservation_released: false }));
        }
        let keys = self.keys(domain, descriptors, &planned);
        let settle = settle(&self.0.link, &keys, reservation_id, *actual_amount);
        let settled = self.0.within(deadline, settle).await?;
        Ok(Response::new(CommitResponse { reservation_released: settled == Settled::Now }))
    }

    /// The keys that the reservation may be on: the configuration may have changed
    /// since, and a descriptor have lost its limit.
    fn keys(&self, domain: &str, descriptors: &[RateLimitDescriptor], planned: &Planned) -> Vec<String> {
        let mut keys: Vec<String> = Vec::new();
        for (descriptor, met) in descriptors.iter().zip(&planned.met) {
            let key = match met {
                Met::Limit(at) => planned.asks.get(*at).map(|ask| ask.key.clone()),
                Met::Nothing | Met::Unlimited => None,
            };
            let key = key.unwrap_or_else(|| key_alone(&self.0.style.prefix, domain, descriptor));
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    fn count(&self, domain: &str, items: &[Item<'_>], figures: &[Figures], denied: bool) {
        let decision = Decision { figures: Vec::new(), denied };
        for (Item { ask, path, .. }, figures) in items.iter().zip(figures) {
            self.0.metrics.hit(domain, path, ask, figures, &decision);
        }
    }
}

fn key_alone(prefix: &str, domain: &str, descriptor: &RateLimitDescriptor) -> String {
    key(prefix, domain, &descriptor.entries, &[])
}

/// A limit as a command of this service takes it.
struct Item<'p> {
    ask: &'p Ask,
    path: &'p [String],
    limits: Cow<'p, str>,
}

/// What is asked, each key once where `once` says so. Limits in the shadow are
/// counted and deny nothing.
fn items(planned: &Planned, once: bool) -> Vec<Item<'_>> {
    let mut seen = HashSet::new();
    let limits = |rule: &'_ Rule| match rule.mode {
        Mode::Enforced | Mode::Quota => None,
        Mode::Shadow => Some(rule.in_the_shadow()),
    };
    planned
        .asks
        .iter()
        .zip(&planned.paths)
        .filter(|(ask, _)| !once || seen.insert(ask.key.as_str()))
        .filter_map(|(ask, path)| {
            let limits = match limits(&ask.rule) {
                None => Cow::Borrowed(ask.rule.limits.as_str()),
                Some(shadow) => Cow::Owned(shadow?),
            };
            Some(Item { ask, path, limits })
        })
        .collect()
}

/// Holds `amount` on all of these limits, or on none: the id, and where each
/// stands.
async fn hold(
    link: &Link,
    items: &[Item<'_>],
    amount: u64,
    hold_ms: u64,
) -> Result<(Option<String>, Vec<Figures>), Unanswered> {
    let mut command = redis::cmd("RL.RESERVE");
    command.arg(items.len());
    for item in items {
        command.arg(&item.ask.key).arg(&*item.limits);
    }
    command.arg("COST").arg(amount.min(MOST_UNITS)).arg("TTL").arg(format!("{hold_ms}ms"));
    let first = items.first().map_or("", |item| &item.ask.key);
    let value = link.ask_one(command, first).await?;
    let Value::Array(parts) = value else { return Err(Unanswered::unreadable()) };
    let [id, Value::Array(replies)] = parts.as_slice() else { return Err(Unanswered::unreadable()) };
    let id = match id {
        Value::Nil => None,
        Value::BulkString(id) => Some(String::from_utf8_lossy(id).into_owned()),
        _ => return Err(Unanswered::unreadable()),
    };
    let figures = replies.iter().map(of_six).collect::<Option<Vec<_>>>();
    Ok((id, figures.ok_or_else(Unanswered::unreadable)?))
}

/// Settles at what was used; gives all back when that is nothing.
async fn settle(link: &Link, keys: &[String], id: &str, actual: u64) -> Result<Settled, Unanswered> {
    let mut command = redis::cmd(if actual == 0 { "RL.RELEASE" } else { "RL.COMMIT" });
    command.arg(id).arg(keys.len()).arg(keys);
    if actual > 0 {
        command.arg("COST").arg(actual.min(MOST_UNITS));
    }
    let first = keys.first().map_or("", String::as_str);
    match link.ask_one(command, first).await? {
        Value::Int(0) => Ok(Settled::Nothing),
        Value::Int(1) => Ok(Settled::Now),
        Value::Int(2) => Ok(Settled::Late),
        _ => Err(Unanswered::unreadable()),
    }
}

/// Charges the hits of each ask, whatever is left.
async fn charge(link: &Link, planned: &Planned) -> Result<(), Unanswered> {
    let items = items(planned, false);
    let mut pipeline = Pipeline::new();
    let mut count = 0;
    for Item { ask, limits, .. } in &items {
        let Hits::Take(n) = ask.hits else { continue };
        pipeline.cmd("RL.CHARGE").arg(&ask.key).arg(&**limits).arg("COST").arg(n);
        count += 1;
    }
    let Some(item) = items.first().filter(|_| count > 0) else { return Ok(()) };
    for value in link.ask(pipeline, count, &item.ask.key).await? {
        value.extract_error().map_err(|why| Unanswered::refused(&why))?;
    }
    Ok(())
}
