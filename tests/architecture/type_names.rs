//! One name for one type.

use crate::sources::{is_test_only, parsed, parsed_below, root};
use std::collections::BTreeMap;
use std::path::Path;
use syn::visit::{self, Visit};

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
