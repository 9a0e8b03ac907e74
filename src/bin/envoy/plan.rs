//! What a request asks for: its descriptors → the limits that they meet.

use crate::config::{Allowance, Config, Rule, Unit};
use crate::decision::{Ask, Hits};
use crate::key::key;
use crate::matching::{Match, find, with_value};
use crate::metrics::Failure;
use crate::service::Service;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use std::collections::HashSet;
use std::sync::Arc;
use tonic::Status;

/// A descriptor, and what it meets.
pub enum Met {
    /// No limit.
    Nothing,
    /// All is allowed.
    Unlimited,
    /// The limit of that place among the asks.
    Limit(usize),
}

/// A request whose limits are known.
pub struct Planned {
    pub met: Vec<Met>,
    pub asks: Vec<Ask>,
    /// For each ask how metrics name it.
    pub paths: Vec<Vec<String>>,
}

impl Service {
    /// Finds the limit of each descriptor; `hits_addend` is the request's own word
    /// about hits.
    ///
    /// # Errors
    /// A request that says nothing, or brings a limit without a unit.
    pub fn plan(
        &self,
        domain: &str,
        descriptors: &[RateLimitDescriptor],
        hits_addend: u32,
    ) -> Result<Planned, Status> {
        self.planned(domain, descriptors, hits_addend).inspect_err(|_| self.metrics.failed(Failure::Service))
    }

    fn planned(
        &self,
        domain: &str,
        descriptors: &[RateLimitDescriptor],
        hits_addend: u32,
    ) -> Result<Planned, Status> {
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
        // A limit that another one of the request replaces is not asked.
        let replaced: HashSet<&str> = found
            .iter()
            .flatten()
            .flat_map(|found| found.allowance.replaces().iter().map(String::as_str))
            .collect();
        let mut planned =
            Planned { met: Vec::with_capacity(found.len()), asks: Vec::new(), paths: Vec::new() };
        for (descriptor, found) in descriptors.iter().zip(&found) {
            let met = match found.as_ref().map(|found| (found, &*found.allowance)) {
                None => Met::Nothing,
                Some((_, Allowance::Unlimited { .. })) => Met::Unlimited,
                Some((_, Allowance::Limited(rule))) if replaced.contains(rule.name.as_str()) => Met::Nothing,
                Some((found, Allowance::Limited(rule))) => {
                    planned.asks.push(Ask {
                        key: key(&self.style.prefix, domain, &descriptor.entries, &found.shared),
                        rule: Arc::clone(rule),
                        hits: hits(hits_addend, descriptor),
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
    ) -> Result<Option<Match>, Status> {
        let Some(own) = &descriptor.limit else { return Ok(find(config, domain, &descriptor.entries)) };
        let Some(unit) = Unit::requested(own.unit()) else {
            return Err(Status::invalid_argument("the limit of a descriptor has no unit"));
        };
        let rule = Rule::new(self.style.algorithm, own.requests_per_unit, unit);
        Ok(Some(Match {
            allowance: Arc::new(Allowance::Limited(Arc::new(rule))),
            shared: Vec::new(),
            path: descriptor.entries.iter().map(with_value).collect(),
        }))
    }
}

/// How much a descriptor takes: its own word before the request's, where 0 is 1
/// since the request cannot leave it out.
fn hits(hits_addend: u32, descriptor: &RateLimitDescriptor) -> Hits {
    let addend = match &descriptor.hits_addend {
        Some(own) => own.value,
        None => hits_addend.max(1).into(),
    };
    Hits::of(addend, descriptor.is_negative_hits)
}
