//! The service for Kuadrant's gateways. They look first and report later, or they hold what a
//! request may cost and later say what it did cost.
//!
//! | method | commands |
//! |---|---|
//! | `CheckRateLimit` | RL.QUOTA for each descriptor: nothing is taken |
//! | `Report` | RL.CHARGE for each descriptor, whatever is left |
//! | `ReserveOrder` | one RL.RESERVE over all descriptors: all or nothing; RL.QUOTA for each limit in shadow mode |
//! | `Commit` | one RL.COMMIT; RL.RELEASE for an amount of 0; without an ID the same as `Report` |

pub mod message;
mod wire;

pub use wire::KuadrantServer;

use crate::config::DenialEffect;
use crate::decision::figures::{of_quota, of_six};
use crate::decision::{Figures, Hits, LimitCheck, MOST_UNITS, RequestDecision};
use crate::key::key;
use crate::link::{Link, LinkError};
use crate::plan::{DescriptorMatch, RequestPlan};
use crate::service::{Service, asked_deadline};
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use floodgate::core::limits::Expression;
use floodgate::core::reservations::MAX_ID;
use message::{CommitRequest, CommitResponse, ReserveRequest, ReserveResponse};
use redis::{Pipeline, Value};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The time for which capacity is held if the request names none, in milliseconds.
const HOLD_MS: u64 = 60_000;
/// The longest time for which capacity is held, in milliseconds.
const LONGEST_HOLD_MS: u64 = 24 * 3_600_000;

/// The four methods of the service.
pub struct Kuadrant(pub Arc<Service>);

/// The result of settling a reservation, as RL.COMMIT and RL.RELEASE reply it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    /// The reservation is unknown, or was settled before.
    Nothing,
    Now,
    /// The time of the reservation had ended, so it stood at its cost. The difference to the real
    /// cost has been corrected.
    Late,
}

impl Kuadrant {
    /// Answers whether all limits would grant one unit.
    async fn check_rate_limit(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        let deadline = self.0.deadline(asked_deadline(&request));
        let request = request.get_ref();
        if asks_nothing(request) {
            return Ok(Response::new(ok()));
        }
        let mut planned = self.0.plan(&request.domain, &request.descriptors, request.hits_addend)?;
        for check in &mut planned.checks {
            check.hits = Hits::Look;
        }
        self.0.answer(request, planned, deadline).await.map(Response::new)
    }

    /// Charges the units that were used.
    async fn report(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        let deadline = self.0.deadline(asked_deadline(&request));
        let request = request.get_ref();
        if asks_nothing(request) {
            return Ok(Response::new(ok()));
        }
        let planned = self.0.plan(&request.domain, &request.descriptors, request.hits_addend)?;
        let charge = charge(&self.0.link, &planned);
        self.0.within(deadline, charge).await?;
        Ok(Response::new(ok()))
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
        for check in &mut planned.checks {
            check.hits = Hits::of(*amount, false);
        }
        let held = |id: &str| ReserveResponse { code: Code::Ok.into(), reservation_id: id.to_owned() };
        let denied = ReserveResponse { code: Code::OverLimit.into(), reservation_id: String::new() };
        if *amount == 0 {
            // An amount of 0 holds nothing. Without an ID its commit is a report.
            let request = RateLimitRequest { domain: domain.clone(), ..RateLimitRequest::default() };
            let answer = self.0.answer(&request, planned, deadline).await?;
            let code = answer.overall_code;
            return Ok(Response::new(ReserveResponse { code, reservation_id: String::new() }));
        }
        let items = items(&planned, true);
        if items.is_empty() {
            return Ok(Response::new(held("")));
        }
        for item in &items {
            // Limits of one key that were joined may be more than a key can have.
            Expression::parse(item.limits.as_bytes())
                .map_err(|why| Status::invalid_argument(why.to_string()))?;
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
                for check in &mut planned.checks {
                    check.hits = Hits::of(*actual_amount, false);
                }
                self.0.within(deadline, charge(&self.0.link, &planned)).await?;
            }
            return Ok(Response::new(CommitResponse { reservation_released: false }));
        }
        if reservation_id.len() > MAX_ID {
            let reason = format!("the id of a reservation has at most {MAX_ID} bytes");
            return Err(Status::invalid_argument(reason));
        }
        let keys = self.keys(domain, descriptors, &planned);
        let settle = settle(&self.0.link, &keys, reservation_id, *actual_amount);
        let settled = self.0.within(deadline, settle).await?;
        Ok(Response::new(CommitResponse { reservation_released: settled == Settled::Now }))
    }

    /// The keys that the reservation may be on. A descriptor may have lost its limit since, because
    /// the configuration has changed. Its key is included, too.
    fn keys(&self, domain: &str, descriptors: &[RateLimitDescriptor], planned: &RequestPlan) -> Vec<String> {
        let mut keys: Vec<String> = Vec::new();
        for (descriptor, matched) in descriptors.iter().zip(&planned.matched) {
            let key = match matched {
                DescriptorMatch::Limit(at) => planned.checks.get(*at).map(|check| check.key.clone()),
                DescriptorMatch::Nothing | DescriptorMatch::Unlimited => None,
            };
            let key = key.unwrap_or_else(|| key_alone(&self.0.style.prefix, domain, descriptor));
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    fn count(&self, domain: &str, items: &[Item<'_>], figures: &[Figures], denied: bool) {
        let decision = RequestDecision { figures: Vec::new(), denied };
        for (Item { check, path, .. }, figures) in items.iter().zip(figures) {
            self.0.metrics.hit(domain, path, check, figures, &decision);
        }
    }
}

/// True if a request has a domain and no descriptors. Kuadrant's own service answers it with OK.
fn asks_nothing(request: &RateLimitRequest) -> bool {
    request.descriptors.is_empty() && !request.domain.is_empty()
}

fn ok() -> RateLimitResponse {
    RateLimitResponse { overall_code: Code::Ok.into(), ..RateLimitResponse::default() }
}

fn key_alone(prefix: &str, domain: &str, descriptor: &RateLimitDescriptor) -> String {
    key(prefix, domain, &descriptor.entries, &[])
}

/// A limit as the commands of this service take it.
struct Item<'p> {
    check: &'p LimitCheck,
    path: &'p [String],
    limits: Cow<'p, str>,
}

/// The limits to ask. If `once` is true, each key is there once, with the limits of all its
/// descriptors. Limits in shadow mode are counted and deny nothing.
fn items(planned: &RequestPlan, once: bool) -> Vec<Item<'_>> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut items: Vec<Item<'_>> = Vec::with_capacity(planned.checks.len());
    for (check, path) in planned.checks.iter().zip(&planned.paths) {
        let limits = match check.rule.mode {
            DenialEffect::Enforced | DenialEffect::Quota => Cow::Borrowed(check.rule.limits.as_str()),
            DenialEffect::Shadow => match check.rule.in_the_shadow() {
                Some(shadow) => Cow::Owned(shadow),
                None => continue,
            },
        };
        let first = if once { seen.get(check.key.as_str()).copied() } else { None };
        if let Some(first) = first.and_then(|at| items.get_mut(at)) {
            if let Some(joined) = joined(&first.limits, &limits) {
                first.limits = Cow::Owned(joined);
            }
        } else {
            seen.insert(&check.key, items.len());
            items.push(Item { check, path, limits });
        }
    }
    items
}

/// All limits of both texts, each once. A limit that denies comes before the same one in the shadow.
/// `None` if the second text adds nothing.
fn joined(limits: &str, more: &str) -> Option<String> {
    let mut all: Vec<&str> = limits.split(',').collect();
    for limit in more.split(',') {
        match all.iter_mut().find(|own| bare(own) == bare(limit)) {
            None => all.push(limit),
            Some(own) if bare(limit) == limit => *own = limit,
            Some(_) => {}
        }
    }
    let all = all.join(",");
    (all != limits).then_some(all)
}

/// The limit without `:shadow` at its end.
fn bare(limit: &str) -> &str {
    match limit.rsplit_once(':') {
        Some((bare, option)) if option.eq_ignore_ascii_case("shadow") => bare,
        _ => limit,
    }
}

/// Holds `amount` units on all of these limits, or on none. Returns the ID, which is `None` after a
/// denial, and the figures of each limit.
async fn hold(
    link: &Link,
    items: &[Item<'_>],
    amount: u64,
    hold_ms: u64,
) -> Result<(Option<String>, Vec<Figures>), LinkError> {
    let cost = amount.min(MOST_UNITS);
    let mut pipeline = Pipeline::new();
    // The reply of RL.RESERVE does not tell what a limit in the shadow denies.
    let in_shadow = |item: &&Item<'_>| item.check.rule.mode == DenialEffect::Shadow;
    for item in items.iter().filter(in_shadow) {
        pipeline.cmd("RL.QUOTA").arg(&item.check.key).arg(&item.check.rule.limits).arg("COST").arg(cost);
    }
    pipeline.cmd("RL.RESERVE").arg(items.len());
    for item in items {
        pipeline.arg(&item.check.key).arg(&*item.limits);
    }
    pipeline.arg("COST").arg(cost).arg("TTL").arg(format!("{hold_ms}ms"));
    let first = items.first().map_or("", |item| &item.check.key);
    let count = items.iter().filter(in_shadow).count() + 1;
    let mut values = Vec::with_capacity(count);
    for value in link.ask(pipeline, count, first).await? {
        values.push(value.extract_error().map_err(|why| LinkError::refused(&why))?);
    }
    let value = values.pop().ok_or_else(LinkError::unreadable)?;
    let Value::Array(parts) = value else { return Err(LinkError::unreadable()) };
    let [id, Value::Array(replies)] = parts.as_slice() else { return Err(LinkError::unreadable()) };
    let id = match id {
        Value::Nil => None,
        Value::BulkString(id) => Some(String::from_utf8_lossy(id).into_owned()),
        _ => return Err(LinkError::unreadable()),
    };
    let figures = replies.iter().map(of_six).collect::<Option<Vec<_>>>();
    let mut figures = figures.ok_or_else(LinkError::unreadable)?;
    let in_shadow = items.iter().zip(&mut figures).filter(|(item, _)| in_shadow(item));
    for ((_, figures), value) in in_shadow.zip(&values) {
        let before = of_quota(value).ok_or_else(LinkError::unreadable)?;
        let taken = if before.over { 0 } else { cost };
        *figures = Figures { remaining: before.remaining.map(|units| units.saturating_sub(taken)), ..before };
    }
    Ok((id, figures))
}

/// Settles a reservation at the units that were used. With 0 units, all are given back.
async fn settle(link: &Link, keys: &[String], id: &str, actual: u64) -> Result<Settled, LinkError> {
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
        _ => Err(LinkError::unreadable()),
    }
}

/// Charges the units of each check, even beyond the capacity.
async fn charge(link: &Link, planned: &RequestPlan) -> Result<(), LinkError> {
    let items = items(planned, false);
    let mut pipeline = Pipeline::new();
    let mut count = 0;
    for Item { check, limits, .. } in &items {
        let Hits::Take(n) = check.hits else { continue };
        pipeline.cmd("RL.CHARGE").arg(&check.key).arg(&**limits).arg("COST").arg(n);
        count += 1;
    }
    let Some(item) = items.first().filter(|_| count > 0) else { return Ok(()) };
    know_policies(link, &items).await?;
    for value in link.ask(pipeline, count, &item.check.key).await? {
        value.extract_error().map_err(|why| LinkError::refused(&why))?;
    }
    Ok(())
}

/// Fails if one of several items names an unknown policy. Otherwise the charges of the other items
/// would be made again with each attempt.
async fn know_policies(link: &Link, items: &[Item<'_>]) -> Result<(), LinkError> {
    let mut pipeline = Pipeline::new();
    let mut count = 0;
    let mut named = items.iter().filter(|item| items.len() > 1 && item.limits.contains('@'));
    for Item { check, limits, .. } in named.clone() {
        pipeline.cmd("RL.QUOTA").arg(&check.key).arg(&**limits);
        count += 1;
    }
    let Some(item) = named.next() else { return Ok(()) };
    for value in link.ask(pipeline, count, &item.check.key).await? {
        value.extract_error().map_err(|why| LinkError::refused(&why))?;
    }
    Ok(())
}
