//! The value of a key while an effect changes it, what each kind of change defines, and what became
//! of the value.

use crate::core::limits::{Filled, Limit, State, Taken, touch};
use crate::core::time::Micros;
use crate::core::usage::UsageSeries;
use crate::core::wire::{Corrupt, Reader, put_bytes};
use crate::server::context;
use crate::server::main_thread::MainThread;
use crate::types::intern;
use crate::types::ratelimit::full::Full;
use crate::types::ratelimit::{Lifetime, RateLimit, encoding, reservations};
use crate::types::until::Until;

/// A kind of change to a `ratelimit`.
pub trait RateLimitKind<'a>: Sized {
    /// Appends what follows the header and the limits.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads what [`RateLimitKind::put`] wrote after these limits.
    ///
    /// # Errors
    /// [`Corrupt`] if it is cut or malformed.
    fn read(limits: Option<&'a str>, rest: &mut Reader<'a>) -> Result<Self, Corrupt>;

    /// Changes the value.
    ///
    /// # Errors
    /// [`Corrupt`] if the change does not fit the value. Nothing has changed then.
    fn apply(&self, value: &mut ChangedValue<'_>) -> Result<(), Corrupt>;
}

/// The key becomes what this stored payload holds.
impl<'a> RateLimitKind<'a> for &'a [u8] {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self);
    }

    fn read(_: Option<&'a str>, rest: &mut Reader<'a>) -> Result<Self, Corrupt> {
        rest.bytes(usize::MAX)
    }

    fn apply(&self, value: &mut ChangedValue<'_>) -> Result<(), Corrupt> {
        let stored = encoding::load(value.main, encoding::VERSION, self)?;
        value.is_replaced = true;
        match &mut value.held {
            Some(held) => **held = stored,
            None => value.created = Some(stored),
        }
        Ok(())
    }
}

/// The change of the value by an effect, so that the caller can update the key.
#[derive(Debug)]
pub enum AppliedRateLimit {
    /// The value changed in place.
    InPlace(Lifetime),
    /// There was no value, and this is the new one.
    Created(RateLimit, Lifetime),
    /// Nothing changed, as for an unblock of a missing key.
    Nothing,
}

/// The value of a key, or of a missing key, while a change is made to it.
#[derive(Debug)]
pub struct ChangedValue<'v> {
    /// The thread of commands.
    pub main: MainThread,
    /// The time of the change.
    pub now: Micros,
    held: Option<&'v mut RateLimit>,
    /// The new value, if the key had none.
    created: Option<RateLimit>,
    /// When the listed limits are full again, if nothing changed since that was calculated.
    filled: Option<Filled>,
    /// True if a stored payload replaced the value.
    is_replaced: bool,
}

impl<'v> ChangedValue<'v> {
    /// The value before the change.
    #[inline]
    pub fn new(main: MainThread, now: Micros, held: Option<&'v mut RateLimit>) -> Self {
        if held.as_ref().is_some_and(|value| value.has_reservations()) {
            reservations::advance(context::now(main));
        }
        Self { main, now, held, created: None, filled: None, is_replaced: false }
    }

    #[inline]
    fn value(&mut self) -> Option<&mut RateLimit> {
        match &mut self.held {
            Some(held) => Some(held),
            None => self.created.as_mut(),
        }
    }

    /// The value for a change that may move its end.
    #[inline]
    pub fn get_mut(&mut self) -> Option<&mut RateLimit> {
        self.filled = None;
        self.value()
    }

    /// Gives a missing key an empty value.
    pub fn create_if_missing(&mut self) -> &mut Self {
        if self.value().is_none() {
            self.created = Some(RateLimit::pack(Full::default()));
        }
        self
    }

    /// Records a clock that stepped back, in everything that the value holds. Call it when the change is
    /// known to fit.
    #[inline]
    pub fn record_clock(&mut self) {
        let (main, now) = (self.main, self.now);
        let Some(value) = self.held.as_mut().filter(|value| value.stepped_back(main, now)) else { return };
        if let Some(full) = value.full_mut() {
            full.step_back_beside(now);
        }
        if let Some(id) = value.limits_id() {
            let set = intern::get(main, id);
            value.with_states_mut(|states| touch(set.limits(), states, now));
        }
    }

    /// Records a clock that stepped back, except in the usage of the listed limits, which the change
    /// itself touches: in a pin, a block, and the usage of unlisted limits. Call it when the change is
    /// known to fit.
    #[inline]
    pub fn record_clock_beside(&mut self) {
        let now = self.now;
        let Some(value) = self.held.as_mut().filter(|value| value.stepped_back_beside(now)) else { return };
        if let Some(full) = value.full_mut() {
            full.step_back_beside(now);
        }
    }

    /// Changes the usage of the limits with this text, or of the key's own.
    ///
    /// # Errors
    /// [`Corrupt`] if the text is malformed, or there are no limits. Nothing has changed then.
    #[inline]
    pub fn update(
        &mut self,
        limits: Option<&str>,
        change: impl FnOnce(&[Limit], &mut [State], Micros) -> Filled,
    ) -> Result<(), Corrupt> {
        let (main, now) = (self.main, self.now);
        let wanted = limits.map(|text| intern::stored(main, text)).transpose()?;
        if wanted.is_none() {
            self.record_clock_beside();
        }
        match (self.get_mut(), wanted) {
            (Some(value), None) => {
                let mut filled = Filled { at: now, as_before: false };
                // Before the change, because the accounts do not know yet of the units that it takes.
                let is_reserved = value.sweep(main, now);
                if let Some(id) = value.limits_id() {
                    let set = intern::get(main, id);
                    filled = value.with_states_mut(|states| change(set.limits(), states, now));
                }
                self.filled = if is_reserved { None } else { Some(filled) };
            }
            (Some(value), Some(wanted)) => {
                value.list(main, wanted, now, change);
                // Afterwards, because usage from the future is recorded by the limits that go on
                // with it.
                self.record_clock_beside();
            }
            (None, Some(wanted)) => {
                let change = |rules: &[Limit], states: &mut [State]| change(rules, states, now);
                let (created, filled) = RateLimit::fresh(main, wanted, change);
                self.filled = Some(filled);
                self.created = Some(created);
            }
            (None, None) => return Err(Corrupt("it counts on a key that is not there")),
        }
        Ok(())
    }

    /// Records that the listed limits granted units without a reservation.
    #[inline]
    pub fn grant(&mut self, taken: &Taken) {
        if let Some(full) = self.held.as_mut().and_then(|value| value.full_mut()) {
            full.grant(self.main, taken);
        }
    }

    /// Changes the contents, if there is a value.
    pub fn rebuild(&mut self, change: impl FnOnce(&mut Full)) {
        self.record_clock();
        if let Some(value) = self.get_mut() {
            value.rebuild(change);
        }
    }

    /// Adds to the usage series. A missing key gets a value.
    pub fn count(&mut self, add: impl FnOnce(&mut UsageSeries)) {
        let now = self.now;
        if let Some(value) = self.create_if_missing().get_mut() {
            value.count(now, add);
        }
    }

    /// Returns what became of the value. A change under the debug clock leaves it `without_expiry`.
    #[inline]
    pub fn finish(mut self, without_expiry: bool) -> AppliedRateLimit {
        let Self { main, now, filled, is_replaced, .. } = self;
        let Some(value) = self.value() else { return AppliedRateLimit::Nothing };
        let mut lifetime = match filled {
            Some(filled) => value.lifetime_after(filled, now),
            None => value.lifetime(main, now),
        };
        if !is_replaced {
            lifetime = lifetime.unless_unset(value.is_without_expiry());
            value.set_without_expiry(without_expiry);
        } else if lifetime == Lifetime::Over {
            // A stored payload itself says whether its key has an expiry. Its sender wants the key,
            // even if nothing in it counts any more. The key then ends by its expiry.
            lifetime = Lifetime::Until(Until::At(now));
        }
        match self.created {
            Some(created) => AppliedRateLimit::Created(created, lifetime),
            None => AppliedRateLimit::InPlace(lifetime),
        }
    }
}
