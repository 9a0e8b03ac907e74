//! A credit (`fixed:N/ever`): each sentence of its contract on a real server.

use crate::harness::{
    Reply, Server, assert_error, assert_same_data, call, eventually, snapshot, wait_synced,
};
use crate::limit_kit::{T0, at_t0, six};
use crate::waiting_kit::{SOON, answered, waits};

const S: i64 = 1_000_000;
const DAY: i64 = 86_400 * S;
const CREDIT: &str = "fixed:5/ever";

/// Used and left of the first limit that RL.QUOTA shows.
#[track_caller]
fn used_and_left(server: &Server, command: &str) -> (i64, i64) {
    let rows = server.line(&format!("RL.QUOTA {command}"));
    (rows[0].field("used").int(), rows[0].field("remaining").int())
}

/// The names of the headers, in order.
#[track_caller]
fn header_names(headers: &Reply) -> Vec<String> {
    headers.items().iter().step_by(2).map(Reply::text).collect()
}

#[test]
fn what_is_used_never_comes_back_by_itself() {
    let server = at_t0();
    assert_eq!(six(&server, "k fixed:5/ever COST 3"), [3, 5, 2, 0, -1, 0]);
    assert_eq!(six(&server, "k fixed:5/ever COST 3"), [0, 5, 2, -1, -1, 0]);
    assert_eq!(six(&server, "k fixed:5/ever COST 3 PARTIAL"), [2, 5, 0, 0, -1, 0]);
    assert_eq!(six(&server, "k fixed:5/ever PARTIAL"), [0, 5, 0, -1, -1, 0]);
    for years in [1, 10, 60] {
        server.clock_set(T0 + years * 365 * DAY);
        assert_eq!(six(&server, "k fixed:5/ever"), [0, 5, 0, -1, -1, 0]);
        assert_eq!(used_and_left(&server, "k"), (5, 0));
    }
    // A clock that steps back changes nothing, either.
    for back in [1, DAY, 3_000 * DAY] {
        server.clock_set(T0 - back);
        assert_eq!(six(&server, "k fixed:5/ever"), [0, 5, 0, -1, -1, 0]);
        assert_eq!(server.line("RL.REFUND k 1"), Reply::Int(1));
        assert_eq!(six(&server, "k fixed:5/ever"), [1, 5, 0, 0, -1, 0]);
    }
    // Above its count; a credit of nothing.
    assert_eq!(six(&server, "other fixed:5/ever COST 6"), [0, 5, 5, -1, -1, 0]);
    assert_eq!(six(&server, "none fixed:0/ever CRITICAL"), [0, 0, 0, -1, -1, 0]);
    assert_eq!(server.line("EXISTS other none"), Reply::Int(0));
}

#[test]
fn it_is_shown_without_a_period() {
    let server = at_t0();
    let row = |command: &str| {
        let rows = server.line(&format!("RL.QUOTA {command}"));
        ["limit", "used", "remaining", "period_ms", "retry_after_ms", "reset_after_ms", "reset_at_ms"]
            .map(|name| rows[0].field(name).int())
    };
    // In the same way while nothing is used.
    assert_eq!(row("k fixed:5/ever"), [5, 0, 5, -1, 0, -1, -1]);
    six(&server, "k fixed:5/ever COST 4");
    assert_eq!(row("k"), [5, 4, 1, -1, 0, -1, -1]);
    assert_eq!(row("k COST 2"), [5, 4, 1, -1, -1, -1, -1]);
    let rows = server.line("RL.QUOTA k");
    assert_eq!(
        (rows[0].field("algorithm").text(), rows[0].field("name").text()),
        ("fixed".into(), CREDIT.into())
    );

    let three = ["RateLimit-Policy", "RateLimit", "X-RateLimit-Limit", "X-RateLimit-Remaining"];
    for (command, remaining) in [("k HEADERS", 1), ("k COST 2 HEADERS", 1), ("fresh fixed:5/ever HEADERS", 5)]
    {
        let headers = server.line(&format!("RL.QUOTA {command}"));
        assert_eq!(header_names(&headers), three, "{command}");
        assert_eq!(headers.field("RateLimit-Policy").text(), r#""fixed:5/ever";q=5"#);
        assert_eq!(headers.field("RateLimit").text(), format!(r#""fixed:5/ever";r={remaining}"#));
        assert_eq!(headers.field("X-RateLimit-Remaining").text(), remaining.to_string());
    }
    // Beside another limit: the one that binds has the three of X-RateLimit.
    six(&server, "k 3/m,fixed:9/ever:name=paid COST 2");
    let headers = server.line("RL.QUOTA k HEADERS");
    assert_eq!(headers.field("RateLimit-Policy").text(), r#""3/m";q=3;w=60, "paid";q=9"#);
    assert_eq!(headers.field("RateLimit").text(), r#""3/m";r=1;t=60, "paid";r=7"#);
    assert_eq!(headers.field("X-RateLimit-Reset").text(), (T0 / S + 60).to_string());
    // While the key is blocked Retry-After tells of the block.
    server.ok("RL.BLOCK k FOR 10s");
    let headers = server.line("RL.QUOTA k fixed:9/ever:name=paid HEADERS");
    assert_eq!(headers.field("RateLimit").text(), r#""paid";r=0"#);
    assert_eq!(headers.field("Retry-After").text(), "10");
    assert!(!header_names(&headers).contains(&"X-RateLimit-Reset".to_owned()));
    assert_eq!(six(&server, "k fixed:9/ever:name=paid"), [0, 9, 0, 10_000, -1, -1]);
}

#[test]
fn refunds_settlements_and_resets_give_back() {
    let server = at_t0();
    assert_eq!(six(&server, "k fixed:5/ever COST 5")[0], 5);
    assert_eq!(server.line("RL.REFUND k 2"), Reply::Int(2));
    assert_eq!(used_and_left(&server, "k"), (3, 2));
    assert_eq!(server.line("RL.RESERVE 1 k fixed:5/ever COST 2 TTL 1m ID a")[0].text(), "a");
    assert_eq!(six(&server, "k fixed:5/ever")[3], -1);
    assert_eq!(server.line("RL.COMMIT a 1 k COST 1"), Reply::Int(1));
    assert_eq!(used_and_left(&server, "k"), (4, 1));
    server.line("RL.RESERVE 1 k fixed:5/ever COST 1 TTL 1m ID b");
    assert_eq!(server.line("RL.RELEASE b 1 k"), Reply::Int(1));
    assert_eq!(used_and_left(&server, "k"), (4, 1));
    // More than was reserved is a debt of one capacity at most, which nothing but these works off.
    server.line("RL.RESERVE 1 k fixed:5/ever COST 1 TTL 1m ID c");
    assert_eq!(server.line("RL.COMMIT c 1 k COST 100"), Reply::Int(1));
    assert_eq!(used_and_left(&server, "k"), (10, 0));
    server.clock_advance(1_000 * DAY);
    assert_eq!(used_and_left(&server, "k"), (10, 0));
    assert_eq!(server.line("RL.REFUND k 7"), Reply::Int(7));
    assert_eq!(six(&server, "k fixed:5/ever COST 2"), [2, 5, 0, 0, -1, 0]);
    assert_eq!(server.line("RL.RESET k"), Reply::Int(1));
    assert_eq!(server.line("EXISTS k"), Reply::Int(0));
    assert_eq!(six(&server, "k fixed:5/ever COST 5"), [5, 5, 0, 0, -1, 0]);
    // All at once or nothing, and the calls of it.
    let batch = server.line("RL.BATCH ALL 2 k fixed:5/ever 1 calls fixed:2/ever:per=call 100");
    assert_eq!(batch[0].to_ints(), [0, 5, 0, -1, -1, 0]);
    assert_eq!(batch[1].to_ints(), [0, 2, 2, -1, -1, -3]);
    assert_eq!(six(&server, "calls fixed:2/ever:per=call COST 100"), [100, 2, 1, 0, -1, 0]);
    // Behind a breaker.
    let call = server.line("CB.ACQUIRE b 5 LIMIT k fixed:5/ever");
    assert_eq!((call[0].int(), call[3].int(), call[4].to_ints()), (0, -1, vec![0, 5, 0, -1, -1, 0]));
}

#[test]
fn a_larger_count_tops_up() {
    let server = at_t0();
    server.ok("RL.POLICY SET trial fixed:5/ever PREFIX user:");
    assert_eq!(six(&server, "user:1 COST 5"), [5, 5, 0, 0, -1, 0]);
    assert_eq!(six(&server, "user:1"), [0, 5, 0, -1, -1, 0]);
    server.ok("RL.POLICY SET trial fixed:8/ever");
    assert_eq!(six(&server, "user:1"), [1, 8, 2, 0, -1, 0]);
    // For one key, for good and for a while.
    server.ok("RL.PIN user:1 fixed:10/ever");
    assert_eq!(six(&server, "user:1 COST 4"), [4, 10, 0, 0, -1, 0]);
    server.ok("RL.PIN user:1 fixed:0/ever FOR 1h");
    assert_eq!(six(&server, "user:1"), [0, 0, 0, -1, -1, 0]);
    server.ok("RL.POLICY SET trial fixed:11/ever");
    // When the pin ends, a unit is there.
    assert_eq!(six(&server, "user:1"), [0, 0, 0, 3_600_000, -1, 0]);
    server.clock_advance(3_600 * S);
    assert_eq!(six(&server, "user:1"), [1, 11, 0, 0, -1, 0]);
    // A smaller count keeps what was used.
    server.ok("RL.POLICY SET trial fixed:6/ever");
    assert_eq!(used_and_left(&server, "user:1"), (11, 0));
    server.ok("RL.POLICY SET trial fixed:12/ever");
    assert_eq!(used_and_left(&server, "user:1"), (11, 1));
}

/// Until something ends it: -1 never, -2 no key, else milliseconds.
#[track_caller]
fn pttl(server: &Server, key: &str) -> i64 {
    call!(server, "PTTL", key).int()
}

#[test]
fn its_key_has_no_expiry_while_anything_is_used() {
    let server = Server::start();
    let replica = server.replica();
    let both = |key: &str, expected: fn(i64) -> bool| {
        assert!(expected(pttl(&server, key)), "{key}: {}", pttl(&server, key));
        wait_synced(&server, &replica);
        assert!(expected(pttl(&replica, key)), "{key} of the replica: {}", pttl(&replica, key));
        assert_same_data(&server, &replica);
    };
    let never = |left: i64| left == -1;
    let an_hour = |left: i64| (3_500_000..=3_600_100).contains(&left);
    six(&server, "k fixed:5/ever COST 2");
    both("k", never);
    // Beside another limit, and when only the other is listed.
    six(&server, "k bucket:10/h:burst=10,fixed:5/ever COST 1");
    both("k", never);
    six(&server, "k bucket:10/h:burst=10 COST 9");
    both("k", never);
    // All of it comes back: the other limit alone says how long.
    assert_eq!(server.line("RL.REFUND k 9 fixed:5/ever"), Reply::Int(3));
    both("k", an_hour);
    six(&server, "alone fixed:5/ever COST 5");
    both("alone", never);
    assert_eq!(server.line("RL.REFUND alone 4"), Reply::Int(4));
    both("alone", never);
    assert_eq!(server.line("RL.REFUND alone 4"), Reply::Int(1));
    both("alone", |left| left == -2);
    // A reservation on it is remembered for a day after its end.
    server.line("RL.RESERVE 1 held fixed:5/ever COST 3 TTL 1h ID a");
    both("held", never);
    assert_eq!(server.line("RL.REFUND held 3"), Reply::Int(3));
    both("held", |left| (25 * 3_600_000 - 100_000..=25 * 3_600_000 + 100).contains(&left));
    assert_eq!(server.line("RL.RELEASE a 1 held"), Reply::Int(1));
    both("held", |left| left == -2);
    // RL.UNPIN of a key that has used some leaves it, RL.RESET does not.
    server.ok("RL.PIN pinned fixed:5/ever FOR 1h");
    both("pinned", an_hour);
    six(&server, "pinned");
    both("pinned", never);
    assert_eq!(server.line("RL.UNPIN pinned"), Reply::Int(1));
    both("pinned", never);
    assert_eq!(server.line("RL.RESET pinned"), Reply::Int(1));
    both("pinned", |left| left == -2);
}

#[test]
fn an_ended_reservation_is_remembered_for_a_day() {
    let server = at_t0();
    let reserve = |id: &str, ttl: &str| {
        let reply = server.line(&format!("RL.RESERVE 1 k 1000/s,fixed:50/ever COST 10 TTL {ttl} ID {id}"));
        assert_eq!(reply[0].text(), id);
    };
    let commit = |id: &str| server.line(&format!("RL.COMMIT {id} 1 k COST 4")).int();
    for id in ["a", "b", "c", "d"] {
        reserve(id, "10s");
    }
    assert_eq!(used_and_left(&server, "k fixed:50/ever"), (40, 10));
    // Of the last the time runs from its renewal.
    server.clock_advance(9 * S);
    assert_eq!(server.line("RL.RENEW d TTL 1h 1 k"), Reply::Int(1));
    assert_eq!(commit("a"), 1);
    server.clock_advance(S);
    assert_eq!(commit("b"), 2);
    assert_eq!(used_and_left(&server, "k fixed:50/ever"), (28, 22));
    server.ok("DEBUG RELOAD");
    server.clock_advance(DAY - 1);
    let dump = server.line("DUMP k");
    assert_eq!(commit("c"), 2);
    assert_eq!(used_and_left(&server, "k fixed:50/ever"), (22, 28));
    // A microsecond later it would have been too late.
    let Reply::Bulk(dump) = dump else { panic!("{dump:?}") };
    call!(server, "RESTORE", "k", 0, dump, "REPLACE");
    server.clock_advance(1);
    assert_eq!(commit("c"), 0);
    assert_eq!(used_and_left(&server, "k fixed:50/ever"), (28, 22));
    // It stays charged, and its id is free.
    reserve("c", "10s");
    server.clock_set(T0 + 9 * S + 3_600 * S + DAY - 1);
    assert_eq!(commit("d"), 2);
    server.clock_advance(DAY);
    assert_eq!((commit("c"), commit("d")), (0, 0));
    assert_eq!(used_and_left(&server, "k fixed:50/ever"), (32, 18));
}

#[test]
fn nobody_waits_for_it() {
    let server = at_t0();
    six(&server, "k fixed:5/ever COST 5");
    assert_eq!(server.line("RL.ACQUIRE k fixed:5/ever WAIT 20s").to_ints(), [0, 5, 0, -1, -1, 0]);
    assert_eq!(
        server.line("RL.RESERVE 1 k fixed:5/ever TTL 1m WAIT 20s")[1][0].to_ints(),
        [0, 5, 0, -1, -1, 0]
    );
    // Who waits for another limit is sent away when the credit is spent meanwhile.
    assert_eq!(six(&server, "two 1/m:name=m,fixed:3/ever")[0], 1);
    let mut waiter = waits(&server, "RL.ACQUIRE two 1/m:name=m,fixed:3/ever WAIT 20s");
    assert_eq!(six(&server, "two 9/m:name=m,fixed:3/ever COST 2 CRITICAL")[0], 2);
    assert_eq!(answered(&mut waiter), [0, 3, 0, -1, -1, 1]);
    // Served as ever where enough is left.
    assert_eq!(six(&server, "three 1/m,fixed:3/ever")[0], 1);
    let mut waiter = waits(&server, "RL.ACQUIRE three 1/m,fixed:3/ever WAIT 20s");
    server.clock_advance(60 * S);
    assert_eq!(waiter.read_within(SOON).expect("an answer").to_ints(), [1, 1, 0, 0, 60_000, 0]);
}

#[test]
fn its_options() {
    let server = at_t0();
    // Its units do not come back by themselves, so that a want of them closes nothing.
    assert_eq!(six(&server, "b fixed:2/ever:block=15m COST 2")[0], 2);
    assert_eq!(six(&server, "b fixed:2/ever:block=15m"), [0, 2, 0, -1, -1, 0]);
    assert_eq!(server.info_field("floodgate", "floodgate_limits_closed"), "0");
    assert_eq!(server.line("RL.REFUND b 1"), Reply::Int(1));
    assert_eq!(six(&server, "b fixed:2/ever:block=15m"), [1, 2, 0, 0, -1, 0]);
    // A part kept for critical requests; a shadow.
    assert_eq!(six(&server, "keep fixed:10/ever:keep=20% COST 8"), [8, 10, 0, 0, -1, 0]);
    assert_eq!(six(&server, "keep fixed:10/ever:keep=20%"), [0, 10, 0, -1, -1, 0]);
    assert_eq!(six(&server, "keep fixed:10/ever:keep=20% COST 2 CRITICAL"), [2, 10, 0, 0, -1, 0]);
    assert_eq!(six(&server, "s 50/s,fixed:2/ever:shadow COST 2"), [2, 50, 48, 0, 1000, 0]);
    assert_eq!(six(&server, "s 50/s,fixed:2/ever:shadow"), [1, 50, 47, 0, 1000, 0]);
    assert_eq!(server.info_field("floodgate", "floodgate_shadow_denied"), "1");
    // A credit of its own beside one by calls, and a window as long as it gets.
    assert_eq!(six(&server, "o fixed:5/ever,fixed:5/ever:per=call,fixed:5/366d COST 3")[0], 3);
    let rows = server.line("RL.QUOTA o");
    assert_eq!([0, 1, 2].map(|at: usize| rows[at].field("used").int()), [3, 1, 3]);
    for (limit, reason) in [
        ("5/ever", "ever is only for fixed, write fixed:5/ever"),
        ("bucket:5/ever", "ever is only for fixed, write fixed:5/ever"),
        ("fixed:5/2ever", "ever takes no number but 1"),
        ("fixed:5/forever", "unknown unit of time 'forever', write ever"),
        ("fixed:5/ever:tz=Europe/Paris", "ever has no windows, it takes no tz="),
        ("fixed:5/ever:from=09:00", "ever has no windows, it takes no from="),
        ("fixed:5/ever:start=first", "ever has no windows, it takes no start="),
    ] {
        let said = format!("ERR invalid limit '{limit}': {reason}");
        assert_error(&server.line(&format!("RL.ACQUIRE k {limit}")), &said);
    }
    // An answer of CL.THROTTLE on a key that is pinned to one.
    server.ok("RL.PIN t fixed:2/ever");
    assert_eq!(server.line("CL.THROTTLE t 10 10 60 2").to_ints(), [0, 2, 0, -1, -1]);
    assert_eq!(server.line("CL.THROTTLE t 10 10 60").to_ints(), [1, 2, 0, -1, -1]);
    // Statistics, and what deletes keys.
    assert_eq!(six(&server, "stats fixed:5/ever COST 4 TRACK")[0], 4);
    assert_eq!(server.line("RL.REFUND stats 1"), Reply::Int(1));
    assert_eq!(server.line("RL.STATS stats").field("total").field("used").int(), 3);
    let cleared = server.line("RL.CLEAR 0 MATCH k* COUNT 1000");
    assert_eq!(cleared[1], Reply::Int(1), "keep");
    assert_eq!(server.line("EXISTS keep"), Reply::Int(0));
}

#[test]
fn a_name_that_becomes_a_credit_and_back() {
    let server = at_t0();
    // T0 is 08:00: sixteen hours are left of the day.
    const LEFT: i64 = 16 * 3_600_000;
    assert_eq!(six(&server, "k fixed:5/day:name=x COST 5"), [5, 5, 0, 0, LEFT, 0]);
    // The call is denied, so it changes nothing: they come back as they would have.
    assert_eq!(six(&server, "k fixed:5/ever:name=x"), [0, 5, 0, LEFT, -1, 0]);
    assert_eq!(six(&server, "k fixed:8/ever:name=x COST 3"), [3, 8, 0, 0, -1, 0]);
    server.clock_advance(30 * DAY);
    assert_eq!(six(&server, "k fixed:8/ever:name=x"), [0, 8, 0, -1, -1, 0]);
    assert_eq!(six(&server, "k fixed:9/ever:name=x"), [1, 9, 0, 0, -1, 0]);
    // Any of them may have been granted today, but not tomorrow.
    assert_eq!(six(&server, "k fixed:9/day:name=x"), [0, 9, 0, LEFT, LEFT, 0]);
    assert_eq!(six(&server, "k fixed:9/h:start=first:name=x"), [0, 9, 0, 3_600_000, 3_600_000, 0]);
    server.clock_advance(LEFT * 1000 - 1);
    assert_eq!(six(&server, "k fixed:9/day:name=x"), [0, 9, 0, 1, 1, 0]);
    assert_eq!(used_and_left(&server, "k fixed:9/ever:name=x"), (9, 0));
    server.clock_advance(1);
    assert_eq!(six(&server, "k fixed:9/day:name=x"), [1, 9, 8, 0, DAY / 1000, 0]);
    assert_eq!(used_and_left(&server, "k fixed:9/ever:name=x"), (1, 8));
    // Another algorithm starts fresh; without a name each has its own.
    assert_eq!(used_and_left(&server, "k 9/day:name=x"), (0, 9));
    assert_eq!(used_and_left(&server, "k fixed:9/ever"), (0, 9));
}

#[test]
fn it_is_the_same_on_replicas_and_in_files() {
    for preamble in ["yes", "no"] {
        let mut server = Server::with(&[
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--aof-use-rdb-preamble",
            preamble,
        ]);
        let replica = server.replica();
        for command in [
            "RL.ACQUIRE one fixed:5/ever COST 4",
            "RL.ACQUIRE big fixed:1000000000000/ever COST 999999999999",
            "RL.ACQUIRE aside fixed:5/ever COST 4",
            "RL.ACQUIRE aside fixed:7/ever:name=x,5/m",
            "RL.ACQUIRE aside 5/m",
            "RL.RESERVE 1 held fixed:5/ever COST 2 TTL 1ms ID a",
            "RL.RESERVE 1 held fixed:5/ever COST 2 TTL 1h ID b",
            "RL.ACQUIRE back fixed:5/ever,5/d COST 4",
            "RL.REFUND back 9 fixed:5/ever",
        ] {
            assert!(server.line(command).error().is_none(), "{command}");
        }
        let before = snapshot(&server);
        wait_synced(&server, &replica);
        assert_same_data(&server, &replica);
        // The replica goes on where the master was.
        replica.ok("REPLICAOF NO ONE");
        assert_eq!(six(&replica, "one fixed:5/ever"), [1, 5, 0, 0, -1, 0]);
        assert_eq!(six(&replica, "one fixed:5/ever"), [0, 5, 0, -1, -1, 0]);
        let same = |what: &str, server: &Server| {
            let differences = before.differences(&snapshot(server));
            assert!(differences.is_empty(), "{what}:\n{}", differences.join("\n"));
        };
        for reload in ["DEBUG RELOAD", "DEBUG LOADAOF"] {
            server.ok(reload);
            same(reload, &server);
        }
        assert!(server.line("BGREWRITEAOF").error().is_none());
        eventually(SOON, "the AOF is rewritten", || {
            let info = server.info("persistence");
            info["aof_rewrite_in_progress"] == "0" && info["aof_rewrite_scheduled"] == "0"
        });
        server.kill9();
        server.restart();
        same("a rewritten AOF", &server);
        // DUMP and RESTORE.
        let Reply::Bulk(dump) = server.line("DUMP aside") else { panic!("no dump") };
        call!(server, "RESTORE", "copy", 0, dump);
        let digest = |key: &str| call!(server, "DEBUG", "DIGEST-VALUE", key);
        assert_eq!(digest("copy"), digest("aside"));
        assert_eq!(server.line("RL.COMMIT a 1 held COST 1"), Reply::Int(2));
        assert_eq!(used_and_left(&server, "held"), (3, 2));
        assert_eq!(six(&server, "one fixed:5/ever COST 2"), [0, 5, 1, -1, -1, 0]);
    }
}
