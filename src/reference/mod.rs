//! COMMANDS.md, which is made from the table of commands and a page for each command. A page says
//! what the command replies and what to know about it, and shows examples that the tests run.
//!
//! | file | idea |
//! |---|---|
//! | [`pages`] | the pages, `pages/NAME.md`, and the commands still without one |
//! | [`transcript`] | the examples of a page: what is sent, what comes back |

pub mod pages;
pub mod transcript;

use crate::COMMANDS;
use crate::server::load::command::{Access, Command, KeyAccess};

/// The reference as Markdown: every command that people use, in the order of the table.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Reference\n\n\
         Made from the table of commands and the pages in `src/reference/pages` by `make reference`;\n\
         `make test` checks that it is up to date, and runs every example against a real server.\n\n\
         Durations (`FOR`, `TTL`, `WAIT`, …) are a number with a unit, such as `30s`. The examples are as\n\
         `redis-cli` shows them; a line such as `(500ms later)` means that time passes. Each block starts on\n\
         an empty server, at 2027-01-15 08:00 UTC.\n",
    );
    text.push_str("\n| | |\n|---|---|\n");
    text.push_str(
        "| [Limits](#limits), [Breakers](#breakers) | what stands for `limits` and `breaker` below |\n",
    );
    for command in people() {
        text.push_str(&format!("| [{}](#{}) | {} |\n", command.name, anchor(command.name), command.summary));
    }
    text.push_str("| [Settings](#settings) | of the module |\n");
    text.push_str("| [Moving in](#moving-in) | from redis-cell, limits, rate-limiter-flexible, resilience4j, Polly, pybreaker |\n\n");
    text.push_str(&[pages::LIMITS.1, pages::BREAKERS.1].join("\n"));
    for command in people() {
        text.push_str(&section(command));
    }
    text.push('\n');
    text.push_str(&[pages::SETTINGS.1, pages::MOVING.1].join("\n"));
    text
}

/// The name of a heading in links.
fn anchor(name: &str) -> String {
    name.to_lowercase().replace('.', "")
}

/// The commands that people use.
pub fn people() -> impl Iterator<Item = &'static Command> {
    COMMANDS.iter().filter(|command| command.rights != Access::Internal)
}

fn section(command: &Command) -> String {
    let rights = match command.rights {
        Access::User => "@floodgate",
        Access::Admin => "@floodgate-admin, flag admin",
        Access::Internal => "none",
    };
    let flags = match command.effect {
        KeyAccess::Node(_) => {
            "admin, and each subcommand has its own (on Redis 6.2 all: may-replicate)".to_owned()
        }
        _ => command.flags(),
    };
    let flags = if flags.is_empty() { "none" } else { &flags };
    let page = pages::of(command.name).map(|page| format!("\n{}\n", page.trim())).unwrap_or_default();
    format!(
        "\n## {}\n\n```\n{}\n```\n\n{}\n{page}\nComplexity: {}. Flags: {flags}. ACL: {rights}.\n",
        command.name,
        command.syntax(),
        command.summary,
        command.complexity,
    )
}

#[cfg(test)]
mod tests {
    use super::pages::{MOVING, PAGES, SETTINGS, TO_COME};
    use crate::core::breaker::Breaker;
    use crate::core::limits::Limits;
    use crate::server::load::settings::SettingKind;

    /// With `UPDATE_REFERENCE=1` the test writes the file first (`make reference`).
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

    #[test]
    fn every_command_has_a_page_or_is_still_to_come() {
        for command in super::people() {
            let has = super::pages::of(command.name).is_some();
            let to_come = TO_COME.contains(&command.name);
            assert!(
                has != to_come,
                "{}: write src/reference/pages/{}.md, and strike it from TO_COME",
                command.name,
                command.name.to_lowercase()
            );
        }
        for (name, _) in PAGES {
            assert!(super::people().any(|command| command.name == *name), "{name} is no command");
        }
    }

    #[test]
    fn every_page_says_what_is_replied_and_shows_it() {
        for (name, page) in PAGES {
            assert!(page.starts_with("Reply: "), "{name}");
            let examples = super::transcript::examples(page);
            assert!(
                examples.iter().flat_map(|example| &example.steps).any(|step| step
                    .command()
                    .and_then(|words| words.first().cloned())
                    .is_some_and(|word| word == *name)),
                "{name} is in none of its own examples"
            );
        }
    }

    #[test]
    fn every_setting_is_in_the_table() {
        let rows = SETTINGS.1.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let mut shown: Vec<&str> = rows.collect();
        let mut there: Vec<_> =
            crate::settings::TABLE.iter().map(|setting| setting.name.to_string_lossy()).collect();
        shown.sort_unstable();
        there.sort_unstable();
        assert_eq!(shown, there);
        for setting in crate::settings::TABLE {
            let values = match &setting.kind {
                SettingKind::Number { min, max, .. } => format!("{min} to {max}"),
                SettingKind::Switch(_) => "`yes`, `no`".to_owned(),
                SettingKind::Text(_) => continue,
            };
            let name = setting.name.to_string_lossy();
            let row = SETTINGS.1.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
            assert!(row.is_some_and(|row| row.contains(&format!("| {values} |"))), "{name}: {values}");
        }
    }

    /// A second cell that starts with a token holds limits or a breaker. Other cells name a
    /// command.
    #[test]
    fn those_who_move_in_find_tokens_that_hold() {
        let cells = MOVING.1.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").nth(1));
        let mut tokens = 0;
        for token in cells.filter_map(|cell| cell.strip_prefix('`')?.split('`').next()) {
            let limits = Limits::parse(token.as_bytes());
            let breaker = Breaker::parse(token.as_bytes());
            assert!(limits.is_ok() || breaker.is_ok(), "{token}: {limits:?}, {breaker:?}");
            tokens += 1;
        }
        assert!(tokens >= 28, "{tokens}");
    }
}
