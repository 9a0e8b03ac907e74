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
#[derive(Debug)]
pub struct MainThreadCell<T>(RefCell<T>);

// SAFETY: every access needs a `MainThread`, of which one thread at a time has
// any: the server's, or the holder of the lock in `StandIn`.
unsafe impl<T> Sync for MainThreadCell<T> {}

impl<T> MainThreadCell<T> {
    /// A cell that holds `value`.
    pub const fn new(value: T) -> Self {
        Self(RefCell::new(value))
    }

    /// The cell itself, for the bearer of the proof.
    pub const fn of(&self, _: MainThread) -> &RefCell<T> {
        &self.0
    }
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
