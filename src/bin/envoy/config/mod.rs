//! What is limited how much: the files of envoyproxy/ratelimit, read and checked.
//!
//! | file | idea |
//! |---|---|
//! | [`source`] | which files there are, and what stands in them |
//! | [`mod@file`] | the shape of one file |
//! | [`mod@unit`] | seconds, minutes … years |
//! | [`rule`] | one limit, ready to be asked for |
//! | [`build`] | files → [`Config`], with a reason for every refusal |
//! | [`mod@refused`] | why a file is not taken, and where |

pub mod build;
pub mod file;
pub mod refused;
pub mod rule;
pub mod source;
pub mod unit;

#[cfg(test)]
mod tests;

pub use refused::Refused;
pub use rule::{Algorithm, Allowance, Mode, Rule};
pub use unit::Unit;

use std::collections::HashMap;
use std::sync::Arc;

/// All domains.
#[derive(Debug, Default)]
pub struct Config {
    domains: HashMap<String, Level>,
}

impl Config {
    /// The first level of descriptors of a domain.
    pub fn domain(&self, name: &str) -> Option<&Level> {
        self.domains.get(name)
    }

    /// How many domains there are.
    pub fn domains(&self) -> usize {
        self.domains.len()
    }

    /// How many limits there are.
    pub fn limits(&self) -> usize {
        self.domains.values().map(Level::limits).sum()
    }
}

/// The descriptors that may follow each other's entry at one depth.
#[derive(Debug, Default)]
pub struct Level {
    /// By `key` or `key_value`.
    entries: HashMap<String, Node>,
    /// Those with a `*`, in the order of the file.
    wildcards: Vec<String>,
}

impl Level {
    fn limits(&self) -> usize {
        self.entries.values().map(|node| usize::from(node.allowance.is_some()) + node.below.limits()).sum()
    }

    /// What stands under exactly this text.
    pub fn exact(&self, text: &str) -> Option<&Node> {
        self.entries.get(text)
    }

    /// The first entry with a `*` that holds this text, and its own text.
    pub fn wildcard(&self, text: &str) -> Option<(&str, &Node)> {
        let pattern = self.wildcards.iter().find(|pattern| holds(pattern, text))?;
        Some((pattern, self.entries.get(pattern)?))
    }
}

/// One descriptor of the configuration.
#[derive(Debug)]
pub struct Node {
    /// What it allows, if it limits anything itself.
    pub allowance: Option<Arc<Allowance>>,
    /// What may follow.
    pub below: Level,
    /// Each value has a metric of its own.
    pub detailed_metric: bool,
    /// The metric tells the value of this entry.
    pub value_to_metric: bool,
    /// All values that the `*` holds share one limit.
    pub share_threshold: bool,
}

/// True when `text` is `pattern` with something, or nothing, for each `*`.
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
