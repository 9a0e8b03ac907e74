//! A server that is started without the module on what it wrote with it, and the
//! way back that OPERATIONS.md tells.

use std::{fs, time::Duration};

use crate::harness::{Cluster, Reply, Server, assert_error, cluster_of, eventually};

/// Starts without the module; the line that loads stays in a copy of the file.
fn without_the_module(server: &mut Server) -> Result<(), String> {
    let path = server.dir().join("redis.conf");
    let conf = fs::read_to_string(&path).unwrap();
    let ours = |line: &&str| line.starts_with("loadmodule") || line.starts_with("floodgate.");
    let kept: Vec<&str> = conf.lines().filter(|line| !ours(line)).collect();
    fs::write(&path, kept.join("\n") + "\n").unwrap();
    let result = server.try_restart();
    fs::write(&path, conf).unwrap();
    result
}

/// A key of ours, or a policy: the file is refused, and the line brings all back.
#[test]
fn what_only_the_module_reads_is_refused_and_comes_back() {
    for (command, shown) in
        [("RL.ACQUIRE k 10/h", "RL.QUOTA k"), ("RL.POLICY SET free 10/h PREFIX user:", "RL.POLICY GET free")]
    {
        let mut server = Server::start();
        server.ok("SET a b");
        server.line(command);
        server.stop_save();
        assert!(without_the_module(&mut server).is_err(), "{command}");
        server.restart();
        assert_eq!(server.line("GET a"), Reply::bulk("b"));
        assert!(!server.line(shown).is_nil(), "{shown}");
    }
}

/// What the page says to do before the line is taken out, but for the policies of a cluster, which
/// any master deletes for all.
fn prepare(server: &Server) {
    for command in
        ["RL.UNPIN pinned", "RL.UNBLOCK blocked", "CB.FORCE forced AUTO", "CB.FORCE calm AUTO", "CB.UNPIN cb"]
    {
        assert!(server.line(command).error().is_none(), "{command}");
    }
    let mut cursor = "0".to_owned();
    loop {
        cursor = server.line(&format!("RL.CLEAR {cursor} COUNT 1000"))[0].text();
        if cursor == "0" {
            break;
        }
    }
    for name in policies(server) {
        assert_eq!(server.line(&format!("RL.POLICY DEL {name}")), Reply::Int(1));
    }
    server.ok("RL.POLICY FORGET");
}

fn policies(server: &Server) -> Vec<String> {
    let list = server.line("RL.POLICY LIST");
    list.field("policies").items().iter().map(|policy| policy.field("name").text()).collect()
}

fn fill(server: &Server) {
    for command in [
        "RL.ACQUIRE k 10/h",
        "RL.PIN pinned 1/s",
        "RL.BLOCK blocked FOREVER",
        "CB.FORCE forced OPEN",
        "CB.FORCE calm CLOSED",
        "CB.PIN cb 5",
        "RL.POLICY SET free 10/h PREFIX user:",
    ] {
        assert!(server.line(command).error().is_none(), "{command}");
    }
    server.ok("SET a b");
}

const PLAIN_AOF: [&str; 6] =
    ["--appendonly", "yes", "--aof-use-rdb-preamble", "no", "--auto-aof-rewrite-percentage", "0"];

/// From 7.2 on any file does; before, an AOF without preamble, which holds commands only. So it is
/// on a server that imported a file of policies, too.
#[test]
fn after_the_steps_of_the_page_it_starts_without_the_module() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policies.json");
    fs::write(&file, r#"[{"name":"file","limits":"9/s"}]"#).unwrap();
    for (settings, file) in
        [(&[][..], None), (&PLAIN_AOF, None), (&[], Some(&file)), (&PLAIN_AOF, Some(&file))]
    {
        let mut node = Server::builder().args(settings);
        if let Some(file) = file {
            node = node.module_args(["policies-file", file.to_str().unwrap()]);
        }
        let mut server = node.start();
        eventually(Duration::from_secs(30), "the file is imported", || {
            file.is_none() || policies(&server) == ["file"]
        });
        fill(&server);
        prepare(&server);
        if settings.is_empty() {
            server.stop_save();
        } else {
            server.rewrite_aof();
        }
        let starts = !settings.is_empty() || server.at_least(7, 2);
        assert_eq!(without_the_module(&mut server).is_ok(), starts, "{settings:?} {file:?}");
        if !starts {
            server.restart();
        }
        assert_eq!(server.line("GET a"), Reply::bulk("b"));
    }
}

#[test]
fn after_the_steps_of_the_page_a_cluster_starts_without_the_module() {
    for settings in [&[][..], &PLAIN_AOF] {
        let mut cluster = cluster_of(&Server::builder().args(settings), 3, 3);
        if settings.is_empty() && !cluster.nodes[0].at_least(7, 2) {
            continue;
        }
        let data = cluster.owner_index("a");
        cluster.nodes[data].ok("SET a b");
        cluster.nodes[data].line("RL.ACQUIRE {a}k 10/h");
        cluster.nodes[data].ok("RL.POLICY SET free 10/h");
        everywhere(&cluster, &["free"]);
        assert_eq!(cluster.nodes[data].line("RL.CLEAR 0 COUNT 1000")[1], Reply::Int(1));
        assert_eq!(cluster.nodes[data].line("RL.POLICY DEL free"), Reply::Int(1));
        everywhere(&cluster, &[]);
        for node in &cluster.nodes {
            node.ok("RL.POLICY FORGET");
            if !settings.is_empty() {
                node.rewrite_aof();
            }
        }
        cluster.nodes.iter_mut().for_each(Server::stop_save);
        for node in &mut cluster.nodes {
            without_the_module(node).expect("it starts without the module");
        }
        cluster.wait_ok();
        // A replica may have taken over from a master that was away for long.
        eventually(Duration::from_secs(60), "the key is there", || {
            cluster.owner("a").line("GET a") == Reply::bulk("b")
        });
    }
}

/// Waits until every node has just these policies.
fn everywhere(cluster: &Cluster, names: &[&str]) {
    eventually(Duration::from_secs(30), "all nodes have these policies", || {
        cluster.nodes.iter().filter(|node| node.is_running()).all(|node| policies(node) == names)
    });
}

/// What was forgotten for the files is still told to who was away, and stored again from the next
/// policy on.
#[test]
fn a_deleted_policy_does_not_come_back_to_nodes_that_forgot_it() {
    let mut cluster = cluster_of(&Server::builder(), 3, 0);
    cluster.nodes[0].ok("RL.POLICY SET free 10/h");
    everywhere(&cluster, &["free"]);
    let refused = cluster.nodes[0].line("RL.POLICY FORGET");
    assert_error(&refused, "ERR there are policies, RL.POLICY DEL deletes each");
    cluster.nodes[2].stop_save();
    assert_eq!(cluster.nodes[0].line("RL.POLICY DEL free"), Reply::Int(1));
    everywhere(&cluster, &[]);
    cluster.nodes[0].ok("RL.POLICY FORGET");
    cluster.nodes[1].ok("RL.POLICY FORGET");
    cluster.nodes[2].restart();
    everywhere(&cluster, &[]);
    // Another policy, and it is as if nobody had asked to forget.
    cluster.nodes[0].ok("RL.POLICY SET other 10/h");
    everywhere(&cluster, &["other"]);
    assert_eq!(cluster.nodes[1].line("RL.POLICY DEL other"), Reply::Int(1));
    everywhere(&cluster, &[]);
    for node in &mut cluster.nodes {
        node.stop_save();
        assert!(without_the_module(node).is_err(), "the deleted names are stored");
    }
}
