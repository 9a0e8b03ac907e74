//! README holds what it names: commands, files, targets, headings and the ACL
//! lines are there, and mean what it says.

use std::{collections::BTreeSet, fs, path::Path};

use floodgate::COMMANDS;
use floodgate::server::load::command::Rights;

use crate::harness::{Reply, Server};

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// The commands that people may run with these rights, in lower case.
fn with_rights(rights: Rights) -> BTreeSet<String> {
    COMMANDS.iter().filter(|command| command.rights == rights).map(|c| c.name.to_lowercase()).collect()
}

#[test]
fn every_command_is_named() {
    let readme = read("README.md");
    for command in COMMANDS.iter().filter(|command| command.rights != Rights::Internal) {
        assert!(readme.contains(command.name), "{}", command.name);
    }
}

#[test]
fn the_acl_lines_give_just_the_commands_of_their_category() {
    let readme = read("README.md");
    let server = Server::start();
    for (user, rights, left_out) in
        [("app", Rights::User, None), ("operator", Rights::Admin, Some("rl.debug"))]
    {
        let line = readme.lines().find(|line| line.starts_with(&format!("ACL SETUSER {user} "))).unwrap();
        server.ok(line);
        let named: BTreeSet<String> =
            line.split(' ').filter_map(|word| word.strip_prefix('+')).map(str::to_owned).collect();
        let mut expected = with_rights(rights);
        left_out.map(|name| expected.remove(name));
        assert_eq!(named, expected, "{user}");
    }
    let mut wire = server.wire();
    assert_eq!(wire.line("AUTH app secret"), Reply::ok());
    assert_eq!(wire.line("RL.ACQUIRE rl:1 10/s").to_ints()[0], 1);
    for refused in ["RL.ACQUIRE other 10/s", "RL.PIN rl:1 10/s", "GET rl:1"] {
        assert!(wire.line(refused).error().is_some_and(|text| text.starts_with("NOPERM ")), "{refused}");
    }
}

/// What stands in backticks within the text, and the lines of blocks.
fn code(text: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut spans, mut lines, mut open) = (Vec::new(), Vec::new(), false);
    for (at, part) in text.split("```").enumerate() {
        open = at % 2 == 1;
        if open {
            lines.extend(part.lines());
        } else {
            spans.extend(part.split('`').skip(1).step_by(2));
        }
    }
    assert!(!open, "a block is not closed");
    (spans, lines)
}

#[test]
fn every_file_and_target_is_there() {
    // A page, and how much it names at least.
    for (page, least) in [("README.md", 20), ("CONTRIBUTING.md", 20), ("SECURITY.md", 3)] {
        let seen = files_and_targets(&read(page));
        assert!(seen >= least, "{page}: {seen}");
    }
}

/// Asserts that the files and targets that a page names are there; says how many.
fn files_and_targets(page: &str) -> usize {
    let makefile = read("Makefile");
    let (spans, lines) = code(page);
    let mut seen = 0;
    for path in spans.iter().filter_map(|span| span.split([' ', '\n']).next()) {
        if ["tests/", "scripts/", "src/", ".github/", ".cargo/", ".ci/"]
            .iter()
            .any(|folder| path.starts_with(folder))
        {
            // Where people put their secrets, and nobody else.
            let theirs = path.starts_with("scripts/monitoring/secrets");
            assert!(theirs || Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(), "{path}");
            seen += 1;
        }
    }
    let commands = spans.iter().chain(&lines).filter_map(|command| command.strip_prefix("make "));
    for target in commands.filter_map(|command| command.split([' ', '\n']).next()) {
        assert!(makefile.contains(&format!("\n{target}:")), "make {target}");
        seen += 1;
    }
    seen
}

#[test]
fn every_link_leads_to_a_heading() {
    for file in ["README.md", "COMMANDS.md", "CONTRIBUTING.md", "SECURITY.md"] {
        for link in
            read(file).split("](").skip(1).filter_map(|rest| rest.split(')').next().map(str::to_owned))
        {
            let (target, heading) = link.split_once('#').unwrap_or((&link, ""));
            if target.starts_with("https:") {
                continue;
            }
            let target = if target.is_empty() { file } else { target };
            let headings: Vec<String> = if heading.is_empty() {
                vec![String::new()]
            } else {
                read(target).lines().filter_map(|line| line.strip_prefix('#')).map(anchor).collect()
            };
            assert!(headings.iter().any(|there| there == heading), "{file}: {link}");
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(target).exists(), "{file}: {link}");
        }
    }
}

/// What a heading is called in a link.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_matches(['#', ' ']).to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || *c == '-').collect()
}
