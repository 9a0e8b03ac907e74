//! A server that is started without the module on what it wrote with it, and the
//! way back that OPERATIONS.md tells.

use std::{fs, time::Duration};

use crate::harness::{Reply, Server};

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

/// Once nothing of ours is left, a server from 7.2 on starts without the module.
/// One before that writes the module into every RDB file.
#[test]
fn what_holds_nothing_of_ours_loads_without_the_module_from_7_2_on() {
    let mut server = Server::start();
    server.ok("SET a b");
    server.line("RL.ACQUIRE k 10/h");
    server.ok("RL.POLICY SET free 10/h");
    assert_eq!(server.line("RL.CLEAR 0 COUNT 1000")[1], Reply::Int(1));
    assert_eq!(server.line("RL.POLICY DEL free"), Reply::Int(1));
    server.stop_save();
    let from_7_2 = server.at_least(7, 2);
    assert_eq!(without_the_module(&mut server).is_ok(), from_7_2);
    if !from_7_2 {
        server.restart();
    }
    assert_eq!(server.line("GET a"), Reply::bulk("b"));
}

/// The way out before 7.2: an AOF without preamble holds commands only.
#[test]
fn an_aof_without_preamble_is_the_way_out_before_7_2() {
    let mut server =
        Server::with(&["--appendonly", "yes", "--aof-use-rdb-preamble", "no", "--appendfsync", "always"]);
    server.ok("SET a b");
    server.line("RL.ACQUIRE k 10/h");
    server.line("RL.CLEAR 0 COUNT 1000");
    server.line("BGREWRITEAOF");
    crate::harness::eventually(Duration::from_secs(60), "the rewrite ends", || {
        server.info_field("persistence", "aof_rewrite_in_progress") == "0"
            && server.info_field("persistence", "aof_rewrite_scheduled") == "0"
            && server.info_field("persistence", "aof_last_bgrewrite_status") == "ok"
    });
    without_the_module(&mut server).expect("it starts without the module");
    assert_eq!(server.line("GET a"), Reply::bulk("b"));
}
