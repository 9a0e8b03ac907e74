//! What reservations take from a key that can hold everything, and what they, refunds and settlements
//! give back.

use crate::core::limits::{
    Charge, Limit, LimitMask, MAX_UNLISTED, State, Taken, UnlistedLimit, charge, full_at, give_back, left_by,
};
use crate::core::reservations::{Id, LedgerPosition, Reservation, Stage};
use crate::core::time::Micros;
use crate::server::main_thread::MainThread;
use crate::types::intern::LimitsRef;
use crate::types::ratelimit::accounts::{Accounts, charged_of, each_limit, has_ledger, leaving_of};
use crate::types::ratelimit::full::Full;
use crate::types::ratelimit::key_usage::KeyUsage;
use crate::types::ratelimit::reservations::Settlement;
use std::slice;

/// The most that is given back on each limit.
#[derive(Clone, Copy, Debug)]
pub(in crate::types) struct Refund {
    /// The units, on a limit that counts units.
    pub units: u64,
    /// The calls, on a limit that counts calls.
    pub calls: u64,
}

impl Full {
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
}
