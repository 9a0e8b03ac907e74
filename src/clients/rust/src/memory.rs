//! The values that a process keeps by itself while Redis is away.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Texts by key, at most `most` of them, each until its time is over.
pub(crate) struct Memory {
    most: usize,
    kept: HashMap<String, Kept>,
    /// The number of the newest text. The oldest text has the least.
    number: u64,
    /// The outage in which the texts were kept.
    outage: Option<u64>,
}

struct Kept {
    text: String,
    number: u64,
    /// The end of the text; `None` if it has no end.
    until: Option<Instant>,
}

impl Kept {
    fn holds(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl Memory {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, kept: HashMap::new(), number: 0, outage: None }
    }

    pub(crate) fn get(&self, key: &str, now: Instant) -> Option<&str> {
        Some(self.kept.get(key).filter(|kept| kept.holds(now))?.text.as_str())
    }

    /// The time until the text ends; the longest duration if it does not end.
    pub(crate) fn ttl(&self, key: &str, now: Instant) -> Option<Duration> {
        let kept = self.kept.get(key).filter(|kept| kept.holds(now))?;
        Some(kept.until.map_or(Duration::MAX, |until| until.saturating_duration_since(now)))
    }

    pub(crate) fn set(&mut self, key: &str, text: String, ttl: Option<Duration>, now: Instant) {
        let until = ttl.and_then(|ttl| now.checked_add(ttl));
        self.number += 1;
        self.kept.insert(key.to_owned(), Kept { text, number: self.number, until });
        // The oldest makes room.
        while self.kept.len() > self.most {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.number).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { return };
            self.kept.remove(&oldest);
        }
    }

    pub(crate) fn delete(&mut self, key: &str, now: Instant) -> bool {
        self.kept.remove(key).is_some_and(|kept| kept.holds(now))
    }

    /// Deletes the texts whose keys match, and returns their number.
    pub(crate) fn clear(&mut self, pattern: &str, now: Instant) -> u64 {
        let pattern: Vec<char> = pattern.chars().collect();
        let matching = self.kept.extract_if(|key, _| matches(&pattern, &key.chars().collect::<Vec<_>>()));
        matching.filter(|(_, kept)| kept.holds(now)).count() as u64
    }

    /// Forgets the texts that were kept in another outage, because Redis may have others since.
    pub(crate) fn lasts(&mut self, outage: Option<u64>) {
        if outage.is_none() || outage != self.outage {
            self.kept.clear();
        }
        self.outage = outage;
    }
}

/// Whether a key matches a pattern of the command KEYS. A class of characters stands for any one
/// character.
fn matches(pattern: &[char], key: &[char]) -> bool {
    match pattern {
        [] => key.is_empty(),
        ['*', rest @ ..] => (0..=key.len()).any(|from| key.get(from..).is_some_and(|key| matches(rest, key))),
        ['[', rest @ ..] => {
            let end = rest.iter().position(|letter| *letter == ']').map_or(rest.len(), |end| end + 1);
            let rest = rest.get(end..).unwrap_or_default();
            matches!(key, [_, key @ ..] if matches(rest, key))
        }
        ['?', rest @ ..] => matches!(key, [_, key @ ..] if matches(rest, key)),
        ['\\', letter, rest @ ..] | [letter, rest @ ..] => {
            matches!(key, [first, key @ ..] if first == letter && matches(rest, key))
        }
    }
}

#[cfg(test)]
mod tests;
