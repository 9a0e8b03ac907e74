//! What a limit is once its text is understood. Values of these types are
//! valid by construction: fields are private and only `parse` and checked
//! constructors make them.

pub use super::quantity::MAX_COUNT;

use super::closing::Closing;
use super::rule::Rule;
use super::throttle::Throttle;
use std::borrow::Cow;
use std::fmt;

/// The most limits that one set holds.
pub const MAX_LIMITS: usize = 8;
/// The longest label in bytes.
pub const MAX_LABEL: usize = 64;

/// A name that a user chose for a limit or a policy: 1 ..= 64 of
/// `A-Z a-z 0-9 _ . -`. Letter case matters.
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
        Ok(Self(text.iter().map(|&b| char::from(b)).collect::<String>().into_boxed_str()))
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

/// What a limit is charged for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Charge {
    /// The cost of the request.
    #[default]
    Cost,
    /// 1 whatever the cost (`per=call`; `concurrent` without `per=cost`).
    Call,
}

impl Charge {
    /// What `per=` changes: a reservation counts 1 on `concurrent`, elsewhere the cost
    /// is charged.
    const fn without_per(rule: &Rule) -> Self {
        if matches!(rule, Rule::Concurrent(_)) { Self::Call } else { Self::Cost }
    }
}

/// Whether a limit's denial counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Enforcement {
    /// It denies.
    #[default]
    Enforced,
    /// It is counted as if enforced, and never denies (`shadow`).
    Shadow,
}

/// The part of a capacity that only requests marked critical may use
/// (`keep=P%`), in hundredths of a percent: 0 ..= 9999, 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Keep(u16);

impl Keep {
    /// Checks a part; `None` when it is the whole or more.
    pub fn new(hundredths_of_percent: u16) -> Option<Self> {
        (hundredths_of_percent < 10_000).then_some(Self(hundredths_of_percent))
    }

    /// Hundredths of a percent, 0 ..= 9999.
    pub const fn hundredths_of_percent(self) -> u16 {
        self.0
    }

    /// What is left of `capacity` for requests that are not critical. What is kept
    /// is rounded down to whole units: `capacity - floor(capacity * P / 100)`.
    #[inline]
    pub fn usable(self, capacity: u64) -> u64 {
        if self.0 == 0 {
            return capacity;
        }
        let kept = u128::from(capacity) * u128::from(self.0) / 10_000;
        // Less than the capacity, since P is below 100.
        capacity.saturating_sub(u64::try_from(kept).unwrap_or(capacity))
    }
}

impl fmt::Display for Keep {
    /// `12.5%`: no more decimals than needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 100, self.0 % 100);
        match (part, part % 10) {
            (0, _) => write!(f, "{whole}%"),
            (_, 0) => write!(f, "{whole}.{}%", part / 10),
            _ => write!(f, "{whole}.{part:02}%"),
        }
    }
}

/// One limit: a rule, and the options that every limit has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub(super) rule: Rule,
    pub(super) name: Option<Label>,
    pub(super) charge: Charge,
    pub(super) keep: Keep,
    pub(super) enforcement: Enforcement,
    pub(super) closing: Option<Box<Closing>>,
    /// Tells limits apart that stand in one set without a name and count alike:
    /// how many such come before it (see [`Limits::new`]).
    pub(super) twin: u8,
}

impl Limit {
    /// A rule without options.
    pub(super) const fn plain(rule: Rule) -> Self {
        let enforcement = Enforcement::Enforced;
        let charge = Charge::without_per(&rule);
        Self { rule, name: None, charge, keep: Keep(0), enforcement, closing: None, twin: 0 }
    }

    /// The limit that always grants.
    pub const fn unlimited() -> Self {
        Self::plain(Rule::Unlimited)
    }

    /// The limit that `CL.THROTTLE` keeps; no token that a user writes makes it.
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

    /// How replies and headers call it: its name, else algorithm and numbers in
    /// their shortest form such as `100/m` or `bucket:10/s`.
    pub fn label(&self) -> Cow<'_, str> {
        match &self.name {
            Some(name) => Cow::Borrowed(name.as_str()),
            None => Cow::Owned(self.rule.head()),
        }
    }

    /// `sliding`, `bucket`, `fixed`, `concurrent`, `throttle`, `unlimited`.
    pub const fn algorithm_name(&self) -> &'static str {
        self.rule.name()
    }

    /// The most units in use at a time: `count`, or `burst` of a bucket; `None`
    /// for unlimited.
    #[inline]
    pub fn capacity(&self) -> Option<u64> {
        self.rule.capacity()
    }

    /// The period in microseconds; `None` for unlimited, concurrent and a credit. A
    /// month counts as 31 days, its longest.
    pub fn period_us(&self) -> Option<u64> {
        self.rule.period_us()
    }

    /// The time in microseconds in which a limit that is used up has all of its
    /// capacity back if nobody asks; `None` for unlimited, concurrent and a credit.
    /// It is the period, but for a bucket whose burst is not its count.
    ///
    /// ```
    /// # use floodgate::core::limits::Limits;
    /// let limits = Limits::parse(b"bucket:10/s:burst=50").unwrap();
    /// assert_eq!(limits.as_slice()[0].refill_us(), Some(5_000_000));
    /// ```
    pub fn refill_us(&self) -> Option<u64> {
        self.rule.refill_us()
    }

    /// False of a credit (`fixed:5000/ever`), whose units never come back by themselves.
    #[inline]
    pub fn comes_back(&self) -> bool {
        self.rule.comes_back()
    }

    /// What it is charged for a request.
    #[inline]
    pub const fn charge(&self) -> Charge {
        self.charge
    }

    /// True where it is charged 1 whatever the cost.
    pub const fn per_call(&self) -> bool {
        matches!(self.charge, Charge::Call)
    }

    /// The part kept for critical requests.
    #[inline]
    pub const fn keep(&self) -> Keep {
        self.keep
    }

    /// Whether it denies or only counts.
    #[inline]
    pub const fn enforcement(&self) -> Enforcement {
        self.enforcement
    }

    /// True with `shadow`.
    #[inline]
    pub const fn shadow(&self) -> bool {
        matches!(self.enforcement, Enforcement::Shadow)
    }

    /// What it does when it is exceeded (`block=`), if anything.
    #[inline]
    pub fn closing(&self) -> Option<&Closing> {
        self.closing.as_deref()
    }

    /// True when both own the same usage: the same `name=`, or no name and the
    /// same algorithm, period, `per`, `start` and `tz`, and the same place
    /// among those of a set that count alike. Count, burst, keep, block and
    /// shadow do not matter.
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
        match (&self.name, &other.name) {
            (Some(a), Some(b)) => a == b,
            (None, None) => self.twin == other.twin && self.counts_alike(other),
            _ => false,
        }
    }

    /// Equal for limits of the same identity; for others most likely another.
    pub fn identity_hash(&self) -> u32 {
        // FNV-1a: short, the same everywhere, and nobody gains by a collision.
        let add = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        let seed = 0x811c_9dc5;
        if let Some(name) = &self.name {
            return name.as_str().bytes().fold(add(seed, b'='), add);
        }
        // What same_usage compares, or less.
        let period = match &self.rule {
            Rule::Throttle(_) => 0,
            rule => rule.period_us().unwrap_or(0),
        };
        let head = self.rule.name().bytes().chain([self.twin, u8::from(self.per_call())]);
        head.chain(period.to_le_bytes()).fold(seed, add)
    }

    /// True for two without a name that count the same thing.
    fn counts_alike(&self, other: &Self) -> bool {
        self.name.is_none()
            && other.name.is_none()
            && self.charge == other.charge
            && self.rule.same_usage(&other.rule)
    }

    /// The shortest text that parses back to an equal limit (a throttle only
    /// with [`Limits::parse_stored`]).
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
        if self.keep != Keep::default() {
            text.push_str(":keep=");
            text.push_str(&self.keep.to_string());
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

    /// The text of a limit on its own that [`Limit::parse_stored`] reads back
    /// to an equal one, its place among those that count alike included.
    pub fn stored(&self) -> String {
        let mut text = self.canonical();
        if self.twin > 0 {
            text.push_str(":twin=");
            text.push_str(&self.twin.to_string());
        }
        text
    }
}

/// Why limits cannot stand together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitsError {
    /// None at all.
    #[error("no limits")]
    Empty,
    /// More than [`MAX_LIMITS`].
    #[error("more than 8 limits")]
    TooMany,
    /// Two of the same name; the canonical text of the second.
    #[error("another limit has the same name ({0})")]
    Twice(String),
}

/// A set of 1 ..= 8 limits that hold together, in order, no two of the same
/// identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits(Box<[Limit]>);

impl Limits {
    /// Puts limits together. Those without a name that count alike, as in
    /// `100/m,50/m:shadow`, own a usage each, the enforced ones first: so the
    /// first of them goes on with the usage of one that stood alone, and a limit
    /// that is tried in its shadow starts its own.
    ///
    /// # Errors
    /// None, more than 8, or two of the same name.
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

    /// The limits in the order written.
    #[inline]
    pub const fn as_slice(&self) -> &[Limit] {
        &self.0
    }

    /// The shortest text that parses back to equal limits.
    pub fn canonical(&self) -> String {
        let texts: Vec<String> = self.0.iter().map(Limit::canonical).collect();
        texts.join(",")
    }

    /// True when some limit is `concurrent`, which only reservations can take.
    pub fn has_concurrent(&self) -> bool {
        self.0.iter().any(|limit| matches!(limit.rule, Rule::Concurrent(_)))
    }

    /// True when some limit is what `CL.THROTTLE` keeps.
    pub fn has_throttle(&self) -> bool {
        self.0.iter().any(|limit| matches!(limit.rule, Rule::Throttle(_)))
    }
}

/// How many limits of the set that count as the one at `at` does come before
/// it: the enforced ones first, each in the order written.
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
    /// `@name`: the limits of that policy.
    Policy(Label),
    /// A limit written out.
    Limit(Limit),
}

/// A `limits` argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// `*`: those that the server has for the key.
    ServerChosen,
    /// 1 ..= 8 policies and limits, all of which must grant.
    Terms(Vec<Term>),
}

impl From<Limit> for Limits {
    /// A set of one.
    fn from(limit: Limit) -> Self {
        Self(Box::new([limit]))
    }
}
