//! Requests of clients, through a real Envoy, against models that remember all.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use crate::{
    fixtures::{Envoy, NOON, PATIENCE, Page, Service},
    harness::{Server, eventually},
    models::limit::{Counting, LimitModel, Stand},
    support::Dice,
};

const SECOND: u64 = 1_000_000;

const EDGE: &str = "
domain: edge
descriptors:
  - {key: a, rate_limit: {unit: second, requests_per_unit: 4}}
  - {key: b, rate_limit: {unit: minute, requests_per_unit: 30, name: by_b}}
";

/// The whole of microseconds in seconds, rounded up.
fn seconds(us: u64) -> u64 {
    // By way of the milliseconds that replies have.
    us.div_ceil(1000).div_ceil(1000)
}

/// What the response must say of limits by name, count and window, the binding
/// one marked.
#[track_caller]
fn check(page: &Page, limits: &[(&str, u64, u64, Stand)], what: &str) {
    let granted = limits.iter().all(|(.., stand)| stand.granted);
    assert_eq!(page.status, if granted { 200 } else { 429 }, "{what}: {page:?}");
    assert_eq!(page.body, if granted { "hello" } else { "" }, "{what}");
    let policy: Vec<_> =
        limits.iter().map(|(name, count, window, _)| format!("\"{name}\";q={count};w={window}")).collect();
    assert_eq!(page.header("ratelimit-policy").unwrap(), policy.join(", "), "{what}");
    let told: Vec<_> = limits
        .iter()
        .map(|(name, .., stand)| {
            let time = if stand.retry > 0 { stand.retry } else { stand.reset };
            format!("\"{name}\";r={};t={}", stand.remaining, seconds(time))
        })
        .collect();
    assert_eq!(page.header("ratelimit").unwrap(), told.join(", "), "{what}");
    // The longest denial, else the least left; the first of equals.
    let binding = limits
        .iter()
        .reduce(|best, one| {
            let before = one.3.retry > best.3.retry
                || one.3.retry == best.3.retry && one.3.remaining < best.3.remaining;
            if before { one } else { best }
        })
        .unwrap();
    let (_, count, _, stand) = binding;
    assert_eq!(page.header("x-ratelimit-limit"), Some(count.to_string().as_str()), "{what}");
    assert_eq!(page.header("x-ratelimit-remaining"), Some(stand.remaining.to_string().as_str()), "{what}");
    assert_eq!(page.header("x-ratelimit-reset"), Some(seconds(stand.reset).to_string().as_str()), "{what}");
    let retry = (!granted).then(|| seconds(stand.retry).to_string());
    assert_eq!(page.header("retry-after"), retry.as_deref(), "{what}");
}

/// Random requests of three users on both limits or one of them, and the models'
/// answers.
fn against(counting: Counting, algorithm: &str, names: [&str; 2]) {
    let redis = Server::start();
    redis.clock_set(NOON);
    let service = Service::with(&redis, EDGE, &["--algorithm", algorithm]);
    let envoy = Envoy::start(service.grpc(), &[]);
    let mut dice = Dice::new(11);
    let mut now = NOON.cast_unsigned();
    let mut by_a = vec![LimitModel::new(counting, 4, SECOND); 3];
    let mut by_b = vec![LimitModel::new(counting, 30, 60 * SECOND); 2];
    let mut denied = 0;
    for round in 0..250 {
        if dice.chance(40) {
            let by = [90_000, 400_000, 1_300_000, 25 * SECOND][dice.below(4) as usize] + dice.below(1000);
            redis.clock_advance(by.cast_signed());
            now += by;
        }
        let (a, b, n) = (dice.below(3) as usize, dice.below(2) as usize, 1 + dice.below(3));
        let (use_a, use_b) =
            [(true, true), (true, true), (true, false), (false, true)][dice.below(4) as usize];
        let (a_name, b_name, hits) = (format!("a{a}"), format!("b{b}"), n.to_string());
        let mut headers = Vec::new();
        if use_a {
            headers.push(("x-a", a_name.as_str()));
            headers.push(("x-hits", hits.as_str()));
        }
        if use_b {
            headers.push(("x-b", b_name.as_str()));
        }
        let fits = (!use_a || by_a[a].fits(now, n)) && (!use_b || by_b[b].fits(now, 1));
        if fits {
            if use_a {
                by_a[a].take(now, n);
            }
            if use_b {
                by_b[b].take(now, 1);
            }
        }
        let mut limits = Vec::new();
        if use_a {
            let granted = fits || by_a[a].fits(now, n);
            limits.push((names[0], 4, 1, by_a[a].stand(now, n, granted)));
        }
        if use_b {
            let granted = fits || by_b[b].fits(now, 1);
            limits.push((names[1], 30, 60, by_b[b].stand(now, 1, granted)));
        }
        denied += u32::from(!fits);
        check(&envoy.get("/", &headers), &limits, &format!("round {round}: {headers:?}"));
    }
    assert!((40..200).contains(&denied), "a story worth telling: {denied} denied");
    assert_eq!(service.commands(), 250, "one command a request");
}

#[test]
fn fixed_windows_say_what_the_model_says() {
    against(Counting::Fixed, "fixed", ["fixed:4/s", "by_b"]);
}

#[test]
fn sliding_says_what_the_model_says() {
    against(Counting::Sliding, "sliding", ["4/s", "by_b"]);
}

#[test]
fn of_two_descriptors_both_are_taken_or_none() {
    let redis = Server::start();
    redis.clock_set(NOON);
    let service = Service::start(
        &redis,
        "
domain: edge
descriptors:
  - {key: a, rate_limit: {unit: hour, requests_per_unit: 100}}
  - {key: b, rate_limit: {unit: hour, requests_per_unit: 10}}
",
    );
    let envoy = Envoy::start(service.grpc(), &[]);
    let both = [("x-a", "1"), ("x-hits", "1"), ("x-b", "1")];
    let granted = (0..60).filter(|_| envoy.get("/", &both).status == 200).count();
    assert_eq!(granted, 10);
    // The 50 that b denied cost a nothing.
    let page = envoy.get("/", &both[..2]);
    assert_eq!(page.header("x-ratelimit-remaining"), Some("89"), "{page:?}");
}

#[test]
fn nested_descriptors_reach_their_limit() {
    let redis = Server::start();
    redis.clock_set(NOON);
    let service = Service::start(
        &redis,
        "
domain: edge
descriptors:
  - key: user
    descriptors:
      - {key: path, value: /export*, rate_limit: {unit: day, requests_per_unit: 1}}
",
    );
    let envoy = Envoy::start(service.grpc(), &[]);
    let of = |user: &str, path: &str| envoy.get(path, &[("x-user", user)]).status;
    assert_eq!([of("ann", "/export/1"), of("ann", "/export/1")], [200, 429]);
    // A value of its own each, without share_threshold.
    assert_eq!([of("ann", "/export/2"), of("bob", "/export/1"), of("ann", "/other")], [200; 3]);
    assert_eq!([of("ann", "/other"), of("", "/")], [200; 2]);
}

#[test]
fn envoys_own_headers_agree_with_ours() {
    let redis = Server::start();
    redis.clock_set(NOON + 300_000);
    let service = Service::start(&redis, EDGE);
    let envoy = Envoy::start(service.grpc(), &["enable_x_ratelimit_headers: DRAFT_VERSION_03"]);
    let headers = [("x-a", "1"), ("x-hits", "3"), ("x-b", "1")];
    for (status, remaining, reset) in [(200, "1", ["1", "0"]), (429, "1", ["1", "0"])] {
        let page = envoy.get("/", &headers);
        assert_eq!(page.status, status);
        // Ours and Envoy's own stand beside each other; Envoy rounds down.
        for value in page.headers("x-ratelimit-remaining") {
            assert_eq!(value, remaining, "{page:?}");
        }
        for value in page.headers("x-ratelimit-reset") {
            assert!(reset.contains(&value), "{page:?}");
        }
        assert!(page.headers("x-ratelimit-limit").contains(&"4, 4;w=1, 30;w=60;name=\"by_b\""), "{page:?}");
    }
}

#[test]
fn without_redis_envoy_decides_as_it_is_told() {
    let mut redis = Server::start();
    let service = Service::start(&redis, EDGE);
    let open = Envoy::start(service.grpc(), &[]);
    let closed = Envoy::start(service.grpc(), &["failure_mode_deny: true"]);
    let headers = [("x-a", "1"), ("x-hits", "1")];
    assert_eq!([open.get("/", &headers).status, closed.get("/", &headers).status], [200, 200]);
    for _ in 0..2 {
        redis.kill9();
        eventually(Duration::from_secs(30), "the service has noticed", || {
            service.page("/healthcheck").status == 503
        });
        assert_eq!(service.metric("floodgate_envoy_redis_up"), 0);
        let start = std::time::Instant::now();
        for _ in 0..20 {
            // A failure of the service is 500 unless the filter says otherwise.
            assert_eq!([open.get("/", &headers).status, closed.get("/", &headers).status], [200, 500]);
        }
        assert!(start.elapsed() < PATIENCE, "nobody waits for a Redis that is away");
        redis.restart();
        service.wait_connected();
        // The new server counts, and denies.
        let statuses: Vec<u16> = (0..30).map(|_| closed.get("/", &headers).status).collect();
        assert!(statuses.contains(&429) && !statuses.contains(&500), "{statuses:?}");
    }
    assert!(service.metric("ratelimit_service_should_rate_limit_error{err_type=\"redis_error\"}") >= 80);
}

#[test]
fn killed_under_load_no_request_hangs_and_no_grant_is_doubled() {
    // The server's own clock: one that is set after the restart comes later than
    // the first requests. No window of 365 days turns during the test.
    let mut redis = Server::durable();
    let service = Service::start(
        &redis,
        "
domain: edge
descriptors: [{key: a, rate_limit: {unit: year, requests_per_unit: 100000}}]
",
    );
    let envoy = Envoy::start(service.grpc(), &["failure_mode_deny: true"]);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (granted, failed) = (std::sync::atomic::AtomicU64::new(0), std::sync::atomic::AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    match envoy.get("/", &[("x-a", "1"), ("x-hits", "1")]).status {
                        200 => granted.fetch_add(1, Relaxed),
                        500 => failed.fetch_add(1, Relaxed),
                        other => panic!("status {other}"),
                    };
                }
            });
        }
        let enough = |more: u64| {
            let goal = granted.load(Relaxed) + more;
            eventually(Duration::from_secs(30), "requests are granted", || granted.load(Relaxed) >= goal);
        };
        enough(50);
        redis.kill9();
        let goal = failed.load(Relaxed) + 20;
        eventually(Duration::from_secs(30), "requests fail", || failed.load(Relaxed) >= goal);
        redis.restart();
        service.wait_connected();
        enough(50);
        stop.store(true, Relaxed);
    });
    let used =
        redis.line("RL.QUOTA envoy:{edge}:a=1 fixed:100000/365d").items()[0].field("used").int() as u64;
    let (granted, failed) = (granted.into_inner(), failed.into_inner());
    // What was granted is counted; of the requests under way when the server died
    // some may be counted that heard a failure.
    assert!(
        granted <= used && used <= granted + 4.min(failed),
        "{granted} granted, {failed} failed, {used} used"
    );
}
