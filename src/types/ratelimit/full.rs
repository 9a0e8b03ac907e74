//! The shape of a key that can hold everything.

use crate::core::limits::{
    Charge, Filled, Limit, LimitMask, MAX_UNLISTED, State, Taken, UnlistedLimit, charge, full_at, give_back,
    hand_on, left_by, touch,
};
use crate::core::reservations::{Id, LedgerPosition, Reservation, Stage};
use crate::core::time::Micros;
use crate::server::main_thread::MainThread;
use crate::types::intern::LimitsRef;
use crate::types::operator::{Block, Pin};
use crate::types::ratelimit::accounts::{Accounts, charged_of, each_limit, has_ledger, leaving_of};
use crate::types::ratelimit::key_usage::KeyUsage;
use crate::types::ratelimit::reservations::{Reservations, Settlement};
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

/// The most that is given back on each limit.
#[derive(Clone, Copy, Debug)]
pub(in crate::types) struct Refund {
    /// The units, on a limit that counts units.
    pub units: u64,
    /// The calls, on a limit that counts calls.
    pub calls: u64,
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

    /// Records the time in the reservations, notes which have ended by then, and forgets those whose
    /// units are gone.
    pub(in crate::types) fn sweep(&mut self, main: MainThread, now: Micros) {
        if let Some(reservations) = &mut self.reservations {
            let set = self.limits.as_ref().map(|limits| limits.get(main));
            let listed = set.as_ref().map_or(&[][..], |set| set.limits());
            let usage = KeyUsage { listed, states: &self.states, unlisted: &self.unlisted };
            reservations.sweep(main, now, usage);
        }
    }

    /// Records that the listed limits granted units without a reservation. These lie above the
    /// units of every reservation.
    pub(in crate::types) fn grant(&mut self, main: MainThread, taken: &Taken) {
        if let (Some(reservations), Some(limits)) = (&mut self.reservations, &self.limits) {
            for (limit, units) in limits.get(main).limits().iter().zip(taken.as_array()) {
                reservations.accounts_mut().grant(main, limit, *units);
            }
        }
    }

    /// Gives back on each limit, the newest units first, whichever request took them. A tracked key
    /// counts all units of `refund` as not used, because no limit tells what the call cost: one that
    /// counts calls gives one back, and of a larger cost a part may have left the limits, or may never
    /// have counted there.
    pub(in crate::types) fn refund(
        &mut self,
        main: MainThread,
        now: Micros,
        limits: &[Limit],
        refund: Refund,
    ) {
        let Refund { units, calls } = refund;
        let mut reservations = self.reservations.take();
        for limit in limits {
            self.with_usage(main, limit, |rule, state| {
                let given = give_back(rule, state, now, 0, if rule.per_call() { calls } else { units });
                if let Some(reservations) = &mut reservations {
                    reservations.accounts_mut().on_ledger(main, rule, |ledger| ledger.trim(given));
                }
            });
        }
        self.reservations = reservations;
        self.sweep(main, now);
        if let Some(usage) = &mut self.usage {
            usage.given_back(now, units);
        }
    }

    /// Remembers a reservation that took `taken` from the key's limits.
    pub(in crate::types) fn reserve(
        &mut self,
        main: MainThread,
        now: Micros,
        id: &[u8],
        cost: u64,
        end: Micros,
        taken: &Taken,
    ) {
        let Some(limits) = self.limits.clone() else { return };
        let set = limits.get(main);
        // A forged effect may name more limits than there are. Nothing is taken from the missing
        // ones, so nothing counts as charged there.
        let units = taken.as_array().iter().take(set.limits().len()).enumerate();
        let charged: LimitMask = units.filter(|(_, units)| **units > 0).map(|(at, _)| at).collect();
        let charged_limits = || charged_of(set.limits(), charged);
        let leaves = charged_limits().filter_map(|(_, limit)| left_by(limit, now)).max();
        let leaving = leaving_of(set.limits(), charged);
        let takes_less =
            charged_limits().any(|(at, limit)| limit.charge() == Charge::Cost && taken.units(at) != cost);
        drop(set);
        let reservations = self.reservations.get_or_insert_default();
        // The time is recorded first, because a step back of the clock comes before this grant. None is
        // forgotten here, because the accounts do not know yet of the units that were taken.
        reservations.note_time(main, now);
        let serial = reservations.book().next_serial();
        let one = Reservation {
            cost,
            granted: now,
            since: now,
            end,
            left_by: leaves.unwrap_or(now).min(Micros::MAX),
            serial,
            limits: limits.clone(),
            charged,
            less: takes_less.then(|| Box::new(*taken)),
            leaving,
            stage: Stage::Open,
        };
        reservations.insert(main, Id::from(id), one);
        for (at, (limit, units)) in limits.get(main).limits().iter().zip(taken.as_array()).enumerate() {
            if *units > 0
                && has_ledger(limit)
                && let Some(ledger) = reservations.accounts_mut().open_ledger(main, &limits, (at, limit))
            {
                ledger.stake(serial, *units);
            }
        }
        self.sweep(main, now);
    }

    /// Settles a reservation. Units that were reserved and not used go back; units that were used
    /// beyond the reservation are charged.
    pub(in crate::types) fn settle(&mut self, main: MainThread, now: Micros, id: &[u8], how: Settlement) {
        let Some(mut reservations) = self.reservations.take() else { return };
        let taken_out = reservations.remove(main, id);
        self.reservations = Some(reservations);
        self.sweep(main, now);
        let Some(mut reservations) = self.reservations.take() else { return };
        if let Some(one) = taken_out {
            self.correct_usage(main, now, &one, how, reservations.accounts());
            each_limit(main, &one, |at, limit| {
                if has_ledger(limit) {
                    self.settle_on(main, now, (at, limit), &one, how, reservations.accounts_mut());
                }
            });
        }
        self.reservations = Some(reservations);
    }

    /// Settles a reservation on one limit. Only the reservation's own units are given back, as far
    /// as they are still in use.
    fn settle_on(
        &mut self,
        main: MainThread,
        now: Micros,
        (at, limit): (usize, &Limit),
        one: &Reservation<LimitsRef>,
        how: Settlement,
        accounts: &mut Accounts,
    ) {
        let reserved = one.taken(at, limit.charge());
        let used = match how {
            Settlement::Release => 0,
            Settlement::At(_) if limit.per_call() => 1,
            Settlement::At(units) => units,
        };
        let LedgerPosition { above, own } = accounts.position(main, limit, one.serial);
        let (mut given, mut charged) = (0, 0);
        if used > reserved {
            charged = self.charge(main, now, limit, used - reserved);
        } else if used < reserved {
            self.with_usage(main, limit, |rule, state| {
                given = give_back(rule, state, now, above, own.min(reserved - used));
            });
        }
        accounts.on_ledger(main, limit, |ledger| ledger.settle(one.serial, given));
        accounts.grant(main, limit, charged);
    }

    /// Charges units on a limit, even if no call lists it now and none of it is in use. Returns the
    /// units charged.
    fn charge(&mut self, main: MainThread, now: Micros, limit: &Limit, units: u64) -> u64 {
        let mut charged = None;
        self.with_usage(main, limit, |rule, state| charged = Some(charge(rule, state, now, units)));
        if let Some(charged) = charged {
            return charged;
        }
        if self.unlisted.len() >= MAX_UNLISTED {
            // The key has as many unlisted limits as it may. Those whose usage has run out make room.
            self.unlisted.retain(|UnlistedLimit { limit, state }| {
                full_at(slice::from_ref(limit), slice::from_ref(state), now) > now
            });
        }
        let mut state = State::default();
        let charged = charge(limit, &mut state, now, units);
        if self.unlisted.len() >= MAX_UNLISTED || state == State::default() {
            return 0;
        }
        self.unlisted.change(|unlisted| unlisted.push(UnlistedLimit { limit: limit.clone(), state }));
        charged
    }

    /// Ends and forgets the blocks that the limits began, listed or not.
    pub(in crate::types) fn reopen(&mut self) {
        self.states.iter_mut().for_each(State::reopen);
        for one in &mut *self.unlisted {
            one.state.reopen();
        }
        self.unlisted.retain(|one| one.state != State::Fresh);
    }

    /// Corrects the usage series of a tracked key by what a settlement gives back or charges. What a
    /// refund took of the reservation was given back then.
    fn correct_usage(
        &mut self,
        main: MainThread,
        now: Micros,
        one: &Reservation<LimitsRef>,
        how: Settlement,
        accounts: &Accounts,
    ) {
        let Some(usage) = &mut self.usage else { return };
        let actual = match how {
            Settlement::Release => 0,
            Settlement::At(units) => units,
        };
        match actual.checked_sub(one.cost) {
            Some(0) => {}
            Some(more) => usage.corrected(now, i64::try_from(more).unwrap_or(i64::MAX)),
            None => {
                let stays = actual.max(accounts.refunded(main, one));
                usage.given_back(now, one.cost.saturating_sub(stays));
            }
        }
    }

    /// Changes the usage of the limit with this identity, listed or set aside.
    fn with_usage(&mut self, main: MainThread, limit: &Limit, change: impl FnOnce(&Limit, &mut State)) {
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
