//! A circuit breaker that all processes share.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::decision::seconds;
use crate::error::Error;
use crate::server::Server;
use crate::telemetry::{self, CallOutcome};

/// The reason why a call gave no value.
#[derive(Debug)]
pub enum CallError<E> {
    /// The circuit is open, so the call was not made.
    Open {
        /// Milliseconds until a call may be made; -1 if an operator forced the circuit open without
        /// an end.
        retry_after_ms: i64,
    },
    /// The call itself failed.
    Failed(E),
    /// Redis refuses the breaker, so the call was not made.
    Undecided(Error),
}

impl<E> CallError<E> {
    /// The value of the header `Retry-After` for an open circuit, in whole seconds. `None` if the
    /// circuit has no end.
    pub fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::Open { retry_after_ms } => seconds(*retry_after_ms),
            Self::Failed(_) | Self::Undecided(_) => None,
        }
    }
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { retry_after_ms: ..0 } => {
                write!(out, "the circuit is open, with no retry time")
            }
            Self::Open { retry_after_ms } => {
                write!(out, "the circuit is open, retry after {retry_after_ms} ms")
            }
            Self::Failed(error) => error.fmt(out),
            Self::Undecided(error) => error.fmt(out),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for CallError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open { .. } => None,
            Self::Failed(error) => Some(error),
            Self::Undecided(error) => Some(error),
        }
    }
}

/// What the result of a call says of the callee.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    Ok,
    Fail,
    Ignore,
}

impl Outcome {
    /// The outcome of a call that is dropped before it is reported.
    pub(crate) fn of_dropped() -> Self {
        if std::thread::panicking() { Self::Fail } else { Self::Ignore }
    }

    /// The word that CB.REPORT and RL.RECORD take.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Fail => "FAIL",
            Self::Ignore => "IGNORE",
        }
    }
}

/// The reply of CB.ACQUIRE: allowed, state, token and `retry_after_ms`.
type BreakerReply = (bool, String, Option<String>, i64);

/// A circuit breaker with a key and a rule, such as `50%/60s:open=30s`. A clone is the same
/// breaker.
///
/// While Redis is away all calls are made: a breaker protects the callee, and without it things are
/// as they were before there was one.
#[derive(Clone)]
pub struct Breaker {
    server: Server,
    key: Arc<str>,
    rule: Arc<str>,
}

impl Breaker {
    /// Makes a breaker with this key and this rule.
    pub fn new(server: &Server, key: &str, rule: &str) -> Self {
        Self { server: server.clone(), key: key.into(), rule: rule.into() }
    }

    #[cfg(feature = "guard")]
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    #[cfg(feature = "guard")]
    pub(crate) fn rule(&self) -> &str {
        &self.rule
    }

    /// Makes the call if the breaker admits it, and reports its result. The call's own timeout belongs
    /// inside. An error or a panic counts as a failure of the callee. A call that is dropped says
    /// nothing of the callee.
    ///
    /// # Errors
    /// Fails with the call's own error, or with the reason why the call was not made.
    pub async fn call<T, E>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, CallError<E>> {
        let admitted = self.admit().await?;
        match call.await {
            Ok(value) => {
                admitted.succeeded().await;
                Ok(value)
            }
            Err(error) => {
                admitted.failed().await;
                Err(CallError::Failed(error))
            }
        }
    }

    /// Asks whether a call may be made. This is for work that is no single future.
    ///
    /// # Errors
    /// Fails with the reason why the call may not be made.
    pub async fn admit<E>(&self) -> Result<Admitted, CallError<E>> {
        let mut asked = redis::cmd("CB.ACQUIRE");
        asked.arg(&*self.key).arg(&*self.rule);
        // Admitted and gone before it knew, a call hands its token back: a trial that
        // nobody reports closes the door for its whole lease.
        let key = Arc::clone(&self.key);
        let undo = move |(_, _, token, _): &BreakerReply| {
            let report = |token| {
                let mut report = redis::cmd("CB.REPORT");
                report.arg(&*key).arg("IGNORE").arg("TOKEN").arg(token);
                report
            };
            token.iter().map(report).collect()
        };
        let token = match self.server.take::<BreakerReply>(asked, undo).await {
            Ok((true, _, token, _)) => token,
            Ok((false, _, _, retry_after_ms)) => {
                telemetry::called(CallOutcome::Open);
                return Err(CallError::Open { retry_after_ms });
            }
            Err(Error::Away) => None,
            Err(error) => return Err(CallError::Undecided(error)),
        };
        let (since, runtime) = (Instant::now(), Handle::current());
        Ok(Admitted { breaker: self.clone(), token, since, runtime, is_over: false })
    }
}

/// A call that may be made. It is reported once, however it ends. If it is dropped before, the report
/// says nothing of the callee, except after a panic, which counts as a failure.
#[must_use = "dropped, it says that nothing came of the call"]
pub struct Admitted {
    breaker: Breaker,
    /// The token of the breaker; `None` while Redis is away.
    token: Option<String>,
    since: Instant,
    runtime: Handle,
    is_over: bool,
}

impl Admitted {
    /// Reports that the callee did its work.
    pub async fn succeeded(self) {
        self.reported(Outcome::Ok).await;
    }

    /// Reports that the callee failed.
    pub async fn failed(self) {
        self.reported(Outcome::Fail).await;
    }

    async fn reported(mut self, outcome: Outcome) {
        if let Some(told) = self.report(outcome) {
            let _ = told.await; // it does not fail
        }
    }

    fn report(&mut self, outcome: Outcome) -> Option<JoinHandle<()>> {
        if std::mem::replace(&mut self.is_over, true) {
            return None;
        }
        telemetry::called(outcome.into());
        let token = self.token.take()?;
        let mut report = redis::cmd("CB.REPORT");
        report.arg(&*self.breaker.key).arg(outcome.word()).arg("TOKEN").arg(token);
        report.arg("DUR").arg(format!("{}ms", self.since.elapsed().as_millis()));
        Some(self.breaker.server.finish(&self.runtime, report))
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.report(Outcome::of_dropped());
    }
}
