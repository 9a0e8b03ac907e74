//! Redis Cluster.

use std::time::Duration;

use floodgate_redis::{
    BatchItem, Breaker, Cache, CallError, Error, FailClosed, Guard, Lease, Limiter, LocalBucket, Options,
    ReserveError, Server, Source,
};

use crate::fixtures::{Machine, PATIENCE, asks_again, eventually, heard, used};

/// Of keys on all nodes.
#[tokio::test]
async fn each_key_on_its_node() {
    let machine = Machine::cluster().await;
    heard();
    let options = Options { patience: PATIENCE, ..Options::default() };
    let server = Server::cluster_with([machine.url()], options).unwrap();
    server.check().await.unwrap();
    let limiter = Limiter::new(&server, FailClosed);
    for user in 0..12 {
        let key = |what: &str| format!("{{{user}}}:{what}");
        let limits = "3/h";
        assert_eq!(limiter.acquire(&key("a"), limits).cost(2).await.unwrap().remaining, 1);
        let (decision, headers) = limiter.acquire(&key("a"), limits).with_headers().await.unwrap();
        assert_eq!((decision.granted, headers["X-RateLimit-Remaining"].as_str()), (1, "0"));
        let wait = limiter.acquire(&key("a"), limits).wait(Duration::from_millis(20)).await.unwrap();
        assert_eq!((wait.granted, wait.source), (0, Source::Redis));
        assert_eq!(limiter.refund(&key("a"), 1).await.unwrap(), 1);
        let (one, other) = (key("b"), key("c"));
        let items = [BatchItem::new(&one, limits), BatchItem::new(&other, limits)];
        assert_eq!(limiter.batch_all(&items).await.unwrap().len(), 2);

        let places = [(one.as_str(), "concurrent:1"), (other.as_str(), "9/h")];
        let mut held = limiter.reserve(&places).ttl(Duration::from_secs(1)).await.unwrap();
        // It is renewed.
        if user == 0 {
            tokio::time::sleep(Duration::from_millis(1500)).await;
        }
        assert!(matches!(limiter.reserve(&places).await, Err(ReserveError::Denied(_))));
        held.spend(4);
        held.commit().await;
        // And the one of the batch.
        assert_eq!(used(&limiter, &other).await, 5);
        let first = limiter.reserve(&places[..1]).await.unwrap();
        let second = limiter.reserve(&places[..1]).wait(Duration::from_secs(20)).into_future();
        let (second, ()) = futures_util::future::join(second, first.commit()).await;
        drop(second.unwrap());

        let breaker = Breaker::new(&server, &key("api"), "1:open=1h");
        let cache = Cache::new(&server, &key("cache"));
        let guard = Guard::new(&limiter, &breaker).limits("5/h").cache(&cache);
        let paid = key("paid");
        for _ in 0..2 {
            let answer = guard.of(&paid).cached_as("q").call(async { Ok::<_, ()>(7) }).await;
            assert_eq!(answer.unwrap(), 7);
        }
        assert_eq!(used(&limiter, &paid).await, 1);
        assert!(matches!(cache.clear("*").await, Err(Error::Refused(_))));
        let failed = breaker.call(async { Err::<(), _>(()) }).await;
        assert!(matches!(failed, Err(CallError::Failed(()))));
        assert!(matches!(breaker.call(async { Ok::<_, ()>(()) }).await, Err(CallError::Open { .. })));
    }
    let lease = Lease::new(&limiter, "leased", "1000000/h").unwrap().interval(Duration::from_secs(2));
    eventually("it leases", async || lease.acquire(1).await.unwrap().source == Source::Lease).await;
    lease.close().await;
    assert_eq!((heard(), limiter.counters().fallback), (vec![], 0));
    let crossed = [BatchItem::new("a", "3/h"), BatchItem::new("b", "3/h")];
    assert!(matches!(limiter.batch_all(&crossed).await, Err(Error::Refused(_))));
}

/// Taken for a server of its own.
#[tokio::test]
async fn a_node_says_that_it_is_one() {
    let machine = Machine::cluster().await;
    let limiter = Limiter::new(&machine.server(), LocalBucket::new(5.0));
    let (mut served, mut refused) = (0, Vec::new());
    for user in 0..30 {
        let key = format!("user:{user}");
        match limiter.acquire(&key, "3/h").await {
            Ok(decision) => {
                assert_eq!(decision.source, Source::Redis);
                served += 1;
            }
            Err(error) => refused.push(error),
        }
        refused.extend(limiter.acquire(&key, "3/h").with_headers().await.err());
    }
    assert!(served > 0 && refused.len() > 2, "{served} {refused:?}");
    for error in refused {
        assert!(matches!(error, Error::Misconfigured(_)), "{error:?}");
        assert!(error.to_string().contains("a node of a cluster"), "{error}");
    }
}

/// Taken for a cluster.
#[tokio::test]
async fn a_server_says_that_it_is_no_cluster() {
    let machine = Machine::start().await;
    let server = Server::cluster([machine.url()]).unwrap();
    let limiter = Limiter::new(&server, LocalBucket::new(5.0));
    for error in [server.check().await.unwrap_err(), limiter.acquire("a", "3/h").await.unwrap_err()] {
        assert!(matches!(error, Error::Misconfigured(_)), "{error:?}");
        assert!(error.to_string().contains("is no cluster, take Server::open"), "{error}");
    }
}

/// The fallback decides.
#[tokio::test]
async fn gone() {
    let machine = Machine::cluster().await;
    let options =
        Options { patience: Duration::from_secs(2), rest: Duration::from_millis(200), ..Options::default() };
    let server = Server::cluster_with([machine.url()], options).unwrap();
    let limiter = Limiter::new(&server, LocalBucket::new(5.0));
    asks_again(&limiter).await;
    drop(machine);
    eventually("it is away", async || {
        limiter.acquire("gone", "3/h").await.unwrap().source == Source::Fallback
    })
    .await;
    assert!(Breaker::new(&server, "mail", "1").call(async { Ok::<_, ()>(()) }).await.is_ok());
}
