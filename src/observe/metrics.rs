//! Counters of commands by outcome, and all numbers of INFO and RL.METRICS.

use super::alerts;
use crate::core::limits::calendar;
use crate::server::effects::replicate;
use crate::server::ffi::info::InfoWriter;
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::server::timing::command_timing;
use crate::types::by_time;
use crate::types::cbcircuit::{rules, state_counts};
use crate::types::intern;
use crate::types::policies::node;
use crate::types::ratelimit::{reservations, tracked};
use std::sync::OnceLock;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// The number of times that each outcome happened since the module was loaded.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            const NONE: Self = Self { $($name: 0,)* };

            /// Each counter with its name.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

counters! {
    /// Calls of RL.ACQUIRE that took something.
    acquire_granted,
    /// Units that RL.ACQUIRE granted.
    acquire_granted_units,
    /// Calls of RL.ACQUIRE that took nothing, for whatever reason.
    acquire_denied,
    /// Denials of any command because the key was blocked.
    blocked_denied,
    /// Calls of RL.QUOTA.
    quota_calls,
    /// Items of RL.BATCH that were granted.
    batch_granted,
    /// Items of RL.BATCH that were denied.
    batch_denied,
    /// Calls of RL.BATCH.
    batch_calls,
    /// Calls of CL.THROTTLE, RL.THROTTLE or GCRA that were not limited.
    throttle_granted,
    /// Calls of CL.THROTTLE, RL.THROTTLE or GCRA that were limited.
    throttle_denied,
    /// Calls of RL.REFUND that gave something back.
    refunds,
    /// Units that RL.REFUND gave back.
    refunded_units,
    /// Calls of RL.CHARGE.
    charges,
    /// Units that calls of RL.CHARGE named, including those that were dropped.
    charged_units,
    /// Keys whose usage RL.RESET forgot.
    resets,
    /// Keys that RL.CLEAR deleted.
    cleared,
    /// Keys that RL.PIN pinned.
    pins,
    /// Keys that RL.UNPIN unpinned.
    unpins,
    /// Keys that RL.BLOCK blocked.
    blocks,
    /// Keys that RL.UNBLOCK unblocked.
    unblocks,
    /// Blocks that limits with `block=` began.
    limits_closed,
    /// Denials that shadow limits would have made.
    shadow_denied,
    /// Reservations granted, one for each key.
    reservations_granted,
    /// Reservations by RL.RESERVE, and by CB.ACQUIRE with TTL, that limits denied, one for each key.
    reservations_denied,
    /// Reservations that RL.COMMIT settled, one for each key.
    reservations_committed,
    /// Reservations that RL.RELEASE gave back, one for each key.
    reservations_released,
    /// Reservations that got more time, one for each key.
    reservations_renewed,
    /// Waiters that got their units.
    waiting_served,
    /// Waiters whose timeout passed.
    waiting_timed_out,
    /// Waiters that disconnected, were killed or unblocked with an error.
    waiting_left,
    /// Requests that found their queue full, or all queues of the server together.
    waiting_refused,
    /// Calls of CB.ACQUIRE that were admitted.
    breaker_admitted,
    /// Calls of CB.ACQUIRE that an open breaker denied.
    breaker_denied_open,
    /// Calls of CB.ACQUIRE that were denied because all trials of a half-open breaker were taken.
    breaker_denied_half_open,
    /// Calls of CB.ACQUIRE that a breaker denied which an operator forced open.
    breaker_denied_forced,
    /// Calls of CB.ACQUIRE that a ramp denied.
    breaker_denied_ramp,
    /// Calls of CB.ACQUIRE that the breaker would have admitted and the LIMIT denied.
    breaker_denied_limit,
    /// Calls of CB.REPORT OK that counted.
    breaker_reports_ok,
    /// Calls of CB.REPORT FAIL that counted.
    breaker_reports_fail,
    /// Calls of CB.REPORT IGNORE that were accepted.
    breaker_reports_ignore,
    /// Calls of CB.REPORT that came too late, twice, or with a token that no call got.
    breaker_stale_reports,
    /// Reports that counted and gave the duration of the call.
    response_count,
    /// The sum of these durations in microseconds.
    response_us_sum,
    /// Trials that were never reported. Time ends them: see `by_time`.
    breaker_lost_trials,
    /// Breakers that CB.RESET reset.
    breaker_resets,
    /// Transitions of breakers to closed. Those that time alone caused are added by [`numbers`].
    breaker_to_closed,
    /// Transitions of breakers to open. Those that time alone caused are added by [`numbers`].
    breaker_to_open,
    /// Transitions of breakers to half-open.
    breaker_to_half_open,
    /// Transitions of breakers to forced-open.
    breaker_to_forced_open,
    /// Transitions of breakers to forced-closed.
    breaker_to_forced_closed,
    /// Calls of RL.RECORD.
    records,
    /// Successes that RL.RECORD reported.
    records_ok,
    /// Failures that RL.RECORD reported.
    records_fail,
    /// Keys that were not tracked because `track-max` keys already were.
    track_refused,
    /// Policies that were set or deleted here because another master of the cluster sent the
    /// change.
    policies_taken_over,
    /// Policies that another master sent and that this version cannot read.
    policies_unreadable,
    /// Policies that another master sent with a version more than a day ahead.
    policies_ahead,
    /// Messages of other nodes about policies that were dropped as malformed.
    policy_messages_malformed,
    /// Effects applied on a replica or from the AOF.
    effects_applied,
}

static COUNTERS: MainThreadCell<Counters> = MainThreadCell::new(Counters::NONE);

/// A gauge of a layer above: its name, and the function that returns its value.
pub type Gauge = (&'static str, fn(MainThread) -> u64);

static GAUGES: OnceLock<&'static [&'static [Gauge]]> = OnceLock::new();

/// Registers `gauges` for INFO and RL.METRICS. Call it once, when the module is loaded.
pub fn register_gauges(gauges: &'static [&'static [Gauge]]) {
    // A second call would come from a second load, with the same gauges.
    let _ = GAUGES.set(gauges);
}

/// Adds 1 to a counter.
pub fn count(main: MainThread, counter: impl FnOnce(&mut Counters) -> &mut u64) {
    add(main, counter, 1);
}

/// Adds `n` to a counter.
pub fn add(main: MainThread, counter: impl FnOnce(&mut Counters) -> &mut u64, n: u64) {
    let mut counters = COUNTERS.of(main).borrow_mut();
    let counter = counter(&mut counters);
    *counter = counter.saturating_add(n);
}

/// Calls `tell` for every number: the counters since the module was loaded, and the gauges of now.
pub fn numbers(main: MainThread, mut tell: impl FnMut(&str, u64)) {
    by_time::advance(main);
    // This is a copy, because the functions called below may count, too.
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
    node::with_policies(main, |policies| {
        tell("policies", policies.len() as u64);
        tell("policies_version", policies.version());
    });
    tell("alerts_active", alerts::active(main));
    tell("breaker_open_seconds_max", alerts::longest_open(main));
    tell("stall_ms_max", alerts::longest_stall(main));
    let timed = command_timing::histogram(main);
    tell("command_latency_count", timed.count());
    tell("command_latency_us_sum", timed.sum());
    for percent in [50, 95, 99] {
        tell(&format!("command_latency_us_p{percent}"), timed.quantile(percent).unwrap_or(0));
    }
}

/// Writes the module's part of INFO.
pub fn info(writer: &InfoWriter) {
    if !writer.section("") {
        return;
    }
    writer.text("version", env!("CARGO_PKG_VERSION"));
    writer.text("revision", env!("FLOODGATE_REVISION"));
    writer.text("tzdb", calendar::tz_release());
    numbers(writer.main(), |name, value| writer.number(name, value));
    writer.text("policies_digest", &node::digest(writer.main()));
}
