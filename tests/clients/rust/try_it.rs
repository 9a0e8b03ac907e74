//! Tries the recipes on a real server: try_it PORT PLAIN
//!
//! PLAIN is the port of a server without the module.
//!
//! Prints `down` when the server is to be killed, `up` when it is to be started
//! again, `freeze` and `thaw` when it is to be stopped and to go on, and goes on
//! itself when a line comes in.

use std::cell::Cell;
use std::collections::HashMap;
use std::env::{args, current_exe};
use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use recipes::breaker::{Breaker, Failed};
use recipes::floodgate::{Decision, Fallback, Limiter, LocalBucket, Server};
use recipes::layer::{by_address, network};
use recipes::reservation::{Unreserved, reserve};
use redis::FromRedisValue;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, stdin};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// Where tests run a server may take its time: not each delay is an outage.
const PATIENCE: Duration = Duration::from_secs(5);
const REST: Duration = Duration::from_millis(200);
/// Longer than it ever rests.
const RESTED: Duration = Duration::from_millis(350);
const LLM: &str = "1000/h,concurrent:2";

fn silent(_: &str) {}

/// What a server said to this log since it was last asked.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn said(line: &str) {
    SAID.lock().unwrap().push(line.into());
}

fn heard() -> Vec<String> {
    std::mem::take(&mut *SAID.lock().unwrap())
}

async fn please(what: &str) {
    println!("{what}");
    let mut line = String::new();
    BufReader::new(stdin()).read_line(&mut line).await.unwrap();
}

async fn line<T: FromRedisValue>(server: &Server, line: &str) -> T {
    let mut words = line.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    // A tab stands for a blank within a word.
    command.arg(words.map(|word| word.replace('\t', " ")).collect::<Vec<_>>());
    server.ask(&command).await.unwrap_or_else(|error| panic!("{line}: {error:?}"))
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn acquired(limiter: &Limiter, times: usize, key: &str, limits: &str, cost: u64) -> Vec<Decision> {
    let mut all = Vec::new();
    for _ in 0..times {
        all.push(limiter.acquire(key, limits, cost).await.unwrap());
    }
    all
}

fn granted(decisions: &[Decision]) -> Vec<u64> {
    decisions.iter().map(|decision| decision.granted).collect()
}

/// Units counted on the first limit of a key.
async fn used(server: &Server, key: &str) -> i64 {
    let limits: Vec<HashMap<String, redis::Value>> = line(server, &format!("RL.QUOTA {key}")).await;
    redis::from_redis_value_ref(&limits[0]["used"]).unwrap()
}

async fn held(server: &Server, key: &str) -> usize {
    line::<Vec<redis::Value>>(server, &format!("RL.RESERVATIONS {key}")).await.len()
}

async fn waiting(server: &Server, key: &str) -> i64 {
    line::<Vec<i64>>(server, &format!("RL.QUEUE {key}")).await[0]
}

async fn the_first_request(url: &str) {
    let first = current_exe().unwrap().with_file_name("first");
    let output = Command::new(first).env("REDIS_URL", url).output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "9 left\n", "{output:?}");
}

async fn a_limit_by_key(limiter: &Limiter) {
    let decisions = acquired(limiter, 4, "user:1", "3/h", 1).await;
    assert_eq!(granted(&decisions), [1, 1, 1, 0]);
    assert!((1..=3600).contains(&decisions[3].retry_after_s().unwrap()) && decisions[3].from_redis);
    assert_eq!(limiter.acquire("user:2", "3/h", 1).await.unwrap().remaining, 2);
    let refused = limiter.acquire("user:1", "3/", 1).await.unwrap_err().to_string();
    assert!(refused.contains("invalid limit '3/'"), "{refused}");
}

/// The tightest binds, and a denial takes from none.
async fn three_limits_at_once(limiter: &Limiter) {
    let three = "100/s,5/h,1000/d";
    let decisions = acquired(limiter, 3, "user:3", three, 2).await;
    assert_eq!((granted(&decisions), decisions[2].index), (vec![2, 2, 0], 1));
    assert_eq!(limiter.acquire("user:3", three, 1).await.unwrap().remaining, 0);
}

async fn standing_in_line(url: &str, limiter: &Arc<Limiter>) {
    // Longer than the patience of what does not wait.
    let server = Server::with(url, Duration::from_secs(1), REST, silent).unwrap();
    let impatient = Limiter::new(server, Fallback::FailClosed);
    let start = Instant::now();
    let waits = (0..3).map(|_| impatient.wait("line", "2/1500ms", 1, Duration::from_secs(9)));
    for decision in join_all(waits).await {
        assert!(matches!(decision, Ok(Decision { granted: 1, from_redis: true, .. })), "{decision:?}");
    }
    assert!(start.elapsed() > Duration::from_millis(1400));

    // Who goes leaves the line.
    limiter.acquire("slow", "1/h", 1).await.unwrap();
    let long = Duration::from_secs(20);
    let waiter = limiter.clone();
    let waiter = tokio::spawn(async move { waiter.wait("slow", "1/h", 1, long).await });
    eventually("it stands in line", async || waiting(&limiter.server, "slow").await == 1).await;
    let overtaking = limiter.acquire("slow", "1/h", 1).await.unwrap();
    assert_eq!((overtaking.granted, overtaking.index), (0, -2));
    waiter.abort();
    eventually("it left the line", async || waiting(&limiter.server, "slow").await == 0).await;
}

async fn a_breaker_round_a_call(server: &Arc<Server>) {
    let breaker = Breaker::new(server.clone(), "mail", "2:open=1h");
    let call = async |result: Result<i32, &'static str>| breaker.call(async { result }).await;
    assert!(matches!(call(Ok(42)).await, Ok(42)));
    for _ in 0..2 {
        assert!(matches!(call(Err("no answer")).await, Err(Failed::Call("no answer"))));
    }
    let open = call(Ok(42)).await;
    assert!(matches!(open, Err(Failed::Open { retry_after_ms: 3_500_000..=3_600_000 })), "{open:?}");

    // A trial that is dropped is given back: neither lost nor a failure.
    let flaky = Breaker::new(server.clone(), "flaky", "1:open=100ms:lease=1h");
    let slow = timeout(Duration::from_millis(10), sleep(PATIENCE));
    assert!(matches!(flaky.call(slow).await, Err(Failed::Call(_))));
    sleep(Duration::from_millis(150)).await;
    let called = AtomicBool::new(false);
    let trial = flaky.call(async {
        called.store(true, Ordering::Relaxed);
        std::future::pending::<Result<(), ()>>().await
    });
    {
        let mut trial = Box::pin(trial);
        eventually("the trial is admitted", async || {
            let _ = timeout(Duration::from_millis(10), &mut trial).await;
            called.load(Ordering::Relaxed)
        })
        .await;
    }
    eventually("the trial is given back", async || {
        matches!(flaky.call(async { Ok::<_, ()>(()) }).await, Ok(()))
    })
    .await;
    let (_, state, _, _): (bool, String, Option<String>, i64) = line(server, "CB.ACQUIRE flaky").await;
    assert_eq!(state, "closed");
}

/// Or out of patience: what was taken meanwhile is given back.
async fn dropped_while_it_is_asked(url: &str, limiter: &Arc<Limiter>) {
    let server = &limiter.server;
    let impatient = Server::with(url, Duration::from_millis(500), REST, silent).unwrap();
    let rule = "1:open=100ms:lease=1h";
    // It has connected.
    Breaker::new(impatient.clone(), "trial:first", rule).call(async { Ok::<_, ()>(()) }).await.unwrap();
    let breaker = |key| Breaker::new(server.clone(), key, rule);
    let breakers = [breaker("trial:dropped"), breaker("trial:late")];
    for breaker in &breakers {
        assert!(matches!(breaker.call(async { Err::<(), _>(()) }).await, Err(Failed::Call(()))));
    }
    sleep(Duration::from_millis(150)).await;
    please("freeze").await;
    let place = [("place", "concurrent:1")];
    let long = Duration::from_secs(3600);
    let called = AtomicBool::new(false);
    let late = Breaker::new(impatient, "trial:late", rule);
    let asking = async {
        let call = breakers[0].call(async {
            called.store(true, Ordering::Relaxed);
            Ok::<_, ()>(())
        });
        let reserving = reserve(limiter, &place, 1, long);
        let _ = futures_util::future::join(call, reserving).await;
        panic!("it was dropped");
    };
    assert!(timeout(Duration::from_millis(50), asking).await.is_err());
    assert!(late.call(async { Ok::<_, ()>(()) }).await.is_ok());
    please("thaw").await;
    eventually("the trials and the place are given back", async || {
        let mut free = reserve(limiter, &place, 1, long).await.is_ok();
        for breaker in &breakers {
            free &= breaker.call(async { Ok::<_, ()>(()) }).await.is_ok();
        }
        free
    })
    .await;
    assert!(!called.load(Ordering::Relaxed));
}

async fn tokens_of_a_language_model(limiter: &Limiter) {
    let server = &limiter.server;
    let has_spent = Cell::new(false);
    let work = async |spends: Option<u64>, fails: bool, lasts: Duration| -> Result<(), &'static str> {
        let mut reservation =
            reserve(limiter, &[("llm:1", LLM)], 100, Duration::from_millis(1500)).await.unwrap();
        assert_eq!(held(server, "llm:1").await, 1);
        if let Some(units) = spends {
            reservation.spend(units);
            has_spent.set(true);
        }
        sleep(lasts).await;
        assert_eq!(held(server, "llm:1").await, 1, "it was not renewed");
        if fails {
            return Err("no answer");
        }
        reservation.commit().await;
        Ok(())
    };
    line::<redis::Value>(server, "RL.ACQUIRE llm:1 1000/h").await;
    let at_once = Duration::ZERO;
    for (charged, spends, fails, lasts) in [
        (30, Some(30), false, at_once),              // less than the estimate
        (150, Some(150), false, at_once),            // more
        (100, None, false, at_once),                 // never said: the estimate stands
        (0, None, true, at_once),                    // released
        (7, Some(7), true, at_once),                 // spent before it failed
        (3, Some(3), false, Duration::from_secs(2)), // longer than its TTL
    ] {
        let before = used(server, "llm:1").await;
        assert_eq!(work(spends, fails, lasts).await.is_err(), fails);
        eventually("it is settled", async || held(server, "llm:1").await == 0).await;
        assert_eq!(used(server, "llm:1").await - before, charged);
    }

    // Dropped while it works.
    let before = used(server, "llm:1").await;
    has_spent.set(false);
    tokio::select! {
        ended = work(Some(5), false, PATIENCE) => panic!("{ended:?}"),
        () = eventually("it spends", async || has_spent.get()) => {}
    }
    eventually("it is settled", async || held(server, "llm:1").await == 0).await;
    assert_eq!(used(server, "llm:1").await - before, 5);

    let ttl = Duration::from_secs(30);
    let denied = reserve(limiter, &[("llm:2", LLM)], 1001, ttl).await;
    assert!(matches!(denied, Err(Unreserved::Denied(Decision { retry_after_ms: -1, .. }))));
    let _one = reserve(limiter, &[("llm:3", "concurrent:1")], 1, ttl).await.unwrap();
    let denied = reserve(limiter, &[("llm:3", "concurrent:1")], 1, ttl).await;
    assert!(matches!(denied, Err(Unreserved::Denied(Decision { retry_after_ms: 1..=30_000, .. }))));
}

struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Response {
    fn header(&self, name: &str) -> Option<&str> {
        let found =
            |line: &'_ str| line.split_once(": ").is_some_and(|(key, _)| key.eq_ignore_ascii_case(name));
        self.head.lines().find(|line| found(line)).and_then(|line| Some(line.split_once(": ")?.1))
    }
}

/// The service as a process of its own.
struct Web {
    port: u16,
    _process: Child,
}

impl Web {
    async fn start(url: &str) -> Self {
        // It ends when this process does, however that ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(current_exe().unwrap().with_file_name("web"));
        command.env("REDIS_URL", url).env("REDIS_PATIENCE_MS", PATIENCE.as_millis().to_string());
        let mut process = command.env("PORT", "0").stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut said).await.unwrap();
        Self { port: said.trim().rsplit(':').next().unwrap().parse().unwrap(), _process: process }
    }

    /// From one of the machine's own addresses, 127.0.0.0/8.
    async fn send(&self, request: &str, caller: u8) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, caller], 0).into()).unwrap();
        let mut stream = socket.connect(([127, 0, 0, 1], self.port).into()).await.unwrap();
        let text = format!("{request} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    async fn ask(&self, request: &str, caller: u8) -> Response {
        let mut text = String::new();
        self.send(request, caller).await.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Response { status, head: head.into(), body: body.into() }
    }
}

async fn over_http(web: &Web) {
    let first = web.ask("GET /hello", 2).await;
    assert_eq!((first.status, first.body.as_str()), (200, "world\n"));
    let policies = r#""10/s";q=10;w=1, "1000/h";q=1000;w=3600, "10000/d";q=10000;w=86400"#;
    assert_eq!(first.header("RateLimit-Policy"), Some(policies));
    assert!(first.header("RateLimit").unwrap().starts_with(r#""10/s";r=9;t=1, "1000/h";r=999;t="#));
    assert_eq!(
        (first.header("X-RateLimit-Limit"), first.header("X-RateLimit-Remaining")),
        (Some("10"), Some("9"))
    );
    loop {
        let response = web.ask("GET /hello", 2).await;
        if response.status == 429 {
            assert_eq!(
                (response.header("Retry-After"), response.body.as_str()),
                (Some("1"), "too many requests\n")
            );
            assert!(
                response.header("RateLimit").unwrap().starts_with(r#""10/s";r=0;t="#),
                "{}",
                response.head
            );
            break;
        }
        assert_eq!((response.status, response.header("Retry-After")), (200, None));
    }
    assert_eq!(web.ask("GET /hello", 3).await.status, 200);

    for expected in [200, 200, 200, 200, 200, 429] {
        let login = web.ask("POST /login/joe", 3).await;
        assert_eq!((login.status, login.header("Retry-After").is_some()), (expected, expected == 429));
    }

    let start = Instant::now();
    for _ in 0..3 {
        assert_eq!(web.ask("GET /report", 4).await.status, 200);
    }
    assert!(start.elapsed() > Duration::from_millis(500));

    for (cents, expected) in [(7, 200), (13, 502), (13, 502), (13, 502)] {
        assert_eq!(web.ask(&format!("POST /pay/{cents}"), 5).await.status, expected);
    }
    let open = web.ask("POST /pay/7", 5).await;
    let seconds: u64 = open.header("Retry-After").unwrap().parse().unwrap();
    assert!(open.status == 503 && (25..=30).contains(&seconds), "{}", open.head);
}

async fn a_stream_over_http(web: &Web, server: &Server) {
    let answer = web.ask("POST /ask/20", 6).await;
    assert_eq!((answer.status, answer.body.matches("word ").count()), (200, 20));
    eventually("the answer is settled", async || held(server, "llm").await == 0).await;
    assert_eq!(used(server, "llm").await, 20);

    // Who hangs up half way is charged for half.
    let mut stream = web.send("POST /ask/100000", 6).await;
    let mut some = [0; 600];
    stream.read_exact(&mut some).await.unwrap();
    drop(stream);
    eventually("the hung up answer is settled", async || held(server, "llm").await == 0).await;
    let charged = used(server, "llm").await;
    assert!((30..1020).contains(&charged), "{charged}");

    // An estimate that never fits: no Retry-After.
    line::<redis::Value>(server, "RL.PIN llm 1000/m").await;
    let never = web.ask("POST /ask/20", 6).await;
    assert_eq!((never.status, never.header("Retry-After")), (429, None));
    line::<redis::Value>(server, "RL.UNPIN llm").await;

    // Denied before the first byte.
    for i in 0..5 {
        line::<redis::Value>(server, &format!("RL.RESERVE 1 llm 100000/m,concurrent:5 TTL 30s ID held-{i}"))
            .await;
    }
    let denied = web.ask("POST /ask/20", 6).await;
    assert_eq!((denied.status, denied.header("Retry-After").is_some()), (429, true));
    for i in 0..5 {
        line::<redis::Value>(server, &format!("RL.RELEASE held-{i} 1 llm")).await;
    }
}

/// All that may be under way when the server goes ends well.
async fn in_flight(limiter: &Arc<Limiter>) {
    let gone = Arc::new(tokio::sync::Notify::new());
    let loops: Vec<_> = (0..3)
        .map(|_| {
            let limiter = limiter.clone();
            tokio::spawn(async move {
                let (mut shared, mut slowest) = (0, Duration::ZERO);
                loop {
                    let start = Instant::now();
                    let decision = limiter.acquire("flight", "1000000/h", 1).await.unwrap();
                    slowest = slowest.max(start.elapsed());
                    if !decision.from_redis {
                        return (shared, slowest);
                    }
                    shared += 1;
                    sleep(Duration::from_millis(1)).await;
                }
            })
        })
        .collect();
    limiter.acquire("flight:line", "1/h", 1).await.unwrap();
    let waiter = limiter.clone();
    let waiter =
        tokio::spawn(
            async move { waiter.wait("flight:line", "1/h", 1, Duration::from_secs(25)).await.unwrap() },
        );
    let work = {
        let (limiter, gone) = (limiter.clone(), gone.clone());
        tokio::spawn(async move {
            let ttl = Duration::from_millis(300);
            let mut reservation = reserve(&limiter, &[("flight:llm", LLM)], 100, ttl).await.unwrap();
            let breaker = Breaker::new(limiter.server.clone(), "flight:mail", "1");
            let called = breaker.call(async {
                gone.notified().await;
                Ok::<_, ()>(42)
            });
            assert!(matches!(called.await, Ok(42)));
            reservation.spend(1);
            reservation.commit().await;
        })
    };
    sleep(Duration::from_millis(300)).await;
    please("down").await;
    gone.notify_one();
    work.await.unwrap();
    for done in loops {
        let (shared, slowest) = done.await.unwrap();
        assert!(shared > 0 && slowest < Duration::from_secs(2), "{shared} {slowest:?}");
    }
    let alone = waiter.await.unwrap();
    assert_eq!((alone.granted, alone.from_redis), (1, false));
}

async fn misconfigured_at_the_start(url: &str, plain: &str) {
    let server = Server::open(url).unwrap();
    server.check().await.unwrap();
    line::<redis::Value>(&server, "CONFIG SET requirepass secret").await;
    for (url, what) in [
        (url.replace("//", "//:wrong@"), "assword"),
        (url.into(), "NOAUTH"),
        (plain.into(), "unknown command"),
    ] {
        let wrong = Server::with(&url, PATIENCE, REST, said).unwrap();
        let limiter = Limiter::new(wrong.clone(), Fallback::FailOpen);
        for refused in [
            wrong.check().await.unwrap_err(),
            limiter.acquire("a", "1/s", 1).await.unwrap_err(),
            limiter.acquire_with_headers("a", "1/s").await.unwrap_err(),
        ] {
            assert!(refused.to_string().contains(what), "{url}: {refused}");
        }
    }
    line::<redis::Value>(&server, "CONFIG SET requirepass ").await;
    assert_eq!(heard(), Vec::<String>::new());
    // A server that is away is none: it is logged.
    let away = Server::with("redis://127.0.0.1:1", PATIENCE, REST, said).unwrap();
    away.check().await.unwrap();
    let lines = heard();
    assert!(lines.len() == 1 && lines[0].starts_with("Redis is lost, fallbacks hold: "), "{lines:?}");
}

/// It answers, and decides nothing: that is an outage like others, logged once.
async fn it_cannot_write(url: &str) {
    let admin = Server::with(url, PATIENCE, REST, silent).unwrap();
    let server = Server::with(url, PATIENCE, Duration::from_millis(10), said).unwrap();
    let limiter = Limiter::new(server.clone(), Fallback::FailOpen);
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
            assert!(!limiter.acquire("user:9", "1000/h", 1).await.unwrap().from_redis, "{what}");
            sleep(Duration::from_millis(20)).await;
            let (decision, headers) = limiter.acquire_with_headers("user:9", "1000/h").await.unwrap();
            assert_eq!((decision.granted, decision.from_redis, headers.len()), (1, false, 0), "{what}");
            let breaker = Breaker::new(server.clone(), "none:yet", "1");
            breaker.call(async { Ok::<_, ()>(sleep(Duration::from_millis(20)).await) }).await.unwrap();
        }
        sleep(Duration::from_millis(20)).await;
        line::<redis::Value>(&admin, mends).await;
        asks_again(&limiter).await;
        let lines = heard();
        assert!(
            lines.len() == 2 && lines[0].starts_with("Redis is lost, fallbacks hold: "),
            "{what}: {lines:?}"
        );
        assert_eq!(lines[1], "Redis is found again", "{what}");
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

fn callers_by_address() {
    for (address, key) in [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("::1", "::/64"),
    ] {
        let address: SocketAddr = (address.parse::<IpAddr>().unwrap(), 1234).into();
        let mut request = axum::extract::Request::new(axum::body::Body::empty());
        assert_eq!(by_address(&request), "unknown");
        request.extensions_mut().insert(axum::extract::ConnectInfo(address));
        assert_eq!(by_address(&request), key);
    }
    let address = "2001:db8:1:234::1".parse().unwrap();
    assert_eq!(network(address, 56), "2001:db8:1:200::/56");
    assert_eq!(network(address, 128), "2001:db8:1:234::1/128");
    assert_eq!(network(address, 0), "::/0");
}

async fn redis_is_away(server: &Arc<Server>, web: &Web) {
    let local = Fallback::Local(LocalBucket::new(5.0, 5.0));
    for (fallback, least, most) in
        [(Fallback::FailOpen, 20, 20), (Fallback::FailClosed, 0, 0), (local, 5, 10)]
    {
        let start = Instant::now();
        let limiter = Limiter::new(server.clone(), fallback);
        let decisions = acquired(&limiter, 20, "user:1", "3/h", 1).await;
        assert!(decisions.iter().all(|decision| !decision.from_redis));
        let sum: u64 = granted(&decisions).iter().sum();
        assert!((least..=most).contains(&sum), "{sum}");
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    }
    let call = Breaker::new(server.clone(), "mail", "2:open=1h");
    assert!(matches!(call.call(async { Ok::<_, ()>(42) }).await, Ok(42)));
    let closed = Limiter::new(server.clone(), Fallback::FailClosed);
    let denied = reserve(&closed, &[("llm:1", LLM)], 100, PATIENCE).await;
    assert!(matches!(denied, Err(Unreserved::Denied(_))));

    let hello = web.ask("GET /hello", 7).await;
    assert_eq!((hello.status, hello.header("RateLimit")), (200, None));
    assert_eq!(web.ask("POST /login/ann", 7).await.status, 429);
    assert_eq!(web.ask("POST /pay/7", 7).await.status, 200);
    assert_eq!(web.ask("POST /ask/3", 7).await.body.matches("word ").count(), 3);
}

/// Of a crowd that meets a server which hangs, one pays the timeout.
async fn one_asks_for_all(url: &str) {
    let server = Server::with(url, Duration::from_secs(1), REST, silent).unwrap();
    let limiter = Limiter::new(server, Fallback::FailOpen);
    let took = async || {
        let start = Instant::now();
        assert!(!limiter.acquire("user:1", "3/h", 1).await.unwrap().from_redis);
        start.elapsed()
    };
    took().await;
    sleep(RESTED).await;
    let times = join_all((0..20).map(|_| took())).await;
    let slow = times.iter().filter(|time| **time > Duration::from_millis(900)).count();
    assert_eq!(slow, 1, "{times:?}");
}

async fn asks_again(limiter: &Limiter) {
    eventually("it asks again", async || limiter.acquire("user:9", "1000/h", 1).await.unwrap().from_redis)
        .await;
}

#[tokio::main]
async fn main() {
    let mut ports = args().skip(1).map(|port| format!("redis://127.0.0.1:{port}"));
    let (url, plain) = (ports.next().unwrap(), ports.next().unwrap());
    callers_by_address();
    misconfigured_at_the_start(&url, &plain).await;
    let server = Server::with(&url, PATIENCE, REST, silent).unwrap();
    let limiter = Limiter::new(server.clone(), Fallback::Local(LocalBucket::new(5.0, 5.0)));
    let web = Web::start(&url).await;

    the_first_request(&url).await;
    a_limit_by_key(&limiter).await;
    three_limits_at_once(&limiter).await;
    standing_in_line(&url, &limiter).await;
    a_breaker_round_a_call(&server).await;
    dropped_while_it_is_asked(&url, &limiter).await;
    tokens_of_a_language_model(&limiter).await;
    over_http(&web).await;
    a_stream_over_http(&web, &server).await;

    in_flight(&limiter).await;
    redis_is_away(&server, &web).await;
    please("up").await;
    asks_again(&limiter).await;
    // What was granted before stands.
    assert_eq!(limiter.acquire("user:1", "3/h", 1).await.unwrap().granted, 0);

    please("freeze").await;
    one_asks_for_all(&url).await;
    please("thaw").await;
    asks_again(&limiter).await;

    it_cannot_write(&url).await;
    println!("done");
}
