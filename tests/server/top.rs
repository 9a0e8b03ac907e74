//! RL.TOP: the busiest keys, those that the user may see.

use std::collections::HashMap;

use crate::{
    access_log::requests,
    harness::{Reply, Server, Wire, assert_error, assert_error_prefix},
};

fn top(reply: &Reply) -> Vec<(String, i64, i64)> {
    reply.items().iter().map(|busy| (busy[0].text(), busy[1].int(), busy[2].int())).collect()
}

fn owned(rows: &[(&str, i64, i64)]) -> Vec<(String, i64, i64)> {
    rows.iter().map(|&(name, count, error)| (name.to_owned(), count, error)).collect()
}

#[test]
fn granted_and_denied_by_every_command_that_takes() {
    let server = Server::start();
    server.clock_set(1_800_000_000_000_000);
    assert_eq!(server.line("RL.TOP DENIED"), Reply::Array(vec![]));
    for _ in 0..5 {
        server.line("RL.ACQUIRE a 2/h");
    }
    server.line("RL.BATCH EACH 3 b 1/h 1 b 1/h 1 a 2/h 1");
    // c only shares the fate of b.
    server.line("RL.BATCH ALL 2 b 1/h 1 c 9/h 1");
    server.line("CL.THROTTLE d 0 1 60");
    server.line("CL.THROTTLE d 0 1 60");
    server.line("CB.ACQUIRE cb LIMIT e 1/h");
    server.line("CB.ACQUIRE cb LIMIT e 1/h");
    server.line("RL.RESERVE 1 f 1/h TTL 1h");
    server.line("RL.RESERVE 2 f 1/h g 9/h TTL 1h");
    // Neither looks nor errors count.
    for command in ["RL.QUOTA a", "RL.ACQUIRE a 2/", "RL.REFUND g 1"] {
        server.line(command);
    }
    let denied = [("a", 4, 0), ("b", 2, 0), ("d", 1, 0), ("e", 1, 0), ("f", 1, 0)];
    assert_eq!(top(&server.line("RL.TOP DENIED")), owned(&denied));
    let granted = [("a", 2, 0), ("b", 1, 0), ("d", 1, 0), ("e", 1, 0), ("f", 1, 0)];
    assert_eq!(top(&server.line("rl.top granted")), owned(&granted));
    assert_eq!(top(&server.line("RL.TOP DENIED 2")), owned(&denied[..2]));
}

#[test]
fn waiters_count_when_they_are_answered() {
    let server = Server::start();
    server.clock_set(1_800_000_000_000_000);
    server.line("RL.ACQUIRE w fixed:1/s");
    let mut wire = server.wire();
    wire.send_line("RL.ACQUIRE w fixed:1/s WAIT 5s");
    crate::harness::eventually(std::time::Duration::from_secs(5), "it waits", || {
        server.info_field("floodgate", "floodgate_waiting_now") == "1"
    });
    assert_eq!(top(&server.line("RL.TOP GRANTED")), owned(&[("w", 1, 0)]));
    server.clock_advance(1_000_000);
    assert_eq!(wire.read()[0], Reply::Int(1));
    assert_eq!(top(&server.line("RL.TOP GRANTED")), owned(&[("w", 2, 0)]));
    assert_eq!(top(&server.line("RL.TOP DENIED")), []);
}

#[test]
fn arguments() {
    let server = Server::start();
    assert_error_prefix(&server.line("RL.TOP"), "ERR wrong number of arguments");
    assert_error(&server.line("RL.TOP BOTH"), "ERR syntax error near 'BOTH'");
    for n in ["0", "2049", "-1", "x"] {
        let reply = server.line(&format!("RL.TOP DENIED {n}"));
        assert_error(&reply, "ERR n must be a whole number from 1 to 2048");
    }
    assert_error(&server.line("RL.TOP DENIED 5 x"), "ERR syntax error near 'x'");
}

fn user(server: &Server, rules: &str) -> Wire {
    server.ok(&format!("ACL SETUSER tester reset on >pass {rules}"));
    let mut wire = server.wire();
    assert_eq!(wire.line("AUTH tester pass"), Reply::ok());
    wire
}

#[test]
fn only_what_the_user_may_read() {
    let server = Server::start();
    if !server.at_least(7, 0) {
        return;
    }
    for key in ["api:1", "api:1", "web:1", "web:1", "web:1"] {
        server.line(&format!("RL.ACQUIRE {key} 9/h"));
    }
    let mut wire = user(&server, "%R~api:* +@all");
    assert_eq!(top(&wire.line("RL.TOP GRANTED 1")), owned(&[("api:1", 2, 0)]));
    let mut wire = user(&server, "%W~* +@all");
    assert_eq!(top(&wire.line("RL.TOP GRANTED")), []);
    let mut wire = user(&server, "~* +@all");
    assert_eq!(top(&wire.line("RL.TOP GRANTED")).len(), 2);
}

#[test]
fn masked_keys() {
    let server = Server::builder().module_args(["mask-keys", "yes"]).start();
    for key in ["user:secret", "user:secret", "user:other"] {
        server.line(&format!("RL.ACQUIRE {key} 9/h"));
    }
    let seen = top(&server.line("RL.TOP GRANTED"));
    assert_eq!(seen.iter().map(|row| row.1).collect::<Vec<_>>(), [2, 1]);
    assert_ne!(seen[0].0, seen[1].0);
    for (name, ..) in &seen {
        assert!(name.starts_with("***") && name.len() == 11 && !name.contains("user"), "{name}");
    }
    // The same key keeps its mask.
    assert_eq!(top(&server.line("RL.TOP GRANTED")), seen);
}

#[test]
fn the_true_top_addresses_of_a_real_log() {
    let server = Server::start();
    let mut wire = server.wire();
    let (mut granted, mut denied) = (HashMap::<String, i64>::new(), HashMap::<String, i64>::new());
    for chunk in requests().chunks(500) {
        let commands: Vec<Vec<String>> = chunk
            .iter()
            .flat_map(|(address, time)| {
                let time = time.to_string();
                [vec!["RL.DEBUG", "CLOCK", "SET", &time], vec!["RL.ACQUIRE", address, "30/m"]]
                    .map(|words| words.into_iter().map(str::to_owned).collect())
            })
            .collect();
        for ((address, _), pair) in chunk.iter().zip(wire.pipeline(&commands).chunks(2)) {
            let counts = if pair[1][0] == Reply::Int(1) { &mut granted } else { &mut denied };
            *counts.entry(address.clone()).or_default() += 1;
        }
    }
    for (which, truth) in [("GRANTED", granted), ("DENIED", denied)] {
        let mut true_top: Vec<_> = truth.iter().map(|(name, &n)| (n, name)).collect();
        true_top.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        let seen = top(&server.line(&format!("RL.TOP {which} 10")));
        assert!(!seen.is_empty());
        for ((name, count, error), (n, address)) in seen.iter().zip(&true_top) {
            assert!(count - error <= truth[name] && truth[name] <= *count, "{which} {name}");
            assert_eq!((name, truth[name]), (*address, *n), "{which}");
        }
    }
}
