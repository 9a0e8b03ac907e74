//! `concurrent:N:per=cost`: a reservation holds as many places as it costs.

use crate::harness::{
    Reply, Server, T0, assert_error_prefix, assert_same_data, assert_survives_kill, wait_synced,
};
use crate::limits::fixtures::used;
use crate::queue::fixtures::{queue, waits};
use crate::support::{Dice, RateLimitReply, denied, granted};

const BOTH: &str = "concurrent:3,concurrent:100:per=cost";

#[track_caller]
fn reserve(server: &Server, command: &str) -> RateLimitReply {
    let reply = server.line(&format!("RL.RESERVE 1 {command}"));
    assert!(reply.error().is_none(), "{command}: {reply:?}");
    reply[1][0].rate_limit()
}

#[test]
fn a_reservation_holds_its_cost() {
    let server = Server::at_t0();
    assert_eq!(
        reserve(&server, &format!("k {BOTH} COST 60 TTL 9s ID a")),
        granted(60).limit(3).remaining(2).reset_ms(9000)
    );
    assert_eq!(used(&server, "k", BOTH), [1, 60]);
    // 40 are left; they come back with the first that ends.
    assert_eq!(
        reserve(&server, &format!("k {BOTH} COST 41 TTL 9s ID b")),
        denied().limit(100).remaining(40).retry_ms(9000).reset_ms(9000).index(1)
    );
    assert_eq!(
        reserve(&server, &format!("k {BOTH} COST 30 TTL 5s ID b")),
        granted(30).limit(3).remaining(1).reset_ms(9000)
    );
    assert_eq!(
        reserve(&server, &format!("k {BOTH} COST 40 TTL 9s ID c")),
        denied().limit(100).remaining(10).retry_ms(5000).reset_ms(9000).index(1)
    );
    assert_eq!(
        reserve(&server, &format!("k {BOTH} COST 41 TTL 9s ID c")),
        denied().limit(100).remaining(10).retry_ms(9000).reset_ms(9000).index(1)
    );
    // Never so many.
    assert_eq!(reserve(&server, &format!("k {BOTH} COST 101 TTL 9s ID c")).retry_after_ms, -1);
    // RL.QUOTA looks for the cost, too.
    let retry = |cost: i64| server.line(&format!("RL.QUOTA k {BOTH} COST {cost}"))[1].field("retry_after_ms");
    assert_eq!([10, 11, 40, 41, 101].map(retry), [0, 5000, 5000, 9000, -1].map(Reply::Int));
    let headers = server.line(&format!("RL.QUOTA k {BOTH} HEADERS"));
    let policy = headers.field("RateLimit-Policy").text();
    assert_eq!(policy, r#""concurrent:3";q=3;qu="concurrent-requests", "concurrent:100";q=100"#);
    server.clock_advance(4_999_999);
    assert_eq!(reserve(&server, &format!("k {BOTH} COST 40 TTL 9s ID c")).granted, 0);
    server.clock_advance(1);
    assert_eq!(reserve(&server, &format!("k {BOTH} COST 40 TTL 9s ID c")).granted, 40);
    assert_eq!(used(&server, "k", BOTH), [2, 100]);
}

/// Whatever settles it, and whatever it cost in the end, frees all of it.
#[test]
fn any_settlement_frees_all_of_it() {
    for settle in [
        "RL.COMMIT a 1 k",
        "RL.COMMIT a 1 k COST 1",
        "RL.COMMIT a 1 k COST 1000000000000",
        "RL.RELEASE a 1 k",
    ] {
        let server = Server::at_t0();
        reserve(&server, &format!("k {BOTH},500/h COST 60 TTL 1m ID a"));
        reserve(&server, &format!("k {BOTH},500/h COST 7 TTL 1m ID b"));
        assert_eq!(server.line("RL.RENEW a TTL 2m 1 k"), Reply::Int(1));
        assert_eq!(used(&server, "k", BOTH), [2, 67]);
        assert_eq!(server.line(settle), Reply::Int(1));
        assert_eq!(used(&server, "k", BOTH), [1, 7], "{settle}");
        // RL.REFUND has nothing of it.
        server.line(&format!("RL.REFUND k 50 {BOTH}"));
        assert_eq!(used(&server, "k", BOTH), [1, 7]);
        server.clock_advance(60_000_000);
        assert_eq!(used(&server, "k", BOTH), [0, 0], "{settle}");
    }
}

/// `per` is identity: what one counts the other does not, and a name is one whatever `per`.
#[test]
fn per_is_identity() {
    let server = Server::at_t0();
    reserve(&server, "k concurrent:100:per=cost COST 60 TTL 1m ID a");
    assert_eq!(used(&server, "k", "concurrent:5"), [0]);
    assert_eq!(used(&server, "k", "concurrent:70:per=cost,concurrent:5:per=call"), [60, 0]);
    reserve(&server, "k concurrent:5 COST 60 TTL 1m ID b");
    assert_eq!(used(&server, "k", "concurrent:5:per=call,concurrent:100:per=cost"), [1, 60]);
    // Two alike stand side by side, each with its own.
    reserve(&server, "l concurrent:9:per=cost,concurrent:50:per=cost COST 4 TTL 1m ID a");
    assert_eq!(used(&server, "l", "concurrent:9:per=cost,concurrent:50:per=cost"), [4, 4]);
    // By name: each reservation frees what it held.
    reserve(&server, "n concurrent:100:per=cost:name=x COST 60 TTL 1m ID a");
    reserve(&server, "n concurrent:100:name=x COST 60 TTL 1m ID b");
    assert_eq!(used(&server, "n", "concurrent:100:name=x"), [61]);
    server.line("RL.RELEASE a 1 n");
    assert_eq!(used(&server, "n", "concurrent:100:per=cost:name=x"), [1]);
    // Changed counts keep what is held.
    assert_eq!(
        reserve(&server, "k concurrent:50:per=cost COST 1 TTL 1m ID c"),
        denied().limit(50).remaining(0).retry_ms(60_000).reset_ms(60_000)
    );
    assert_error_prefix(
        &server.line("RL.ACQUIRE k concurrent:5:per=cost"),
        "ERR invalid limit 'concurrent:5:per=cost'",
    );
    assert_error_prefix(
        &server.line("RL.ACQUIRE k 5/s:per=cost"),
        "ERR invalid limit '5/s:per=cost': per=cost is only for concurrent",
    );
}

#[test]
fn keep_critical_shadow_and_partial() {
    let server = Server::at_t0();
    let limits = "concurrent:10:per=cost:keep=30%,concurrent:4:per=cost:shadow:name=s";
    assert_eq!(reserve(&server, &format!("k {limits} COST 8 TTL 1m ID a")).retry_after_ms, -1);
    assert_eq!(
        reserve(&server, &format!("k {limits} COST 8 TTL 1m ID a PARTIAL")),
        granted(7).limit(10).remaining(0).reset_ms(60_000)
    );
    // The shadow limit gives what it can, as if it were enforced.
    assert_eq!(used(&server, "k", limits), [7, 4]);
    assert_eq!(reserve(&server, &format!("k {limits} COST 8 TTL 9s ID b PARTIAL CRITICAL")).granted, 3);
    assert_eq!(used(&server, "k", limits), [10, 4], "it has nothing left and takes nothing");
    // As it is stored, and freed.
    let payload = server.line("DUMP k").bytes().to_vec();
    assert_eq!(server.call(&[b"RESTORE".as_slice(), b"copy", b"0", &payload]), Reply::ok());
    assert_eq!(server.line("DEBUG DIGEST-VALUE copy"), server.line("DEBUG DIGEST-VALUE k"));
    server.line("RL.COMMIT a 1 copy");
    assert_eq!(used(&server, "copy", limits), [3, 0]);
    // One who may not use the kept part waits for a; CRITICAL for the first that ends.
    assert_eq!(reserve(&server, &format!("k {limits} TTL 9s ID c")).retry_after_ms, 60_000);
    assert_eq!(reserve(&server, &format!("k {limits} COST 3 TTL 9s ID c CRITICAL")).retry_after_ms, 9_000);
    assert_eq!(reserve(&server, &format!("k {limits} COST 4 TTL 9s ID c CRITICAL")).retry_after_ms, 60_000);
}

#[test]
fn who_waits_is_served_when_its_places_are_free() {
    let server = Server::at_t0();
    let limits = "concurrent:10:per=cost";
    reserve(&server, &format!("k {limits} COST 6 TTL 10s ID a"));
    reserve(&server, &format!("k {limits} COST 4 TTL 5s ID b"));
    let mut waiter = waits(&server, &format!("RL.RESERVE 1 k {limits} COST 5 TTL 20s ID c WAIT 30s"));
    // Behind it: 5 of it are held until 30 s from now, and 6 are wanted.
    assert_eq!(
        reserve(&server, &format!("k {limits} COST 6 TTL 1s ID d")),
        denied().limit(10).remaining(0).retry_ms(30_000).reset_ms(10_000).behind_a_line()
    );
    server.clock_advance(5_000_000);
    assert_eq!(queue(&server, "k"), [1, 5000, 5]);
    server.line("RL.RELEASE a 1 k");
    let reply = waiter.read();
    assert_eq!(reply[1][0].rate_limit(), granted(5).limit(10).remaining(5));
    assert_eq!(used(&server, "k", limits), [5]);
}

/// Against a list of what is held; master, replica and a restart agree.
#[test]
fn it_counts_what_a_list_counts() {
    let mut server = Server::durable();
    let replica = server.replica();
    let mut dice = Dice::told();
    let mut now = T0;
    // Id, cost, end.
    let mut held: Vec<(i32, i64, i64)> = Vec::new();
    for step in 0..400 {
        server.clock_set(now);
        let id = dice.below(12);
        match dice.below(10) {
            0..=4 => {
                let (cost, ttl) = (1 + dice.below(25_i64), 1 + dice.below(5_000_i64));
                let sum: i64 = held.iter().map(|one| one.1).sum();
                let known = held.iter().find(|one| one.0 == id).map(|one| one.1);
                let room = if held.len() < 8 { 60 - sum } else { 0 };
                let partial = dice.chance(40);
                let want = if partial {
                    cost.min(room.max(0))
                } else if cost <= room {
                    cost
                } else {
                    0
                };
                let flag = if partial { "PARTIAL" } else { "" };
                let command =
                    format!("k concurrent:8,concurrent:60:per=cost COST {cost} TTL {ttl}ms ID {id} {flag}");
                let reply = reserve(&server, &command);
                assert_eq!(reply.granted, known.unwrap_or(want), "step {step}: {command}, {held:?}");
                if known.is_none() && want > 0 {
                    held.push((id, want, now + ttl * 1000));
                } else if known.is_none() {
                    // When it would be granted: after how many ends.
                    let least = if partial { 1 } else { cost };
                    let mut ends: Vec<i64> = held.iter().map(|one| one.2).collect();
                    ends.sort_unstable();
                    let free = ends.iter().find(|&&at| {
                        let left: Vec<_> = held.iter().filter(|one| one.2 > at).collect();
                        left.len() < 8 && left.iter().map(|one| one.1).sum::<i64>() + least <= 60
                    });
                    assert_eq!(
                        reply.retry_after_ms,
                        (free.expect("it fits when all have ended") - now + 999) / 1000
                    );
                }
            }
            5 => {
                server.line(&format!("RL.COMMIT {id} 1 k COST {}", dice.below(40)));
                held.retain(|one| one.0 != id);
            }
            6 => {
                server.line(&format!("RL.RENEW {id} TTL 4s 1 k"));
                held.iter_mut().filter(|one| one.0 == id).for_each(|one| one.2 = now + 4_000_000);
            }
            _ => now += dice.below(1_500) * 1000,
        }
        server.clock_set(now);
        held.retain(|one| one.2 > now);
        let expected = [held.len() as i64, held.iter().map(|one| one.1).sum()];
        assert_eq!(used(&server, "k", "concurrent:8,concurrent:60:per=cost"), expected, "step {step}");
        if step % 100 == 99 {
            wait_synced(&server, &replica);
            assert_same_data(&server, &replica);
            assert_survives_kill(&mut server, Some(now));
        }
    }
}
