//! The packages, the unit, and the example that they bring.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::kit::{Envoy, Service};

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
        assert_eq!(said, "good: 1 domains, 2 limits\n");
    }
    let unit = fs::read_to_string(unpacked.join("usr/lib/systemd/system/floodgate-envoy.service")).unwrap();
    let options = fs::read_to_string(unpacked.join("etc/default/floodgate-envoy")).unwrap();
    assert!(unit.contains("EnvironmentFile=-/etc/default/floodgate-envoy") && options.contains("OPTIONS=\""));
    for file in ["copyright", "README.md", "changelog.gz", "example/envoy.yaml"] {
        assert!(unpacked.join("usr/share/doc/floodgate-envoy").join(file).exists(), "{file}");
    }
}

#[test]
fn the_example_is_one_that_both_take() {
    let example = root().join("src/bin/envoy/example");
    assert_eq!(Service::check(&example.join("limits.yaml")), (true, "good: 1 domains, 2 limits\n".into()));
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
    // Of git, systemctl and redis-server.
    assert_eq!(unknown, ["--loadmodule", "--now"]);
}
