//! The shape of a key that can hold everything.

use crate::core::limits::{Filled, Limit, State, UnlistedLimit, full_at, hand_on, touch};
use crate::core::time::Micros;
use crate::server::main_thread::MainThread;
use crate::types::intern::LimitsRef;
use crate::types::operator::{Block, Pin};
use crate::types::ratelimit::key_usage::KeyUsage;
use crate::types::ratelimit::reservations::Reservations;
use crate::types::ratelimit::tracked::Tracked;
use crate::types::ratelimit::unlisted::UnlistedLimits;
use crate::types::until::Until;
use std::slice;

/// Everything that a key can remember. Parts that few keys have are boxed, so that several limits
/// without anything else take one cache line, and one for each state.
#[derive(Clone, Debug, Default)]
pub struct Full {
    /// The limits that were used last.
    pub limits: Option<LimitsRef>,
    /// The usage of the limits, in their order.
    pub states: Box<[State]>,
    /// The usage of unlisted limits, until it has run out.
    pub unlisted: UnlistedLimits,
    /// The limits that an operator fixed.
    pub pin: Option<Box<Pin>>,
    /// The block that an operator set.
    pub block: Option<Box<Block>>,
    /// The reservations: open ones, and ended ones that can still be corrected.
    pub reservations: Option<Box<Reservations>>,
    /// The usage series of a tracked key.
    pub usage: Option<Tracked>,
}

impl Full {
    /// A value that holds nothing but this usage of these limits.
    pub(super) fn of(limits: LimitsRef, states: impl Into<Box<[State]>>) -> Self {
        Self { limits: Some(limits), states: states.into(), ..Self::default() }
    }

    /// True if the value holds nothing but the usage of the limits last used.
    #[inline]
    pub(super) fn is_bare(&self) -> bool {
        self.pin.is_none()
            && self.block.is_none()
            && self.unlisted.is_empty()
            && self.reservations.is_none()
            && self.usage.is_none()
    }

    /// True if a smaller shape holds the same.
    #[inline]
    pub(super) fn fits_smaller(&self) -> bool {
        self.states.len() == 1 && self.is_bare()
    }

    /// Lists these limits from now on. Each finds its usage by its identity, and the usage of the
    /// others is set aside. Then `change` changes the usage of the limits.
    pub(super) fn list(
        &mut self,
        main: MainThread,
        wanted: LimitsRef,
        now: Micros,
        change: impl FnOnce(&[Limit], &mut [State], Micros) -> Filled,
    ) -> Filled {
        let set = wanted.get(main);
        let limits = set.limits();
        let old = self.limits.as_ref().map(|old| old.get(main));
        let old = old.as_ref().map_or(&[][..], |old| old.limits());
        let states = self.unlisted.change(|unlisted| hand_on(old, &mut self.states, unlisted, limits, now));
        let states = states.into_iter().take(limits.len());
        if self.states.len() == limits.len() {
            self.states.iter_mut().zip(states).for_each(|(own, state)| *own = state);
        } else {
            self.states = states.collect();
        }
        // Before the change, because the accounts do not know yet of the units that it takes.
        if let Some(reservations) = &mut self.reservations {
            let usage = KeyUsage { listed: limits, states: &self.states, unlisted: &self.unlisted };
            reservations.sweep(main, now, usage);
        }
        let filled = change(limits, &mut self.states, now);
        drop(set);
        self.limits = Some(wanted);
        self.reservations.take_if(|reservations| reservations.book().is_empty());
        filled
    }

    /// When the pin, the block, the unlisted limits, the reservations and the usage series no longer
    /// matter.
    pub(in crate::types) fn lasts_until(&self, now: Micros) -> Until {
        let mut until = Until::At(Micros::default());
        for one in &*self.unlisted {
            let (limit, state) = (slice::from_ref(&one.limit), slice::from_ref(&one.state));
            until = until.max(full_at(limit, state, now).into());
        }
        if let Some(reservations) = &self.reservations {
            until = until.max(Until::At(reservations.book().lasts_until()));
        }
        let extras = [
            self.pin.as_ref().map(|pin| pin.validity.recorded()),
            self.block.as_ref().map(|block| block.validity.recorded()),
            self.usage.as_ref().map(|usage| Until::At(usage.ends())),
        ];
        extras.into_iter().flatten().fold(until, Until::max)
    }

    /// True if the clock stepped back to before a pin, a block, a reservation, or usage that is set
    /// aside.
    pub(super) fn stepped_back_beside(&self, now: Micros) -> bool {
        let reserved = self.reservations.as_ref().map(|reservations| reservations.book());
        // A book without reservations is not stored.
        reserved.is_some_and(|book| !book.is_empty() && now < book.seen())
            || self.pin.as_ref().is_some_and(|pin| pin.validity.stepped_back(now))
            || self.block.as_ref().is_some_and(|block| block.validity.stepped_back(now))
            || self.unlisted.iter().any(|one| one.limit.rule().stepped_back(&one.state, now))
    }

    /// Records such a step, except in reservations. Each change sweeps them, and the sweep records
    /// it there.
    pub(in crate::types) fn step_back_beside(&mut self, now: Micros) {
        if let Some(pin) = &mut self.pin {
            pin.validity = pin.validity.seen_at(now);
        }
        if let Some(block) = &mut self.block {
            block.validity = block.validity.seen_at(now);
        }
        for UnlistedLimit { limit, state } in &mut *self.unlisted {
            touch(slice::from_ref(limit), slice::from_mut(state), now);
        }
    }

    /// A copy for forecasts, which decides as the original does. No gauge or counter includes it.
    /// It has no usage series, because that decides nothing and would count as one more tracked
    /// key.
    pub(super) fn simulation(&self) -> Self {
        Self {
            reservations: self.reservations.as_ref().map(|reservations| Box::new(reservations.simulation())),
            ..self.limits_and_operators()
        }
    }

    /// A copy without the usage series.
    pub(super) fn clone_untracked(&self) -> Self {
        Self { reservations: self.reservations.clone(), ..self.limits_and_operators() }
    }

    /// A copy of the limits, their usage, and what operators set.
    fn limits_and_operators(&self) -> Self {
        Self {
            limits: self.limits.clone(),
            states: self.states.clone(),
            unlisted: self.unlisted.clone(),
            pin: self.pin.clone(),
            block: self.block.clone(),
            reservations: None,
            usage: None,
        }
    }

    /// Ends and forgets the blocks that the limits began, listed or not.
    pub(in crate::types) fn reopen(&mut self) {
        self.states.iter_mut().for_each(State::reopen);
        for one in &mut *self.unlisted {
            one.state.reopen();
        }
        self.unlisted.retain(|one| one.state != State::Fresh);
    }

    /// Changes the usage of the limit with this identity, listed or set aside.
    pub(super) fn with_usage(
        &mut self,
        main: MainThread,
        limit: &Limit,
        change: impl FnOnce(&Limit, &mut State),
    ) {
        let set = self.limits.as_ref().map(|listed| listed.get(main));
        let listed = set.as_ref().map_or(&[][..], |set| set.limits()).iter().zip(&mut self.states);
        let unlisted = self.unlisted.iter_mut().map(|one| (&one.limit, &mut one.state));
        if let Some((rule, state)) = listed.chain(unlisted).find(|(rule, _)| rule.same_identity(limit)) {
            change(rule, state);
        }
    }

    /// Reads the usage of the limit with this identity, listed or set aside.
    pub(super) fn usage_of<R>(
        &self,
        main: MainThread,
        limit: &Limit,
        read: impl FnOnce(&Limit, &State) -> R,
    ) -> Option<R> {
        let set = self.limits.as_ref().map(|listed| listed.get(main));
        let listed = set.as_ref().map_or(&[][..], |set| set.limits());
        let usage = KeyUsage { listed, states: &self.states, unlisted: &self.unlisted };
        let (rule, state) = usage.of(limit)?;
        Some(read(rule, state))
    }

    /// The bytes that the value holds.
    pub fn memory(&self) -> usize {
        size_of::<Self>()
            + size_of_val(&*self.states)
            + self.states.iter().map(State::heap_bytes).sum::<usize>()
            + self.unlisted.memory()
            + self.pin.as_ref().map_or(0, |pin| size_of::<Pin>() + pin.text.len())
            + self.block.as_ref().map_or(0, |block| size_of::<Block>() + block.reason.len())
            + self.reservations.as_ref().map_or(0, |reservations| reservations.memory())
            + self.usage.as_ref().map_or(0, |usage| usage.memory())
    }
}

const _: () = assert!(size_of::<Full>() <= 64);
