//! RL.TOP: the busiest keys, those that the user may see.

use std::collections::HashMap;

use crate::{
    harness::{Reply, Server, T0, Wire, assert_error, assert_error_prefix},
    limits::access_log::logs,
    queue::fixtures::waits,
    support::LoggedRequest,
};

fn top(reply: &Reply) -> Vec<(String, i64, i64)> {
    reply.items().iter().map(|busy| (busy[0].text(), busy[1].int(), busy[2].int())).collect()
}

fn owned(rows: &[(&str, i64, i64)]) -> Vec<(String, i64, i64)> {
    rows.iter().map(|&(name, count, error)| (name.to_owned(), count, error)).collect()
}

#[test]
fn granted_and_denied_by_every_command_that_takes() {
    let server = Server::at_t0();
    assert_eq!(server.line("RL.TOP DENIED"), Reply::Array(vec![]));
    for _ in 0..5 {
        server.line("RL.ACQUIRE a 2/h");
    }
    server.line("RL.BATCH EACH 3 b 1/h 1 b 1/h 1 a 2/h 1");
    // c only shares the fate of b.
    server.line("RL.BATCH ALL 2 b 1/h 1 c 9/h 1");
    server.line("CL.THROTTLE d 0 1 60");
    server.line("CL.THROTTLE d 0 1 60");
    server.line("CB.ACQUIRE cb LIMIT e 1/h");
    server.line("CB.ACQUIRE cb LIMIT e 1/h");
    server.line("RL.RESERVE 1 f 1/h TTL 1h");
    server.line("RL.RESERVE 2 f 1/h g 9/h TTL 1h");
    // Neither looks nor errors count.
    for command in ["RL.QUOTA a", "RL.ACQUIRE a 2/", "RL.REFUND g 1"] {
        server.line(command);
    }
    let denied = [("a", 4, 0), ("b", 2, 0), ("d", 1, 0), ("e", 1, 0), ("f", 1, 0)];
    assert_eq!(top(&server.line("RL.TOP DENIED")), owned(&denied));
    let granted = [("a", 2, 0), ("b", 1, 0), ("d", 1, 0), ("e", 1, 0), ("f", 1, 0)];
    assert_eq!(top(&server.line("rl.top granted")), owned(&granted));
    assert_eq!(top(&server.line("RL.TOP DENIED 2")), owned(&denied[..2]));
}

#[test]
fn what_breakers_deny_counts() {
    let server = Server::at_t0();
    server.line("CB.REPORT down FAIL BREAKER 1:open=1m");
    for command in ["CB.ACQUIRE down", "CB.ACQUIRE down LIMIT e 9/h", "CB.ACQUIRE well 1"] {
        server.line(command);
    }
    server.line("CB.FORCE held OPEN");
    server.line("CB.ACQUIRE held");
    assert_eq!(top(&server.line("RL.TOP DENIED")), owned(&[("down", 2, 0), ("held", 1, 0)]));
    assert_eq!(top(&server.line("RL.TOP GRANTED")), []);
}

#[test]
fn a_look_counts_nowhere() {
    let server = Server::at_t0();
    server.line("CL.THROTTLE t 0 1 60 0");
    server.line("CL.THROTTLE t 0 1 60");
    server.line("CL.THROTTLE t 0 1 60 0");
    assert_eq!(top(&server.line("RL.TOP GRANTED")), owned(&[("t", 1, 0)]));
    assert_eq!(top(&server.line("RL.TOP DENIED")), []);
}

/// Who, how often, since when, and by which limit.
fn now(server: &Server, command: &str) -> Vec<(String, i64, i64, String)> {
    let rows = server.line(command);
    let by = |reply: &Reply| if reply.is_nil() { "-".to_owned() } else { reply.text() };
    rows.items().iter().map(|row| (row[0].text(), row[1].int(), row[2].int(), by(&row[3]))).collect()
}

fn rows(rows: &[(&str, i64, i64, &str)]) -> Vec<(String, i64, i64, String)> {
    rows.iter().map(|&(key, n, since, by)| (key.to_owned(), n, since, by.to_owned())).collect()
}

#[test]
fn who_is_limited_now_by_which_limit_and_since_when() {
    const START: i64 = 1_800_000_000_000;
    const MINUTE: i64 = 60_000;
    let server = Server::start();
    server.clock_set(START * 1000);
    for _ in 0..9 {
        server.line("RL.ACQUIRE past 1/m");
    }
    server.line("RL.ACQUIRE often 2/d,1/h:name=hourly COST 2");
    server.clock_advance(10 * MINUTE * 1000);
    // The earlier denial is long past: this is a new spell.
    server.line("RL.ACQUIRE often 2/d,1/h:name=hourly");
    for _ in 0..3 {
        server.clock_advance(50_000_000);
        server.line("RL.ACQUIRE often 2/d,1/h:name=hourly");
    }
    server.line("RL.BLOCK bad FOREVER");
    server.line("RL.ACQUIRE bad 9/h");
    server.line("RL.ACQUIRE both 1/h,1/d");
    server.line("RL.ACQUIRE both 1/h,1/d");
    server.line("RL.ACQUIRE big 5/h COST 6");
    server.line("CB.REPORT down FAIL BREAKER 1:open=1h");
    server.line("CB.ACQUIRE down");
    let late = START + 12 * MINUTE + 30_000;
    let denied = [
        ("often", 3, START + 10 * MINUTE + 50_000, "hourly"),
        ("bad", 1, late, "blocked"),
        ("big", 1, late, "-"),
        ("both", 1, late, "1/h,1/d"),
        ("down", 1, late, "open"),
    ];
    assert_eq!(now(&server, "RL.TOP DENIED 5 NOW"), rows(&denied));
    assert_eq!(now(&server, "RL.TOP DENIED 1 NOW"), rows(&denied[..1]));
    assert_eq!(now(&server, "rl.top granted now"), rows(&[("both", 1, late, "1/h,1/d")]));
    // What was before is still known of the whole.
    assert_eq!(top(&server.line("RL.TOP DENIED 2")), owned(&[("past", 8, 0), ("often", 4, 0)]));
    server.clock_advance(2 * MINUTE * 1000);
    assert_eq!(now(&server, "RL.TOP DENIED NOW"), []);
    // One that looks as if it could be granted again.
    server.line("RL.ACQUIRE past 1/m COST 2");
    assert_eq!(now(&server, "RL.TOP DENIED NOW"), rows(&[("past", 1, late + 2 * MINUTE, "-")]));
}

/// Key, state, since when and until when.
fn open(reply: &Reply) -> Vec<(String, String, i64, i64)> {
    reply.items().iter().map(|row| (row[0].text(), row[1].text(), row[2].int(), row[3].int())).collect()
}

#[test]
fn the_breakers_that_are_open() {
    const START: i64 = 1_800_000_000_000;
    let server = Server::start();
    server.clock_set(START * 1000);
    let seen = |server: &Server| open(&server.line("RL.TOP OPEN"));
    let names = |server: &Server| -> Vec<String> { seen(server).into_iter().map(|row| row.0).collect() };
    assert_eq!(server.line("RL.TOP OPEN"), Reply::Array(vec![]));
    server.line("CB.ACQUIRE well 1");
    server.line("CB.REPORT first FAIL BREAKER 1:open=30s");
    server.clock_advance(10_000_000);
    server.line("CB.REPORT second FAIL BREAKER 1:open=1h");
    server.line("CB.FORCE held OPEN REASON broken");
    server.line("CB.FORCE let CLOSED");
    let row = |key: &str, state: &str, since, retry| (key.to_owned(), state.to_owned(), since, retry);
    let expected = vec![
        row("first", "open", START, 20_000),
        row("held", "forced-open", START + 10_000, -1),
        row("second", "open", START + 10_000, 3_600_000),
    ];
    assert_eq!(seen(&server), expected);
    assert_eq!(open(&server.line("RL.TOP OPEN 1")), expected[..1]);
    let metrics = server.line("RL.METRICS");
    let since = metrics.field("breakers_open_since_ms").pairs();
    let since: Vec<_> = since.iter().map(|(name, at)| (name.text(), at.int())).collect();
    assert_eq!(since, expected.iter().map(|row| (row.0.clone(), row.2)).collect::<Vec<_>>());
    // Past its deadline it is half-open, though nobody has asked.
    server.clock_advance(20_000_000);
    assert_eq!(seen(&server)[2], row("first", "half-open", START + 30_000, 0));
    let token = server.line("CB.ACQUIRE first")[2].text();
    server.line(&format!("CB.REPORT first OK TOKEN {token}"));
    assert_eq!(names(&server), ["held", "second"]);
    // Deleted, renamed, copied, and in another database.
    server.line("DEL held");
    assert_eq!(names(&server), ["second"]);
    let mut other = server.wire();
    other.line("SELECT 3");
    other.line("CB.REPORT elsewhere FAIL BREAKER 1:open=1h");
    assert_eq!(names(&server), ["second", "elsewhere"]);
    // A dump carries them.
    server.clock_advance(1_000_000);
    let payload = server.line("DUMP second");
    let Reply::Bulk(payload) = payload else { panic!("{payload:?}") };
    server.call(&[&b"RESTORE"[..], b"restored", b"0", &payload]);
    assert_eq!(names(&server), ["restored", "second", "elsewhere"]);
    server.line("DEBUG RELOAD");
    assert_eq!(names(&server), ["restored", "second", "elsewhere"]);
    server.line("FLUSHALL");
    assert_eq!(names(&server), [""; 0]);
}

#[test]
fn open_breakers_on_a_replica() {
    let server = Server::start();
    server.line("CB.REPORT before FAIL BREAKER 1:open=1h");
    let replica = server.replica();
    server.line("CB.REPORT after FAIL BREAKER 1:open=1h");
    crate::harness::wait_synced(&server, &replica);
    let names: Vec<String> = open(&replica.line("RL.TOP OPEN")).into_iter().map(|row| row.0).collect();
    assert_eq!(names, ["before", "after"]);
}

#[test]
fn open_breakers_after_a_restart() {
    let mut server = Server::start();
    server.line("CB.REPORT first FAIL BREAKER 1:open=1h");
    server.line("CB.FORCE second OPEN");
    server.line("CB.ACQUIRE well 1");
    let mut other = server.wire();
    other.line("SELECT 3");
    other.line("CB.REPORT elsewhere FAIL BREAKER 1:open=1h");
    server.stop_save();
    server.restart();
    let names: Vec<String> = open(&server.line("RL.TOP OPEN")).into_iter().map(|row| row.0).collect();
    assert_eq!(names, ["first", "second", "elsewhere"]);
}

#[test]
fn more_open_breakers_than_names_are_remembered() {
    let server = Server::with(&["--hz", "100"]);
    let mut wire = server.wire();
    let fail = |from: usize, to: usize| -> Vec<String> {
        (from..to).map(|n| format!("CB.REPORT b:{n} FAIL BREAKER 1:open=1h")).collect()
    };
    wire.lines(&fail(0, 1100));
    assert_eq!(server.line("RL.TOP OPEN 2048").items().len(), 1000);
    assert_eq!(server.line("RL.METRICS").field("breakers_open_since_ms").pairs().len(), 100);
    assert_eq!(server.counter("breakers_open"), 1100);
    // The places of those that are gone are used again.
    for n in 0..500 {
        server.line(&format!("DEL b:{n}"));
    }
    crate::harness::eventually(std::time::Duration::from_secs(30), "room for another", || {
        server.line("CB.RESET new");
        server.line("CB.REPORT new FAIL BREAKER 1:open=1h");
        open(&server.line("RL.TOP OPEN 2048")).iter().any(|row| row.0 == "new")
    });
}

/// Each row of RL.TOP BLOCKED or PINNED as one text.
fn said(server: &Server, command: &str) -> Vec<String> {
    let part = |reply: &Reply| if let Reply::Int(n) = reply { n.to_string() } else { reply.text() };
    let rows = server.line(command);
    rows.items().iter().map(|row| row.items().iter().map(part).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn what_operators_blocked_and_pinned() {
    let server = Server::at_t0();
    let blocked = || said(&server, "RL.TOP BLOCKED");
    let pinned = || said(&server, "rl.top pinned");
    assert_eq!((server.line("RL.TOP BLOCKED"), pinned()), (Reply::Array(vec![]), vec![]));
    server.ok("RL.BLOCK a FOR 10s REASON scraping");
    server.ok("RL.BLOCK b FOREVER");
    server.ok("RL.BLOCK c FOR 1h REASON abuse");
    server.ok("RL.PIN a 5/m FOR 1m");
    server.ok("CB.PIN breaker 50%/60s:open=1s");
    server.line("CB.REPORT other FAIL BREAKER 1");
    server.ok("RL.POLICY SET gold 9/s");
    server.ok("RL.PIN d @gold,1/h FOR 1500ms");
    assert_eq!(blocked(), ["b  -1", "c abuse 1800003600000", "a scraping 1800000010000"]);
    let breaker = "breaker breaker 50%/1m:open=1s -1";
    assert_eq!(pinned(), [breaker, "a limits 5/m 1800000060000", "d limits @gold,1/h 1800000001500"]);
    assert_eq!(said(&server, "RL.TOP BLOCKED 1"), ["b  -1"]);
    // Another word in place of the first, and the end of one; usage goes, the words stay.
    server.ok("RL.BLOCK c FOR 5s");
    assert_eq!(server.line("RL.UNBLOCK b"), Reply::Int(1));
    server.line("RL.RESET a c");
    server.line("CB.RESET breaker");
    assert_eq!(blocked(), ["a scraping 1800000010000", "c  1800000005000"]);
    assert_eq!(pinned()[..2], [breaker, "a limits 5/m 1800000060000"]);
    // A limit that closes itself is not blocked, and neither is a breaker forced open.
    server.line("RL.ACQUIRE closes 1/h:block=1d COST 1");
    server.line("RL.ACQUIRE closes 1/h:block=1d COST 1");
    server.line("CB.FORCE other OPEN");
    assert_eq!(blocked().len(), 2);
    // Time ends them, though nobody touches the keys.
    server.clock_advance(5_000_000);
    assert_eq!(blocked(), ["a scraping 1800000010000"]);
    assert_eq!(pinned(), [breaker, "a limits 5/m 1800000060000"]);
    // A clock that stepped back makes none last longer. Those that it makes hold again are listed.
    server.clock_advance(-15_000_000);
    assert_eq!(blocked(), ["a scraping 1800000000000", "c  1799999995000"]);
    assert_eq!(pinned(), [breaker, "a limits 5/m 1800000050000", "d limits @gold,1/h 1799999991500"]);
    for command in ["RL.UNPIN a", "CB.UNPIN breaker", "DEL a", "RL.UNBLOCK c", "RL.UNPIN d"] {
        assert_eq!(server.line(command), Reply::Int(1));
    }
    assert_eq!((blocked(), pinned()), (vec![], vec![]));
}

/// A breaker that is forced closed protects nothing, and RL.CLEAR keeps it: whoever looks for what
/// operators left behind finds it.
#[test]
fn what_operators_forced() {
    let server = Server::at_t0();
    let forced = || said(&server, "RL.TOP FORCED");
    assert_eq!(forced(), [""; 0]);
    server.ok("CB.FORCE calm CLOSED REASON migration");
    server.ok("CB.FORCE a OPEN FOR 1h");
    server.ok("CB.FORCE b CLOSED FOR 1m REASON test");
    server.line("CB.REPORT tripped FAIL BREAKER 1");
    let forever = "calm forced-closed migration -1";
    assert_eq!(forced(), [forever, "a forced-open  1800003600000", "b forced-closed test 1800000060000"]);
    assert_eq!(said(&server, "rl.top forced 1"), [forever]);
    // One that is forced closed admits calls: it is not open.
    let names = |rows: Vec<(String, String, i64, i64)>| rows.into_iter().map(|row| row.0).collect::<Vec<_>>();
    assert_eq!(names(open(&server.line("RL.TOP OPEN"))), ["a", "tripped"]);
    // What RL.CLEAR keeps is in one of the three lists.
    server.ok("RL.PIN pinned 1/s");
    server.ok("RL.BLOCK blocked FOREVER");
    server.line("RL.ACQUIRE plain 1/h");
    while server.line("RL.CLEAR 0 COUNT 1000")[0].text() != "0" {}
    let of = |list: &str| said(&server, &format!("RL.TOP {list} 1000")).len();
    assert_eq!(server.line("DBSIZE"), Reply::Int((of("PINNED") + of("BLOCKED") + of("FORCED")) as i64));
    server.clock_advance(60_000_000);
    assert_eq!(forced(), [forever, "a forced-open  1800003600000"]);
    server.ok("CB.FORCE calm AUTO");
    assert_eq!(forced(), ["a forced-open  1800003600000"]);
}

/// Also after the key was granted and listed while its pin and block were over.
#[test]
fn what_a_clock_step_back_makes_hold_again_is_listed() {
    let server = Server::at_t0();
    let acquired = || server.line("RL.ACQUIRE p 5/s").rate_limit().is_granted();
    let listed = |what: &str| said(&server, &format!("RL.TOP {what}"));
    server.ok("RL.PIN p 1/h FOR 10s");
    assert!(acquired());
    server.ok("RL.BLOCK p FOR 10s");
    server.ok("CB.PIN breaker 5 FOR 10s");
    server.clock_advance(20_000_000);
    assert!(acquired());
    // A change of one word leaves the other word's name.
    server.ok("RL.BLOCK p FOR 1s");
    server.clock_advance(2_000_000);
    assert_eq!((listed("PINNED"), listed("BLOCKED")), (vec![], vec![]));
    server.clock_advance(-32_000_000);
    assert_eq!(listed("PINNED"), ["breaker breaker 5 1800000000000", "p limits 1/h 1800000000000"]);
    assert_eq!(listed("BLOCKED"), ["p  1799999991000"]);
    assert!(!acquired());
}

/// What is over makes room before there is none.
#[test]
fn blocks_that_are_over_leave_room_for_others() {
    let server = Server::at_t0();
    let block = |name: &str, count: u32, duration: &str| {
        let all: Vec<_> = (0..count).map(|n| format!("RL.BLOCK {name}{n} FOR {duration}")).collect();
        server.wire().lines(&all);
    };
    block("over", 999, "5s");
    server.clock_advance(10_000_000);
    assert_eq!(server.line("RL.TOP BLOCKED 2000").items().len(), 0);
    block("new", 500, "1h");
    assert_eq!(server.line("RL.TOP BLOCKED 2000").items().len(), 500);
}

#[test]
fn blocked_and_pinned_keys_whatever_they_are_renamed_to() {
    let server = Server::with(&["--appendonly", "yes"]);
    server.ok("RL.BLOCK first FOREVER REASON r");
    server.ok("RL.PIN first 5/m");
    server.ok("CB.PIN breaker 5");
    let names = |server: &Server| -> Vec<String> {
        let rows: Vec<String> =
            said(server, "RL.TOP BLOCKED").into_iter().chain(said(server, "RL.TOP PINNED")).collect();
        rows.iter().map(|row| row.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&server), ["first", "breaker", "first"]);
    server.ok("RENAME first second");
    server.ok("RENAME breaker circuit");
    assert_eq!(names(&server), ["second", "circuit", "second"]);
    assert_eq!(server.line("COPY second third"), Reply::Int(1));
    assert_eq!(names(&server), ["second", "third", "circuit", "second", "third"]);
    assert_eq!(server.line("MOVE third 3"), Reply::Int(1));
    assert_eq!(names(&server), ["second", "third", "circuit", "second", "third"]);
    let Reply::Bulk(payload) = server.line("DUMP second") else { panic!("no dump") };
    server.call(&[&b"RESTORE"[..], b"restored", b"0", &payload]);
    let all = ["restored", "second", "third", "circuit", "restored", "second", "third"];
    assert_eq!(names(&server), all);
    // One name in two databases stands once: for the one here.
    let mut other = server.wire();
    other.line("SELECT 3");
    other.line("RL.BLOCK second FOR 1h REASON elsewhere");
    assert_eq!(names(&server), all);
    assert_eq!(said(&server, "RL.TOP BLOCKED")[1], "second r -1");
    assert_eq!(other.line("RL.TOP BLOCKED").items()[2].items()[1].text(), "elsewhere");
    other.line("RL.UNBLOCK second");
    // A replica knows them, one that comes later too, and a server that loads them.
    let replica = server.replica();
    assert_eq!(names(&replica), all);
    server.ok("RL.BLOCK late FOREVER");
    server.line("DEL restored");
    crate::harness::wait_synced(&server, &replica);
    let all = ["late", "second", "third", "circuit", "second", "third"];
    assert_eq!(names(&replica), all);
    server.line("DEBUG RELOAD");
    assert_eq!(names(&server), all);
    server.config_set("aof-use-rdb-preamble", "no");
    server.rewrite_aof();
    server.line("DEBUG LOADAOF");
    assert_eq!(names(&server), all);
    server.line("SWAPDB 0 3");
    assert_eq!(names(&server), all);
    server.line("FLUSHALL");
    assert_eq!(names(&server), [""; 0]);
}

/// Valkey 8.1 to 9.1.1 reports no key while it loads an AOF.
#[test]
fn names_that_an_aof_changes_are_listed_after_a_restart() {
    let mut server = Server::builder().args(["--appendonly", "yes", "--appendfsync", "always"]).start();
    for set in
        ["RL.BLOCK blocked FOREVER", "RL.PIN pinned 5/s", "CB.FORCE forced OPEN", "RL.BLOCK moved FOREVER"]
    {
        server.ok(set);
    }
    server.ok("RENAME blocked blocked-2");
    server.ok("RENAME pinned pinned-2");
    server.ok("RENAME forced forced-2");
    server.line("COPY blocked-2 blocked-3");
    server.line("COPY pinned-2 pinned-3 DB 3");
    server.line("MOVE moved 3");
    let lists = || ["BLOCKED", "PINNED", "FORCED", "OPEN"].map(|list| format!("RL.TOP {list}"));
    let names = |server: &Server| {
        lists().map(|list| {
            said(server, &list)
                .into_iter()
                .map(|row| row.split(' ').next().unwrap().to_owned())
                .collect::<Vec<_>>()
        })
    };
    let before = names(&server);
    assert_eq!(
        before,
        [&["blocked-2", "blocked-3", "moved"][..], &["pinned-2", "pinned-3"], &["forced-2"], &["forced-2"],]
    );
    server.kill9();
    server.restart();
    assert_eq!(names(&server), before);
    // It follows them from then on.
    server.ok("RENAME blocked-3 blocked-4");
    assert_eq!(names(&server)[0], ["blocked-2", "blocked-4", "moved"]);
}

/// COPY and RESTORE take away the value that they replace after they made the new one.
#[test]
fn a_copy_over_another_key_is_listed_since_the_same_time() {
    const START: i64 = 1_800_000_000_000;
    let server = Server::start();
    for (set, list) in
        [("CB.FORCE from OPEN", "OPEN"), ("RL.BLOCK from FOREVER", "BLOCKED"), ("RL.PIN from 5/s", "PINNED")]
    {
        for replaced in ["RL.ACQUIRE to 1/h", "CB.REPORT to OK", "SET to 1", "CB.REPORT to FAIL BREAKER 1"] {
            server.line("FLUSHALL");
            server.clock_set(START * 1000);
            server.ok(set);
            let Reply::Bulk(payload) = server.line("DUMP from") else { panic!("no dump") };
            server.clock_advance(1_000_000);
            let rows = || said(&server, &format!("RL.TOP {list}"));
            let from = rows().remove(0);
            let expected = [from.clone(), from.replace("from", "to")];
            server.line(replaced);
            assert_eq!(server.line("COPY from to REPLACE"), Reply::Int(1));
            assert_eq!(rows(), expected, "COPY over {replaced}");
            server.line("DEL to");
            server.line(replaced);
            server.call(&[&b"RESTORE"[..], b"to", b"0", &payload, b"REPLACE"]);
            assert_eq!(rows(), expected, "RESTORE over {replaced}");
        }
    }
}

#[test]
fn more_blocked_keys_than_names_are_remembered() {
    let server = Server::with(&["--hz", "100"]);
    let mut wire = server.wire();
    let for_each =
        |what: &str| -> Vec<String> { (0..1100).map(|n| what.replace('#', &n.to_string())).collect() };
    wire.lines(&for_each("RL.BLOCK k:# FOR 1h"));
    wire.lines(&for_each("RL.PIN k:# 1/h FOR 1h"));
    assert_eq!(server.line("RL.TOP BLOCKED 2048").items().len(), 1000);
    assert_eq!(server.line("RL.TOP PINNED 2048").items().len(), 1000);
    assert_error(&server.line("RL.TOP PINNED 2049"), "ERR n must be a whole number from 1 to 2048");
    wire.lines(&for_each("RL.UNBLOCK k:#"));
    wire.lines(&for_each("RL.UNPIN k:#"));
    server.ok("RL.BLOCK new FOREVER");
    assert_eq!(said(&server, "RL.TOP BLOCKED"), ["new  -1"]);
    assert_eq!(said(&server, "RL.TOP PINNED"), [""; 0]);
    // Those whose time has come make room by themselves: looking would make it, too.
    server.clock_set(T0);
    crate::harness::eventually(std::time::Duration::from_secs(30), "room for another", || {
        server.line("RL.UNBLOCK late");
        wire.lines(&for_each("RL.BLOCK k:# FOR 1s"));
        server.clock_advance(1_000_000);
        std::thread::sleep(std::time::Duration::from_millis(50));
        server.ok("RL.BLOCK late FOREVER REASON x");
        said(&server, "RL.TOP BLOCKED").contains(&"late x -1".to_owned())
    });
}

#[test]
fn waiters_count_when_they_are_answered() {
    let server = Server::at_t0();
    server.line("RL.ACQUIRE w fixed:1/s");
    let mut wire = waits(&server, "RL.ACQUIRE w fixed:1/s WAIT 5s");
    assert_eq!(top(&server.line("RL.TOP GRANTED")), owned(&[("w", 1, 0)]));
    server.clock_advance(1_000_000);
    assert_eq!(wire.read()[0], Reply::Int(1));
    assert_eq!(top(&server.line("RL.TOP GRANTED")), owned(&[("w", 2, 0)]));
    assert_eq!(top(&server.line("RL.TOP DENIED")), []);
}

#[test]
fn arguments() {
    let server = Server::start();
    assert_error_prefix(&server.line("RL.TOP"), "ERR wrong number of arguments");
    assert_error_prefix(&server.line("RL.TOP BOTH"), "ERR syntax error near 'BOTH'");
    for n in ["0", "2049", "-1", "x"] {
        let reply = server.line(&format!("RL.TOP DENIED {n}"));
        assert_error(&reply, "ERR n must be a whole number from 1 to 2048");
    }
    assert_error_prefix(&server.line("RL.TOP DENIED 5 x"), "ERR syntax error near 'x'");
    assert_error_prefix(&server.line("RL.TOP DENIED NOW 5"), "ERR syntax error near '5'");
    assert_error_prefix(&server.line("RL.TOP OPEN NOW"), "ERR syntax error near 'NOW'");
    assert_error_prefix(&server.line("RL.TOP OPEN 5 NOW"), "ERR syntax error near 'NOW'");
    assert_error_prefix(&server.line("RL.TOP BLOCKED NOW"), "ERR syntax error near 'NOW'");
    assert_error_prefix(&server.line("RL.TOP PINNED 0"), "ERR n must be a whole number from 1 to 2048");
}

fn user(server: &Server, rules: &str) -> Wire {
    server.ok(&format!("ACL SETUSER tester reset on >pass {rules}"));
    let mut wire = server.wire();
    assert_eq!(wire.line("AUTH tester pass"), Reply::ok());
    wire
}

#[test]
fn only_what_the_user_may_read() {
    let server = Server::start();
    if !server.at_least(7, 0) {
        return;
    }
    for key in ["api:1", "api:1", "web:1", "web:1", "web:1"] {
        server.line(&format!("RL.ACQUIRE {key} 9/h"));
    }
    let mut wire = user(&server, "%R~api:* +@all");
    assert_eq!(top(&wire.line("RL.TOP GRANTED 1")), owned(&[("api:1", 2, 0)]));
    for key in ["api:down", "web:down"] {
        server.line(&format!("CB.REPORT {key} FAIL BREAKER 1"));
    }
    let first = |reply: &Reply| -> Vec<String> { reply.items().iter().map(|row| row[0].text()).collect() };
    assert_eq!(first(&wire.line("RL.TOP GRANTED NOW")), ["api:1"]);
    assert_eq!(first(&wire.line("RL.TOP OPEN 1")), ["api:down"]);
    // What is hidden would come first.
    for (key, block, pin) in [("api:9", "FOR 1h", "FOR 1h"), ("web:9", "FOREVER", "")] {
        server.ok(&format!("RL.BLOCK {key} {block}"));
        server.ok(format!("RL.PIN {key} 1/h {pin}").trim_end());
    }
    assert_eq!(first(&wire.line("RL.TOP BLOCKED 1")), ["api:9"]);
    assert_eq!(first(&wire.line("RL.TOP PINNED")), ["api:9"]);
    let metrics = wire.line("RL.METRICS");
    let named = metrics.field("breakers_open_since_ms").pairs();
    assert_eq!(named.iter().map(|(name, _)| name.text()).collect::<Vec<_>>(), ["api:down"]);
    let mut wire = user(&server, "%W~* +@all");
    assert_eq!(top(&wire.line("RL.TOP GRANTED")), []);
    let mut wire = user(&server, "~* +@all");
    assert_eq!(top(&wire.line("RL.TOP GRANTED")).len(), 2);
}

#[test]
fn masked_keys() {
    let server = Server::builder().module_args(["mask-keys", "yes"]).start();
    for key in ["user:secret", "user:secret", "user:other"] {
        server.line(&format!("RL.ACQUIRE {key} 9/h"));
    }
    let seen = top(&server.line("RL.TOP GRANTED"));
    assert_eq!(seen.iter().map(|row| row.1).collect::<Vec<_>>(), [2, 1]);
    assert_ne!(seen[0].0, seen[1].0);
    for (name, ..) in &seen {
        assert!(name.starts_with("***") && name.len() == 11 && !name.contains("user"), "{name}");
    }
    // The same key keeps its mask.
    assert_eq!(top(&server.line("RL.TOP GRANTED")), seen);
    assert_eq!(server.line("RL.TOP GRANTED NOW")[0][0].text(), seen[0].0);
    server.line("CB.REPORT secret FAIL BREAKER 1");
    let masked = server.line("RL.TOP OPEN")[0][0].text();
    assert!(masked.starts_with("***") && masked.len() == 11, "{masked}");
    let metrics = server.line("RL.METRICS");
    assert_eq!(metrics.field("breakers_open_since_ms").pairs()[0].0.text(), masked);
    for (command, which) in [("RL.BLOCK secret:2 FOREVER", "BLOCKED"), ("RL.PIN secret:2 1/h", "PINNED")] {
        server.ok(command);
        let masked = server.line(&format!("RL.TOP {which}"))[0][0].text();
        assert!(masked.starts_with("***") && masked.len() == 11, "{masked}");
    }
}

#[test]
fn the_true_top_addresses_of_a_log() {
    for log in logs() {
        true_top_of(&log);
    }
}

fn true_top_of(log: &[LoggedRequest]) {
    let server = Server::start();
    let mut wire = server.wire();
    let (mut granted, mut denied) = (HashMap::<String, i64>::new(), HashMap::<String, i64>::new());
    for chunk in log.chunks(500) {
        let commands: Vec<String> = chunk
            .iter()
            .flat_map(|(address, time)| {
                [format!("RL.DEBUG CLOCK SET {time}"), format!("RL.ACQUIRE {address} 30/m")]
            })
            .collect();
        for ((address, _), pair) in chunk.iter().zip(wire.lines(&commands).chunks(2)) {
            let counts = if pair[1][0] == Reply::Int(1) { &mut granted } else { &mut denied };
            *counts.entry(address.clone()).or_default() += 1;
        }
    }
    for (which, truth) in [("GRANTED", granted), ("DENIED", denied)] {
        let mut true_top: Vec<_> = truth.iter().map(|(name, &n)| (n, name)).collect();
        true_top.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        let seen = top(&server.line(&format!("RL.TOP {which} 10")));
        assert_eq!(seen.len(), true_top.len().min(10), "{which}");
        for ((name, count, error), (n, address)) in seen.iter().zip(&true_top) {
            assert!(count - error <= truth[name] && truth[name] <= *count, "{which} {name}");
            assert_eq!((name, truth[name]), (*address, *n), "{which}");
        }
    }
}
