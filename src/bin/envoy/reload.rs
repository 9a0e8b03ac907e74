//! The configuration in force, and the task that looks for a new one.
//!
//! The files are read once a second and compared, byte by byte, with the files read before. So it
//! does not matter how they change: written in place, replaced by a rename, or by a link that
//! points elsewhere, as in Kubernetes.

use crate::config::source::{self, SourceFile};
use crate::config::{Config, ConfigError, UnitAlgorithm, build::build};
use crate::log::log;
use crate::metrics::Metrics;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Notify;

/// The time between two reads of the files.
const PAUSE: Duration = Duration::from_secs(1);

/// The configuration in force.
#[derive(Debug)]
pub struct Current(RwLock<Arc<Config>>);

impl Current {
    /// Starts with this configuration.
    pub fn new(config: Config) -> Self {
        Self(RwLock::new(Arc::new(config)))
    }

    /// The configuration in force now.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, config: Config) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }
}

/// The path of the files, and what they contained when they were read last.
pub struct Watch {
    path: PathBuf,
    algorithm: UnitAlgorithm,
    seen: Result<Vec<SourceFile>, ConfigError>,
}

impl Watch {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// [`ConfigError`] if the files cannot be read or are malformed.
    pub fn start(path: PathBuf, algorithm: UnitAlgorithm) -> Result<(Self, Config), ConfigError> {
        let files = source::read(&path)?;
        let config = build(&files, algorithm)?;
        Ok((Self { path, algorithm, seen: Ok(files) }, config))
    }

    /// Reads the files again. `None` if they have not changed.
    fn poll(&mut self) -> Option<Result<Config, ConfigError>> {
        let found = source::read(&self.path);
        if found == self.seen {
            return None;
        }
        let built = found.as_ref().map_err(Clone::clone).and_then(|files| build(files, self.algorithm));
        self.seen = found;
        Some(built)
    }

    /// Looks for changes once a second, and at once when `asked` is notified. Never returns.
    pub async fn keep(mut self, current: &Current, metrics: &Metrics, asked: &Notify) {
        loop {
            let _ = tokio::time::timeout(PAUSE, asked.notified()).await;
            match self.poll() {
                None => {}
                Some(Ok(config)) => {
                    log(&format_args!("new configuration: {config}"));
                    current.set(config);
                    metrics.loaded(true);
                }
                Some(Err(why)) => {
                    metrics.loaded(false);
                    log(&format_args!("{why}; the last good configuration stays in force"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn each_content_is_judged_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        fs::write(&file, "domain: a\n").unwrap();
        let (mut watch, config) = Watch::start(dir.path().to_owned(), UnitAlgorithm::Fixed).unwrap();
        assert_eq!(config.domains(), 1);
        assert!(watch.poll().is_none());
        fs::write(&file, "domain: [\n").unwrap();
        let why = watch.poll().unwrap().unwrap_err().to_string();
        assert!(why.contains("a.yaml:"), "{why}");
        assert!(watch.poll().is_none(), "the same fault is told once");
        fs::write(dir.path().join(".hidden.yaml"), "nonsense").unwrap();
        fs::write(dir.path().join("b.yml"), "domain: b\n").unwrap();
        fs::write(&file, "domain: a\n").unwrap();
        assert_eq!(watch.poll().unwrap().unwrap().domains(), 2);
        fs::remove_file(&file).unwrap();
        fs::remove_file(dir.path().join("b.yml")).unwrap();
        let why = watch.poll().unwrap().unwrap_err().to_string();
        assert!(why.contains("no file that ends in .yaml"), "{why}");
    }
}
