//! Policies: limits by name and by prefix, kept by the node.

use crate::harness::{
    Reply, Server, assert_error, assert_error_prefix, assert_same_data, call, cluster, eventually,
    wait_synced,
};
use crate::support::granted;
use std::time::Duration;

/// 2026-11-20 15:00 UTC.
const START: i64 = 1_795_186_800_000_000;

/// What tells whether two nodes have the same policies.
fn policies(server: &Server) -> (i64, String, Vec<Vec<Option<String>>>) {
    let list = server.line("RL.POLICY LIST");
    let text = |reply: Reply| if reply.is_nil() { None } else { Some(reply.text()) };
    let rows = list.field("policies");
    let row =
        |policy: &Reply| ["name", "limits", "prefix", "breaker"].map(|f| text(policy.field(f))).to_vec();
    (list.field("version").int(), list.field("digest").text(), rows.items().iter().map(row).collect())
}

/// Sets a few policies of every kind.
fn some(server: &Server) {
    server.ok("RL.POLICY SET free 100/minute PREFIX user: BREAKER 50%/60s");
    server.ok("RL.POLICY SET pro 10/s,1000/h PREFIX user:pro:");
    server.ok("RL.POLICY SET named fixed:5/day:tz=Europe/Paris BREAKER 5");
    assert_eq!(call!(server, "RL.POLICY", "SET", "binary", "7/s", "PREFIX", b"\xff\x00\r\n"), Reply::ok());
    server.ok("RL.POLICY SET gone 1/s");
    assert_eq!(server.line("RL.POLICY DEL gone"), Reply::Int(1));
}

#[test]
fn set_get_list_and_delete() {
    let server = Server::start();
    assert_eq!(policies(&server), (0, policies(&server).1, vec![]));
    let empty = policies(&server).1;
    assert!(server.line("RL.POLICY GET free").is_nil());
    server.ok("RL.POLICY SET free 100/minute PREFIX user: BREAKER 50%/60s");
    let free = server.line("RL.POLICY GET free");
    for (field, value) in
        [("name", "free"), ("limits", "100/minute"), ("prefix", "user:"), ("breaker", "50%/60s")]
    {
        assert_eq!(free.field(field), Reply::bulk(value));
    }
    server.ok("RL.POLICY SET b 5/s");
    assert!(server.line("RL.POLICY GET b").field("prefix").is_nil());
    let (version, digest, rows) = policies(&server);
    assert_eq!((version, rows.len()), (2, 2));
    assert_eq!(rows[0][0].as_deref(), Some("b"), "in the order of their names");
    // What changes nothing does not count.
    server.ok("RL.POLICY SET b 5/s");
    assert_eq!(policies(&server), (version, digest.clone(), rows));
    let info = server.info("floodgate");
    assert_eq!(
        [
            &info["floodgate_policies"],
            &info["floodgate_policies_version"],
            &info["floodgate_policies_digest"]
        ],
        ["2", "2", digest.as_str()]
    );
    server.ok("RL.POLICY SET free 100/minute NOPREFIX");
    assert!(server.line("RL.POLICY GET free").field("prefix").is_nil());
    assert_eq!(server.line("RL.POLICY DEL free"), Reply::Int(1));
    assert_eq!(server.line("RL.POLICY DEL free"), Reply::Int(0));
    assert_eq!(server.line("RL.POLICY DEL b"), Reply::Int(1));
    assert_eq!(policies(&server).1, empty);

    let mut three = server.wire3();
    three.line("RL.POLICY SET b 5/s");
    // Before 7.0 a module cannot send maps.
    let map = |reply: Reply| matches!(reply, Reply::Map(_)) == server.at_least(7, 0);
    assert!(map(three.line("RL.POLICY GET b")));
    assert!(map(three.line("RL.POLICY LIST")));
}

#[test]
fn what_is_wrong_is_named() {
    let server = Server::start();
    server.ok("RL.POLICY SET free 100/m PREFIX user:");
    let before = policies(&server);
    for (command, error) in [
        ("RL.POLICY", "ERR wrong number of arguments for 'rl.policy' command"),
        ("RL.POLICY SET x", "ERR wrong number of arguments for 'rl.policy|set' command"),
        ("RL.POLICY LIST more", "ERR wrong number of arguments for 'rl.policy|list' command"),
        ("RL.POLICY SET x 1/s PREFIX", "ERR syntax error: PREFIX needs a value"),
        ("RL.POLICY SET x 1/s FOO", "ERR syntax error near 'FOO'"),
        ("RL.POLICY SET x 100/", "ERR invalid limit '100/': missing period"),
        (
            "RL.POLICY SET x @free",
            "ERR invalid limit '@free': a policy cannot stand here, write the limits out",
        ),
        ("RL.POLICY SET x *", "ERR invalid limit '*': '*' cannot stand here, write the limits out"),
        (
            "RL.POLICY SET x 1/s PREFIX user:",
            "ERR invalid prefix 'user:': it is the prefix of policy 'free' already",
        ),
        ("RL.POLICY SET x 1/s BREAKER 0", "ERR invalid breaker '0': failures must be 1 to 1000000"),
        (
            "RL.POLICY SET x,y 1/s",
            "ERR invalid policy name 'x,y': name has characters other than A-Z a-z 0-9 _ . -",
        ),
        (
            "RL.POLICY GET @x",
            "ERR invalid policy name '@x': name has characters other than A-Z a-z 0-9 _ . -",
        ),
        ("RL.ACQUIRE k @nobody", "ERR no policy 'nobody'"),
        ("RL.PIN k @nobody", "ERR no policy 'nobody'"),
        ("RL.QUOTA k @nobody", "ERR no policy 'nobody'"),
        ("RL.BATCH EACH 1 k @nobody 1", "ERR item 1: no policy 'nobody'"),
        ("RL.NODE x", "ERR RL.NODE carries policies to replicas and the AOF; clients cannot use it"),
    ] {
        // Before 7.0 the name comes back as typed.
        if !server.at_least(7, 0) && error.starts_with("ERR wrong number") {
            continue;
        }
        assert_error_prefix(&server.line(command), error);
    }
    // From 7.0 on the server itself knows the sub-commands, and refuses others.
    let other = if server.at_least(7, 0) { "unknown subcommand" } else { "syntax error near" };
    assert_error_prefix(&server.line("RL.POLICY NONSENSE"), &format!("ERR {other} 'NONSENSE'"));
    assert_error_prefix(
        &call!(server, "RL.POLICY", "SET", "x", "1/s", "PREFIX", "p".repeat(257)),
        "ERR invalid prefix 'ppp",
    );
    assert_error_prefix(
        &call!(server, "RL.POLICY", "SET", b"\0\xff", "1/s"),
        "ERR invalid policy name '\\x00\\xff'",
    );
    assert_eq!(policies(&server), before);
    assert_eq!(server.line("DBSIZE"), Reply::Int(0));
}

/// Source and name of the limits that RL.QUOTA shows.
fn shown(server: &Server, key: &str) -> Vec<(String, String)> {
    let quota = server.call(&["RL.QUOTA", key]);
    if quota.is_nil() {
        return vec![];
    }
    quota.items().iter().map(|row| (row.field("source").text(), row.field("name").text())).collect()
}

fn one(source: &str, name: &str) -> Vec<(String, String)> {
    vec![(source.to_owned(), name.to_owned())]
}

/// The capacity of the limit that held.
fn capacity(server: &Server, command: &str) -> i64 {
    server.line(command)[1].int()
}

#[test]
fn the_first_that_holds_is_pin_call_prefix_default() {
    let server =
        Server::builder().module_args(["enable-debug-command", "yes", "default-limit", "40/m"]).start();
    server.clock_set(START);
    server.ok("RL.POLICY SET u 10/m PREFIX user:");
    server.ok("RL.POLICY SET p 20/m PREFIX user:pro:");
    server.ok("RL.POLICY SET q 30/m");
    // The longest prefix, on a boundary of the key too.
    assert_eq!(capacity(&server, "RL.ACQUIRE user:1"), 10);
    assert_eq!(capacity(&server, "RL.ACQUIRE user:pro:1"), 20);
    assert_eq!(capacity(&server, "RL.ACQUIRE user:pro:"), 20);
    assert_eq!(capacity(&server, "RL.ACQUIRE user:pro"), 10);
    assert_eq!(capacity(&server, "RL.ACQUIRE user:pro:2 *"), 20);
    assert_eq!(capacity(&server, "RL.ACQUIRE user"), 40);
    // The call before the prefix; a name in the call, alone and among others.
    assert_eq!(capacity(&server, "RL.ACQUIRE user:3 50/m"), 50);
    assert_eq!(capacity(&server, "RL.ACQUIRE user:4 @q"), 30);
    assert_eq!(capacity(&server, "RL.ACQUIRE user:5 @q,2/s"), 2);
    assert_eq!(server.line("RL.BATCH ALL 2 user:6 @p 1 user:7 * 1")[1][1], Reply::Int(10));
    // The pin before all, and what RL.QUOTA says of each.
    server.ok("RL.PIN user:8 @q,2/s");
    assert_eq!(capacity(&server, "RL.ACQUIRE user:8 60/m"), 2);
    assert_eq!(shown(&server, "user:8"), [("pin".into(), "30/m".into()), ("pin".into(), "2/s".into())]);
    assert_eq!(shown(&server, "user:9"), one("policy", "10/m"));
    assert_eq!(shown(&server, "user:1"), one("policy", "10/m"));
    assert_eq!(shown(&server, "user:3"), one("last", "50/m"));
    assert_eq!(shown(&server, "user:4"), one("policy", "30/m"));
    assert_eq!(shown(&server, "new"), one("default", "40/m"));
    // A pin to a policy that is gone is passed over; it holds again when the policy is back.
    assert_eq!(server.line("RL.POLICY DEL q"), Reply::Int(1));
    assert_eq!(capacity(&server, "RL.ACQUIRE user:8"), 10);
    assert_eq!(capacity(&server, "RL.ACQUIRE user:8 60/m"), 60);
    assert_error_prefix(&server.line("RL.ACQUIRE user:4 @q"), "ERR no policy 'q'");
    assert_eq!(shown(&server, "user:4"), one("last", "30/m"));
    server.ok("RL.POLICY SET q 31/m");
    assert_eq!(capacity(&server, "RL.ACQUIRE user:8 COST 2"), 2);
    // Deleting falls back to the next shorter prefix, then to the default.
    assert_eq!(server.line("RL.POLICY DEL p"), Reply::Int(1));
    assert_eq!(capacity(&server, "RL.ACQUIRE user:pro:1"), 10);
    assert_eq!(server.line("RL.POLICY DEL u"), Reply::Int(1));
    assert_eq!(capacity(&server, "RL.ACQUIRE user:pro:1"), 40);
    // The empty prefix is every key's, and stands before the default.
    server.ok("RL.POLICY SET q 31/m");
    assert_eq!(call!(server, "RL.POLICY", "SET", "all", "70/m", "PREFIX", ""), Reply::ok());
    assert_eq!(capacity(&server, "RL.ACQUIRE anything"), 70);
}

#[test]
fn callers_cannot_loosen_where_they_may_not_speak() {
    let server = Server::builder()
        .module_args(["enable-debug-command", "yes", "caller-limits", "no", "default-limit", "4/m"])
        .start();
    server.clock_set(START);
    server.ok("RL.POLICY SET u 3/m PREFIX user:");
    server.ok("RL.POLICY SET big 1000/s");
    for given in ["", "1000000/s", "unlimited", "@big", "@nobody", "*"] {
        assert_eq!(capacity(&server, &format!("RL.ACQUIRE user:1 {given} COST 4")), 3, "{given}");
        assert_eq!(capacity(&server, &format!("RL.ACQUIRE other {given} COST 5")), 4, "{given}");
    }
    assert_eq!(server.line("DBSIZE"), Reply::Int(0));
    assert_error(&server.line("RL.ACQUIRE user:1 100/"), "ERR invalid limit '100/': missing period");
    assert_eq!(server.line("RL.BATCH EACH 1 user:1 unlimited 4")[0][0], Reply::Int(0));
    // The usage is the policy's, whatever shape a caller gives.
    assert_eq!(server.line("RL.ACQUIRE user:1 fixed:9/d COST 2").rate_limit().remaining, 1);
    assert_eq!(server.line("RL.ACQUIRE user:1 bucket:9/s").rate_limit().remaining, 0);
    assert_eq!(server.line("RL.ACQUIRE user:1 9/s:name=x").rate_limit().granted, 0);
    // An operator still can.
    server.ok("RL.PIN user:1 @big");
    assert_eq!(server.line("RL.ACQUIRE user:1").rate_limit().granted, 1);
}

#[test]
fn a_changed_policy_holds_from_the_next_command_on_and_keeps_usage() {
    let server = Server::start();
    server.clock_set(START);
    server.ok("RL.POLICY SET a 10/m,100/h PREFIX k:");
    let take = |key: &str| server.line(&format!("RL.ACQUIRE {key}")).rate_limit();
    for n in 1..=4 {
        assert_eq!(take("k:1"), granted(1).limit(10).remaining(10 - n));
        assert_eq!(server.line("RL.ACQUIRE other @a").rate_limit().remaining, 10 - n);
    }
    server.ok("RL.POLICY SET a 5/m,100/h PREFIX k:");
    assert_eq!(shown(&server, "k:1")[0], ("policy".into(), "5/m".into()));
    assert_eq!(shown(&server, "other")[0], ("policy".into(), "5/m".into()));
    assert_eq!(take("k:1"), granted(1).limit(5).remaining(0));
    assert_eq!(take("k:1").granted, 0);
    assert_eq!(server.line("RL.ACQUIRE other @a").rate_limit(), granted(1).limit(5).remaining(0));
    server.ok("RL.POLICY SET a 100/h,20/m PREFIX k:");
    assert_eq!(take("k:1"), granted(1).limit(20).remaining(14).index(1));
    assert_eq!(server.call(&["RL.QUOTA", "k:1"])[0].field("used"), Reply::Int(6));
    // The same limits written out by the caller share the usage with the policy.
    assert_eq!(server.line("RL.ACQUIRE k:1 20/m").rate_limit(), granted(1).limit(20).remaining(13));
    // Under a load of calls, none of which sees anything but the old or the new limits.
    let mut wire = server.wire();
    let calls: Vec<_> = (0..400)
        .map(|n| match n % 80 {
            0 => "RL.POLICY SET a 1000/h",
            40 => "RL.POLICY SET a 500/h",
            _ => "RL.ACQUIRE load @a",
        })
        .collect();
    let mut used = 0;
    let mut now = 0;
    for (call, reply) in calls.iter().zip(wire.lines(&calls)) {
        if let Some(limits) = call.strip_prefix("RL.POLICY SET a ") {
            assert_eq!(reply, Reply::ok());
            now = limits.trim_end_matches("/h").parse().unwrap();
        } else {
            used += 1;
            assert_eq!(reply.rate_limit(), granted(1).limit(now).remaining(now - used));
        }
    }
}

#[test]
fn export_and_import() {
    let server = Server::start();
    some(&server);
    let exported = server.line("RL.POLICY EXPORT");
    let other = Server::start();
    assert_eq!(call!(other, "RL.POLICY", "IMPORT", exported.bytes()), Reply::ok());
    assert_eq!(policies(&other).1, policies(&server).1);
    assert_eq!(other.line("RL.POLICY EXPORT"), exported);
    assert_eq!(policies(&other).0, 1, "one import is one change");

    let before = policies(&other);
    let import = |json: &str, more: &[&str]| other.call(&[&["RL.POLICY", "IMPORT", json], more].concat());
    for (json, error) in [
        (
            r#"[{"name":"free","limits":"1/s"}]"#,
            "ERR policy 'free': a policy has this name already, REPLACE replaces it",
        ),
        (
            r#"{"policies":[{"name":"ok","limits":"1/s"},{"name":"bad","limits":"1/"}]}"#,
            "ERR policy 'bad': invalid limit '1/': missing period",
        ),
        (
            r#"[{"name":"a","limits":"1/s"},{"name":"a","limits":"2/s"}]"#,
            "ERR policy 'a': the document names it twice",
        ),
        (
            r#"[{"name":"a","limits":"@free"}]"#,
            "ERR policy 'a': invalid limit '@free': a policy cannot stand here, write the limits out",
        ),
        (
            r#"[{"name":"a","limits":"1/s","prefix":"user:"}]"#,
            "ERR policy 'a': invalid prefix 'user:': it is the prefix of policy 'free' already",
        ),
        (
            r#"[{"name":"a","limits":"1/s","prefix":"z"},{"name":"b","limits":"1/s","prefix":"z"}]"#,
            "ERR policy 'b': invalid prefix 'z': it is the prefix of policy 'a' already",
        ),
        (
            r#"[{"name":"a","limits":"1/s","prefix_hex":"f"}]"#,
            "ERR policy 'a': prefix_hex is not pairs of hex digits",
        ),
        (r#"[{"name":"a","limits":"1/s","breaker":"x"}]"#, "ERR policy 'a': invalid breaker 'x': "),
        (r#"[{"limits":"1/s"}]"#, "ERR policy at position 0: missing field `name`"),
        (r#"[{"name":"a","limits":"1/s"},7]"#, "ERR policy at position 1: invalid type"),
        (r#"[{"name":"a","limits":"1/s","prefx":"p"}]"#, "ERR policy 'a': unknown field `prefx`"),
        (r#"[{"name":"a","limits":"1/s","limits":"2/s"}]"#, "ERR policy 'a': duplicate field `limits`"),
        (r#"[{"name":"a","name":"b","limits":"2/s"}]"#, "ERR policy 'a': duplicate field `name`"),
        (r#"[{"name":"a","limits":"1/s","breaker":null,"breaker":"5"}]"#, "ERR policy 'a': duplicate field"),
        (r#"[7]"#, "ERR policy at position 0: invalid type"),
        (r#"{"policies":[{"name":"a","limits":"1/s"}],"policies":[]}"#, "ERR invalid JSON: expected"),
        (r#"{"policies":7}"#, "ERR invalid JSON: expected"),
        (r#"{"a":"1/s"}"#, "ERR invalid JSON: expected {\"policies\": [ ... ]} or an array of policies"),
        ("[", "ERR invalid JSON: EOF"),
        ("", "ERR invalid JSON: EOF"),
    ] {
        assert_error_prefix(&import(json, &[]), error);
    }
    assert_error_prefix(&import(&"[".repeat(100_000), &[]), "ERR invalid JSON: recursion limit");
    assert_error_prefix(&call!(other, "RL.POLICY", "IMPORT", b"[\"\xff\0\"]"), "ERR invalid JSON");
    assert_error_prefix(&import("[]", &["NONSENSE"]), "ERR syntax error near 'NONSENSE'");
    assert_eq!(policies(&other), before, "a refused import changes nothing");

    // REPLACE sets those named, even where they swap their prefixes, and leaves the others.
    let json = r#"[{"name":"free","limits":"1/s","prefix":"user:pro:"},{"name":"pro","limits":"2/s","prefix":"user:"},
                   {"name":"new","limits":"3/s","prefix":null}]"#;
    assert_eq!(import(json, &["REPLACE"]), Reply::ok());
    let names: Vec<_> = policies(&other).2.into_iter().map(|row| row[0].clone().unwrap()).collect();
    assert_eq!(names, ["binary", "free", "named", "new", "pro"]);
    assert_eq!(other.line("RL.ACQUIRE user:pro:1").rate_limit().limit, 1);
    assert_eq!(other.line("RL.ACQUIRE user:1").rate_limit().limit, 2);
}

#[test]
fn they_come_back_from_rdb_and_aof() {
    let rdb: &[&str] = &["--appendonly", "no"];
    let aof = |preamble: &'static str| {
        ["--appendonly", "yes", "--appendfsync", "always", "--aof-use-rdb-preamble", preamble]
    };
    let (with, without) = (aof("yes"), aof("no"));
    for args in [rdb, &with, &without] {
        let mut server = Server::with(args);
        let writes_aof = args.len() > 2;
        some(&server);
        server.line("RL.ACQUIRE user:1 COST 5");
        server.line("RL.ACQUIRE k @pro");
        server.ok("FLUSHALL");
        let before = policies(&server);
        assert_eq!(before.2.len(), 4, "FLUSHALL leaves them");
        server.line("RL.ACQUIRE user:1 COST 5");
        server.line("RL.ACQUIRE k @pro");
        assert_eq!(server.line("DEBUG RELOAD"), Reply::ok());
        assert_eq!(policies(&server), before, "{args:?}, DEBUG RELOAD");
        if writes_aof {
            // From the single changes.
            server.kill9();
            server.restart();
            assert_eq!(policies(&server), before, "{args:?}, not rewritten");
            server.rewrite_aof();
            // What follows the rewrite counts too.
            server.ok("RL.POLICY SET late 9/s PREFIX late:");
            let after = policies(&server);
            server.kill9();
            server.restart();
            assert_eq!(policies(&server), after, "{args:?}, rewritten");
            server.rewrite_aof();
            server.rewrite_aof();
            server.kill9();
            server.restart();
            assert_eq!(policies(&server), after, "{args:?}, rewritten again");
            assert_eq!(capacity(&server, "RL.ACQUIRE late:1"), 9);
        } else {
            server.stop_save();
            server.restart();
            assert_eq!(policies(&server), before, "{args:?}");
        }
        assert_eq!(
            server.line("RL.ACQUIRE user:1").rate_limit(),
            granted(1).limit(100).remaining(94),
            "{args:?}"
        );
        assert_eq!(shown(&server, "k").len(), 2);
        assert_eq!(shown(&server, "k")[0].0, "policy");
    }
}

#[test]
fn rewriting_the_aof_propagates_nothing() {
    let server = Server::with(&["--appendonly", "yes", "--aof-use-rdb-preamble", "no"]);
    some(&server);
    let replica = server.replica();
    wait_synced(&server, &replica);
    let calls = |server: &Server| server.info("commandstats").get("cmdstat_bgrewriteaof").cloned();
    replica.rewrite_aof();
    let on_replica = calls(&replica);
    server.rewrite_aof();
    server.line("SET done 1");
    wait_synced(&server, &replica);
    let count = |line: Option<String>| line.map(|line| line.split(',').next().unwrap().to_owned());
    assert_eq!(count(calls(&replica)), count(on_replica), "BGREWRITEAOF was propagated");
    assert_eq!(policies(&replica), policies(&server));
}

#[test]
fn replicas_have_them_from_the_first_moment() {
    let master = Server::start();
    let replica = Server::start();
    // What a replica had before goes, even where its master has none.
    replica.ok("RL.POLICY SET stale 1/s PREFIX user:");
    replica.follow(&master);
    assert_eq!(policies(&replica), policies(&master));
    assert_eq!(policies(&replica).0, 0);
    some(&master);
    wait_synced(&master, &replica);
    assert_eq!(policies(&replica), policies(&master));
    // In MULTI and in scripts too, several of them, and an import.
    let mut wire = master.wire();
    for command in ["MULTI", "RL.POLICY SET m 1/s", "RL.POLICY DEL named", "EXEC"] {
        wire.line(command);
    }
    assert_eq!(call!(wire, "EVAL", "return redis.call('RL.POLICY','SET','lua','2/s')", 0), Reply::ok());
    assert_eq!(call!(wire, "RL.POLICY", "IMPORT", r#"[{"name":"i","limits":"1/s"}]"#), Reply::ok());
    master.line("RL.ACQUIRE user:1 COST 7");
    master.line("RL.ACQUIRE k @pro");
    wait_synced(&master, &replica);
    assert_eq!(policies(&replica), policies(&master));
    assert_same_data(&master, &replica);
    // A replica shows them and refuses to change them.
    let read_only = "READONLY You can't write against a read only replica.";
    assert_error(&replica.line("RL.POLICY SET x 1/s"), read_only);
    assert_error(&replica.line("RL.POLICY DEL free"), read_only);
    assert_error(&replica.line("RL.POLICY IMPORT []"), read_only);
    assert_eq!(replica.line("RL.POLICY GET free").field("limits"), Reply::bulk("100/minute"));
    assert_eq!(replica.line("RL.POLICY EXPORT"), master.line("RL.POLICY EXPORT"));
    assert_eq!(shown(&replica, "user:2"), one("policy", "100/m"));
    // A full sync, on disk and without, and a replica of the replica.
    let late = master.replica_with(&["--repl-diskless-load", "swapdb"]);
    let second = late.replica();
    assert_eq!(policies(&late), policies(&master));
    assert_eq!(policies(&second), policies(&master));
    // Right after a failover.
    let before = policies(&master);
    drop(master);
    replica.ok("REPLICAOF NO ONE");
    assert_eq!(policies(&replica), before);
    assert_eq!(replica.line("RL.ACQUIRE user:1").rate_limit(), granted(1).limit(100).remaining(92));
    replica.ok("RL.POLICY SET after 1/s");
}

#[test]
fn breakers_follow_the_longest_prefix_that_has_one() {
    let server = Server::start();
    server.clock_set(START);
    server.ok("RL.POLICY SET a 10/s PREFIX api: BREAKER 2:open=30s");
    server.ok("RL.POLICY SET b 20/s PREFIX api:slow:");
    let state = |key: &str| {
        server.line(&format!("CB.ACQUIRE {key}"));
        let state = server.call(&["CB.STATE", key]);
        (state.field("breaker").text(), state.field("source").text())
    };
    assert_eq!(state("api:1"), ("2:open=30s".into(), "policy".into()));
    assert_eq!(state("api:slow:1"), ("2:open=30s".into(), "policy".into()));
    assert_eq!(state("other"), ("50%/1m".into(), "default".into()));
    server.ok("RL.POLICY SET b 20/s PREFIX api:slow: BREAKER 3");
    assert_eq!(state("api:slow:1").0, "3");
    server.line("RL.POLICY DEL b");
    assert_eq!(state("api:slow:1").0, "2:open=30s");
    // Breaker and limit of one call, each by its own prefix.
    assert_eq!(
        server.line("CB.ACQUIRE api:2 LIMIT api:limit * COST 4")[4].rate_limit(),
        granted(4).limit(10).remaining(6)
    );
}

#[test]
fn what_is_reserved_under_a_policy_comes_back() {
    let server = Server::start();
    server.ok("RL.POLICY SET a 10/h,concurrent:2 PREFIX k:");
    assert_eq!(server.line("RL.RESERVE 1 k:1 @a COST 3 TTL 60s ID one")[0], Reply::bulk("one"));
    assert_eq!(server.line("RL.RESERVE 1 k:1 * TTL 60s ID two")[0], Reply::bulk("two"));
    assert_eq!(server.line("DEBUG RELOAD"), Reply::ok());
    assert_eq!(server.line("RL.COMMIT one 1 k:1 COST 5"), Reply::Int(1));
    assert_eq!(server.line("RL.RELEASE two 1 k:1"), Reply::Int(1));
}

#[test]
fn one_command_may_set_them_on_every_master_of_a_cluster() {
    let cluster = cluster(3, 0);
    let at = format!("127.0.0.1:{}", cluster.nodes[0].port());
    cluster.cli(&[
        "call",
        &at,
        "RL.POLICY",
        "SET",
        "free",
        "100/m",
        "PREFIX",
        "user:",
        "--cluster-only-masters",
    ]);
    let digests =
        || cluster.nodes.iter().map(|node| policies(node).1).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(digests().len(), 1);
    // Keys of every node follow it.
    let mut seen = std::collections::BTreeSet::new();
    for n in 0..50 {
        let key = format!("user:{n}");
        let owner = cluster.owner_index(&key);
        if seen.insert(owner) {
            assert_eq!(cluster.nodes[owner].line(&format!("RL.ACQUIRE {key}")).rate_limit().limit, 100);
        }
    }
    assert_eq!(seen.len(), 3);
}

#[test]
fn policies_hold_when_a_cluster_replaces_a_master() {
    let mut cluster = cluster(3, 3);
    let at = format!("127.0.0.1:{}", cluster.nodes[0].port());
    for words in [
        &["SET", "free", "100/m", "PREFIX", "user:", "BREAKER", "5"][..],
        &["SET", "pro", "7/h", "PREFIX", "user:pro:"],
        &["SET", "gone", "1/s"],
        &["DEL", "gone"],
    ] {
        let command = [&["call", at.as_str(), "RL.POLICY"], words, &["--cluster-only-masters"]].concat();
        cluster.cli(&command);
    }
    let killed = cluster.owner_index("user:pro:1");
    // Each master was told, and tells the others, who may have a later version of the same.
    let agree = || {
        let all: Vec<_> = cluster.masters().into_iter().map(policies).collect();
        all.windows(2).all(|two| two[0] == two[1])
    };
    eventually(Duration::from_secs(30), "masters agree", agree);
    let before = policies(&cluster.nodes[killed]);
    assert_eq!(before.2.len(), 2);
    for cost in [2, 6] {
        cluster.nodes[killed].line(&format!("RL.ACQUIRE user:pro:1 COST {cost}"));
    }
    assert_eq!(cluster.nodes[killed].line("WAIT 1 5000"), Reply::Int(1));
    for replica in cluster.replicas() {
        eventually(Duration::from_secs(30), "replicas have them", || policies(replica) == before);
    }
    cluster.nodes[killed].kill9();
    eventually(Duration::from_secs(60), "another node serves the key", || {
        cluster.owner_index("user:pro:1") != killed
    });
    cluster.wait_ok();
    let owner = cluster.owner("user:pro:1");
    // The longest prefix still wins, what was used still is, and the other holds too.
    let last: Vec<i64> =
        [5, 1].map(|n| owner.line(&format!("RL.ACQUIRE user:pro:1 COST {n}")).rate_limit().granted).to_vec();
    assert_eq!(last, [5, 0]);
    assert_eq!(owner.line("RL.ACQUIRE user:{user:pro:1}").rate_limit().limit, 100);
    for node in cluster.nodes.iter().filter(|node| node.is_running()) {
        assert_eq!(policies(node), before);
    }
    // It goes on: one change reaches all, and the node that comes back too.
    let at = format!("127.0.0.1:{}", owner.port());
    cluster.nodes[killed].restart();
    cluster.wait_ok();
    cluster.cli(&[
        "call",
        &at,
        "RL.POLICY",
        "SET",
        "pro",
        "9/h",
        "PREFIX",
        "user:pro:",
        "--cluster-only-masters",
    ]);
    assert_eq!(cluster.owner("user:pro:1").line("RL.ACQUIRE user:pro:1 COST 2").rate_limit().granted, 2);
    let changed = policies(cluster.owner("user:pro:1"));
    assert_ne!(changed.1, before.1);
    for node in &cluster.nodes {
        eventually(Duration::from_secs(30), "all have the change", || policies(node) == changed);
    }
}

#[test]
fn a_dump_without_policies_needs_no_module() {
    let mut server = Server::start();
    if !server.at_least(7, 2) {
        return; // The server writes that there is nothing, and names the module.
    }
    server.ok("RL.POLICY SET free 100/m");
    server.line("RL.POLICY DEL free");
    server.ok("SET plain 1");
    server.stop_save();
    let bare = Server::builder().without_module().data(server.dir()).start();
    assert_eq!(bare.line("GET plain"), Reply::bulk("1"));
}

#[test]
fn ten_thousand_policies_cost_no_more_than_ten() {
    let time = |count: usize| {
        let server = Server::start();
        let entries: Vec<String> = (0..count)
            .map(|n| format!(r#"{{"name":"p{n}","limits":"{}/s","prefix":"tenant:{n:05}:"}}"#, 1_000_000 + n))
            .collect();
        let json = format!("[{}]", entries.join(","));
        assert_eq!(call!(server, "RL.POLICY", "IMPORT", json), Reply::ok());
        assert_eq!(server.line("RL.ACQUIRE tenant:00003:x").rate_limit().limit, 1_000_003);
        assert_eq!(server.line("RL.ACQUIRE k @p7").rate_limit().limit, 1_000_007);
        let mut wire = server.wire();
        let calls = |line: fn(usize) -> String| (0..2000).map(line).collect::<Vec<_>>();
        let by_prefix = calls(|n| format!("RL.ACQUIRE tenant:0000{}:x", n % 10));
        let by_name = calls(|n| format!("RL.ACQUIRE k @p{}", n % 2));
        let mut best = [f64::MAX; 2];
        for _ in 0..8 {
            for (best, calls) in best.iter_mut().zip([&by_prefix, &by_name]) {
                wire.line("CONFIG RESETSTAT");
                wire.lines(calls);
                let stats = server.info_field("commandstats", "cmdstat_rl.acquire");
                let per_call = stats.split(',').find_map(|part| part.strip_prefix("usec_per_call=")).unwrap();
                *best = best.min(per_call.parse().unwrap());
            }
        }
        best
    };
    let (few, many) = (time(10), time(10_000));
    for (few, many) in few.iter().zip(many) {
        assert!(many < few * 2.0 + 1.0, "{few} µs with ten, {many} µs with ten thousand");
    }
}

/// SET without PREFIX or BREAKER keeps the one there is; NOPREFIX and NOBREAKER
/// take it away; in JSON an entry is whole.
#[test]
fn set_keeps_what_it_does_not_name() {
    let server = Server::start();
    let shows = |prefix: Option<&str>, breaker: Option<&str>, limits: &str| {
        let policy = server.line("RL.POLICY GET p");
        let part =
            |name: &str| Some(policy.field(name)).filter(|part| !part.is_nil()).map(|part| part.text());
        assert_eq!(part("limits").as_deref(), Some(limits));
        assert_eq!((part("prefix").as_deref(), part("breaker").as_deref()), (prefix, breaker), "{limits}");
    };
    server.ok("RL.POLICY SET p 1/h PREFIX a: BREAKER 5");
    server.ok("RL.POLICY SET p 2/h");
    shows(Some("a:"), Some("5"), "2/h");
    assert_eq!(server.line("RL.ACQUIRE a:1").rate_limit().limit, 2);
    server.ok("RL.POLICY SET p 3/h PREFIX b:");
    shows(Some("b:"), Some("5"), "3/h");
    server.ok("RL.POLICY SET p 3/h BREAKER 6:open=1s");
    shows(Some("b:"), Some("6:open=1s"), "3/h");
    server.ok("RL.POLICY SET p 4/h NOBREAKER");
    shows(Some("b:"), None, "4/h");
    server.ok("RL.POLICY SET p 4/h NOPREFIX BREAKER 7");
    shows(None, Some("7"), "4/h");
    assert!(server.line("RL.ACQUIRE b:1").error().is_some());
    server.ok("RL.POLICY SET p 5/h PREFIX c: NOBREAKER");
    shows(Some("c:"), None, "5/h");
    // A new one has none; taking away what is not there is no change.
    server.ok("RL.POLICY SET q 1/h NOPREFIX NOBREAKER");
    let version = server.line("RL.POLICY LIST").field("version");
    server.ok("RL.POLICY SET p 5/h");
    server.ok("RL.POLICY SET q 1/h NOPREFIX NOBREAKER");
    assert_eq!(server.line("RL.POLICY LIST").field("version"), version);
    for pair in ["PREFIX x NOPREFIX", "NOPREFIX PREFIX x", "BREAKER 5 NOBREAKER", "NOBREAKER BREAKER 5"] {
        assert_error_prefix(&server.line(&format!("RL.POLICY SET p 9/h {pair}")), "ERR syntax error: ");
    }
    shows(Some("c:"), None, "5/h");
    // What it keeps travels to a replica as what it sets does.
    let replica = server.replica();
    server.ok("RL.POLICY SET p 6/h");
    crate::harness::wait_synced(&server, &replica);
    assert_eq!(replica.line("RL.POLICY GET p"), server.line("RL.POLICY GET p"));
    // In JSON what an entry does not name is taken away.
    let json = r#"[{"name":"p","limits":"7/h"}]"#;
    assert_eq!(call!(server, "RL.POLICY", "IMPORT", json, "REPLACE"), Reply::ok());
    shows(None, None, "7/h");
}

/// A prefix is literal; who writes a glob is told.
#[test]
fn a_prefix_is_no_glob() {
    let server = Server::start();
    let refused = "ERR invalid prefix 'user:*': a prefix is literal, leave out the '*' at its end";
    assert_error(&server.line("RL.POLICY SET p 1/h PREFIX user:*"), refused);
    let json = r#"[{"name":"p","limits":"7/h","prefix":"user:*"}]"#;
    let reply = call!(server, "RL.POLICY", "IMPORT", json);
    assert!(reply.error().unwrap().contains("a prefix is literal"), "{reply:?}");
    server.ok("RL.POLICY SET p 1/h PREFIX us*er:");
}
