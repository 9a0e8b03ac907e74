//! RL.RESERVE … PARTIAL: the most that all limits of all keys can give, the same on each.

use crate::harness::{
    Reply, Server, T0, assert_error, assert_error_prefix, assert_same_data, assert_survives_kill, snapshot,
    wait_synced,
};
use crate::limits::fixtures::{acquire, used};
use crate::queue::fixtures::waits;
use crate::support::{Dice, denied, granted};

const MINUTE: i64 = 60_000_000;

/// The units that each key says it grants.
#[track_caller]
fn granted_units(server: &Server, command: &str) -> Vec<i64> {
    let reply = server.line(command);
    assert!(reply.error().is_none(), "{command}: {reply:?}");
    let all: Vec<i64> = reply[1].items().iter().map(|one| one[0].int()).collect();
    assert_eq!(reply[0].is_nil(), all.contains(&0), "{command}: {reply:?}");
    all
}

#[test]
fn every_key_gives_as_much_as_the_one_that_can_give_least() {
    let server = Server::at_t0();
    let (org, project, user) = ("100/m", "50/m,concurrent:2", "bucket:10/m,3/m:per=call");
    assert_eq!(acquire(&server, "org 100/m COST 40").granted, 40);
    assert_eq!(acquire(&server, &format!("user {user} COST 3")).granted, 3);
    let ask = |cost: u64, id: &str| {
        format!("RL.RESERVE 3 org {org} project {project} user {user} COST {cost} TTL 10m ID {id} PARTIAL")
    };
    let reply = server.line(&ask(500, "a"));
    assert_eq!(reply[0], Reply::bulk("a"));
    assert_eq!(reply[1][0].rate_limit(), granted(7).limit(100).remaining(53).reset_ms(61_200));
    assert_eq!(reply[1][1].rate_limit(), granted(7).limit(2).remaining(1).reset_ms(600_000).index(1));
    assert_eq!(reply[1][2].rate_limit(), granted(7).limit(10).remaining(0).reset_ms(60_000));
    assert_eq!(used(&server, "org", org), [47]);
    assert_eq!(used(&server, "project", project), [7, 1]);
    assert_eq!(used(&server, "user", user), [10, 2]);
    assert_eq!(server.line("RL.RESERVATIONS org")[0][1], Reply::Int(7), "its cost is what was granted");
    // One key has nothing left: none gives anything, and it says when it has one unit.
    let reply = server.line(&ask(500, "b"));
    assert!(reply[0].is_nil());
    assert_eq!(
        reply[1][0].rate_limit(),
        denied().limit(100).remaining(53).retry_ms(6000).reset_ms(61_200).by_another_item()
    );
    assert_eq!(reply[1][2].rate_limit(), denied().limit(10).remaining(0).retry_ms(6000).reset_ms(60_000));
    server.clock_advance(5_999_000);
    assert_eq!(granted_units(&server, &ask(500, "b")), [0; 3]);
    server.clock_advance(1_000);
    assert_eq!(granted_units(&server, &ask(500, "b")), [1; 3]);
    // Places are all taken now, whatever the units are.
    server.clock_advance(MINUTE);
    assert_eq!(granted_units(&server, &ask(500, "c")), [0; 3]);
    // What is there is granted whole.
    server.line("RL.RELEASE a 3 org project user");
    assert_eq!(granted_units(&server, &ask(4, "c")), [4; 3]);
}

/// On one key it decides as RL.ACQUIRE … PARTIAL does, whatever the limits.
#[test]
fn one_key_grants_what_acquire_would() {
    let server = Server::at_t0();
    for limits in [
        "10/m",
        "1000/m",
        "bucket:10/m:burst=25",
        "fixed:10/m",
        "10/m:keep=30%",
        "10/m,5/m:shadow:name=s",
        "10/m:shadow",
        "10/m,3/m:per=call",
        "unlimited",
        "10/m,unlimited",
        "0/m",
        "10/m:keep=99%",
        "10/m:block=5m",
        "4/m,10/m:block=5m:name=b",
    ] {
        server.ok("FLUSHALL");
        for (step, (cost, critical)) in
            [(7, ""), (7, ""), (7, "CRITICAL"), (1, ""), (2000, ""), (2000, "CRITICAL"), (1, "")]
                .iter()
                .enumerate()
        {
            let acquired = acquire(&server, &format!("a {limits} COST {cost} PARTIAL {critical}"));
            let reserved = server
                .line(&format!("RL.RESERVE 1 r {limits} COST {cost} TTL 1d ID i{step} PARTIAL {critical}"));
            assert_eq!(reserved[1][0].rate_limit(), acquired, "{limits}, step {step}");
            assert_eq!(used(&server, "r", limits), used(&server, "a", limits), "{limits}, step {step}");
            server.clock_advance(11_000_000);
        }
    }
}

#[test]
fn only_a_reply_of_nothing_closes() {
    let server = Server::at_t0();
    let ask = |id: &str| format!("RL.RESERVE 2 k 10/m:block=5m other 100/m COST 8 TTL 10m ID {id} PARTIAL");
    assert_eq!(granted_units(&server, &ask("a")), [8; 2]);
    assert_eq!(granted_units(&server, &ask("b")), [2; 2], "less than asked for is no denial");
    server.line("RL.RELEASE b 2 k other");
    assert_eq!(granted_units(&server, &ask("c")), [2; 2], "it is not closed");
    assert_eq!(
        server.line(&ask("d"))[1][0].rate_limit(),
        denied().limit(10).remaining(0).retry_ms(300_000).reset_ms(300_000)
    );
    // Whom another key denies, closes nothing.
    server.ok("FLUSHALL");
    server.line("RL.ACQUIRE other 100/m COST 100");
    assert_eq!(granted_units(&server, &ask("a")), [0; 2]);
    assert_eq!(acquire(&server, "k 10/m:block=5m COST 10").granted, 10);
}

#[test]
fn the_same_id_again_is_what_was_granted_then() {
    let server = Server::at_t0();
    let ask = |tail: &str| format!("RL.RESERVE 2 k 10/m l 100/m TTL 30s ID a {tail}");
    server.line("RL.ACQUIRE k 10/m COST 4");
    assert_eq!(granted_units(&server, &ask("COST 50 PARTIAL")), [6; 2]);
    let before = snapshot(&server);
    for again in ["COST 50 PARTIAL", "COST 1 PARTIAL", "COST 80", "COST 6 CRITICAL"] {
        assert_eq!(granted_units(&server, &ask(again)), [6; 2], "{again}");
        assert_eq!(snapshot(&server), before, "{again}");
    }
    // Lost on one key: what is open goes back, and it is decided anew for what is there.
    server.line("RL.RESET k");
    assert_eq!(granted_units(&server, &ask("COST 50 PARTIAL")), [10; 2]);
    assert_eq!(used(&server, "l", "100/m"), [10]);
    server.line("RL.RELEASE a 1 l");
    assert_eq!(granted_units(&server, &ask("COST 3 PARTIAL")), [3; 2]);
    assert_eq!((used(&server, "k", "10/m"), used(&server, "l", "100/m")), (vec![3], vec![3]));
    // Its time has ended: what it took stays charged, and the next takes what is left.
    server.clock_advance(30_000_000);
    assert_eq!(granted_units(&server, &ask("COST 50 PARTIAL")), [7; 2]);
    assert_eq!((used(&server, "k", "10/m"), used(&server, "l", "100/m")), (vec![10], vec![10]));
}

/// What is settled is what was granted, not what was asked for; master, replica and a
/// restart agree on it.
#[test]
fn it_is_settled_at_what_was_granted() {
    let mut server = Server::durable();
    server.clock_set(T0);
    let replica = server.replica();
    replica.clock_set(T0);
    for (settle, left, used_now) in [
        ("RL.COMMIT ID 1 k", 6, 0),
        ("RL.COMMIT ID 1 k COST 6", 6, 0),
        ("RL.COMMIT ID 1 k COST 2", 2, -4),
        ("RL.COMMIT ID 1 k COST 0", 0, -6),
        ("RL.COMMIT ID 1 k COST 9", 9, 3),
        ("RL.RELEASE ID 1 k", 0, -6),
    ] {
        server.ok("FLUSHALL");
        server.line("RL.ACQUIRE k 10/m COST 4 TRACK");
        assert_eq!(granted_units(&server, "RL.RESERVE 1 k 10/m COST 50 TTL 1m ID ID PARTIAL"), [6]);
        let today = |name: &str| server.line("RL.STATS k").field("today").field(name).int();
        // As RL.ACQUIRE … PARTIAL counts: 6 of 50 units are granted, the others denied.
        assert_eq!(["requests", "granted", "denied", "used"].map(today), [2, 10, 44, 10]);
        assert_eq!(server.line(settle), Reply::Int(1), "{settle}");
        assert_eq!(used(&server, "k", "10/m"), [4 + left], "{settle}");
        assert_eq!(today("used"), 10 + used_now, "{settle}");
        wait_synced(&server, &replica);
        assert_same_data(&server, &replica);
    }
    assert_eq!(granted_units(&server, "RL.RESERVE 1 k 10/m COST 50 TTL 1m ID ID PARTIAL"), [6]);
    assert_survives_kill(&mut server, Some(T0));
    assert_eq!(server.line("RL.COMMIT ID 1 k COST 1"), Reply::Int(1));
    assert_eq!(used(&server, "k", "10/m"), [5]);
}

/// A shadow limit gives as much as it can, as if it were enforced, and is corrected by what
/// it took itself.
#[test]
fn a_shadow_limit_that_gives_less_is_settled_by_what_it_gave() {
    let limits = "100/m,5/m:shadow:name=s,8/h:shadow:name=t,50/m:per=call:name=c";
    for (settle, expected) in [
        ("RL.RELEASE a 1 k", [0, 0, 0, 0]),
        ("RL.COMMIT a 1 k COST 0", [0, 0, 0, 1]),
        ("RL.COMMIT a 1 k COST 2", [2, 2, 2, 1]),
        ("RL.COMMIT a 1 k COST 6", [6, 6, 6, 1]),
        ("RL.COMMIT a 1 k", [7, 7, 7, 1]),
        ("RL.COMMIT a 1 k COST 12", [12, 10, 12, 1]),
    ] {
        let server = Server::at_t0();
        assert_eq!(
            granted_units(&server, &format!("RL.RESERVE 1 k {limits} COST 7 TTL 1m ID a PARTIAL")),
            [7]
        );
        assert_eq!(used(&server, "k", limits), [7, 5, 7, 1], "{settle}");
        // As it was stored.
        let payload = server.line("DUMP k").bytes().to_vec();
        let digest = server.line("DEBUG DIGEST-VALUE k");
        server.line("DEL k");
        assert_eq!(server.call(&[b"RESTORE".as_slice(), b"k", b"0", &payload]), Reply::ok());
        assert_eq!(server.line("DEBUG DIGEST-VALUE k"), digest);
        assert_eq!(server.line(settle), Reply::Int(1), "{settle}");
        assert_eq!(used(&server, "k", limits), expected, "{settle}");
    }
}

#[test]
fn it_does_not_wait() {
    let server = Server::at_t0();
    assert_error_prefix(
        &server.line("RL.RESERVE 1 k 10/m TTL 1m PARTIAL WAIT 1s"),
        "ERR syntax error: PARTIAL and WAIT exclude each other",
    );
    assert_error_prefix(
        &server.line("RL.RESERVE 1 k 10/m TTL 1m WAIT 0 PARTIAL"),
        "ERR syntax error: PARTIAL and WAIT exclude each other",
    );
    assert_error_prefix(
        &server.line("RL.RESERVE 1 k 10/m TTL 1m PARTIAL PARTIAL"),
        "ERR syntax error: PARTIAL is given twice",
    );
    assert_error(
        &server.line("RL.RESERVE 2 k 10/m k 20/m TTL 1m PARTIAL"),
        "ERR a reservation cannot name a key twice",
    );
    // Behind a line it is denied, until one unit is there for it; CRITICAL passes.
    acquire(&server, "k 10/m COST 8");
    let waiter = waits(&server, "RL.ACQUIRE k 10/m COST 5 WAIT 30s");
    let behind = server.line("RL.RESERVE 1 k 10/m COST 9 TTL 1m PARTIAL");
    assert!(behind[0].is_nil());
    assert_eq!(
        behind[1][0].rate_limit(),
        denied().limit(10).remaining(0).retry_ms(60_000).reset_ms(60_000).behind_a_line()
    );
    assert_eq!(granted_units(&server, "RL.RESERVE 1 k 10/m COST 9 TTL 1m PARTIAL CRITICAL"), [2]);
    drop(waiter);
}

/// What is granted would be granted without PARTIAL, and one unit more would not.
#[test]
fn it_is_the_most_that_fits() {
    let server = Server::at_t0();
    let mut dice = Dice::told();
    let menu = [
        "7/m",
        "90/m",
        "bucket:12/m",
        "fixed:9/m",
        "concurrent:3",
        "5/m:per=call",
        "20/m:keep=40%",
        "unlimited",
        "4/m:shadow:name=s",
        "0/m:shadow:name=zero",
    ];
    for round in 0..120 {
        if dice.chance(10) {
            server.ok("FLUSHALL");
        }
        let keys = dice.below(3) + 1;
        let items: Vec<String> = (0..keys)
            .map(|key| {
                let mut limits: Vec<&str> =
                    (0..dice.below(3) + 1).map(|_| *dice.one_of(&menu.each_ref())).collect();
                limits.sort_unstable();
                limits.dedup();
                format!("k{key} {}", limits.join(","))
            })
            .collect();
        let names: Vec<String> = (0..keys).map(|key| format!("k{key}")).collect();
        let cost = dice.below(30) + 1;
        let critical = if dice.chance(30) { "CRITICAL" } else { "" };
        let ask = |id: &str, cost: i64, partial: &str| {
            let items = items.join(" ");
            granted_units(
                &server,
                &format!("RL.RESERVE {keys} {items} COST {cost} TTL 10m ID {id} {partial} {critical}"),
            )
        };
        let release = |id: &str| {
            let back = server.line(&format!("RL.RELEASE {id} {keys} {}", names.join(" ")));
            assert_eq!(back, Reply::Int(1));
        };
        let id = format!("r{round}");
        let got = ask(&id, cost, "PARTIAL");
        let most = got[0];
        if most == 0 {
            assert!(ask(&id, 1, "").contains(&0), "{items:?} COST {cost}");
        } else {
            assert_eq!(got, vec![most; names.len()], "the same on each of {items:?}");
            release(&id);
            assert_eq!(ask(&id, most, ""), got, "{items:?} COST {cost}");
            release(&id);
            if most < cost {
                assert!(ask(&id, most + 1, "").contains(&0), "{items:?} COST {cost}");
            }
            if dice.chance(70) {
                assert_eq!(ask(&id, cost, "PARTIAL"), got);
            }
        }
        server.clock_advance(dice.below(20_000_000));
    }
}
