//! Who may run what, on which keys.

use crate::harness::{Reply, Server, Wire, assert_error_prefix};

/// A connection of a new user with these rules.
fn user(server: &Server, rules: &str) -> Wire {
    server.line("ACL DELUSER tester");
    server.ok(&format!("ACL SETUSER tester on >pass {rules}"));
    let mut wire = server.wire();
    assert_eq!(wire.line("AUTH tester pass"), Reply::ok());
    wire
}

#[track_caller]
fn refused(wire: &mut Wire, command: &str) {
    let reply = wire.line(command);
    assert!(reply.error().is_some_and(|text| text.starts_with("NOPERM ")), "{command}: {reply:?}");
}

#[track_caller]
fn allowed(wire: &mut Wire, command: &str) {
    let reply = wire.line(command);
    assert!(reply.error().is_none(), "{command}: {reply:?}");
}

fn all(commands: &[&str], expected: fn(&mut Wire, &str), wire: &mut Wire) {
    for command in commands {
        expected(wire, command);
    }
}

const ON_OWN_KEYS: &[&str] = &[
    "RL.ACQUIRE api:1 10/h",
    "RL.BATCH ALL 2 api:1 10/h 1 api:2 10/h 1",
    "RL.REFUND api:1 1",
    "RL.CHARGE api:1 10/h COST 1",
    "RL.PIN api:1 5/h",
    "RL.UNPIN api:1",
    "RL.BLOCK api:1 FOREVER",
    "RL.UNBLOCK api:1",
    "RL.RESET api:1 api:2",
    "CL.THROTTLE api:3 1 1 1",
    "RL.THROTTLE api:3 1 1 1",
    "GCRA api:3 1 1 1",
    "RL.RESERVE 2 api:1 10/h api:2 10/h TTL 1m ID one",
    "RL.RENEW one TTL 2m 2 api:1 api:2",
    "RL.COMMIT one 2 api:1 api:2 COST 3",
    "RL.RELEASE one 2 api:1 api:2",
    "RL.RECORD api:1 OK",
    "CB.ACQUIRE api:4 3",
    "CB.ACQUIRE api:4 3 LIMIT api:1 10/h COST 2",
    "CB.REPORT api:4 OK",
    "CB.FORCE api:4 OPEN",
    "CB.RESET api:4",
    "CB.PIN api:4 5",
    "CB.UNPIN api:4",
];

const LOOKS_AT_OWN_KEYS: &[&str] =
    &["RL.QUOTA api:1", "RL.QUEUE api:1", "RL.RESERVATIONS api:1", "RL.STATS api:1", "CB.STATE api:4"];

const ON_FOREIGN_KEYS: &[&str] = &[
    "RL.ACQUIRE web:1 10/h",
    "RL.QUOTA web:1",
    "RL.BATCH ALL 2 api:1 10/h 1 web:1 10/h 1",
    "RL.BATCH EACH 1 web:1 10/h 1",
    "RL.REFUND web:1 1",
    "RL.CHARGE web:1 10/h COST 1",
    "RL.PIN web:1 5/h",
    "RL.UNPIN web:1",
    "RL.BLOCK web:1 FOREVER",
    "RL.UNBLOCK web:1",
    "RL.RESET api:1 web:1",
    "CL.THROTTLE web:3 1 1 1",
    "RL.THROTTLE web:3 1 1 1",
    "GCRA web:3 1 1 1",
    "RL.RESERVE 1 web:1 10/h TTL 1m",
    "RL.RESERVE 2 api:1 10/h web:1 10/h TTL 1m",
    "RL.RENEW one TTL 2m 2 api:1 web:1",
    "RL.COMMIT one 2 api:1 web:1",
    "RL.RELEASE one 2 web:1 api:1",
    "RL.QUEUE web:1",
    "RL.RESERVATIONS web:1",
    "RL.RECORD web:1 OK",
    "RL.STATS web:1",
    "CB.ACQUIRE web:4 3",
    "CB.ACQUIRE api:4 3 LIMIT web:1 10/h",
    "CB.ACQUIRE web:4 3 LIMIT api:1 10/h",
    "CB.REPORT web:4 OK BREAKER 3",
    "CB.STATE web:4",
    "CB.FORCE web:4 OPEN",
    "CB.RESET web:4",
    "CB.PIN web:4 5",
    "CB.UNPIN web:4",
];

#[test]
fn key_patterns_hold() {
    let server = Server::start();
    let mut wire = user(&server, "~api:* +@all");
    for command in ON_OWN_KEYS.iter().chain(LOOKS_AT_OWN_KEYS) {
        allowed(&mut wire, command);
    }
    for command in ON_FOREIGN_KEYS {
        refused(&mut wire, command);
    }
    // A script gives no more.
    for command in ON_FOREIGN_KEYS {
        let mut words = vec!["EVAL", "return redis.pcall(unpack(ARGV))", "0"];
        words.extend(command.split(' '));
        let reply = wire.call(&words);
        assert!(reply.error().is_some(), "{command} in a script: {reply:?}");
    }
    assert_eq!(server.line("EXISTS web:1 web:3 web:4"), Reply::Int(0));
}

#[test]
fn read_only_key_patterns() {
    let server = Server::start();
    if !server.at_least(7, 0) {
        return;
    }
    server.line("RL.ACQUIRE api:1 10/h");
    let mut wire = user(&server, "%R~api:* +@all");
    for command in LOOKS_AT_OWN_KEYS {
        allowed(&mut wire, command);
    }
    for command in ON_OWN_KEYS {
        refused(&mut wire, command);
    }
    // Writing alone does not do either: the reply tells what is there.
    let mut wire = user(&server, "%W~api:* +@all");
    refused(&mut wire, "RL.ACQUIRE api:1 10/h");
    let mut wire = user(&server, "%RW~api:* +@all");
    allowed(&mut wire, "RL.ACQUIRE api:1 10/h");
}

#[test]
fn clear_touches_only_what_the_user_may() {
    let server = Server::start();
    if !server.at_least(7, 0) {
        return;
    }
    let fill = || {
        for key in ["api:1", "api:2", "web:1"] {
            server.line(&format!("RL.ACQUIRE {key} 10/h"));
        }
    };
    fill();
    let mut wire = user(&server, "~api:* +@all");
    assert_eq!(wire.line("RL.CLEAR 0 COUNT 1000")[1], Reply::Int(2));
    fill();
    let lua = "return redis.call('RL.CLEAR', '0', 'COUNT', '1000')";
    assert_eq!(wire.call(&["EVAL", lua, "0"])[1], Reply::Int(2));
    fill();
    wire.line("MULTI");
    wire.line("RL.CLEAR 0 COUNT 1000");
    assert_eq!(wire.line("EXEC")[0][1], Reply::Int(2));
    fill();
    // To read is not to delete.
    let mut wire = user(&server, "%R~api:* +@all");
    assert_eq!(wire.line("RL.CLEAR 0 COUNT 1000")[1], Reply::Int(0));
    assert_eq!(server.line("EXISTS api:1 api:2 web:1"), Reply::Int(3));
}

#[test]
fn usage_and_top_show_only_what_the_user_may() {
    let server = Server::start();
    if !server.at_least(7, 0) {
        return;
    }
    for key in ["api:1", "web:1"] {
        server.line(&format!("RL.ACQUIRE {key} 1/h TRACK"));
        server.line(&format!("RL.ACQUIRE {key} 1/h"));
    }
    let shown = |wire: &mut Wire, command: &str| {
        let reply = format!("{:?}", wire.line(command));
        (reply.contains("api:1"), reply.contains("web:1"))
    };
    for command in ["RL.USAGE 0 COUNT 1000", "RL.TOP DENIED", "RL.TOP GRANTED 10"] {
        assert_eq!(shown(&mut server.wire(), command), (true, true), "{command}");
        let mut wire = user(&server, "~api:* +@all");
        assert_eq!(shown(&mut wire, command), (true, false), "{command}");
        let mut wire = user(&server, "%W~api:* +@all");
        assert_eq!(shown(&mut wire, command), (false, false), "{command}");
    }
}

#[test]
fn single_commands() {
    let server = Server::start();
    let mut wire = user(&server, "~* -@all +rl.acquire +rl.quota");
    allowed(&mut wire, "RL.ACQUIRE k 10/h");
    allowed(&mut wire, "RL.QUOTA k");
    for command in ["RL.REFUND k 1", "RL.PIN k 1/h", "RL.CLEAR 0", "RL.HELP", "CL.THROTTLE k 1 1 1"] {
        refused(&mut wire, command);
    }
    let mut wire = user(&server, "~* +@all -rl.block");
    refused(&mut wire, "RL.BLOCK k FOREVER");
    let lua = "return redis.pcall('RL.BLOCK', KEYS[1], 'FOREVER')";
    let reply = wire.call(&["EVAL", lua, "1", "k"]);
    assert!(reply.error().is_some(), "{reply:?}");
    assert_error_prefix(&wire.line("RL.PIN k 1/"), "ERR invalid limit");
}

const ADMIN: &[&str] = &[
    "RL.PIN k 5/h",
    "RL.UNPIN k",
    "RL.BLOCK k FOREVER",
    "RL.UNBLOCK k",
    "RL.RESET k",
    "RL.CLEAR 0",
    "RL.DEBUG CLOCK REAL",
    "RL.METRICS",
    "RL.TOP DENIED",
    "RL.ALERTS",
];
const USER: &[&str] =
    &["RL.ACQUIRE k 10/h", "RL.QUOTA k", "RL.BATCH ALL 1 k 10/h 1", "RL.REFUND k 1", "RL.HELP"];

#[test]
fn categories_of_the_server() {
    let server = Server::start();
    // Before 7.2 a module cannot put its commands into categories.
    if !server.at_least(7, 2) {
        return;
    }
    for rules in ["~* +@all -@admin", "~* +@all -@dangerous"] {
        let mut wire = user(&server, rules);
        all(USER, allowed, &mut wire);
        all(ADMIN, refused, &mut wire);
    }
    let mut wire = user(&server, "~* -@all +@read");
    allowed(&mut wire, "RL.QUOTA k");
    refused(&mut wire, "RL.ACQUIRE k 10/h");
    let mut wire = user(&server, "~* -@all +@write -@admin");
    allowed(&mut wire, "RL.ACQUIRE k 10/h");
    refused(&mut wire, "RL.QUOTA k");
    refused(&mut wire, "RL.PIN k 5/h");
}

#[test]
fn categories_of_our_own() {
    let server = Server::start();
    let categories: Vec<String> = server.line("ACL CAT").items().iter().map(Reply::text).collect();
    let has = |name: &str| categories.iter().any(|category| category == name);
    assert_eq!(has("floodgate"), has("floodgate-admin"));
    // 7.4, and Valkey 8.
    assert_eq!(has("floodgate"), server.at_least(7, 4) || server.is_valkey());
    if !has("floodgate") {
        return;
    }
    let mut wire = user(&server, "~* -@all +@floodgate");
    all(USER, allowed, &mut wire);
    all(ADMIN, refused, &mut wire);
    let mut wire = user(&server, "~* -@all +@floodgate-admin");
    all(USER, refused, &mut wire);
    all(ADMIN, allowed, &mut wire);
    let of = |name: &str| -> Vec<String> {
        server.line(&format!("ACL CAT {name}")).items().iter().map(Reply::text).collect()
    };
    assert!(of("floodgate").contains(&"rl.acquire".to_owned()));
    assert!(of("floodgate-admin").contains(&"rl.pin".to_owned()));
    assert!(!of("floodgate").contains(&"rl.effect".to_owned()));
}

/// To see which keys a call names, Redis 7.0 reads the count of keys without looking whether it is
/// there.
#[test]
fn a_limited_user_may_leave_arguments_out() {
    let server = Server::start();
    server.ok("ACL SETUSER limited on nopass ~mine:* &* +@all");
    for command in floodgate::table::COMMANDS {
        let mut wire = server.wire();
        assert_eq!(wire.line("AUTH limited x"), Reply::ok());
        for count in 0..8 {
            wire.line(format!("{} {}", command.name, "1 ".repeat(count)).trim_end());
        }
        assert_eq!(wire.line("PING").text(), "PONG", "{}", command.name);
    }
}
