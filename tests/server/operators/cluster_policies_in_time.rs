//! A change of a policy holds within a second on every master, and so does all of it on
//! one that joins or returns: by the clocks of the servers. A look that comes more than a
//! second after the change and does not show it fails. What a busy machine takes is told
//! apart: while it lets nobody run, nobody is looked at, and that time is added.

use crate::harness::{Reply, Server, Wire, cluster, cluster_of};

/// What the contract gives a change, in microseconds.
const A_SECOND: i64 = 1_000_000;
/// Nodes are looked at far more often than this, unless the machine is busy.
const STALL: i64 = 50_000;
/// Nobody takes so long.
const LONGEST: i64 = 60 * A_SECOND;

/// One node that is looked at again and again.
struct Watched<'s> {
    server: &'s Server,
    wire: Wire,
    looked_at: i64,
}

/// Looks at nodes, and knows how long it could not.
struct Lookout<'s> {
    nodes: Vec<Watched<'s>>,
    stalled: i64,
}

impl<'s> Lookout<'s> {
    fn new(servers: impl IntoIterator<Item = &'s Server>) -> Self {
        let watched = |server: &'s Server| Watched { server, wire: server.wire(), looked_at: 0 };
        Self { nodes: servers.into_iter().map(watched).collect(), stalled: 0 }
    }

    /// What a node answers, and when by its own clock, in microseconds.
    #[track_caller]
    fn ask(&mut self, at: usize, line: &str) -> (i64, Reply) {
        let node = &mut self.nodes[at];
        let replies = node.wire.lines(&["MULTI", "TIME", line, "EXEC"]);
        let both = &replies[3];
        let number = |reply: &Reply| reply.text().parse::<i64>().expect("a number");
        let now = number(&both[0][0]) * A_SECOND + number(&both[0][1]);
        if node.looked_at > 0 {
            self.stalled += (now - node.looked_at - STALL).max(0);
        }
        node.looked_at = now;
        (now, both[1].clone())
    }

    /// Fails unless all nodes answer as they should from a second after `since` on.
    #[track_caller]
    fn within_a_second(&mut self, since: i64, what: &str, line: &str, has: impl Fn(&Reply) -> bool) {
        let mut missing: Vec<usize> = (0..self.nodes.len()).collect();
        self.stalled = 0;
        while !missing.is_empty() {
            for at in missing.clone() {
                let (now, reply) = self.ask(at, line);
                if has(&reply) {
                    missing.retain(|other| *other != at);
                } else {
                    let (late, stalled) = (now - since - A_SECOND, self.stalled);
                    let port = self.nodes[at].server.port();
                    assert!(
                        late <= stalled,
                        "{what}: {port} has {reply:?}, {late} us too late, {stalled} stalled"
                    );
                }
            }
        }
    }

    /// Asks one node until it answers as it should; tells when it did.
    #[track_caller]
    fn until(&mut self, at: usize, what: &str, line: &str, has: impl Fn(&Reply) -> bool) -> i64 {
        let (first, _) = self.ask(at, line);
        loop {
            let (now, reply) = self.ask(at, line);
            if has(&reply) {
                return now;
            }
            assert!(now - first < LONGEST, "{what}: {reply:?}");
        }
    }
}

/// Whether a node has met another one, by its CLUSTER NODES.
fn has_met(nodes: &Reply) -> bool {
    let text = nodes.text();
    text.lines().any(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let is_other = !words[2].contains("myself") && !words[2].contains("handshake");
        is_other && words[7] == "connected"
    })
}

fn limits_of(policy: &Reply) -> Option<String> {
    (!policy.is_nil()).then(|| policy.field("limits").text())
}

#[test]
fn a_change_holds_within_a_second_on_every_master() {
    let cluster = cluster(6, 0);
    let mut lookout = Lookout::new(&cluster.nodes);
    for round in 0..5 {
        for at in 0..6 {
            let limits = format!("{}/m", 1 + 6 * round + at);
            let (since, said) = lookout.ask(at, &format!("RL.POLICY SET p{at} {limits} PREFIX user:{at}:"));
            assert_eq!(said, Reply::ok());
            let line = format!("RL.POLICY GET p{at}");
            lookout
                .within_a_second(since, &limits, &line, |policy| limits_of(policy) == Some(limits.clone()));
        }
    }
    for at in 0..6 {
        let (since, said) = lookout.ask(at, &format!("RL.POLICY DEL p{}", 5 - at));
        assert_eq!(said, Reply::Int(1));
        let line = format!("RL.POLICY GET p{}", 5 - at);
        lookout.within_a_second(since, "deleted", &line, Reply::is_nil);
    }
}

#[test]
fn a_master_that_joins_or_returns_has_all_within_a_second_of_the_first_contact() {
    const POLICIES: usize = 300;
    let persistent = Server::builder().args(["--appendonly", "yes", "--appendfsync", "always"]);
    let mut cluster = cluster_of(&persistent, 3, 0);
    for n in 0..POLICIES {
        cluster.nodes[n % 3].ok(&format!("RL.POLICY SET p{n} {}/m PREFIX user:{n}:", n + 1));
    }
    let digest_of = |list: &Reply| list.field("digest").text();
    let mut lookout = Lookout::new(&cluster.nodes);
    lookout.until(0, "it has all", "RL.POLICY LIST", |list| list.field("policies").items().len() == POLICIES);
    let digest = digest_of(&lookout.ask(0, "RL.POLICY LIST").1);
    let (now, _) = lookout.ask(0, "PING");
    lookout.within_a_second(now, "all have all", "RL.POLICY LIST", |list| digest_of(list) == digest);

    let added =
        Server::builder().args(["--cluster-enabled", "yes", "--cluster-node-timeout", "3000"]).start();
    let mut lookout = Lookout::new([&added]);
    let meet = format!("CLUSTER MEET 127.0.0.1 {}", cluster.nodes[1].port());
    assert_eq!(added.line(&meet), Reply::ok());
    let since = lookout.until(0, "it meets the others", "CLUSTER NODES", has_met);
    lookout.within_a_second(since, "added", "RL.POLICY LIST", |list| digest_of(list) == digest);
    drop(lookout);
    drop(added);

    // Down for a change and a deletion.
    cluster.nodes[2].kill9();
    cluster.nodes[0].ok("RL.POLICY SET p1 7/s");
    assert_eq!(cluster.nodes[1].line("RL.POLICY DEL p2"), Reply::Int(1));
    let mut lookout = Lookout::new(&cluster.nodes[..2]);
    let (now, _) = lookout.ask(1, "PING");
    lookout.within_a_second(now, "changed", "RL.POLICY GET p1", |policy| {
        limits_of(policy).as_deref() == Some("7/s")
    });
    lookout.within_a_second(now, "deleted", "RL.POLICY GET p2", Reply::is_nil);
    let digest = digest_of(&lookout.ask(0, "RL.POLICY LIST").1);
    drop(lookout);
    cluster.nodes[2].restart();
    let mut lookout = Lookout::new(&cluster.nodes[2..]);
    let met = lookout.until(0, "it meets the others again", "CLUSTER NODES", has_met);
    // It takes no writes before it has seen that the cluster is whole.
    let open =
        lookout.until(0, "it takes writes", "CLUSTER INFO", |info| info.text().contains("cluster_state:ok"));
    lookout.within_a_second(met.max(open), "returned", "RL.POLICY LIST", |list| digest_of(list) == digest);
}
