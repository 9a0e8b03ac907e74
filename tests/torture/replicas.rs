//! Replicas that load while their master works, in every way that there is.

use std::{thread, time::Duration};

use crate::{
    harness::{Program, Reply, Server, assert_same_data, call, eventually, wait_synced},
    load::Clients,
    size::{record, tries},
    support::Dice,
    upgrade::{programs, reads},
};

/// How a snapshot is sent, and how it is taken.
const WAYS: &[(&str, &str)] = &[("yes", "swapdb"), ("yes", "disabled"), ("no", "disabled"), ("no", "swapdb")];

/// Full synchronisations under load, diskless and by file, loaded beside the old
/// data (which the module declines, for policies live outside keys) and in its
/// place: the replica ends with exactly what the master has, policies too, and
/// answers or says -LOADING meanwhile.
#[test]
fn full_synchronisations_under_load() {
    let rounds = tries(4, 80);
    let master = Server::start();
    let replica = master.replica();
    let mut chance = Dice::told();
    for n in 0..2_000 {
        call!(master, "RL.ACQUIRE", format!("old:{n}"), "5/h,bucket:100/d,1000/7d");
    }
    let (mut answers, mut loading) = (0, 0);
    for round in 0..rounds {
        let (sync, load) = WAYS[round % WAYS.len()];
        master.config_set("repl-diskless-sync", sync);
        replica.config_set("repl-diskless-load", load);
        let clients = Clients::start(master.port(), 3, &mut chance);
        // It goes another way, so that only a full synchronisation brings it back.
        replica.ok("REPLICAOF NO ONE");
        replica.line("RL.ACQUIRE elsewhere 5/h");
        replica.ok("RL.POLICY SET elsewhere 1/s");
        replica.line("DEBUG CHANGE-REPL-ID");
        // A master without any sends none, and the replica's own must go all the same.
        if round % 2 == 0 {
            master.ok(&format!("RL.POLICY SET round 1{round}/s PREFIX old:"));
        } else {
            master.line("RL.POLICY DEL round");
        }
        replica.ok(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
        eventually(Duration::from_secs(60), "the replica is linked", || {
            loading += usize::from(
                replica.line("RL.QUOTA old:1").error().is_some_and(|text| text.starts_with("LOADING ")),
            );
            let info = replica.info("replication");
            info["master_link_status"] == "up" && info["master_sync_in_progress"] == "0"
        });
        thread::sleep(Duration::from_millis(20));
        answers += clients.stop().iter().map(|outcome| outcome.answers).sum::<usize>();
        wait_synced(&master, &replica);
        assert_same_data(&master, &replica);
        let policies = |server: &Server| server.line("RL.POLICY LIST").field("policies");
        assert_eq!(policies(&replica), policies(&master));
        assert_eq!(replica.line("EXISTS elsewhere"), Reply::Int(0));
    }
    let full = master.info_field("stats", "sync_full");
    assert!(full.parse::<usize>().expect("a number") > rounds, "only {full} full synchronisations");
    assert!(answers > rounds, "only {answers} requests were answered");
    let what = format!("full synchronisations under load ({answers} requests, {loading} met -LOADING)");
    record(&what, rounds, "nothing");
}

/// A newer server follows an older one, as while a fleet is upgraded: what is
/// there and what comes is the same on both.
#[test]
fn newer_replicas_follow_older_masters() {
    let programs = programs();
    let mut pairs = 0;
    let mut chance = Dice::told();
    for old in &programs {
        for new in programs.iter().filter(|new| reads(new, old)) {
            let master = Server::builder().program(&old.path).start();
            for command in crate::payloads::MAKE {
                master.line(command);
            }
            master.ok("RL.POLICY SET gold 100/m PREFIX user:");
            let replica = follower(new, &master);
            for command in crate::payloads::MAKE {
                master.line(command);
            }
            master.ok("RL.POLICY SET gold 200/m PREFIX user:");
            let clients = Clients::start(master.port(), 2, &mut chance);
            thread::sleep(Duration::from_millis(100));
            drop(clients.stop());
            wait_synced(&master, &replica);
            let same = crate::upgrade::lasting(&master).differences(&crate::upgrade::lasting(&replica));
            assert!(same.is_empty(), "{:?} followed by {:?}: {same:?}", old.version, new.version);
            assert_eq!(replica.line("RL.POLICY GET gold"), master.line("RL.POLICY GET gold"));
            // What it says next is what its master would have said.
            replica.ok("REPLICAOF NO ONE");
            assert_eq!(
                replica.line("RL.ACQUIRE exact 5/h COST 2")[0],
                master.line("RL.ACQUIRE exact 5/h COST 2")[0]
            );
            pairs += 1;
        }
    }
    record("newer replicas of older masters", pairs, "nothing");
}

fn follower(program: &Program, master: &Server) -> Server {
    let replica = Server::builder().program(&program.path).start();
    replica.follow(master);
    replica
}
