//! The files of a configuration: one file, or all `.yaml` and `.yml` files of a folder.

use super::ConfigError;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// A file and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    pub path: PathBuf,
    pub text: Vec<u8>,
}

/// Reads all files in the order of their names. Files whose name starts with a dot are skipped,
/// because Kubernetes keeps such files beside the mounted ones.
///
/// # Errors
/// [`ConfigError`] if a file cannot be read, or if there is none.
pub fn read(path: &Path) -> Result<Vec<SourceFile>, ConfigError> {
    let unreadable = |path: &Path, why: io::Error| ConfigError::whole(path, format!("cannot be read: {why}"));
    let mut paths = Vec::new();
    if fs::metadata(path).map_err(|why| unreadable(path, why))?.is_dir() {
        for entry in fs::read_dir(path).map_err(|why| unreadable(path, why))? {
            let found = entry.map_err(|why| unreadable(path, why))?.path();
            let hidden = found.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
            let yaml = found.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
            // A link that leads nowhere is an error: to skip it would drop its domain.
            if yaml && !hidden && fs::metadata(&found).map_err(|why| unreadable(&found, why))?.is_file() {
                paths.push(found);
            }
        }
        paths.sort();
        if paths.is_empty() {
            return Err(ConfigError::whole(path, "the folder holds no file that ends in .yaml or .yml"));
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
