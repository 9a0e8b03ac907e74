//! The package for Node, `src/clients/node`: its tests on real servers, its
//! types, and the file that users install.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use tempfile::TempDir;

use crate::{
    clients::installed,
    harness::{Sentinels, Server, cluster},
};

const PACKAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/clients/node");

/// A copy of the package beside what it needs, built; none where Node is not
/// installed, which is then said.
pub fn built() -> Option<TempDir> {
    let modules = installed("node-package")?.join("node_modules");
    let dir = TempDir::with_prefix("floodgate-node-").unwrap();
    copy(Path::new(PACKAGE), dir.path());
    symlink(modules, dir.path().join("node_modules")).unwrap();
    succeeds(Command::new("node").arg("build.mjs").current_dir(dir.path()));
    Some(dir)
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

/// What who has connected asks for, as long as the connection lasts: it says its
/// port, and does what each line asks for.
fn serve(connection: TcpStream) {
    let mut answer = connection.try_clone().unwrap();
    let mut lines = BufReader::new(connection).lines().map_while(Result::ok);
    let kind = lines.next().unwrap();
    if kind == "cluster" {
        let cluster = cluster(3, 0);
        writeln!(answer, "{}", cluster.nodes[0].port()).unwrap();
        return lines.for_each(drop);
    }
    let mut server = Server::with(&["--appendonly", "yes"]);
    if kind == "sentinel" {
        let sentinels = Sentinels::watch(&server, 0, 1);
        writeln!(answer, "{}", sentinels.ports[0]).unwrap();
        return lines.for_each(drop);
    }
    assert_eq!(kind, "server");
    writeln!(answer, "{}", server.port()).unwrap();
    for line in lines {
        match line.as_str() {
            "kill" => server.kill9(),
            "start" => server.restart(),
            "freeze" => signal(&server, "-STOP"),
            "thaw" => signal(&server, "-CONT"),
            unknown => panic!("nobody knows how to {unknown}"),
        }
        writeln!(answer, "done").unwrap();
    }
}

fn signal(server: &Server, signal: &str) {
    succeeds(Command::new("kill").args([signal, &server.pid().to_string()]));
}

/// Runs a program that asks for servers on the port that FLOODGATE_CONTROL names.
fn with_servers(program: &mut Command) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for connection in listener.incoming() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                scope.spawn(move || serve(connection.unwrap()));
            }
        });
        let output = program.env("FLOODGATE_CONTROL", port.to_string()).stdin(Stdio::null()).output();
        is_over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", port)));
        let output = output.unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    });
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
fn is_typed_and_formatted() {
    let Some(package) = built() else { return };
    succeeds(Command::new("npm").args(["run", "--silent", "check"]).current_dir(package.path()));
}

/// As a user does until it is published: into an empty folder, with nothing else.
#[test]
fn the_file_installs_into_an_empty_folder() {
    if installed("node-package").is_none() {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/package/node.sh");
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
}
