//! Changes that free units which are in use.

use super::changed_value::{ChangedValue, RateLimitKind};
use crate::core::limits::State;
use crate::core::wire::{Corrupt, Reader, put_u64};
use crate::types::intern;
use crate::types::ratelimit::full_reservations::Refund;
use crate::types::ratelimit::unlisted::UnlistedLimits;

/// Up to this many units are given back on each limit, the newest first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GiveBack<'a> {
    /// The canonical text of the limits, unless they are the key's own.
    pub limits: Option<&'a str>,
    /// The number of units.
    pub units: u64,
    /// The number of units for a limit that counts calls.
    pub calls: u64,
}

impl<'a> RateLimitKind<'a> for GiveBack<'a> {
    fn put(&self, out: &mut Vec<u8>) {
        put_u64(out, self.units);
        put_u64(out, self.calls);
    }

    fn read(limits: Option<&'a str>, rest: &mut Reader<'a>) -> Result<Self, Corrupt> {
        Ok(Self { limits, units: rest.u64()?, calls: rest.u64()? })
    }

    fn apply(&self, value: &mut ChangedValue<'_>) -> Result<(), Corrupt> {
        let (main, now) = (value.main, value.now);
        let named = self.limits.map(|text| intern::stored(main, text)).transpose()?;
        value.rebuild(|full| {
            let limits = named.or_else(|| full.limits.clone());
            let set = limits.as_ref().map(|limits| limits.get(main));
            let limits = set.as_ref().map_or(&[][..], |set| set.limits());
            full.refund(main, now, limits, Refund { units: self.units, calls: self.calls });
        });
        Ok(())
    }
}

impl ChangedValue<'_> {
    /// Forgets all usage.
    pub(super) fn forget_usage(&mut self) {
        self.rebuild(|full| {
            full.states.iter_mut().for_each(|state| *state = State::default());
            full.unlisted = UnlistedLimits::default();
            full.reservations = None;
        });
    }
}
