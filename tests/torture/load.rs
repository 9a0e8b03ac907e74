//! Clients that take units as fast as they can, and know what was granted to
//! them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{
    harness::{Arg, Reply, Wire},
    support::Dice,
};

/// Limits of which so little comes back during a test that `used` is exact.
pub const LIMITS: &str = "1000000000000/366d,bucket:1/366d:burst=1000000000000:name=b";

/// What one client knows at the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Units that were granted, by the server's word.
    pub granted: i64,
    /// Units asked for when the connection broke: granted or not.
    pub unknown: i64,
    /// Requests that were answered.
    pub answers: usize,
}

/// Clients at work; each has a key of its own.
#[derive(Debug)]
pub struct Clients {
    threads: Vec<JoinHandle<Outcome>>,
    stop: Arc<AtomicBool>,
}

/// The key of a client.
pub fn key(client: usize) -> String {
    format!("client:{client}")
}

impl Clients {
    /// Starts so many clients of the server on this port.
    pub fn start(port: u16, count: usize, chance: &mut Dice) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..count)
            .map(|client| {
                let (mut chance, stop) = (chance.split(), Arc::clone(&stop));
                thread::spawn(move || work(port, client, &mut chance, &stop))
            })
            .collect();
        Self { threads, stop }
    }

    /// Ends the work and gives what each client knows.
    pub fn stop(self) -> Vec<Outcome> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("a client does not fail")).collect()
    }
}

fn work(port: u16, client: usize, chance: &mut Dice, stop: &AtomicBool) -> Outcome {
    let mut outcome = Outcome::default();
    let Ok(mut wire) = Wire::connect(port) else { return outcome };
    let key = key(client);
    while !stop.load(Ordering::Relaxed) {
        let (one, two) = (1 + chance.below(5), 1 + chance.below(5));
        // Alone, several in one step, and a step of which nothing may stay half.
        let (request, asked): (Vec<Vec<u8>>, usize) = match chance.below(3) {
            0 => (
                vec!["RL.ACQUIRE".to_arg(), key.to_arg(), LIMITS.to_arg(), "COST".to_arg(), one.to_arg()],
                one,
            ),
            1 => {
                let script = "redis.call('RL.ACQUIRE', KEYS[1], ARGV[1], 'COST', ARGV[2])
                              return redis.call('RL.ACQUIRE', KEYS[1], ARGV[1], 'COST', ARGV[3])";
                let words = ["EVAL", script, "1", &key, LIMITS, &one.to_string(), &two.to_string()];
                (words.map(Arg::to_arg).into(), one + two)
            }
            _ => {
                let (one_text, two_text) = (one.to_string(), two.to_string());
                let words = ["RL.BATCH", "ALL", "2", &key, LIMITS, &one_text, &key, LIMITS, &two_text];
                (words.map(Arg::to_arg).into(), one + two)
            }
        };
        let asked = i64::try_from(asked).expect("small");
        let answer = wire.try_send(&request).and_then(|()| wire.try_read(Duration::from_secs(20)));
        match answer {
            Ok(Some(Reply::Array(_))) => {
                outcome.granted += asked;
                outcome.answers += 1;
            }
            // Another answer means that nothing was taken.
            Ok(Some(Reply::Error(text))) if text.starts_with("READONLY") => return outcome,
            Ok(other) => panic!("a request was answered by {other:?}"),
            Err(_) => {
                outcome.unknown = asked;
                return outcome;
            }
        }
    }
    outcome
}
