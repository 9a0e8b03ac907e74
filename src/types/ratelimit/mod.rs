//! The native type `ratelimit`: what one key remembers.
//!
//! | shape | when | size |
//! |---|---|---|
//! | [`Small`] | one limit whose state fits: most token buckets and windows, a sliding one with one slot | 16 bytes |
//! | [`Single`] | any other one limit | 48 bytes, and more slots as needed |
//! | [`Full`] | several limits, a pin, a block, reservations, usage of limits no longer listed, a tracked key's history | what it holds |
//!
//! A key starts in the smallest shape that fits and grows when it must. Which
//! shape it has is not part of its value: equal contents, equal digests.

pub mod accounts;
pub mod encoding;
pub mod layout;
mod native;
pub mod reservations;
mod reserved;
pub mod tracked;

use crate::core::limits::{
    Closed, Filled, Limit, MAX_ORPHANS, Orphan, Request, Rule, State, Taken, count_aside, full_at, give_back,
    look_at, realign,
};
use crate::core::prefetch_hint::PrefetchHint;
use crate::core::reservations::{Book, Places};
use crate::core::time::Micros;
use crate::core::usage::UsageSeries;
use crate::server::keys::tagged_box::{OneOf, TaggedBox};
use crate::server::main_thread::MainThread;
use crate::types::intern::{self, LimitsRef};
use crate::types::operator::{Block, Pin};
use crate::types::until::Until;
use layout::{Full, Single, Small};
use reservations::Reservations;
use tracked::Tracked;

/// What a key remembers.
#[derive(Debug)]
pub struct RateLimit(TaggedBox<Small, Single, Full>);

/// How long a key is worth keeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// It equals a fresh key: delete it.
    Over,
    /// Until it is full again, and pin and block have ended; forever while a credit is used.
    Until(Until),
    /// The same, and that is most likely no other time than before the change.
    StillUntil(Until),
    /// The same, and that is no other time than before the change.
    AsBefore(Until),
}

impl RateLimit {
    /// A key with this usage of these limits, in the smallest shape.
    pub fn new(limits: LimitsRef, states: Vec<State>) -> Self {
        Self::pack(Full { limits: Some(limits), states, ..Full::default() })
    }

    /// A key in the smallest shape that holds `full`.
    pub(crate) fn pack(mut full: Full) -> Self {
        full.reservations.take_if(|reservations| reservations.book().is_empty());
        let bare = full.pin.is_none()
            && full.block.is_none()
            && full.orphans.is_empty()
            && full.reservations.is_none()
            && full.usage.is_none();
        if bare
            && full.states.len() == 1
            && let Some(limits) = full.limits.take()
        {
            let state = full.states.pop().unwrap_or_default();
            if let Some(bits) = layout::small_bits(&state) {
                return Self(TaggedBox::first(Box::new(Small::new(limits, bits))));
            }
            return Self(TaggedBox::second(Box::new(Single { limits, state })));
        }
        Self(TaggedBox::third(Box::new(full)))
    }

    /// True when its last change was made under the debug clock, which puts no expiry on
    /// keys: the next one under the server's clock has to.
    #[inline]
    pub fn is_without_expiry(&self) -> bool {
        self.0.is_marked()
    }

    /// Sets what [`RateLimit::is_without_expiry`] says.
    #[inline]
    pub(super) fn set_without_expiry(&mut self, without: bool) {
        self.0.mark(without);
    }

    /// The number of the limits last used, if any were.
    #[inline]
    pub fn limits_id(&self) -> Option<u32> {
        match self.0.get() {
            OneOf::First(small) => Some(small.limits_id()),
            OneOf::Second(single) => Some(single.limits.id()),
            OneOf::Third(full) => full.limits.as_ref().map(LimitsRef::id),
        }
    }

    /// The limits last used, if any were.
    pub fn limits(&self) -> Option<LimitsRef> {
        match self.0.get() {
            OneOf::First(small) => Some(small.limits()),
            OneOf::Second(single) => Some(single.limits.clone()),
            OneOf::Third(full) => full.limits.clone(),
        }
    }

    /// Reads the usage of the limits last used, in their order.
    #[inline]
    pub fn with_states<R>(&self, read: impl FnOnce(&[State]) -> R) -> R {
        let unpacked;
        read(match self.0.get() {
            OneOf::First(small) => {
                unpacked = [small.state()];
                &unpacked
            }
            OneOf::Second(single) => std::slice::from_ref(&single.state),
            OneOf::Third(full) => &full.states,
        })
    }

    /// Changes the usage of the limits last used, in their order.
    pub(in crate::types) fn with_states_mut<R>(&mut self, change: impl FnOnce(&mut [State]) -> R) -> R {
        match self.0.get_mut() {
            OneOf::First(small) => {
                let mut state = [small.state()];
                let result = change(&mut state);
                let [state] = state;
                if !small.set_state(&state) {
                    // It no longer fits into its 16 bytes. It may again, but a key
                    // whose second slot comes and goes should not move each time.
                    let limits = small.limits();
                    self.0 = TaggedBox::second(Box::new(Single { limits, state }));
                }
                result
            }
            OneOf::Second(single) => change(std::slice::from_mut(&mut single.state)),
            OneOf::Third(full) => change(&mut full.states),
        }
    }

    /// What a grant will need outside the value: among many keys it otherwise waits
    /// 100 ns for memory. Reads the value itself.
    #[inline]
    pub fn prefetch_hint(&self) -> Option<PrefetchHint> {
        match self.0.get() {
            OneOf::First(_) => None,
            OneOf::Second(single) => single.state.prefetch_hint(),
            OneOf::Third(full) => Some(PrefetchHint::of(full.states.as_slice())),
        }
    }

    /// Usage of limits that the last call did not list.
    pub fn orphans(&self) -> &[Orphan] {
        self.as_full().map_or(&[], |full| &full.orphans)
    }

    /// The operator's limits, when there are any and they still hold.
    #[inline]
    pub fn pin(&self, now: Micros) -> Option<&Pin> {
        self.as_full()?.pin.as_deref().filter(|pin| pin.lasting.lasts(now))
    }

    /// The block, when there is one and it still holds.
    #[inline]
    pub fn block(&self, now: Micros) -> Option<&Block> {
        self.as_full()?.block.as_deref().filter(|block| block.lasting.lasts(now))
    }

    /// True when the clock stepped back to before something of the key that is no usage
    /// of the limits last used.
    #[inline]
    pub fn stepped_back_beside(&self, now: Micros) -> bool {
        self.as_full().is_some_and(|full| full.stepped_back_beside(now))
    }

    /// True when the clock stepped back to before anything of the key.
    pub fn stepped_back(&self, main: MainThread, now: Micros) -> bool {
        let listed = |limits: &[Limit], states: &[State]| {
            limits.iter().zip(states).any(|(limit, state)| limit.rule().stepped_back(state, now))
        };
        self.stepped_back_beside(now) || self.with_listed(main, listed)
    }

    /// Records that the clock stepped back of all but the limits last used.
    pub(in crate::types) fn step_back_beside(&mut self, now: Micros) {
        if let OneOf::Third(full) = self.0.get_mut() {
            full.step_back_beside(now);
        }
    }

    /// What happened on the key, where it is tracked.
    #[inline]
    pub fn usage(&self) -> Option<&UsageSeries> {
        self.as_full()?.usage.as_deref()
    }

    /// Adds to what happened on the key; begins to track it if need be.
    pub(in crate::types) fn count(&mut self, now: Micros, add: impl FnOnce(&mut UsageSeries)) {
        if let OneOf::Third(full) = self.0.get_mut()
            && let Some(usage) = &mut full.usage
        {
            // Usage that nobody wanted for so long is over, even where the key
            // has not expired yet.
            if usage.ends() <= now {
                **usage = UsageSeries::new(now);
            }
            add(usage);
        } else {
            self.rebuild(|full| add(full.usage.insert(Tracked::new(UsageSeries::new(now)))));
        }
    }

    #[inline]
    fn as_full(&self) -> Option<&Full> {
        match self.0.get() {
            OneOf::Third(full) => Some(full),
            _ => None,
        }
    }

    /// Its contents, moved out into the shape that holds everything.
    fn take_full(&mut self) -> Full {
        let empty = Self(TaggedBox::third(Box::default()));
        match std::mem::replace(self, empty).0.into_inner() {
            OneOf::First(small) => {
                Full { limits: Some(small.limits()), states: vec![small.state()], ..Full::default() }
            }
            OneOf::Second(single) => {
                let Single { limits, state } = *single;
                Full { limits: Some(limits), states: vec![state], ..Full::default() }
            }
            OneOf::Third(full) => *full,
        }
    }

    /// Its contents, copied into the shape that holds everything.
    fn to_full(&self) -> Full {
        match self.0.get() {
            OneOf::First(small) => {
                Full { limits: Some(small.limits()), states: vec![small.state()], ..Full::default() }
            }
            OneOf::Second(single) => Full {
                limits: Some(single.limits.clone()),
                states: vec![single.state.clone()],
                ..Full::default()
            },
            OneOf::Third(full) => full.clone(),
        }
    }

    /// Changes anything, then goes back to the smallest shape.
    pub(in crate::types) fn rebuild<R>(&mut self, change: impl FnOnce(&mut Full) -> R) -> R {
        let mut full = self.take_full();
        let result = change(&mut full);
        *self = Self::pack(full);
        result
    }

    /// The usage that `wanted` would start from, without changing anything: each
    /// limit's own, found by identity; the rest is what stays aside.
    pub fn realigned(&self, main: MainThread, wanted: &[Limit], now: Micros) -> (Vec<State>, Vec<Orphan>) {
        let old = self.limits().map(|limits| limits.get(main));
        let old = old.as_ref().map_or(&[][..], |set| set.limits());
        let orphans = self.orphans().to_vec();
        let realigned = self.with_states(|states| realign(old, states.to_vec(), orphans, wanted, now));
        (realigned.states, realigned.orphans)
    }

    /// What a refund would give back, without changing anything.
    pub fn refundable(&self, main: MainThread, limits: &[Limit], now: Micros, units: u64) -> u64 {
        let own = self.limits().map(|own| own.get(main));
        let own = own.as_ref().map_or(&[][..], |set| set.limits());
        let back = |rule: &Limit, state: &State| {
            let units = if rule.per_call() { 1 } else { units };
            give_back(rule, &mut state.clone(), now, 0, units)
        };
        let given = limits.iter().map(|limit| {
            let aside = || self.orphans().iter().find(|orphan| orphan.limit.same_identity(limit));
            let listed = own.iter().position(|rule| rule.same_identity(limit));
            match listed.and_then(|at| Some((at, own.get(at)?))) {
                Some((at, rule)) => {
                    self.with_states(|states| states.get(at).map_or(0, |state| back(rule, state)))
                }
                None => aside().map_or(0, |orphan| back(&orphan.limit, &orphan.state)),
            }
        });
        given.max().unwrap_or(0)
    }

    /// The usage that `wanted` would take over, as a decision sees it.
    pub fn seen_by(&self, main: MainThread, wanted: &[Limit], now: Micros) -> Vec<State> {
        self.with_listed(main, |old, states| look_at(old, states, self.orphans(), wanted, now))
    }

    /// Whether a grant under `wanted` leaves aside no more limits with usage than a key
    /// remembers.
    pub fn has_room_aside(&self, main: MainThread, wanted: &[Limit], now: Micros) -> bool {
        let orphans = self.orphans();
        // Without looking at each, in nearly all cases.
        self.with_listed(main, |old, states| {
            orphans.len() + old.len() <= MAX_ORPHANS
                || count_aside(old, states, orphans, wanted, now) <= MAX_ORPHANS
        })
    }

    /// Reads the limits last used and their usage.
    fn with_listed<R>(&self, main: MainThread, read: impl FnOnce(&[Limit], &[State]) -> R) -> R {
        match self.limits_id() {
            Some(id) => {
                let set = intern::get(main, id);
                self.with_states(|states| read(set.limits(), states))
            }
            None => read(&[], &[]),
        }
    }

    /// Begins a block of the limit with this identity, listed now or set aside.
    pub(in crate::types) fn close(&mut self, main: MainThread, limit: &Limit, block: Closed) {
        // A forged effect may name one that never closes.
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
            if let Some(orphan) = full.orphans.iter_mut().find(|orphan| is_it(&orphan.limit)) {
                orphan.state.close(block);
            }
        });
    }

    /// The blocks that its limits began, listed or not, lasting or remembered.
    pub fn limit_blocks(&self) -> Vec<Closed> {
        let listed: Vec<Closed> =
            self.with_states(|states| states.iter().filter_map(State::block).copied().collect());
        let aside = self.orphans().iter().filter_map(|orphan| orphan.state.block().copied());
        listed.into_iter().chain(aside).collect()
    }

    /// A value that decides alike, to play through what may come.
    #[must_use]
    pub fn simulation(&self) -> Self {
        let full = match self.as_full() {
            Some(full) => full.simulation(),
            None => self.to_full(),
        };
        Self(TaggedBox::third(Box::new(full)))
    }

    /// Whether anything is reserved, or was and is remembered.
    #[inline]
    pub(in crate::types) fn has_reservations(&self) -> bool {
        self.as_full().is_some_and(|full| full.reservations.is_some())
    }

    /// The reservations of the key, if it has any, as of the last change.
    pub fn book(&self) -> Option<&Book<LimitsRef>> {
        Some(self.reservations()?.book()).filter(|book| !book.is_empty())
    }

    /// The reservations of the key, if it has any, as of the last change.
    #[inline]
    pub fn reservations(&self) -> Option<&Reservations> {
        self.as_full()?.reservations.as_deref()
    }

    /// Units were granted on the listed limits to nobody in particular.
    pub(in crate::types) fn grant(&mut self, main: MainThread, taken: &Taken) {
        if let OneOf::Third(full) = self.0.get_mut() {
            full.grant(main, taken);
        }
    }

    /// Records the time for its reservations, and notes which have ended by then. True
    /// where there are any.
    #[inline]
    pub(in crate::types) fn sweep(&mut self, main: MainThread, now: Micros) -> bool {
        match self.0.get_mut() {
            OneOf::Third(full) if full.reservations.is_some() => {
                full.sweep(main, now);
                true
            }
            _ => false,
        }
    }

    /// How long it is worth keeping, as of `now`.
    pub fn lifetime(&self, main: MainThread, now: Micros) -> Lifetime {
        let listed = self.limits_id().map_or(now, |id| {
            let set = intern::get(main, id);
            self.with_states(|states| full_at(set.limits(), states, now))
        });
        self.lifetime_after(Filled { at: listed, as_before: false }, now)
    }

    /// As [`RateLimit::lifetime`] after a change of the listed limits that told
    /// when they are full again.
    #[inline]
    pub(in crate::types) fn lifetime_after(&self, listed: Filled, now: Micros) -> Lifetime {
        let end = Until::from(listed.at);
        let (until, alone) = match self.as_full() {
            None => (end, true),
            Some(full) => (full.lasts_until(now).max(end), false),
        };
        if !until.lasts(now) {
            Lifetime::Over
        } else if listed.as_before && alone {
            Lifetime::AsBefore(until)
        } else if listed.as_before || until > end {
            // With a clock that stepped back another limit's end came back, perhaps.
            Lifetime::StillUntil(until)
        } else {
            Lifetime::Until(until)
        }
    }
}

/// Says in `states` how many places are held on each `concurrent` limit, for a decision on
/// a request. A reservation taken now would end at `next`.
pub fn hold(
    main: MainThread,
    value: Option<&RateLimit>,
    limits: &[Limit],
    states: &mut [State],
    now: Micros,
    next: Micros,
    request: &Request,
) {
    let reservations = value.and_then(RateLimit::reservations);
    for (limit, state) in limits.iter().zip(states) {
        if matches!(limit.rule(), Rule::Concurrent(_)) {
            let demand = request.least(limit);
            *state = State::Concurrent(match reservations {
                Some(reservations) => reservations.held(main, limit, now, next, demand),
                None => Places::default().held(limit, now, next, demand),
            });
        }
    }
}
