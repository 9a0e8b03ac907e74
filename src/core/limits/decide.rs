//! Several limits as one decision. Nothing here changes a state.
//!
//! A request of n units fits a limit when `used + n` is at most what the
//! requester may use of it: all for a critical request, else all but the part
//! that `keep=` keeps. It is granted when it fits every enforcing limit.
//!
//! `limits` and `states` belong together by position.

use super::closing::Closed;
use super::reset_after::ResetAfter;
use super::rule::State;
use super::spec::{Charge, Limit, MAX_LIMITS};
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Units, 1 ..= 10^12 (a sum over a batch may be larger).
    pub cost: u64,
    /// What a `per=call` limit is charged: normally 1.
    pub calls: u64,
    /// Grant less rather than nothing.
    pub partial: bool,
    /// May use the part that `keep=` keeps.
    pub critical: bool,
}

impl Request {
    /// A plain request of one call.
    pub const fn of(cost: u64) -> Self {
        Self { cost, calls: 1, partial: false, critical: false }
    }
}

/// Units per limit, by position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken([u64; MAX_LIMITS]);

impl Taken {
    /// From units by position; those beyond the eighth are left out.
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

    /// Units of the limit at `index`; 0 beyond the eighth.
    #[inline]
    pub fn units(&self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }

    /// Units by position, all eight.
    pub const fn as_array(&self) -> &[u64; MAX_LIMITS] {
        &self.0
    }

    /// True when nothing is taken anywhere.
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

/// A set of limits by position.
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
    /// One bit a position.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The inverse of [`LimitMask::bits`].
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// Is the limit at `index` among them?
    pub const fn contains(self, index: usize) -> bool {
        index < MAX_LIMITS && self.0 >> index & 1 == 1
    }

    /// True when there are none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Their positions in order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_LIMITS).filter(move |&index| self.contains(index))
    }

    #[inline]
    const fn insert(&mut self, index: usize) {
        if index < MAX_LIMITS {
            self.0 |= 1 << index;
        }
    }
}

/// How things stand on the binding limit after the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitStatus {
    /// Its capacity; `None` for unlimited.
    pub limit: Option<u64>,
    /// Whole units that the same kind of requester could still take from it;
    /// `None` for unlimited.
    pub remaining: Option<u64>,
    /// Until the same request would be granted ([`Request::partial`]: one unit).
    pub retry: RetryAfter,
    /// Until the limit is full again if nobody asks.
    pub reset: ResetAfter,
}

impl LimitStatus {
    /// That of `unlimited`.
    pub const UNLIMITED: Self =
        Self { limit: None, remaining: None, retry: RetryAfter::Now, reset: ResetAfter::NOW };
}

/// What was decided. To make it so, [`take`](super::take) `taken`, or, when
/// that is nothing and `record_clock` is set, [`touch`](super::touch).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Units granted; 0 when denied.
    pub granted: u64,
    /// Of the binding limit, after the call.
    pub status: LimitStatus,
    /// Position of the binding limit; `None` when all are shadow limits.
    pub binding: Option<usize>,
    /// What each limit is charged.
    pub taken: Taken,
    /// Shadow limits that would have denied.
    pub shadow_denied: LimitMask,
    /// Limits that this denial closes ([`blocks`]), unless the request waits.
    pub closes: LimitMask,
    /// A clock that stepped back is to be recorded, also when denied.
    pub record_clock: bool,
}

impl Decision {
    /// False when the request was denied.
    pub const fn is_granted(&self) -> bool {
        self.granted > 0
    }

    /// How the binding limit stands when nothing is taken after all. `limits`
    /// and `states` are those that were decided on.
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
    /// What the requester may use.
    usable: u64,
    /// The end of its block, where one lasts.
    closed_until: Option<Micros>,
}

impl LimitView {
    const NONE: Self = Self { used: 0, usable: 0, closed_until: None };

    #[inline]
    fn of(limit: &Limit, capacity: u64, used: u64, critical: bool) -> Self {
        let usable = if critical { capacity } else { limit.keep().usable(capacity) };
        Self { used, usable, closed_until: None }
    }

    /// As seen with the block of its state.
    fn with_block(self, state: &State, now: Micros) -> Self {
        Self { closed_until: state.block().and_then(|block| block.lasts_until(now)), ..self }
    }

    /// Units that are left for the requester.
    const fn room(self) -> u64 {
        match self.closed_until {
            None => self.free(),
            Some(_) => 0,
        }
    }

    /// How long until the request fits, and no block lasts.
    fn wait(self, limit: &Limit, state: &State, now: Micros, demand: u64) -> RetryAfter {
        let units = self.units_wait(limit, state, now, demand);
        self.closed_until.map_or(units, |end| units.max(RetryAfter::until(end, now)))
    }

    /// Units that would be left if no block lasted.
    #[inline]
    const fn free(self) -> u64 {
        self.usable.saturating_sub(self.used)
    }

    /// How long until `demand` fits.
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
    /// True when the limit denies the request for want of units that will come back,
    /// and its options say that it closes then. `wait` is the time until they are back.
    #[inline]
    fn closes(self, limit: &Limit, state: &State, now: Micros, request: &Request, wait: RetryAfter) -> bool {
        limit.closing().is_some()
            && matches!(wait, RetryAfter::After(_))
            // What only `keep=` denies is there.
            && limit.capacity().is_some_and(|all| self.used.saturating_add(request.least(limit)) > all)
            && !state.block().is_some_and(|block| block.covers(now))
    }
}

impl Request {
    /// What must fit for the request not to be denied.
    #[inline]
    pub fn least(&self, limit: &Limit) -> u64 {
        match limit.charge() {
            Charge::Call => self.calls,
            Charge::Cost if self.partial => self.cost.min(1),
            Charge::Cost => self.cost,
        }
    }

    /// The most units of cost for which a limit with so much room can do.
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

/// What [`decide_several`] decides on one limit that enforces and remembers no block.
///
/// **Optimisation.** It takes half the instructions of the decision on the commonest
/// kind of key (commit 1f9f679). The plain version is [`decide_several`];
/// `tests/core/decide.rs` compares both.
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
    // What is in use is counted once: it costs a division or the sum of slots.
    let mut views = [LimitView::NONE; MAX_LIMITS];
    let mut granted = request.cost;
    let mut record_clock = false;
    let mut closes = LimitMask::default();
    let mut any_shadow = false;
    let mut first_unlimited = None;
    // Of those that deny, the one that denies longest; with equals the first.
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
        let mut least = u64::MAX;
        for (index, ((limit, _), view)) in limits.iter().zip(states).zip(&mut views).enumerate() {
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
    }
    let shadow_denied = if any_shadow {
        judge_shadows(limits, &views, request, granted, &mut taken)
    } else {
        LimitMask::default()
    };
    let bound =
        binding.and_then(|index| Some((index, limits.get(index)?, states.get(index)?, views.get(index)?)));
    let status = bound.map_or(LimitStatus::UNLIMITED, |(index, limit, state, view)| LimitStatus {
        limit: limit.capacity(),
        remaining: Some(view.room()),
        retry: longest,
        reset: reset_after(limit, state, now, taken.units(index)),
    });
    let binding = binding.or(first_unlimited);
    Decision { granted, status, binding, taken, shadow_denied, closes, record_clock }
}

/// The blocks that a denial begins, by the position of the limit.
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

/// How long until the limit is full again, if so many units are taken now and nobody
/// asks afterwards.
#[inline]
fn reset_after(limit: &Limit, state: &State, now: Micros, taken: u64) -> ResetAfter {
    if limit.rule().comes_back() {
        ResetAfter::Us(limit.rule().full_after(state, now, taken).since(now))
    } else {
        ResetAfter::Never
    }
}

/// What a limit is charged when so many units are granted.
#[inline]
const fn charged(limit: &Limit, request: &Request, granted: u64) -> u64 {
    match limit.charge() {
        Charge::Call => request.calls,
        Charge::Cost => granted,
    }
}

/// What the shadow limits would have said. Those that would not deny are
/// charged what the enforcing limits granted.
fn judge_shadows(
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
pub struct Look {
    /// Its capacity; `None` for unlimited.
    pub limit: Option<u64>,
    /// Whole units in use; of a bucket its capacity less what is there. After
    /// debt or a smaller count this may exceed the capacity of others.
    pub used: u64,
    /// Whole units that would be granted now; `None` for unlimited.
    pub remaining: Option<u64>,
    /// Until a request of the cost would be granted by this limit.
    pub retry: RetryAfter,
    /// Until it is full if nobody asks.
    pub reset: ResetAfter,
}

/// Looks at one limit without asking; `cost` is charged as 1 where the limit counts calls.
///
/// ```
/// use floodgate::core::limits::{Limits, State, look};
/// use floodgate::core::time::Micros;
///
/// let limits = Limits::parse(b"bucket:10/s:burst=50").unwrap();
/// let seen = look(&limits.as_slice()[0], &State::default(), Micros(0), 1);
/// assert_eq!((seen.limit, seen.remaining, seen.reset.millis()), (Some(50), Some(50), 0));
/// ```
pub fn look(limit: &Limit, state: &State, now: Micros, cost: u64) -> Look {
    let Some(capacity) = limit.capacity() else {
        return Look {
            limit: None,
            used: 0,
            remaining: None,
            retry: RetryAfter::Now,
            reset: ResetAfter::NOW,
        };
    };
    let view = LimitView::of(limit, capacity, limit.rule().used(state, now), false).with_block(state, now);
    Look {
        limit: Some(capacity),
        used: if limit.rule().refills() { view.used.min(capacity) } else { view.used },
        remaining: Some(view.room()),
        retry: view.wait(limit, state, now, Request::of(cost).least(limit)),
        reset: reset_after(limit, state, now, 0),
    }
}
