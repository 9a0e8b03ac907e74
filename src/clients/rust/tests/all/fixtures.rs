//! Servers for tests, and what the client said to the log.
//!
//! `cargo test --all-features --test server clients::rust` of the module's own tests runs
//! these: it starts the servers, on the port that `FLOODGATE_CONTROL` names. Who
//! connects there says `server`, `plain` (one without the module) or `cluster` (whose port is
//! that of a node) and hears its port; then each of `kill`, `start`, `freeze` and `thaw` is answered by `done`. It is gone
//! when the connection ends.

use std::cell::RefCell;
use std::sync::Once;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use floodgate_redis::{Decision, Limiter, Options, Server, Source, redis};
use redis::FromRedisValue;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::sleep;

/// Tests run on busy machines, where a server that is well may take seconds to answer.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Nothing that ends takes so long; what takes longer hangs.
pub const HANGS: Duration = Duration::from_secs(30);
pub const REST: Duration = Duration::from_millis(200);

pub struct Machine {
    control: BufReader<TcpStream>,
    port: u16,
}

impl Machine {
    /// With the module; its data outlive it.
    pub async fn start() -> Self {
        Self::of("server").await
    }

    /// Without the module.
    pub async fn plain() -> Self {
        Self::of("plain").await
    }

    /// A node of a cluster.
    pub async fn cluster() -> Self {
        Self::of("cluster").await
    }

    async fn of(kind: &str) -> Self {
        let port = std::env::var("FLOODGATE_CONTROL")
            .expect("FLOODGATE_CONTROL: `cargo test --all-features --test server clients::rust` runs these");
        let control = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).await.unwrap();
        let mut machine = Self { control: BufReader::new(control), port: 0 };
        machine.port = machine.say(kind).await.parse().unwrap();
        machine
    }

    async fn say(&mut self, line: &str) -> String {
        self.control.get_mut().write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        self.control.read_line(&mut answer).await.unwrap();
        answer.trim().to_owned()
    }

    /// Does one of `kill`, `start`, `freeze` and `thaw` to it.
    pub async fn is_to(&mut self, what: &str) {
        assert_eq!(self.say(what).await, "done");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn server(&self) -> Server {
        self.impatient(PATIENCE)
    }

    pub fn impatient(&self, patience: Duration) -> Server {
        Server::with(self.url(), Options { patience, rest: REST, ..Options::default() }).unwrap()
    }
}

pub async fn line<T: FromRedisValue>(server: &Server, line: &str) -> T {
    let mut words = line.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    // A tab stands for a blank within a word.
    command.arg(words.map(|word| word.replace('\t', " ")).collect::<Vec<_>>());
    server.ask(&command).await.unwrap_or_else(|error| panic!("{line}: {error:?}"))
}

pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        sleep(Duration::from_millis(20)).await;
    }
}

pub async fn acquired(limiter: &Limiter, times: usize, key: &str, limits: &str, cost: u64) -> Vec<Decision> {
    let mut all = Vec::new();
    for _ in 0..times {
        all.push(limiter.acquire(key, limits).cost(cost).await.unwrap());
    }
    all
}

pub fn granted(decisions: &[Decision]) -> Vec<u64> {
    decisions.iter().map(|decision| decision.granted).collect()
}

pub async fn asks_again(limiter: &Limiter) {
    eventually("it asks again", async || {
        limiter.acquire("again", "1000000/h").await.unwrap().source == Source::Redis
    })
    .await;
}

/// Units counted on the first limit of a key.
pub async fn used(limiter: &Limiter, key: &str) -> i64 {
    limiter.quota(key, "*").await.unwrap().unwrap().limits[0].used
}

pub async fn held(server: &Server, key: &str) -> usize {
    line::<Vec<redis::Value>>(server, &format!("RL.RESERVATIONS {key}")).await.len()
}

/// Asserts that what is reserved for 3 s stays reserved for longer: it is renewed. No slow
/// machine ends it, for the server's clock stands still until it is advanced.
pub async fn is_renewed(server: &Server, key: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    line::<redis::Value>(server, &format!("RL.DEBUG CLOCK SET {now}")).await;
    for _ in 0..3 {
        eventually("it is renewed", async || {
            let [(_, _, _, left_ms)] =
                line::<[(String, u64, u64, u64); 1]>(server, &format!("RL.RESERVATIONS {key}")).await;
            left_ms == 3000
        })
        .await;
        line::<redis::Value>(server, "RL.DEBUG CLOCK ADVANCE 2000000").await;
    }
    assert_eq!(held(server, key).await, 1);
    line::<redis::Value>(server, "RL.DEBUG CLOCK REAL").await;
}

/// How many stand in line at a key.
pub async fn in_line(server: &Server, key: &str) -> i64 {
    line::<Vec<i64>>(server, &format!("RL.QUEUE {key}")).await[0]
}

/// How often the server was asked for a command.
pub async fn calls(server: &Server, command: &str) -> u64 {
    let stats: String = line(server, "INFO commandstats").await;
    let start = format!("cmdstat_{command}:calls=");
    let told = stats.lines().find_map(|line| line.to_lowercase().strip_prefix(&start).map(str::to_owned));
    told.map_or(0, |told| told.split(',').next().unwrap().parse().unwrap())
}

thread_local! {
    // Each test has a thread, on which all its work is done.
    static SAID: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Ear;

impl log::Log for Ear {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.target().starts_with("floodgate_redis") {
            SAID.with_borrow_mut(|said| said.push(record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

/// What was logged on this thread since it was last asked.
pub fn heard() -> Vec<String> {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        log::set_logger(&Ear).unwrap();
        log::set_max_level(log::LevelFilter::Info);
    });
    SAID.take()
}
