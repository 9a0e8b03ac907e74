//! The package for Python, `src/clients/python`, in the libraries that people use
//! already: their own tests, and what their pages promise.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::support::{not_tried, root};
use crate::{
    clients::recipes::{CLIENTS, PACKAGES, durable, installed, interpreter, python, succeeds, tried},
    harness::Server,
};

/// How often tests of others may be too slow.
const TURNS: u32 = 10;

/// Runs tests that come with a library, on our storage; says how many passed. `arguments`
/// say which, and which are left out.
fn their_tests(folder: &Path, library: &str, conftest: &str, arguments: &[String]) -> u32 {
    let dir = TempDir::with_prefix("floodgate-host-").unwrap();
    let copied =
        Command::new("cp").arg("-r").arg(folder.join(library).join("tests")).arg(dir.path()).status();
    assert!(copied.unwrap().success());
    fs::copy(format!("{CLIENTS}/python/{conftest}"), dir.path().join("tests/conftest.py")).unwrap();
    let server = Server::start();
    let run = |which: &[String]| {
        let mut pytest = interpreter(folder);
        pytest.current_dir(dir.path()).env("PORT", server.port().to_string());
        // What it compiles in a folder of one run nobody finds again.
        pytest.args(["-B", "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", "."]);
        pytest.args(["-o", "asyncio_mode=auto", "-W", "ignore", "--tb=short"]).args(which);
        let output = pytest.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let passed = said.lines().last().and_then(|line| {
            let (before, _) = line.split_once(" passed")?;
            before.split_whitespace().last()?.parse::<u32>().ok()
        });
        (output.status.success(), passed.unwrap_or(0), said)
    };
    // Some compare seconds, which a busy machine lets pass: these run again. Named a second time, the
    // tests of a file without failures would be missed: pytest passes over the whole file.
    let (mut all_passed, mut passed, mut said) = run(arguments);
    for _ in 0..TURNS {
        if all_passed {
            break;
        }
        // Their benchmarks need another plug-in of pytest, and are collected where no file is named.
        let (now, more, again) = run(&["--last-failed", "--ignore=tests/benchmarks"].map(String::from));
        (all_passed, passed, said) = (now, passed + more, said + &again);
    }
    assert!(all_passed, "{said}");
    assert!(
        server.info_field("commandstats", "cmdstat_rl.acquire").contains("calls="),
        "none asked our storage"
    );
    passed
}

/// Those that `limits` brings for its strategies and their concurrency. Those left out
/// contradict a promise.
#[test]
fn limits_passes_its_own_tests() {
    let Some(folder) = installed("python") else { return };
    let mut arguments: Vec<String> =
        ["tests/test_strategy.py", "tests/aio/test_strategy.py", "tests/integration/test_concurrency.py"]
            .map(String::from)
            .into();
    for left_out in [
        // 999,999 of 1,000,000 at once and another a second before: that one is free
        // again at most a fiftieth of the period late (S2), the test allows nothing.
        "moving_window_huge_cost",
        // The counter of `limits` estimates, so that units drip back; ours is exact.
        "sliding_window_counter_previous_window",
    ] {
        for class in ["TestMovingWindow", "TestSlidingWindow"] {
            arguments.push(format!("--deselect=tests/test_strategy.py::{class}::test_{left_out}"));
        }
        for class in ["TestAsyncMovingWindow", "TestAsyncSlidingWindow"] {
            arguments.push(format!("--deselect=tests/aio/test_strategy.py::{class}::test_{left_out}"));
        }
    }
    let passed = their_tests(&folder, "limits", "limits_conftest.py", &arguments);
    assert!(passed >= 39, "{passed}");
}

/// Those of Flask-Limiter that want a Redis. None contradicts a promise. What else its
/// files hold is left out: it runs in the host's memory, and some of that fails in the
/// last minute of an hour.
#[test]
fn flask_limiter_passes_its_own_tests() {
    let Some(folder) = installed("python") else { return };
    let arguments = [
        "tests/test_storage.py::test_fixed_window[redis://localhost:46379]",
        "tests/test_storage.py::test_moving_window[redis://localhost:46379]",
        "tests/test_error_handling.py::test_fallback_to_memory_config",
        "tests/test_error_handling.py::test_fallback_to_memory_backoff_check",
        "tests/test_error_handling.py::test_fallback_to_memory_with_global_override",
        "tests/test_error_handling.py::test_fallback_to_memory",
        "tests/test_regressions.py::test_redis_request_slower_than_fixed_window",
        "tests/test_regressions.py::test_redis_request_slower_than_moving_window",
        "tests/test_regressions.py::test_custom_key_prefix_with_headers",
        "tests/test_flask_ext.py::test_custom_key_prefix",
        "tests/test_commands.py::test_clear_limits",
    ]
    .map(String::from);
    assert_eq!(their_tests(&folder, "Flask-Limiter", "flask_limiter_conftest.py", &arguments), 11);
}

/// Of the modules that exist with asyncio and without, those that differ by words alone are written
/// once.
#[test]
fn modules_without_asyncio_are_made_from_those_with_it() {
    if installed("python").is_none() {
        return;
    }
    let mut check = Command::new("python3");
    check.arg("-B").arg(root().join("scripts/twins.py")).arg("--check");
    succeeds(check);
}

/// What `make package` makes and users install: it needs nothing but redis-py, has its
/// types, and knows its version.
#[test]
fn the_file_installs_into_an_empty_folder() {
    let Some(folder) = installed("python") else { return };
    let dir = TempDir::with_prefix("floodgate-wheel-").unwrap();
    let script = root().join("scripts/package/python.sh");
    let output = Command::new(script).arg(dir.path()).output().unwrap();
    let made = String::from_utf8_lossy(&output.stdout);
    let [wheel, source]: [&str; 2] =
        made.lines().collect::<Vec<_>>().try_into().expect("a wheel and its source");
    assert!(wheel.ends_with("/floodgate_redis-0.1.0-py3-none-any.whl"), "{wheel}");
    assert!(source.ends_with("/floodgate_redis-0.1.0.tar.gz"), "{source}");
    let mut install = Command::new(folder.join("venv/bin/pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"]);
    install.arg(dir.path().join("site")).arg(wheel);
    succeeds(install);
    assert!(dir.path().join("site/floodgate_redis/py.typed").exists());
    assert!(dir.path().join("site/floodgate_redis-0.1.0.dist-info/licenses/LICENSE").exists());
    let server = Server::start();
    let mut first = interpreter(&folder);
    first.arg("-B").env("PYTHONPATH", dir.path().join("site"));
    first.args([
        "-c",
        "import sys, floodgate_redis\nfrom floodgate_redis import FailOpen, Limiter, Server\n\
        limiter = Limiter(Server(sys.argv[1]), FailOpen())\nassert limiter.acquire('a', '1/h').from_redis\n\
        assert floodgate_redis.__version__ == '0.1.0'\n\
        others = {'limits', 'fastapi', 'flask', 'django', 'celery', 'pyrate_limiter'}\n\
        assert not others & set(sys.modules), 'it needs none of them'",
    ]);
    first.arg(format!("redis://127.0.0.1:{}", server.port()));
    succeeds(first);
}

/// And what the page says, within five minutes: the script counts.
#[test]
fn a_user_is_at_the_first_limited_request_soon() {
    if installed("python").is_none() {
        return;
    }
    let server = Server::start();
    let mut walk = Command::new(root().join("scripts/first-request.sh"));
    walk.arg("python").env("REDIS_URL", format!("redis://127.0.0.1:{}", server.port()));
    let output = walk.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("from an empty folder to the first limited request: "), "{said}");
}

/// The page that the service serves, in a real browser.
#[test]
fn the_page_shows_what_happens() {
    let Some(folder) = installed("python") else { return };
    if Command::new("chromium").arg("--version").output().is_err() {
        not_tried("the page of the service is", "chromium is not installed");
        return;
    }
    let mut program = python(&folder, "try_page.py");
    program.env("CHROMIUM", "chromium");
    assert_eq!(tried(program, durable()), ["done"]);
}

/// The path of the package, and of what stands for LiteLLM.
fn with_stand_ins(mut program: Command) -> Command {
    program.env("PYTHONPATH", format!("{PACKAGES}/python:{CLIENTS}/python/standins"));
    program
}

#[test]
fn pyrate_limiter_django_wsgi_and_celery() {
    let Some(folder) = installed("python") else { return };
    assert_eq!(tried(python(&folder, "try_hosts.py"), durable()), ["done"]);
}

/// `make test-litellm` runs the same with LiteLLM itself.
#[test]
fn litellm() {
    let Some(folder) = installed("python") else { return };
    assert_eq!(tried(with_stand_ins(python(&folder, "try_litellm.py")), durable()), ["done"]);
}

/// Against an exact model; and on a server, where round trips are counted.
#[test]
fn a_lease_keeps_its_promise() {
    let Some(folder) = installed("python") else { return };
    assert_eq!(tried(python(&folder, "try_lease.py"), durable()), ["done"]);
}

/// What a row of the page's table says is enough for what it names.
#[test]
fn the_rights_of_each_plug_in_suffice() {
    let Some(folder) = installed("python") else { return };
    let page = fs::read_to_string(format!("{PACKAGES}/python/README.md")).unwrap();
    let (_, rights) = page.split_once("\n## Rights\n").unwrap();
    // A bar within a cell is escaped.
    let rows: Vec<Vec<String>> = rights
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| what"))
        .map(|line| line.replace("\\|", "\0"))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().replace('\0', "|")).collect())
        .collect();
    assert_eq!(rows.len(), 13);
    let server = Server::start();
    let spans =
        |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    for row in rows {
        let keys: Vec<String> = spans(&row[1]).iter().map(|key| format!("~{key}")).collect();
        let commands: Vec<String> = spans(&row[2])
            .iter()
            .flat_map(|span| span.split(' ').map(str::to_owned).collect::<Vec<_>>())
            .collect();
        // `clear`, `reset`, `count` and `flush` are names of what the commands are for.
        let commands: Vec<&String> = commands.iter().filter(|command| command.starts_with('+')).collect();
        let keys =
            if row[1].starts_with("yours") { format!("~user:* {}", keys.join(" ")) } else { keys.join(" ") };
        let allow = commands.iter().map(|command| command.as_str()).collect::<Vec<_>>().join(" ");
        server.ok("FLUSHALL");
        server.ok("RL.POLICY SET some 1/s");
        server.line("RL.ACQUIRE other 1/h COST 1");
        server.line("RL.ACQUIRE other 1/h");
        server.line("CB.REPORT breaker FAIL BREAKER 1");
        server.ok(format!("ACL SETUSER web reset on >secret {keys} {allow}").trim());
        let mut program = with_stand_ins(python(&folder, "rights.py"));
        program.arg(&row[0]).arg(format!("redis://web:secret@127.0.0.1:{}", server.port()));
        succeeds(program);
    }
}
