//! CONTRIBUTING.md: each promise names tests that there are.

use crate::support::root;
use std::{fs, path::Path};

/// Whether a filter of `cargo test --test SUITE FILTER` finds a test.
fn finds(suite: &str, filter: &str) -> bool {
    let folder = root().join("tests").join(suite);
    functions(&folder, "").iter().any(|name| name.contains(filter))
}

/// The functions below a folder, by the path of their module.
fn functions(folder: &Path, module: &str) -> Vec<String> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let inner =
            if ["main", "mod"].contains(&stem) { module.to_owned() } else { format!("{module}{stem}::") };
        if path.is_dir() {
            found.extend(functions(&path, &inner));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let names =
                text.lines().filter_map(|line| line.trim().strip_prefix("fn ")?.split(['(', '<']).next());
            found.extend(names.map(|name| inner.clone() + name));
        }
    }
    found
}

#[test]
fn the_commands_that_show_them_run_tests() {
    let page = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let (_, rest) = page.split_once("## Promises and their tests\n").expect("the section");
    let (section, _) = rest.split_once("\n## ").expect("the next section");
    let mut checked = 0;
    for row in section.lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
        let commands = row.rsplit('|').nth(1).expect("the last cell");
        let mut suite = "";
        for command in commands.split('`').skip(1).step_by(2) {
            // Other programs stand for themselves.
            if command.starts_with("make ") || command.starts_with("scripts/") {
                continue;
            }
            let filter = match command.split_once(' ') {
                Some((named, filter)) => {
                    suite = named;
                    filter
                }
                None => command,
            };
            assert!(finds(suite, filter), "{row}\nnames a test that is not there: {suite} {filter}");
            checked += 1;
        }
    }
    assert!(checked > 25, "only {checked} commands were found");
    assert!(!finds("server", "waiting::none") && !finds("core", "nothing_of_the_sort"));
}
