//! How long our commands take.
//!
//! One command in sixteen is timed. It is chosen at random, so that timing costs next to nothing
//! and clients with a regular rhythm are not missed.

use crate::core::stats::histogram::Histogram;
use crate::server::main_thread::{MainThread, MainThreadCell};
use std::time::Instant;

/// The timed calls of one command.
#[derive(Clone, Debug)]
pub struct Timed {
    /// The name of the command in capitals. It differs from ours if the server's settings rename
    /// it.
    pub command: Box<str>,
    /// How long the calls took, in microseconds.
    pub microseconds: Histogram,
}

#[derive(Debug)]
struct SampledTimings {
    dice: u64,
    /// At most as many entries as the module has commands.
    commands: Vec<Timed>,
}

static WATCH: MainThreadCell<SampledTimings> =
    MainThreadCell::new(SampledTimings { dice: 0x9e37_79b9_7f4a_7c15, commands: Vec::new() });

/// Starts timing. Returns `None` for a call that is not chosen.
#[inline]
pub(in crate::server) fn start(main: MainThread) -> Option<Instant> {
    let mut watch = WATCH.of(main).borrow_mut();
    watch.dice = watch.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    // Four random bits are all zero one time in sixteen.
    (watch.dice >> 60 == 0).then(Instant::now)
}

/// Records how long the call took. `name` is called only for a call that was timed.
#[inline]
pub(in crate::server) fn stop<'a>(
    main: MainThread,
    started: Option<Instant>,
    name: impl FnOnce() -> &'a [u8],
) {
    if let Some(started) = started {
        note(main, started, name());
    }
}

#[cold]
fn note(main: MainThread, started: Instant, name: &[u8]) {
    let microseconds = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let commands = &mut WATCH.of(main).borrow_mut().commands;
    let known = commands.iter_mut().find(|timed| timed.command.as_bytes().eq_ignore_ascii_case(name));
    if let Some(timed) = known {
        return timed.microseconds.add(microseconds);
    }
    let command = String::from_utf8_lossy(name).to_uppercase().into_boxed_str();
    let mut timed = Timed { command, microseconds: Histogram::NONE };
    timed.microseconds.add(microseconds);
    commands.push(timed);
}

/// The commands of which at least one call was timed.
pub fn commands(main: MainThread) -> Vec<Timed> {
    WATCH.of(main).borrow().commands.clone()
}

/// The timed calls of all commands together, in microseconds.
pub fn histogram(main: MainThread) -> Histogram {
    let mut all = Histogram::NONE;
    WATCH.of(main).borrow().commands.iter().for_each(|timed| all.merge(&timed.microseconds));
    all
}
