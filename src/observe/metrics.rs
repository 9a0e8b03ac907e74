//! Counters by command and outcome.

use super::alerts;
use crate::server::effects::replicate;
use crate::server::ffi::info::InfoWriter;
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::server::timing::command_timing;
use crate::types::by_time;
use crate::types::cbcircuit::{rules, state_counts};
use crate::types::ratelimit::{reservations, tracked};
use crate::types::{intern, policies};
use std::sync::OnceLock;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// How often each outcome happened since the module was loaded.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            const NONE: Self = Self { $($name: 0,)* };

            /// Every counter with its name.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

counters! {
    /// RL.ACQUIRE that took something.
    acquire_granted,
    /// Units that RL.ACQUIRE granted.
    acquire_granted_units,
    /// RL.ACQUIRE that took nothing, for whatever reason.
    acquire_denied,
    /// Of all denials, those because the key was blocked.
    blocked_denied,
    /// Calls of RL.QUOTA.
    quota_calls,
    /// Items of RL.BATCH granted.
    batch_granted,
    /// Items of RL.BATCH denied.
    batch_denied,
    /// Calls of RL.BATCH.
    batch_calls,
    /// CL.THROTTLE, RL.THROTTLE or GCRA that let pass.
    throttle_granted,
    /// CL.THROTTLE, RL.THROTTLE or GCRA that limited.
    throttle_denied,
    /// Calls of RL.REFUND that gave something back.
    refunds,
    /// Units that RL.REFUND gave back.
    refunded_units,
    /// Calls of RL.CHARGE.
    charges,
    /// Units that RL.CHARGE was told of, those dropped too.
    charged_units,
    /// Keys whose usage RL.RESET forgot.
    resets,
    /// Keys that RL.CLEAR deleted.
    cleared,
    /// Keys that RL.PIN pinned.
    pins,
    /// Keys that RL.UNPIN freed.
    unpins,
    /// Keys that RL.BLOCK blocked.
    blocks,
    /// Keys that RL.UNBLOCK freed.
    unblocks,
    /// Blocks that limits with `block=` began.
    limits_closed,
    /// Denials that shadow limits would have made.
    shadow_denied,
    /// Reservations granted, one a key.
    reservations_granted,
    /// Calls of RL.RESERVE, and of CB.ACQUIRE with TTL, that their limits denied.
    reservations_denied,
    /// Reservations settled by RL.COMMIT, one a key.
    reservations_committed,
    /// Reservations given back by RL.RELEASE, one a key.
    reservations_released,
    /// Reservations given more time, one a key.
    reservations_renewed,
    /// Waiters that got their units.
    waiting_served,
    /// Waiters whose time was up.
    waiting_timed_out,
    /// Waiters that disconnected, were killed or unblocked with an error.
    waiting_left,
    /// Requests that found the line, or the server's lines together, full.
    waiting_refused,
    /// CB.ACQUIRE that let the call through.
    breaker_admitted,
    /// CB.ACQUIRE denied by an open breaker.
    breaker_denied_open,
    /// CB.ACQUIRE denied since all trials of a half-open breaker were taken.
    breaker_denied_half_open,
    /// CB.ACQUIRE denied by a breaker that an operator forced open.
    breaker_denied_forced,
    /// CB.ACQUIRE denied by a ramp.
    breaker_denied_ramp,
    /// CB.ACQUIRE that the breaker would have admitted and the LIMIT did not.
    breaker_denied_limit,
    /// CB.REPORT OK that counted.
    breaker_reports_ok,
    /// CB.REPORT FAIL that counted.
    breaker_reports_fail,
    /// CB.REPORT IGNORE that was taken.
    breaker_reports_ignore,
    /// CB.REPORT that came too late, twice, or with a token of nobody.
    breaker_stale_reports,
    /// Reports that counted and said how long the call took.
    response_count,
    /// How long these took together, in microseconds.
    response_us_sum,
    /// Trials that were never reported. Counted by time: see `by_time`.
    breaker_lost_trials,
    /// Breakers that CB.RESET reset.
    breaker_resets,
    /// Transitions of breakers to closed; those by time are added when told.
    breaker_to_closed,
    /// Transitions of breakers to open; those by time are added when told.
    breaker_to_open,
    /// Transitions of breakers to half-open.
    breaker_to_half_open,
    /// Transitions of breakers to forced-open.
    breaker_to_forced_open,
    /// Transitions of breakers to forced-closed.
    breaker_to_forced_closed,
    /// Calls of RL.RECORD.
    records,
    /// Good outcomes that RL.RECORD told of.
    records_ok,
    /// Failures that RL.RECORD told of.
    records_fail,
    /// Keys that were not tracked since `track-max` were already.
    track_refused,
    /// Policies set and deleted here as another master of the cluster told.
    policies_taken_over,
    /// Policies that another master told of and this version cannot read.
    policies_unreadable,
    /// Policies of another master whose version lies more than a day ahead.
    policies_ahead,
    /// Messages of other nodes about policies that were dropped as malformed.
    policy_messages_malformed,
    /// Effects applied on a replica or from the AOF.
    effects_applied,
}

static COUNTERS: MainThreadCell<Counters> = MainThreadCell::new(Counters::NONE);

/// A figure of now that a layer above tells: its name, and where to ask.
pub type Gauge = (&'static str, fn(MainThread) -> u64);

static GAUGES: OnceLock<&'static [&'static [Gauge]]> = OnceLock::new();

/// Has INFO and RL.METRICS tell `gauges`, too. Once, when the module is loaded.
pub fn tell_gauges(gauges: &'static [&'static [Gauge]]) {
    // A second call would be a second load: the first gauges are the same.
    let _ = GAUGES.set(gauges);
}

/// Adds one.
pub fn count(main: MainThread, counter: impl FnOnce(&mut Counters) -> &mut u64) {
    add(main, counter, 1);
}

/// Adds `n`.
pub fn add(main: MainThread, counter: impl FnOnce(&mut Counters) -> &mut u64, n: u64) {
    let mut counters = COUNTERS.of(main).borrow_mut();
    let counter = counter(&mut counters);
    *counter = counter.saturating_add(n);
}

/// Every number: counters since the module was loaded, and gauges of now.
pub fn numbers(main: MainThread, mut tell: impl FnMut(&str, u64)) {
    by_time::advance(main);
    // A copy: what is asked below may count, too.
    let mut counters = *COUNTERS.of(main).borrow();
    let ended = state_counts::ended();
    for (counter, n) in [
        (&mut counters.breaker_lost_trials, ended.lost_trials),
        (&mut counters.breaker_to_closed, ended.to_closed),
        (&mut counters.breaker_to_open, ended.to_open),
    ] {
        *counter = counter.saturating_add(n);
    }
    for (name, value) in counters.each() {
        tell(name, value);
    }
    tell("propagating", replicate::is_on(main).into());
    for &(name, gauge) in GAUGES.get().into_iter().copied().flatten().copied().flatten() {
        tell(name, gauge(main));
    }
    tell("reservations_held", reservations::open());
    tell("reservations_expired", reservations::expired());
    for (state, count) in state_counts::STATES.into_iter().zip(state_counts::counts()) {
        tell(&format!("breakers_{}", state.name().replace('-', "_")), count);
    }
    tell("breaker_rules", rules::size(main) as u64);
    tell("limit_sets", intern::size(main) as u64);
    tell("tracked_keys", tracked::count() as u64);
    policies::node::numbers(main, &mut tell);
    tell("alerts_active", alerts::lasting(main));
    tell("breaker_open_seconds_max", alerts::longest_open(main));
    tell("stall_ms_max", alerts::longest_stall(main));
    let timed = command_timing::histogram(main);
    tell("command_latency_count", timed.count());
    tell("command_latency_us_sum", timed.sum());
    for percent in [50, 95, 99] {
        tell(&format!("command_latency_us_p{percent}"), timed.quantile(percent).unwrap_or(0));
    }
}

/// The module's part of INFO.
pub fn info(writer: &InfoWriter) {
    if !writer.section("") {
        return;
    }
    writer.text("version", env!("CARGO_PKG_VERSION"));
    writer.text("revision", env!("FLOODGATE_REVISION"));
    numbers(writer.main(), |name, value| writer.number(name, value));
    writer.text("policies_digest", &policies::node::digest(writer.main()));
}
