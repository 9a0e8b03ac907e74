//! Finds the breaker that holds for a call.
//!
//! For CB.ACQUIRE it is the key's pin, else the call's own breaker (unless `caller-limits` is no),
//! else a policy's, else the key's own, else the default. For CB.REPORT, pin and call come first,
//! too. Then comes the breaker in force; if a policy or the default chose that one, they are asked
//! again.

use crate::core::breaker::Report;
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::resolve::Source;
use crate::server::context::Context;
use crate::server::main_thread::MainThread;
use crate::settings;
use crate::types::cbcircuit::rules::{self, BreakerRef};
use crate::types::cbcircuit::{BreakerPin, CbCircuit, epochs};
use crate::types::effect::breaker::{BreakerChange, BreakerEffect, BreakerTerms, Holds};
use crate::types::policies::node;

/// The breaker that holds.
#[derive(Debug)]
pub struct ResolvedBreaker {
    /// The breaker, as a difference from what the key has.
    pub terms: BreakerTerms,
    /// True if there is no circuit that still matters. A pin may be there.
    pub missing: bool,
    /// The source of the breaker.
    pub source: Source,
}

/// A circuit's key as a command finds it, at one time.
#[derive(Clone, Copy, Debug)]
pub struct CircuitKey<'v> {
    main: MainThread,
    name: &'v [u8],
    value: Option<&'v CbCircuit>,
    now: Micros,
}

impl<'v> CircuitKey<'v> {
    /// The key of this name, with its value.
    pub const fn of(main: MainThread, name: &'v [u8], value: Option<&'v CbCircuit>, now: Micros) -> Self {
        Self { main, name, value, now }
    }

    /// The circuit, if it still matters.
    fn live(self) -> Option<&'v CbCircuit> {
        self.value.filter(|value| !value.is_forgotten(self.now))
    }

    fn pin(self) -> Option<&'v BreakerPin> {
        self.value.and_then(|value| value.pin(self.now))
    }

    /// Finds the breaker for a CB.ACQUIRE; `None` if nothing names one.
    ///
    /// `given` is the call's own argument. It is checked even if it does not hold, so that a pin does
    /// not hide a typing error.
    ///
    /// # Errors
    /// The breaker is malformed.
    pub fn resolve(self, given: Option<&[u8]>) -> Result<Option<ResolvedBreaker>, Error> {
        let live = self.live();
        let found;
        let given = match given {
            Some(text) => {
                if let Some(known) = live.and_then(|value| value.named(text)) {
                    Some(known)
                } else {
                    found = rules::find(self.main, text)?;
                    Some(&found)
                }
            }
            None => None,
        };
        let given = given.filter(|_| settings::caller_limits(self.main));
        let newly_given = given.filter(|rule| live.is_none_or(|value| !value.was_given(rule)));
        let mut resolved = if let Some(pin) = self.pin() {
            Some(ResolvedBreaker::of(live, &pin.rule, Source::Pin))
        } else if let Some(rule) = given {
            Some(ResolvedBreaker::of(live, rule, Source::Call))
        } else {
            ask_anew(self.main, self.name, live)
        };
        if let Some(resolved) = &mut resolved {
            resolved.terms.given = newly_given.cloned();
            resolved.terms.holds = Holds::ForCall;
        }
        Ok(resolved)
    }

    /// Finds the breaker for a CB.REPORT; `None` if nothing names one. `given` is as for
    /// [`CircuitKey::resolve`].
    ///
    /// # Errors
    /// The breaker is malformed.
    pub fn resolve_report(self, given: Option<&[u8]>) -> Result<Option<ResolvedBreaker>, Error> {
        if given.is_some() {
            let resolved = self.resolve(given)?;
            if settings::caller_limits(self.main) {
                return Ok(resolved.map(|resolved| resolved.for_report(self.value)));
            }
        }
        Ok(self.resolve_without_call())
    }

    /// Finds the breaker that holds when no call gives one: for looks, operators and reports. If nothing
    /// else names one, it is the one in force; `None` if there is no circuit either.
    pub fn resolve_without_call(self) -> Option<ResolvedBreaker> {
        let live = self.live();
        if let Some(pin) = self.pin() {
            Some(ResolvedBreaker::of(live, &pin.rule, Source::Pin))
        } else if live.is_some_and(CbCircuit::is_from_caller) {
            Some(ResolvedBreaker::own())
        } else {
            ask_anew(self.main, self.name, live).or_else(|| live.map(|_| ResolvedBreaker::own()))
        }
    }

    /// Finds the breaker that will hold without the pin.
    pub fn resolve_unpinned(self) -> ResolvedBreaker {
        ask_anew(self.main, self.name, self.live()).unwrap_or_else(ResolvedBreaker::own)
    }
}

/// Finds the breaker by the policies, the key itself and the default.
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
        let by_caller = matches!(source, Source::Call | Source::Last);
        let is_other = live.is_none_or(|value| value.rule() != rule);
        // Who chose the breaker may change although its text does not.
        let turns = live.is_none_or(|value| value.is_from_caller() != by_caller);
        let rule = (is_other || turns && !by_caller).then(|| rule.clone());
        let from_caller = by_caller && (is_other || turns);
        let terms = BreakerTerms { rule, from_caller, ..BreakerTerms::STANDING };
        Self { terms, missing: live.is_none(), source }
    }

    /// The breaker in force, whichever it is.
    pub const fn own() -> Self {
        Self { terms: BreakerTerms::STANDING, missing: false, source: Source::Last }
    }

    /// The breaker of a pin that is about to be set.
    pub fn pinned(live: Option<&CbCircuit>, rule: &BreakerRef) -> Self {
        Self::of(live, rule, Source::Pin)
    }

    /// Adapts the result for a report, which never replaces a breaker that an admitted call gave.
    fn for_report(mut self, value: Option<&CbCircuit>) -> Self {
        let value = value.filter(|_| !self.missing);
        self.terms.given =
            self.terms.given.filter(|rule| value.is_none_or(|value| value.takes_of_report(rule)));
        self
    }

    /// True if it may matter who reports: the circuit counts reporters separately, or will from
    /// this report on.
    pub fn may_tell_reporters(&self, value: Option<&CbCircuit>, report: &Report) -> bool {
        let asks = self.terms.rule.as_ref().is_some_and(|rule| rule.breaker().reporters() > 1);
        let tells = value.is_some_and(|value| !self.missing && value.circuit().tells_reporters());
        report.may_count_reporter() && (asks || tells)
    }

    /// True if the breaker in force holds and nothing new was given.
    pub const fn is_own(&self) -> bool {
        !self.missing && self.terms.names_nothing()
    }

    /// The effect that asks `change` of the circuit under this breaker, now. The epochs that it may
    /// begin are later than all that this server has seen, and not before now.
    pub fn effect<'a>(
        self,
        ctx: &Context<'_>,
        value: Option<&CbCircuit>,
        now: Micros,
        change: BreakerChange<'a>,
    ) -> BreakerEffect<'a> {
        let Self { mut terms, missing, .. } = self;
        let next = epochs::next(ctx.main());
        if terms.names_nothing() {
            terms.holds = Holds::FromNowOn;
        }
        if missing {
            terms.begin = Some(next);
        } else if next > now.0 || value.is_some_and(|value| value.circuit().is_late(now)) {
            terms.least_epoch = Some(next.max(now.0));
        }
        BreakerEffect { now, expires: !ctx.debug_clock_is_set(), terms, change }
    }
}
