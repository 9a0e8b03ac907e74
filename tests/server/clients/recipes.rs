//! The packages of `src/clients` and the recipes of `tests/clients`, tried as a new
//! user would, with the server killed, frozen and started again while they run; and
//! `src/clients/README.md`, which shows them.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Seek as _, Write as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::harness::{Sentinels, Server, cluster};
use crate::support::not_tried;

pub const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients");
pub const PACKAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../src/clients");

/// The page that shows them.
fn readme() -> String {
    fs::read_to_string(format!("{PACKAGES}/README.md")).unwrap()
}

/// What the recipes of a language need, or none where it is not installed,
/// which is then said.
pub fn installed(language: &str) -> Option<PathBuf> {
    let output = Command::new(format!("{CLIENTS}/install.sh")).arg(language).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.code() {
        Some(0) => Some(String::from_utf8_lossy(&output.stdout).trim().into()),
        Some(3) => {
            not_tried(&format!("the programs in {language} are"), &said);
            None
        }
        _ => panic!("{said}"),
    }
}

/// Python with our package, to be run. What it compiles it keeps beside the packages, and so does each
/// process that it starts: to compile our package anew takes a third of the time of its import.
pub fn interpreter(folder: &Path) -> Command {
    let mut command = Command::new(folder.join("venv/bin/python"));
    command.env("PYTHONPYCACHEPREFIX", folder.join("pycache")).env_remove("PYTHONDONTWRITEBYTECODE");
    command.env("PYTHONPATH", format!("{PACKAGES}/python"));
    command
}

/// One of the programs for Python, to be run.
pub fn python(folder: &Path, program: &str) -> Command {
    let mut command = interpreter(folder);
    command.arg(format!("{CLIENTS}/python/{program}"));
    command
}

/// The recipes for Node beside their packages, where Node looks for these.
fn node(folder: &Path) -> TempDir {
    let dir = TempDir::with_prefix("floodgate-node-").unwrap();
    for file in fs::read_dir(format!("{CLIENTS}/node")).unwrap() {
        let path = file.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    symlink(folder.join("node_modules"), dir.path().join("node_modules")).unwrap();
    dir
}

/// Runs a recipe against a server that goes away, hangs and comes back when it
/// says so, and beside one without the module; gives what else it says.
pub fn tried(mut recipe: Command, mut server: Server) -> Vec<String> {
    let plain = Server::builder().without_module().start();
    // A file, for a pipe that nobody empties stops whoever says much.
    let mut words = tempfile::tempfile().unwrap();
    let mut process = recipe
        .args([server.port().to_string(), plain.port().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(words.try_clone().unwrap())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let mut said = Vec::new();
    for line in BufReader::new(process.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        match line.as_str() {
            "down" => server.kill9(),
            "up" => server.restart(),
            "freeze" => signal(&server, "-STOP"),
            "thaw" => signal(&server, "-CONT"),
            _ => said.push(line),
        }
        // It may have failed meanwhile: its own words are shown below.
        let _ = stdin.write_all(b"\n");
    }
    if !process.wait().unwrap().success() {
        let mut told = Vec::new();
        words.rewind().unwrap();
        words.read_to_end(&mut told).unwrap();
        panic!("{}", String::from_utf8_lossy(&told));
    }
    said
}

fn signal(server: &Server, signal: &str) {
    assert!(Command::new("kill").args([signal, &server.pid().to_string()]).status().unwrap().success());
}

/// What it has answered outlives `kill -9`. By default Redis syncs its file once a second, and
/// where the disk is slow it holds back for 2 s what it has answered meanwhile, or answers nobody
/// until the disk has done. The file is written, not synced: the machine goes on.
pub fn durable() -> Server {
    Server::with(&["--appendonly", "yes", "--appendfsync", "no"])
}

#[track_caller]
pub fn succeeds(mut command: Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn python_asyncio_and_asgi() {
    let Some(folder) = installed("python") else { return };
    assert_eq!(tried(python(&folder, "try_recipes.py"), durable()), ["done"]);
}

#[test]
fn python_without_asyncio() {
    let Some(folder) = installed("python") else { return };
    assert_eq!(tried(python(&folder, "try_sync.py"), durable()), ["done"]);
}

/// Whichever command a program asks first.
#[test]
fn python_without_the_module() {
    let Some(folder) = installed("python") else { return };
    assert_eq!(tried(python(&folder, "try_without.py"), Server::start()), ["done"]);
}

#[test]
fn python_crowds_late_answers_and_blocked_loops() {
    let Some(folder) = installed("python") else { return };
    assert_eq!(tried(python(&folder, "try_crowds.py"), durable()), ["done"]);
}

#[test]
fn python_guarded_calls_and_their_cache() {
    let Some(folder) = installed("python") else { return };
    assert_eq!(tried(python(&folder, "try_guarded.py"), durable()), ["done"]);
}

#[test]
fn python_flask_limiter_slowapi_and_fastapi() {
    let Some(folder) = installed("python") else { return };
    assert_eq!(tried(python(&folder, "try_plugins.py"), durable()), ["done"]);
}

/// Tries a program with the newest of what the package works with, and with the oldest.
fn newest_and_oldest(program: &str) {
    let Some(folder) = installed("python") else { return };
    let mut oldest = python(&folder, program);
    oldest.env("PYTHONPATH", format!("{}:{PACKAGES}/python", folder.join("oldest").display()));
    for program in [python(&folder, program), oldest] {
        assert_eq!(tried(program, durable()), ["done"]);
    }
}

#[test]
fn python_fastapi_newest_and_oldest() {
    newest_and_oldest("try_fastapi.py");
}

#[test]
fn python_websockets_newest_and_oldest() {
    newest_and_oldest("try_websockets.py");
}

#[test]
fn python_without_threads_and_with_loops_that_end() {
    newest_and_oldest("try_processes.py");
}

#[test]
fn python_connects_from_far_away_and_with_few_rights() {
    let Some(folder) = installed("python") else { return };
    assert_eq!(tried(python(&folder, "try_connects.py"), durable()), ["done"]);
}

/// Runs a program with the addresses of a cluster, and of the Sentinels of a server.
fn at_places(mut program: Command) {
    let cluster = cluster(3, 0);
    let master = Server::start();
    let sentinels = Sentinels::watch(&master, 0, 1);
    let ports = |ports: &[u16]| {
        let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        hosts.join(",")
    };
    let nodes: Vec<u16> = cluster.nodes.iter().map(Server::port).collect();
    program.args([ports(&nodes), ports(&sentinels.ports)]);
    succeeds(program);
}

#[test]
fn python_on_a_cluster_and_by_sentinel() {
    let Some(folder) = installed("python") else { return };
    at_places(python(&folder, "try_places.py"));
}

/// On one server, on a cluster and by Sentinels.
#[test]
fn python_forks_while_its_threads_ask() {
    let Some(folder) = installed("python") else { return };
    let server = Server::start();
    let mut program = python(&folder, "try_forks.py");
    program.arg(server.port().to_string());
    at_places(program);
}

/// Those in Python on a page.
fn examples(page: &str) -> impl Iterator<Item = &str> {
    page.split("```python\n").skip(1).map(|block| block.split("```").next().unwrap())
}

/// The examples of the package's own page run, and its rights suffice.
#[test]
fn python_readme_runs() {
    let Some(folder) = installed("python") else { return };
    let readme = fs::read_to_string(format!("{PACKAGES}/python/README.md")).unwrap();
    let server = Server::start();
    let mut run = 0;
    for block in examples(&readme) {
        let mut example = interpreter(&folder);
        example.args(["-c", block]).env("REDIS_URL", format!("redis://127.0.0.1:{}", server.port()));
        succeeds(example);
        run += 1;
    }
    assert_eq!(run, 6);

    let line = readme.split('`').find(|span| span.starts_with("ACL SETUSER web ")).unwrap();
    server.ok(line);
    let mut limited = interpreter(&folder);
    limited.args([
        "-c",
        "import sys\nfrom floodgate_redis import FailOpen, Limiter, Server\n\
        with Server(sys.argv[1]) as server:\n    limiter = Limiter(server, FailOpen())\n    \
        assert limiter.acquire_with_headers('user:1', '1/h')[0].from_redis",
    ]);
    limited.arg(format!("redis://web:secret@127.0.0.1:{}", server.port()));
    succeeds(limited);
}

#[test]
fn python_service_keeps_what_memory_loses() {
    let Some(folder) = installed("python") else { return };
    let server = Server::durable();
    let table = tried(python(&folder, "try_service.py"), server);
    assert_eq!(table.len(), 6);
    let readme = readme();
    for row in table {
        assert!(readme.lines().any(|line| line == row), "README does not say: {row}");
        assert!(row.ends_with(" kept |"), "{row}");
    }
}

#[test]
fn python_does_what_like_systems_offer() {
    let Some(folder) = installed("python") else { return };
    assert_eq!(tried(python(&folder, "quota_features.py"), Server::start()).pop().unwrap(), "14 of 14");
}

/// The package, the programs that try it, and the examples of its page, which a user copies into a
/// program that is typed.
#[test]
fn python_is_typed() {
    // What they use, a host or a client, has no types.
    let untyped = "celery_app django_app first limits_conftest quota_features waiting";
    let Some(folder) = installed("python") else { return };
    let examples_of_page = TempDir::with_prefix("floodgate-examples-").unwrap();
    let readme = fs::read_to_string(format!("{PACKAGES}/python/README.md")).unwrap();
    for (number, example) in examples(&readme).enumerate() {
        fs::write(examples_of_page.path().join(format!("example_{number}.py")), example).unwrap();
    }
    let mut mypy = interpreter(&folder);
    mypy.current_dir(format!("{CLIENTS}/python")).env("MYPYPATH", format!("{PACKAGES}/python"));
    mypy.args(["-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir"]).arg(folder.join("mypy"));
    mypy.arg(format!("{PACKAGES}/python/floodgate_redis"));
    for folder in [Path::new(CLIENTS).join("python").as_path(), examples_of_page.path()] {
        for file in fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let is_program = path.extension().is_some_and(|kind| kind == "py");
            if is_program && !untyped.split(' ').any(|other| other == name) {
                mypy.arg(path);
            }
        }
    }
    succeeds(mypy);
}

#[test]
fn node_first_request() {
    let Some(folder) = installed("node") else { return };
    let recipes = node(&folder);
    let server = Server::start();
    let mut first = Command::new("node");
    first.arg(recipes.path().join("first.mjs"));
    first.env("REDIS_URL", format!("redis://127.0.0.1:{}", server.port()));
    let output = first.stdin(Stdio::null()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "9 left\n");
}

/// Runs a program that waits and reserves by the client's ordinary commands.
fn waits_and_reserves(mut program: Command) {
    let server = Server::start();
    let output = program.arg(server.port().to_string()).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "done");
}

#[test]
fn python_redis_py_waits_and_reserves() {
    let Some(folder) = installed("python") else { return };
    waits_and_reserves(python(&folder, "waiting.py"));
}

#[test]
fn node_ioredis_waits_and_reserves() {
    let Some(folder) = installed("node") else { return };
    let program = folder.join("waiting.mjs");
    std::fs::copy(format!("{CLIENTS}/node/waiting.mjs"), &program).unwrap();
    let mut node = Command::new("node");
    node.arg(program);
    waits_and_reserves(node);
}

/// What the page shows of a recipe stands in a file that the tests above run.
#[test]
fn readme_shows_what_is_tried() {
    let readme = readme();
    let mut shown = 0;
    for block in readme.split("```").skip(1).step_by(2) {
        let (language, code) = block.split_once('\n').unwrap();
        let folder = match language {
            "python" => format!("{CLIENTS}/python"),
            "js" => format!("{PACKAGES}/node/examples"),
            "rust" => format!("{PACKAGES}/rust/examples"),
            _ => continue,
        };
        let files: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .chain(fs::read_dir(format!("{CLIENTS}/node")).unwrap())
            .filter_map(|file| fs::read_to_string(file.unwrap().path()).ok())
            .collect();
        // Parts that stand apart in the file are set apart by a blank line.
        for part in code.split("\n\n") {
            let part = part.trim_matches('\n');
            let found = files.iter().any(|file| file.contains(&format!("{part}\n")));
            assert!(found, "no recipe has:\n{part}");
            shown += 1;
        }
    }
    assert!(shown >= 10, "{shown}");
}
