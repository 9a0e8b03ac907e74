//! Queues where other things happen to them: keys overwritten, commands
//! in odd orders, clients that vanish, usage that is tracked, rights of others.

use crate::harness::{
    Program, Reply, Server, T0, Wire, assert_error_prefix, assert_same_data, call, cluster, eventually,
    wait_synced,
};
use crate::queue::fixtures::{MOMENT, SOON, answered, client_id, counter, queue, used, waiting_now, waits};
use crate::support::denied;
use std::time::Duration;

#[test]
fn w5_an_overwritten_key_moves_its_line_at_once() {
    for (overwrites, becomes_text) in [
        ("SET k text", true),
        ("SETEX k 100 text", true),
        ("GETSET k text", true),
        ("BITOP OR k bits", true),
        ("SORT list STORE k", true),
        ("SUNIONSTORE k set", true),
        ("GEOSEARCHSTORE k geo FROMLONLAT 0 0 BYRADIUS 1 m", true),
        ("RENAME list k", true),
        ("COPY list k REPLACE", true),
        ("COPY half k REPLACE", false),
        ("RENAME half k", false),
        ("RESTORE", false),
    ] {
        let server = Server::at_t0();
        let mut wire = server.wire();
        for line in
            ["SET bits x", "RPUSH list 1", "SADD set 1", "GEOADD geo 0 0 a", "RL.ACQUIRE half 10/m COST 5"]
        {
            assert!(wire.line(line).error().is_none());
        }
        let payload = call!(wire, "DUMP", "half").bytes().to_vec();
        wire.line("RL.ACQUIRE k 10/m COST 10");
        let mut first = waits(&server, "RL.ACQUIRE k 10/m COST 4 WAIT 30s");
        let mut second = waits(&server, "RL.ACQUIRE k 10/m COST 4 WAIT 30s");
        let reply = match overwrites {
            "RESTORE" => call!(wire, "RESTORE", "k", 0, payload, "REPLACE"),
            "GETSET k text" => {
                // It wants a string to get.
                assert_error_prefix(&wire.line(overwrites), "WRONGTYPE");
                continue;
            }
            line => wire.line(line),
        };
        assert!(reply.error().is_none(), "{overwrites}: {reply:?}");
        let reply = first.read_within(SOON).unwrap_or_else(|| panic!("{overwrites}"));
        if becomes_text {
            assert_error_prefix(&reply, "WRONGTYPE");
            assert_error_prefix(&second.read(), "WRONGTYPE");
            assert_eq!(waiting_now(&server), 0);
        } else {
            assert_eq!(reply.rate_limit().granted, 4, "{overwrites}");
            assert_eq!((queue(&server, "k")[0], used(&server, "k")), (1, 9), "{overwrites}");
            second.assert_blocked_for(MOMENT);
        }
    }
}

#[test]
fn an_overwritten_key_of_another_database_is_another_key() {
    let server = Server::at_t0();
    let mut other = server.wire();
    other.line("SELECT 5");
    for wire in [&mut server.wire(), &mut other] {
        wire.line("RL.ACQUIRE k 10/m COST 10");
    }
    let mut waiter = waits(&server, "RL.ACQUIRE k 10/m WAIT 30s");
    other.line("SET k text");
    other.line("DEL k");
    waiter.assert_blocked_for(MOMENT);
    server.line("DEL k");
    assert_eq!(answered(&mut waiter).granted, 1);
}

/// `[requests, granted, denied, denied requests]` in all.
#[track_caller]
fn tracked(server: &Server, key: &str) -> [i64; 4] {
    let stats = call!(server, "RL.STATS", key);
    if stats.is_nil() {
        return [0; 4];
    }
    let total = stats.field("total");
    ["requests", "granted", "denied", "denied_requests"].map(|name| total.field(name).int())
}

#[track_caller]
fn eventually_tracked(server: &Server, key: &str, expected: [i64; 4], what: &str) {
    let start = std::time::Instant::now();
    while tracked(server, key) != expected {
        assert!(start.elapsed() < SOON, "{what}: {:?}, not {expected:?}", tracked(server, key));
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_tracked_key_counts_each_waiter_once_by_what_became_of_it() {
    let server = Server::builder().module_args(["enable-debug-command", "yes", "queue-max", "3"]).start();
    server.clock_set(T0);
    let replica = server.replica();
    let mut wire = server.wire();
    wire.line("RL.ACQUIRE k 10/m COST 9 TRACK");
    assert_eq!(tracked(&server, "k"), [1, 9, 0, 0]);
    let mut late = waits(&server, "RL.ACQUIRE k 10/m COST 5 WAIT 5s");
    let mut served = waits(&server, "RL.ACQUIRE k 10/m COST 4 WAIT 30s");
    let mut too_much = waits(&server, "RL.ACQUIRE k 10/m COST 7 WAIT 30s");
    assert_eq!(tracked(&server, "k"), [1, 9, 0, 0], "who waits is not counted yet");
    wire.line("RL.ACQUIRE k 10/m COST 2 WAIT 30s");
    assert_eq!(tracked(&server, "k"), [2, 9, 2, 1], "refused as full");
    wire.line("RL.ACQUIRE k 10/m COST 3");
    assert_eq!(tracked(&server, "k"), [3, 9, 5, 2], "denied behind the line");
    server.clock_advance(5_000_000);
    assert_eq!(answered(&mut late).granted, 0);
    eventually_tracked(&server, "k", [4, 9, 10, 3], "its time was up");
    wire.line("RL.REFUND k 4");
    assert_eq!(answered(&mut served).granted, 4);
    eventually_tracked(&server, "k", [5, 13, 10, 3], "served");
    wire.line("RL.PIN k 6/m");
    assert_eq!(answered(&mut too_much), denied().limit(6).remaining(0).retry_never());
    eventually_tracked(&server, "k", [6, 13, 17, 4], "sent away");
    wire.line("RL.UNPIN k");
    let mut unblocked = server.wire();
    let id = client_id(&mut unblocked);
    unblocked.send_line("RL.ACQUIRE k 10/m COST 8 WAIT 30s");
    eventually(SOON, "it stands in line", || waiting_now(&server) == 1);
    call!(wire, "CLIENT", "UNBLOCK", id);
    assert_eq!(answered(&mut unblocked).granted, 0);
    eventually_tracked(&server, "k", [7, 13, 25, 5], "unblocked");
    // Who hangs up has not been answered.
    drop(waits(&server, "RL.ACQUIRE k 10/m COST 8 WAIT 30s"));
    eventually(SOON, "it is gone", || waiting_now(&server) == 0);
    assert_eq!(tracked(&server, "k"), [7, 13, 25, 5]);
    // One that asks for its key to be tracked begins it, granted or not.
    wire.line("RL.ACQUIRE t 1/m");
    let mut first = waits(&server, "RL.ACQUIRE t 1/m WAIT 5s TRACK");
    assert_eq!(tracked(&server, "t"), [0; 4]);
    server.clock_advance(5_000_000);
    assert_eq!(answered(&mut first).granted, 0);
    eventually_tracked(&server, "t", [1, 0, 1, 1], "its time was up");
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
}

#[test]
fn reservations_and_limited_breakers_count_on_a_tracked_key() {
    let server = Server::at_t0();
    let replica = server.replica();
    let mut wire = server.wire();
    for key in ["a", "b"] {
        wire.line(&format!("RL.ACQUIRE {key} 100/m COST 10 TRACK"));
    }
    wire.line("RL.RESERVE 2 a 100/m b 100/m COST 20 TTL 1m ID r");
    wire.line("RL.RESERVE 2 a 100/m b 100/m COST 20 TTL 1m ID r");
    assert_eq!([tracked(&server, "a"), tracked(&server, "b")], [[2, 30, 0, 0]; 2], "a retry is no request");
    wire.line("RL.ACQUIRE b 100/m COST 70");
    wire.line("RL.RESERVE 2 a 100/m b 100/m COST 20 TTL 1m");
    assert_eq!([tracked(&server, "a"), tracked(&server, "b")], [[3, 30, 20, 1], [4, 100, 20, 1]]);
    let mut waiter = waits(&server, "RL.RESERVE 1 b 100/m COST 5 TTL 1m ID w WAIT 30s");
    wire.line("RL.REFUND b 5");
    assert_eq!(waiter.read_within(SOON).expect("an answer")[0], Reply::bulk("w"));
    assert_eq!(tracked(&server, "b"), [5, 105, 20, 1]);
    let mut late = waits(&server, "RL.RESERVE 1 b 100/m COST 5 TTL 1m WAIT 1s");
    server.clock_advance(1_000_000);
    assert!(late.read_within(SOON).expect("an answer")[0].is_nil());
    eventually_tracked(&server, "b", [6, 105, 25, 2], "its time was up");
    // What is settled is what the work cost, not another decision.
    wire.line("RL.COMMIT r 2 a b COST 3");
    assert_eq!(tracked(&server, "a"), [3, 30, 20, 1]);
    assert_eq!(wire.line("CB.ACQUIRE c 50%/60s LIMIT a 100/m COST 7")[0], Reply::Int(1));
    assert_eq!(wire.line("CB.ACQUIRE c 50%/60s LIMIT b 100/m COST 90")[0], Reply::Int(0));
    assert_eq!([tracked(&server, "a"), tracked(&server, "b")], [[4, 37, 20, 1], [7, 105, 115, 3]]);
    // The breaker alone denies: nothing was asked of the limit.
    wire.line("CB.FORCE c OPEN");
    wire.line("CB.ACQUIRE c 50%/60s LIMIT a 100/m COST 7");
    assert_eq!(tracked(&server, "a"), [4, 37, 20, 1]);
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
}

#[test]
fn times_that_are_up_while_clients_are_paused_are_counted_afterwards() {
    let server = Server::start();
    let replica = server.replica();
    server.line("RL.ACQUIRE k 1/h TRACK");
    let mut waiter = waits(&server, "RL.ACQUIRE k 1/h WAIT 50ms");
    server.line("CLIENT PAUSE 300 WRITE");
    assert_eq!(waiter.read_within(SOON).expect("an answer").rate_limit().granted, 0);
    eventually_tracked(&server, "k", [2, 1, 1, 1], "after the pause");
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
}

/// Five real seconds: nothing but real time can show it.
#[test]
fn the_servers_timer_alone_ends_a_wait() {
    let server = Server::at_t0();
    server.line("RL.ACQUIRE k 1/h");
    // The module's clock stands still, and that ends nothing.
    let mut waiter = waits(&server, "RL.ACQUIRE k 1/h WAIT 50ms");
    assert_eq!(waiter.read_within(2 * SOON).expect("an answer").rate_limit().granted, 0);
    assert_eq!(server.line("RL.QUEUE k").to_ints()[0], 0);
    // It moves, and that neither.
    let mut waiter = waits(&server, "RL.ACQUIRE k 1/h WAIT 20s");
    server.clock_advance(60_000_000);
    waiter.assert_blocked_for(MOMENT);
    server.clock_advance(3_540_000_000);
    assert_eq!(answered(&mut waiter).granted, 1);
}

#[test]
fn a_client_that_vanishes_once_it_is_chosen_disturbs_nobody() {
    let server = Server::at_t0();
    let mut wire = server.wire();
    wire.line("RL.ACQUIRE k 10/20s COST 10");
    let mut all: Vec<(Wire, i64)> = (0..6)
        .map(|_| {
            let mut wire = server.wire();
            let id = client_id(&mut wire);
            let before = waiting_now(&server);
            wire.send_line("RL.ACQUIRE k 10/20s COST 5 WAIT 30s");
            eventually(SOON, "it stands in line", || waiting_now(&server) == before + 1);
            (wire, id)
        })
        .collect();
    // In one go: time passes, so that the first two are chosen, and both are
    // killed before the server gets to send them anything.
    let kill = |client: usize| format!("CLIENT KILL ID {}", all[client].1);
    let replies =
        wire.lines(&["RL.DEBUG CLOCK ADVANCE 20000000", &kill(0), &kill(1), "RL.QUEUE k", "RL.REFUND k 5"]);
    assert_eq!(replies[3][0], Reply::Int(4), "the others wait on");
    // As with any reply that is lost on its way, what was granted is charged:
    // five of the ten were given back, and went to the next.
    assert_eq!(answered(&mut all[2].0).granted, 5);
    all[3].0.assert_blocked_for(MOMENT);
    assert_eq!((used(&server, "k"), queue(&server, "k")[0]), (10, 3));
    // And one that is killed before it would be chosen is not charged.
    let replies = wire.lines(&["RL.REFUND k 5", &format!("CLIENT KILL ID {}", all[3].1)]);
    assert_eq!(replies, [Reply::Int(5), Reply::Int(1)]);
    assert_eq!(answered(&mut all[4].0).granted, 5);
    assert_eq!((used(&server, "k"), queue(&server, "k")[0]), (10, 1));
    // A hundred who hang up while they are being served.
    for _ in 0..100 {
        server.line("RL.ACQUIRE many 1/s");
        drop(waits(&server, "RL.ACQUIRE many 1/s WAIT 30s"));
        server.clock_advance(1_000_000);
    }
    drop(all);
    eventually(SOON, "nobody is left", || waiting_now(&server) == 0);
    server.clock_advance(20_000_000);
    assert_eq!(server.line("RL.ACQUIRE k 10/20s COST 10").rate_limit().granted, 10);
}

/// Redis 7.0 takes a waiter that it has tried in vain, outside of a command, for the current client.
#[test]
fn a_waiter_that_is_killed_after_a_grant_to_another_leaves_nothing_behind() {
    for key in ["k", "k}"] {
        let server = Server::at_t0();
        let _replica = server.replica();
        killed_after_a_grant(&server, key, "m");
    }
}

/// In a cluster the name that a waiter is blocked on is in the slot of the key, whatever the key.
#[test]
fn a_waiter_that_is_killed_after_a_grant_to_another_leaves_nothing_behind_in_a_cluster() {
    let cluster = cluster(3, 3);
    for key in ["k", "{k}m", "k}", "{}k"] {
        let server = cluster.owner(key);
        let mut letters = ('l'..='z').map(String::from);
        let other = letters.find(|letter| cluster.owner(letter).port() == server.port());
        killed_after_a_grant(server, key, &other.expect("each node has some letters"));
    }
}

fn killed_after_a_grant(server: &Server, key: &str, other: &str) {
    let mut wire = server.wire();
    wire.line(&format!("RL.ACQUIRE {key} 1/h"));
    wire.line(&format!("RL.ACQUIRE {other} 2/h COST 2"));
    let mut first = waits(server, &format!("RL.ACQUIRE {key} 1/h WAIT 30s"));
    let mut killed = server.wire();
    let id = client_id(&mut killed);
    killed.send_line(&format!("RL.ACQUIRE {key} 1/h WAIT 30s"));
    let mut served =
        [1, 1].map(|cost| waits(server, &format!("RL.ACQUIRE {other} 2/h COST {cost} WAIT 30s")));
    eventually(SOON, "all stand in line", || waiting_now(server) == 4);
    // The grant makes the key anew, on which the other still waits.
    wire.line(&format!("DEL {key}"));
    assert!(answered(&mut first).is_granted());
    assert_eq!(wire.line(&format!("CLIENT KILL ID {id}")), Reply::Int(1));
    // The memory of the killed client is used for something else.
    for size in (500..2500).step_by(50) {
        wire.line(&format!("SET {{{other}}}:{size} {}", "x".repeat(size)));
    }
    wire.line(&format!("RL.RESET {other}"));
    assert!(served.iter_mut().all(|wire| answered(wire).is_granted()));
}

#[test]
fn waiters_whose_limits_are_gone_are_told_so() {
    let server = Server::at_t0();
    let mut wire = server.wire();
    wire.line("RL.POLICY SET api 2/20s");
    wire.line("RL.ACQUIRE k @api COST 2");
    let mut named = waits(&server, "RL.ACQUIRE k @api WAIT 30s");
    let mut own = waits(&server, "RL.ACQUIRE k 10/20s COST 9 WAIT 30s");
    wire.line("RL.POLICY DEL api");
    assert_error_prefix(&named.read(), "ERR no policy 'api'");
    own.assert_blocked_for(MOMENT);
    server.clock_advance(20_000_000);
    assert_eq!(answered(&mut own).granted, 9);
    // A pin to a policy that is gone is passed over; the line goes on by the caller's.
    wire.line("RL.POLICY SET tight 1/h");
    wire.line("RL.ACQUIRE p 10/m");
    wire.line("RL.PIN p @tight");
    wire.line("RL.ACQUIRE p 10/m");
    let mut pinned = waits(&server, "RL.ACQUIRE p 10/m WAIT 30s");
    assert_eq!(wire.line("RL.POLICY DEL tight"), Reply::Int(1));
    assert_eq!(answered(&mut pinned).granted, 1);
}

#[test]
fn a_limit_that_shrinks_sends_away_who_can_never_be_served() {
    let server = Server::at_t0();
    let mut wire = server.wire();
    wire.line("RL.POLICY SET p 10/m PREFIX k");
    wire.line("RL.ACQUIRE k COST 10");
    let mut all: Vec<Wire> =
        [8, 3, 6].iter().map(|n| waits(&server, &format!("RL.ACQUIRE k COST {n} WAIT 1s"))).collect();
    wire.line("RL.POLICY SET p 5/m PREFIX k");
    assert_eq!(answered(&mut all[0]), denied().limit(5).remaining(0).retry_never());
    all[1].assert_blocked_for(MOMENT);
    for wire in &mut all[1..] {
        assert_eq!(answered(wire).granted, 0, "its time is up");
    }
}

#[test]
fn a_blocked_key_keeps_its_line_until_the_block_ends() {
    let server = Server::at_t0();
    let mut wire = server.wire();
    wire.line("RL.BLOCK k FOR 10s");
    let mut first = waits(&server, "RL.ACQUIRE k 10/m WAIT 30s");
    assert_eq!(
        wire.line("RL.ACQUIRE k 10/m").rate_limit(),
        denied().retry_ms(10_000).reset_ms(0).behind_a_line()
    );
    let mut second = waits(&server, "RL.ACQUIRE k 10/m WAIT 30s");
    wire.line("RL.BLOCK k FOR 20s");
    server.clock_advance(10_000_000);
    first.assert_blocked_for(MOMENT);
    wire.line("RL.UNBLOCK k");
    assert_eq!((answered(&mut first).granted, answered(&mut second).granted), (1, 1));
    // For ever is too long to wait for, before and after.
    wire.line("RL.ACQUIRE k 10/m COST 8");
    let mut third = waits(&server, "RL.ACQUIRE k 10/m WAIT 20s");
    wire.line("RL.BLOCK k FOREVER");
    assert_eq!(answered(&mut third), denied().retry_never().reset_ms(60_000).blocked());
    assert_eq!(
        wire.line("RL.ACQUIRE k 10/m WAIT 20s").rate_limit(),
        denied().retry_never().reset_ms(60_000).blocked()
    );
    assert_eq!(used(&server, "k"), 10);
}

#[test]
fn who_watches_or_caches_a_key_hears_of_a_grant_from_its_line() {
    let server = Server::at_t0();
    server.line("CONFIG SET notify-keyspace-events KEA");
    server.line("RL.ACQUIRE k 10/m COST 10");
    let mut cache = server.wire3();
    cache.line("CLIENT TRACKING ON");
    cache.line("RL.QUOTA k 10/m");
    let mut watcher = server.wire();
    watcher.line("WATCH k");
    let mut events = server.wire3();
    events.send_line("SUBSCRIBE __keyspace@0__:k");
    assert_eq!(events.push(SOON).expect("it is subscribed")[0], Reply::bulk("subscribe"));
    let mut waiter = server.wire3();
    waiter.send_line("RL.RESERVE 1 k 10/m COST 3 TTL 1m ID r WAIT 30s");
    eventually(SOON, "it stands in line", || waiting_now(&server) == 1);
    server.clock_advance(60_000_000 - 30_000_001);
    waiter.assert_blocked_for(MOMENT);
    assert!(cache.push(MOMENT).is_none(), "nothing happened yet");
    server.line("RL.REFUND k 3");
    assert_eq!(waiter.read()[0], Reply::bulk("r"));
    assert_eq!(cache.push(SOON).expect("an invalidation")[0], Reply::bulk("invalidate"));
    watcher.line("MULTI");
    watcher.line("PING");
    assert!(watcher.line("EXEC").is_nil(), "the key it watched has changed");
    let heard: Vec<String> = std::iter::from_fn(|| events.push(MOMENT * 10))
        .filter_map(|push| push.items().get(2).filter(|item| matches!(item, Reply::Bulk(_))).map(Reply::text))
        .collect();
    assert_eq!(heard, ["rl.refund", "rl.reserve"]);
    // Denied, in RESP3.
    let mut late = server.wire3();
    late.send_line("RL.RESERVE 1 k 10/m COST 3 TTL 1m WAIT 1s");
    eventually(SOON, "it stands in line", || waiting_now(&server) == 1);
    server.clock_advance(1_000_000);
    assert_eq!(late.read()[0], Reply::Null);
}

#[test]
fn transactions_and_scripts_move_lines_once_they_are_done() {
    let server = Server::at_t0();
    let mut wire = server.wire();
    wire.line("RL.ACQUIRE k 10/m COST 10");
    let mut first = waits(&server, "RL.ACQUIRE k 10/m COST 4 WAIT 30s");
    let mut second = waits(&server, "RL.ACQUIRE k 10/m COST 4 WAIT 30s");
    // Gone and back again in one transaction: the line sees what is there then.
    for line in ["MULTI", "DUMP k", "DEL k", "RL.ACQUIRE k 10/m CRITICAL COST 8", "EXEC"] {
        wire.line(line);
    }
    first.assert_blocked_for(MOMENT);
    assert_eq!((used(&server, "k"), queue(&server, "k")[0]), (8, 2));
    let script = "redis.call('RL.REFUND', KEYS[1], 8) return redis.call('RL.ACQUIRE', KEYS[1], '10/m')";
    let reply = call!(wire, "EVAL", script, 1, "k").rate_limit();
    assert_eq!(reply, denied().behind_a_line(), "nobody overtakes in a script");
    assert_eq!((answered(&mut first).granted, answered(&mut second).granted), (4, 4));
    // A script that is denied by a line that its own command has ended.
    let mut third = waits(&server, "RL.ACQUIRE k 10/m COST 4 WAIT 30s");
    let id = call!(wire, "CLIENT", "LIST").text();
    let id = id.lines().find(|line| line.contains("cmd=rl.acquire") && line.contains("flags=b"));
    let id = id.and_then(|line| line.split(['=', ' ']).nth(1)).expect("its id").to_owned();
    for line in ["MULTI", &format!("CLIENT KILL ID {id}"), "RL.ACQUIRE k 10/m COST 2", "EXEC"] {
        let reply = wire.line(line);
        if line == "EXEC" {
            assert_eq!(reply[1].rate_limit().granted, 2, "the line is gone, and the units are there");
        }
    }
    assert!(third.closes_within(SOON));
}

#[test]
fn a_replica_that_takes_writes_keeps_no_lines() {
    let server = Server::at_t0();
    let replica = server.replica_with(&["--replica-read-only", "no"]);
    replica.clock_set(T0);
    replica.line("RL.ACQUIRE own 1/m");
    assert_eq!(
        replica.line("RL.ACQUIRE own 1/m WAIT 30s").rate_limit(),
        denied().limit(1).remaining(0).retry_ms(60_000).reset_ms(60_000)
    );
    assert_eq!(waiting_now(&replica), 0);
    // Promoted, it does.
    replica.ok("REPLICAOF NO ONE");
    let mut waiter = waits(&replica, "RL.ACQUIRE own 1/m WAIT 30s");
    replica.line("DEL own");
    assert_eq!(answered(&mut waiter).granted, 1);
}

#[test]
fn memory_at_its_limit_holds_up_the_line() {
    let server = Server::at_t0();
    server.line("RL.ACQUIRE k 10/m COST 10");
    let mut waiter = waits(&server, "RL.ACQUIRE k 10/m COST 4 WAIT 30s");
    server.config_set("maxmemory", "1");
    assert_error_prefix(&server.line("RL.ACQUIRE k 10/m WAIT 30s"), "OOM");
    server.line("RL.REFUND k 4");
    waiter.assert_blocked_for(MOMENT);
    server.config_set("maxmemory", "0");
    assert_eq!(answered(&mut waiter).granted, 4);
    assert_eq!(used(&server, "k"), 10);
}

#[test]
fn lines_of_several_databases_are_several_lines() {
    let server = Server::at_t0();
    let mut wires: Vec<Wire> = (0..4)
        .map(|db| {
            let mut wire = server.wire();
            wire.line(&format!("SELECT {db}"));
            wire.line(&format!("RL.ACQUIRE k 1/{}s", db + 1));
            let before = waiting_now(&server);
            wire.send_line(&format!("RL.ACQUIRE k 1/{}s WAIT 30s", db + 1));
            eventually(SOON, "it stands in line", || waiting_now(&server) == before + 1);
            wire
        })
        .collect();
    for db in 0..4 {
        for wire in &mut wires[db..] {
            wire.assert_blocked_for(Duration::from_millis(5));
        }
        server.clock_advance(1_000_000);
        assert_eq!(answered(&mut wires[db]).granted, 1);
        assert_eq!(wires[db].line("RL.QUEUE k").to_ints()[0], 0);
    }
    // Swapped, a line sees the key that is now in its database.
    server.line("RL.ACQUIRE s 10/m COST 10");
    let mut first = waits(&server, "RL.ACQUIRE s 10/m COST 6 WAIT 30s");
    wires[1].line("RL.ACQUIRE s 10/m COST 3");
    server.line("SWAPDB 0 1");
    assert_eq!(answered(&mut first).granted, 6);
    assert_eq!((used(&server, "s"), wires[1].line("RL.QUOTA s")[0].field("used").int()), (9, 10));
}

#[test]
fn a_promoted_replica_serves_lines_of_its_own() {
    let server = Server::at_t0();
    let replica = server.replica();
    server.line("RL.RESERVE 1 k concurrent:1 TTL 40s ID a");
    wait_synced(&server, &replica);
    replica.clock_set(T0);
    replica.ok("REPLICAOF NO ONE");
    let mut waiter = waits(&replica, "RL.RESERVE 1 k concurrent:1 TTL 5s ID b WAIT 30s");
    assert_eq!(
        replica.line("RL.COMMIT a 1 k"),
        Reply::Int(1),
        "it honours what was reserved on the old master"
    );
    assert_eq!(waiter.read()[0], Reply::bulk("b"));
    // Demoted again, and back: what it served stands, who waits is sent away.
    let mut other = waits(&replica, "RL.RESERVE 1 k concurrent:1 TTL 5s WAIT 30s");
    replica.follow(&server);
    assert_error_prefix(&other.read(), "UNBLOCKED");
    replica.ok("REPLICAOF NO ONE");
    assert_eq!(waiting_now(&replica), 0);
    assert_eq!(call!(replica, "RL.RESERVATIONS", "k")[0][0], Reply::bulk("a"), "the old master's word");
}

#[test]
fn every_wait_is_counted_where_it_ended() {
    let server = Server::builder()
        .module_args(["enable-debug-command", "yes", "default-limit", "1/m:shadow,1/m:name=n"])
        .start();
    server.clock_set(T0);
    server.ok("RL.POLICY SET p 1/m PREFIX p:");
    let denied = |server: &Server| server.counter("acquire_denied");
    let policy = |server: &Server| {
        let by = call!(server, "RL.METRICS").field("denied_by_policy");
        by.get("p").map_or(0, |n| n.int())
    };
    server.line("RL.ACQUIRE p:1");
    let mut waiter = waits(&server, "RL.ACQUIRE p:1 WAIT 1s");
    server.line("RL.ACQUIRE p:1");
    assert_eq!((denied(&server), policy(&server)), (1, 1), "behind the line");
    server.clock_advance(1_000_000);
    assert_eq!(answered(&mut waiter).granted, 0);
    assert_eq!((denied(&server), policy(&server)), (2, 2), "its time was up");
    assert_eq!((counter(&server, "timed_out"), counter(&server, "served")), (1, 0));
}

/// Valkey 9 and Redis 8.4 move a slot as a stream of commands and hand it over
/// in one moment, while a client that waits sits still.
#[test]
fn a_slot_handed_over_in_one_moment_takes_no_waiter_along() {
    let program = Program::under_test();
    if program.version < if program.valkey { (9, 0, 0) } else { (8, 4, 0) } {
        return;
    }
    let cluster = cluster(3, 0);
    let from = cluster.owner_index("k");
    let (from, to) = (&cluster.nodes[from], &cluster.nodes[(from + 1) % 3]);
    // By the real clock: what is handed over is decided again by the new owner.
    from.line("RL.ACQUIRE k 10/h COST 10");
    let mut all: Vec<Wire> = (0..20).map(|_| waits(from, "RL.ACQUIRE k 10/h COST 2 WAIT 30s")).collect();
    let slot = cluster.slot("k").to_string();
    let started = if program.valkey {
        from.call(&["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", &slot, &slot, "NODE", &to.node_id()])
    } else {
        to.call(&["CLUSTER", "MIGRATION", "IMPORT", &slot, &slot])
    };
    assert!(started.error().is_none(), "{started:?}");
    for wire in &mut all {
        assert_error_prefix(&wire.read(), "MOVED");
    }
    eventually(SOON, "nobody is left", || waiting_now(from) == 0);
    eventually(SOON, "the slot has moved", || cluster.owner("k").port() == to.port());
    assert_eq!(used(to, "k"), 10, "nothing was charged");
    let mut again = waits(to, "RL.ACQUIRE k 10/h COST 2 WAIT 30s");
    to.line("RL.REFUND k 2");
    assert_eq!(answered(&mut again).granted, 2);
}

/// A reservation is one, however often and in however many places its request waits.
#[test]
fn w5_retries_of_a_granted_reservation_leave_the_line_with_it() {
    let server = Server::at_t0();
    let mut wire = server.wire();
    wire.line("RL.RESERVE 1 k concurrent:2 TTL 1h ID h1");
    wire.line("RL.RESERVE 1 k concurrent:2 TTL 1h ID h2");
    let ask = |id: &str| waits(&server, &format!("RL.RESERVE 1 k concurrent:2 TTL 1h ID {id} WAIT 20s"));
    let (mut first, mut other, mut retry) = (ask("a"), ask("b"), ask("a"));
    let granted = |wire: &mut Wire| {
        let reply = wire.read_within(SOON).expect("an answer");
        (reply[0].text(), reply[1][0].rate_limit().granted)
    };
    wire.line("RL.RELEASE h1 1 k");
    assert_eq!(granted(&mut first), ("a".into(), 1));
    assert_eq!(granted(&mut retry), ("a".into(), 1));
    assert_eq!(queue(&server, "k")[0], 1);
    assert_eq!((counter(&server, "served"), waiting_now(&server)), (2, 1));
    // So no place is left to nobody.
    assert_eq!(wire.line("RL.COMMIT a 1 k"), Reply::Int(1));
    assert_eq!(granted(&mut other), ("b".into(), 1));
    wire.line("RL.RELEASE h2 1 k");
    let open = wire.line("RL.RESERVATIONS k");
    assert_eq!(open.items().iter().map(|one| one[0].text()).collect::<Vec<_>>(), ["b"]);
}

/// One of its calls passes the line, and the other waits there.
#[test]
fn w5_a_waiter_gets_the_reservation_of_its_id_as_soon_as_another_call_has_it() {
    for passes in [
        "RL.RESERVE 1 k 10/m:keep=50% TTL 1h ID a CRITICAL",
        "RL.RESERVE 2 other 5/m k 10/m:keep=50% TTL 1h ID a CRITICAL",
        "CB.ACQUIRE b 1 LIMIT k 10/m:keep=50% TTL 1h ID a CRITICAL",
    ] {
        let server = Server::at_t0();
        let mut wire = server.wire();
        wire.line("RL.ACQUIRE k 10/m:keep=50% COST 5 TRACK");
        let _ahead = waits(&server, "RL.ACQUIRE k 10/m:keep=50% COST 4 WAIT 20s");
        let mut waiter = waits(&server, "RL.RESERVE 1 k 10/m:keep=50% TTL 1h ID a WAIT 20s");
        let mut other = waits(&server, "RL.RESERVE 1 k 10/m:keep=50% TTL 1h ID b WAIT 20s");
        assert!(wire.line(passes).error().is_none());
        let reply = waiter.read_within(SOON).expect("an answer");
        assert_eq!((&reply[0], reply[1][0].rate_limit().granted), (&Reply::bulk("a"), 1), "{passes}");
        other.assert_blocked_for(MOMENT);
        assert_eq!((counter(&server, "served"), waiting_now(&server)), (1, 2));
        let today = wire.line("RL.STATS k").field("today");
        assert_eq!((today.field("granted").int(), today.field("denied").int()), (6, 0));
    }
}

#[test]
fn w5_a_wait_that_ends_finds_the_reservation_of_its_id() {
    let server = Server::at_t0();
    let mut wire = server.wire();
    wire.line("RL.RESERVE 1 half 10/m:keep=50% COST 5 TTL 1h ID a");
    wire.line("RL.ACQUIRE k 10/m:keep=50% COST 5");
    let _ahead = waits(&server, "RL.ACQUIRE k 10/m:keep=50% COST 4 WAIT 20s");
    let mut waiter = server.wire();
    let id = client_id(&mut waiter);
    waiter.send_line("RL.RESERVE 1 k 10/m:keep=50% TTL 1h ID a WAIT 20s");
    eventually(SOON, "it waits", || waiting_now(&server) == 2);
    // It comes with another value, and the head is not served there either.
    assert_eq!(wire.line("RENAME half k"), Reply::ok());
    assert_eq!(call!(wire, "CLIENT", "UNBLOCK", id), Reply::Int(1));
    let reply = waiter.read_within(SOON).expect("an answer");
    assert_eq!((&reply[0], reply[1][0].rate_limit().granted), (&Reply::bulk("a"), 5));
}
