//! The monitoring files, as far as they can be shown without their programs:
//! the exporter's script names every metric that the rules and the dashboard use.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::harness::{Reply, Server, free_port};
use crate::support::root;

fn file(name: &str) -> String {
    let path = root().join("scripts/monitoring").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The words of a text that are names of metrics: ours, or recorded by a rule.
fn metrics(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .filter(|word| word.starts_with("floodgate_") || word.starts_with("instance:floodgate_"))
        .collect()
}

/// The expressions of the rules, without what else they say.
fn expressions(rules: &str) -> String {
    let prose = ["summary:", "action:", "- record:", "- alert:", "- name:"];
    let lines = rules.lines().filter(|line| !prose.iter().any(|word| line.trim_start().starts_with(word)));
    lines.collect::<Vec<_>>().join("\n")
}

/// What prometheus.yml makes of the names that metrics.lua gives.
fn served(server: &Server) -> BTreeSet<String> {
    let reply = server.call(&["EVAL", &file("metrics.lua"), "0"]);
    assert!(!reply.items().is_empty() && reply.items().len().is_multiple_of(2), "{reply:?}");
    reply
        .items()
        .chunks(2)
        .map(|pair| {
            assert!(pair[1].text().parse::<f64>().is_ok(), "{pair:?}");
            let name = pair[0].text();
            match name.split(':').next().unwrap_or_default() {
                "command_latency_us_by_command" => "floodgate_command_latency_us_bucket".to_owned(),
                "command_latency_us_sum_by_command" => "floodgate_command_latency_us_sum".to_owned(),
                name => format!("floodgate_{name}"),
            }
        })
        .collect()
}

/// Something under every label.
fn busy() -> Server {
    let server = Server::start();
    server.ok("RL.POLICY SET gold 1/h,1/d:shadow:name=trial");
    for command in ["RL.ACQUIRE k @gold", "RL.ACQUIRE k @gold", "CB.REPORT down FAIL BREAKER 1:open=1h"] {
        server.line(command);
    }
    let timed = |server: &Server| server.counter("command_latency_count") != 0;
    while !timed(&server) {
        server.line("RL.ACQUIRE k @gold");
    }
    server
}

#[test]
fn every_metric_of_rules_and_dashboard_is_served() {
    let served = served(&busy());
    let (rules, dashboard) = (file("rules.yml"), file("dashboard.json"));
    let recorded: BTreeSet<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).collect();
    let expressions = expressions(&rules);
    let used: BTreeSet<&str> = metrics(&expressions).into_iter().chain(metrics(&dashboard)).collect();
    assert!(used.len() > 40, "{used:?}");
    let missing: Vec<_> =
        used.iter().filter(|name| !recorded.contains(**name) && !served.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:?} of {served:?}");
    // And a rule is recorded for somebody.
    let idle: Vec<_> = recorded.iter().filter(|name| !used.contains(**name)).collect();
    assert!(idle.is_empty(), "{idle:?}");
}

#[test]
fn labels_are_printable_and_differ() {
    let server = Server::start();
    for key in [&b"\xff\n"[..], b"\xfe\n", b"\\xff\n", b"a:b \"~\""] {
        server.call(&[&b"CB.REPORT"[..], key, b"FAIL", b"BREAKER", b"1"]);
    }
    let reply = server.call(&["EVAL", &file("metrics.lua"), "0"]);
    let names: BTreeSet<String> = reply
        .items()
        .chunks(2)
        .filter_map(|pair| pair[0].text().strip_prefix("breakers_open_since_ms:").map(str::to_owned))
        .collect();
    let expected = [r"\xff\x0a", r"\xfe\x0a", r"\x5cxff\x0a", "a:b \"~\""];
    assert_eq!(names, expected.iter().map(|&name| name.to_owned()).collect());
    assert!(reply.items().iter().all(|item| matches!(item, Reply::Bulk(_))));
}

/// The exporter's user needs what OPERATIONS.md says, and has nothing else.
#[test]
fn the_rights_of_the_watcher_run_its_script() {
    let page = fs::read_to_string(root().join("OPERATIONS.md")).unwrap();
    let line = page.split('`').find(|code| code.starts_with("ACL SETUSER watcher ")).expect("its line");
    let server = busy();
    server.ok(line);
    let mut wire = server.wire();
    assert_eq!(wire.line("AUTH watcher secret"), Reply::ok());
    let reply = wire.call(&["EVAL", &file("metrics.lua"), "0"]);
    let open = |item: &Reply| item.text().starts_with("breakers_open_since_ms:down");
    assert!(reply.items().chunks(2).any(|pair| open(&pair[0])), "{reply:?}");
    assert!(matches!(wire.line("INFO"), Reply::Bulk(_)));
    for command in ["GET k", "RL.RESET k", "RL.ACQUIRE k 1/s", "EVAL \"return redis.call('GET','k')\" 1 k"] {
        let reply = wire.line(command);
        assert!(reply.error().is_some(), "{command}: {reply:?}");
    }
}

/// What the watcher lacks is a line, and no traceback.
#[test]
fn what_is_wrong_at_the_start_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let started = |port: &str, password: &str| {
        let output = Command::new("/usr/bin/env")
            .args(["python3", &file_path("monitor.py")])
            .env("PORT", port)
            .env("REDIS_PASSWORD", password)
            .env_remove("REDIS_USER")
            .env("MONITOR_DATA", dir.path())
            // Python alone is found here, and none of the programs.
            .env("PATH", python_alone(dir.path()))
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).trim_end().to_owned())
    };
    for port in ["abc", "²", "0", "65536", "-1"] {
        let (status, said) = started(port, "");
        assert_eq!((status, said), (Some(1), format!("monitor: PORT={port} is not a port from 1 to 65535")));
    }
    // Then what is wrong with the server that it is to watch, which may come later.
    let (bare, locked, good) = (Server::builder().without_module().start(), Server::start(), Server::start());
    locked.ok("CONFIG SET requirepass pw");
    for (port, password, problem) in [
        (free_port(), "", Some(" does not answer (Connection refused): start it, or name its port")),
        (bare.port(), "", Some(": it has not loaded the module")),
        (locked.port(), "", Some(" answers 'NOAUTH Authentication required.': its password belongs into")),
        (locked.port(), "no", Some(": REDIS_PASSWORD has another password")),
        (locked.port(), "pw", None),
        (good.port(), "", None),
    ] {
        let (status, said) = started(&port.to_string(), password);
        let lines: Vec<&str> = said.lines().collect();
        let (last, before) = lines.split_last().unwrap();
        let why = "No such file or directory (scripts/setup.sh monitor installs it)";
        assert_eq!((status, *last), (Some(1), &*format!("cannot start prometheus-redis-exporter: {why}")));
        let told = before.concat();
        assert_eq!(told.is_empty(), problem.is_none(), "{told}");
        assert!(told.contains(problem.unwrap_or_default()), "{told}");
        assert!(problem.is_none() || told.contains(&format!("127.0.0.1:{port} ")), "{told}");
    }
}

fn file_path(name: &str) -> String {
    root().join("scripts/monitoring").join(name).to_str().unwrap().to_owned()
}

/// A folder that has Python and nothing else.
fn python_alone(dir: &Path) -> PathBuf {
    let bin = dir.join("bin");
    if !bin.exists() {
        fs::create_dir(&bin).unwrap();
        let itself =
            Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
        let python = String::from_utf8(itself.stdout).unwrap();
        std::os::unix::fs::symlink(python.trim(), bin.join("python3")).unwrap();
    }
    bin
}
