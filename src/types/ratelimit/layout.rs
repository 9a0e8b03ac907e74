//! The three shapes of a key's memory.
//!
//! **Optimisation.** A key of one limit takes 145 bytes of the server's memory in
//! [`Small`], as much as the string of a Lua script (commit e9555b1). The plain
//! version is [`Full`], which holds every key: `tests/types/shape.rs` compares the
//! shapes.

use crate::core::limits::bucket::Level;
use crate::core::limits::fixed::WindowCount;
use crate::core::limits::slots::Slots;
use crate::core::limits::{
    Charge, Limit, LimitMask, MAX_ORPHANS, Orphan, State, Taken, charge, full_at, give_back, left_by, touch,
};
use crate::core::reservations::{Id, Reservation, Stage, Standing};
use crate::core::time::Micros;
use crate::server::main_thread::MainThread;
use crate::types::intern::LimitsRef;
use crate::types::operator::{Block, Pin};
use crate::types::ratelimit::accounts::{Accounts, charged_of, each_limit, has_ledger, remembered_us};
use crate::types::ratelimit::reservations::{Reservations, Settlement};
use crate::types::ratelimit::tracked::Tracked;
use crate::types::until::Until;
use std::slice;

/// The bits of a state within its kind.
const STATE_BITS: u32 = 94;
/// The bits of a state with its kind; the limits' number takes the 32 above.
const PACKED_BITS: u32 = STATE_BITS + 2;

const FRESH: u128 = 0;
const BUCKET: u128 = 1;
const FIXED: u128 = 2;
const SLIDING: u128 = 3;

/// One limit in 16 bytes: its exact state beside the number of its limits.
#[derive(Debug)]
pub struct Small {
    low: u64,
    high: u64,
}

impl Small {
    /// Puts what [`small_bits`] gave beside the reference.
    pub(in crate::types) fn new(limits: LimitsRef, bits: u128) -> Self {
        let mut small = Self { low: 0, high: 0 };
        small.pack(limits.into_id(), bits);
        small
    }

    #[allow(clippy::cast_possible_truncation)] // the two halves of 128 bits
    const fn pack(&mut self, id: u32, bits: u128) {
        let all = (id as u128) << PACKED_BITS | bits;
        self.low = all as u64;
        self.high = (all >> 64) as u64;
    }

    const fn all(&self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }

    /// The number of its limits.
    #[allow(clippy::cast_possible_truncation)] // 32 bits were put there
    pub const fn limits_id(&self) -> u32 {
        (self.all() >> PACKED_BITS) as u32
    }

    /// Its limits, counted once more.
    pub fn limits(&self) -> LimitsRef {
        let own = std::mem::ManuallyDrop::new(LimitsRef::from_id(self.limits_id()));
        LimitsRef::clone(&own)
    }

    /// Its state.
    #[inline]
    pub fn state(&self) -> State {
        let bits = self.all() & ((1 << STATE_BITS) - 1);
        match self.all() >> STATE_BITS & 0b11 {
            BUCKET => State::Bucket(Level::from_bits(bits)),
            FIXED => State::Fixed(WindowCount::from_bits(bits)),
            SLIDING => State::Sliding(Slots::from_bits(bits)),
            _ => State::Fresh,
        }
    }

    /// Puts another state in its place; false when it does not fit into 16 bytes.
    #[inline]
    pub(in crate::types) fn set_state(&mut self, state: &State) -> bool {
        let bits = small_bits(state);
        if let Some(bits) = bits {
            self.pack(self.limits_id(), bits);
        }
        bits.is_some()
    }
}

/// The bits of a state that [`Small`] holds, or `None` when they do not fit.
#[inline]
pub fn small_bits(state: &State) -> Option<u128> {
    let (kind, bits) = match state {
        State::Fresh => (FRESH, 0),
        State::Bucket(level) => (BUCKET, level.bits()?),
        State::Fixed(usage) => (FIXED, usage.bits()?),
        State::Sliding(slots) => (SLIDING, slots.bits()?),
        State::Concurrent(_) | State::Throttle(_) | State::Kept(_) | State::Closed(_) => return None,
    };
    Some(kind << STATE_BITS | bits)
}

impl Clone for Small {
    fn clone(&self) -> Self {
        std::mem::forget(self.limits());
        Self { low: self.low, high: self.high }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(LimitsRef::from_id(self.limits_id()));
    }
}

/// One limit and its state.
#[derive(Clone, Debug)]
pub struct Single {
    /// A set of one limit.
    pub limits: LimitsRef,
    /// Its usage.
    pub state: State,
}

/// Everything a key can remember. What few keys have lies apart, so that several
/// limits and nothing else take two lines of the processor's caches.
#[derive(Clone, Debug, Default)]
pub struct Full {
    /// The limits last used.
    pub limits: Option<LimitsRef>,
    /// Their usage, in their order.
    pub states: Vec<State>,
    /// Usage of limits that are not listed now, until it is empty.
    pub orphans: Vec<Orphan>,
    /// An operator's limits.
    pub pin: Option<Box<Pin>>,
    /// An operator's block.
    pub block: Option<Box<Block>>,
    /// What is reserved, and what was and can still be corrected.
    pub reservations: Option<Box<Reservations>>,
    /// What happened on the key, where it is tracked.
    pub usage: Option<Tracked>,
}

impl Full {
    /// How long what it has beside the listed limits is worth keeping.
    pub(in crate::types) fn lasts_until(&self, now: Micros) -> Until {
        let mut until = Until::At(Micros::default());
        for orphan in &self.orphans {
            let (limit, state) = (slice::from_ref(&orphan.limit), slice::from_ref(&orphan.state));
            until = until.max(full_at(limit, state, now).into());
        }
        if let Some(reservations) = &self.reservations {
            until = until.max(Until::At(reservations.book().lasts_until()));
        }
        let extras = [
            self.pin.as_ref().map(|pin| pin.lasting.recorded()),
            self.block.as_ref().map(|block| block.lasting.recorded()),
            self.usage.as_ref().map(|usage| Until::At(usage.ends())),
        ];
        extras.into_iter().flatten().fold(until, Until::max)
    }

    /// True when the clock stepped back to before a pin, a block, a reservation or usage
    /// that is set aside.
    pub(super) fn stepped_back_beside(&self, now: Micros) -> bool {
        let reserved = self.reservations.as_ref().map(|reservations| reservations.book());
        // A book in which nothing is left is not stored.
        reserved.is_some_and(|book| !book.is_empty() && now < book.seen())
            || self.pin.as_ref().is_some_and(|pin| pin.lasting.stepped_back(now))
            || self.block.as_ref().is_some_and(|block| block.lasting.stepped_back(now))
            || self.orphans.iter().any(|orphan| orphan.limit.rule().stepped_back(&orphan.state, now))
    }

    /// Records that, but for reservations, which every change brings up to the time.
    pub(super) fn step_back_beside(&mut self, now: Micros) {
        if let Some(pin) = &mut self.pin {
            pin.lasting = pin.lasting.seen_at(now);
        }
        if let Some(block) = &mut self.block {
            block.lasting = block.lasting.seen_at(now);
        }
        for Orphan { limit, state } in &mut self.orphans {
            touch(slice::from_ref(limit), slice::from_mut(state), now);
        }
    }

    /// A value that decides alike, to play through what may come: none of it is counted.
    /// What happened on the key decides nothing, and a copy of it would be one more
    /// tracked key.
    pub(super) fn simulation(&self) -> Self {
        Self {
            reservations: self.reservations.as_ref().map(|reservations| Box::new(reservations.simulation())),
            ..self.limits_and_operators()
        }
    }

    /// The same without what happened on the key.
    pub(super) fn clone_untracked(&self) -> Self {
        Self { reservations: self.reservations.clone(), ..self.limits_and_operators() }
    }

    /// The limits, their usage, and what operators said.
    fn limits_and_operators(&self) -> Self {
        Self {
            limits: self.limits.clone(),
            states: self.states.clone(),
            orphans: self.orphans.clone(),
            pin: self.pin.clone(),
            block: self.block.clone(),
            reservations: None,
            usage: None,
        }
    }

    /// Records the time, and notes what has ended by then.
    pub(in crate::types) fn sweep(&mut self, main: MainThread, now: Micros) {
        if let Some(reservations) = &mut self.reservations {
            reservations.sweep(main, now);
        }
    }

    /// Units were granted on the listed limits to nobody in particular: they lie above
    /// those of every reservation.
    pub(super) fn grant(&mut self, main: MainThread, taken: &Taken) {
        if let (Some(reservations), Some(limits)) = (&mut self.reservations, &self.limits) {
            for (limit, units) in limits.get(main).limits().iter().zip(taken.as_array()) {
                reservations.accounts_mut().grant(main, limit, *units);
            }
        }
    }

    /// Takes up to `units` back from each limit (`calls` where it counts calls), the
    /// newest first, whoever took them. Returns the most given back on any limit.
    pub(in crate::types) fn refund(
        &mut self,
        main: MainThread,
        now: Micros,
        limits: &[Limit],
        (units, calls): (u64, u64),
    ) -> u64 {
        let mut reservations = self.reservations.take();
        let mut most = 0;
        for limit in limits {
            self.with_usage(main, limit, |rule, state| {
                let given = give_back(rule, state, now, 0, if rule.per_call() { calls } else { units });
                if let Some(reservations) = &mut reservations {
                    reservations.accounts_mut().trim(main, rule, given);
                }
                most = most.max(given);
            });
        }
        self.reservations = reservations;
        self.sweep(main, now);
        self.correct_usage(now, -i64::try_from(most).unwrap_or(i64::MAX));
        most
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
        // A forged effect may name more limits than there are; units for those
        // are not taken, so nothing is charged there either.
        let units = taken.as_array().iter().take(set.limits().len()).enumerate();
        let charged: LimitMask = units.filter(|(_, units)| **units > 0).map(|(at, _)| at).collect();
        let charged_limits = || charged_of(set.limits(), charged);
        let leaves = charged_limits().filter_map(|(_, limit)| left_by(limit, now)).max();
        let remembered_us = remembered_us(charged_limits().map(|(_, limit)| limit));
        let takes_less =
            charged_limits().any(|(at, limit)| limit.charge() == Charge::Cost && taken.units(at) != cost);
        drop(set);
        let reservations = self.reservations.get_or_insert_default();
        // The time comes first: a clock that stepped back is before what is granted now.
        reservations.sweep(main, now);
        let serial = reservations.book().next_serial();
        let one = Reservation {
            cost,
            granted: now,
            since: now,
            end,
            left_by: leaves.unwrap_or(now).min(Micros::MAX),
            remembered_us,
            serial,
            limits: limits.clone(),
            charged,
            less: takes_less.then(|| Box::new(*taken)),
            stage: Stage::Open,
        };
        reservations.insert(main, Id::from(id), one);
        for (at, (limit, units)) in limits.get(main).limits().iter().zip(taken.as_array()).enumerate() {
            reservations.accounts_mut().stake(main, &limits, (at, limit), serial, *units);
        }
        self.sweep(main, now);
    }

    /// Settles a reservation: what was reserved too much goes back, what was
    /// used beyond is charged.
    pub(in crate::types) fn settle(&mut self, main: MainThread, now: Micros, id: &[u8], how: Settlement) {
        let Some(mut reservations) = self.reservations.take() else { return };
        let taken_out = reservations.remove(main, id);
        reservations.sweep(main, now);
        if let Some(one) = taken_out {
            let signed = |units: u64| i64::try_from(units).unwrap_or(i64::MAX);
            let actual = match how {
                Settlement::Release => 0,
                Settlement::At(units) => units,
            };
            self.correct_usage(now, signed(actual).saturating_sub(signed(one.cost)));
            each_limit(main, &one, |at, limit| {
                if has_ledger(limit) {
                    self.settle_on(main, now, (at, limit), &one, how, reservations.accounts_mut());
                }
            });
        }
        self.reservations = Some(reservations);
    }

    /// Settles a reservation on one limit. It gives back its own units only, as far as
    /// they are in use.
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
        let Standing { above, own } = accounts.standing(main, limit, one.serial);
        let (mut given, mut charged) = (0, 0);
        if used > reserved {
            charged = self.charge(main, now, limit, used - reserved);
        } else if used < reserved {
            self.with_usage(main, limit, |rule, state| {
                given = give_back(rule, state, now, above, own.min(reserved - used));
            });
        }
        accounts.settle(main, limit, one.serial, given);
        accounts.grant(main, limit, charged);
    }

    /// Charges units on a limit, also where no call lists it now and nothing is used of it
    /// any more. Returns the units charged.
    fn charge(&mut self, main: MainThread, now: Micros, limit: &Limit, units: u64) -> u64 {
        let mut charged = None;
        self.with_usage(main, limit, |rule, state| charged = Some(charge(rule, state, now, units)));
        if let Some(charged) = charged {
            return charged;
        }
        if self.orphans.len() >= MAX_ORPHANS {
            // As many as a key remembers: those whose usage has run out make room.
            self.orphans.retain(|Orphan { limit, state }| {
                full_at(slice::from_ref(limit), slice::from_ref(state), now) > now
            });
        }
        let mut state = State::default();
        let charged = charge(limit, &mut state, now, units);
        if self.orphans.len() >= MAX_ORPHANS || state == State::default() {
            return 0;
        }
        self.orphans.push(Orphan { limit: limit.clone(), state });
        charged
    }

    /// Ends the blocks that its limits began, listed or not, and forgets them.
    pub(in crate::types) fn reopen(&mut self) {
        self.states.iter_mut().for_each(State::reopen);
        for orphan in &mut self.orphans {
            orphan.state.reopen();
        }
        self.orphans.retain(|orphan| orphan.state != State::Fresh);
    }

    /// Counts, where the key is tracked, that a grant turned out to be so many units
    /// more, or less.
    pub(in crate::types) fn correct_usage(&mut self, now: Micros, units: i64) {
        if units != 0
            && let Some(usage) = &mut self.usage
        {
            usage.corrected(now, units);
        }
    }

    /// Changes the usage of the limit with this identity, listed now or set aside.
    fn with_usage(&mut self, main: MainThread, limit: &Limit, change: impl FnOnce(&Limit, &mut State)) {
        if let Some(listed) = &self.limits {
            let set = listed.get(main);
            let mut all = set.limits().iter().zip(&mut self.states);
            if let Some((rule, state)) = all.find(|(rule, _)| rule.same_identity(limit)) {
                change(rule, state);
                return;
            }
        }
        if let Some(orphan) = self.orphans.iter_mut().find(|orphan| orphan.limit.same_identity(limit)) {
            change(&orphan.limit, &mut orphan.state);
        }
    }

    /// Reads the usage of the limit with this identity, listed now or set aside.
    pub(super) fn usage_of<R>(
        &self,
        main: MainThread,
        limit: &Limit,
        read: impl FnOnce(&Limit, &State) -> R,
    ) -> Option<R> {
        if let Some(listed) = &self.limits {
            let set = listed.get(main);
            let mut all = set.limits().iter().zip(&self.states);
            if let Some((rule, state)) = all.find(|(rule, _)| rule.same_identity(limit)) {
                return Some(read(rule, state));
            }
        }
        let orphan = self.orphans.iter().find(|orphan| orphan.limit.same_identity(limit))?;
        Some(read(&orphan.limit, &orphan.state))
    }

    /// Bytes it holds.
    pub fn memory(&self) -> usize {
        size_of::<Self>()
            + self.states.capacity() * size_of::<State>()
            + self.states.iter().map(State::heap_bytes).sum::<usize>()
            + self.orphans.capacity() * size_of::<Orphan>()
            + self.orphans.iter().map(|orphan| orphan.state.heap_bytes()).sum::<usize>()
            + self.pin.as_ref().map_or(0, |pin| size_of::<Pin>() + pin.text.len())
            + self.block.as_ref().map_or(0, |block| size_of::<Block>() + block.reason.len())
            + self.reservations.as_ref().map_or(0, |reservations| reservations.memory())
            + self.usage.as_ref().map_or(0, |usage| usage.memory())
    }
}

const _: () =
    assert!(Level::BITS <= STATE_BITS && WindowCount::BITS <= STATE_BITS && Slots::BITS <= STATE_BITS);
const _: () = assert!(PACKED_BITS + u32::BITS <= u128::BITS);
const _: () = assert!(size_of::<Small>() == 16 && size_of::<Single>() <= 48 && size_of::<Full>() <= 96);
