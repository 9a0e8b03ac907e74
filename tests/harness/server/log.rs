//! What a server logs.

use super::Server;
use std::{fs, path::PathBuf};

/// Lines of the server's log shown when a test fails.
const LOG_LINES_SHOWN: usize = 40;

impl Server {
    /// Everything that the server has logged.
    pub fn log(&self) -> String {
        fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    pub(super) fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let last = lines.len().saturating_sub(LOG_LINES_SHOWN);
        // Of a crash the reason and the stack, not the memory test at the end.
        let crash = lines.iter().position(|line| line.contains("BUG REPORT START"));
        let shown = crash.map_or(&lines[last..], |start| {
            let first = start.saturating_sub(LOG_LINES_SHOWN / 4);
            &lines[first..lines.len().min(start + 2 * LOG_LINES_SHOWN)]
        });
        shown.join("\n")
    }

    pub(super) fn log_path(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }
}
