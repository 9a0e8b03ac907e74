//! The files of `src`, as the compiler parses them.

use std::fs;
use std::path::{Path, PathBuf};

/// A path in the crate, without the leading `crate`.
pub type ModulePath = Vec<String>;

/// One file of `src`.
pub struct SourceFile {
    pub module: ModulePath,
    pub path: PathBuf,
    pub syntax: syn::File,
}

pub fn root() -> PathBuf {
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
pub fn sources() -> Vec<SourceFile> {
    parsed(&["bin", "clients"])
}

/// Every file of `src`, but for those in the `others`.
pub fn parsed(others: &[&str]) -> Vec<SourceFile> {
    parsed_below(&root(), others)
}

/// Every file below a folder of `src`, but for those in the `others`.
pub fn parsed_below(folder: &Path, others: &[&str]) -> Vec<SourceFile> {
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

pub fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}
