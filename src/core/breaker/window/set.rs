//! The windows of one circuit: that of the breaker in force, and those of up to two other kinds
//! that callers named. All of them record every result.

use super::call::{CallOutcome, CallTally, SlowCalls};
use super::kind::{CallWindow, WindowKind};
use super::reporters::ReporterTally;
use crate::core::breaker::spec::Breaker;
use crate::core::prefetch_hint::PrefetchHint;
use crate::core::time::Micros;

/// The number of windows that are kept beside that of the breaker in force.
pub(super) const BESIDE: usize = 2;

/// As a number of those that were named.
pub(super) const MOST_SINCE: u8 = 2;

/// All windows of a circuit. Most circuits know one breaker, and their only window is stored
/// inline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::core::breaker) enum CallWindows {
    /// The window of the only kind.
    One(CallWindow),
    /// The windows of several breakers.
    Several(Box<SharedWindows>),
}

/// The data that a circuit keeps when callers name several breakers on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::core::breaker) struct SharedWindows {
    pub(super) in_force: CallWindow,
    /// The windows of other kinds. The kind that was named last comes first.
    pub(super) beside: [Option<CallWindow>; BESIDE],
    /// The number of those that were named after the breaker in force was brought.
    pub(super) named_since: u8,
    /// The moment until which a breaker that is not in force wants the circuit kept.
    pub(super) kept_until: Micros,
}

impl CallWindows {
    /// An empty window of the kind that `breaker` needs.
    pub fn new(breaker: &Breaker) -> Self {
        let mut windows = Self::One(CallWindow::new(WindowKind::of(breaker.trip()), SlowCalls::of(breaker)));
        windows.see_reporters(breaker);
        windows
    }

    /// Forgets every call, and keeps the kinds.
    pub fn clear(&mut self) {
        self.each(CallWindow::clear);
    }

    /// Records one call in every window.
    #[inline]
    pub fn record(&mut self, now: Micros, call: CallOutcome) {
        match self {
            Self::One(window) => window.record(now, call),
            Self::Several(_) => self.each(|window| window.record(now, call)),
        }
    }

    /// The calls in this breaker's window at `now`. None if its kind is not kept.
    #[inline]
    pub fn tally(&self, breaker: &Breaker, now: Micros) -> CallTally {
        self.of(breaker).map_or_else(CallTally::default, |window| window.tally(now))
    }

    /// The number of different reporters in this breaker's window at `now`.
    pub fn reporters(&self, breaker: &Breaker, now: Micros) -> ReporterTally {
        self.of(breaker).map_or_else(ReporterTally::default, |window| window.reporters(now))
    }

    /// The window of this breaker, if its kind is kept.
    #[inline]
    fn of(&self, breaker: &Breaker) -> Option<&CallWindow> {
        let kind = WindowKind::of(breaker.trip());
        match self {
            Self::One(window) => Some(window).filter(|window| window.kind() == kind),
            Self::Several(shared) => shared.all().find(|window| window.kind() == kind),
        }
    }

    /// Notes that a call names this breaker. Its kind records from now on. If its kind is new, it
    /// replaces the one beside the breaker in force that was named longest ago.
    pub fn name(&mut self, breaker: &Breaker) {
        self.see_slow(breaker);
        let kind = WindowKind::of(breaker.trip());
        if self.in_force().kind() == kind {
            if let Self::Several(shared) = self {
                shared.named_since = 0;
            }
            return;
        }
        let new = self.new_window(breaker);
        self.share(|shared| {
            let known = shared.take(kind);
            let Some((window, at)) = known.or_else(|| new.map(|new| (new, BESIDE))) else { return };
            if at >= usize::from(shared.named_since) {
                shared.named_since = shared.named_since.saturating_add(1).min(MOST_SINCE);
            }
            shared.beside.rotate_right(1);
            let [first, _] = &mut shared.beside;
            *first = Some(window);
        });
    }

    /// An empty window of this breaker's kind, which counts what the others count. `None` if the kind
    /// is kept.
    fn new_window(&self, breaker: &Breaker) -> Option<CallWindow> {
        let kind = WindowKind::of(breaker.trip());
        if self.of(breaker).is_some() {
            return None;
        }
        let mut window = CallWindow::new(kind, SlowCalls::of(breaker).max(self.slow_calls()));
        if self.tells_reporters() {
            window.tell_reporters();
        }
        Some(window)
    }

    /// Names this breaker, unless its kind would replace another one. True if that changed
    /// anything.
    pub fn name_if_room(&mut self, breaker: &Breaker) -> bool {
        let kind = WindowKind::of(breaker.trip());
        let has_room = match self {
            Self::One(window) => window.kind() != kind,
            Self::Several(shared) => {
                shared.beside.iter().any(Option::is_none) && shared.all().all(|window| window.kind() != kind)
            }
        };
        if has_room {
            self.name(breaker);
        }
        has_room
    }

    /// Puts this breaker in force, which also names it. The kind of the one before stays beside it,
    /// unless two others were named later.
    pub fn bring(&mut self, breaker: &Breaker) {
        self.see_slow(breaker);
        let kind = WindowKind::of(breaker.trip());
        if self.in_force().kind() == kind {
            self.name(breaker);
        } else {
            let new = self.new_window(breaker);
            self.share(|shared| shared.bring(kind, new));
        }
        self.see_reporters(breaker);
    }

    /// True if reporters are counted separately, in every window.
    pub const fn tells_reporters(&self) -> bool {
        self.in_force().tells_reporters()
    }

    /// Counts reporters separately from now on, if this breaker asks for several.
    pub(super) fn see_reporters(&mut self, breaker: &Breaker) {
        if breaker.reporters() > 1 {
            self.each(CallWindow::tell_reporters);
        }
    }

    /// Whether slow calls are counted. If so, every window counts them, because every one may
    /// become that of the breaker in force. A run knows only failures.
    pub(super) fn slow_calls(&self) -> SlowCalls {
        match self {
            Self::One(window) => window.slow_calls(),
            Self::Several(shared) => {
                shared.all().map(CallWindow::slow_calls).max().unwrap_or(SlowCalls::Ignored)
            }
        }
    }

    /// Counts slow calls from now on, if this breaker looks at them.
    fn see_slow(&mut self, breaker: &Breaker) {
        if SlowCalls::of(breaker).are_counted() {
            self.each(CallWindow::count_slow);
        }
    }

    /// Corrects the windows after the clock stepped back by `step_us` microseconds to `now`: calls
    /// that lie more than a period ahead are forgotten.
    pub fn rewind(&mut self, now: Micros, step_us: u64) {
        self.each(|window| window.rewind(now));
        if let Self::Several(shared) = self {
            shared.kept_until = shared.kept_until.minus(step_us);
        }
    }

    /// The moment until which a breaker that is not in force wants the circuit kept.
    pub fn kept_until(&self) -> Micros {
        match self {
            Self::One(_) => Micros(0),
            Self::Several(shared) => shared.kept_until,
        }
    }

    /// Keeps the circuit until `end` for a breaker that is not in force.
    pub fn keep_until(&mut self, end: Micros) {
        if end > self.kept_until() {
            self.share(|shared| shared.kept_until = end);
        }
    }

    /// The memory outside the circuit into which a result is recorded.
    #[inline]
    pub fn prefetch_hint(&self) -> Option<PrefetchHint> {
        match self {
            Self::One(window) => window.prefetch_hint(),
            Self::Several(shared) => Some(PrefetchHint::of(&**shared)),
        }
    }

    /// Bytes on the heap, without this value itself.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::One(window) => window.heap_bytes(),
            Self::Several(shared) => {
                size_of::<SharedWindows>() + shared.all().map(CallWindow::heap_bytes).sum::<usize>()
            }
        }
    }

    const fn in_force(&self) -> &CallWindow {
        match self {
            Self::One(window) => window,
            Self::Several(shared) => &shared.in_force,
        }
    }

    fn each(&mut self, mut what: impl FnMut(&mut CallWindow)) {
        match self {
            Self::One(window) => what(window),
            Self::Several(shared) => {
                what(&mut shared.in_force);
                shared.beside.iter_mut().flatten().for_each(what);
            }
        }
    }

    /// Changes the shared windows, after making room for them if there was only one window.
    fn share(&mut self, change: impl FnOnce(&mut SharedWindows)) {
        if let Self::One(window) = self {
            let in_force = std::mem::replace(window, CallWindow::NO_RUN);
            let shared = SharedWindows::of(in_force);
            *self = Self::Several(Box::new(shared));
        }
        if let Self::Several(shared) = self {
            change(shared);
        }
    }
}

impl SharedWindows {
    pub(super) const fn of(in_force: CallWindow) -> Self {
        Self { in_force, beside: [None, None], named_since: 0, kept_until: Micros(0) }
    }

    /// Takes the window of this kind from beside the one in force, and its place.
    fn take(&mut self, kind: WindowKind) -> Option<(CallWindow, usize)> {
        let at = self.beside.iter().position(|one| one.as_ref().is_some_and(|one| one.kind() == kind))?;
        let rest = self.beside.get_mut(at..)?;
        let window = rest.first_mut()?.take()?;
        rest.rotate_left(1);
        Some((window, at))
    }

    /// Puts another kind in force: `new`, or the window that is kept of it.
    fn bring(&mut self, kind: WindowKind, new: Option<CallWindow>) {
        let taken = self.take(kind);
        let since = usize::from(self.named_since);
        let since = if taken.as_ref().is_some_and(|(_, at)| *at < since) { since - 1 } else { since };
        let Some(window) = taken.map(|(window, _)| window).or(new) else { return };
        let before = std::mem::replace(&mut self.in_force, window);
        self.named_since = 0;
        // The one before goes behind those that were named since it was brought. There is no place
        // behind two.
        if let Some(rest) = self.beside.get_mut(since..).filter(|rest| !rest.is_empty()) {
            rest.rotate_right(1);
            if let Some(place) = rest.first_mut() {
                *place = Some(before);
            }
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &CallWindow> {
        std::iter::once(&self.in_force).chain(self.beside.iter().flatten())
    }
}
