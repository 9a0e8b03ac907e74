//! COMMANDS.md, made from the table of commands.

use crate::COMMANDS;
use crate::server::command::{Command, Rights};

/// The reference as Markdown: every command that people use, in the order of
/// the table.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Commands\n\n\
         Made from the table of commands by `make reference`; `make test` checks that it is up to date.\n\
         Durations (`FOR`, `TTL`, `WAIT`, …) are milliseconds or a token such as `30s`.\n",
    );
    for command in COMMANDS.iter().filter(|command| command.rights != Rights::Internal) {
        text.push_str(&section(command));
    }
    text
}

fn section(command: &Command) -> String {
    let rights = match command.rights {
        Rights::User => "@floodgate",
        Rights::Admin => "@floodgate-admin, flag admin",
        Rights::Internal => "none",
    };
    let flags = command.flags();
    let flags = if flags.is_empty() { "none" } else { &flags };
    format!(
        "\n## {}\n\n```\n{}\n```\n\n{}\n\nComplexity: {}. Flags: {flags}. ACL: {rights}.\n",
        command.name,
        command.syntax(),
        command.summary,
        command.complexity,
    )
}

#[cfg(test)]
mod tests {
    /// With `UPDATE_REFERENCE=1` it writes the file instead (`make reference`).
    #[test]
    fn commands_md_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/COMMANDS.md");
        let made = super::markdown();
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::write(path, &made).ok();
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(kept == made, "COMMANDS.md is not what the table says: run `make reference`");
    }
}
