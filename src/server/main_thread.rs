//! State that belongs to the server's main thread, without locks.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Proof that the code runs on the server's main thread, where one thread at a time runs commands.
///
/// Only callbacks of the server create it, and it cannot leave the thread.
#[derive(Clone, Copy, Debug)]
pub struct MainThread(PhantomData<*const ()>);

impl MainThread {
    /// # Safety
    /// The caller is a callback that the server runs on its main thread, or in a forked child of
    /// it.
    pub const unsafe fn new() -> Self {
        Self(PhantomData)
    }
}

/// A value that only the main thread may touch.
///
/// It must not be borrowed while a function of the server is called that may call back into the
/// module (see `src/server/boundary.rs`).
#[derive(Debug)]
pub struct MainThreadCell<T> {
    value: RefCell<T>,
    /// True if its borrows are checked.
    watched: AtomicBool,
}

// SAFETY: every access needs a `MainThread`, which only one thread at a time has: the server's main
// thread, or the holder of the lock in `StandIn`.
unsafe impl<T> Sync for MainThreadCell<T> {}

impl<T: 'static> MainThreadCell<T> {
    /// A cell that holds `value`.
    pub const fn new(value: T) -> Self {
        Self { value: RefCell::new(value), watched: AtomicBool::new(false) }
    }

    /// The cell itself. The argument proves that the caller runs on the main thread.
    #[inline]
    pub fn of(&'static self, _: MainThread) -> &'static RefCell<T> {
        if watch::is_on() {
            watch::cell(self);
        }
        &self.value
    }
}

pub(in crate::server) use watch::{
    assert_idle, assert_may_open, begin_watching, closed, enter, keys_are_settled, leave, opened,
};

/// Checks that nothing is borrowed, and counts open keys, whenever the server may call back.
///
/// This happens in debug builds if the environment has `FLOODGATE_WATCH`, as the servers of tests
/// have. The servers whose instructions are counted do not set it, because the checks would be
/// counted, too. In release builds every check is compiled away.
mod watch {
    use super::MainThreadCell;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Mutex, PoisonError};

    static WATCHING: AtomicBool = AtomicBool::new(false);

    /// Starts the checks if the environment asks for them.
    pub(in crate::server) fn begin_watching() {
        WATCHING.store(std::env::var_os("FLOODGATE_WATCH").is_some(), Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn is_on() -> bool {
        cfg!(debug_assertions) && WATCHING.load(Ordering::Relaxed)
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

    /// Panics if a cell is borrowed or a key is open. Called where the server may call back.
    #[inline]
    pub(in crate::server) fn assert_idle() {
        if !is_on() {
            return;
        }
        assert_unborrowed();
        assert_eq!(OPEN_KEYS.load(Ordering::Relaxed), 0, "a key is open while the server may call back");
    }

    /// Panics if a cell is borrowed, or if more than `others` keys are open that were not settled.
    /// Called where a key is opened or deleted, because the server may notify other modules of
    /// that.
    #[inline]
    pub(in crate::server) fn assert_may_open(others: usize) {
        if !is_on() {
            return;
        }
        assert_unborrowed();
        let open = OPEN_KEYS.load(Ordering::Relaxed);
        assert!(open <= others || SETTLED.load(Ordering::Relaxed), "another key is open and was not settled");
    }

    /// Records that all keys of the command have been opened once.
    #[inline]
    pub(in crate::server) fn keys_are_settled() {
        if is_on() {
            SETTLED.store(true, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(in crate::server) fn opened() {
        if is_on() {
            OPEN_KEYS.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(in crate::server) fn closed() {
        if is_on() {
            OPEN_KEYS.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The keys of a call, while another call runs inside it.
    #[derive(Clone, Copy, Default)]
    pub(in crate::server) struct OuterKeys {
        open: usize,
        settled: bool,
    }

    /// Begins a call, perhaps inside another.
    #[inline]
    pub(in crate::server) fn enter() -> OuterKeys {
        if !is_on() {
            return OuterKeys::default();
        }
        OuterKeys {
            open: OPEN_KEYS.swap(0, Ordering::Relaxed),
            settled: SETTLED.swap(false, Ordering::Relaxed),
        }
    }

    /// Ends a call. `outer` is what [`enter`] returned.
    #[inline]
    pub(in crate::server) fn leave(outer: OuterKeys) {
        if is_on() {
            OPEN_KEYS.store(outer.open, Ordering::Relaxed);
            SETTLED.store(outer.settled, Ordering::Relaxed);
        }
    }
}

static STAND_IN: Mutex<()> = Mutex::new(());

/// Stands in for the main thread in programs without a server (tests, fuzz targets, tools). Its
/// holder is alone.
#[derive(Debug)]
pub struct StandIn {
    _alone: MutexGuard<'static, ()>,
    main: MainThread,
}

impl StandIn {
    /// Waits until nobody else holds it. Never use it inside a server.
    pub fn enter() -> Self {
        let alone = STAND_IN.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: in a program without a server, the lock makes its holder the only thread.
        Self { _alone: alone, main: unsafe { MainThread::new() } }
    }

    /// The proof of being the main thread. Do not keep it longer than this value.
    pub const fn main(&self) -> MainThread {
        self.main
    }
}
