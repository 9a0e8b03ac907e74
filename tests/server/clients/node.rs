//! The package for Node, `src/clients/node`: its tests on real servers, its
//! types, and the file that users install.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tempfile::TempDir;

use crate::support::root;
use crate::{
    clients::{control::with_servers, recipes::installed},
    harness::Server,
};

const PACKAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../src/clients/node");

/// The copy that tests share which run at the same time. The last one removes it.
static BUILT: Mutex<Weak<TempDir>> = Mutex::new(Weak::new());

/// A copy of the package beside what it needs, built; none where Node is not
/// installed, which is then said.
pub fn built() -> Option<Arc<TempDir>> {
    let modules = installed("node-package")?.join("node_modules");
    let mut shared = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(built) = shared.upgrade() {
        return Some(built);
    }
    let dir = TempDir::with_prefix("floodgate-node-").unwrap();
    copy(Path::new(PACKAGE), dir.path());
    symlink(modules, dir.path().join("node_modules")).unwrap();
    succeeds(Command::new("node").arg("build.mjs").current_dir(dir.path()));
    let built = Arc::new(dir);
    *shared = Arc::downgrade(&built);
    Some(built)
}

/// The sources: not what people built or installed beside them.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if ["dist", "node_modules"].iter().any(|built| path.ends_with(built)) {
        } else if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn does_what_it_promises_in_each_host() {
    let Some(package) = built() else { return };
    let tests = fs::read_dir(package.path().join("test")).unwrap().map(|entry| entry.unwrap().path());
    with_servers(
        Command::new("node")
            .args(["--test", "--test-concurrency=4"])
            .args(tests.filter(|path| path.to_string_lossy().ends_with(".test.mjs")))
            .current_dir(package.path()),
    );
}

#[test]
fn is_typed() {
    let Some(package) = built() else { return };
    succeeds(Command::new("npm").args(["run", "--silent", "types"]).current_dir(package.path()));
}

/// The sources themselves, and not a copy: prettier remembers by their paths which it has seen.
#[test]
fn is_formatted() {
    let Some(needs) = installed("node-package") else { return };
    succeeds(
        Command::new("node")
            .arg(needs.join("node_modules/prettier/bin/prettier.cjs"))
            .args(["--check", "--cache", "--cache-strategy", "content", "--cache-location"])
            .args([needs.join("prettier").as_path(), Path::new(".")])
            .current_dir(PACKAGE),
    );
}

/// As a user does until it is published: into an empty folder, with nothing else. And what the page says,
/// within five minutes: the script counts.
#[test]
fn the_file_installs_into_an_empty_folder_and_a_user_is_at_the_first_limited_request_soon() {
    if installed("node-package").is_none() {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let script = root().join("scripts/package/node.sh");
    let file = succeeds(Command::new(script).arg(out.path()));
    let user = tempfile::tempdir().unwrap();
    succeeds(
        Command::new("npm")
            .args(["install", "--offline", "--no-audit", "--no-fund", file.trim()])
            .current_dir(user.path()),
    );
    for program in [
        "import('floodgate-redis').then(({ Limiter }) => console.log(typeof Limiter))",
        "console.log(typeof require('floodgate-redis').Limiter)",
        "console.log(typeof require('floodgate-redis/express').FloodgateStore)",
        "console.log(typeof require('floodgate-redis/hono').FloodgateStore)",
        "console.log(typeof require('floodgate-redis/fastify').floodgateStore)",
        "console.log(typeof require('floodgate-redis/nestjs').FloodgateThrottlerStorage)",
    ] {
        let said = succeeds(Command::new("node").args(["-e", program]).current_dir(user.path()));
        assert_eq!(said, "function\n", "{program}");
    }

    let server = Server::start();
    let mut walk = Command::new(root().join("scripts/first-request.sh"));
    walk.args(["node", file.trim()]).env("REDIS_URL", format!("redis://127.0.0.1:{}", server.port()));
    let said = succeeds(&mut walk);
    assert!(said.contains("from an empty folder to the first limited request: "), "{said}");
}
