//! Which limits a key has is what its last grant said: a denial changes nothing, and no
//! usage is ever forgotten for want of room.

use crate::harness::{Reply, Server, T0, assert_error_prefix};
use crate::limits::fixtures::acquire;
use crate::queue::fixtures::{answered, queue, waits};

const CROWD: &str = "ERR too many limits with usage on this key: 56 are kept beside those that a call names";

#[test]
fn a_refund_goes_to_the_limits_of_the_last_grant() {
    let server = Server::at_t0();
    server.line("RL.ACQUIRE r 100/h COST 10");
    assert_eq!(acquire(&server, "r 5/m COST 6").granted, 0);
    assert_eq!(server.line("RL.REFUND r 10"), Reply::Int(10));
    assert_eq!(server.line("EXISTS r"), Reply::Int(0));
}

/// No denial, by whatever command, changes the value; all of them under limits that the
/// key had before, has aside, or never had.
#[test]
fn a_denial_changes_nothing() {
    let server = Server::at_t0();
    for grant in ["60/h COST 50", "bucket:9/m COST 9", "100/h COST 10"] {
        assert!(acquire(&server, &format!("{{k}}r {grant}")).granted > 0);
    }
    server.line("RL.ACQUIRE {k}other 1/h");
    let digest = || {
        let value = server.line("DEBUG DIGEST-VALUE {k}r");
        (value, server.line("RL.QUOTA {k}r"), server.line("PTTL {k}r"))
    };
    let before = digest();
    for limits in ["5/m", "60/h", "bucket:900/m", "100/h:name=new", "bucket:9/m,5/m", "5/d:shadow,5/m"] {
        for command in [
            format!("RL.ACQUIRE {{k}}r {limits} COST 1000"),
            format!("RL.ACQUIRE {{k}}r {limits} COST 895 CRITICAL"),
            format!("RL.ACQUIRE {{k}}r {limits} COST 895 WAIT 0"),
            format!("RL.BATCH EACH 1 {{k}}r {limits} 895"),
            format!("RL.BATCH ALL 1 {{k}}r {limits} 895"),
            format!("RL.BATCH ALL 2 {{k}}r {limits} 1 {{k}}other 1/h 1"),
            format!("RL.BATCH ALL 3 {{k}}r {limits} 1 {{k}}r {limits} 1 {{k}}other 1/h 1"),
            format!("RL.RESERVE 1 {{k}}r {limits} COST 895 TTL 1m"),
            format!("RL.RESERVE 2 {{k}}r {limits} {{k}}other 1/h COST 1 TTL 1m"),
            format!("CB.ACQUIRE {{k}}b 3 LIMIT {{k}}r {limits} COST 895"),
            format!("RL.QUOTA {{k}}r {limits} COST 895"),
        ] {
            server.line(&command);
            assert_eq!(digest(), before, "{command}");
        }
        let mut waiter = waits(&server, "RL.ACQUIRE {k}r 60/h,900/m:name=w COST 11 WAIT 30s");
        assert_eq!(acquire(&server, "{k}r 1/d:name=behind").index, -2);
        assert_eq!(digest(), before, "{limits}");
        let id = waiter_id(&server);
        server.line(&format!("CLIENT UNBLOCK {id}"));
        assert_eq!(answered(&mut waiter).granted, 0);
        assert_eq!(digest(), before, "{limits}");
    }
    server.line("CL.THROTTLE {k}r 0 1 3600 2");
    server.line("RL.BLOCK {k}r FOR 1h");
    let blocked = digest();
    server.line("RL.ACQUIRE {k}r 7/m");
    server.line("CL.THROTTLE {k}r 0 1 3600 1");
    assert_eq!(digest(), blocked);
    server.line("RL.UNBLOCK {k}r");
    assert_eq!(server.line("RL.REFUND {k}r 10"), Reply::Int(10));
    // A grant says which limits the key has, also one that takes nothing.
    assert_eq!(acquire(&server, "{k}r 0/m:shadow").granted, 1);
    assert_eq!(server.line("RL.QUOTA {k}r")[0].field("limit"), Reply::Int(0));
}

/// The only client that is blocked.
fn waiter_id(server: &Server) -> String {
    let list = server.line("CLIENT LIST").text();
    let line = list.lines().find(|line| line.contains("flags=b")).expect("a blocked client");
    line.trim_start_matches("id=").split(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn a_denial_leaves_the_pace_of_the_last_grant() {
    let server = Server::at_t0();
    assert_eq!(acquire(&server, "k bucket:60/m COST 60").granted, 60);
    // 5 of 6000 are missing, and one comes back a second until somebody is granted.
    assert_eq!(acquire(&server, "k bucket:6000/m COST 5945").retry_after_ms, 5000);
    server.clock_advance(4_998_000);
    assert_eq!(acquire(&server, "k bucket:6000/m COST 5945").retry_after_ms, 2);
    assert_eq!(server.line("RL.QUOTA k bucket:6000/m COST 5945")[0].field("retry_after_ms"), Reply::Int(2));
    server.clock_advance(2_000);
    assert_eq!(acquire(&server, "k bucket:6000/m COST 5945").granted, 5945);
}

#[test]
fn usage_is_never_forgotten() {
    let server = Server::at_t0();
    for _ in 0..5 {
        assert_eq!(acquire(&server, "u 5/h:name=r0").granted, 1);
    }
    for number in 1..57 {
        assert_eq!(acquire(&server, &format!("u 5/h:name=r{number}")).granted, 1);
    }
    assert_error_prefix(&server.line("RL.ACQUIRE u 5/h:name=r57"), CROWD);
    assert_eq!(acquire(&server, "u 5/h:name=r0").granted, 0);
    // A denial stays a denial.
    assert_eq!(acquire(&server, "u 5/h:name=r57 COST 6").retry_after_ms, -1);
    // Nothing is taken where one item of a batch does not fit, in turn too.
    let before = server.line("DEBUG DIGEST-VALUE u");
    server.line("RL.RESET other");
    for mode in ["EACH", "ALL"] {
        let error = server.line(&format!("RL.BATCH {mode} 2 other 5/h 1 u 5/h:name=r57 1"));
        assert_error_prefix(&error, "ERR item 2: too many limits with usage");
    }
    assert_error_prefix(&server.line("RL.RESERVE 2 other 5/h u 5/h:name=r57 TTL 1m"), "ERR key 2: too many");
    assert_error_prefix(&server.line("CB.ACQUIRE b 3 LIMIT u 5/h:name=r57"), CROWD);
    assert_error_prefix(&server.line("CL.THROTTLE u 5 5 60"), CROWD);
    // A look promises nothing that a request is refused.
    for look in ["5/h:name=r57", "5/h:name=r57 HEADERS", "5/h:name=r57 COST 5", "5/h:name=r57,9/m:name=x"] {
        assert_error_prefix(&server.line(&format!("RL.QUOTA u {look}")), CROWD);
    }
    assert_eq!(server.line("RL.QUOTA u 5/h:name=r57 COST 6")[0].field("retry_after_ms"), Reply::Int(-1));
    assert_eq!(server.line("RL.QUOTA u 5/h:name=r1")[0].field("remaining"), Reply::Int(4));
    assert_eq!(server.line("RL.QUOTA u")[0].field("name"), Reply::bulk("r56"));
    assert_eq!(server.line("EXISTS other b"), Reply::Int(0));
    assert_eq!(server.line("DEBUG DIGEST-VALUE u"), before);
    // Beside those listed: names that are there already are.
    let eight: Vec<String> = (0..8).map(|number| format!("9/h:name=r{number}")).collect();
    assert_eq!(acquire(&server, &format!("u {}", eight.join(","))).granted, 1);
    // What is empty needs no room.
    server.clock_advance(3_600_000_000);
    assert_eq!(acquire(&server, "u 5/h:name=r57").granted, 1);
}

#[test]
fn a_batch_that_crowds_its_own_key_takes_nothing() {
    let server = Server::at_t0();
    for mode in ["EACH", "ALL"] {
        let items = |names: usize| {
            let items: Vec<String> = (0..names).map(|number| format!("b 5/h:name=r{number} 1")).collect();
            format!("RL.BATCH {mode} {} other 5/h 1 {}", names + 1, items.join(" "))
        };
        assert_error_prefix(&server.line(&items(58)), "ERR item 59: too many limits with usage");
        assert_eq!(server.line("EXISTS b other"), Reply::Int(0));
        assert_eq!(server.line(&items(57)).items().len(), 58);
        server.line("DEL b other");
    }
}

#[test]
fn a_waiter_is_sent_the_error() {
    let server = Server::at_t0();
    for number in 0..57 {
        assert_eq!(acquire(&server, &format!("u 5/h:name=r{number} COST 5")).granted, 5);
    }
    let mut head = waits(&server, "RL.ACQUIRE u 5/h:name=r0 COST 5 WAIT 30s");
    // Whoever would only wait for an error is told at once.
    assert_error_prefix(&server.line("RL.ACQUIRE u 5/h:name=new WAIT 30s"), CROWD);
    assert_eq!(queue(&server, "u")[0], 1);
    server.ok("RL.PIN u 9/d:name=pinned");
    assert_error_prefix(&head.read(), CROWD);
    assert_eq!(server.line("RL.QUEUE u")[0], Reply::Int(0));
}

#[test]
fn a_clock_that_stepped_back_is_recorded_by_whoever_meets_it() {
    let server = Server::at_t0();
    for (key, denied) in [
        ("a", "RL.ACQUIRE a 1/m"),
        ("b", "RL.ACQUIRE b 1/m,5/h"),
        ("c", "RL.RESERVE 1 c 1/m TTL 1m"),
        ("d", "RL.BATCH ALL 1 d 1/m 1"),
        ("e", "RL.BATCH ALL 2 e 5/d 1 full 1/d 1"),
        ("f", "RL.BATCH EACH 1 f 1/m 1"),
        ("g", "CB.ACQUIRE cb 3 LIMIT g 1/m"),
        ("h", "RL.ACQUIRE h 1/m:name=x"),
        ("i", "RL.ACQUIRE i 9/d:name=other COST 10"),
    ] {
        let limits = if key == "h" { "1/m:name=x" } else { "1/m" };
        server.clock_set(T0);
        server.line("RL.ACQUIRE full 1/d");
        server.clock_set(T0 + 3_600_000_000);
        assert_eq!(acquire(&server, &format!("{key} {limits}")).granted, 1);
        if key == "i" {
            // What is set aside has its time recorded as well.
            assert_eq!(acquire(&server, "i 9/d:name=other COST 9").granted, 9);
        }
        server.clock_set(T0);
        server.line(denied);
        server.clock_set(T0 + 59_998_000);
        assert_eq!(acquire(&server, &format!("{key} {limits}")).retry_after_ms, 2, "{denied}");
        server.clock_set(T0 + 60_000_000);
        assert_eq!(acquire(&server, &format!("{key} {limits}")).granted, 1, "{denied}");
        server.line("DEL full");
    }
    // The head of a line: whoever waits, waits no longer than a period.
    server.clock_set(T0 + 3_600_000_000);
    acquire(&server, "w 1/m");
    let mut waiter = waits(&server, "RL.ACQUIRE w 1/m WAIT 30s");
    server.clock_set(T0);
    server.clock_set(T0 + 60_000_000);
    assert_eq!(answered(&mut waiter).granted, 1);
}
