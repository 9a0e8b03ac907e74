//! One limit whose text has been parsed: what it enforces, whose usage it owns, its canonical text.
//!
//! A limit is valid by construction: its fields are private to this layer, and only `parse` and
//! checked constructors make one.

use super::closing::Closing;
use super::keep::Keep;
use super::label::Label;
use super::per::Charge;
use super::rule::Rule;
use super::throttle::Throttle;
use std::borrow::Cow;

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
    /// before it (see [`Limits::new`](super::Limits::new)).
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
    pub(super) fn counts_alike(&self, other: &Self) -> bool {
        self.name.is_none()
            && other.name.is_none()
            && self.charge == other.charge
            && self.rule.same_usage(&other.rule)
    }

    /// The shortest text that parses back to an equal limit. That of a throttle parses only with
    /// [`Limits::parse_stored`](super::Limits::parse_stored).
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
