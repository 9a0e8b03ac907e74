//! The files of a configuration: one, or all `.yaml` and `.yml` of a folder.

use super::Refused;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// What stands in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    pub path: PathBuf,
    pub text: Vec<u8>,
}

/// Reads them all, in the order of their names. Files whose name begins with a
/// dot are passed over, as those that Kubernetes keeps beside mounted ones.
///
/// # Errors
/// When a file cannot be read, and when there is none.
pub fn read(path: &Path) -> Result<Vec<SourceFile>, Refused> {
    let unreadable = |path: &Path, why: io::Error| Refused::whole(path, format!("cannot be read: {why}"));
    let mut paths = Vec::new();
    if fs::metadata(path).map_err(|why| unreadable(path, why))?.is_dir() {
        for entry in fs::read_dir(path).map_err(|why| unreadable(path, why))? {
            let found = entry.map_err(|why| unreadable(path, why))?.path();
            let hidden = found.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
            let yaml = found.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
            if yaml && !hidden && found.is_file() {
                paths.push(found);
            }
        }
        paths.sort();
        if paths.is_empty() {
            return Err(Refused::whole(path, "the folder holds no file that ends in .yaml or .yml"));
        }
    } else {
        paths.push(path.to_owned());
    }
    paths
        .into_iter()
        .map(|path| match fs::read(&path) {
            Ok(text) => Ok(SourceFile { path, text }),
            Err(why) => Err(unreadable(&path, why)),
        })
        .collect()
}
