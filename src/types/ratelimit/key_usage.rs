//! The usage of every limit of a key, listed or set aside.

use crate::core::limits::{Limit, State, UnlistedLimit};

/// A view of the usage of a key.
#[derive(Clone, Copy, Debug)]
pub struct KeyUsage<'u> {
    /// The limits that were used last.
    pub listed: &'u [Limit],
    /// The usage of the limits, in their order.
    pub states: &'u [State],
    /// The usage of unlisted limits.
    pub unlisted: &'u [UnlistedLimit],
}

impl<'u> KeyUsage<'u> {
    /// The limit with this identity as it is now, and its usage.
    pub fn of(self, limit: &Limit) -> Option<(&'u Limit, &'u State)> {
        let unlisted = self.unlisted.iter().map(|one| (&one.limit, &one.state));
        let mut all = self.listed.iter().zip(self.states).chain(unlisted);
        all.find(|(rule, _)| rule.same_identity(limit))
    }
}
