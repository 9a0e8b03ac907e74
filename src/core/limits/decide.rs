//! Several limits as one decision. Nothing here changes a state.
//!
//! A request of n units fits a limit if `used + n` is at most what the requester may use of it: all
//! for a critical request, and otherwise all but the part that `keep=` keeps. It is granted if it
//! fits every enforcing limit.
//!
//! `limits` and `states` belong together by position.

use super::closing::Closed;
use super::reset_after::ResetAfter;
use super::rule::State;
use super::spec::{Charge, Limit, MAX_LIMITS};
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The cost in units, 1 to 10^12. The sum over a batch may be larger.
    pub cost: u64,
    /// What a `per=call` limit is charged: normally 1.
    pub calls: u64,
    /// True if fewer units than the cost may be granted, rather than none.
    pub partial: bool,
    /// True if the request may use the part that `keep=` keeps.
    pub critical: bool,
}

impl Request {
    /// A request of one call, neither partial nor critical.
    pub const fn of(cost: u64) -> Self {
        Self { cost, calls: 1, partial: false, critical: false }
    }
}

/// Units for each limit, by position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken([u64; MAX_LIMITS]);

impl Taken {
    /// Units by position. Those beyond the eighth are dropped.
    ///
    /// ```
    /// use floodgate::core::limits::Taken;
    ///
    /// let taken = Taken::new([3, 1]);
    /// assert_eq!((taken.units(0), taken.units(1), taken.units(2)), (3, 1, 0));
    /// ```
    pub fn new(units: impl IntoIterator<Item = u64>) -> Self {
        let mut taken = Self::default();
        taken.0.iter_mut().zip(units).for_each(|(slot, units)| *slot = units);
        taken
    }

    /// The units of the limit at `index`; 0 beyond the eighth.
    #[inline]
    pub fn units(&self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }

    /// The units of all eight positions.
    pub const fn as_array(&self) -> &[u64; MAX_LIMITS] {
        &self.0
    }

    /// True if nothing is taken from any limit.
    pub fn is_nothing(&self) -> bool {
        self.0.iter().all(|&units| units == 0)
    }

    #[inline]
    fn set(&mut self, index: usize, units: u64) {
        if let Some(slot) = self.0.get_mut(index) {
            *slot = units;
        }
    }
}

/// A set of limits, by position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitMask(u8);

impl FromIterator<usize> for LimitMask {
    fn from_iter<I: IntoIterator<Item = usize>>(positions: I) -> Self {
        let mut set = Self::default();
        positions.into_iter().for_each(|index| set.insert(index));
        set
    }
}

impl LimitMask {
    /// One bit for each position.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The inverse of [`LimitMask::bits`].
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// Whether the limit at `index` is in the set.
    pub const fn contains(self, index: usize) -> bool {
        index < MAX_LIMITS && self.0 >> index & 1 == 1
    }

    /// True if the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The number of limits in the set.
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// The positions in the set, in order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_LIMITS).filter(move |&index| self.contains(index))
    }

    #[inline]
    pub(super) const fn insert(&mut self, index: usize) {
        if index < MAX_LIMITS {
            self.0 |= 1 << index;
        }
    }
}

/// The status of the binding limit after the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitStatus {
    /// Its capacity; `None` for unlimited.
    pub limit: Option<u64>,
    /// The whole units that a requester of the same kind could still take from it; `None` for
    /// unlimited.
    pub remaining: Option<u64>,
    /// The time until the same request would be granted; for a [`Request::partial`], until one unit
    /// would.
    pub retry: RetryAfter,
    /// The time until the limit is full again if nobody asks.
    pub reset: ResetAfter,
}

impl LimitStatus {
    /// The status of an unlimited limit.
    pub const UNLIMITED: Self =
        Self { limit: None, remaining: None, retry: RetryAfter::Now, reset: ResetAfter::NOW };
}

/// What was decided. To carry it out, call [`take`](super::take) with `taken`. If that is nothing
/// and `record_clock` is set, call [`touch`](super::touch).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The units granted; 0 if the request is denied.
    pub granted: u64,
    /// The status of the binding limit after the call.
    pub status: LimitStatus,
    /// The position of the binding limit; `None` if all are shadow limits.
    pub binding: Option<usize>,
    /// The units that each limit is charged.
    pub taken: Taken,
    /// The shadow limits that would have denied the request.
    pub shadow_denied: LimitMask,
    /// The limits that this denial closes ([`blocks`]), unless the request waits.
    pub closes: LimitMask,
    /// True if the clock stepped back and that must be recorded, even if the request is denied.
    pub record_clock: bool,
}

impl Decision {
    /// False if the request was denied.
    pub const fn is_granted(&self) -> bool {
        self.granted > 0
    }

    /// The status of the binding limit if nothing is taken after all. `limits` and `states` are
    /// those of the decision.
    pub fn before(&self, limits: &[Limit], states: &[State], now: Micros) -> LimitStatus {
        let mut status = self.status;
        if self.is_granted()
            && let Some(index) = self.binding
            && let Some((limit, state)) = limits.get(index).zip(states.get(index))
        {
            let taken = self.taken.units(index);
            status.remaining = status.remaining.map(|left| left.saturating_add(taken));
            status.reset = reset_after(limit, state, now, 0);
        }
        status
    }
}

/// One limit as one requester sees it.
#[derive(Clone, Copy)]
struct LimitView {
    used: u64,
    /// The units that the requester may use.
    usable: u64,
    /// The end of its block, if one lasts.
    closed_until: Option<Micros>,
}

impl LimitView {
    const NONE: Self = Self { used: 0, usable: 0, closed_until: None };

    #[inline]
    fn of(limit: &Limit, capacity: u64, used: u64, critical: bool) -> Self {
        let usable = if critical { capacity } else { limit.keep().usable(capacity) };
        Self { used, usable, closed_until: None }
    }

    /// The same view, with the block of the limit's state.
    fn with_block(self, state: &State, now: Micros) -> Self {
        Self { closed_until: state.block().and_then(|block| block.lasts_until(now)), ..self }
    }

    /// The units that are left for the requester.
    const fn room(self) -> u64 {
        match self.closed_until {
            None => self.free(),
            Some(_) => 0,
        }
    }

    /// The time until the request fits and no block lasts.
    fn wait(self, limit: &Limit, state: &State, now: Micros, demand: u64) -> RetryAfter {
        let units = self.units_wait(limit, state, now, demand);
        self.closed_until.map_or(units, |end| units.max(RetryAfter::until(end, now)))
    }

    /// The units that would be left if no block lasted.
    #[inline]
    const fn free(self) -> u64 {
        self.usable.saturating_sub(self.used)
    }

    /// The time until `demand` fits.
    #[inline]
    fn units_wait(self, limit: &Limit, state: &State, now: Micros, demand: u64) -> RetryAfter {
        if demand <= self.free() {
            return RetryAfter::Now;
        }
        let Some(target) = self.usable.checked_sub(demand) else { return RetryAfter::Never };
        match limit.rule().falls_to(state, now, target) {
            Micros::NEVER => RetryAfter::Never,
            at => RetryAfter::After(at.since(now)),
        }
    }
}

impl LimitView {
    /// True if the limit denies the request because it lacks units that will come back, and its
    /// options say that it closes then. `wait` is the time until the units are back.
    #[inline]
    fn closes(self, limit: &Limit, state: &State, now: Micros, request: &Request, wait: RetryAfter) -> bool {
        limit.closing().is_some()
            && matches!(wait, RetryAfter::After(_))
            // A denial by `keep` alone lacks no units.
            && limit.capacity().is_some_and(|all| self.used.saturating_add(request.least(limit)) > all)
            && !state.block().is_some_and(|block| block.covers(now))
    }
}

impl Request {
    /// The units that must fit for the request not to be denied.
    #[inline]
    pub fn least(&self, limit: &Limit) -> u64 {
        match limit.charge() {
            Charge::Call => self.calls,
            Charge::Cost if self.partial => self.cost.min(1),
            Charge::Cost => self.cost,
        }
    }

    /// The most units of cost that a limit with this much room can grant.
    #[inline]
    fn most(&self, limit: &Limit, room: u64) -> u64 {
        match limit.charge() {
            Charge::Cost if self.partial => self.cost.min(room),
            Charge::Call | Charge::Cost => self.cost,
        }
    }
}

/// Decides a request on all limits together.
///
/// ```
/// use floodgate::core::limits::{Limits, Request, State, decide, take};
/// use floodgate::core::retry_after::RetryAfter;
/// use floodgate::core::time::Micros;
///
/// let limits = Limits::parse(b"2/s").unwrap();
/// let limits = limits.as_slice();
/// let mut states = [State::default()];
/// let now = Micros(1_000_000);
///
/// let decision = decide(limits, &states, now, &Request::of(2));
/// assert!(decision.is_granted());
/// // Deciding changes nothing; taking does.
/// take(limits, &mut states, now, &decision.taken);
///
/// let later = now.plus(400_000);
/// let decision = decide(limits, &states, later, &Request::of(1));
/// assert!(!decision.is_granted());
/// assert_eq!(decision.status.retry, RetryAfter::After(600_000));
/// ```
#[inline]
pub fn decide(limits: &[Limit], states: &[State], now: Micros, request: &Request) -> Decision {
    if let ([limit], [state]) = (limits, states)
        && let Some(capacity) = limit.capacity()
        && !limit.shadow()
        && state.block().is_none()
    {
        return decide_one(limit, capacity, state, now, request);
    }
    decide_several(limits, states, now, request)
}

/// Decides as [`decide_several`] does, on one limit that enforces and remembers no block.
///
/// **Optimisation.** On the commonest kind of key it halves the instructions of a decision (commit
/// 1f9f679). The plain version is [`decide_several`]; `tests/core/decide.rs` compares both.
#[inline]
fn decide_one(limit: &Limit, capacity: u64, state: &State, now: Micros, request: &Request) -> Decision {
    let seen = limit.rule().see(state, now);
    let mut view = LimitView::of(limit, capacity, seen.used, request.critical);
    let retry = view.units_wait(limit, state, now, request.least(limit));
    let mut closes = LimitMask::default();
    let (granted, units) = if retry == RetryAfter::Now {
        let granted = request.most(limit, view.free());
        (granted, charged(limit, request, granted))
    } else {
        if view.closes(limit, state, now, request, retry) {
            closes.insert(0);
        }
        (0, 0)
    };
    view.used = view.used.saturating_add(units);
    Decision {
        granted,
        status: LimitStatus {
            limit: Some(capacity),
            remaining: Some(view.free()),
            retry,
            reset: reset_after(limit, state, now, units),
        },
        binding: Some(0),
        taken: Taken::new([units]),
        shadow_denied: LimitMask::default(),
        closes,
        record_clock: seen.stepped_back,
    }
}

fn decide_several(limits: &[Limit], states: &[State], now: Micros, request: &Request) -> Decision {
    // The units in use are counted once, because that costs a division or the sum of slots.
    let mut views = [LimitView::NONE; MAX_LIMITS];
    let mut granted = request.cost;
    let mut record_clock = false;
    let mut closes = LimitMask::default();
    let mut any_shadow = false;
    let mut first_unlimited = None;
    // The longest wait among the limits that deny. Among equals the first limit binds.
    let mut longest = RetryAfter::Now;
    let mut binding = None;
    for (index, ((limit, state), view)) in limits.iter().zip(states).zip(&mut views).enumerate() {
        let Some(capacity) = limit.capacity() else {
            if !limit.shadow() {
                first_unlimited = first_unlimited.or(Some(index));
            }
            continue;
        };
        let seen = limit.rule().see(state, now);
        record_clock |= seen.stepped_back;
        *view = LimitView::of(limit, capacity, seen.used, request.critical).with_block(state, now);
        if limit.shadow() {
            any_shadow = true;
            continue;
        }
        granted = granted.min(request.most(limit, view.room()));
        let wait = view.wait(limit, state, now, request.least(limit));
        if view.closes(limit, state, now, request, wait) {
            closes.insert(index);
        }
        if wait > longest {
            longest = wait;
            binding = Some(index);
        }
    }
    let mut taken = Taken::default();
    if binding.is_some() {
        granted = 0;
    } else {
        binding = charge_enforcing(limits, &mut views, request, granted, &mut taken);
    }
    let shadow_denied = if any_shadow {
        decide_shadows(limits, &views, request, granted, &mut taken)
    } else {
        LimitMask::default()
    };
    let status = binding.and_then(|index| {
        let (limit, state, view) = (limits.get(index)?, states.get(index)?, views.get(index)?);
        let reset = reset_after(limit, state, now, taken.units(index));
        Some(LimitStatus { limit: limit.capacity(), remaining: Some(view.room()), retry: longest, reset })
    });
    let status = status.unwrap_or(LimitStatus::UNLIMITED);
    let binding = binding.or(first_unlimited);
    Decision { granted, status, binding, taken, shadow_denied, closes, record_clock }
}

/// Charges the granted units to the limits that enforce. Returns the limit that has the least room
/// left, the first of equals.
#[inline]
fn charge_enforcing(
    limits: &[Limit],
    views: &mut [LimitView],
    request: &Request,
    granted: u64,
    taken: &mut Taken,
) -> Option<usize> {
    let (mut least, mut binding) = (u64::MAX, None);
    for (index, (limit, view)) in limits.iter().zip(views).enumerate() {
        if limit.shadow() || limit.capacity().is_none() {
            continue;
        }
        let units = charged(limit, request, granted);
        taken.set(index, units);
        view.used = view.used.saturating_add(units);
        if view.room() < least || binding.is_none() {
            least = view.room();
            binding = Some(index);
        }
    }
    binding
}

/// The blocks that a denial begins, each with the position of its limit.
pub fn blocks<'a>(
    limits: &'a [Limit],
    states: &'a [State],
    now: Micros,
    request: &'a Request,
    closes: LimitMask,
) -> impl Iterator<Item = (usize, Closed)> + 'a {
    closes.iter().filter_map(move |index| {
        let (limit, state) = (limits.get(index)?, states.get(index)?);
        let view = LimitView::of(limit, limit.capacity()?, limit.rule().used(state, now), request.critical);
        let units_after = match view.units_wait(limit, state, now, request.least(limit)) {
            RetryAfter::After(us) => us,
            RetryAfter::Now | RetryAfter::Never => 0,
        };
        Some((index, limit.closing()?.block(state.block(), now, units_after)))
    })
}

/// The time until the limit is full again, if `taken` units are taken now and nobody asks
/// afterwards.
#[inline]
fn reset_after(limit: &Limit, state: &State, now: Micros, taken: u64) -> ResetAfter {
    if limit.rule().comes_back() {
        ResetAfter::Us(limit.rule().full_after(state, now, taken).since(now))
    } else {
        ResetAfter::Never
    }
}

/// The units that a limit is charged if `granted` units are granted.
#[inline]
const fn charged(limit: &Limit, request: &Request, granted: u64) -> u64 {
    match limit.charge() {
        Charge::Call => request.calls,
        Charge::Cost => granted,
    }
}

/// The shadow limits that would deny. Those that would not are charged the units that the enforcing
/// limits granted.
fn decide_shadows(
    limits: &[Limit],
    views: &[LimitView],
    request: &Request,
    granted: u64,
    taken: &mut Taken,
) -> LimitMask {
    let mut denied = LimitMask::default();
    for (index, (limit, view)) in limits.iter().zip(views).enumerate() {
        if !limit.shadow() || limit.capacity().is_none() {
            continue;
        }
        let room = view.room();
        if request.least(limit) > room {
            denied.insert(index);
        } else if granted > 0 {
            taken.set(index, charged(limit, request, granted.min(request.most(limit, room))));
        }
    }
    denied
}

/// One limit as `RL.QUOTA` shows it to a requester that is not critical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitQuota {
    /// The capacity; `None` for unlimited.
    pub limit: Option<u64>,
    /// The whole units in use. For a bucket they never exceed its capacity; for other limits they
    /// may, after debt or a smaller count.
    pub used: u64,
    /// The whole units that would be granted now; `None` for unlimited.
    pub remaining: Option<u64>,
    /// The time until this limit would grant a request of the cost.
    pub retry: RetryAfter,
    /// The time until it is full if nobody asks.
    pub reset: ResetAfter,
}

/// Looks at one limit, for a request of `cost` units. The cost is 1 if the limit counts calls.
///
/// ```
/// use floodgate::core::limits::{Limits, State, limit_quota};
/// use floodgate::core::time::Micros;
///
/// let limits = Limits::parse(b"bucket:10/s:burst=50").unwrap();
/// let seen = limit_quota(&limits.as_slice()[0], &State::default(), Micros(0), 1);
/// assert_eq!((seen.limit, seen.remaining, seen.reset.millis()), (Some(50), Some(50), 0));
/// ```
pub fn limit_quota(limit: &Limit, state: &State, now: Micros, cost: u64) -> LimitQuota {
    let Some(capacity) = limit.capacity() else {
        return LimitQuota {
            limit: None,
            used: 0,
            remaining: None,
            retry: RetryAfter::Now,
            reset: ResetAfter::NOW,
        };
    };
    let view = LimitView::of(limit, capacity, limit.rule().used(state, now), false).with_block(state, now);
    LimitQuota {
        limit: Some(capacity),
        used: if limit.rule().refills() { view.used.min(capacity) } else { view.used },
        remaining: Some(view.room()),
        retry: view.wait(limit, state, now, Request::of(cost).least(limit)),
        reset: reset_after(limit, state, now, 0),
    }
}
