//! RL.BATCH: EACH and ALL, the same key twice, and failures as a whole.

use crate::harness::{Reply, Server, assert_error, assert_error_prefix};
use crate::limits::kit::{T0, at_t0, used};
use crate::support::{BY_ANOTHER_ITEM, Dice, RateLimitReply, denied, granted};

#[track_caller]
fn batch(server: &Server, command: &str) -> Vec<RateLimitReply> {
    server.line(&format!("RL.BATCH {command}")).items().iter().map(Reply::rate_limit).collect()
}

#[test]
fn each_decides_every_item_on_its_own() {
    let server = at_t0();
    assert_eq!(
        batch(&server, "EACH 4 a 10/s 4 b 5/m 6 a 10/s 7 a 10/s 6"),
        [
            granted(4).limit(10).remaining(6).reset_ms(1000),
            denied().limit(5).remaining(5).retry_never().reset_ms(0),
            denied().limit(10).remaining(6).retry_ms(1000).reset_ms(1000),
            granted(6).limit(10).remaining(0).reset_ms(1000),
        ]
    );
    assert_eq!(server.line("EXISTS b"), Reply::Int(0));
    assert_eq!(batch(&server, "each 1 c 2/m,9/s 2"), [granted(2).limit(2).remaining(0).reset_ms(60_000)]);
    let mut three = server.wire3();
    assert_eq!(
        three.line("RL.BATCH EACH 1 c 2/m,9/s 2"),
        Reply::Array(vec![Reply::ints(&[0, 2, 0, 60_000, 60_000, 0])])
    );
}

#[test]
fn all_grants_everything_or_nothing() {
    let server = at_t0();
    assert_eq!(
        batch(&server, "ALL 3 org 60/h 3 proj 50/m 3 user 10/s 3"),
        [
            granted(3).limit(60).remaining(57).reset_ms(3_600_000),
            granted(3).limit(50).remaining(47).reset_ms(60_000),
            granted(3).limit(10).remaining(7).reset_ms(1000)
        ]
    );
    // The user is to blame; the others would have been granted, and wait as long.
    assert_eq!(
        batch(&server, "ALL 3 org 60/h 8 proj 50/m 8 user 10/s 8"),
        [
            denied().limit(60).remaining(57).retry_ms(1000).reset_ms(3_600_000).by_another_item(),
            denied().limit(50).remaining(47).retry_ms(1000).reset_ms(60_000).by_another_item(),
            denied().limit(10).remaining(7).retry_ms(1000).reset_ms(1000)
        ]
    );
    // Two to blame carry their own numbers, the third the longest.
    assert_eq!(
        batch(&server, "ALL 3 org 60/h 58 proj 50/m 48 user 10/s 1"),
        [
            denied().limit(60).remaining(57).retry_ms(3_600_000).reset_ms(3_600_000),
            denied().limit(50).remaining(47).retry_ms(60_000).reset_ms(60_000),
            denied().limit(10).remaining(7).retry_ms(3_600_000).reset_ms(1000).by_another_item(),
        ]
    );
    // Never is the longest of all.
    assert_eq!(
        batch(&server, "ALL 3 org 60/h 1 proj 50/m 48 user 10/s 11"),
        [
            denied().limit(60).remaining(57).retry_never().reset_ms(3_600_000).by_another_item(),
            denied().limit(50).remaining(47).retry_ms(60_000).reset_ms(60_000),
            denied().limit(10).remaining(7).retry_never().reset_ms(1000)
        ]
    );
    assert_eq!(used(&server, "org", "60/h"), [3]);
    // What is denied leaves no key behind.
    batch(&server, "ALL 2 fresh 10/s 1 user 10/s 11");
    assert_eq!(server.line("EXISTS fresh"), Reply::Int(0));
}

#[test]
fn the_same_key_twice_counts_both() {
    let server = at_t0();
    assert_eq!(
        batch(&server, "ALL 2 k 10/s 5 k 10/s 5"),
        [granted(5).limit(10).remaining(5).reset_ms(1000), granted(5).limit(10).remaining(0).reset_ms(1000)]
    );
    // Each would fit alone; together they exceed the capacity for ever.
    assert_eq!(
        batch(&server, "ALL 2 l 10/s 6 l 10/s 6"),
        [
            denied().limit(10).remaining(10).retry_never().reset_ms(0).by_another_item(),
            denied().limit(10).remaining(10).retry_never().reset_ms(0)
        ]
    );
    // Together they fit the capacity, but not now.
    server.line("RL.ACQUIRE m 10/s COST 3");
    assert_eq!(
        batch(&server, "ALL 3 m 10/s 4 m 10/s 4 x 5/m 1"),
        [
            denied().limit(10).remaining(7).retry_ms(1000).reset_ms(1000).by_another_item(),
            denied().limit(10).remaining(7).retry_ms(1000).reset_ms(1000),
            denied().limit(5).remaining(5).retry_ms(1000).reset_ms(0).by_another_item()
        ]
    );
    server.clock_advance(1_000_000);
    assert_eq!(
        batch(&server, "ALL 3 m 10/s 4 m 10/s 4 x 5/m 1").iter().filter(|item| item.is_granted()).count(),
        3
    );
    assert_eq!(used(&server, "m", "10/s"), [8]);
}

#[test]
fn the_same_key_twice_with_other_limits() {
    let server = at_t0();
    // What the first item takes counts only on the limits that both share.
    assert_eq!(
        batch(&server, "ALL 2 k 60/h 50 k 5/m 5"),
        [
            granted(50).limit(60).remaining(10).reset_ms(3_600_000),
            granted(5).limit(5).remaining(0).reset_ms(60_000)
        ]
    );
    assert_eq!((used(&server, "k", "60/h")[0], used(&server, "k", "5/m")[0]), (50, 5));
    // On a limit that both share, a count of its own each.
    assert_eq!(
        batch(&server, "ALL 2 l 60/h 50 l 20/h,9/m 9"),
        [
            denied().limit(60).remaining(60).retry_never().reset_ms(0).by_another_item(),
            denied().limit(20).remaining(20).retry_never().reset_ms(0)
        ]
    );
    assert_eq!(
        batch(&server, "ALL 2 l 60/h 50 l 64/h,9/m 9"),
        [
            granted(50).limit(60).remaining(10).reset_ms(3_600_000),
            granted(9).limit(9).remaining(0).reset_ms(60_000).index(1)
        ]
    );
    assert_eq!(used(&server, "l", "60/h"), [59]);
    // The first of those that can never grant, though alone it would not deny.
    assert_eq!(
        batch(&server, "ALL 2 n 5/h,3/m 1 n 5/h,3/m 5")[1],
        denied().limit(5).remaining(5).retry_never().reset_ms(0)
    );
}

#[test]
fn options_of_limits_hold_for_items_too() {
    let server = at_t0();
    assert_eq!(
        batch(&server, "ALL 2 k 40/h,2/m:per=call 20 k 40/h,2/m:per=call 20"),
        [
            granted(20).limit(2).remaining(1).reset_ms(60_000).index(1),
            granted(20).limit(40).remaining(0).reset_ms(3_600_000)
        ]
    );
    assert_eq!(batch(&server, "ALL 1 s 1/m:shadow 7"), [granted(7).unlimited()]);
    // Shadow limits alone are as unlimited, also where others deny.
    assert_eq!(batch(&server, "ALL 1 s 1/m:shadow 1"), [granted(1).unlimited()]);
    assert_eq!(
        batch(&server, "ALL 2 s 1/m:shadow 1 d 1/m 2"),
        [
            denied().unlimited().retry_never().by_another_item(),
            denied().limit(1).remaining(1).retry_never().reset_ms(0)
        ]
    );
    assert_eq!(
        batch(&server, "EACH 2 u unlimited 7 keep 10/m:keep=50% 6"),
        [granted(7).unlimited(), denied().limit(10).remaining(5).retry_never().reset_ms(0)]
    );
    assert_eq!(
        batch(&server, "ALL 2 keep 10/m:keep=50% 6 keep 10/m:keep=50% 2 CRITICAL"),
        [
            granted(6).limit(10).remaining(4).reset_ms(60_000),
            granted(2).limit(10).remaining(2).reset_ms(60_000)
        ]
    );
    assert_eq!(
        batch(&server, "ALL 2 keep 10/m:keep=50% 1 keep 10/m:keep=50% 2 CRITICAL"),
        [
            denied().limit(10).remaining(2).retry_ms(60_000).reset_ms(60_000).by_another_item(),
            denied().limit(10).remaining(2).retry_ms(60_000).reset_ms(60_000)
        ]
    );
    // Pins and blocks hold as for RL.ACQUIRE.
    server.ok("RL.PIN pinned 2/h");
    server.ok("RL.BLOCK blocked FOR 30s");
    assert_eq!(
        batch(&server, "EACH 2 pinned 10/s 2 blocked 10/s 1"),
        [
            granted(2).limit(2).remaining(0).reset_ms(3_600_000),
            denied().limit(10).remaining(0).retry_ms(30_000).reset_ms(0).blocked()
        ]
    );
    assert_eq!(
        batch(&server, "ALL 2 free 10/s 2 blocked 10/s 1"),
        [
            denied().limit(10).remaining(10).retry_ms(30_000).reset_ms(0).by_another_item(),
            denied().limit(10).remaining(0).retry_ms(30_000).reset_ms(0).blocked()
        ]
    );
    assert_error_prefix(&server.line("RL.BATCH ALL 1 k * 1"), "ERR item 1: no limits for this key");
    assert_eq!(
        batch(&server, "ALL 1 pinned * 1"),
        [denied().limit(2).remaining(0).retry_ms(3_600_000).reset_ms(3_600_000)]
    );
}

#[test]
fn a_bad_item_fails_the_whole_command() {
    let server = at_t0();
    server.line("SET string x");
    for mode in ["ALL", "EACH"] {
        let bad = |tail: &str| server.line(&format!("RL.BATCH {mode} {tail}"));
        assert_error(&bad("2 a 10/s 1 b 10/ 1"), "ERR item 2: invalid limit '10/': missing period");
        assert_error_prefix(
            &bad("2 a 10/s 1 b 10/s 0"),
            "ERR item 2: COST must be a whole number from 1 to 1000000000000",
        );
        assert_error(
            &bad("2 a 10/s 1 b 10/s x"),
            "ERR item 2: COST must be a whole number from 1 to 1000000000000",
        );
        assert_error(
            &bad("2 a 10/s 1 string 10/s 1"),
            "WRONGTYPE Operation against a key holding the wrong kind of value (item 2)",
        );
        assert_error_prefix(&bad("2 a 10/s 1 b concurrent:5 1"), "ERR item 2: invalid limit 'concurrent:5'");
        assert_error_prefix(&bad("2 a 10/s 1 b @gold 1"), "ERR item 2: no policy 'gold'");
        assert_error_prefix(&bad("3 a 10/s 1 b 10/s 1"), "ERR numitems is more than the items that follow");
        assert_error_prefix(&bad("1 a 10/s 1 b 10/s 1"), "ERR syntax error near 'b'");
        assert_error_prefix(&bad("1 a 10/s 1 CRITICAL x"), "ERR syntax error near 'x'");
        for count in ["0", "-1", "x", "1001", "99999999999999999999"] {
            assert_error_prefix(
                &bad(&format!("{count} a 10/s 1")),
                "ERR numitems must be a whole number from 1 to 1000",
            );
        }
    }
    assert_error_prefix(&server.line("RL.BATCH SOME 1 a 10/s 1"), "ERR syntax error near 'SOME'");
    assert_eq!(server.line("DBSIZE"), Reply::Int(1));
}

#[test]
fn a_thousand_items_in_one_command() {
    let server = at_t0();
    let items = |n: usize| (0..n).map(|i| format!(" k{} 10/s 1", i % 100)).collect::<Vec<_>>().concat();
    let replies = batch(&server, &format!("ALL 1000{}", items(1000)));
    assert!(replies.iter().all(|item| item.granted == 1));
    assert_eq!(replies[999], granted(1).limit(10).remaining(0).reset_ms(1000));
    let replies = batch(&server, &format!("EACH 1000{}", items(1000)));
    assert!(replies.iter().all(|item| !item.is_granted()));
    if server.at_least(7, 0) {
        server.config_set("floodgate.batch-max", "2");
        assert_error_prefix(
            &server.line(&format!("RL.BATCH ALL 3{}", items(3))),
            "ERR numitems must be a whole number from 1 to 2",
        );
        assert_eq!(batch(&server, "ALL 2 x 10/s 1 y 10/s 1").len(), 2);
    }
}

#[test]
fn all_or_nothing_whatever_the_batch() {
    let server = at_t0();
    let mut dice = Dice::new(1);
    let texts = [
        "9/s",
        "12/s,40/m",
        "40/m,bucket:10/s:burst=15",
        "bucket:10/s:burst=20,5/s:per=call",
        "3/s:shadow:name=t,30/m:keep=20%",
        "unlimited,fixed:20/3s",
    ];
    let (mut granted, mut denied) = (0, 0);
    let mut now = T0;
    for _ in 0..300 {
        now += dice.below(2_000_000);
        server.clock_set(now);
        let items: Vec<_> = (0..=dice.below(5))
            .map(|_| {
                let limits = dice.one_of(&texts);
                (format!("k{}", dice.below(3)), limits, 1 + dice.below(7_u64))
            })
            .collect();
        let text = items
            .iter()
            .map(|(key, limits, cost)| format!(" {key} {limits} {cost}"))
            .collect::<Vec<_>>()
            .concat();
        let command = format!("ALL {}{text}", items.len());
        let digest = |server: &Server| server.line("DEBUG DIGEST").text();
        let before = digest(&server);
        // The same items one by one on copies of the keys are the model.
        for key in ["k0", "k1", "k2"] {
            server.line(&format!("DEL copy-{key}"));
            server.line(&format!("COPY {key} copy-{key}"));
        }
        let copies = items
            .iter()
            .map(|(key, limits, cost)| format!(" copy-{key} {limits} {cost}"))
            .collect::<Vec<_>>()
            .concat();
        let each = batch(&server, &format!("EACH {}{copies}", items.len()));
        let fits = each.iter().all(|item| item.is_granted());
        server.line("DEL copy-k0 copy-k1 copy-k2");
        assert_eq!(digest(&server), before);
        let all = batch(&server, &command);
        if fits {
            granted += 1;
            assert_eq!(all, each, "{command}");
            continue;
        }
        denied += 1;
        assert_eq!(digest(&server), before, "{command}: {all:?}");
        assert!(all.iter().all(|item| !item.is_granted()), "{command}: {all:?}");
        assert!(all.iter().any(|item| item.index >= 0), "somebody is to blame: {command}: {all:?}");
        let waits = all.iter().map(|item| item.retry_after_ms);
        let never = waits.clone().any(|wait| wait < 0);
        let longest = if never { -1 } else { waits.max().unwrap() };
        assert!(
            all.iter().all(|item| item.index != BY_ANOTHER_ITEM || item.retry_after_ms == longest),
            "{command}: {all:?}"
        );
        // After the longest wait the whole is granted, and not 2 ms earlier.
        if longest >= 2 {
            for (wait, granted) in [(longest - 2, false), (longest, true)] {
                for key in ["k0", "k1", "k2"] {
                    server.line(&format!("COPY {key} copy-{key} REPLACE"));
                }
                server.clock_set(now + wait * 1000);
                let then = batch(&server, &format!("ALL {}{copies}", items.len()));
                assert_eq!(then[0].is_granted(), granted, "{command} {wait} ms after {all:?}: {then:?}");
                server.line("DEL copy-k0 copy-k1 copy-k2");
            }
        }
    }
    assert!(granted > 50 && denied > 50, "{granted} granted, {denied} denied");
}
