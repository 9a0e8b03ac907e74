//! The monitoring files, as far as they can be shown without their programs:
//! the exporter's script names every metric that the rules and the dashboard use.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::harness::{Reply, Server};
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

/// What the watcher lacks is a line, and no traceback.
#[test]
fn what_is_wrong_at_the_start_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let started = |port: &str| {
        let output = Command::new("/usr/bin/env")
            .args(["python3", &file_path("monitor.py")])
            .env("PORT", port)
            .env("MONITOR_DATA", dir.path())
            // Python alone is found here, and none of the programs.
            .env("PATH", python_alone(dir.path()))
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).trim_end().to_owned())
    };
    for port in ["abc", "²", "0", "65536", "-1"] {
        assert_eq!(started(port), (Some(1), format!("monitor: PORT={port} is not a port from 1 to 65535")));
    }
    let why = "No such file or directory (scripts/setup.sh monitor installs it)";
    assert_eq!(started("6379"), (Some(1), format!("cannot start prometheus-redis-exporter: {why}")));
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
