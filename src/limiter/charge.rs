//! One charge on the value of a key: units that were used, whether they fit or not.

use super::Error;
use super::resolve::{ResolvedLimits, refuse_concurrent, refuse_crowd, resolve, usage_of};
use crate::core::limits::{Taken, charges};
use crate::core::time::Micros;
use crate::server::main_thread::MainThread;
use crate::types::effect::ratelimit::RateLimitChange;
use crate::types::intern::LimitsRef;
use crate::types::ratelimit::RateLimit;

/// What a charge does to a key.
#[derive(Debug)]
pub struct ChargeDecision {
    /// The limits, where the key used others last or is new.
    other: Option<LimitsRef>,
    taken: Taken,
    /// Where nothing counts on any limit, there may be something to record all the same:
    /// other limits, or a clock that stepped back.
    records: bool,
}

impl ChargeDecision {
    /// Runs `make_it_so` with the change that it is, if any. `used` is what a tracked key
    /// counts.
    ///
    /// # Errors
    /// Those of `make_it_so`.
    pub fn change<E>(
        &self,
        main: MainThread,
        used: Option<u64>,
        make_it_so: impl FnOnce(RateLimitChange<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.taken.is_nothing() && !self.records && used.is_none() {
            return Ok(());
        }
        let text = self.other.as_ref().map(|other| other.text(main));
        make_it_so(RateLimitChange::Charge { limits: text.as_deref(), taken: self.taken, used })
    }
}

/// Says what a charge of so many units does to the value of a key, without changing it.
///
/// # Errors
/// Malformed limits, none at all, such as can only be reserved, or more than the key
/// remembers the usage of.
pub fn decide(
    main: MainThread,
    key: &[u8],
    value: Option<&RateLimit>,
    given: Option<&[u8]>,
    units: u64,
    now: Micros,
) -> Result<ChargeDecision, Error> {
    let (resolved, _) = resolve(main, key, value, given, now)?;
    let (limits, states) = usage_of(main, value, &resolved, now).ok_or(Error::NoLimits)?;
    let set = limits.get(main);
    refuse_concurrent(&set)?;
    let other = match resolved {
        ResolvedLimits::Own => None,
        ResolvedLimits::Other(other) => {
            refuse_crowd(main, value, set.limits(), now)?;
            Some(other)
        }
    };
    let taken = charges(set.limits(), &states, now, units);
    let records = value.is_some_and(|value| other.is_some() || value.stepped_back(main, now));
    Ok(ChargeDecision { other, taken, records })
}
