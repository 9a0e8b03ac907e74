//! Circuit breakers: when to stop calling something that fails, and how to find out that it works
//! again.
//!
//! A [`Breaker`] is the rule, such as `50%/60s:open=30s`: one token that people write. A
//! [`Circuit`] is the state of one key under that rule. Everything a circuit does is a function of
//! (circuit, breaker, now, arguments). A replica that repeats a call with the same `now` reaches
//! the same state, so a caller replicates exactly the calls whose answer says `changed`.
//!
//! Where to look:
//!
//! | file | idea |
//! |---|---|
//! | `spec` | the rule: trips, options, their defaults and ranges |
//! | `grammar` | the rule as text |
//! | `circuit` + `phase` | the state machine: its data and its transitions |
//! | `admit`, `result`, `operate` | what moves it: calls, their results, the word of an operator |
//! | `expiry` | how long a circuit is remembered |
//! | `advance` | what time alone does to a circuit |
//! | `trip` | several breakers on one circuit: which is judged, which is in force |
//! | `window` | what a closed circuit remembers: a file for each kind, and the set of them |
//! | `ramp` | how a circuit that closed admits a growing share |
//! | `round` | the trial calls of a half-open circuit and their verdict |
//! | `moment` | the time of a request, and the epochs that are used up by then |
//! | `permit` | the text that ties a result to the call that was admitted |
//! | `report` | the result of a call, and who reports it |
//! | `answer` | the answers of the state machine, transitions included |
//! | `timeline` | what time alone will do to a circuit later |
//! | `view` | a circuit as people see it |
//! | `encoding` | a circuit as bytes, fully validated when read |

mod admit;
mod advance;
mod answer;
mod circuit;
mod encoding;
mod expiry;
mod grammar;
mod moment;
mod operate;
mod permit;
mod phase;
mod ramp;
mod report;
mod result;
mod round;
mod spec;
mod timeline;
mod trip;
mod view;
mod window;

pub use answer::{
    Admission, Cause, CircuitState, ReportOutcome, Reported, StateTransition, Transition, Transitions,
};
pub use circuit::Circuit;
pub use grammar::TEXT_BYTES;
pub use moment::Moment;
pub use operate::Force;
pub use permit::{Permit, PermitText};
pub use phase::REASON_BYTES;
pub use report::{REPORTER_BYTES, Report, Reporter};
pub use spec::{Breaker, MAX_CALLS, MAX_COUNT, MAX_PROBES, MAX_REPORTERS, Trip};
pub use timeline::TimedStep;
pub use view::{CircuitView, Forced};
pub use window::{CallTally, ReporterTally};
