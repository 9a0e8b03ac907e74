//! Policies by a list of all changes that were ever made, in no order.
//!
//! It promises the last entry of each name, and which policy owns a prefix.

use floodgate::core::limits::Label;
use floodgate::core::policies::{PolicyEntry, PolicyState};
use std::collections::BTreeMap;

/// What all changes come to: of each name the latest.
pub fn last_of_each(log: &[PolicyEntry]) -> BTreeMap<Label, PolicyEntry> {
    let mut last: BTreeMap<Label, PolicyEntry> = BTreeMap::new();
    for entry in log {
        let known = last.entry(entry.name.clone()).or_insert_with(|| entry.clone());
        if entry.version > known.version {
            *known = entry.clone();
        }
    }
    last
}

/// Of all policies that stand and ask for the prefix, the latest has it.
pub fn owner(last: &BTreeMap<Label, PolicyEntry>, prefix: &str) -> Option<Label> {
    let asks = |entry: &&PolicyEntry| match &entry.state {
        PolicyState::Live(policy) => policy.prefix.as_deref() == Some(prefix.as_bytes()),
        _ => false,
    };
    last.values().filter(asks).max_by_key(|entry| (entry.version, &entry.name)).map(|e| e.name.clone())
}
