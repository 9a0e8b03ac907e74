//! Whether Redis can decide, and when to ask it again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::{ErrorKind, RedisError};

use crate::error::{Error, code, is_moved, is_unknown_command};

/// After a failure Redis is not asked for a while, and then by one request for all:
/// an outage costs one request its timeout, not each of them. That it is lost, and
/// that it is found again, is logged once each.
pub(crate) struct Health {
    rest: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    asleep_until: Option<Instant>,
    has_answered: bool,
    is_lost: bool,
}

impl Health {
    pub(crate) fn new(rest: Duration) -> Self {
        Self { rest, state: Mutex::default() }
    }

    /// Whether to ask; once when the rest is over, then again when it answered.
    pub(crate) fn may_ask(&self) -> bool {
        let mut state = self.state();
        let Some(until) = state.asleep_until else { return true };
        if Instant::now() < until {
            return false;
        }
        state.asleep_until = self.morning(); // the others: this one asks for them
        true
    }

    /// It answers, if only that it refuses this command.
    pub(crate) fn answered(&self) {
        let was_lost = {
            let mut state = self.state();
            state.asleep_until = None;
            state.has_answered = true;
            std::mem::take(&mut state.is_lost)
        };
        if was_lost {
            log::warn!("Redis is back");
        }
    }

    /// What an error means: an outage, a mistake of who set things up, or the
    /// server's word on the command.
    pub(crate) fn judged(&self, error: RedisError) -> Error {
        if is_moved(&error) {
            self.answered();
            return Error::Misconfigured(error);
        }
        let is_wrong = is_misconfiguration(&error);
        if !is_wrong && !is_outage(&error) {
            self.answered();
            return Error::Refused(error);
        }
        let was_lost = {
            let mut state = self.state();
            if is_wrong && !state.has_answered {
                state.asleep_until = None;
                return Error::Misconfigured(error);
            }
            state.asleep_until = self.morning();
            std::mem::replace(&mut state.is_lost, true)
        };
        if !was_lost {
            log::warn!("Redis is away, the fallback decides: {error}");
        }
        Error::Away
    }

    /// It answered late, what it was asked long ago: it can be asked.
    pub(crate) fn awake(&self) {
        self.state().asleep_until = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Not all processes ask at the same moment.
    fn morning(&self) -> Option<Instant> {
        Instant::now().checked_add(self.rest.mul_f64(0.5 + fastrand::f64()))
    }
}

/// What a person has to put right before anything can be decided: credentials that
/// are refused, a server without Floodgate.
fn is_misconfiguration(error: &RedisError) -> bool {
    is_unknown_command(error)
        || error.kind() == ErrorKind::AuthenticationFailed
        || ["NOAUTH", "WRONGPASS", "DENIED"].contains(&code(error).as_str())
}

fn is_outage(error: &RedisError) -> bool {
    const CANNOT: [&str; 10] = [
        "BUSY",
        "CLUSTERDOWN",
        "LOADING",
        "MASTERDOWN",
        "MISCONF",
        "NOREPLICAS",
        "OOM",
        "READONLY",
        "TRYAGAIN",
        "UNBLOCKED",
    ];
    error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || error.kind() == ErrorKind::ClusterConnectionNotFound
        || CANNOT.contains(&code(error).as_str())
}
