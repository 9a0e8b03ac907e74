//! Which server program the tests run, which version it is, and which library
//! it loads.

use std::{
    collections::HashMap,
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::{LazyLock, Mutex, PoisonError},
};

use crate::support::root;
use tempfile::TempDir;

/// A server program and what it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// What to execute: a path, or a name to be found on `PATH`.
    pub path: PathBuf,
    /// Its own version number, as `--version` prints it.
    pub version: (u32, u32, u32),
    /// Whether it is Valkey and not Redis.
    pub valkey: bool,
}

impl Program {
    /// The program under test: `FLOODGATE_SERVER`, or `redis-server`.
    pub fn under_test() -> Self {
        let path = env::var_os("FLOODGATE_SERVER").map_or_else(|| "redis-server".into(), PathBuf::from);
        // A bare name is looked up on PATH; a path must hold in any folder.
        if path.components().count() == 1 {
            return Self::at(path);
        }
        Self::at(std::path::absolute(path).expect("a working directory"))
    }

    /// Asks a program for its version, once in a test run.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        static KNOWN: LazyLock<Mutex<HashMap<PathBuf, Program>>> = LazyLock::new(Mutex::default);
        let path = path.into();
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(path).or_insert_with_key(|path| Self::ask(path)).clone()
    }

    fn ask(path: &Path) -> Self {
        let output = Command::new(path).arg("--version").output().unwrap_or_else(|e| {
            panic!(
                "cannot run the server program {} ({e}): run scripts/setup.sh, or set FLOODGATE_SERVER",
                path.display()
            )
        });
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text
            .split_whitespace()
            .find_map(|word| parse_version(word.strip_prefix("v=")?))
            .unwrap_or_else(|| panic!("{} --version says no version: {text}", path.display()));
        Self { path: path.into(), version, valkey: text.starts_with("Valkey") }
    }

    /// Whether it offers what Redis `major.minor` offers. Valkey split off
    /// Redis 7.2 and counts as that.
    pub fn at_least(&self, major: u32, minor: u32) -> bool {
        let (a, b, _) = if self.valkey { (7, 2, 4) } else { self.version };
        (a, b) >= (major, minor)
    }

    /// The command-line client that came with the program, else `redis-cli`.
    pub fn cli(&self) -> PathBuf {
        ["redis-cli", "valkey-cli"]
            .iter()
            .map(|name| self.path.with_file_name(name))
            .find(|path| path.is_absolute() && path.exists())
            .unwrap_or_else(|| "redis-cli".into())
    }
}

fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = text.split('.').map(|n| n.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

/// A shared library of one C file in this folder, built by the C compiler that the linker needs
/// anyway. It is there as long as the folder.
pub fn c_library(source: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let library = dir.path().join("library.so");
    let built = Command::new("cc")
        .args(["-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(root().join("tests").join(source))
        .output()
        .expect("a C compiler");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    (dir, library)
}

/// The library that the servers load: `FLOODGATE_MODULE`, else the one beside
/// this test executable, which cargo builds in the same step as the `rlib` that
/// the tests link, so that it is never older than they are.
pub fn module_path() -> PathBuf {
    if let Some(path) = env::var_os("FLOODGATE_MODULE") {
        return std::path::absolute(PathBuf::from(path)).expect("a working directory");
    }
    let executable = env::current_exe().expect("the path of the test executable");
    let path = executable.with_file_name("libfloodgate.so");
    assert!(path.exists(), "{} is missing: run `cargo build`, or set FLOODGATE_MODULE", path.display());
    path
}
