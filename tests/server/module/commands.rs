//! What the server and people learn about the commands: COMMAND INFO, DOCS,
//! GETKEYS, RL.HELP, RL.DEBUG.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::{Reply, Server, assert_error, assert_error_prefix, call};

/// Name, arity, flags, first key, last key, step, as COMMAND INFO tells.
type Row = (&'static str, i64, &'static [&'static str], [i64; 3]);

const ROWS: &[Row] = &[
    ("rl.acquire", -2, &["write", "denyoom", "fast"], [1, 1, 1]),
    ("rl.quota", -2, &["readonly", "fast"], [1, 1, 1]),
    ("rl.batch", -3, &["write", "denyoom", "movablekeys"], [0, 0, 0]),
    ("rl.refund", -2, &["write", "fast"], [1, 1, 1]),
    ("rl.charge", -2, &["write", "denyoom", "fast"], [1, 1, 1]),
    ("rl.reset", -2, &["write", "admin", "fast"], [1, -1, 1]),
    ("rl.pin", -2, &["write", "denyoom", "admin", "fast"], [1, 1, 1]),
    ("rl.unpin", 2, &["write", "admin", "fast"], [1, 1, 1]),
    ("rl.block", -2, &["write", "denyoom", "admin", "fast"], [1, 1, 1]),
    ("rl.unblock", 2, &["write", "admin", "fast"], [1, 1, 1]),
    ("rl.clear", -2, &["write", "admin"], [0, 0, 0]),
    ("rl.metrics", 1, &["admin"], [0, 0, 0]),
    ("rl.top", -2, &["admin"], [0, 0, 0]),
    ("rl.alerts", -1, &["admin"], [0, 0, 0]),
    ("rl.help", -1, &["fast"], [0, 0, 0]),
    ("rl.debug", -2, &["admin", "fast"], [0, 0, 0]),
    ("cl.throttle", -5, &["write", "denyoom", "fast"], [1, 1, 1]),
    ("rl.throttle", -5, &["write", "denyoom", "fast"], [1, 1, 1]),
    ("gcra", -5, &["write", "denyoom", "fast"], [1, 1, 1]),
    ("rl.effect", -3, &["write", "fast"], [1, -1, 2]),
];

#[test]
fn command_info() {
    let server = Server::start();
    for &(name, arity, flags, keys) in ROWS {
        let info = server.line(&format!("COMMAND INFO {name}"))[0].clone();
        assert_eq!(info[0], Reply::bulk(name));
        // Before 7.0 a module cannot tell its arity.
        if server.at_least(7, 0) {
            assert_eq!(info[1], Reply::Int(arity), "{name}");
        }
        let told: BTreeSet<String> = info[2].items().iter().map(Reply::text).collect();
        let mut wanted: BTreeSet<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
        if server.at_least(7, 0) {
            wanted.insert("module".to_owned());
        }
        assert_eq!(told.difference(&wanted).collect::<Vec<_>>(), Vec::<&String>::new(), "{name}");
        assert_eq!(wanted.difference(&told).collect::<Vec<_>>(), Vec::<&String>::new(), "{name}");
        assert_eq!([info[3].int(), info[4].int(), info[5].int()], keys, "{name}");
    }
}

#[test]
fn every_command_of_the_table_is_there() {
    let server = Server::start();
    for command in floodgate::COMMANDS {
        let name = command.name.to_lowercase();
        let info = server.line(&format!("COMMAND INFO {name}"));
        assert_eq!(info[0][0], Reply::bulk(&name));
        if server.at_least(7, 0) {
            assert_eq!(info[0][1], Reply::Int(command.arity().into()), "{name}");
            let docs = server.line(&format!("COMMAND DOCS {name}"));
            let docs = docs.field(&name);
            assert_eq!(docs.field("summary"), Reply::bulk(command.summary));
            assert_eq!(docs.field("complexity"), Reply::bulk(command.complexity));
            assert_eq!(docs.get("arguments").is_some(), !command.arguments.is_empty(), "{name}");
            assert!(!docs.field("since").text().is_empty());
        }
    }
}

#[test]
fn command_docs_show_the_arguments() {
    let server = Server::start();
    if !server.at_least(7, 0) {
        return;
    }
    let arguments = |name: &str| server.line(&format!("COMMAND DOCS {name}")).field(name).field("arguments");
    let block = arguments("rl.block");
    assert_eq!(block[0].field("type"), Reply::bulk("key"));
    assert_eq!(block[0].field("key_spec_index"), Reply::Int(0));
    assert_eq!(block[1].field("type"), Reply::bulk("oneof"));
    assert_eq!(block[1].field("arguments")[0].field("token"), Reply::bulk("FOR"));
    assert_eq!(block[1].field("arguments")[1].field("type"), Reply::bulk("pure-token"));
    assert_eq!(block[2].field("token"), Reply::bulk("REASON"));
    assert_eq!(block[2].field("flags")[0].text(), "optional");
    let gcra = arguments("gcra");
    assert_eq!(gcra[3].field("type"), Reply::bulk("double"));
    assert_eq!(gcra[4].field("token"), Reply::bulk("TOKENS"));
    let batch = arguments("rl.batch");
    assert_eq!(batch[2].field("type"), Reply::bulk("block"));
    assert_eq!(batch[2].field("flags")[0].text(), "multiple");
    let of_item: Vec<_> =
        batch[2].field("arguments").items().iter().map(|a| a.field("type").text()).collect();
    assert_eq!(of_item, ["key", "string", "integer"]);
}

#[test]
fn command_getkeys() {
    let server = Server::start();
    let expected: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("RL.ACQUIRE k 10/s COST 3", &["k"] as &[&str]),
        ("RL.QUOTA k", &["k"]),
        ("RL.BATCH ALL 1 a 10/s 1", &["a"]),
        ("RL.BATCH EACH 3 a 10/s 1 b 20/s 2 c 30/s 3 CRITICAL", &["a", "b", "c"]),
        ("RL.BATCH EACH 2 a 10/s 1 a 20/s 2", &["a", "a"]),
        ("RL.REFUND k 1", &["k"]),
        ("RL.CHARGE k 10/s COST 3", &["k"]),
        ("RL.RESET a b c", &["a", "b", "c"]),
        ("RL.PIN k 10/s FOR 1s", &["k"]),
        ("RL.UNPIN k", &["k"]),
        ("RL.BLOCK k FOREVER REASON k2", &["k"]),
        ("RL.UNBLOCK k", &["k"]),
        ("CL.THROTTLE k 1 1 1", &["k"]),
        ("RL.THROTTLE k 1 1 1", &["k"]),
        ("GCRA k 1 1 1 TOKENS 2", &["k"]),
        ("RL.EFFECT a x b y", &["a", "b"]),
    ]);
    for (command, keys) in expected {
        let reply = server.line(&format!("COMMAND GETKEYS {command}"));
        assert_eq!(reply, Reply::Array(keys.iter().map(Reply::bulk).collect()), "{command}");
    }
    for keyless in ["RL.CLEAR 0", "RL.HELP", "RL.DEBUG CLOCK REAL"] {
        let reply = server.line(&format!("COMMAND GETKEYS {keyless}"));
        assert!(reply.error().is_some(), "{keyless}: {reply:?}");
    }
    // Numbers of items that no batch can have name no key that is not there.
    for count in ["0", "-1", "x", "3", "99999999999999999999"] {
        let reply = server.line(&format!("COMMAND GETKEYS RL.BATCH ALL {count} a 10/s 1"));
        let named: &[Reply] = if reply.error().is_some() { &[] } else { reply.items() };
        assert!(named.len() <= 1, "{count}: {reply:?}");
    }
    if server.at_least(7, 0) {
        let flags = |command: &str| -> BTreeSet<String> {
            let reply = server.line(&format!("COMMAND GETKEYSANDFLAGS {command}"));
            reply[0][1].items().iter().map(Reply::text).collect()
        };
        assert_eq!(flags("RL.QUOTA k"), BTreeSet::from(["RO", "access"].map(String::from)));
        assert_eq!(flags("RL.ACQUIRE k"), BTreeSet::from(["RW", "access", "update"].map(String::from)));
    }
}

#[test]
fn help_lists_every_command() {
    let server = Server::start();
    for mut wire in [server.wire(), server.wire3()] {
        let lines: Vec<String> = wire.line("RL.HELP").items().iter().map(Reply::text).collect();
        for command in floodgate::COMMANDS.iter().filter(|command| command.name.starts_with("RL.")) {
            let listed = lines.iter().any(|line| *line == command.syntax());
            assert_eq!(listed, !["RL.EFFECT", "RL.NODE"].contains(&command.name), "{}", command.name);
        }
        assert!(lines.contains(&"RL.REFUND key n [limits]".to_owned()));
        assert!(lines.contains(&"RL.CHARGE key [limits] COST n [TRACK]".to_owned()));
        assert!(lines.contains(&"RL.CLEAR cursor [MATCH glob] [COUNT n]".to_owned()));
    }
}

#[test]
fn the_debug_clock() {
    let server = Server::start();
    server.ok("RL.DEBUG CLOCK SET 1000000");
    assert_eq!(server.line("RL.ACQUIRE k 1/m").rate_limit().granted, 1);
    server.ok("rl.debug clock advance 59999999");
    assert_eq!(server.line("RL.ACQUIRE k 1/m").rate_limit().retry_after_ms, 1);
    server.ok("RL.DEBUG CLOCK ADVANCE 1");
    assert_eq!(server.line("RL.ACQUIRE k 1/m").rate_limit().granted, 1);
    server.ok("RL.DEBUG CLOCK ADVANCE -30000000");
    assert_eq!(server.line("RL.ACQUIRE other fixed:1/m").rate_limit().reset_after_ms, 29_000);
    server.ok("RL.DEBUG CLOCK ADVANCE 0");
    server.ok("RL.DEBUG CLOCK SET 0");
    // Without a clock of its own, ADVANCE starts from the server's.
    server.ok("RL.DEBUG CLOCK REAL");
    let time: i64 = server.line("TIME")[0].text().parse().unwrap();
    let at = |server: &Server| server.line("RL.QUOTA none fixed:1/h")[0].field("reset_at_ms").int() / 1000;
    assert!((at(&server) - time).abs() <= 3601);
    server.ok("RL.DEBUG CLOCK ADVANCE 86400000000");
    assert!((at(&server) - time - 86_400).abs() <= 3601);
    server.ok("RL.DEBUG CLOCK REAL");
}

#[test]
fn debug_is_off_unless_asked_for() {
    let server = Server::builder().module_args(Vec::<String>::new()).start();
    assert_error(
        &server.line("RL.DEBUG CLOCK REAL"),
        "ERR RL.DEBUG is off; load the module with enable-debug-command yes",
    );
    if server.at_least(7, 0) {
        assert_error_prefix(
            &call!(server, "CONFIG", "SET", "floodgate.enable-debug-command", "yes"),
            "ERR CONFIG SET failed (possibly related to argument 'floodgate.enable-debug-command') - can't set immutable config",
        );
    }
}
