//! Random calls on a circuit, and what must hold after each.

use crate::draw::Draw;
use floodgate::core::breaker::{Breaker, Circuit, Force, Permit, Report, ReportOutcome, Reporter};
use floodgate::core::time::Micros;
use floodgate::core::wire::Reader;

/// Breakers of every kind, two of each trip so that changes keep the window.
pub const BREAKERS: &[&str] = &[
    "3:open=1s:lease=2s",
    "3:open=2s:lease=1s:probes=3:backoff=2:maxopen=5s:ramp=3s",
    "1000000:open=366d:backoff=100",
    "3/8s:open=1s:probes=2:lease=3s",
    "3/8s:open=1s:backoff=1.5:ramp=1s",
    "50%/8s:min=4:open=1s",
    "50%/8s:min=3:open=1s:slow=100ms:slowrate=40%:probes=4:lease=2s",
    "34%/5calls:min=3:open=1s:probes=3:lease=2s:backoff=3",
    "34%/5calls:open=3s:slow=100ms:probes=5:lease=1s:ramp=2s",
    "0.01%/1000calls:min=1:probes=100",
    "100%/1ms:min=1:open=1s:probes=2:slow=50ms:slowrate=50%:lease=1s",
    "3:open=1s:reporters=2",
    "3/8s:open=1s:probes=2:reporters=8",
    "34%/40calls:min=3:open=1s:slow=100ms:slowrate=20%:reporters=3",
];

/// A circuit, what a replica of it holds, and the permits given out.
pub struct History {
    breaker: Breaker,
    circuit: Circuit,
    now: Micros,
    permits: Vec<Permit>,
}

impl History {
    /// Begins with this circuit.
    pub fn new(breaker: Breaker, circuit: Circuit, now: Micros) -> Self {
        Self { breaker, circuit, now, permits: Vec::new() }
    }

    /// Plays the rest of the input.
    pub fn play(&mut self, draw: &mut Draw<'_>) {
        let mut steps = 0;
        while !draw.is_done() && steps < 200 {
            self.step(draw);
            self.check();
            steps += 1;
        }
    }

    fn step(&mut self, draw: &mut Draw<'_>) {
        draw.step(&mut self.now);
        let (breaker, now) = (self.breaker, self.now);
        let before = self.circuit.clone();
        let changed = match draw.byte() % 16 {
            0..=5 => {
                let brought = self.brought(draw);
                let peeked = self.circuit.peek_acquire_under(&breaker, &brought, now);
                let admission = self.circuit.acquire_under(&breaker, &brought, now);
                if admission.adopted {
                    self.breaker = brought;
                }
                assert_eq!(peeked.allowed, admission.allowed);
                assert_eq!(peeked.permit, admission.permit);
                assert_eq!(admission.allowed, admission.permit.is_some());
                assert_eq!(admission.allowed, admission.retry.millis() == 0);
                self.permits.extend(admission.permit);
                admission.changed
            }
            6..=11 => {
                let permit = match draw.byte() % 4 {
                    0 => None,
                    1 => Permit::parse(draw.bytes()).ok(),
                    _ if self.permits.is_empty() => None,
                    _ => Some(self.permits[draw.below(self.permits.len())]),
                };
                let outcome = draw.one_of(&[ReportOutcome::Ok, ReportOutcome::Fail, ReportOutcome::Fail, ReportOutcome::Ignore]);
                let duration = draw.one_of(&[None, Some(0), Some(99_999), Some(100_000), Some(u64::MAX)]);
                let brought = self.brought(draw);
                let reporter = match draw.byte() % 4 {
                    0 => Reporter::UNNAMED,
                    1 => Reporter::named(draw.bytes()).unwrap_or_default(),
                    _ => Reporter::named(&[draw.byte() % 12]).unwrap_or_default(),
                };
                let report = Report { reporter, ..Report::new(outcome, permit, duration) };
                let reported = self.circuit.report_under(&breaker, &brought, now, &report);
                if reported.adopted {
                    self.breaker = brought;
                }
                reported.changed
            }
            12 | 13 => {
                let force = draw.one_of(&[Force::Open, Force::Closed, Force::Auto]);
                let until = (draw.byte() % 2 == 0).then(|| now.plus(draw.number()));
                self.circuit.force(&breaker, now, force, until, draw.bytes()).changed
            }
            14 => self.circuit.reset(&breaker, now).changed,
            _ => {
                let text = draw.one_of(BREAKERS);
                let Ok(new) = Breaker::parse(text.as_bytes()) else { return };
                let changed = self.circuit.change_breaker(&breaker, &new, now).changed;
                self.breaker = new;
                changed
            }
        };
        // What says that nothing changed changed nothing: a replica hears nothing.
        assert!(changed || before == self.circuit);
        assert!(self.circuit.epoch() >= before.epoch());
    }

    /// The breaker that a call brings: mostly the one in force.
    fn brought(&self, draw: &mut Draw<'_>) -> Breaker {
        if draw.byte() % 4 > 0 {
            return self.breaker;
        }
        let text = draw.one_of(BREAKERS);
        Breaker::parse(text.as_bytes()).unwrap_or(self.breaker)
    }

    fn check(&self) {
        self.circuit.view(&self.breaker, self.now);
        self.circuit.expires_at(&self.breaker, self.now);
        self.circuit.heap_bytes();
        if let Some(permit) = self.permits.last() {
            assert_eq!(Permit::parse(permit.text().as_bytes()).as_ref(), Ok(permit));
        }
        assert_eq!(reload(&self.circuit, &self.breaker), self.circuit);
    }
}

/// The circuit as it comes back from its own bytes.
pub fn reload(circuit: &Circuit, breaker: &Breaker) -> Circuit {
    let mut bytes = Vec::new();
    circuit.write(&mut bytes);
    let mut reader = Reader::new(&bytes);
    let again = Circuit::read(&mut reader, breaker).expect("what was written reads");
    reader.end().expect("to the last byte");
    again
}
