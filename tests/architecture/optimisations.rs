//! What each optimisation tells of itself.

use crate::sources::{SourceFile, sources};
use std::fs;
use std::path::Path;

/// The blocks at the heads of files that begin with `**Optimisation.**`, up to an empty line. A block
/// elsewhere in a file is a fault.
fn optimisations(text: &str, path: &Path) -> Vec<String> {
    const MARK: &str = "**Optimisation.**";
    let head: Vec<_> = text.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let inside = text.matches(MARK).count() - head.iter().filter(|line| line.contains(MARK)).count();
    assert_eq!(inside, 0, "{} has an optimisation that its head does not tell", path.display());
    let blocks = head.split(|line| line.trim().is_empty()).map(|block| block.join(""));
    blocks.filter(|block| block.contains(MARK)).collect()
}

/// The rules of CONTRIBUTING.md: its figure, the commit that it was measured at, and the test that
/// compares it with the plain version.
#[test]
fn an_optimisation_names_its_figure_its_commit_and_its_test() {
    let mut found = 0;
    for SourceFile { path, .. } in sources() {
        for block in optimisations(&fs::read_to_string(&path).unwrap(), &path) {
            found += 1;
            let words: Vec<_> = block.split(|c: char| c.is_whitespace() || "()`,;".contains(c)).collect();
            let is_hash = |word: &str| {
                let word = word.trim_end_matches(['.', ':']);
                word.len() >= 7 && word.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            };
            let commit = words.windows(2).any(|pair| pair[0] == "commit" && is_hash(pair[1]));
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let is_rust = |word: &str| Path::new(word).extension().is_some_and(|extension| extension == "rs");
            let is_test = |word: &&&str| word.starts_with("tests/") && is_rust(word);
            let tests: Vec<_> = words.iter().filter(is_test).collect();
            let there = !tests.is_empty() && tests.iter().all(|test| root.join(test).is_file());
            let figure =
                block.split("(commit").next().is_some_and(|text| text.contains(|c: char| c.is_ascii_digit()));
            assert!(figure && commit && there, "{} lacks figure, commit or test:\n{block}", path.display());
        }
    }
    assert!(found >= 8, "only {found} optimisations were found");
}
