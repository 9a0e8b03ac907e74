//! What travels: one effect for a command, none where nothing changed.

use std::{fs, path::PathBuf};

use crate::harness::{Reply, Server, call};

/// The commands of the AOF since it was last rewritten, SELECT left out.
fn stream(server: &Server) -> Vec<Vec<Vec<u8>>> {
    let mut files: Vec<PathBuf> = ["", "appendonlydir"]
        .iter()
        .filter_map(|dir| fs::read_dir(server.dir().join(dir)).ok())
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name == "appendonly.aof" || name.ends_with(".incr.aof")
        })
        .collect();
    files.sort();
    let bytes = fs::read(files.last().expect("an AOF")).unwrap();
    let mut rest = bytes.as_slice();
    let mut commands = Vec::new();
    while !rest.is_empty() {
        let count = number(&mut rest, b'*');
        let command: Vec<Vec<u8>> = (0..count)
            .map(|_| {
                let len = number(&mut rest, b'$');
                let (word, tail) = rest.split_at(len);
                rest = &tail[2..];
                word.to_vec()
            })
            .collect();
        if command[0] != b"SELECT" {
            commands.push(command);
        }
    }
    commands
}

fn number(rest: &mut &[u8], sign: u8) -> usize {
    assert_eq!(rest[0], sign);
    let end = rest.windows(2).position(|two| two == b"\r\n").unwrap();
    let n = std::str::from_utf8(&rest[1..end]).unwrap().parse().unwrap();
    *rest = &rest[end + 2..];
    n
}

fn server() -> Server {
    let server = Server::durable();
    server.clock_set(1_772_366_400_000_000);
    server
}

/// Runs commands; gives the names of what each of them sent to the AOF.
fn sent(server: &Server, command: &str) -> Vec<String> {
    let before = stream(server).len();
    let reply = server.line(command);
    assert!(reply.error().is_none(), "{command}: {reply:?}");
    let names = stream(server).split_off(before);
    let name = |words: Vec<Vec<u8>>| String::from_utf8_lossy(&words[0]).into_owned();
    // 6.2 wraps what a module sends.
    names.into_iter().map(name).filter(|name| name != "MULTI" && name != "EXEC").collect()
}

const EFFECT: &[&str] = &["RL.EFFECT"];
const NOTHING: &[&str] = &[];

#[test]
fn a_change_sends_one_effect_and_everything_else_none() {
    let server = server();
    for (command, expected) in [
        ("RL.ACQUIRE a 3/h", EFFECT),
        ("RL.ACQUIRE a 3/h COST 2", EFFECT),
        // Denied, as it is and by what was never there.
        ("RL.ACQUIRE a 3/h", NOTHING),
        ("RL.ACQUIRE a 3/h PARTIAL", NOTHING),
        ("RL.ACQUIRE a 3/h COST 4", NOTHING),
        ("RL.ACQUIRE fresh 3/h COST 4", NOTHING),
        // A denial records no other limits; a grant does, once.
        ("RL.ACQUIRE a 2/h", NOTHING),
        ("RL.ACQUIRE a 0/h:shadow", EFFECT),
        ("RL.ACQUIRE a 0/h:shadow", NOTHING),
        ("RL.ACQUIRE a 4/h", EFFECT),
        ("RL.QUOTA a", NOTHING),
        ("RL.QUOTA a 7/m", NOTHING),
        ("RL.QUOTA a HEADERS", NOTHING),
        ("RL.REFUND a 1", EFFECT),
        ("RL.REFUND missing 1", NOTHING),
        ("RL.CHARGE a 4/h COST 9", EFFECT),
        ("RL.CHARGE a 4/h COST 1", NOTHING),
        ("RL.CHARGE fresh unlimited COST 1", NOTHING),
        ("RL.BATCH ALL 2 b 3/h 2 c 3/h 3", EFFECT),
        ("RL.BATCH ALL 2 b 3/h 1 c 3/h 1", NOTHING),
        ("RL.BATCH EACH 2 b 3/h 1 c 3/h 1", EFFECT),
        ("RL.BATCH EACH 2 b 3/h 1 c 3/h 1", NOTHING),
        ("RL.BLOCK d FOR 1h", EFFECT),
        ("RL.ACQUIRE d 3/h", NOTHING),
        ("RL.UNBLOCK d", EFFECT),
        ("RL.UNBLOCK d", NOTHING),
        ("RL.PIN e 1/h", EFFECT),
        ("RL.UNPIN e", EFFECT),
        ("RL.UNPIN e", NOTHING),
        ("RL.RESET a b", EFFECT),
        ("RL.RESET a b", NOTHING),
        ("CL.THROTTLE t 1 1 60", EFFECT),
        ("CL.THROTTLE t 1 1 60 0", NOTHING),
        ("CL.THROTTLE t 1 1 60", EFFECT),
        ("CL.THROTTLE t 1 1 60", NOTHING),
        ("CL.THROTTLE t 9 1 60 11", NOTHING),
        ("RL.HELP", NOTHING),
    ] {
        assert_eq!(sent(&server, command), expected, "{command}");
    }
}

/// In a cluster each key has its slot: Valkey 9 gives up moving one when a command of ours spans
/// it and others.
#[test]
fn clearing_sends_one_command_and_in_a_cluster_one_a_key() {
    for (cluster, expected) in [("no", &["DEL"][..]), ("yes", &["DEL"; 3])] {
        let server = Server::durable_with(&["--cluster-enabled", cluster]);
        if cluster == "yes" {
            server.serve_all_slots();
        }
        for key in ["a", "b", "c"] {
            server.line(&format!("RL.ACQUIRE {key} 10/h"));
        }
        assert_eq!(sent(&server, "RL.CLEAR 0 COUNT 100"), expected, "cluster-enabled {cluster}");
    }
}

#[test]
fn a_string_left_by_redis_cell_is_taken_over_in_one_effect() {
    let server = server();
    assert_eq!(sent(&server, "SET cell 1772366460000000000"), ["SET"]);
    assert_eq!(sent(&server, "CL.THROTTLE cell 4 1 60 9"), NOTHING);
    assert_eq!(sent(&server, "CL.THROTTLE cell 4 1 60 0"), NOTHING);
    assert_eq!(sent(&server, "CL.THROTTLE cell 4 1 60"), EFFECT);
}

#[test]
fn a_batch_of_fifty_is_one_command_with_the_keys_that_changed() {
    let server = server();
    let mut batch: Vec<String> = ["RL.BATCH", "EACH", "50"].map(String::from).to_vec();
    for n in 0..50 {
        // Every tenth asks for more than there is.
        batch.extend([format!("b:{n}"), "5/h".to_owned(), if n % 10 == 0 { "6" } else { "2" }.to_owned()]);
    }
    let reply = server.call(&batch);
    let granted = reply.items().iter().filter(|item| item.rate_limit().is_granted()).count();
    assert_eq!(granted, 45);
    let sent = stream(&server);
    let effects: Vec<_> = sent.iter().filter(|command| command[0] == b"RL.EFFECT").collect();
    assert_eq!(effects.len(), 1);
    assert_eq!(effects[0].len(), 1 + 2 * granted, "name, then key and payload of each that changed");
}

#[test]
fn effects_of_a_transaction_travel_in_it() {
    let server = server();
    let mut wire = server.wire();
    assert_eq!(wire.line("MULTI"), Reply::ok());
    for command in ["RL.ACQUIRE m 1/h", "RL.ACQUIRE m 1/h", "RL.ACQUIRE n 1/h"] {
        wire.line(command);
    }
    assert_eq!(wire.line("EXEC").items().len(), 3);
    let script = "for i = 1, 3 do redis.call('RL.ACQUIRE', KEYS[1], '2/h') end";
    call!(wire, "EVAL", script, 1, "lua");
    let names: Vec<_> =
        stream(&server).iter().map(|command| String::from_utf8_lossy(&command[0]).into_owned()).collect();
    assert_eq!(names, ["MULTI", "RL.EFFECT", "RL.EFFECT", "EXEC", "MULTI", "RL.EFFECT", "RL.EFFECT", "EXEC"]);
}

#[test]
fn clients_cannot_send_effects() {
    let server = server();
    let reply = call!(server, "RL.EFFECT", "k", b"\x08\x00");
    assert!(reply.error().is_some_and(|text| text.starts_with("ERR RL.EFFECT ")), "{reply:?}");
    for wrapped in [
        call!(server, "EVAL", "return redis.call('RL.EFFECT', 'k', 'x')", 0),
        call!(server, "EVAL", "return redis.pcall('RL.EFFECT', 'k', 'x')", 0),
    ] {
        assert!(wrapped.error().is_some(), "{wrapped:?}");
    }
    // Not even on a replica that takes writes of its own.
    let replica = server.replica_with(&["--replica-read-only", "no"]);
    let reply = call!(replica, "RL.EFFECT", "k", b"\x08\x00");
    assert!(reply.error().is_some_and(|text| text.starts_with("ERR RL.EFFECT ")), "{reply:?}");
    // 6.2 wraps even what did nothing.
    assert!(stream(&server).iter().all(|command| command.len() == 1));
}
