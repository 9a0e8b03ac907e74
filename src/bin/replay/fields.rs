//! Finds the time and the key in a line of a log that is not an access log.
//!
//! | fields | lines |
//! |---|---|
//! | `time=ts,key=request.client_ip` | JSON lines; the parts of a name, separated by dots, lead into objects |
//! | `time=ts,key=request.headers.X-User.0` | the first element of a list |
//! | `time=2,key=4` | words, counted from 1; text in quotes or brackets is one word |
//! | `time=1+2,key=4` | a time that is two words: its date and its time of day |

use crate::log_line::{is_address, stamp_seconds, without_port};
use jiff::civil::{Date, DateTime};
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde_json::Value;
use std::borrow::Cow;

/// A second in microseconds.
const SECOND_US: u64 = 1_000_000;
/// The first time in 2106, in microseconds, whose second 32 bits cannot hold.
const END_US: u64 = SECOND_US << 32;
/// The number of names of a sample that are listed, so that an error stays short.
const LISTED: usize = 12;
/// The depth to which names are listed.
const DEPTH: usize = 3;

/// The reasons why fields are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldsError {
    /// An entry that is not `time=…` or `key=…`.
    #[error("'{0}' is neither time=FIELD nor key=FIELD")]
    Entry(String),
    /// One of the two is given twice.
    #[error("{0}= is given twice")]
    Twice(&'static str),
    /// One of the two is not given.
    #[error("{0}= is missing: both are needed, as in 'time=ts,key=request.client_ip'")]
    Missing(&'static str),
    /// One is a name, and the other a number.
    #[error("time and key must both be names (JSON lines) or both be numbers of words, from 1")]
    Mixed,
}

/// The reasons why a line is no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It is no line of an access log.
    #[error(
        "for another format, name the fields of the time and the key: FIELDS='time=ts,key=request.client_ip' \
         for JSON lines, FIELDS='time=2,key=4' for the second and the fourth word of a line"
    )]
    NoAccessLog,
    /// The fields have names, but the line is no JSON.
    #[error("that line is no JSON: of other lines, name words by their number, as in FIELDS='time=2,key=4'")]
    NoJson,
    /// A field is missing, or is neither text nor a number.
    #[error("that line has no {0} in the field that you named")]
    Missing(&'static str),
    /// A field is a list.
    #[error("the {0} that you named is a list in that line: write .0 after its name for the first element")]
    List(&'static str),
    /// The time is none.
    #[error(
        "its time '{0}' cannot be read: a time is a date with a time of day, or a number of seconds since 1970; \
         if it is two words, name both: FIELDS='time=1+2,key=4'"
    )]
    Time(String),
}

/// Where the time and the key stand in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldNames {
    /// Fields of JSON lines, by name.
    Json {
        /// The name of the field with the time.
        time: String,
        /// The name of the field with the key.
        key: String,
    },
    /// Words of a line, by position from 0.
    Words {
        /// The positions of the words that are the time.
        time: Vec<usize>,
        /// The position of the word with the key.
        key: usize,
    },
}

impl FieldNames {
    /// Reads `time=…,key=…`, in any order.
    pub fn parse(text: &str) -> Result<Self, FieldsError> {
        let (mut time, mut key) = (None, None);
        for entry in text.split(',').map(str::trim) {
            let (name, slot, field) = match entry.split_once('=') {
                Some(("time", field)) if !field.is_empty() => ("time", &mut time, field),
                Some(("key", field)) if !field.is_empty() => ("key", &mut key, field),
                _ => return Err(FieldsError::Entry(entry.to_owned())),
            };
            if slot.replace(field.to_owned()).is_some() {
                return Err(FieldsError::Twice(name));
            }
        }
        let time = time.ok_or(FieldsError::Missing("time"))?;
        let key = key.ok_or(FieldsError::Missing("key"))?;
        let word = |text: &str| text.parse::<usize>().ok().map(|number| number.checked_sub(1));
        let words = time.split('+').map(word).collect::<Option<Vec<_>>>();
        match (words.map(|words| words.into_iter().collect::<Option<Vec<_>>>()), word(&key)) {
            (None, None) => Ok(Self::Json { time, key }),
            (Some(Some(time)), Some(Some(key))) => Ok(Self::Words { time, key }),
            _ => Err(FieldsError::Mixed),
        }
    }

    /// The time of a line in microseconds since 1970, and its key.
    ///
    /// # Errors
    /// [`LineError`] if the line lacks one of them, or if its time cannot be read.
    pub fn read<'l>(&self, line: &'l [u8]) -> Result<(u64, Cow<'l, [u8]>), LineError> {
        match self {
            Self::Json { time, key } => {
                let value: Value = serde_json::from_slice(line).map_err(|_| LineError::NoJson)?;
                let time = match find(&value, time) {
                    Some(Value::Number(number)) => read_time(&number.to_string(), scaled)?,
                    Some(Value::String(text)) => read_time(text, micros)?,
                    Some(Value::Array(_)) => return Err(LineError::List("time")),
                    _ => return Err(LineError::Missing("time")),
                };
                match find(&value, key) {
                    Some(Value::String(text)) => Ok((time, Cow::Owned(client(text.as_bytes()).to_owned()))),
                    Some(Value::Array(_)) => Err(LineError::List("key")),
                    None | Some(Value::Null | Value::Object(_)) => Err(LineError::Missing("key")),
                    Some(other) => Ok((time, Cow::Owned(other.to_string().into_bytes()))),
                }
            }
            Self::Words { time, key } => {
                let words = time.iter().map(|&at| word(line, at)).collect::<Option<Vec<_>>>();
                let words = words.ok_or(LineError::Missing("time"))?.join(&b' ');
                let time = read_time(&String::from_utf8_lossy(&words), micros)?;
                let key = word(line, *key).ok_or(LineError::Missing("key"))?;
                Ok((time, Cow::Borrowed(client(key))))
            }
        }
    }
}

fn read_time(text: &str, read: fn(&str) -> Option<u64>) -> Result<u64, LineError> {
    /// The number of characters that an error shows.
    const SHOWN: usize = 40;
    read(text).ok_or_else(|| LineError::Time(text.chars().take(SHOWN).flat_map(char::escape_debug).collect()))
}

/// The value at `path`. A name may contain dots itself, and a number leads into a list.
fn find<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    let child = |part: &str| match value {
        Value::Object(fields) => fields.get(part),
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        _ => None,
    };
    child(path).or_else(|| {
        path.match_indices('.').find_map(|(dot, _)| {
            let (head, tail) = path.split_at_checked(dot)?;
            find(child(head)?, tail.get(1..)?)
        })
    })
}

/// The word at a position, without its quotes or brackets.
fn word(line: &[u8], position: usize) -> Option<&[u8]> {
    let mut rest = line;
    for at in 0..=position {
        rest = rest.trim_ascii_start();
        let (open, text) = rest.split_first()?;
        let (found, after) = match open {
            b'"' => text.split_at_checked(crate::log_line::closing_quote(text)?)?,
            b'[' => text.split_at_checked(text.iter().position(|&b| b == b']')?)?,
            _ => {
                let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
                let (found, after) = rest.split_at_checked(end)?;
                if at == position {
                    return Some(found);
                }
                rest = after;
                continue;
            }
        };
        if at == position {
            return Some(found);
        }
        rest = after.get(1..)?;
    }
    None
}

/// The address if the text is one, or is a list that begins with one. `X-Forwarded-For` lists the
/// client and then proxies. Other text remains as it is.
fn client(text: &[u8]) -> &[u8] {
    let first = without_port(text.split(|&b| b == b',').next().unwrap_or(text).trim_ascii());
    if is_address(first) { first } else { text }
}

/// The microseconds since 1970 of a time as logs write it: a number, RFC 3339 (in UTC if it names
/// no zone), the time of the common log format, or one of [`others`]. A date without a time of day
/// is no time.
fn micros(text: &str) -> Option<u64> {
    if let Some(seconds) = text.as_bytes().try_into().ok().and_then(stamp_seconds) {
        return Some(u64::from(seconds) * SECOND_US);
    }
    let civil = text.split('[').next().unwrap_or(text);
    if !civil.contains(['T', 't', ' ']) {
        // Eight digits may be a date, which is no number of seconds in any log.
        let date = text.len() == 8 && text.parse::<Date>().is_ok();
        return if date { None } else { scaled(text) };
    }
    let at = match text.parse::<Timestamp>() {
        Ok(at) => at,
        // A time may name its zone in brackets and have no offset.
        Err(_) if civil.len() < text.len() => text.parse::<Zoned>().ok()?.timestamp(),
        Err(_) => match text.parse::<DateTime>() {
            Ok(civil) => civil.to_zoned(TimeZone::UTC).ok()?.timestamp(),
            Err(_) => others(text)?,
        },
    };
    u64::try_from(at.as_microsecond()).ok().filter(|us| *us < END_US)
}

/// The time of RFC 2822, or of one of the forms that servers made up. It is in UTC if it names no
/// zone.
fn others(text: &str) -> Option<Timestamp> {
    const FORMS: [&str; 4] = [
        "%Y-%m-%d %H:%M:%S%.f %z",
        "%Y-%m-%d %H:%M:%S%.f %:z",
        "%Y/%m/%d %H:%M:%S%.f %z",
        "%d/%b/%Y:%H:%M:%S%.f %z",
    ];
    if let Ok(at) = rfc2822::parse(text) {
        return Some(at.timestamp());
    }
    let in_utc = [" UTC", " GMT", "Z"].iter().find_map(|zone| text.strip_suffix(zone)).unwrap_or(text);
    let in_utc = format!("{in_utc} +0000");
    [text, &in_utc]
        .into_iter()
        .find_map(|text| FORMS.iter().find_map(|form| Timestamp::strptime(form, text).ok()))
}

/// The microseconds of a number of seconds, milliseconds, microseconds or nanoseconds since 1970.
/// The size of the number tells its unit, because no log is older than 1973 or younger than 2106.
fn scaled(text: &str) -> Option<u64> {
    /// The sizes, and the nanoseconds of one unit.
    const SCALES: [(u64, u64); 4] = [
        (100_000_000_000, 1_000_000_000),
        (100_000_000_000_000, 1_000_000),
        (100_000_000_000_000_000, 1_000),
        (u64::MAX, 1),
    ];
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = whole.parse().ok()?;
    let (_, scale) = SCALES.into_iter().find(|&(below, _)| number < below)?;
    // Nine digits after the point are enough for a microsecond of each unit.
    let billionths: u64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let ns = u128::from(number) * u128::from(scale) + u128::from(billionths * scale / 1_000_000_000);
    u64::try_from(ns / 1_000).ok().filter(|us| *us < END_US)
}

/// The names of the fields of a JSON line, as [`FieldNames::parse`] takes them. There are none if the
/// line is no JSON object.
pub fn names(line: &[u8]) -> Vec<String> {
    fn walk(value: &Value, prefix: &str, depth: usize, names: &mut Vec<String>) {
        let Value::Object(fields) = value else { return };
        for (name, value) in fields {
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            match value {
                Value::Object(_) if depth < DEPTH => walk(value, &path, depth + 1, names),
                Value::String(_) | Value::Number(_) => names.push(path),
                Value::Array(items) if matches!(items.first(), Some(Value::String(_) | Value::Number(_))) => {
                    names.push(format!("{path}.0"));
                }
                _ => {}
            }
        }
    }
    let mut names = Vec::new();
    if let Ok(value) = serde_json::from_slice::<Value>(line) {
        walk(&value, "", 1, &mut names);
    }
    names.retain(|name| name.bytes().all(|b| b.is_ascii_graphic()) && name.len() <= 64);
    names.truncate(LISTED);
    names
}

#[cfg(test)]
mod tests {
    use super::{FieldNames, FieldsError, LineError, micros, names};

    const AT: u32 = 1_431_857_103;

    fn read(fields: &str, line: &str) -> Option<(String, u32)> {
        let (time, key) = FieldNames::parse(fields).unwrap().read(line.as_bytes()).ok()?;
        Some((String::from_utf8_lossy(&key).into_owned(), u32::try_from(time / 1_000_000).unwrap()))
    }

    #[test]
    fn times_keep_their_microseconds() {
        let us = |text: &str| micros(text).map(|us| us - u64::from(AT) * 1_000_000);
        for (text, left) in [
            ("1431857103", 0),
            ("1431857103.000001999", 1),
            ("1431857103.9", 900_000),
            ("1431857103100", 100_000),
            ("1431857103100.5", 100_500),
            ("1431857103123456", 123_456),
            ("1431857103123456789", 123_456),
            ("2015-05-17T10:05:03.1864419Z", 186_441),
            ("2015-05-17 10:05:03,25", 250_000),
            ("2015-05-17T12:05:03+02:00[Europe/Paris]", 0),
            ("2015-05-17T12:05:03[Europe/Paris]", 0),
            ("2015-05-17 12:05:03 +0200", 0),
            ("2015-05-17 12:05:03.5 +02:00", 500_000),
            ("2015-05-17 10:05:03 UTC", 0),
            ("17/May/2015:12:05:03.123 +0200", 123_000),
            ("2015/05/17 10:05:03", 0),
            ("2015/05/17 10:05:03.25", 250_000),
            ("Sun, 17 May 2015 10:05:03 GMT", 0),
            ("Sun, 17 May 2015 12:05:03 +0200", 0),
        ] {
            assert_eq!(us(text), Some(left), "{text}");
        }
    }

    #[test]
    fn a_date_alone_is_no_time() {
        for text in
            ["2015-05-17", "20150517", "2015-05-17[Europe/Paris]", "2015-05-17T12:05:03[Nowhere/Town]", "x"]
        {
            assert_eq!(micros(text), None, "{text}");
        }
        let line = "2015-05-17 10:05:03.5 1.2.3.4 x";
        assert_eq!(read("time=1,key=3", line), None);
        assert_eq!(read("time=1+2,key=3", line), Some(("1.2.3.4".into(), AT)));
        assert_eq!(FieldNames::parse("time=1+0,key=3"), Err(FieldsError::Mixed));
    }

    #[test]
    fn json_lines_of_many_servers() {
        let caddy = r#"{"level":"info","ts":1431857103.25,"request":{"client_ip":"1.2.3.4","headers":{"X-User":["joe"]}},"status":200}"#;
        assert_eq!(read("time=ts,key=request.client_ip", caddy), Some(("1.2.3.4".into(), AT)));
        assert_eq!(read("key=request.headers.X-User.0,time=ts", caddy), Some(("joe".into(), AT)));
        for (time, line) in [
            ("time", r#"{"time":"2015-05-17T10:05:03Z","remote_addr":"1.2.3.4"}"#),
            ("time", r#"{"time":"2015-05-17T12:05:03.999+02:00","remote_addr":"1.2.3.4"}"#),
            ("time", r#"{"time":"2015-05-17 10:05:03","remote_addr":"1.2.3.4"}"#),
            ("time", r#"{"time":"17/May/2015:10:05:03 +0000","remote_addr":"1.2.3.4"}"#),
            ("msec", r#"{"msec":"1431857103.999","remote_addr":"1.2.3.4"}"#),
            ("ms", r#"{"ms":1431857103999,"remote_addr":"1.2.3.4"}"#),
            ("us", r#"{"us":1431857103999999,"remote_addr":"1.2.3.4:5"}"#),
            ("ns", r#"{"ns":1431857103999999999,"remote_addr":"1.2.3.4"}"#),
            ("event.at", r#"{"event.at":1431857103,"remote_addr":"1.2.3.4"}"#),
        ] {
            let fields = format!("time={time},key=remote_addr");
            assert_eq!(read(&fields, line), Some(("1.2.3.4".into(), AT)), "{line}");
        }
        assert_eq!(read("time=t,key=user", r#"{"t":1431857103,"user":7}"#), Some(("7".into(), AT)));
    }

    #[test]
    fn words_of_a_load_balancer() {
        let alb = r#"https 2015-05-17T10:05:03.186641Z app/my/50dc 192.168.131.39:2817 10.0.0.1:80 0.0 "GET https://a/b?c HTTP/1.1" "curl" [x y] end"#;
        assert_eq!(read("time=2,key=4", alb), Some(("192.168.131.39".into(), AT)));
        assert_eq!(read("time=2,key=7", alb).unwrap().0, "GET https://a/b?c HTTP/1.1");
        assert_eq!(read("time=2,key=9", alb).unwrap().0, "x y");
        assert_eq!(read("time=2,key=10", alb).unwrap().0, "end");
        assert_eq!(read("time=2,key=11", alb), None);
        let v6 = "2015-05-17T10:05:03Z [2001:db8::1]:443 x";
        assert_eq!(read("time=1,key=2", v6).unwrap().0, "2001:db8::1");
    }

    #[test]
    fn of_a_list_of_addresses_the_first_counts() {
        for (list, first) in [
            ("1.2.3.4, 10.0.0.1", "1.2.3.4"),
            ("1.2.3.4,10.0.0.1:80", "1.2.3.4"),
            (" 1.2.3.4:5 , x", "1.2.3.4"),
            ("[2001:db8::1]:443, 10.0.0.1", "2001:db8::1"),
            ("2001:db8::1, 10.0.0.1", "2001:db8::1"),
            // What is no address has no first.
            ("Doe, John", "Doe, John"),
            ("unknown, 1.2.3.4", "unknown, 1.2.3.4"),
        ] {
            let json = format!(r#"{{"t":1431857103,"xff":"{list}"}}"#);
            assert_eq!(read("time=t,key=xff", &json), Some((first.into(), AT)), "{list}");
            let words = format!(r#"1431857103 "{list}" x"#);
            assert_eq!(read("time=1,key=2", &words), Some((first.into(), AT)), "{list}");
        }
        // Without quotes the list is several words.
        assert_eq!(read("time=1,key=2", "1431857103 1.2.3.4, 10.0.0.1 x"), Some(("1.2.3.4".into(), AT)));
    }

    #[test]
    fn lines_that_lack_a_field() {
        for line in [
            "",
            "nonsense",
            "[]",
            "{}",
            r#"{"t":1431857103}"#,
            r#"{"t":-5,"k":"a"}"#,
            r#"{"t":1e300,"k":"a"}"#,
            r#"{"t":true,"k":"a"}"#,
            r#"{"t":"yesterday","k":"a"}"#,
            r#"{"t":1431857103,"k":null}"#,
            r#"{"t":1431857103,"k":{"a":1}}"#,
            r#"{"t":1431857103,"k":"a""#,
        ] {
            assert_eq!(read("time=t,key=k", line), None, "{line}");
        }
    }

    #[test]
    fn the_reason_names_what_is_wrong() {
        for (fields, line, wrong) in [
            ("time=t,key=k", "nonsense", LineError::NoJson),
            ("time=t,key=k", r#"{"k":"a"}"#, LineError::Missing("time")),
            ("time=t,key=k", r#"{"t":[],"k":"a"}"#, LineError::List("time")),
            ("time=t,key=h.k", r#"{"t":1431857103,"h":{"k":["a"]}}"#, LineError::List("key")),
            ("time=t,key=k", r#"{"t":1431857103}"#, LineError::Missing("key")),
            ("time=t,key=k", r#"{"t":"yester\nday","k":"a"}"#, LineError::Time("yester\\nday".into())),
            ("time=t,key=k", r#"{"t":1e300,"k":"a"}"#, LineError::Time("1e+300".into())),
            ("time=1,key=3", "2015-05-17 10:05:03 1.2.3.4", LineError::Time("2015-05-17".into())),
            ("time=1+2,key=4", "2015-05-17 10:05:03 1.2.3.4", LineError::Missing("key")),
            ("time=9,key=4", "2015-05-17 10:05:03 1.2.3.4", LineError::Missing("time")),
        ] {
            assert_eq!(FieldNames::parse(fields).unwrap().read(line.as_bytes()), Err(wrong), "{line}");
        }
    }

    #[test]
    fn mappings_that_cannot_be_followed() {
        for (text, wrong) in [
            ("", FieldsError::Entry(String::new())),
            ("ts,key=a", FieldsError::Entry("ts".into())),
            ("time=,key=a", FieldsError::Entry("time=".into())),
            ("time=a,user=b", FieldsError::Entry("user=b".into())),
            ("time=a", FieldsError::Missing("key")),
            ("key=a", FieldsError::Missing("time")),
            ("time=a,time=b", FieldsError::Twice("time")),
            ("time=2,key=a", FieldsError::Mixed),
            ("time=0,key=1", FieldsError::Mixed),
            ("time=1+b,key=1", FieldsError::Mixed),
        ] {
            assert_eq!(FieldNames::parse(text), Err(wrong), "{text}");
        }
    }

    #[test]
    fn the_names_of_a_line() {
        let line = br#"{"ts":1,"request":{"client_ip":"a","headers":{"x":[1]}},"ok":true}"#;
        assert_eq!(names(line), ["request.client_ip", "request.headers.x.0", "ts"]);
        assert!(names(b"1.2.3.4 - -").is_empty());
    }
}
