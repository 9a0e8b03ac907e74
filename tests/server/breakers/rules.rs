//! What a breaker does, rule by rule, on a real server with its clock in hand.

use crate::breakers::fixtures::{Key, written};
use crate::harness::{Reply, Server, call};

#[test]
fn each_trip_opens_when_it_says() {
    let server = Server::at_t0();
    let key = |name, breaker| Key::new(&server, name, breaker);

    assert_eq!(key("consecutive", "3").run("ffsffif"), "cccccco");
    assert_eq!(key("consecutive", "3").number("failures"), 3);

    let count = key("count", "3/16s");
    count.run("ff");
    count.wait_ms(15_999);
    assert_eq!(count.number("failures"), 2);
    count.wait_ms(1);
    assert_eq!(count.number("failures"), 0);
    assert_eq!(count.run("fsf"), "ccc");
    count.wait_ms(15_000);
    assert_eq!(count.run("f"), "o");

    assert_eq!(key("rate1", "50%/60s:min=4").run("sfsf"), "ccco");
    assert_eq!(key("rate2", "50%/60s:min=5").run("ssfff"), "cccco");
    assert_eq!(key("rate3", "60.01%/60s:min=4").run("ssfff"), "ccccc");
    assert_eq!(key("rate4", "50%/60s").run(&"f".repeat(20)), "c".repeat(19) + "o");
    assert_eq!(key("calls1", "50%/4calls").run("fssssfsf"), "ccccccco");
    assert_eq!(key("calls2", "50%/4calls:min=2").run("sf"), "co");

    let slow = key("slow", "50%/60s:min=4:slow=1s:slowrate=75%");
    assert_eq!(slow.run("llsl"), "ccco");
    assert_eq!(
        (slow.field("slow_rate").text(), slow.field("failure_rate").text()),
        ("75%".into(), "0%".into())
    );
    // A slow call evaluates the failure rate too.
    assert_eq!(key("slow2", "50%/60s:min=4:slow=1s").run("ffsl"), "ccco");
    let both = key("slow3", "50%/60s:slow=1s");
    both.run("Lls");
    assert_eq!((both.number("calls"), both.number("failures"), both.number("slow")), (3, 1, 2));
    assert_eq!(
        (both.field("failure_rate").text(), both.field("slow_rate").text()),
        ("33.33%".into(), "66.66%".into())
    );
}

#[test]
fn openings_back_off_up_to_a_cap() {
    let server = Server::at_t0();
    let key = Key::new(&server, "k", "1:open=1s:backoff=1.5:maxopen=3s");
    key.run("f");
    for (opening, ms) in (1..).zip([1000, 1500, 2250, 3000, 3000]) {
        assert_eq!((key.deny(), key.number("openings")), (ms, opening));
        key.wait_ms(ms);
        // Looking does not turn it half-open, though it says so.
        assert_eq!(
            (key.state(), key.number("trials_in_flight"), key.number("retry_after_ms")),
            ("half-open".into(), 0, 0)
        );
        assert!(key.fail(&key.admit()));
    }
    assert_eq!(key.number("next_open_ms"), 3000);
}

/// A half-open key and its first trials.
fn half_open<'s>(
    server: &'s Server,
    name: &'static str,
    breaker: &'static str,
    trials: usize,
) -> (Key<'s>, Vec<String>) {
    let key = Key::new(server, name, breaker);
    server.line(&format!("DEL {name}"));
    key.run("ffff");
    key.wait_ms(1000);
    let tokens = (0..trials).map(|_| key.admit()).collect();
    (key, tokens)
}

#[test]
fn verdicts_come_as_soon_as_they_are_certain() {
    let server = Server::at_t0();
    for (breaker, cases) in [
        (
            "50%/4calls:open=1s:probes=4",
            &[
                ("sss", "hhc"),
                ("ff", "ho"),
                ("fsf", "hho"),
                ("fsss", "hhhc"),
                ("ssf", "hhh"),
                ("ssff", "hhho"),
            ][..],
        ),
        ("3:open=1s:probes=3", &[("sss", "hhc"), ("sf", "ho"), ("f", "o")][..]),
        ("100%/4calls:open=1s:probes=3:slow=1s:slowrate=50%", &[("ll", "ho"), ("lss", "hhc")][..]),
    ] {
        for (results, states) in cases {
            let (key, trials) = half_open(&server, "k", breaker, results.len());
            let seen: String = results
                .chars()
                .zip(&trials)
                .map(|(result, trial)| {
                    let (counted, mut state) = match result {
                        's' => key.report(&["OK", "TOKEN", trial]),
                        'f' => key.report(&["FAIL", "TOKEN", trial]),
                        _ => key.report(&["OK", "TOKEN", trial, "DUR", "2s"]),
                    };
                    assert!(counted);
                    state.remove(0)
                })
                .collect();
            assert_eq!(&seen, states, "{breaker} {results}");
        }
    }
}

#[test]
fn a_trial_is_settled_once_and_by_its_own_token() {
    let server = Server::at_t0();
    let (key, trials) = half_open(&server, "k", "50%/4calls:open=1s:probes=3", 2);
    assert_eq!(key.number("trials_in_flight"), 2);
    let epoch = key.number("epoch");
    for foreign in
        [format!("t-{epoch}-3"), format!("t-{epoch}-0"), format!("c-{epoch}"), format!("t-{}-1", epoch + 1)]
    {
        assert!(!key.ok(&foreign), "{foreign}");
    }
    assert!(key.ok(&trials[0]) && !key.ok(&trials[0]) && !key.fail(&trials[0]));
    assert!(key.ok(&trials[1]));
    assert_eq!((key.state(), key.number("calls"), key.number("openings")), ("closed".into(), 0, 0));
    assert!(!key.fail(&trials[1]), "a trial of an earlier epoch");
    // A closed token names only its epoch.
    let token = key.admit();
    assert!(key.fail(&token) && key.fail(&token));
    assert_eq!(key.number("failures"), 2);
    assert_eq!(server.counter("breaker_stale_reports"), 7);
}

#[test]
fn a_lost_trial_opens_from_the_end_of_its_lease() {
    let server = Server::at_t0();
    let (key, trials) = half_open(&server, "k", "1:open=10s:lease=2s", 0);
    assert!(trials.is_empty());
    key.wait_ms(9000);
    let trial = key.admit();
    key.wait_ms(1999);
    assert_eq!(key.deny(), 1);
    key.wait_ms(501);
    // Half a second after the lease's end the opening has 9.5 s left.
    assert_eq!((key.state(), key.number("openings")), ("open".into(), 2));
    assert_eq!(key.deny(), 9500);
    assert!(!key.ok(&trial), "a result of a lost trial");
    assert_eq!(server.counter("breaker_lost_trials"), 1);

    // With a rate one lost trial of three is forgiven.
    let (key, trials) = half_open(&server, "r", "50%/4calls:open=1s:probes=3:lease=2s", 2);
    key.wait_ms(2000);
    assert_eq!(key.number("trials_in_flight"), 0);
    assert!(!key.ok(&trials[0]));
    assert_eq!(key.state(), "open");
    let (key, trials) = half_open(&server, "r", "50%/4calls:open=1s:probes=3:lease=2s", 1);
    key.wait_ms(2000);
    assert!(!key.ok(&trials[0]));
    assert!(key.ok(&key.admit()) && key.ok(&key.admit()));
    assert_eq!(key.state(), "closed");
    assert_eq!(server.counter("breaker_lost_trials"), 4);
}

#[test]
fn a_ramp_admits_a_share_that_grows_with_time() {
    let server = Server::at_t0();
    let (key, trials) = half_open(&server, "k", "4:open=1s:ramp=10s", 1);
    assert!(key.ok(&trials[0]));
    let (mut offered, mut admitted, mut line) = (0, 0, 0.0);
    for step in 0..500 {
        let reply = key.acquire();
        assert_eq!(reply[1].text(), "closed");
        assert_eq!(reply[3].int(), 1 - reply[0].int());
        offered += 1;
        admitted += reply[0].int();
        line += f64::from(step) * 20.0 / 10_000.0;
        #[allow(clippy::cast_precision_loss)]
        let off = admitted as f64 - line;
        assert!(off.abs() <= 1.0, "{admitted} of {offered} after {} ms, the line is at {line}", step * 20);
        key.wait_ms(20);
    }
    assert_eq!(server.counter("breaker_denied_ramp"), offered - admitted);
    let before = written(&server);
    for _ in 0..20 {
        key.admit();
    }
    // The first call after the ramp records its end.
    key.wait_ms(1);
    assert!(written(&server) - before < 400);
}

#[test]
fn forced_states_hold_and_end() {
    let server = Server::at_t0();
    let key = Key::new(&server, "k", "1:open=1s");
    server.ok("CB.FORCE k OPEN FOR 5s REASON maintenance");
    assert_eq!((key.deny(), key.state()), (5000, "forced-open".into()));
    assert_eq!(key.field("forced").field("reason"), Reply::bulk("maintenance"));
    assert_eq!(key.field("forced").field("until").int(), START_MS + 5000);
    assert_eq!(key.report(&["FAIL"]), (false, "forced-open".into()));
    key.wait_ms(4999);
    assert_eq!(key.deny(), 1);
    key.wait_ms(1);
    assert_eq!((key.state(), key.field("forced")), ("closed".into(), Reply::NilBulk));
    let token = key.admit();

    // Forced closed admits and counts, and never trips.
    server.ok("CB.FORCE k CLOSED");
    assert!(!key.ok(&token), "a force starts a new epoch");
    assert_eq!(key.run("fff"), "fff");
    assert_eq!(
        (key.state(), key.number("failures"), key.field("forced").field("until").int()),
        ("forced-closed".into(), 3, -1)
    );
    key.admit();
    server.ok("CB.FORCE k AUTO");
    assert_eq!((key.state(), key.number("failures")), ("closed".into(), 0));

    // Without an end it is an operator's word.
    server.ok("CB.FORCE k OPEN");
    key.wait_ms(1_000_000_000);
    assert_eq!(key.deny(), -1);
    assert_eq!(server.line("CB.RESET k"), Reply::Int(1));
    assert_eq!(key.state(), "closed");
    // AUTO without a force changes nothing.
    let (digest, before) = (key.digest(), written(&server));
    server.ok("CB.FORCE k AUTO");
    server.ok("CB.FORCE nobody AUTO");
    assert_eq!(
        (key.digest(), written(&server), server.line("EXISTS nobody")),
        (digest, before, Reply::Int(0))
    );
    assert_eq!(server.line("CB.RESET nobody"), Reply::Int(0));
    // A force needs no call before it.
    server.ok("CB.FORCE other OPEN");
    assert_eq!(server.line("CB.ACQUIRE other")[1], Reply::bulk("forced-open"));
}

const START_MS: i64 = crate::harness::T0 / 1000;

#[test]
fn the_pin_holds_then_the_call_then_the_last_given_then_the_default() {
    let server = Server::at_t0();
    let shown = |key: &str| {
        let state = server.call(&["CB.STATE", key]);
        (state.field("breaker").text(), state.field("source").text())
    };
    let is = |breaker: &str, source: &str| (breaker.to_owned(), source.to_owned());
    server.line("CB.ACQUIRE k");
    assert_eq!(shown("k"), is("50%/1m", "default"));
    // Before 7.0 a module has no settings that change.
    if server.at_least(7, 0) {
        server.config_set("floodgate.default-breaker", "7/10s");
        assert_eq!(shown("k"), is("7/10s", "default"));
    }
    server.line("CB.REPORT k FAIL");
    server.line("CB.ACQUIRE k 2:open=5s");
    assert_eq!(shown("k"), is("2:open=5s", "last"));
    server.line("CB.ACQUIRE k");
    assert_eq!(shown("k"), is("2:open=5s", "last"));
    server.ok("CB.PIN k 3:open=9s FOR 10s");
    assert_eq!(shown("k"), is("3:open=9s", "pin"));
    // What a call gives under a pin is remembered, and checked, but does not hold.
    assert!(server.line("CB.ACQUIRE k 5x").error().is_some());
    server.line("CB.ACQUIRE k 1:open=2s");
    assert_eq!(shown("k"), is("3:open=9s", "pin"));
    // What a report gives does not replace it.
    assert_eq!(server.line("CB.REPORT k FAIL BREAKER 1:open=3s")[1], Reply::bulk("closed"));
    server.clock_advance(10_000_000);
    assert_eq!(shown("k"), is("1:open=2s", "last"));
    server.ok("CB.PIN k 3:open=9s");
    assert_eq!((server.line("CB.UNPIN k"), server.line("CB.UNPIN k")), (Reply::Int(1), Reply::Int(0)));
    assert_eq!(shown("k"), is("1:open=2s", "last"));
    // RESET keeps the pin; a pin makes the key.
    server.ok("CB.PIN new 4");
    assert_eq!(shown("new"), is("4", "pin"));
    assert_eq!(server.line("CB.RESET new"), Reply::Int(1));
    assert_eq!(shown("new"), is("4", "pin"));

    // Without a default there may be none. Before 7.0 a module has no settings that change.
    if !server.at_least(7, 0) {
        return;
    }
    server.config_set("floodgate.default-breaker", "");
    assert_eq!(server.config_get("floodgate.default-breaker").as_deref(), Some(""));
    let error = server.line("CB.ACQUIRE nothing");
    assert!(error.error().unwrap().starts_with("ERR no breaker for this key"), "{error:?}");
    assert_eq!(
        server.line("CB.REPORT nothing FAIL"),
        Reply::Array(vec![Reply::Int(0), Reply::bulk("closed")])
    );
    assert_eq!(server.line("EXISTS nothing"), Reply::Int(0));
    assert_eq!(call!(server, "CB.REPORT", "some", "FAIL", "BREAKER", "1:open=3s")[1], Reply::bulk("open"));
    let refused = server.call(&["CONFIG", "SET", "floodgate.default-breaker", "50%"]);
    assert!(refused.error().unwrap().contains("invalid breaker '50%'"), "{refused:?}");
}

#[test]
fn a_changed_breaker_keeps_state_deadline_and_results() {
    let server = Server::at_t0();
    let key = Key::new(&server, "k", "3/60s:open=10s");
    key.run("ff");
    let same_trip = Key::new(&server, "k", "3/60s:open=20s");
    same_trip.admit();
    assert_eq!(same_trip.number("failures"), 2);
    assert_eq!(same_trip.run("f"), "o");
    assert_eq!(same_trip.deny(), 20_000);
    assert_eq!(Key::new(&server, "k", "9").deny(), 20_000);
    assert_eq!(Key::new(&server, "k", "9").number("openings"), 1);
    // Another kind of window starts empty, and the first one goes on.
    let other = Key::new(&server, "o", "5/60s");
    other.run("ffff");
    assert_eq!(Key::new(&server, "o", "5").run("f"), "c");
    assert_eq!(other.number("failures"), 5);
    assert_eq!(other.deny(), 60_000);
}

#[test]
fn a_closed_acquire_writes_and_replicates_nothing() {
    let server = Server::at_t0();
    let replica = server.replica();
    let key = Key::new(&server, "k", "50%/60s");
    key.admit();
    key.run("sf");
    crate::harness::wait_synced(&server, &replica);
    let looks = |server: &Server| server.info_field("persistence", "rdb_changes_since_last_save");
    // The replication stream also carries pings, so commands are counted too.
    let calls = |server: &Server| server.info("commandstats").get("cmdstat_rl.effect").cloned();
    let (digest, dirty, effects) = (key.digest(), looks(&server), calls(&replica));
    for _ in 0..50 {
        key.admit();
        server.line("CB.ACQUIRE k");
        server.line("CB.ACQUIRE k 50%/1m");
        key.wait_ms(100);
    }
    assert!(!key.ok("c-17"), "a stale result changes nothing either");
    server.line("CB.STATE k");
    crate::harness::wait_synced(&server, &replica);
    assert_eq!((key.digest(), looks(&server), calls(&replica)), (digest, dirty, effects));
    // An open one denies without a write too.
    server.line("CB.ACQUIRE open 1:open=10s");
    server.line("CB.REPORT open FAIL");
    let dirty = looks(&server);
    server.line("CB.ACQUIRE open");
    assert_eq!(looks(&server), dirty);
}

#[test]
fn epochs_do_not_repeat_after_del() {
    let server = Server::at_t0();
    let key = Key::new(&server, "k", "1:open=1s");
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..20 {
        let token = key.admit();
        assert!(seen.insert(token.clone()), "{token} in round {round}");
        key.run("f");
        let epoch = key.number("epoch");
        assert!(seen.insert(format!("c-{epoch}")));
        server.line("DEL k");
        if round % 5 == 4 {
            server.clock_set(START_MS * 1000 - round * 1_000_000);
        }
        assert!(!key.fail(&token), "of a circuit that is gone");
        assert_eq!(server.line("EXISTS k"), Reply::Int(0));
    }
}

#[test]
fn a_pin_stays_and_results_under_it_are_forgotten() {
    let server = Server::at_t0();
    server.ok("CB.PIN k 3:idle=1s");
    let reported = |command: &str| {
        let reply = server.line(command);
        (reply[0].int() == 1, reply[1].text())
    };
    let (counted, stale) = ((true, "closed".to_owned()), (false, "closed".to_owned()));
    assert_eq!(reported("CB.REPORT k FAIL"), counted);
    assert_eq!(reported("CB.REPORT k FAIL"), counted);
    let token = server.line("CB.ACQUIRE k")[2].text();
    server.clock_advance(1_000_000);
    let state = server.line("CB.STATE k");
    assert_eq!((state.field("failures").int(), state.field("source").text()), (0, "pin".into()));
    assert_eq!(reported(&format!("CB.REPORT k FAIL TOKEN {token}")), stale);
    assert_eq!(reported("CB.REPORT k FAIL"), counted);
    let state = server.line("CB.STATE k");
    assert_eq!((state.field("failures").int(), state.field("source").text()), (1, "pin".into()));
    assert_eq!(server.line("CB.UNPIN k").int(), 1);

    // Openings too, and the state.
    server.ok("CB.PIN b 1:open=1s:backoff=2:lease=1s:idle=2s");
    for _ in 0..2 {
        let before = server.line("CB.STATE b").field("epoch").int();
        assert_eq!(reported("CB.REPORT b FAIL"), (true, "open".into()));
        let state = server.line("CB.STATE b");
        assert_eq!((state.field("openings").int(), state.field("retry_after_ms").int()), (1, 1000));
        assert!(state.field("epoch").int() > before);
        assert_eq!((server.counter("breakers_open"), server.line("RL.TOP OPEN").items().len()), (1, 1));
        server.clock_advance(2_000_000);
        let state = server.line("CB.STATE b");
        assert_eq!((state.field("state").text(), state.field("openings").int()), ("closed".into(), 0));
        assert_eq!(server.counter("breakers_half_open"), 0);
        assert_eq!(server.line("RL.TOP OPEN").items().len(), 0);
    }
    assert_eq!(server.line("CB.RESET b").int(), 1);
    assert_eq!(server.line("CB.STATE b").field("source").text(), "pin");
    assert_eq!(server.line("CB.UNPIN b").int(), 1);
}

#[test]
fn an_idle_breaker_is_forgotten_and_nothing_is_undercut() {
    let server = Server::start();
    let ttl = |key: &str| server.call(&["PTTL", key]).int();
    let near = |ttl: i64, ms: i64| assert!((ms - 2000..=ms + 1).contains(&ttl), "{ttl}, not {ms}");
    let line = |command: &str| server.line(command);
    line("CB.ACQUIRE closed 2:idle=1h");
    near(ttl("closed"), 3_600_000);
    line("CB.REPORT closed FAIL");
    near(ttl("closed"), 3_600_000);
    // An opening is remembered until a trial had the time to begin.
    line("CB.REPORT open FAIL BREAKER 1:open=5h:maxopen=5h:lease=1h:idle=1s");
    near(ttl("open"), 6 * 3_600_000);
    line("CB.REPORT trial FAIL BREAKER 1:open=1ms:lease=2h:idle=1s");
    std::thread::sleep(std::time::Duration::from_millis(5));
    assert_eq!(line("CB.ACQUIRE trial")[1], Reply::bulk("half-open"));
    assert!(ttl("trial") >= 2 * 3_600_000 - 2000);
    line("CB.FORCE forced OPEN FOR 3d");
    near(ttl("forced"), 3 * 86_400_000);
    line("CB.FORCE for_ever OPEN");
    assert_eq!(ttl("for_ever"), -1);
    line("CB.PIN pinned 1:idle=1s FOR 1h");
    near(ttl("pinned"), 3_600_000);
    line("CB.PIN pinned 1:idle=1s");
    assert_eq!(ttl("pinned"), -1);
    line("CB.UNPIN pinned");
    assert!(ttl("pinned") > 0);
    line("CB.REPORT brief FAIL BREAKER 5:idle=20ms");
    crate::harness::eventually(std::time::Duration::from_secs(30), "the idle breaker is gone", || {
        line("EXISTS brief") == Reply::Int(0)
    });
    assert!(line("CB.STATE brief").is_nil());

    // Under the debug clock there is no expiry, but its time is over all the same.
    server.clock_real();
    server.clock_set(START_MS * 1000);
    let key = Key::new(&server, "k", "2:idle=1h");
    let token = key.admit();
    assert_eq!(ttl("k"), -1);
    key.run("f");
    key.wait_ms(3_599_999);
    assert_eq!(key.number("failures"), 1);
    key.wait_ms(1);
    assert!(server.line("CB.STATE k").is_nil());
    assert_eq!(key.run("f"), "c");
    assert_eq!(key.number("failures"), 1);
    assert!(!key.fail(&token));
}
