//! COMMANDS.md is what the table of commands and the pages of the reference make.

use crate::support::root;
use floodgate::core::breaker::Breaker;
use floodgate::core::limits::Limits;
use floodgate::reference::pages::{self, MOVING, PAGES, SETTINGS};
use floodgate::reference::{markdown, people, transcript};
use floodgate::server::load::settings::SettingKind;
use floodgate::settings;

/// With `UPDATE_REFERENCE=1` the test writes the file first (`make reference`).
#[test]
fn commands_md_is_up_to_date() {
    let path = root().join("COMMANDS.md");
    let made = markdown();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, &made).ok();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == made, "COMMANDS.md is not what the table says: run `make reference`");
}

#[test]
fn every_command_has_a_page() {
    for command in people() {
        let has = pages::of(command.name).is_some();
        assert!(has, "write src/reference/pages/{}.md", command.name.to_lowercase());
    }
    for (name, _) in PAGES {
        assert!(people().any(|command| command.name == *name), "{name} is no command");
    }
}

#[test]
fn every_page_says_what_is_replied_and_shows_it() {
    for (name, page) in PAGES {
        assert!(page.starts_with("Reply: "), "{name}");
        let examples = transcript::examples(page);
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
    let mut there: Vec<_> = settings::TABLE.iter().map(|setting| setting.name.to_string_lossy()).collect();
    shown.sort_unstable();
    there.sort_unstable();
    assert_eq!(shown, there);
    for setting in settings::TABLE {
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
