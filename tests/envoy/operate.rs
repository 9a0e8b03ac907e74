//! What operators see and do: health, metrics, deadlines, an orderly end.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    fixtures::{Borrower, NOON, RUNTIME, Service, descriptor},
    harness::{Server, eventually},
};

const CONFIG: &str = "
domain: d
descriptors:
  - {key: a, rate_limit: {unit: minute, requests_per_unit: 5}}
  - {key: a, value: 'say \"hi\"\\', rate_limit: {unit: minute, requests_per_unit: 5}}
";

/// What gRPC says about the service's health.
fn health(service: &Service, name: &str) -> i32 {
    let address = format!("http://127.0.0.1:{}", service.grpc());
    RUNTIME.block_on(async {
        let channel = tonic::transport::Channel::from_shared(address).unwrap().connect().await.unwrap();
        let mut client = HealthClient::new(channel);
        let request = HealthCheckRequest { service: name.to_owned() };
        client.check(request).await.unwrap().into_inner().status
    })
}

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

#[test]
fn health_follows_redis() {
    let mut redis = Server::start();
    let service = Service::start(&redis, CONFIG);
    for name in ["", "envoy.service.ratelimit.v3.RateLimitService"] {
        assert_eq!(health(&service, name), SERVING);
    }
    redis.kill9();
    eventually(Duration::from_secs(30), "not serving", || health(&service, "") == NOT_SERVING);
    assert_eq!(service.page("/healthcheck").status, 503);
    redis.restart();
    eventually(Duration::from_secs(30), "serving", || health(&service, "") == SERVING);
    assert_eq!(service.page("/nothing").status, 404);
}

#[test]
fn it_starts_without_redis_and_answers_once_it_is_there() {
    let mut redis = Server::start();
    redis.kill9();
    let url = format!("redis://127.0.0.1:{}", redis.port());
    let service = Service::alone(CONFIG, &["--redis", &url]);
    let asking = service.asking("d");
    let away = asking.send(1, vec![descriptor("a=1")]).unwrap_err();
    assert_eq!((away.code(), away.message()), (Code::Unavailable, "Redis is away"));
    assert!(asking.ask(&["free=1"]).ok(), "who has no limit needs no Redis");
    redis.restart();
    service.wait_connected();
    assert!(asking.ask(&["a=1"]).ok());
}

#[test]
fn a_server_without_the_module_is_named() {
    let redis = Server::builder().without_module().start();
    let url = format!("redis://127.0.0.1:{}", redis.port());
    let service = Service::alone(CONFIG, &["--redis", &url]);
    service.wait_log("Redis does not decide: ERR unknown command");
    assert_eq!((health(&service, ""), service.page("/healthcheck").status), (NOT_SERVING, 503));
    let why = service.asking("d").send(1, vec![descriptor("a=1")]).unwrap_err();
    assert_eq!(why.code(), Code::Unavailable);
    assert!(why.message().contains("RL.BATCH"), "{why:?}");
    let _ = service.asking("d").send(1, vec![descriptor("a=1")]).unwrap_err();
    assert_eq!(service.log().matches("RL.BATCH").count(), 1, "once in a while: {}", service.log());
}

#[test]
fn a_replica_is_not_ready_until_it_is_a_master() {
    let redis = Server::start();
    let service = Service::start(&redis, CONFIG);
    redis.ok("REPLICAOF 127.0.0.1 1");
    service.wait_log("Redis does not decide: READONLY");
    eventually(Duration::from_secs(30), "not serving", || health(&service, "") == NOT_SERVING);
    redis.ok("REPLICAOF NO ONE");
    service.wait_connected();
    assert!(service.asking("d").ask(&["a=1"]).ok());
    assert!(service.log().contains("Redis decides"));
}

/// Whatever Redis answers to all requests, an Envoy must learn it from the health.
#[test]
fn a_server_that_refuses_is_not_ready_until_it_decides() {
    let redis = Server::start();
    let service = Service::start(&redis, CONFIG);
    let asking = service.asking("d");
    for (broken, mended, code) in [
        ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0", "NOREPLICAS"),
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "OOM"),
    ] {
        redis.ok(broken);
        // Only a request meets a full memory, because the probe gives units back.
        let refused = asking.send(1, vec![descriptor("a=1")]).unwrap_err();
        assert!(refused.message().contains(code), "{refused:?}");
        service.wait_log(&format!("Redis does not decide: {code}"));
        eventually(Duration::from_secs(30), code, || health(&service, "") == NOT_SERVING);
        assert_eq!(service.page("/healthcheck").status, 503, "{code}");
        assert_eq!(service.metric("floodgate_envoy_redis_up"), 0, "{code}");
        redis.ok(mended);
        service.wait_connected();
        assert!(asking.ask(&["a=2"]).ok(), "{code}");
        // Each reason is told, however soon it follows another one.
        let told = service
            .log()
            .lines()
            .filter(|line| line.contains("Redis refused") && line.contains(code))
            .count();
        assert_eq!(told, 1, "{}", service.log());
    }
    redis.ok("CLIENT PAUSE 2500 WRITE");
    service.wait_log("Redis does not decide: Redis did not answer");
    service.wait_connected();
}

/// The health as gRPC, HTTP and the metrics tell it.
#[track_caller]
fn follows(service: &Service, up: bool) {
    let (grpc, http) = if up { (SERVING, 200) } else { (NOT_SERVING, 503) };
    eventually(Duration::from_secs(30), "the health follows", || health(service, "") == grpc);
    assert_eq!(service.page("/healthcheck").status, http);
    assert_eq!(service.metric("floodgate_envoy_redis_up"), u64::from(up));
}

#[test]
fn a_user_without_the_rights_is_not_ready_until_it_has_them() {
    let redis = Server::start();
    let url = format!("redis://limiter:x@127.0.0.1:{}", redis.port());
    for (lacks, has) in [
        ("~envoy:* +rl.quota +rl.refund +ping", "+rl.batch"),
        ("~other:* +rl.batch +rl.quota +rl.refund +ping", "~envoy:*"),
    ] {
        redis.ok(&format!("ACL SETUSER limiter reset on >x {lacks}"));
        let service = Service::alone(CONFIG, &["--redis", &url]);
        service.wait_connected();
        let asking = service.asking("d");
        let refused = asking.send(1, vec![descriptor("a=1")]).unwrap_err();
        assert!(refused.message().contains("permissions"), "{refused:?}");
        service.wait_log("Redis does not decide: NOPERM");
        follows(&service, false);
        // It stays so without another request.
        std::thread::sleep(Duration::from_millis(2500));
        follows(&service, false);
        redis.ok(&format!("ACL SETUSER limiter {has}"));
        follows(&service, true);
        assert!(asking.ask(&["a=1"]).ok());
        assert_eq!(redis.counter("batch_denied"), 0);
    }
    // What the log asks for is a right that the README names.
    redis.ok("ACL SETUSER limiter reset on >x ~envoy:* +rl.batch +rl.quota +ping");
    let service = Service::alone(CONFIG, &["--redis", &url]);
    service.wait_log("Redis does not decide: NOPERM");
    let told: String =
        service.log().lines().filter(|line| line.contains("does not decide")).map(str::to_owned).collect();
    assert!(told.contains("rl.refund") && !told.contains("rl.release"), "{told}");
    // The other right does not help whoever gives units back.
    redis.ok("ACL SETUSER limiter +rl.release");
    service.wait_connected();
    let back = RateLimitDescriptor { is_negative_hits: true, ..descriptor("a=1") };
    let _ = service.asking("d").send(1, vec![back]).unwrap_err();
    follows(&service, false);
    redis.ok("ACL SETUSER limiter +rl.refund");
    follows(&service, true);
}

#[test]
fn what_is_lent_needs_its_rights_too() {
    let redis = Server::start();
    redis.ok("ACL SETUSER limiter on >x ~envoy:* +rl.quota +rl.commit +rl.release +multi +exec +ping");
    let url = format!("redis://limiter:x@127.0.0.1:{}", redis.port());
    let service = Service::alone("domain: d\ndescriptors: [{key: a, limits: 100/h}]\n", &["--redis", &url]);
    service.wait_connected();
    let mut envoy = Borrower::connect(service.grpc(), "d");
    envoy.hears_nothing("a=1", 0, 1);
    service.wait_log("Redis does not decide: ");
    follows(&service, false);
    redis.ok("ACL SETUSER limiter +rl.reserve");
    follows(&service, true);
}

#[test]
fn a_missing_password_is_not_healthy() {
    let redis = Server::start();
    redis.ok("CONFIG SET requirepass pw");
    let service = Service::alone(CONFIG, &["--redis", &format!("redis://127.0.0.1:{}", redis.port())]);
    service.wait_log("Redis does not decide: NOAUTH");
    assert_eq!((health(&service, ""), service.page("/healthcheck").status), (NOT_SERVING, 503));
    let why = service.asking("d").send(1, vec![descriptor("a=1")]).unwrap_err();
    assert!(why.message().contains("NOAUTH"), "{why:?}");
}

#[test]
fn a_deadline_ends_the_waiting() {
    let redis = Server::start();
    redis.clock_set(NOON);
    let service = Service::with(&redis, CONFIG, &["--timeout", "150ms"]);
    let asking = service.asking("d");
    redis.ok("CLIENT PAUSE 1500 ALL");
    let why = asking.send(1, vec![descriptor("a=1")]).unwrap_err();
    assert_eq!((why.code(), why.message()), (Code::Unavailable, "Redis did not answer within 150 ms"));
    eventually(Duration::from_secs(30), "it answers again", || {
        asking.send(1, vec![descriptor("a=2")]).is_ok()
    });
    // The command was under way, and is not sent a second time.
    let used = redis.line("RL.QUOTA envoy:{d}:a=1 fixed:5/m").items()[0].field("used").int();
    assert_eq!(used, 1);
}

#[test]
fn metrics_are_what_prometheus_reads() {
    let redis = Server::start();
    redis.clock_set(NOON);
    let service = Service::start(&redis, CONFIG);
    let asking = service.asking("d");
    let mut odd = descriptor("a");
    odd.entries[0].value = "say \"hi\"\\".to_owned();
    asking.send(1, vec![odd]).unwrap();
    for _ in 0..7 {
        asking.ask(&["a=1"]);
    }
    let page = service.page("/metrics").body;
    assert!(page.contains("key1=\"a_say \\\"hi\\\"\\\\\"} 1\n"), "{page}");
    let name = |kind: &str| format!("ratelimit_service_rate_limit_{kind}{{domain=\"d\",key1=\"a\"}}");
    let figures = ["total_hits", "within_limit", "near_limit", "over_limit", "shadow_mode"];
    assert_eq!(figures.map(|kind| service.metric(&name(kind))), [7, 5, 1, 2, 0]);
    assert_eq!(service.metric("ratelimit_service_total_requests{grpc_method=\"ShouldRateLimit\"}"), 8);
    assert_eq!(
        service.metric("ratelimit_service_response_time_seconds_count{grpc_method=\"ShouldRateLimit\"}"),
        8
    );
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = promtool.as_mut().expect("promtool: run scripts/setup.sh test");
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.unwrap().wait_with_output().unwrap();
    // The names are those of envoyproxy/ratelimit, without today's ending.
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    let others: Vec<_> = complaints.lines().filter(|line| !line.ends_with("\"_total\" suffix")).collect();
    assert!(others.iter().all(|line| line.is_empty()), "{others:?}");
}

#[test]
fn a_stop_lets_requests_under_way_end() {
    let redis = Server::start();
    redis.clock_set(NOON);
    let mut service = Service::start(&redis, CONFIG);
    let asking = service.asking("d");
    assert!(asking.ask(&["a=1"]).ok());
    redis.ok("CLIENT PAUSE 1000 ALL");
    let under_way = {
        let asking = asking.clone();
        RUNTIME.spawn(async move { asking.sending(1, vec![descriptor("a=1")]).await })
    };
    eventually(Duration::from_secs(30), "it is under way", || service.commands() == 2);
    service.signal("TERM");
    let answer = RUNTIME.block_on(under_way).unwrap().unwrap();
    assert_eq!(answer.left(), [(true, 3)]);
    assert!(service.wait_exit().success());
    assert!(service.log().contains("floodgate-envoy: stopped"), "{}", service.log());
    assert!(asking.send(1, vec![descriptor("a=1")]).is_err());
}

#[test]
fn a_watch_of_health_does_not_hold_up_the_stop() {
    let redis = Server::start();
    let mut service = Service::start(&redis, CONFIG);
    let address = format!("http://127.0.0.1:{}", service.grpc());
    let mut watch = RUNTIME.block_on(async {
        let channel = tonic::transport::Channel::from_shared(address).unwrap().connect().await.unwrap();
        let request = HealthCheckRequest { service: String::new() };
        HealthClient::new(channel).watch(request).await.unwrap().into_inner()
    });
    let mut next = || RUNTIME.block_on(watch.message()).unwrap().map(|answer| answer.status);
    assert_eq!(next(), Some(SERVING));
    let start = Instant::now();
    service.signal("TERM");
    assert_eq!([next(), next()], [Some(NOT_SERVING), None]);
    assert!(service.wait_exit().success());
    assert!(start.elapsed() < Duration::from_secs(8), "{}", service.log());
    assert!(!service.log().contains("did not end"), "{}", service.log());
}

#[test]
fn what_is_wrong_at_the_start_ends_it() {
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_floodgate-envoy")).args(args).output().unwrap();
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (good, said) = run(&[]);
    assert!(!good && said.starts_with("floodgate-envoy: --config is missing"), "{said}");
    let (good, said) = run(&["--config", "/nowhere"]);
    assert!(!good && said.starts_with("floodgate-envoy: /nowhere: cannot be read"), "{said}");
    let (good, said) = run(&["--help"]);
    assert!(good && said.contains("floodgate-envoy check FILE|FOLDER"), "{said}");
    assert_eq!(run(&["--version"]), (true, format!("floodgate-envoy {}\n", env!("CARGO_PKG_VERSION"))));
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("c.yaml");
    std::fs::write(&config, CONFIG).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (good, said) = run(&["--config", config.to_str().unwrap(), "--listen", &address]);
    assert!(!good && said.contains(&format!("cannot listen on {address}")), "{said}");
}
