//! The native type `ratelimit`: what one key of a limiter remembers.
//!
//! | shape | when | size |
//! |---|---|---|
//! | [`Small`] | one limit whose state fits: most token buckets and windows, a sliding one with one slot | 16 bytes |
//! | [`Single`] | any other one limit | 48 bytes, and more slots as needed |
//! | [`Full`] | several limits, a pin, a block, reservations, usage of limits no longer listed, a tracked key's usage series | what it holds |
//!
//! A key starts in the smallest shape that fits and grows when it must. The shape is not part of
//! the value: equal contents give equal digests.

pub mod accounts;
pub mod encoding;
pub mod full;
pub mod full_reservations;
mod held;
pub mod key_usage;
mod lifetime;
mod native;
pub mod reservations;
mod reserved;
mod seen;
pub mod small;
pub mod tracked;
pub mod unlisted;

pub use held::hold;
pub use lifetime::Lifetime;

use crate::core::limits::{Closed, Filled, Limit, State, UnlistedLimit};
use crate::core::prefetch_hint::PrefetchHint;
use crate::core::time::Micros;
use crate::core::usage::UsageSeries;
use crate::server::keys::tagged_box::{OneOf, TaggedBox};
use crate::server::main_thread::MainThread;
use crate::types::intern::{self, LimitsRef};
use crate::types::operator::{Block, Pin};
use full::Full;
use small::{Single, Small};
use std::mem::ManuallyDrop;
use tracked::Tracked;

/// The value of a key.
#[derive(Debug)]
pub struct RateLimit(TaggedBox<Small, Single, Full>);

impl RateLimit {
    /// A key with this usage of these limits, in the smallest shape.
    pub fn new(limits: LimitsRef, states: Vec<State>) -> Self {
        Self::pack(Full::of(limits, states))
    }

    /// A key that is new under these limits, once `change` has changed their usage.
    pub(in crate::types) fn fresh(
        main: MainThread,
        limits: LimitsRef,
        change: impl FnOnce(&[Limit], &mut [State]) -> Filled,
    ) -> (Self, Filled) {
        let set = limits.get(main);
        if let [_] = set.limits() {
            let mut state = [State::Fresh];
            let filled = change(set.limits(), &mut state);
            let [state] = state;
            drop(set);
            return (Self::of_one(limits, state), filled);
        }
        let mut states = vec![State::Fresh; set.limits().len()];
        let filled = change(set.limits(), &mut states);
        drop(set);
        (Self::new(limits, states), filled)
    }

    /// A key that holds nothing but the usage of one limit.
    fn of_one(limits: LimitsRef, state: State) -> Self {
        match small::small_bits(&state) {
            Some(bits) => Self(TaggedBox::first(Box::new(Small::new(limits, bits)))),
            None => Self(TaggedBox::second(Box::new(Single { limits, state }))),
        }
    }

    /// A key with these contents, in the smallest shape that holds them.
    pub(crate) fn pack(mut full: Full) -> Self {
        full.reservations.take_if(|reservations| reservations.book().is_empty());
        if full.fits_smaller()
            && let Some(limits) = full.limits.take()
        {
            return Self::of_one(limits, full.states.into_iter().next().unwrap_or_default());
        }
        Self(TaggedBox::third(Box::new(full)))
    }

    /// True if the last change was made under the debug clock. Such a key has no expiry, and the
    /// next change under the server's clock must set it.
    #[inline]
    pub fn is_without_expiry(&self) -> bool {
        self.0.is_marked()
    }

    /// Sets the mark that [`RateLimit::is_without_expiry`] reads.
    #[inline]
    pub(super) fn set_without_expiry(&mut self, without: bool) {
        self.0.mark(without);
    }

    /// The number of the set of limits that was used last, if there is one.
    #[inline]
    pub fn limits_id(&self) -> Option<u32> {
        match self.0.get() {
            OneOf::First(small) => Some(small.limits_id()),
            OneOf::Second(single) => Some(single.limits.id()),
            OneOf::Third(full) => full.limits.as_ref().map(LimitsRef::id),
        }
    }

    /// The limits that were used last, if there are any.
    pub fn limits(&self) -> Option<LimitsRef> {
        match self.0.get() {
            OneOf::First(small) => Some(small.limits()),
            OneOf::Second(single) => Some(single.limits.clone()),
            OneOf::Third(full) => full.limits.clone(),
        }
    }

    /// Reads the usage of the limits that were used last, in their order.
    #[inline]
    pub fn with_states<R>(&self, read: impl FnOnce(&[State]) -> R) -> R {
        let unpacked;
        read(match self.0.get() {
            OneOf::First(small) => {
                // The state of a `Small` owns no memory, so it needs no drop.
                unpacked = ManuallyDrop::new([small.state()]);
                &*unpacked
            }
            OneOf::Second(single) => std::slice::from_ref(&single.state),
            OneOf::Third(full) => &full.states,
        })
    }

    /// Changes the usage of the limits that were used last, in their order.
    pub(in crate::types) fn with_states_mut<R>(&mut self, change: impl FnOnce(&mut [State]) -> R) -> R {
        match self.0.get_mut() {
            OneOf::First(small) => {
                let mut state = [small.state()];
                let result = change(&mut state);
                let [state] = state;
                if !small.set_state(&state) {
                    // The state no longer fits into 16 bytes. It may fit again later, but a key
                    // whose second slot comes and goes should not move each time.
                    let limits = small.limits();
                    self.0 = TaggedBox::second(Box::new(Single { limits, state }));
                }
                result
            }
            OneOf::Second(single) => change(std::slice::from_mut(&mut single.state)),
            OneOf::Third(full) => {
                let result = change(&mut full.states);
                if full.fits_smaller() {
                    self.rebuild(|_| ());
                }
                result
            }
        }
    }

    /// The memory outside the value that a grant will need. With many keys the grant otherwise
    /// waits 100 ns for it. This reads the value itself.
    #[inline]
    pub fn prefetch_hint(&self) -> Option<PrefetchHint> {
        match self.0.get() {
            OneOf::First(_) => None,
            OneOf::Second(single) => single.state.prefetch_hint(),
            OneOf::Third(full) => Some(PrefetchHint::of(&*full.states)),
        }
    }

    /// The usage of limits that the last grant did not list.
    pub fn unlisted(&self) -> &[UnlistedLimit] {
        self.as_full().map_or(&[], |full| &full.unlisted)
    }

    /// The pin, if there is one that still holds.
    #[inline]
    pub fn pin(&self, now: Micros) -> Option<&Pin> {
        self.recorded_pin().filter(|pin| pin.validity.lasts(now))
    }

    /// The pin, even if it is over: a clock that steps back makes it hold again.
    #[inline]
    pub fn recorded_pin(&self) -> Option<&Pin> {
        self.as_full()?.pin.as_deref()
    }

    /// The block, if there is one that still holds.
    #[inline]
    pub fn block(&self, now: Micros) -> Option<&Block> {
        self.recorded_block().filter(|block| block.validity.lasts(now))
    }

    /// The block, even if it is over: a clock that steps back makes it hold again.
    #[inline]
    pub fn recorded_block(&self) -> Option<&Block> {
        self.as_full()?.block.as_deref()
    }

    /// True if the clock stepped back to before a part of the key, other than the usage of the
    /// limits that were used last.
    #[inline]
    pub fn stepped_back_beside(&self, now: Micros) -> bool {
        self.as_full().is_some_and(|full| full.stepped_back_beside(now))
    }

    /// True if the clock stepped back to before any part of the key.
    pub fn stepped_back(&self, main: MainThread, now: Micros) -> bool {
        let listed = |limits: &[Limit], states: &[State]| {
            limits.iter().zip(states).any(|(limit, state)| limit.rule().stepped_back(state, now))
        };
        self.stepped_back_beside(now) || self.with_listed(main, listed)
    }

    /// The usage series of a tracked key.
    #[inline]
    pub fn usage(&self) -> Option<&UsageSeries> {
        self.as_full()?.usage.as_deref()
    }

    /// Adds to the usage series. Begins to track the key if it is not tracked.
    pub(in crate::types) fn count(&mut self, now: Micros, add: impl FnOnce(&mut UsageSeries)) {
        if let Some(usage) = self.full_mut().and_then(|full| full.usage.as_mut()) {
            // A usage series that ended is over, even if the key has not expired yet.
            if usage.ends() <= now {
                **usage = UsageSeries::new(now);
            }
            add(usage);
        } else {
            self.rebuild(|full| add(full.usage.insert(Tracked::new(UsageSeries::new(now)))));
        }
    }

    /// True if the key remembers nothing but the usage of the limits that were used last.
    #[inline]
    pub(in crate::types) fn is_bare(&self) -> bool {
        self.as_full().is_none_or(Full::is_bare)
    }

    #[inline]
    fn as_full(&self) -> Option<&Full> {
        self.0.as_third()
    }

    /// The contents, if they are in the shape that holds everything.
    pub(in crate::types) fn full_mut(&mut self) -> Option<&mut Full> {
        if let OneOf::Third(full) = self.0.get_mut() { Some(full) } else { None }
    }

    /// Moves the contents into the shape that holds everything.
    fn take_full(&mut self) -> Full {
        let empty = Self(TaggedBox::third(Box::default()));
        match std::mem::replace(self, empty).0.into_inner() {
            OneOf::First(small) => Full::of(small.limits(), [small.state()]),
            OneOf::Second(single) => Full::of(single.limits, [single.state]),
            OneOf::Third(full) => *full,
        }
    }

    /// Changes the contents, then returns to the smallest shape.
    pub(in crate::types) fn rebuild<R>(&mut self, change: impl FnOnce(&mut Full) -> R) -> R {
        let mut full = self.take_full();
        let result = change(&mut full);
        *self = Self::pack(full);
        result
    }

    /// Lists these limits from now on. Each finds its usage by its identity, and the usage of the
    /// others is set aside. Then `change` changes the usage of the limits.
    ///
    /// The value stays in the shape that holds everything until a grant under the same limits, so
    /// that limits that take turns do not move it each time.
    pub(in crate::types) fn list(
        &mut self,
        main: MainThread,
        wanted: LimitsRef,
        now: Micros,
        change: impl FnOnce(&[Limit], &mut [State], Micros) -> Filled,
    ) -> Filled {
        if let Some(full) = self.full_mut() {
            return full.list(main, wanted, now, change);
        }
        let mut full = self.take_full();
        let filled = full.list(main, wanted, now, change);
        self.0 = TaggedBox::third(Box::new(full));
        filled
    }

    /// Reads the limits that were used last, and their usage.
    fn with_listed<R>(&self, main: MainThread, read: impl FnOnce(&[Limit], &[State]) -> R) -> R {
        match self.limits_id() {
            Some(id) => {
                let set = intern::get(main, id);
                self.with_states(|states| read(set.limits(), states))
            }
            None => read(&[], &[]),
        }
    }

    /// Begins a block of the limit with this identity, listed or set aside.
    pub(in crate::types) fn close(&mut self, main: MainThread, limit: &Limit, block: Closed) {
        // A forged effect may name a limit that never closes.
        let is_it = |other: &Limit| other.same_identity(limit) && other.rule().can_close();
        let listed = self.limits_id().and_then(|id| intern::get(main, id).limits().iter().position(is_it));
        if let Some(at) = listed {
            self.with_states_mut(|states| {
                if let Some(state) = states.get_mut(at) {
                    state.close(block);
                }
            });
            return;
        }
        self.rebuild(|full| {
            if let Some(one) = full.unlisted.iter_mut().find(|one| is_it(&one.limit)) {
                one.state.close(block);
            }
        });
    }

    /// The blocks that the limits began, listed or not. Some last, and others are only remembered.
    pub fn limit_blocks(&self) -> Vec<Closed> {
        let listed: Vec<Closed> =
            self.with_states(|states| states.iter().filter_map(State::block).copied().collect());
        let unlisted = self.unlisted().iter().filter_map(|one| one.state.block().copied());
        listed.into_iter().chain(unlisted).collect()
    }

    /// A copy for forecasts, which decides as the original does. No gauge or counter includes it.
    #[must_use]
    pub fn simulation(&self) -> Self {
        let full = self.as_full().map_or_else(
            || Full {
                limits: self.limits(),
                states: self.with_states(|states| states.into()),
                ..Full::default()
            },
            Full::simulation,
        );
        Self(TaggedBox::third(Box::new(full)))
    }
}
