//! Tells the module which revision of the source it is made of: the variable
//! `FLOODGATE_REVISION` (as packagers set it), else what git says, else
//! `unknown`. Git need not be there.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=scripts/build.rs");
    println!("cargo::rerun-if-env-changed=FLOODGATE_REVISION");
    let given = std::env::var("FLOODGATE_REVISION").ok().filter(|text| !text.trim().is_empty());
    let revision =
        given.map(|text| text.trim().to_owned()).or_else(of_git).unwrap_or_else(|| "unknown".into());
    println!("cargo::rustc-env=FLOODGATE_REVISION={revision}");
}

fn of_git() -> Option<String> {
    // A source tree unpacked inside another repository is not of that revision.
    if !Path::new(".git").exists() {
        return None;
    }
    // Grows with every commit and every change of branch.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
