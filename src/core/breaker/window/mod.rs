//! What a closed circuit remembers of its calls. There is a file for each kind of window; `kind`
//! lists the kinds, `set` holds all windows of one circuit, and `encoding` stores them.

mod call;
mod encoding;
mod kind;
mod reporters;
mod ring;
mod set;
mod slices;

pub(super) use call::CallOutcome;
pub use call::CallTally;
pub use reporters::ReporterTally;
pub(super) use set::CallWindows;
