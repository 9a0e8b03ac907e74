//! The crate for Rust, `src/clients/rust`: its tests on real servers, and the examples of
//! its documentation, which compile.

use std::{path::PathBuf, process::Command};

use crate::{client_control::with_servers, clients::installed};

const CRATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/clients/rust");

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

#[test]
fn does_what_it_promises_and_its_documentation_compiles() {
    if installed("rust").is_some() {
        // No kind of target is named: so the examples are built, which the tests run.
        with_servers(&mut cargo("test"));
    }
}
