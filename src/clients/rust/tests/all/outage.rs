//! Redis that is killed, hangs, cannot write, or is not what it should be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use floodgate_redis::{
    Breaker, CallError, Error, FailClosed, FailOpen, Limiter, LocalBucket, Options, ReserveError, Server,
    Source, redis,
};
use futures_util::future::join_all;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::fixtures::{
    HANGS, Machine, PATIENCE, REST, acquired, asks_again, eventually, granted, heard, held, in_line, line,
};

const LLM: &str = "1000/h,concurrent:2";

/// All that may be under way when the server goes ends well; what was granted before
/// stands when it is back.
#[tokio::test]
async fn in_flight() {
    let mut machine = Machine::start().await;
    let server = machine.server();
    let limiter = Limiter::new(&server, LocalBucket::new(5.0));
    assert_eq!(granted(&acquired(&limiter, 4, "user:1", "3/h", 1).await), [1, 1, 1, 0]);
    let gone = Arc::new(tokio::sync::Notify::new());
    let loops: Vec<_> = (0..3)
        .map(|_| {
            let limiter = limiter.clone();
            tokio::spawn(async move {
                let (mut shared, mut slowest) = (0, Duration::ZERO);
                loop {
                    let start = Instant::now();
                    let decision = limiter.acquire("flight", "1000000/h").await.unwrap();
                    slowest = slowest.max(start.elapsed());
                    if decision.source == Source::Fallback {
                        return (shared, slowest);
                    }
                    shared += 1;
                    sleep(Duration::from_millis(1)).await;
                }
            })
        })
        .collect();
    limiter.acquire("flight:line", "1/h").await.unwrap();
    let waiter = {
        let limiter = limiter.clone();
        let wait = Duration::from_secs(25);
        tokio::spawn(async move { limiter.acquire("flight:line", "1/h").wait(wait).await.unwrap() })
    };
    let work = {
        let (limiter, gone) = (limiter.clone(), gone.clone());
        tokio::spawn(async move {
            let limits = [("flight:llm", LLM)];
            let mut reservation = limiter.reserve(&limits).estimate(100).await.unwrap();
            let breaker = Breaker::new(limiter.server(), "flight:mail", "1");
            let called = breaker.call(async {
                gone.notified().await;
                Ok::<_, ()>(42)
            });
            assert!(matches!(called.await, Ok(42)));
            reservation.spend(1);
            reservation.commit().await;
        })
    };
    eventually("all is under way", async || {
        let stands = in_line(&server, "flight:line").await == 1;
        stands && held(&server, "flight:llm").await == 1 && limiter.counters().redis > 100
    })
    .await;
    machine.is_to("kill").await;
    gone.notify_one();
    work.await.unwrap();
    for done in loops {
        let (shared, slowest) = done.await.unwrap();
        assert!(shared > 0 && slowest < HANGS, "{shared} {slowest:?}");
    }
    let alone = waiter.await.unwrap();
    assert_eq!((alone.granted, alone.source), (1, Source::Fallback));

    redis_is_away(&server).await;
    machine.is_to("start").await;
    asks_again(&limiter).await;
    assert_eq!(limiter.acquire("user:1", "3/h").await.unwrap().granted, 0);
}

async fn redis_is_away(server: &Server) {
    let limiters = [
        (Limiter::new(server, FailOpen), 20, 20),
        (Limiter::new(server, FailClosed), 0, 0),
        (Limiter::new(server, LocalBucket::new(1.0).burst(5.0)), 5, 5),
    ];
    for (limiter, least, most) in limiters {
        let start = Instant::now();
        let decisions = acquired(&limiter, 20, "user:2", "3/h", 1).await;
        assert!(decisions.iter().all(|decision| decision.source == Source::Fallback));
        let sum: u64 = granted(&decisions).iter().sum();
        // A bucket gains one a second.
        let gained = if most == 5 { start.elapsed().as_secs() } else { 0 };
        assert!((least..=most + gained).contains(&sum), "{sum}");
        assert!(start.elapsed() < HANGS, "{:?}", start.elapsed());
        assert_eq!(limiter.counters().fallback, 20);
    }
    let call = Breaker::new(server, "mail", "2:open=1h");
    assert!(matches!(call.call(async { Ok::<_, ()>(42) }).await, Ok(42)));
    let closed = Limiter::new(server, FailClosed);
    let denied = closed.reserve(&[("llm:1", LLM)]).estimate(100).await;
    assert!(matches!(denied, Err(ReserveError::Denied(_))));
    let open = Limiter::new(server, FailOpen);
    open.reserve(&[("llm:1", LLM)]).estimate(100).await.unwrap().commit().await;
}

/// A bucket of a process's own: bounded, and full again after a while.
#[tokio::test]
async fn the_local_bucket() {
    let away = Server::open("redis://127.0.0.1:1").unwrap();
    let limiter = Limiter::new(&away, LocalBucket::new(2.0).burst(3.0));
    let decisions = acquired(&limiter, 4, "a", "9/h", 1).await;
    assert_eq!(granted(&decisions), [1, 1, 1, 0]);
    assert!((1..=500).contains(&decisions[3].retry_after_ms), "{decisions:?}");
    assert_eq!(limiter.acquire("a", "9/h").cost(4).await.unwrap().retry_after_ms, -1);
    assert!(limiter.acquire("b", "9/h").await.unwrap().is_granted());
    sleep(Duration::from_millis(600)).await;
    assert!(limiter.acquire("a", "9/h").await.unwrap().is_granted());
    // In part: what there is, and then when one is there.
    let part = async || limiter.acquire("c", "9/h").cost(5).partial().await.unwrap();
    assert_eq!(part().await.granted, 3);
    let denied = part().await;
    assert!(denied.granted == 0 && (1..=500).contains(&denied.retry_after_ms), "{denied:?}");
    for rate in [0.0, -1.0, f64::NAN] {
        let never = Limiter::new(&away, LocalBucket::new(rate));
        let decisions = acquired(&never, 2, "a", "9/h", 1).await;
        assert_eq!((granted(&decisions), decisions[1].retry_after_ms), (vec![1, 0], -1));
    }
}

/// Silence is an outage after 250 ms, and of a crowd one pays that.
#[tokio::test]
async fn one_asks_for_all() {
    let mut machine = Machine::start().await;
    // Where tests run, 250 ms are soon over: the default is tried, then a slower one.
    let usual = Limiter::new(&Server::open(machine.url()).unwrap(), FailOpen);
    asks_again(&usual).await;
    machine.is_to("freeze").await;
    let start = Instant::now();
    assert_eq!(usual.acquire("user:1", "3/h").await.unwrap().source, Source::Fallback);
    let took = start.elapsed();
    assert!((Duration::from_millis(200)..HANGS).contains(&took), "{took:?}");

    let options =
        Options { patience: Duration::from_secs(1), rest: Duration::from_secs(2), ..Options::default() };
    let server = Server::with(machine.url(), options).unwrap();
    let limiter = Limiter::new(&server, FailOpen);
    let took = async || {
        let start = Instant::now();
        assert_eq!(limiter.acquire("user:1", "3/h").await.unwrap().source, Source::Fallback);
        start.elapsed()
    };
    took().await;
    sleep(Duration::from_millis(3100)).await; // the longest rest
    let times = join_all((0..20).map(|_| took())).await;
    let slow = times.iter().filter(|time| **time > Duration::from_millis(900)).count();
    assert_eq!(slow, 1, "{times:?}");
    machine.is_to("thaw").await;
    asks_again(&limiter).await;
}

/// Who has asked before waits for no connection, and so not for longer than one that is silent.
#[tokio::test]
async fn what_has_to_be_given_back_waits_no_longer() {
    let mut machine = Machine::start().await;
    let options = Options { patience: Duration::from_secs(3), rest: Duration::ZERO, ..Options::default() };
    let server = Server::with(machine.url(), options).unwrap();
    let limiter = Limiter::new(&server, FailOpen);
    let limits = [("silent", LLM)];
    limiter.reserve(&limits).await.unwrap().commit().await;
    machine.is_to("freeze").await;
    let start = Instant::now();
    limiter.reserve(&limits).await.unwrap().commit().await;
    let took = start.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(5)).contains(&took), "{took:?}");
    machine.is_to("thaw").await;
}

/// They find out together that it is away, though none of them waits for that.
#[tokio::test]
async fn callers_of_less_patience() {
    let mut machine = Machine::start().await;
    let options =
        Options { patience: Duration::from_secs(2), rest: Duration::from_secs(2), ..Options::default() };
    let server = Server::with(machine.url(), options).unwrap();
    let limiter = Limiter::new(&server, FailOpen);
    asks_again(&limiter).await;
    machine.is_to("freeze").await;
    for waits in 1.. {
        let asked = timeout(Duration::from_millis(100), limiter.acquire("hasty", "3/h")).await;
        if let Ok(decision) = asked {
            assert_eq!(decision.unwrap().source, Source::Fallback);
            break;
        }
        assert!(waits < 100, "each of them waits");
    }
    machine.is_to("thaw").await;
}

/// As a server does with one that is idle (its setting `timeout`), and in a quiet restart.
#[tokio::test]
async fn a_lost_connection_is_no_outage() {
    let machine = Machine::start().await;
    let (server, admin) = (machine.server(), machine.server());
    let limiter = Limiter::new(&server, FailClosed);
    let breaker = Breaker::new(&server, "idle:mail", "1:open=1h");
    let failed = breaker.call(async { Err::<(), _>("down") }).await;
    assert!(matches!(failed, Err(CallError::Failed("down"))));
    heard();
    for _ in 0..3 {
        line::<redis::Value>(&admin, "CLIENT KILL TYPE normal SKIPME yes").await;
        sleep(Duration::from_millis(50)).await;
        let limits = [("idle:llm", LLM)];
        limiter.reserve(&limits).await.unwrap().commit().await;
        line::<redis::Value>(&admin, "CLIENT KILL TYPE normal SKIPME yes").await;
        sleep(Duration::from_millis(50)).await;
        let called = breaker.call(async { Ok::<_, ()>(()) }).await;
        assert!(matches!(called, Err(CallError::Open { .. })), "{called:?}");
        assert_eq!(limiter.acquire("idle", "1000/h").await.unwrap().source, Source::Redis);
    }
    assert_eq!((heard(), limiter.counters().fallback), (vec![], 0));
}

/// Nor is one of a waiter's own that cannot be opened, or that is lost: the others say nothing of an
/// outage, and the waiter is decided over the connection of all.
#[tokio::test]
async fn a_waiter_whose_connection_fails_is_no_outage() {
    let machine = Machine::start().await;
    let (server, admin) = (machine.server(), machine.server());
    let limiter = Limiter::new(&server, FailOpen);
    let used_up = || limiter.acquire("full", "1/h");
    let held = [("held", "concurrent:1")];
    assert_eq!(used_up().await.unwrap().granted, 1);
    let place = limiter.reserve(&held).await.unwrap();
    // It has reserved nothing so far, and so has one connection.
    let newcomer = Limiter::new(&machine.server(), FailOpen);
    asks_again(&newcomer).await;
    heard();
    let info: String = line(&admin, "INFO clients").await;
    let clients = info.lines().find_map(|line| line.strip_prefix("connected_clients:")).unwrap();
    line::<redis::Value>(&admin, &format!("CONFIG SET maxclients {clients}")).await;
    let wait = Duration::from_secs(20);
    let denied = used_up().wait(wait).await.unwrap();
    assert_eq!((denied.granted, denied.source), (0, Source::Redis));
    assert!(matches!(limiter.reserve(&held).wait(wait).await, Err(ReserveError::Denied(_))));
    place.commit().await;
    limiter.reserve(&held).wait(wait).await.unwrap().commit().await;
    assert_eq!(acquired(&limiter, 1, "free", "9/h", 1).await[0].source, Source::Redis);
    let place = newcomer.reserve(&held).await.unwrap();
    assert!(matches!(newcomer.reserve(&held).wait(wait).await, Err(ReserveError::Denied(_))));
    place.commit().await;
    assert_eq!(newcomer.counters().fallback, 0);

    // While it stands in line: an operator ends its wait, or its connection.
    line::<redis::Value>(&admin, "CONFIG SET maxclients 10000").await;
    let place = limiter.reserve(&held).await.unwrap();
    for ends in ["CLIENT UNBLOCK {id} ERROR", "CLIENT KILL ID {id}"] {
        let ended = async {
            eventually("both stand in line", async || {
                in_line(&admin, "full").await == 1 && in_line(&admin, "held").await == 1
            })
            .await;
            let list: String = line(&admin, "CLIENT LIST").await;
            for client in list.lines().filter(|client| client.contains(" flags=b ")) {
                let id = client.split(' ').next().unwrap().trim_start_matches("id=");
                line::<redis::Value>(&admin, &ends.replace("{id}", id)).await;
            }
        };
        let waiter = async { used_up().wait(wait).await };
        let holder = async { limiter.reserve(&held).wait(wait).await };
        let ((), denied, reserved) = futures_util::join!(ended, waiter, holder);
        assert_eq!(
            denied.map(|denied| (denied.granted, denied.source)).unwrap(),
            (0, Source::Redis),
            "{ends}"
        );
        assert!(matches!(reserved, Err(ReserveError::Denied(_))), "{ends}");
    }
    place.commit().await;
    assert_eq!((heard(), limiter.counters().fallback), (vec![], 0));
}

/// The connections of the first end with it.
#[test]
fn one_runtime_after_the_other() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let lasting = runtime();
    let machine = lasting.block_on(Machine::start());
    let limiter = Limiter::new(&machine.server(), FailClosed);
    for _ in 0..3 {
        runtime().block_on(async {
            limiter.reserve(&[("runtime", LLM)]).await.unwrap().commit().await;
            assert_eq!(limiter.acquire("runtime", "1000/h").await.unwrap().source, Source::Redis);
        });
    }
}

/// Durations that cannot be reckoned with.
#[tokio::test]
async fn no_duration_is_too_long() {
    let machine = Machine::start().await;
    let options = Options { patience: Duration::MAX, rest: Duration::MAX, ..Options::default() };
    let limiter = Limiter::new(&Server::with(machine.url(), options).unwrap(), FailOpen);
    assert_eq!(limiter.acquire("long", "3/h").await.unwrap().source, Source::Redis);
    limiter.reserve(&[("long", LLM)]).ttl(Duration::MAX).await.unwrap().commit().await;
    // The server says how long one may wait.
    let wait = limiter.acquire("long", "3/h").wait(Duration::MAX).await.unwrap_err().to_string();
    assert!(wait.contains("WAIT must be at most"), "{wait}");
    let away = Limiter::new(&Server::with("redis://127.0.0.1:1", options).unwrap(), FailOpen);
    assert_eq!(away.acquire("long", "3/h").await.unwrap().source, Source::Fallback);
}

#[tokio::test]
async fn misconfigured_at_the_start() {
    heard();
    let (machine, plain) = (Machine::start().await, Machine::plain().await);
    let server = machine.server();
    server.check().await.unwrap();
    line::<redis::Value>(&server, "ACL SETUSER web on >secret ~* +rl.acquire").await;
    let options = Options { patience: PATIENCE, rest: REST, ..Options::default() };
    let user = Server::with(machine.url().replace("//", "//web:secret@"), options).unwrap();
    user.check().await.unwrap();
    line::<redis::Value>(&server, "CONFIG SET requirepass secret").await;
    let url = machine.url();
    for (url, what) in [
        (url.replace("//", "//:wrong@"), "check the user and the password"),
        (url.replace("//", "//:secret@") + "/99", "out of range: check the URL"),
        (url, "NOAUTH"),
        (plain.url(), "load the module"),
    ] {
        let wrong = Server::with(url.as_str(), options).unwrap();
        let limiter = Limiter::new(&wrong, FailOpen);
        let errors = [
            wrong.check().await.unwrap_err(),
            limiter.acquire("a", "1/s").await.unwrap_err(),
            limiter.acquire("a", "1/s").with_headers().await.unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, Error::Misconfigured(_)), "{error:?}");
            assert!(error.to_string().contains(what), "{url}: {error}");
        }
    }
    assert_eq!(heard(), Vec::<String>::new());
    // A server that is away is none: it is logged.
    let away = Server::open("redis://127.0.0.1:1").unwrap();
    away.check().await.unwrap();
    let lines = heard();
    assert!(lines.len() == 1 && lines[0].starts_with("Redis is away, the fallback decides: "), "{lines:?}");
}

/// It answers, and decides nothing: that is an outage like others, logged once.
#[tokio::test]
async fn it_cannot_write() {
    let machine = Machine::start().await;
    let admin = machine.server();
    let options = Options { patience: PATIENCE, rest: Duration::from_millis(10), ..Options::default() };
    let server = Server::with(machine.url(), options).unwrap();
    let limiter = Limiter::new(&server, FailOpen);
    server.check().await.unwrap();
    for (what, breaks, mends) in [
        ("OOM", "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
        ("NOREPLICAS", "CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
        ("READONLY", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
        ("MISCONF", "CONFIG SET save 3600\t1", "CONFIG SET save "),
        ("NOAUTH", "CONFIG SET requirepass secret", "CONFIG SET requirepass "),
    ] {
        heard();
        line::<redis::Value>(&admin, breaks).await;
        match what {
            "MISCONF" => fails_to_save(&admin).await,
            "NOAUTH" => drop(line::<redis::Value>(&admin, "CLIENT KILL TYPE normal SKIPME yes").await),
            _ => {}
        }
        for _ in 0..5 {
            let decision = limiter.acquire("user:9", "1000/h").await.unwrap();
            assert_eq!(decision.source, Source::Fallback, "{what}");
            sleep(Duration::from_millis(20)).await;
            let (decision, headers) = limiter.acquire("user:9", "1000/h").with_headers().await.unwrap();
            assert_eq!((decision.granted, decision.source), (1, Source::Fallback), "{what}");
            assert!(headers.is_empty(), "{what}");
            let breaker = Breaker::new(&server, "none:yet", "1");
            let slow = async {
                sleep(Duration::from_millis(20)).await;
                Ok::<_, ()>(())
            };
            breaker.call(slow).await.unwrap();
        }
        sleep(Duration::from_millis(20)).await;
        line::<redis::Value>(&admin, mends).await;
        asks_again(&limiter).await;
        let lines = heard();
        assert!(
            lines.len() == 2 && lines[0].starts_with("Redis is away, the fallback decides: "),
            "{what}: {lines:?}"
        );
        assert_eq!(lines[1], "Redis is back", "{what}");
    }
}

/// As when the disk is full.
async fn fails_to_save(admin: &Server) {
    line::<redis::Value>(admin, "CONFIG SET rdb-key-save-delay 10000000").await;
    line::<redis::Value>(admin, "BGSAVE").await;
    let info: String = line(admin, "INFO server").await;
    let pid = info.lines().find_map(|line| line.strip_prefix("process_id:")).unwrap().trim();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let killed = Command::new("kill").arg("-9").args(children.split_whitespace()).status().await.unwrap();
    assert!(killed.success());
    eventually("it fails to save", async || {
        line::<String>(admin, "INFO persistence").await.contains("rdb_last_bgsave_status:err")
    })
    .await;
}
