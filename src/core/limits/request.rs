//! What a request asks of limits.

use super::limit::Limit;
use super::per::Charge;

/// A request for units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The cost in units, 1 to 10^12. The sum over a batch may be larger.
    pub cost: u64,
    /// The units that a `per=call` limit is charged: normally 1.
    pub calls: u64,
    /// True if fewer units than the cost may be granted, rather than none.
    pub partial: bool,
    /// True if the request may use the part that `keep=` keeps.
    pub critical: bool,
}

impl Request {
    /// A request of one call, neither partial nor critical.
    pub const fn of(cost: u64) -> Self {
        Self { cost, calls: 1, partial: false, critical: false }
    }
    /// The units that must fit for the request not to be denied.
    #[inline]
    pub fn least(&self, limit: &Limit) -> u64 {
        match limit.charge() {
            Charge::Call => self.calls,
            Charge::Cost if self.partial => self.cost.min(1),
            Charge::Cost => self.cost,
        }
    }

    /// The most units of cost that a limit with this much room can grant.
    #[inline]
    pub(super) fn most(&self, limit: &Limit, room: u64) -> u64 {
        match limit.charge() {
            Charge::Cost if self.partial => self.cost.min(room),
            Charge::Call | Charge::Cost => self.cost,
        }
    }
}
