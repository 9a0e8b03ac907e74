//! What a server holds, in a form that can be compared: with a replica, or with
//! itself before and after.

use std::{collections::BTreeMap, fmt, thread, time::Duration};

use super::{arg::Arg, eventually, reply::Reply, server::Server, wire::Wire};

/// Keys asked for in one command.
const CHUNK: usize = 200;

/// How far two readings of an expiry time may lie apart where the server tells
/// only the time left (before 7.0): much under valgrind.
const CLOCK_READING_MS: i64 = 100;

/// What a key holds: `DEBUG DIGEST-VALUE`, and when it expires.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The digest of its value.
    pub digest: String,
    /// When it expires, in milliseconds since 1970; -1 never.
    pub expires_ms: i64,
    /// Whether `expires_ms` is the very number, or computed from the time left.
    pub exact: bool,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        let apart = (self.expires_ms - other.expires_ms).abs();
        let allowed = if self.exact && other.exact { 0 } else { CLOCK_READING_MS };
        let same_kind = (self.expires_ms < 0) == (other.expires_ms < 0);
        self.digest == other.digest && same_kind && apart <= allowed
    }
}

/// Every key of every database of a server.
#[derive(Clone, PartialEq, Default)]
pub struct Snapshot(pub BTreeMap<(u32, Vec<u8>), Entry>);

impl Snapshot {
    /// What differs, one line a key, at most ten.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut keys: Vec<_> = self.0.keys().chain(other.0.keys()).collect();
        keys.sort();
        keys.dedup();
        keys.iter()
            .filter(|&&key| self.0.get(key) != other.0.get(key))
            .take(10)
            .map(|&key| {
                let (db, name) = key;
                format!("db {db} {}: {:?} / {:?}", name.escape_ascii(), self.0.get(key), other.0.get(key))
            })
            .collect()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.0.iter().map(|((db, key), entry)| (format!("{db}:{}", key.escape_ascii()), entry)))
            .finish()
    }
}

/// Reads every key of every database, with its digest and expiry time.
#[track_caller]
pub fn snapshot(server: &Server) -> Snapshot {
    let mut wire = server.wire();
    // A replica in a cluster would send us to its master.
    if server.info_field("cluster", "cluster_enabled") == "1" {
        wire.line("READONLY");
    }
    let mut all = Snapshot::default();
    for name in server.info("keyspace").keys() {
        let db: u32 = name.strip_prefix("db").and_then(|n| n.parse().ok()).expect("a database number");
        assert_eq!(wire.line(&format!("SELECT {db}")), Reply::ok());
        let keys = all_keys(&mut wire);
        for chunk in keys.chunks(CHUNK) {
            let mut digest_all: Vec<Vec<u8>> = vec!["DEBUG".to_arg(), "DIGEST-VALUE".to_arg()];
            digest_all.extend(chunk.iter().cloned());
            let digests = wire.call(&digest_all);
            let exact = server.at_least(7, 0);
            let expiries = if exact { expiry_times(&mut wire, chunk) } else { times_left(&mut wire, chunk) };
            for ((key, digest), expires_ms) in chunk.iter().zip(digests.items()).zip(expiries) {
                // -2: it expired between the two looks.
                if expires_ms != -2 {
                    all.0.insert((db, key.clone()), Entry { digest: digest.text(), expires_ms, exact });
                }
            }
        }
    }
    all
}

fn all_keys(wire: &mut Wire) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let mut cursor = "0".to_owned();
    loop {
        let page = wire.call(&["SCAN", &cursor, "COUNT", "1000"]);
        keys.extend(page[1].items().iter().map(|key| key.bytes().to_vec()));
        cursor = page[0].text();
        if cursor == "0" {
            keys.sort();
            keys.dedup();
            return keys;
        }
    }
}

fn expiry_times(wire: &mut Wire, keys: &[Vec<u8>]) -> Vec<i64> {
    let commands: Vec<_> = keys.iter().map(|key| vec!["PEXPIRETIME".to_arg(), key.clone()]).collect();
    wire.pipeline(&commands).iter().map(Reply::int).collect()
}

fn times_left(wire: &mut Wire, keys: &[Vec<u8>]) -> Vec<i64> {
    keys.iter()
        .map(|key| {
            let replies = wire.pipeline(&[
                vec!["MULTI".to_arg()],
                vec!["TIME".to_arg()],
                vec!["PTTL".to_arg(), key.clone()],
                vec!["EXEC".to_arg()],
            ]);
            let (time, left) = (&replies[3][0], replies[3][1].int());
            let number = |i: usize| time[i].text().parse::<i64>().expect("a number");
            if left < 0 { left } else { number(0) * 1000 + number(1) / 1000 + left }
        })
        .collect()
}

/// Waits until the replica has applied everything that the master has written
/// so far.
#[track_caller]
pub fn wait_synced(master: &Server, replica: &Server) {
    let number = |server: &Server, name: &str| server.info_field("replication", name).parse::<i64>().ok();
    let written = number(master, "master_repl_offset").expect("the master has an offset");
    eventually(Duration::from_secs(60), "the replica has caught up", || {
        replica.info_field("replication", "master_link_status") == "up"
            && number(replica, "slave_repl_offset").is_some_and(|applied| applied >= written)
    });
}

/// Kills the server and starts it again, by its AOF. It holds what it held, looked at when its
/// clock shows `clock`.
#[track_caller]
pub fn assert_survives_kill(server: &mut Server, clock: Option<i64>) {
    let before = snapshot(server);
    server.kill9();
    server.restart();
    if let Some(clock) = clock {
        server.clock_set(clock);
    }
    assert_eq!(snapshot(server), before);
}

/// Asserts that two servers hold the same keys, with the same values and expiry
/// times, in every database.
#[track_caller]
pub fn assert_same_data(a: &Server, b: &Server) {
    assert_same(a, b, snapshot);
}

/// The same after commands of the server itself that set expiry times (EXPIRE,
/// RESTORE, MIGRATE): Redis 6.2 tells its replicas how long a key has left, and
/// not until when, so there it is only compared whether keys expire.
#[track_caller]
pub fn assert_same_data_however_told(a: &Server, b: &Server) {
    if a.at_least(7, 0) && b.at_least(7, 0) {
        return assert_same(a, b, snapshot);
    }
    assert_same(a, b, |server| {
        let mut all = snapshot(server);
        all.0.values_mut().for_each(|entry| entry.expires_ms = entry.expires_ms.min(0));
        all
    });
}

#[track_caller]
fn assert_same(a: &Server, b: &Server, read: impl Fn(&Server) -> Snapshot) {
    // A key may expire on one of them between the looks: look again before
    // calling it a difference.
    let mut differences = Vec::new();
    for _ in 0..3 {
        differences = read(a).differences(&read(b));
        if differences.is_empty() {
            let digest = |server: &Server| server.line("DEBUG DIGEST").text();
            let (of_a, of_b) = (digest(a), digest(b));
            if of_a == of_b {
                return;
            }
            differences.push(format!("DEBUG DIGEST: {of_a} / {of_b}"));
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("the servers on ports {} and {} differ:\n{}", a.port(), b.port(), differences.join("\n"));
}
