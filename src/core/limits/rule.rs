//! The rule of a limit: one of the algorithms with its numbers, and what it says without a state.

use super::algorithm::Algorithm;
use super::algorithms::algorithms;
use super::quantity::Reason;
use crate::core::limits::options::LimitOptions;

/// The row of an algorithm: its name and what only it has.
pub(super) struct AlgorithmRow {
    pub name: &'static str,
    pub options: &'static [&'static str],
    pub public: bool,
    pub closes: bool,
    pub parse: fn(&[u8], &LimitOptions<'_>) -> Result<Rule, Reason>,
}

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident($rule:ty) = $tag:literal,)+) => {
        /// The rule that a limit enforces: one of the algorithms, or nothing.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Rule {
            /// The limit grants every request.
            Unlimited,
            $($(#[$doc])* $name($rule),)+
        }

        pub(super) const TABLE: &[AlgorithmRow] = &[$(AlgorithmRow {
            name: <$rule as Algorithm>::NAME,
            options: <$rule as Algorithm>::OPTIONS,
            public: <$rule as Algorithm>::PUBLIC,
            closes: <$rule as Algorithm>::CLOSES,
            parse: |quantity, options| <$rule as Algorithm>::parse(quantity, options).map(Rule::$name),
        },)+];

        impl Rule {
            /// The name of the algorithm, such as `sliding`, `bucket` or `fixed`.
            pub const fn name(&self) -> &'static str {
                match self {
                    Self::Unlimited => "unlimited",
                    $(Self::$name(_) => <$rule as Algorithm>::NAME,)+
                }
            }

            /// The most units that can be in use; `None` for unlimited.
            #[inline]
            pub fn capacity(&self) -> Option<u64> {
                match self {
                    Self::Unlimited => None,
                    $(Self::$name(rule) => Some(rule.capacity()),)+
                }
            }

            /// True if `block=` can close a limit of this rule.
            pub const fn can_close(&self) -> bool {
                match self {
                    Self::Unlimited => false,
                    $(Self::$name(_) => <$rule as Algorithm>::CLOSES,)+
                }
            }

            /// True if reservations hold places on a limit of this rule, and nothing else takes from it.
            #[inline]
            pub const fn holds_places(&self) -> bool {
                match self {
                    Self::Unlimited => false,
                    $(Self::$name(_) => <$rule as Algorithm>::HOLDS_PLACES,)+
                }
            }

            /// False if units never come back by themselves.
            #[inline]
            pub(super) fn comes_back(&self) -> bool {
                match self {
                    Self::Unlimited => true,
                    $(Self::$name(rule) => rule.comes_back(),)+
                }
            }

            pub(super) fn period_us(&self) -> Option<u64> {
                match self {
                    Self::Unlimited => None,
                    $(Self::$name(rule) => rule.period_us(),)+
                }
            }

            pub(super) fn covering_us(&self) -> Option<u64> {
                match self {
                    Self::Unlimited => None,
                    $(Self::$name(rule) => rule.covering_us(),)+
                }
            }

            pub(super) fn refill_us(&self) -> Option<u64> {
                match self {
                    Self::Unlimited => None,
                    $(Self::$name(rule) => rule.refill_us(),)+
                }
            }

            pub(super) fn head(&self) -> String {
                match self {
                    Self::Unlimited => "unlimited".to_owned(),
                    $(Self::$name(rule) => rule.head(),)+
                }
            }

            pub(super) fn tail(&self) -> String {
                match self {
                    Self::Unlimited => String::new(),
                    $(Self::$name(rule) => rule.tail(),)+
                }
            }

            pub(super) fn same_usage(&self, other: &Self) -> bool {
                match (self, other) {
                    (Self::Unlimited, Self::Unlimited) => true,
                    $((Self::$name(a), Self::$name(b)) => a.same_usage(b),)+
                    _ => false,
                }
            }

            /// False if the rule keeps no usage.
            #[inline]
            pub(super) fn keeps_usage(&self) -> bool {
                match self {
                    Self::Unlimited => true,
                    $(Self::$name(rule) => rule.keeps_usage(),)+
                }
            }
        }
    };
}
algorithms!(rules);
