//! Another module listens to what happens to keys, and calls back at once: it asks
//! for new limits, changes policies, deletes the very key. Whatever it does comes
//! before a command or after it, never amid it.

use crate::harness::{
    Reply, Server, Snapshot, T0, assert_same_data_however_told, c_library, call, snapshot, wait_synced,
};
use crate::queue::fixtures::waits;
use std::{path::PathBuf, sync::LazyLock, time::Duration};

/// The other module.
static LISTENER: LazyLock<(tempfile::TempDir, PathBuf)> =
    LazyLock::new(|| c_library("server/module/listener.c"));

/// A server with both modules.
fn server() -> Server {
    let server = Server::start();
    listen(&server);
    server
}

fn listen(server: &Server) {
    let library = LISTENER.1.to_str().expect("a path of text");
    assert_eq!(server.call(&["MODULE", "LOAD", library]), Reply::ok());
}

/// Nobody's key: what is done to it disturbs no command.
const HARMLESS: &[&str] = &[
    "RL.QUOTA other 17/h,33/d:name=never-seen",
    "RL.ACQUIRE other 19/h,35/d:name=never-seen COST 2",
    "RL.POLICY SET fresh 9/s,12/h PREFIX other:",
    "RL.ACQUIRE other:1",
    "CB.REPORT other-breaker FAIL BREAKER 1/77s:open=1h",
    "RL.RESERVE 1 other-place concurrent:77 TTL 1h ID other",
    "RL.BLOCK other-blocked FOR 1h",
    "RL.TOP DENIED 5",
    "RL.STATS k",
    "RL.CLEAR 0 MATCH nothing*",
];

/// The command's own key.
const HARMFUL: &[&str] = &[
    "DEL k",
    "UNLINK k x",
    "SET k text",
    "FLUSHALL",
    "RENAME k elsewhere",
    "RL.RESET k",
    "RL.ACQUIRE k 5/m",
    "RL.ACQUIRE k 21/h,22/d",
    "RL.PIN k 8/m",
    "RL.BATCH ALL 2 k 5/m 1 x 5/m 1",
    "CB.FORCE k CLOSED",
    "CB.ACQUIRE k 9/61s LIMIT x 5/m",
    "RL.CLEAR 0",
];

/// Commands that change keys: what went before, and the command.
const COMMANDS: &[(&str, &str)] = &[
    ("", "RL.ACQUIRE k 5/m"),
    ("RL.ACQUIRE k 5/m", "RL.ACQUIRE k 5/m"),
    ("RL.ACQUIRE k 5/m", "RL.ACQUIRE k 5/m TRACK"),
    ("", "RL.ACQUIRE k 5/m TRACK"),
    ("RL.ACQUIRE k 5/m COST 5 TRACK", "RL.ACQUIRE k 5/m"),
    ("RL.ACQUIRE k 5/m", "RL.ACQUIRE k 6/h,7/d"),
    ("RL.ACQUIRE k 5/m", "RL.BATCH ALL 3 x 5/m 1 k 5/m 2 x 5/m 1"),
    ("RL.ACQUIRE k 5/m TRACK", "RL.BATCH ALL 2 k 5/m 1 x 5/m 6"),
    ("RL.ACQUIRE k 5/m TRACK", "RL.BATCH EACH 2 k 5/m 1 x 7/m 1"),
    ("RL.ACQUIRE k 5/m COST 3", "RL.REFUND k 2"),
    ("", "RL.CHARGE k 5/m COST 7"),
    ("RL.ACQUIRE k 5/m COST 3", "RL.CHARGE k 6/h,7/d COST 2 TRACK"),
    ("RL.ACQUIRE k 5/m COST 3", "RL.REFUND k 3"),
    ("", "RL.RESERVE 2 x 10/m k 10/m,concurrent:5 TTL 1h ID a"),
    ("RL.ACQUIRE k 10/m TRACK", "RL.RESERVE 2 k 10/m x 10/m,concurrent:5 TTL 1h ID a"),
    ("RL.RESERVE 2 x 10/m k 10/m TTL 1h ID a COST 4", "RL.COMMIT a 2 x k COST 3"),
    ("RL.RESERVE 2 x 10/m k 10/m TTL 1h ID a COST 4", "RL.RELEASE a 2 k x"),
    ("RL.RESERVE 2 x 10/m k 10/m TTL 1h ID a COST 4", "RL.RENEW a TTL 2h 2 k x"),
    ("RL.RESERVE 2 x 10/m k 10/m TTL 1h ID a COST 4", "RL.RESET k x"),
    ("", "RL.PIN k 3/m"),
    ("RL.PIN k 3/m", "RL.UNPIN k"),
    ("", "RL.BLOCK k FOR 1h"),
    ("RL.BLOCK k FOR 1h", "RL.UNBLOCK k"),
    ("RL.ACQUIRE k 10/m", "RL.CLEAR 0 COUNT 1000"),
    ("", "CL.THROTTLE k 5 10 60"),
    ("RL.ACQUIRE k 5/m TRACK", "CL.THROTTLE k 5 10 60"),
    ("SET k 1800000000000000000", "CL.THROTTLE k 5 10 60"),
    ("RL.ACQUIRE k 5/m TRACK", "GCRA k 5 10 0.5"),
    ("", "RL.RECORD k OK DUR 5ms"),
    ("", "CB.ACQUIRE k 3"),
    ("", "CB.REPORT k FAIL BREAKER 1:open=1h"),
    ("CB.ACQUIRE k 3", "CB.FORCE k OPEN FOR 1h"),
    ("CB.REPORT k FAIL BREAKER 1:open=1h", "CB.RESET k"),
    ("CB.REPORT k FAIL BREAKER 1:open=1h", "CB.PIN k 4"),
    ("CB.ACQUIRE k 3", "CB.ACQUIRE k 4 LIMIT x 5/m"),
    ("", "CB.ACQUIRE k 4 LIMIT x 5/m COST 2"),
    ("RL.ACQUIRE x 5/m TRACK", "CB.ACQUIRE k 4 LIMIT x 5/m COST 9"),
];

struct Pair {
    master: Server,
    replica: Server,
    /// Whether the server sends what a listener does behind what a module sent before.
    /// Redis 6.2 sends it at once, before the command that the listener heard of, as it
    /// does for its own commands.
    in_order: bool,
}

impl Pair {
    fn start() -> Self {
        let master = server();
        let replica = master.replica();
        let in_order = master.at_least(7, 0);
        Self { master, replica, in_order }
    }

    /// An empty server on which this was done.
    fn begin(&self, before: &str) {
        self.master.ok("LISTENER.OFF");
        self.master.ok("FLUSHALL");
        self.master.clock_set(T0);
        if !before.is_empty() {
            self.master.line(before);
        }
    }

    /// The command, with `action` at so many of its events; the reply, and what the
    /// listener was told.
    fn run(
        &self,
        before: &str,
        command: &str,
        event: &str,
        action: &str,
        times: u32,
    ) -> (Reply, Vec<String>) {
        self.begin(before);
        self.master.ok(&format!("LISTENER.ON {event} {times} {action}"));
        let reply = self.master.line(command);
        (without_epochs(reply), self.heard())
    }

    fn heard(&self) -> Vec<String> {
        self.master.line("LISTENER.HEARD").items().iter().map(Reply::text).collect()
    }

    /// As [`Pair::agree`], after a listener did `action` amid a command.
    fn agree_after(&self, action: &str, what: &str) {
        if self.in_order || !HARMFUL.contains(&action) {
            self.agree(what);
        }
    }

    fn agree(&self, what: &str) {
        wait_synced(&self.master, &self.replica);
        println!("{what}");
        assert_same_data_however_told(&self.master, &self.replica);
    }
}

fn broke(heard: &[String]) -> bool {
    heard.iter().any(|line| line.starts_with("! ERR internal"))
}

#[test]
fn it_may_do_anything_when_it_is_told() {
    let pair = Pair::start();
    for (before, command) in COMMANDS {
        let (reply, heard) = pair.run(before, command, "nothing", "PING", 0);
        assert!(reply.error().is_none(), "{command}: {reply:?}");
        assert!(heard.iter().any(|line| !line.starts_with("keymiss")), "{command} tells of nothing");
        let data = same_each_time(&pair.master);
        pair.agree(command);
        for action in HARMLESS.iter().chain(HARMFUL) {
            for times in [1, 9] {
                let what = format!("{before}; {command}, with {action} at {times} of its events");
                let (found, now_heard) = pair.run(before, command, "*", action, times);
                assert!(!broke(&now_heard), "{what}: {now_heard:?}");
                if !found_random(command) {
                    assert_eq!(found, reply, "{what}");
                }
                if HARMLESS.contains(action) {
                    let now = same_each_time(&pair.master);
                    for key in [b"k", b"x"] {
                        let entry = |data: &Snapshot| data.0.get(&(0, key.to_vec())).cloned();
                        assert_eq!(entry(&now), entry(&data), "{what}");
                    }
                }
                pair.agree_after(action, &what);
            }
        }
    }
}

/// A module that is loaded when ours has worked alone for long is noticed.
#[test]
fn it_may_come_later() {
    for action in ["DEL k", "RL.QUOTA other 17/h,33/d:name=never-seen", "RL.POLICY SET fresh 9/s"] {
        for command in
            ["RL.ACQUIRE k 5/m TRACK", "RL.ACQUIRE k 6/h,7/d", "CB.REPORT k FAIL BREAKER 1:open=1h"]
        {
            let server = Server::start();
            server.line("RL.ACQUIRE alone 5/m");
            listen(&server);
            server.ok(&format!("LISTENER.ON * 1 {action}"));
            let reply = server.line(command);
            assert!(reply.error().is_none(), "{command}, with {action}: {reply:?}");
            let heard = server.line("LISTENER.HEARD");
            let heard: Vec<String> = heard.items().iter().map(Reply::text).collect();
            assert!(!heard.is_empty() && !broke(&heard), "{command}, with {action}: {heard:?}");
        }
    }
}

/// Replies that hold something new each time.
fn found_random(command: &str) -> bool {
    command.starts_with("RL.CLEAR")
}

/// Events come once, in order, after all is done: each for one key and one thing.
#[test]
fn it_is_told_once_and_in_order() {
    let pair = Pair::start();
    for (before, command, expected) in [
        ("", "RL.ACQUIRE k 5/m TRACK", &["rl.acquire k"][..]),
        ("RL.ACQUIRE k 5/m", "RL.BATCH ALL 2 x 5/m 1 k 5/m 2", &["rl.batch x", "rl.batch k"]),
        ("RL.ACQUIRE k 5/m COST 3", "RL.REFUND k 3", &["rl.refund k", "del k"]),
        ("", "CB.REPORT k FAIL BREAKER 1:open=1h", &["cb.report k", "cb.open k"]),
    ] {
        let (_, mut heard) = pair.run(before, command, "nothing", "PING", 0);
        heard.retain(|line| !line.starts_with("keymiss"));
        let told = if before.is_empty() { 0 } else { heard.len() - expected.len() };
        assert_eq!(&heard[told..], expected, "{command}");
    }
}

/// A key that has expired is deleted, and told of, when a command opens it. What a
/// listener then does to the other keys of the command comes before the command.
#[test]
fn a_key_that_expires_when_it_is_opened() {
    let pair = Pair::start();
    assert_eq!(pair.master.line("DEBUG SET-ACTIVE-EXPIRE 0"), Reply::ok());
    let before: &[&str] = &["RL.ACQUIRE k 5/m COST 2", "RL.RESERVE 2 k 5/m x 5/m TTL 1h ID a"];
    let commands = [
        "RL.BATCH ALL 2 k 5/m 1 x 5/m 1",
        "RL.BATCH ALL 3 k 5/m 1 x 5/m 4 k 5/m 1",
        "RL.BATCH EACH 2 k 5/m 1 x 5/m 1",
        "RL.RESERVE 2 k 5/m x 5/m TTL 1h ID b",
        "RL.COMMIT a 2 k x COST 3",
        "RL.RELEASE a 2 k x",
        "RL.RENEW a TTL 2h 2 k x",
        "RL.RESET k x",
        "CB.ACQUIRE x 5 LIMIT k 5/m",
        "CB.ACQUIRE b 5 LIMIT x 5/m",
    ];
    let actions = [
        "DEL k b",
        "SET k text",
        "FLUSHALL",
        "RL.ACQUIRE k 5/m COST 2",
        "RL.ACQUIRE k 6/h,7/d COST 2",
        "RL.RELEASE a 1 k",
        "RL.QUOTA other 17/h,33/d:name=never-seen",
        "CB.FORCE b OPEN",
    ];
    for command in commands {
        for action in actions {
            let what = format!("{command}, with {action} when x expires");
            // As if it had been done before.
            let begin = |pair: &Pair| {
                pair.begin("CB.ACQUIRE b 5");
                before.iter().for_each(|line| drop(pair.master.line(line)));
            };
            begin(&pair);
            pair.master.line("DEL x");
            pair.master.line(action);
            let expected = (without_epochs(pair.master.line(command)), same_each_time(&pair.master));
            begin(&pair);
            pair.master.line("PEXPIRE x 20");
            std::thread::sleep(Duration::from_millis(23));
            pair.master.ok(&format!("LISTENER.ON expired 1 {action}"));
            let reply = pair.master.line(command);
            let heard = pair.heard();
            assert!(heard.contains(&"expired x".to_owned()), "{what}: {heard:?}");
            assert!(!broke(&heard), "{what}: {heard:?}");
            assert_eq!((without_epochs(reply), same_each_time(&pair.master)), expected, "{what}");
            pair.agree(&what);
        }
    }
}

/// All keys, but of breakers only that they are there: each has epochs of its own.
fn same_each_time(server: &Server) -> Snapshot {
    let mut all = snapshot(server);
    for ((_, key), entry) in &mut all.0 {
        if call!(server, "TYPE", key.as_slice()) == Reply::Simple("cbcircuit".into()) {
            entry.digest.clear();
        }
    }
    all
}

/// The same for replies: a token names the epoch.
fn without_epochs(reply: Reply) -> Reply {
    match reply {
        Reply::Array(items) => Reply::Array(items.into_iter().map(without_epochs).collect()),
        Reply::Bulk(text) if text.starts_with(b"c-") => Reply::bulk("a token"),
        other => other,
    }
}

/// From 7.2 on modules are told in the middle of a removal.
#[test]
fn a_key_that_is_being_removed() {
    let pair = Pair::start();
    for action in ["RL.QUOTA other 17/h,33/d:name=never-seen", "RL.POLICY LIST", "RL.QUOTA k", "RL.TOP OPEN"]
    {
        for (before, command) in [
            ("RL.ACQUIRE k 5/m COST 3", "RL.REFUND k 3"),
            ("RL.ACQUIRE k 5/m COST 3", "RL.RESET k"),
            ("RL.ACQUIRE k 5/m COST 3", "DEL k"),
            ("RL.ACQUIRE k 5/m COST 3", "SET k text"),
            ("RL.ACQUIRE k 5/m COST 3", "RENAME k y"),
            ("RL.ACQUIRE k 5/m COST 3", "RL.CLEAR 0"),
            ("RL.PIN k 3/m", "RL.UNPIN k"),
            ("SET k 1800000000000000000", "CL.THROTTLE k 5 10 60"),
            ("CB.REPORT k FAIL BREAKER 1:open=1h", "DEL k"),
        ] {
            let what = format!("{before}; {command}, with {action} amid the removal");
            let (reply, heard) = pair.run(before, command, "removed", action, 1);
            assert!(reply.error().is_none() && !broke(&heard), "{what}: {reply:?} {heard:?}");
            pair.agree(&what);
        }
    }
}

/// A waiter is served by the server's timer, where the same holds.
#[test]
fn clients_that_wait() {
    let pair = Pair::start();
    let names = |line: &str| line.replace("other", "some");
    for action in HARMLESS.iter().chain(HARMFUL) {
        // What takes from the line's own key meets the line.
        pair.begin("RL.ACQUIRE k 5/m COST 5 TRACK");
        pair.master.ok(&format!("LISTENER.ON rl.acquire 9 {}", names(action)));
        let mut first = waits(&pair.master, "RL.ACQUIRE k 5/m COST 2 WAIT 30s");
        let mut second = waits(&pair.master, "RL.ACQUIRE k 5/m COST 2 WAIT 30s");
        pair.master.line("RL.REFUND k 4");
        let answer = first.read_within(Duration::from_secs(30)).expect("an answer").rate_limit();
        assert_eq!(answer.granted, 2, "{action}: {answer:?}");
        // The key may be gone, be another type, or be pinned: the second is answered too.
        pair.master.line("DEL k");
        second.read_within(Duration::from_secs(30)).expect("an answer");
        assert!(!broke(&pair.heard()), "{action}: {:?}", pair.heard());
        pair.agree_after(action, action);
    }
}
