//! A configuration that changes, breaks and is mended while requests come.

use std::{
    fs,
    os::unix::fs::symlink,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use crate::{
    fixtures::{Envoy, NOON, Service},
    harness::Server,
};

fn limit(requests: u32) -> String {
    format!(
        "domain: edge\ndescriptors:\n  - {{key: a, rate_limit: {{unit: day, requests_per_unit: {requests}}}}}\n"
    )
}

#[test]
fn changed_and_broken_under_load() {
    let redis = Server::start();
    redis.clock_set(NOON);
    let service = Service::start(&redis, &limit(5));
    let envoy = Envoy::start(service.grpc(), &["failure_mode_deny: true"]);
    let status = |who: &str| envoy.get("/", &[("x-a", who), ("x-hits", "1")]).status;
    let granted = |who: &str| (0..12).filter(|_| status(who) == 200).count();
    let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    let status = status("crowd");
                    assert!(status == 200 || status == 429, "{status}");
                    asked.fetch_add(1, Relaxed);
                }
            });
        }
        assert_eq!(granted("one"), 5);
        service.write("limits.yaml", &limit(8));
        service.wait_log("new configuration: 1 domain, 1 limit");
        // What was used stays used: three more.
        assert_eq!((granted("one"), granted("two")), (3, 8));
        service.write("limits.yaml", "domain: edge\ndescriptors:\n  - key: a\n    ratelimit: {unit: day}\n");
        service.wait_log("config/limits.yaml:4:5: ");
        assert!(service.log().contains("ratelimit"), "the reason is told");
        service.wait_log("the last good configuration stays in force");
        assert_eq!(granted("three"), 8);
        assert_eq!(service.metric("ratelimit_service_config_load_error"), 1);
        // Another file is read beside it, once it is mended.
        service.write("more.yaml", "domain: more\ndescriptors: [{key: a, rate_limit: {unlimited: true}}]\n");
        service.write("limits.yaml", &limit(6));
        service.wait_log("new configuration: 2 domains, 2 limits");
        assert_eq!(granted("four"), 6);
        fs::remove_dir_all(service.config()).unwrap();
        service.wait_log("config: cannot be read");
        assert_eq!(granted("five"), 6);
        stop.store(true, Relaxed);
    });
    assert!(asked.into_inner() > 20);
    assert_eq!(service.metric("ratelimit_service_config_load_success"), 3);
}

/// As Kubernetes mounts a ConfigMap: a link to a folder that is exchanged.
#[test]
fn a_link_that_points_elsewhere_is_a_change() {
    let redis = Server::start();
    redis.clock_set(NOON);
    let service = Service::start(&redis, &limit(5));
    let config = service.config();
    for (version, requests) in [("..v1", 6), ("..v2", 7)] {
        fs::create_dir(config.join(version)).unwrap();
        fs::write(config.join(version).join("limits.yaml"), limit(requests)).unwrap();
    }
    symlink("..v1", config.join("..data")).unwrap();
    fs::remove_file(config.join("limits.yaml")).unwrap();
    symlink("..data/limits.yaml", config.join("limits.yaml")).unwrap();
    let asking = service.asking("edge");
    let wait = |requests: u32| {
        crate::harness::eventually(std::time::Duration::from_secs(30), "the new limit holds", || {
            asking.ask(&["a=1"]).limit(0) == format!("{requests}/DAY")
        });
    };
    wait(6);
    symlink("..v2", config.join("..new")).unwrap();
    fs::rename(config.join("..new"), config.join("..data")).unwrap();
    service.signal("HUP");
    wait(7);
}

#[test]
fn check_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("limits.yaml");
    fs::write(&file, limit(5)).unwrap();
    assert_eq!(Service::check(&file), (true, "good: 1 domain, 1 limit\n".into()));
    fs::write(dir.path().join("b.yaml"), "domain: edge\n").unwrap();
    let (good, said) = Service::check(dir.path());
    assert!(!good && said.ends_with("limits.yaml:1:9: another file has the domain 'edge', too\n"), "{said}");
    fs::write(&file, "domain: edge\ndescriptors:\n  - key: a\n    rate_limit: {unit: dya}\n").unwrap();
    let (good, said) = Service::check(&file);
    assert!(!good && said.contains("limits.yaml:4:24: the unit 'dya' is not second"), "{said}");
    let (good, said) = Service::check(&dir.path().join("nowhere.yaml"));
    assert!(!good && said.contains("cannot be read"), "{said}");
    // Each of several is checked, and each fault told.
    let good_one = dir.path().join("b.yaml");
    let (good, said) = Service::check_all(&[&good_one, &file, &dir.path().join("nowhere.yaml"), &good_one]);
    assert!(!good && said.matches("good: 1 domain, 0 limits").count() == 2, "{said}");
    assert!(said.contains("the unit 'dya'") && said.contains("nowhere.yaml: cannot be read"), "{said}");
}

/// To pass over the link would drop its domain, and its limits with it.
#[test]
fn a_link_that_leads_nowhere_is_an_error() {
    let redis = Server::start();
    redis.clock_set(NOON);
    let service = Service::start(&redis, &limit(1));
    let config = service.config();
    fs::write(config.join("good.yaml"), "domain: good\n").unwrap();
    service.wait_log("new configuration: 2 domains");
    fs::remove_file(config.join("limits.yaml")).unwrap();
    symlink("nowhere", config.join("limits.yaml")).unwrap();
    service.wait_log("config/limits.yaml: cannot be read");
    let asking = service.asking("edge");
    assert_eq!([1, 2].map(|_| asking.ask(&["a=1"]).ok()), [true, false], "the last good one holds");
    let (good, said) = Service::check(&config);
    assert!(!good && said.contains("limits.yaml: cannot be read"), "{said}");
}
