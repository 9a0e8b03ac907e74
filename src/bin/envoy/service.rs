//! `ShouldRateLimit`: a request's descriptors → limits → a decision → an answer.

use crate::config::{Algorithm, Allowance, Config, Mode, Rule, Unit};
use crate::decision::{Ask, Decision, Figures, Hits, decide};
use crate::headers::{Wanted, headers};
use crate::key::key;
use crate::link::Link;
use crate::matching::{find, with_value};
use crate::metadata::{Said, metadata};
use crate::metrics::{Failure, Metrics};
use crate::reload::Current;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::rate_limit::Unit as ShownUnit;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::{
    Code, DescriptorStatus, RateLimit,
};
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_server::RateLimitService;
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use envoy_types::pb::google::protobuf::Duration as Length;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::{Request, Response, Status};

/// What every answer needs.
pub struct Service {
    pub current: Arc<Current>,
    pub link: Arc<Link>,
    pub metrics: Arc<Metrics>,
    pub style: Style,
}

/// How it answers.
#[derive(Clone, Debug)]
pub struct Style {
    /// How the limits that a request brings itself count.
    pub algorithm: Algorithm,
    /// In front of all keys.
    pub prefix: String,
    /// The longest that a request may take; Envoy may ask for less.
    pub deadline: Duration,
    pub headers: Wanted,
    /// Answers carry dynamic metadata.
    pub metadata: bool,
}

/// A descriptor, and what it meets.
enum Met {
    /// No limit.
    Nothing,
    /// All is allowed.
    Unlimited,
    /// The limit of that place among the asks.
    Limit(usize),
}

/// A request whose limits are known.
struct Planned {
    met: Vec<Met>,
    asks: Vec<Ask>,
    /// For each ask how metrics name it.
    paths: Vec<Vec<String>>,
}

#[tonic::async_trait]
impl RateLimitService for Service {
    async fn should_rate_limit(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        let start = Instant::now();
        let deadline = match asked_deadline(&request) {
            Some(asked) => asked.min(self.style.deadline),
            None => self.style.deadline,
        };
        let answer = self.answer(request.get_ref(), deadline).await;
        self.metrics.answered(start.elapsed());
        answer.map(Response::new)
    }
}

impl Service {
    async fn answer(
        &self,
        request: &RateLimitRequest,
        deadline: Duration,
    ) -> Result<RateLimitResponse, Status> {
        let planned = self.plan(&self.current.config(), request).inspect_err(|_| {
            self.metrics.failed(Failure::Service);
        })?;
        let decision = if planned.asks.is_empty() {
            Decision { figures: Vec::new(), denied: false }
        } else {
            let failed = |reason: String| {
                self.metrics.failed(Failure::Redis);
                Status::unavailable(reason)
            };
            match tokio::time::timeout(deadline, decide(&self.link, &planned.asks)).await {
                Ok(decided) => decided.map_err(|why| failed(why.to_string()))?,
                Err(_) => {
                    return Err(failed(format!("Redis did not answer within {} ms", deadline.as_millis())));
                }
            }
        };
        for ((ask, path), figures) in planned.asks.iter().zip(&planned.paths).zip(&decision.figures) {
            self.metrics.hit(&request.domain, path, ask, figures, &decision);
        }
        Ok(self.response(request, &planned, &decision))
    }

    /// Finds the limit of each descriptor.
    fn plan(&self, config: &Config, request: &RateLimitRequest) -> Result<Planned, Status> {
        if request.domain.is_empty() {
            return Err(Status::invalid_argument("the domain of the request is empty"));
        }
        if request.descriptors.is_empty() {
            return Err(Status::invalid_argument("the request has no descriptors"));
        }
        let known = config.domain(&request.domain).is_some();
        let found = request
            .descriptors
            .iter()
            .map(|descriptor| if known { self.found(config, &request.domain, descriptor) } else { Ok(None) })
            .collect::<Result<Vec<_>, Status>>()?;
        // A limit that another one of the request replaces is not asked.
        let replaced: HashSet<&str> = found
            .iter()
            .flatten()
            .flat_map(|found| found.allowance.replaces().iter().map(String::as_str))
            .collect();
        let mut planned =
            Planned { met: Vec::with_capacity(found.len()), asks: Vec::new(), paths: Vec::new() };
        for (descriptor, found) in request.descriptors.iter().zip(&found) {
            let met = match found.as_ref().map(|found| (found, &*found.allowance)) {
                None => Met::Nothing,
                Some((_, Allowance::Unlimited { .. })) => Met::Unlimited,
                Some((_, Allowance::Limited(rule))) if replaced.contains(rule.name.as_str()) => Met::Nothing,
                Some((found, Allowance::Limited(rule))) => {
                    planned.asks.push(Ask {
                        key: key(&self.style.prefix, &request.domain, &descriptor.entries, &found.shared),
                        rule: Arc::clone(rule),
                        hits: hits(request, descriptor),
                    });
                    planned.paths.push(found.path.clone());
                    Met::Limit(planned.asks.len() - 1)
                }
            };
            planned.met.push(met);
        }
        Ok(planned)
    }

    fn found(
        &self,
        config: &Config,
        domain: &str,
        descriptor: &RateLimitDescriptor,
    ) -> Result<Option<crate::matching::Match>, Status> {
        let Some(own) = &descriptor.limit else { return Ok(find(config, domain, &descriptor.entries)) };
        let Some(unit) = Unit::requested(own.unit()) else {
            return Err(Status::invalid_argument("the limit of a descriptor has no unit"));
        };
        let rule = Rule::new(self.style.algorithm, own.requests_per_unit, unit);
        Ok(Some(crate::matching::Match {
            allowance: Arc::new(Allowance::Limited(Arc::new(rule))),
            shared: Vec::new(),
            path: descriptor.entries.iter().map(with_value).collect(),
        }))
    }

    fn response(
        &self,
        request: &RateLimitRequest,
        planned: &Planned,
        decision: &Decision,
    ) -> RateLimitResponse {
        let status = |met: &Met| match met {
            Met::Nothing => DescriptorStatus { code: Code::Ok.into(), ..DescriptorStatus::default() },
            Met::Unlimited => DescriptorStatus {
                code: Code::Ok.into(),
                limit_remaining: u32::MAX,
                ..DescriptorStatus::default()
            },
            Met::Limit(at) => match (planned.asks.get(*at), decision.figures.get(*at)) {
                (Some(ask), Some(figures)) => limit_status(&ask.rule, figures),
                _ => DescriptorStatus::default(),
            },
        };
        let code = if decision.denied { Code::OverLimit } else { Code::Ok };
        RateLimitResponse {
            overall_code: code.into(),
            statuses: planned.met.iter().map(status).collect(),
            response_headers_to_add: headers(self.style.headers, &planned.asks, decision),
            dynamic_metadata: self.style.metadata.then(|| metadata(request, &said(planned, decision))),
            ..RateLimitResponse::default()
        }
    }
}

/// How much a descriptor takes: its own word before the request's, where 0 is 1
/// since the request cannot leave it out.
fn hits(request: &RateLimitRequest, descriptor: &RateLimitDescriptor) -> Hits {
    let addend = match &descriptor.hits_addend {
        Some(own) => own.value,
        None => request.hits_addend.max(1).into(),
    };
    Hits::of(addend, descriptor.is_negative_hits)
}

fn limit_status(rule: &Rule, figures: &Figures) -> DescriptorStatus {
    let facts = rule.facts.get(figures.index.unwrap_or(0));
    let code = if figures.over && rule.mode != Mode::Shadow { Code::OverLimit } else { Code::Ok };
    let limit = figures.capacity.map(|capacity| RateLimit {
        name: if rule.name.is_empty() && rule.facts.len() > 1 {
            facts.map_or(String::new(), |facts| facts.label.clone())
        } else {
            rule.name.clone()
        },
        requests_per_unit: u32::try_from(capacity).unwrap_or(u32::MAX),
        unit: facts.and_then(|facts| facts.unit).map_or(ShownUnit::Unknown, Unit::shown).into(),
    });
    DescriptorStatus {
        code: code.into(),
        current_limit: limit,
        limit_remaining: figures.remaining.map_or(u32::MAX, |left| u32::try_from(left).unwrap_or(u32::MAX)),
        duration_until_reset: length(figures.reset_ms),
        ..DescriptorStatus::default()
    }
}

/// Nothing for never.
fn length(ms: i64) -> Option<Length> {
    let nanos = i32::try_from(ms.rem_euclid(1000) * 1_000_000).unwrap_or(0);
    (ms >= 0).then_some(Length { seconds: ms / 1000, nanos })
}

fn said<'p>(planned: &'p Planned, decision: &Decision) -> Said<'p> {
    let mut said = Said { quota_mode: false, violations: Vec::new(), granted: Vec::new() };
    for (place, met) in planned.met.iter().enumerate() {
        let Met::Limit(at) = met else { continue };
        let (Some(ask), Some(figures)) = (planned.asks.get(*at), decision.figures.get(*at)) else { continue };
        said.quota_mode |= ask.rule.mode == Mode::Quota;
        if figures.over && ask.rule.mode == Mode::Quota {
            said.violations.push(place);
        }
        if !figures.over {
            said.granted.extend(&ask.rule.metadata);
        }
    }
    said
}

/// What `grpc-timeout` asks for: up to eight digits and a unit.
fn asked_deadline<T>(request: &Request<T>) -> Option<Duration> {
    parse_timeout(request.metadata().get("grpc-timeout")?.to_str().ok()?)
}

fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let n: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(n.saturating_mul(3600))),
        "M" => Some(Duration::from_secs(n.saturating_mul(60))),
        "S" => Some(Duration::from_secs(n)),
        "m" => Some(Duration::from_millis(n)),
        "u" => Some(Duration::from_micros(n)),
        "n" => Some(Duration::from_nanos(n)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_as_grpc_writes_them() {
        assert_eq!(parse_timeout("20m"), Some(Duration::from_millis(20)));
        assert_eq!(parse_timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for bad in ["", "m", "20", "-1S", "123456789S", "1é", "5x"] {
            assert_eq!(parse_timeout(bad), None, "{bad}");
        }
    }

    #[test]
    fn lengths_are_exact_or_absent() {
        assert_eq!(length(1234), Some(Length { seconds: 1, nanos: 234_000_000 }));
        assert_eq!(length(0), Some(Length { seconds: 0, nanos: 0 }));
        assert_eq!(length(-1), None);
    }
}
