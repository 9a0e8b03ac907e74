//! `make package`: what it builds is unpacked into an empty folder, as a package
//! manager would, and loaded from there.

use crate::support::{granted, not_tried, root};
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::harness::{Program, Reply, Server, module_path};

fn run(program: impl AsRef<std::ffi::OsStr>, args: &[&Path]) -> String {
    let output = Command::new(program.as_ref()).args(args).output().expect("it can be run");
    assert!(output.status.success(), "{:?}: {output:?}", program.as_ref());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What the script builds of the library under test.
struct Packages {
    deb: PathBuf,
    tar: PathBuf,
    bill: PathBuf,
}

fn packages(out: &Path) -> Packages {
    let script = root().join("scripts/package/build.sh");
    let output = Command::new(script)
        .args([&module_path(), out])
        .env("DEBFULLNAME", "Ann Packer")
        .env("DEBEMAIL", "ann@packers.example")
        .env("FLOODGATE_HOMEPAGE", "https://floodgate.example/")
        .output()
        .expect("it can be run");
    assert!(output.status.success(), "{output:?}");
    let made = String::from_utf8_lossy(&output.stdout).into_owned();
    let [deb, tar, bill] =
        made.lines().map(PathBuf::from).collect::<Vec<_>>().try_into().expect("three files");
    Packages { deb, tar, bill }
}

/// The module arguments of the one active line of a configuration.
fn loadmodule(conf: &Path) -> Vec<String> {
    let text = fs::read_to_string(conf).unwrap();
    let mut active = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let line = active.next().expect("a line that loads");
    assert_eq!(active.next(), None);
    line.split_whitespace().map(str::to_owned).collect()
}

fn works(library: &Path) {
    let server = Server::builder().module(library).start();
    assert_eq!(
        server.line("RL.ACQUIRE k 10/s").rate_limit(),
        granted(1).limit(10).remaining(9).reset_ms(1000)
    );
    assert_eq!(server.info_field("floodgate", "floodgate_version"), env!("CARGO_PKG_VERSION"));
}

#[test]
fn both_install_into_an_empty_folder_and_load() {
    let dir = tempfile::tempdir().unwrap();
    let Packages { deb, tar, bill } = packages(dir.path());

    let root = dir.path().join("root");
    run("dpkg-deb", &[Path::new("-x"), &deb, &root]);
    let line = loadmodule(&root.join("etc/redis/floodgate.conf"));
    assert_eq!(line, ["loadmodule", "/usr/lib/redis/modules/libfloodgate.so"]);
    works(&root.join(line[1].trim_start_matches('/')));
    for file in [
        "copyright",
        "changelog.gz",
        "changelog.Debian.gz",
        "README.md",
        "COMMANDS.md",
        "OPERATIONS.md",
        "sbom.cdx.json",
    ] {
        assert!(root.join("usr/share/doc/floodgate").join(file).exists(), "{file}");
    }
    for page in ["README.md", "COMMANDS.md", "OPERATIONS.md", "SECURITY.md"] {
        let doc = root.join("usr/share/doc/floodgate");
        let text = fs::read_to_string(doc.join(page)).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let there = link.is_empty() || link.contains("://") || doc.join(link).exists();
            assert!(there, "{page}: {link}");
        }
    }
    let field = |name: &str| run("dpkg-deb", &[Path::new("-f"), &deb, Path::new(name)]).trim().to_owned();
    assert_eq!(field("Package"), "floodgate");
    assert_eq!(field("Version"), concat!(env!("CARGO_PKG_VERSION"), "-1"));
    assert!(field("Depends").starts_with("libc6 (>= 2."), "{}", field("Depends"));
    assert_eq!(field("Maintainer"), "Ann Packer <ann@packers.example>");
    assert_eq!(field("Homepage"), "https://floodgate.example/");
    // Who built the server himself gets no second one.
    assert_eq!(field("Recommends"), "");
    assert_eq!(field("Suggests"), "redis-server (>= 5:6.2) | valkey-server");
    assert!(field("Description").contains("loadmodule /usr/lib/redis/modules/libfloodgate.so"));

    run("tar", &[Path::new("-C"), dir.path(), Path::new("-xzf"), &tar]);
    let folder = dir.path().join(tar.file_name().unwrap().to_str().unwrap().trim_end_matches(".tar.gz"));
    assert_eq!(loadmodule(&folder.join("floodgate.conf")), ["loadmodule", "/path/to/libfloodgate.so"]);
    works(&folder.join("libfloodgate.so"));
    assert!(folder.join("LICENSE").exists() && folder.join("CHANGELOG.md").exists());
    assert_eq!(fs::read(folder.join("sbom.cdx.json")).unwrap(), fs::read(bill).unwrap());
}

/// The bill has the crates that are linked in, as Cargo.lock has them, and none that
/// only builds, tests or belongs to another program.
#[test]
fn the_bill_of_materials_has_what_is_linked_in() {
    let bill = |args: &[&str]| -> serde_json::Value {
        let script = root().join("scripts/package/sbom.py");
        serde_json::from_str(&run(&script, &args.iter().map(Path::new).collect::<Vec<_>>())).unwrap()
    };
    let of_module = bill(&["floodgate"]);
    assert_eq!(of_module["bomFormat"], "CycloneDX");
    assert_eq!(of_module["metadata"]["component"]["version"], env!("CARGO_PKG_VERSION"));
    let names = |bill: &serde_json::Value| -> Vec<String> {
        let components = bill["components"].as_array().unwrap();
        components.iter().map(|part| part["name"].as_str().unwrap().to_owned()).collect()
    };
    let in_module = names(&of_module);
    for there in ["jiff", "redis-module", "serde_json", "libc", "rustc-hash"] {
        assert!(in_module.iter().any(|name| name == there), "{there}: {in_module:?}");
    }
    for absent in ["bindgen", "proptest", "syn", "tempfile", "tonic", "plotters"] {
        assert!(!in_module.iter().any(|name| name == absent), "{absent}");
    }
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for part in of_module["components"].as_array().unwrap() {
        let [name, version, sum, licence] = [
            &part["name"],
            &part["version"],
            &part["hashes"][0]["content"],
            &part["licenses"][0]["expression"],
        ]
        .map(|field| field.as_str().unwrap_or_else(|| panic!("{part}")));
        assert!(!licence.is_empty() && !licence.contains('/'), "{part}");
        let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        let entry = lock.split(&entry).nth(1).unwrap_or_else(|| panic!("Cargo.lock lacks {name} {version}"));
        assert!(entry.split("\n\n").next().unwrap().contains(sum), "{name}");
    }
    // What a component uses is a component.
    let refs = |key: &str| -> std::collections::BTreeSet<String> {
        let parts = of_module[key].as_array().unwrap();
        let field = if key == "components" { "bom-ref" } else { "ref" };
        parts.iter().map(|part| part[field].as_str().unwrap().to_owned()).collect()
    };
    let top = of_module["metadata"]["component"]["bom-ref"].as_str().unwrap().to_owned();
    let known: std::collections::BTreeSet<_> = refs("components").into_iter().chain([top]).collect();
    assert_eq!(refs("dependencies"), known);
    // Twice the same bytes.
    assert_eq!(of_module, bill(&["floodgate"]));
    assert!(names(&bill(&["floodgate-envoy", "envoy"])).iter().any(|name| name == "tonic"));
}

#[test]
fn the_sums_are_those_of_the_packages() {
    let dir = tempfile::tempdir().unwrap();
    let deb = dir.path().join("floodgate_0.1.0-1_amd64.deb");
    for name in ["floodgate-0.1.0-amd64.tar.gz", "floodgate-0.1.0-amd64.cdx.json"] {
        fs::write(dir.path().join(name), name).unwrap();
    }
    fs::write(&deb, "deb").unwrap();
    let script = root().join("scripts/package/sums.sh");
    let sums = PathBuf::from(run(&script, &[dir.path()]).trim());
    let check = || {
        let mut command = Command::new("sha256sum");
        command.current_dir(dir.path()).args(["--check", "--strict"]).arg(&sums).output().unwrap()
    };
    let output = check();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 3, "{output:?}");
    fs::OpenOptions::new().append(true).open(&deb).unwrap().write_all(b"x").unwrap();
    assert!(!check().status.success());
    // Made anew, it does not sum itself.
    run(&script, &[dir.path()]);
    assert_eq!(fs::read_to_string(&sums).unwrap().lines().count(), 3);
}

/// Installed by dpkg itself into a root of its own, started on the shipped
/// configuration, and removed without a trace.
#[test]
fn dpkg_installs_it_into_a_clean_root_and_removes_it() {
    if run("id", &[Path::new("-u")]).trim() != "0" {
        not_tried("dpkg is", "only root can install");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let deb = packages(dir.path()).deb;
    let root = dir.path().join("root");
    let database = root.join("var/lib/dpkg");
    for folder in ["info", "updates"] {
        fs::create_dir_all(database.join(folder)).unwrap();
    }
    fs::write(database.join("status"), "").unwrap();
    let dpkg = |arguments: &[&Path]| {
        let mut root_is = std::ffi::OsString::from("--root=");
        root_is.push(&root);
        // What it depends on is outside.
        let mut all = vec![Path::new(&root_is), Path::new("--force-depends"), Path::new("--log=/dev/null")];
        all.extend(arguments);
        run("dpkg", &all)
    };
    dpkg(&[Path::new("-i"), &deb]);
    assert!(dpkg(&[Path::new("-s"), Path::new("floodgate")]).contains("Status: install ok installed"));
    let line = loadmodule(&root.join("etc/redis/floodgate.conf"));
    works(&root.join(line[1].trim_start_matches('/')));
    dpkg(&[Path::new("-P"), Path::new("floodgate")]);
    for gone in
        ["usr/lib/redis/modules/libfloodgate.so", "etc/redis/floodgate.conf", "usr/share/doc/floodgate"]
    {
        assert!(!root.join(gone).exists(), "{gone}");
    }
}

/// Where the line that loads stands in the server's own file, CONFIG REWRITE keeps
/// it; nothing that we ship tells people to include a file with it.
#[test]
fn the_line_that_loads_survives_config_rewrite() {
    for file in ["OPERATIONS.md", "scripts/package/floodgate.conf", "scripts/package/build.sh"] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        assert!(!text.contains("include /"), "{file}");
        assert!(text.contains("loadmodule /usr/lib/redis/modules/libfloodgate.so"), "{file}");
    }
    let mut server = Server::start();
    server.ok("CONFIG REWRITE");
    server.restart();
    server.ok("CONFIG REWRITE");
    let conf = fs::read_to_string(server.dir().join("redis.conf")).unwrap();
    assert_eq!(conf.lines().filter(|line| line.starts_with("loadmodule")).count(), 1, "{conf}");
    assert_eq!(server.line("RL.ACQUIRE k 10/s").rate_limit().granted, 1);
}

/// Why they must not: the same line in a file that is included is there twice
/// after CONFIG REWRITE.
#[test]
fn an_included_line_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let included = dir.path().join("floodgate.conf");
    fs::write(&included, format!("loadmodule {}\n", module_path().display())).unwrap();
    let mut server =
        Server::builder().without_module().args(["--include", included.to_str().unwrap()]).start();
    assert_eq!(server.line("RL.ACQUIRE k 10/s").rate_limit().granted, 1);
    server.ok("CONFIG REWRITE");
    // 6.2 leaves the modules as they are.
    if !server.at_least(7, 0) {
        server.restart();
        return;
    }
    let log = server.try_restart().expect_err("it starts with the module in two files");
    assert!(log.contains("Can't load module from"), "{log}");
    assert!(log.contains(LOADED_TWICE), "{log}");
}

const LOADED_TWICE: &str = "floodgate does not load: a module named floodgate is loaded already: is there a second \
                            loadmodule line?";

/// The log says why, on whichever server, and the module that is loaded goes on.
#[test]
fn a_module_that_is_named_twice_says_so() {
    let module = module_path();
    let module = module.to_str().unwrap();
    let started = Server::builder().args(["--loadmodule", module]).try_start();
    let Err(log) = started else { panic!("it starts with the module twice") };
    assert!(log.contains(LOADED_TWICE), "{log}");
    // Before 7.0 MODULE needs no leave.
    let leave: &[&str] =
        if Program::under_test().at_least(7, 0) { &["--enable-module-command", "yes"] } else { &[] };
    let server = Server::builder().args(leave).start();
    let copy = server.dir().join("copy.so");
    fs::copy(module, &copy).unwrap();
    for again in [module, copy.to_str().unwrap()] {
        assert!(server.call(&["MODULE", "LOAD", again]).error().is_some());
        assert_eq!(server.log().matches(LOADED_TWICE).count(), 1 + usize::from(again != module));
        assert_eq!(server.line("RL.ACQUIRE k 10/s").rate_limit().granted, 1);
    }
    server.line("RL.DEBUG PANIC");
    assert!(server.log().contains("<floodgate> internal error"), "{}", server.log());
}

#[test]
fn the_server_says_what_it_runs() {
    let server = Server::start();
    let modules = server.line("MODULE LIST");
    let [major, minor, patch] =
        [env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"), env!("CARGO_PKG_VERSION_PATCH")]
            .map(|number| number.parse::<i64>().unwrap());
    let version = major * 10_000 + minor * 100 + patch;
    // Some servers bring modules of their own.
    let ours = modules.items().iter().find(|module| module.field("name") == Reply::bulk("floodgate"));
    assert_eq!(ours.expect("it is listed").field("ver"), Reply::Int(version));
    let revision = server.info_field("floodgate", "floodgate_revision");
    let plausible = revision == "unknown"
        || revision.len() >= 7 && revision.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
    assert!(plausible, "{revision:?}");
    // Where the source is a repository, it is a commit of it (that of the build,
    // which may be older than the last).
    let here = root();
    let given =
        ["FLOODGATE_REVISION", "FLOODGATE_MODULE"].iter().any(|name| std::env::var_os(name).is_some());
    let git = Command::new("git").arg("--version").output().is_ok();
    if git && !given && here.join(".git").exists() {
        let commit = format!("{revision}^{{commit}}");
        run("git", &[Path::new("-C"), here, Path::new("cat-file"), Path::new("-e"), Path::new(&commit)]);
    }
}
