//! Which breaker holds for a call.
//!
//! For CB.ACQUIRE: the key's pin, the call's own (unless `caller-limits` is no),
//! a policy's, the key's own, the default. For CB.REPORT, after pin and call: the
//! one in force, asked anew where a policy or the default chose it.

use crate::core::breaker::Report;
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::resolve::Source;
use crate::server::context::Context;
use crate::server::main_thread::MainThread;
use crate::settings;
use crate::types::cbcircuit::rules;
use crate::types::cbcircuit::rules::BreakerRef;
use crate::types::cbcircuit::{CbCircuit, epochs};
use crate::types::effect::breaker::{BreakerChange, BreakerEffect, Holds};
use crate::types::policies::node;

/// The breaker that holds, told by what is different from what the key has.
#[derive(Debug)]
pub struct ResolvedBreaker {
    /// It, unless it is in force already.
    pub other: Option<BreakerRef>,
    /// What the call gave, where it may become the key's own.
    given: Option<BreakerRef>,
    /// Whether a caller chose it where that is not known of the one in force.
    from_caller: bool,
    /// Whether it holds for this call, and becomes the key's as the call goes.
    by_call: bool,
    /// Whether there is no circuit that is still worth anything.
    pub missing: bool,
    /// Where it comes from.
    pub source: Source,
}

/// Finds the breaker for a CB.ACQUIRE; `None` where nothing names one.
///
/// `given` is the call's own argument. It is checked even where it does not
/// hold, so that a typing error does not hide behind a pin.
///
/// # Errors
/// A malformed breaker.
pub fn resolve(
    main: MainThread,
    key: &[u8],
    value: Option<&CbCircuit>,
    given: Option<&[u8]>,
    now: Micros,
) -> Result<Option<ResolvedBreaker>, Error> {
    let live = value.filter(|value| !value.is_over(now));
    let found;
    let given = match given {
        Some(text) => {
            if let Some(known) = live.and_then(|value| value.named(text)) {
                Some(known)
            } else {
                found = rules::find(main, text)?;
                Some(&found)
            }
        }
        None => None,
    };
    let given = given.filter(|_| settings::caller_limits(main));
    let own = live.and_then(CbCircuit::given);
    let newly_given = given.filter(|rule| own != Some(rule));
    let pin = live.and_then(|value| value.pin(now));
    let resolved = if let Some(pin) = pin {
        Some(ResolvedBreaker::of(live, &pin.rule, Source::Pin))
    } else if let Some(rule) = given {
        Some(ResolvedBreaker::of(live, rule, Source::Call))
    } else {
        ask_anew(main, key, live)
    };
    let given = newly_given.cloned();
    Ok(resolved.map(|resolved| ResolvedBreaker { given, by_call: true, ..resolved }))
}

/// Finds the breaker for a CB.REPORT; `None` where nothing names one. `given` as
/// for [`resolve`].
///
/// # Errors
/// A malformed breaker.
pub fn resolve_report(
    main: MainThread,
    key: &[u8],
    value: Option<&CbCircuit>,
    given: Option<&[u8]>,
    now: Micros,
) -> Result<Option<ResolvedBreaker>, Error> {
    if given.is_some() {
        let resolved = resolve(main, key, value, given, now)?;
        let standing = !settings::caller_limits(main);
        return Ok(if standing {
            resolve_standing(main, key, value, now)
        } else {
            resolved.map(|resolved| resolved.for_report(value))
        });
    }
    Ok(resolve_standing(main, key, value, now))
}

/// Finds the breaker that stands where no call gives one: for looks, operators
/// and reports. `None` where nothing names one.
pub fn resolve_standing(
    main: MainThread,
    key: &[u8],
    value: Option<&CbCircuit>,
    now: Micros,
) -> Option<ResolvedBreaker> {
    let live = value.filter(|value| !value.is_over(now));
    if let Some(pin) = live.and_then(|value| value.pin(now)) {
        Some(ResolvedBreaker::of(live, &pin.rule, Source::Pin))
    } else if live.is_some_and(CbCircuit::is_from_caller) {
        Some(ResolvedBreaker::own())
    } else {
        ask_anew(main, key, live)
    }
}

/// Finds the breaker that holds once the pin is gone.
pub fn resolve_unpinned(main: MainThread, key: &[u8], value: &CbCircuit) -> Option<ResolvedBreaker> {
    ask_anew(main, key, Some(value))
}

/// What policies, the key itself and the default say.
fn ask_anew(main: MainThread, key: &[u8], live: Option<&CbCircuit>) -> Option<ResolvedBreaker> {
    Some(if let Some(rule) = node::breaker_for(main, key) {
        ResolvedBreaker::of(live, &rule, Source::Policy)
    } else if let Some(rule) = live.and_then(CbCircuit::given) {
        ResolvedBreaker::of(live, rule, Source::Last)
    } else {
        ResolvedBreaker::of(live, &settings::default_breaker(main)?, Source::Default)
    })
}

impl ResolvedBreaker {
    fn of(live: Option<&CbCircuit>, rule: &BreakerRef, source: Source) -> Self {
        let other = live.is_none_or(|value| value.rule() != rule).then(|| rule.clone());
        let by_caller = matches!(source, Source::Call | Source::Last);
        let from_caller = by_caller && (other.is_some() || live.is_none_or(|value| !value.is_from_caller()));
        Self { other, given: None, from_caller, by_call: false, missing: live.is_none(), source }
    }

    /// The one in force, whatever it is.
    pub const fn own() -> Self {
        Self {
            other: None,
            given: None,
            from_caller: false,
            by_call: false,

            missing: false,
            source: Source::Last,
        }
    }

    /// The breaker of a pin that is about to be set.
    pub fn pinned(live: Option<&CbCircuit>, rule: &BreakerRef) -> Self {
        Self::of(live, rule, Source::Pin)
    }

    /// A report never replaces what an admitted call gave.
    fn for_report(self, value: Option<&CbCircuit>) -> Self {
        let keeps = !self.missing && value.is_some_and(|value| !value.takes_given_of_report());
        Self { given: self.given.filter(|_| !keeps), ..self }
    }

    /// Whether it may matter who reports: where the circuit tells reporters apart, or
    /// begins to with this report.
    pub fn may_tell_reporters(&self, value: Option<&CbCircuit>, report: &Report) -> bool {
        let asks = self.other.as_ref().is_some_and(|rule| rule.breaker().reporters() > 1);
        let tells = value.is_some_and(|value| !self.missing && value.circuit().tells_reporters());
        report.may_count_reporter() && (asks || tells)
    }

    /// True when the one in force holds and nothing new was given.
    pub const fn is_own(&self) -> bool {
        !self.missing && self.other.is_none() && self.given.is_none() && !self.from_caller
    }

    /// The effect of asking `change` of the circuit under this breaker, now.
    pub fn effect<'a>(self, ctx: &Context<'_>, now: Micros, change: BreakerChange<'a>) -> BreakerEffect<'a> {
        let names = self.other.is_some() || self.given.is_some() || self.from_caller;
        BreakerEffect {
            now,
            expires: !ctx.debug_clock_is_set(),
            begin: self.missing.then(|| epochs::next(ctx.main())),
            rule: self.other,
            given: self.given,
            holds: if self.by_call && names { Holds::ForCall } else { Holds::FromNowOn },
            from_caller: self.from_caller,
            change,
        }
    }
}
