//! The pages hold what they name: commands, files, targets, headings, counters and
//! the ACL lines are there, and mean what the pages say.

use std::{collections::BTreeSet, fs, path::Path};

use floodgate::COMMANDS;
use floodgate::server::load::command::Access;

use crate::harness::{Reply, Server, Wire};
use crate::support::root;

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

/// The commands that people may run with these rights, in lower case.
fn with_rights(rights: Access) -> BTreeSet<String> {
    COMMANDS.iter().filter(|command| command.rights == rights).map(|c| c.name.to_lowercase()).collect()
}

/// The pages that people read.
const PAGES: &[&str] = &[
    "README.md",
    "OPERATIONS.md",
    "BENCHMARKS.md",
    "COMMANDS.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "src/clients/README.md",
    "src/bin/envoy/README.md",
];

#[test]
fn the_front_page_is_short() {
    let readme = read("README.md");
    let (lines, words) = (readme.lines().count(), readme.split_whitespace().count());
    assert!(lines <= 280 && words <= 2600, "{lines} lines, {words} words");
}

/// `make bench` writes both at once: README's five rows and their date are those of BENCHMARKS.md.
#[test]
fn what_it_costs_is_what_was_measured() {
    fn in_short(page: &str) -> Option<&str> {
        let (_, rest) = page.split_once("<!-- make bench: in short -->\n")?;
        Some(rest.split_once("<!-- end of in short -->")?.0)
    }
    let (readme, benchmarks) = (read("README.md"), read("BENCHMARKS.md"));
    let shown = in_short(&readme).expect("README.md has the place");
    assert!(shown.contains("`make bench` measured this on"), "{shown}");
    assert_eq!(Some(shown), in_short(&benchmarks));
}

/// README's table has each command once, and none that is not there.
#[test]
fn the_table_of_commands_is_that_of_the_server() {
    let readme = read("README.md");
    let section = readme.split("\n## ").find(|part| part.starts_with("All commands\n")).unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| for "));
    let mut named: Vec<&str> = rows
        .filter_map(|row| row.split('|').nth(2))
        .flat_map(|cell| cell.split([' ', ',', '(', ')']))
        .filter(|word| word.len() > 3 && !word.contains(|c: char| c.is_ascii_lowercase()))
        .collect();
    let mut there: Vec<&str> = COMMANDS
        .iter()
        .filter(|command| command.rights != Access::Internal)
        .map(|command| command.name)
        .collect();
    named.sort_unstable();
    there.sort_unstable();
    assert_eq!(named, there, "README.md, All commands");
}

/// The commands that blocks show without replies are answered.
#[test]
fn commands_without_replies_run() {
    let mut run = 0;
    for page in PAGES.iter().filter(|page| **page != "COMMANDS.md") {
        let (server, text) = (Server::start(), read(page));
        for line in code(&text).1 {
            let line = line.strip_prefix("$ ").unwrap_or(line);
            // The shell knows comments. Whoever pastes a line into redis-cli sends them, too.
            let in_shell = line.strip_prefix("redis-cli ").and_then(|line| line.split(" # ").next());
            let command = in_shell.unwrap_or(line).trim_end();
            if ["RL.", "CB."].iter().any(|ours| command.starts_with(ours)) {
                let reply = server.line(command);
                assert!(reply.error().is_none(), "{page}: {command}: {reply:?}");
                run += 1;
            }
        }
    }
    assert!(run >= 12, "{run}");
}

/// The first thing that README shows: the reply, a field a line.
#[test]
fn the_first_reply_is_true() {
    let readme = read("README.md");
    let block = readme.split("```").nth(1).unwrap();
    let mut lines = block.lines().skip(1);
    let command = lines.next().unwrap().strip_prefix("$ redis-cli ").unwrap();
    let shown: Vec<i64> =
        lines.map(|line| line.split(' ').nth(2).unwrap().parse().expect("the number")).collect();
    assert_eq!(Server::start().line(command).to_ints(), shown);
}

/// OPERATIONS.md's table of counters and gauges is what a server tells.
#[test]
fn every_counter_is_described() {
    let page = read("OPERATIONS.md");
    let section = page.split("\n### ").find(|part| part.starts_with("Counters and gauges\n")).unwrap();
    let rows: Vec<(&str, &str)> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .map(|(name, rest)| (name, rest.split(" | ").next().unwrap()))
        .collect();
    let server = Server::start();
    let told = server.info("floodgate");
    let described: BTreeSet<String> = rows.iter().map(|(name, _)| format!("floodgate_{name}")).collect();
    assert_eq!(described.len(), rows.len(), "a row stands twice");
    assert_eq!(
        described,
        told.keys().cloned().collect(),
        "OPERATIONS.md, Counters and gauges: a row for each field of INFO floodgate"
    );
    for (name, kind) in rows {
        let number = told[&format!("floodgate_{name}")].parse::<u64>().is_ok();
        assert!(["counter", "gauge", "text"].contains(&kind), "{name}: {kind}");
        assert!(number || kind == "text", "{name}: {kind}");
    }
}

/// What clients send beside our commands, and what an operator looks with.
const CLIENTS_OWN: &[&str] = &["multi", "exec", "discard", "ping", "info", "wait"];
const LOOKS: &[&str] = &[
    "info",
    "ping",
    "subscribe",
    "unsubscribe",
    "client|list",
    "client|unblock",
    "module|list",
    "rl.quota",
    "rl.queue",
    "rl.reservations",
    "rl.stats",
    "cb.state",
    "rl.help",
    "cb.help",
];

#[test]
fn the_acl_lines_give_just_the_commands_of_their_category() {
    let page = read("OPERATIONS.md");
    for (user, rights, more, left_out) in
        [("app", Access::User, CLIENTS_OWN, None), ("operator", Access::Admin, LOOKS, Some("rl.debug"))]
    {
        let line = acl_line(&page, user);
        let named: BTreeSet<String> =
            line.split(' ').filter_map(|word| word.strip_prefix('+')).map(str::to_owned).collect();
        let mut expected = with_rights(rights);
        left_out.map(|name| expected.remove(name));
        expected.extend(more.iter().map(|&name| name.to_owned()));
        assert_eq!(named, expected, "{user}");
    }
}

fn acl_line<'p>(page: &'p str, user: &str) -> &'p str {
    page.lines().find(|line| line.starts_with(&format!("ACL SETUSER {user} "))).unwrap()
}

/// Whether the user may run it, whatever comes of it.
fn may(wire: &mut Wire, command: &str) -> bool {
    let reply = wire.line(command);
    // In a transaction and before 7.0 the text has no code of its own everywhere.
    !reply.error().is_some_and(|text| text.contains("NOPERM") || text.contains("no permissions"))
}

fn as_user(server: &Server, page: &str, user: &str) -> Wire {
    server.ok(acl_line(page, user));
    let mut wire = server.wire();
    assert_eq!(wire.line(&format!("AUTH {user} secret")), Reply::ok());
    wire
}

/// The application's user runs what the recipes send, transactions too, on its
/// keys only.
#[test]
fn the_acl_line_of_applications_runs_the_recipes() {
    let (page, server) = (read("OPERATIONS.md"), Server::start());
    let mut wire = as_user(&server, &page, "app");
    assert_eq!(wire.line("RL.ACQUIRE rl:1 10/s").rate_limit().granted, 1);
    for refused in ["RL.ACQUIRE other 10/s", "RL.PIN rl:1 10/s", "GET rl:1", "RL.METRICS"] {
        assert!(!may(&mut wire, refused), "{refused}");
    }
    // A decision and its headers in one round trip.
    assert_eq!(wire.line("MULTI"), Reply::ok());
    wire.line("RL.ACQUIRE rl:1 10/s");
    wire.line("RL.QUOTA rl:1 10/s HEADERS");
    let both = wire.line("EXEC");
    assert_eq!(both[0].rate_limit().granted, 1);
    assert_eq!(both[1].field("X-RateLimit-Remaining"), Reply::bulk("8"));
    assert_eq!(wire.line("MULTI"), Reply::ok());
    assert_eq!(wire.line("DISCARD"), Reply::ok());
    // Every command that a recipe names, but those of the service, which operates.
    let line = acl_line(&page, "app");
    let mut seen = BTreeSet::new();
    let folders = [
        ("src/clients/python/floodgate_redis", "py"),
        ("src/clients/node/src", "ts"),
        ("src/clients/rust/src", "rs"),
    ];
    for (folder, ending) in folders {
        for recipe in ["breaker", "reservation", "limiter", "acquire", "server"] {
            let path = root().join(format!("{folder}/{recipe}.{ending}"));
            let Ok(text) = fs::read_to_string(path) else { continue };
            for name in
                text.split(['"', '\'']).filter(|word| word.starts_with("RL.") || word.starts_with("CB."))
            {
                if name.bytes().all(|b| b.is_ascii_uppercase() || b == b'.') {
                    assert!(
                        line.contains(&format!(" +{}", name.to_lowercase())),
                        "{recipe}.{ending}: {name}"
                    );
                    seen.insert(name.to_owned());
                }
            }
        }
    }
    assert!(seen.len() >= 7, "{seen:?}");
}

/// The operator's user runs every command that the section for three in the
/// morning shows, hears the alerts, and may not take.
#[test]
fn the_acl_line_of_operators_runs_the_diagnosis() {
    let (page, server) = (read("OPERATIONS.md"), Server::start());
    let mut wire = as_user(&server, &page, "operator");
    let section = page.split("\n## ").find(|part| part.starts_with("Three in the morning\n")).unwrap();
    let shown = section.split("```redis").skip(1).filter_map(|block| block.split("```").next());
    let mut commands: Vec<String> =
        shown.flat_map(str::lines).filter_map(|line| line.strip_prefix("> ")).map(str::to_owned).collect();
    assert!(commands.len() >= 10, "{commands:?}");
    commands
        .extend(["INFO floodgate", "RL.METRICS", "RL.STATS user:7", "RL.HELP", "PING"].map(str::to_owned));
    commands.extend(
        ["RL.POLICY SET free 5/m PREFIX user:", "RL.USAGE 0", "CB.FORCE mail OPEN FOR 1h"].map(str::to_owned),
    );
    for row in ["CLIENT UNBLOCK", "CLIENT LIST", "MODULE LIST"] {
        assert!(section.contains(row), "{row}");
        commands.push(if row == "CLIENT UNBLOCK" { "CLIENT UNBLOCK 1".into() } else { row.into() });
    }
    for command in &commands {
        assert!(may(&mut wire, command), "{command}");
    }
    for refused in ["RL.ACQUIRE user:7 5/m", "FLUSHALL", "CONFIG GET *", "GET user:7"] {
        assert!(!may(&mut wire, refused), "{refused}");
    }
    for channel in ["floodgate:alerts", "floodgate:events"] {
        assert!(may(&mut wire, &format!("SUBSCRIBE {channel}")), "{channel}");
    }
    assert!(!may(&mut wire, "SUBSCRIBE other"));
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
    for (page, least) in [
        ("README.md", 8),
        ("OPERATIONS.md", 20),
        ("BENCHMARKS.md", 8),
        ("CONTRIBUTING.md", 20),
        ("SECURITY.md", 3),
        ("src/clients/README.md", 2),
    ] {
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
            assert!(theirs || root().join(path).exists(), "{path}");
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
    for &file in PAGES {
        for link in
            read(file).split("](").skip(1).filter_map(|rest| rest.split(')').next().map(str::to_owned))
        {
            let (target, heading) = link.split_once('#').unwrap_or((&link, ""));
            if target.starts_with("https:") {
                continue;
            }
            let folder = Path::new(file).parent().unwrap();
            let target = if target.is_empty() {
                file.to_owned()
            } else {
                folder.join(target).to_str().unwrap().to_owned()
            };
            let headings: Vec<String> = if heading.is_empty() {
                vec![String::new()]
            } else {
                read(&target).lines().filter_map(|line| line.strip_prefix('#')).map(anchor).collect()
            };
            assert!(headings.iter().any(|there| there == heading), "{file}: {link}");
            assert!(root().join(&target).exists(), "{file}: {link}");
        }
    }
}

/// What a heading is called in a link.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_matches(['#', ' ']).to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || *c == '-').collect()
}
