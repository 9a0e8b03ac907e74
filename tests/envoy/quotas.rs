//! The quota service, report by report: what is lent, what is reserved for it, and
//! what becomes of it.

use std::{process::Command, thread, time::Duration};

use tonic::Code;

use crate::{
    fixtures::{Borrower, Lent, PATIENCE, Service},
    harness::{Server, eventually},
};

const CONFIG: &str = "
domain: d
descriptors:
  - {key: minute, rate_limit: {unit: minute, requests_per_unit: 100}}
  - {key: second, limits: 20/s}
  - {key: hour, rate_limit: {unit: hour, requests_per_unit: 1000}}
  - {key: few, rate_limit: {unit: minute, requests_per_unit: 2}}
  - {key: one, rate_limit: {unit: minute, requests_per_unit: 1}}
  - {key: two, limits: '5/s,8/h'}
  - {key: policy, limits: '@gold'}
  - {key: none, rate_limit: {unit: minute, requests_per_unit: 0}}
  - {key: all, rate_limit: {unlimited: true}}
  - {key: dark, rate_limit: {unit: minute, requests_per_unit: 10}, shadow_mode: true}
  - {key: trial, limits: '10/m:shadow'}
  - {key: open, limits: unlimited}
  - {key: tighter, limits: '5/m:shadow,100/m'}
  - {key: tighter_hour, limits: '500/h:shadow,unlimited,1000/h'}
  - {key: call, limits: '100/m:per=call'}
  - {key: call_hour, limits: '1000/h:per=call'}
  - {key: kept, limits: '100/m:keep=40%'}
  - {key: kept_hour, limits: '1000/h:keep=40%'}
  - {key: lease, limits: '100/m:name=lease'}
  - {key: lease_hour, limits: '1000/h:name=lease'}
  - {key: envoys, limits: '1000/h:name=envoys'}
  - {key: closing, limits: '100/h:block=10m'}
  - {key: app, descriptors: [{key: user, rate_limit: {unit: minute, requests_per_unit: 10}}]}
";

fn started() -> (Server, Service) {
    let redis = Server::start();
    let service = Service::start(&redis, CONFIG);
    (redis, service)
}

/// What is used of a limit of a key.
fn used(redis: &Server, descriptor: &str, limit: &str) -> u64 {
    redis.line(&format!("RL.QUOTA envoy:{{d}}:{descriptor} {limit}")).used()[0] as u64
}

fn signal(redis: &Server, signal: &str) {
    let told = Command::new("kill").args([signal, &redis.pid().to_string()]).status();
    assert!(told.unwrap().success());
}

const MINUTE: &str = "100/80000ms:name=rlqs-lease";
const HOUR: &str = "fixed:1000/h";
const HOUR_AND_LATE: &str = "1000/3620000ms:name=rlqs-lease";

#[test]
fn what_is_lent_is_reserved_beforehand() {
    let (redis, service) = started();
    let mut envoy = Borrower::connect(service.grpc(), "d");
    // Of a minute a share: 10 at once and 90 a minute, never more than 100 in any.
    let lent = envoy.report("minute=1", 1, 0);
    assert_eq!(lent, Lent::Tokens { burst: 10, fill: 90, seconds: 60 });
    assert_eq!(used(&redis, "minute=1", MINUTE), 100);
    // The same again only prolongs.
    assert_eq!(envoy.report("minute=1", 40, 7), lent);
    assert_eq!(used(&redis, "minute=1", MINUTE), 100);
    // Another value is another limit.
    assert_eq!(envoy.report("minute=2", 1, 0), lent);
    assert_eq!(service.metric("floodgate_envoy_streams"), 1);
    assert_eq!(service.metric("floodgate_envoy_lent_allowed_total"), 42);
    assert_eq!(service.metric("floodgate_envoy_lent_denied_total"), 7);
}

#[test]
fn units_of_long_periods_are_committed_at_the_reported_use() {
    let (redis, service) = started();
    let mut envoy = Borrower::connect(service.grpc(), "d");
    let lent = envoy.report("hour=1", 0, 1);
    assert_eq!(lent, Lent::Tokens { burst: 25, fill: 75, seconds: 20 });
    for limit in [HOUR, HOUR_AND_LATE] {
        assert_eq!(used(&redis, "hour=1", limit), 100, "{limit}");
    }
    // 60 in 5 s are 240 in its interval: it gets half more than that.
    let lent = envoy.report("hour=1", 60, 0);
    assert_eq!(lent, Lent::Tokens { burst: 90, fill: 270, seconds: 20 });
    for limit in [HOUR, HOUR_AND_LATE] {
        assert_eq!(used(&redis, "hour=1", limit), 60 + 360, "{limit}");
    }
    // What others take of the same limit is not lent: 140 are left, which do not cover
    // what the old bucket may still hold beside a new one.
    redis.line("RL.ACQUIRE envoy:{d}:hour=1 fixed:1000/h COST 500");
    assert_eq!(envoy.report("hour=1", 300, 50), Lent::DenyAll);
    assert_eq!(used(&redis, "hour=1", HOUR), 1000);
    thread::sleep(Duration::from_millis(10_100));
    assert_eq!(envoy.report("hour=1", 0, 5), Lent::Tokens { burst: 8, fill: 22, seconds: 20 });
    assert_eq!(used(&redis, "hour=1", HOUR), 60 + 300 + 500 + 30);
}

#[test]
fn all_together_never_have_more_than_the_limit() {
    let (redis, service) = started();
    let mut envoys: Vec<Borrower> = (0..4).map(|_| Borrower::connect(service.grpc(), "d")).collect();
    let mut lent = [0u64; 4];
    let mut fair = 0;
    for round in 0..14 {
        for (at, envoy) in envoys.iter_mut().enumerate() {
            lent[at] = envoy.report("second=1", 5, 5).most();
            let all: u64 = lent.iter().sum();
            assert!(all <= 20, "round {round}: {lent:?}");
            let held = used(&redis, "second=1", "20/21000ms:name=rlqs-lease");
            assert!((all..=20).contains(&held), "round {round}: {lent:?}, {held} held");
        }
        fair += u32::from(lent == [5; 4]);
        thread::sleep(Duration::from_secs(1));
    }
    assert!(fair > 0, "in the end all have the same: {lent:?}");
    // Two go. What they have stays theirs until it has ended, and then is the others'.
    envoys.truncate(2);
    eventually(Duration::from_secs(60), "the others have it", || {
        let lent: Vec<u64> = envoys.iter_mut().map(|envoy| envoy.report("second=1", 5, 5).most()).collect();
        assert!(lent.iter().sum::<u64>() <= 20, "{lent:?}");
        thread::sleep(Duration::from_secs(1));
        lent == [10, 10]
    });
}

#[test]
fn a_share_of_nothing_is_deny_all() {
    let (redis, service) = started();
    let (mut first, mut second) =
        (Borrower::connect(service.grpc(), "d"), Borrower::connect(service.grpc(), "d"));
    assert_eq!(first.report("few=1", 1, 0), Lent::Tokens { burst: 1, fill: 1, seconds: 60 });
    assert_eq!(second.report("few=1", 1, 0), Lent::DenyAll);
    // A bucket holds one token and gets one at least, so that a limit of one is not lent.
    assert_eq!(first.report("one=1", 1, 0), Lent::DenyAll);
    assert_eq!(first.report("none=1", 1, 0), Lent::DenyAll);
    // Of these the limits are known to the server alone, or several.
    assert_eq!(first.report("policy=1", 1, 0), Lent::DenyAll);
    assert_eq!(first.report("two=1", 1, 0), Lent::DenyAll);
    redis.ok("RL.BLOCK envoy:{d}:minute=bad FOREVER");
    redis.ok("RL.PIN envoy:{d}:minute=vip 1000/s");
    for bucket in ["minute=bad", "minute=vip"] {
        assert_eq!(first.report(bucket, 1, 0), Lent::DenyAll, "{bucket}");
    }
    redis.line("RL.UNPIN envoy:{d}:minute=vip");
    assert_eq!(first.report("minute=vip", 0, 1).most(), 100);
}

#[test]
fn an_operator_does_not_lend_anew_what_is_still_used() {
    let (redis, service) = started();
    let mut first = Borrower::connect(service.grpc(), "d");
    let mut second = Borrower::connect(service.grpc(), "d");
    let key = "envoy:{d}:minute=1";
    for (begin, end) in [("RL.BLOCK KEY FOREVER", "RL.UNBLOCK KEY"), ("RL.PIN KEY 1000/s", "RL.UNPIN KEY")] {
        redis.line("RL.RESET envoy:{d}:minute=1");
        eventually(PATIENCE, "the first has all", || {
            first = Borrower::connect(service.grpc(), "d");
            first.report("minute=1", 1, 0).most() == 100
        });
        redis.line(&begin.replace("KEY", key));
        assert_eq!(first.report("minute=1", 100, 0), Lent::DenyAll);
        redis.line(&end.replace("KEY", key));
        // What it was lent counts for a minute more.
        assert_eq!(used(&redis, "minute=1", MINUTE), 100, "{begin}");
        assert_eq!(second.report("minute=1", 0, 1), Lent::DenyAll, "{begin}");
        assert_eq!(first.report("minute=1", 0, 1), Lent::DenyAll, "{begin}");
    }
}

#[test]
fn what_could_not_be_had_again_is_not_given_back() {
    let (redis, service) = started();
    let mut envoy = Borrower::connect(service.grpc(), "d");
    assert_eq!(envoy.report("hour=1", 0, 1).most(), 100);
    // A limit in debt: what was lent may be used until the denial arrives.
    redis.line("RL.CHARGE envoy:{d}:hour=1 fixed:1000/h COST 1500");
    assert_eq!(envoy.report("hour=1", 20, 0), Lent::DenyAll);
    assert_eq!(used(&redis, "hour=1", HOUR_AND_LATE), 100);
    redis.line("RL.REFUND envoy:{d}:hour=1 1500 fixed:1000/h");
    let lent = envoy.report("hour=1", 30, 0);
    assert!(lent.most() > 0);
    assert!(used(&redis, "hour=1", HOUR_AND_LATE) >= 50 + lent.most());
}

#[test]
fn what_is_reported_while_redis_is_away_counts() {
    let (redis, service) = started();
    let mut envoy = Borrower::connect(service.grpc(), "d");
    assert_eq!(envoy.report("hour=1", 0, 1).most(), 100);
    signal(&redis, "-STOP");
    // An Envoy says each use once.
    envoy.hears_nothing("hour=1", 60, 0);
    let failed = "ratelimit_service_should_rate_limit_error{err_type=\"redis_error\"}";
    eventually(2 * PATIENCE, "the service has given up", || service.metric(failed) > 0);
    signal(&redis, "-CONT");
    eventually(PATIENCE, "Redis answers", || service.page("/healthcheck").status == 200);
    let lent = envoy.report("hour=1", 10, 0);
    assert!(lent.most() > 0);
    for limit in [HOUR, HOUR_AND_LATE] {
        let used = used(&redis, "hour=1", limit);
        assert!(used >= 70 + lent.most(), "{limit}: {used} with {lent:?}");
    }
}

#[test]
fn what_has_no_limit_is_allowed() {
    let (_redis, service) = started();
    let mut envoy = Borrower::connect(service.grpc(), "d");
    for bucket in ["all=1", "dark=1", "free=1", "app=x", "user=y", "trial=1", "open=1"] {
        assert_eq!(envoy.report(bucket, 1, 0), Lent::AllowAll, "{bucket}");
    }
    assert_eq!(service.commands(), 0);
    // A bucket's pairs have no order: they are sorted by key.
    assert_eq!(envoy.report("user=y app=x", 1, 0).most(), 10);
    let mut stranger = Borrower::connect(service.grpc(), "unknown");
    assert_eq!(stranger.report("minute=1", 1, 0), Lent::AllowAll);
}

/// One beside a limit that denies: it is counted where the units are taken from the limit itself.
#[test]
fn what_never_denies_does_not_matter() {
    let (redis, service) = started();
    let mut envoy = Borrower::connect(service.grpc(), "d");
    assert_eq!(envoy.report("tighter=1", 0, 40).most(), 100);
    redis.ok("RL.PIN envoy:{d}:tighter=2 unlimited");
    assert_eq!(envoy.report("tighter=2", 0, 40), Lent::DenyAll, "nobody knows what a pin allows");
    redis.line("RL.CHARGE envoy:{d}:tighter_hour=1 500/h:shadow,1000/h COST 700");
    assert_eq!(envoy.report("tighter_hour=1", 0, 40).most(), 240);
    let rows = redis.line("RL.QUOTA envoy:{d}:tighter_hour=1 500/h:shadow,1000/h");
    assert_eq!(rows.items()[1].field("used").int(), 700 + 240);
}

#[test]
fn a_limit_may_be_named_as_people_name_limits() {
    let (_redis, service) = started();
    let mut envoy = Borrower::connect(service.grpc(), "d");
    for bucket in ["lease=1", "lease_hour=1", "envoys=1"] {
        assert_eq!(envoy.report(bucket, 0, 1).most(), 100, "{bucket}");
    }
}

/// A reservation of many units would be charged as one call.
#[test]
fn calls_are_lent_where_they_are_counted_as_calls() {
    let (_redis, service) = started();
    let mut envoy = Borrower::connect(service.grpc(), "d");
    assert_eq!(envoy.report("call=1", 0, 40).most(), 100);
    assert_eq!(envoy.report("call_hour=1", 0, 40), Lent::DenyAll);
}

#[test]
fn what_is_kept_for_critical_requests_is_not_lent() {
    let (redis, service) = started();
    let mut envoy = Borrower::connect(service.grpc(), "d");
    assert_eq!(envoy.report("kept=1", 0, 1000).most(), 60);
    // It asks for all: half more than 800 in an interval.
    assert_eq!(envoy.report("kept_hour=1", 0, 1000).most(), 600);
    assert_eq!(used(&redis, "kept_hour=1", "1000/h:keep=40%"), 600);
}

#[test]
fn a_report_that_finds_nothing_left_closes() {
    let (redis, service) = started();
    let mut envoy = Borrower::connect(service.grpc(), "d");
    assert!(envoy.report("closing=1", 0, 1000).most() > 0, "a part is lent, so nothing is denied");
    redis.line("RL.CHARGE envoy:{d}:closing=2 100/h:block=10m COST 100");
    assert_eq!(envoy.report("closing=2", 0, 1), Lent::DenyAll);
    let row = redis.line("RL.QUOTA envoy:{d}:closing=2 100/h:block=10m");
    redis.line("RL.REFUND envoy:{d}:closing=2 100 100/h:block=10m");
    assert_eq!(envoy.report("closing=2", 0, 1), Lent::DenyAll, "{row:?}");
}

#[test]
fn a_bucket_that_nobody_asks_for_is_given_back() {
    let (redis, service) = started();
    let mut envoy = Borrower::connect(service.grpc(), "d");
    envoy.report("hour=1", 1, 0);
    envoy.report("hour=1", 30, 0);
    let lent: Vec<Lent> = (0..6).map(|_| envoy.report("hour=1", 0, 0)).collect();
    assert!(lent[..5].iter().all(|lent| lent.most() > 0), "{lent:?}");
    // First it is told to deny, so that the next report tells all that it used.
    assert_eq!(lent[5], Lent::DenyAll);
    eventually(Duration::from_secs(30), "it is abandoned", || {
        thread::sleep(Duration::from_secs(1));
        envoy.report("hour=1", 0, 0) == Lent::Abandon
    });
    assert_eq!(used(&redis, "hour=1", HOUR), 30, "what it used, and no more");
    let open = redis.line("RL.RESERVATIONS envoy:{d}:hour=1");
    assert!(open.items().is_empty(), "{open:?}");
    // It may come again.
    assert!(envoy.report("hour=1", 0, 1).most() > 0);
}

/// Also one that is not lent: it is allowed all, denied all, or blocked.
#[test]
fn a_bucket_with_one_answer_for_all_is_abandoned_too() {
    let (redis, service) = started();
    let mut envoy = Borrower::connect(service.grpc(), "d");
    redis.ok("RL.BLOCK envoy:{d}:minute=bad FOREVER");
    for (bucket, rule) in
        [("all=1", Lent::AllowAll), ("policy=1", Lent::DenyAll), ("minute=bad", Lent::DenyAll)]
    {
        // A request in between starts the count anew.
        for reports in [3, 5] {
            assert_eq!(envoy.report(bucket, 1, 0), rule, "{bucket}");
            assert!((0..reports).all(|_| envoy.report(bucket, 0, 0) == rule), "{bucket}");
        }
        assert_eq!(envoy.report(bucket, 0, 0), Lent::Abandon, "{bucket}");
        assert_eq!(envoy.report(bucket, 0, 1), rule, "{bucket}");
    }
    let open = redis.line("RL.RESERVATIONS envoy:{d}:minute=bad");
    assert!(open.items().len() <= 1, "{open:?}");
}

#[test]
fn a_configuration_that_changes_lends_anew() {
    let (_redis, service) = started();
    let mut envoy = Borrower::connect(service.grpc(), "d");
    assert_eq!(envoy.report("second=1", 1, 0), Lent::Tokens { burst: 2, fill: 18, seconds: 1 });
    service.write("limits.yaml", &CONFIG.replace("20/s", "50/2s"));
    service.wait_log("new configuration");
    eventually(Duration::from_secs(60), "the new one is lent", || {
        let lent = envoy.report("second=1", 1, 0);
        thread::sleep(Duration::from_secs(1));
        lent == Lent::Tokens { burst: 5, fill: 45, seconds: 2 }
    });
}

#[test]
fn a_stream_has_one_domain() {
    let (_redis, service) = started();
    let mut nameless = Borrower::connect(service.grpc(), "");
    assert_eq!(nameless.says("minute=1", 1, 0).unwrap_err().code(), Code::InvalidArgument);
    let mut envoy = Borrower::connect(service.grpc(), "d");
    envoy.report("minute=1", 1, 0);
    // It need not be said again, but cannot change.
    envoy.rename("");
    assert_eq!(envoy.report("minute=1", 1, 0).most(), 100);
    envoy.rename("other");
    assert_eq!(envoy.says("minute=1", 1, 0).unwrap_err().code(), Code::InvalidArgument);
    assert!(envoy.has_ended());
    let mut envoy = Borrower::connect(service.grpc(), "d");
    assert_eq!(envoy.says("", 1, 0).unwrap_err().code(), Code::InvalidArgument);
}

#[test]
fn without_redis_nothing_is_lent_anew() {
    let (mut redis, service) = started();
    let mut envoy = Borrower::connect(service.grpc(), "d");
    envoy.report("minute=1", 1, 0);
    redis.kill9();
    eventually(Duration::from_secs(30), "the service has noticed", || {
        service.page("/healthcheck").status == 503
    });
    envoy.hears_nothing("minute=1", 1, 0); // what it has ends by itself
    redis.restart();
    service.wait_connected();
    envoy.report("minute=1", 1, 0);
}

#[test]
fn a_stop_ends_streams() {
    let (redis, mut service) = started();
    let mut envoy = Borrower::connect(service.grpc(), "d");
    envoy.report("minute=1", 1, 0);
    let start = std::time::Instant::now();
    service.signal("TERM");
    assert!(envoy.has_ended());
    drop(envoy);
    assert!(service.wait_exit().success());
    assert!(start.elapsed() < PATIENCE, "nobody waits for a stream to end by itself");
    // What was lent is held until it has ended.
    assert_eq!(used(&redis, "minute=1", MINUTE), 100);
    assert_eq!(used(&redis, "minute=1", "concurrent:1000000:name=rlqs-envoys"), 0);
}
