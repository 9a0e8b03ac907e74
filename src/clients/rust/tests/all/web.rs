//! The examples, as processes of their own.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use floodgate_redis::{Limiter, LocalBucket, Server, redis};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};

use crate::fixtures::{Machine, PATIENCE, eventually, held, line, used};

pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found =
            |line: &'_ str| line.split_once(": ").is_some_and(|(key, _)| key.eq_ignore_ascii_case(name));
        self.head.lines().find(|line| found(line)).and_then(|line| Some(line.split_once(": ")?.1))
    }
}

pub struct Web {
    port: u16,
    _process: Child,
}

impl Web {
    pub async fn start(url: &str, patience: Duration) -> Self {
        Self::of("web", url, patience).await
    }

    async fn of(example: &str, url: &str, patience: Duration) -> Self {
        // It ends when this process does, however that ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program(example));
        command.env("REDIS_URL", url).env("REDIS_PATIENCE_MS", patience.as_millis().to_string());
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

    pub async fn ask(&self, request: &str, caller: u8) -> Response {
        let mut text = String::new();
        self.send(request, caller).await.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Response { status, head: head.into(), body: body.into() }
    }
}

fn program(example: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.parent().unwrap().with_file_name("examples").join(example)
}

/// The example says what is expected; on a busy machine Redis may take longer than its
/// 250 ms, and its fallback decides: then it has another turn.
async fn says(example: &str, url: &str, expected: &str) {
    for turn in 1.. {
        let output =
            Command::new(program(example)).env("REDIS_URL", url).stdin(Stdio::null()).output().await.unwrap();
        if output.status.success() && output.stdout == expected.as_bytes() {
            return;
        }
        assert!(turn < 20, "{output:?}");
        let mut redis = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
        redis::cmd("FLUSHALL").exec_async(&mut redis).await.unwrap();
    }
}

/// The example `hello` lets two requests of a caller pass. It has no more patience than `says` tells.
async fn hello_limits(url: &str, admin: &Server, caller: u8) {
    let hello = Web::of("hello", url, PATIENCE).await;
    let mut answers = Vec::new();
    eventually("two pass, and both are told so by Redis", async || {
        line::<redis::Value>(admin, "FLUSHALL").await;
        answers.clear();
        for _ in 0..3 {
            let answer = hello.ask("GET /hello", caller).await;
            answers.push((answer.status, answer.header("RateLimit").is_some()));
        }
        answers == [(200, true), (200, true), (429, true)]
    })
    .await;
}

/// What the crate's page shows is what runs here.
#[tokio::test]
async fn the_page_shows_examples_that_run() {
    let page = include_str!("../../README.md");
    let shown: Vec<&str> =
        page.split("```rust,no_run\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    let files = [
        include_str!("../../examples/first.rs"),
        include_str!("../../examples/calls.rs"),
        include_str!("../../examples/hello.rs"),
    ];
    assert_eq!(shown.len(), files.len());
    for (shown, file) in shown.iter().zip(files) {
        assert!(file.ends_with(shown), "{shown}");
    }

    let machine = Machine::start().await;
    let url = machine.url();
    says("first", &url, "9 left\n").await;
    says("calls", &url, "19099 left\n").await;
    let admin = machine.server();
    hello_limits(&url, &admin, 2).await;

    // With no more rights than the layer needs, and by RESP3.
    let rights = page.split('`').find(|span| span.starts_with("ACL SETUSER layer ")).unwrap();
    line::<redis::Value>(&admin, rights).await;
    let layer = format!("{}?protocol=resp3", url.replace("redis://", "redis://layer:secret@"));
    hello_limits(&layer, &admin, 3).await;
}

#[tokio::test]
async fn over_http() {
    let mut machine = Machine::start().await;
    let web = Web::start(&machine.url(), PATIENCE).await;
    let first = web.ask("GET /hello", 2).await;
    assert_eq!((first.status, first.body.as_str()), (200, "world\n"));
    let policies = r#""10/s";q=10;w=1, "1000/h";q=1000;w=3600, "10000/d";q=10000;w=86400"#;
    assert_eq!(first.header("RateLimit-Policy"), Some(policies));
    assert!(first.header("RateLimit").unwrap().starts_with(r#""10/s";r=9;t=1, "1000/h";r=999;t="#));
    assert_eq!(
        (first.header("X-RateLimit-Limit"), first.header("X-RateLimit-Remaining")),
        (Some("10"), Some("9"))
    );
    let server = machine.server();
    // However slow the machine is: the second does not end.
    line::<redis::Value>(&server, "RL.PIN api:127.0.0.3 3/h,1000/d").await;
    for left in [2, 1, 0] {
        let response = web.ask("GET /hello", 3).await;
        assert_eq!((response.status, response.header("Retry-After")), (200, None));
        let told = format!("\"3/h\";r={left};t=");
        assert!(response.header("RateLimit").unwrap().starts_with(&told), "{}", response.head);
    }
    let response = web.ask("GET /hello", 3).await;
    assert_eq!((response.status, response.body.as_str()), (429, "too many requests\n"));
    assert!((3500..=3600).contains(&response.header("Retry-After").unwrap().parse().unwrap()));
    assert!(response.header("RateLimit").unwrap().starts_with("\"3/h\";r=0;t="), "{}", response.head);
    assert_eq!(web.ask("GET /hello", 4).await.status, 200);

    for expected in [200, 200, 200, 200, 200, 429] {
        let login = web.ask("POST /login/joe", 5).await;
        assert_eq!((login.status, login.header("Retry-After").is_some()), (expected, expected == 429));
    }

    let start = Instant::now();
    for _ in 0..3 {
        assert_eq!(web.ask("GET /report", 6).await.status, 200);
    }
    assert!(start.elapsed() > Duration::from_millis(500));

    for (cents, expected) in [(7, 200), (13, 502), (13, 502), (13, 502)] {
        assert_eq!(web.ask(&format!("POST /pay/{cents}"), 7).await.status, expected);
    }
    let open = web.ask("POST /pay/7", 7).await;
    let seconds: u64 = open.header("Retry-After").unwrap().parse().unwrap();
    assert!(open.status == 503 && (10..=30).contains(&seconds), "{}", open.head);

    machine.is_to("kill").await;
    let hello = web.ask("GET /hello", 8).await;
    assert_eq!((hello.status, hello.header("RateLimit")), (200, None));
    assert_eq!(web.ask("POST /login/ann", 8).await.status, 429);
    assert_eq!(web.ask("POST /pay/7", 8).await.status, 200);
    assert_eq!(web.ask("POST /ask/3", 8).await.body.matches("word ").count(), 3);
}

#[tokio::test]
async fn a_stream_over_http() {
    let machine = Machine::start().await;
    let web = Web::start(&machine.url(), PATIENCE).await;
    let limiter = Limiter::new(&machine.server(), LocalBucket::new(1.0));
    let server = limiter.server();
    let answer = web.ask("POST /ask/20", 6).await;
    assert_eq!((answer.status, answer.body.matches("word ").count()), (200, 20));
    eventually("the answer is settled", async || held(server, "llm").await == 0).await;
    assert_eq!(used(&limiter, "llm").await, 20);

    // Who hangs up half way is charged for half.
    let mut stream = web.send("POST /ask/100000", 6).await;
    let mut some = [0; 600];
    stream.read_exact(&mut some).await.unwrap();
    drop(stream);
    eventually("the hung up answer is settled", async || held(server, "llm").await == 0).await;
    let charged = used(&limiter, "llm").await;
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
}
