//! The order of the layers: who may use whom, and no circle between files.

use crate::sources::ModulePath;
use crate::uses::uses;
use std::collections::{BTreeMap, BTreeSet};

/// The layers from the lowest to the highest; those of one row do not see each
/// other.
const LAYERS: &[&[&str]] = &[
    &["core"],
    &["server"],
    &["types"],
    &["settings"],
    &["observe"],
    &["limiter"],
    &["queue"],
    &["commands"],
    &["table"],
    &["reference", "guide"],
];

#[test]
fn folders_use_those_below_them_only() {
    let level = |module: &[String]| {
        let folder = module.first()?;
        Some(LAYERS.iter().position(|row| row.contains(&folder.as_str())).unwrap_or_else(|| {
            panic!("src/{folder} is in no layer: name it in LAYERS and in src/guide/layers.md")
        }))
    };
    let mut checked = 0;
    for (module, targets) in uses() {
        // lib.rs loads everything.
        let Some(own) = level(&module) else { continue };
        for target in targets.iter().filter(|target| target.first() != module.first()) {
            let below = level(target).is_some_and(|other| other < own);
            let (from, to) = (module.join("::"), target.join("::"));
            assert!(below, "{from} uses {to}, which is not below it");
            checked += 1;
        }
    }
    assert!(checked > 200, "only {checked} uses were found");
}

/// True when `from` reaches `goal` by one use or more.
fn reaches(graph: &BTreeMap<ModulePath, BTreeSet<ModulePath>>, from: &ModulePath, goal: &ModulePath) -> bool {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&ModulePath> = graph[from].iter().collect();
    while let Some(module) = open.pop() {
        if module == goal {
            return true;
        }
        if seen.insert(module) {
            open.extend(graph.get(module).into_iter().flatten());
        }
    }
    false
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let graph = uses();
    let circle: Vec<_> = graph
        .keys()
        .filter(|module| !module.is_empty() && reaches(&graph, module, module))
        .map(|module| module.join("::"))
        .collect();
    assert!(circle.is_empty(), "these files use each other in a circle: {circle:?}");
}
