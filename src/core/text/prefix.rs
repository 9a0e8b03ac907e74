//! The longest of many prefixes of a name.

use std::collections::BTreeMap;
use std::ops::Bound::{Included, Unbounded};

/// The length of the longest prefix in bytes.
pub const MAX_PREFIX: usize = 256;

/// The value of the longest prefix of `name`, among those for which `fits` returns true. The empty
/// prefix matches every name.
///
/// It takes O(log n) for n prefixes, and as much again for each prefix that lies between the name
/// and the one that is found, at most [`MAX_PREFIX`] times.
///
/// ```
/// use floodgate::core::text::prefix::longest;
/// use std::collections::BTreeMap;
///
/// let mut policies: BTreeMap<Box<[u8]>, &str> = BTreeMap::new();
/// policies.insert((*b"api:").into(), "everybody");
/// policies.insert((*b"api:admin:").into(), "operators");
/// assert_eq!(longest(&policies, b"api:admin:7", |_| true), Some(&"operators"));
/// assert_eq!(longest(&policies, b"api:u7", |_| true), Some(&"everybody"));
/// assert_eq!(longest(&policies, b"web", |_| true), None);
/// ```
pub fn longest<'m, T>(
    prefixes: &'m BTreeMap<Box<[u8]>, T>,
    name: &[u8],
    fits: impl Fn(&T) -> bool,
) -> Option<&'m T> {
    let mut rest = name;
    loop {
        // Whatever lies between a prefix of `rest` and `rest` begins with that prefix. So the last
        // one up to `rest` begins with all others that `rest` begins with.
        let (last, value) = prefixes.range::<[u8], _>((Unbounded, Included(rest))).next_back()?;
        let shared = last.iter().zip(rest).take_while(|(a, b)| a == b).count();
        let shorter = if shared < last.len() {
            shared
        } else if fits(value) {
            return Some(value);
        } else {
            shared.checked_sub(1)?
        };
        rest = rest.get(..shorter)?;
    }
}
