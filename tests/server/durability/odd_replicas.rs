//! Replicas whose keys are not the master's any more, or were loaded from it.

use crate::harness::{Server, assert_same_data_however_told, call, wait_synced};
use std::time::Duration;

/// A master may lose a key without a word: one that has expired is not loaded.
#[test]
fn what_begins_anew_replaces_what_a_replica_still_has() {
    let master = Server::start();
    let replica = master.replica();
    call!(master, "DEBUG", "SET-ACTIVE-EXPIRE", "0");
    for (before, command) in [
        ("RL.ACQUIRE k 10/h COST 7", "RL.ACQUIRE k 10/h COST 2"),
        ("RL.ACQUIRE k 10/h COST 7", "RL.ACQUIRE k 20/d"),
        ("RL.ACQUIRE k 10/h COST 7 TRACK", "RL.ACQUIRE k 10/h TRACK"),
        ("RL.ACQUIRE k 10/h COST 7", "RL.BLOCK k FOR 1h"),
        ("RL.BLOCK k FOR 1h", "RL.PIN k 5/m"),
        ("RL.RESERVE 1 k concurrent:5 TTL 1h ID a", "RL.RESERVE 1 k concurrent:5 TTL 1h ID b"),
        ("RL.ACQUIRE k 10/h COST 7", "RL.RECORD k OK"),
        ("RL.ACQUIRE k 10/h COST 7", "RL.BATCH ALL 1 k 10/h 2"),
        ("RL.ACQUIRE k 10/h COST 7", "CL.THROTTLE k 5 10 60"),
        ("RL.ACQUIRE k 10/h COST 7", "CB.ACQUIRE k 5"),
        ("CB.REPORT k FAIL BREAKER 1", "CB.ACQUIRE k 5"),
        ("CB.REPORT k FAIL BREAKER 1", "RL.ACQUIRE k 10/h"),
    ] {
        master.ok("FLUSHALL");
        master.line(before);
        master.line("PEXPIRE k 40");
        std::thread::sleep(Duration::from_millis(60));
        master.line("DEBUG RELOAD");
        // It is gone here, and nobody has told the replica.
        assert_eq!(master.line("DBSIZE").int(), 0);
        wait_synced(&master, &replica);
        let reply = master.line(command);
        assert!(reply.error().is_none(), "{command}: {reply:?}");
        wait_synced(&master, &replica);
        println!("{before}; {command}");
        assert_same_data_however_told(&master, &replica);
    }
}

/// Keys that were changed under the debug clock have no expiry; each gets one with its
/// next change under the server's clock, on a replica that loaded it too.
#[test]
fn a_key_without_expiry_gets_one_wherever_it_was_loaded() {
    let mut master = Server::with(&["--save", "3600 1"]);
    let at = |server: &Server| server.line("TIME")[0].text().parse::<i64>().expect("a number") * 1_000_000;
    master.clock_set(at(&master));
    // A second grant in the same slot or window leaves the end where it was.
    let lines =
        ["RL.ACQUIRE fixed fixed:1000/d", "RL.ACQUIRE sliding 1000/d", "RL.ACQUIRE two 1000/d,5000/d"];
    for line in lines {
        master.line(line);
    }
    let check = |master: &Server, replica: &Server| {
        master.clock_real();
        for line in lines {
            master.line(line);
        }
        wait_synced(master, replica);
        assert_same_data_however_told(master, replica);
        for key in ["fixed", "sliding", "two"] {
            assert!(call!(master, "PTTL", key).int() > 0, "{key} has an expiry again");
        }
    };
    // Loaded by a replica, by a master that starts again, from a copy.
    let replica = master.replica();
    check(&master, &replica);
    drop(replica);
    master.clock_set(at(&master));
    for line in lines {
        master.line(line);
        let key = line.split(' ').nth(1).expect("a key");
        assert_eq!(call!(master, "PTTL", key).int(), -1);
    }
    master.line("SAVE");
    master.restart();
    let replica = master.replica();
    check(&master, &replica);
    master.clock_set(at(&master));
    master.line("RL.ACQUIRE fixed fixed:1000/d");
    master.line("COPY fixed copied");
    master.clock_real();
    master.line("RL.ACQUIRE copied fixed:1000/d");
    assert!(master.line("PTTL copied").int() > 0);
}
