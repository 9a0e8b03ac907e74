//! What `make` says while it works: programs that would build are stood in for.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use crate::support::root;

/// Writes a program of this name.
fn program(folder: &Path, name: &str, script: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs a command that finds the programs of `folder` first.
fn run(folder: &Path, command: impl AsRef<OsStr>, args: &[&str]) -> Output {
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    Command::new(command)
        .args(args)
        .current_dir(root())
        .env("PATH", path)
        .env("CARGO_TARGET_DIR", folder)
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .output()
        .unwrap()
}

/// Whether a word of a command for cargo says what it tests.
fn is_tested(word: &str) -> bool {
    ["--bins", "--doc"].contains(&word) || !word.starts_with('-') && word != "test"
}

/// Everything that has tests, as cargo is told.
fn what_is_tested() -> Vec<String> {
    let manifests = ["Cargo.toml", "tests/server/Cargo.toml"];
    let manifests = manifests.map(|path| fs::read_to_string(root().join(path)).unwrap()).concat();
    let programs = manifests.split("[[test]]").skip(1).map(|of_one| {
        let (_, rest) = of_one.split_once("name = \"").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    });
    let mut all: Vec<_> = programs.chain(["--bins", "--doc"].map(str::to_owned)).collect();
    all.sort_unstable();
    all
}

#[test]
fn the_tests_end_with_a_verdict() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["make", "python3"] {
        program(dir.path(), name, "exit 0");
    }
    let script = root().join("scripts/test.sh");
    let asked = dir.path().join("asked");
    let cargo = |fails: &str| {
        let log = format!("echo \"$*\" >>'{}'", asked.display());
        program(dir.path(), "cargo", &format!("{log}\ncase \"$1\" in {fails}) exit 101 ;; esac"));
    };
    cargo("nothing");
    let output = run(dir.path(), &script, &[]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert!(said.lines().last().unwrap().starts_with("make test: PASSED in 0 min "), "{said}");
    // All are built at once. Then each is run, once.
    let asked = fs::read_to_string(&asked).unwrap();
    let mut tests = asked.lines().filter(|line| line.starts_with("test --no-fail-fast"));
    assert!(tests.next().is_some_and(|line| line.ends_with(" --no-run")), "{asked}");
    let mut tested: Vec<_> = tests.flat_map(|line| line.split(' ')).filter(|word| is_tested(word)).collect();
    tested.sort_unstable();
    assert_eq!(tested, what_is_tested(), "{asked}");

    cargo("fmt");
    let output = run(dir.path(), &script, &[]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success());
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("make test: FAILED after 0 min "), "{said}");
    assert!(last.contains(", at: cargo fmt --check"), "{said}");
}

#[test]
fn what_is_compiled_for_the_tests_is_read_by_clippy_and_rustdoc() {
    let dir = tempfile::tempdir().unwrap();
    let compiled = |source: &str| {
        fs::write(dir.path().join("lib.rs"), source).unwrap();
        let asked =
            ["rustc", "--crate-name=read", "--edition=2024", "--crate-type", "lib", "lib.rs", "--emit=link"];
        let script = root().join("scripts/lint/compile.sh");
        let mut compiler = Command::new(script);
        let output =
            compiler.args(asked).args(["--out-dir", "built"]).current_dir(dir.path()).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (done, said) = compiled("//! A crate.\n");
    assert!(done && said.is_empty(), "{said}");
    assert!(dir.path().join("built/libread.rlib").exists());

    let (done, said) = compiled("//! A crate.\nfn unused() {}\n");
    assert!(!done && said.contains("function `unused` is never used"), "{said}");
    let (done, said) = compiled("//! A crate.\npub fn one() -> u8 { return 1; }\n");
    assert!(!done && said.contains("clippy::needless_return"), "{said}");
    let (done, said) = compiled("//! A crate, like [`nothing`].\n");
    assert!(!done && said.contains("unresolved link to `nothing`"), "{said}");
}

#[test]
fn the_tool_for_logs_says_what_it_builds_the_first_time() {
    let dir = tempfile::tempdir().unwrap();
    let tool = dir.path().join("replay");
    program(
        dir.path(),
        "cargo",
        &format!(
            "mkdir -p '{0}'; printf '#!/bin/sh\\necho \"$*\"\\n' >'{0}/replay'; chmod +x '{0}/replay'",
            tool.display()
        ),
    );
    let fields = "FIELDS=time=ts,key=request.client_ip";
    let replay =
        || run(dir.path(), "make", &["--no-print-directory", "replay", "LOG=x.log", "LIMITS=1/m", fields]);
    let first = replay();
    assert!(first.status.success(), "{first:?}");
    let said = String::from_utf8_lossy(&first.stderr).into_owned();
    assert!(said.contains("replay: building the tool, once; that takes about two minutes\n"), "{said}");
    assert_eq!(
        String::from_utf8_lossy(&first.stdout),
        "--limits 1/m --fields time=ts,key=request.client_ip x.log\n"
    );
    let again = replay();
    assert!(again.status.success() && again.stderr.is_empty(), "{again:?}");
}
