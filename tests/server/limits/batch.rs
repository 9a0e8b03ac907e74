//! RL.BATCH: EACH and ALL, the same key twice, and failures as a whole.

use crate::harness::{Reply, Server, T0, assert_error, assert_error_prefix, assert_same_data, wait_synced};
use crate::limits::fixtures::used;
use crate::queue::fixtures::{answered, waits};
use crate::support::{BY_ANOTHER_ITEM, Dice, RateLimitReply, denied, granted};

#[track_caller]
fn batch(server: &Server, command: &str) -> Vec<RateLimitReply> {
    server.line(&format!("RL.BATCH {command}")).items().iter().map(Reply::rate_limit).collect()
}

#[test]
fn each_decides_every_item_on_its_own() {
    let server = Server::at_t0();
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
    let server = Server::at_t0();
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
    let server = Server::at_t0();
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
    let server = Server::at_t0();
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
    let server = Server::at_t0();
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
    let server = Server::at_t0();
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
    let server = Server::at_t0();
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

/// What happens to the keys between random batches.
#[derive(Clone, Copy, PartialEq)]
enum Between {
    Nothing,
    PinsAndBlocks,
}

/// Random batches on three keys.
struct RandomBatches<'t> {
    server: Server,
    dice: Dice,
    now: i64,
    texts: &'t [&'t str],
}

impl RandomBatches<'_> {
    fn pin_or_block(&mut self) {
        let key = format!("k{}", self.dice.below(3));
        let seconds = 1 + self.dice.below(5);
        let limits = self.dice.one_of(self.texts);
        self.server.line(&match self.dice.below(3) {
            0 => format!("RL.BLOCK {key} FOR {seconds}s"),
            1 => format!("RL.PIN {key} {limits} FOR {seconds}s"),
            _ => format!("RL.PIN {key} unlimited FOR {seconds}s"),
        });
    }

    /// The number of items and the items, each key with a `~` before it.
    fn items(&mut self) -> String {
        let dice = &mut self.dice;
        let items: Vec<_> = (0..=dice.below(5))
            .map(|_| format!(" ~k{} {} {}", dice.below(3), dice.one_of(self.texts), 1 + dice.below(7_u64)))
            .collect();
        format!("{}{}", items.len(), items.concat())
    }

    fn digest(&self) -> String {
        self.server.line("DEBUG DIGEST").text()
    }

    /// Runs a batch at this time on copies of the keys as they are now.
    fn on_copies(&self, mode: &str, items: &str, at: i64) -> Vec<RateLimitReply> {
        for key in ["k0", "k1", "k2"] {
            self.server.line(&format!("COPY {key} copy-{key}"));
        }
        self.server.clock_set(at);
        let replies = batch(&self.server, &format!("{mode} {}", items.replace('~', "copy-")));
        self.server.line("DEL copy-k0 copy-k1 copy-k2");
        self.server.clock_set(self.now);
        replies
    }

    /// Runs ALL; the replies if it is denied. EACH of the same items, on copies of the keys, is its
    /// model.
    fn denial(&self, items: &str) -> Option<Vec<RateLimitReply>> {
        let before = self.digest();
        let each = self.on_copies("EACH", items, self.now);
        assert_eq!(self.digest(), before);
        let all = batch(&self.server, &format!("ALL {}", items.replace('~', "")));
        if each.iter().all(RateLimitReply::is_granted) {
            assert_eq!(all, each, "{items}");
            return None;
        }
        assert_eq!(self.digest(), before, "{items}: {all:?}");
        assert!(!all.iter().any(RateLimitReply::is_granted), "{items}: {all:?}");
        assert!(all.iter().any(|item| item.index != BY_ANOTHER_ITEM), "{items}: {all:?}");
        Some(all)
    }

    /// Asserts that the whole is granted after these milliseconds, and not 2 ms earlier.
    fn check_wait(&self, items: &str, wait_ms: i64) {
        let moments = match wait_ms {
            -1 => vec![(1000, false), (10_000, false), (3_600_000, false)],
            0 | 1 => vec![(wait_ms, true)],
            _ => vec![(wait_ms - 2, false), (wait_ms, true)],
        };
        for (after_ms, granted) in moments {
            let then = self.on_copies("ALL", items, self.now + after_ms * 1000);
            assert_eq!(then[0].is_granted(), granted, "{items} {after_ms} of {wait_ms} ms: {then:?}");
        }
    }
}

/// The time that the items of a denial tell which others deny.
fn told_by_others(denial: &[RateLimitReply]) -> impl Iterator<Item = i64> {
    denial.iter().filter(|item| item.index == BY_ANOTHER_ITEM).map(|item| item.retry_after_ms)
}

fn all_or_nothing(texts: &[&str], most_apart_us: i64, between: Between) {
    let mut random = RandomBatches { server: Server::at_t0(), dice: Dice::new(1), now: T0, texts };
    let (mut all_granted, mut all_denied) = (0, 0);
    for _ in 0..300 {
        random.now += random.dice.below(most_apart_us);
        random.server.clock_set(random.now);
        if between == Between::PinsAndBlocks && random.dice.once_in(3) {
            random.pin_or_block();
        }
        let items = random.items();
        let Some(all) = random.denial(&items) else {
            all_granted += 1;
            continue;
        };
        all_denied += 1;
        let waits: Vec<_> = all.iter().map(|item| item.retry_after_ms).collect();
        let longest = if waits.contains(&-1) { -1 } else { *waits.iter().max().unwrap() };
        let wait = match between {
            Between::Nothing => {
                assert!(told_by_others(&all).all(|wait| wait == longest), "{items}: {all:?}");
                Some(longest)
            }
            // Where a pin ends meanwhile, only the items that the others deny tell how long the whole
            // has to wait.
            Between::PinsAndBlocks => told_by_others(&all).next(),
        };
        if let Some(wait) = wait {
            random.check_wait(&items, wait);
        }
    }
    assert!(all_granted > 20 && all_denied > 20, "{all_granted} granted, {all_denied} denied");
}

const PLAIN: [&str; 6] = [
    "9/s",
    "12/s,40/m",
    "40/m,bucket:10/s:burst=15",
    "bucket:10/s:burst=20,5/s:per=call",
    "3/s:shadow:name=t,30/m:keep=20%",
    "unlimited,fixed:20/3s",
];

#[test]
fn all_or_nothing_whatever_the_batch() {
    all_or_nothing(&PLAIN, 2_000_000, Between::Nothing);
}

#[test]
fn all_or_nothing_with_pins_and_blocks() {
    all_or_nothing(&PLAIN, 2_000_000, Between::PinsAndBlocks);
}

/// One usage that items charge by call and by cost, under other periods and algorithms, and in
/// shadow.
#[test]
fn all_or_nothing_under_one_name() {
    let texts = [
        "12/s:name=t",
        "6/s:name=t:per=call",
        "40/2s:name=t",
        "bucket:12/s:name=t",
        "3/s:name=t:shadow",
        "fixed:20/3s:name=t",
    ];
    all_or_nothing(&texts, 200_000, Between::Nothing);
}

#[test]
fn a_batch_on_a_blocked_key_waits_for_the_whole_batch() {
    let server = Server::at_t0();
    server.line("RL.BLOCK a FOR 10s");
    let never = denied().limit(1).remaining(0).blocked();
    let [first, second] = batch(&server, "ALL 2 a 1/h 1 a 1/h 1")[..] else { panic!("two items") };
    assert_eq!(first, never.retry_ms(10_000));
    assert_eq!(second, never.retry_never());
    assert!(server.line("RL.ACQUIRE b 3/10s COST 2").rate_limit().is_granted());
    server.line("RL.BLOCK b FOR 5s");
    assert_eq!(batch(&server, "ALL 2 b 3/10s 1 b 3/10s 1")[1].retry_after_ms, 10_000);
    // A pin that ends before the block.
    server.line("RL.PIN p unlimited FOR 1s");
    let [pinned, blocked] = batch(&server, "ALL 2 p 1/h 5 a 1/h 1")[..] else { panic!("two items") };
    assert_eq!(pinned, denied().unlimited().retry_never().by_another_item());
    assert_eq!(blocked, denied().limit(1).remaining(0).retry_ms(10_000).blocked());
    assert_eq!(
        server.line("RL.RESERVE 2 p 1/h a 10/h COST 5 TTL 1m ID x").items()[1].items()[0].rate_limit(),
        denied().unlimited().retry_never().by_another_item()
    );
}

/// A denial that closes a limit changes the master, so it reaches replicas whatever the other items
/// name.
#[test]
fn all_beside_a_blocked_key_without_limits() {
    let server = Server::at_t0();
    let replica = server.replica();
    server.ok("RL.BLOCK x FOREVER");
    server.ok("RL.BLOCK z FOR 5s");
    server.line("RL.ACQUIRE y 1/m:block=1h");
    let blocked = denied().limit(-1).remaining(0).blocked();
    assert_eq!(batch(&server, "EACH 1 x * 1"), [blocked.retry_never()]);
    assert_eq!(
        batch(&server, "ALL 2 x * 1 w 5/m 1"),
        [blocked.retry_never(), denied().limit(5).remaining(5).retry_never().by_another_item()]
    );
    assert_eq!(
        batch(&server, "ALL 2 x * 1 y 1/m:block=1h 1"),
        [blocked.retry_never(), denied().limit(1).remaining(0).retry_ms(3_600_000).reset_ms(3_600_000)]
    );
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
    // Once the block is over, nothing says what the limits are.
    assert_eq!(
        batch(&server, "ALL 2 w 5/m 1 z * 1"),
        [denied().limit(5).remaining(5).retry_never().by_another_item(), blocked.retry_ms(5000)]
    );
}

#[test]
fn what_the_whole_is_told_holds_at_the_millisecond_at_which_it_asks_again() {
    let server = Server::at_t0();
    server.line("RL.BLOCK d FOR 1m");
    server.clock_advance(10);
    server.line("RL.PIN b 1000/s FOR 1m");
    // When the block is over, rounded up, the pin is, too. Its key then never grants that much.
    let never = denied().limit(1000).remaining(1000).retry_never().by_another_item();
    assert_eq!(batch(&server, "ALL 2 b 5/m 64 d 5/m 1")[0], never);
    let reserve = server.line("RL.RESERVE 2 b 5/m d 90/m COST 64 TTL 1m");
    assert_eq!(reserve.items()[1].items()[0].rate_limit(), never);
}

#[test]
fn what_the_whole_is_told_holds_across_many_ends_in_a_row() {
    for keys in [10, 14] {
        let server = Server::at_t0();
        for j in 1..=keys {
            server.line(&format!("RL.ACQUIRE k{j} 1/{j}s"));
            if j > 1 {
                server.line(&format!("RL.PIN k{j} 100/s FOR {}ms", 1000 * j - 1500));
            }
        }
        let items: String = (1..=keys).map(|j| format!(" k{j} 1/{j}s 1")).collect();
        let told = batch(&server, &format!("ALL {keys}{items}"));
        assert_eq!((told[1].index, told[1].retry_after_ms), (BY_ANOTHER_ITEM, 1000 * keys));
        let items: String = (1..=keys).map(|j| format!(" k{j} 1/{j}s")).collect();
        let reserve = server.line(&format!("RL.RESERVE {keys}{items} TTL 1m"));
        assert_eq!(reserve.items()[1].items()[1].rate_limit().retry_after_ms, 1000 * keys);
    }
}

/// All items deny by themselves, and when they no longer do, a pin has ended.
#[test]
fn the_whole_is_told_where_each_item_is_to_blame() {
    let server = Server::at_t0();
    server.line("RL.ACQUIRE k1 1/h");
    server.line("RL.PIN k1 1/s FOR 1500ms");
    server.line("RL.ACQUIRE k1 1/h");
    server.line("RL.ACQUIRE k2 1/2s");
    let items = ["k1 1/h", "k2 1/2s"];
    let waits = |all: &[RateLimitReply]| all.iter().map(|one| one.retry_after_ms).collect::<Vec<_>>();
    assert_eq!(waits(&batch(&server, "ALL 2 k1 1/h 1 k2 1/2s 1")), [1000, 3_600_000]);
    let reserve = server.line(&format!("RL.RESERVE 2 {} TTL 1m", items.join(" ")));
    let told: Vec<_> = reserve.items()[1].items().iter().map(Reply::rate_limit).collect();
    assert_eq!(waits(&told), [1000, 3_600_000]);
    // Under the pin it wants 4 of 3, and afterwards 2 of 1.
    server.line("RL.PIN k 3/s FOR 2s");
    server.line("RL.ACQUIRE k 5/s COST 3");
    let told = batch(&server, "ALL 2 k 1/h 2 k 3/s 2");
    assert!(told.iter().any(|one| one.retry_after_ms == -1), "{told:?}");
}

/// Pins and blocks whose ends fall between milliseconds: at the time that is told the whole is granted.
#[test]
fn what_the_whole_is_told_holds_among_random_ends() {
    let server = Server::at_t0();
    let mut dice = Dice::new(1);
    let mut told_at_all = 0;
    for round in 0..150 {
        let keys = 2 + dice.below(12);
        for j in 0..keys {
            server.clock_advance(dice.below(1500));
            let (key, seconds) = (format!("r{round}-{j}"), 1 + dice.below(9));
            server.line(&format!("RL.ACQUIRE {key} {}/{seconds}s", 1 + dice.below(2)));
            let ms = 1 + dice.below(9000);
            match dice.below(5) {
                0 => server.line(&format!("RL.BLOCK {key} FOR {ms}ms")),
                1 | 2 => server.line(&format!("RL.PIN {key} 100/s FOR {ms}ms")),
                3 => server.line(&format!("RL.PIN {key} 1/{seconds}s FOR {ms}ms")),
                _ => Reply::Int(0),
            };
        }
        let items: String = (0..keys).map(|j| format!(" r{round}-{j} {}/9s 1", 1 + j % 3)).collect();
        let command = format!("ALL {keys}{items}");
        let replies = batch(&server, &command);
        let told = replies.iter().map(|one| one.retry_after_ms).max().unwrap();
        if replies.iter().all(RateLimitReply::is_granted) || replies.iter().any(|one| one.retry_after_ms < 0)
        {
            continue;
        }
        told_at_all += 1;
        server.clock_advance(told * 1000);
        let again = batch(&server, &command);
        assert!(again.iter().all(RateLimitReply::is_granted), "round {round}: {replies:?}, then {again:?}");
    }
    assert!(told_at_all > 50, "{told_at_all}");
}

#[test]
fn a_key_twice_behind_a_line_is_told_when_both_are_granted() {
    let server = Server::at_t0();
    let limit = "bucket:10/m";
    server.line(&format!("RL.ACQUIRE k {limit} COST 10"));
    let mut waiter = waits(&server, &format!("RL.ACQUIRE k {limit} COST 2 WAIT 20s"));
    let both = format!("ALL 3 k {limit} 2 k {limit} 3 other 5/m 1");
    let told = batch(&server, &both);
    // 12 s for the waiter, and 30 s for both.
    let behind = denied().limit(10).remaining(0).behind_a_line().retry_ms(42_000);
    assert_eq!(told[..2], [behind, behind]);
    assert_eq!((told[2].index, told[2].retry_after_ms), (BY_ANOTHER_ITEM, 42_000));
    assert_eq!(batch(&server, &format!("ALL 2 k {limit} 6 k {limit} 6"))[1].retry_after_ms, -1);
    server.clock_advance(12_000_000);
    assert_eq!(answered(&mut waiter).granted, 2);
    server.clock_set(T0 + 41_998_000);
    assert!(!batch(&server, &both)[0].is_granted());
    server.clock_set(T0 + 42_000_000);
    assert!(batch(&server, &both).iter().all(RateLimitReply::is_granted));
}
