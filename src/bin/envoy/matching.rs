//! Finds the limit that a descriptor of a request meets.
//!
//! The configuration is followed down entry by entry. At each level, a descriptor with the same key
//! and value comes first. Then comes the first one in the file whose `*` matches, and then one with
//! the key alone. The search never goes back up. The limit must stand exactly as deep as the last
//! entry of the request.

use crate::config::{Allowance, Config, DescriptorLevel, DescriptorNode};
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use std::sync::Arc;

/// A limit that a descriptor meets.
#[derive(Debug)]
pub struct Match {
    pub allowance: Arc<Allowance>,
    /// For each entry of the request: the pattern that stands for its value, if all values that the
    /// pattern matches share the limit.
    pub shared: Vec<Option<String>>,
    /// The name of the limit in metrics, with one part for each entry.
    pub path: Vec<String>,
}

/// A descriptor of the configuration, by how it was found.
enum Found<'c> {
    /// Found by key and value.
    Value(&'c DescriptorNode),
    /// Found by a pattern. The text is the part of the pattern for the value.
    Pattern(&'c DescriptorNode, &'c str),
    /// Found by the key alone.
    Key(&'c DescriptorNode),
}

impl<'c> Found<'c> {
    fn in_level(level: &'c DescriptorLevel, entry: &Entry) -> Option<Self> {
        let own = composite(entry);
        if let Some(node) = level.exact(&own) {
            return Some(Self::Value(node));
        }
        if let Some((pattern, node)) = level.wildcard(&own) {
            let value = pattern.strip_prefix(&entry.key).and_then(|rest| rest.strip_prefix('_'));
            return Some(Self::Pattern(node, value.unwrap_or(pattern)));
        }
        level.exact(&entry.key).map(Self::Key)
    }

    const fn node(&self) -> &'c DescriptorNode {
        match self {
            Self::Value(node) | Self::Pattern(node, _) | Self::Key(node) => node,
        }
    }

    /// The pattern, if all values that it matches share the limit.
    fn shared(&self) -> Option<&'c str> {
        match self {
            Self::Pattern(node, pattern) if node.share_threshold => Some(pattern),
            _ => None,
        }
    }

    /// The part of the metric's name for this entry.
    fn part(&self, entry: &Entry) -> String {
        match self {
            Self::Pattern(node, pattern) if node.share_threshold || !node.value_to_metric => {
                format!("{}_{pattern}", entry.key)
            }
            Self::Key(node) if !node.value_to_metric => entry.key.clone(),
            _ => with_value(entry),
        }
    }
}

/// `key_value`, as the configuration writes a key with its value.
fn composite(entry: &Entry) -> String {
    format!("{}_{}", entry.key, entry.value)
}

/// `key_value`, or `key` if the value is empty.
pub fn with_value(entry: &Entry) -> String {
    if entry.value.is_empty() { entry.key.clone() } else { composite(entry) }
}

/// The limit that the entries of a descriptor meet in a domain.
pub fn find(config: &Config, domain: &str, entries: &[Entry]) -> Option<Match> {
    let mut level = config.domain(domain)?;
    let mut shared = Vec::with_capacity(entries.len());
    let mut path = Vec::with_capacity(entries.len());
    let (last, before) = entries.split_last()?;
    for entry in before {
        let found = Found::in_level(level, entry)?;
        shared.push(found.shared().map(str::to_owned));
        path.push(found.part(entry));
        level = &found.node().below;
    }
    let found = Found::in_level(level, last)?;
    let allowance = Arc::clone(found.node().allowance.as_ref()?);
    shared.push(found.shared().map(str::to_owned));
    path.push(found.part(last));
    if found.node().detailed_metric {
        path = entries
            .iter()
            .zip(&shared)
            .map(|(entry, shared)| match shared {
                Some(pattern) => format!("{}_{pattern}", entry.key),
                None => with_value(entry),
            })
            .collect();
    }
    Some(Match { allowance, shared, path })
}
