//! Finds the policies that a change would alter.

use crate::core::policies::{Policies, Policy};

/// The policies of `wanted` that setting would change. A policy counts as different if a later
/// policy has its prefix.
pub fn others(table: &Policies, mut wanted: Vec<Policy>) -> Vec<Policy> {
    wanted.retain(|policy| {
        let there = table.get(&policy.name);
        there != Some(policy) || there.is_some_and(|there| table.prefix_of(there) != policy.prefix.as_deref())
    });
    wanted
}
