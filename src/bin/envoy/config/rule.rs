//! One limit of the configuration, ready to be asked for.

use super::TimeUnit;
use floodgate::core::limits::{Expression, Label, Limit, Term};
use std::sync::Arc;

/// The start of the names of the limits that this service itself has on a key.
const OWN_NAMES: &str = "rlqs-";

/// How `unit` and `requests_per_unit` count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnitAlgorithm {
    /// In windows that start at multiples of the unit since the epoch, as envoyproxy/ratelimit
    /// does.
    #[default]
    Fixed,
    /// In any interval of the unit's length.
    Sliding,
    /// As a bucket that refills continuously.
    Bucket,
}

impl UnitAlgorithm {
    /// Reads the name that the command line takes.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "fixed" => Some(Self::Fixed),
            "sliding" => Some(Self::Sliding),
            "bucket" => Some(Self::Bucket),
            _ => None,
        }
    }

    /// The limit as commands take it. A bucket of 0 requests is written as a fixed window of 0
    /// requests, which denies everything as well.
    fn text(self, requests: u32, unit: TimeUnit) -> String {
        let name = match self {
            Self::Bucket if requests > 0 => "bucket:",
            Self::Sliding => "",
            Self::Fixed | Self::Bucket => "fixed:",
        };
        format!("{name}{requests}/{}", unit.period())
    }
}

/// What a descriptor allows.
#[derive(Debug)]
pub enum Allowance {
    /// All requests, without asking Redis.
    Unlimited {
        /// The names of the limits that this one replaces.
        replaces: Vec<String>,
    },
    /// The requests that the rule grants.
    Limited(Arc<DescriptorLimits>),
}

impl Allowance {
    /// The names of the limits that this one replaces.
    pub fn replaces(&self) -> &[String] {
        match self {
            Self::Unlimited { replaces } => replaces,
            Self::Limited(rule) => &rule.replaces,
        }
    }
}

/// The effect if a limit denies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DenialEffect {
    /// The request is denied.
    #[default]
    Enforced,
    /// It is only counted.
    Shadow,
    /// The request is denied if all limits of this mode deny.
    Quota,
}

/// One limit, or several limits that are asked together.
#[derive(Debug)]
pub struct DescriptorLimits {
    /// The limits as commands take them.
    pub limits: String,
    /// The facts of each limit, in their order.
    pub facts: Vec<Facts>,
    pub mode: DenialEffect,
    /// The name in the configuration. Empty if there is none.
    pub name: String,
    /// The names of the limits that this rule replaces.
    pub replaces: Vec<String>,
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

/// The facts of a limit that headers and answers show.
#[derive(Debug)]
pub struct Facts {
    pub label: String,
    /// The capacity. `None` if only the server knows it.
    pub capacity: Option<u64>,
    /// The part of the capacity that requests may use that are not critical. `None` if only the
    /// server knows it.
    pub usable: Option<u64>,
    /// The seconds, rounded up, in which the whole capacity comes back.
    pub window: Option<u64>,
    /// The length in microseconds that no window of the limit exceeds. `None` if there is no such
    /// length.
    pub longest_us: Option<u64>,
    pub unit: Option<TimeUnit>,
    /// True if a request is charged 1, whatever its cost.
    pub per_call: bool,
    /// False if the limit never denies: a shadow limit, and `unlimited`.
    pub denies: bool,
}

impl Facts {
    fn of(term: &Term) -> Self {
        match term {
            Term::Limit(limit) => Self::of_limit(limit),
            Term::Policy(name) => Self {
                label: name.to_string(),
                capacity: None,
                usable: None,
                window: None,
                longest_us: None,
                unit: None,
                per_call: false,
                denies: true,
            },
        }
    }

    fn of_limit(limit: &Limit) -> Self {
        Self {
            label: limit.label().into_owned(),
            capacity: limit.capacity(),
            usable: limit.capacity().map(|capacity| limit.keep().usable(capacity)),
            window: limit.refill_us().map(|us| us.div_ceil(1_000_000)),
            longest_us: limit.covering_us(),
            unit: limit.period_us().and_then(TimeUnit::of_micros),
            per_call: limit.per_call(),
            // Only `unlimited` has no capacity.
            denies: !limit.shadow() && limit.capacity().is_some(),
        }
    }
}

impl DescriptorLimits {
    /// The rule of `requests` in each `unit`.
    pub fn new(algorithm: UnitAlgorithm, requests: u32, unit: TimeUnit) -> Self {
        let limits = algorithm.text(requests, unit);
        let label = limits.clone();
        let facts = Facts {
            label,
            capacity: Some(requests.into()),
            usable: Some(requests.into()),
            window: Some(unit.seconds()),
            longest_us: unit.seconds().checked_mul(1_000_000),
            unit: Some(unit),
            per_call: false,
            denies: true,
        };
        Self::of(limits, vec![facts])
    }

    /// The facts of the limit at this position, or of the first one. `None` if the limit that was
    /// asked has another capacity, because a pin or the server's own limits hold in its place.
    pub fn facts_of(&self, index: Option<usize>, capacity: Option<u64>) -> Option<&Facts> {
        let facts = self.facts.get(index.unwrap_or(0))?;
        (facts.capacity.is_none() || facts.capacity == capacity).then_some(facts)
    }

    /// The limits that can deny.
    pub fn denying(&self) -> impl Iterator<Item = &Facts> {
        self.facts.iter().filter(|facts| facts.denies)
    }

    /// The rule of limits in Floodgate's own text.
    ///
    /// # Errors
    /// The reason, which names the bad limit.
    pub fn written(text: &str) -> Result<Self, String> {
        let terms = match Expression::parse(text.as_bytes()).map_err(|why| why.to_string())? {
            Expression::Terms(terms) => terms,
            Expression::ServerChosen => {
                return Err("'*' names no limits: write them out, or name a policy such as @gold".into());
            }
        };
        let concurrent =
            |term: &Term| matches!(term, Term::Limit(limit) if limit.algorithm_name() == "concurrent");
        if terms.iter().any(concurrent) {
            return Err("'concurrent' needs the end of each request, and Envoy does not report it".into());
        }
        let names = terms.iter().filter_map(|term| match term {
            Term::Limit(limit) => limit.name(),
            Term::Policy(_) => None,
        });
        if let Some(name) = names.map(Label::as_str).find(|name| name.starts_with(OWN_NAMES)) {
            let name = name.to_owned();
            return Err(format!(
                "names such as '{name}' are this service's own: choose one without '{OWN_NAMES}'"
            ));
        }
        Ok(Self::of(text.to_owned(), terms.iter().map(Facts::of).collect()))
    }

    /// The limits as shadow limits, which are counted and deny nothing. Limits that cannot be
    /// shadow limits are left out. `None` if none is left.
    pub fn in_the_shadow(&self) -> Option<String> {
        // A policy has options of its own. A shadow limit cannot have `block=`.
        let shadow = |text: &str| {
            let Ok(Expression::Terms(terms)) = Expression::parse(text.as_bytes()) else { return None };
            match terms.as_slice() {
                [Term::Limit(limit)] if limit.shadow() => Some(text.to_owned()),
                [Term::Limit(_)] => Some(format!("{text}:shadow")),
                _ => None,
            }
        };
        let shadows: Vec<String> = self
            .limits
            .split(',')
            .filter_map(shadow)
            .filter(|text| Expression::parse(text.as_bytes()).is_ok())
            .collect();
        (!shadows.is_empty()).then(|| shadows.join(","))
    }

    fn of(limits: String, facts: Vec<Facts>) -> Self {
        Self {
            limits,
            facts,
            mode: DenialEffect::Enforced,
            name: String::new(),
            replaces: Vec::new(),
            metadata: None,
        }
    }
}
