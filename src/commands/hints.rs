//! Common mistakes in arguments: what people write in place of one, and what they should write.

use crate::commands::options::Options;
use crate::core::breaker::Breaker;
use crate::core::limits::Limits;
use crate::core::text::duration::{self, whole_number};
use crate::core::text::token::shown;
use crate::limiter::Error;
use crate::server::ffi::args::Arg;

/// Options of a limit that people give to the command, each with an example.
const OF_LIMITS: &[(&str, &str)] = &[
    ("shadow", "10/s:shadow"),
    ("name", "10/s:name=api"),
    ("per", "10/s:per=call"),
    ("keep", "10/s:keep=10%"),
    ("block", "5/m:block=15m"),
    ("grow", "5/m:block=15m:grow=2"),
    ("maxblock", "5/m:block=15m:grow=2:maxblock=1d"),
    ("burst", "bucket:10/s:burst=20"),
    ("tz", "fixed:10/d:tz=Europe/Paris"),
    ("start", "fixed:10/h:start=first"),
];

/// Options of a breaker that people give to the command.
const OF_BREAKERS: &[&str] = &[
    "min",
    "slow",
    "slowrate",
    "open",
    "backoff",
    "maxopen",
    "probes",
    "lease",
    "ramp",
    "idle",
    "reporters",
];

/// Keywords that a duration follows.
const BEFORE_DURATIONS: &[&str] = &["FOR", "WAIT", "TTL", "DUR"];

/// The error of an argument that is not allowed where it stands, in a command with these options.
#[cold]
pub fn unexpected(arg: Arg<'_>, options: &Options) -> Error {
    let text = arg.bytes();
    match hint(text, options) {
        Some(hint) => Error::near(text, hint),
        None => Error::Syntax { near: shown(text), hint: None },
    }
}

/// The error of an argument that must be one of a few words.
#[cold]
pub fn none_of(arg: Arg<'_>, words: &str) -> Error {
    Error::near(arg.bytes(), format!("write {words}"))
}

/// The error of an option that the command lists and forgets to take. A test of the architecture holds
/// that no other option is taken in its place.
#[cold]
pub fn not_taken(option: &'static str) -> Error {
    Error::near(option.as_bytes(), "the command lists this option but does not take it; please report it")
}

fn hint(text: &[u8], options: &Options) -> Option<String> {
    let name = text.split(|&b| b == b'=').next().unwrap_or(text);
    let is = |word: &str| word.as_bytes().eq_ignore_ascii_case(name);
    if let Some(value) = text.get(name.len() + 1..)
        && let Some(keyword) = options.keywords().find(|keyword| is(keyword))
    {
        return Some(format!("write {keyword} {}", shown(value)));
    }
    if is("FOREVER") && options.has("FOR") {
        return Some("leave it out: without FOR it has no end".to_owned());
    }
    if let Some((option, example)) = OF_LIMITS.iter().find(|(option, _)| is(option)) {
        return Some(format!("{option} belongs to the limit, as in {example}"));
    }
    if name.len() < text.len()
        && let Some(option) = OF_BREAKERS.iter().find(|option| is(option))
    {
        return Some(format!("{option} belongs to the breaker, as in 5:{}", shown(text)));
    }
    if options.has("TOKEN") && text.starts_with(b"c-") {
        return Some(format!("write TOKEN {}", shown(text)));
    }
    if whole_number(text).is_some() {
        return options.has("COST").then(|| format!("write COST {}", shown(text)));
    }
    if duration::parse(text).is_ok() {
        let keyword = options.keywords().find(|keyword| BEFORE_DURATIONS.contains(keyword))?;
        return Some(format!("write {keyword} {}", shown(text)));
    }
    if Limits::parse(text).is_ok() && options.has("COST") {
        return Some("limits are one argument with ',' between them, as in 10/s,1000/h".to_owned());
    }
    if Breaker::parse(text).is_ok() && options.has("BREAKER") {
        return Some(format!("write BREAKER {}", shown(text)));
    }
    // Values that people know by a character of theirs.
    for (keyword, sign) in [("MATCH", b'*'), ("PREFIX", b':')] {
        if options.has(keyword) && text.contains(&sign) {
            return Some(format!("write {keyword} {}", shown(text)));
        }
    }
    options.has("REASON").then(|| "a reason of several words needs quotes".to_owned())
}
