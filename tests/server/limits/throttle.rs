//! CL.THROTTLE against what redis-cell answers, measured and by its formulas; its other
//! name, and GCRA.

use std::collections::HashMap;

use crate::{
    harness::{Reply, Server, T0, assert_error, assert_error_prefix, assert_same_data, call, wait_synced},
    models::throttle::{CellKey, CellRate},
    support::Dice,
};

/// 1 March 2026, 12:00 UTC, in microseconds.
const NOON: u64 = 1_772_366_400_000_000;

fn server() -> Server {
    let server = Server::start();
    server.clock_set(i64::try_from(NOON).unwrap());
    server
}

#[track_caller]
fn assert_throttle(server: &Server, arguments: &str, expected: [i64; 5]) {
    assert_eq!(server.line(&format!("CL.THROTTLE {arguments}")), Reply::ints(&expected), "{arguments}");
}

#[test]
fn the_measured_answers() {
    let server = server();
    assert_throttle(&server, "k 4 1 60 6", [1, 5, 5, -1, 0]);
    assert_throttle(&server, "k 4 1 60 0", [0, 5, 5, -1, 0]);
    assert_eq!(server.line("EXISTS k"), Reply::Int(0));
    for n in 1..=5 {
        assert_throttle(&server, "k 4 1 60", [0, 5, 5 - n, -1, 60 * n]);
    }
    assert_throttle(&server, "k 4 1 60", [1, 5, 0, 60, 300]);
    assert_throttle(&server, "k 4 1 60 0", [0, 5, 0, -1, 300]);
    assert_throttle(&server, "k 4 1 60 5", [1, 5, 0, 300, 300]);
    assert_throttle(&server, "k 4 1 60 6", [1, 5, 0, -1, 300]);
    // One unit later.
    server.clock_advance(60_000_000);
    assert_throttle(&server, "k 4 1 60", [0, 5, 0, -1, 300]);
}

/// One on which redis-cell itself neither wraps nor divides by zero.
fn random_rate(dice: &mut Dice) -> CellRate {
    loop {
        let pick = |dice: &mut Dice, all: &[u64]| all[dice.below(all.len())];
        let rate = CellRate {
            burst: pick(dice, &[0, 1, 4, 15, 99, 1_000_000]),
            count: pick(dice, &[1, 3, 7, 30, 1_000, 999_999]),
            period: pick(dice, &[1, 2, 60, 3_600, 86_400, 1_000_000]),
        };
        let interval = rate.interval_ns();
        if interval >= 1000 && interval * (i128::from(rate.burst) + 3) < 7_000_000_000_000_000_000 {
            return rate;
        }
    }
}

#[test]
fn a_hundred_thousand_calls_answer_as_the_formulas_say() {
    const CALLS: u64 = 100_000;
    const CHUNK: u64 = 2_000;
    let server = server();
    let mut wire = server.wire();
    let mut dice = Dice::new(21);
    let mut cells: HashMap<u64, CellKey> = HashMap::new();
    let mut now = NOON;
    let mut rates: Vec<CellRate> = (0..100).map(|_| random_rate(&mut dice)).collect();
    let mut limited = 0;
    for _ in 0..CALLS / CHUNK {
        let (mut commands, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..CHUNK {
            let key = dice.below(rates.len() as u64);
            let rate = &mut rates[usize::try_from(key).unwrap()];
            if dice.chance(2) {
                *rate = random_rate(&mut dice);
            }
            if dice.chance(40) {
                let exponent = u32::try_from(dice.below(9)).unwrap();
                now += dice.below(10u64.pow(exponent));
                commands.push(format!("RL.DEBUG CLOCK SET {now}"));
                expected.push(Reply::ok());
            }
            let q = match dice.below(12) {
                0 => 0,
                1 => 2,
                2 => 5,
                3 => rate.burst,
                4 => rate.burst + 1,
                5 => rate.burst + 2,
                _ => 1,
            };
            let answer = cells.entry(key).or_default().ask(now, *rate, q);
            limited += answer[0];
            commands.push(format!("CL.THROTTLE t:{key} {} {} {} {q}", rate.burst, rate.count, rate.period));
            expected.push(Reply::ints(&answer));
        }
        let replies = wire.lines(&commands);
        for ((command, reply), expected) in commands.iter().zip(&replies).zip(&expected) {
            assert_eq!(reply, expected, "{command} at {now}");
        }
    }
    assert!((20_000..90_000).contains(&limited), "{limited} limited");
}

#[test]
fn errors_carry_a_code_and_name_the_argument() {
    let server = server();
    for (command, text) in [
        ("CL.THROTTLE k x 1 60", "ERR max_burst must be an integer"),
        ("CL.THROTTLE k 1 x 60", "ERR count_per_period must be an integer"),
        ("CL.THROTTLE k 1 1 6.5", "ERR period must be an integer"),
        ("CL.THROTTLE k 1 1 60 x", "ERR quantity must be an integer"),
        ("CL.THROTTLE k 1 1 60 -1", "ERR quantity must be 0 or more"),
        ("CL.THROTTLE k -1 1 60", "ERR max_burst must not be negative"),
        ("CL.THROTTLE k 1 0 60", "ERR count_per_period must be at least 1"),
        ("CL.THROTTLE k 1 -1 60", "ERR count_per_period must be at least 1"),
        ("CL.THROTTLE k 1 1 0", "ERR period must be at least 1 second"),
        ("CL.THROTTLE k 1 1 -5", "ERR period must be at least 1 second"),
        ("CL.THROTTLE k 1 99999999999999999999 1", "ERR count_per_period must be an integer"),
        ("CL.THROTTLE k 0 10000000000 1", "ERR rate is above one unit a nanosecond"),
    ] {
        assert_error(&server.line(command), text);
    }
    for command in ["CL.THROTTLE k 1 1", "CL.THROTTLE k 1 1 60 1 1", "CL.THROTTLE k"] {
        assert_error_prefix(&server.line(command), "ERR wrong number of arguments");
    }
    assert_eq!(server.line("EXISTS k"), Reply::Int(0));
    server.line("RPUSH list 1");
    assert_error_prefix(&server.line("CL.THROTTLE list 1 1 60"), "WRONGTYPE ");
    for left in ["", "abc", "-5", "1.5", " 1", "99999999999999999999999"] {
        assert_eq!(call!(server, "SET", "s", left), Reply::ok());
        assert_error_prefix(&server.line("CL.THROTTLE s 1 1 60"), "WRONGTYPE ");
        assert_eq!(server.line("GET s").text(), left);
    }
}

#[test]
fn what_redis_cell_got_wrong_is_right() {
    let server = server();
    // Above a thousand a second it never limited.
    assert_throttle(&server, "fast 0 10000 1", [0, 1, 0, -1, 0]);
    assert_throttle(&server, "fast 0 10000 1", [1, 1, 0, 1, 0]);
    // It told of more than there is, and "denied, retry 0".
    assert_throttle(&server, "a 6000 6000 1", [0, 6001, 6000, -1, 0]);
    for left in [1, 0] {
        assert_throttle(&server, "u 1 8000 1", [0, 2, left, -1, 0]);
    }
    assert_throttle(&server, "u 1 8000 1", [1, 2, 0, 1, 0]);
    // These wrapped.
    assert_throttle(&server, "huge 9223372036854775807 1 60", [0, i64::MAX, i64::MAX, -1, 60]);
    assert_throttle(&server, "long 200000000 1 86400", [0, 200_000_001, 200_000_000, -1, 86_400]);
    // It aborted on a name that is no text.
    let reply = call!(server, "CL.THROTTLE", b"\xff\x00", 4, 1, 60);
    assert_eq!(reply, Reply::ints(&[0, 5, 4, -1, 60]));
    for q in ["9223372036854775807", "1000000000000"] {
        assert_throttle(&server, &format!("k 4 1 60 {q}"), [1, 5, 5, -1, 0]);
    }
}

#[test]
fn a_clock_that_stepped_back_denies_no_longer_than_the_full_burst() {
    let server = server();
    server.clock_advance(86_400_000_000);
    for _ in 0..5 {
        server.line("CL.THROTTLE k 4 1 60");
    }
    server.clock_set(i64::try_from(NOON).unwrap());
    assert_throttle(&server, "k 4 1 60", [1, 5, 0, 60, 300]);
    server.clock_advance(60_000_000);
    assert_throttle(&server, "k 4 1 60", [0, 5, 0, -1, 300]);
}

#[test]
fn quota_shows_a_bucket_of_one_more_than_the_burst() {
    let server = server();
    server.line("CL.THROTTLE k 4 30 60 2");
    assert_eq!(server.line("TYPE k").text(), "ratelimit");
    let quota = server.line("RL.QUOTA k");
    assert_eq!(quota.items().len(), 1);
    let row = &quota[0];
    assert_eq!(row.field("algorithm").text(), "bucket");
    for (name, value) in
        [("limit", 5), ("used", 2), ("remaining", 3), ("period_ms", 60_000), ("reset_after_ms", 4_000)]
    {
        assert_eq!(row.field(name).int(), value, "{name}");
    }
    assert_eq!(row.field("source").text(), "last");
    assert_eq!(server.line("RL.REFUND k 1"), Reply::Int(1));
    assert_throttle(&server, "k 4 30 60 0", [0, 5, 4, -1, 2]);
    // What is kept of it inside is no limit that clients may write.
    for limits in ["throttle:4/30/60", "THROTTLE:4/30/60"] {
        for key in ["k", "other"] {
            assert_error_prefix(
                &call!(server, "RL.ACQUIRE", key, limits),
                "ERR invalid limit 'throttle:4/30/60'".replace("throttle", &limits[..8]).as_str(),
            );
        }
    }
}

#[test]
fn an_operators_word_wins() {
    let server = server();
    server.line("CL.THROTTLE k 4 1 60");
    server.ok("RL.BLOCK k FOR 90s");
    assert_throttle(&server, "k 4 1 60", [1, 5, 0, 90, 60]);
    server.ok("RL.BLOCK k FOREVER");
    assert_throttle(&server, "k 4 1 60", [1, 5, 0, -1, 60]);
    server.line("RL.UNBLOCK k");
    assert_throttle(&server, "k 4 1 60", [0, 5, 3, -1, 120]);
    server.ok("RL.PIN k 2/m");
    assert_throttle(&server, "k 4 1 60 0", [0, 2, 2, -1, 0]);
    assert_throttle(&server, "k 4 1 60", [0, 2, 1, -1, 60]);
    assert_throttle(&server, "k 4 1 60", [0, 2, 0, -1, 60]);
    assert_throttle(&server, "k 4 1 60", [1, 2, 0, 60, 60]);
    assert_throttle(&server, "k 4 1 60 3", [1, 2, 0, -1, 60]);
    // Its own usage is where it was.
    server.line("RL.UNPIN k");
    assert_throttle(&server, "k 4 1 60 0", [0, 5, 3, -1, 120]);
    // Seconds are rounded up: nobody who is denied is told 0, nor too little.
    for (period, retry) in [("300ms", 1), ("1500ms", 2)] {
        server.ok(&format!("RL.PIN soon:{period} 1/{period}"));
        assert_throttle(&server, &format!("soon:{period} 4 1 60"), [0, 1, 0, -1, retry]);
        assert_throttle(&server, &format!("soon:{period} 4 1 60"), [1, 1, 0, retry, retry]);
    }
}

#[test]
fn a_string_left_by_redis_cell_is_taken_over() {
    let server = server();
    let replica = server.replica();
    let tat = u128::from(NOON) * 1000 + 120_000_000_000;
    assert_eq!(call!(server, "SET", "k", tat.to_string(), "PX", 120_000), Reply::ok());
    // A look, and a denial, leave it as it is.
    assert_throttle(&server, "k 4 1 60 0", [0, 5, 3, -1, 120]);
    assert_throttle(&server, "k 4 1 60 4", [1, 5, 3, 60, 120]);
    assert_eq!(server.line("TYPE k").text(), "string");
    assert_throttle(&server, "k 4 1 60", [0, 5, 2, -1, 180]);
    assert_eq!(server.line("TYPE k").text(), "ratelimit");
    assert_eq!(server.line("PTTL k"), Reply::Int(-1), "none under the debug clock");
    // One whose time has passed is as good as none.
    assert_eq!(call!(server, "SET", "old", 1_000_000_000), Reply::ok());
    assert_throttle(&server, "old 4 1 60", [0, 5, 4, -1, 60]);

    server.clock_real();
    let ms = |reply: &Reply| {
        reply[0].text().parse::<i64>().unwrap() * 1000 + reply[1].text().parse::<i64>().unwrap() / 1000
    };
    let now = ms(&server.line("TIME"));
    assert_eq!(call!(server, "SET", "real", (now + 120_000) * 1_000_000, "PX", 500), Reply::ok());
    assert_throttle(&server, "real 4 1 60", [0, 5, 2, -1, 180]);
    let left = server.line("PTTL real").int();
    assert!((170_000..=180_001).contains(&left), "{left}");
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
    assert_eq!(replica.line("TYPE real").text(), "ratelimit");
}

#[test]
fn it_can_be_switched_off() {
    let server = Server::builder().module_args(["compat-cl-throttle", "no"]).start();
    for name in ["CL.THROTTLE", "RL.THROTTLE", "GCRA"] {
        assert_error_prefix(&server.line(&format!("{name} k 4 1 60")), "ERR unknown command");
        let info = server.line(&format!("COMMAND INFO {name}"));
        assert!(matches!(info[0], Reply::NilArray | Reply::NilBulk), "{info:?}");
    }
    assert_eq!(server.line("RL.ACQUIRE k 1/s").rate_limit().granted, 1);
}

#[test]
fn callers_choose_nothing_where_the_server_does() {
    let server = Server::builder()
        .module_args(["caller-limits", "no", "default-limit", "2/m", "enable-debug-command", "yes"])
        .start();
    server.clock_set(i64::try_from(NOON).unwrap());
    assert_throttle(&server, "k 99 1 60", [0, 2, 1, -1, 60]);
    assert_throttle(&server, "k 99 1 60 2", [1, 2, 1, 60, 60]);
}

/// What redis-cell left is counted by the server's limits where callers choose none.
#[test]
fn a_string_of_redis_cell_goes_by_the_servers_limits_where_callers_choose_none() {
    let server = |default: &[&str]| {
        let arguments = [&["caller-limits", "no", "enable-debug-command", "yes"], default].concat();
        let server = Server::builder().module_args(arguments).start();
        server.clock_set(T0);
        server.ok("SET k 1800000000000000000");
        server
    };
    let without = server(&[]);
    assert!(without.line("CL.THROTTLE k 100 100 60").error().is_some_and(|text| text.contains("no limits")));
    let server = server(&["default-limit", "2/m"]);
    let limited: Vec<i64> = (0..3).map(|_| server.line("CL.THROTTLE k 100 100 60").to_ints()[0]).collect();
    assert_eq!(limited, [0, 0, 1]);
    assert_eq!(server.line("TYPE k"), Reply::Simple("ratelimit".into()));
    // Who asks for nothing, or is denied, leaves the string.
    server.ok("SET other 1800000000000000000");
    server.line("CL.THROTTLE other 100 100 60 3");
    server.line("CL.THROTTLE other 100 100 60 0");
    assert_eq!(server.line("TYPE other"), Reply::Simple("string".into()));
}

/// RL.THROTTLE takes, answers and refuses as CL.THROTTLE on the same key.
#[test]
fn rl_throttle_is_another_name() {
    let server = server();
    for arguments in ["4 1 60", "4 1 60 0", "4 1 60 3", "4 1 60 6", "0 3 1", "-1 1 60", "1 1 60 x"] {
        let first = server.line(&format!("CL.THROTTLE a {arguments}"));
        let second = server.line(&format!("RL.THROTTLE b {arguments}"));
        assert_eq!(first, second, "{arguments}");
    }
    assert_throttle(&server, "k 4 1 60", [0, 5, 4, -1, 60]);
    assert_eq!(server.line("RL.THROTTLE k 4 1 60"), Reply::ints(&[0, 5, 3, -1, 120]));
    assert_throttle(&server, "k 4 1 60", [0, 5, 2, -1, 180]);
    assert_eq!(
        server.line("RL.HELP RL.THROTTLE")[0].text(),
        "RL.THROTTLE key max_burst count_per_period period [quantity]"
    );
}

#[track_caller]
fn assert_gcra(server: &Server, arguments: &str, expected: [i64; 5]) {
    assert_eq!(server.line(&format!("GCRA {arguments}")), Reply::ints(&expected), "{arguments}");
}

#[test]
fn gcra_answers_in_seconds_rounded_up() {
    let server = server();
    // The examples of its documentation.
    assert_gcra(&server, "api 5 10 60", [0, 6, 5, -1, 6]);
    assert_gcra(&server, "api 5 10 60 TOKENS 5", [0, 6, 0, -1, 36]);
    assert_gcra(&server, "api 5 10 60", [1, 6, 0, 6, 36]);
    assert_gcra(&server, "api 5 10 60 TOKENS 6", [1, 6, 0, 36, 36]);
    assert_gcra(&server, "api 5 10 60 tokens 7", [1, 6, 0, -1, 36]);
    assert_gcra(&server, "fresh 5 10 60 TOKENS 7", [1, 6, 6, -1, 0]);
    assert_eq!(server.line("EXISTS fresh"), Reply::Int(0));
    // A moment more than whole seconds counts as one more, where CL.THROTTLE drops it.
    server.clock_advance(5_999_900);
    assert_gcra(&server, "api 5 10 60", [1, 6, 0, 1, 31]);
    assert_throttle(&server, "api 5 10 60", [1, 6, 0, 1, 30]);
    server.clock_advance(100);
    assert_gcra(&server, "api 5 10 60", [0, 6, 0, -1, 36]);
    // Parts of a second.
    assert_gcra(&server, "half 1 2 0.5", [0, 2, 1, -1, 1]);
    assert_gcra(&server, "half 1 2 0.5", [0, 2, 0, -1, 1]);
    assert_gcra(&server, "half 1 2 0.5", [1, 2, 0, 1, 1]);
    server.clock_advance(249_999);
    assert_gcra(&server, "half 1 2 0.5", [1, 2, 0, 1, 1]);
    server.clock_advance(1);
    assert_gcra(&server, "half 1 2 0.5", [0, 2, 0, -1, 1]);
    // The same period, however it is printed.
    for period in [".5", "5e-1", "5E-01", "0.50000000000000000", "+0.5"] {
        assert_gcra(&server, &format!("half 1 2 {period}"), [1, 2, 0, 1, 1]);
    }
    let quota = server.line("RL.QUOTA half");
    for (name, value) in [("limit", 2), ("used", 2), ("remaining", 0), ("period_ms", 500)] {
        assert_eq!(quota[0].field(name).int(), value, "{name}");
    }
    assert_eq!(quota[0].field("name").text(), "throttle:1/2/0.5");
    let mut wire = server.wire3();
    assert_eq!(wire.line("GCRA half 1 2 0.5"), Reply::ints(&[1, 2, 0, 1, 1]));
    assert_eq!(wire.line("GCRA other 0 1 86400.25"), Reply::ints(&[0, 1, 0, -1, 86_401]));
}

#[test]
fn gcra_is_kept_replicated_and_written() {
    let server = server();
    let replica = server.replica();
    server.line("GCRA k 5 7 1.25 TOKENS 3");
    server.line("GCRA tiny 5 1 0.000001");
    server.line("GCRA long 9223372036854775806 1 9223372036854775807 TOKENS 2");
    server.line("RL.ACQUIRE tracked 5/m TRACK");
    server.line("GCRA tracked 5 7 1.25");
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
    let before = server.line("DEBUG DIGEST-VALUE k tiny long tracked");
    assert_eq!(server.line("DEBUG RELOAD"), Reply::ok());
    assert_eq!(server.line("DEBUG DIGEST-VALUE k tiny long tracked"), before);
    assert_gcra(&server, "k 5 7 1.25", [0, 6, 2, -1, 1]);
    assert_eq!(server.line("RL.STATS tracked").field("total").field("granted"), Reply::Int(2));
    // An operator's word wins here, too.
    server.ok("RL.BLOCK k FOR 90s");
    assert_gcra(&server, "k 5 7 1.25", [1, 6, 0, 90, 1]);
    server.ok("RL.PIN pinned 2/m");
    assert_gcra(&server, "pinned 5 7 1.25 TOKENS 2", [0, 2, 0, -1, 60]);
    assert_gcra(&server, "pinned 5 7 1.25", [1, 2, 0, 60, 60]);
}

#[test]
fn gcra_names_what_is_wrong() {
    let server = server();
    for (arguments, text) in [
        ("k x 1 60", "ERR max_burst must be a whole number from 0 to 9223372036854775807"),
        ("k -1 1 60", "ERR max_burst must be a whole number from 0 to 9223372036854775807"),
        ("k 1 0 60", "ERR tokens_per_period must be a whole number from 1 to 9223372036854775807"),
        ("k 1 1 60 TOKENS 0", "ERR TOKENS must be a whole number from 1 to 9223372036854775807"),
        ("k 1 1 60 TOKENS -1", "ERR TOKENS must be a whole number from 1 to 9223372036854775807"),
        (
            "k 1 1 60 TOKENS",
            "ERR syntax error: TOKENS needs a value; usage: GCRA key max_burst tokens_per_period period [TOKENS n]",
        ),
        (
            "k 1 1 60 TOKENS 1 TOKENS 1",
            "ERR syntax error: TOKENS is given twice; usage: GCRA key max_burst tokens_per_period period [TOKENS n]",
        ),
        ("k 0 10000000000 1", "ERR rate is above one unit a nanosecond"),
    ] {
        assert_error(&server.line(&format!("GCRA {arguments}")), text);
    }
    for period in ["0", "-1", "0.0", "x", "1s", "1,5", "inf", "nan", "1e", "1e99", "0x10", "1e-10", ""] {
        assert_error(
            &call!(server, "GCRA", "k", 1, 1, period),
            "ERR period must be a number of seconds from 0.000000001 on, such as 60 or 0.5",
        );
    }
    for arguments in ["k 1 1 60 1", "k 1 1 60 NUM_REQUESTS 1"] {
        assert_error_prefix(&server.line(&format!("GCRA {arguments}")), "ERR syntax error near ");
    }
    assert_eq!(server.line("EXISTS k"), Reply::Int(0));
}
