//! The crate for Rust, `src/clients/rust`: its tests on real servers, and the examples of
//! its documentation, which compile.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::support::root;
use crate::{
    clients::{control::with_servers, recipes::installed},
    harness::Server,
};

const CRATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../src/clients/rust");

/// Cargo for the crate, with what is built already: beside these tests themselves.
/// Other tests run meanwhile: let them go first.
fn cargo(command: &str) -> Command {
    let mut cargo = Command::new("nice");
    cargo.args(["cargo", command, "--quiet", "--locked", "--manifest-path", &format!("{CRATE}/Cargo.toml")]);
    cargo.args(["--all-features", "--target-dir"]).arg(built());
    cargo
}

fn built() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().into()
}

/// And what `make package` makes builds by itself, and its first example runs; not at the
/// same time, for both write the programs of the examples.
#[test]
fn does_what_it_promises_and_its_documentation_compiles() {
    if installed("rust").is_some() {
        // No kind of target is named: so the examples are built, which the tests run.
        with_servers(&mut cargo("test"));
        the_crate_of_a_release_builds_and_runs();
    }
}

fn the_crate_of_a_release_builds_and_runs() {
    let out = tempfile::tempdir().unwrap();
    let script = root().join("scripts/package/rust.sh");
    let file = said(Command::new(script).arg(out.path()));
    // As new: Cargo takes an older copy beside the same target folder for what it has built.
    said(Command::new("tar").arg("-xzmf").arg(file.trim()).arg("-C").arg(out.path()));
    let manifest = out.path().join("floodgate-redis-0.1.0/Cargo.toml");
    assert!(manifest.with_file_name("LICENSE").exists());
    let mut first = Command::new("nice");
    first.args(["cargo", "run", "--quiet", "--locked", "--offline", "--all-features", "--example", "first"]);
    first.arg("--manifest-path").arg(manifest).arg("--target-dir").arg(built());
    // Nobody's release is linted.
    first.env_remove("RUSTC_WORKSPACE_WRAPPER");
    let server = Server::start();
    first.env("REDIS_URL", format!("redis://127.0.0.1:{}", server.port()));
    assert_eq!(said(&mut first), "9 left\n");
}

#[track_caller]
fn said(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
