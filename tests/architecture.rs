//! The order of the layers, held by reading the sources: who may use whom, no
//! circle between files, one name for one type, `unsafe` in one folder.
//!
//! `src/guide/layers.md` explains the order to people.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};

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

/// A path in the crate, without the leading `crate`.
type ModulePath = Vec<String>;

/// One file of `src`.
struct SourceFile {
    module: ModulePath,
    path: PathBuf,
    syntax: syn::File,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every `.rs` file below `folder`, but for those in the `others`.
fn rust_files(folder: &Path, others: &[&str], found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !others.contains(&name.as_str()) {
            rust_files(&path, others, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The files of the library.
fn sources() -> Vec<SourceFile> {
    parsed(&["bin", "clients"])
}

/// Every file of `src`, but for those in the `others`.
fn parsed(others: &[&str]) -> Vec<SourceFile> {
    parsed_below(&root(), others)
}

/// Every file below a folder of `src`, but for those in the `others`.
fn parsed_below(folder: &Path, others: &[&str]) -> Vec<SourceFile> {
    let mut paths = Vec::new();
    rust_files(folder, others, &mut paths);
    paths
        .into_iter()
        .map(|path| {
            let inner = path.strip_prefix(root()).unwrap().with_extension("");
            let mut module: ModulePath =
                inner.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
            module.pop_if(|last| last == "mod" || last == "lib");
            let syntax = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap();
            SourceFile { module, path, syntax }
        })
        .collect()
}

fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

/// Collects the paths that a file names, and the names that it offers anew.
struct Names<'f> {
    module: &'f [String],
    children: BTreeSet<String>,
    used: Vec<ModulePath>,
    offered: Vec<(String, ModulePath)>,
}

impl<'f> Names<'f> {
    fn of(file: &'f SourceFile) -> Self {
        let children = file.syntax.items.iter().filter_map(|item| match item {
            syn::Item::Mod(module) => Some(module.ident.to_string()),
            _ => None,
        });
        let mut names =
            Self { module: &file.module, children: children.collect(), used: vec![], offered: vec![] };
        names.visit_file(&file.syntax);
        names
    }

    /// The path from the crate's root, where it leads into the crate.
    fn absolute(&self, path: &[String]) -> Option<ModulePath> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([self.module, rest].concat()),
            "super" => {
                let climbs = path.iter().take_while(|part| *part == "super").count();
                let kept = self.module.len().checked_sub(climbs)?;
                Some([&self.module[..kept], &path[climbs..]].concat())
            }
            child if self.children.contains(child) => Some([self.module, path].concat()),
            _ => None,
        }
    }

    fn flatten(tree: &syn::UseTree, prefix: &[String], out: &mut Vec<(ModulePath, String)>) {
        let with = |ident: &syn::Ident| [prefix, &[ident.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => Self::flatten(&path.tree, &with(&path.ident), out),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|item| Self::flatten(item, prefix, out));
            }
            syn::UseTree::Name(name) if name.ident == "self" => {
                out.push((prefix.to_vec(), prefix.last().cloned().unwrap_or_default()));
            }
            syn::UseTree::Name(name) => out.push((with(&name.ident), name.ident.to_string())),
            syn::UseTree::Rename(rename) => out.push((with(&rename.ident), rename.rename.to_string())),
            syn::UseTree::Glob(_) => out.push((prefix.to_vec(), "*".to_owned())),
        }
    }
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test_only(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut leaves = Vec::new();
        Self::flatten(&item.tree, &[], &mut leaves);
        let offered = !matches!(item.vis, syn::Visibility::Inherited);
        for (path, name) in leaves {
            let Some(path) = self.absolute(&path) else { continue };
            if offered {
                self.offered.push((name, path));
            } else {
                self.used.push(path);
            }
        }
    }

    /// `pub(in crate::core)` says who may look, and uses nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if ["crate", "super"].contains(&parts[0].as_str())
            && let Some(absolute) = self.absolute(&parts)
        {
            self.used.push(absolute);
        }
        visit::visit_path(self, path);
    }

    /// Inside a macro there are tokens only: `crate :: a :: b` is a path there, too.
    fn visit_macro(&mut self, invoked: &'ast syn::Macro) {
        let text = invoked.tokens.to_string().replace("$ crate", "crate").replace(" :: ", "::");
        let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
        for word in words.filter(|word| word.starts_with("crate::") || word.starts_with("super::")) {
            let parts: Vec<_> = word.split("::").map(str::to_owned).collect();
            self.used.extend(self.absolute(&parts));
        }
    }
}

/// Which file uses which others.
fn uses() -> BTreeMap<ModulePath, BTreeSet<ModulePath>> {
    let files = sources();
    let modules: BTreeSet<_> = files.iter().map(|file| file.module.clone()).collect();
    let names: Vec<_> = files.iter().map(Names::of).collect();
    let mut offered = BTreeMap::new();
    for names in &names {
        for (name, target) in &names.offered {
            offered.insert([names.module, std::slice::from_ref(name)].concat(), target.clone());
        }
    }
    let file_of = |mut path: ModulePath| {
        for _ in 0..8 {
            match (1..=path.len()).rev().find_map(|n| Some((n, offered.get(&path[..n])?))) {
                Some((n, target)) => path = [target, &path[n..]].concat(),
                None => break,
            }
        }
        (1..=path.len()).rev().map(|n| path[..n].to_vec()).find(|prefix| modules.contains(prefix))
    };
    let mut graph = BTreeMap::new();
    for (file, names) in files.iter().zip(&names) {
        let targets = names.used.iter().cloned().filter_map(file_of);
        graph.insert(file.module.clone(), targets.filter(|target| *target != file.module).collect());
    }
    graph
}

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

#[test]
fn a_type_name_stands_once() {
    struct Types<'f> {
        file: &'f Path,
        found: Vec<(String, &'f Path)>,
    }
    impl<'ast> Visit<'ast> for Types<'_> {
        fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
            if !is_test_only(&module.attrs) {
                visit::visit_item_mod(self, module);
            }
        }
        fn visit_item(&mut self, item: &'ast syn::Item) {
            let name = match item {
                syn::Item::Struct(item) => Some(&item.ident),
                syn::Item::Enum(item) => Some(&item.ident),
                syn::Item::Trait(item) => Some(&item.ident),
                syn::Item::Type(item) => Some(&item.ident),
                syn::Item::Union(item) => Some(&item.ident),
                _ => None,
            };
            self.found.extend(name.map(|name| (name.to_string(), self.file)));
            visit::visit_item(self, item);
        }
    }
    // The package for Rust is read by itself.
    for (files, least) in
        [(parsed(&["clients"]), 150), (parsed_below(&root().join("clients/rust"), &["target"]), 50)]
    {
        let mut found: BTreeMap<String, Vec<&Path>> = BTreeMap::new();
        for file in &files {
            let mut types = Types { file: &file.path, found: vec![] };
            types.visit_file(&file.syntax);
            for (name, path) in types.found {
                found.entry(name).or_default().push(path);
            }
        }
        assert!(found.len() > least, "only {} types were found", found.len());
        let twice: Vec<_> = found.iter().filter(|(_, paths)| paths.len() > 1).collect();
        assert!(twice.is_empty(), "these names stand for more than one type: {twice:#?}");
    }
}

#[test]
fn unsafe_code_and_the_raw_api_stay_in_server() {
    for file in sources() {
        let folder = file.module.first().map(String::as_str);
        let text = fs::read_to_string(&file.path).unwrap();
        let code: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let has = |word: &str| code.iter().any(|line| line.contains(word));
        let path = file.path.display();
        assert!(folder == Some("server") || !has("unsafe"), "{path} has unsafe code");
        let may_name_it = matches!(folder, Some("server") | None);
        assert!(may_name_it || !has("redis_module"), "{path} names the crate redis-module");
    }
}

/// Whether the code behind `body` names the function `name`.
fn calls(body: &syn::Expr, name: &str) -> bool {
    struct Named<'n> {
        name: &'n str,
        found: bool,
    }
    impl<'ast> Visit<'ast> for Named<'_> {
        fn visit_path(&mut self, path: &'ast syn::Path) {
            self.found |= path.segments.last().is_some_and(|last| last.ident == self.name);
            visit::visit_path(self, path);
        }
    }
    let mut named = Named { name, found: false };
    named.visit_expr(body);
    named.found
}

/// An option that the table of a command lists and its parser forgets must not be
/// taken for another one: each loop over the options names those that it takes, and
/// refuses the others.
#[test]
fn a_forgotten_option_is_no_other_option() {
    #[derive(Default)]
    struct Loops {
        met: usize,
        wrong: Vec<String>,
    }
    /// Whether the loop asks a cursor for its next option.
    struct Asks(bool);
    impl<'ast> Visit<'ast> for Asks {
        fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
            self.0 |= call.method == "option";
            visit::visit_expr_method_call(self, call);
        }
    }
    impl<'ast> Visit<'ast> for Loops {
        fn visit_expr_while(&mut self, over: &'ast syn::ExprWhile) {
            let mut asks = Asks(false);
            asks.visit_expr(&over.cond);
            if asks.0 {
                self.met += 1;
                let refuses =
                    |arm: &syn::Arm| matches!(arm.pat, syn::Pat::Wild(_)) && calls(&arm.body, "not_taken");
                let right = over.body.stmts.iter().any(|statement| match statement {
                    syn::Stmt::Expr(syn::Expr::Match(choice), _) => {
                        matches!(&*choice.expr, syn::Expr::Path(path) if path.path.is_ident("option"))
                            && choice.arms.iter().any(refuses)
                    }
                    _ => false,
                });
                if !right {
                    self.wrong.push(String::new());
                }
            }
            visit::visit_expr_while(self, over);
        }
    }
    let mut all = Loops::default();
    for file in sources().iter().filter(|file| file.module.first().is_some_and(|top| top == "commands")) {
        let before = all.wrong.len();
        all.visit_file(&file.syntax);
        all.wrong[before..].iter_mut().for_each(|wrong| *wrong = file.path.display().to_string());
    }
    assert!(all.met > 15, "only {} loops over options were found", all.met);
    assert!(all.wrong.is_empty(), "these loops take a forgotten option for another one: {:#?}", all.wrong);
}

/// A panic must not reach the server: `src/server/boundary.rs` stops it, and every function that
/// the server calls goes through there.
#[test]
fn panics_are_caught_in_one_file() {
    let catching = sources().into_iter().filter_map(|file| {
        let text = fs::read_to_string(&file.path).unwrap();
        text.contains("catch_unwind").then(|| file.module.join("::"))
    });
    assert_eq!(catching.collect::<Vec<_>>(), ["server::boundary"]);
}

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

#[test]
fn the_top_level_has_no_other_folder() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ignored = fs::read_to_string(root.join(".gitignore")).unwrap();
    for entry in fs::read_dir(root).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let known = ["src", "tests", "scripts"].contains(&name.as_str())
            || name.starts_with('.')
            || ignored.lines().any(|line| line.trim_matches('/') == name);
        assert!(known || !entry.path().is_dir(), "{name} is a folder of its own");
    }
}
