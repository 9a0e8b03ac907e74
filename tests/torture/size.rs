//! How much is tried, and the table of what was.

use std::{env, fmt::Display, fs::OpenOptions, io::Write as _};

/// How much is tried: `FLOODGATE_TORTURE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Not set, or `quick`: seconds, as part of `make test`.
    Quick,
    /// So many percent of the full size.
    Percent(usize),
    /// `full`, as `make torture` does.
    Full,
}

impl Size {
    /// What this run was asked for.
    pub fn asked() -> Self {
        match env::var("FLOODGATE_TORTURE").as_deref() {
            Ok("full") => Self::Full,
            Ok("quick") | Err(_) => Self::Quick,
            Ok(percent) => {
                Self::Percent(percent.parse().expect("FLOODGATE_TORTURE is full, quick or a percentage"))
            }
        }
    }
}

/// One number for a quick run and one for a full one.
pub fn tries(quick: usize, full: usize) -> usize {
    match Size::asked() {
        Size::Quick => quick,
        Size::Percent(percent) => (full * percent / 100).max(quick),
        Size::Full => full,
    }
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
