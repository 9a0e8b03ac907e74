//! Common mistakes in limits: what people write in place of a limit, and what they should write.

use super::options;
use super::quantity::Reason;
use super::rule::TABLE;
use crate::core::text::token::{listed, meant, shown};

/// Names that other libraries give to the algorithms of the table.
const OTHER_NAMES: &[(&str, &[&str])] = &[
    (
        "bucket",
        &[
            "token_bucket",
            "token-bucket",
            "tokenbucket",
            "token",
            "leaky_bucket",
            "leaky-bucket",
            "leaky",
            "gcra",
        ],
    ),
    (
        "sliding",
        &[
            "sliding_window",
            "sliding-window",
            "slidingwindow",
            "sliding_log",
            "window",
            "moving",
            "moving_window",
            "moving-window",
            "rolling",
        ],
    ),
    ("fixed", &["fixed_window", "fixed-window", "fixedwindow", "calendar", "interval"]),
    ("concurrent", &["concurrency", "semaphore", "parallel", "max_concurrent", "inflight"]),
];

/// Arguments of commands that people put among the options of a limit.
const ARGUMENTS: &[&str] = &["COST", "CRITICAL", "PARTIAL", "TRACK", "WAIT", "TTL", "ID", "COUNT", "HEADERS"];

/// The reason for which `head` is no algorithm. `token` is the whole limit.
pub fn unknown_algorithm(head: &[u8], token: &[u8]) -> Reason {
    let unknown = format!("unknown algorithm '{}'", shown(head));
    if let Some(name) = meant(OTHER_NAMES, head) {
        let rest = token.get(head.len()..).unwrap_or_default();
        return format!("{unknown}, write {name}{}", shown(rest)).into();
    }
    if head.contains(&b'=') {
        return format!("{unknown}: options follow their limit, as in 10/s:name=api").into();
    }
    if head == token {
        let name = shown(head);
        return format!("{unknown}: a limit is written as 10/s, a policy as @{name}").into();
    }
    let names: Vec<&str> = TABLE.iter().filter(|row| row.public).map(|row| row.name).collect();
    format!("{unknown}: the algorithms are {}", listed(&names, "and")).into()
}

/// The reason for which `key` is no option of an algorithm: it belongs to another algorithm, is an
/// argument of a command, or is unknown.
pub fn unknown_option(key: &[u8], algorithm: &str) -> Reason {
    for row in TABLE {
        if let Some(key) = options::find(row.options, key) {
            return format!("{key}= is only for {}, not for {algorithm}", row.name).into();
        }
    }
    let unknown = format!("unknown option '{}'", shown(key));
    if let Some(argument) = ARGUMENTS.iter().find(|name| name.as_bytes().eq_ignore_ascii_case(key)) {
        return format!("{unknown}: {argument} is an argument of the command, write it after the limits")
            .into();
    }
    let row = TABLE.iter().find(|row| row.name == algorithm);
    let own = row.map_or(&[][..], |row| row.options);
    let closing = if row.is_some_and(|row| row.closes) { options::CLOSING } else { &[] };
    let names: Vec<&str> = options::COMMON.iter().chain(closing).chain(own).copied().collect();
    format!("{unknown}: the options of {algorithm} are {}", listed(&names, "and")).into()
}

/// The reason for a token that separates limits by another character than `,`, if it does.
pub fn wrong_separator(token: &[u8]) -> Option<Reason> {
    let other = token.iter().find(|&&b| b";|&".contains(&b))?;
    Some(format!("write ',' between limits, not '{}'", char::from(*other)).into())
}
