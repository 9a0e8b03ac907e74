//! `block=`, `grow=` and `maxblock=`: each sentence of their contract on a real server.

use crate::harness::{Reply, Server, T0, assert_error, assert_same_data, call, snapshot, wait_synced};
use crate::limits::fixtures::{acquire, assert_acquire};
use crate::queue::fixtures::{MOMENT, SOON, answered, waits};
use crate::support::{denied, granted};

const S: i64 = 1_000_000;

/// The row of RL.QUOTA: used, remaining, retry, reset.
#[track_caller]
fn look(server: &Server, command: &str) -> [i64; 4] {
    let rows = server.line(&format!("RL.QUOTA {command}"));
    ["used", "remaining", "retry_after_ms", "reset_after_ms"].map(|name| rows[0].field(name).int())
}

fn blocks_begun(server: &Server) -> i64 {
    server.counter("limits_closed")
}

/// A limit of two a minute on `k` that is used up.
fn used_up(options: &str) -> Server {
    let server = Server::at_t0();
    assert_eq!(acquire(&server, &format!("k 2/m{options} COST 2")).granted, 2);
    server
}

#[test]
fn a_denial_closes_the_limit_for_the_length_of_its_block() {
    let server = used_up(":block=15m");
    assert_eq!(blocks_begun(&server), 0);
    server.clock_advance(S);
    assert_acquire(
        &server,
        "k 2/m:block=15m",
        denied().limit(2).remaining(0).retry_ms(900_000).reset_ms(900_000),
    );
    assert_eq!(blocks_begun(&server), 1);
    // Denials meanwhile do not move it.
    server.clock_advance(100 * S);
    for ask in [
        "k 2/m:block=15m",
        "k 2/m:block=15m CRITICAL",
        "k 2/m",
        "k 2/m PARTIAL COST 2",
        "k 2/m:keep=50% COST 2",
    ] {
        let cost_never = ask.contains("keep");
        let reply = acquire(&server, ask);
        assert_eq!((reply.granted, reply.remaining, reply.reset_after_ms), (0, 0, 800_000), "{ask}");
        assert_eq!(reply.retry_after_ms, if cost_never { -1 } else { 800_000 }, "{ask}");
    }
    assert_eq!(look(&server, "k"), [0, 0, 800_000, 800_000]);
    assert_eq!(look(&server, "k 2/m"), [0, 0, 800_000, 800_000]);
    let headers = server.line("RL.QUOTA k HEADERS");
    assert_eq!(headers.field("RateLimit").text(), "\"2/m\";r=0;t=800");
    assert_eq!(headers.field("Retry-After").text(), "800");
    assert_eq!(headers.field("X-RateLimit-Remaining").text(), "0");
    assert_eq!(headers.field("X-RateLimit-Reset").text(), ((T0 / S) + 901).to_string());
    assert_eq!(blocks_begun(&server), 1);
    server.clock_advance(800 * S - 1);
    assert_acquire(&server, "k 2/m:block=15m", denied().limit(2).remaining(0).retry_ms(1).reset_ms(1));
    server.clock_advance(1);
    assert_acquire(&server, "k 2/m:block=15m", granted(1).limit(2).remaining(1).reset_ms(60_000));
}

#[test]
fn it_is_closed_until_its_units_are_back_where_that_is_later() {
    let server = used_up(":block=10s");
    assert_acquire(
        &server,
        "k 2/m:block=10s",
        denied().limit(2).remaining(0).retry_ms(60_000).reset_ms(60_000),
    );
    // The block is over; what was wanted is not back, so that no other begins.
    server.clock_advance(59 * S);
    assert_acquire(
        &server,
        "k 2/m:block=10s",
        denied().limit(2).remaining(0).retry_ms(1_000).reset_ms(1_000),
    );
    assert_eq!(blocks_begun(&server), 1);
    server.clock_advance(S);
    assert_eq!(acquire(&server, "k 2/m:block=10s COST 2").granted, 2);
    assert_acquire(
        &server,
        "k 2/m:block=10s",
        denied().limit(2).remaining(0).retry_ms(60_000).reset_ms(60_000),
    );
    assert_eq!(blocks_begun(&server), 2);
    // What is left may be had from the end of the block on.
    assert_eq!(acquire(&server, "part 10/m:block=30s COST 8").granted, 8);
    assert_acquire(
        &server,
        "part 10/m:block=30s COST 5",
        denied().limit(10).remaining(0).retry_ms(60_000).reset_ms(60_000),
    );
    assert_acquire(
        &server,
        "part 10/m:block=30s",
        denied().limit(10).remaining(0).retry_ms(30_000).reset_ms(60_000),
    );
    server.clock_advance(30 * S);
    assert_acquire(&server, "part 10/m:block=30s", granted(1).limit(10).remaining(1).reset_ms(60_000));
}

#[test]
fn what_closes_nothing() {
    let server = used_up(":block=15m");
    // A cost above the capacity; keep= alone; RL.BLOCK.
    assert_eq!(acquire(&server, "k 2/m:block=15m COST 3").retry_after_ms, -1);
    assert_eq!(acquire(&server, "keep 10/m:block=15m:keep=50% COST 5").granted, 5);
    assert_acquire(
        &server,
        "keep 10/m:block=15m:keep=50%",
        denied().limit(10).remaining(0).retry_ms(60_000).reset_ms(60_000),
    );
    assert_eq!(acquire(&server, "keep 10/m:block=15m:keep=50% CRITICAL").granted, 1);
    server.ok("RL.BLOCK k FOR 10s");
    assert_acquire(
        &server,
        "k 2/m:block=15m",
        denied().limit(2).remaining(0).retry_ms(60_000).reset_ms(60_000).blocked(),
    );
    server.line("RL.UNBLOCK k");
    // Another limit, another key of a reservation, a breaker.
    assert_eq!(acquire(&server, "two 9/m:block=15m,1/h").granted, 1);
    assert_acquire(
        &server,
        "two 9/m:block=15m,1/h",
        denied().limit(1).remaining(0).retry_ms(3_600_000).reset_ms(3_600_000).index(1),
    );
    assert_eq!(look(&server, "two 9/m:block=15m"), [1, 8, 0, 60_000]);
    let reserve = server.line("RL.RESERVE 2 k 2/m other 9/m:block=1h TTL 1m");
    assert_eq!(reserve[1][1].rate_limit().index, -3);
    server.ok("CB.FORCE b OPEN");
    assert_eq!(server.line("CB.ACQUIRE b 5 LIMIT k 2/m:block=15m")[0], Reply::Int(0));
    // Nothing that never comes back, and no look.
    assert_eq!(acquire(&server, "zero 0/m:block=15m").retry_after_ms, -1);
    assert_eq!(look(&server, "k 2/m:block=15m"), [2, 0, 60_000, 60_000]);
    assert_eq!(blocks_begun(&server), 0);
    assert_eq!(acquire(&server, "k 2/m:block=15m").retry_after_ms, 900_000);
}

#[test]
fn who_waits_closes_nothing_and_a_line_neither() {
    let server = used_up(":block=15m");
    let mut waiter = waits(&server, "RL.ACQUIRE k 2/m:block=15m WAIT 20s");
    assert_eq!(acquire(&server, "k 2/m:block=15m").index, -2);
    assert_eq!(blocks_begun(&server), 0);
    server.clock_advance(60 * S);
    assert_eq!(answered(&mut waiter).granted, 1);
    // A critical request passes the line; what it closes holds the waiter up.
    assert_eq!(acquire(&server, "k 2/m:block=15m").granted, 1);
    let mut waiter = waits(&server, "RL.ACQUIRE k 2/m:block=90s WAIT 20s");
    assert_acquire(
        &server,
        "k 2/m:block=90s CRITICAL",
        denied().limit(2).remaining(0).retry_ms(90_000).reset_ms(90_000),
    );
    assert_eq!(blocks_begun(&server), 1);
    let behind = acquire(&server, "k 2/m");
    assert_eq!(
        (behind.retry_after_ms, behind.index),
        (90_000, -2),
        "the line's end is forecast with the block"
    );
    server.clock_advance(89 * S);
    waiter.assert_blocked_for(MOMENT);
    server.clock_advance(S);
    assert_eq!(answered(&mut waiter).granted, 1);
    // A wait that ends without a grant closes nothing.
    assert_eq!(acquire(&server, "k 2/m:block=15m").granted, 1);
    let mut waiter = waits(&server, "RL.ACQUIRE k 2/m:block=15m WAIT 1s");
    assert_eq!(answered(&mut waiter), denied().retry_ms(60_000));
    // In MULTI nobody waits.
    for line in ["MULTI", "RL.ACQUIRE k 2/m:block=15m WAIT 1s"] {
        waiter.line(line);
    }
    assert_eq!(
        waiter.line("EXEC")[0].rate_limit(),
        denied().limit(2).remaining(0).retry_ms(900_000).reset_ms(900_000)
    );
    // A reservation that waits.
    assert_eq!(acquire(&server, "r 1/m:block=15m").granted, 1);
    let mut waiter = waits(&server, "RL.RESERVE 1 r 1/m:block=15m TTL 1m WAIT 20s");
    server.clock_advance(60 * S);
    assert_eq!(waiter.read_within(SOON).expect("an answer")[1][0].rate_limit().granted, 1);
    assert_eq!(blocks_begun(&server), 2);
}

#[test]
fn each_block_is_longer_than_the_last() {
    let server = Server::at_t0();
    let limit = "k 1/s:block=10s:grow=2:maxblock=35s";
    let exceed = || {
        assert_eq!(acquire(&server, limit).granted, 1);
        acquire(&server, limit).retry_after_ms
    };
    assert_eq!(exceed(), 10_000);
    // At most twice its length after its end.
    server.clock_advance(30 * S);
    assert_eq!(exceed(), 20_000);
    server.clock_advance(20 * S);
    assert_eq!(exceed(), 35_000);
    server.clock_advance(35 * S + 70 * S);
    assert_eq!(exceed(), 35_000);
    server.clock_advance(35 * S + 70 * S + 1);
    assert_eq!(exceed(), 10_000);
    // Of two callers each says how long; the last block is the limit's.
    server.clock_advance(10 * S);
    assert_eq!(acquire(&server, "k 1/s").granted, 1);
    assert_eq!(acquire(&server, "k 1/s:block=1m:grow=1.5").retry_after_ms, 60_000);
    server.clock_advance(60 * S);
    assert_eq!(acquire(&server, "k 1/s").granted, 1);
    assert_eq!(acquire(&server, "k 1/s:block=1m:grow=1.5").retry_after_ms, 90_000);
    // The default maxblock is a day, or the block if that is longer.
    assert_eq!(acquire(&server, "d 1/s:block=20h:grow=2").granted, 1);
    assert_eq!(acquire(&server, "d 1/s:block=20h:grow=2").retry_after_ms, 20 * 3_600_000);
    server.clock_advance(20 * 3600 * S);
    assert_eq!(acquire(&server, "d 1/s:block=20h:grow=2").granted, 1);
    assert_eq!(acquire(&server, "d 1/s:block=20h:grow=2").retry_after_ms, 24 * 3_600_000);
}

#[test]
fn so_long_as_a_block_is_remembered_the_key_lives() {
    let server = Server::start();
    for (key, options, seconds) in [
        ("plain", ":block=100s", 100),
        ("grows", ":block=100s:grow=2", 300),
        ("most", ":block=100s:grow=2:maxblock=100s", 100),
    ] {
        assert_eq!(acquire(&server, &format!("{key} 1/s{options}")).granted, 1);
        assert_eq!(acquire(&server, &format!("{key} 1/s{options}")).granted, 0);
        let ttl = server.line(&format!("PTTL {key}")).int();
        assert!(ttl > (seconds - 20) * 1000 && ttl <= seconds * 1000 + 1, "{key}: {ttl}");
    }
    // Not listed, it is remembered all the same, and its key lives.
    assert_eq!(acquire(&server, "grows 5/s:name=other").granted, 1);
    assert!(server.line("PTTL grows").int() > 280_000);
    assert_eq!(look(&server, "grows 1/s")[1], 0);
}

#[test]
fn unblock_and_reset_end_it_and_forget_the_growth() {
    for (command, listed) in
        [("RL.UNBLOCK k", true), ("RL.RESET k", true), ("RL.UNBLOCK k", false), ("RL.RESET k", false)]
    {
        let server = Server::at_t0();
        let limit = "k 1/s:block=10s:grow=2";
        let exceed = || {
            assert_eq!(acquire(&server, limit).granted, 1, "{command}");
            acquire(&server, limit).retry_after_ms
        };
        assert_eq!(exceed(), 10_000);
        if !listed {
            assert_eq!(acquire(&server, "k 9/h").granted, 1);
        }
        server.ok("RL.BLOCK other FOR 1h");
        assert_eq!(server.line(command), Reply::Int(1));
        assert_eq!(server.line("RL.QUOTA other").items().len(), 1);
        server.clock_advance(S);
        assert_eq!(exceed(), 10_000, "{command} forgets the growth");
        // Its end has passed: there is nothing to end, but the growth goes.
        server.clock_advance(11 * S);
        if !listed {
            assert_eq!(acquire(&server, "k 9/h").granted, 1);
        }
        assert_eq!(server.line(command), Reply::Int(i64::from(command.contains("RESET"))));
        assert_eq!(exceed(), 10_000, "{command} forgets the growth of a block that is over");
        server.clock_advance(10 * S);
        assert_eq!(exceed(), 20_000);
    }
    // RL.RESET keeps what RL.BLOCK did.
    let server = used_up(":block=15m");
    assert_eq!(acquire(&server, "k 2/m:block=15m").granted, 0);
    server.ok("RL.BLOCK k FOR 1h");
    assert_eq!(server.line("RL.RESET k"), Reply::Int(1));
    assert_acquire(&server, "k 2/m:block=15m", denied().retry_ms(3_600_000).reset_ms(0).blocked());
    // RL.UNBLOCK ends both; what is used stays used.
    server.line("RL.UNBLOCK k");
    assert_eq!(acquire(&server, "k 2/m:block=15m COST 2").granted, 2);
    assert_eq!(acquire(&server, "k 2/m:block=15m").retry_after_ms, 900_000);
    assert_eq!(server.line("RL.UNBLOCK k"), Reply::Int(1));
    assert_eq!(server.line("RL.UNBLOCK k"), Reply::Int(0));
    assert_eq!(look(&server, "k"), [2, 0, 60_000, 60_000]);
    // Who waits is served at once.
    let server = used_up("");
    server.line("RL.REFUND k 1");
    assert_eq!(acquire(&server, "k 2/m:block=15m COST 2").retry_after_ms, 900_000);
    let mut waiter = waits(&server, "RL.ACQUIRE k 2/m WAIT 20s");
    assert_eq!(server.line("RL.UNBLOCK k"), Reply::Int(1));
    assert_eq!(answered(&mut waiter).granted, 1);
}

#[test]
fn a_refund_does_not_end_it_and_clear_does_not_spare_it() {
    let server = used_up(":block=15m");
    assert_eq!(acquire(&server, "k 2/m:block=15m").retry_after_ms, 900_000);
    assert_eq!(server.line("RL.REFUND k 2"), Reply::Int(2));
    assert_eq!(look(&server, "k"), [0, 0, 900_000, 900_000]);
    assert_eq!(acquire(&server, "k 2/m:block=15m").retry_after_ms, 900_000);
    // Given back, its units are there at the end of the block: the next denial closes.
    assert_eq!(acquire(&server, "back 1/m:block=10s").granted, 1);
    assert_eq!(acquire(&server, "back 1/m:block=10s").retry_after_ms, 60_000);
    server.line("RL.REFUND back 1");
    assert_eq!(acquire(&server, "back 1/m:block=10s").retry_after_ms, 10_000);
    assert_eq!(server.line("RL.CLEAR 0 MATCH k COUNT 1000")[1], Reply::Int(1));
    assert_eq!(server.line("EXISTS k"), Reply::Int(0));
}

#[test]
fn it_stays_with_its_limit() {
    let server = Server::at_t0();
    let login = "5/m:name=login:block=15m";
    assert_eq!(acquire(&server, &format!("k {login} COST 5")).granted, 5);
    // Denied beside others: which limits the key has is what its last grant said.
    assert_eq!(acquire(&server, &format!("k {login},100/h")).retry_after_ms, 900_000);
    assert_eq!(acquire(&server, "k 100/h").granted, 1);
    // Not listed now, it is closed all the same, also to one that changed.
    for limits in [login, "5/m:name=login", "50/h:name=login:block=1s"] {
        let reply = acquire(&server, &format!("k {limits}"));
        assert_eq!((reply.granted, reply.remaining, reply.retry_after_ms), (0, 0, 900_000), "{limits}");
        assert_eq!(look(&server, "k 5/m:name=login"), [5, 0, 900_000, 900_000]);
    }
    assert_eq!(acquire(&server, "k 100/h,bucket:9/m:name=login").retry_after_ms, 900_000);
    assert_eq!(look(&server, "k 5/m:name=login")[1..], [0, 900_000, 900_000]);
    assert_eq!(blocks_begun(&server), 1);
    // As a shadow it would deny, and takes nothing.
    assert_eq!(acquire(&server, "k 5/m:name=login:shadow").granted, 1);
    assert_eq!(server.counter("shadow_denied"), 1);
    // Two that count alike are two limits.
    assert_eq!(acquire(&server, "t 1/m:block=1h,3/m").granted, 1);
    assert_eq!(acquire(&server, "t 1/m:block=1h,3/m").retry_after_ms, 3_600_000);
    let rows = server.line("RL.QUOTA t 1/m,3/m");
    assert_eq!([rows[0].field("remaining").int(), rows[1].field("remaining").int()], [0, 2]);
}

#[test]
fn every_command_that_takes_closes() {
    let server = Server::at_t0();
    let batch = |line: &str| -> Vec<Vec<i64>> {
        server.line(&format!("RL.BATCH {line}")).items().iter().map(Reply::to_ints).collect()
    };
    // EACH: what the first item of a key closes is closed to the next.
    let each = batch("EACH 3 e 2/m:block=1h 2 e 2/m:block=1h 1 e 2/m 1");
    assert_eq!(each[1], [0, 2, 0, 3_600_000, 3_600_000, 0]);
    assert_eq!(each[2], [0, 2, 0, 3_600_000, 3_600_000, 0]);
    // ALL closes what denies an item for its own sake, and nothing else.
    assert_eq!(batch("EACH 1 full 1/m:block=1h 1")[0][0], 1);
    assert_eq!(batch("EACH 1 left 4/m:block=1h 1")[0][0], 1);
    let all = batch("ALL 4 full 1/m:block=1h 1 left 4/m:block=1h 2 left 4/m:block=1h 2 fresh 9/m:block=1h 1");
    assert_eq!(all[0], [0, 1, 0, 3_600_000, 3_600_000, 0]);
    assert_eq!(all[1], [0, 4, 3, 3_600_000, 60_000, -3]);
    assert_eq!(all[2], [0, 4, 3, 60_000, 60_000, 0], "only both together are too much");
    assert_eq!(all[3], [0, 9, 9, 3_600_000, 0, -3]);
    assert_eq!(look(&server, "left"), [1, 3, 0, 60_000]);
    assert_eq!(look(&server, "full"), [1, 0, 3_600_000, 3_600_000]);
    // An item of a limit that another item of the batch closes.
    assert_eq!(batch("EACH 1 same 2/m:block=1h 1")[0][0], 1);
    let same = batch("ALL 2 same 2/m:block=1h 2 same 2/m:block=1h 1");
    assert_eq!(same[0], [0, 2, 0, 3_600_000, 3_600_000, 0]);
    assert_eq!(same[1][..4], [0, 2, 0, -1]);
    // RL.RESERVE, on the keys that deny.
    assert_eq!(acquire(&server, "r 1/m:block=1h").granted, 1);
    let reserve = server.line("RL.RESERVE 2 r 1/m:block=1h free 5/m:block=1h TTL 1m");
    assert_eq!(reserve[0], Reply::NilBulk);
    assert_eq!(
        reserve[1][0].rate_limit(),
        denied().limit(1).remaining(0).retry_ms(3_600_000).reset_ms(3_600_000)
    );
    assert_eq!(
        reserve[1][1].rate_limit(),
        denied().limit(5).remaining(5).retry_ms(3_600_000).reset_ms(0).by_another_item()
    );
    assert_eq!(look(&server, "r"), [1, 0, 3_600_000, 3_600_000]);
    // CB.ACQUIRE: the limit closes, the breaker stays as it is.
    assert_eq!(server.line("CB.ACQUIRE b 5 LIMIT c 1/m:block=1h")[0], Reply::Int(1));
    let call = server.line("CB.ACQUIRE b 5 LIMIT c 1/m:block=1h");
    assert_eq!((call[0].int(), call[3].int()), (0, 3_600_000));
    assert_eq!(call[4].rate_limit(), denied().limit(1).remaining(0).retry_ms(3_600_000).reset_ms(3_600_000));
    // CL.THROTTLE with the limits that the server has for the key.
    server.ok("RL.PIN t 1/m:block=1h");
    server.line("CL.THROTTLE t 9 9 60");
    let throttled = server.line("CL.THROTTLE t 9 9 60").to_ints();
    assert_eq!((throttled[0], throttled[2], throttled[3]), (1, 0, 3600));
    assert_eq!(blocks_begun(&server), 6);
    assert_eq!(server.line("RL.METRICS").field("limits_closed"), Reply::Int(6));
}

#[test]
fn several_limits_close_as_one_effect() {
    let server = Server::at_t0();
    let replica = server.replica();
    assert_eq!(acquire(&server, "k 1/m:block=1h,1/h:block=2h,9/h").granted, 1);
    wait_synced(&server, &replica);
    let applied = || replica.counter("effects_applied");
    let before = applied();
    assert_acquire(
        &server,
        "k 1/m:block=1h,1/h:block=2h,9/h",
        denied().limit(1).remaining(0).retry_ms(7_200_000).reset_ms(7_200_000).index(1),
    );
    wait_synced(&server, &replica);
    assert_eq!(applied(), before + 1);
    // Denied again it changes nothing, and tells nobody.
    assert_eq!(acquire(&server, "k 1/m:block=1h,1/h:block=2h,9/h").granted, 0);
    wait_synced(&server, &replica);
    assert_eq!(applied(), before + 1);
    assert_eq!(look(&server, "k 1/m")[2], 3_600_000);
    assert_same_data(&server, &replica);
}

#[test]
fn policies_and_pins_close() {
    let server = Server::at_t0();
    server.ok("RL.POLICY SET login 1/m:grow=2:block=15m PREFIX login:");
    assert_eq!(server.line("RL.POLICY GET login").field("limits").text(), "1/m:grow=2:block=15m");
    assert_eq!(acquire(&server, "login:ann").granted, 1);
    assert_eq!(acquire(&server, "login:ann").retry_after_ms, 900_000);
    let json = server.line("RL.POLICY EXPORT").text();
    assert!(json.contains("\"1/m:grow=2:block=15m\""), "{json}");
    assert_eq!(call!(server, "RL.POLICY", "IMPORT", &json, "REPLACE").error(), None);
    assert_eq!(acquire(&server, "login:ann").retry_after_ms, 900_000);
    server.ok("RL.PIN login:bob 1/h:block=2h");
    assert_eq!(acquire(&server, "login:bob").granted, 1);
    assert_eq!(acquire(&server, "login:bob 100/s").retry_after_ms, 7_200_000);
    assert_error(
        &server.line("RL.ACQUIRE k 5/m:block=1m:shadow"),
        "ERR invalid limit '5/m:block=1m:shadow': block= needs a limit that denies, shadow never does",
    );
    assert_error(
        &server.line("RL.RESERVE 1 k concurrent:5:block=1m TTL 1m"),
        "ERR invalid limit 'concurrent:5:block=1m': block= is not for concurrent",
    );
    let misplaced = server.line("RL.ACQUIRE k 5/m block=1m");
    let told = misplaced.error().expect("an error");
    assert!(told.ends_with("block belongs to the limit, as in 5/m:block=15m"), "{told}");
}

#[test]
fn a_clock_that_steps_back_begins_it_anew() {
    let server = used_up(":block=15m:grow=2");
    assert_eq!(acquire(&server, "k 2/m:block=15m:grow=2").retry_after_ms, 900_000);
    server.clock_set(T0 - 3600 * S);
    // A look reckons as if it began now, and records nothing.
    assert_eq!(look(&server, "k")[2], 900_000);
    server.clock_advance(S);
    assert_eq!(look(&server, "k")[2], 900_000);
    // A denial records it.
    assert_eq!(acquire(&server, "k 2/m").retry_after_ms, 900_000);
    server.clock_advance(S);
    assert_eq!(acquire(&server, "k 2/m").retry_after_ms, 899_000);
    server.clock_advance(899 * S);
    assert_eq!(acquire(&server, "k 2/m:block=15m:grow=2 COST 2").granted, 2);
    assert_eq!(acquire(&server, "k 2/m:block=15m:grow=2").retry_after_ms, 1_800_000);
}

#[test]
fn replicas_and_files_have_the_same_blocks() {
    let aof = ["--appendonly", "yes", "--appendfsync", "always", "--aof-use-rdb-preamble", "no"];
    let mut server = Server::with(&aof);
    server.clock_set(T0);
    let replica = server.replica();
    // Its clock is quite another.
    replica.clock_set(1_000_000);
    for key in ["a", "b", "c"] {
        assert_eq!(acquire(&server, &format!("{key} 1/m:block=1h:grow=2")).granted, 1);
        assert_eq!(acquire(&server, &format!("{key} 1/m:block=1h:grow=2")).retry_after_ms, 3_600_000);
    }
    assert_eq!(acquire(&server, "a 9/h:name=other,70/d").granted, 1);
    server.line("RL.UNBLOCK b");
    server.clock_advance(7200 * S);
    assert_eq!(acquire(&server, "c 1/m:block=1h:grow=2").granted, 1);
    assert_eq!(acquire(&server, "c 1/m:block=1h:grow=2").retry_after_ms, 7_200_000);
    server.line("COPY c d");
    server.line("RENAME a e");
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
    let before = snapshot(&server);
    let same = |server: &Server, what: &str| {
        let differences = before.differences(&snapshot(server));
        assert!(differences.is_empty(), "{what}:\n{}", differences.join("\n"));
    };
    server.ok("DEBUG LOADAOF");
    same(&server, "the AOF of effects");
    server.rewrite_aof();
    server.ok("DEBUG LOADAOF");
    same(&server, "the rewritten AOF");
    server.ok("DEBUG RELOAD");
    same(&server, "RDB");
    server.kill9();
    server.restart();
    same(&server, "kill -9");
    server.clock_set(T0 + 7200 * S);
    assert_eq!(look(&server, "d 1/m")[2], 7_200_000);
    assert_eq!(look(&server, "e 1/m")[1], 1, "its block is over");
}

#[test]
fn a_remembered_block_counts_among_the_limits_set_aside() {
    let server = Server::at_t0();
    for n in 0..57 {
        assert_eq!(acquire(&server, &format!("k 1/s:name=n{n}")).granted, 1, "{n}");
        assert_eq!(acquire(&server, &format!("k 1/s:name=n{n}:block=1h")).granted, 0, "{n}");
        server.clock_advance(2 * S);
    }
    // Of all these nothing is used any more.
    assert_eq!(look(&server, "k 1/s:name=n0")[..2], [0, 0]);
    assert!(server.line("RL.ACQUIRE k 1/s:name=other").error().is_some());
    assert_eq!(acquire(&server, "k 1/s:name=n5").granted, 0, "a denial stays a denial");
    server.clock_advance(3600 * S);
    assert_eq!(acquire(&server, "k 1/s:name=other").granted, 1);
}

#[test]
fn an_unlisted_block_is_recorded_when_the_clock_steps_back() {
    let server = used_up(":block=15m");
    assert_eq!(acquire(&server, "k 2/m:block=15m").granted, 0);
    assert_eq!(acquire(&server, "k 9/h").granted, 1);
    server.clock_set(T0 - 3600 * S);
    assert_eq!(acquire(&server, "k 2/m").retry_after_ms, 900_000);
    server.clock_advance(100 * S);
    assert_eq!(acquire(&server, "k 2/m").retry_after_ms, 800_000);
    server.clock_advance(800 * S);
    assert_eq!(acquire(&server, "k 2/m").granted, 1);
}

#[test]
fn a_pin_that_ends_first_ends_its_blocks_denials() {
    let server = Server::at_t0();
    server.ok("RL.PIN k 1/m:block=1h FOR 10m");
    assert_eq!(acquire(&server, "k 100/s").granted, 1);
    assert_acquire(&server, "k 100/s", denied().limit(1).remaining(0).retry_ms(600_000).reset_ms(3_600_000));
    assert_eq!(look(&server, "k 100/s"), [1, 0, 600_000, 3_600_000]);
    server.clock_advance(600 * S - 1);
    assert_eq!(acquire(&server, "k 100/s").retry_after_ms, 1);
    server.clock_advance(1);
    assert_eq!(acquire(&server, "k 100/s").granted, 1);
    // What the pin closed stays closed to whoever names it.
    assert_eq!(acquire(&server, "k 1/m").retry_after_ms, 3_000_000);
}

/// A block stays the last one until the units for its request are back, whatever is charged, settled or
/// given back meanwhile, and whatever the clock does.
#[test]
fn no_denial_moves_it_before_its_units_are_back() {
    let server = Server::at_t0();
    let replica = server.replica();
    let retry = |ask: &str| acquire(&server, ask).retry_after_ms;
    let part = "fixed:10/m:block=10s COST 5";
    let grown = "bucket:3/m:block=30s:grow=2";
    let named = "bucket:3/h:block=10s:name=x";
    // A refund of less than it lacks.
    assert_eq!(acquire(&server, "refund fixed:10/m:block=10s COST 10").granted, 10);
    assert_eq!(retry(&format!("refund {part}")), 60_000);
    assert_eq!(server.line("RL.REFUND refund 1"), Reply::Int(1));
    // Debt.
    assert_eq!(acquire(&server, &format!("charge {grown} COST 3")).granted, 3);
    assert_eq!(retry(&format!("charge {grown}")), 30_000);
    assert_eq!(server.line(&format!("RL.CHARGE charge {grown} COST 2")).rate_limit().retry_after_ms, 60_000);
    server.line("RL.RESERVE 1 commit bucket:3/m:block=10s COST 3 TTL 1h ID x");
    assert_eq!(retry("commit bucket:3/m:block=10s"), 20_000);
    assert_eq!(server.line("RL.COMMIT x 1 commit COST 5"), Reply::Int(1));
    // Another period.
    assert_eq!(acquire(&server, "named bucket:3/m:block=10s:name=x COST 3").granted, 3);
    assert_eq!(retry("named bucket:3/m:block=10s:name=x"), 20_000);
    server.line(&format!("RL.CHARGE named {named} COST 1"));
    assert_eq!(retry(&format!("named {named}")), 2_400_000);
    // A grant to another request after its end.
    assert_eq!(acquire(&server, "grant fixed:10/m:block=10s COST 8").granted, 8);
    assert_eq!(retry(&format!("grant {part}")), 60_000);
    server.clock_set(T0 + 10 * S);
    assert_eq!(acquire(&server, "grant fixed:10/m:block=10s").granted, 1);
    server.clock_set(T0 + 55 * S);
    let begun = blocks_begun(&server);
    assert_eq!(retry(&format!("refund {part}")), 5_000);
    assert_eq!(retry(&format!("charge {grown}")), 5_000);
    assert_eq!(retry("commit bucket:3/m:block=10s"), 5_000);
    assert_eq!(retry(&format!("grant {part}")), 5_000);
    server.clock_set(T0 + 2395 * S);
    assert_eq!(retry(&format!("named {named}")), 5_000);
    assert_eq!(blocks_begun(&server), begun);
    // A clock that steps back makes its units come back later.
    server.clock_set(T0);
    assert_eq!(acquire(&server, "clock fixed:1/h:block=10s").granted, 1);
    server.clock_set(T0 + 3540 * S);
    assert_eq!(retry("clock fixed:1/h:block=10s"), 60_000);
    server.clock_set(T0);
    assert_eq!(retry("clock fixed:1/h:block=10s"), 3_600_000);
    server.clock_set(T0 + 3595 * S);
    assert_eq!(retry("clock fixed:1/h:block=10s"), 5_000);
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
    let before = snapshot(&server);
    server.ok("DEBUG RELOAD");
    let differences = before.differences(&snapshot(&server));
    assert!(differences.is_empty(), "{differences:?}");
    assert_eq!(retry("clock fixed:1/h:block=10s"), 5_000);
}

/// One large request does not keep small ones from closing the limit for ever.
#[test]
fn grants_after_its_end_do_not_prolong_what_it_waits_for() {
    let server = Server::at_t0();
    let limit = "k bucket:10/m:block=10s";
    assert_eq!(acquire(&server, &format!("{limit} COST 10")).granted, 10);
    assert_eq!(acquire(&server, &format!("{limit} COST 10")).retry_after_ms, 60_000);
    for at in 1..=9 {
        server.clock_advance(6 * S);
        assert_eq!(acquire(&server, limit).granted, i64::from(at > 1));
    }
    assert_eq!(blocks_begun(&server), 1);
    server.clock_set(T0 + 60 * S);
    assert_eq!(acquire(&server, &format!("{limit} COST 2")).granted, 2);
    assert_eq!(acquire(&server, limit).retry_after_ms, 10_000);
    assert_eq!(blocks_begun(&server), 2);
}

/// A block that was stored before blocks knew how many units they need: DUMP of `fixed:10/m:block=10s`
/// with 8 units in use at T0, when a request of 5 was denied.
#[test]
fn a_block_of_an_earlier_version_loads() {
    let server = Server::at_t0();
    let dump = "0781adab5e9629a2b401053801341466697865643a31302f6d3a626c6f636b3d313073408080e2c4f2a2990380dac409\
                808ece1c038080e2c4f2a29903808ece1c085000000900df896b5575847953";
    let dump: Vec<u8> =
        (0..dump.len() / 2).map(|at| u8::from_str_radix(&dump[2 * at..2 * at + 2], 16).unwrap()).collect();
    assert_eq!(call!(server, "RESTORE", "k", 0, dump), Reply::ok());
    let part = "k fixed:10/m:block=10s COST 5";
    assert_eq!(acquire(&server, part).retry_after_ms, 60_000);
    server.clock_set(T0 + 10 * S);
    assert_eq!(acquire(&server, "k fixed:10/m:block=10s").granted, 1);
    server.clock_set(T0 + 55 * S);
    assert_eq!(acquire(&server, part).retry_after_ms, 5_000);
    assert_eq!(blocks_begun(&server), 0);
    server.clock_set(T0 + 60 * S);
    assert_eq!(acquire(&server, part).granted, 5);
}
