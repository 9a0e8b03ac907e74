//! How long our commands take: one in sixteen is timed, chosen at random, so
//! that timing costs next to nothing and no rhythm of the clients hides any.

use super::main_thread::{MainThread, MainThreadCell};
use crate::core::histogram::Histogram;
use std::time::Instant;

/// One in so many commands is timed.
pub const ONE_IN: u64 = 16;

#[derive(Debug)]
struct Watch {
    dice: u64,
    microseconds: Histogram,
}

static WATCH: MainThreadCell<Watch> =
    MainThreadCell::new(Watch { dice: 0x9e37_79b9_7f4a_7c15, microseconds: Histogram::NONE });

/// Starts timing, if this one is to be timed.
#[inline]
pub(super) fn start(main: MainThread) -> Option<Instant> {
    let mut watch = WATCH.of(main).borrow_mut();
    watch.dice = watch.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (watch.dice >> 60 == 0).then(Instant::now)
}

/// Notes how long it took.
#[inline]
pub(super) fn stop(main: MainThread, started: Option<Instant>) {
    if let Some(started) = started {
        note(main, started);
    }
}

#[cold]
fn note(main: MainThread, started: Instant) {
    let microseconds = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    WATCH.of(main).borrow_mut().microseconds.add(microseconds);
}

/// The commands that were timed, in microseconds.
pub fn histogram(main: MainThread) -> Histogram {
    WATCH.of(main).borrow().microseconds
}
