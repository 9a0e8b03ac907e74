//! What the program says. Where nobody can read that, it works on: a log on a full disk, or whose
//! reader has ended, must not end a service that decides. So `eprintln!` and `println!`, which
//! panic then, are denied in this program.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};

/// Writes a line to the log, which is standard error.
pub fn log(what: &impl Display) {
    // In one piece, so that lines of several threads do not mix.
    let _ = io::stderr().lock().write_all(format!("floodgate-envoy: {what}\n").as_bytes());
}

/// Writes a line to standard output. A reader that stops early (`| head`) is no failure.
///
/// # Errors
/// Whatever else keeps it from being written.
pub fn print(what: &impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{what}").and_then(|()| out.flush()) {
        Err(why) if why.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}
