//! Clusters: slots that move and masters that die while clients work.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    harness::{
        Cluster, Program, Reply, Server, Wire, assert_error_prefix, assert_same_data_however_told, cluster,
        eventually, wait_synced,
    },
    load::LIMITS,
    size::{record, tries},
    support::not_tried,
};

const TAGS: usize = 12;
/// How long a client asks for an answer: longer than a failover on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

fn key(tag: usize) -> String {
    format!("{{tag{tag}}}:user")
}

/// A key beside it whose limit is soon used up.
fn scarce(tag: usize) -> String {
    format!("{{tag{tag}}}:scarce")
}

/// What may be taken of that.
const SCARCE: i64 = 40;

/// A client that follows redirects, as a cluster client does.
struct Roaming {
    ports: Vec<u16>,
    wires: Vec<Option<Wire>>,
    at: usize,
}

enum Answer {
    Reply(Reply),
    /// The connection broke after the request was sent.
    Unknown,
}

impl Roaming {
    fn new(cluster: &Cluster) -> Self {
        let ports: Vec<u16> = cluster.nodes.iter().map(Server::port).collect();
        Self { wires: ports.iter().map(|_| None).collect(), ports, at: 0 }
    }

    fn exchange(&mut self, request: &[&str], asking: bool) -> Option<Answer> {
        if self.wires[self.at].is_none() {
            self.wires[self.at] = Wire::connect(self.ports[self.at]).ok();
        }
        let wire = self.wires[self.at].as_mut()?;
        if asking && wire.try_send(&["ASKING"]).and_then(|()| wire.try_read(Duration::from_secs(5))).is_err()
        {
            self.wires[self.at] = None;
            return None;
        }
        let answer = wire.try_send(request).and_then(|()| wire.try_read(Duration::from_secs(5)));
        if let Ok(Some(reply)) = answer {
            return Some(Answer::Reply(reply));
        }
        self.wires[self.at] = None;
        Some(Answer::Unknown)
    }

    fn call(&mut self, request: &[&str]) -> Answer {
        let mut asking = false;
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            match self.exchange(request, asking) {
                None => {
                    self.at = (self.at + 1) % self.ports.len();
                    thread::sleep(Duration::from_millis(5));
                }
                Some(Answer::Reply(Reply::Error(text))) => {
                    asking = text.starts_with("ASK ");
                    let port = text.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
                    match port.and_then(|port| self.ports.iter().position(|known| *known == port)) {
                        Some(at) if asking || text.starts_with("MOVED ") => self.at = at,
                        _ if ["TRYAGAIN", "CLUSTERDOWN", "LOADING", "READONLY"]
                            .iter()
                            .any(|code| text.starts_with(code)) =>
                        {
                            self.at = (self.at + 1) % self.ports.len();
                            thread::sleep(Duration::from_millis(5));
                        }
                        _ => return Answer::Reply(Reply::Error(text)),
                    }
                }
                Some(answer) => return answer,
            }
        }
        panic!("no node answers {request:?}");
    }
}

/// What was granted on each key, and what perhaps was.
#[derive(Debug, Default)]
struct Tally {
    granted: [AtomicI64; TAGS],
    unknown: [AtomicI64; TAGS],
    scarce: [AtomicI64; TAGS],
}

impl Tally {
    /// Units granted beyond the limit of the scarce keys.
    fn exceeded(&self) -> i64 {
        self.scarce.iter().map(|taken| (taken.load(Ordering::Relaxed) - SCARCE).max(0)).sum()
    }
}

struct Load {
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    tally: Arc<Tally>,
}

impl Load {
    fn start(cluster: &Cluster, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let tally = Arc::new(Tally::default());
        let threads = (0..clients)
            .map(|client| {
                let (stop, tally) = (Arc::clone(&stop), Arc::clone(&tally));
                let mut roaming = Roaming::new(cluster);
                thread::spawn(move || {
                    let mut turn = client;
                    while !stop.load(Ordering::Relaxed) {
                        turn += 1;
                        let tag = turn % TAGS;
                        let scarce_limit = format!("{SCARCE}/366d");
                        let take = ["RL.ACQUIRE", &scarce(tag), &scarce_limit];
                        if let Answer::Reply(reply) = roaming.call(&take) {
                            tally.scarce[tag].fetch_add(reply[0].int(), Ordering::Relaxed);
                        }
                        let key = key(tag);
                        let batch = ["RL.BATCH", "ALL", "2", &key, LIMITS, "1", &key, LIMITS, "1"];
                        let single = ["RL.ACQUIRE", &key, LIMITS, "COST", "2"];
                        let reply = roaming.call(if turn % 3 == 0 { &batch } else { &single });
                        let counter = match &reply {
                            Answer::Reply(Reply::Array(_)) => &tally.granted,
                            Answer::Unknown => &tally.unknown,
                            Answer::Reply(other) => panic!("answered by {other:?}"),
                        };
                        counter[tag].fetch_add(2, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        Self { threads, stop, tally }
    }

    fn stop(self) -> Arc<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a client does not fail");
        }
        self.tally
    }
}

/// What the cluster says is used of a key.
fn used(cluster: &Cluster, tag: usize) -> i64 {
    let mut roaming = Roaming::new(cluster);
    eventually_owned(cluster);
    match roaming.call(&["RL.QUOTA", &key(tag)]) {
        Answer::Reply(reply) => reply.used().first().copied().unwrap_or(0),
        Answer::Unknown => panic!("no answer"),
    }
}

fn eventually_owned(cluster: &Cluster) {
    cluster.wait_ok();
}

/// Redirects name the owner; a batch over two slots is refused as a whole; hash
/// tags keep keys together.
#[test]
fn a_cluster_redirects_and_keeps_batches_in_one_slot() {
    let cluster = cluster(3, 3);
    let (owner, other) = {
        let at = cluster.owner_index("{tag1}:user");
        let other = cluster.masters().into_iter().find(|node| node.port() != cluster.nodes[at].port());
        (&cluster.nodes[at], other.expect("another master"))
    };
    assert_error_prefix(&other.line("RL.ACQUIRE {tag1}:user 10/h"), "MOVED ");
    assert_eq!(owner.line("RL.ACQUIRE {tag1}:user 10/h").rate_limit().granted, 1);
    let apart = owner.line("RL.BATCH ALL 2 {tag1}:user 10/h 1 {tag2}:user 10/h 1");
    assert_error_prefix(&apart, "CROSSSLOT ");
    let together = owner.line("RL.BATCH ALL 2 {tag1}:user 10/h 1 {tag1}:org 100/h 1");
    assert_eq!((together[0][2].int(), together[1][2].int()), (8, 99));
    eventually(Duration::from_secs(10), "the replica answers", || {
        cluster.replicas().iter().any(|replica| {
            let mut wire = replica.wire();
            wire.line("READONLY");
            let quota = wire.line("RL.QUOTA {tag1}:user");
            matches!(quota, Reply::Array(_)) && quota[0].field("used").int() == 2
        })
    });
    record("cluster: redirects, CROSSSLOT, hash tags, reads from replicas", 1, "nothing");
}

/// Slots move to and fro (MIGRATE) while clients take units: what is used is
/// what was granted, to the unit.
#[test]
fn resharding_under_load_loses_and_doubles_nothing() {
    let moves = tries(3, 30);
    let cluster = cluster(3, 0);
    let load = Load::start(&cluster, 3);
    thread::sleep(Duration::from_millis(200));
    for turn in 0..moves {
        let tag = turn % TAGS;
        let slot = cluster.slot(&key(tag));
        let from = cluster.owner(&key(tag));
        let masters = cluster.masters();
        let place = masters.iter().position(|node| node.port() == from.port()).expect("a master");
        let to = masters[(place + 1 + turn % 2) % masters.len()];
        move_slot(&cluster, slot, from, to);
    }
    thread::sleep(Duration::from_millis(200));
    check(&cluster, &load.stop());
    record("slots moved under load (MIGRATE)", moves, "nothing");
}

/// One slot by hand, as `redis-cli --cluster reshard` does it.
fn move_slot(cluster: &Cluster, slot: i64, from: &Server, to: &Server) {
    let slot = slot.to_string();
    to.ok(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", from.node_id()));
    from.ok(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", to.node_id()));
    let port = to.port().to_string();
    // Clients meet ASK and TRYAGAIN for a while.
    thread::sleep(Duration::from_millis(20));
    loop {
        let keys = from.call(&["CLUSTER", "GETKEYSINSLOT", &slot, "10"]);
        let keys: Vec<String> = keys.items().iter().map(Reply::text).collect();
        if keys.is_empty() {
            break;
        }
        let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        migrate.extend(keys.iter().map(String::as_str));
        let reply = from.call(&migrate);
        assert!(matches!(&reply, Reply::Simple(text) if text == "OK" || text == "NOKEY"), "{reply:?}");
    }
    thread::sleep(Duration::from_millis(20));
    to.ok(&format!("CLUSTER SETSLOT {slot} NODE {}", to.node_id()));
    from.ok(&format!("CLUSTER SETSLOT {slot} NODE {}", to.node_id()));
    for node in &cluster.nodes {
        node.line(&format!("CLUSTER SETSLOT {slot} NODE {}", to.node_id()));
    }
}

#[track_caller]
fn check(cluster: &Cluster, tally: &Tally) {
    let mut total = 0;
    for tag in 0..TAGS {
        let granted = tally.granted[tag].load(Ordering::Relaxed);
        let unknown = tally.unknown[tag].load(Ordering::Relaxed);
        let used = used(cluster, tag);
        total += granted;
        assert!(
            (granted..=granted + unknown).contains(&used),
            "{}: {used} used, {granted} granted, {unknown} unknown",
            key(tag)
        );
    }
    assert_eq!(tally.exceeded(), 0, "a limit was exceeded: {:?}", tally.scarce);
    assert!(total > 100, "only {total} units were granted: nothing was tried");
}

/// `redis-cli --cluster reshard` takes slots to another master and back while
/// clients take units, each master with a replica.
#[test]
fn redis_cli_reshards_back_and_forth() {
    const SLOTS: usize = 200;
    let turns = tries(1, 8);
    let cluster = cluster(3, 3);
    let first = cluster.owner_index(&key(0));
    let (here, there) = (&cluster.nodes[first], &cluster.nodes[cluster.owner_index(&key(2))]);
    let load = Load::start(&cluster, 3);
    thread::sleep(Duration::from_millis(200));
    for _ in 0..turns {
        for (from, to) in [(here, there), (there, here)] {
            // The lowest slots go: among them those of two of our tags.
            cluster.cli(&[
                "reshard".to_owned(),
                format!("127.0.0.1:{}", from.port()),
                "--cluster-from".into(),
                from.node_id(),
                "--cluster-to".into(),
                to.node_id(),
                "--cluster-slots".into(),
                SLOTS.to_string(),
                "--cluster-yes".into(),
            ]);
            cluster.wait_agreed();
            assert!([0, 4].iter().all(|&tag| cluster.owner(&key(tag)).port() == to.port()));
        }
    }
    thread::sleep(Duration::from_millis(200));
    check(&cluster, &load.stop());
    cluster.wait_ok();
    for replica in cluster.replicas() {
        let port = replica.info_field("replication", "master_port");
        let masters = cluster.masters();
        let master =
            masters.into_iter().find(|master| master.port().to_string() == port).expect("its master");
        wait_synced(master, replica);
        assert_same_data_however_told(master, replica);
    }
    record("slots moved by redis-cli --cluster reshard", turns * 2 * SLOTS, "nothing");
}

/// Valkey 9 (`CLUSTER MIGRATESLOTS`) and Redis 8.4 (`CLUSTER MIGRATION IMPORT`)
/// move slots as a stream of commands: effects must be taken from there.
#[test]
fn atomic_slot_migration_under_load_loses_and_doubles_nothing() {
    let program = Program::under_test();
    let since = if program.valkey { (9, 0, 0) } else { (8, 4, 0) };
    let migrates = program.version >= since;
    if !migrates {
        not_tried("atomic slot migration is", "this server has none");
        return;
    }
    let moves = tries(3, 30);
    let cluster = cluster(3, 0);
    let load = Load::start(&cluster, 3);
    thread::sleep(Duration::from_millis(200));
    for turn in 0..moves {
        let tag = turn % TAGS;
        let slot = cluster.slot(&key(tag)).to_string();
        let from = cluster.owner_index(&key(tag));
        let (from, to) = (&cluster.nodes[from], &cluster.nodes[(from + 1) % 3]);
        if program.valkey {
            let id = to.node_id();
            let started = from.call(&["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", &slot, &slot, "NODE", &id]);
            assert_eq!(started, Reply::ok());
        } else {
            let started = to.call(&["CLUSTER", "MIGRATION", "IMPORT", &slot, &slot]);
            assert!(started.error().is_none(), "{started:?}");
        }
        eventually(Duration::from_secs(30), "the slot has moved", || {
            cluster.owner(&key(tag)).port() == to.port()
        });
    }
    thread::sleep(Duration::from_millis(200));
    check(&cluster, &load.stop());
    for node in &cluster.nodes {
        assert!(!node.log().contains("RL.EFFECT carries effects"), "an effect was refused:\n{}", node.log());
    }
    record("slots moved under load (atomic slot migration)", moves, "nothing");
}

/// A master dies and its replica takes over: no key has more used than was
/// granted, and what asynchronous replication lost is counted.
#[test]
fn failover_loses_only_what_was_not_replicated_yet() {
    let mut cluster = cluster(3, 3);
    // A replica that has just loaded may not hear of changes for a moment yet.
    for master in cluster.masters() {
        let tag = (0..TAGS).find(|&tag| cluster.owner(&key(tag)).port() == master.port());
        master.call(&["RL.ACQUIRE", &tag.map_or("none".to_owned(), key), LIMITS]);
        assert_eq!(master.line("WAIT 1 20000"), Reply::Int(1), "a replica follows");
    }
    let load = Load::start(&cluster, 3);
    thread::sleep(Duration::from_millis(500));
    let dying = cluster.owner_index(&key(0));
    let (dead, tag) = (cluster.nodes[dying].port(), key(0));
    cluster.nodes[dying].kill9();
    eventually(Duration::from_secs(60), "a replica has taken over", || {
        let replicas_of_others = cluster.nodes.iter().enumerate().filter(|(at, _)| *at != dying);
        replicas_of_others.into_iter().any(|(_, node)| {
            node.line("CLUSTER INFO").text().contains("cluster_state:ok")
                && node.info_field("replication", "role") == "master"
                && matches!(
                    node.call(&["RL.QUOTA", &tag]),
                    Reply::Array(_) | Reply::NilBulk | Reply::NilArray
                )
        })
    });
    thread::sleep(Duration::from_millis(300));
    let tally = load.stop();
    let mut lost = 0;
    let mut total = 0;
    let mut roaming = Roaming::new(&cluster);
    roaming.ports.iter_mut().for_each(|port| {
        if *port == dead {
            *port = 1;
        }
    });
    for tag in 0..TAGS {
        let granted = tally.granted[tag].load(Ordering::Relaxed);
        let unknown = tally.unknown[tag].load(Ordering::Relaxed);
        let Answer::Reply(reply) = roaming.call(&["RL.QUOTA", &key(tag)]) else { panic!("no answer") };
        let used = reply.used().first().copied().unwrap_or(0);
        // One more was taken to see the replica follow.
        assert!(
            used <= granted + unknown + 1,
            "{}: {used} used, {granted} granted, {unknown} unknown",
            key(tag)
        );
        if used < granted {
            println!("{}: {used} used of {granted} granted, {unknown} unknown", key(tag));
        }
        lost += (granted - used).max(0);
        total += granted;
    }
    assert!(total > 100, "only {total} units were granted: nothing was tried");
    // What was under way to the replica when its master died: moments of load.
    assert!(lost < 200, "{lost} of {total} units were lost");
    // Whoever was granted what is lost may be granted it again, and no more.
    let exceeded = tally.exceeded();
    assert!(exceeded < 200, "{exceeded} beyond the limits, {lost} lost");
    record(
        &format!("cluster failover ({total} units granted)"),
        1,
        format!("{lost} units, {exceeded} beyond a limit"),
    );
}
