use std::io::{Write as _, stderr};

/// Says what this machine or server cannot try. Not through the macros: what these print is kept back while
/// tests pass.
pub fn not_tried(what: &str, why: &str) {
    writeln!(stderr(), "\n{what} NOT tried: {why}").ok();
}
