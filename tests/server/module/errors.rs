//! Every class of error: arity, syntax, malformed limits, range, type, memory,
//! read-only replicas.

use crate::harness::{Reply, Server, assert_error, assert_error_prefix, call};

const COUNT_RANGE: &str = "ERR COST must be a whole number from 1 to 1000000000000";
const WRONGTYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

#[test]
fn arity() {
    let server = Server::start();
    for command in [
        "RL.ACQUIRE",
        "RL.QUOTA",
        "RL.BATCH",
        "RL.BATCH ALL",
        "RL.REFUND",
        "RL.REFUND k",
        "RL.CHARGE",
        "RL.RESET",
        "RL.PIN",
        "RL.PIN k",
        "RL.UNPIN",
        "RL.UNPIN k l",
        "RL.BLOCK",
        "RL.BLOCK k",
        "RL.UNBLOCK",
        "RL.UNBLOCK k l",
        "RL.CLEAR",
        "RL.DEBUG",
        "RL.DEBUG CLOCK",
        "RL.DEBUG CLOCK SET",
        "CL.THROTTLE",
        "CL.THROTTLE k",
        "CL.THROTTLE k 1",
        "CL.THROTTLE k 1 1",
        "CL.THROTTLE k 1 1 1 1 1",
        "RL.THROTTLE k 1 1",
        "RL.THROTTLE k 1 1 1 1 1",
        "GCRA k 1 1",
    ] {
        let name = command.split(' ').next().unwrap().to_lowercase();
        let reply = server.line(command);
        if server.at_least(7, 0) {
            assert_error_prefix(&reply, &format!("ERR wrong number of arguments for '{name}' command"));
        } else {
            // There a module cannot tell its arity, and the name comes back as typed.
            assert_error_prefix(&reply, "ERR ");
        }
    }
    assert_eq!(server.line("DBSIZE"), Reply::Int(0));
}

/// Servers before 7.0 leave it to the module, which answers as later servers do.
#[test]
fn one_key_too_many_is_refused_in_the_same_words_by_every_command_of_one_key() {
    let server = Server::start();
    for command in
        ["RL.UNPIN", "RL.UNBLOCK", "RL.QUEUE", "RL.RESERVATIONS", "CB.STATE", "CB.RESET", "CB.UNPIN"]
    {
        assert_error_prefix(&server.line(&format!("{command} k l")), "ERR wrong number of arguments for '");
    }
}

#[test]
fn syntax() {
    let server = Server::start();
    for (command, error) in [
        ("RL.ACQUIRE k 10/s NOW", "ERR syntax error near 'NOW'"),
        ("RL.ACQUIRE k 10/s 20/s", "ERR syntax error near '20/s'"),
        ("RL.ACQUIRE k 10/s COST", "ERR syntax error: COST needs a value"),
        ("RL.ACQUIRE k COST", "ERR syntax error: COST needs a value"),
        ("RL.ACQUIRE k 10/s CRITICAL PARTIAL x", "ERR syntax error near 'x'"),
        ("RL.ACQUIRE k 10/s COST 1 HEADERS", "ERR syntax error near 'HEADERS'"),
        ("RL.BATCH k 1 k 10/s 1", "ERR syntax error near 'k'"),
        ("RL.DEBUG WATCH SET 1", "ERR syntax error near 'WATCH'"),
        ("RL.DEBUG CLOCK BACK 1", "ERR syntax error near 'BACK'"),
        ("RL.DEBUG CLOCK REAL 1", "ERR syntax error near '1'"),
    ] {
        assert_error_prefix(&server.line(command), error);
    }
    // What is not printable is escaped, and cut at 64 bytes.
    assert_error_prefix(
        &call!(server, "RL.ACQUIRE", "k", "10/s", b"a\0\r\n\xff'%s%n"),
        r"ERR syntax error near 'a\x00\r\n\xff\'%s%n'",
    );
    let long = "y".repeat(1000);
    assert_error_prefix(
        &call!(server, "RL.ACQUIRE", "k", "10/s", long),
        &format!("ERR syntax error near '{}...'", &long[..64]),
    );
    assert_eq!(server.line("DBSIZE"), Reply::Int(0));
}

#[test]
fn numbers_out_of_range() {
    let server = Server::start();
    for n in [
        "0",
        "-1",
        "+1",
        "1.0",
        "1e3",
        "x",
        "0x10",
        "1000000000001",
        "18446744073709551616",
        "99999999999999999999999999999999999999999",
    ] {
        assert_error_prefix(&call!(server, "RL.ACQUIRE", "k", "10/s", "COST", n), COUNT_RANGE);
        assert_error_prefix(&call!(server, "RL.QUOTA", "k", "10/s", "COST", n), COUNT_RANGE);
        let item = COUNT_RANGE.replace("ERR ", "ERR item 1: ");
        assert_error_prefix(&call!(server, "RL.BATCH", "ALL", "1", "k", "10/s", n), &item);
        assert_error_prefix(
            &call!(server, "RL.REFUND", "k", n),
            "ERR n must be a whole number from 1 to 1000000000000",
        );
    }
    assert_error(&call!(server, "RL.ACQUIRE", "k", "10/s", "COST", ""), COUNT_RANGE);
    assert_error(&call!(server, "RL.ACQUIRE", "k", "10/s", "COST", " 1"), COUNT_RANGE);
    assert_error(&call!(server, "RL.ACQUIRE", "k", "10/s", "COST", b"1\0"), COUNT_RANGE);
    assert_error_prefix(&server.line("RL.DEBUG CLOCK SET -1"), "ERR us must be ");
    assert_error_prefix(&server.line("RL.DEBUG CLOCK SET 99999999999999999999"), "ERR us must be ");
    assert_error_prefix(&server.line("RL.DEBUG CLOCK ADVANCE x"), "ERR us must be ");
    assert_error_prefix(&server.line("RL.DEBUG CLOCK ADVANCE -x"), "ERR us must be ");
}

/// Malformed limits: the whole text, the part that the error names (empty: the
/// whole), and the reason.
const MALFORMED: &[(&str, &str, &str)] = &[
    ("", "", "empty"),
    (",", ",", "nothing before the first comma"),
    (",10/s", "", "nothing before the first comma"),
    ("10/s,", "", "nothing after the last comma"),
    ("10/s,,5/m", "", "nothing between two commas"),
    ("1/s,2/m,3/h,4/d,5/2s,6/3s,7/4s,8/5s,9/6s", "9/6s", "more than 8 limits"),
    ("1/s:name=a,2/m:name=a", "2/m:name=a", "another limit has the same name"),
    ("10", "", "missing '/' and period"),
    ("100/", "", "missing period"),
    ("/s", "", "missing count"),
    ("/", "", "missing count"),
    ("bucket:1/s:burst=0", "", "burst must be at least 1"),
    ("-1/s", "", "count is negative"),
    ("+1/s", "", "count takes no sign"),
    ("1.5/s", "", "count is not a whole number"),
    (".5/s", "", "count is not a whole number"),
    ("1e3/s", "", "count is not a whole number"),
    ("0x10/s", "", "count is not a whole number"),
    ("10k/s", "", "count is not a whole number"),
    ("1000000000001/s", "", "count is above 1000000000000"),
    ("99999999999999999999999999/s", "", "count is above 1000000000000"),
    ("10/0s", "", "period is zero"),
    ("10/60", "", "period has no unit"),
    ("10/-1s", "", "period takes no sign"),
    ("10/+1s", "", "period takes no sign"),
    ("10/1.5s", "", "period must be a whole number of its unit"),
    ("10/y", "", "unknown unit of time"),
    ("10/fortnight", "", "unknown unit of time"),
    ("10/us", "", "unknown unit of time"),
    ("10/s/m", "", "more than one '/'"),
    ("10/367d", "", "period is longer than 366 days"),
    ("10/53w", "", "period is longer than 366 days"),
    ("10/99999999999999999999d", "", "period is longer than 366 days"),
    ("10/month", "", "month is only for fixed windows"),
    ("bucket:10/month", "", "month is only for fixed windows"),
    ("fixed:10/2month", "", "month takes no number but 1"),
    ("sliding", "", "missing ':' and count after sliding"),
    ("bucket", "", "missing ':' and count after bucket"),
    ("bucket:", "", "missing count"),
    ("concurrent", "", "missing ':' and count after concurrent"),
    ("gcra:10/s", "", "unknown algorithm 'gcra'"),
    ("throttle:1/s", "", "unknown algorithm 'throttle'"),
    ("hello", "", "unknown algorithm 'hello'"),
    (":10/s", "", "missing algorithm before ':'"),
    ("10/s:", "", "empty option"),
    ("10/s::name=x", "", "empty option"),
    ("10/s:=x", "", "option without a name"),
    ("10/s:speed=9", "", "unknown option 'speed'"),
    ("10/s:name", "", "name= needs a value"),
    ("10/s:name=", "", "name= needs a value"),
    ("10/s:name=a:name=b", "", "name is given twice"),
    ("10/s:name=a/b", "", "name has characters other than A-Z a-z 0-9 _ . -"),
    ("10/s:per=user", "", "per= must be call"),
    ("10/s:per", "", "per= needs a value"),
    ("10/s:shadow=yes", "", "shadow takes no value"),
    ("10/s:keep=10", "", "keep= needs a percent sign"),
    ("10/s:keep=x%", "", "keep= is not a percentage such as 10% or 12.5%"),
    ("10/s:keep=1.%", "", "keep= is not a percentage such as 10% or 12.5%"),
    ("10/s:keep=0%", "", "keep= must be above 0%"),
    ("10/s:keep=100%", "", "keep= must be below 100%"),
    ("5/s:block=5s:grow=1.234", "", "grow= has more than two decimals"),
    ("10/s:keep=1.234%", "", "keep= has more than two decimals"),
    ("10/s:burst=20", "", "burst= is only for bucket, not for sliding"),
    ("fixed:10/s:burst=20", "", "burst= is only for bucket, not for fixed"),
    ("10/s:tz=UTC", "", "tz= is only for fixed, not for sliding"),
    ("bucket:10/s:start=first", "", "start= is only for fixed, not for bucket"),
    ("bucket:10/s:burst=0", "", "burst must be at least 1"),
    ("bucket:10/s:burst=x", "", "burst is not a whole number"),
    ("bucket:10/s:burst=", "", "burst= needs a value"),
    ("bucket:10/s:burst=1000000000001", "", "burst is above 1000000000000"),
    ("fixed:10/d:tz=Mars/Olympus", "", "unknown time zone"),
    ("fixed:10/d:start=last", "", "start= must be first"),
    ("unlimited:shadow", "", "unlimited takes no options"),
    ("10/s,*", "*", "'*' stands alone"),
    ("10/s,@", "@", "missing policy name after '@'"),
    ("@gold:shadow", "", "a policy takes no options here"),
    ("@a b", "", "has white space"),
    (" 10/s", "", "has white space"),
    ("10 /s", "", "has white space"),
    ("10/s,\t5/m", r"\t5/m", "has white space"),
    ("10/s\0", r"10/s\x00", "has bytes other than printable ASCII"),
    ("10/\u{e9}", r"10/\xc3\xa9", "has bytes other than printable ASCII"),
    ("\u{661}0/s", r"\xd9\xa10/s", "has bytes other than printable ASCII"),
];

#[test]
fn malformed_limits_name_themselves_and_the_reason() {
    let server = Server::start();
    assert!(MALFORMED.len() >= 60);
    for &(text, named, reason) in MALFORMED {
        let named = if named.is_empty() { text } else { named };
        // The way out stands behind the reason: see newcomer_errors.rs.
        let error = format!("ERR invalid limit '{named}': {reason}");
        assert_error_prefix(&call!(server, "RL.ACQUIRE", "k", text), &error);
        assert_error_prefix(&call!(server, "RL.QUOTA", "k", text), &error);
        let item = error.replace("ERR ", "ERR item 2: ");
        assert_error_prefix(&call!(server, "RL.BATCH", "EACH", "2", "j", "10/s", "1", "k", text, "1"), &item);
        assert_error_prefix(&call!(server, "RL.PIN", "k", text), &error);
    }
    assert_eq!(server.line("DBSIZE"), Reply::Int(0));
    // On a key that is there, pinned or blocked, too.
    server.line("RL.ACQUIRE k 10/h");
    server.ok("RL.PIN k 10/h");
    server.ok("RL.BLOCK k FOREVER");
    assert_error(&server.line("RL.ACQUIRE k 10/"), "ERR invalid limit '10/': missing period");
}

#[test]
fn what_an_error_repeats_is_cut_and_escaped() {
    let server = Server::start();
    let name = "n".repeat(65);
    assert_error(
        &call!(server, "RL.ACQUIRE", "k", format!("10/s:name={name}")),
        &format!("ERR invalid limit '10/s:name={}...': name is longer than 64 characters", "n".repeat(54)),
    );
    assert_error(
        &call!(server, "RL.ACQUIRE", "k", vec![0xff_u8; 64]),
        &format!("ERR invalid limit '{}': has bytes other than printable ASCII", r"\xff".repeat(64)),
    );
    assert_error(
        &call!(server, "RL.ACQUIRE", "k", vec![b'7'; 5000]),
        &format!("ERR invalid limit '{}...': longer than 4096 bytes", "7".repeat(64)),
    );
    assert_error_prefix(
        &call!(server, "RL.ACQUIRE", "k", "%s%n%d'\"\\/s"),
        r#"ERR invalid limit '%s%n%d\'\"\\/s': count is not a whole number"#,
    );
    assert_error_prefix(&server.line("RL.ACQUIRE k @gold"), "ERR no policy 'gold'");
    assert_error(
        &server.line("RL.ACQUIRE k 10/s,concurrent:5:name=jobs"),
        "ERR invalid limit 'concurrent:5:name=jobs': concurrent limits are taken with RL.RESERVE",
    );
}

/// Who reads the error may never have written the limit that it names.
#[test]
fn concurrent_limits_of_somebody_else() {
    let server = Server::builder().module_args(["default-limit", "concurrent:7"]).start();
    server.ok("RL.PIN pinned concurrent:5");
    server.ok("RL.POLICY SET jobs concurrent:6 PREFIX job:");
    let taken = "concurrent limits are taken with RL.RESERVE";
    for (command, limit) in [
        ("RL.ACQUIRE pinned 10/s", "'concurrent:5' of the key's pin"),
        ("RL.CHARGE pinned 10/s COST 1", "'concurrent:5' of the key's pin"),
        ("RL.ACQUIRE job:1", "'concurrent:6' of the policy 'jobs'"),
        ("RL.ACQUIRE k @jobs", "'concurrent:6' of '@jobs'"),
        ("RL.ACQUIRE k", "'concurrent:7' of default-limit"),
        ("RL.ACQUIRE k concurrent:8", "'concurrent:8'"),
    ] {
        assert_error(&server.line(command), &format!("ERR invalid limit {limit}: {taken}"));
    }
    assert_error(
        &server.line("RL.BATCH ALL 1 pinned 10/s 1"),
        &format!("ERR item 1: invalid limit 'concurrent:5' of the key's pin: {taken}"),
    );
    assert_error(
        &server.line("CB.ACQUIRE breaker 5 LIMIT pinned 10/s"),
        "ERR invalid limit 'concurrent:5' of the key's pin: concurrent limits need TTL here, such as TTL 30s",
    );
}

#[test]
fn keys_of_another_type() {
    let server = Server::start();
    server.line("SET string x");
    server.line("HSET hash f v");
    server.line("XADD stream * f v");
    for key in ["string", "hash", "stream"] {
        for command in [
            "RL.ACQUIRE KEY 10/s",
            "RL.ACQUIRE KEY",
            "RL.QUOTA KEY",
            "RL.QUOTA KEY 10/s HEADERS",
            "RL.BATCH ALL 2 other 10/s 1 KEY 10/s 1",
            "RL.BATCH EACH 2 other 10/s 1 KEY 10/s 1",
            "RL.REFUND KEY 1",
            "RL.CHARGE KEY 10/s COST 1",
            "RL.RESET KEY",
            "RL.PIN KEY 10/s",
            "RL.UNPIN KEY",
            "RL.BLOCK KEY FOREVER",
            "RL.UNBLOCK KEY",
            "CL.THROTTLE KEY 1 1 1",
            "RL.THROTTLE KEY 1 1 1",
            "GCRA KEY 1 1 1",
        ] {
            assert_error_prefix(&server.line(&command.replace("KEY", key)), WRONGTYPE);
        }
    }
    server.line("RL.ACQUIRE limiter 10/s");
    assert_error(&server.line("GET limiter"), WRONGTYPE);
    assert_error(&server.line("HGET limiter f"), WRONGTYPE);
    assert_eq!(server.line("GET string"), Reply::bulk("x"));
    assert_eq!(server.line("DBSIZE"), Reply::Int(4));
}

#[test]
fn out_of_memory() {
    let server = Server::with(&["--maxmemory-policy", "noeviction"]);
    server.line("RL.ACQUIRE k 10/h COST 4");
    server.ok("RL.PIN pinned 10/h");
    server.ok("RL.BLOCK blocked FOREVER");
    server.line("RL.ACQUIRE reset 10/h");
    server.line("RL.ACQUIRE cleared 10/h");
    server.line("CB.ACQUIRE b 3");
    server.ok("CB.FORCE b OPEN");
    server.config_set("maxmemory", "1");
    for command in [
        "RL.ACQUIRE k 10/h",
        "RL.ACQUIRE new 10/h",
        "RL.BATCH EACH 1 k 10/h 1",
        "RL.CHARGE k 10/h COST 1",
        "RL.CHARGE new 10/h COST 1",
        "RL.PIN k 10/h",
        "RL.BLOCK k FOREVER",
        "CL.THROTTLE t 1 1 1",
        "RL.THROTTLE t 1 1 1",
        "GCRA t 1 1 1",
        "CB.FORCE b CLOSED",
        "CB.FORCE new OPEN",
        "CB.PIN b 3",
    ] {
        assert_error_prefix(&server.line(command), "OOM command not allowed when used memory > 'maxmemory'");
    }
    assert_eq!(server.line("RL.QUOTA k")[0].field("used"), Reply::Int(4));
    assert_eq!(server.line("RL.REFUND k 1"), Reply::Int(1));
    assert_eq!(server.line("RL.UNPIN pinned"), Reply::Int(1));
    assert_eq!(server.line("RL.UNBLOCK blocked"), Reply::Int(1));
    assert_eq!(server.line("RL.RESET reset"), Reply::Int(1));
    server.ok("CB.FORCE b AUTO");
    assert_eq!(server.line("CB.STATE b").field("state").text(), "closed");
    assert_eq!(server.line("RL.CLEAR 0 COUNT 1000")[1], Reply::Int(3));
    assert_eq!(server.line("DBSIZE"), Reply::Int(0));
    let lua = "return redis.pcall('RL.ACQUIRE', KEYS[1], '10/h')";
    let reply = server.call(&["EVAL", lua, "1", "k"]);
    assert!(reply.error().is_some_and(|text| text.contains("OOM")), "{reply:?}");
}

#[test]
fn a_replica_is_read_only() {
    let server = Server::start();
    let replica = server.replica();
    server.line("RL.ACQUIRE k 10/h COST 4");
    server.ok("RL.BLOCK b FOR 1h REASON x");
    crate::harness::wait_synced(&server, &replica);
    for command in [
        "RL.ACQUIRE k 10/h",
        "RL.BATCH EACH 1 k 10/h 1",
        "RL.REFUND k 1",
        "RL.CHARGE k 10/h COST 1",
        "RL.RESET k",
        "RL.PIN k 10/h",
        "RL.UNPIN k",
        "RL.BLOCK k FOREVER",
        "RL.UNBLOCK b",
        "RL.CLEAR 0",
        "CL.THROTTLE t 1 1 1",
        "RL.THROTTLE t 1 1 1",
        "GCRA t 1 1 1",
    ] {
        assert_error_prefix(&replica.line(command), "READONLY You can't write against a read only replica.");
    }
    assert_eq!(replica.line("RL.QUOTA k")[0].field("used"), Reply::Int(4));
    assert_eq!(replica.line("RL.QUOTA k HEADERS").field("X-RateLimit-Remaining"), Reply::bulk("6"));
    assert_eq!(replica.line("RL.QUOTA b")[0].field("blocked").field("reason"), Reply::bulk("x"));
    assert_eq!(replica.line("RL.QUOTA none"), Reply::NilBulk);
}

#[test]
fn effects_are_not_for_clients() {
    let server = Server::start();
    let refusal = "ERR RL.EFFECT carries effects to replicas and the AOF; clients cannot use it";
    assert_error(&call!(server, "RL.EFFECT", "k", b"\x01\x00"), refusal);
    let mut wire = server.wire();
    wire.line("MULTI");
    call!(wire, "RL.EFFECT", "k", b"\x01\x00");
    assert_error(&wire.line("EXEC")[0], refusal);
    let lua = "return redis.pcall('RL.EFFECT', KEYS[1], ARGV[1])";
    assert_error_prefix(&call!(server, "EVAL", lua, 1, "k", b"\x01\x00"), "ERR RL.EFFECT carries effects");
    assert_eq!(server.line("DBSIZE"), Reply::Int(0));
}
