//! Mixed traffic for the tests of durability: every command that changes a
//! limiter, over every algorithm, repeatable from a seed.

use crate::{
    harness::{Arg, Reply, Wire},
    support::Dice,
};

/// Limits whose windows are long: nothing of them runs out during a test that
/// runs on the real clock.
const LIMITS: &[&str] = &[
    "20/h",
    "50/h",
    "5000/d",
    "100000/7d",
    "bucket:30/h",
    "bucket:100/d:burst=1000",
    "bucket:1/d:burst=40",
    "fixed:50/month",
    "fixed:60/d:start=first",
    "fixed:70/month:tz=Europe/Paris",
    "fixed:80/ever",
    "fixed:300/ever:name=a,400/d",
    "20/h,1000/d,bucket:200/d:burst=300",
    "1000/d,30/h",
    "bucket:100/d:burst=50",
    "30/h:shadow,400/d",
    "400/d:keep=20%,20/h:per=call",
    "40/h:name=a",
    "90/2h:name=a,7/d:name=b",
    "bucket:7/h:name=b",
    "5/h:block=30m:grow=2",
    "5/h:block=2h:name=a,30/d:block=3h",
    "unlimited",
    "unlimited,9000/d:name=c",
];

const REASONS: &[&str] = &["", "too many logins", "\u{e4}\u{f6}\u{fc}", "a\nb"];

/// The keys that traffic falls on, one of them binary.
pub fn key(n: u64) -> Vec<u8> {
    if n == 3 { b"bin\x00\xff\r\nkey".to_vec() } else { format!("k:{n}").into_bytes() }
}

const KEYS: u64 = 24;

/// A command as it is sent.
pub type Command = Vec<Vec<u8>>;

fn command(words: &[&dyn Arg]) -> Command {
    words.iter().copied().map(Arg::to_arg).collect()
}

impl Dice {
    fn key(&mut self) -> Vec<u8> {
        key(self.below(KEYS))
    }

    fn acquire(&mut self) -> Command {
        let mut words = command(&[&"RL.ACQUIRE", &self.key(), &self.one_of(LIMITS)]);
        if self.chance(60) {
            words.extend(command(&[&"COST", &(1 + self.below(15))]));
        }
        for option in ["PARTIAL", "CRITICAL"] {
            if self.chance(20) {
                words.push(option.to_arg());
            }
        }
        words
    }

    fn batch(&mut self) -> Command {
        let items = 1 + self.below(8);
        let mut words = command(&[&"RL.BATCH", &self.one_of(&["ALL", "EACH"]), &items]);
        for _ in 0..items {
            words.extend(command(&[&self.key(), &self.one_of(LIMITS), &(1 + self.below(6))]));
        }
        if self.chance(20) {
            words.push("CRITICAL".to_arg());
        }
        words
    }

    /// Reservations over one to three keys, few ids, so that they come again, also where
    /// some of the keys have lost theirs.
    fn reservation(&mut self) -> Command {
        let (first, keys) = (self.below(KEYS), 1 + self.below(3));
        let keys: Vec<Vec<u8>> = (0..keys).map(|next| key((first + next) % KEYS)).collect();
        let id = self.one_of(&["a", "b", "c"]).to_owned();
        let ttl = self.one_of(&["30m", "3h"]).to_owned();
        let settle = |words: &[&dyn Arg]| -> Command {
            let named = keys.iter().map(|key| key.to_arg());
            command(words).into_iter().chain(named).collect()
        };
        match self.below(10) {
            0..=5 => {
                let mut words = command(&[&"RL.RESERVE", &keys.len()]);
                for key in &keys {
                    let concurrent = self.one_of(&[
                        "",
                        "",
                        "",
                        ",concurrent:3",
                        ",concurrent:20:per=cost",
                        ",concurrent:4,concurrent:30:per=cost",
                    ]);
                    let limits = format!("{}{concurrent}", self.one_of(LIMITS));
                    words.extend(command(&[key, &limits]));
                }
                words.extend(command(&[&"COST", &(1 + self.below(9)), &"TTL", &ttl, &"ID", &id]));
                if self.chance(30) {
                    words.push("PARTIAL".to_arg());
                }
                words
            }
            6 => settle(&[&"RL.RELEASE", &id, &keys.len()]),
            7 => settle(&[&"RL.RENEW", &id, &"TTL", &ttl, &keys.len()]),
            _ => {
                let mut words = settle(&[&"RL.COMMIT", &id, &keys.len()]);
                words.extend(command(&[&"COST", &self.below(20)]));
                words
            }
        }
    }

    fn operator(&mut self) -> Command {
        let key = self.key();
        match self.below(9) {
            0 => command(&[&"RL.RESET", &key, &self.key()]),
            1 => command(&[&"RL.PIN", &key, &self.one_of(LIMITS)]),
            2 => command(&[&"RL.PIN", &key, &self.one_of(LIMITS), &"FOR", &"3h"]),
            3 => command(&[&"RL.BLOCK", &key, &"FOR", &"2h", &"REASON", &self.one_of(REASONS)]),
            4 => command(&[&"RL.BLOCK", &key, &"FOREVER"]),
            5 | 6 => command(&[&"RL.UNBLOCK", &key]),
            _ => command(&[&"RL.UNPIN", &key]),
        }
    }

    /// One command that changes something, or would if it were granted.
    pub fn simple(&mut self) -> Command {
        match self.below(100) {
            0..=37 => self.acquire(),
            38..=49 => self.reservation(),
            50..=61 => self.batch(),
            62..=66 => command(&[&"RL.REFUND", &self.key(), &(1 + self.below(10))]),
            67..=69 => {
                let mut words = command(&[&"RL.CHARGE", &self.key(), &self.one_of(LIMITS)]);
                words.extend(command(&[&"COST", &(1 + self.below(40))]));
                words
            }
            70..=79 => self.operator(),
            80..=91 => {
                let (burst, count) = (self.below(30), 1 + self.below(20));
                command(&[&"CL.THROTTLE", &self.key(), &burst, &count, &86_400, &self.below(4)])
            }
            92..=93 => command(&[&"DEL", &self.key()]),
            94..=95 => command(&[&"COPY", &self.key(), &self.key(), &"REPLACE"]),
            // What redis-cell left behind, taken over by the next call.
            96 => {
                let (key, tat) = (self.key(), 4_000_000_000_000_000_000u64 + self.below(1000));
                command(&[&"SET", &key, &tat, &"PXAT", &4_102_444_800_000i64])
            }
            97 => command(&[&"RL.CLEAR", &0, &"MATCH", &"k:1?", &"COUNT", &1000]),
            _ => {
                let script = "redis.call('RL.ACQUIRE', KEYS[1], ARGV[1]) return redis.call('RL.ACQUIRE', KEYS[2], ARGV[2], 'COST', 2)";
                let (one, two) = (self.key(), self.key());
                command(&[&"EVAL", &script, &2, &one, &two, &self.one_of(LIMITS), &self.one_of(LIMITS)])
            }
        }
    }

    /// One command, or several in MULTI and EXEC.
    pub fn commands(&mut self) -> Vec<Command> {
        if !self.chance(8) {
            return vec![self.simple()];
        }
        let mut all = vec![command(&[&"MULTI"])];
        for _ in 0..=self.below(4) {
            all.push(self.simple());
        }
        all.push(command(&[&"EXEC"]));
        all
    }
}

/// How the clock runs during traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// As it is.
    Real,
    /// The debug clock, from this time on, moved on (and now and then back).
    Debug(u64),
}

/// Sends so many commands; gives the replies without those about the clock.
pub fn drive(wire: &mut Wire, dice: &mut Dice, clock: &mut Clock, count: usize) -> Vec<Reply> {
    let mut all = Vec::new();
    let mut sent = 0;
    while sent < count {
        if let Clock::Debug(now) = clock
            && dice.chance(70)
        {
            *now =
                if dice.chance(2) { *now - dice.below(600_000_000) } else { *now + dice.below(200_000_000) };
            assert_eq!(wire.line(&format!("RL.DEBUG CLOCK SET {now}")), Reply::ok());
        }
        let commands = dice.commands();
        sent += commands.len();
        for (command, reply) in commands.iter().zip(wire.pipeline(&commands)) {
            check(command, &reply);
            all.push(reply);
        }
    }
    all
}

/// Only a string that redis-cell left may be in the way.
fn check(command: &Command, reply: &Reply) {
    let errors: Vec<&Reply> = match reply {
        Reply::Error(_) => vec![reply],
        Reply::Array(items) => items.iter().filter(|item| item.error().is_some()).collect(),
        _ => Vec::new(),
    };
    for error in errors {
        let text = error.error().unwrap();
        let expected =
            text.contains("WRONGTYPE") || text.contains("source and destination objects are the same");
        assert!(
            expected,
            "{:?}: {text}",
            command.iter().map(|w| w.escape_ascii().to_string()).collect::<Vec<_>>()
        );
    }
}
