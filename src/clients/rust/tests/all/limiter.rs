//! Limits, waiting, batches, refunds, quota and headers.

use std::time::{Duration, Instant};

use floodgate_redis::{
    BatchItem, Blocked, Breaker, Counters, Decision, FailClosed, FailOpen, Limiter, LocalBucket, Options,
    Server, Source, redis,
};
use futures_util::future::join_all;

use crate::fixtures::{Machine, PATIENCE, acquired, calls, eventually, granted, in_line, line};

#[tokio::test]
async fn a_limit_by_key() {
    let machine = Machine::start().await;
    let limiter = Limiter::new(&machine.server(), FailClosed);
    let decisions = acquired(&limiter, 4, "user:1", "3/h", 1).await;
    assert_eq!(granted(&decisions), [1, 1, 1, 0]);
    assert!((1..=3600).contains(&decisions[3].retry_after_s().unwrap()));
    assert_eq!((decisions[3].source, decisions[0].retry_after_s()), (Source::Redis, None));
    assert_eq!(limiter.acquire("user:2", "3/h").await.unwrap().remaining, 2);
    let refused = limiter.acquire("user:1", "3/").await.unwrap_err().to_string();
    assert!(refused.contains("invalid limit '3/'"), "{refused}");
    let refused = limiter.acquire("user:1", "3/").with_headers().await.unwrap_err().to_string();
    assert!(refused.contains("invalid limit '3/'"), "{refused}");

    // The tightest binds, and a denial takes from none.
    let three = "100/s,5/h,1000/d";
    let decisions = acquired(&limiter, 3, "user:3", three, 2).await;
    assert_eq!((granted(&decisions), decisions[2].index), (vec![2, 2, 0], 1));
    assert_eq!(limiter.acquire("user:3", three).await.unwrap().remaining, 0);

    // Those that an operator has set.
    let server = limiter.server();
    line::<redis::Value>(server, "RL.PIN user:4 2/h").await;
    assert_eq!(granted(&acquired(&limiter, 3, "user:4", "*", 1).await), [1, 1, 0]);

    let two = limiter.acquire("user:5", "2/h").cost(7).partial().await.unwrap();
    assert_eq!((two.granted, two.remaining), (2, 0));
    let kept = "10/h:keep=90%";
    assert_eq!(granted(&acquired(&limiter, 2, "user:6", kept, 1).await), [1, 0]);
    assert!(limiter.acquire("user:6", kept).critical().await.unwrap().is_granted());
    limiter.acquire("user:7", "10/h").track().await.unwrap();
    assert_ne!(line::<Vec<redis::Value>>(server, "RL.STATS user:7").await, []);
}

/// Denied from memory, it takes no round trip.
#[tokio::test]
async fn it_does_not_ask_what_it_knows() {
    let machine = Machine::start().await;
    let limiter = Limiter::new(&machine.server(), FailClosed);
    let asked = async || calls(limiter.server(), "rl.acquire").await;
    acquired(&limiter, 1, "user:1", "1/h", 1).await;
    let start = Instant::now();
    let denied = acquired(&limiter, 500, "user:1", "1/h", 1).await;
    assert_eq!(granted(&denied), [0; 500]);
    // Once, and again each second.
    let questions = 2 + start.elapsed().as_secs();
    let Counters { redis, memory, fallback } = limiter.counters();
    assert!(redis <= questions + 1 && redis + memory == 501 && fallback == 0, "{redis} {memory} {fallback}");
    assert_eq!(asked().await, redis);
    assert!(denied.iter().filter(|decision| decision.source == Source::Memory).count() as u64 == memory);

    // What a refund through this limiter frees is asked for at once.
    assert_eq!(limiter.refund("user:1", 5).await.unwrap(), 1);
    assert!(limiter.acquire("user:1", "1/h").await.unwrap().is_granted());

    let asking = limiter.clone().without_memory();
    let before = asked().await;
    acquired(&asking, 20, "user:1", "1/h", 1).await;
    for _ in 0..5 {
        limiter.acquire("user:1", "1/h").critical().await.unwrap();
        limiter.acquire("user:1", "1/h").track().await.unwrap();
        limiter.acquire("user:1", "1/h").with_headers().await.unwrap();
    }
    assert_eq!(asked().await - before, 35);
}

#[tokio::test]
async fn standing_in_line() {
    let machine = Machine::start().await;
    // Longer than the patience of what does not wait.
    let impatient = Limiter::new(&machine.impatient(Duration::from_secs(5)), FailClosed);
    let start = Instant::now();
    let wait = Duration::from_secs(25);
    let waits = (0..3).map(|_| async { impatient.acquire("line", "2/6s").wait(wait).await });
    for decision in join_all(waits).await {
        assert!(matches!(decision, Ok(Decision { granted: 1, source: Source::Redis, .. })), "{decision:?}");
    }
    assert!(start.elapsed() > Duration::from_millis(5500));

    // Who goes leaves the line.
    let limiter = Limiter::new(&machine.server(), FailClosed);
    limiter.acquire("slow", "1/h").await.unwrap();
    let waiter = limiter.clone();
    let waiter =
        tokio::spawn(async move { waiter.acquire("slow", "1/h").wait(Duration::from_secs(20)).await });
    let waiting = async || in_line(limiter.server(), "slow").await;
    eventually("it stands in line", async || waiting().await == 1).await;
    let overtaking = limiter.acquire("slow", "1/h").await.unwrap();
    assert_eq!((overtaking.granted, overtaking.index), (0, -2));
    waiter.abort();
    eventually("it left the line", async || waiting().await == 0).await;

    // In vain, and with headers.
    let brief = Duration::from_millis(100);
    let (denied, headers) = limiter.acquire("slow", "1/h").wait(brief).with_headers().await.unwrap();
    assert!(!denied.is_granted() && headers.contains_key("Retry-After") && headers.contains_key("RateLimit"));
}

/// One more than may wait is decided at once.
#[tokio::test]
async fn only_so_many_wait() {
    let machine = Machine::start().await;
    let options = Options { patience: PATIENCE, waiters: 1, ..Default::default() };
    let server = Server::with(machine.url(), options).unwrap();
    let limiter = Limiter::new(&server, FailClosed).without_memory();
    limiter.acquire("slow", "1/h").await.unwrap();
    let first = limiter.clone();
    let first = tokio::spawn(async move { first.acquire("slow", "1/h").wait(Duration::from_secs(20)).await });
    eventually("it stands in line", async || in_line(&server, "slow").await == 1).await;
    let second = limiter.acquire("slow", "1/h").wait(Duration::from_secs(20)).await.unwrap();
    assert!(!second.is_granted());
    first.abort();
}

#[tokio::test]
async fn batches_refunds_quota_and_headers() {
    let machine = Machine::start().await;
    let limiter = Limiter::new(&machine.server(), LocalBucket::new(2.0));
    let items = [BatchItem::new("a", "2/h").cost(2), BatchItem::new("b", "1/h"), BatchItem::new("b", "1/h")];
    assert_eq!(granted(&limiter.batch_each(&items).await.unwrap()), [2, 1, 0]);
    assert_eq!(limiter.batch_each(&[]).await.unwrap(), []);
    let all = limiter.batch_all(&[BatchItem::new("c", "5/h"), BatchItem::new("b", "1/h")]).await.unwrap();
    assert_eq!((granted(&all), all[0].index), (vec![0, 0], -3));
    assert_eq!(limiter.refund("a", 9).await.unwrap(), 2);
    assert_eq!(limiter.refund("nobody", 9).await.unwrap(), 0);

    limiter.acquire("user:1", "10/s:shadow,fixed:1000/h").cost(3).await.unwrap();
    let quota = limiter.quota("user:1", "*").await.unwrap().unwrap();
    assert_eq!(quota.blocked, None);
    let [second, hour] = &quota.limits[..] else { panic!("{quota:?}") };
    assert!(second.is_shadow && !hour.is_shadow);
    assert_eq!((hour.algorithm.as_str(), hour.period_ms, hour.limit), ("fixed", 3_600_000, 1000));
    assert_eq!((hour.used, hour.remaining, hour.retry_after_ms), (3, 997, 0));
    let too_many = limiter.quota_for("user:1", "*", 1001).await.unwrap().unwrap();
    assert_eq!((too_many.limits[1].used, too_many.limits[1].retry_after_ms), (3, -1));
    assert_eq!(limiter.quota("nobody", "*").await.unwrap(), None);
    assert_eq!(limiter.quota("nobody", "7/h").await.unwrap().unwrap().limits[0].remaining, 7);
    line::<redis::Value>(limiter.server(), "RL.BLOCK user:1 FOR 1h REASON fraud").await;
    let blocked = limiter.quota("user:1", "*").await.unwrap().unwrap().blocked;
    assert!(matches!(&blocked, Some(Blocked { until_ms: 1.., reason }) if reason == "fraud"), "{blocked:?}");

    let (decision, headers) = limiter.acquire("user:2", "10/m").with_headers().await.unwrap();
    assert_eq!((decision.remaining, headers["X-RateLimit-Remaining"].as_str()), (9, "9"));
    assert!(headers["RateLimit"].starts_with("\"10/m\";r=9;t="), "{headers:?}");
    assert!(!headers.contains_key("Retry-After"));
    let (decision, headers) = limiter.acquire("user:2", "10/m").cost(10).with_headers().await.unwrap();
    assert_eq!(headers["Retry-After"], decision.retry_after_s().unwrap().to_string());
    let (never, headers) = limiter.acquire("user:2", "10/m").cost(11).with_headers().await.unwrap();
    assert!(never.retry_after_ms == -1 && !headers.contains_key("Retry-After"));
    assert_eq!(limiter.headers("user:2", "10/m").await.unwrap()["X-RateLimit-Remaining"], "9");
}

/// What is decided together is decided together also while Redis is away.
#[tokio::test]
async fn a_batch_alone() {
    let server = Server::open("redis://127.0.0.1:1").unwrap();
    let limiter = Limiter::new(&server, LocalBucket::new(0.001).burst(2.0));
    let both = [BatchItem::new("a", "9/h"), BatchItem::new("b", "9/h").cost(3)];
    let decisions = limiter.batch_all(&both).await.unwrap();
    assert_eq!((granted(&decisions), decisions[0].index), (vec![0, 0], -3));
    assert_eq!(granted(&limiter.batch_each(&both).await.unwrap()), [1, 0]);
    // The first of them was given back.
    assert_eq!(granted(&acquired(&limiter, 2, "a", "9/h", 1).await), [1, 0]);
    assert_eq!(limiter.refund("a", 1).await.unwrap(), 0);
    assert!(limiter.acquire("a", "9/h").await.unwrap().is_granted());
    assert!(limiter.quota("a", "9/h").await.is_err());
    assert!(limiter.headers("a", "9/h").await.unwrap().is_empty());
    let open = Limiter::new(&server, FailOpen);
    assert_eq!(granted(&open.batch_all(&both).await.unwrap()), [1, 3]);
}

/// The line of rights of the crate's page suffices for all that is done here.
#[tokio::test]
async fn with_the_rights_of_the_readme() {
    let machine = Machine::start().await;
    let rights = include_str!("../../README.md").split('`').find(|span| span.starts_with("ACL SETUSER web "));
    line::<redis::Value>(&machine.server(), rights.unwrap()).await;
    let options = Options { patience: PATIENCE, ..Options::default() };
    let allowed = Server::with(machine.url().replace("//", "//web:secret@"), options).unwrap();
    allowed.check().await.unwrap();
    let limiter = Limiter::new(&allowed, FailClosed);
    assert!(limiter.acquire("user:1", "9/h").with_headers().await.unwrap().0.is_granted());
    let waited = limiter.acquire("user:1", "9/h").wait(Duration::from_secs(1)).await.unwrap();
    assert_eq!((waited.remaining, waited.source), (7, Source::Redis));
    assert_eq!(granted(&limiter.batch_all(&[BatchItem::new("user:1", "9/h")]).await.unwrap()), [1]);
    assert_eq!(limiter.refund("user:1", 1).await.unwrap(), 1);
    limiter.charge("user:1", "9/h", 1).await.unwrap();
    let limits = [("user:2", "9/h")];
    let reservation = limiter.reserve(&limits).ttl(Duration::from_millis(90)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    reservation.commit().await;
    drop(limiter.reserve(&limits).await.unwrap());
    Breaker::new(&allowed, "user:mail", "3").call(async { Ok::<_, ()>(()) }).await.unwrap();
    eventually("it is given back", async || {
        limiter.quota("user:2", "9/h").await.unwrap().unwrap().limits[0].used == 1
    })
    .await;
    let refused = limiter.acquire("other", "9/h").await.unwrap_err();
    assert!(refused.to_string().contains("permission"), "{refused}");
}
