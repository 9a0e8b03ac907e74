//! The guide names only files that exist, and every `static` that there is.

use crate::support::root;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn pages() -> Vec<(String, String)> {
    let folder = fs::read_dir(root().join("src/guide")).unwrap();
    let paths = folder.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| {
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn every_page_is_in_the_list() {
    let list = fs::read_to_string(root().join("src/guide/mod.rs")).unwrap();
    for (name, _) in pages() {
        assert!(
            list.contains(&format!("include_str!(\"{name}\")")),
            "{name} is not shown by src/guide/mod.rs"
        );
    }
}

#[test]
fn files_that_the_pages_name_exist() {
    let mut checked = 0;
    for (page, text) in pages() {
        for quoted in text.split('`').skip(1).step_by(2) {
            let is_path = ["src/", "tests/", "scripts/"].iter().any(|top| quoted.starts_with(top));
            if !is_path || quoted.contains(['…', '*', ' ', '<']) {
                continue;
            }
            assert!(root().join(quoted).exists(), "{page} names {quoted}, which does not exist");
            checked += 1;
        }
    }
    assert!(checked > 60, "only {checked} files were found");
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let skipped = ["src/bin", "src/clients"].iter().any(|skipped| path == root().join(skipped));
        if path.is_dir() && !skipped {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The name of the `static` that a line declares.
fn static_of(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line.strip_prefix("pub ").unwrap_or(line);
    let line = if line.starts_with("pub(") { line.split_once(") ")?.1 } else { line };
    line.strip_prefix("static ")?.split(':').next()
}

#[test]
fn the_table_of_state_lists_every_static() {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    let mut there = BTreeSet::new();
    for path in files {
        let file = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        for name in fs::read_to_string(&path).unwrap().lines().filter_map(static_of) {
            there.insert(format!("`{file}` | `{name}`"));
        }
    }
    let page = fs::read_to_string(root().join("src/guide/threads.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `src/"));
    let listed: BTreeSet<_> = rows
        .map(|row| row.trim_start_matches("| ").splitn(3, " | ").take(2).collect::<Vec<_>>().join(" | "))
        .collect();
    assert_eq!(there, listed, "the table in src/guide/threads.md differs from the sources");
}
