//! State that belongs to the server's main thread, without locks.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Proof that the code runs where the server runs commands: one thread at a
/// time. Only callbacks of the server create it; it cannot leave the thread.
#[derive(Clone, Copy, Debug)]
pub struct MainThread(PhantomData<*const ()>);

impl MainThread {
    /// # Safety
    /// The caller is a callback that the server runs on its main thread, or in
    /// a forked child of it.
    pub const unsafe fn new() -> Self {
        Self(PhantomData)
    }
}

/// A value that only the main thread may touch.
///
/// It must not be borrowed while a function of the server is called that may call
/// back (see `src/server/boundary.rs`).
#[derive(Debug)]
pub struct MainThreadCell<T> {
    value: RefCell<T>,
    /// Its borrows are watched.
    #[cfg(debug_assertions)]
    watched: std::sync::atomic::AtomicBool,
}

// SAFETY: every access needs a `MainThread`, of which one thread at a time has
// any: the server's, or the holder of the lock in `StandIn`.
unsafe impl<T> Sync for MainThreadCell<T> {}

impl<T: 'static> MainThreadCell<T> {
    /// A cell that holds `value`.
    pub const fn new(value: T) -> Self {
        Self {
            value: RefCell::new(value),
            #[cfg(debug_assertions)]
            watched: std::sync::atomic::AtomicBool::new(false),
        }
    }

    /// The cell itself, for the bearer of the proof.
    #[inline]
    pub fn of(&'static self, _: MainThread) -> &'static RefCell<T> {
        #[cfg(debug_assertions)]
        if watch::is_on() {
            watch::cell(self);
        }
        &self.value
    }
}

#[cfg(not(debug_assertions))]
pub(in crate::server) use unwatched::{
    assert_idle, assert_may_open, begin_watching, closed, enter, keys_are_settled, leave, opened,
};
#[cfg(debug_assertions)]
pub(in crate::server) use watch::{
    assert_idle, assert_may_open, begin_watching, closed, enter, keys_are_settled, leave, opened,
};

/// In debug builds, where the environment has `FLOODGATE_WATCH`: what is borrowed and
/// how many keys are open whenever the server may call back. The servers of tests have
/// it. Those whose instructions are counted have not, for every call would count it.
#[cfg(debug_assertions)]
mod watch {
    use super::MainThreadCell;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Mutex, PoisonError};

    static WATCHING: AtomicBool = AtomicBool::new(false);

    /// Watches from now on where the environment asks for it.
    pub(in crate::server) fn begin_watching() {
        WATCHING.store(std::env::var_os("FLOODGATE_WATCH").is_some(), Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn is_on() -> bool {
        WATCHING.load(Ordering::Relaxed)
    }

    trait Borrowed {
        fn is_idle(&self) -> bool;
        fn holds(&self) -> &'static str;
    }

    impl<T> Borrowed for MainThreadCell<T> {
        fn is_idle(&self) -> bool {
            self.value.try_borrow_mut().is_ok()
        }

        fn holds(&self) -> &'static str {
            std::any::type_name::<T>()
        }
    }

    static CELLS: Mutex<Vec<&(dyn Borrowed + Sync)>> = Mutex::new(Vec::new());
    static OPEN_KEYS: AtomicUsize = AtomicUsize::new(0);
    static SETTLED: AtomicBool = AtomicBool::new(false);

    #[cold]
    pub(super) fn cell<T: 'static>(cell: &'static MainThreadCell<T>) {
        if !cell.watched.swap(true, Ordering::Relaxed) {
            CELLS.lock().unwrap_or_else(PoisonError::into_inner).push(cell);
        }
    }

    fn assert_unborrowed() {
        let cells = CELLS.lock().unwrap_or_else(PoisonError::into_inner);
        let borrowed = cells.iter().find(|cell| !cell.is_idle()).map(|cell| cell.holds());
        drop(cells);
        assert_eq!(borrowed, None, "borrowed while the server may call back");
    }

    /// The server may call back now: nothing is borrowed, and no key is open.
    #[inline]
    pub(in crate::server) fn assert_idle() {
        if !is_on() {
            return;
        }
        assert_unborrowed();
        assert_eq!(OPEN_KEYS.load(Ordering::Relaxed), 0, "a key is open while the server may call back");
    }

    /// A key is opened or deleted, of which the server may tell: nothing is borrowed,
    /// and `others` more keys are open, unless all keys of the command were settled.
    #[inline]
    pub(in crate::server) fn assert_may_open(others: usize) {
        if !is_on() {
            return;
        }
        assert_unborrowed();
        let open = OPEN_KEYS.load(Ordering::Relaxed);
        assert!(open <= others || SETTLED.load(Ordering::Relaxed), "another key is open and was not settled");
    }

    /// All keys of the command have been opened once.
    pub(in crate::server) fn keys_are_settled() {
        SETTLED.store(true, Ordering::Relaxed);
    }

    #[inline]
    pub(in crate::server) fn opened() {
        OPEN_KEYS.fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    pub(in crate::server) fn closed() {
        OPEN_KEYS.fetch_sub(1, Ordering::Relaxed);
    }

    /// A call begins, perhaps inside another: gives what that one has open.
    pub(in crate::server) fn enter() -> (usize, bool) {
        (OPEN_KEYS.swap(0, Ordering::Relaxed), SETTLED.swap(false, Ordering::Relaxed))
    }

    pub(in crate::server) fn leave((keys, settled): (usize, bool)) {
        OPEN_KEYS.store(keys, Ordering::Relaxed);
        SETTLED.store(settled, Ordering::Relaxed);
    }
}

/// Release builds look at nothing.
#[cfg(not(debug_assertions))]
mod unwatched {
    pub(in crate::server) const fn begin_watching() {}
    #[inline]
    pub(in crate::server) const fn assert_idle() {}
    #[inline]
    pub(in crate::server) const fn assert_may_open(_others: usize) {}
    #[inline]
    pub(in crate::server) const fn keys_are_settled() {}
    #[inline]
    pub(in crate::server) const fn opened() {}
    #[inline]
    pub(in crate::server) const fn closed() {}
    #[inline]
    pub(in crate::server) const fn enter() {}
    #[inline]
    pub(in crate::server) const fn leave((): ()) {}
}

static STAND_IN: Mutex<()> = Mutex::new(());

/// Stands in for the main thread in programs without a server (tests, fuzz
/// targets, tools): whoever holds it is alone.
#[derive(Debug)]
pub struct StandIn {
    _alone: MutexGuard<'static, ()>,
    main: MainThread,
}

impl StandIn {
    /// Waits until nobody else holds it. Not for use inside a server.
    pub fn enter() -> Self {
        let alone = STAND_IN.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: in a program without a server the lock makes the holder alone.
        Self { _alone: alone, main: unsafe { MainThread::new() } }
    }

    /// The proof, for as long as this lives.
    pub const fn main(&self) -> MainThread {
        self.main
    }
}
