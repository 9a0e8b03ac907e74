//! Plans a request: its descriptors → the limits that they meet.

use crate::config::{Allowance, Config, DescriptorLimits, TimeUnit};
use crate::decision::{Hits, LimitCheck};
use crate::key::key;
use crate::matching::{Match, find, with_value};
use crate::metrics::NoDecision;
use crate::service::Service;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use std::collections::HashSet;
use std::sync::Arc;
use tonic::Status;

/// What a descriptor meets.
pub enum DescriptorMatch {
    /// No limit.
    Nothing,
    /// An allowance without a limit.
    Unlimited,
    /// The limit at this position among the checks.
    Limit(usize),
}

/// A request whose limits are known.
pub struct RequestPlan {
    pub matched: Vec<DescriptorMatch>,
    pub checks: Vec<LimitCheck>,
    /// The name of each check in metrics.
    pub paths: Vec<Vec<String>>,
}

impl Service {
    /// Finds the limit of each descriptor. `hits_addend` is the number of hits that the request
    /// names for descriptors without one of their own.
    ///
    /// # Errors
    /// `InvalidArgument` if the request has no domain or no descriptors, or if it brings a limit
    /// without a unit.
    pub fn plan(
        &self,
        domain: &str,
        descriptors: &[RateLimitDescriptor],
        hits_addend: u32,
    ) -> Result<RequestPlan, Status> {
        self.planned(domain, descriptors, hits_addend)
            .inspect_err(|_| self.metrics.failed(NoDecision::Service))
    }

    fn planned(
        &self,
        domain: &str,
        descriptors: &[RateLimitDescriptor],
        hits_addend: u32,
    ) -> Result<RequestPlan, Status> {
        let config = self.current.config();
        if domain.is_empty() {
            return Err(Status::invalid_argument("the domain of the request is empty"));
        }
        if descriptors.is_empty() {
            return Err(Status::invalid_argument("the request has no descriptors"));
        }
        let known = config.domain(domain).is_some();
        let found = descriptors
            .iter()
            .map(|descriptor| if known { self.found(&config, domain, descriptor) } else { Ok(None) })
            .collect::<Result<Vec<_>, Status>>()?;
        // A limit that another limit of the request replaces is not asked.
        let replaced: HashSet<&str> = found
            .iter()
            .flatten()
            .flat_map(|found| found.allowance.replaces().iter().map(String::as_str))
            .collect();
        let mut planned =
            RequestPlan { matched: Vec::with_capacity(found.len()), checks: Vec::new(), paths: Vec::new() };
        for (descriptor, found) in descriptors.iter().zip(&found) {
            let matched = match found.as_ref().map(|found| (found, &*found.allowance)) {
                None => DescriptorMatch::Nothing,
                Some((_, Allowance::Unlimited { .. })) => DescriptorMatch::Unlimited,
                Some((_, Allowance::Limited(rule))) if replaced.contains(rule.name.as_str()) => {
                    DescriptorMatch::Nothing
                }
                Some((found, Allowance::Limited(rule))) => {
                    planned.checks.push(LimitCheck {
                        key: key(&self.style.prefix, domain, &descriptor.entries, &found.shared),
                        rule: Arc::clone(rule),
                        hits: hits(hits_addend, descriptor),
                    });
                    planned.paths.push(found.path.clone());
                    DescriptorMatch::Limit(planned.checks.len() - 1)
                }
            };
            planned.matched.push(matched);
        }
        Ok(planned)
    }

    fn found(
        &self,
        config: &Config,
        domain: &str,
        descriptor: &RateLimitDescriptor,
    ) -> Result<Option<Match>, Status> {
        let Some(own) = &descriptor.limit else { return Ok(find(config, domain, &descriptor.entries)) };
        let Some(unit) = TimeUnit::requested(own.unit()) else {
            return Err(Status::invalid_argument("the limit of a descriptor has no unit"));
        };
        let rule = DescriptorLimits::new(self.style.algorithm, own.requests_per_unit, unit);
        Ok(Some(Match {
            allowance: Arc::new(Allowance::Limited(Arc::new(rule))),
            shared: Vec::new(),
            path: descriptor.entries.iter().map(with_value).collect(),
        }))
    }
}

/// The hits of a descriptor. Its own number comes before that of the request. A 0 from the request
/// means 1, because the request cannot leave its number out.
fn hits(hits_addend: u32, descriptor: &RateLimitDescriptor) -> Hits {
    let addend = match &descriptor.hits_addend {
        Some(own) => own.value,
        None => hits_addend.max(1).into(),
    };
    Hits::of(addend, descriptor.is_negative_hits)
}
