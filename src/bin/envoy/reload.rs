//! The configuration in force, and the task that looks for a new one.
//!
//! The files are read once a second and compared, byte by byte, with those read
//! last. So it does not matter how they change: written in place, renamed over,
//! or by a link that points elsewhere, as Kubernetes does.

use crate::config::source::{self, SourceFile};
use crate::config::{Algorithm, Config, Refused, build::build};
use crate::metrics::Metrics;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Notify;

/// How often the files are read.
const PAUSE: Duration = Duration::from_secs(1);

/// The configuration in force.
#[derive(Debug)]
pub struct Current(RwLock<Arc<Config>>);

impl Current {
    /// Starts with this one.
    pub fn new(config: Config) -> Self {
        Self(RwLock::new(Arc::new(config)))
    }

    /// As it is now.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, config: Config) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }
}

/// Where the files are, and what stood in them.
pub struct Watch {
    path: PathBuf,
    algorithm: Algorithm,
    seen: Result<Vec<SourceFile>, Refused>,
}

impl Watch {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn start(path: PathBuf, algorithm: Algorithm) -> Result<(Self, Config), Refused> {
        let files = source::read(&path)?;
        let config = build(&files, algorithm)?;
        Ok((Self { path, algorithm, seen: Ok(files) }, config))
    }

    /// Reads them again; `None` when they are the same.
    fn look(&mut self) -> Option<Result<Config, Refused>> {
        let found = source::read(&self.path);
        if found == self.seen {
            return None;
        }
        let built = found.as_ref().map_err(Clone::clone).and_then(|files| build(files, self.algorithm));
        self.seen = found;
        Some(built)
    }

    /// Looks again and again; at once when `asked`.
    pub async fn keep(mut self, current: &Current, metrics: &Metrics, asked: &Notify) {
        loop {
            let _ = tokio::time::timeout(PAUSE, asked.notified()).await;
            match self.look() {
                None => {}
                Some(Ok(config)) => {
                    let (domains, limits) = (config.domains(), config.limits());
                    current.set(config);
                    metrics.loaded(true);
                    eprintln!("floodgate-envoy: new configuration: {domains} domains, {limits} limits");
                }
                Some(Err(why)) => {
                    metrics.loaded(false);
                    eprintln!("floodgate-envoy: {why}; the last good configuration stays in force");
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
        let (mut watch, config) = Watch::start(dir.path().to_owned(), Algorithm::Fixed).unwrap();
        assert_eq!(config.domains(), 1);
        assert!(watch.look().is_none());
        fs::write(&file, "domain: [\n").unwrap();
        let why = watch.look().unwrap().unwrap_err().to_string();
        assert!(why.contains("a.yaml:"), "{why}");
        assert!(watch.look().is_none(), "the same fault is told once");
        fs::write(dir.path().join(".hidden.yaml"), "nonsense").unwrap();
        fs::write(dir.path().join("b.yml"), "domain: b\n").unwrap();
        fs::write(&file, "domain: a\n").unwrap();
        assert_eq!(watch.look().unwrap().unwrap().domains(), 2);
        fs::remove_file(&file).unwrap();
        fs::remove_file(dir.path().join("b.yml")).unwrap();
        let why = watch.look().unwrap().unwrap_err().to_string();
        assert!(why.contains("no file that ends in .yaml"), "{why}");
    }
}
