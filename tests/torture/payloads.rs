//! Payloads and files that are cut, flipped and forged: refused or loaded, and
//! the server lives.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    harness::{Arg, Reply, Server},
    requests::resigned,
    size::{record, tries},
    support::Dice,
};

/// A server that has not ended by then hangs.
const HANGS: Duration = Duration::from_secs(60);

/// Keys of every shape that a value can have. A command that is not there yet
/// answers an error and leaves no key.
pub const MAKE: &[&str] = &[
    "RL.ACQUIRE bucket bucket:10/s:burst=50 COST 7",
    "RL.ACQUIRE exact 5/h COST 3",
    "RL.ACQUIRE slots 1000000/h COST 12345",
    "RL.ACQUIRE fixed fixed:1000/day:tz=Europe/Paris,fixed:3/month:name=m",
    "RL.ACQUIRE credit fixed:1000/ever COST 3",
    "RL.ACQUIRE many 1/s,20/m,300/h,bucket:6/s,fixed:7/m:start=first:name=x",
    "RL.ACQUIRE aside 10/h:name=a,20/h:name=b COST 2",
    "RL.ACQUIRE aside 30/h:name=c",
    "RL.ACQUIRE pinned 10/h",
    "RL.PIN pinned 10/h,bucket:1/s FOR 1h",
    "RL.BLOCK pinned FOREVER REASON abuse",
    "CL.THROTTLE cell 15 30 60 3",
    "RL.RESERVE 1 held concurrent:3,100/h TTL 1h ID one",
    "RL.RESERVE 1 held concurrent:3,100/h TTL 1h ID two COST 4",
    "RL.ACQUIRE tracked 100/h TRACK",
    "RL.RECORD tracked OK SPEND 1.25 DUR 20ms",
    "CB.ACQUIRE run 3:open=1h",
    "CB.ACQUIRE slices 50%/60s:min=2:slow=100ms:probes=3:ramp=10s",
    "CB.ACQUIRE ring 34%/100calls:min=3",
    "CB.REPORT slices FAIL",
    "CB.REPORT slices FAIL",
    "CB.REPORT ring OK",
    "CB.REPORT run FAIL",
    "CB.ACQUIRE forced 3",
    "CB.FORCE forced OPEN FOR 1h REASON upgrade",
];

/// Every key with its payload.
fn payloads(server: &Server) -> Vec<(Vec<u8>, Vec<u8>)> {
    for command in MAKE {
        server.line(command);
    }
    let mut keys: Vec<_> = server.line("KEYS *").items().iter().map(|key| key.bytes().to_vec()).collect();
    keys.sort();
    keys.into_iter()
        .map(|key| {
            let payload = server.call(&[b"DUMP".to_vec(), key.clone()]).bytes().to_vec();
            (key, payload)
        })
        .collect()
}

/// Restores all payloads under one name and lets each be looked at and used.
/// Says how many were taken for good.
fn restore_all(server: &Server, payloads: &[Vec<u8>]) -> usize {
    let mut wire = server.wire();
    let mut taken = 0;
    let line = |text: &str| text.split(' ').map(Arg::to_arg).collect::<Vec<_>>();
    for chunk in payloads.chunks(50) {
        let commands: Vec<Vec<Vec<u8>>> = chunk
            .iter()
            .flat_map(|payload| {
                [
                    vec!["RESTORE".to_arg(), "x".to_arg(), "0".to_arg(), payload.clone(), "REPLACE".to_arg()],
                    line("RL.QUOTA x"),
                    line("RL.ACQUIRE x * COST 3"),
                    line("RL.ACQUIRE x 7/m,bucket:3/s:burst=9,fixed:5/h"),
                    line("RL.REFUND x 2"),
                    line("RL.STATS x"),
                    line("RL.RESERVATIONS x"),
                    line("CB.STATE x"),
                    line("CB.ACQUIRE x"),
                    line("CB.REPORT x FAIL"),
                    line("DUMP x"),
                ]
            })
            .collect();
        let replies = wire.pipeline(&commands);
        for answers in replies.chunks(11) {
            match &answers[0] {
                Reply::Error(text) => assert!(text.starts_with("ERR "), "{text}"),
                other => {
                    assert_eq!(*other, Reply::ok());
                    taken += 1;
                }
            }
        }
    }
    taken
}

/// Every payload cut at every byte, and mutated at random, each with a checksum
/// that the server accepts.
#[test]
fn cut_and_forged_payloads_are_refused_or_loaded() {
    // In full, more than 100 000 for each of the two types.
    let mutations = tries(3_000, 400_000);
    let mut chance = Dice::told();
    // Plain payloads, so that a mutation changes one thing.
    let mut server = Server::with(&["--rdbcompression", "no"]);
    let all = payloads(&server);
    assert!(all.len() >= 8, "too few keys: {all:?}");
    let (mut cuts, mut forged, mut loaded) = (0, 0, 0);
    for (key, payload) in &all {
        let body = &payload[..payload.len() - 10];
        let name = key.escape_ascii().to_string();
        assert_eq!(restore_all(&server, &[resigned(body, payload)]), 1, "{name} as it was");
        // A cut is refused, unless the ten bytes of version and checksum that follow
        // happen to stand for what is missing.
        let cut: Vec<_> = (1..body.len()).map(|len| resigned(&body[..len], payload)).collect();
        let taken = restore_all(&server, &cut);
        assert!(taken <= 10, "{name}, cut: {taken} of {} were loaded", cut.len());
        cuts += cut.len();
        // Behind the type's own name, so that the payload reaches our code.
        let (head, tail) = body.split_at(body.len().min(10));
        let mut left = mutations / all.len() + 1;
        while left > 0 {
            let some = left.min(2_000);
            let mutants: Vec<_> =
                (0..some).map(|_| resigned(&[head, &chance.mutated(tail)].concat(), payload)).collect();
            loaded += restore_all(&server, &mutants);
            forged += some;
            left -= some;
        }
        server.line("DEL x");
    }
    assert!(loaded > 0, "not one forged payload was loaded: nothing was tried");
    // What was loaded at the end, the server's own dump loads too.
    server.ok("DEBUG RELOAD");
    server.kill9();
    record(&format!("payloads cut at every byte ({} kinds of keys)", all.len()), cuts, "nothing");
    record(&format!("payloads forged ({loaded} were loaded)"), forged, "nothing");
}

/// Starts on a damaged copy of a file: the server serves, or refuses with a
/// line in its log; it never crashes on it.
#[track_caller]
fn start_on(settings: &[&str], file: &str, bytes: &[u8]) -> bool {
    let data = tempfile::tempdir().expect("a folder");
    fs::write(data.path().join(file), bytes).expect("room");
    let before = Instant::now();
    let started = Server::builder().args(settings).data(data.path()).try_start();
    if let Err(log) = &started {
        assert!(before.elapsed() < HANGS, "the server neither serves nor ends on a damaged {file}:\n{log}");
    }
    match started {
        Ok(mut server) => {
            let keys = server.line("KEYS *");
            for key in keys.items() {
                server.call(&[b"RL.QUOTA", key.bytes()]);
                server.call(&[b"DUMP", key.bytes()]);
            }
            server.kill9();
            true
        }
        Err(log) => {
            let crashed = ["BUG REPORT", "panicked", "crashed by signal"].iter().any(|sign| {
                // An unreadable file is reported as such, also with a stack.
                log.contains(sign) && !log.contains("RDB file")
            });
            assert!(!crashed, "the server crashed on a damaged {file}:\n{log}");
            false
        }
    }
}

fn damaged(chance: &mut Dice, bytes: &[u8], from: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if chance.once_in(3) {
        bytes.truncate(from + chance.below(bytes.len() - from));
    } else {
        let at = from + chance.below(bytes.len() - from);
        bytes[at] ^= 1 << chance.below(8);
    }
    bytes
}

/// RDB files and AOF tails, cut or with a bit flipped.
#[test]
fn damaged_files_are_refused_or_loaded() {
    let files = tries(12, 400);
    let mut chance = Dice::told();

    let mut server = Server::with(&["--dbfilename", "dump.rdb", "--rdbchecksum", "no"]);
    payloads(&server);
    server.stop_save();
    let rdb = fs::read(server.dir().join("dump.rdb")).expect("it was saved");
    let settings = ["--dbfilename", "dump.rdb", "--rdbchecksum", "no"];
    assert!(start_on(&settings, "dump.rdb", &rdb));
    let served =
        (0..files).filter(|_| start_on(&settings, "dump.rdb", &damaged(&mut chance, &rdb, 9))).count();
    record(&format!("damaged RDB files ({served} were loaded)"), files, "nothing");

    // An AOF of one file, as every version still reads it.
    let mut server = Server::with(&["--appendonly", "yes", "--aof-use-rdb-preamble", "no"]);
    payloads(&server);
    server.kill9();
    let aof = newest_aof(server.dir());
    let settings = ["--appendonly", "yes", "--aof-use-rdb-preamble", "no", "--aof-load-truncated", "yes"];
    assert!(start_on(&settings, "appendonly.aof", &aof));
    let served = (0..files)
        .filter(|_| start_on(&settings, "appendonly.aof", &damaged(&mut chance, &aof, aof.len() / 2)))
        .count();
    record(&format!("damaged AOF tails ({served} were loaded)"), files, "nothing");
}

/// The file that commands were appended to.
fn newest_aof(dir: &Path) -> Vec<u8> {
    let folder = dir.join("appendonlydir");
    if !folder.exists() {
        return fs::read(dir.join("appendonly.aof")).expect("an append-only file");
    }
    let files = fs::read_dir(folder).expect("the folder");
    let path = files
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.to_string_lossy().contains(".incr."))
        .expect("a file of increments");
    fs::read(path).expect("it can be read")
}
