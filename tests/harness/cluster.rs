//! A cluster of real servers on loopback.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use super::{
    eventually,
    server::{Builder, Server},
};

/// The nodes of a cluster that serves all slots.
#[derive(Debug)]
pub struct Cluster {
    /// All nodes, in the order in which they were started.
    pub nodes: Vec<Server>,
}

/// Starts a cluster of so many masters, and so many replicas in all, with the
/// module on every node.
#[track_caller]
pub fn cluster(masters: usize, replicas: usize) -> Cluster {
    cluster_of(&Server::builder(), masters, replicas)
}

/// The same with nodes built in another way.
#[track_caller]
pub fn cluster_of(node: &Builder, masters: usize, replicas: usize) -> Cluster {
    assert!(replicas.is_multiple_of(masters), "each master gets as many replicas");
    let node = node.clone().args(["--cluster-enabled", "yes", "--cluster-node-timeout", "3000"]);
    let nodes: Vec<_> = (0..masters + replicas).map(|_| node.clone().start()).collect();
    let cluster = Cluster { nodes };
    let mut args = vec!["create".to_owned()];
    args.extend(cluster.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())));
    args.extend(["--cluster-replicas".into(), (replicas / masters).to_string(), "--cluster-yes".into()]);
    cluster.cli(&args);
    cluster.wait_ok();
    cluster
}

impl Cluster {
    /// Runs `redis-cli --cluster …`, which must succeed; gives what it printed.
    #[track_caller]
    pub fn cli<S: AsRef<str>>(&self, args: &[S]) -> String {
        let output = Command::new(self.nodes[0].program().cli())
            .arg("--cluster")
            .args(args.iter().map(AsRef::as_ref))
            .stdin(Stdio::null())
            .output()
            .expect("redis-cli can be run");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "redis-cli --cluster failed:\n{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// Waits until every running node knows all others, calls the cluster ok
    /// and, if it is a replica, is linked to its master.
    #[track_caller]
    pub fn wait_ok(&self) {
        let running: Vec<_> = self.nodes.iter().filter(|node| node.is_running()).collect();
        for node in &running {
            eventually(Duration::from_secs(60), "the cluster is ok", || {
                let info = node.info("cluster");
                let cluster = node.line("CLUSTER INFO").text();
                let replication = node.info("replication");
                info.get("cluster_enabled").is_some_and(|on| on == "1")
                    && cluster.contains("cluster_state:ok")
                    && cluster.contains("cluster_slots_ok:16384")
                    && cluster.contains(&format!("cluster_known_nodes:{}", self.nodes.len()))
                    && (replication["role"] == "master" || replication["master_link_status"] == "up")
            });
        }
    }

    /// Waits until every running node says the same of who serves which slot, as
    /// `redis-cli --cluster` wants it before it begins.
    #[track_caller]
    pub fn wait_agreed(&self) {
        let slots = |node: &Server| -> Vec<[i64; 3]> {
            let all = node.line("CLUSTER SLOTS");
            let mut owners: Vec<_> =
                all.items().iter().map(|range| [range[0].int(), range[1].int(), range[2][1].int()]).collect();
            owners.sort_unstable();
            owners
        };
        let running: Vec<_> = self.nodes.iter().filter(|node| node.is_running()).collect();
        eventually(Duration::from_secs(60), "the nodes agree on the slots", || {
            let first = slots(running[0]);
            running.iter().all(|node| slots(node) == first)
        });
    }

    /// The running masters.
    pub fn masters(&self) -> Vec<&Server> {
        self.with_role("master")
    }

    /// The running replicas.
    pub fn replicas(&self) -> Vec<&Server> {
        self.with_role("slave")
    }

    fn with_role(&self, role: &str) -> Vec<&Server> {
        let running = self.nodes.iter().filter(|node| node.is_running());
        running.filter(|node| node.info_field("replication", "role") == role).collect()
    }

    /// The slot of a key.
    #[track_caller]
    pub fn slot(&self, key: &str) -> i64 {
        let any = self.nodes.iter().find(|node| node.is_running()).expect("a running node");
        any.call(&["CLUSTER", "KEYSLOT", key]).int()
    }

    /// The position in `nodes` of the master that serves a key.
    #[track_caller]
    pub fn owner_index(&self, key: &str) -> usize {
        let slot = self.slot(key);
        let any = self.nodes.iter().find(|node| node.is_running()).expect("a running node");
        let slots = any.line("CLUSTER SLOTS");
        let range = slots.items().iter().find(|range| range[0].int() <= slot && slot <= range[1].int());
        let port = range.unwrap_or_else(|| panic!("nobody serves slot {slot}"))[2][1].int();
        let place = self.nodes.iter().position(|node| i64::from(node.port()) == port);
        place.unwrap_or_else(|| panic!("no node on port {port}"))
    }

    /// The master that serves a key.
    #[track_caller]
    pub fn owner(&self, key: &str) -> &Server {
        &self.nodes[self.owner_index(key)]
    }
}
