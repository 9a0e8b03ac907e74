//! D2: what version 0.1 wrote loads, by every way in, and users see what they saw.
//!
//! `data_0_1/write.py` says how the data was made and what is in it.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::Value;

use crate::harness::{Arg as _, Reply, Server, Wire};
use crate::support::root;

/// What users saw: at a time or after everything else, of a database, a command.
struct Said {
    /// Microseconds since 1970, or none where the command changes something.
    at: Option<i64>,
    database: String,
    command: Vec<Vec<u8>>,
    reply: Value,
}

fn folder(name: &str) -> PathBuf {
    root().join("tests/server/durability/data_0_1").join(name)
}

/// The bytes that stand as the characters of the same numbers.
fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

fn said() -> Vec<Said> {
    let text = fs::read_to_string(folder("said.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .map(|mut line| Said {
            at: line[0].as_i64(),
            database: line[1].as_str().unwrap().to_owned(),
            command: line[2].as_array().unwrap().iter().map(|word| bytes(word.as_str().unwrap())).collect(),
            reply: line[3].take(),
        })
        .collect()
}

/// Whether it says nothing: no figure, or only such.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(yes) => !yes,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty() || text == "0",
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
    }
}

/// A breaker's text with its durations in milliseconds; 0.1 took those without a
/// unit for milliseconds.
fn in_milliseconds(breaker: &str) -> String {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("", 1)];
    let part = |part: &str| {
        let Some((name @ ("open" | "maxopen" | "slow" | "lease" | "ramp" | "idle"), text)) =
            part.split_once('=')
        else {
            return part.to_owned();
        };
        let number = text.trim_end_matches(char::is_alphabetic);
        let (_, unit) = units.iter().find(|(unit, _)| *unit == &text[number.len()..]).unwrap();
        format!("{name}={}ms", number.parse::<u64>().unwrap() * unit)
    };
    breaker.split(':').map(part).collect::<Vec<_>>().join(":")
}

/// Adds to `differences` what of the reply is no longer so. A later version may
/// say more, and leave out what is nothing.
fn compare(path: &str, was: &Value, is: Option<Reply>, differences: &mut Vec<String>) {
    let Some(is) = is else {
        if !is_empty(was) {
            differences.push(format!("{path}: {was}, now missing"));
        }
        return;
    };
    let equal = match was {
        Value::Object(fields) => {
            for (name, was) in fields {
                let is = is.get(name);
                let path = format!("{path} {name}");
                match (name.as_str(), was, &is) {
                    ("breaker", Value::String(was), Some(Reply::Bulk(_))) => {
                        let was = Value::String(in_milliseconds(was));
                        let is = Reply::bulk(in_milliseconds(&is.unwrap().text()));
                        compare(&path, &was, Some(is), differences);
                    }
                    // What keep= keeps is rounded down now: the third unit of three
                    // a day is there a period of one unit, eight hours, sooner.
                    ("retry_after_ms", Value::Number(ms), Some(Reply::Int(is)))
                        if path.contains(":3/d:keep=34% ") =>
                    {
                        let was = ms.as_i64().unwrap();
                        if *is != (was - 28_800_000).max(0) {
                            differences.push(format!("{path}: {was}, now {is}"));
                        }
                    }
                    // A bucket tells more than it holds now, where it is in debt or its count fell.
                    ("used", Value::Number(_), Some(Reply::Int(is)))
                        if fields.get("algorithm").is_some_and(|name| name == "bucket")
                            && fields.get("limit") == Some(was) =>
                    {
                        if Some(*is) < was.as_i64() {
                            differences.push(format!("{path}: {was}, now {is}"));
                        }
                    }
                    _ => compare(&path, was, is, differences),
                }
            }
            true
        }
        Value::Array(items) => {
            let now = is.items();
            for (at, (was, is)) in items.iter().zip(now).enumerate() {
                compare(&format!("{path} {at}"), was, Some(is.clone()), differences);
            }
            items.len() == now.len()
        }
        Value::Null => is.is_nil(),
        Value::Number(number) => matches!(is, Reply::Int(is) if Some(is) == number.as_i64()),
        Value::String(text) => match &is {
            Reply::Simple(is) => is == text,
            Reply::Bulk(is) => *is == bytes(text),
            _ => false,
        },
        Value::Bool(_) => false,
    };
    if !equal {
        differences.push(format!("{path}: {was}, now {is:?}"));
    }
}

/// The policies of an export, by name; their breakers in milliseconds.
fn policies(export: &str) -> BTreeMap<String, Value> {
    let document: Value = serde_json::from_str(export).unwrap();
    let list = document["policies"].as_array().unwrap();
    list.iter()
        .cloned()
        .map(|mut policy| {
            if let Some(breaker) = policy["breaker"].as_str() {
                policy["breaker"] = in_milliseconds(breaker).into();
            }
            (policy["name"].as_str().unwrap().to_owned(), policy)
        })
        .collect()
}

/// Asks everything that was asked of 0.1, at the same times, then does what was
/// done; no answer may be another.
fn users_see_what_they_saw(server: &Server) {
    let mut wire = server.wire();
    let said = said();
    let start = said[0].at.unwrap();
    let mut differences = Vec::new();
    let mut compared = 0;
    let mut place = (start, String::from("0"));
    server.clock_set(start);
    for Said { at, database, command, reply } in said {
        let at = at.unwrap_or(start);
        if place.0 != at {
            server.clock_set(at);
        }
        if place.1 != database {
            assert_eq!(wire.line(&format!("SELECT {database}")), Reply::ok());
        }
        place = (at, database);
        let words: Vec<_> = command.iter().map(|word| word.escape_ascii().to_string()).collect();
        let is = wire.call(&command);
        let path = format!("{} at {} µs:", words.join(" "), at - start);
        match words[..].join(" ").as_str() {
            "RL.POLICY EXPORT" => assert_eq!(policies(&is.text()), policies(reply.as_str().unwrap())),
            // The number of changes and a digest of them: what they stand for is
            // the list itself.
            "RL.POLICY LIST" => compare(&path, &reply["policies"], is.get("policies"), &mut differences),
            _ => compare(&path, &reply, Some(is), &mut differences),
        }
        compared += 1;
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    assert!(compared > 500, "{compared}");
}

#[test]
fn an_rdb_file_loads() {
    users_see_what_they_saw(&Server::builder().data(folder("rdb")).start());
}

#[test]
fn a_log_of_effects_loads() {
    let server = Server::builder().args(["--appendonly", "yes"]).data(folder("live")).start();
    users_see_what_they_saw(&server);
}

#[test]
fn a_rewritten_log_loads() {
    let server = Server::builder().args(["--appendonly", "yes"]).data(folder("rewritten")).start();
    users_see_what_they_saw(&server);
}

#[test]
fn a_file_written_again_by_this_version_says_the_same() {
    let mut server = Server::builder().args(["--save", "900", "1"]).data(folder("rdb")).start();
    server.clock_set(said()[0].at.unwrap());
    server.ok("SAVE");
    server.kill9();
    server.restart();
    users_see_what_they_saw(&server);
}

#[test]
fn dumps_are_restored() {
    let server = Server::start();
    let mut wire = server.wire();
    // Policies are no keys: they come by their export.
    let said = said();
    server.clock_set(said[0].at.unwrap());
    let export = said.iter().find(|said| said.command[1] == b"EXPORT").unwrap().reply.as_str().unwrap();
    let with_units = policies(export).into_values().collect::<Vec<_>>();
    let import = serde_json::to_string(&with_units).unwrap();
    assert_eq!(wire.call(&["RL.POLICY", "IMPORT", &import]), Reply::ok());
    restore_all(&mut wire);
    users_see_what_they_saw(&server);
}

fn restore_all(wire: &mut Wire) {
    let text = fs::read_to_string(folder("dumps.txt")).unwrap();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(wire.line(&format!("SELECT {}", words[0])), Reply::ok());
        let (key, dump) = (unhex(words[1]), unhex(words[2]));
        let reply = wire.call(&["RESTORE".to_arg(), key, "0".to_arg(), dump]);
        assert_eq!(reply, Reply::ok(), "{line}");
    }
    assert_eq!(wire.line("SELECT 0"), Reply::ok());
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
