//! Which breaker holds for a call: the key's pin, else the call's own, else a
//! policy's, else the one last given in a call, else the default.

use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::resolve::Source;
use crate::server::context::Context;
use crate::server::main_thread::MainThread;
use crate::settings;
use crate::types::cbcircuit::rules;
use crate::types::cbcircuit::rules::BreakerRef;
use crate::types::cbcircuit::{BreakerPin, CbCircuit, epochs};
use crate::types::effect::breaker::{BreakerChange, BreakerEffect};
use crate::types::policies::node;

/// The breaker that holds, told by what is different from what the key has.
#[derive(Debug)]
pub struct ResolvedBreaker {
    /// It, unless the circuit goes by it already.
    pub other: Option<BreakerRef>,
    /// What the call gave, unless the last call gave the same.
    given: Option<BreakerRef>,
    /// Whether there is no circuit that is still worth anything.
    pub missing: bool,
    /// Where it comes from.
    pub source: Source,
}

/// Finds the breaker for a call; `None` where nothing names one.
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
    let given_before = live.and_then(CbCircuit::given);
    let newly_given = match given {
        Some(text) if !given_before.is_some_and(|before| before.is(text)) => {
            Some(rules::find(main, text)?).filter(|rule| given_before != Some(rule))
        }
        _ => None,
    };
    let pin = live.and_then(|value| value.pin(now));
    Ok(choose(main, key, live, pin, given.is_some(), newly_given))
}

/// Finds the breaker that holds once the pin is gone.
pub fn resolve_unpinned(main: MainThread, key: &[u8], value: &CbCircuit) -> Option<ResolvedBreaker> {
    choose(main, key, Some(value), None, false, None)
}

fn choose(
    main: MainThread,
    key: &[u8],
    live: Option<&CbCircuit>,
    pin: Option<&BreakerPin>,
    call_gives: bool,
    newly_given: Option<BreakerRef>,
) -> Option<ResolvedBreaker> {
    let last_given = newly_given.as_ref().or_else(|| live.and_then(CbCircuit::given));
    let unless_own = |rule: &BreakerRef| live.is_none_or(|value| value.rule() != rule).then(|| rule.clone());
    let (other, source) = if let Some(pin) = pin {
        (unless_own(&pin.rule), Source::Pin)
    } else if let Some(rule) = last_given.filter(|_| call_gives) {
        (unless_own(rule), Source::Call)
    } else if let Some(rule) = node::breaker_for(main, key) {
        (unless_own(&rule), Source::Policy)
    } else if let Some(rule) = last_given {
        (unless_own(rule), Source::Last)
    } else {
        (unless_own(&settings::default_breaker(main)?), Source::Default)
    };
    Some(ResolvedBreaker { other, given: newly_given, missing: live.is_none(), source })
}

impl ResolvedBreaker {
    /// The circuit's own, whatever it is.
    pub const fn own() -> Self {
        Self { other: None, given: None, missing: false, source: Source::Last }
    }

    /// The breaker of a pin that is about to be set.
    pub fn pinned(live: Option<&CbCircuit>, rule: &BreakerRef) -> Self {
        let other = live.is_none_or(|value| value.rule() != rule).then(|| rule.clone());
        Self { other, given: None, missing: live.is_none(), source: Source::Pin }
    }

    /// True when the circuit goes by its own breaker and nothing new was given.
    pub const fn is_own(&self) -> bool {
        !self.missing && self.other.is_none() && self.given.is_none()
    }

    /// The effect of asking `change` of the circuit under this breaker, now.
    pub fn effect<'a>(self, ctx: &Context<'_>, now: Micros, change: BreakerChange<'a>) -> BreakerEffect<'a> {
        BreakerEffect {
            now,
            expires: !ctx.debug_clock_is_set(),
            begin: self.missing.then(|| epochs::next(ctx.main())),
            rule: self.other,
            given: self.given,
            change,
        }
    }
}
