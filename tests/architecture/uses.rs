//! Which file of the library uses which others.

use crate::sources::{ModulePath, SourceFile, is_test_only, sources};
use std::collections::{BTreeMap, BTreeSet};
use syn::visit::{self, Visit};

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
pub fn uses() -> BTreeMap<ModulePath, BTreeSet<ModulePath>> {
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
