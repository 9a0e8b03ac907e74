//! Reservations: units and places taken now and settled later, on one key or on
//! a hierarchy, the same on master, replica and after a restart.

use crate::harness::{
    Reply, Server, T0, Wire, assert_error, assert_error_prefix, assert_same_data, assert_survives_kill, call,
    eventually, snapshot, wait_synced,
};
use crate::support::{denied, granted};
use std::time::Duration;

/// Ten seconds into a minute, so that no window of the tests ends by chance.
const START: i64 = T0 + 10_000_000;
const TOKENS: &str = "100000/m,concurrent:20";

fn server() -> Server {
    let server = Server::start();
    server.clock_set(START);
    server
}

fn reserve(wire: &mut Wire, key: &str, limits: &str, rest: &str) -> Reply {
    let mut args = vec!["RL.RESERVE", "1", key, limits];
    args.extend(rest.split_whitespace());
    wire.call(&args)
}

/// `used` of each limit of a key, in order.
#[track_caller]
fn used(wire: &mut Wire, key: &str, limits: &str) -> Vec<i64> {
    call!(wire, "RL.QUOTA", key, limits).used()
}

#[track_caller]
fn ids(wire: &mut Wire, key: &str) -> Vec<String> {
    call!(wire, "RL.RESERVATIONS", key).items().iter().map(|one| one[0].text()).collect()
}

#[test]
fn tokens_are_right_to_the_unit_on_master_replica_and_after_restart() {
    let mut server = Server::durable();
    server.clock_set(START);
    let replica = server.replica();
    replica.clock_set(START);
    let mut wire = server.wire();
    let steps = [
        ("RL.RESERVE 1 llm LIMITS COST 1500 TTL 5m ID a", [1500, 1]),
        ("RL.RESERVE 1 llm LIMITS COST 1500 TTL 5m ID b", [3000, 2]),
        ("RL.COMMIT a 1 llm COST 900", [2400, 1]),
        ("RL.COMMIT b 1 llm COST 2300", [3200, 0]),
        ("RL.RESERVE 1 llm LIMITS COST 1500 TTL 5m ID c", [4700, 1]),
        ("RL.COMMIT c 1 llm", [4700, 0]),
        ("RL.RESERVE 1 llm LIMITS COST 300 TTL 5m ID d", [5000, 1]),
        ("RL.RELEASE d 1 llm", [4700, 0]),
        ("RL.RESERVE 1 llm LIMITS COST 7 TTL 5m ID e", [4707, 1]),
    ];
    for (line, expected) in steps {
        let reply = wire.line(&line.replace("LIMITS", TOKENS));
        assert!(reply.error().is_none(), "{line}: {reply:?}");
        assert_eq!(used(&mut wire, "llm", TOKENS), expected, "{line}");
        wait_synced(&server, &replica);
        assert_same_data(&server, &replica);
        assert_eq!(used(&mut replica.wire(), "llm", TOKENS), expected, "on the replica after {line}");
    }
    assert_survives_kill(&mut server, Some(START));
    assert_eq!(used(&mut server.wire(), "llm", TOKENS), [4707, 1]);
    // And after a rewrite of the AOF into plain commands.
    server.config_set("aof-use-rdb-preamble", "no");
    server.rewrite_aof();
    assert_survives_kill(&mut server, Some(START));
    assert_eq!(call!(server.wire(), "RL.COMMIT", "e", 1, "llm", "COST", 1), Reply::Int(1));
    assert_eq!(used(&mut server.wire(), "llm", TOKENS), [4701, 0]);
}

#[test]
fn a_reply_is_the_id_and_six_integers_a_key() {
    let server = server();
    let mut wire = server.wire();
    let reply = reserve(&mut wire, "k", "10/m,concurrent:3", "COST 4 TTL 30s ID mine");
    assert_eq!(reply[0], Reply::bulk("mine"));
    let [limit] = reply[1].items() else { panic!("{reply:?}") };
    assert_eq!(limit.rate_limit(), granted(4).limit(3).remaining(2).reset_ms(30_000).index(1));
    // The rate limit denies: its retry is when the first four are free again.
    let reply = reserve(&mut wire, "k", "10/m,concurrent:3", "COST 7 TTL 30s");
    assert!(reply[0].is_nil());
    assert_eq!(reply[1][0].rate_limit(), denied().limit(10).remaining(6).retry_ms(60_000).reset_ms(60_000));
    // More than there ever is.
    let reply = reserve(&mut wire, "k", "10/m,concurrent:3", "COST 11 TTL 30s");
    assert_eq!(reply[1][0].rate_limit().retry_after_ms, -1);
    assert_eq!(ids(&mut wire, "k"), ["mine"]);
}

#[test]
fn generated_ids_are_long_and_never_the_same() {
    let server = server();
    let mut wire = server.wire();
    let mut all: Vec<String> =
        (0..100).map(|_| reserve(&mut wire, "k", "1000/m", "TTL 30s")[0].text()).collect();
    assert!(all.iter().all(|id| id.len() == 32));
    all.sort();
    assert_eq!(ids(&mut wire, "k").len(), 100);
    all.dedup();
    assert_eq!(all.len(), 100);
}

#[test]
fn the_same_id_again_is_the_same_reservation() {
    let server = server();
    let mut wire = server.wire();
    let first = reserve(&mut wire, "k", TOKENS, "COST 1500 TTL 60s ID a");
    assert_eq!(first[1][0].rate_limit().granted, 1500);
    server.clock_advance(1_000_000);
    let before = snapshot(&server);
    let again = reserve(&mut wire, "k", TOKENS, "COST 1500 TTL 60s ID a");
    assert_eq!(again[0], Reply::bulk("a"));
    assert_eq!(again[1][0].rate_limit(), granted(1500).limit(20).remaining(19).index(1));
    assert_eq!(snapshot(&server), before, "a retry changes nothing");
    // Even when there is no room any more.
    for n in 0..19 {
        assert!(!reserve(&mut wire, "k", TOKENS, &format!("TTL 60s ID x{n}"))[0].is_nil());
    }
    assert!(reserve(&mut wire, "k", TOKENS, "TTL 60s ID y")[0].is_nil());
    assert_eq!(reserve(&mut wire, "k", TOKENS, "COST 1500 TTL 60s ID a")[1][0].rate_limit().granted, 1500);
    assert_eq!(used(&mut wire, "k", TOKENS), [1519, 20]);
    assert_eq!(call!(wire, "RL.COMMIT", "a", 1, "k"), Reply::Int(1));
    assert_eq!(call!(wire, "RL.COMMIT", "a", 1, "k"), Reply::Int(0), "settled already");
    assert_eq!(call!(wire, "RL.RELEASE", "a", 1, "k"), Reply::Int(0));
    assert_eq!(call!(wire, "RL.RENEW", "a", "TTL", "1m", 1, "k"), Reply::Int(0));
    assert_eq!(call!(wire, "RL.COMMIT", "a", 1, "missing"), Reply::Int(0));
    assert_eq!(used(&mut wire, "k", TOKENS), [1519, 19]);
}

#[test]
fn a_hierarchy_is_reserved_and_settled_as_one() {
    let server = server();
    let replica = server.replica();
    let mut wire = server.wire();
    let (org, project, user) = ("1000/m", "500/m,concurrent:9", "bucket:100/m");
    let reserve = |wire: &mut Wire, cost: i64, id: &str| {
        call!(
            wire,
            "RL.RESERVE",
            3,
            "org",
            org,
            "project",
            project,
            "user",
            user,
            "COST",
            cost,
            "TTL",
            "1m",
            "ID",
            id
        )
    };
    let offset = || server.info_field("replication", "master_repl_offset").parse::<i64>().unwrap();
    let reply = reserve(&mut wire, 60, "a");
    assert_eq!(reply[0], Reply::bulk("a"));
    assert_eq!(reply[1].items().iter().map(|key| key.rate_limit().granted).collect::<Vec<_>>(), [60, 60, 60]);
    // The user has 40 left: the others give nothing either and say whose fault it is.
    wait_synced(&server, &replica);
    let before = (snapshot(&server), offset());
    let reply = reserve(&mut wire, 50, "b");
    assert!(reply[0].is_nil());
    assert_eq!(
        reply[1][0].rate_limit(),
        denied().limit(1000).remaining(940).retry_ms(6000).reset_ms(60_800).by_another_item()
    );
    assert_eq!(
        reply[1][1].rate_limit(),
        denied().limit(9).remaining(8).retry_ms(6000).reset_ms(60_000).by_another_item()
    );
    assert_eq!(reply[1][2].rate_limit(), denied().limit(100).remaining(40).retry_ms(6000).reset_ms(36_000));
    assert_eq!(snapshot(&server), before.0);
    assert!(offset() - before.1 < 100, "a denial replicates nothing");
    assert_eq!(call!(wire, "RL.COMMIT", "a", 3, "org", "project", "user", "COST", 10), Reply::Int(1));
    for (key, limits, expected) in
        [("org", org, vec![10]), ("project", project, vec![10, 0]), ("user", user, vec![10])]
    {
        assert_eq!(used(&mut wire, key, limits), expected);
    }
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
    assert_error(
        &call!(wire, "RL.RESERVE", 2, "org", org, "org", org, "TTL", "1m"),
        "ERR a reservation cannot name a key twice",
    );
    // A key that is lost comes back with a retry; the others stay as they are.
    reserve(&mut wire, 10, "c");
    call!(wire, "DEL", "user");
    reserve(&mut wire, 10, "c");
    assert_eq!(used(&mut wire, "org", org), [20]);
    assert_eq!(used(&mut wire, "user", user), [10]);
}

#[test]
fn one_effect_travels_for_a_whole_hierarchy() {
    let server = server();
    let replica = server.replica();
    let mut monitor = replica.wire();
    monitor.line("MONITOR");
    let mut wire = server.wire();
    call!(wire, "RL.RESERVE", 2, "a", "10/m", "b", "10/m", "TTL", "1m", "ID", "x");
    call!(wire, "RL.RENEW", "x", "TTL", "2m", 2, "a", "b");
    call!(wire, "RL.COMMIT", "x", 2, "a", "b", "COST", 3);
    call!(wire, "SET", "end", "1");
    let mut seen = Vec::new();
    loop {
        let line = monitor.read().text().to_lowercase();
        if line.contains("\"set\"") {
            break;
        }
        seen.extend(line.split('"').nth(1).map(str::to_owned));
    }
    seen.retain(|name| !["ping", "replconf", "select", "multi", "exec"].contains(&name.as_str()));
    assert_eq!(seen, ["rl.effect"; 3]);
}

#[test]
fn a_place_is_free_at_the_very_end_and_the_units_stay_charged() {
    let server = server();
    let mut wire = server.wire();
    let limits = "100/m,concurrent:2";
    assert!(!reserve(&mut wire, "k", limits, "COST 10 TTL 5000ms ID a")[0].is_nil());
    server.clock_advance(1_000_000);
    assert!(!reserve(&mut wire, "k", limits, "COST 10 TTL 5000ms ID b")[0].is_nil());
    let denial = reserve(&mut wire, "k", limits, "TTL 5000ms ID c");
    assert_eq!(
        denial[1][0].rate_limit(),
        denied().limit(2).remaining(0).retry_ms(4000).reset_ms(5000).index(1)
    );
    server.clock_advance(4_000_000 - 1);
    assert!(reserve(&mut wire, "k", limits, "TTL 5000ms ID c")[0].is_nil());
    assert_eq!(used(&mut wire, "k", limits), [20, 2]);
    server.clock_advance(1);
    assert_eq!(used(&mut wire, "k", limits), [20, 1], "seen without anybody writing");
    assert_eq!(ids(&mut wire, "k"), ["b"]);
    assert!(!reserve(&mut wire, "k", limits, "TTL 5000ms ID c")[0].is_nil());
    assert_eq!(used(&mut wire, "k", limits), [21, 2]);
}

#[test]
fn a_late_report_corrects_what_still_counts() {
    let server = server();
    let mut wire = server.wire();
    for (id, report, reply, expected) in [
        ("less", "RL.COMMIT less 1 less COST 4", 2, 4),
        ("more", "RL.COMMIT more 1 more COST 25", 2, 25),
        ("none", "RL.COMMIT none 1 none", 2, 10),
        ("back", "RL.RELEASE back 1 back", 2, 0),
        ("long", "RL.RENEW long TTL 1m 1 long", 2, 10),
    ] {
        server.clock_set(START);
        reserve(&mut wire, id, "100/m", &format!("COST 10 TTL 1s ID {id}"));
        server.clock_advance(1_000_000);
        assert_eq!(wire.line(report), Reply::Int(reply), "{report}");
        assert_eq!(used(&mut wire, id, "100/m"), [expected], "{report}");
    }
    assert_eq!(wire.line("RL.COMMIT long 1 long COST 1"), Reply::Int(2), "RENEW settles nothing");
    assert_eq!(wire.line("RL.COMMIT less 1 less COST 4"), Reply::Int(0));
    // The units have left the window: there is nothing to correct any more, and
    // what others took since is not touched.
    reserve(&mut wire, "gone", "100/m", "COST 10 TTL 1s ID gone");
    server.clock_advance(62_000_000);
    call!(wire, "RL.ACQUIRE", "gone", "100/m", "COST", 5);
    assert_eq!(wire.line("RL.COMMIT gone 1 gone COST 1"), Reply::Int(0));
    assert_eq!(used(&mut wire, "gone", "100/m"), [5]);
}

#[test]
fn a_refund_takes_its_own_grant_back_not_a_later_one() {
    let server = server();
    let mut wire = server.wire();
    for limits in ["10/m", "1000/m"] {
        let key = limits;
        server.clock_set(START);
        reserve(&mut wire, key, limits, "COST 6 TTL 10m ID a");
        server.clock_advance(30_000_000);
        call!(wire, "RL.ACQUIRE", key, limits, "COST", 4);
        assert_eq!(call!(wire, "RL.COMMIT", "a", 1, key, "COST", 1), Reply::Int(1));
        assert_eq!(used(&mut wire, key, limits), [5]);
        server.clock_advance(32_000_000);
        assert_eq!(used(&mut wire, key, limits), [4], "the later grant of {limits} still counts");
    }
    // Open longer than the period: its units are free already, and only once.
    reserve(&mut wire, "old", "10/m", "COST 6 TTL 10m ID a");
    server.clock_advance(61_000_000);
    call!(wire, "RL.ACQUIRE", "old", "10/m", "COST", 9);
    assert_eq!(call!(wire, "RL.COMMIT", "a", 1, "old", "COST", 1), Reply::Int(1));
    assert_eq!(used(&mut wire, "old", "10/m"), [9]);
    reserve(&mut wire, "fixed", "fixed:10/m", "COST 6 TTL 10m ID a");
    server.clock_advance(61_000_000);
    call!(wire, "RL.ACQUIRE", "fixed", "fixed:10/m", "COST", 9);
    assert_eq!(call!(wire, "RL.RELEASE", "a", 1, "fixed"), Reply::Int(1));
    assert_eq!(used(&mut wire, "fixed", "fixed:10/m"), [9]);
}

#[test]
fn debt_is_at_most_one_capacity_and_must_be_worked_off() {
    let server = server();
    let mut wire = server.wire();
    for (key, limits, free_after) in [
        ("sliding", "100/m", 60_000),
        ("coarse", "10000/m", 61_200),
        ("fixed", "fixed:100/m", 60_000),
        ("bucket", "bucket:100/m", 60_600),
    ] {
        server.clock_set(START - 10_000_000);
        let capacity = if key == "coarse" { 10_000 } else { 100 };
        reserve(&mut wire, key, limits, &format!("COST {} TTL 1m ID a", capacity / 2));
        assert_eq!(call!(wire, "RL.COMMIT", "a", 1, key, "COST", 1_000_000_000_000_u64), Reply::Int(1));
        let shown = used(&mut wire, key, limits)[0];
        assert_eq!(shown, 2 * capacity, "{key}");
        let denial = call!(wire, "RL.ACQUIRE", key, limits).rate_limit();
        assert_eq!(denial.granted, 0);
        assert!((denial.retry_after_ms - free_after).abs() <= 1200, "{key}: {denial:?}");
        // A second one that cost as much makes it no worse.
        let again = format!("again:{key}");
        for id in ["a", "b"] {
            reserve(&mut wire, &again, limits, &format!("COST {} TTL 1m ID {id}", capacity / 2));
        }
        for id in ["a", "b"] {
            let actual = 1_000_000_000_000_u64;
            assert_eq!(call!(wire, "RL.COMMIT", id, 1, again, "COST", actual), Reply::Int(1));
        }
        assert_eq!(used(&mut wire, &again, limits)[0], shown, "{key}");
        assert_eq!(
            call!(wire, "RL.ACQUIRE", again, limits).rate_limit().retry_after_ms,
            denial.retry_after_ms,
            "{key}"
        );
        server.clock_advance(denial.retry_after_ms * 1000);
        for key in [key, &again] {
            assert_eq!(call!(wire, "RL.ACQUIRE", key, limits).rate_limit().granted, 1, "{key}");
        }
    }
}

#[test]
fn renew_keeps_a_reservation_beyond_its_first_end() {
    let server = server();
    let mut wire = server.wire();
    reserve(&mut wire, "k", "concurrent:1", "TTL 1s ID a");
    for _ in 0..5 {
        server.clock_advance(900_000);
        assert_eq!(call!(wire, "RL.RENEW", "a", "TTL", "1s", 1, "k"), Reply::Int(1));
        assert!(reserve(&mut wire, "k", "concurrent:1", "TTL 1s ID b")[0].is_nil());
    }
    let list = call!(wire, "RL.RESERVATIONS", "k");
    assert_eq!(
        list[0],
        Reply::Array(vec![Reply::bulk("a"), Reply::Int(1), Reply::Int(4500), Reply::Int(1000)])
    );
    // It may be made shorter too.
    assert_eq!(call!(wire, "RL.RENEW", "a", "TTL", "10ms", 1, "k"), Reply::Int(1));
    server.clock_advance(10_000);
    assert!(!reserve(&mut wire, "k", "concurrent:1", "TTL 1s ID b")[0].is_nil());
}

#[test]
fn changed_limits_do_not_confuse_what_is_held() {
    let server = server();
    let mut wire = server.wire();
    for id in ["a", "b", "c"] {
        reserve(&mut wire, "k", "100/m,concurrent:5", &format!("COST 10 TTL 1m ID {id}"));
    }
    // Other clients use other limits in between; places stay held.
    call!(wire, "RL.ACQUIRE", "k", "50/h");
    assert!(reserve(&mut wire, "k", "concurrent:3", "TTL 1m ID d")[0].is_nil());
    assert_eq!(used(&mut wire, "k", "concurrent:9,100/m"), [3, 30]);
    // Of another name, nobody holds any.
    assert!(!reserve(&mut wire, "k", "concurrent:1:name=mine", "TTL 1m ID d")[0].is_nil());
    // A settlement finds the limit that was charged, though it is not listed now.
    assert_eq!(call!(wire, "RL.COMMIT", "a", 1, "k", "COST", 1), Reply::Int(1));
    assert_eq!(used(&mut wire, "k", "100/m,concurrent:5"), [21, 2]);
    // A limit added later was never charged and gets nothing back.
    call!(wire, "RL.PIN", "k", "100/m,7/h:name=extra");
    call!(wire, "RL.ACQUIRE", "k", "*", "COST", 5);
    assert_eq!(call!(wire, "RL.RELEASE", "b", 1, "k"), Reply::Int(1));
    assert_eq!(used(&mut wire, "k", "100/m,7/h:name=extra"), [16, 5]);
    // Calls are counted whatever the cost, and given back only by a release.
    for (report, calls) in [("COMMIT", 1), ("RELEASE", 0)] {
        let limits = "100/m,10/m:per=call:name=calls";
        reserve(&mut wire, report, limits, "COST 50 TTL 1m ID a");
        assert_eq!(used(&mut wire, report, limits), [50, 1]);
        wire.line(&format!("RL.{report} a 1 {report}{}", if calls == 1 { " COST 0" } else { "" }));
        assert_eq!(used(&mut wire, report, limits), [0, calls]);
    }
    // A shadow limit that denied took nothing, so it gets nothing back.
    let limits = "100/m,5/m:shadow:name=new";
    call!(wire, "RL.ACQUIRE", "s", limits, "COST", 4);
    reserve(&mut wire, "s", limits, "COST 10 TTL 1m ID a");
    assert_eq!(used(&mut wire, "s", limits), [14, 4]);
    call!(wire, "RL.RELEASE", "a", 1, "s");
    assert_eq!(used(&mut wire, "s", limits), [4, 4]);
}

#[test]
fn what_a_key_remembers_goes_when_it_is_over() {
    let server = server();
    let mut wire = server.wire();
    let gone = |wire: &mut Wire, key: &str| call!(wire, "EXISTS", key) == Reply::Int(0);
    reserve(&mut wire, "k", TOKENS, "COST 5 TTL 1s ID a");
    assert_eq!(call!(wire, "RL.RELEASE", "a", 1, "k"), Reply::Int(1));
    assert!(gone(&mut wire, "k"), "full and nothing reserved");
    reserve(&mut wire, "k", TOKENS, "COST 5 TTL 1s ID a");
    assert_eq!(call!(wire, "RL.RESET", "k"), Reply::Int(1));
    assert!(gone(&mut wire, "k"), "reservations are usage");
    assert_eq!(call!(wire, "RL.COMMIT", "a", 1, "k"), Reply::Int(0));
    // The expiry covers the open reservation, and the longer window.
    server.clock_real();
    let ttl = |wire: &mut Wire| call!(wire, "PTTL", "k").int();
    reserve(&mut wire, "k", "10/s,concurrent:2", "TTL 100s ID a");
    assert!((90_000..=100_010).contains(&ttl(&mut wire)), "{}", ttl(&mut wire));
    call!(wire, "RL.RENEW", "a", "TTL", "200s", 1, "k");
    assert!((190_000..=200_010).contains(&ttl(&mut wire)), "{}", ttl(&mut wire));
    call!(wire, "RL.COMMIT", "a", 1, "k");
    assert!(ttl(&mut wire) <= 1010, "{}", ttl(&mut wire));
    reserve(&mut wire, "t", "concurrent:2", "TTL 20ms ID a");
    eventually(Duration::from_secs(30), "the key expires by itself", || gone(&mut wire, "t"));
}

// What RENEW costs by their number: scripts/bench/reservations.py.
#[test]
fn ten_thousand_open_reservations_are_renewed_listed_and_end() {
    let server = server();
    let mut wire = server.wire();
    let limits = "concurrent:20000,1000000/h";
    let make: Vec<_> =
        (0..10_000).map(|n| format!("RL.RESERVE 1 k {limits} TTL {}ms ID id{n}", 60_000 + n)).collect();
    assert!(wire.lines(&make).iter().all(|reply| !reply[0].is_nil()));
    let renew: Vec<_> = (0..2000).map(|n| format!("RL.RENEW id{} TTL 90s 1 k", n * 7919 % 10_000)).collect();
    assert!(wire.lines(&renew).iter().all(|reply| *reply == Reply::Int(1)));
    assert_eq!(used(&mut wire, "k", limits)[0], 10_000);
    assert_eq!(ids(&mut wire, "k").len(), 10_000);
    // All of them end; those that are remembered are bounded and hold no place.
    server.clock_advance(70_000_000);
    assert_eq!(used(&mut wire, "k", limits)[0], 2000, "those renewed are open still");
    server.clock_advance(30_000_000);
    assert_eq!(used(&mut wire, "k", limits)[0], 0);
    assert!(!reserve(&mut wire, "k", limits, "TTL 1m ID new")[0].is_nil());
    assert_eq!(used(&mut wire, "k", limits), [1, 10_001]);
    assert_eq!(call!(wire, "RL.RELEASE", "id17", 1, "k"), Reply::Int(2));
    assert_eq!(used(&mut wire, "k", limits), [1, 10_000]);
}

#[test]
fn ended_reservations_are_remembered_boundedly() {
    let server = server();
    let mut wire = server.wire();
    // Twelve thousand that end at once, each a millisecond after the one before.
    let make: Vec<_> =
        (0..12_000).map(|n| format!("RL.RESERVE 1 k 1000000/h TTL {}ms ID id{n}", 1000 + n)).collect();
    assert!(wire.lines(&make).iter().all(|reply| !reply[0].is_nil()));
    let full = call!(wire, "MEMORY", "USAGE", "k").int();
    server.clock_advance(60_000_000);
    reserve(&mut wire, "k", "1000000/h", "TTL 1m ID new");
    assert_eq!(used(&mut wire, "k", "1000000/h"), [12_001], "they stay charged");
    // Each command notes a few.
    for _ in 0..250 {
        call!(wire, "RL.RENEW", "new", "TTL", "1m", 1, "k");
    }
    assert!(ids(&mut wire, "k") == ["new"]);
    let left = call!(wire, "MEMORY", "USAGE", "k").int();
    assert!(left < full * 17 / 20, "{full} bytes, then {left}");
    // Ten thousand of them can still be corrected.
    let late: Vec<_> = (0..12_000).map(|n| format!("RL.COMMIT id{n} 1 k COST 2")).collect();
    let known = |wire: &mut Wire| wire.lines(&late).iter().filter(|reply| **reply == Reply::Int(2)).count();
    assert_eq!(known(&mut wire), 10_000);
    assert_eq!(used(&mut wire, "k", "1000000/h"), [22_001]);
    assert_eq!(known(&mut wire), 0);
    // When their units have left the window nothing of them is left.
    let make: Vec<_> = make.iter().take(100).cloned().collect();
    assert!(wire.lines(&make).iter().all(|reply| !reply[0].is_nil()));
    server.clock_advance(3_800_000_000);
    for _ in 0..2 {
        reserve(&mut wire, "k", "1000000/h", "TTL 1m ID last");
        call!(wire, "RL.RENEW", "last", "TTL", "1m", 1, "k");
    }
    assert!(call!(wire, "MEMORY", "USAGE", "k").int() < 2000);
    assert_eq!(call!(wire, "RL.COMMIT", "id50", 1, "k"), Reply::Int(0));
}

#[test]
fn critical_blocked_and_kept_work_as_for_acquire() {
    let server = server();
    let mut wire = server.wire();
    let limits = "concurrent:4:keep=50%";
    for id in ["a", "b"] {
        assert!(!reserve(&mut wire, "k", limits, &format!("TTL 9s ID {id}"))[0].is_nil());
    }
    let denial = reserve(&mut wire, "k", limits, "TTL 9s");
    assert_eq!(denial[1][0].rate_limit(), denied().limit(4).remaining(0).retry_ms(9000).reset_ms(9000));
    assert!(!reserve(&mut wire, "k", limits, "TTL 9s CRITICAL ID c")[0].is_nil());
    call!(wire, "RL.BLOCK", "k", "FOR", "20s");
    let denial = reserve(&mut wire, "k", limits, "TTL 9s CRITICAL");
    assert!(denial[0].is_nil());
    assert_eq!(denial[1][0].rate_limit(), denied().retry_ms(20_000).reset_ms(9000).blocked());
    assert_eq!(call!(wire, "RL.COMMIT", "a", 1, "k"), Reply::Int(1), "what is held can be settled");
    call!(wire, "RL.BLOCK", "new", "FOR", "20s");
    assert_eq!(
        reserve(&mut wire, "new", "9/m", "TTL 9s")[1][0].rate_limit(),
        denied().limit(9).remaining(0).retry_ms(20_000).reset_ms(0).blocked()
    );
}

#[test]
fn keys_errors_and_counters() {
    let server = server();
    let mut wire = server.wire();
    let keys = |wire: &mut Wire, line: &str| -> Vec<String> {
        let line = format!("COMMAND GETKEYS {line}");
        wire.line(&line).items().iter().map(Reply::text).collect()
    };
    assert_eq!(keys(&mut wire, "RL.RESERVE 2 a 1/s b 1/s TTL 1s"), ["a", "b"]);
    assert_eq!(keys(&mut wire, "RL.COMMIT id 2 a b COST 1"), ["a", "b"]);
    assert_eq!(keys(&mut wire, "RL.RELEASE id 1 a"), ["a"]);
    assert_eq!(keys(&mut wire, "RL.RENEW id TTL 1s 2 a b"), ["a", "b"]);
    assert_eq!(keys(&mut wire, "RL.RESERVATIONS a"), ["a"]);
    for (line, error) in [
        ("RL.RESERVE 1 k 5/s COST 2", "ERR syntax error: a reservation needs TTL"),
        ("RL.RESERVE 2 k 5/s l 5 TTL 1s", "ERR key 2: invalid limit '5'"),
        ("RL.RESERVE 3 k 5/s TTL 1s", "ERR numkeys is more than"),
        ("RL.RESERVE 0 k 5/s TTL 1s", "ERR numkeys must be"),
        ("RL.RESERVE 1 k 5/s TTL 0", "ERR invalid duration"),
        ("RL.RESERVE 1 k 5/s TTL 1s COST 0", "ERR COST must be"),
        ("RL.RESERVE 1 k 5/s TTL 1s NONSENSE", "ERR syntax error near 'NONSENSE'"),
        ("RL.COMMIT id 1 k COST -1", "ERR COST must be"),
        ("RL.COMMIT id 2 k", "ERR numkeys is more than"),
        ("RL.RENEW id 1s 1 k k", "ERR syntax error near '1s'"),
        (
            "RL.ACQUIRE k concurrent:2",
            "ERR invalid limit 'concurrent:2': concurrent limits are taken with RL.RESERVE",
        ),
    ] {
        assert_error_prefix(&wire.line(line), error);
    }
    let long = "x".repeat(129);
    assert_error(&call!(wire, "RL.COMMIT", long, 1, "k"), "ERR ID must be 1 to 128 bytes");
    assert_error(&call!(wire, "RL.COMMIT", "", 1, "k"), "ERR ID must be 1 to 128 bytes");
    call!(wire, "SET", "text", "1");
    for line in [
        "RL.RESERVE 2 k 5/s text 5/s TTL 1s",
        "RL.COMMIT id 2 k text",
        "RL.RELEASE id 1 text",
        "RL.RENEW id TTL 1s 1 text",
        "RL.RESERVATIONS text",
    ] {
        assert_error_prefix(&wire.line(line), "WRONGTYPE");
    }
    assert_eq!(call!(wire, "EXISTS", "k"), Reply::Int(0));
    for id in ["a", "b", "c", "d"] {
        reserve(&mut wire, "k", "concurrent:4", &format!("TTL 1s ID {id}"));
    }
    reserve(&mut wire, "k", "concurrent:4", "TTL 1s ID e");
    call!(wire, "RL.COMMIT", "a", 1, "k");
    call!(wire, "RL.RELEASE", "b", 1, "k");
    call!(wire, "RL.RENEW", "c", "TTL", "2s", 1, "k");
    let field = |name: &str| server.counter(&format!("reservations_{name}"));
    assert_eq!(["granted", "denied", "committed", "released", "held"].map(field), [4, 1, 1, 1, 2]);
    server.clock_advance(1_500_000);
    call!(wire, "RL.RENEW", "c", "TTL", "2s", 1, "k");
    assert_eq!(["expired", "renewed", "held"].map(field), [1, 2, 1]);
    call!(wire, "FLUSHALL");
    // Some servers free what is flushed in the background.
    eventually(Duration::from_secs(30), "nothing is held", || field("held") == 0);
}

#[test]
fn policies_shadows_and_blocks_are_counted_as_for_acquire() {
    let server = server();
    let mut wire = server.wire();
    call!(wire, "RL.POLICY", "SET", "llm", "10/m,5/m:shadow:name=soon", "PREFIX", "llm:");
    let labelled = |name: &str| -> Vec<(String, i64)> {
        let pairs = call!(server, "RL.METRICS").field(name).pairs();
        pairs.iter().map(|(label, count)| (label.text(), count.int())).collect()
    };
    let counts = |n: i64| vec![("llm".to_owned(), n)];
    assert!(!reserve(&mut wire, "llm:a", "*", "COST 6 TTL 1m ID a")[0].is_nil());
    assert!(!reserve(&mut wire, "llm:a", "*", "COST 6 TTL 1m ID a")[0].is_nil());
    assert_eq!(labelled("granted_by_policy"), counts(1), "a retry is counted once");
    assert_eq!(labelled("shadow_denied_by_limit"), [("soon".to_owned(), 1)]);
    assert!(reserve(&mut wire, "llm:a", "*", "COST 6 TTL 1m")[0].is_nil());
    assert_eq!(labelled("denied_by_policy"), counts(1));
    call!(wire, "RL.BLOCK", "llm:a", "FOREVER");
    reserve(&mut wire, "llm:a", "*", "COST 1 TTL 1m");
    assert_eq!(server.counter("blocked_denied"), 1);
    // Who shares the fate of others is not denied by its own limits.
    call!(wire, "RL.RESERVE", 2, "llm:b", "*", "llm:a", "*", "TTL", "1m");
    assert_eq!((labelled("granted_by_policy"), labelled("denied_by_policy")), (counts(1), counts(1)));
}

#[test]
fn dump_restore_and_copy_carry_reservations() {
    let server = server();
    let mut wire = server.wire();
    for id in ["a", "b"] {
        reserve(&mut wire, "k", TOKENS, &format!("COST 10 TTL 1s ID {id}"));
    }
    server.clock_advance(500_000);
    call!(wire, "RL.RENEW", "b", "TTL", "10s", 1, "k");
    server.clock_advance(600_000);
    reserve(&mut wire, "k", TOKENS, "COST 10 TTL 1s ID c"); // notes that a has ended
    let payload = call!(wire, "DUMP", "k").bytes().to_vec();
    assert_eq!(call!(wire, "RESTORE", "copy", 0, payload), Reply::ok());
    let digest = |wire: &mut Wire, key: &str| call!(wire, "DEBUG", "DIGEST-VALUE", key)[0].text();
    assert_eq!(digest(&mut wire, "copy"), digest(&mut wire, "k"));
    assert_eq!(call!(wire, "COPY", "k", "copy2"), Reply::Int(1));
    assert_eq!(digest(&mut wire, "copy2"), digest(&mut wire, "k"));
    assert_eq!(ids(&mut wire, "copy"), ["c", "b"]);
    assert_eq!(call!(wire, "RL.COMMIT", "a", 1, "copy", "COST", 1), Reply::Int(2));
    assert_eq!(used(&mut wire, "copy", TOKENS), [21, 2]);
    assert_eq!(used(&mut wire, "k", TOKENS), [30, 2]);
}

/// Most keys hold one place or two at a time: a key for each must be affordable.
#[test]
fn a_key_that_holds_one_place_takes_at_most_500_bytes() {
    let server = Server::start();
    let used = || server.memory_without_clients();
    let fill = |from: i32, to: i32| {
        let mut wire = server.wire();
        let reserve = |n: i32| format!("RL.RESERVE 1 job:{n:010} concurrent:5 TTL 10m ID a");
        for part in (from..to).map(reserve).collect::<Vec<_>>().chunks(1000) {
            wire.lines(part);
        }
    };
    // From one full hash table to the next: each key with its share of it.
    fill(0, 16_384);
    let before = used();
    fill(16_384, 32_768);
    let each = (used() - before) / 16_384;
    assert!((100..=500).contains(&each), "{each} bytes a key");
}

/// More than was reserved is charged also where the units have left the window and no call
/// lists the limit any more.
#[test]
fn a_settlement_charges_what_no_call_lists_any_more() {
    let server = server();
    let replica = server.replica();
    let mut wire = server.wire();
    reserve(&mut wire, "k", "30/s:name=a", "COST 10 TTL 1h ID x");
    server.clock_advance(2_000_000);
    assert_eq!(call!(wire, "RL.ACQUIRE", "k", "5/m").rate_limit().granted, 1);
    assert_eq!(used(&mut wire, "k", "30/s:name=a"), [0]);
    assert_eq!(call!(wire, "RL.COMMIT", "x", "1", "k", "COST", "25"), Reply::Int(1));
    assert_eq!(used(&mut wire, "k", "30/s:name=a"), [15]);
    assert_eq!(used(&mut wire, "k", "5/m"), [1]);
    // At most one capacity of debt.
    reserve(&mut wire, "k", "40/s:name=b", "COST 1 TTL 1h ID y");
    server.clock_advance(2_000_000);
    assert_eq!(call!(wire, "RL.ACQUIRE", "k", "5/m").rate_limit().granted, 1);
    assert_eq!(call!(wire, "RL.COMMIT", "y", "1", "k", "COST", "1000"), Reply::Int(1));
    assert_eq!(used(&mut wire, "k", "40/s:name=b"), [80]);
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
}

/// The server's limits for a key may go while a reservation on it is open.
#[test]
fn a_retry_finds_its_reservation_when_the_limits_are_gone() {
    let server = server();
    server.ok("RL.POLICY SET p 5/m,concurrent:3 PREFIX u:");
    let calls = [
        "RL.RESERVE 1 u:1 * TTL 1h ID a",
        "RL.RESERVE 1 u:2 @p TTL 1h ID a",
        "RL.RESERVE 2 u:{k}3 * u:{k}4 @p TTL 1h ID a",
    ];
    let first: Vec<Reply> = calls.map(|call| server.line(call)).into();
    server.line("RL.POLICY DEL p");
    for (call, first) in calls.iter().zip(&first) {
        assert_eq!(server.line(call), *first, "{call}");
    }
    let bulkhead = server.line("CB.ACQUIRE b 3 LIMIT u:1 * TTL 1h ID a");
    assert_eq!((bulkhead[0].int(), &bulkhead[4][0]), (1, &Reply::bulk("a")));
    // A mistake stays one, and so does a new request.
    assert_error_prefix(&server.line("RL.RESERVE 1 u:1 5/x TTL 1h ID a"), "ERR invalid limit '5/x'");
    assert_error_prefix(&server.line("RL.RESERVE 1 u:1 * TTL 1h ID b"), "ERR no limits for this key");
    assert_error_prefix(&server.line("RL.RESERVE 1 u:1 @p TTL 1h ID b"), "ERR no policy 'p'");
    assert_eq!(server.line("RL.RELEASE a 1 u:1"), Reply::Int(1));
    assert_error_prefix(&server.line(calls[0]), "ERR no limits for this key");
}

#[test]
fn a_block_denies_without_limits_too() {
    let server = server();
    server.ok("RL.BLOCK {x}for FOR 1s");
    server.ok("RL.BLOCK {x}ever FOREVER");
    for (key, ms) in [("{x}for", 1000), ("{x}ever", -1)] {
        let blocked = denied().limit(-1).remaining(0).retry_ms(ms).blocked();
        assert_eq!(server.line(&format!("RL.ACQUIRE {key}")).rate_limit(), blocked);
        let reply = server.line(&format!("RL.RESERVE 1 {key} * TTL 1h"));
        assert!(reply[0].is_nil(), "{reply:?}");
        assert_eq!(reply[1][0].rate_limit(), blocked);
        for rest in ["", " TTL 1s"] {
            let reply = server.line(&format!("CB.ACQUIRE {{x}}b 3 LIMIT {key} *{rest}"));
            assert_eq!((reply[0].int(), reply[3].int()), (0, ms), "{key}{rest}");
        }
    }
    let both = server.line("RL.RESERVE 2 {x}ever * {x}other 5/m TTL 1h");
    assert_eq!((both[1][0].rate_limit().index, both[1][1].rate_limit().index), (-1, -3));
}
