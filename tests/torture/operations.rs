//! What operators do to servers, and what limited users try.

use std::{thread, time::Duration};

use crate::{
    harness::{Reply, Server, Wire, assert_same_data, call, snapshot, wait_synced},
    load::Clients,
    requests::{KEYS, Requests},
    size::{record, tries},
    support::{Dice, not_tried},
};

const POLICIES: &[&str] = &[
    "noeviction",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
];

/// A user who may run everything, on keys of one prefix, changes nothing of any
/// other key with any of our commands, however they are called.
#[test]
fn a_limited_user_reaches_no_other_key() {
    let total = tries(4_000, 100_000);
    let server = Server::start();
    for name in KEYS {
        // What the server refuses (a string in the way) is not of interest.
        server.call(&[b"RL.ACQUIRE", *name, b"1000/366d,bucket:1/366d:burst=50:name=b"]);
        server.call(&[b"CB.ACQUIRE", *name, b"3:open=1h"]);
    }
    // A debug clock puts no expiry on keys: what is there stays as it is.
    server.ok("RL.DEBUG CLOCK SET 1795000000000000");
    server.ok("ACL SETUSER limited on nopass ~mine:* &* +@all -config -rl.debug");
    let before = snapshot(&server);
    let mut requests = Requests::new(Dice::told(), Vec::new());
    let login = |server: &Server| -> Wire {
        let mut wire = server.wire();
        assert_eq!(wire.line("AUTH limited x"), Reply::ok());
        wire
    };
    let mut wire = login(&server);
    let (mut sent, mut refused) = (0, 0);
    // Before 7.0 the server does not tell a module what a user may.
    let tells = server.at_least(7, 0);
    while sent < total {
        let mut batch = requests.ours_only(50);
        batch.retain(|request| tells || !request.iter().any(|word| word.as_slice() == b"RL.CLEAR"));
        let replies = wire.pipeline(&batch);
        refused += replies.iter().filter(|reply| reply.error().is_some_and(|e| e.contains("NOPERM"))).count();
        sent += batch.len();
    }
    assert!(refused > sent / 4, "only {refused} of {sent} were refused for their keys: nothing was tried");
    let after = snapshot(&server);
    assert!(after == before, "{:?}", before.differences(&after));
    record("requests of a user limited to other keys", sent, "nothing");
}

/// Short of memory, with every policy: commands that take are refused with OOM
/// or old keys go; a batch is there as a whole or not at all.
#[test]
fn short_of_memory_nothing_is_granted_by_half() {
    let steps = tries(3_000, 100_000);
    let server = Server::start();
    let mut oom = 0;
    for policy in POLICIES {
        server.config_set("maxmemory", "0");
        server.ok("FLUSHALL");
        let used: u64 = server.info_field("memory", "used_memory").parse().expect("a number");
        server.config_set("maxmemory-policy", policy);
        server.config_set("maxmemory", &(used + 100_000).to_string());
        let mut wire = server.wire();
        for step in 0..steps / POLICIES.len() {
            let (a, b) = (format!("{{{step}}}a"), format!("{{{step}}}b"));
            let limits = "1000/h,bucket:5/h:name=b,fixed:7/d:name=f";
            let reply = call!(wire, "RL.BATCH", "ALL", 2, a, limits, 1, b, limits, 1);
            match &reply {
                Reply::Array(items) => assert!(items.iter().all(|item| item[0].int() == 1), "{reply:?}"),
                Reply::Error(text) => {
                    assert!(text.starts_with("OOM "), "{policy}: {text}");
                    assert_eq!(call!(wire, "EXISTS", a, b), Reply::Int(0), "{policy}: half a batch");
                    oom += 1;
                    // What gives back is not refused.
                    assert!(call!(wire, "RL.REFUND", a, 1).error().is_none());
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(oom > 0, "memory was never short");
    record("batches short of memory, every eviction policy", steps, "nothing");
}

/// FLUSHALL ASYNC, CLIENT PAUSE, BGSAVE and AOF rewrites while clients work, and
/// a replica beside.
#[test]
fn operators_at_work_under_load() {
    let rounds = tries(3, 60);
    let master = Server::with(&["--appendonly", "yes", "--appendfsync", "no"]);
    let replica = master.replica();
    let mut chance = Dice::told();
    let mut answers = 0;
    for round in 0..rounds {
        let clients = Clients::start(master.port(), 4, &mut chance);
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(20));
            match chance.below(6) {
                0 => master.ok("FLUSHALL ASYNC"),
                1 => master.ok("CLIENT PAUSE 20 WRITE"),
                2 => master.ok("CLIENT PAUSE 20"),
                3 => drop(master.line("BGREWRITEAOF")),
                4 => drop(master.line("BGSAVE")),
                _ => drop(replica.line("CLIENT KILL TYPE master")),
            }
        }
        answers += clients.stop().iter().map(|outcome| outcome.answers).sum::<usize>();
        if round % 4 == 0 {
            replica.wait_link();
            wait_synced(&master, &replica);
            assert_same_data(&master, &replica);
        }
    }
    replica.wait_link();
    wait_synced(&master, &replica);
    assert_same_data(&master, &replica);
    assert!(answers > rounds, "only {answers} requests were answered");
    assert_eq!(master.line("PING"), Reply::Simple("PONG".into()));
    record(&format!("operators at work under load ({answers} requests)"), rounds, "nothing");
}

/// Active defragmentation moves values while they are used, and changes none.
#[test]
fn active_defragmentation_changes_nothing() {
    let keys = tries(20_000, 400_000);
    let server = Server::with(&["--active-defrag-ignore-bytes", "1", "--active-defrag-threshold-lower", "1"]);
    if server.line("CONFIG SET activedefrag yes").error().is_some() {
        not_tried("active defragmentation is", "this server's allocator has none");
        return;
    }
    server.config_set("activedefrag", "no");
    server.ok("RL.DEBUG CLOCK SET 1795000000000000");
    let mut wire = server.wire();
    let all: Vec<Vec<String>> = (0..keys)
        .map(|n| {
            let limits = ["bucket:10/h", "5/h", "10000/h", "1/s,2/m,fixed:8/h"][n % 4];
            ["RL.ACQUIRE", &format!("k{n}"), limits].map(str::to_owned).into()
        })
        .collect();
    for chunk in all.chunks(1000) {
        wire.pipeline(chunk);
    }
    for chunk in all.chunks(1000) {
        let gone = chunk.iter().enumerate().filter(|(n, _)| n % 5 != 0).map(|(_, words)| words[1].clone());
        wire.call(&std::iter::once("UNLINK".to_owned()).chain(gone).collect::<Vec<_>>());
    }
    let before = snapshot(&server);
    server.config_set("activedefrag", "yes");
    thread::sleep(Duration::from_secs(2));
    let hits = server.info_field("stats", "active_defrag_hits");
    assert!(snapshot(&server) == before, "a value changed");
    record(&format!("keys under active defragmentation ({hits} moves)"), before.0.len(), "nothing");
}

/// Thousands of connections at once, each of which takes.
#[test]
fn many_connections() {
    let count = tries(500, 10_000);
    let server = Server::with(&["--maxclients", "12000"]);
    let mut wires = Vec::new();
    for _ in 0..count {
        match Wire::connect(server.port()) {
            Ok(wire) => wires.push(wire),
            // This process may not open more files.
            Err(_) => break,
        }
    }
    assert!(wires.len() >= 450, "only {} connections", wires.len());
    for wire in &mut wires {
        wire.send_line("RL.ACQUIRE shared 1000000/366d");
    }
    let granted: i64 = wires.iter_mut().map(|wire| wire.read()[0].int()).sum();
    assert_eq!(granted, i64::try_from(wires.len()).expect("few"));
    assert_eq!(server.line("RL.QUOTA shared")[0].field("used").int(), granted);
    record("connections at once", wires.len(), "nothing");
}

/// The largest batch, of large keys, counts each.
#[test]
fn a_batch_of_large_keys() {
    let len = tries(10_000, 1_000_000);
    let server = Server::start();
    let replica = server.replica();
    let mut words: Vec<Vec<u8>> = [&b"RL.BATCH"[..], b"ALL", b"1000"].map(<[u8]>::to_vec).into();
    for n in 0..1000_usize {
        let mut name = vec![b'x'; len];
        name.extend(n.to_string().into_bytes());
        words.extend([name, b"10/366d".to_vec(), b"3".to_vec()]);
    }
    let reply = server.wire().call(&words);
    assert_eq!(reply.items().len(), 1000);
    assert!(reply.items().iter().all(|item| item[0] == Reply::Int(3) && item[2] == Reply::Int(7)));
    wait_synced(&server, &replica);
    assert_eq!(server.line("DBSIZE"), replica.line("DBSIZE"));
    assert_eq!(server.line("DEBUG DIGEST"), replica.line("DEBUG DIGEST"));
    record("bytes of each key of a batch of 1000", len, "nothing");
}
