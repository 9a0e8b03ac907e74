//! Units that are held, and settled when the work is done.

use std::cell::Cell;
use std::time::Duration;

use floodgate_redis::{Decision, Error, FailClosed, FailOpen, Limiter, Options, ReserveError, Server, redis};
use futures_util::future::join_all;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::fixtures::{Machine, PATIENCE, calls, eventually, held, in_line, is_renewed, line, used};

const LLM: &str = "1000/h,concurrent:2";

#[tokio::test]
async fn tokens_of_a_language_model() {
    let machine = Machine::start().await;
    let limiter = Limiter::new(&machine.server(), FailClosed);
    let server = limiter.server();
    let has_spent = Cell::new(false);
    let limits = [("llm:1", LLM)];
    let work = async |spends: Option<u64>, fails: bool, lasts: Duration| -> Result<(), &'static str> {
        let mut reservation = limiter.reserve(&limits).estimate(100).await.unwrap();
        assert_eq!(held(server, "llm:1").await, 1);
        if let Some(units) = spends {
            reservation.spend(units);
            has_spent.set(true);
        }
        sleep(lasts).await;
        if fails {
            return Err("no answer");
        }
        reservation.commit().await;
        Ok(())
    };
    line::<redis::Value>(server, "RL.ACQUIRE llm:1 1000/h").await;
    let at_once = Duration::ZERO;
    for (charged, spends, fails) in [
        (30, Some(30), false),   // less than the estimate
        (150, Some(150), false), // more
        (100, None, false),      // never said: the estimate stands
        (0, None, true),         // released
        (7, Some(7), true),      // spent before it failed
    ] {
        let before = used(&limiter, "llm:1").await;
        assert_eq!(work(spends, fails, at_once).await.is_err(), fails);
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

    // Longer than its TTL.
    let long = [("llm:long", LLM)];
    let reservation = limiter.reserve(&long).ttl(Duration::from_secs(3)).await.unwrap();
    is_renewed(server, "llm:long").await;
    reservation.commit().await;
    assert_eq!(held(server, "llm:long").await, 0);

    // Where there is no runtime.
    let reservation = limiter.reserve(&limits).await.unwrap();
    std::thread::spawn(move || drop(reservation)).join().unwrap();
    eventually("it is released", async || held(server, "llm:1").await == 0).await;
}

/// More than can be charged at once: the place is free, and the limit used up.
#[tokio::test]
async fn spent_beyond_measure() {
    let machine = Machine::start().await;
    let limiter = Limiter::new(&machine.server(), FailClosed);
    let limits = [("llm:much", LLM)];
    let mut reservation = limiter.reserve(&limits).await.unwrap();
    reservation.spend(u64::MAX);
    reservation.commit().await;
    assert_eq!(held(limiter.server(), "llm:much").await, 0);
    assert!(matches!(limiter.reserve(&limits).await, Err(ReserveError::Denied(_))));
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

/// One who waits for the only place of a key, and what they would be told.
fn waits_for(
    limiter: &Limiter,
    key: &'static str,
    wait: Duration,
) -> JoinHandle<Result<floodgate_redis::Reservation, ReserveError>> {
    let limiter = limiter.clone();
    tokio::spawn(async move {
        limiter.reserve(&[(key, "concurrent:1")]).ttl(Duration::from_secs(3600)).wait(wait).await
    })
}

const LONG: Duration = Duration::from_secs(25);

#[tokio::test]
async fn standing_in_line() {
    let machine = Machine::start().await;
    // Longer than the patience of what does not wait.
    let limiter = Limiter::new(&machine.impatient(Duration::from_secs(3)), FailClosed);
    let server = limiter.server();
    let one = [("line", "concurrent:1")];
    let first = limiter.reserve(&one).await.unwrap();
    let second = waits_for(&limiter, "line", LONG);
    eventually("the second stands in line", async || in_line(server, "line").await == 1).await;
    let third = waits_for(&limiter, "line", LONG);
    eventually("the third stands in line", async || in_line(server, "line").await == 2).await;
    // Nobody overtakes, and one whose time ends is denied.
    assert!(matches!(limiter.reserve(&one).await, Err(ReserveError::Denied(Decision { index: -2, .. }))));
    let brief = limiter.reserve(&one).wait(Duration::from_millis(100)).await;
    assert!(matches!(brief, Err(ReserveError::Denied(_))));
    sleep(Duration::from_millis(3500)).await;
    let asked = calls(server, "rl.reserve").await;
    first.commit().await;
    let mut second = second.await.unwrap().unwrap();
    assert_eq!((held(server, "line").await, in_line(server, "line").await), (1, 1));
    second.spend(1);
    second.commit().await;
    drop(third.await.unwrap().unwrap());
    eventually("all is settled", async || held(server, "line").await == 0).await;
    // The server served them: they did not ask again.
    assert_eq!(calls(server, "rl.reserve").await, asked);

    // It is renewed as others are.
    let holder = limiter.reserve(&one).await.unwrap();
    let (renewed, ()) = futures_util::future::join(
        limiter.reserve(&one).ttl(Duration::from_secs(3)).wait(LONG).into_future(),
        holder.commit(),
    )
    .await;
    let renewed = renewed.unwrap();
    is_renewed(server, "line").await;
    renewed.commit().await;

    let two = [("line", "concurrent:1"), ("other", "concurrent:1")];
    let Err(ReserveError::Undecided(Error::Refused(refused))) = limiter.reserve(&two).wait(LONG).await else {
        panic!("WAIT on two keys");
    };
    assert!(refused.to_string().contains("one key only"), "{refused}");
}

/// One more than may wait is decided at once.
#[tokio::test]
async fn only_so_many_stand_in_line() {
    let machine = Machine::start().await;
    let options = Options { patience: PATIENCE, waiters: 1, ..Default::default() };
    let server = Server::with(machine.url(), options).unwrap();
    let limiter = Limiter::new(&server, FailClosed);
    let holder = limiter.reserve(&[("few", "concurrent:1")]).await.unwrap();
    let waiter = waits_for(&limiter, "few", LONG);
    eventually("it stands in line", async || in_line(&server, "few").await == 1).await;
    assert!(matches!(waits_for(&limiter, "few", LONG).await.unwrap(), Err(ReserveError::Denied(_))));
    holder.commit().await;
    waiter.await.unwrap().unwrap().commit().await;
}

/// Who is dropped leaves the line, and holds nothing, also when the place was free at that
/// moment.
#[tokio::test(flavor = "multi_thread")]
async fn dropped_in_line() {
    let machine = Machine::start().await;
    let limiter = Limiter::new(&machine.server(), FailClosed);
    let server = limiter.server();
    let holder = limiter.reserve(&[("drop:0", "concurrent:1")]).await.unwrap();
    let waiter = waits_for(&limiter, "drop:0", LONG);
    eventually("it stands in line", async || in_line(server, "drop:0").await == 1).await;
    waiter.abort();
    eventually("it left the line", async || in_line(server, "drop:0").await == 0).await;
    holder.commit().await;
    assert_eq!(held(server, "drop:0").await, 0);

    // The holder goes just before, just after, or with the one who waits.
    let rounds = (0..120_u64).map(|round| {
        let (limiter, key) = (limiter.clone(), format!("drop:{}", round + 1));
        async move {
            let limits = [(key.as_str(), "10/h,concurrent:1")];
            let server = limiter.server();
            let reserve = || limiter.reserve(&limits).ttl(Duration::from_secs(3600));
            let holder = reserve().await.unwrap();
            let mut waiting = Box::pin(reserve().wait(LONG).into_future());
            tokio::select! {
                ended = &mut waiting => panic!("{:?}", ended.err()),
                () = eventually("it stands in line", async || in_line(server, &key).await == 1) => {}
            }
            // Unanswered before it is dropped, whatever the server has done.
            let leaves = async {
                sleep(Duration::from_micros(round % 12 * 100)).await;
                drop(waiting);
            };
            futures_util::future::join(holder.commit(), leaves).await;
            let free = async || held(server, &key).await == 0 && in_line(server, &key).await == 0;
            eventually("nobody holds it", free).await;
            // Only the holder's unit is charged.
            eventually("its unit is back", async || used(&limiter, &key).await == 1).await;
        }
    });
    // As many at a time as may wait.
    let mut rounds: Vec<_> = rounds.collect();
    while !rounds.is_empty() {
        join_all(rounds.split_off(rounds.len().saturating_sub(40))).await;
    }
}

/// Also where the server hears late that the connection is closed, as behind a proxy: it
/// has granted the place in between.
#[tokio::test]
async fn dropped_behind_a_proxy() {
    let machine = Machine::start().await;
    let server = machine.server();
    let proxy = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("redis://{}", proxy.local_addr().unwrap());
    let redis = machine.url().replace("redis://", "");
    let relaying = tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (client, _) = proxy.accept().await.unwrap();
            let (mut asks, mut hears) = client.into_split();
            let (mut answers, mut told) = TcpStream::connect(&redis).await.unwrap().into_split();
            open.push(tokio::spawn(async move {
                let _ = tokio::io::copy(&mut asks, &mut told).await;
                told // stays open
            }));
            tokio::spawn(async move { tokio::io::copy(&mut answers, &mut hears).await });
        }
    });
    let options = Options { patience: Duration::from_secs(6), ..Options::default() };
    let limiter = Limiter::new(&Server::with(url, options).unwrap(), FailClosed);
    let holder = limiter.reserve(&[("late", "concurrent:1")]).await.unwrap();
    let waiter = waits_for(&limiter, "late", LONG);
    eventually("it stands in line", async || in_line(&server, "late").await == 1).await;
    waiter.abort();
    eventually("it wants nothing", async || calls(&server, "rl.release").await == 1).await;
    holder.commit().await;
    assert_eq!((held(&server, "late").await, in_line(&server, "late").await), (1, 0));
    eventually("it is given back", async || held(&server, "late").await == 0).await;
    relaying.abort();
}

/// While the server is killed or frozen the fallback decides, and nobody stands in line
/// when it is back.
#[tokio::test]
async fn killed_and_frozen_meanwhile() {
    let mut machine = Machine::start().await;
    let limiter = Limiter::new(&machine.server(), FailOpen);
    let holder = limiter.reserve(&[("away", "concurrent:1")]).await.unwrap();
    let waiter = waits_for(&limiter, "away", LONG);
    eventually("it stands in line", async || in_line(limiter.server(), "away").await == 1).await;
    machine.is_to("kill").await;
    // It was let go by the fallback, and there is nothing to be settled.
    waiter.await.unwrap().unwrap().commit().await;
    assert_eq!(limiter.counters().fallback, 1);
    machine.is_to("start").await;
    drop(holder);
    crate::fixtures::asks_again(&limiter).await;

    let server = machine.server();
    let closed = Limiter::new(&machine.impatient(Duration::from_secs(2)), FailClosed);
    line::<redis::Value>(&server, "RL.RESERVE 1 silent concurrent:1 TTL 1h ID holder").await;
    let waiter = waits_for(&closed, "silent", Duration::from_secs(6));
    eventually("it stands in line", async || in_line(&server, "silent").await == 1).await;
    machine.is_to("freeze").await;
    let released = tokio::spawn(async move { line::<u64>(&server, "RL.RELEASE holder 1 silent").await });
    let denied = waiter.await.unwrap().err();
    assert!(matches!(denied, Some(ReserveError::Denied(_))), "{denied:?}");
    machine.is_to("thaw").await;
    assert_eq!(released.await.unwrap(), 1);
    let server = machine.server();
    eventually("nobody holds it", async || {
        held(&server, "silent").await == 0 && in_line(&server, "silent").await == 0
    })
    .await;
}
