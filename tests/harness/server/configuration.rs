//! The configuration file of a server.

use super::Builder;
use crate::harness::program::Program;
use std::fmt::Write as _;

impl Builder {
    /// The configuration file of a server on this port. A file, not arguments:
    /// `CONFIG REWRITE` wants one, and every version reads its quotes alike.
    pub(super) fn configuration(&self, program: &Program, port: u16) -> String {
        let mut lines: Vec<Vec<String>> = Vec::new();
        let mut set = |words: &[&str]| lines.push(words.iter().map(|&word| word.to_owned()).collect());
        set(&["port", &port.to_string()]);
        set(&["bind", "127.0.0.1"]);
        set(&["save", ""]);
        set(&["repl-diskless-sync-delay", "0"]);
        if program.at_least(7, 0) {
            set(&["enable-debug-command", "yes"]);
            set(&["enable-module-command", "yes"]);
        }
        lines.extend(self.settings.iter().cloned());
        if let Some(module) = &self.module {
            let mut line = vec!["loadmodule".to_owned(), module.to_string_lossy().into_owned()];
            line.extend(self.module_args.iter().cloned());
            lines.push(line);
        }
        lines.iter().fold(String::new(), |mut text, line| {
            text.push_str(&line[0]);
            for value in &line[1..] {
                write!(text, " {}", quoted(value)).expect("room");
            }
            text + "\n"
        })
    }
}

/// A value of the configuration file.
fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b' '..=b'~' => text.push(char::from(byte)),
            _ => write!(text, "\\x{byte:02x}").expect("room"),
        }
    }
    text + "\""
}
