//! A duration needs a unit, everywhere that somebody writes one; what version 0.1
//! kept without one is milliseconds, and the log says so.

use std::fs;

use floodgate::COMMANDS;
use floodgate::server::load::argument::{Argument, ArgumentKind};
use floodgate::server::load::command::Access;

use crate::harness::{Reply, Server, assert_error, assert_error_prefix, call};
use crate::support::root;

/// A call of each command that takes a duration, which stands for `DURATION`.
const CALLS: &[&str] = &[
    "RL.ACQUIRE k 10/s WAIT DURATION",
    "RL.RESERVE 1 k 10/s TTL DURATION",
    "RL.RESERVE 1 k 10/s TTL 1m WAIT DURATION",
    "RL.RENEW a TTL DURATION 1 k",
    "RL.PIN k 10/s FOR DURATION",
    "RL.BLOCK k FOR DURATION",
    "RL.RECORD k OK DUR DURATION",
    "CB.ACQUIRE b 5 LIMIT k 10/s TTL DURATION",
    "CB.REPORT b OK DUR DURATION BREAKER 5",
    "CB.FORCE b OPEN FOR DURATION",
    "CB.PIN b 5 FOR DURATION",
];

/// The same of a breaker.
const BREAKERS: &[&str] = &[
    "CB.ACQUIRE b BREAKER",
    "CB.ACQUIRE b BREAKER LIMIT k 10/s",
    "CB.REPORT b OK BREAKER BREAKER",
    "CB.PIN b BREAKER",
    "RL.POLICY SET p 10/s BREAKER BREAKER",
    "RL.POLICY IMPORT [{\"name\":\"p\",\"limits\":\"10/s\",\"breaker\":\"BREAKER\"}]",
];

#[test]
fn every_duration_of_a_command_needs_a_unit() {
    let server = Server::start();
    for call in CALLS {
        for n in ["1", "5", "030", "1500"] {
            let refused = format!("ERR invalid duration '{n}': needs a unit, such as {n}s or {n}ms");
            assert_error(&server.line(&call.replace("DURATION", n)), &refused);
        }
        assert_error_prefix(&server.line(&call.replace("DURATION", "1.5s")), "ERR invalid duration '1.5s': ");
    }
    for call in BREAKERS {
        for option in ["open", "slow", "maxopen", "lease", "ramp", "idle"] {
            let breaker = format!("50%/60s:{option}=90000");
            // The blanks of the JSON are none of the command's.
            let words: Vec<String> = call
                .split(' ')
                .map(|word| {
                    if word == "BREAKER" || word.contains('"') {
                        word.replace("BREAKER", &breaker)
                    } else {
                        word.to_owned()
                    }
                })
                .collect();
            let words =
                if call.contains(" BREAKER BREAKER") { words_with_keyword(call, &breaker) } else { words };
            let reply = server.call(&words);
            let text = reply.error().unwrap_or_else(|| panic!("{words:?}: {reply:?}"));
            assert!(
                text.contains(&format!("{option}=90000: needs a unit, such as 90000s or 90000ms")),
                "{text}"
            );
        }
    }
    assert_eq!(server.line("DBSIZE"), Reply::Int(0));
    // With one they are taken, and 0 needs none.
    for call in CALLS {
        let reply = server.line(&call.replace("DURATION", "1500ms"));
        assert!(reply.error().is_none(), "{call}: {reply:?}");
    }
    for taken in ["RL.ACQUIRE z 10/s WAIT 0", "RL.RECORD z OK DUR 0", "CB.REPORT y OK DUR 0 BREAKER 5:ramp=0"]
    {
        assert!(server.line(taken).error().is_none(), "{taken}");
    }
    // Every argument that is a duration is among the calls.
    for command in COMMANDS.iter().filter(|command| command.rights != Access::Internal) {
        let mut tokens = Vec::new();
        command.arguments.iter().for_each(|argument| durations(argument, &mut tokens));
        for token in tokens {
            let tried =
                |call: &&&str| call.starts_with(command.name) && call.contains(&format!("{token} DURATION"));
            assert!(CALLS.iter().any(|call| tried(&call)), "{}: {token}", command.name);
        }
    }
}

/// `… BREAKER BREAKER`: the keyword, then the breaker.
fn words_with_keyword(call: &str, breaker: &str) -> Vec<String> {
    let (head, _) = call.rsplit_once(' ').unwrap();
    head.split(' ').map(str::to_owned).chain([breaker.to_owned()]).collect()
}

fn durations(argument: &Argument, found: &mut Vec<&'static str>) {
    if argument.name == "duration" {
        found.extend(argument.token);
    }
    if let ArgumentKind::OneOf(parts) | ArgumentKind::Group(parts) = argument.kind {
        parts.iter().for_each(|part| durations(part, found));
    }
}

/// What is no duration of people stays as it is: seconds of redis-cell and
/// microseconds of the debug clock.
#[test]
fn seconds_of_cl_throttle_and_microseconds_of_the_clock_stay() {
    let server = Server::start();
    server.ok("RL.DEBUG CLOCK SET 1800000000000000");
    server.ok("RL.DEBUG CLOCK ADVANCE 1500");
    assert_eq!(server.line("CL.THROTTLE u 2 60 60").to_ints(), [0, 3, 2, -1, 1]);
    assert_error_prefix(&server.line("RL.DEBUG CLOCK ADVANCE 5s"), "ERR us must be ");
}

#[test]
fn a_setting_needs_a_unit() {
    let server = Server::start();
    if !server.at_least(7, 0) {
        return;
    }
    for name in ["wait-max", "alert-response-time", "alert-latency"] {
        let full = format!("floodgate.{name}");
        let before = server.config_get(&full);
        let refused = format!(
            "ERR CONFIG SET failed (possibly related to argument '{full}') - invalid duration '90': needs a unit, such as 90s or 90ms"
        );
        assert_error(&call!(server, "CONFIG", "SET", &full, "90"), &refused);
        assert_eq!(server.config_get(&full), before);
        for value in ["90s", "1500ms", "2min", "0"] {
            server.config_set(&full, value);
            // As written, not as stored.
            assert_eq!(server.config_get(&full).as_deref(), Some(value));
        }
    }
    let refused = call!(server, "CONFIG", "SET", "floodgate.default-breaker", "5:open=30");
    assert!(refused.error().unwrap().contains("open=30: needs a unit, such as 30s or 30ms"), "{refused:?}");
    server.config_set("floodgate.wait-max", "2s");
    assert_error(
        &server.line("RL.ACQUIRE k 10/s WAIT 3s"),
        "ERR WAIT must be at most 2000ms (setting wait-max)",
    );
    let refused = call!(server, "CONFIG", "SET", "floodgate.alert-latency", "2d");
    assert!(refused.error().unwrap().contains("must be at most 1d"), "{refused:?}");
}

/// The line that the log has for a setting.
fn line(name: &str, text: &str, now: &str) -> String {
    format!(
        "setting '{name}' = '{text}' has a duration without a unit, taken as milliseconds as versions before durations had units did: write {now}"
    )
}

const KEPT: [(&str, &str, &str); 4] = [
    ("wait-max", "5000", "5s"),
    ("default-breaker", "5:open=1500:lease=2s", "5:open=1500ms:lease=2s"),
    ("alert-response-time", "250", "250ms"),
    ("alert-latency", "60000", "1m"),
];

#[test]
fn what_the_line_that_loads_has_without_a_unit_is_milliseconds() {
    let mut arguments = vec!["enable-debug-command", "yes"];
    KEPT.iter().for_each(|(name, text, _)| arguments.extend([name, text]));
    let server = Server::builder().module_args(arguments).start();
    for (name, text, now) in KEPT {
        assert!(server.log().contains(&line(name, text, now)), "{name}: {}", server.log());
        if server.at_least(7, 0) {
            assert_eq!(server.config_get(&format!("floodgate.{name}")).as_deref(), Some(now));
        }
    }
    assert_error_prefix(&server.line("RL.ACQUIRE k 10/s WAIT 6s"), "ERR WAIT must be at most 5000ms");
    // What is wrong for another reason still refuses to load.
    let refused = Server::builder().module_args(["wait-max", "soon"]).try_start().expect_err("refused");
    assert!(refused.contains("setting 'wait-max' = 'soon': invalid duration 'soon'"), "{refused}");
}

#[test]
fn what_the_configuration_file_has_without_a_unit_is_milliseconds() {
    let mut settings = Vec::new();
    KEPT.iter()
        .for_each(|(name, text, _)| settings.extend([format!("--floodgate.{name}"), (*text).to_owned()]));
    // Before 7.0 a module has no settings in the file.
    let Ok(mut server) = Server::builder().args(settings).try_start() else { return };
    assert!(server.at_least(7, 0));
    for (name, text, now) in KEPT {
        assert!(server.log().contains(&line(name, text, now)), "{name}: {}", server.log());
        assert_eq!(server.config_get(&format!("floodgate.{name}")).as_deref(), Some(now));
    }
    // Written again it has a unit, and the next start has nothing to tell.
    server.ok("CONFIG REWRITE");
    let before = server.log().len();
    server.restart();
    assert!(!server.log()[before..].contains("without a unit"), "{}", &server.log()[before..]);
    assert_eq!(server.config_get("floodgate.wait-max").as_deref(), Some("5s"));
}

/// A policy whose breaker version 0.1 kept without a unit, in its RDB and its AOF.
#[test]
fn a_breaker_that_0_1_kept_without_a_unit_is_milliseconds() {
    let kept = root().join("tests/server/durability/data_0_1/unitless");
    for (folder, settings) in [("rdb", ["--appendonly", "no"]), ("aof", ["--appendonly", "yes"])] {
        let mut server = Server::builder().data(kept.join(folder)).args(settings).start();
        let told = "the breaker of policy 'old' is of a version before durations had units, and is taken as milliseconds: it is 50%/60s:open=1500ms:slow=250ms now";
        assert!(server.log().contains(told), "{folder}: {}", server.log());
        let policy = server.line("RL.POLICY GET old");
        assert_eq!(policy.field("breaker"), Reply::bulk("50%/60s:open=1500ms:slow=250ms"));
        // A prefix that ends with '*' is what it was.
        assert_eq!(policy.field("prefix"), Reply::bulk("svc:*"));
        server.line("CB.FORCE svc:*a AUTO");
        server.line("CB.REPORT svc:*a OK");
        assert_eq!(
            server.line("CB.STATE svc:*a").field("breaker"),
            Reply::bulk("50%/1m:slow=250ms:open=1500ms")
        );
        // It goes on so: to a replica, and to what is saved next.
        let replica = server.replica();
        crate::harness::wait_synced(&server, &replica);
        assert_eq!(replica.line("RL.POLICY LIST"), server.line("RL.POLICY LIST"));
        let list = server.line("RL.POLICY LIST");
        let before = server.log().len();
        if folder == "rdb" {
            server.stop_save();
        }
        server.restart();
        assert_eq!(server.line("RL.POLICY LIST"), list);
        let again = &server.log()[before..];
        assert_eq!(again.contains("before durations had units"), folder == "aof", "{again}");
    }
    assert!(fs::read(kept.join("rdb/dump.rdb")).unwrap().windows(9).any(|part| part == b"open=1500"));
}
