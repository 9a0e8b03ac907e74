//! The options of one limit token, split but not yet interpreted.

use super::quantity::{self, Reason};

/// The options that every limit has.
pub(super) const COMMON: &[&str] = &["name", "per", "keep", "shadow"];
/// The options of every limit that can close itself.
pub(super) const CLOSING: &[&str] = &["block", "grow", "maxblock"];
/// The options that only the server itself writes.
pub(super) const STORED: &[&str] = &["twin"];
/// The options that are single words without a value.
const FLAGS: &[&str] = &["shadow"];

/// The `name=value` options and the flags of one token. Each is known and is given at most once.
#[derive(Debug, Default)]
pub struct LimitOptions<'a> {
    given: Vec<(&'static str, &'a [u8])>,
}

impl<'a> LimitOptions<'a> {
    /// Splits the segments that follow the quantity. `own` are the options that the algorithm
    /// itself has, and `more` are others that may stand here. `foreign` makes the reason for a name
    /// that is none of them.
    ///
    /// # Errors
    /// The reason, for an option that is empty, unknown, repeated, of another algorithm, without
    /// its value, or with a value that it does not take.
    pub fn parse(
        segments: impl Iterator<Item = &'a [u8]>,
        own: &'static [&'static str],
        more: &'static [&'static str],
        foreign: impl Fn(&[u8]) -> Reason,
    ) -> Result<Self, Reason> {
        let mut given: Vec<(&'static str, &'a [u8])> = Vec::new();
        for segment in segments {
            if segment.is_empty() {
                return Err("empty option".into());
            }
            let mut halves = segment.splitn(2, |&b| b == b'=');
            let key = halves.next().unwrap_or_default();
            let value = halves.next();
            if key.is_empty() {
                return Err("option without a name".into());
            }
            let Some(key) = [COMMON, CLOSING, own, more].into_iter().find_map(|keys| find(keys, key)) else {
                return Err(foreign(key));
            };
            let value = match (FLAGS.contains(&key), value) {
                (true, None) => &[],
                (true, Some(_)) => return Err(format!("{key} takes no value").into()),
                (false, Some(value)) if !value.is_empty() => value,
                (false, _) => return Err(format!("{key}= needs a value").into()),
            };
            if given.iter().any(|&(other, _)| other == key) {
                return Err(format!("{key} is given twice").into());
            }
            given.push((key, value));
        }
        Ok(Self { given })
    }

    /// The value of an option; empty for a flag; `None` if the option is not given.
    pub fn get(&self, key: &str) -> Option<&'a [u8]> {
        self.given.iter().find(|&&(other, _)| other == key).map(|&(_, value)| value)
    }
}

/// The entry of `keys` that equals `key`, whatever its letter case.
pub(super) fn find(keys: &'static [&'static str], key: &[u8]) -> Option<&'static str> {
    keys.iter().copied().find(|k| k.as_bytes().eq_ignore_ascii_case(key))
}

/// Parses the number of an option as [`quantity::number`] does.
///
/// # Errors
/// The reason in a few words.
pub(super) fn option_number(options: &LimitOptions<'_>, key: &str) -> Result<Option<u64>, Reason> {
    options.get(key).map(|text| quantity::number(text, key)).transpose()
}
