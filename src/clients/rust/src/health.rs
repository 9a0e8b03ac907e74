//! Whether Redis can decide, and when to ask it again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::{ErrorKind, RedisError};

use crate::error::{
    Error, are_wrong_credentials, code, is_moved, is_no_cluster, is_not_trusted, is_unknown_command,
};

/// Whether Redis is well. After a failure Redis is not asked for a while, and then by one request for
/// all. So an outage costs one request its timeout, and not each of them. The beginning and the end of
/// an outage are logged once each.
///
/// A server that cannot write answers requests that only look, so their answers do not end its outage.
/// The answer to a request that takes something does.
pub(crate) struct Health {
    rest: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    asleep_until: Option<Instant>,
    has_answered: bool,
    outage: Option<Outage>,
    /// The number of outages so far.
    outages: u64,
}

struct Outage {
    number: u64,
    cannot_write: bool,
}

impl State {
    /// Whether an answer would say that Redis is back.
    fn is_back_with(&self, takes: bool) -> bool {
        takes || !self.outage.as_ref().is_some_and(|outage| outage.cannot_write)
    }
}

impl Health {
    pub(crate) fn new(rest: Duration) -> Self {
        Self { rest, state: Mutex::default() }
    }

    /// Whether Redis may be asked. When a rest is over, one request may ask; the others may when it was
    /// answered. `takes` says whether the command takes something.
    pub(crate) fn may_ask(&self, takes: bool) -> bool {
        let mut state = self.state();
        let Some(until) = state.asleep_until else { return true };
        if Instant::now() < until {
            return false;
        }
        // The others: this one asks for them, unless its answer says nothing.
        if state.is_back_with(takes) {
            state.asleep_until = self.morning();
        }
        true
    }

    /// Records that Redis answers, even if it refuses the command.
    pub(crate) fn answered(&self, takes: bool) {
        let was_lost = {
            let mut state = self.state();
            state.has_answered = true;
            if !state.is_back_with(takes) {
                return;
            }
            state.asleep_until = None;
            state.outage.take().is_some()
        };
        if was_lost {
            log::warn!("Redis is back");
        }
    }

    /// What an error means: an outage, a misconfiguration, or the server's word on the command.
    pub(crate) fn judged(&self, error: RedisError, takes: bool) -> Error {
        if is_moved(&error) {
            self.answered(takes);
            return Error::Misconfigured(error);
        }
        let is_wrong = is_misconfiguration(&error);
        if is_servers_word(&error) {
            self.answered(takes);
            return Error::Refused(error);
        }
        let was_lost = {
            let mut state = self.state();
            if is_wrong && !state.has_answered {
                state.asleep_until = None;
                return Error::Misconfigured(error);
            }
            state.asleep_until = self.morning();
            let number = state.outage.as_ref().map_or(state.outages + 1, |outage| outage.number);
            state.outages = number;
            state.outage.replace(Outage { number, cannot_write: cannot_write(&error) }).is_some()
        };
        if !was_lost {
            log::warn!("Redis is away, the fallback decides: {error}");
        }
        Error::Away
    }

    /// The number of the current outage; `None` while Redis decides.
    pub(crate) fn outage(&self) -> Option<u64> {
        self.state().outage.as_ref().map(|outage| outage.number)
    }

    /// Records that Redis answered late to an earlier question, so that it can be asked again.
    pub(crate) fn awake(&self) {
        self.state().asleep_until = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end of a rest. It varies, so that not all processes ask at the same moment.
    fn morning(&self) -> Option<Instant> {
        Instant::now().checked_add(self.rest.mul_f64(0.5 + fastrand::f64()))
    }
}

/// Whether the server says by the error what it thinks of the command, so that it is well.
pub(crate) fn is_servers_word(error: &RedisError) -> bool {
    is_moved(error) || !(is_misconfiguration(error) || is_outage(error))
}

/// Whether a person has to put something right before anything can be decided: the credentials or the
/// connection, or a server without Floodgate.
fn is_misconfiguration(error: &RedisError) -> bool {
    is_unknown_command(error) || are_wrong_credentials(error) || is_no_cluster(error) || is_wrong_setup(error)
}

/// Whether no connection can be made as it is set up: no such database, a certificate that is not
/// trusted, or a URL that asks for what this program was built without.
fn is_wrong_setup(error: &RedisError) -> bool {
    error.kind() == ErrorKind::InvalidClientConfig
        || is_not_trusted(error)
        || error.to_string().contains("refused to switch database")
}

fn is_outage(error: &RedisError) -> bool {
    const CANNOT: [&str; 6] = ["BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "TRYAGAIN", "UNBLOCKED"];
    error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || error.kind() == ErrorKind::ClusterConnectionNotFound
        || CANNOT.contains(&code(error).as_str())
        || cannot_write(error)
}

fn cannot_write(error: &RedisError) -> bool {
    ["MISCONF", "NOREPLICAS", "OOM", "READONLY"].contains(&code(error).as_str())
}
