//! The layer in axum, in four processes at once.

use std::time::{Duration, Instant};

use floodgate_redis::{FailOpen, Limiter, redis};
use futures_util::future::join_all;

use crate::fixtures::{HANGS, Machine, asks_again, eventually, line};
use crate::web::Web;

/// How many of so many requests to each process pass, and how long the slowest took.
async fn passed(webs: &[Web], each: usize, request: &str) -> (usize, Duration) {
    let asked = webs.iter().flat_map(|web| (0..each).map(move |_| web)).map(|web| async move {
        let start = Instant::now();
        (web.ask(request, 9).await, start.elapsed())
    });
    let answers = join_all(asked).await;
    let slowest = answers.iter().map(|(_, took)| *took).max().unwrap();
    for (answer, _) in &answers {
        assert!([200, 429].contains(&answer.status), "{}", answer.head);
        assert_eq!(answer.status == 429, answer.header("Retry-After").is_some(), "{}", answer.head);
    }
    (answers.iter().filter(|(answer, _)| answer.status == 200).count(), slowest)
}

/// They share one limit; when the server is killed or hangs, each goes on by itself, and
/// afterwards what was granted still stands.
#[tokio::test]
async fn four_processes_share_a_limit() {
    let mut machine = Machine::start().await;
    let limiter = Limiter::new(&machine.server(), FailOpen);
    let url = machine.url();
    line::<redis::Value>(limiter.server(), "RL.PIN api:127.0.0.9 7/h").await;
    let webs = join_all((0..4).map(|_| Web::start(&url, Duration::from_secs(5)))).await;
    assert_eq!(passed(&webs, 5, "GET /hello").await.0, 7);
    assert_eq!(passed(&webs, 5, "GET /hello").await.0, 0);

    for (what, mend) in [("kill", "start"), ("freeze", "thaw")] {
        machine.is_to(what).await;
        // 20 at once in each process: LocalBucket.
        let (granted, slowest) = passed(&webs, 5, "GET /hello").await;
        assert_eq!(granted, 20, "{what}");
        assert!(slowest < HANGS, "{what}: {slowest:?}");
        machine.is_to(mend).await;
        asks_again(&limiter).await;
        for web in &webs {
            // Not its own bucket, which tells no RateLimit.
            eventually("it asks again", async || {
                let answer = web.ask("GET /hello", 9).await;
                answer.status == 429 && answer.header("RateLimit").is_some()
            })
            .await;
        }
        assert_eq!(passed(&webs, 5, "GET /hello").await.0, 0, "{what}");
    }
}
