//! A breaker as text: its parser, and the text that it is written as.
//!
//! ```text
//! breaker = trip *( ":" name "=" value )
//! trip    = N | N "/" period | P "%/" period | P "%/" N "calls"
//! period  = [ n ] unit
//! ```
//!
//! Letter case does not matter. P and the back-off have up to two decimals.

use super::spec::{BACKOFF, Breaker, MAX_CALLS, MAX_COUNT, MAX_PROBES, MAX_REPORTERS, Trip};
use crate::core::text::duration;
use crate::core::text::duration::{HOUR, LONGEST, MILLISECOND, split_number, whole_number};
use crate::core::text::hundredths::Hundredths;
use crate::core::text::percent::Percent;
use crate::core::text::token::{TokenError, listed, meant, shown};
use std::fmt::Display;

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
        let parsed = breaker(text, duration::parse).and_then(|breaker| {
            if breaker.can_open() {
                Ok(breaker)
            } else {
                Err("reporters is more than the calls in the window".into())
            }
        });
        parsed.map_err(|reason| TokenError::new("breaker", text, reason))
    }

    /// The same as [`Breaker::parse`], for a text that version 0.1 stored. There the duration of an
    /// option without a unit was in milliseconds. A breaker that can never open is read as well,
    /// because it was accepted once.
    ///
    /// # Errors
    /// The same as [`Breaker::parse`], except for these.
    pub fn parse_stored(text: &[u8]) -> Result<Self, TokenError> {
        breaker(text, duration::parse_stored).map_err(|reason| TokenError::new("breaker", text, reason))
    }

    /// Adds the unit `ms` to each duration of an option that has none, in a text that
    /// [`Breaker::parse_stored`] reads. The rest stays as it was written.
    pub fn with_units(text: &str) -> String {
        let part = |part: &str| match part.split_once('=') {
            Some((name, value)) if is_duration(name) && is_unitless(value) => format!("{part}ms"),
            _ => part.to_owned(),
        };
        text.split(':').map(part).collect::<Vec<_>>().join(":")
    }

    /// The shortest text that parses to this breaker. Options at their defaults are left out; the
    /// others come in the order of the documentation.
    pub fn canonical(&self) -> String {
        let trip = self.trip();
        let mut text = match trip {
            Trip::Consecutive { failures } => failures.to_string(),
            Trip::Count { failures, period_us } => {
                format!("{failures}/{}", duration::canonical(period_us))
            }
            Trip::RatePeriod { rate, period_us } => format!("{rate}/{}", duration::canonical(period_us)),
            Trip::RateCalls { rate, calls } => format!("{rate}/{calls}calls"),
        };
        let defaults = Self::with_defaults(trip);
        let differs = |value: u64, default: u64| (value != default).then(|| value.to_string());
        let length = |us: u64, default: u64| (us != default).then(|| duration::canonical(us));
        let options = [
            ("min", differs(self.min.into(), defaults.min.into())),
            ("slow", self.slow_us.map(duration::canonical)),
            ("slowrate", (self.slowrate != defaults.slowrate).then(|| self.slowrate.to_string())),
            ("open", length(self.open_us, defaults.open_us)),
            ("backoff", (self.backoff != defaults.backoff).then(|| self.backoff.to_string())),
            ("maxopen", length(self.maxopen_us, default_maxopen(self.open_us))),
            ("probes", differs(self.probes.into(), defaults.probes.into())),
            ("lease", length(self.lease_us, defaults.lease_us)),
            ("ramp", length(self.ramp_us, defaults.ramp_us)),
            ("idle", length(self.idle_us, defaults.idle_us)),
            ("reporters", differs(self.reporters.into(), defaults.reporters.into())),
        ];
        for (name, value) in options {
            if let Some(value) = value {
                text.push_str(&format!(":{name}={value}"));
            }
        }
        text
    }
}

/// `maxopen` if the token names none: an hour, or `open` if that is longer.
fn default_maxopen(open_us: u64) -> u64 {
    open_us.max(HOUR)
}

/// True if the value of this option is a duration.
fn is_duration(option: &str) -> bool {
    ["slow", "open", "maxopen", "lease", "ramp", "idle"].iter().any(|name| name.eq_ignore_ascii_case(option))
}

fn is_unitless(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) && value.bytes().any(|b| b != b'0')
}

/// The function that reads the durations of options.
type ReadDuration = fn(&[u8]) -> Result<u64, TokenError>;

fn breaker(text: &[u8], read: ReadDuration) -> Result<Breaker, BreakerReason> {
    if text.len() > TEXT_BYTES {
        return Err(format!("longer than {TEXT_BYTES} bytes"));
    }
    let mut parts = text.split(|&b| b == b':');
    let trip = trip(parts.next().unwrap_or_default())?;
    let mut draft = BreakerDraft { breaker: Breaker::with_defaults(trip), given: Vec::new() };
    for part in parts {
        draft.take(part, read)?;
    }
    draft.complete()
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

/// Parses what follows `P%/`.
fn rate_trip(rate: Percent, over: &[u8]) -> Result<Trip, BreakerReason> {
    let (digits, unit) = split_number(over);
    if !unit.eq_ignore_ascii_case(b"calls") {
        return Ok(Trip::RatePeriod { rate, period_us: parse_period(over)? });
    }
    if digits.is_empty() {
        return Err("missing number of calls".into());
    }
    Ok(Trip::RateCalls { rate, calls: number("calls", digits, MAX_CALLS)? })
}

/// Parses a number of failures.
fn failures(text: &[u8]) -> Result<u32, BreakerReason> {
    if text.contains(&b'.') {
        return Err("a number of failures has no decimals, a rate is written as 50%/60s".into());
    }
    number("failures", text, MAX_COUNT)
}

/// Parses `[ n ] unit` into microseconds.
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

/// A breaker whose text is read in part.
struct BreakerDraft {
    breaker: Breaker,
    /// The names of the options that the text has given.
    given: Vec<&'static str>,
}

impl BreakerDraft {
    /// Parses one `name=value`.
    fn take(&mut self, part: &[u8], read: ReadDuration) -> Result<(), BreakerReason> {
        if part.is_empty() {
            return Err("empty option".into());
        }
        let equals = part.iter().position(|&b| b == b'=');
        let (name, value) = equals.map_or((part, None), |at| {
            (part.get(..at).unwrap_or_default(), part.get(at + 1..).filter(|value| !value.is_empty()))
        });
        let option = OPTIONS.iter().find(|(option, _)| option.as_bytes().eq_ignore_ascii_case(name));
        let &(option, example) = option.ok_or_else(|| unknown_option(&name.to_ascii_lowercase()))?;
        let value = value.ok_or_else(|| format!("missing value of {option}, as in {option}={example}"))?;
        self.set(option, value, read)?;
        if self.given(option) {
            return Err(format!("{option} is given twice"));
        }
        self.given.push(option);
        Ok(())
    }

    fn set(&mut self, option: &str, value: &[u8], read: ReadDuration) -> Result<(), BreakerReason> {
        let breaker = &mut self.breaker;
        let length = |least| length(option, value, least, read);
        match option {
            "min" => breaker.min = number(option, value, MAX_COUNT)?,
            "slow" => breaker.slow_us = Some(length(MILLISECOND)?),
            "slowrate" => {
                let percent = value.strip_suffix(b"%").ok_or("slowrate must be a percentage such as 50%")?;
                breaker.slowrate = rate(percent)?;
            }
            "open" => breaker.open_us = length(MILLISECOND)?,
            "backoff" => {
                let factor = Hundredths::parse(value).map_err(|reason| reason.to_string())?;
                let factor = Some(factor).filter(|factor| BACKOFF.contains(factor));
                breaker.backoff = factor.ok_or("backoff must be 1 to 100")?;
            }
            "maxopen" => breaker.maxopen_us = length(MILLISECOND)?,
            "probes" => breaker.probes = number(option, value, MAX_PROBES)?,
            "lease" => breaker.lease_us = length(MILLISECOND)?,
            "ramp" => breaker.ramp_us = length(0)?,
            "idle" => breaker.idle_us = length(MILLISECOND)?,
            _ => breaker.reporters = number(option, value, MAX_REPORTERS)?,
        }
        Ok(())
    }

    fn given(&self, option: &str) -> bool {
        self.given.contains(&option)
    }

    /// Makes the breaker, or says why these options do not go together.
    fn complete(mut self) -> Result<Breaker, BreakerReason> {
        let trip = self.breaker.trip;
        // Other trips do not use these options. Refusing them is better than letting an operator
        // believe that slow calls open this breaker.
        let useless = ["min", "slow", "slowrate"].into_iter().find(|option| self.given(option));
        if let Some(option) = useless.filter(|_| trip.rate().is_none()) {
            return Err(format!("{option} is only for rates (P%/...)"));
        }
        if self.given("slowrate") && !self.given("slow") {
            return Err("slowrate needs slow".into());
        }
        if let Trip::RateCalls { calls, .. } = trip
            && self.breaker.min > calls.into()
        {
            return Err("min is more than the calls in the window".into());
        }
        if !self.given("maxopen") {
            self.breaker.maxopen_us = default_maxopen(self.breaker.open_us);
        }
        if self.breaker.maxopen_us < self.breaker.open_us {
            return Err("maxopen is shorter than open".into());
        }
        Ok(self.breaker)
    }
}

/// Every option with a value to show as an example, in the order of the documentation.
const OPTIONS: [(&str, &str); 11] = [
    ("min", "20"),
    ("slow", "500ms"),
    ("slowrate", "50%"),
    ("open", "30s"),
    ("backoff", "2"),
    ("maxopen", "1h"),
    ("probes", "3"),
    ("lease", "30s"),
    ("ramp", "30s"),
    ("idle", "1h"),
    ("reporters", "2"),
];

/// Our options, each with the names that other circuit breakers use for it.
const OTHER_NAMES: &[(&str, &[&str])] = &[
    ("open", &["timeout", "reset", "reset_timeout", "cooldown", "wait", "sleep"]),
    ("probes", &["trials", "half_open"]),
    ("reporters", &["instances", "sources"]),
    ("min", &["volume", "minimum"]),
    ("slow", &["slow_duration"]),
    ("slowrate", &["slow_rate"]),
    ("maxopen", &["max_open"]),
];

fn unknown_option(name: &[u8]) -> BreakerReason {
    let unknown = format!("unknown option '{}'", shown(name));
    match meant(OTHER_NAMES, name).and_then(|ours| OPTIONS.iter().find(|(option, _)| *option == ours)) {
        Some((option, example)) => format!("{unknown}, write {option}={example}"),
        None => format!("{unknown}: the options are {}", listed(&OPTIONS.map(|(option, _)| option), "and")),
    }
}

/// Parses the duration of `option` into microseconds.
fn length(option: &str, value: &[u8], least: u64, read: ReadDuration) -> Result<u64, BreakerReason> {
    let us = read(value).map_err(|error| format!("{option}={}: {}", error.token, error.reason))?;
    if us < least { Err(format!("{option} must be at least 1ms")) } else { Ok(us) }
}

/// Parses a whole number from 1 to `most`.
fn number<N>(what: &str, digits: &[u8], most: N) -> Result<N, BreakerReason>
where
    N: Copy + Display + Into<u64> + TryFrom<u64>,
{
    let number = whole_number(digits).filter(|n| (1..=most.into()).contains(n));
    number.and_then(|n| N::try_from(n).ok()).ok_or_else(|| format!("{what} must be 1 to {most}"))
}

/// Parses the number before a `%`.
fn rate(text: &[u8]) -> Result<Percent, BreakerReason> {
    let Hundredths(hundredths) = Hundredths::parse(text).map_err(|reason| reason.to_string())?;
    let rate = Percent::new(hundredths).filter(|&rate| rate > Percent::NONE);
    rate.ok_or_else(|| "a percentage must be 0.01% to 100%".into())
}

/// Splits `text` after its leading digits and points.
fn split_decimal(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&b| !b.is_ascii_digit() && b != b'.');
    text.split_at(end.unwrap_or(text.len()))
}
