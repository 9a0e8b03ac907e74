//! How much is tried, and the table of what was.

use std::{env, fmt::Display, fs::OpenOptions, io::Write as _};

/// How much is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// As part of `make test`: seconds.
    Quick,
    /// `make torture`, with `FLOODGATE_TORTURE=full`.
    Full,
}

impl Size {
    /// What this run was asked for.
    pub fn asked() -> Self {
        if env::var_os("FLOODGATE_TORTURE").is_some_and(|size| size == "full") {
            Self::Full
        } else {
            Self::Quick
        }
    }
}

/// One number for a quick run and one for a full one; `FLOODGATE_TORTURE=n`
/// for a number above 0 tries that many instead.
pub fn tries(quick: usize, full: usize) -> usize {
    let asked = env::var("FLOODGATE_TORTURE").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(match Size::asked() {
        Size::Quick => quick,
        Size::Full => full,
    })
}

/// A line of the table that `make torture` ends with: what was tried, how
/// often, and what was lost. A test that fails never comes so far, and is named
/// as failed instead.
pub fn record(what: &str, tried: impl Display, lost: impl Display) {
    let line = format!("{what}\t{tried}\t{lost}\n");
    print!("{line}");
    if let Some(path) = env::var_os("FLOODGATE_TORTURE_TABLE") {
        let mut file = OpenOptions::new().create(true).append(true).open(path).expect("the table");
        file.write_all(line.as_bytes()).expect("room for a line");
    }
}
