//! Random requests: our commands after their own table, so that a new one is
//! tried as soon as it is registered, and the server's commands on keys.

use std::collections::VecDeque;

use floodgate::COMMANDS;
use floodgate::server::load::argument::{Argument, ArgumentKind};
use floodgate::server::load::command::{Access, Command};

use crate::{
    harness::{Arg, Reply},
    support::{Dice, crc64},
};

/// A command with its arguments.
pub type Request = Vec<Vec<u8>>;

/// The keys that requests name.
pub const KEYS: &[&[u8]] = &[
    b"k0",
    b"k1",
    b"k2",
    b"k3",
    b"k4",
    b"k5",
    b"k6",
    b"k7",
    b"k8",
    b"k9",
    b"{tag}a",
    b"{tag}b",
    b"\x00\xff\r\n",
    b"",
    b"a string",
    b"a hash",
];

const LIMITS: &[&str] = &[
    "10/s",
    "100/minute",
    "1/ms",
    "1000000000000/366d",
    "5/s,20/m,100/h",
    "10/s:keep=20%,100/m:per=call:name=calls",
    "bucket:10/s:burst=50",
    "bucket:1/366d:burst=1000000000000",
    "bucket:1000000000000/ms",
    "fixed:1000/day:tz=Europe/Paris",
    "fixed:3/month",
    "fixed:9/ever",
    "fixed:3/s:start=first",
    "fixed:3/w,2/s:shadow",
    "concurrent:3",
    "concurrent:3,100/h",
    "unlimited",
    "*",
    "@gold",
    "@gold,10/s",
    "100/",
    "0/s",
    "10/s,10/s",
    "10/s:name=",
    "1/s,2/m,3/h,4/d,5/w,bucket:6/s,bucket:7/m,fixed:8/h",
    "1/s,2/m,3/h,4/d,5/w,6/ms,7/2s,8/3s,9/4s",
];

const BREAKERS: &[&str] = &[
    "3",
    "3:open=100ms:lease=100ms",
    "3/8s:open=50ms:probes=2:ramp=1s",
    "50%/8s:min=4:open=100ms:slow=100ms:slowrate=40%",
    "34%/5calls:min=3:open=100ms:probes=3:backoff=2:maxopen=5s",
    "100%/1000calls:min=1",
    "2/8s:open=50ms:reporters=2",
    "0/s",
    "50%",
    "1000000:open=366d",
];

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "1",
    "1",
    "2",
    "3",
    "7",
    "60",
    "100",
    "1000",
    "-1",
    "1000000000000",
    "1000000000001",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "340282366920938463463374607431768211456",
    "1.5",
    "1e3",
    "+1",
    " 1",
    "",
    "x",
];

/// Short ones: clients that wait must not hold the run up.
const DURATIONS: &[&str] =
    &["1ms", "5ms", "10ms", "20ms", "0", "5", "-1", "x", "", "5 s", "99999999999999999999"];
const LONG_DURATIONS: &[&str] =
    &["1s", "30s", "1h", "366d", "100ms", "1ms", "1", "0", "-1", "400d", "1x", "forever"];
const PATTERNS: &[&str] = &["*", "k*", "k[0-4]", "k[", "[^", "\\", "", "k?", "*k*k*k*k*k*"];
const TEXTS: &[&str] = &[
    "gold",
    "silver",
    "{}",
    "[]",
    "{\"gold\":\"10/s\"}",
    "{\"policies\":[]}",
    "too many logins",
    "",
    "%s%n%s%n",
    "\u{100}",
    "0.000000001",
    "12345678901234567890.123",
];

/// What the server can do to keys.
const SERVER: &[&str] = &[
    "DEL", "UNLINK", "EXPIRE", "PEXPIRE", "PERSIST", "RENAME", "RENAMENX", "COPY", "MOVE", "DUMP", "DUMP",
    "RESTORE", "RESTORE", "SET", "HSET", "GET", "TYPE", "TOUCH", "OBJECT", "MEMORY", "DIGEST", "SCAN",
    "SWAPDB", "FLUSHDB", "SELECT", "WATCH", "UNWATCH", "CONFIG", "CLOCK", "HELLO", "INFO", "PUBLISH",
];

/// Makes requests out of chance and of what the server answered before.
#[derive(Debug)]
pub struct Requests {
    chance: Dice,
    /// Short strings that were answered: tokens, ids, cursors.
    seen: VecDeque<Vec<u8>>,
    dumps: VecDeque<Vec<u8>>,
    settings: Vec<String>,
}

impl Requests {
    /// `settings` are changed at random too.
    pub fn new(chance: Dice, settings: Vec<String>) -> Self {
        Self { chance, seen: VecDeque::new(), dumps: VecDeque::new(), settings }
    }

    /// So many requests, sent one after the other on one connection.
    pub fn batch(&mut self, len: usize) -> Vec<Request> {
        let mut all = Vec::new();
        while all.len() < len {
            match self.chance.below(40) {
                0 => {
                    all.push(vec!["MULTI".to_arg()]);
                    for _ in 0..self.chance.below(6) {
                        all.push(self.one());
                    }
                    let end = self.chance.one_of(&["EXEC", "EXEC", "EXEC", "DISCARD"]);
                    all.push(vec![end.to_arg()]);
                }
                1 | 2 => {
                    let script = self.chance.one_of(&[
                        "return redis.pcall(unpack(ARGV))",
                        "return redis.call(unpack(ARGV))",
                        "redis.pcall(unpack(ARGV)) return redis.pcall(unpack(ARGV))",
                    ]);
                    let mut request = vec!["EVAL".to_arg(), script.to_arg(), "0".to_arg()];
                    request.extend(self.ours());
                    all.push(request);
                }
                _ => all.push(self.one()),
            }
        }
        all
    }

    /// So many requests of ours, some of them inside a script.
    pub fn ours_only(&mut self, len: usize) -> Vec<Request> {
        (0..len)
            .map(|_| {
                let mut request = self.ours();
                if self.chance.once_in(8) {
                    let script = ["EVAL", "return redis.pcall(unpack(ARGV))", "0"];
                    request.splice(0..0, script.map(Arg::to_arg));
                }
                request
            })
            .collect()
    }

    /// Learns from the replies to a batch.
    pub fn learn(&mut self, requests: &[Request], replies: &[Reply]) {
        for (request, reply) in requests.iter().zip(replies) {
            match reply {
                Reply::Bulk(payload) if request[0].as_slice() == b"DUMP" => {
                    remember(&mut self.dumps, payload);
                }
                reply => self.learn_strings(reply),
            }
        }
    }

    fn learn_strings(&mut self, reply: &Reply) {
        match reply {
            Reply::Bulk(text) if (1..64).contains(&text.len()) => remember(&mut self.seen, text),
            Reply::Array(items) => items.iter().take(4).for_each(|item| self.learn_strings(item)),
            _ => {}
        }
    }

    fn one(&mut self) -> Request {
        if self.chance.once_in(4) { self.servers() } else { self.ours() }
    }

    /// One of our commands, mostly as its table says.
    fn ours(&mut self) -> Request {
        let command = &COMMANDS[self.chance.below(COMMANDS.len())];
        let mut request = vec![command.name.to_arg()];
        if command.rights == Access::Internal {
            request.extend([self.key(), self.chance.bytes(40)]);
            return request;
        }
        if is_clock(command) {
            return self.clock();
        }
        for argument in command.arguments {
            self.argument(argument, &mut request);
        }
        if self.chance.once_in(12) {
            self.spoil(&mut request);
        }
        request
    }

    fn argument(&mut self, argument: &Argument, request: &mut Request) {
        if argument.optional && self.chance.once_in(2) {
            return;
        }
        let repeats = if argument.multiple { 1 + self.chance.below(4) } else { 1 };
        // What is repeated follows its number.
        if argument.multiple
            && let Some(number) = request.last_mut().filter(|last| last.as_slice() == NUMBER)
        {
            *number = repeats.to_arg();
        }
        for _ in 0..repeats {
            if let Some(token) = argument.token {
                request.push(if self.chance.once_in(3) { token.to_lowercase() } else { token.into() }.into());
            }
            match argument.kind {
                ArgumentKind::Key => {
                    if let Some(number) = request.last_mut().filter(|last| last.as_slice() == NUMBER) {
                        *number = b"1".to_vec();
                    }
                    request.push(self.key());
                }
                ArgumentKind::Flag => {}
                ArgumentKind::Pattern => request.push(self.chance.one_of(PATTERNS).to_arg()),
                ArgumentKind::Integer if argument.name.starts_with("num") => request.push(NUMBER.to_vec()),
                ArgumentKind::Integer | ArgumentKind::Double => request.push(self.number()),
                ArgumentKind::Text => request.push(self.text(argument)),
                ArgumentKind::OneOf(choices) => {
                    let choice = &choices[self.chance.below(choices.len())];
                    self.argument(choice, request);
                }
                ArgumentKind::Group(parts) => parts.iter().for_each(|part| self.argument(part, request)),
            }
        }
    }

    fn key(&mut self) -> Vec<u8> {
        self.chance.one_of(KEYS).to_vec()
    }

    fn number(&mut self) -> Vec<u8> {
        match self.chance.below(4) {
            0 => self.chance.below(100).to_arg(),
            1 => self.chance.one_of(NUMBERS).to_arg(),
            _ => self.chance.one_of(&["1", "2", "3", "5"]).to_arg(),
        }
    }

    fn text(&mut self, argument: &Argument) -> Vec<u8> {
        let name = argument.name;
        let text = if name.contains("limit") {
            self.chance.one_of(LIMITS)
        } else if name.contains("breaker") {
            self.chance.one_of(BREAKERS)
        } else if argument.token == Some("WAIT") {
            self.chance.one_of(DURATIONS)
        } else if name.contains("duration") || name == "d" {
            self.chance.one_of(LONG_DURATIONS)
        } else if name == "id" && self.chance.once_in(2) {
            self.chance.one_of(&["i0", "i1", "i2", "i3"])
        } else if !self.seen.is_empty() && self.chance.once_in(2) {
            let at = self.chance.below(self.seen.len());
            return self.seen[at].clone();
        } else {
            self.chance.one_of(TEXTS)
        };
        if self.chance.once_in(15) { self.chance.mutated(text.as_bytes()) } else { text.to_arg() }
    }

    fn spoil(&mut self, request: &mut Request) {
        let at = 1 + self.chance.below(request.len());
        match self.chance.below(5) {
            0 if at < request.len() => drop(request.remove(at)),
            1 if at < request.len() => request[at] = self.chance.mutated(&request[at].clone()),
            2 if at < request.len() => request[at] = self.chance.bytes(20),
            3 => request.truncate(at),
            _ => request.insert(at, self.chance.one_of(TEXTS).to_arg()),
        }
    }

    fn clock(&mut self) -> Request {
        let mut request: Vec<_> = ["RL.DEBUG", "CLOCK"].map(Arg::to_arg).into();
        match self.chance.below(6) {
            0 => request.push("REAL".to_arg()),
            1 => request.extend(["SET", "1795000000000000"].map(Arg::to_arg)),
            2 => request.extend(["SET".to_arg(), self.number()]),
            3 => request.extend(["ADVANCE", "-5000000"].map(Arg::to_arg)),
            4 => request.extend(["ADVANCE".to_arg(), self.number()]),
            _ => request.extend(["ADVANCE", "750000"].map(Arg::to_arg)),
        }
        request
    }

    /// One of the server's own commands.
    fn servers(&mut self) -> Request {
        let name = self.chance.one_of(SERVER);
        let words = |text: &str| text.split(' ').map(Arg::to_arg).collect::<Request>();
        let mut request = vec![name.to_arg()];
        match name {
            "EXPIRE" | "PEXPIRE" => request.extend([self.key(), self.number()]),
            "RENAME" | "RENAMENX" => request.extend([self.key(), self.key()]),
            "COPY" => {
                request.extend([self.key(), self.key()]);
                request.extend(words(self.chance.one_of(&["REPLACE", "DB 1", "DB 1 REPLACE"])));
            }
            "MOVE" => request.extend([self.key(), self.chance.one_of(&["0", "1"]).to_arg()]),
            "RESTORE" => {
                let dump = match self.dumps.len() {
                    0 => self.chance.bytes(30),
                    n => self.dumps[self.chance.below(n)].clone(),
                };
                let dump = match self.chance.below(3) {
                    // The server trusts a signed payload of its own types.
                    0 if dump.first() == Some(&MODULE_VALUE) => {
                        let mut body = self.chance.mutated(&dump[1..dump.len().saturating_sub(10).max(1)]);
                        body.insert(0, MODULE_VALUE);
                        resigned(&body, &dump)
                    }
                    1 => self.chance.mutated(&dump),
                    _ => dump,
                };
                let ttl = self.chance.one_of(&["0", "0", "1", "60000", "-1"]).to_arg();
                request.extend([self.key(), ttl, dump, "REPLACE".to_arg()]);
            }
            "SET" => {
                let value = self.chance.one_of(&["", "x", "1795000000000000000", "17"]).to_arg();
                request.extend([b"a string".to_vec(), value]);
            }
            "HSET" => request.extend(["a hash", "field", "value"].map(Arg::to_arg)),
            "OBJECT" => request.extend([b"ENCODING".to_vec(), self.key()]),
            "MEMORY" => request.extend([b"USAGE".to_vec(), self.key()]),
            "DIGEST" => request = vec![b"DEBUG".to_vec(), b"DIGEST-VALUE".to_vec(), self.key()],
            "SCAN" => request.extend(words("0 COUNT 100 TYPE ratelimit")),
            "SWAPDB" => request.extend(words("0 1")),
            "FLUSHDB" if self.chance.once_in(4) => {
                request.extend(words(self.chance.one_of(&["ASYNC", "SYNC"])));
            }
            "FLUSHDB" => request = vec![b"UNLINK".to_vec(), self.key(), self.key(), self.key()],
            "SELECT" => request.push(self.chance.one_of(&["0", "0", "0", "1"]).to_arg()),
            "UNWATCH" => {}
            "CONFIG" => {
                request.push("GET".to_arg());
                request.push("floodgate.*".to_arg());
                if !self.settings.is_empty() && self.chance.once_in(8) {
                    let setting = self.settings[self.chance.below(self.settings.len())].clone();
                    let value = self.setting();
                    request = vec![b"CONFIG".to_vec(), b"SET".to_vec(), setting.into_bytes(), value];
                }
            }
            "CLOCK" => request = self.clock(),
            "HELLO" => request.push(self.chance.one_of(&["2", "3"]).to_arg()),
            "INFO" => request.push("floodgate".to_arg()),
            "PUBLISH" => request.extend(words("floodgate:events x")),
            _ => request.push(self.key()),
        }
        request
    }

    fn setting(&mut self) -> Vec<u8> {
        match self.chance.below(4) {
            0 => self.chance.one_of(&["yes", "no"]).to_arg(),
            1 => self.chance.one_of(LIMITS).to_arg(),
            2 => self.chance.one_of(BREAKERS).to_arg(),
            _ => self.number(),
        }
    }
}

/// How the payload of a module's value begins.
pub const MODULE_VALUE: u8 = 7;

/// Stands for a number of things that is not known yet.
const NUMBER: &[u8] = b"\x00number";

fn is_clock(command: &Command) -> bool {
    command.name == "RL.DEBUG"
}

fn remember(all: &mut VecDeque<Vec<u8>>, new: &[u8]) {
    if all.len() >= 64 {
        all.pop_front();
    }
    all.push_back(new.to_vec());
}

/// A forged payload with the version of a real one and the checksum that the
/// server wants.
pub fn resigned(body: &[u8], real: &[u8]) -> Vec<u8> {
    let version = real.len().saturating_sub(10)..real.len().saturating_sub(8);
    let mut forged = body.to_vec();
    forged.extend_from_slice(&real[version]);
    let checksum = crc64(&forged);
    forged.extend_from_slice(&checksum.to_le_bytes());
    forged
}
