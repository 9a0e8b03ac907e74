//! COMMANDS.md, which is made from the table of commands and a page for each command. A page says
//! what the command replies and what to know about it, and shows examples that the tests run.
//!
//! | file | idea |
//! |---|---|
//! | [`pages`] | the pages, `pages/NAME.md` |
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
         an empty server, at 2027-01-15 08:00 UTC. They show RESP2. In RESP3 maps are maps and booleans are\n\
         true or false, from Redis 7.0 on; Redis 6.2 gives the replies of RESP2 there, too.\n",
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
    let flags = match command.key_access {
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
