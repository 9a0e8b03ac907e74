//! Limits that hold together.

use super::limit::Limit;
use super::rule::Rule;

/// The most limits in one set.
pub const MAX_LIMITS: usize = 8;

/// The reason for which limits cannot form a set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitsError {
    /// There is no limit.
    #[error("no limits")]
    Empty,
    /// There are more than [`MAX_LIMITS`] limits.
    #[error("more than 8 limits")]
    TooMany,
    /// Two limits have the same name. This is the canonical text of the second.
    #[error("another limit has the same name ({0})")]
    Twice(String),
}

/// A set of 1 to 8 limits that hold together, in order. No two have the same identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits(Box<[Limit]>);

impl Limits {
    /// Makes a set of limits.
    ///
    /// Limits without a name that count alike, as in `100/m,50/m:shadow`, own a usage each; the
    /// enforced ones come first. So the first of them goes on with the usage of one that stood
    /// alone, and a shadow limit that is tried out beside it starts its own.
    ///
    /// # Errors
    /// [`LimitsError`] for no limits, more than 8, or two of the same name.
    pub fn new(mut limits: Vec<Limit>) -> Result<Self, LimitsError> {
        if limits.is_empty() {
            return Err(LimitsError::Empty);
        }
        if limits.len() > MAX_LIMITS {
            return Err(LimitsError::TooMany);
        }
        for (at, limit) in limits.iter().enumerate() {
            if limits.iter().take(at).any(|earlier| earlier.name.is_some() && earlier.name == limit.name) {
                return Err(LimitsError::Twice(limit.canonical()));
            }
        }
        for at in 0..limits.len() {
            let twin = place_among_alike(&limits, at);
            if let Some(limit) = limits.get_mut(at) {
                limit.twin = twin;
            }
        }
        Ok(Self(limits.into_boxed_slice()))
    }

    /// The limits in the order in which they were written.
    #[inline]
    pub const fn as_slice(&self) -> &[Limit] {
        &self.0
    }

    /// The shortest text that parses back to equal limits.
    pub fn canonical(&self) -> String {
        let texts: Vec<String> = self.0.iter().map(Limit::canonical).collect();
        texts.join(",")
    }

    /// True if some limit is `concurrent`, which only reservations can take.
    pub fn has_concurrent(&self) -> bool {
        self.0.iter().any(|limit| limit.rule.holds_places())
    }

    /// True if some limit is one that `CL.THROTTLE` keeps.
    pub fn has_throttle(&self) -> bool {
        self.0.iter().any(|limit| matches!(limit.rule, Rule::Throttle(_)))
    }
}

/// The number of limits that come before the one at `at` among those of the set that count alike:
/// the enforced ones first, each in the order in which they were written.
fn place_among_alike(limits: &[Limit], at: usize) -> u8 {
    let Some(limit) = limits.get(at) else { return 0 };
    let before = limits.iter().enumerate().filter(|&(other_at, other)| {
        other.counts_alike(limit) && (other.shadow(), other_at) < (limit.shadow(), at)
    });
    u8::try_from(before.count()).unwrap_or(u8::MAX)
}

impl From<Limit> for Limits {
    /// A set of one limit.
    fn from(limit: Limit) -> Self {
        Self(Box::new([limit]))
    }
}
