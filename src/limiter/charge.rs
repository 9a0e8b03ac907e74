//! Decides one charge on the value of a key. A charge counts units that were used, whether they fit
//! or not.

use super::Error;
use super::resolve::{KeyView, ResolvedLimits, refuse_concurrent};
use crate::core::limits::{Taken, charges};
use crate::server::main_thread::MainThread;
use crate::types::effect::ratelimit::{ChargeUnits, RateLimitChange};
use crate::types::intern::LimitsRef;

/// The change that a charge makes to a key.
#[derive(Debug)]
pub struct ChargeDecision {
    /// The limits, if the key used others last or is new.
    other: Option<LimitsRef>,
    taken: Taken,
    /// True if there is something to record even if no limit counts any unit: other limits, or a
    /// clock that stepped back.
    records: bool,
}

impl ChargeDecision {
    /// Calls `make` with the change, if there is one. `used` is the number of units that a
    /// tracked key counts.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn change<E>(
        &self,
        main: MainThread,
        used: Option<u64>,
        make: impl FnOnce(RateLimitChange<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.taken.is_nothing() && !self.records && used.is_none() {
            return Ok(());
        }
        let text = self.other.as_ref().map(|other| other.text(main));
        make(RateLimitChange::Charge(ChargeUnits { limits: text.as_deref(), taken: self.taken, used }))
    }
}

/// Decides what a charge of `units` does to the value of a key, without changing it.
///
/// # Errors
/// Malformed limits, no limits, limits that only reservations can take, or more limits with usage
/// than a key remembers.
pub fn decide(found: KeyView<'_>, given: Option<&[u8]>, units: u64) -> Result<ChargeDecision, Error> {
    let (resolved, source) = found.resolve(given)?;
    let (limits, states) = found.usage_of(&resolved).ok_or(Error::NoLimits)?;
    let set = limits.get(found.main);
    refuse_concurrent(&set, source)?;
    let other = match resolved {
        ResolvedLimits::Own(_) => None,
        ResolvedLimits::Other(other) => {
            found.refuse_too_many(set.limits())?;
            Some(other)
        }
    };
    let taken = charges(set.limits(), &states, found.now, units);
    let records = found.value.is_some() && (other.is_some() || found.stepped_back());
    Ok(ChargeDecision { other, taken, records })
}
