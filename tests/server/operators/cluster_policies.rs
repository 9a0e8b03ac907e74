//! Policies spread by themselves in a cluster: whatever happens to nodes and messages,
//! masters that have met have one table.

use crate::harness::{
    Cluster, Mischief, Reply, Server, call, cluster, cluster_behind_proxy, cluster_of, eventually,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Nothing here takes longer than about a second, but for a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// Name, limits, prefix and breaker of each policy, and by what nodes compare.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Table {
    version: i64,
    digest: String,
    policies: BTreeMap<String, [Option<String>; 3]>,
}

fn table(server: &Server) -> Table {
    let list = server.line("RL.POLICY LIST");
    let text = |reply: &Reply| if reply.is_nil() { None } else { Some(reply.text()) };
    let row = |policy: &Reply| {
        let parts = ["limits", "prefix", "breaker"].map(|field| text(&policy.field(field)));
        (policy.field("name").text(), parts)
    };
    Table {
        version: list.field("version").int(),
        digest: list.field("digest").text(),
        policies: list.field("policies").items().iter().map(row).collect(),
    }
}

/// What a node says of the others: whether each agrees, by name.
fn agreement(server: &Server) -> BTreeMap<String, bool> {
    let nodes = server.line("RL.POLICY LIST").field("nodes");
    nodes.items().iter().map(|node| (node.field("id").text(), node.field("agrees").int() == 1)).collect()
}

/// Waits until all of these have one table, and each sees that all agree.
#[track_caller]
fn agreed(nodes: &[&Server]) -> Table {
    eventually(SOON, "all nodes have one table", || {
        let first = table(nodes[0]);
        nodes.iter().all(|node| table(node) == first)
    });
    let mut ids: Vec<String> = nodes.iter().map(|node| node.node_id()).collect();
    ids.sort();
    for node in nodes {
        eventually(SOON, "each node sees that all agree", || {
            let seen = agreement(node);
            ids.iter().all(|id| seen.get(id) == Some(&true))
        });
    }
    table(nodes[0])
}

fn all(cluster: &Cluster) -> Vec<&Server> {
    cluster.nodes.iter().filter(|node| node.is_running()).collect()
}

#[test]
fn set_on_any_master_and_all_have_it() {
    let cluster = cluster(6, 0);
    let nodes = all(&cluster);
    for (index, node) in nodes.iter().enumerate() {
        node.ok(&format!(
            "RL.POLICY SET p{index} {}/m PREFIX user:{index}: BREAKER {}",
            index + 1,
            index + 1
        ));
        eventually(SOON, "all have it", || nodes.iter().all(|node| table(node).policies.len() == index + 1));
    }
    let full = agreed(&nodes);
    assert_eq!(full.policies["p3"], [Some("4/m".into()), Some("user:3:".into()), Some("4".into())]);
    // It holds on every node, for the keys of that node.
    for n in 0..60 {
        let key = format!("user:4:{n}");
        assert_eq!(cluster.owner(&key).line(&format!("RL.ACQUIRE {key}")).rate_limit().limit, 5);
    }
    // Changed, deleted, imported.
    nodes[2].ok("RL.POLICY SET p3 40/m");
    assert_eq!(nodes[5].line("RL.POLICY DEL p0"), Reply::Int(1));
    let json = r#"[{"name":"p1","limits":"20/m"},{"name":"new","limits":"1/s","prefix":"user:0:"}]"#;
    eventually(SOON, "the prefix is free there, too", || nodes[4].line("RL.POLICY GET p0").is_nil());
    assert_eq!(call!(nodes[4], "RL.POLICY", "IMPORT", json, "REPLACE"), Reply::ok());
    eventually(SOON, "all have all", || {
        nodes.iter().all(|node| {
            let list = table(node).policies;
            list.len() == 6
                && list["p3"][0].as_deref() == Some("40/m")
                && list["p1"] == [Some("20/m".into()), None, None]
                && list["new"][1].as_deref() == Some("user:0:")
        })
    });
    let after = agreed(&nodes);
    assert!(after.version > full.version);
    for node in &nodes {
        eventually(SOON, "the gauge falls to 0", || node.counter("policies_disagreeing_nodes") == 0);
        assert_eq!(node.counter("policy_messages_malformed"), 0);
        assert!(node.line("RL.METRICS").field("policies_taken_over").int() > 4);
    }
    // A change in a script and in a transaction, and what changes nothing.
    nodes[1].ok("RL.POLICY SET p3 40/m");
    assert_eq!(table(nodes[1]), after);
    assert_eq!(nodes[1].line("MULTI"), Reply::ok());
    nodes[1].line("RL.POLICY SET p3 41/m");
    nodes[1].line("RL.POLICY DEL p2");
    nodes[1].line("EXEC");
    eventually(SOON, "all have the transaction", || {
        nodes.iter().all(|node| table(node).policies.len() == 5 && table(node).version > after.version)
    });
    agreed(&nodes);
}

#[test]
fn a_node_that_is_added_has_all() {
    let cluster = cluster(3, 0);
    let nodes = all(&cluster);
    for n in 0..300 {
        nodes[n % 3].ok(&format!("RL.POLICY SET p{n} {}/m PREFIX user:{n}:", n + 1));
    }
    nodes[0].line("RL.POLICY DEL p7");
    let before = agreed(&nodes);
    assert_eq!(before.policies.len(), 299);
    let added =
        Server::builder().args(["--cluster-enabled", "yes", "--cluster-node-timeout", "3000"]).start();
    // One of its own, set before it joined, goes to the others.
    added.ok("RL.POLICY SET own 5/s");
    let at = |node: &Server| format!("127.0.0.1:{}", node.port());
    cluster.cli(&["add-node", &at(&added), &at(nodes[0])]);
    let four = [nodes[0], nodes[1], nodes[2], &added];
    eventually(SOON, "all have all", || four.iter().all(|node| table(node).policies.len() == 300));
    agreed(&four);
    assert!(added.line("RL.POLICY GET p7").is_nil());
}

#[test]
fn a_master_that_was_down_for_a_change() {
    for persists in [false, true] {
        let node = if persists {
            Server::builder().args(["--appendonly", "yes", "--appendfsync", "always"])
        } else {
            Server::builder()
        };
        let mut cluster = cluster_of(&node, 3, 0);
        cluster.nodes[0].ok("RL.POLICY SET a 1/s PREFIX a:");
        cluster.nodes[0].ok("RL.POLICY SET b 1/s");
        cluster.nodes[0].ok("RL.POLICY SET c 1/s");
        agreed(&all(&cluster));
        cluster.nodes[2].kill9();
        cluster.nodes[1].ok("RL.POLICY SET a 2/s");
        assert_eq!(cluster.nodes[0].line("RL.POLICY DEL b"), Reply::Int(1));
        eventually(SOON, "who is down does not agree", || {
            agreement(&cluster.nodes[0]).values().filter(|agrees| !**agrees).count() == 1
                && cluster.nodes[0].counter("policies_disagreeing_nodes") == 1
        });
        cluster.nodes[2].restart();
        cluster.wait_ok();
        let table = agreed(&all(&cluster));
        assert_eq!(table.policies.keys().collect::<Vec<_>>(), ["a", "c"], "persists: {persists}");
        assert_eq!(table.policies["a"][0].as_deref(), Some("2/s"));
    }
}

/// Both sides change, delete, and give one prefix to two policies. Then they meet.
#[test]
fn a_partition_heals_to_one_table() {
    let (cluster, proxy) = cluster_behind_proxy(&Server::builder(), 6);
    let nodes = all(&cluster);
    for (name, rest) in [("kept", "1/s"), ("left", "1/s"), ("right", "1/s"), ("both", "1/s PREFIX both:")] {
        nodes[0].ok(&format!("RL.POLICY SET {name} {rest}"));
    }
    agreed(&nodes);
    proxy.cut(&[0, 0, 0, 1, 1, 1]);
    let (left, right) = nodes.split_at(3);
    // Deleted on one side, changed earlier on the other; and the other way round.
    right[0].ok("RL.POLICY SET left 2/s");
    std::thread::sleep(Duration::from_millis(5));
    left[0].line("RL.POLICY DEL left");
    left[1].line("RL.POLICY DEL right");
    std::thread::sleep(Duration::from_millis(5));
    right[1].ok("RL.POLICY SET right 3/s");
    left[2].ok("RL.POLICY SET both 4/s");
    std::thread::sleep(Duration::from_millis(5));
    right[2].ok("RL.POLICY SET both 5/s");
    // One prefix twice: the later has it as long as it stands.
    left[0].ok("RL.POLICY SET one 6/s PREFIX shared:");
    std::thread::sleep(Duration::from_millis(5));
    right[0].ok("RL.POLICY SET two 7/s PREFIX shared:");
    // Set and deleted on one side while the other has never seen it.
    left[0].ok("RL.POLICY SET brief 1/s");
    left[0].line("RL.POLICY DEL brief");
    eventually(SOON, "each side has its own table", || {
        let first = [table(left[0]), table(right[0])];
        left.iter().all(|node| table(node) == first[0]) && right.iter().all(|node| table(node) == first[1])
    });
    assert_ne!(table(left[0]).digest, table(right[0]).digest);
    eventually(SOON, "both sides see that the other does not agree", || {
        [left[1], right[2]].into_iter().all(|node| node.counter("policies_disagreeing_nodes") == 3)
    });
    proxy.heal();
    let healed = agreed(&nodes);
    let limits = |name: &str| healed.policies.get(name).and_then(|parts| parts[0].clone());
    let prefix = |table: &Table, name: &str| table.policies[name][1].clone();
    assert_eq!(limits("left"), None);
    assert_eq!(limits("brief"), None);
    assert_eq!(limits("right").as_deref(), Some("3/s"));
    assert_eq!(limits("both").as_deref(), Some("5/s"));
    assert_eq!((prefix(&healed, "one"), prefix(&healed, "two")), (None, Some("shared:".to_owned())));
    assert!(nodes[0].call(&["RL.POLICY", "EXPORT"]).text().matches("shared:").count() == 1);
    let key = "shared:1";
    assert_eq!(cluster.owner(key).line(&format!("RL.ACQUIRE {key}")).rate_limit().limit, 7);
    // The later goes, and the earlier has the prefix.
    assert_eq!(left[2].line("RL.POLICY DEL two"), Reply::Int(1));
    eventually(SOON, "the other has it", || {
        nodes.iter().all(|node| table(node).policies["one"][1].as_deref() == Some("shared:"))
    });
    agreed(&nodes);
    assert_eq!(cluster.owner(key).line(&format!("RL.ACQUIRE {key}")).rate_limit().limit, 6);
}

#[test]
fn messages_that_are_lost_doubled_late_and_forged() {
    let (cluster, proxy) = cluster_behind_proxy(&Server::builder(), 4);
    let nodes = all(&cluster);
    proxy.mischief(Mischief { lost: 30, doubled: 20, late: 30, forged: 0 });
    for n in 0..200usize {
        let (node, name) = (nodes[n * 7 % 4], n * 13 % 10);
        if n % 3 == 0 {
            node.line(&format!("RL.POLICY DEL p{name}"));
        } else {
            // Its prefix may be another's at this moment.
            node.line(&format!("RL.POLICY SET p{name} {}/s PREFIX x:{}:", n + 1, n % 4));
        }
    }
    // The last word on some.
    std::thread::sleep(Duration::from_millis(20));
    nodes[3].ok("RL.POLICY SET last 1/s");
    nodes[1].ok("RL.POLICY SET gone 1/s");
    nodes[1].line("RL.POLICY DEL gone");
    let table = agreed(&nodes);
    assert!(table.policies.contains_key("last") && !table.policies.contains_key("gone"));
    for node in &nodes {
        assert_eq!(node.counter("policy_messages_malformed"), 0);
    }
    // What is forged is refused, or is a change like any other: one table all the same.
    proxy.mischief(Mischief { lost: 10, doubled: 10, late: 10, forged: 50 });
    let malformed = |node: &Server| node.counter("policy_messages_malformed");
    for n in 0..100 {
        nodes[n % 4].line(&format!("RL.POLICY SET q{} {}/s", n % 6, n + 1));
    }
    eventually(SOON, "malformed messages are counted", || nodes.iter().all(|node| malformed(node) > 0));
    proxy.mischief(Mischief::default());
    agreed(&nodes);
}

#[test]
fn a_restart_of_every_node_one_after_the_other() {
    for settings in [&["--appendonly", "yes", "--appendfsync", "always"][..], &["--save", "900", "1"], &[]] {
        let mut cluster = cluster_of(&Server::builder().args(settings), 3, 3);
        for n in 0..20 {
            cluster.masters()[n % 3].ok(&format!("RL.POLICY SET p{n} {}/m PREFIX user:{n}:", n + 1));
        }
        for n in 0..10 {
            eventually(SOON, "it can be deleted anywhere", || {
                cluster.masters()[n % 2].line(&format!("RL.POLICY DEL p{n}")) == Reply::Int(1)
            });
        }
        let mut before = agreed(&all(&cluster));
        assert_eq!(before.policies.len(), 10);
        for index in 0..6 {
            let is_saved = settings.first() == Some(&"--save");
            if is_saved {
                cluster.nodes[index].stop_save();
            } else {
                cluster.nodes[index].kill9();
            }
            // A change meanwhile, too.
            let others = cluster.masters();
            others[0].ok(&format!("RL.POLICY SET turn {}/m", index + 1));
            cluster.nodes[index].restart();
            cluster.wait_ok();
            let after = agreed(&all(&cluster));
            assert!(after.version > before.version, "versions never go back");
            assert_eq!(after.policies.len(), 11, "{settings:?}, node {index}");
            assert_eq!(after.policies["turn"][0].as_deref(), Some(&*format!("{}/m", index + 1)));
            before = after;
        }
    }
}

#[test]
fn a_replica_that_is_promoted_goes_on_with_its_master_s_table() {
    let mut cluster = cluster(3, 3);
    cluster.masters()[0].ok("RL.POLICY SET a 1/s");
    cluster.masters()[1].ok("RL.POLICY SET b 1/s PREFIX b:");
    eventually(SOON, "it can be deleted anywhere", || {
        cluster.masters()[2].line("RL.POLICY DEL a") == Reply::Int(1)
    });
    let before = agreed(&all(&cluster));
    // A replica takes nothing from clients, and shows what its master has.
    assert_eq!(table(cluster.replicas()[0]), before);
    let killed = cluster.owner_index("key");
    cluster.nodes[killed].kill9();
    // While nobody serves in its place.
    let master = cluster.masters().into_iter().find(|node| node.is_running()).unwrap();
    master.ok("RL.POLICY SET c 1/s");
    eventually(Duration::from_secs(60), "a replica is promoted", || cluster.masters().len() == 3);
    cluster.wait_ok();
    let running = all(&cluster);
    let after = agreed(&running);
    assert_eq!(after.policies.keys().collect::<Vec<_>>(), ["b", "c"]);
    // The new master changes, the old one comes back as a replica.
    cluster.owner("key").ok("RL.POLICY SET b 2/s");
    cluster.nodes[killed].restart();
    cluster.wait_ok();
    let last = agreed(&all(&cluster));
    assert_eq!(last.policies["b"], [Some("2/s".into()), Some("b:".into()), None]);
    assert!(!last.policies.contains_key("a"));
}

/// A master takes over only when it would take a client's write.
#[test]
fn a_master_that_takes_no_writes_takes_nothing_over_until_it_does() {
    let cluster = cluster(3, 0);
    let nodes = all(&cluster);
    if !nodes[0].at_least(7, 0) {
        return;
    }
    nodes[0].ok("RL.POLICY SET a 1/s");
    agreed(&nodes);
    nodes[1].ok("CLIENT PAUSE 600000 WRITE");
    nodes[2].config_set("min-replicas-to-write", "1");
    nodes[0].ok("RL.POLICY SET a 2/s");
    eventually(SOON, "both are seen not to agree", || nodes[0].counter("policies_disagreeing_nodes") == 2);
    for node in &nodes[1..] {
        assert_eq!(table(node).policies["a"][0].as_deref(), Some("1/s"));
    }
    nodes[1].ok("CLIENT UNPAUSE");
    nodes[2].config_set("min-replicas-to-write", "0");
    agreed(&nodes);
    assert_eq!(table(nodes[2]).policies["a"][0].as_deref(), Some("2/s"));
}

#[test]
fn a_node_without_the_module_does_not_agree() {
    let cluster = cluster(3, 0);
    let nodes = all(&cluster);
    nodes[0].ok("RL.POLICY SET a 1/s");
    agreed(&nodes);
    let without = Server::builder()
        .without_module()
        .args(["--cluster-enabled", "yes", "--cluster-node-timeout", "3000"])
        .start();
    let at = |node: &Server| format!("127.0.0.1:{}", node.port());
    cluster.cli(&["add-node", &at(&without), &at(nodes[0])]);
    eventually(SOON, "it is listed", || agreement(nodes[1]).len() == 4);
    let listed = nodes[1].line("RL.POLICY LIST").field("nodes");
    let listed = listed.items().iter().find(|node| node.field("id").text() == without.node_id()).unwrap();
    assert!(listed.field("version").is_nil() && listed.field("digest").is_nil());
    assert_eq!(listed.field("agrees"), Reply::Int(0));
    // A boolean, as the others are, where the protocol and the server have some.
    let mut wire = nodes[1].wire3();
    let three = wire.line("RL.POLICY LIST").field("nodes");
    let agrees = |node: &Reply| node.field("agrees");
    let no = three.items().iter().find(|node| node.field("id").text() == without.node_id()).map(agrees);
    let expected = if nodes[1].at_least(7, 0) { Reply::Bool(false) } else { Reply::Int(0) };
    assert_eq!(no, Some(expected));
    assert_eq!(agreement(nodes[1]).values().filter(|agrees| **agrees).count(), 3);
}

/// Deleted names are remembered in the dump of a node, and only there: a node that is started alone
/// stores none.
#[test]
fn a_node_without_policies_is_rid_of_the_module_by_a_start_outside_of_the_cluster() {
    let mut cluster = cluster_of(&Server::builder().args(["--save", "900", "1"]), 3, 0);
    cluster.nodes[0].ok("RL.POLICY SET a 1/s");
    cluster.nodes[0].line("RL.POLICY DEL a");
    let version = agreed(&all(&cluster)).version;
    cluster.nodes[0].stop_save();
    let mut alone = Server::builder().data(cluster.nodes[0].dir()).args(["--save", "900", "1"]).start();
    assert_eq!(table(&alone).version, version);
    alone.stop_save();
    let without = Server::builder().without_module().data(alone.dir());
    if alone.at_least(7, 2) {
        without.start().ok("SET k v");
    }
    cluster.nodes[0].restart();
    cluster.wait_ok();
    assert_eq!(agreed(&all(&cluster)).version, version);
}

#[test]
fn outside_of_clusters_nothing_changes() {
    let server = Server::start();
    server.ok("RL.POLICY SET a 1/s");
    server.ok("RL.POLICY SET b 1/s");
    server.line("RL.POLICY DEL a");
    let list = server.line("RL.POLICY LIST");
    assert_eq!(list.field("version"), Reply::Int(3));
    assert!(list.get("nodes").is_none());
    server.line("RL.POLICY DEL b");
    assert_eq!(table(&server).version, 0, "an empty table is as good as new");
}
