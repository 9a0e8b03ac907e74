//! RL.QUOTA: maps in both protocols, where limits come from, HTTP headers.

use crate::harness::{Reply, Server, T0, Wire, assert_error, assert_error_prefix};
use crate::support::Dice;

const T0_MS: i64 = T0 / 1000;

/// A row of integers and texts as the reply's map, in the protocol of `wire`.
fn row(three: bool, fields: &[(&str, Reply)]) -> Reply {
    let pairs: Vec<_> = fields.iter().map(|(name, value)| (Reply::bulk(name), value.clone())).collect();
    if three {
        Reply::Map(pairs)
    } else {
        Reply::Array(pairs.into_iter().flat_map(|(name, value)| [name, value]).collect())
    }
}

#[test]
fn one_map_a_limit() {
    let server = Server::at_t0();
    server.line("RL.ACQUIRE k 10/s:name=api,bucket:100/m:burst=50,fixed:5/h:shadow COST 4");
    server.clock_advance(500_000);
    // Maps and booleans need a server that has them, 7.0.
    for three in [false, true] {
        let mut wire = if three { server.wire3() } else { server.wire() };
        let three = three && server.at_least(7, 0);
        let no = if three { Reply::Bool(false) } else { Reply::Int(0) };
        let yes = if three { Reply::Bool(true) } else { Reply::Int(1) };
        let last = || Reply::bulk("last");
        let reply = wire.line("RL.QUOTA k COST 7");
        let expected = Reply::Array(vec![
            row(
                three,
                &[
                    ("name", Reply::bulk("api")),
                    ("algorithm", Reply::bulk("sliding")),
                    ("limit", Reply::Int(10)),
                    ("used", Reply::Int(4)),
                    ("remaining", Reply::Int(6)),
                    ("period_ms", Reply::Int(1000)),
                    ("retry_after_ms", Reply::Int(500)),
                    ("reset_after_ms", Reply::Int(500)),
                    ("reset_at_ms", Reply::Int(T0_MS + 1000)),
                    ("shadow", no.clone()),
                    ("source", last()),
                ],
            ),
            row(
                three,
                &[
                    ("name", Reply::bulk("bucket:100/m")),
                    ("algorithm", Reply::bulk("bucket")),
                    ("limit", Reply::Int(50)),
                    // 4 taken, 5/6 of a unit back: 46 whole units are there.
                    ("used", Reply::Int(4)),
                    ("remaining", Reply::Int(46)),
                    ("period_ms", Reply::Int(60_000)),
                    ("retry_after_ms", Reply::Int(0)),
                    ("reset_after_ms", Reply::Int(1900)),
                    ("reset_at_ms", Reply::Int(T0_MS + 2400)),
                    ("shadow", no),
                    ("source", last()),
                ],
            ),
            row(
                three,
                &[
                    ("name", Reply::bulk("fixed:5/h")),
                    ("algorithm", Reply::bulk("fixed")),
                    ("limit", Reply::Int(5)),
                    ("used", Reply::Int(4)),
                    ("remaining", Reply::Int(1)),
                    ("period_ms", Reply::Int(3_600_000)),
                    ("retry_after_ms", Reply::Int(-1)),
                    ("reset_after_ms", Reply::Int(3_599_500)),
                    ("reset_at_ms", Reply::Int(T0_MS + 3_600_000)),
                    ("shadow", yes),
                    ("source", last()),
                ],
            ),
        ]);
        assert_eq!(reply, expected);
    }
}

#[test]
fn unlimited_and_per_call() {
    let server = Server::at_t0();
    let rows = server.line("RL.QUOTA k unlimited,5/m:per=call,9/m COST 9");
    let number = |at: usize, field: &str| rows[at].field(field).int();
    assert_eq!(rows[0].field("name"), Reply::bulk("unlimited"));
    assert_eq!(rows[0].field("algorithm"), Reply::bulk("unlimited"));
    let unlimited = ["limit", "used", "remaining", "period_ms", "retry_after_ms", "reset_after_ms"];
    assert_eq!(unlimited.map(|field| number(0, field)), [-1, 0, -1, -1, 0, 0]);
    assert_eq!(["remaining", "retry_after_ms"].map(|field| number(1, field)), [5, 0]);
    assert_eq!(["remaining", "retry_after_ms"].map(|field| number(2, field)), [9, 0]);
    // A limit of reservations can be looked at.
    assert_eq!(server.line("RL.QUOTA k concurrent:20")[0].field("algorithm"), Reply::bulk("concurrent"));
}

#[test]
fn where_the_limits_come_from() {
    let server = Server::at_t0();
    let nil = |wire: &mut Wire| wire.line("RL.QUOTA k");
    assert_eq!(nil(&mut server.wire()), Reply::NilBulk);
    assert_eq!(nil(&mut server.wire3()), Reply::Null);
    assert_eq!(server.line("RL.QUOTA k HEADERS"), Reply::NilBulk);
    let source = |command: &str| {
        let row = server.line(&format!("RL.QUOTA {command}"))[0].clone();
        (row.field("source").text(), row.field("limit").int(), row.field("used").int())
    };
    assert_eq!(source("k 10/s"), ("call".into(), 10, 0));
    assert_eq!(server.line("EXISTS k"), Reply::Int(0));
    if server.at_least(7, 0) {
        server.config_set("floodgate.default-limit", "7/m");
        assert_eq!(source("k"), ("default".into(), 7, 0));
        assert_eq!(source("k *"), ("default".into(), 7, 0));
    }
    server.line("RL.ACQUIRE k 10/s COST 4");
    assert_eq!(source("k"), ("last".into(), 10, 4));
    assert_eq!(source("k 20/s"), ("call".into(), 20, 4));
    assert_eq!(source("k 20/m"), ("call".into(), 20, 0));
    // `*` is what a taking command would find on the server.
    if server.at_least(7, 0) {
        assert_eq!(source("k *"), ("default".into(), 7, 0));
    }
    server.ok("RL.PIN k 3/h FOR 1s");
    for command in ["k", "k *", "k 20/s"] {
        assert_eq!(source(command), ("pin".into(), 3, 0));
    }
    server.clock_advance(1_000_000);
    assert_eq!(source("k"), ("last".into(), 10, 0));
    assert_eq!(source("k 20/s"), ("call".into(), 20, 0));
}

/// With limits, `*` too, it resolves as RL.ACQUIRE does, and errs as it does.
#[test]
fn it_shows_the_limits_that_would_decide() {
    let server = Server::at_t0();
    server.ok("RL.PIN api:u 1/h");
    assert_eq!(server.line("RL.ACQUIRE api:u 10/s,1000/h").rate_limit().granted, 1);
    assert_eq!(server.line("RL.ACQUIRE api:u 10/s,1000/h").rate_limit().retry_after_ms, 3_600_000);
    let shown = headers(&server, "api:u 10/s,1000/h");
    assert_eq!(
        shown,
        pairs(&[
            ("RateLimit-Policy", "\"1/h\";q=1;w=3600"),
            ("RateLimit", "\"1/h\";r=0;t=3600"),
            ("X-RateLimit-Limit", "1"),
            ("X-RateLimit-Remaining", "0"),
            ("X-RateLimit-Reset", "1800003600"),
            ("Retry-After", "3600"),
        ])
    );
    for text in ["*", "@gone", "10/", "10/s,10/s:name=a,10/m:name=a"] {
        let asked = server.line(&format!("RL.ACQUIRE nobody {text}"));
        assert!(matches!(asked, Reply::Error(_)), "{text}: {asked:?}");
        assert_eq!(server.line(&format!("RL.QUOTA nobody {text}")), asked);
        assert_eq!(server.line(&format!("RL.QUOTA nobody {text} HEADERS")), asked);
    }
    // A pin does not hide a typing error.
    assert_eq!(server.line("RL.QUOTA api:u 10/"), server.line("RL.ACQUIRE api:u 10/"));
    // What only reservations can take is shown all the same.
    assert_eq!(server.line("RL.QUOTA c concurrent:5")[0].field("remaining"), Reply::Int(5));
    if !server.at_least(7, 0) {
        return;
    }
    server.ok("RL.POLICY SET plan 2/m PREFIX plan:");
    server.config_set("floodgate.caller-limits", "no");
    for (key, source) in [("plan:u", "policy"), ("api:u", "pin")] {
        let row = server.line(&format!("RL.QUOTA {key} 10/s"))[0].clone();
        assert_eq!(row.field("source").text(), source);
    }
    assert_eq!(server.line("RL.QUOTA plan:u 10/s")[0].field("limit"), Reply::Int(2));
    assert_eq!(server.line("RL.QUOTA nobody 10/s"), server.line("RL.ACQUIRE nobody 10/s"));
}

#[test]
fn a_block_is_shown() {
    let server = Server::at_t0();
    server.ok("RL.BLOCK only FOR 90s");
    let rows = server.line("RL.QUOTA only");
    assert_eq!(rows.items().len(), 1);
    assert_eq!(rows[0].field("blocked").field("until"), Reply::Int(T0_MS + 90_000));
    assert_eq!(rows[0].field("blocked").field("reason"), Reply::bulk(""));
    server.line("RL.ACQUIRE k 10/s");
    server.call(&["RL.BLOCK", "k", "FOREVER", "REASON", "abuse, \0\u{e9}"]);
    for mut wire in [server.wire(), server.wire3()] {
        let rows = wire.line("RL.QUOTA k");
        assert_eq!(rows.items().len(), 2);
        assert_eq!(rows[0].field("used"), Reply::Int(1));
        let block = rows[1].field("blocked");
        assert_eq!(block.field("until"), Reply::Int(-1));
        assert_eq!(block.field("reason"), Reply::bulk("abuse, \0\u{e9}"));
    }
    server.clock_advance(90_000_000);
    assert_eq!(server.line("RL.QUOTA only"), Reply::NilBulk);
}

#[track_caller]
fn headers(server: &Server, command: &str) -> Vec<(String, String)> {
    let pairs = server.line(&format!("RL.QUOTA {command} HEADERS")).pairs();
    pairs.iter().map(|(name, value)| (name.text(), value.text())).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn headers_ready_to_send() {
    let server = Server::at_t0();
    server.line("RL.ACQUIRE k bucket:100/100s:name=default COST 50");
    server.clock_advance(20_000_000);
    assert_eq!(
        headers(&server, "k"),
        pairs(&[
            ("RateLimit-Policy", "\"default\";q=100;w=100"),
            ("RateLimit", "\"default\";r=70;t=30"),
            ("X-RateLimit-Limit", "100"),
            ("X-RateLimit-Remaining", "70"),
            ("X-RateLimit-Reset", "1800000050"),
        ])
    );
}

#[test]
fn headers_of_several_limits() {
    let server = Server::at_t0();
    // The draft's own spelling: one item a limit, whole seconds rounded up.
    server.line("RL.ACQUIRE k 10/s,50/1500ms:per=call,20/h:shadow,unlimited,fixed:5/h:name=hour COST 4");
    assert_eq!(
        headers(&server, "k"),
        pairs(&[
            (
                "RateLimit-Policy",
                "\"10/s\";q=10;w=1, \"50/1500ms\";q=50;qu=\"requests\";w=2, \"hour\";q=5;w=3600"
            ),
            ("RateLimit", "\"10/s\";r=6;t=1, \"50/1500ms\";r=49;t=2, \"hour\";r=1;t=3600"),
            ("X-RateLimit-Limit", "5"),
            ("X-RateLimit-Remaining", "1"),
            ("X-RateLimit-Reset", "1800003600"),
        ])
    );
    // A cost that would be denied now: when to come back. Nothing is told that
    // lies after that.
    server.clock_advance(1_000_000);
    let denied = headers(&server, "k COST 2");
    assert_eq!(denied.last().unwrap(), &("Retry-After".to_owned(), "3599".to_owned()));
    assert_eq!(denied[2].1, "5");
    assert_eq!(denied[4].1, "1800003600");
    // One that can never be granted has no time to come back.
    assert!(headers(&server, "k COST 6").iter().all(|(name, _)| name != "Retry-After"));
    // Nothing enforced: nothing to say.
    assert_eq!(headers(&server, "s 5/m:shadow,unlimited"), []);
    let mut three = server.wire3();
    let reply = three.line("RL.QUOTA k 10/s HEADERS");
    assert_eq!(matches!(reply, Reply::Map(_)), server.at_least(7, 0));
    assert_eq!(reply.field("X-RateLimit-Limit"), Reply::bulk("10"));
}

#[test]
fn headers_of_a_blocked_key() {
    let server = Server::at_t0();
    server.ok("RL.BLOCK k FOR 90500ms");
    let shown = headers(&server, "k 10/s");
    assert_eq!(
        shown,
        pairs(&[
            ("RateLimit-Policy", "\"10/s\";q=10;w=1"),
            ("RateLimit", "\"10/s\";r=0;t=91"),
            ("X-RateLimit-Limit", "10"),
            ("X-RateLimit-Remaining", "0"),
            ("X-RateLimit-Reset", "1800000091"),
            ("Retry-After", "91"),
        ])
    );
    // Without limits there is only the time to come back; for ever, not even that.
    assert_eq!(headers(&server, "k"), pairs(&[("Retry-After", "91")]));
    server.ok("RL.BLOCK k FOREVER");
    assert_eq!(headers(&server, "k"), []);
    assert_eq!(headers(&server, "k 10/s")[1], ("RateLimit".to_owned(), "\"10/s\";r=0".to_owned()));
}

#[test]
fn what_is_shown_is_what_is_granted() {
    let server = Server::at_t0();
    let limits = "7/s,bucket:30/m:burst=9:keep=20%,fixed:40/h";
    let mut dice = Dice::new(1);
    for _ in 0..200 {
        server.clock_advance(dice.below(1 << 20));
        let rows = server.line(&format!("RL.QUOTA k {limits}"));
        let least = rows.items().iter().map(|row| row.field("remaining").int()).min().unwrap();
        let over = server.line(&format!("RL.ACQUIRE k {limits} COST {}", least + 1)).rate_limit();
        assert_eq!(over.granted, 0, "{rows:?}");
        let wait = server.line(&format!("RL.QUOTA k {limits} COST {}", least + 1));
        let longest = wait.items().iter().map(|row| row.field("retry_after_ms").int()).max().unwrap();
        if over.retry_after_ms >= 0 {
            assert_eq!(over.retry_after_ms, longest);
        }
        if least > 0 {
            let take = 1 + dice.below(least.min(8));
            assert_eq!(server.line(&format!("RL.ACQUIRE k {limits} COST {take}")).rate_limit().granted, take);
        }
    }
}

#[test]
fn refuses_what_it_does_not_know() {
    let server = Server::start();
    assert_error_prefix(&server.line("RL.QUOTA k 10/s NOW"), "ERR syntax error near 'NOW'");
    assert_error_prefix(&server.line("RL.QUOTA k COST"), "ERR syntax error: COST needs a value");
    assert_error_prefix(
        &server.line("RL.QUOTA k COST 0"),
        "ERR COST must be a whole number from 1 to 1000000000000",
    );
    assert_error(&server.line("RL.QUOTA k 10/"), "ERR invalid limit '10/': missing period");
    server.line("SET s x");
    assert_error(
        &server.line("RL.QUOTA s 10/s"),
        "WRONGTYPE Operation against a key holding the wrong kind of value",
    );
}

#[test]
fn words_are_the_same_where_the_server_does_not_say_them() {
    let mute = Server::with(&["--rename-command", "COMMAND", ""]);
    let servers = [Server::at_t0(), mute];
    servers[1].clock_set(T0);
    let commands = [
        "RL.ACQUIRE k 10/s,bucket:5/m,fixed:7/h",
        "RL.QUOTA k",
        "CB.ACQUIRE c",
        "CB.FORCE c OPEN",
        "CB.ACQUIRE c",
    ];
    for command in commands {
        let [said, put_together] = servers.each_ref().map(|server| server.line(command));
        assert_eq!(said, put_together, "{command}");
    }
}

/// `w` is the time in which `q` comes back, whatever the algorithm, and a name that
/// comes again gets `-2`, `-3`, the same in both fields.
#[test]
fn headers_tell_the_time_in_which_all_comes_back() {
    let server = Server::at_t0();
    let headers = |command: &str| {
        let reply = server.line(&format!("RL.QUOTA {command} HEADERS"));
        (reply.field("RateLimit-Policy").text(), reply.field("RateLimit").text())
    };
    for (limits, policy) in [
        ("bucket:10/s:burst=50", r#""bucket:10/s";q=50;w=5"#),
        ("bucket:10/s", r#""bucket:10/s";q=10;w=1"#),
        ("bucket:10/m:burst=3", r#""bucket:10/m";q=3;w=18"#),
        // 7 units at 3 a second are 2.3 s.
        ("bucket:3/s:burst=7", r#""bucket:3/s";q=7;w=3"#),
        ("bucket:1000000000000/ms:burst=1", r#""bucket:1000000000000/1ms";q=1;w=1"#),
        ("100/m", r#""100/m";q=100;w=60"#),
        ("fixed:5/h", r#""fixed:5/h";q=5;w=3600"#),
        ("concurrent:5", r#""concurrent:5";q=5;qu="concurrent-requests""#),
    ] {
        let policy = policy.replace("/1ms", "/ms");
        assert_eq!(headers(&format!("k {limits}")).0, policy, "{limits}");
    }
    server.line("CL.THROTTLE u 2 60 60");
    assert_eq!(headers("u").0, r#""throttle:2/60/60";q=3;w=3"#);
    server.line("CL.THROTTLE v 9 8000 1");
    assert_eq!(headers("v").0, r#""throttle:9/8000/1";q=10;w=1"#);

    server.line("RL.ACQUIRE t 60/m,50/m:per=call,40/m:per=call:shadow,30/m:per=call,20/h COST 5");
    assert_eq!(
        headers("t 60/m,60/m:per=call,20/h"),
        (
            r#""60/m";q=60;w=60, "60/m-2";q=60;qu="requests";w=60, "20/h";q=20;w=3600"#.into(),
            r#""60/m";r=55;t=60, "60/m-2";r=59;t=60, "20/h";r=15;t=3600"#.into()
        )
    );
    // A shadow limit is absent and has no number; three of one name.
    let (policy, items) = headers("fresh 9/m:shadow,9/m,9/m:per=call,9/m:keep=50%");
    assert_eq!(policy, r#""9/m";q=9;w=60, "9/m-2";q=9;qu="requests";w=60, "9/m-3";q=9;w=60"#);
    assert_eq!(items, r#""9/m";r=9;t=0, "9/m-2";r=9;t=0, "9/m-3";r=5;t=0"#);
    // No field has a name twice, whatever the limits.
    for limits in
        ["5/m,5/m,5/m,5/m,5/m:per=call", "@p,5/m", "5/m:name=a,5/m:name=b,bucket:5/m,bucket:5/m:burst=9"]
    {
        server.ok("RL.POLICY SET p 5/m,5/m:per=call");
        let (policy, _) = headers(&format!("x {limits}"));
        let mut names: Vec<&str> = policy.split(", ").filter_map(|item| item.split(';').next()).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "{policy}");
    }
}

#[test]
fn headers_tell_no_time_for_what_is_never_granted() {
    let server = Server::at_t0();
    server.ok("RL.BLOCK k FOR 1m");
    server.ok("RL.PIN k 1000/s FOR 30s");
    let limit = |cost: &str| server.line(&format!("RL.QUOTA k 5/m COST {cost} HEADERS"));
    // The block outlasts the pin, and what holds then never grants as much.
    assert_eq!(limit("64").field("RateLimit").text(), "\"1000/s\";r=0");
    assert_eq!(limit("4").field("RateLimit").text(), "\"1000/s\";r=0;t=60");
}

#[test]
fn integers_of_headers_have_at_most_fifteen_digits() {
    let server = Server::at_t0();
    server.line("CL.THROTTLE k 9223372036854775807 1 1");
    let headers = server.line("RL.QUOTA k HEADERS");
    assert!(headers.field("RateLimit-Policy").text().contains(";q=999999999999999"), "{headers:?}");
    assert!(headers.field("RateLimit").text().contains(";r=999999999999999"), "{headers:?}");
    server.line("CL.THROTTLE l 999999999999998 1 1");
    assert!(
        server.line("RL.QUOTA l HEADERS").field("RateLimit-Policy").text().contains(";q=999999999999999")
    );
}
