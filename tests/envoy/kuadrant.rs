//! Kuadrant's service: what is reserved is held, and what is committed is what was
//! used, against a model that remembers all.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::extensions::common::ratelimit::v3::{
    RateLimitDescriptor, rate_limit_descriptor::RateLimitOverride,
};
use envoy_types::pb::envoy::r#type::v3::RateLimitUnit;
use envoy_types::pb::google::protobuf::Duration;
use tonic::Code;

use crate::{
    fixtures::{Gateway, NOON, RUNTIME, Service, descriptor},
    harness::Server,
    support::Dice,
};

const CONFIG: &str = "
domain: d
descriptors:
  - {key: a, rate_limit: {unit: day, requests_per_unit: 100}}
  - {key: b, rate_limit: {unit: day, requests_per_unit: 250}}
  - {key: dark, rate_limit: {unit: day, requests_per_unit: 10}, shadow_mode: true}
  - {key: all, rate_limit: {unlimited: true}}
  - {key: gold, limits: '@gold'}
  - {key: dim, limits: 'fixed:10/d:SHADOW', shadow_mode: true}
  - {key: shut, limits: '10/d:block=1h', shadow_mode: true}
";

fn started() -> (Server, Service, Gateway) {
    let redis = Server::start();
    redis.clock_set(NOON);
    let service = Service::start(&redis, CONFIG);
    let gateway = Gateway::connect(service.grpc(), "d");
    (redis, service, gateway)
}

/// What is used of a descriptor's limit.
fn used(redis: &Server, descriptor: &str, limit: u64) -> i64 {
    redis.line(&format!("RL.QUOTA envoy:{{d}}:{descriptor} fixed:{limit}/d")).used()[0]
}

#[test]
fn what_is_reserved_is_held_and_what_is_committed_was_used() {
    let (redis, service, gateway) = started();
    let both = ["a=1", "b=1"];
    let id = gateway.reserve(&both, 80, 60).unwrap();
    assert!(!id.is_empty());
    assert_eq!([used(&redis, "a=1", 100), used(&redis, "b=1", 250)], [80, 80]);
    // What is held is held against all, and what one limit has not, no other gives.
    assert_eq!(gateway.reserve(&both, 21, 60), None);
    assert!(!service.asking("d").hit(21, &["a=1"]).ok());
    assert_eq!(used(&redis, "b=1", 250), 80);
    assert!(gateway.commit(&both, &id, 30));
    assert_eq!([used(&redis, "a=1", 100), used(&redis, "b=1", 250)], [30, 30]);
    // Once more is nothing: a retry is safe.
    assert!(!gateway.commit(&both, &id, 30));
    assert_eq!(used(&redis, "a=1", 100), 30);
    assert_eq!(service.commands(), 5);
    // More than was reserved is charged, beyond the limit too.
    let id = gateway.reserve(&both, 10, 60).unwrap();
    assert!(gateway.commit(&both, &id, 90));
    assert_eq!([used(&redis, "a=1", 100), used(&redis, "b=1", 250)], [120, 120]);
    assert_eq!(gateway.reserve(&["a=1"], 1, 60), None);
    let name = |kind: &str| format!("ratelimit_service_rate_limit_{kind}{{domain=\"d\",key1=\"a\"}}");
    assert_eq!(
        ["total_hits", "within_limit", "over_limit"].map(|kind| service.metric(&name(kind))),
        [80 + 21 + 21 + 10 + 1, 80 + 10, 21 + 21 + 1]
    );
}

/// Two descriptors with the same entries, and a limit of its own each: both hold.
#[test]
fn own_limits_of_one_key_are_held_together() {
    let (_redis, _service, gateway) = started();
    let own = |requests_per_unit: u32, unit: RateLimitUnit| RateLimitDescriptor {
        limit: Some(RateLimitOverride { requests_per_unit, unit: unit.into() }),
        ..descriptor("own=1")
    };
    let reserve = |descriptors: Vec<RateLimitDescriptor>, amount| {
        RUNTIME.block_on(gateway.reserving_on(descriptors, amount, None))
    };
    let both = || vec![own(100, RateLimitUnit::Hour), own(10, RateLimitUnit::Minute)];
    assert_eq!(reserve(both(), 11).unwrap(), None, "the second limit has 10");
    let id = reserve(both(), 10).unwrap().unwrap();
    assert_eq!(reserve(both(), 1).unwrap(), None);
    assert!(gateway.commit(&["own=1"], &id, 4));
    assert!(reserve(both(), 6).unwrap().is_some());
    // One key has at most eight limits.
    let nine = (1..10).map(|n| own(n, RateLimitUnit::Minute)).collect();
    assert_eq!(reserve(nine, 1).unwrap_err().code(), Code::InvalidArgument);
}

/// They are not failures of Redis, at which an Envoy lets requests pass.
#[test]
fn a_callers_mistakes_are_the_callers() {
    let (_redis, service, gateway) = started();
    let commit = |id: &str| RUNTIME.block_on(gateway.committing(&["a=1"], id, 1));
    assert_eq!(commit(&"x".repeat(129)).unwrap_err().code(), Code::InvalidArgument);
    assert!(!commit(&"x".repeat(128)).unwrap());
    let many: Vec<_> = (0..1001).map(|n| descriptor(&format!("a={n}"))).collect();
    let why = service.asking("d").send(1, many.clone()).unwrap_err();
    assert_eq!(why.code(), Code::InvalidArgument, "{why:?}");
    assert!(why.message().contains("too many descriptors"), "{why:?}");
    let why = RUNTIME.block_on(gateway.reserving_on(many, 1, None)).unwrap_err();
    assert_eq!(why.code(), Code::InvalidArgument, "{why:?}");
}

#[test]
fn a_report_on_an_unknown_policy_charges_nothing() {
    let (redis, _service, gateway) = started();
    let report = || gateway.report(3, &["a=1", "gold=1"]);
    for _ in 0..3 {
        assert_eq!(report().unwrap_err().code(), Code::Unavailable);
    }
    assert_eq!(used(&redis, "a=1", 100), 0);
    redis.ok("RL.POLICY SET gold 50/h");
    report().unwrap();
    assert_eq!(used(&redis, "a=1", 100), 3);
}

#[test]
fn an_actual_amount_of_0_releases() {
    let (redis, _service, gateway) = started();
    let id = gateway.reserve(&["a=1"], 100, 60).unwrap();
    assert!(gateway.commit(&["a=1"], &id, 0));
    assert_eq!(used(&redis, "a=1", 100), 0);
    assert!(!gateway.commit(&["a=1"], &id, 0));
}

#[test]
fn a_commit_that_is_late_makes_the_difference_good() {
    let (redis, _service, gateway) = started();
    let id = gateway.reserve(&["a=1"], 50, 10).unwrap();
    redis.clock_advance(11_000_000);
    assert_eq!(used(&redis, "a=1", 100), 50, "it stands at what was reserved");
    assert!(!gateway.commit(&["a=1"], &id, 20), "it was not held any more");
    assert_eq!(used(&redis, "a=1", 100), 20);
}

#[test]
fn a_time_to_live_that_is_none() {
    let (redis, _service, gateway) = started();
    let ask = |ttl| RUNTIME.block_on(gateway.reserving(&["a=1"], 5, ttl));
    for (seconds, nanos) in [(0, 0), (-1, 0), (0, -5), (i64::MIN, 0), (i64::MAX, 0)] {
        let answer = ask(Some(Duration { seconds, nanos }));
        assert_eq!(answer.unwrap_err().code(), Code::InvalidArgument, "{seconds} {nanos}");
    }
    let age = |id: &str| {
        let all = redis.line("RL.RESERVATIONS envoy:{d}:a=1");
        let own = all.items().iter().find(|row| row.items()[0].text() == id).unwrap();
        own.items()[3].int()
    };
    assert_eq!(age(&ask(None).unwrap().unwrap()), 60_000, "a minute, where nothing is said");
    assert_eq!(age(&ask(Some(Duration { seconds: 1, nanos: 1 })).unwrap().unwrap()), 1001);
    let long = Some(Duration { seconds: 1_000_000, nanos: 0 });
    assert_eq!(age(&ask(long).unwrap().unwrap()), 24 * 3_600_000, "a day at most");
}

#[test]
fn what_has_no_limit_is_not_held() {
    let (redis, service, gateway) = started();
    for descriptor in ["all=1", "free=1"] {
        assert_eq!(gateway.reserve(&[descriptor], 1000, 60).unwrap(), "");
    }
    assert_eq!(service.commands(), 0);
    // Beside one that has: the same descriptors commit it.
    let all = ["a=1", "all=1", "free=1", "a=1"];
    let id = gateway.reserve(&all, 10, 60).unwrap();
    assert_eq!(used(&redis, "a=1", 100), 10, "a limit that is named twice is held once");
    assert!(gateway.commit(&all, &id, 4));
    assert_eq!(used(&redis, "a=1", 100), 4);
    // An amount of 0 is a look.
    assert_eq!(gateway.reserve(&["a=1"], 0, 60).unwrap(), "");
    assert!(gateway.commit(&["a=1"], &gateway.reserve(&["a=1"], 96, 60).unwrap(), 96));
    assert_eq!(gateway.reserve(&["a=1"], 0, 60), None);
    let (nobody, nothing) = (Gateway::connect(service.grpc(), ""), gateway.clone());
    let ask = |gateway: Gateway, descriptors: &[&str]| {
        RUNTIME.block_on(gateway.reserving(descriptors, 1, None)).unwrap_err().code()
    };
    assert_eq!([ask(nobody.clone(), &["a=1"]), ask(nothing, &[])], [Code::InvalidArgument; 2]);
    // As limitador: who names no descriptor asks for nothing.
    assert!(gateway.check(&[]).ok() && gateway.report(1, &[]).unwrap().ok());
    assert_eq!(nobody.report(1, &[]).unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(gateway.nonsense().code(), Code::Unimplemented);
}

#[test]
fn in_the_shadow_it_is_counted_and_not_denied() {
    let (redis, service, gateway) = started();
    let both = ["dark=1", "a=1"];
    let first = gateway.reserve(&both, 8, 60).unwrap();
    assert!(gateway.reserve(&both, 8, 60).is_some());
    assert_eq!([used(&redis, "dark=1", 10), used(&redis, "a=1", 100)], [8, 16]);
    assert!(gateway.commit(&both, &first, 1));
    assert_eq!([used(&redis, "dark=1", 10), used(&redis, "a=1", 100)], [1, 9]);
    assert_eq!(service.commands(), 5);
    let name = |kind: &str| format!("ratelimit_service_rate_limit_{kind}{{domain=\"d\",key1=\"dark\"}}");
    let figures = ["total_hits", "within_limit", "near_limit", "over_limit", "shadow_mode"];
    assert_eq!(figures.map(|kind| service.metric(&name(kind))), [16, 8, 0, 8, 8]);
    // Whoever wrote the word in capitals means the same. A limit that blocks cannot be in the shadow.
    assert!(!gateway.reserve(&["dim=1"], 4, 60).unwrap().is_empty());
    assert_eq!(used(&redis, "dim=1", 10), 4);
    assert_eq!(gateway.reserve(&["shut=1"], 4, 60).unwrap(), "");
    assert!(gateway.reserve(&["dark=1"], 9, 60).is_some());
    assert_eq!(figures.map(|kind| service.metric(&name(kind))), [25, 17, 2, 8, 8]);
}

/// A limit that is gone from the configuration is settled all the same.
#[test]
fn a_configuration_that_changes_in_between() {
    let (redis, service, gateway) = started();
    let both = ["a=1", "b=1"];
    let id = gateway.reserve(&both, 50, 60).unwrap();
    service.write(
        "limits.yaml",
        "domain: d\ndescriptors: [{key: b, rate_limit: {unit: day, requests_per_unit: 250}}]\n",
    );
    service.wait_log("new configuration: 1 domain, 1 limit");
    assert!(gateway.commit(&both, &id, 5));
    assert_eq!([used(&redis, "a=1", 100), used(&redis, "b=1", 250)], [5, 5]);
}

#[test]
fn without_redis_nothing_is_promised() {
    let (mut redis, service, gateway) = started();
    let id = gateway.reserve(&["a=1"], 5, 60).unwrap();
    redis.kill9();
    crate::harness::eventually(std::time::Duration::from_secs(30), "the service has noticed", || {
        service.page("/healthcheck").status == 503
    });
    let reserve = RUNTIME.block_on(gateway.reserving(&["a=1"], 5, None)).unwrap_err();
    let commit = RUNTIME.block_on(gateway.committing(&["a=1"], &id, 5)).unwrap_err();
    assert_eq!([reserve.code(), commit.code()], [Code::Unavailable; 2]);
}

/// What a descriptor's limit must have used: what is reserved and not settled, or
/// ended, and what was committed.
#[derive(Default)]
struct Model {
    limit: i64,
    used: i64,
}

/// Two of its reservations.
struct Open {
    id: String,
    on: Vec<String>,
    amount: i64,
    ends: i64,
}

#[test]
fn each_answer_is_the_models() {
    let (redis, _service, gateway) = started();
    let mut dice = Dice::new(5);
    let mut now = 0;
    let mut models: BTreeMap<String, Model> = BTreeMap::new();
    for (name, limit) in [("a=1", 100), ("a=2", 100), ("b=1", 250)] {
        models.insert(name.into(), Model { limit, used: 0 });
    }
    let mut open: Vec<Open> = Vec::new();
    let (mut denied, mut late, mut settled) = (0, 0, 0);
    for round in 0..600 {
        if dice.chance(20) {
            let by = 1 + dice.below(8) as i64;
            redis.clock_advance(by * 1_000_000);
            now += by;
        }
        if open.is_empty() || dice.chance(50) {
            let mut on = vec![["a=1", "a=2"][dice.below(2) as usize].to_owned()];
            if dice.chance(60) {
                on.push("b=1".into());
            }
            let (amount, ttl) = (1 + dice.below(40) as i64, 1 + dice.below(20) as i64);
            let fits = on.iter().all(|name| models[name].used + amount <= models[name].limit);
            let names: Vec<&str> = on.iter().map(String::as_str).collect();
            let id = gateway.reserve(&names, amount as u64, ttl);
            assert_eq!(id.is_some(), fits, "round {round}: {on:?} {amount}");
            match id {
                Some(id) => {
                    for name in &on {
                        models.get_mut(name).unwrap().used += amount;
                    }
                    open.push(Open { id, on, amount, ends: now + ttl });
                }
                None => denied += 1,
            }
        } else {
            let at = dice.below(open.len() as u64) as usize;
            let Open { id, on, amount, ends } = open.swap_remove(at);
            let actual = if dice.chance(20) { 0 } else { dice.below(amount as u64 + 1) as i64 };
            let names: Vec<&str> = on.iter().map(String::as_str).collect();
            assert_eq!(gateway.commit(&names, &id, actual as u64), now < ends, "round {round}");
            late += i32::from(now >= ends);
            settled += 1;
            for name in &on {
                models.get_mut(name).unwrap().used += actual - amount;
            }
        }
        if round % 20 == 0 || round == 599 {
            for (name, model) in &models {
                assert_eq!(used(&redis, name, model.limit as u64), model.used, "round {round}: {name}");
            }
            // Room for more, so that the story goes on.
            if round % 100 == 0 {
                redis.line("RL.RESET envoy:{d}:a=1 envoy:{d}:a=2 envoy:{d}:b=1");
                models.values_mut().for_each(|model| model.used = 0);
                open.clear();
            }
        }
    }
    assert!(denied > 30 && late > 5 && settled > 100, "{denied} denied, {late} late, {settled} settled");
}

/// Many at a time: nothing is promised twice, nothing is lost, and whoever is
/// denied could not have been granted.
#[test]
fn many_at_a_time_never_hold_more_than_there_is() {
    let (redis, _service, gateway) = started();
    let tasks: Vec<_> = (0..8u64)
        .map(|task| {
            let gateway = gateway.clone();
            RUNTIME.spawn(async move {
                let mut dice = Dice::new(task);
                let (mut committed, mut denied) = (0, 0);
                for _ in 0..60 {
                    let amount = 1 + dice.below(20);
                    let on = ["a=7", "b=7"];
                    let ttl = Some(Duration { seconds: 60, nanos: 0 });
                    let Some(id) = gateway.reserving(&on, amount, ttl).await.unwrap() else {
                        denied += 1;
                        continue;
                    };
                    tokio::time::sleep(std::time::Duration::from_millis(dice.below(4))).await;
                    // Most of it is given back.
                    let actual = if dice.chance(85) { 0 } else { dice.below(amount + 1).min(3) };
                    assert!(gateway.committing(&on, &id, actual).await.unwrap());
                    assert!(!gateway.committing(&on, &id, amount).await.unwrap(), "settled once");
                    committed += actual;
                }
                (committed, denied)
            })
        })
        .collect();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let results = std::thread::scope(|scope| {
        let watched = scope.spawn(|| {
            let mut most = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let now = used(&redis, "a=7", 100);
                assert!(now <= 100, "{now} are held of 100");
                most = most.max(now);
            }
            most
        });
        let results: Vec<(u64, u64)> =
            tasks.into_iter().map(|task| RUNTIME.block_on(task).unwrap()).collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(watched.join().unwrap() > 50);
        results
    });
    let committed: u64 = results.iter().map(|(committed, _)| committed).sum();
    assert_eq!([used(&redis, "a=7", 100), used(&redis, "b=7", 250)], [committed as i64; 2]);
    assert!(redis.line("RL.RESERVATIONS envoy:{d}:a=7").items().is_empty(), "all are settled");
    // 8 times at most 20 are more than 100 only together with what is committed.
    let denied: u64 = results.iter().map(|(_, denied)| denied).sum();
    assert!(denied > 0, "it was crowded");
}

#[test]
fn look_first_and_report_afterwards() {
    let (redis, service, gateway) = started();
    let both = ["a=1", "b=1"];
    let look = gateway.check(&both);
    assert_eq!((look.ok(), look.left()), (true, vec![(true, 100), (true, 250)]));
    assert_eq!([used(&redis, "a=1", 100), used(&redis, "b=1", 250)], [0, 0]);
    // A report charges what was used, whatever is left.
    assert!(gateway.report(90, &both).unwrap().ok());
    assert!(gateway.report(30, &both).unwrap().ok());
    assert_eq!([used(&redis, "a=1", 100), used(&redis, "b=1", 250)], [120, 120]);
    let look = gateway.check(&both);
    assert_eq!((look.ok(), look.left()), (false, vec![(false, 0), (true, 130)]));
    assert_eq!(service.commands(), 8);
    // A commit without an id is a report.
    assert!(!gateway.commit(&["b=1"], "", 20));
    assert!(!gateway.commit(&["b=1"], "", 0));
    assert_eq!(used(&redis, "b=1", 250), 140);
}
