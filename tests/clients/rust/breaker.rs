//! A circuit breaker that all processes share. Copy it with floodgate.rs.
//!
//! ```text
//! let payments = Breaker::new(server, "payments", "50%/60s:open=30s");
//! let receipt = payments.call(timeout(Duration::from_secs(2), charge(card))).await?;
//! ```

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use redis::RedisError;
use tokio::task::JoinHandle;

use crate::floodgate::{Server, Undecided};

/// Why a call gave nothing.
#[derive(Debug)]
pub enum Failed<E> {
    /// The circuit is open: the call was not made.
    Open { retry_after_ms: i64 },
    /// The call itself failed.
    Call(E),
    /// The server refuses the breaker.
    Refused(RedisError),
}

/// Of CB.ACQUIRE: allowed, state, token and retry_after_ms.
type Answer = (bool, String, Option<String>, i64);

/// While Redis is away calls go through: a breaker protects the callee, and
/// without it things are as they were before there was one.
pub struct Breaker {
    server: Arc<Server>,
    key: String,
    rule: String,
}

impl Breaker {
    pub fn new(server: Arc<Server>, key: &str, rule: &str) -> Self {
        Self { server, key: key.into(), rule: rule.into() }
    }

    /// Makes the call, whose own timeout belongs inside. An error or a panic is
    /// a failure of the callee; a call that is dropped says nothing of it.
    pub async fn call<T, E>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, Failed<E>> {
        let mut asked = redis::cmd("CB.ACQUIRE");
        asked.arg(&self.key).arg(&self.rule);
        // Admitted and gone before it knew, a call hands its token back: a trial that
        // nobody reports closes the door for its whole lease.
        let key = self.key.clone();
        let undo = move |(_, _, token, _): &Answer| {
            let mut report = redis::cmd("CB.REPORT");
            report.arg(&key).arg("IGNORE").arg("TOKEN").arg(token.as_ref()?);
            Some(report)
        };
        let token = match self.server.take::<Answer>(asked, undo).await {
            Ok((true, _, token, _)) => token,
            Ok((false, _, _, retry_after_ms)) => return Err(Failed::Open { retry_after_ms }),
            Err(Undecided::Away) => None,
            Err(Undecided::Refused(error)) => return Err(Failed::Refused(error)),
        };
        let mut admitted = Admitted { breaker: self, token, since: Instant::now() };
        let result = call.await;
        if let Some(told) = admitted.report(if result.is_ok() { "OK" } else { "FAIL" }) {
            let _ = told.await;
        }
        result.map_err(Failed::Call)
    }
}

/// A call that is under way: reported once, however it ends.
struct Admitted<'a> {
    breaker: &'a Breaker,
    token: Option<String>,
    since: Instant,
}

impl Admitted<'_> {
    fn report(&mut self, outcome: &str) -> Option<JoinHandle<()>> {
        let token = self.token.take()?;
        let mut report = redis::cmd("CB.REPORT");
        report.arg(&self.breaker.key).arg(outcome).arg("TOKEN").arg(token);
        report.arg("DUR").arg(format!("{}ms", self.since.elapsed().as_millis()));
        Some(self.breaker.server.finish(report))
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.report(if std::thread::panicking() { "FAIL" } else { "IGNORE" });
    }
}
