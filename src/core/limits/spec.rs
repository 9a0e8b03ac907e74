//! Limits whose text has been parsed.
//!
//! Values of these types are valid by construction: their fields are private, and only `parse` and
//! checked constructors make them.

pub use super::quantity::MAX_COUNT;

use super::closing::Closing;
use super::rule::Rule;
use super::throttle::Throttle;
use crate::core::text::percent::Percent;
use std::borrow::Cow;
use std::fmt;

/// The most limits in one set.
pub const MAX_LIMITS: usize = 8;
/// The length of the longest label in bytes.
pub const MAX_LABEL: usize = 64;

/// A name that a user chose for a limit or a policy: 1 to 64 characters of `A-Z a-z 0-9 _ . -`.
/// Letter case matters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Box<str>);

impl Label {
    /// Checks a label.
    ///
    /// # Errors
    /// The reason in a few words.
    ///
    /// ```
    /// use floodgate::core::limits::Label;
    ///
    /// assert_eq!(Label::parse(b"gold").unwrap().as_str(), "gold");
    /// assert_eq!(Label::parse(b"a b"), Err("name has characters other than A-Z a-z 0-9 _ . -"));
    /// ```
    pub fn parse(text: &[u8]) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("name is empty");
        }
        if text.len() > MAX_LABEL {
            return Err("name is longer than 64 characters");
        }
        if !text.iter().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(b)) {
            return Err("name has characters other than A-Z a-z 0-9 _ . -");
        }
        Ok(Self(String::from_utf8_lossy(text).into()))
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The charge of a limit for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Charge {
    /// The limit is charged the cost of the request.
    #[default]
    Cost,
    /// The limit is charged 1, whatever the cost. This is so with `per=call`, and for `concurrent`
    /// without `per=cost`.
    Call,
}

impl Charge {
    /// The charge without `per=`: a reservation counts 1 on `concurrent`; other limits are charged
    /// the cost.
    const fn without_per(rule: &Rule) -> Self {
        if matches!(rule, Rule::Concurrent(_)) { Self::Call } else { Self::Cost }
    }
}

/// The part of a capacity that only CRITICAL requests may use (`keep=P%`): 0% or more, and less
/// than 100%.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Keep(Percent);

impl Keep {
    /// No part is kept.
    const NONE: Self = Self(Percent::NONE);

    /// Checks a share; `None` at 100%.
    pub fn new(share: Percent) -> Option<Self> {
        (share < Percent::ALL).then_some(Self(share))
    }

    /// The part of `capacity` that requests may use that are not critical. The kept part is rounded
    /// down to whole units: `capacity - floor(capacity * P / 100)`.
    #[inline]
    pub fn usable(self, capacity: u64) -> u64 {
        if self == Self::NONE {
            return capacity;
        }
        // The kept part is less than the capacity, because P is below 100.
        capacity.saturating_sub(self.0.units(capacity))
    }
}

/// One limit: a rule, and the options that every limit has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub(super) rule: Rule,
    pub(super) name: Option<Label>,
    pub(super) charge: Charge,
    pub(super) keep: Keep,
    /// True if the limit counts as if enforced, but never denies (`shadow`).
    pub(super) shadow: bool,
    pub(super) closing: Option<Box<Closing>>,
    /// Distinguishes limits of one set that have no name and count alike: the number of such limits
    /// before it (see [`Limits::new`]).
    pub(super) twin: u8,
}

impl Limit {
    /// A limit of this rule without options.
    pub(super) const fn plain(rule: Rule) -> Self {
        let charge = Charge::without_per(&rule);
        Self { rule, name: None, charge, keep: Keep::NONE, shadow: false, closing: None, twin: 0 }
    }

    /// The limit that always grants.
    pub const fn unlimited() -> Self {
        Self::plain(Rule::Unlimited)
    }

    /// The limit that `CL.THROTTLE` keeps. No token of a user makes it.
    pub const fn throttle(rule: Throttle) -> Self {
        Self::plain(Rule::Throttle(rule))
    }

    /// The algorithm with its numbers.
    #[inline]
    pub const fn rule(&self) -> &Rule {
        &self.rule
    }

    /// The name given with `name=`.
    pub const fn name(&self) -> Option<&Label> {
        self.name.as_ref()
    }

    /// The text by which replies and headers call the limit: its name, or else algorithm and
    /// numbers in their shortest form, such as `100/m` or `bucket:10/s`.
    pub fn label(&self) -> Cow<'_, str> {
        match &self.name {
            Some(name) => Cow::Borrowed(name.as_str()),
            None => Cow::Owned(self.rule.head()),
        }
    }

    /// The name of the algorithm: `sliding`, `bucket`, `fixed`, `concurrent`, `throttle` or
    /// `unlimited`.
    pub const fn algorithm_name(&self) -> &'static str {
        self.rule.name()
    }

    /// The most units in use at a time: `count`, or `burst` of a bucket. `None` for unlimited.
    #[inline]
    pub fn capacity(&self) -> Option<u64> {
        self.rule.capacity()
    }

    /// The period in microseconds. `None` for unlimited, concurrent and a credit. A month counts as
    /// 31 days, its longest length.
    pub fn period_us(&self) -> Option<u64> {
        self.rule.period_us()
    }

    /// The time in microseconds in which a limit that is used up gets its whole capacity back if
    /// nobody asks. `None` for unlimited, concurrent and a credit. It is the period, except for a
    /// bucket whose burst differs from its count.
    ///
    /// ```
    /// # use floodgate::core::limits::Limits;
    /// let limits = Limits::parse(b"bucket:10/s:burst=50").unwrap();
    /// assert_eq!(limits.as_slice()[0].refill_us(), Some(5_000_000));
    /// ```
    pub fn refill_us(&self) -> Option<u64> {
        self.rule.refill_us()
    }

    /// The longest possible window in microseconds. `None` for unlimited, concurrent and a credit.
    /// It equals [`Self::refill_us`], except for windows of a time zone: a day has up to 26 hours
    /// there, because clocks are set back.
    ///
    /// ```
    /// # use floodgate::core::limits::Limits;
    /// let limits = Limits::parse(b"fixed:10/d:tz=Europe/Paris").unwrap();
    /// assert_eq!(limits.as_slice()[0].covering_us(), Some(26 * 3_600_000_000));
    /// ```
    pub fn covering_us(&self) -> Option<u64> {
        self.rule.covering_us()
    }

    /// False for a credit (`fixed:5000/ever`), whose units never come back by themselves.
    #[inline]
    pub fn comes_back(&self) -> bool {
        self.rule.comes_back()
    }

    /// The charge of the limit for a request.
    #[inline]
    pub const fn charge(&self) -> Charge {
        self.charge
    }

    /// True if the limit is charged 1 whatever the cost.
    pub const fn per_call(&self) -> bool {
        matches!(self.charge, Charge::Call)
    }

    /// The part that is kept for critical requests.
    #[inline]
    pub const fn keep(&self) -> Keep {
        self.keep
    }

    /// True for a shadow limit, which counts and never denies.
    #[inline]
    pub const fn shadow(&self) -> bool {
        self.shadow
    }

    /// The block that the limit begins when it is exceeded (`block=`), if it begins one.
    #[inline]
    pub fn closing(&self) -> Option<&Closing> {
        self.closing.as_deref()
    }

    /// True if both own the same usage. They have the same `name=`; or they have no name, but the
    /// same algorithm, period, `per`, `start` and `tz`, and the same place among the limits of
    /// their set that count alike. Count, burst, keep, block and shadow do not matter, but for a
    /// bucket of count 0: it keeps no usage, so it is no other limit's.
    ///
    /// ```
    /// use floodgate::core::limits::Limits;
    ///
    /// let limits = Limits::parse(b"10/m,20/m:name=login,fixed:10/m").unwrap();
    /// let [minute, login, fixed] = limits.as_slice() else { unreachable!() };
    /// let raised = Limits::parse(b"30/m").unwrap();
    /// let raised = &raised.as_slice()[0];
    /// // Another count keeps its usage; another name or algorithm does not.
    /// assert!(minute.same_identity(raised));
    /// assert!(!login.same_identity(raised));
    /// assert!(!fixed.same_identity(raised));
    /// ```
    pub fn same_identity(&self, other: &Self) -> bool {
        let alike = match (&self.name, &other.name) {
            (Some(a), Some(b)) => a == b,
            (None, None) => self.twin == other.twin && self.counts_alike(other),
            _ => false,
        };
        alike && self.rule.keeps_usage() == other.rule.keeps_usage()
    }

    /// A hash that is equal for limits of the same identity, and most likely different for others.
    pub fn identity_hash(&self) -> u32 {
        // FNV-1a is short and the same on every machine, and nobody gains by a collision.
        let add = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        let seed = 0x811c_9dc5;
        if let Some(name) = &self.name {
            return name.as_str().bytes().fold(add(seed, b'='), add);
        }
        // The period is what `same_usage` compares, or less.
        let period = match &self.rule {
            Rule::Throttle(_) => 0,
            rule => rule.period_us().unwrap_or(0),
        };
        let head = self.rule.name().bytes().chain([self.twin, u8::from(self.per_call())]);
        head.chain(period.to_le_bytes()).fold(seed, add)
    }

    /// True for two limits without a name that count the same thing.
    fn counts_alike(&self, other: &Self) -> bool {
        self.name.is_none()
            && other.name.is_none()
            && self.charge == other.charge
            && self.rule.same_usage(&other.rule)
    }

    /// The shortest text that parses back to an equal limit. That of a throttle parses only with
    /// [`Limits::parse_stored`].
    ///
    /// ```
    /// use floodgate::core::limits::Limits;
    ///
    /// let limits = Limits::parse(b"100/minute,bucket:10/s:burst=50").unwrap();
    /// let texts: Vec<_> = limits.as_slice().iter().map(|limit| limit.canonical()).collect();
    /// assert_eq!(texts, ["100/m", "bucket:10/s:burst=50"]);
    /// ```
    pub fn canonical(&self) -> String {
        let mut text = self.rule.head();
        text.push_str(&self.rule.tail());
        if self.charge != Charge::without_per(&self.rule) {
            text.push_str(match self.charge {
                Charge::Call => ":per=call",
                Charge::Cost => ":per=cost",
            });
        }
        if self.keep != Keep::NONE {
            text.push_str(&format!(":keep={}", self.keep.0));
        }
        if let Some(closing) = &self.closing {
            text.push_str(&closing.text());
        }
        if self.shadow() {
            text.push_str(":shadow");
        }
        if let Some(name) = &self.name {
            text.push_str(":name=");
            text.push_str(name.as_str());
        }
        text
    }

    /// The text of a single limit, from which [`Limit::parse_stored`] makes an equal one. Its place
    /// among those that count alike is included.
    pub fn stored(&self) -> String {
        let mut text = self.canonical();
        if self.twin > 0 {
            text.push_str(":twin=");
            text.push_str(&self.twin.to_string());
        }
        text
    }
}

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
        self.0.iter().any(|limit| matches!(limit.rule, Rule::Concurrent(_)))
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

/// One entry of a `limits` argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    /// `@name`: the limits of the policy of this name.
    Policy(Label),
    /// A limit that is written out.
    Limit(Limit),
}

/// A `limits` argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// `*`: the limits that the server has for the key.
    ServerChosen,
    /// 1 to 8 policies and limits, all of which must grant.
    Terms(Vec<Term>),
}

impl From<Limit> for Limits {
    /// A set of one limit.
    fn from(limit: Limit) -> Self {
        Self(Box::new([limit]))
    }
}
