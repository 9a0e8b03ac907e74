//! `scripts/images`: what the files name is there, and the one program of the
//! library's image works in a root that has nothing else. `make images-test` builds
//! the images themselves.

use crate::support::root;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::harness::{Server, module_path};

fn images(file: &str) -> String {
    fs::read_to_string(root().join("scripts/images").join(file)).unwrap()
}

fn run(command: &mut Command) -> Output {
    command.output().expect("it can be run")
}

/// Gathers the context of the library under test.
fn context(folder: &Path) -> Vec<PathBuf> {
    let output = run(Command::new(root().join("scripts/images/context.sh")).arg(folder).arg(module_path()));
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect()
}

#[test]
fn the_context_holds_what_the_images_copy() {
    let dir = tempfile::tempdir().unwrap();
    let made = context(dir.path());
    for file in ["library.Dockerfile", "server.Dockerfile"] {
        let text = images(file);
        let copied = text.lines().filter_map(|line| line.strip_prefix("COPY "));
        for line in copied {
            let source = line.split(' ').find(|word| !word.starts_with("--")).unwrap();
            let source = source.replace("${LIBRARY}", "libfloodgate.so");
            let path = dir.path().join(&source);
            assert!(made.contains(&path) && path.exists(), "{file}: {source}");
        }
        assert!(text.contains("ARG LIBRARY=libfloodgate.so"), "{file}");
    }
    let library = dir.path().join("libfloodgate.so");
    let server = Server::builder().module(&library).start();
    assert_eq!(server.line("RL.ACQUIRE k 10/s").rate_limit().granted, 1);
}

/// A root with the three files of the image, as an init container has it.
#[test]
fn the_library_copies_itself_into_a_volume() {
    let dir = tempfile::tempdir().unwrap();
    context(dir.path());
    let root = run(Command::new("id").arg("-u"));
    if String::from_utf8_lossy(&root.stdout).trim() != "0" {
        let output = run(&mut Command::new(dir.path().join("copy")));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "copy: name one folder, such as /modules\n");
        return;
    }
    fs::create_dir(dir.path().join("modules")).unwrap();
    let inside = |folders: &[&str]| run(Command::new("chroot").arg(dir.path()).arg("/copy").args(folders));
    let output = inside(&["/modules"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "copy: /modules/libfloodgate.so is there\n");
    let copied: Vec<_> = fs::read_dir(dir.path().join("modules")).unwrap().flatten().collect();
    assert_eq!(copied.len(), 1, "{copied:?}");
    let bytes = |path: PathBuf| fs::read(path).unwrap();
    assert_eq!(bytes(copied[0].path()), bytes(dir.path().join("libfloodgate.so")));
    let server = Server::builder().module(copied[0].path()).start();
    assert_eq!(server.line("RL.ACQUIRE k 10/s").rate_limit().granted, 1);

    let output = inside(&["/nowhere"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said, "copy: cannot write /nowhere/libfloodgate.so: No such file or directory (os error 2)\n");
    assert_eq!(inside(&[]).status.code(), Some(2));
}

/// The files name each other's paths, this version, and files that are there.
#[test]
fn the_files_agree() {
    let loaded = "/usr/lib/redis/modules/libfloodgate.so";
    for file in ["server.Dockerfile", "compose.yaml", "kubernetes/valkey-operator.yaml"] {
        assert!(images(file).contains(loaded), "{file}");
    }
    // The image loads what it copies.
    let server = images("server.Dockerfile");
    let line = |word: &str| server.lines().find(|line| line.starts_with(word)).unwrap();
    assert!(line("COPY ").ends_with(&format!(" {loaded}")), "{server}");
    assert_eq!(line("CMD "), format!(r#"CMD ["--loadmodule", "{loaded}"]"#));
    // The init container's folder is the one that the server loads from.
    let pod = images("kubernetes/statefulset.yaml");
    for part in ["args: [/modules]", "mountPath: /modules}", "loadmodule /modules/libfloodgate.so"] {
        assert!(pod.contains(part), "{part}");
    }
    let mut tags = 0;
    for file in [
        "library.Dockerfile",
        "server.Dockerfile",
        "compose.yaml",
        "kubernetes/statefulset.yaml",
        "kubernetes/valkey-operator.yaml",
    ] {
        let text = images(file);
        for tag in ["floodgate:", "floodgate-valkey:"].iter().flat_map(|name| text.split(name).skip(1)) {
            // A line of YAML may have the name as a key.
            if tag.starts_with(|c: char| c.is_ascii_digit()) {
                assert!(tag.starts_with(env!("CARGO_PKG_VERSION")), "{file}: {tag:.20}");
                tags += 1;
            }
        }
    }
    assert!(tags >= 8, "{tags}");
    let compose = images("compose.yaml");
    let mounts = compose.split(['"', ' ', '\n']).filter_map(|word| word.split_once(":/"));
    let mut seen = 0;
    for (source, _) in mounts.filter(|(source, _)| source.starts_with('.')) {
        // Where people put their secrets, and nobody else.
        let there = root().join("scripts/images").join(source).exists();
        assert!(there || source.ends_with("/secrets"), "{source}");
        seen += 1;
    }
    assert!(seen >= 8, "{seen}");
}
