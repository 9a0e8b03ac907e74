//! One key with its breaker and a clock: what the commands will hold.

use floodgate::core::breaker::{
    Admission, Breaker, Circuit, CircuitState, CircuitView, Force, Permit, Report, ReportOutcome, Reported,
    Reporter, StateTransition,
};
use floodgate::core::time::Micros;

/// A whole number of every period in these tests.
pub const START: Micros = Micros(1_800_000_000_000_000);

pub fn breaker(text: &str) -> Breaker {
    Breaker::parse(text.as_bytes()).unwrap()
}

pub struct Key {
    pub breaker: Breaker,
    pub circuit: Circuit,
    pub now: Micros,
}

impl Key {
    pub fn new(text: &str) -> Self {
        let breaker = breaker(text);
        Self { breaker, circuit: Circuit::new(&breaker, START, 0), now: START }
    }

    pub fn wait_ms(&mut self, ms: u64) {
        self.now = self.now.plus(ms * 1000);
    }

    pub fn back_ms(&mut self, ms: u64) {
        self.now = self.now.minus(ms * 1000);
    }

    pub fn acquire(&mut self) -> Admission {
        self.circuit.acquire(&self.breaker, self.now)
    }

    /// Acquires, which must be allowed.
    pub fn admit(&mut self) -> Permit {
        let admission = self.acquire();
        assert!(admission.allowed, "{admission:?}");
        admission.permit.unwrap()
    }

    /// Acquires, which must be denied; the milliseconds to wait.
    pub fn deny(&mut self) -> i64 {
        let admission = self.acquire();
        assert!(!admission.allowed && admission.permit.is_none(), "{admission:?}");
        admission.retry.millis()
    }

    pub fn report(
        &mut self,
        outcome: ReportOutcome,
        permit: Option<Permit>,
        took_ms: Option<u64>,
    ) -> Reported {
        self.circuit.report(
            &self.breaker,
            self.now,
            &Report::new(outcome, permit, took_ms.map(|ms| ms * 1000)),
        )
    }

    pub fn ok(&mut self, permit: Permit) -> bool {
        self.report(ReportOutcome::Ok, Some(permit), None).applied
    }

    pub fn fail(&mut self, permit: Permit) -> bool {
        self.report(ReportOutcome::Fail, Some(permit), None).applied
    }

    /// Results without a permit: `s` success, `f` failure, `l` slow success,
    /// `L` slow failure, `i` ignored. The state after each, as its initial.
    pub fn run(&mut self, results: &str) -> String {
        let state = |result| {
            let (outcome, took) = match result {
                's' => (ReportOutcome::Ok, None),
                'f' => (ReportOutcome::Fail, None),
                'l' => (ReportOutcome::Ok, Some(1_000_000)),
                'L' => (ReportOutcome::Fail, Some(1_000_000)),
                _ => (ReportOutcome::Ignore, None),
            };
            self.report(outcome, None, took).state.name().chars().next().unwrap()
        };
        results.chars().map(state).collect()
    }

    /// The same, each reported by the one whose name stands before it: `af bf -f`, where
    /// `-` is nobody.
    pub fn run_from(&mut self, results: &str) -> String {
        let state = |pair: &str| {
            let (name, result) = pair.split_at(1);
            let reporter =
                if name == "-" { Reporter::UNNAMED } else { Reporter::named(name.as_bytes()).unwrap() };
            let (outcome, took) = match result {
                "s" => (ReportOutcome::Ok, None),
                "f" => (ReportOutcome::Fail, None),
                "l" => (ReportOutcome::Ok, Some(1_000_000_000)),
                _ => (ReportOutcome::Fail, Some(1_000_000_000)),
            };
            let report = Report { reporter, ..Report::new(outcome, None, took) };
            let reported = self.circuit.report(&self.breaker, self.now, &report);
            reported.state.name().chars().next().unwrap()
        };
        results.split(' ').map(state).collect()
    }

    pub fn force(&mut self, force: Force, for_ms: Option<u64>) -> StateTransition {
        let until = for_ms.map(|ms| self.now.plus(ms * 1000));
        self.circuit.force(&self.breaker, self.now, force, until, b"because")
    }

    pub fn change(&mut self, text: &str) -> StateTransition {
        let new = breaker(text);
        let change = self.circuit.change_breaker(&self.breaker, &new, self.now);
        self.breaker = new;
        change
    }

    pub fn view(&self) -> CircuitView {
        self.circuit.view(&self.breaker, self.now)
    }

    pub fn state(&self) -> CircuitState {
        self.view().state
    }
}
