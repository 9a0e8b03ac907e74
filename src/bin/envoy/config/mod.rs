//! The configuration: the files of envoyproxy/ratelimit, read and checked.
//!
//! | file | idea |
//! |---|---|
//! | [`source`] | which files there are, and what they contain |
//! | [`mod@file`] | the structure of one file |
//! | [`mod@unit`] | the units of time, from second to year |
//! | [`rule`] | one limit, ready to be asked for |
//! | [`build`] | files → [`Config`], with a reason for every refusal |
//! | [`error`] | why a file is refused, and where |

pub mod build;
pub mod error;
pub mod file;
pub mod rule;
pub mod source;
pub mod unit;

#[cfg(test)]
mod tests;

pub use error::ConfigError;
pub use rule::{Allowance, DenialEffect, DescriptorLimits, UnitAlgorithm};
pub use unit::TimeUnit;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// The limits of all domains.
#[derive(Debug, Default)]
pub struct Config {
    domains: HashMap<String, DescriptorLevel>,
}

impl Config {
    /// The first level of descriptors of a domain.
    pub fn domain(&self, name: &str) -> Option<&DescriptorLevel> {
        self.domains.get(name)
    }

    /// The number of domains.
    pub fn domains(&self) -> usize {
        self.domains.len()
    }

    /// The number of limits.
    pub fn limits(&self) -> usize {
        self.domains.values().map(DescriptorLevel::limits).sum()
    }
}

impl fmt::Display for Config {
    /// The size of the configuration, as the log tells it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (domains, limits) = (self.domains(), self.limits());
        let s = |count: usize| if count == 1 { "" } else { "s" };
        write!(f, "{domains} domain{}, {limits} limit{}", s(domains), s(limits))
    }
}

/// The descriptors that may follow the same entries above them.
#[derive(Debug, Default)]
pub struct DescriptorLevel {
    /// The descriptors by `key` or `key_value`, without those with a `*`.
    entries: HashMap<String, DescriptorNode>,
    /// Those with a `*` and their names, in the order of the file. No request finds them by exact
    /// text: the pattern, sent as a value, is a value like any other.
    wildcards: Vec<(String, DescriptorNode)>,
}

impl DescriptorLevel {
    fn limits(&self) -> usize {
        let nodes = self.entries.values().chain(self.wildcards.iter().map(|(_, node)| node));
        nodes.map(|node| usize::from(node.allowance.is_some()) + node.below.limits()).sum()
    }

    /// True if there is a descriptor with this name, with or without a `*`.
    fn names(&self, name: &str) -> bool {
        self.entries.contains_key(name) || self.wildcards.iter().any(|(pattern, _)| pattern == name)
    }

    /// The descriptor with exactly this name, which has no `*`.
    pub fn exact(&self, text: &str) -> Option<&DescriptorNode> {
        self.entries.get(text)
    }

    /// The first descriptor in the file whose `*` matches this text, with its name.
    pub fn wildcard(&self, text: &str) -> Option<(&str, &DescriptorNode)> {
        let (pattern, node) = self.wildcards.iter().find(|(pattern, _)| holds(pattern, text))?;
        Some((pattern, node))
    }
}

/// One descriptor of the configuration.
#[derive(Debug)]
pub struct DescriptorNode {
    /// The limit of the descriptor, if it has one.
    pub allowance: Option<Arc<Allowance>>,
    /// The descriptors that may follow.
    pub below: DescriptorLevel,
    /// True if each value has a metric of its own.
    pub detailed_metric: bool,
    /// True if the name of the metric has the value of this entry.
    pub value_to_metric: bool,
    /// True if all values that the `*` matches share one limit.
    pub share_threshold: bool,
}

/// True if `text` is `pattern` with any text, also none, for each `*`.
fn holds(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|head| text.strip_prefix(head)) else { return false };
    let Some(tail) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(tail)
}
