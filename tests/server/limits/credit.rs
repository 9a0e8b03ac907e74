//! A credit (`fixed:N/ever`): each sentence of its contract on a real server.

use crate::harness::{Reply, Server, T0, assert_error, assert_same_data, call, snapshot, wait_synced};
use crate::limits::fixtures::{acquire, assert_acquire};
use crate::queue::fixtures::{SOON, answered, waits};
use crate::support::{denied, granted};

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
    let server = Server::at_t0();
    assert_acquire(&server, "k fixed:5/ever COST 3", granted(3).limit(5).remaining(2).reset_never());
    assert_acquire(
        &server,
        "k fixed:5/ever COST 3",
        denied().limit(5).remaining(2).retry_never().reset_never(),
    );
    assert_acquire(&server, "k fixed:5/ever COST 3 PARTIAL", granted(2).limit(5).remaining(0).reset_never());
    assert_acquire(
        &server,
        "k fixed:5/ever PARTIAL",
        denied().limit(5).remaining(0).retry_never().reset_never(),
    );
    for years in [1, 10, 60] {
        server.clock_set(T0 + years * 365 * DAY);
        assert_acquire(&server, "k fixed:5/ever", denied().limit(5).remaining(0).retry_never().reset_never());
        assert_eq!(used_and_left(&server, "k"), (5, 0));
    }
    // A clock that steps back changes nothing, either.
    for back in [1, DAY, 3_000 * DAY] {
        server.clock_set(T0 - back);
        assert_acquire(&server, "k fixed:5/ever", denied().limit(5).remaining(0).retry_never().reset_never());
        assert_eq!(server.line("RL.REFUND k 1"), Reply::Int(1));
        assert_acquire(&server, "k fixed:5/ever", granted(1).limit(5).remaining(0).reset_never());
    }
    // Above its count; a credit of nothing.
    assert_acquire(
        &server,
        "other fixed:5/ever COST 6",
        denied().limit(5).remaining(5).retry_never().reset_never(),
    );
    assert_acquire(
        &server,
        "none fixed:0/ever CRITICAL",
        denied().limit(0).remaining(0).retry_never().reset_never(),
    );
    assert_eq!(server.line("EXISTS other none"), Reply::Int(0));
}

#[test]
fn it_is_shown_without_a_period() {
    let server = Server::at_t0();
    let row = |command: &str| {
        let rows = server.line(&format!("RL.QUOTA {command}"));
        ["limit", "used", "remaining", "period_ms", "retry_after_ms", "reset_after_ms", "reset_at_ms"]
            .map(|name| rows[0].field(name).int())
    };
    // In the same way while nothing is used.
    assert_eq!(row("k fixed:5/ever"), [5, 0, 5, -1, 0, -1, -1]);
    acquire(&server, "k fixed:5/ever COST 4");
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
    acquire(&server, "k 3/m,fixed:9/ever:name=paid COST 2");
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
    assert_acquire(
        &server,
        "k fixed:9/ever:name=paid",
        denied().limit(9).remaining(0).retry_ms(10_000).reset_never().blocked(),
    );
}

#[test]
fn refunds_settlements_and_resets_give_back() {
    let server = Server::at_t0();
    assert_eq!(acquire(&server, "k fixed:5/ever COST 5").granted, 5);
    assert_eq!(server.line("RL.REFUND k 2"), Reply::Int(2));
    assert_eq!(used_and_left(&server, "k"), (3, 2));
    assert_eq!(server.line("RL.RESERVE 1 k fixed:5/ever COST 2 TTL 1m ID a")[0].text(), "a");
    assert_eq!(acquire(&server, "k fixed:5/ever").retry_after_ms, -1);
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
    assert_acquire(&server, "k fixed:5/ever COST 2", granted(2).limit(5).remaining(0).reset_never());
    assert_eq!(server.line("RL.RESET k"), Reply::Int(1));
    assert_eq!(server.line("EXISTS k"), Reply::Int(0));
    assert_acquire(&server, "k fixed:5/ever COST 5", granted(5).limit(5).remaining(0).reset_never());
    // All at once or nothing, and the calls of it.
    let batch = server.line("RL.BATCH ALL 2 k fixed:5/ever 1 calls fixed:2/ever:per=call 100");
    assert_eq!(batch[0].rate_limit(), denied().limit(5).remaining(0).retry_never().reset_never());
    assert_eq!(
        batch[1].rate_limit(),
        denied().limit(2).remaining(2).retry_never().reset_never().by_another_item()
    );
    assert_acquire(
        &server,
        "calls fixed:2/ever:per=call COST 100",
        granted(100).limit(2).remaining(1).reset_never(),
    );
    // Behind a breaker.
    let call = server.line("CB.ACQUIRE b 5 LIMIT k fixed:5/ever");
    assert_eq!((call[0].int(), call[3].int()), (0, -1));
    assert_eq!(call[4].rate_limit(), denied().limit(5).remaining(0).retry_never().reset_never());
    // A lease of what is left, and a reservation behind a breaker.
    let lease = server.line("RL.RESERVE 1 lease fixed:5/ever COST 9 TTL 1m ID p PARTIAL");
    assert_eq!(lease[1][0].rate_limit(), granted(5).limit(5).remaining(0).reset_never());
    assert_eq!(server.line("RL.COMMIT p 1 lease COST 2"), Reply::Int(1));
    let call = server.line("CB.ACQUIRE b 5 LIMIT lease fixed:5/ever COST 3 TTL 1m ID q");
    assert_eq!(call[4][0].text(), "q");
    assert_eq!(call[4][1].rate_limit(), granted(3).limit(5).remaining(0).reset_never());
    assert_eq!(server.line("RL.RELEASE q 1 lease"), Reply::Int(1));
    assert_eq!(used_and_left(&server, "lease"), (2, 3));
}

#[test]
fn a_larger_count_tops_up() {
    let server = Server::at_t0();
    server.ok("RL.POLICY SET trial fixed:5/ever PREFIX user:");
    assert_acquire(&server, "user:1 COST 5", granted(5).limit(5).remaining(0).reset_never());
    assert_acquire(&server, "user:1", denied().limit(5).remaining(0).retry_never().reset_never());
    server.ok("RL.POLICY SET trial fixed:8/ever");
    assert_acquire(&server, "user:1", granted(1).limit(8).remaining(2).reset_never());
    // For one key, for good and for a while.
    server.ok("RL.PIN user:1 fixed:10/ever");
    assert_acquire(&server, "user:1 COST 4", granted(4).limit(10).remaining(0).reset_never());
    server.ok("RL.PIN user:1 fixed:0/ever FOR 1h");
    assert_acquire(&server, "user:1", denied().limit(0).remaining(0).retry_never().reset_never());
    server.ok("RL.POLICY SET trial fixed:11/ever");
    // When the pin ends, a unit is there.
    assert_acquire(&server, "user:1", denied().limit(0).remaining(0).retry_ms(3_600_000).reset_never());
    server.clock_advance(3_600 * S);
    assert_acquire(&server, "user:1", granted(1).limit(11).remaining(0).reset_never());
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
    acquire(&server, "k fixed:5/ever COST 2");
    both("k", never);
    // Beside another limit, and when only the other is listed.
    acquire(&server, "k bucket:10/h:burst=10,fixed:5/ever COST 1");
    both("k", never);
    acquire(&server, "k bucket:10/h:burst=10 COST 9");
    both("k", never);
    // All of it comes back: the other limit alone says how long.
    assert_eq!(server.line("RL.REFUND k 9 fixed:5/ever"), Reply::Int(3));
    both("k", an_hour);
    acquire(&server, "alone fixed:5/ever COST 5");
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
    acquire(&server, "pinned");
    both("pinned", never);
    assert_eq!(server.line("RL.UNPIN pinned"), Reply::Int(1));
    both("pinned", never);
    assert_eq!(server.line("RL.RESET pinned"), Reply::Int(1));
    both("pinned", |left| left == -2);
}

#[test]
fn an_ended_reservation_is_remembered_for_a_day() {
    let server = Server::at_t0();
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
    let server = Server::at_t0();
    acquire(&server, "k fixed:5/ever COST 5");
    assert_eq!(
        server.line("RL.ACQUIRE k fixed:5/ever WAIT 20s").rate_limit(),
        denied().limit(5).remaining(0).retry_never().reset_never()
    );
    assert_eq!(
        server.line("RL.RESERVE 1 k fixed:5/ever TTL 1m WAIT 20s")[1][0].rate_limit(),
        denied().limit(5).remaining(0).retry_never().reset_never()
    );
    // Who waits for another limit is sent away when the credit is spent meanwhile.
    assert_eq!(acquire(&server, "two 1/m:name=m,fixed:3/ever").granted, 1);
    let mut waiter = waits(&server, "RL.ACQUIRE two 1/m:name=m,fixed:3/ever WAIT 20s");
    assert_eq!(acquire(&server, "two 9/m:name=m,fixed:3/ever COST 2 CRITICAL").granted, 2);
    assert_eq!(answered(&mut waiter), denied().limit(3).remaining(0).retry_never().reset_never().index(1));
    // Served as ever where enough is left.
    assert_eq!(acquire(&server, "three 1/m,fixed:3/ever").granted, 1);
    let mut waiter = waits(&server, "RL.ACQUIRE three 1/m,fixed:3/ever WAIT 20s");
    server.clock_advance(60 * S);
    assert_eq!(
        waiter.read_within(SOON).expect("an answer").rate_limit(),
        granted(1).limit(1).remaining(0).reset_ms(60_000)
    );
}

#[test]
fn its_options() {
    let server = Server::at_t0();
    // Its units do not come back by themselves, so that a want of them closes nothing.
    assert_eq!(acquire(&server, "b fixed:2/ever:block=15m COST 2").granted, 2);
    assert_acquire(
        &server,
        "b fixed:2/ever:block=15m",
        denied().limit(2).remaining(0).retry_never().reset_never(),
    );
    assert_eq!(server.counter("limits_closed"), 0);
    assert_eq!(server.line("RL.REFUND b 1"), Reply::Int(1));
    assert_acquire(&server, "b fixed:2/ever:block=15m", granted(1).limit(2).remaining(0).reset_never());
    // A part kept for critical requests; a shadow.
    assert_acquire(
        &server,
        "keep fixed:10/ever:keep=20% COST 8",
        granted(8).limit(10).remaining(0).reset_never(),
    );
    assert_acquire(
        &server,
        "keep fixed:10/ever:keep=20%",
        denied().limit(10).remaining(0).retry_never().reset_never(),
    );
    assert_acquire(
        &server,
        "keep fixed:10/ever:keep=20% COST 2 CRITICAL",
        granted(2).limit(10).remaining(0).reset_never(),
    );
    assert_acquire(
        &server,
        "s 50/s,fixed:2/ever:shadow COST 2",
        granted(2).limit(50).remaining(48).reset_ms(1000),
    );
    assert_acquire(&server, "s 50/s,fixed:2/ever:shadow", granted(1).limit(50).remaining(47).reset_ms(1000));
    assert_eq!(server.counter("shadow_denied"), 1);
    // A credit of its own beside one by calls, and a window as long as it gets.
    assert_eq!(acquire(&server, "o fixed:5/ever,fixed:5/ever:per=call,fixed:5/366d COST 3").granted, 3);
    assert_eq!(server.line("RL.QUOTA o").used(), [3, 1, 3]);
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
    assert_eq!(acquire(&server, "stats fixed:5/ever COST 4 TRACK").granted, 4);
    assert_eq!(server.line("RL.REFUND stats 1"), Reply::Int(1));
    assert_eq!(server.line("RL.STATS stats").field("total").field("used").int(), 3);
    let cleared = server.line("RL.CLEAR 0 MATCH k* COUNT 1000");
    assert_eq!(cleared[1], Reply::Int(1), "keep");
    assert_eq!(server.line("EXISTS keep"), Reply::Int(0));
}

#[test]
fn a_name_that_becomes_a_credit_and_back() {
    let server = Server::at_t0();
    // T0 is 08:00: sixteen hours are left of the day.
    const LEFT: i64 = 16 * 3_600_000;
    assert_acquire(&server, "k fixed:5/day:name=x COST 5", granted(5).limit(5).remaining(0).reset_ms(LEFT));
    // The call is denied, so it changes nothing: they come back as they would have.
    assert_acquire(
        &server,
        "k fixed:5/ever:name=x",
        denied().limit(5).remaining(0).retry_ms(LEFT).reset_never(),
    );
    assert_acquire(&server, "k fixed:8/ever:name=x COST 3", granted(3).limit(8).remaining(0).reset_never());
    server.clock_advance(30 * DAY);
    assert_acquire(
        &server,
        "k fixed:8/ever:name=x",
        denied().limit(8).remaining(0).retry_never().reset_never(),
    );
    assert_acquire(&server, "k fixed:9/ever:name=x", granted(1).limit(9).remaining(0).reset_never());
    // Any of them may have been granted today, but not tomorrow.
    assert_acquire(
        &server,
        "k fixed:9/day:name=x",
        denied().limit(9).remaining(0).retry_ms(LEFT).reset_ms(LEFT),
    );
    assert_acquire(
        &server,
        "k fixed:9/h:start=first:name=x",
        denied().limit(9).remaining(0).retry_ms(3_600_000).reset_ms(3_600_000),
    );
    server.clock_advance(LEFT * 1000 - 1);
    assert_acquire(&server, "k fixed:9/day:name=x", denied().limit(9).remaining(0).retry_ms(1).reset_ms(1));
    assert_eq!(used_and_left(&server, "k fixed:9/ever:name=x"), (9, 0));
    server.clock_advance(1);
    assert_acquire(&server, "k fixed:9/day:name=x", granted(1).limit(9).remaining(8).reset_ms(DAY / 1000));
    assert_eq!(used_and_left(&server, "k fixed:9/ever:name=x"), (1, 8));
    // Another algorithm starts fresh; without a name each has its own.
    assert_eq!(used_and_left(&server, "k 9/day:name=x"), (0, 9));
    assert_eq!(used_and_left(&server, "k fixed:9/ever"), (0, 9));
}

#[test]
fn it_is_the_same_on_replicas_and_in_files() {
    for preamble in ["yes", "no"] {
        let mut server = Server::durable_with(&["--aof-use-rdb-preamble", preamble]);
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
        assert_acquire(&replica, "one fixed:5/ever", granted(1).limit(5).remaining(0).reset_never());
        assert_acquire(
            &replica,
            "one fixed:5/ever",
            denied().limit(5).remaining(0).retry_never().reset_never(),
        );
        let same = |what: &str, server: &Server| {
            let differences = before.differences(&snapshot(server));
            assert!(differences.is_empty(), "{what}:\n{}", differences.join("\n"));
        };
        for reload in ["DEBUG RELOAD", "DEBUG LOADAOF"] {
            server.ok(reload);
            same(reload, &server);
        }
        server.rewrite_aof();
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
        assert_acquire(
            &server,
            "one fixed:5/ever COST 2",
            denied().limit(5).remaining(1).retry_never().reset_never(),
        );
    }
}
