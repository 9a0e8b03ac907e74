//! What a closed circuit remembers of its calls: one file for each kind of
//! memory, `kind` with the table of them, and `set` with all of one circuit.

mod call;
mod kind;
mod reporters;
mod ring;
mod set;
mod slices;

pub(super) use call::CallOutcome;
pub use call::CallTally;
pub use reporters::ReporterTally;
pub(super) use set::CallWindows;
