//! The windows of one circuit: that of the breaker in force, and those of up to
//! two other kinds that clients named, which record every result as well.

use super::call::{CallOutcome, CallTally, Keeps};
use super::kind::{CallWindow, WindowKind, looks_at_slow};
use super::reporters::ReporterTally;
use crate::core::breaker::spec::{Breaker, MAX_CALLS};
use crate::core::prefetch_hint::PrefetchHint;
use crate::core::text::duration::{LONGEST, MILLISECOND};
use crate::core::time::Micros;
use crate::core::wire::{Corrupt, Reader, put_u64};

/// So many kinds are kept beside that of the breaker in force.
const BESIDE: usize = 2;

/// Every kind of result that a circuit keeps. Most circuits know one breaker,
/// and their window lies here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::core::breaker) enum CallWindows {
    /// The window of the only kind.
    One(CallWindow),
    /// What several breakers left.
    Several(Box<SharedWindows>),
}

/// What is kept where clients name several breakers on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::core::breaker) struct SharedWindows {
    in_force: CallWindow,
    /// The one that was named last comes first.
    beside: [Option<CallWindow>; BESIDE],
    /// Until then a breaker that is not in force wants the circuit kept.
    kept_until: Micros,
}

impl CallWindows {
    /// Empty, as `breaker` needs it.
    pub fn new(breaker: &Breaker) -> Self {
        let mut windows = Self::One(CallWindow::new(WindowKind::of(breaker.trip()), looks_at_slow(breaker)));
        windows.see_reporters(breaker);
        windows
    }

    /// Forgets every call, keeping the kinds.
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

    /// What the window of this breaker remembers at `now`: nothing, where its
    /// kind is not kept.
    #[inline]
    pub fn tally(&self, breaker: &Breaker, now: Micros) -> CallTally {
        self.of(breaker).map_or_else(CallTally::default, |window| window.tally(now))
    }

    /// How many different reporters the window of this breaker knows at `now`.
    pub fn reporters(&self, breaker: &Breaker, now: Micros) -> ReporterTally {
        self.of(breaker).map_or_else(ReporterTally::default, |window| window.reporters(now))
    }

    /// The window of this breaker, where its kind is kept.
    #[inline]
    fn of(&self, breaker: &Breaker) -> Option<&CallWindow> {
        let kind = WindowKind::of(breaker.trip());
        match self {
            Self::One(window) => Some(window).filter(|window| window.kind() == kind),
            Self::Several(shared) => shared.all().find(|window| window.kind() == kind),
        }
    }

    /// A call names this breaker: its kind records from now on, if it did not
    /// yet, and the kind that was named longest ago makes room.
    pub fn name(&mut self, breaker: &Breaker) {
        self.see_slow(breaker);
        let kind = WindowKind::of(breaker.trip());
        if self.in_force().kind() == kind {
            return;
        }
        let slow = looks_at_slow(breaker) || self.count_slow();
        let tells = self.tells_reporters();
        self.share(|SharedWindows { beside, .. }| {
            let known = beside.iter().position(|window| window.as_ref().is_some_and(|w| w.kind() == kind));
            // The last one comes to the front: the one that is named, or the one
            // whose place a new one takes.
            if known != Some(0) {
                beside.rotate_right(1);
            }
            if known.is_none() {
                let [first, _] = beside;
                let window = first.insert(CallWindow::new(kind, slow));
                if tells {
                    window.tell_reporters();
                }
            }
        });
    }

    /// Names this breaker, unless its kind would take the place of another one.
    /// True when that changed anything.
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

    /// This breaker is in force from now on; the kind of the one before stays
    /// beside it.
    pub fn bring(&mut self, breaker: &Breaker) {
        self.name(breaker);
        if self.in_force().kind() != WindowKind::of(breaker.trip()) {
            self.share(|SharedWindows { in_force, beside: [named, _], .. }| {
                if let Some(named) = named {
                    std::mem::swap(in_force, named);
                }
            });
        }
        self.see_reporters(breaker);
    }

    /// Whether reporters are told apart, in every window.
    pub const fn tells_reporters(&self) -> bool {
        match self {
            Self::One(window) => window.tells_reporters(),
            Self::Several(shared) => shared.in_force.tells_reporters(),
        }
    }

    /// Tells reporters apart from now on, if this breaker asks for several.
    fn see_reporters(&mut self, breaker: &Breaker) {
        if breaker.reporters() > 1 {
            self.each(CallWindow::tell_reporters);
        }
    }

    /// Whether slow calls are counted. Then every window does, since every one
    /// may be asked for them; a run knows only failures.
    fn count_slow(&self) -> bool {
        match self {
            Self::One(window) => window.counts_slow(),
            Self::Several(shared) => shared.all().any(CallWindow::counts_slow),
        }
    }

    /// Counts slow calls from now on, if this breaker looks at them.
    fn see_slow(&mut self, breaker: &Breaker) {
        if looks_at_slow(breaker) {
            self.each(CallWindow::count_slow);
        }
    }

    /// The clock stepped back by `step_us` to `now`: forgets what lies more than
    /// a period ahead.
    pub fn rewind(&mut self, now: Micros, step_us: u64) {
        self.each(|window| window.rewind(now));
        if let Self::Several(shared) = self {
            shared.kept_until = shared.kept_until.minus(step_us);
        }
    }

    /// Until when a breaker that is not in force wants the circuit kept.
    pub fn kept_until(&self) -> Micros {
        match self {
            Self::One(_) => Micros(0),
            Self::Several(shared) => shared.kept_until,
        }
    }

    /// A breaker that is not in force wants the circuit kept until then.
    pub fn keep_until(&mut self, end: Micros) {
        if end > self.kept_until() {
            self.share(|shared| shared.kept_until = end);
        }
    }

    /// What a result is recorded in, outside of itself.
    #[inline]
    pub fn prefetch_hint(&self) -> Option<PrefetchHint> {
        match self {
            Self::One(window) => window.prefetch_hint(),
            Self::Several(shared) => Some(PrefetchHint::of(&**shared)),
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::One(window) => window.heap_bytes(),
            Self::Several(shared) => {
                size_of::<SharedWindows>() + shared.all().map(CallWindow::heap_bytes).sum::<usize>()
            }
        }
    }

    fn in_force(&self) -> &CallWindow {
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

    /// Changes what other breakers leave, for which there is room then.
    fn share(&mut self, change: impl FnOnce(&mut SharedWindows)) {
        if let Self::One(window) = self {
            let in_force = std::mem::replace(window, CallWindow::NO_RUN);
            let shared = SharedWindows { in_force, beside: [None, None], kept_until: Micros(0) };
            *self = Self::Several(Box::new(shared));
        }
        if let Self::Several(shared) = self {
            change(shared);
        }
    }
}

impl SharedWindows {
    fn all(&self) -> impl Iterator<Item = &CallWindow> {
        std::iter::once(&self.in_force).chain(self.beside.iter().flatten())
    }
}

/// Bits of the first byte.
const SLOW: u8 = 1;
const SEVERAL: u8 = 2;
const REPORTERS: u8 = 4;

const RUN: u8 = 0;
const PERIOD: u8 = 1;
const CALLS: u8 = 2;

impl CallWindows {
    /// Appends them to `out`: whether they count slow calls and tell reporters apart, the
    /// window of the breaker in force, and for several how many are beside it, each with its
    /// kind, and until when they are kept.
    pub fn write(&self, out: &mut Vec<u8>) {
        let slow = if self.count_slow() { SLOW } else { 0 };
        let kept = slow | if self.tells_reporters() { REPORTERS } else { 0 };
        match self {
            Self::One(window) => {
                out.push(kept);
                window.write(out);
            }
            Self::Several(shared) => {
                out.push(kept | SEVERAL);
                shared.in_force.write(out);
                put_u64(out, shared.beside.iter().flatten().count() as u64);
                for window in shared.beside.iter().flatten() {
                    match window.kind() {
                        WindowKind::Run => out.push(RUN),
                        WindowKind::Period(us) => {
                            out.push(PERIOD);
                            put_u64(out, us);
                        }
                        WindowKind::Calls(calls) => {
                            out.push(CALLS);
                            put_u64(out, calls.into());
                        }
                    }
                    window.write(out);
                }
                put_u64(out, shared.kept_until.0);
            }
        }
    }

    /// Reads what [`CallWindows::write`] wrote with this breaker in force.
    pub fn read(reader: &mut Reader, breaker: &Breaker) -> Result<Self, Corrupt> {
        let head = reader.byte()?;
        if head & !(SLOW | SEVERAL | REPORTERS) != 0 {
            return Err(Corrupt("unknown windows"));
        }
        let keeps = Keeps { slow: head & SLOW != 0, reporters: head & REPORTERS != 0 };
        if looks_at_slow(breaker) && !keeps.slow {
            return Err(Corrupt("a window without slow calls"));
        }
        if breaker.reporters() > 1 && !keeps.reporters {
            return Err(Corrupt("a window without reporters"));
        }
        let in_force = CallWindow::read(reader, WindowKind::of(breaker.trip()), keeps)?;
        if head & SEVERAL == 0 {
            return Ok(Self::One(in_force));
        }
        let mut shared = SharedWindows { in_force, beside: [None, None], kept_until: Micros(0) };
        let count = usize::try_from(reader.u64_to(BESIDE as u64)?).unwrap_or(0);
        for at in 0..count {
            let kind = read_kind(reader)?;
            if shared.all().any(|window| window.kind() == kind) {
                return Err(Corrupt("two windows of one kind"));
            }
            let window = CallWindow::read(reader, kind, keeps)?;
            if let Some(place) = shared.beside.get_mut(at) {
                *place = Some(window);
            }
        }
        shared.kept_until = Micros(reader.u64_to(Micros::MAX.0 + LONGEST)?);
        Ok(Self::Several(Box::new(shared)))
    }

    /// Reads the one window that version 0.1 wrote under this breaker.
    pub fn read_one(reader: &mut Reader, breaker: &Breaker) -> Result<Self, Corrupt> {
        let keeps = Keeps { slow: looks_at_slow(breaker), reporters: false };
        let mut windows = Self::One(CallWindow::read(reader, WindowKind::of(breaker.trip()), keeps)?);
        windows.see_reporters(breaker);
        Ok(windows)
    }
}

/// The kind of a window beside the one in force.
fn read_kind(reader: &mut Reader) -> Result<WindowKind, Corrupt> {
    Ok(match reader.byte()? {
        RUN => WindowKind::Run,
        PERIOD => match reader.u64_to(LONGEST)? {
            us if us >= MILLISECOND => WindowKind::Period(us),
            _ => return Err(Corrupt("number out of range")),
        },
        CALLS => match reader.u64_to(MAX_CALLS.into())? {
            0 => return Err(Corrupt("number out of range")),
            calls => WindowKind::Calls(u16::try_from(calls).map_err(|_| Corrupt("number out of range"))?),
        },
        _ => return Err(Corrupt("unknown kind of window")),
    })
}
