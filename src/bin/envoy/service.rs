//! `ShouldRateLimit`: a request's descriptors → limits → a decision → an answer.

use crate::config::{DenialEffect, DescriptorLimits, TimeUnit, UnitAlgorithm};
use crate::decision::{Figures, RequestDecision, decide};
use crate::headers::{Wanted, headers};
use crate::link::{Link, LinkError};
use crate::metadata::{MetadataParts, metadata};
use crate::metrics::{Metrics, NoDecision};
use crate::plan::{DescriptorMatch, RequestPlan};
use crate::reload::Current;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::rate_limit::Unit as ShownUnit;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::{
    Code, DescriptorStatus, RateLimit,
};
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_server::RateLimitService;
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use envoy_types::pb::google::protobuf::Duration as Length;
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

/// How the service answers.
#[derive(Clone, Debug)]
pub struct Style {
    /// How limits count that a request brings itself.
    pub algorithm: UnitAlgorithm,
    /// The text in front of all keys.
    pub prefix: String,
    /// The longest time that a request may take. Envoy may ask for less.
    pub deadline: Duration,
    pub headers: Wanted,
    /// True if answers have dynamic metadata.
    pub metadata: bool,
}

#[tonic::async_trait]
impl RateLimitService for Service {
    async fn should_rate_limit(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        let start = Instant::now();
        let deadline = self.deadline(asked_deadline(&request));
        let request = request.get_ref();
        let answer = match self.plan(&request.domain, &request.descriptors, request.hits_addend) {
            Ok(planned) => self.answer(request, planned, deadline).await,
            Err(why) => Err(why),
        };
        self.metrics.answered(start.elapsed());
        answer.map(Response::new)
    }
}

impl Service {
    /// Decides and answers within `deadline`.
    ///
    /// # Errors
    /// `Unavailable` if there is no decision.
    pub async fn answer(
        &self,
        request: &RateLimitRequest,
        planned: RequestPlan,
        deadline: Duration,
    ) -> Result<RateLimitResponse, Status> {
        let decision = if planned.checks.is_empty() {
            RequestDecision { figures: Vec::new(), denied: false }
        } else {
            self.within(deadline, decide(&self.link, &planned.checks)).await?
        };
        for ((check, path), figures) in planned.checks.iter().zip(&planned.paths).zip(&decision.figures) {
            self.metrics.hit(&request.domain, path, check, figures, &decision);
        }
        Ok(self.response(request, &planned, &decision))
    }

    /// The time that a request has: the time that it asks for, but at most what the operator
    /// allows.
    pub fn deadline(&self, asked: Option<Duration>) -> Duration {
        asked.map_or(self.style.deadline, |asked| asked.min(self.style.deadline))
    }

    /// The answer of Redis, if it comes within `deadline`.
    ///
    /// # Errors
    /// `Unavailable` if Redis does not answer in time, or answers with an error. `InvalidArgument` if
    /// the request asks for more than Redis takes.
    pub async fn within<T>(
        &self,
        deadline: Duration,
        asking: impl Future<Output = Result<T, LinkError>>,
    ) -> Result<T, Status> {
        let reason = match tokio::time::timeout(deadline, asking).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(why @ LinkError::TooMany(_))) => {
                self.metrics.failed(NoDecision::Service);
                return Err(Status::invalid_argument(why.to_string()));
            }
            Ok(Err(why)) => {
                let reason = why.to_string();
                if matches!(why, LinkError::Refused(_)) {
                    self.link.tell(&reason);
                }
                reason
            }
            Err(_) => format!("Redis did not answer within {} ms", deadline.as_millis()),
        };
        self.metrics.failed(NoDecision::Redis);
        Err(Status::unavailable(reason))
    }

    fn response(
        &self,
        request: &RateLimitRequest,
        planned: &RequestPlan,
        decision: &RequestDecision,
    ) -> RateLimitResponse {
        let status = |matched: &DescriptorMatch| match matched {
            DescriptorMatch::Nothing => {
                DescriptorStatus { code: Code::Ok.into(), ..DescriptorStatus::default() }
            }
            DescriptorMatch::Unlimited => DescriptorStatus {
                code: Code::Ok.into(),
                limit_remaining: u32::MAX,
                ..DescriptorStatus::default()
            },
            DescriptorMatch::Limit(at) => match (planned.checks.get(*at), decision.figures.get(*at)) {
                (Some(check), Some(figures)) => limit_status(&check.rule, figures),
                _ => DescriptorStatus::default(),
            },
        };
        let code = if decision.denied { Code::OverLimit } else { Code::Ok };
        RateLimitResponse {
            overall_code: code.into(),
            statuses: planned.matched.iter().map(status).collect(),
            response_headers_to_add: headers(self.style.headers, &planned.checks, decision),
            dynamic_metadata: self.style.metadata.then(|| metadata(request, &parts(planned, decision))),
            ..RateLimitResponse::default()
        }
    }
}

fn limit_status(rule: &DescriptorLimits, figures: &Figures) -> DescriptorStatus {
    let facts = if figures.overruled { None } else { rule.facts_of(figures.index, figures.capacity) };
    let code = if figures.over && rule.mode != DenialEffect::Shadow { Code::OverLimit } else { Code::Ok };
    let limit = figures.capacity.map(|capacity| RateLimit {
        name: if rule.name.is_empty() && rule.facts.len() > 1 {
            facts.map_or(String::new(), |facts| facts.label.clone())
        } else {
            rule.name.clone()
        },
        requests_per_unit: u32::try_from(capacity).unwrap_or(u32::MAX),
        unit: facts.and_then(|facts| facts.unit).map_or(ShownUnit::Unknown, TimeUnit::shown).into(),
    });
    DescriptorStatus {
        code: code.into(),
        current_limit: limit,
        limit_remaining: figures.remaining.map_or(u32::MAX, |left| u32::try_from(left).unwrap_or(u32::MAX)),
        duration_until_reset: length(figures.reset_ms),
        ..DescriptorStatus::default()
    }
}

/// A time as the protocol has it. `None` for never.
fn length(ms: i64) -> Option<Length> {
    let nanos = i32::try_from(ms.rem_euclid(1000) * 1_000_000).unwrap_or(0);
    (ms >= 0).then_some(Length { seconds: ms / 1000, nanos })
}

fn parts<'p>(planned: &'p RequestPlan, decision: &RequestDecision) -> MetadataParts<'p> {
    let mut parts = MetadataParts { quota_mode: false, violations: Vec::new(), granted: Vec::new() };
    for (place, matched) in planned.matched.iter().enumerate() {
        let DescriptorMatch::Limit(at) = matched else { continue };
        let (Some(check), Some(figures)) = (planned.checks.get(*at), decision.figures.get(*at)) else {
            continue;
        };
        parts.quota_mode |= check.rule.mode == DenialEffect::Quota;
        if figures.over && check.rule.mode == DenialEffect::Quota {
            parts.violations.push(place);
        }
        if !figures.over {
            parts.granted.extend(&check.rule.metadata);
        }
    }
    parts
}

/// The time that the header `grpc-timeout` asks for. It has up to eight digits and a unit.
pub fn asked_deadline<T>(request: &Request<T>) -> Option<Duration> {
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
