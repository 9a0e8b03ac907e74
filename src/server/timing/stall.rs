//! The last stall of the server: how long it kept its clients waiting. Its own timer comes late by that
//! time, less what of its turn was left when the stall began. The event of the event loop (7.0 and
//! later) would tell the time itself, but it costs a client that sends one SET after the other 3 % of the
//! server's time.

use crate::server::main_thread::{MainThread, MainThreadCell};
use std::time::{Duration, Instant};

#[derive(Debug)]
struct Turns {
    last: Option<Instant>,
    late: Duration,
}

static TURNS: MainThreadCell<Turns> = MainThreadCell::new(Turns { last: None, late: Duration::ZERO });

/// Records that the timer fired. It should fire `hz` times a second.
pub(in crate::server) fn turn(main: MainThread, hz: Option<i32>) {
    let now = Instant::now();
    let hz = hz.and_then(|hz| u32::try_from(hz).ok()).filter(|&hz| hz > 0).unwrap_or(1);
    let mut turns = TURNS.of(main).borrow_mut();
    turns.late = turns
        .last
        .map_or(Duration::ZERO, |last| now.duration_since(last).saturating_sub(Duration::from_secs(1) / hz));
    turns.last = Some(now);
}

/// The milliseconds of the last stall.
pub fn last_ms(main: MainThread) -> u64 {
    u64::try_from(TURNS.of(main).borrow().late.as_millis()).unwrap_or(u64::MAX)
}
