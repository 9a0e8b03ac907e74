//! D3: no input crashes the server, makes a command panic, or lets a replica
//! differ.

use crate::harness::{Reply, Server};
use crate::support::Dice;

const KEYS: &[&str] = &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "string", "list", "", "k\0\u{ff}"];
const LIMITS: &[&str] = &[
    "10/s",
    "10/s,100/h",
    "1000000000000/366d",
    "1/1ms",
    "bucket:7/3s:burst=1000000000000",
    "bucket:1000000000000/1ms:burst=1",
    "bucket:1/366d",
    "fixed:3/month:tz=Pacific/Apia",
    "fixed:1000000000000/w:start=first",
    "fixed:1000000000000/ever:name=x",
    "5/m:per=call:keep=99.99%:name=x",
    "9/m:shadow:name=y,unlimited",
    "concurrent:5",
    "concurrent:5:per=cost",
    "@gold",
    "*",
    "10/",
    "sliding:,",
    "fixed:1/1ms:tz=UTC",
];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "7",
    "64",
    "1000",
    "1000000000000",
    "1000000000001",
    "-1",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "99999999999999999999",
    "1.5",
    "x",
    "",
    "30s",
    "366d",
    "4503599627370495",
    "4503599627370496",
];
const WORDS: &[&str] = &[
    "COST", "PARTIAL", "CRITICAL", "HEADERS", "FOR", "FOREVER", "REASON", "MATCH", "COUNT", "ALL", "EACH",
    "CLOCK", "SET", "ADVANCE", "REAL", "*", "%s%n", "\r\n", "\0",
];

fn argument(dice: &mut Dice) -> Vec<u8> {
    match dice.below(10) {
        0..=2 => dice.one_of(KEYS).into(),
        3..=5 => dice.one_of(LIMITS).into(),
        6..=7 => dice.one_of(NUMBERS).into(),
        8 => dice.one_of(WORDS).into(),
        _ => (0..dice.below(80)).map(|_| u8::try_from(dice.below(256)).unwrap()).collect(),
    }
}

/// A command that is mostly well-formed.
fn command(dice: &mut Dice) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = Vec::new();
    let mut say = |text: &str| words.push(text.into());
    // The first of each list are good ones.
    let good = dice.below(4) > 0;
    let limits = dice.one_of(if good { &LIMITS[..11] } else { LIMITS });
    let number = dice.one_of(if good { &NUMBERS[1..7] } else { NUMBERS });
    let key = dice.one_of(KEYS);
    match dice.below(12) {
        0..=3 => ["RL.ACQUIRE", key, limits, "COST", number].into_iter().for_each(&mut say),
        4 => ["RL.QUOTA", key, limits, "COST", number].into_iter().for_each(&mut say),
        5 => {
            let items = 1 + dice.below(3);
            ["RL.BATCH", dice.one_of(&["ALL", "EACH"]), &items.to_string()].into_iter().for_each(&mut say);
            for _ in 0..items {
                [dice.one_of(KEYS), dice.one_of(LIMITS), dice.one_of(NUMBERS)].into_iter().for_each(&mut say);
            }
        }
        6 if dice.chance(50) => ["RL.REFUND", key, number].into_iter().for_each(&mut say),
        6 => ["RL.CHARGE", key, limits, "COST", number].into_iter().for_each(&mut say),
        7 => ["RL.PIN", key, limits, "FOR", number].into_iter().for_each(&mut say),
        8 => ["RL.BLOCK", key, "FOR", number, "REASON", limits].into_iter().for_each(&mut say),
        9 => {
            let name = dice.one_of(&["RL.RESET", "RL.UNPIN", "RL.UNBLOCK", "RL.QUOTA", "DEL"]);
            [name, key].into_iter().for_each(&mut say);
        }
        10 => {
            let how = dice.one_of(&["SET", "ADVANCE", "ADVANCE"]);
            ["RL.DEBUG", "CLOCK", how, number].into_iter().for_each(&mut say);
        }
        _ => ["CL.THROTTLE", key, number, dice.one_of(NUMBERS), dice.one_of(NUMBERS), dice.one_of(NUMBERS)]
            .into_iter()
            .for_each(&mut say),
    }
    // Now and then something too much, or missing, or in the wrong place.
    match dice.below(15) {
        0 => words.push(argument(dice)),
        1 if words.len() > 1 => drop(words.pop()),
        2 => {
            let at = 1 + dice.below(words.len());
            words.insert(at, argument(dice));
        }
        _ => {}
    }
    words
}

#[test]
fn the_largest_quantities_reach_the_replica() {
    let server = Server::start();
    let replica = server.replica();
    server.clock_set(1_000_000);
    for quantity in [1_i64 << 47, (1 << 48) - 1, 1 << 48, i64::MAX] {
        let reply =
            server.line(&format!("CL.THROTTLE q{quantity} {} {} 1 {quantity}", i64::MAX - 1, i64::MAX));
        assert!(reply.error().is_some() || reply[0] == Reply::Int(0) || quantity > 1 << 48, "{reply:?}");
        let reply = server.line(&format!("CL.THROTTLE r{quantity} {} 1000000000 1 {quantity}", 1_i64 << 52));
        assert_eq!(reply[0], Reply::Int(i64::from(quantity > 1 << 52)), "{reply:?}");
    }
    crate::harness::wait_synced(&server, &replica);
    crate::harness::assert_same_data(&server, &replica);
    assert!(server.line("DBSIZE").int() >= 3);
}

#[test]
fn nothing_that_a_client_sends_breaks_anything() {
    let server = Server::start();
    let replica = server.replica();
    server.line("RL.DEBUG CLOCK SET 1800000000000000");
    let mut wire = server.wire();
    let mut dice = Dice::new(42);
    let (mut fine, mut refused) = (0, 0);
    for round in 0..60 {
        wire.line("SET string x");
        wire.line("RPUSH list x");
        let commands: Vec<_> = (0..400)
            .map(|_| {
                if dice.below(5) > 0 {
                    return command(&mut dice);
                }
                let name = floodgate::COMMANDS[dice.below(floodgate::COMMANDS.len())].name;
                let mut words = vec![name.as_bytes().to_vec()];
                words.extend((0..dice.below(7)).map(|_| argument(&mut dice)));
                words
            })
            .collect();
        let replies = wire.pipeline(&commands);
        for (command, reply) in commands.iter().zip(&replies) {
            let shown =
                || command.iter().map(|arg| arg.escape_ascii().to_string()).collect::<Vec<_>>().join(" ");
            let Some(error) = reply.error() else {
                fine += 1;
                continue;
            };
            refused += 1;
            let code = error.split(' ').next().unwrap();
            assert!(["ERR", "WRONGTYPE"].contains(&code), "{}: {error}", shown());
            assert!(!error.contains("internal error"), "{}: {error}", shown());
            // The server itself shows the name of a sub-command as it came.
            let ours = !error.starts_with("ERR unknown subcommand");
            assert!(
                !ours || error.bytes().all(|b| b.is_ascii_graphic() || b == b' '),
                "{}: {error}",
                shown()
            );
        }
        if round % 10 == 9 {
            crate::harness::wait_synced(&server, &replica);
            crate::harness::assert_same_data(&server, &replica);
            // A replica that refuses an effect says so there, from 6.2 on.
            assert!(!replica.log().contains("CRITICAL"), "{}", replica.log());
            // What was reached can be saved and loaded again.
            let before = server.line("DEBUG DIGEST");
            assert_eq!(server.line("DEBUG RELOAD"), Reply::ok());
            assert_eq!(server.line("DEBUG DIGEST"), before);
            server.line("FLUSHALL");
        }
    }
    assert!(fine > 5000 && refused > 3000, "{fine} fine, {refused} refused");
    assert_eq!(server.line("PING"), Reply::Simple("PONG".into()));
}
