//! Units that are held, and settled when the work is done.

use std::cell::Cell;
use std::time::Duration;

use floodgate_redis::{Decision, FailClosed, FailOpen, Limiter, ReserveError, redis};
use tokio::time::sleep;

use crate::kit::{Machine, PATIENCE, eventually, held, line, used};

const LLM: &str = "1000/h,concurrent:2";

#[tokio::test]
async fn tokens_of_a_language_model() {
    let machine = Machine::start().await;
    let limiter = Limiter::new(&machine.server(), FailClosed);
    let server = limiter.server();
    let has_spent = Cell::new(false);
    let limits = [("llm:1", LLM)];
    let work = async |spends: Option<u64>, fails: bool, lasts: Duration| -> Result<(), &'static str> {
        let mut reservation =
            limiter.reserve(&limits).estimate(100).ttl(Duration::from_millis(1500)).await.unwrap();
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
        let before = used(&limiter, "llm:1").await;
        assert_eq!(work(spends, fails, lasts).await.is_err(), fails);
        eventually("it is settled", async || held(server, "llm:1").await == 0).await;
        assert_eq!(used(&limiter, "llm:1").await - before, charged);
    }

    // Dropped while it works.
    let before = used(&limiter, "llm:1").await;
    has_spent.set(false);
    tokio::select! {
        ended = work(Some(5), false, PATIENCE) => panic!("{ended:?}"),
        () = eventually("it spends", async || has_spent.get()) => {}
    }
    eventually("it is settled", async || held(server, "llm:1").await == 0).await;
    assert_eq!(used(&limiter, "llm:1").await - before, 5);

    // Where there is no runtime.
    let reservation = limiter.reserve(&limits).await.unwrap();
    std::thread::spawn(move || drop(reservation)).join().unwrap();
    eventually("it is released", async || held(server, "llm:1").await == 0).await;
}

#[tokio::test]
async fn what_is_denied() {
    let machine = Machine::start().await;
    let limiter = Limiter::new(&machine.server(), FailOpen);
    let denied = limiter.reserve(&[("llm:2", LLM)]).estimate(1001).await;
    assert!(matches!(denied, Err(ReserveError::Denied(Decision { retry_after_ms: -1, .. }))));
    let _one = limiter.reserve(&[("llm:3", "concurrent:1")]).await.unwrap();
    let denied = limiter.reserve(&[("llm:3", "concurrent:1")]).await;
    assert!(matches!(denied, Err(ReserveError::Denied(Decision { retry_after_ms: 1..=30_000, .. }))));
    // On every key or on none; the one that denies for longest is told.
    let both = [("team", "100/h"), ("llm:3", "concurrent:1")];
    assert!(matches!(limiter.reserve(&both).await, Err(ReserveError::Denied(_))));
    assert_eq!(limiter.quota("team", "100/h").await.unwrap().unwrap().limits[0].used, 0);
    let kept = [("llm:4", "10/h:keep=90%")];
    assert!(limiter.reserve(&kept).estimate(2).await.is_err());
    assert!(limiter.reserve(&kept).estimate(2).critical().await.is_ok());
    let refused = limiter.reserve(&[("llm:5", "10/")]).await;
    assert!(matches!(refused, Err(ReserveError::Undecided(_))));
}
