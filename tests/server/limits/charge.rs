//! RL.CHARGE: what was used anyway counts, whatever is left, blocked or closed.

use crate::harness::{
    Reply, Server, T0, assert_error, assert_error_prefix, assert_same_data, assert_survives_kill, call,
    snapshot, wait_synced,
};
use crate::limits::fixtures::{acquire, assert_acquire, used};
use crate::queue::fixtures::{answered, queue, waits};
use crate::support::{Dice, RateLimitReply, charged, denied, granted};

const MINUTE: i64 = 60_000_000;

#[track_caller]
fn charge(server: &Server, command: &str) -> RateLimitReply {
    let reply = server.line(&format!("RL.CHARGE {command}"));
    assert!(reply.error().is_none(), "{command}: {reply:?}");
    reply.rate_limit()
}

#[test]
fn it_counts_whether_it_fits_or_not() {
    let server = Server::at_t0();
    assert_eq!(
        charge(&server, "k 10/m COST 3"),
        granted(3).limit(10).remaining(7).reset_ms(60_000),
        "there is room"
    );
    assert_eq!(acquire(&server, "k 10/m COST 7").granted, 7, "so much as it said");
    assert_eq!(
        charge(&server, "k 10/m COST 4"),
        charged(4).limit(10).remaining(0).retry_ms(60_000).reset_ms(60_000)
    );
    assert_eq!(used(&server, "k", "10/m"), [14]);
    // Debt is at most one capacity; what exceeds that is dropped.
    assert_eq!(
        charge(&server, "k 10/m COST 1000000000000"),
        charged(1_000_000_000_000).limit(10).remaining(0)
    );
    assert_eq!(used(&server, "k", "10/m"), [20]);
    assert_eq!(charge(&server, "k 10/m COST 1"), charged(1).limit(10).remaining(0));
    assert_eq!(used(&server, "k", "10/m"), [20]);
    // RL.REFUND takes the newest back, a charge's too.
    assert_eq!(server.line("RL.REFUND k 11"), Reply::Int(11));
    assert_eq!(acquire(&server, "k 10/m").granted, 1);
}

/// Every algorithm: what is charged, when one unit is there again, when all is.
#[test]
fn debt_is_worked_off_as_each_algorithm_does() {
    for (limits, first, retry, reset) in [
        // Up to 64 exactly, above in slots of a fiftieth of the period.
        ("10/m", 15, 60_000, 60_000),
        ("100/m", 150, 61_200, 61_200),
        // 5 below zero, 10 a minute: one is there after 6 of them.
        ("bucket:10/m", 15, 36_000, 90_000),
        ("bucket:10/m:burst=20", 30, 66_000, 180_000),
        ("fixed:10/m", 15, 60_000, 60_000),
        ("fixed:10/m:start=first", 15, 60_000, 60_000),
        ("fixed:10/day:tz=Europe/Paris", 15, 54_000_000, 54_000_000),
    ] {
        let server = Server::at_t0();
        let limit = if limits.contains("burst=20") {
            20
        } else if limits == "100/m" {
            100
        } else {
            10
        };
        assert_eq!(
            charge(&server, &format!("k {limits} COST {first}")),
            charged(first).limit(limit).remaining(0).retry_ms(retry).reset_ms(reset),
            "{limits}"
        );
        assert_eq!(used(&server, "k", limits), [first], "{limits}, debt is told");
        server.clock_advance(retry * 1000 - 2_000);
        assert_eq!(acquire(&server, &format!("k {limits}")).granted, 0, "{limits}");
        server.clock_advance(2_000);
        assert_eq!(acquire(&server, &format!("k {limits}")).granted, 1, "{limits}");
        // As much debt as there may be is gone once it would be full twice.
        server.ok("FLUSHALL");
        server.clock_set(T0);
        charge(&server, &format!("k {limits} COST 1000000000000"));
        server.clock_advance(2 * reset.max(retry) * 1000 + 2 * MINUTE);
        assert_eq!(acquire(&server, &format!("k {limits} COST {limit}")).granted, limit, "{limits}");
    }
}

/// The debt is one capacity, however much of a unit has come back.
#[test]
fn a_part_of_a_unit_does_not_lessen_the_debt() {
    let server = Server::at_t0();
    charge(&server, "k bucket:1/3s COST 1");
    server.clock_advance(2_999_000);
    assert_eq!(
        charge(&server, "k bucket:1/3s COST 3"),
        charged(3).limit(1).remaining(0).retry_ms(6_000).reset_ms(6_000)
    );
    assert_eq!(used(&server, "k", "bucket:1/3s"), [2]);
    // A commit above its reservation owes the same.
    server.line("RL.RESERVE 1 r bucket:1/3s TTL 1m ID r");
    server.clock_advance(2_999_000);
    assert_eq!(server.line("RL.COMMIT r 1 r COST 9"), Reply::Int(1));
    assert_eq!(acquire(&server, "r bucket:1/3s"), denied().limit(1).retry_ms(6_000).reset_ms(6_000));
}

#[test]
fn several_limits_per_call_shadow_keep_unlimited_and_nothing() {
    let server = Server::at_t0();
    let limits = "10/m,3/m:per=call:name=c,5/h:shadow:name=s,unlimited";
    assert_eq!(charge(&server, &format!("k {limits} COST 12")), charged(12).limit(10).remaining(0));
    assert_eq!(used(&server, "k", limits), [12, 1, 10, 0]);
    for _ in 0..9 {
        charge(&server, &format!("k {limits} COST 1"));
    }
    assert_eq!(used(&server, "k", limits), [20, 6, 10, 0]);
    // Only shadow limits, or none that counts: as unlimited.
    assert_eq!(charge(&server, "u unlimited COST 12"), granted(12).unlimited());
    assert_eq!(server.line("EXISTS u"), Reply::Int(0));
    assert_eq!(charge(&server, "s 5/m:shadow COST 12"), granted(12).unlimited());
    assert_eq!(used(&server, "s", "5/m:shadow"), [10]);
    // A count of 0 has no capacity to owe.
    assert_eq!(charge(&server, "z 0/m COST 12"), charged(12).limit(0).remaining(0).retry_never().reset_ms(0));
    assert_eq!(server.line("EXISTS z"), Reply::Int(0));
    // A debt on a credit never comes back by itself.
    assert_eq!(
        charge(&server, "ever fixed:10/ever COST 15"),
        charged(15).limit(10).remaining(0).retry_never().reset_never()
    );
    assert_eq!(server.line("RL.REFUND ever 6"), Reply::Int(6));
    assert_eq!(acquire(&server, "ever fixed:10/ever").granted, 1);
    // What is left is told for who is not CRITICAL.
    assert_eq!(
        charge(&server, "keep 10/m:keep=30% COST 2"),
        granted(2).limit(10).remaining(5).reset_ms(60_000)
    );
    assert_eq!(
        charge(&server, "keep 10/m:keep=30% COST 5"),
        charged(5).limit(10).remaining(0).retry_ms(60_000).reset_ms(60_000)
    );
    assert_eq!(acquire(&server, "keep 10/m:keep=30% COST 3 CRITICAL").granted, 3);
    // Neither can be taken so.
    for limits in ["concurrent:5", "10/m,concurrent:5:per=cost"] {
        assert_error_prefix(
            &server.line(&format!("RL.CHARGE no {limits} COST 1")),
            "ERR invalid limit 'concurrent:5",
        );
    }
    assert_error_prefix(&server.line("RL.CHARGE no COST 1"), "ERR no limits for this key");
    assert_eq!(server.line("EXISTS no"), Reply::Int(0));
    // CL.THROTTLE's is nobody else's.
    server.line("CL.THROTTLE cell 4 5 60 3");
    assert_error_prefix(&server.line("RL.CHARGE cell COST 1"), "ERR no limits for this key");
    charge(&server, "cell 10/m COST 1");
    assert_eq!(server.line("CL.THROTTLE cell 4 5 60 0")[2], Reply::Int(2));
}

/// The limits that hold are those of RL.ACQUIRE with the same arguments.
#[test]
fn it_resolves_as_acquire_does() {
    let server = Server::at_t0();
    server.ok("RL.POLICY SET gold 10/m PREFIX p:");
    assert_eq!(charge(&server, "p:1 COST 4"), granted(4).limit(10).remaining(6).reset_ms(60_000));
    assert_eq!(charge(&server, "p:1 * COST 1").remaining, 5);
    assert_eq!(charge(&server, "p:1 @gold COST 1").remaining, 4);
    server.ok("RL.PIN p:1 20/m");
    assert_eq!(charge(&server, "p:1 9/h COST 1"), granted(1).limit(20).remaining(13).reset_ms(60_000));
    assert_error_prefix(&server.line("RL.CHARGE p:1 9/ COST 4"), "ERR invalid limit '9/'");
    if server.at_least(7, 0) {
        server.config_set("floodgate.caller-limits", "no");
        assert_eq!(charge(&server, "p:2 9/h COST 4").limit, 10);
    }
}

#[test]
fn a_blocked_key_is_charged() {
    let server = Server::at_t0();
    server.ok("RL.BLOCK k FOR 90s");
    assert_eq!(
        charge(&server, "k 10/m COST 4"),
        charged(4).limit(10).remaining(0).retry_ms(90_000).reset_ms(60_000).blocked()
    );
    assert_eq!(used(&server, "k", "10/m"), [4]);
    assert_eq!(
        charge(&server, "k 10/h COST 14"),
        charged(14).limit(10).remaining(0).retry_ms(3_600_000).reset_ms(3_600_000).blocked()
    );
    server.line("RL.UNBLOCK k");
    server.ok("RL.BLOCK k FOREVER");
    assert_eq!(charge(&server, "k 10/h COST 1"), charged(1).retry_never().reset_ms(3_600_000).blocked());
    assert_error_prefix(&server.line("RL.CHARGE nobody COST 1"), "ERR no limits");
}

/// It closes nothing, and a closed limit is charged all the same.
#[test]
fn closing_is_for_denials() {
    let server = Server::at_t0();
    let limits = "5/m:block=10s:grow=2";
    assert_eq!(
        charge(&server, &format!("k {limits} COST 6")),
        charged(6).limit(5).remaining(0).retry_ms(60_000).reset_ms(60_000)
    );
    server.clock_advance(MINUTE);
    assert_eq!(acquire(&server, &format!("k {limits} COST 5")).granted, 5, "nothing closed");
    // Denied: closed for 10 s, and until the units are back.
    assert_eq!(acquire(&server, &format!("k {limits}")).retry_after_ms, 60_000);
    assert_eq!(server.counter("limits_closed"), 1);
    assert_eq!(
        charge(&server, &format!("k {limits} COST 2")),
        charged(2).limit(5).remaining(0).retry_ms(60_000).reset_ms(60_000)
    );
    assert_eq!(used(&server, "k", limits), [7]);
    // The block is over, the units are not back: a denial begins no other, charged or not.
    server.clock_advance(20_000_000);
    charge(&server, &format!("k {limits} COST 1"));
    assert_eq!(acquire(&server, &format!("k {limits}")).retry_after_ms, 40_000);
    assert_eq!(server.counter("limits_closed"), 1);
    // The same of what a settlement charges beyond its reservation.
    server.ok("FLUSHALL");
    server.line(&format!("RL.RESERVE 1 k {limits} COST 5 TTL 1h ID a"));
    assert_eq!(acquire(&server, &format!("k {limits}")).retry_after_ms, 60_000);
    server.clock_advance(20_000_000);
    server.line("RL.COMMIT a 1 k COST 6");
    assert_eq!(acquire(&server, &format!("k {limits}")).retry_after_ms, 40_000);
    assert_eq!(server.counter("limits_closed"), 2);
    server.line(&format!("RL.ACQUIRE k {limits}"));
    assert_eq!(server.counter("limits_closed"), 2);
}

/// It passes a line, whose forecast moves with it.
#[test]
fn a_line_does_not_hold_it_up() {
    let server = Server::at_t0();
    acquire(&server, "k 10/m COST 8");
    let mut waiter = waits(&server, "RL.ACQUIRE k 10/m COST 5 WAIT 30s");
    assert_acquire(
        &server,
        "k 10/m COST 6",
        denied().limit(10).remaining(0).retry_ms(120_000).reset_ms(60_000).behind_a_line(),
    );
    server.clock_advance(10_000_000);
    // The two that are left, and two beyond. Eight come back in 50 s, of which the waiter takes
    // five.
    assert_eq!(
        charge(&server, "k 10/m COST 4"),
        charged(4).limit(10).remaining(0).retry_ms(50_000).reset_ms(60_000).behind_a_line()
    );
    assert_eq!(used(&server, "k", "10/m"), [12]);
    assert_eq!(queue(&server, "k")[0], 1);
    // After the waiter five are used, and the four of the charge.
    assert_eq!(acquire(&server, "k 10/m COST 2").retry_after_ms, 60_000);
    server.clock_advance(49_999_000);
    assert_eq!(queue(&server, "k")[0], 1);
    server.clock_advance(1_000);
    assert_eq!(answered(&mut waiter), granted(5).limit(10).remaining(1));
    // A charge of so much that the head waits longer.
    let mut late = waits(&server, "RL.ACQUIRE k 10/m COST 6 WAIT 30s");
    charge(&server, "k 10/m COST 6");
    server.clock_advance(10_000_000);
    assert_eq!(queue(&server, "k")[0], 1, "four are back, and eleven are in use");
    server.clock_advance(50_000_000);
    assert_eq!(answered(&mut late).granted, 6);
}

#[test]
fn it_says_which_limits_the_key_has() {
    let server = Server::at_t0();
    acquire(&server, "k 100/h COST 10");
    charge(&server, "k 5/m COST 7");
    assert_eq!(server.line("RL.QUOTA k")[0].field("name").text(), "5/m");
    assert_eq!(server.line("RL.REFUND k 3"), Reply::Int(3));
    assert_eq!((used(&server, "k", "5/m"), used(&server, "k", "100/h")), (vec![4], vec![10]));
    // One that counts nothing says it, too.
    charge(&server, "k 0/m:name=none COST 1");
    assert_eq!(server.line("RL.QUOTA k")[0].field("name").text(), "none");
    // 56 limits beside those named keep usage; one more is refused, and nothing charged.
    for number in 0..57 {
        charge(&server, &format!("u 5/h:name=r{number} COST 6"));
    }
    let before = snapshot(&server);
    assert_error_prefix(
        &server.line("RL.CHARGE u 5/h:name=r57 COST 1"),
        "ERR too many limits with usage on this key",
    );
    assert_eq!(snapshot(&server), before);
    charge(&server, "u 5/h:name=r0 COST 1");
}

/// Whose units are whose: a charge lies above every reservation, as nobody's.
#[test]
fn a_reservation_gives_back_its_own_units_only() {
    for limits in ["10/m", "1000/m", "bucket:10/m", "fixed:10/m"] {
        let server = Server::at_t0();
        server.line(&format!("RL.RESERVE 1 k {limits} COST 6 TTL 1h ID a"));
        charge(&server, &format!("k {limits} COST 9"));
        server.line(&format!("RL.RESERVE 1 k {limits} COST 1 TTL 1h ID b"));
        assert_eq!(server.line("RL.REFUND k 2"), Reply::Int(2));
        server.line("RL.RELEASE a 1 k");
        // 9 of the charge, but for the refund's two (or one, where b has one).
        let left = if limits == "1000/m" { 8 } else { 7 };
        assert_eq!(used(&server, "k", limits), [left], "{limits}");
    }
}

#[test]
fn it_counts_in_used_only() {
    let server = Server::at_t0();
    let replica = server.replica();
    let figures = |node: &Server, key: &str| -> Vec<i64> {
        let total = node.line(&format!("RL.STATS {key}")).field("total");
        ["requests", "granted", "denied", "used"].map(|name| total.field(name).int()).to_vec()
    };
    acquire(&server, "k 10/m COST 4 TRACK");
    charge(&server, "k 10/m COST 90");
    assert_eq!(figures(&server, "k"), [1, 4, 0, 94], "dropped or not, it was used");
    charge(&server, "new 10/m COST 3 TRACK");
    charge(&server, "new 10/m COST 3");
    charge(&server, "free unlimited COST 3 TRACK");
    assert_eq!((figures(&server, "new"), figures(&server, "free")), (vec![0, 0, 0, 6], vec![0, 0, 0, 3]));
    charge(&server, "untracked 10/m COST 3");
    assert!(server.line("RL.STATS untracked").is_nil());
    // Nothing counts on the limit any more, but it was used.
    charge(&server, "k 10/m COST 1");
    assert_eq!(figures(&server, "k"), [1, 4, 0, 95]);
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
    assert_eq!(figures(&replica, "k"), [1, 4, 0, 95]);
    // Neither granted nor denied anywhere else.
    let count = |name: &str| server.counter(name);
    assert_eq!(["charges", "charged_units", "acquire_granted", "acquire_denied"].map(count), [6, 103, 1, 0]);
    server.ok("RL.POLICY SET gold 1/m PREFIX p:");
    charge(&server, "p:1 COST 3");
    for counts in ["granted_by_policy", "denied_by_policy"] {
        let counts = call!(server, "RL.METRICS").field(counts).pairs();
        assert!(counts.iter().all(|(_, count)| *count == Reply::Int(0)), "{counts:?}");
    }
    assert!(server.line("RL.TOP GRANTED").items().iter().all(|row| !format!("{row:?}").contains("p:1")));
}

/// One effect a charge, none where nothing changed; the same on the replica, after kill -9 and
/// after a clock that stepped back.
#[test]
fn it_travels_as_one_effect() {
    let mut server = Server::durable();
    server.clock_set(T0);
    let replica = server.replica();
    let mut monitor = replica.wire();
    monitor.line("MONITOR");
    let mut effects = |server: &Server, command: &str| -> usize {
        assert!(server.line(command).error().is_none(), "{command}");
        server.line("SET end 1");
        let mut seen = 0;
        loop {
            let line = monitor.read().text().to_lowercase();
            seen += usize::from(line.contains("\"rl.effect\""));
            if line.contains("\"set\"") {
                return seen;
            }
        }
    };
    for (command, expected) in [
        ("RL.CHARGE a 10/m COST 4", 1),
        ("RL.CHARGE a 10/m,100/h COST 40", 1),
        ("RL.CHARGE a 10/m,100/h COST 1", 1),
        ("RL.CHARGE b 10/m COST 40", 1),
        ("RL.CHARGE b 10/m COST 40", 0),
        ("RL.CHARGE b 10/m COST 40 TRACK", 1),
        ("RL.CHARGE c unlimited COST 40", 0),
        ("RL.CHARGE d 0/m COST 40", 0),
        ("RL.CHARGE a 0/m COST 40", 1),
        ("RL.CHARGE a 0/m COST 40", 0),
        ("RL.CHARGE e 5/m:block=1h,bucket:3/h COST 40", 1),
    ] {
        assert_eq!(effects(&server, command), expected, "{command}");
        wait_synced(&server, &replica);
        assert_same_data(&server, &replica);
    }
    server.clock_set(T0 - 3_600_000_000);
    assert_eq!(effects(&server, "RL.CHARGE b 10/m COST 40"), 1, "the clock stepped back");
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
    server.clock_advance(MINUTE);
    assert_eq!(acquire(&server, "b 10/m").granted, 1, "denied for one period at most");
    assert_survives_kill(&mut server, Some(T0 - 3_600_000_000 + MINUTE));
}

#[test]
fn it_expires_when_the_debt_is_worked_off() {
    let server = Server::start();
    charge(&server, "k bucket:10/s COST 20");
    let ttl = server.line("PTTL k").int();
    assert!((1_900..=2_001).contains(&ttl), "{ttl}");
    charge(&server, "f fixed:10/100ms:start=first COST 20");
    crate::harness::eventually(std::time::Duration::from_secs(30), "it is gone", || {
        server.line("EXISTS f") == Reply::Int(0)
    });
}

#[test]
fn what_is_malformed_charges_nothing() {
    let server = Server::at_t0();
    for (command, error) in [
        (
            "RL.CHARGE k 10/m TRACK",
            "ERR syntax error: a charge needs COST, such as COST 5; usage: RL.CHARGE key [limits] COST n [TRACK]",
        ),
        ("RL.CHARGE k 10/m 5", "ERR syntax error near '5', write COST 5"),
        (
            "RL.CHARGE k 10/m COST 5 CRITICAL",
            "ERR syntax error near 'CRITICAL'; usage: RL.CHARGE key [limits] COST n [TRACK]",
        ),
        ("RL.CHARGE k 10 60 COST 5", "ERR invalid limit '10': limits are one argument, write 10/60s"),
        ("RL.CHARGE k 10/m COST 1000000000001", "ERR COST must be a whole number from 1 to 1000000000000"),
        ("RL.CHARGE k 10/m COST -1", "ERR COST must be a whole number from 1 to 1000000000000"),
    ] {
        assert_error(&server.line(command), error);
    }
    server.ok("SET text 1");
    assert_error_prefix(&server.line("RL.CHARGE text 10/m COST 1"), "WRONGTYPE");
    assert_eq!(server.line("EXISTS k"), Reply::Int(0));
    // It creates keys: refused when memory is short.
    server.config_set("maxmemory", "1");
    assert_error_prefix(&server.line("RL.CHARGE k 10/m COST 1"), "OOM");
}

/// Random charges, grants and time, against a list of what was used when.
#[test]
fn a_list_of_what_was_used_says_the_same() {
    let server = Server::at_t0();
    let replica = server.replica();
    let mut dice = Dice::told();
    let mut now = T0;
    // Moment and units, of a sliding limit that is exact, and of a window.
    let mut sliding: Vec<(i64, i64)> = Vec::new();
    let mut fixed: Vec<(i64, i64)> = Vec::new();
    for step in 0..400 {
        server.clock_set(now);
        sliding.retain(|(at, _)| at + 10_000_000 > now);
        fixed.retain(|(at, _)| at / MINUTE == now / MINUTE);
        let sum = |list: &[(i64, i64)]| list.iter().map(|one| one.1).sum::<i64>();
        let cost = 1 + dice.below(25);
        let (slid, stood) = (sum(&sliding), sum(&fixed));
        let limits = "20/10s,fixed:60/m";
        if dice.chance(50) {
            let reply = charge(&server, &format!("k {limits} COST {cost}"));
            assert_eq!(reply.granted, cost);
            sliding.push((now, cost.min(40 - slid)));
            fixed.push((now, cost.min(120 - stood)));
            let left = (20 - sum(&sliding)).min(60 - sum(&fixed)).max(0);
            assert_eq!(reply.remaining, left, "step {step}: {reply:?}");
            assert_eq!(reply.retry_after_ms == 0, left > 0, "step {step}: {reply:?}");
        } else {
            let fits = slid + cost <= 20 && stood + cost <= 60;
            assert_eq!(acquire(&server, &format!("k {limits} COST {cost}")).granted > 0, fits, "step {step}");
            if fits {
                sliding.push((now, cost));
                fixed.push((now, cost));
            }
        }
        assert_eq!(used(&server, "k", limits), [sum(&sliding), sum(&fixed)], "step {step}");
        now += dice.below(4_000) * 1000;
    }
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
}
