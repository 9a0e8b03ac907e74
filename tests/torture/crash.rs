//! Servers that are killed while they work.

use std::{thread, time::Duration};

use crate::{
    harness::Server,
    load::{Clients, key},
    size::{record, tries},
    support::Dice,
};

const CLIENTS: usize = 4;

/// What is used of each limit of a key.
fn used(server: &Server, key: &str) -> Vec<i64> {
    let used = server.call(&["RL.QUOTA", key]).used();
    if used.is_empty() { vec![0] } else { used }
}

/// D2: with `appendfsync always`, kill -9 under load loses no acknowledged
/// grant, and a batch or a script is there as a whole or not at all.
#[test]
fn kill_9_loses_no_acknowledged_grant() {
    let kills = tries(20, 500);
    let mut chance = Dice::told();
    let settings = ["--appendonly", "yes", "--appendfsync", "always"];
    // The file is rewritten again and again, in both of its forms.
    let rewrites = ["--auto-aof-rewrite-min-size", "32kb", "--auto-aof-rewrite-percentage", "10"];
    let mut server =
        Server::builder().args(settings).args(rewrites).args(["--aof-use-rdb-preamble", "no"]).start();
    let mut expected = [0_i64; CLIENTS];
    let mut answers = 0;
    for round in 0..kills {
        let preamble = if round % 2 == 0 { "no" } else { "yes" };
        server.config_set("aof-use-rdb-preamble", preamble);
        let clients = Clients::start(server.port(), CLIENTS, &mut chance);
        thread::sleep(Duration::from_millis(10 + chance.below(50_u64)));
        server.kill9();
        let outcomes = clients.stop();
        server.restart();
        for (client, outcome) in outcomes.iter().enumerate() {
            answers += outcome.answers;
            expected[client] += outcome.granted;
            let used = used(&server, &key(client));
            let (least, most) = (expected[client], expected[client] + outcome.unknown);
            assert!(
                used.iter().all(|&used| used == least || used == most),
                "after kill {round} client {client} has {used:?}, acknowledged were {least} of {most}"
            );
            assert!(used.windows(2).all(|two| two[0] == two[1]), "limits of one key differ: {used:?}");
            expected[client] = used[0];
        }
    }
    assert!(answers > kills, "only {answers} requests were answered");
    record(&format!("kill -9 under load ({answers} acknowledged requests)"), kills, "nothing");
}
