//! What OPERATIONS.md says of servers that evict: which keys of ours go, and which stay.

use crate::harness::{Reply, Server};

#[test]
fn volatile_ttl_takes_what_is_full_soonest_and_leaves_pins_and_blocks() {
    // All of the eviction at once, however busy the machine is.
    let tenacity = ["--maxmemory-eviction-tenacity", "100"];
    let server = Server::builder()
        .args(["--maxmemory-policy", "volatile-ttl", "--maxmemory-samples", "64"])
        .args(tenacity)
        .start();
    server.ok("RL.PIN pinned 10/d");
    server.ok("RL.BLOCK blocked FOREVER");
    let mut wire = server.wire();
    let mut fill = |name: &str, limits: &str, keys: usize| {
        let commands: Vec<_> = (0..keys).map(|n| format!("RL.ACQUIRE {name}:{n} {limits}")).collect();
        // Few at a time: their buffers are memory, too.
        for reply in commands.chunks(50).flat_map(|part| wire.lines(part)) {
            assert_eq!(reply[0], Reply::Int(1));
        }
    };
    fill("long", "5/d", 500);
    fill("short", "5/h", 5_000);
    // Room for a few thousand more; what is over goes.
    let used: u64 = server.info_field("memory", "used_memory").parse().unwrap();
    server.ok(&format!("CONFIG SET maxmemory {}", used + 300_000));
    fill("more", "5/h", 10_000);
    let evicted: u64 = server.info_field("stats", "evicted_keys").parse().unwrap();
    assert!(evicted > 2_000, "{evicted}");
    let count = |name: &str, keys: usize| -> usize {
        (0..keys).filter(|n| server.line(&format!("EXISTS {name}:{n}")) == Reply::Int(1)).count()
    };
    assert_eq!(count("long", 500), 500, "{evicted} evicted");
    assert!(count("short", 5_000) < 5_000 - 1_000);
    assert_eq!(server.line("EXISTS pinned blocked"), Reply::Int(2));
    // What was evicted is forgotten, as a key that nobody has used.
    let gone = (0..5_000).find(|n| server.line(&format!("EXISTS short:{n}")) == Reply::Int(0)).unwrap();
    assert_eq!(server.line(&format!("RL.ACQUIRE short:{gone} 5/h")).rate_limit().remaining, 4);
}

/// What OPERATIONS.md says to add to `MEMORY USAGE` is what a key takes beyond it.
#[test]
fn memory_usage_shows_less_than_a_key_takes() {
    const KEYS: i64 = 50_000;
    let server = Server::start();
    let used = || server.info_field("memory", "used_memory").parse::<i64>().unwrap();
    let mut wire = server.wire();
    wire.line("PING");
    let before = used();
    let commands: Vec<_> = (0..KEYS).map(|i| format!("RL.ACQUIRE user:{i} 100/10m")).collect();
    commands.chunks(1000).for_each(|some| drop(wire.lines(some)));
    let takes = (used() - before) / KEYS;
    let shows = server.line("MEMORY USAGE user:777").int();
    let early = match server.info("server").get("valkey_version") {
        Some(version) => version.starts_with("8."),
        None => !server.at_least(8, 6),
    };
    let (least, most) = if early { (75, 110) } else { (35, 75) };
    assert!((least..=most).contains(&(takes - shows)), "{takes} bytes, shown are {shows}");
}
