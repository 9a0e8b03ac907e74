//! The crate for Rust, `src/clients/rust`: its tests on real servers, and the examples of
//! its documentation, which compile.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

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
fn does_what_it_promises() {
    if installed("rust").is_some() {
        with_servers(cargo("test").args(["--lib", "--tests", "--examples"]));
    }
}

#[test]
fn its_documentation_compiles() {
    if installed("rust").is_some() {
        let output = cargo("test").arg("--doc").stdin(Stdio::null()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    }
}
