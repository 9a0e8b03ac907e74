//! The packages, the unit, and the example that they bring.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    fixtures::{Envoy, Service},
    harness::{free_port, module_path},
    support::not_tried,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().expect("it can be run");
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn both_packages_bring_a_program_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    let script = root().join("scripts/package/envoy.sh");
    let made = run(Command::new(script).arg(env!("CARGO_BIN_EXE_floodgate-envoy")).arg(dir.path()));
    let made: Vec<PathBuf> = made.lines().map(PathBuf::from).collect();
    let unpacked = dir.path().join("root");
    run(Command::new("dpkg-deb").arg("-x").arg(&made[0]).arg(&unpacked));
    run(Command::new("tar").arg("-C").arg(dir.path()).arg("-xzf").arg(&made[1]));
    let folder = made[1].file_name().unwrap().to_str().unwrap().trim_end_matches(".tar.gz");
    for program in [unpacked.join("usr/bin/floodgate-envoy"), dir.path().join(folder).join("floodgate-envoy")]
    {
        let said = run(Command::new(program).arg("check").arg(unpacked.join("etc/floodgate-envoy")));
        assert_eq!(said, "good: 1 domain, 2 limits\n");
    }
    let unit = fs::read_to_string(unpacked.join("usr/lib/systemd/system/floodgate-envoy.service")).unwrap();
    let options = fs::read_to_string(unpacked.join("etc/default/floodgate-envoy")).unwrap();
    assert!(unit.contains("EnvironmentFile=-/etc/default/floodgate-envoy") && options.contains("OPTIONS=\""));
    for file in ["copyright", "README.md", "changelog.gz", "example/envoy.yaml"] {
        assert!(unpacked.join("usr/share/doc/floodgate-envoy").join(file).exists(), "{file}");
    }
}

/// Nothing goes on running whose package is gone.
#[test]
fn the_package_stops_its_service_and_starts_a_new_version() {
    let dir = tempfile::tempdir().unwrap();
    let script = root().join("scripts/package/envoy.sh");
    let made = run(Command::new(script).arg(env!("CARGO_BIN_EXE_floodgate-envoy")).arg(dir.path()));
    let (control, asked) = (dir.path().join("control"), dir.path().join("asked"));
    run(Command::new("dpkg-deb").arg("--control").arg(made.lines().next().unwrap()).arg(&control));
    let systemctl = dir.path().join("systemctl");
    fs::write(&systemctl, format!("#!/bin/sh\necho \"$*\" >>'{}'\n", asked.display())).unwrap();
    run(Command::new("chmod").arg("+x").arg(&systemctl));
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    // A machine that systemd runs, whatever this one is.
    let done = |name: &str, args: &[&str]| {
        let text = fs::read_to_string(control.join(name)).unwrap();
        assert!(text.contains("/run/systemd/system"), "{name}: other machines are left alone");
        let script = text.replace("/run/systemd/system", dir.path().to_str().unwrap());
        let _ = fs::remove_file(&asked);
        run(Command::new("sh").arg("-c").arg(script).arg(name).args(args).env("PATH", &path));
        fs::read_to_string(&asked).unwrap_or_default()
    };
    assert_eq!(done("prerm", &["remove"]), "disable --quiet --now floodgate-envoy.service\n");
    assert_eq!(done("prerm", &["upgrade", "0.2.0-1"]), "");
    assert_eq!(
        done("postinst", &["configure", "0.1.0-1"]),
        "daemon-reload\ntry-restart floodgate-envoy.service\n"
    );
    assert_eq!(done("postinst", &["configure", ""]), "", "the first time nothing starts unasked");
}

/// `systemd-analyze verify` takes a unit with unknown keys, but says so. It looks
/// for what the unit starts and follows, so a root has all of it.
#[test]
fn systemd_takes_the_unit() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        // A container without systemd: the unit is read as a file alone.
        not_tried("the systemd unit is", "systemd-analyze is not here");
        return;
    }
    let root_dir = tempfile::tempdir().unwrap();
    let units = root_dir.path().join("usr/lib/systemd/system");
    fs::create_dir_all(&units).unwrap();
    for target in ["sysinit", "basic", "shutdown", "network-online", "multi-user"] {
        fs::write(units.join(format!("{target}.target")), "[Unit]\n").unwrap();
    }
    for program in ["usr/bin/floodgate-envoy", "bin/kill"] {
        let path = root_dir.path().join(program);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy("/bin/true", path).unwrap();
    }
    let unit = root().join("scripts/package/floodgate-envoy.service");
    let verify = |text: &str| {
        fs::write(units.join("floodgate-envoy.service"), text).unwrap();
        let mut root = std::ffi::OsString::from("--root=");
        root.push(root_dir.path());
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(root)
            .arg("floodgate-envoy.service")
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let text = fs::read_to_string(unit).unwrap();
    assert_eq!(verify(&text), (true, String::new()));
    let (_, said) = verify(&text.replace("ProtectHome=", "ProtectHouse="));
    assert!(said.contains("Unknown key"), "a mistake is seen: {said}");
}

/// The first block of a kind under a heading.
fn block<'p>(page: &'p str, heading: &str, kind: &str) -> &'p str {
    let section = page.split(heading).nth(1).expect("the heading");
    let rest = section.split_once(&format!("```{kind}\n")).expect("the block").1;
    rest.split("```").next().unwrap()
}

#[test]
fn the_filter_of_the_readme_is_one_that_envoy_takes() {
    let page = fs::read_to_string(root().join("src/bin/envoy/README.md")).unwrap();
    let filter = block(&page, "\n## Envoys that decide by themselves\n", "yaml");
    assert!(filter.contains("rate_limit_quota"), "{filter}");
    let (good, said) = Envoy::check(filter);
    assert!(good, "{said}");
    let (good, _) = Envoy::check(&filter.replace("rlqs_server", "server"));
    assert!(!good, "a mistake is seen");
}

/// What OPERATIONS.md says, line by line, but on ports that are free and with
/// what is built already.
#[test]
fn from_nothing_to_a_limited_envoy_in_ten_lines() {
    let page = fs::read_to_string(root().join("OPERATIONS.md")).unwrap();
    let shell = block(&page, "\n### Envoy\n", "sh");
    let lines: Vec<&str> = shell.lines().collect();
    assert!(lines.len() <= 10, "{} lines", lines.len());
    assert!(lines[0].starts_with("git clone "), "{shell}");
    assert_eq!(lines[1], "make build envoy");
    run(Command::new("make").args(["-n", "build", "envoy"]).current_dir(root()));

    // A tree as it is after these two.
    let tree = tempfile::tempdir().unwrap();
    let at = |path: &str| {
        let path = tree.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    let link = |from: &Path, to: &str| std::os::unix::fs::symlink(from, at(to)).unwrap();
    link(&module_path(), "target/release/libfloodgate.so");
    link(Path::new(env!("CARGO_BIN_EXE_floodgate-envoy")), "target/replay/floodgate-envoy");
    let fetch = at("scripts/envoy.sh");
    fs::write(&fetch, format!("#!/bin/sh\necho '{}'\n", Envoy::program().display())).unwrap();
    run(Command::new("chmod").arg("+x").arg(&fetch));
    let example = root().join("src/bin/envoy/example");
    fs::copy(example.join("limits.yaml"), at("src/bin/envoy/example/limits.yaml")).unwrap();
    let ports: Vec<String> = (0..6).map(|_| free_port().to_string()).collect();
    let [redis, grpc, http, front, back, admin] = ports.as_slice() else { panic!("six ports") };
    let mut edge = fs::read_to_string(example.join("envoy.yaml")).unwrap();
    for (theirs, ours) in [("10000", front), ("10001", back), ("8081", grpc), ("9901", admin)] {
        assert!(edge.contains(&format!("port_value: {theirs}}}")), "{theirs}");
        edge = edge.replace(&format!("port_value: {theirs}}}"), &format!("port_value: {ours}}}"));
    }
    fs::write(at("src/bin/envoy/example/envoy.yaml"), edge).unwrap();

    let own = format!("--redis redis://127.0.0.1:{redis} --listen 127.0.0.1:{grpc} --http 127.0.0.1:{http}");
    let script = lines[2..]
        .join("\n")
        .replace("redis-server ", &format!("redis-server --port {redis} --save '' "))
        .replace("floodgate-envoy --config", &format!("floodgate-envoy {own} --config"))
        .replace("envoy.sh) -c", "envoy.sh) --disable-hot-restart --concurrency 1 -c")
        .replace("localhost:8080", &format!("localhost:{http}"))
        .replace("localhost:9901", &format!("localhost:{admin}"))
        .replace("localhost:10000", &format!("localhost:{front}"));
    let script = format!("set -e\ntrap 'kill $(jobs -p); wait' EXIT\n{script}\n");
    let output = Command::new("setpriv")
        .args(["--pdeathsig", "TERM", "--", "bash", "-c", &script])
        .current_dir(tree.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let statuses: Vec<&str> =
        said.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")).map(|rest| &rest[..3]).collect();
    assert_eq!(
        statuses,
        ["200", "200", "200", "200", "200", "429"],
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("good: 1 domain, 2 limits"), "{said}");
}

#[test]
fn the_example_is_one_that_both_take() {
    let example = root().join("src/bin/envoy/example");
    assert_eq!(Service::check(&example.join("limits.yaml")), (true, "good: 1 domain, 2 limits\n".into()));
    run(Command::new(Envoy::program())
        .args(["--mode", "validate", "--log-level", "error", "-c"])
        .arg(example.join("envoy.yaml")));
}

#[test]
fn the_readme_names_every_option_and_no_other() {
    let readme = fs::read_to_string(root().join("src/bin/envoy/README.md")).unwrap();
    let help = run(Command::new(env!("CARGO_BIN_EXE_floodgate-envoy")).arg("--help"));
    let options = |text: &str| -> std::collections::BTreeSet<String> {
        text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
            .filter(|word| word.starts_with("--") && word.len() > 3)
            .map(str::to_owned)
            .collect()
    };
    let unknown: Vec<_> = options(&readme).difference(&options(&help)).cloned().collect();
    // Of systemctl.
    assert_eq!(unknown, ["--now"]);
}
