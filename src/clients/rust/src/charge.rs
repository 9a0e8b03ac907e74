//! Charges for units that were used already.

use std::pin::Pin;

use crate::decision::Decision;
use crate::error::Error;
use crate::limiter::Limiter;
use crate::telemetry::{self, DecisionOutcome};

/// A charge. [`Limiter::charge`] makes it, and it is sent when it is awaited.
#[must_use = "it charges nothing until it is awaited"]
#[derive(Clone, Copy)]
pub struct Charge<'a> {
    limiter: &'a Limiter,
    key: &'a str,
    limits: &'a str,
    units: u64,
    is_tracked: bool,
}

impl<'a> Charge<'a> {
    pub(crate) fn new(limiter: &'a Limiter, key: &'a str, limits: &'a str, units: u64) -> Self {
        Self { limiter, key, limits, units, is_tracked: false }
    }

    /// Makes the server keep statistics of the key (RL.STATS).
    pub fn track(mut self) -> Self {
        self.is_tracked = true;
        self
    }

    async fn charged(self) -> Result<Decision, Error> {
        let Self { limiter, key, limits, units, is_tracked } = self;
        let mut command = redis::cmd("RL.CHARGE");
        command.arg(key);
        // Without limits those hold that the server has.
        if limits != "*" {
            command.arg(limits);
        }
        command.arg("COST").arg(units);
        if is_tracked {
            command.arg("TRACK");
        }
        match limiter.server.ask(&command).await {
            Ok(decision) => {
                telemetry::decided(DecisionOutcome::Charged);
                Ok(decision)
            }
            Err(Error::Away) => Ok(limiter.alone(key, units)),
            Err(error) => Err(error),
        }
    }
}

impl<'a> IntoFuture for Charge<'a> {
    type Output = Result<Decision, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.charged())
    }
}
