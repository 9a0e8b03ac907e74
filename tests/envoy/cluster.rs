//! On a cluster: all keys of a domain are in one slot, and commands go straight
//! to its node.

use crate::{
    fixtures::{Borrower, Gateway, Lent, Service},
    harness::cluster,
};

#[test]
fn a_domain_is_in_one_slot_and_both_descriptors_are_decided_at_once() {
    let cluster = cluster(3, 0);
    for node in &cluster.nodes {
        // The rights that the README names.
        node.ok("ACL SETUSER limiter on >x ~envoy:* +rl.batch +rl.quota +rl.refund +ping +cluster");
    }
    let urls: Vec<String> =
        cluster.nodes.iter().map(|node| format!("redis://limiter:x@127.0.0.1:{}", node.port())).collect();
    let config = |domain: &str| {
        format!(
            "domain: '{domain}'\ndescriptors:\n  - {{key: a, rate_limit: {{unit: year, requests_per_unit: 100}}}}\n  \
             - {{key: b, rate_limit: {{unit: year, requests_per_unit: 3}}, shadow_mode: false}}\n"
        )
    };
    let service = Service::alone(&config("edge"), &["--cluster", "--redis", &urls[0], "--redis", &urls[1]]);
    let domains = ["edge", "other", "a}b{", "}", "third"];
    for (at, domain) in domains.iter().enumerate().skip(1) {
        service.write(&format!("{at}.yaml"), &config(domain));
    }
    service.wait_connected();
    service.wait_log("new configuration: 5 domains");
    let keys = || -> usize { cluster.nodes.iter().map(|node| node.line("DBSIZE").int() as usize).sum() };
    let mut owners = std::collections::BTreeSet::new();
    for domain in domains {
        let asking = service.asking(domain);
        let before = keys();
        let granted = (0..5).filter(|i| asking.ask(&[&format!("a={i}"), "b=1"]).ok()).count();
        assert_eq!(granted, 3, "{domain}");
        assert_eq!(keys() - before, 4, "three of a, one of b");
        assert_eq!(asking.ask(&["a=0"]).left(), [(true, 98)]);
    }
    for (at, node) in cluster.nodes.iter().enumerate() {
        let found = node.line("KEYS envoy:*");
        let slots: std::collections::BTreeSet<i64> =
            found.items().iter().map(|key| cluster.slot(&key.text())).collect();
        let tags: std::collections::BTreeSet<String> =
            found.items().iter().map(|key| key.text().split('}').next().unwrap().to_owned()).collect();
        assert_eq!(slots.len(), tags.len(), "a slot a domain: {found:?}");
        if !slots.is_empty() {
            owners.insert(at);
        }
        // No command went to a node that had to send it elsewhere.
        let errors = node.info("errorstats");
        assert!(!errors.contains_key("errorstat_MOVED"), "{errors:?}");
    }
    assert!(owners.len() > 1, "domains are spread over the nodes");
    assert_eq!(service.commands(), 30);
}

#[test]
fn reservations_and_what_is_lent_reach_their_node() {
    let cluster = cluster(3, 0);
    for node in &cluster.nodes {
        // The rights that the README names.
        node.ok("ACL SETUSER limiter on >x ~envoy:* +rl.quota +ping +cluster +rl.reserve +rl.commit +rl.release +multi +exec");
    }
    let urls: Vec<String> =
        cluster.nodes.iter().map(|node| format!("redis://limiter:x@127.0.0.1:{}", node.port())).collect();
    let config = |domain: &str| {
        format!("domain: '{domain}'\ndescriptors: [{{key: a, limits: 100/h}}, {{key: b, limits: 100/h}}]\n")
    };
    let service = Service::alone(&config("one"), &["--cluster", "--redis", &urls[0]]);
    let domains = ["one", "two", "three", "four"];
    for domain in &domains[1..] {
        service.write(&format!("{domain}.yaml"), &config(domain));
    }
    service.wait_connected();
    service.wait_log("new configuration: 4 domains");
    for domain in domains {
        let gateway = Gateway::connect(service.grpc(), domain);
        let both = ["a=1", "b=1"];
        let id = gateway.reserve(&both, 90, 60).unwrap();
        assert_eq!(gateway.reserve(&both, 20, 60), None, "{domain}");
        assert!(gateway.commit(&both, &id, 60));
        // 40 are left, of which it begins with a tenth.
        let mut envoy = Borrower::connect(service.grpc(), domain);
        assert_eq!(envoy.report("a=1", 0, 1), Lent::Tokens { burst: 2, fill: 4, seconds: 20 }, "{domain}");
        assert_eq!(envoy.report("a=1", 2, 1).most(), 18);
    }
}
