//! What the module does when the server forks: nothing for a save, and policies into an
//! AOF that is rewritten without an RDB preamble.

use crate::harness::{Reply, Server, eventually};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

fn rewritten(server: &Server, rewrites: usize) {
    eventually(SOON, "a rewritten AOF", || {
        let info = server.info("persistence");
        let done = server.log().matches("Background AOF rewrite finished successfully").count();
        info["aof_rewrite_in_progress"] == "0" && info["aof_rewrite_scheduled"] == "0" && done >= rewrites
    });
}

#[test]
fn an_idle_server_with_policies_saves_once() {
    for preamble in ["yes", "no"] {
        let server =
            Server::with(&["--appendonly", "yes", "--aof-use-rdb-preamble", preamble, "--save", "1", "1"]);
        server.ok("RL.POLICY SET free 100/m");
        server.ok("SET a b");
        let saves = || server.log().matches("Background saving terminated with success").count();
        eventually(SOON, "a save", || saves() >= 1);
        // Once more, perhaps, for what came while the first was under way.
        std::thread::sleep(Duration::from_millis(3500));
        assert!(saves() <= 2, "{} saves with preamble {preamble}", saves());
        assert_eq!(server.info_field("persistence", "rdb_changes_since_last_save"), "0");
    }
}

/// `keys` of ours or none, and an AOF that begins at run time.
#[test]
fn an_aof_that_begins_at_run_time_has_them() {
    for keys in ["RL.ACQUIRE k 5/m", "CB.ACQUIRE k 5", "PING"] {
        let mut server = Server::with(&["--appendfsync", "always", "--aof-use-rdb-preamble", "no"]);
        server.ok("RL.POLICY SET free 100/m PREFIX free:");
        server.line(keys);
        server.config_set("appendonly", "yes");
        rewritten(&server, 1);
        // Where there is no key the policies follow in a moment.
        std::thread::sleep(Duration::from_millis(100));
        server.line("CONFIG REWRITE");
        server.kill9();
        server.restart();
        assert_eq!(server.line("RL.POLICY GET free").field("limits"), Reply::bulk("100/m"), "{keys}");
    }
}

#[test]
fn a_rewrite_that_ends_while_clients_are_paused_keeps_them() {
    let mut server = Server::durable_with(&["--aof-use-rdb-preamble", "no"]);
    server.ok("RL.POLICY SET free 100/m PREFIX free:");
    server.line("RL.ACQUIRE k 5/m");
    server.line("CLIENT PAUSE 60000 WRITE");
    server.line("BGREWRITEAOF");
    rewritten(&server, 1);
    server.kill9();
    server.restart();
    assert_eq!(server.line("RL.POLICY GET free").field("limits"), Reply::bulk("100/m"));
    assert_eq!(server.line("RL.QUOTA k")[0].field("used").int(), 1);
}

#[test]
fn a_replica_with_an_aof_has_its_masters_after_a_full_synchronisation() {
    let master = Server::start();
    master.ok("RL.POLICY SET free 100/m PREFIX free:");
    for keys in ["PING", "RL.ACQUIRE k 5/m"] {
        master.line(keys);
        let mut replica = master.replica_with(&[
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--aof-use-rdb-preamble",
            "no",
        ]);
        eventually(SOON, "a rewritten AOF", || {
            replica.log().contains("Background AOF rewrite finished successfully")
        });
        std::thread::sleep(Duration::from_millis(100));
        replica.line("REPLICAOF NO ONE");
        replica.kill9();
        // Alone: from its own file.
        let alone = Server::builder()
            .args(["--appendonly", "yes", "--aof-use-rdb-preamble", "no"])
            .data(replica.dir())
            .start();
        assert_eq!(alone.line("RL.POLICY GET free").field("limits"), Reply::bulk("100/m"), "{keys}");
    }
}
