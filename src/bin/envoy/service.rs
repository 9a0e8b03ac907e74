//! `ShouldRateLimit`: a request's descriptors → limits → a decision → an answer.

use crate::config::{Algorithm, Mode, Rule, Unit};
use crate::decision::{Decision, Figures, decide};
use crate::headers::{Wanted, headers};
use crate::link::{Link, Unanswered};
use crate::metadata::{Said, metadata};
use crate::metrics::{Failure, Metrics};
use crate::plan::{Met, Planned};
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
    /// Decides and answers, within `deadline`.
    ///
    /// # Errors
    /// When there is no decision.
    pub async fn answer(
        &self,
        request: &RateLimitRequest,
        planned: Planned,
        deadline: Duration,
    ) -> Result<RateLimitResponse, Status> {
        let decision = if planned.asks.is_empty() {
            Decision { figures: Vec::new(), denied: false }
        } else {
            self.within(deadline, decide(&self.link, &planned.asks)).await?
        };
        for ((ask, path), figures) in planned.asks.iter().zip(&planned.paths).zip(&decision.figures) {
            self.metrics.hit(&request.domain, path, ask, figures, &decision);
        }
        Ok(self.response(request, &planned, &decision))
    }

    /// The time that a request has: what it asks for, but not more than the
    /// operator allows.
    pub fn deadline(&self, asked: Option<Duration>) -> Duration {
        asked.map_or(self.style.deadline, |asked| asked.min(self.style.deadline))
    }

    /// What Redis answers within `deadline`.
    ///
    /// # Errors
    /// When it does not.
    pub async fn within<T>(
        &self,
        deadline: Duration,
        asking: impl Future<Output = Result<T, Unanswered>>,
    ) -> Result<T, Status> {
        let reason = match tokio::time::timeout(deadline, asking).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(why)) => why.to_string(),
            Err(_) => format!("Redis did not answer within {} ms", deadline.as_millis()),
        };
        self.metrics.failed(Failure::Redis);
        Err(Status::unavailable(reason))
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
