//! Which policies would be others than they are.

use crate::core::policies::{Policies, Policy};

/// Those of `wanted` that setting would change. A policy whose prefix a later one has
/// is not as it was wanted.
pub fn others(table: &Policies, mut wanted: Vec<Policy>) -> Vec<Policy> {
    wanted.retain(|policy| {
        let there = table.get(&policy.name);
        there != Some(policy) || there.is_some_and(|there| table.prefix_of(there) != policy.prefix.as_deref())
    });
    wanted
}
