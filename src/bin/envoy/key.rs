//! The Redis key of a descriptor: `envoy:{domain}:key=value,key=value`.
//!
//! The braces are the hash tag of a cluster. All keys of a domain are in one slot, so that one
//! command can decide about several of them. Characters that mean something in a key are written as
//! `%` and two hexadecimal digits, so no two descriptors have the same key.

use envoy_types::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;

/// Makes the key. `shared` has a pattern for each value that shares its limit with others. The
/// pattern is written in place of the value, after `~` in place of `=`.
pub fn key(prefix: &str, domain: &str, entries: &[Entry], shared: &[Option<String>]) -> String {
    let mut key = String::with_capacity(64);
    key.push_str(prefix);
    key.push_str(":{");
    push(&mut key, domain);
    key.push_str("}:");
    for (at, entry) in entries.iter().enumerate() {
        if at > 0 {
            key.push(',');
        }
        push(&mut key, &entry.key);
        if let Some(pattern) = shared.get(at).and_then(Option::as_ref) {
            key.push('~');
            push(&mut key, pattern);
        } else {
            key.push('=');
            push(&mut key, &entry.value);
        }
    }
    key
}

fn push(key: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '%' | '{' | '}' | '=' | ',' | '~' => {
                key.push('%');
                key.push_str(&format!("{:02X}", u32::from(c)));
            }
            _ => key.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: &str) -> Entry {
        Entry { key: key.into(), value: value.into() }
    }

    #[test]
    fn no_two_descriptors_have_one_key() {
        let of = |entries: &[Entry], shared: &[Option<String>]| key("envoy", "d", entries, shared);
        assert_eq!(of(&[entry("a", "b"), entry("c", "")], &[]), "envoy:{d}:a=b,c=");
        assert_ne!(of(&[entry("a", "b,c=d")], &[]), of(&[entry("a", "b"), entry("c", "d")], &[]));
        assert_ne!(of(&[entry("a", "b*")], &[]), of(&[entry("a", "bc")], &[Some("b*".into())]));
        assert_eq!(
            of(&[entry("a", "bc")], &[Some("b*".into())]),
            of(&[entry("a", "bd")], &[Some("b*".into())])
        );
        assert_eq!(of(&[entry("a%", "{~}")], &[]), "envoy:{d}:a%25=%7B%7E%7D");
        assert_eq!(key("p", "}x{", &[], &[]), "p:{%7Dx%7B}:");
    }
}
