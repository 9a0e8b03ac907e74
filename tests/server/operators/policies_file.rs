//! The setting `policies-file`: policies that come with the server's configuration.

use crate::harness::{Reply, Server, assert_error_prefix, call, cluster_of, eventually};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(30);

fn file(dir: &TempDir, text: &str) -> PathBuf {
    let path = dir.path().join("policies.json");
    fs::write(&path, text).unwrap();
    path
}

fn with_file(path: &Path, settings: &[&str]) -> crate::harness::Builder {
    Server::builder().args(settings).module_args(["policies-file", path.to_str().unwrap()])
}

fn limits(server: &Server, name: &str) -> Option<String> {
    let policy = server.line(&format!("RL.POLICY GET {name}"));
    (!policy.is_nil()).then(|| policy.field("limits").text())
}

#[track_caller]
fn wait_limits(server: &Server, name: &str, wanted: &str) {
    eventually(SOON, "the file is imported", || limits(server, name).as_deref() == Some(wanted));
}

const FIRST: &str = r#"{"policies":[{"name":"a","limits":"1/s","prefix":"a:"},{"name":"b","limits":"1/s"}]}"#;
const SECOND: &str = r#"[{"name":"a","limits":"2/s"}]"#;

#[test]
fn it_is_imported_once_and_again_when_it_differs() {
    for settings in [&["--appendonly", "yes", "--appendfsync", "always"][..], &["--save", "900", "1"]] {
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir, FIRST);
        let mut server = with_file(&path, settings).start();
        wait_limits(&server, "a", "1/s");
        let list = server.line("RL.POLICY LIST");
        assert_eq!((list.field("version"), list.field("policies").items().len()), (Reply::Int(1), 2));
        if server.at_least(7, 0) {
            assert_eq!(server.config_get("floodgate.policies-file").as_deref(), path.to_str());
        }
        // What an operator changed stays as long as the file is the same.
        server.ok("RL.POLICY SET a 9/s");
        server.line("RL.POLICY DEL b");
        server.ok("RL.POLICY SET own 5/s");
        let stop = |server: &mut Server| {
            if settings[0] == "--save" {
                server.stop_save();
            } else {
                server.kill9();
            }
        };
        for _ in 0..2 {
            stop(&mut server);
            server.restart();
            // The import is due at once: whatever comes later sees that there was none.
            assert_eq!(server.line("PING").text(), "PONG");
            assert_eq!((limits(&server, "a").as_deref(), limits(&server, "b")), (Some("9/s"), None));
        }
        assert!(server.log().matches("was imported").count() == 1);
        // Another file: it replaces what it names, whole, and leaves the rest.
        file(&dir, SECOND);
        stop(&mut server);
        server.restart();
        wait_limits(&server, "a", "2/s");
        assert!(server.line("RL.POLICY GET a").field("prefix").is_nil());
        assert_eq!(limits(&server, "own").as_deref(), Some("5/s"));
        assert_eq!(server.line("DEBUG RELOAD"), Reply::ok());
        // A rewritten AOF keeps it, too.
        if settings[0] == "--appendonly" {
            server.config_set("aof-use-rdb-preamble", "no");
            server.rewrite_aof();
        }
        server.ok("RL.POLICY SET a 9/s");
        stop(&mut server);
        server.restart();
        assert_eq!(limits(&server, "a").as_deref(), Some("9/s"));
    }
}

#[test]
fn a_bad_file_refuses_to_load_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    for (text, reason) in [
        ("{", "invalid JSON"),
        ("7", "invalid JSON: expected {\"policies\": [ ... ]} or an array of policies"),
        (r#"[{"name":"a","limits":"1/"}]"#, "policy 'a': invalid limit '1/': missing period"),
        (
            r#"[{"name":"a","limits":"1/s","prefix":"p"},{"name":"b","limits":"1/s","prefix":"p"}]"#,
            "policy 'b': invalid prefix 'p': it is the prefix of policy 'a' already",
        ),
    ] {
        let path = file(&dir, text);
        let log = with_file(&path, &[]).try_start().err().unwrap_or_else(|| panic!("{text} was taken"));
        let line = format!("setting 'policies-file' = '{}': {reason}", path.display());
        let line: String = line.chars().take(20).collect();
        assert!(log.contains("floodgate does not load") && log.contains(&line), "{log}");
        assert!(log.contains(reason), "{log}");
    }
    let gone = dir.path().join("gone.json");
    let log = with_file(&gone, &[]).try_start().err().unwrap();
    assert!(log.contains("cannot be read: No such file"), "{log}");
    let server = Server::start();
    if server.at_least(7, 0) {
        let refused = call!(server, "CONFIG", "SET", "floodgate.policies-file", "x");
        assert_error_prefix(&refused, "ERR CONFIG SET failed");
    }
}

/// A prefix of the file is the file's, whoever had it: an operator's policy, or one that the file
/// has under another name now. That policy stays, without the prefix.
#[test]
fn a_prefix_of_the_file_goes_to_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, SECOND);
    let mut server = with_file(&path, &["--appendonly", "yes", "--appendfsync", "always"]).start();
    wait_limits(&server, "a", "2/s");
    server.ok("RL.POLICY SET other 7/s PREFIX a:");
    let renamed = r#"[{"name":"renamed","limits":"3/s","prefix":"a:"}]"#;
    for (text, owner, limit) in [(FIRST, "a", 1), (renamed, "renamed", 3), (FIRST, "a", 1)] {
        file(&dir, text);
        for _ in 0..2 {
            server.kill9();
            server.restart();
            eventually(SOON, "the file is imported", || {
                server.line("RL.QUOTA a:1 *")[0].field("limit") == Reply::Int(limit)
            });
        }
        for name in ["a", "renamed", "other"] {
            let policy = server.line(&format!("RL.POLICY GET {name}"));
            let has = !policy.is_nil() && !policy.field("prefix").is_nil();
            assert_eq!(has, name == owner, "{name} after {text}");
        }
    }
    assert_eq!(limits(&server, "other").as_deref(), Some("7/s"));
}

#[test]
fn a_replica_leaves_it_to_its_master() {
    let dir = tempfile::tempdir().unwrap();
    let master = Server::start();
    let path = file(&dir, FIRST);
    let mut replica = with_file(&path, &["--replicaof", "127.0.0.1", &master.port().to_string()]).start();
    replica.wait_link();
    master.ok("RL.POLICY SET own 5/s");
    wait_limits(&replica, "own", "5/s");
    assert_eq!((limits(&replica, "a"), limits(&master, "a")), (None, None));
    // What its master imported, it need not import when it is a master itself.
    let with = with_file(&path, &[]).start();
    wait_limits(&with, "a", "1/s");
    replica.follow(&with);
    assert_eq!(limits(&replica, "b").as_deref(), Some("1/s"));
    with.ok("RL.POLICY SET a 9/s");
    wait_limits(&replica, "a", "9/s");
    replica.ok("REPLICAOF NO ONE");
    assert_eq!(limits(&replica, "a").as_deref(), Some("9/s"));
    replica.forget_control();
}

#[test]
fn every_master_of_a_cluster_may_have_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, FIRST);
    let mut cluster = cluster_of(&with_file(&path, &["--appendonly", "yes"]), 3, 0);
    let digests = |cluster: &crate::harness::Cluster| {
        let digest = |node: &Server| node.line("RL.POLICY LIST").field("digest").text();
        cluster.nodes.iter().map(digest).collect::<std::collections::BTreeSet<_>>().len()
    };
    eventually(SOON, "all agree", || digests(&cluster) == 1 && limits(&cluster.nodes[2], "a").is_some());
    // A new file on one of them goes to all.
    file(&dir, SECOND);
    cluster.nodes[1].restart();
    cluster.wait_ok();
    for node in &cluster.nodes {
        wait_limits(node, "a", "2/s");
    }
}

/// A master that comes back without its data, or is new, has the file only: that is older than
/// what anybody changed in the cluster.
#[test]
fn what_operators_changed_stands_against_the_file_of_a_new_master() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, FIRST);
    let mut cluster = cluster_of(&with_file(&path, &["--save", ""]), 3, 0);
    cluster.nodes.iter().for_each(|node| wait_limits(node, "b", "1/s"));
    let changed = |cluster: &crate::harness::Cluster| {
        for node in &cluster.nodes {
            wait_limits(node, "a", "9/s");
            eventually(SOON, "b is deleted", || limits(node, "b").is_none());
        }
    };
    cluster.nodes[0].ok("RL.POLICY SET a 9/s PREFIX a:");
    assert_eq!(cluster.nodes[0].line("RL.POLICY DEL b"), Reply::Int(1));
    changed(&cluster);
    cluster.nodes[1].kill9();
    cluster.nodes[1].restart();
    cluster.wait_ok();
    changed(&cluster);
    let joins = with_file(&path, &["--cluster-enabled", "yes", "--cluster-node-timeout", "3000"]).start();
    wait_limits(&joins, "a", "1/s");
    let port = cluster.nodes[0].port().to_string();
    assert_eq!(joins.call(&["CLUSTER", "MEET", "127.0.0.1", &port]), Reply::ok());
    cluster.nodes.push(joins);
    changed(&cluster);
}

/// Masters without persistence have nothing but the file, which is given to one after the other.
#[test]
fn of_two_files_the_one_that_was_changed_last_holds() {
    for (first, second) in [("1/s", "2/s"), ("2/s", "1/s")] {
        let dir = tempfile::tempdir().unwrap();
        let give = |limits: &str, changed: u64| {
            let path = file(&dir, &format!(r#"[{{"name":"a","limits":"{limits}"}}]"#));
            let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(changed);
            fs::File::options().write(true).open(&path).unwrap().set_modified(changed).unwrap();
            path
        };
        let path = give(first, 1_700_000_000);
        let mut cluster = cluster_of(&with_file(&path, &["--save", ""]), 3, 0);
        cluster.nodes.iter().for_each(|node| wait_limits(node, "a", first));
        give(second, 1_700_000_001);
        for at in 0..3 {
            cluster.nodes[at].kill9();
            cluster.nodes[at].restart();
            cluster.wait_ok();
            cluster.nodes.iter().for_each(|node| wait_limits(node, "a", second));
        }
    }
}
