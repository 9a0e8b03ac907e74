//! `per=`: what a limit is charged for a request.

use super::rule::Rule;

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
    pub(super) const fn without_per(rule: &Rule) -> Self {
        if rule.holds_places() { Self::Call } else { Self::Cost }
    }
}
