//! Paid calls and their cache.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use floodgate_redis::{
    Breaker, Cache, CallError, Error, FailClosed, Guard, GuardError, Limiter, LocalBucket, Options, Server,
    redis,
};
use futures_util::future::join_all;
use tokio::time::sleep;

use crate::fixtures::{
    HANGS, Machine, PATIENCE, asks_again, calls, eventually, heard, held, in_line, line, used,
};

/// The totals of a key.
async fn total(server: &Server, key: &str, name: &str) -> String {
    let stats: HashMap<String, redis::Value> = line(server, &format!("RL.STATS {key}")).await;
    let total: HashMap<String, redis::Value> = redis::from_redis_value(stats["total"].clone()).unwrap();
    redis::from_redis_value(total[name].clone()).unwrap()
}

#[tokio::test]
async fn values_that_all_share() {
    let machine = Machine::start().await;
    let server = machine.server();
    let (cache, other) = (Cache::new(&server, "a*[b]"), Cache::new(&server, "ab"));
    assert_eq!(cache.get::<String>("x").await.unwrap(), None);
    assert_eq!((cache.exists("x").await.unwrap(), cache.ttl("x").await.unwrap()), (false, None));
    cache.set("x", &vec![Some("ü"), None], None).await.unwrap();
    assert_eq!(cache.get::<Vec<Option<String>>>("x").await.unwrap(), Some(vec![Some("ü".to_owned()), None]));
    assert_eq!(
        (cache.exists("x").await.unwrap(), cache.ttl("x").await.unwrap()),
        (true, Some(Duration::MAX))
    );
    // As the packages for Python and Node keep it.
    assert_eq!(line::<String>(&server, "GET a*[b]:x").await, r#"["ü",null]"#);
    assert!(matches!(cache.get::<u8>("x").await, Err(Error::NotJson(_))));
    assert!(matches!(cache.set("x", &HashMap::from([((), 1)]), None).await, Err(Error::NotJson(_))));
    cache.set("x", &1, Some(Duration::from_secs(100))).await.unwrap();
    assert!(cache.ttl("x").await.unwrap().unwrap() > Duration::from_secs(90));
    cache.set("brief", &1, Some(Duration::from_millis(50))).await.unwrap();
    eventually("it ends", async || !cache.exists("brief").await.unwrap()).await;
    for key in ["user:1", "user:2", "team:1"] {
        cache.set(key, &key, None).await.unwrap();
    }
    other.set("user:1", &"other", None).await.unwrap();
    let made = cache.once("user:3", None, async {
        // A place is no value.
        assert_eq!(cache.clear("user:*").await?, 2);
        Ok::<_, Error>(3)
    });
    assert_eq!(made.await.unwrap(), 3);
    assert_eq!(cache.get::<String>("team:1").await.unwrap().as_deref(), Some("team:1"));
    assert_eq!(other.get::<String>("user:1").await.unwrap().as_deref(), Some("other"));
    assert_eq!([cache.delete("x").await.unwrap(), cache.delete("x").await.unwrap()], [true, false]);
    assert_eq!([cache.clear("*").await.unwrap(), cache.clear("*").await.unwrap()], [2, 0]);
}

#[tokio::test]
async fn one_makes_what_the_others_wait_for() {
    let machine = Machine::start().await;
    let caches = [Cache::new(&machine.server(), "once"), Cache::new(&machine.server(), "once")];
    let made = Rc::new(Cell::new(0));
    let asker = |cache: &Cache| {
        let (made, cache) = (Rc::clone(&made), cache.clone());
        async move {
            let making = cache.once("x", None, async {
                made.set(made.get() + 1);
                sleep(Duration::from_millis(200)).await;
                Ok::<_, Error>(42)
            });
            making.await.unwrap()
        }
    };
    let all = (0..20).map(|i| asker(&caches[i % 2]));
    assert!(join_all(all).await.iter().all(|value| *value == 42));
    assert_eq!(made.get(), 1);
    // They stood in line: each asked for the place once, and looked at most twice.
    let server = machine.server();
    assert_eq!(calls(&server, "rl.reserve").await, 20);
    assert!(calls(&server, "get").await <= 40);

    // Who fails, or is dropped, leaves it to the next.
    let fails = caches[0].once("y", None, async { Err::<u8, _>(Error::CannotLease) });
    assert!(matches!(fails.await, Err(Error::CannotLease)));
    let hangs = caches[0].once("y", None, std::future::pending::<Result<u8, Error>>());
    assert!(tokio::time::timeout(Duration::from_millis(100), hangs).await.is_err());
    assert_eq!(caches[1].once("y", None, async { Ok::<_, Error>(1) }).await.unwrap(), 1);
    // One who waits and is dropped leaves the line.
    let has_left = tokio::sync::Notify::new();
    let slow = caches[0].once("v", None, async {
        has_left.notified().await;
        Ok::<_, Error>(4)
    });
    let abandoned = caches[1].once("v", None, async { Ok::<_, Error>(5) });
    let leaves = async {
        eventually("it is being made", async || held(&server, "once!v").await == 1).await;
        tokio::select! {
            made = abandoned => panic!("{made:?}"),
            () = eventually("one waits", async || in_line(&server, "once!v").await == 1) => {}
        }
        eventually("they left", async || in_line(&server, "once!v").await == 0).await;
        has_left.notify_one();
    };
    assert_eq!(Box::pin(futures_util::future::join(slow, leaves)).await.0.unwrap(), 4);
    // Rather twice than never.
    let impatient = caches[0].clone().patience(Duration::from_millis(200));
    let inner = Box::pin(async { impatient.once("z", None, async { Ok::<_, Error>(2) }).await });
    assert_eq!(impatient.once("z", None, inner).await.unwrap(), 2);
    // The next takes over from one that dies.
    let start = Instant::now();
    line::<redis::Value>(&machine.server(), "RL.RESERVE 1 once!w concurrent:1 TTL 500ms ID dead").await;
    assert_eq!(caches[0].once("w", None, async { Ok::<_, Error>(3) }).await.unwrap(), 3);
    assert!(start.elapsed() > Duration::from_millis(300));
}

/// Where waits are shorter than a cache is patient, and where so many wait already.
#[tokio::test]
async fn without_a_place_in_line() {
    let machine = Machine::start().await;
    // Redis 6.2 has no such setting; there it can stand in line.
    let _ = machine
        .server()
        .ask::<redis::Value>(redis::cmd("CONFIG").arg("SET").arg("floodgate.wait-max").arg("50ms"))
        .await;
    let one = Options { patience: PATIENCE, waiters: 1, ..Options::default() };
    let crowded = Server::with(machine.url(), one).unwrap();
    let made = Cell::new(0);
    for server in [machine.server(), crowded] {
        let cache = Cache::new(&server, "brief");
        made.set(0);
        let all = (0..5).map(|_| {
            cache.once("x", None, async {
                made.set(made.get() + 1);
                sleep(Duration::from_millis(200)).await;
                Ok::<_, Error>(42)
            })
        });
        assert!(join_all(all).await.into_iter().all(|value| value.unwrap() == 42));
        assert_eq!((made.get(), cache.delete("x").await.unwrap()), (1, true));
    }
    // What is refused for another reason is told.
    let server = machine.server();
    line::<redis::Value>(&server, "SET brief!y 1").await;
    let cache = Cache::new(&server, "brief");
    let refused = cache.once("y", None, async { Ok::<_, Error>(1) }).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
}

#[tokio::test]
async fn a_paid_call() {
    let machine = Machine::start().await;
    let server = machine.server();
    let limiter = Limiter::new(&server, FailClosed);
    let cache = Cache::new(&server, "answers");
    let breaker = Breaker::new(&server, "{llm}api", "2:open=1h");
    let guard = Guard::new(&limiter, &breaker).limits("3/h").cache(&cache).ttl(Duration::from_secs(60));
    let calls = Cell::new(0);
    let answer = async |question: &str| {
        calls.set(calls.get() + 1);
        if question == "fails" { Err("no answer") } else { Ok(format!("{question}!")) }
    };
    for user in ["{llm}ann", "{llm}ann", "{llm}bob"] {
        let asked = guard.of(user).cached_as("1+1?").spend(0.0125).call(answer("1+1?"));
        assert_eq!(asked.await.unwrap(), "1+1?!");
    }
    assert_eq!(calls.get(), 1);
    assert!(cache.ttl("1+1?").await.unwrap().unwrap() <= Duration::from_secs(60));
    // A cached answer takes no quota.
    assert_eq!(used(&limiter, "{llm}ann").await, 1);
    for (user, name, expected) in [
        ("{llm}ann", "ok", "2"),
        ("{llm}ann", "cached", "1"),
        ("{llm}ann", "spend", "0.0125"),
        ("{llm}bob", "cached", "1"),
    ] {
        assert_eq!(total(&server, user, name).await, expected, "{user} {name}");
    }
    // Not cached unless told; with a cost, and what the answer says that it cost.
    let asked = guard.of("{llm}ann").cost(2).call_spending(answer("2"), |text| (text == "2!").then_some(0.5));
    asked.await.unwrap();
    assert_eq!(total(&server, "{llm}ann", "spend").await, "0.5125");
    let denied = guard.of("{llm}ann").call(answer("3")).await.unwrap_err();
    assert!(denied.retry_after_s().unwrap() > 3500, "{denied}");
    assert!(matches!(denied, GuardError::Denied(_)) && calls.get() == 2);

    for _ in 0..2 {
        let failed = guard.of("{llm}joe").cached_as("fails").call(answer("fails")).await;
        assert!(matches!(failed, Err(GuardError::Call(CallError::Failed("no answer")))));
    }
    // An open breaker uses up no quota, and no failure is cached.
    let open = guard.of("{llm}joe").call(answer("4")).await;
    assert!(
        matches!(open, Err(GuardError::Call(CallError::Open { retry_after_ms: 3_500_000.. }))),
        "{open:?}"
    );
    assert_eq!((calls.get(), used(&limiter, "{llm}joe").await), (4, 2));
    assert_eq!(total(&server, "{llm}joe", "fail").await, "2");
    assert_eq!(guard.of("{llm}joe").cached_as("1+1?").call(answer("1+1?")).await.unwrap(), "1+1?!");

    // Dropped while it is made, it says nothing of the callee.
    let other = Breaker::new(&server, "{llm}other", "1:open=1h");
    let guard = Guard::new(&limiter, &other).limits("9/h");
    let hangs = guard.of("{llm}joe").call(std::future::pending::<Result<u8, ()>>());
    assert!(tokio::time::timeout(Duration::from_millis(100), hangs).await.is_err());
    assert_eq!(guard.of("{llm}joe").call(async { Ok::<_, ()>(5) }).await.unwrap(), 5);
    assert_eq!(total(&server, "{llm}joe", "fail").await, "2");
    let refused =
        Guard::new(&limiter, &other).limits("9/").of("{llm}joe").call(async { Ok::<_, ()>(5) }).await;
    assert!(matches!(refused, Err(GuardError::Call(CallError::Undecided(Error::Refused(_))))));
}

/// Whatever becomes of it in the cache, and whatever that has.
#[tokio::test]
async fn an_answer_that_was_paid_for_is_given() {
    let machine = Machine::start().await;
    let server = machine.server();
    let rights = "~* +cb.acquire +cb.report +rl.record +rl.reserve +rl.commit +rl.release +rl.renew +get";
    line::<redis::Value>(&server, &format!("ACL SETUSER reader on >secret {rights}")).await;
    let options = Options { patience: PATIENCE, ..Options::default() };
    let reader = Server::with(machine.url().replace("//", "//reader:secret@"), options).unwrap();
    let paid = Cell::new(0);
    let ask = async |server: &Server, name: &str, ttl: Duration| {
        let (limiter, breaker) = (Limiter::new(server, FailClosed), Breaker::new(server, "paid:api", "9"));
        let guard =
            Guard::new(&limiter, &breaker).limits("100/h").cache(&Cache::new(server, "paid")).ttl(ttl);
        let call = async {
            paid.set(paid.get() + 1);
            Ok::<_, ()>("answer".to_owned())
        };
        guard.of("paid:ann").cached_as(name).call(call).await.unwrap()
    };
    line::<redis::Value>(&server, "SET paid:old {\"a\":1}").await;
    server.ask::<()>(redis::cmd("SET").arg("paid:bytes").arg(b"\xff")).await.unwrap();
    for (name, ttl) in [("ever", Duration::MAX), ("old", HANGS), ("bytes", HANGS)] {
        heard();
        for _ in 0..2 {
            assert_eq!(ask(&server, name, ttl).await, "answer", "{name}");
        }
        assert_eq!((paid.take(), heard().is_empty()), (1, name == "ever"), "{name}");
    }
    assert_eq!(Cache::new(&server, "paid").ttl("ever").await.unwrap(), Some(Duration::MAX));
    heard();
    assert_eq!(ask(&reader, "reader", HANGS).await, "answer");
    let said = heard();
    assert!(said.len() == 1 && said[0].starts_with("\"paid:reader\" is not cached: "), "{said:?}");
    assert_eq!(held(&server, "paid!reader").await, 0);
    // JSON cannot hold it.
    let odd = Cache::new(&server, "paid").once("odd", None, async { Ok::<_, Error>(Odd) }).await;
    assert!(odd.is_ok());

    // More money than is recorded of one call.
    let (limiter, breaker) = (Limiter::new(&server, FailClosed), Breaker::new(&server, "rich:api", "9"));
    let guard = Guard::new(&limiter, &breaker).limits("100/h");
    for money in [2e12, f64::NAN, 0.5] {
        guard.of("rich").spend(money).call(async { Ok::<_, ()>(1) }).await.unwrap();
    }
    assert_eq!(
        (total(&server, "rich", "ok").await, total(&server, "rich", "spend").await),
        ("3".into(), "0.5".into())
    );
}

/// No JSON.
struct Odd;

impl serde::Serialize for Odd {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it is odd"))
    }
}

impl<'de> serde::Deserialize<'de> for Odd {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

/// What was granted too late is given back, the trial and the units: on the limits that the
/// call named, and on those of the policy if it named none.
#[tokio::test]
async fn granted_too_late() {
    too_late(true).await;
    too_late(false).await;
}

async fn too_late(named: bool) {
    let mut machine = Machine::start().await;
    let (server, hasty) = (machine.server(), machine.impatient(Duration::from_secs(2)));
    line::<redis::Value>(&server, "RL.POLICY SET late 5/h PREFIX {late}").await;
    let rule = "1:open=100ms:lease=1h";
    Breaker::new(&server, "{late}api", rule).call(async { Err::<(), _>(()) }).await.unwrap_err();
    sleep(Duration::from_millis(150)).await;
    let limiter = Limiter::new(&hasty, FailClosed);
    // It is connected by now.
    line::<redis::Value>(&hasty, "RL.QUOTA k 1/s").await;
    let _ = Breaker::new(&hasty, "{late}warm", "9").call(async { Ok::<_, ()>(()) }).await;
    let guard = Guard::new(&limiter, &Breaker::new(&hasty, "{late}api", rule));
    let guard = if named { guard.limits("5/h") } else { guard };
    machine.is_to("freeze").await;
    let denied = guard.of("{late}ann").call(async { Ok::<_, ()>(()) }).await;
    assert!(matches!(denied, Err(GuardError::Denied(_))), "{denied:?}");
    // Others take by other limits, before it is given back.
    let asks = Limiter::new(&server, FailClosed);
    let other = asks.clone();
    let other = tokio::spawn(async move { other.acquire("{late}ann", "9/d").await });
    sleep(Duration::from_millis(50)).await; // it is asked
    machine.is_to("thaw").await;
    assert!(other.await.unwrap().unwrap().is_granted());
    eventually("the trial is free", async || {
        Breaker::new(&server, "{late}api", rule).call(async { Ok::<_, ()>(()) }).await.is_ok()
    })
    .await;
    eventually("the unit is back", async || {
        asks.quota("{late}ann", "5/h").await.unwrap().unwrap().limits[0].used == 0
    })
    .await;
    assert_eq!(asks.quota("{late}ann", "9/d").await.unwrap().unwrap().limits[0].used, 1);
}

#[tokio::test]
async fn while_redis_is_away() {
    let mut machine = Machine::start().await;
    let server = machine.impatient(Duration::from_secs(3));
    let limiter = Limiter::new(&server, LocalBucket::new(0.001).burst(2.0));
    let cache = Cache::new(&server, "answers").patience(Duration::from_secs(2));
    let breaker = Breaker::new(&server, "api", "2");
    let guard = Guard::new(&limiter, &breaker).limits("3/h").cache(&cache);
    let calls = Cell::new(0);
    let ask = async |name: &'static str| {
        let call = async {
            calls.set(calls.get() + 1);
            Ok::<_, ()>(name.to_owned())
        };
        guard.of("away").cached_as(name).call(call).await
    };
    cache.set("shared", &1, None).await.unwrap();
    machine.is_to("kill").await;
    for _ in 0..3 {
        assert_eq!(ask("1").await.unwrap(), "1");
    }
    assert_eq!(calls.get(), 1);
    ask("2").await.unwrap();
    assert!(matches!(ask("3").await, Err(GuardError::Denied(_))));
    assert_eq!((cache.exists("2").await.unwrap(), cache.exists("9").await.unwrap()), (true, false));
    assert_eq!(cache.ttl("2").await.unwrap(), Some(Duration::MAX));
    assert_eq!((cache.clear("2*").await.unwrap(), cache.delete("1").await.unwrap()), (1, true));
    cache.set("shared", &"mine", None).await.unwrap();
    assert_eq!(cache.get::<String>("shared").await.unwrap().as_deref(), Some("mine"));
    machine.is_to("start").await;
    // What all share, and not what was kept meanwhile; that is forgotten.
    let is_back = async || {
        eventually("it is asked again", async || {
            cache.get::<u8>("shared").await.is_ok_and(|kept| kept == Some(1))
        })
        .await;
    };
    is_back().await;
    machine.is_to("kill").await;
    assert_eq!(cache.get::<String>("shared").await.unwrap(), None);
    machine.is_to("start").await;
    is_back().await;
    machine.is_to("freeze").await;
    let start = Instant::now();
    let all = (0..8).map(|_| cache.once("x", None, async { Ok::<_, Error>(5) }));
    assert!(join_all(all).await.into_iter().all(|made| made.unwrap() == 5));
    assert!(start.elapsed() < HANGS, "{:?}", start.elapsed());
    machine.is_to("thaw").await;
}

/// It answers who only looks, which does not say that it is back.
#[tokio::test]
async fn while_redis_cannot_write() {
    for (breaks, mends) in
        [("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"), ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE")]
    {
        let machine = Machine::start().await;
        let admin = machine.server();
        let options = Options { patience: PATIENCE, rest: Duration::from_millis(50), ..Options::default() };
        let server = Server::with(machine.url(), options).unwrap();
        let limiter = Limiter::new(&server, FailClosed);
        let (cache, calls) = (Cache::new(&server, "answers"), Cell::new(0));
        let paid = async || {
            calls.set(calls.get() + 1);
            Ok::<_, Error>(calls.get())
        };
        cache.set("old", &1, None).await.unwrap();
        heard();
        line::<redis::Value>(&admin, breaks).await;
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(500) {
            assert_eq!(cache.once("dear", None, paid()).await.unwrap(), 1, "{breaks}");
            sleep(Duration::from_millis(5)).await;
        }
        cache.set("old", &2, None).await.unwrap();
        sleep(Duration::from_millis(100)).await; // it looks, and Redis has the older value
        assert_eq!(cache.get("old").await.unwrap(), Some(2));
        assert_eq!(cache.ttl("dear").await.unwrap(), Some(Duration::MAX));
        assert!(cache.exists("dear").await.unwrap());
        assert!(cache.delete("dear").await.unwrap() && !cache.exists("dear").await.unwrap());
        let lines = heard();
        assert_eq!(lines.len(), 1, "{breaks}: {lines:?}");
        line::<redis::Value>(&admin, mends).await;
        asks_again(&limiter).await;
        assert_eq!(cache.get("old").await.unwrap(), Some(1), "what all share");
    }
}
