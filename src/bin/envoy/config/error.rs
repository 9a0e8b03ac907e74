//! The reason why a configuration is refused.

use std::path::{Path, PathBuf};

/// The file, the place in it, and the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", place(file, *line, *column))]
pub struct ConfigError {
    file: PathBuf,
    line: u64,
    column: u64,
    reason: String,
}

impl ConfigError {
    /// Refuses a file because of one place in it.
    pub fn at(file: &Path, location: serde_saphyr::Location, reason: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: location.line(),
            column: location.column(),
            reason: reason.into(),
        }
    }

    /// Refuses a file as a whole.
    pub fn whole(file: &Path, reason: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: 0, column: 0, reason: reason.into() }
    }
}

/// Writes `limits.yaml:3:7`, or the name alone if no line is at fault.
fn place(file: &Path, line: u64, column: u64) -> String {
    match line {
        0 => file.display().to_string(),
        line => format!("{}:{line}:{column}", file.display()),
    }
}
