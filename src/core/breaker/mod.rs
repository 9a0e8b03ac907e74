//! Circuit breakers: when to stop calling something that is failing, and how
//! to find out that it works again.
//!
//! A [`Breaker`] is the rule (`50%/60s:open=30s`, one token that people write);
//! a [`Circuit`] is the state of one key under that rule. Everything a circuit
//! does is a function of (circuit, breaker, now, arguments): a replica that
//! repeats the call with the same `now` reaches the same state, so a caller
//! replicates exactly the calls whose answer says `changed`.
//!
//! Where to look:
//!
//! | file | idea |
//! |---|---|
//! | `spec` | the rule: trips, options, their defaults and ranges |
//! | `grammar` | the rule as text, both ways |
//! | `circuit` | the state machine: acquire, report, force, reset, change |
//! | `settle` | what time does to it by itself |
//! | `judge` | several breakers on one circuit: which is judged, which is in force |
//! | `window` | what a closed circuit remembers: one file for each kind, and the set of them |
//! | `ramp` | how a circuit that closed admits a growing share |
//! | `round` | the trial calls of a half-open circuit and their verdict |
//! | `ticket` | the text that ties a result to the call that was admitted |
//! | `report`, `reporter` | what is said of a call that is over, and by whom |
//! | `answer` | what the state machine answers, transitions included |
//! | `timeline` | what time alone will do to a circuit |
//! | `view` | a circuit as people see it |
//! | `encoding` | a circuit as bytes, fully validated on the way in |

mod answer;
mod circuit;
mod encoding;
mod grammar;
mod judge;
mod permit;
mod ramp;
mod report;
mod reporter;
mod round;
mod settle;
mod spec;
mod timeline;
mod view;
mod window;

pub use answer::{
    Admission, Cause, CircuitState, ReportOutcome, Reported, StateTransition, Transition, Transitions,
};
pub use circuit::{Circuit, Force, REASON_BYTES};
pub use grammar::TEXT_BYTES;
pub use permit::{Permit, TicketText};
pub use report::Report;
pub use reporter::{REPORTER_BYTES, Reporter};
pub use spec::{Breaker, MAX_CALLS, MAX_COUNT, MAX_PROBES, MAX_REPORTERS, Rate, Trip};
pub use timeline::TimedStep;
pub use view::{CircuitView, Forced};
pub use window::{CallTally, ReporterTally};
