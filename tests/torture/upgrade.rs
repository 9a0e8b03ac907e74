//! What an older server wrote, a newer one loads.

use std::{
    env, fs,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    harness::{Program, Server, Snapshot, snapshot},
    size::record,
};

/// The servers named by `FLOODGATE_SERVERS` (paths between colons), or the one
/// under test.
pub fn programs() -> Vec<Program> {
    let named = env::var("FLOODGATE_SERVERS").unwrap_or_default();
    let mut all: Vec<_> = named.split(':').filter(|path| !path.is_empty()).map(Program::at).collect();
    if all.is_empty() {
        all.push(Program::under_test());
    }
    all
}

/// Whether `new` reads what `old` writes: Valkey left Redis at 7.2.
pub fn reads(new: &Program, old: &Program) -> bool {
    match (old.valkey, new.valkey) {
        (true, true) | (false, false) => new.version >= old.version,
        (true, false) => false,
        (false, true) => old.version < (7, 4, 0),
    }
}

pub fn lasting(server: &Server) -> Snapshot {
    let mut all = snapshot(server);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let soon = i64::try_from(now).expect("this age") + 120_000;
    all.0.retain(|_, entry| entry.expires_ms < 0 || entry.expires_ms > soon);
    // Which of two servers tells an expiry to the millisecond is not the point.
    all.0.values_mut().for_each(|entry| entry.exact = false);
    all
}

/// RDB and AOF (with and without RDB preamble) of each server on each newer one.
#[test]
fn data_of_older_servers_loads_on_newer_ones() {
    let programs = programs();
    let mut pairs = 0;
    for old in &programs {
        for (file, settings) in [
            ("rdb", vec!["--dbfilename", "dump.rdb"]),
            ("aof with preamble", vec!["--appendonly", "yes", "--aof-use-rdb-preamble", "yes"]),
            ("aof without preamble", vec!["--appendonly", "yes", "--aof-use-rdb-preamble", "no"]),
        ] {
            // What is acknowledged is to be in the file when its writer is killed.
            let writer =
                Server::builder().program(&old.path).args(&settings).args(["--appendfsync", "always"]);
            let mut writer = writer.start();
            for command in crate::payloads::MAKE {
                writer.line(command);
            }
            if file == "rdb" {
                writer.ok("SAVE");
            } else {
                writer.line("BGREWRITEAOF");
                crate::harness::eventually(std::time::Duration::from_secs(20), "it is rewritten", || {
                    let info = writer.info("persistence");
                    info["aof_rewrite_in_progress"] == "0" && info["aof_rewrite_scheduled"] == "0"
                });
                writer.line("RL.ACQUIRE late 5/h");
            }
            let before = lasting(&writer);
            assert!(before.0.len() >= 6);
            writer.kill9();
            for new in programs.iter().filter(|new| reads(new, old)) {
                let reader = Server::builder().program(&new.path).args(&settings).data(writer.dir()).start();
                let after = lasting(&reader);
                let differences = before.differences(&after);
                let pair = format!("{file} of {:?} on {:?}", old.version, new.version);
                assert!(differences.is_empty(), "{pair}: {differences:?}");
                pairs += 1;
            }
            assert!(fs::exists(writer.dir()).unwrap_or(false));
        }
    }
    record("files loaded on the same or a newer server", pairs, "nothing");
}
