//! Sees to it that no file that is written is a log, or another file that is written.

use crate::options::ReplayOptions;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// An output that is another file of the command line.
#[derive(Debug, thiserror::Error)]
#[error("{option} {}: {other}", path.display())]
pub struct SameFile {
    option: &'static str,
    path: PathBuf,
    other: Other,
}

/// What the output is, too.
#[derive(Debug, thiserror::Error)]
enum Other {
    #[error("that file is one of the logs, and would be overwritten")]
    Log,
    #[error("{0} writes that file")]
    Output(&'static str),
}

/// Checks the outputs before anything is read.
///
/// # Errors
/// [`SameFile`] if an output is a log or another output, under whichever name.
pub fn check(options: &ReplayOptions) -> Result<(), SameFile> {
    let outputs =
        [("--csv", &options.csv), ("--timeline", &options.timeline), ("--picture", &options.picture)];
    let log = |log: &PathBuf| Place::of(if log.as_os_str() == "-" { Path::new("/dev/stdin") } else { log });
    let logs: Vec<Place> = options.logs.iter().filter_map(log).collect();
    let mut before: Vec<(&'static str, Place)> = Vec::new();
    for (option, path) in outputs {
        let Some(path) = path else { continue };
        let Some(place) = Place::of(path) else { continue };
        let other = before.iter().find(|(_, other)| *other == place).map(|(other, _)| Other::Output(other));
        let other = if logs.contains(&place) { Some(Other::Log) } else { other };
        if let Some(other) = other {
            return Err(SameFile { option, path: path.clone(), other });
        }
        before.push((option, place));
    }
    Ok(())
}

/// Where a file is, the same for all of its names.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// The device and the number of a file that is there.
    Kept { device: u64, number: u64 },
    /// The path of a file that is not there yet, with its folder's real path.
    New(PathBuf),
}

impl Place {
    /// `None` for a device or a pipe, in which nothing can be overwritten.
    fn of(path: &Path) -> Option<Self> {
        Some(match fs::metadata(path) {
            Ok(found) if found.is_file() => Self::Kept { device: found.dev(), number: found.ino() },
            Ok(_) => return None,
            Err(_) => {
                // A link to nothing is where it leads to.
                let path = fs::read_link(path)
                    .map_or_else(|_| path.to_owned(), |to| path.parent().unwrap_or(Path::new("")).join(to));
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let folder = fs::canonicalize(folder.unwrap_or(Path::new("."))).ok();
                Self::New(match (folder, path.file_name()) {
                    (Some(folder), Some(name)) => folder.join(name),
                    _ => path,
                })
            }
        })
    }
}
