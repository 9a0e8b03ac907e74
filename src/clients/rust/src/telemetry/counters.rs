//! Counters by OpenTelemetry's API.

use std::sync::{Arc, PoisonError, RwLock, Weak};

use opentelemetry::metrics::{Counter, MeterProvider};
use opentelemetry::{KeyValue, global};

use super::{CallOutcome, DecisionOutcome};

type Provider = dyn MeterProvider + Send + Sync;

struct Instruments {
    provider: Weak<Provider>,
    decisions: Counter<u64>,
    calls: Counter<u64>,
}

impl Instruments {
    fn of(provider: &Arc<Provider>) -> Self {
        let meter = provider.meter("floodgate_redis");
        let counter = |name: &'static str, description: &'static str| {
            meter.u64_counter(name).with_description(description).build()
        };
        Self {
            provider: Arc::downgrade(provider),
            decisions: counter(
                "floodgate.decisions",
                "What limits answered: granted, denied, remembered, leased, charged, fallback",
            ),
            calls: counter(
                "floodgate.calls",
                "What came of calls behind a breaker: ok, fail, ignore, open, cached",
            ),
        }
    }
}

/// The instruments of the provider that the application has set last.
static CURRENT: RwLock<Option<Instruments>> = RwLock::new(None);

pub(crate) fn decided(outcome: DecisionOutcome) {
    let outcome = match outcome {
        DecisionOutcome::Granted => "granted",
        DecisionOutcome::Denied => "denied",
        DecisionOutcome::Remembered => "remembered",
        DecisionOutcome::Leased => "leased",
        DecisionOutcome::Charged => "charged",
        DecisionOutcome::Fallback => "fallback",
    };
    count(outcome, |instruments| &instruments.decisions);
}

pub(crate) fn called(outcome: CallOutcome) {
    let outcome = match outcome {
        CallOutcome::Ok => "ok",
        CallOutcome::Fail => "fail",
        CallOutcome::Ignore => "ignore",
        CallOutcome::Open => "open",
        #[cfg(feature = "guard")]
        CallOutcome::Cached => "cached",
    };
    count(outcome, |instruments| &instruments.calls);
}

fn count(outcome: &'static str, counter: impl Fn(&Instruments) -> &Counter<u64>) {
    let provider = global::meter_provider();
    let attributes = [KeyValue::new("outcome", outcome)];
    {
        let current = CURRENT.read().unwrap_or_else(PoisonError::into_inner);
        let is_current = |instruments: &&Instruments| instruments.provider.ptr_eq(&Arc::downgrade(&provider));
        if let Some(instruments) = current.as_ref().filter(is_current) {
            return counter(instruments).add(1, &attributes);
        }
    }
    // The application has set its provider late, or another one: a counter stays with the
    // provider that made it.
    let instruments = Instruments::of(&provider);
    counter(&instruments).add(1, &attributes);
    *CURRENT.write().unwrap_or_else(PoisonError::into_inner) = Some(instruments);
}
