//! What `make` says while it works: programs that would build are stood in for.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use crate::{
    harness::{eventually, free_port},
    support::root,
};

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
            "mkdir -p '{0}'; printf '#!/bin/sh\\nfor word; do echo \"$word\"; done\\n' >'{0}/replay'; \
             chmod +x '{0}/replay'",
            tool.display()
        ),
    );
    let fields = "FIELDS=time=ts,key=request.client_ip";
    let replay = |log: &str| {
        let log = format!("LOG={log}");
        run(dir.path(), "make", &["--no-print-directory", "replay", &log, "LIMITS=1/m", fields])
    };
    let words = |output: &Output| {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.lines().skip_while(|&word| word != "--").skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let first = replay("x.log");
    assert!(first.status.success(), "{first:?}");
    let said = String::from_utf8_lossy(&first.stderr).into_owned();
    assert!(said.contains("replay: building the tool, once; that takes about two minutes\n"), "{said}");
    assert_eq!(
        String::from_utf8_lossy(&first.stdout),
        "--limits\n1/m\n--fields\ntime=ts,key=request.client_ip\n--\nx.log\n"
    );
    let again = replay("x.log");
    assert!(again.status.success() && again.stderr.is_empty(), "{again:?}");

    // Several logs, a pattern, and a name with a blank in it.
    let log = |name: &str| {
        let path = dir.path().join(name);
        fs::write(&path, "").unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (one, two, blank) = (log("1.log"), log("2.log"), log("our access.log"));
    assert_eq!(words(&replay(&format!("{one} {two}"))), [one.clone(), two.clone()]);
    assert_eq!(words(&replay(&format!("{}/?.log", dir.path().display()))), [one, two]);
    assert_eq!(words(&replay(&blank)), [blank]);
}

/// A configuration of cargo may name another folder for all that is built. What is built is then run
/// from the folder that was told.
#[test]
fn cargo_builds_where_the_scripts_look() {
    let dir = tempfile::tempdir().unwrap();
    program(dir.path(), "cargo", "echo \"built in $CARGO_TARGET_DIR\"");
    let built = |told: Option<&str>| {
        let mut make = Command::new("make");
        make.args(["--no-print-directory", "build"])
            .current_dir(root())
            .env("PATH", format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap()))
            // As build.target-dir in a configuration.
            .env("CARGO_BUILD_TARGET_DIR", "/elsewhere")
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("MAKEFLAGS")
            .env_remove("MAKELEVEL")
            .envs(told.map(|folder| ("CARGO_TARGET_DIR", folder)));
        String::from_utf8(make.output().unwrap().stdout).unwrap()
    };
    assert_eq!(built(None), format!("built in {}\n", root().join("target").display()));
    assert_eq!(built(Some("/told")), "built in /told\n");
}

/// Who moves a clone moves what was installed in it.
#[test]
fn what_was_moved_is_installed_anew() {
    let dir = tempfile::tempdir().unwrap();
    // Stands for Python, and for pip and the Python of the folder that it makes.
    program(
        dir.path(),
        "python3",
        "mkdir -p \"$3/bin\"; touch \"$3/bin/program\"; ln -s /bin/true \"$3/bin/pip\"; \
         printf '#!/bin/sh\\necho \"%s\"\\n' \"$3/bin/program\" >\"$3/bin/python\"; chmod +x \"$3/bin/python\"",
    );
    for script in ["scripts/envoy.sh", "scripts/lint/install.sh"] {
        let installed = |cache: &Path| {
            let mut command = Command::new(root().join(script));
            let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
            let output = command.env("PATH", path).env("FLOODGATE_CACHE", cache).output().unwrap();
            assert!(output.status.success(), "{script}: {output:?}");
            let said = String::from_utf8(output.stdout).unwrap();
            assert!(said.is_empty() || Path::new(said.trim()).exists(), "{script}: {said}");
            String::from_utf8(output.stderr).unwrap().contains("installing")
        };
        let (before, after) = (dir.path().join("before it"), dir.path().join("after it"));
        assert!(installed(&before), "{script}");
        assert!(!installed(&before), "{script}: it is there");
        fs::rename(&before, &after).unwrap();
        assert!(installed(&after), "{script}: it was moved");
        assert!(!installed(&after), "{script}");
        fs::remove_dir_all(&after).unwrap();
    }
}

/// A server ignores that its terminal was closed, so `make run` ends it.
#[test]
fn a_server_ends_with_its_terminal() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("release")).unwrap();
    fs::write(dir.path().join("release/libfloodgate.so"), "").unwrap();
    let told = dir.path().join("pid");
    program(dir.path(), "server", &format!("trap '' HUP; echo $$ >'{}'; exec sleep 600", told.display()));
    let run = |server: &str| {
        let mut run = Command::new("env");
        // Who runs the tests may ignore a signal, and so would what they start.
        run.args(["--default-signal", "scripts/run.sh"])
            .current_dir(root())
            .env("CARGO_TARGET_DIR", dir.path())
            .env("FLOODGATE_SERVER", dir.path().join(server))
            .env("PORT", free_port().to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        run
    };
    for signal in ["HUP", "TERM"] {
        let mut running = run("server").spawn().unwrap();
        let pid = || fs::read_to_string(&told).ok().filter(|pid| pid.ends_with('\n'));
        eventually(Duration::from_secs(30), "the server has begun", || pid().is_some());
        let pid = pid().unwrap();
        let id = running.id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success());
        let start = Instant::now();
        while running.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let left = Path::new("/proc").join(pid.trim()).exists();
        if left {
            assert!(Command::new("kill").args(["-9", pid.trim()]).status().unwrap().success());
        }
        let _ = running.wait().unwrap();
        assert!(!left, "{signal}: the server is left");
        fs::remove_file(&told).unwrap();
    }
    // What the server ends with is told.
    program(dir.path(), "failing", "exit 7");
    assert_eq!(run("failing").status().unwrap().code(), Some(7));
}
