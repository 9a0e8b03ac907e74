//! Breakers round calls.

use std::cell::Cell;
use std::time::Duration;

use floodgate_redis::{Breaker, CallError, FailOpen, Limiter};
use tokio::time::{sleep, timeout};

use crate::fixtures::{Machine, PATIENCE, eventually, line};

#[tokio::test]
async fn round_a_call() {
    let machine = Machine::start().await;
    let server = machine.server();
    let breaker = Breaker::new(&server, "mail", "2:open=1h");
    let call = async |result: Result<i32, &'static str>| breaker.call(async { result }).await;
    assert!(matches!(call(Ok(42)).await, Ok(42)));
    for _ in 0..2 {
        assert!(matches!(call(Err("no answer")).await, Err(CallError::Failed("no answer"))));
    }
    let open = call(Ok(42)).await.unwrap_err();
    assert!(matches!(open, CallError::Open { retry_after_ms: 3_500_000..=3_600_000 }), "{open:?}");
    assert!((3500..=3600).contains(&open.retry_after_s().unwrap()));

    // For ever: no Retry-After.
    line::<String>(&server, "CB.FORCE mail OPEN").await;
    let open = call(Ok(42)).await.unwrap_err();
    assert!(matches!(open, CallError::Open { retry_after_ms: -1 }) && open.retry_after_s().is_none());

    let refused = Breaker::new(&server, "mail", "nonsense").call(async { Ok::<_, ()>(()) }).await;
    assert!(matches!(refused, Err(CallError::Undecided(_))), "{refused:?}");
}

/// A trial that is dropped is given back: neither lost nor a failure. One that panics is
/// a failure.
#[tokio::test]
async fn a_call_that_does_not_end() {
    let machine = Machine::start().await;
    let server = machine.server();
    let flaky = Breaker::new(&server, "flaky", "1:open=100ms:lease=1h");
    let slow = timeout(Duration::from_millis(10), sleep(PATIENCE));
    assert!(matches!(flaky.call(slow).await, Err(CallError::Failed(_))));
    sleep(Duration::from_millis(150)).await;
    let called = Cell::new(false);
    let trial = flaky.call(async {
        called.set(true);
        std::future::pending::<Result<(), ()>>().await
    });
    {
        let mut trial = Box::pin(trial);
        eventually("the trial is admitted", async || {
            let _ = timeout(Duration::from_millis(10), &mut trial).await;
            called.get()
        })
        .await;
    }
    let succeeds = async |breaker: &Breaker| breaker.call(async { Ok::<_, ()>(()) }).await.is_ok();
    eventually("the trial is given back", async || succeeds(&flaky).await).await;
    let (_, state, _, _): (bool, String, Option<String>, i64) = line(&server, "CB.ACQUIRE flaky").await;
    assert_eq!(state, "closed");

    let broken = Breaker::new(&server, "broken", "1:open=1h");
    let panicking = broken.clone();
    let call =
        tokio::spawn(async move { panicking.call(async { panic!("on purpose") as Result<(), ()> }).await });
    assert!(call.await.unwrap_err().is_panic());
    eventually("it is open", async || !succeeds(&broken).await).await;

    // Dropped where there is no runtime, it is told all the same.
    let odd = Breaker::new(&server, "odd", "1:open=1ms:lease=1h");
    odd.admit::<()>().await.unwrap().failed().await;
    sleep(Duration::from_millis(50)).await;
    let trial = odd.admit::<()>().await.unwrap();
    std::thread::spawn(move || drop(trial)).join().unwrap();
    eventually("the trial is given back", async || succeeds(&odd).await).await;
}

/// Dropped or out of patience while it is asked: what was taken meanwhile is given back.
#[tokio::test]
async fn dropped_while_it_is_asked() {
    let mut machine = Machine::start().await;
    let server = machine.server();
    let limiter = Limiter::new(&server, FailOpen);
    let impatient = machine.impatient(Duration::from_secs(2));
    let rule = "1:open=100ms:lease=1h";
    // It has connected.
    Breaker::new(&impatient, "trial:first", rule).call(async { Ok::<_, ()>(()) }).await.unwrap();
    let breakers = ["trial:dropped", "trial:late"].map(|key| Breaker::new(&server, key, rule));
    for breaker in &breakers {
        assert!(matches!(breaker.call(async { Err::<(), _>(()) }).await, Err(CallError::Failed(()))));
    }
    sleep(Duration::from_millis(150)).await;
    let place = [("place", "concurrent:1")];
    let reserving = || limiter.reserve(&place).ttl(Duration::from_secs(3600));
    reserving().await.unwrap().commit().await;
    machine.is_to("freeze").await;
    let called = Cell::new(false);
    let late = Breaker::new(&impatient, "trial:late", rule);
    let asking = async {
        let call = breakers[0].call(async {
            called.set(true);
            Ok::<_, ()>(())
        });
        let _ = futures_util::future::join(call, reserving().into_future()).await;
        panic!("it was dropped");
    };
    assert!(timeout(Duration::from_millis(50), asking).await.is_err());
    assert!(late.call(async { Ok::<_, ()>(()) }).await.is_ok());
    machine.is_to("thaw").await;
    eventually("the trials and the place are given back", async || {
        let mut free = reserving().await.is_ok();
        for breaker in &breakers {
            free &= breaker.call(async { Ok::<_, ()>(()) }).await.is_ok();
        }
        free
    })
    .await;
    assert!(!called.get());
}
