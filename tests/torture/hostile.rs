//! Random requests of every kind: nothing crashes, every error has a code, and
//! a replica holds exactly what its master holds.

use std::{thread, time::Duration};

use crate::{
    harness::{Reply, Server, Wire, assert_same_data_however_told, snapshot, wait_synced},
    requests::{Request, Requests},
    size::{record, tries},
    support::Dice,
};

/// Requests sent at once on each of two connections.
const BATCH: usize = 40;

/// Shows the requests in flight when the test fails.
struct InFlight(Vec<Request>);

impl Drop for InFlight {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- sent last ---");
            for request in &self.0 {
                let words: Vec<_> =
                    request.iter().map(|word| format!("\"{}\"", word.escape_ascii())).collect();
                eprintln!("{}", words.join(" "));
            }
        }
    }
}

/// The next reply. Under the debug clock time passes by command only, also for
/// a client that waits.
#[track_caller]
fn answer(wire: &mut Wire, master: &Server) -> Reply {
    for _ in 0..100 {
        if let Some(reply) = wire.read_within(Duration::from_millis(300)) {
            return reply;
        }
        master.ok("RL.DEBUG CLOCK REAL");
    }
    panic!("no reply, though every wait is over: {:?}", master.line("CLIENT LIST"));
}

fn check(request: &Request, reply: &Reply) {
    match reply {
        Reply::Error(text) => {
            let code = text.split(' ').next().unwrap_or_default();
            let upper = code.len() > 1 && code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
            let line = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            let internal = text.contains("panic") || text.contains("internal");
            assert!(upper && !internal, "{:?} was answered by {text:?}", words(request));
            // Scripts and the server's own commands quote what they were given.
            // From 7.0 on sub-commands are the server's own, too.
            let quotes = !is_ours(request) || text.starts_with("ERR unknown subcommand");
            assert!(line || quotes, "{:?} was answered by {text:?}", words(request));
        }
        Reply::Array(items) => items.iter().for_each(|item| check(request, item)),
        _ => {}
    }
}

fn is_ours(request: &Request) -> bool {
    [b"RL.", b"CB.", b"CL."].iter().any(|prefix| request[0].starts_with(*prefix))
}

fn words(request: &Request) -> Vec<String> {
    request.iter().map(|word| word.escape_ascii().to_string()).collect()
}

/// A million random requests to a server with a replica (30 000 in `make test`).
#[test]
fn random_requests_harm_nobody() {
    let total = tries(30_000, 1_000_000);
    let check_every = tries_between_checks();
    let mut chance = Dice::told();
    let master = Server::start();
    let replica = master.replica();
    let settings = master.call(&["CONFIG", "GET", "floodgate.*"]);
    let settings = settings.pairs().iter().map(|(name, _)| name.text()).collect();
    let mut requests = Requests::new(chance.split(), settings);
    let mut wires = [master.wire(), master.wire()];
    let (mut sent, mut errors, mut done) = (0, 0, 0);
    while sent < total {
        // Two connections at a time: one may wait for what the other does.
        let batches = wires.each_mut().map(|wire| {
            let batch = InFlight(requests.batch(BATCH));
            batch.0.iter().for_each(|request| wire.send(request));
            batch
        });
        for (wire, batch) in wires.iter_mut().zip(&batches) {
            let replies: Vec<_> = batch.0.iter().map(|_| answer(wire, &master)).collect();
            for (request, reply) in batch.0.iter().zip(&replies) {
                check(request, reply);
                errors += usize::from(reply.error().is_some());
            }
            requests.learn(&batch.0, &replies);
            sent += batch.0.len();
        }
        done += 1;
        // Now and then in a new connection, so that no state of one stays for ever.
        if chance.once_in(50) {
            wires = [master.wire(), master.wire()];
        }
        if done % check_every == 0 {
            same_on_replica(&master, &replica);
        }
    }
    assert!(errors < sent * 4 / 5, "{errors} of {sent} requests failed: nothing was tried");
    same_on_replica(&master, &replica);
    assert_eq!(master.line("PING"), Reply::Simple("PONG".into()));
    // What is there survives a save and a load.
    master.ok("RL.DEBUG CLOCK REAL");
    let lasting = |server: &Server| {
        let mut all = snapshot(server);
        all.0.retain(|_, entry| entry.expires_ms < 0);
        all
    };
    let before = lasting(&master);
    master.ok("DEBUG RELOAD");
    assert_eq!(lasting(&master), before);
    let what = format!("random requests ({}% refused), a replica beside", errors * 100 / sent);
    record(&what, sent, "nothing");
}

/// `FLOODGATE_TORTURE_CHECK=1` compares after every batch: to find the request
/// that made the difference.
fn tries_between_checks() -> usize {
    std::env::var("FLOODGATE_TORTURE_CHECK").ok().and_then(|text| text.parse().ok()).unwrap_or(250)
}

#[track_caller]
fn same_on_replica(master: &Server, replica: &Server) {
    // What expires within moments is the master's to delete.
    thread::sleep(Duration::from_millis(150));
    wait_synced(master, replica);
    assert_same_data_however_told(master, replica);
}
