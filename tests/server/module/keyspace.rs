//! Limiters are keys like any other: transactions, scripts, databases, odd
//! names, and the commands that work on every key.

use crate::support::{denied, granted};
use std::collections::BTreeSet;

use crate::harness::{Reply, Server, assert_error_prefix, call};

#[test]
fn in_a_transaction() {
    let server = Server::at_t0();
    let mut wire = server.wire();
    wire.line("MULTI");
    for command in [
        "RL.ACQUIRE k 10/s COST 4",
        "RL.ACQUIRE k 10/s COST 7",
        "RL.ACQUIRE k 10/",
        "RL.BATCH ALL 2 k 10/s 1 l 10/s 1",
        "RL.REFUND k 2",
        "RL.CHARGE l 10/s COST 2",
        "RL.QUOTA k",
        "RL.BLOCK k FOREVER",
        "RL.ACQUIRE k 10/s",
    ] {
        assert_eq!(wire.line(command), Reply::Simple("QUEUED".into()), "{command}");
    }
    let replies = wire.line("EXEC");
    assert_eq!(replies[0].rate_limit(), granted(4).limit(10).remaining(6).reset_ms(1000));
    assert_eq!(replies[1].rate_limit(), denied().limit(10).remaining(6).retry_ms(1000).reset_ms(1000));
    assert_error_prefix(&replies[2], "ERR invalid limit '10/'");
    assert_eq!(replies[3].items().len(), 2);
    assert_eq!(replies[4], Reply::Int(2));
    assert_eq!(replies[5].rate_limit(), granted(2).limit(10).remaining(7).reset_ms(1000));
    assert_eq!(replies[6][0].field("used"), Reply::Int(3));
    assert_eq!(
        replies[8].rate_limit(),
        denied().limit(10).remaining(0).retry_never().reset_ms(1000).blocked()
    );
}

#[test]
fn the_clock_stands_still_in_a_transaction() {
    // A server that offers the time at which a command started, 7.2.
    let server = Server::start();
    if !server.at_least(7, 2) {
        return;
    }
    let mut wire = server.wire();
    wire.line("MULTI");
    wire.line("RL.ACQUIRE k 10/h");
    wire.line("DEBUG SLEEP 0.02");
    wire.line("RL.ACQUIRE l 10/h");
    wire.line("PEXPIRETIME k");
    wire.line("PEXPIRETIME l");
    let replies = wire.line("EXEC");
    assert_eq!(replies[3], replies[4]);
}

#[test]
fn in_scripts() {
    let server = Server::at_t0();
    let lua = "local a = redis.call('RL.ACQUIRE', KEYS[1], ARGV[1], 'COST', ARGV[2])
        local b = redis.call('RL.ACQUIRE', KEYS[1], ARGV[1], 'COST', ARGV[2])
        local q = redis.call('RL.QUOTA', KEYS[1])
        local e = redis.pcall('RL.ACQUIRE', KEYS[1], '10/')
        return {a, b, q[1], e['err']}";
    let reply = call!(server, "EVAL", lua, 1, "k", "10/s", 6);
    assert_eq!(reply[0].rate_limit(), granted(6).limit(10).remaining(4).reset_ms(1000));
    assert_eq!(reply[1].rate_limit(), denied().limit(10).remaining(4).retry_ms(1000).reset_ms(1000));
    assert_eq!(reply[2].field("used"), Reply::Int(6));
    assert!(reply[3].text().contains("invalid limit '10/': missing period"));
    let sha = call!(server, "SCRIPT", "LOAD", lua).text();
    assert_eq!(
        call!(server, "EVALSHA", sha, 1, "l", "10/s", 3)[1].rate_limit(),
        granted(3).limit(10).remaining(4).reset_ms(1000)
    );
    // Maps and booleans of RESP3 reach a script that asks for them.
    if server.at_least(7, 0) {
        let lua = "redis.setresp(3); local q = redis.call('RL.QUOTA', KEYS[1]); return q[1]['map']['shadow']";
        assert_eq!(server.wire3().call(&["EVAL", lua, "1", "k"]), Reply::Bool(false));
    }
    if server.at_least(7, 0) {
        let lua = "#!lua flags=no-writes\nreturn redis.call('RL.QUOTA', KEYS[1])";
        assert_eq!(call!(server, "EVAL", lua, 1, "k")[0].field("used"), Reply::Int(6));
        let lua = "#!lua flags=no-writes\nreturn redis.call('RL.ACQUIRE', KEYS[1], '10/s')";
        assert_error_prefix(&call!(server, "EVAL", lua, 1, "k"), "ERR ");
    }
}

#[test]
fn pipelines() {
    let server = Server::at_t0();
    let mut wire = server.wire();
    let commands: Vec<_> = (0..5000).map(|i| format!("RL.ACQUIRE k{} 9/h", i % 500)).collect();
    let replies = wire.lines(&commands);
    for (i, reply) in replies.iter().enumerate() {
        let taken = i64::try_from(i / 500).unwrap();
        let expected = if taken < 9 {
            granted(1).remaining(8 - taken)
        } else {
            denied().remaining(0).retry_ms(3_600_000)
        };
        assert_eq!(reply.rate_limit(), expected.limit(9).reset_ms(3_600_000), "{i}");
    }
}

#[test]
fn every_database_has_its_own() {
    let server = Server::at_t0();
    let mut wire = server.wire();
    wire.line("RL.ACQUIRE k 10/s COST 4");
    wire.line("SELECT 5");
    assert_eq!(wire.line("RL.ACQUIRE k 10/s COST 7").rate_limit().remaining, 3);
    wire.line("SWAPDB 0 5");
    assert_eq!(wire.line("RL.ACQUIRE k 10/s").rate_limit().remaining, 5);
    wire.line("SELECT 0");
    assert_eq!(wire.line("RL.ACQUIRE k 10/s").rate_limit().remaining, 2);
    assert_eq!(wire.line("MOVE k 9"), Reply::Int(1));
    assert_eq!(wire.line("RL.QUOTA k"), Reply::NilBulk);
    wire.line("SELECT 9");
    assert_eq!(wire.line("RL.ACQUIRE k 10/s").rate_limit().remaining, 1);
    wire.line("FLUSHDB");
    assert_eq!(wire.line("RL.ACQUIRE k 10/s").rate_limit().remaining, 9);
    wire.line("FLUSHALL ASYNC");
    assert_eq!(wire.line("RL.ACQUIRE k 10/s").rate_limit().remaining, 9);
}

#[test]
fn any_bytes_make_a_key() {
    let server = Server::at_t0();
    let all: Vec<u8> = (0..=255).collect();
    let names: [&[u8]; 6] = [b"", b"\0", b"a\0b", &[0xff; 300], "\u{1f6a6}\r\n%s".as_bytes(), &all];
    for name in names {
        assert_eq!(
            call!(server, "RL.ACQUIRE", name, "10/s", "COST", 3).rate_limit(),
            granted(3).limit(10).remaining(7).reset_ms(1000)
        );
        assert_eq!(call!(server, "RL.BATCH", "EACH", 1, name, "10/s", 3)[0].rate_limit().remaining, 4);
        assert_eq!(call!(server, "RL.QUOTA", name)[0].field("used"), Reply::Int(6));
        assert_eq!(call!(server, "RL.REFUND", name, 1), Reply::Int(1));
        assert_eq!(call!(server, "RL.PIN", name, "5/s"), Reply::ok());
        assert_eq!(call!(server, "RL.BLOCK", name, "FOREVER", "REASON", name), Reply::ok());
        assert_eq!(call!(server, "RL.QUOTA", name)[1].field("blocked").field("reason"), Reply::bulk(name));
        assert_eq!(call!(server, "RL.UNBLOCK", name), Reply::Int(1));
        assert_eq!(call!(server, "RL.UNPIN", name), Reply::Int(1));
        assert_eq!(call!(server, "RL.RESET", name), Reply::Int(1));
        assert_eq!(call!(server, "EXISTS", name), Reply::Int(0));
    }
    // Names that differ only after a NUL are two keys.
    call!(server, "RL.ACQUIRE", b"n\0a", "1/s");
    assert_eq!(call!(server, "RL.ACQUIRE", b"n\0b", "1/s").rate_limit().granted, 1);
}

#[test]
fn a_key_of_a_megabyte() {
    let server = Server::at_t0();
    let mut name = vec![b'k'; 1 << 20];
    for round in 0..3_i64 {
        assert_eq!(call!(server, "RL.ACQUIRE", name, "10/s")[2], Reply::Int(9 - round));
    }
    let two = call!(server, "RL.BATCH", "ALL", 2, name, "10/s", 1, name, "10/s", 1);
    assert_eq!(two[1].rate_limit().remaining, 5);
    name.push(b'x');
    assert_eq!(call!(server, "RL.ACQUIRE", name, "10/s").rate_limit().remaining, 9);
    let replica = server.replica();
    crate::harness::assert_same_data(&server, &replica);
}

/// One key of every shape.
fn zoo(server: &Server) -> Vec<&'static str> {
    server.line("RL.ACQUIRE bucket bucket:10/h COST 3");
    server.line("RL.ACQUIRE sliding 10/h COST 3");
    server.line("RL.ACQUIRE slots 1000/h COST 300");
    server.line("RL.ACQUIRE fixed fixed:10/month:tz=Asia/Tokyo COST 3");
    server.line("RL.ACQUIRE several 10/s:name=a,bucket:10/h:keep=10%,fixed:9/d:shadow COST 3");
    server.line("RL.ACQUIRE several 10/m COST 3");
    server.line("RL.ACQUIRE pinned 10/h COST 3");
    server.ok("RL.PIN pinned 5/h FOR 1h");
    server.ok("RL.BLOCK blocked FOREVER REASON abuse");
    server.line("CL.THROTTLE throttle 5 10 3600 3");
    vec!["bucket", "sliding", "slots", "fixed", "several", "pinned", "blocked", "throttle"]
}

#[test]
fn the_commands_for_every_key() {
    let server = Server::at_t0();
    for key in zoo(&server) {
        let digest = |key: &str| call!(server, "DEBUG", "DIGEST-VALUE", key)[0].text();
        let quota = |key: &str| call!(server, "RL.QUOTA", key);
        let (before, shown) = (digest(key), quota(key));
        assert_eq!(call!(server, "TYPE", key), Reply::Simple("ratelimit".into()));
        assert!(call!(server, "OBJECT", "ENCODING", key).text().len() > 1);
        assert!(call!(server, "MEMORY", "USAGE", key).int() >= 16, "{key}");
        let dump = call!(server, "DUMP", key).bytes().to_vec();
        assert_eq!(call!(server, "RESTORE", "restored", 0, dump), Reply::ok());
        assert_eq!(call!(server, "COPY", key, "copied"), Reply::Int(1));
        for other in ["restored", "copied"] {
            assert_eq!((digest(other), quota(other)), (before.clone(), shown.clone()), "{key}: {other}");
        }
        // A copy has a life of its own.
        call!(server, "RL.BLOCK", "copied", "FOR", "1h");
        assert_eq!(digest(key), before);
        call!(server, "RENAME", key, "renamed");
        assert_eq!((digest("renamed"), quota("renamed")), (before, shown));
        assert_eq!(call!(server, "EXISTS", key), Reply::Int(0));
        assert_eq!(call!(server, "DEL", "restored"), Reply::Int(1));
        assert_eq!(call!(server, "UNLINK", "copied", "renamed"), Reply::Int(2));
    }
}

#[test]
fn scan_finds_the_type() {
    let server = Server::at_t0();
    let zoo: BTreeSet<String> = zoo(&server).into_iter().map(String::from).collect();
    server.line("SET string x");
    let found = server.line("SCAN 0 COUNT 1000 TYPE ratelimit");
    assert_eq!(found[1].items().iter().map(Reply::text).collect::<BTreeSet<_>>(), zoo);
    assert_eq!(server.line("SCAN 0 COUNT 1000 TYPE string")[1].items().len(), 1);
}

#[test]
fn memory_is_what_the_shape_needs() {
    let server = Server::at_t0();
    zoo(&server);
    let usage = |key: &str| call!(server, "MEMORY", "USAGE", key).int();
    for small in ["sliding", "slots", "fixed"] {
        // The names differ in length.
        assert!((usage(small) - usage("bucket")).abs() < 32, "{small} takes as little as a bucket");
    }
    assert!(usage("throttle") >= usage("bucket") + 32, "it does not fit into the smallest shape");
    assert!(usage("throttle") < usage("several"));
    let before = usage("blocked");
    call!(server, "RL.BLOCK", "blocked", "FOREVER", "REASON", "x".repeat(1000));
    assert!(usage("blocked") >= before + 900);
}
