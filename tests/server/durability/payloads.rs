//! D3: no payload is believed, whether it comes by RESTORE or from an AOF.

use std::{fs, io::Write as _, path::PathBuf};

use floodgate::core::limits::Taken;
use floodgate::core::time::Micros;
use floodgate::types::effect::ratelimit::{
    GiveBack, RateLimitChange, RateLimitEffect, SetBlock, SetPin, TakeUnits,
};
use floodgate::types::until::Until;

use crate::{
    durability::traffic::{Clock, drive},
    harness::{Reply, Server, Wire, call, snapshot},
    support::{Dice, crc64},
};

const NOON: u64 = 1_772_366_400_000_000;

/// What DUMP makes of a value of a module, taken apart.
#[derive(Clone, Debug)]
struct Dump {
    /// Type byte and the length byte of the module's number.
    head: [u8; 2],
    /// The module type's name and, in the lowest ten bits, its encoding version.
    id: u64,
    /// What the module wrote.
    payload: Vec<u8>,
    /// The version of the RDB format.
    rdb: [u8; 2],
}

impl Dump {
    /// Takes a dump apart, whose one string is not compressed.
    fn of(bytes: &[u8]) -> Self {
        let (body, crc) = bytes.split_at(bytes.len() - 8);
        assert_eq!(crc64(body).to_le_bytes(), crc, "the checksum as the server counts it");
        let (fields, rdb) = body.split_at(body.len() - 2);
        let (length, at) = match fields[11] {
            short @ 0..64 => (usize::from(short), 12),
            long @ 64..128 => (usize::from(long & 63) << 8 | usize::from(fields[12]), 13),
            other => panic!("a longer string than expected: {other}"),
        };
        assert_eq!((fields[10], fields[at + length], fields.len()), (5, 0, at + length + 1));
        Self {
            head: [fields[0], fields[1]],
            id: u64::from_be_bytes(fields[2..10].try_into().unwrap()),
            payload: fields[at..at + length].to_vec(),
            rdb: rdb.try_into().unwrap(),
        }
    }

    fn fields(&self) -> Vec<u8> {
        let mut bytes = self.head.to_vec();
        bytes.extend(self.id.to_be_bytes());
        bytes.push(5);
        if let Ok(short @ 0..64) = u8::try_from(self.payload.len()) {
            bytes.push(short);
        } else {
            bytes.push(0x80);
            bytes.extend(u32::try_from(self.payload.len()).unwrap().to_be_bytes());
        }
        bytes.extend(&self.payload);
        bytes.push(0);
        bytes
    }

    fn sealed(&self, fields: &[u8]) -> Vec<u8> {
        let mut bytes = fields.to_vec();
        bytes.extend(self.rdb);
        let crc = crc64(&bytes);
        bytes.extend(crc.to_le_bytes());
        bytes
    }

    fn bytes(&self) -> Vec<u8> {
        self.sealed(&self.fields())
    }
}

/// A server that writes strings as they are, with keys of every shape.
fn server_with_samples() -> (Server, Vec<Dump>) {
    let server = Server::with(&["--rdbcompression", "no"]);
    let mut wire = server.wire();
    drive(&mut wire, &mut Dice::new(11), &mut Clock::Debug(NOON), 500);
    // Open and ended reservations, of two sets of limits.
    for (limits, id, ttl) in [("100/m,concurrent:5", "a", 1), ("90/h", "b", 90_000), ("90/h", "c", 80_000)] {
        wire.line(&format!("RL.RESERVE 1 reserved {limits} COST 7 TTL {ttl}ms ID {id}"));
        server.clock_advance(1000);
    }
    let keys = snapshot(&server).0.into_keys();
    let samples: Vec<_> = keys
        .filter(|(_, key)| call!(server, "TYPE", key).text() == "ratelimit")
        .map(|(_, key)| Dump::of(call!(server, "DUMP", key).bytes()))
        .collect();
    assert!(samples.len() > 10);
    (server, samples)
}

/// Restores it; if it loads, whatever it is must work like any key and come
/// back from its own dump. Says whether it loaded.
fn try_restore(wire: &mut Wire, bytes: &[u8]) -> bool {
    let reply = call!(wire, "RESTORE", "forged", 0, bytes, "REPLACE");
    if let Some(error) = reply.error() {
        assert_eq!(error, "ERR Bad data format");
        return false;
    }
    assert_eq!(reply, Reply::ok());
    let digest = call!(wire, "DEBUG", "DIGEST-VALUE", "forged");
    let again = call!(wire, "DUMP", "forged");
    assert_eq!(call!(wire, "RESTORE", "again", 0, again.bytes(), "REPLACE"), Reply::ok());
    assert_eq!(call!(wire, "DEBUG", "DIGEST-VALUE", "again"), digest);
    for command in [
        "COPY forged copy REPLACE",
        "MEMORY USAGE forged",
        "RL.QUOTA forged",
        "RL.QUOTA forged HEADERS",
        "RL.ACQUIRE again 10/s,5/h,bucket:7/d,fixed:9/month COST 3 PARTIAL",
        "CL.THROTTLE copy 4 1 60",
        "RL.RESERVATIONS forged",
        "RL.RENEW b TTL 70s 1 forged",
        "RL.RESERVE 1 forged 90/h,concurrent:9 COST 2 TTL 5s ID d",
        "RL.COMMIT b 1 forged COST 80",
        "RL.RELEASE c 1 forged",
        "RL.REFUND forged 7",
        "RL.RESET again",
        "RL.UNBLOCK forged",
        "RL.UNPIN forged",
        "UNLINK forged again copy",
    ] {
        wire.line(command);
    }
    true
}

fn used_memory(server: &Server) -> i64 {
    server.info_field("memory", "used_memory").parse().unwrap()
}

#[test]
fn a_sample_restores_to_itself() {
    let (server, samples) = server_with_samples();
    let mut wire = server.wire();
    for sample in &samples {
        assert_eq!(call!(wire, "RESTORE", "same", 0, sample.bytes(), "REPLACE"), Reply::ok());
        assert_eq!(Dump::of(call!(wire, "DUMP", "same").bytes()).payload, sample.payload);
    }
}

/// Takes a number off the front: seven bits a byte, the last without the eighth.
fn number(rest: &mut &[u8]) -> usize {
    let (mut value, mut shift) = (0, 0);
    while let [byte, tail @ ..] = *rest {
        *rest = tail;
        value |= usize::from(byte & 127) << shift;
        shift += 7;
        if byte & 128 == 0 {
            break;
        }
    }
    value
}

/// How many sections a payload has: each a tag, a length and that many bytes.
fn sections(mut payload: &[u8]) -> u32 {
    let mut count = 0;
    while !payload.is_empty() {
        let _tag = number(&mut payload);
        let length = number(&mut payload);
        payload = payload.get(length..).unwrap_or_default();
        count += 1;
    }
    count
}

#[test]
fn a_payload_cut_anywhere_is_refused_or_whole() {
    let (server, samples) = server_with_samples();
    let mut wire = server.wire();
    for sample in &samples {
        let fields = sample.fields();
        // The server reads on into what it appended itself (version and
        // checksum), so a cut may now and then end well.
        let cuts = (1..fields.len()).map(|end| sample.sealed(&fields[..end]));
        let loaded = cuts.filter(|cut| try_restore(&mut wire, cut)).count();
        assert!(loaded <= 2, "{loaded} of {} cuts loaded", fields.len());
        // Cut inside what the module itself wrote, with lengths that agree.
        let mut loaded = 0;
        for end in 0..sample.payload.len() {
            let cut = Dump { payload: sample.payload[..end].to_vec(), ..sample.clone() };
            loaded += u32::from(try_restore(&mut wire, &cut.bytes()));
        }
        let sections = sections(&sample.payload);
        assert!(loaded < sections, "only at the end of one of its {sections} sections: {loaded}");
    }
    assert_eq!(wire.line("PING"), Reply::Simple("PONG".into()));
}

#[test]
fn a_mutated_payload_is_refused_or_loads_as_what_it_says() {
    let (server, samples) = server_with_samples();
    let mut wire = server.wire();
    let mut dice = Dice::new(12);
    let (mut loaded, mut refused) = (0, 0);
    let before = used_memory(&server);
    for round in 0..4_000 {
        let mut forged = samples[round % samples.len()].clone();
        for _ in 0..=dice.below(3) {
            let len = forged.payload.len();
            let at = dice.below(len.max(1));
            let byte = u8::try_from(dice.below(256)).unwrap();
            match dice.below(6) {
                0 if !forged.payload.is_empty() => drop(forged.payload.remove(at)),
                1 => forged.payload.insert(at, byte),
                2 if !forged.payload.is_empty() => forged.payload[at] ^= 1 << dice.below(8),
                3 => forged.payload.extend_from_within(at..),
                _ if !forged.payload.is_empty() => forged.payload[at] = byte,
                _ => {}
            }
        }
        if try_restore(&mut wire, &forged.bytes()) { loaded += 1 } else { refused += 1 }
    }
    assert!(loaded > 50 && refused > 1000, "{loaded} loaded, {refused} refused");
    let kept = used_memory(&server) - before;
    assert!(kept < 1_500_000, "{kept} bytes stayed behind");
    assert_eq!(wire.line("PING"), Reply::Simple("PONG".into()));
}

#[test]
fn unknown_encoding_versions_are_refused() {
    let (server, samples) = server_with_samples();
    let mut wire = server.wire();
    let sample = &samples[0];
    assert_eq!(sample.id & 1023, 1, "the version of today");
    for version in [0, 2, 3, 255, 1023] {
        let other = Dump { id: sample.id & !1023 | version, ..sample.clone() };
        assert!(!try_restore(&mut wire, &other.bytes()), "version {version}");
    }
    assert!(server.log().contains("unknown encoding version"), "{}", server.log());
}

/// It adds sections with high tags; what this version knows is kept.
#[test]
fn a_newer_minor_version_loads() {
    let (server, samples) = server_with_samples();
    let mut wire = server.wire();
    for sample in samples {
        let mut newer = sample.clone();
        newer.payload.extend(b"\x63\x03new\x64\x00");
        let reply = call!(wire, "RESTORE", "newer", 0, newer.bytes(), "REPLACE");
        assert_eq!(reply, Reply::ok());
        assert_eq!(Dump::of(call!(wire, "DUMP", "newer").bytes()).payload, sample.payload);
    }
}

fn aof_file(server: &Server) -> PathBuf {
    let dir = server.dir().join("appendonlydir");
    if !dir.exists() {
        return server.dir().join("appendonly.aof");
    }
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.to_string_lossy().ends_with(".incr.aof")).max().expect("an AOF")
}

fn resp(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).bytes());
        bytes.extend(*word);
        bytes.extend(b"\r\n");
    }
    bytes
}

fn encoded(change: RateLimitChange<'_>) -> Vec<u8> {
    let mut payload = Vec::new();
    RateLimitEffect { now: Micros(NOON), expires: false, change }.encode(&mut payload);
    payload
}

#[test]
fn effects_that_do_not_fit_leave_the_server_and_the_other_keys_alone() {
    let mut server = Server::durable();
    server.clock_set(i64::try_from(NOON).unwrap());
    server.line("RL.ACQUIRE kept 5/d");
    server.line("RL.PIN pinned 5/d");
    server.ok("SET text hello");
    server.line("RPUSH list a b");
    let before = snapshot(&server);
    server.kill9();

    let take = |limits| encoded(RateLimitChange::Take(TakeUnits { limits, taken: Taken::new([1; 8]) }));
    let payloads: Vec<Vec<u8>> = vec![
        Vec::new(),
        vec![0],
        vec![255; 40],
        take(None),
        take(Some("5/")),
        take(Some("")),
        take(Some("*")),
        take(Some("@policy")),
        encoded(RateLimitChange::Touch(Some("nonsense"))),
        encoded(RateLimitChange::Pin(SetPin { text: "5/", until: Until::Forever })),
        encoded(RateLimitChange::Become(b"")),
        encoded(RateLimitChange::Become(b"\x01\x00")),
        encoded(RateLimitChange::Become(&[7; 100])),
        encoded(RateLimitChange::GiveBack(GiveBack { limits: None, units: u64::MAX, calls: u64::MAX })),
    ];
    let mut file = fs::OpenOptions::new().append(true).open(aof_file(&server)).unwrap();
    for payload in &payloads {
        file.write_all(&resp(&[b"RL.EFFECT", b"missing", payload])).unwrap();
    }
    // A block fits any limiter, but nothing else.
    let block = encoded(RateLimitChange::Block(SetBlock { until: Until::Forever, reason: b"" }));
    for name in ["text", "list"] {
        file.write_all(&resp(&[b"RL.EFFECT", name.as_bytes(), &block])).unwrap();
        file.write_all(&resp(&[b"RL.EFFECT", name.as_bytes(), &take(Some("5/d"))])).unwrap();
    }
    let mut dice = Dice::new(13);
    for _ in 0..2000 {
        let mut payload = payloads[dice.below(14_usize)].clone();
        for _ in 0..=dice.below(4) {
            let at = dice.below(payload.len() + 1);
            payload.insert(at, u8::try_from(dice.below(256)).unwrap());
        }
        file.write_all(&resp(&[b"RL.EFFECT", b"victim", &payload])).unwrap();
    }
    // An odd number of arguments, but enough for the server to call us.
    file.write_all(&resp(&[b"RL.EFFECT", b"victim", &block, b"victim"])).unwrap();
    file.write_all(&resp(&[b"DEL", b"victim"])).unwrap();
    // What does not fit does not keep away what does, not even in one command.
    let fits = take(Some("9/d"));
    file.write_all(&resp(&[b"RL.EFFECT", b"text", &block, b"last", &fits])).unwrap();
    drop(file);

    server.restart();
    assert_eq!(server.line("PING"), Reply::Simple("PONG".into()));
    assert_eq!(server.line("DEL last"), Reply::Int(1));
    assert_eq!(snapshot(&server).differences(&before), Vec::<String>::new());
}
