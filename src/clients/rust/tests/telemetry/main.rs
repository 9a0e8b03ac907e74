//! What is counted by OpenTelemetry's API, as the application's own meter provider has it.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use floodgate_redis::{
    BatchItem, Breaker, Cache, FailOpen, Guard, Lease, Limiter, LocalBucket, Server, Source,
};
use opentelemetry::global;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use tokio::time::{sleep, timeout};

use crate::fixtures::Machine;

#[allow(dead_code, reason = "these tests need less of it")]
#[path = "../all/fixtures.rs"]
mod fixtures;

/// A provider of the application's.
struct Meter {
    provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

impl Meter {
    /// From now on what is counted is counted here.
    fn counts() -> Self {
        let exporter = InMemoryMetricExporter::default();
        let reader = PeriodicReader::builder(exporter.clone()).build();
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        global::set_meter_provider(provider.clone());
        Self { provider, exporter }
    }

    /// By the counter's name and the outcome.
    fn told(&self) -> BTreeMap<String, u64> {
        self.provider.force_flush().unwrap();
        let mut all = BTreeMap::new();
        let exports = self.exporter.get_finished_metrics().unwrap();
        // Of sums that grow the last is all there is to say.
        for scope in exports.last().unwrap().scope_metrics() {
            assert_eq!(scope.scope().name(), "floodgate_redis");
            for metric in scope.metrics() {
                assert!(metric.description().starts_with("What ") && metric.unit().is_empty());
                let AggregatedMetrics::U64(MetricData::Sum(sum)) = metric.data() else {
                    panic!("{} is no counter", metric.name());
                };
                assert!(sum.is_monotonic());
                for point in sum.data_points() {
                    let attributes: Vec<_> = point.attributes().collect();
                    assert!(attributes.len() == 1 && attributes[0].key.as_str() == "outcome");
                    all.insert(format!("{} {}", metric.name(), attributes[0].value), point.value());
                }
            }
        }
        all
    }
}

fn counted<const N: usize>(all: [(&str, u64); N]) -> BTreeMap<String, u64> {
    all.into_iter().map(|(name, times)| (name.to_owned(), times)).collect()
}

#[tokio::test]
async fn what_was_decided_and_what_came_of_calls() {
    let machine = Machine::start().await;
    let server = machine.server();
    let limiter = Limiter::new(&server, FailOpen);
    limiter.acquire("early", "9/h").await.unwrap(); // before anybody counts
    let meter = Meter::counts();
    for expected in [1, 1, 0, 0] {
        assert_eq!(limiter.acquire("k", "2/h").await.unwrap().granted, expected);
    }
    limiter.acquire("k", "2/h").with_headers().await.unwrap();
    limiter.acquire("k", "2/h").wait(Duration::from_millis(1)).await.unwrap();
    assert_eq!(
        meter.told(),
        counted([
            ("floodgate.decisions denied", 3),
            ("floodgate.decisions granted", 2),
            ("floodgate.decisions remembered", 1),
        ])
    );
    limiter.batch_each(&[BatchItem::new("k", "2/h"), BatchItem::new("b", "2/h")]).await.unwrap();
    limiter.charge("b", "2/h", 1).await.unwrap();
    // What is reserved is no request.
    limiter.reserve(&[("r", "2/h")]).await.unwrap().commit().await;

    let breaker = Breaker::new(&server, "pay", "1:open=1h");
    breaker.call(async { Ok::<_, ()>(42) }).await.unwrap();
    let begun = Cell::new(false);
    let mut dropped = Box::pin(breaker.call(async {
        begun.set(true);
        std::future::pending::<Result<(), ()>>().await
    }));
    while !begun.get() {
        let _ = timeout(Duration::from_millis(10), &mut dropped).await;
    }
    drop(dropped);
    breaker.call(async { Err::<(), _>(()) }).await.unwrap_err();
    breaker.call(async { Ok::<_, ()>(42) }).await.unwrap_err();

    // One is asked for and cached, the next is cached, and the third denied.
    let cache = Cache::new(&server, "answers");
    let fine = Breaker::new(&server, "fine", "3");
    let guard = Guard::new(&limiter, &fine).limits("1/h").cache(&cache);
    for (question, is_answered) in [("1+1?", true), ("1+1?", true), ("2+2?", false)] {
        let asked = guard.of("paid").cached_as(question).call(async { Ok::<_, ()>(2) });
        assert_eq!(asked.await.is_ok(), is_answered);
    }
    // The breaker is open, whatever the limit says.
    let open = Guard::new(&limiter, &breaker).limits("9/h");
    open.of("paid:other").call(async { Ok::<_, ()>(2) }).await.unwrap_err();
    // And one that fails.
    let failing = Guard::new(&limiter, &fine).limits("9/h");
    failing.of("paid:other").call(async { Err::<(), _>(()) }).await.unwrap_err();
    let so_far = counted([
        ("floodgate.calls cached", 1),
        ("floodgate.calls fail", 2),
        ("floodgate.calls ignore", 1),
        ("floodgate.calls ok", 2),
        ("floodgate.calls open", 2),
        ("floodgate.decisions charged", 1),
        ("floodgate.decisions denied", 5),
        ("floodgate.decisions granted", 5),
        ("floodgate.decisions remembered", 1),
    ]);
    assert_eq!(meter.told(), so_far);

    // Of another provider it counts anew, and the one before has what it had.
    let meter_before = meter;
    let meter = Meter::counts();
    let lease = Lease::new(&limiter, "hot", "1000000/h").unwrap().interval(Duration::from_secs(60));
    let (mut asked, mut leased) = (0, 0);
    while leased < 20 {
        match lease.acquire(1).await.unwrap().source {
            Source::Lease => leased += 1,
            _ => asked += 1,
        }
        sleep(Duration::from_millis(1)).await;
    }
    lease.close().await;
    assert_eq!(
        meter.told(),
        counted([("floodgate.decisions granted", asked), ("floodgate.decisions leased", leased)])
    );
    assert_eq!(meter_before.told(), so_far);

    // While Redis is away the fallback decides, and calls are made.
    let meter = Meter::counts();
    let away = Server::open("redis://127.0.0.1:1").unwrap();
    let limiter = Limiter::new(&away, LocalBucket::new(0.001).burst(4.0));
    assert!(limiter.acquire("k", "9/h").cost(3).await.unwrap().is_granted());
    assert!(!limiter.acquire("k", "9/h").cost(3).await.unwrap().is_granted());
    limiter.batch_all(&[BatchItem::new("k", "9/h"), BatchItem::new("b", "9/h")]).await.unwrap();
    limiter.charge("b", "9/h", 1).await.unwrap();
    limiter.reserve(&[("r", "9/h")]).await.unwrap().commit().await;
    let breaker = Breaker::new(&away, "pay", "1");
    breaker.call(async { Ok::<_, ()>(42) }).await.unwrap();
    let guard = Guard::new(&limiter, &breaker).limits("9/h");
    guard.of("paid").call(async { Err::<(), _>(()) }).await.unwrap_err();
    let told = [("floodgate.calls fail", 1), ("floodgate.calls ok", 1), ("floodgate.decisions fallback", 6)];
    assert_eq!(meter.told(), counted(told));
}
