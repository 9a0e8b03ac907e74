//! One limit of the configuration, ready to be asked for.

use super::Unit;
use floodgate::core::limits::{Expression, Limit, Term};
use std::sync::Arc;

/// How `unit` and `requests_per_unit` count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// In windows from the epoch on, as envoyproxy/ratelimit does.
    #[default]
    Fixed,
    /// In any interval of the unit's length.
    Sliding,
    /// As a bucket that refills all the time.
    Bucket,
}

impl Algorithm {
    /// As the command line names it.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "fixed" => Some(Self::Fixed),
            "sliding" => Some(Self::Sliding),
            "bucket" => Some(Self::Bucket),
            _ => None,
        }
    }

    /// The limit as a command takes it. A bucket of nothing is written as a
    /// window of nothing, which denies as well.
    fn text(self, requests: u32, unit: Unit) -> String {
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
    /// Everything, without asking.
    Unlimited {
        /// The names of the limits that give way to it.
        replaces: Vec<String>,
    },
    /// As much as a rule.
    Limited(Arc<Rule>),
}

impl Allowance {
    /// The names of the limits that give way to it.
    pub fn replaces(&self) -> &[String] {
        match self {
            Self::Unlimited { replaces } => replaces,
            Self::Limited(rule) => &rule.replaces,
        }
    }
}

/// What the denial of a limit does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It denies the request.
    #[default]
    Enforced,
    /// It is counted only.
    Shadow,
    /// It denies the request when all limits of this mode do.
    Quota,
}

/// One limit, or several that hold together.
#[derive(Debug)]
pub struct Rule {
    /// The limits as a command takes them.
    pub limits: String,
    /// What is known of each of them, in their order.
    pub facts: Vec<Facts>,
    pub mode: Mode,
    /// Empty without a name.
    pub name: String,
    /// The names of the limits that give way to it.
    pub replaces: Vec<String>,
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

/// What headers and answers show of a limit.
#[derive(Debug)]
pub struct Facts {
    pub label: String,
    /// `None` when the server alone knows.
    pub capacity: Option<u64>,
    /// In how many seconds, rounded up, all of it comes back.
    pub window: Option<u64>,
    /// In how many microseconds; no interval of that length has more than the
    /// capacity.
    pub period_us: Option<u64>,
    pub unit: Option<Unit>,
    /// It never denies.
    pub shadow: bool,
}

impl Facts {
    fn of(term: &Term) -> Self {
        match term {
            Term::Limit(limit) => Self::of_limit(limit),
            Term::Policy(name) => Self {
                label: name.to_string(),
                capacity: None,
                window: None,
                period_us: None,
                unit: None,
                shadow: false,
            },
        }
    }

    fn of_limit(limit: &Limit) -> Self {
        Self {
            label: limit.label().into_owned(),
            capacity: limit.capacity(),
            window: limit.refill_us().map(|us| us.div_ceil(1_000_000)),
            period_us: limit.refill_us(),
            unit: limit.period_us().and_then(Unit::of_micros),
            shadow: limit.shadow(),
        }
    }
}

impl Rule {
    /// `requests` in each `unit`.
    pub fn new(algorithm: Algorithm, requests: u32, unit: Unit) -> Self {
        let limits = algorithm.text(requests, unit);
        let label = limits.clone();
        let facts = Facts {
            label,
            capacity: Some(requests.into()),
            window: Some(unit.seconds()),
            period_us: unit.seconds().checked_mul(1_000_000),
            unit: Some(unit),
            shadow: false,
        };
        Self::of(limits, vec![facts])
    }

    /// Limits in Floodgate's own text.
    ///
    /// # Errors
    /// The reason, naming the bad limit.
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
        Ok(Self::of(text.to_owned(), terms.iter().map(Facts::of).collect()))
    }

    /// Its limits as they are counted and deny nothing: those that can be.
    pub fn in_the_shadow(&self) -> Option<String> {
        let can = |text: &&str| {
            let Ok(Expression::Terms(terms)) = Expression::parse(text.as_bytes()) else { return false };
            matches!(terms.as_slice(), [Term::Limit(_)])
        };
        // A policy has its own options, and `block=` is for limits that deny.
        let shadows: Vec<String> = self
            .limits
            .split(',')
            .filter(can)
            .map(|text| if text.contains(":shadow") { text.to_owned() } else { format!("{text}:shadow") })
            .filter(|text| Expression::parse(text.as_bytes()).is_ok())
            .collect();
        (!shadows.is_empty()).then(|| shadows.join(","))
    }

    fn of(limits: String, facts: Vec<Facts>) -> Self {
        Self {
            limits,
            facts,
            mode: Mode::Enforced,
            name: String::new(),
            replaces: Vec::new(),
            metadata: None,
        }
    }
}
