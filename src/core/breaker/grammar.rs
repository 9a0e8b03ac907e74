//! A breaker as text, both ways.
//!
//! ```text
//! breaker = trip *( ":" name "=" value )
//! trip    = N | N "/" period | P "%/" period | P "%/" N "calls"
//! period  = [ n ] unit
//! ```
//!
//! Letter case does not matter. P and the back-off have up to two decimals.

use super::spec::{Breaker, MAX_CALLS, MAX_COUNT, MAX_PROBES, MAX_REPORTERS, Rate, Trip};
use crate::core::text::duration;
use crate::core::text::duration::{HOUR, LONGEST, MILLISECOND, split_number, whole_number};
use crate::core::text::hundredths::{decimal, hundredths};
use crate::core::text::token::{TokenError, shown};

/// The longest text of a breaker, in bytes.
pub const TEXT_BYTES: usize = 1024;

/// Why a part of the text was refused.
type BreakerReason = String;

impl Breaker {
    /// Parses a breaker such as `50%/60s:min=10:open=30s`.
    ///
    /// # Errors
    /// A [`TokenError`] that names the text and what is wrong with it.
    ///
    /// ```
    /// use floodgate::core::breaker::Breaker;
    ///
    /// let breaker = Breaker::parse(b"50%/60s:min=10:open=30s").unwrap();
    /// assert_eq!((breaker.min(), breaker.open_us()), (10, 30_000_000));
    /// let error = Breaker::parse(b"50%/").unwrap_err();
    /// assert!(error.to_string().starts_with("invalid breaker '50%/'"));
    /// ```
    pub fn parse(text: &[u8]) -> Result<Self, TokenError> {
        breaker(text, duration::parse).map_err(|reason| TokenError::new("breaker", text, reason))
    }

    /// As [`Breaker::parse`], of what version 0.1 kept: there the duration of an
    /// option without a unit was milliseconds.
    ///
    /// # Errors
    /// As [`Breaker::parse`].
    pub fn parse_stored(text: &[u8]) -> Result<Self, TokenError> {
        breaker(text, duration::parse_stored).map_err(|reason| TokenError::new("breaker", text, reason))
    }

    /// What [`Breaker::parse_stored`] reads, with a unit behind each duration of an
    /// option that has none; the rest stays as it was written.
    pub fn with_units(text: &str) -> String {
        let part = |part: &str| match part.split_once('=') {
            Some((name, value)) if is_duration(name) && is_unitless(value) => format!("{part}ms"),
            _ => part.to_owned(),
        };
        text.split(':').map(part).collect::<Vec<_>>().join(":")
    }

    /// The shortest text that parses to this breaker: options at their defaults
    /// are left out, the others come in the order of the documentation.
    pub fn canonical(&self) -> String {
        let trip = self.trip();
        let mut text = match trip {
            Trip::Consecutive { failures } => failures.to_string(),
            Trip::Count { failures, period_us } => {
                format!("{failures}/{}", duration::canonical(period_us))
            }
            Trip::RatePeriod { rate, period_us } => {
                format!("{}/{}", percent(rate), duration::canonical(period_us))
            }
            Trip::RateCalls { rate, calls } => format!("{}/{calls}calls", percent(rate)),
        };
        let mut option = |name: &str, value: String| {
            text.push(':');
            text.push_str(name);
            text.push('=');
            text.push_str(&value);
        };
        let defaults = Self::with_defaults(trip);
        if self.min != defaults.min {
            option("min", self.min.to_string());
        }
        if let Some(slow) = self.slow_us {
            option("slow", duration::canonical(slow));
        }
        if self.slowrate != defaults.slowrate {
            option("slowrate", percent(self.slowrate));
        }
        if self.open_us != defaults.open_us {
            option("open", duration::canonical(self.open_us));
        }
        if self.backoff != defaults.backoff {
            option("backoff", decimal(self.backoff));
        }
        if self.maxopen_us != default_maxopen(self.open_us) {
            option("maxopen", duration::canonical(self.maxopen_us));
        }
        if self.probes != defaults.probes {
            option("probes", self.probes.to_string());
        }
        if self.lease_us != defaults.lease_us {
            option("lease", duration::canonical(self.lease_us));
        }
        if self.ramp_us != defaults.ramp_us {
            option("ramp", duration::canonical(self.ramp_us));
        }
        if self.idle_us != defaults.idle_us {
            option("idle", duration::canonical(self.idle_us));
        }
        if self.reporters != defaults.reporters {
            option("reporters", self.reporters.to_string());
        }
        text
    }
}

/// `maxopen` where the token names none: an hour, or `open` if that is longer.
fn default_maxopen(open_us: u64) -> u64 {
    open_us.max(HOUR)
}

/// The value of each option that the text gives.
#[derive(Default)]
struct BreakerOptions {
    min: Option<u32>,
    slow: Option<u64>,
    slowrate: Option<Rate>,
    open: Option<u64>,
    backoff: Option<u32>,
    maxopen: Option<u64>,
    probes: Option<u8>,
    lease: Option<u64>,
    ramp: Option<u64>,
    idle: Option<u64>,
    reporters: Option<u8>,
}

/// Whether an option's value is a duration.
fn is_duration(option: &str) -> bool {
    ["slow", "open", "maxopen", "lease", "ramp", "idle"].iter().any(|name| name.eq_ignore_ascii_case(option))
}

fn is_unitless(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) && value.bytes().any(|b| b != b'0')
}

/// How the durations of options are read.
type ReadDuration = fn(&[u8]) -> Result<u64, TokenError>;

fn breaker(text: &[u8], read: ReadDuration) -> Result<Breaker, BreakerReason> {
    if text.len() > TEXT_BYTES {
        return Err(format!("longer than {TEXT_BYTES} bytes"));
    }
    let mut parts = text.split(|&b| b == b':');
    let trip = trip(parts.next().unwrap_or_default())?;
    let mut options = BreakerOptions::default();
    for part in parts {
        options.set(part, read)?;
    }
    options.complete(trip)
}

fn trip(text: &[u8]) -> Result<Trip, BreakerReason> {
    if text.is_empty() {
        return Err("missing trip: a number of failures, or a rate such as 50%/60s".into());
    }
    let (number, rest) = split_decimal(text);
    if number.is_empty() {
        return Err("expected a number of failures, or a rate such as 50%/60s".into());
    }
    match rest {
        [] => Ok(Trip::Consecutive { failures: failures(number)? }),
        [b'/', period @ ..] => {
            Ok(Trip::Count { failures: failures(number)?, period_us: parse_period(period)? })
        }
        [b'%'] => {
            Err("missing period: a rate is over a period or a number of calls, as in 50%/60s or 50%/100calls"
                .into())
        }
        [b'%', b'/', over @ ..] => rate_trip(rate(number)?, over),
        _ => Err(format!("expected '/' or '%/' after the number, not '{}'", shown(rest))),
    }
}

/// What follows `P%/`.
fn rate_trip(rate: Rate, over: &[u8]) -> Result<Trip, BreakerReason> {
    let (digits, unit) = split_number(over);
    if !unit.eq_ignore_ascii_case(b"calls") {
        return Ok(Trip::RatePeriod { rate, period_us: parse_period(over)? });
    }
    if digits.is_empty() {
        return Err("missing number of calls".into());
    }
    let calls = within(digits, MAX_CALLS.into()).and_then(|calls| u16::try_from(calls).ok());
    let calls = calls.ok_or_else(|| format!("calls must be 1 to {MAX_CALLS}"))?;
    Ok(Trip::RateCalls { rate, calls })
}

/// A number of failures.
fn failures(number: &[u8]) -> Result<u32, BreakerReason> {
    if number.contains(&b'.') {
        return Err("a number of failures has no decimals, a rate is written as 50%/60s".into());
    }
    count(number).ok_or_else(|| format!("failures must be 1 to {MAX_COUNT}"))
}

/// `[ n ] unit`.
fn parse_period(text: &[u8]) -> Result<u64, BreakerReason> {
    if text.is_empty() {
        return Err("missing period, as in 5/10s or 50%/60s".into());
    }
    let (digits, unit) = split_number(text);
    if unit.is_empty() {
        let n = shown(digits);
        return Err(format!("missing unit of the period, write {n}s, or {n}calls after a rate"));
    }
    let scale = duration::unit(unit).ok_or_else(|| match duration::near_unit(unit) {
        Some(near) => format!("unknown period '{}', write {}{near}", shown(text), shown(digits)),
        None => format!("unknown period '{}': the units are ms, s, m, h, d and w", shown(text)),
    })?;
    let n = if digits.is_empty() { Some(1) } else { whole_number(digits) };
    let us = n.and_then(|n| n.checked_mul(scale)).filter(|us| (MILLISECOND..=LONGEST).contains(us));
    us.ok_or_else(|| "period must be 1ms to 366d".into())
}

impl BreakerOptions {
    /// Takes one `name=value`.
    fn set(&mut self, part: &[u8], read: ReadDuration) -> Result<(), BreakerReason> {
        if part.is_empty() {
            return Err("empty option".into());
        }
        let equals = part.iter().position(|&b| b == b'=');
        let (name, value) = equals.map_or((part, None), |at| {
            (part.get(..at).unwrap_or_default(), part.get(at + 1..).filter(|value| !value.is_empty()))
        });
        let name = name.to_ascii_lowercase();
        let option = match name.as_slice() {
            b"min" | b"slow" | b"slowrate" | b"open" | b"backoff" | b"maxopen" | b"probes" | b"lease"
            | b"ramp" | b"idle" | b"reporters" => shown(&name),
            _ => return Err(unknown_option(&name)),
        };
        let value =
            value.ok_or_else(|| format!("missing value of {option}, as in {option}={}", example(&option)))?;
        let given_twice = match name.as_slice() {
            b"min" => {
                let min = count(value).ok_or_else(|| format!("min must be 1 to {MAX_COUNT}"))?;
                self.min.replace(min).is_some()
            }
            b"slow" => self.slow.replace(length(&option, value, MILLISECOND, read)?).is_some(),
            b"slowrate" => {
                let Some((b'%', number)) = value.split_last() else {
                    return Err("slowrate must be a percentage such as 50%".into());
                };
                self.slowrate.replace(rate(number)?).is_some()
            }
            b"open" => self.open.replace(length(&option, value, MILLISECOND, read)?).is_some(),
            b"backoff" => {
                let factor = hundredths(value)?
                    .filter(|factor| (100..=10_000).contains(factor))
                    .and_then(|factor| u32::try_from(factor).ok());
                self.backoff.replace(factor.ok_or("backoff must be 1 to 100")?).is_some()
            }
            b"maxopen" => self.maxopen.replace(length(&option, value, MILLISECOND, read)?).is_some(),
            b"probes" => {
                let probes = within(value, MAX_PROBES.into()).and_then(|n| u8::try_from(n).ok());
                let probes = probes.ok_or_else(|| format!("probes must be 1 to {MAX_PROBES}"))?;
                self.probes.replace(probes).is_some()
            }
            b"reporters" => {
                let reporters = within(value, MAX_REPORTERS.into()).and_then(|n| u8::try_from(n).ok());
                let reporters = reporters.ok_or_else(|| format!("reporters must be 1 to {MAX_REPORTERS}"))?;
                self.reporters.replace(reporters).is_some()
            }
            b"lease" => self.lease.replace(length(&option, value, MILLISECOND, read)?).is_some(),
            b"ramp" => self.ramp.replace(length(&option, value, 0, read)?).is_some(),
            _ => self.idle.replace(length(&option, value, MILLISECOND, read)?).is_some(),
        };
        if given_twice { Err(format!("{option} is given twice")) } else { Ok(()) }
    }

    /// The breaker, if these options go together.
    fn complete(self, trip: Trip) -> Result<Breaker, BreakerReason> {
        let defaults = Breaker::with_defaults(trip);
        if trip.rate().is_none() {
            // They would have no effect: better to say so than to let somebody
            // believe that slow calls open this breaker.
            let useless = [
                ("min", self.min.is_some()),
                ("slow", self.slow.is_some()),
                ("slowrate", self.slowrate.is_some()),
            ];
            if let Some((option, _)) = useless.into_iter().find(|&(_, given)| given) {
                return Err(format!("{option} is only for rates (P%/...)"));
            }
        }
        if self.slowrate.is_some() && self.slow.is_none() {
            return Err("slowrate needs slow".into());
        }
        let min = self.min.unwrap_or(defaults.min);
        if let Trip::RateCalls { calls, .. } = trip
            && min > calls.into()
        {
            return Err("min is more than the calls in the window".into());
        }
        let open_us = self.open.unwrap_or(defaults.open_us);
        let maxopen_us = self.maxopen.unwrap_or_else(|| default_maxopen(open_us));
        if maxopen_us < open_us {
            return Err("maxopen is shorter than open".into());
        }
        Ok(Breaker {
            trip,
            min,
            slow_us: self.slow,
            slowrate: self.slowrate.unwrap_or(defaults.slowrate),
            open_us,
            backoff: self.backoff.unwrap_or(defaults.backoff),
            maxopen_us,
            probes: self.probes.unwrap_or(defaults.probes),
            lease_us: self.lease.unwrap_or(defaults.lease_us),
            ramp_us: self.ramp.unwrap_or(defaults.ramp_us),
            idle_us: self.idle.unwrap_or(defaults.idle_us),
            reporters: self.reporters.unwrap_or(defaults.reporters),
        })
    }
}

/// Every option, in the order of the documentation.
const OPTIONS: &str = "min, slow, slowrate, open, backoff, maxopen, probes, lease, ramp, idle and reporters";

/// What other breakers call an option, and ours.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("timeout", "open"),
    ("reset", "open"),
    ("reset_timeout", "open"),
    ("cooldown", "open"),
    ("wait", "open"),
    ("sleep", "open"),
    ("trials", "probes"),
    ("half_open", "probes"),
    ("instances", "reporters"),
    ("sources", "reporters"),
    ("volume", "min"),
    ("minimum", "min"),
    ("slow_duration", "slow"),
    ("slow_rate", "slowrate"),
    ("max_open", "maxopen"),
];

fn unknown_option(name: &[u8]) -> BreakerReason {
    let unknown = format!("unknown option '{}'", shown(name));
    match OTHER_NAMES.iter().find(|(other, _)| other.as_bytes() == name) {
        Some((_, ours)) => format!("{unknown}, write {ours}={}", example(ours)),
        None => format!("{unknown}: the options are {OPTIONS}"),
    }
}

/// A value of an option, to be shown.
fn example(option: &str) -> &'static str {
    match option {
        "min" => "20",
        "slowrate" => "50%",
        "backoff" | "reporters" => "2",
        "probes" => "3",
        "slow" => "500ms",
        "maxopen" | "idle" => "1h",
        _ => "30s",
    }
}

/// The length of time of `option`.
fn length(option: &str, value: &[u8], least: u64, read: ReadDuration) -> Result<u64, BreakerReason> {
    let us = read(value).map_err(|error| format!("{option}={}: {}", error.token, error.reason))?;
    if us < least { Err(format!("{option} must be at least 1ms")) } else { Ok(us) }
}

/// A whole number from 1 to `max`.
fn within(digits: &[u8], max: u64) -> Option<u64> {
    whole_number(digits).filter(|n| (1..=max).contains(n))
}

/// A whole number from 1 to [`MAX_COUNT`].
fn count(digits: &[u8]) -> Option<u32> {
    within(digits, MAX_COUNT.into()).and_then(|n| u32::try_from(n).ok())
}

/// The number before a `%`.
fn rate(number: &[u8]) -> Result<Rate, BreakerReason> {
    let rate = hundredths(number)?.and_then(Rate::new);
    rate.ok_or_else(|| "a percentage must be 0.01% to 100%".into())
}

/// Splits `text` after its leading digits and points.
fn split_decimal(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&b| !b.is_ascii_digit() && b != b'.');
    text.split_at(end.unwrap_or(text.len()))
}

/// A rate as people write it: `50%`, `12.5%`.
fn percent(rate: Rate) -> String {
    format!("{}%", decimal(rate.hundredths().into()))
}
