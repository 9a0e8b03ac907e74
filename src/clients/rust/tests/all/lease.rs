//! Units that are spent without asking, and units that are charged afterwards.

use std::time::{Duration, Instant};

use floodgate_redis::{
    Error, FailClosed, FailOpen, Lease, Limiter, LocalBucket, Options, Server, Source, redis,
};
use tokio::time::sleep;

use crate::fixtures::{HANGS, Machine, PATIENCE, calls, eventually, heard, held, line, used};

async fn leases_again(lease: &Lease) {
    eventually("it leases", async || {
        for _ in 0..50 {
            if lease.acquire(1).await.unwrap().source == Source::Lease {
                return true;
            }
        }
        false
    })
    .await;
}

/// How many of so many requests are granted.
async fn grants(lease: &Lease, requests: usize) -> u64 {
    let mut granted = 0;
    for request in 0..requests {
        granted += lease.acquire(1).await.unwrap().granted;
        if request % 10 == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }
    granted
}

/// And the rest is given back.
#[tokio::test]
async fn round_trips_are_saved_and_counted() {
    let machine = Machine::start().await;
    for url in [machine.url(), format!("{}?protocol=resp3", machine.url())] {
        let options = Options { patience: PATIENCE, ..Options::default() };
        let limiter = Limiter::new(&Server::with(url, options).unwrap(), FailClosed);
        line::<redis::Value>(limiter.server(), "CONFIG RESETSTAT").await;
        line::<redis::Value>(limiter.server(), "DEL hot").await;
        // Longer than a round trip takes on a busy machine: what comes later cannot be spent.
        let lease = Lease::new(&limiter, "hot", "1000000/h").unwrap().interval(Duration::from_secs(2));
        let mut granted = 0;
        while granted < 5000 {
            granted += lease.acquire(1).await.unwrap().granted;
            if granted.is_multiple_of(20) {
                sleep(Duration::from_millis(1)).await;
            }
        }
        let asked = lease.counters().asked;
        assert_eq!(lease.counters().leased + asked, granted);
        let taken = lease.counters().taken;
        lease.close().await;
        assert_eq!(calls(limiter.server(), "rl.acquire").await, asked);
        let settled = calls(limiter.server(), "rl.commit").await;
        assert_eq!((calls(limiter.server(), "rl.reserve").await, settled), (taken, taken));
        assert!(asked + taken + settled < granted / 5, "{asked} + {taken} + {settled} of {granted}");
        assert_eq!(used(&limiter, "hot").await, i64::try_from(granted).unwrap());
        assert_eq!(held(limiter.server(), "hot").await, 0);
    }
}

/// Dropped, it gives back what is left, also where there is no runtime.
#[tokio::test]
async fn dropped_it_gives_back() {
    let machine = Machine::start().await;
    let limiter = Limiter::new(&machine.server(), FailClosed);
    let lease = Lease::new(&limiter, "drop", "1000000/h").unwrap().interval(Duration::from_secs(60));
    let mut granted = 0;
    while lease.left() == 0 {
        granted += lease.acquire(1).await.unwrap().granted;
    }
    assert!(lease.left() >= 10 && held(limiter.server(), "drop").await == 1);
    std::thread::spawn(move || drop(lease)).join().unwrap();
    eventually("it is given back", async || held(limiter.server(), "drop").await == 0).await;
    assert_eq!(used(&limiter, "drop").await, i64::try_from(granted).unwrap());
}

/// The fallback decides, and afterwards it leases again.
#[tokio::test]
async fn killed_and_frozen() {
    let mut machine = Machine::start().await;
    let server = machine.impatient(Duration::from_secs(1));
    let limiter = Limiter::new(&server, LocalBucket::new(1.0).burst(5.0));
    let lease = Lease::new(&limiter, "away", "1000000/h").unwrap();
    leases_again(&lease).await;
    for (breaks, mends) in [("kill", "start"), ("freeze", "thaw")] {
        machine.is_to(breaks).await;
        sleep(Duration::from_millis(120)).await;
        let (start, mut passed) = (Instant::now(), 0);
        for _ in 0..50 {
            let decision = lease.acquire(1).await.unwrap();
            assert_ne!(decision.source, Source::Redis);
            passed += decision.granted;
        }
        // Five, and one a second.
        assert!(passed <= 5 + start.elapsed().as_secs() && start.elapsed() < HANGS, "{passed} passed");
        machine.is_to(mends).await;
        leases_again(&lease).await;
    }
}

#[tokio::test]
async fn what_cannot_be_leased() {
    let machine = Machine::start().await;
    let limiter = Limiter::new(&machine.server(), FailOpen);
    let refused = Lease::new(&limiter, "k", "90000/m,60/m:per=call").err().unwrap();
    assert!(matches!(refused, Error::CannotLease) && refused.to_string().contains("Limiter::acquire"));
    // Those of the server, too, from the start or from some time on.
    line::<redis::Value>(limiter.server(), "RL.POLICY SET calls 200/h:per=call PREFIX calls:").await;
    let always = Limiter::new(limiter.server(), FailOpen).without_memory();
    for (key, limits) in [("calls:1", "*"), ("called", "@calls")] {
        let calls = Lease::new(&always, key, limits).unwrap().interval(Duration::from_secs(60));
        assert_eq!(grants(&calls, 600).await, 200);
        assert_eq!((calls.counters().taken, calls.counters().leased), (0, 0));
    }
    let pinned = Lease::new(&always, "pinned", "1000000/h").unwrap().interval(Duration::from_millis(300));
    leases_again(&pinned).await;
    line::<redis::Value>(limiter.server(), "RL.PIN pinned 200/h:per=call").await;
    // What it has seen of the limits, and the block that it has taken since.
    sleep(Duration::from_millis(1500)).await;
    let before = pinned.counters().leased;
    assert!(grants(&pinned, 600).await <= 200);
    assert_eq!(pinned.counters().leased, before);
    // Few requests are asked for; what Redis refuses is told once.
    let few = Lease::new(&limiter, "few", "1000000/h").unwrap().interval(Duration::from_secs(60));
    for _ in 0..9 {
        few.acquire(1).await.unwrap();
    }
    assert_eq!(few.counters().taken, 0);
    line::<redis::Value>(limiter.server(), "ACL SETUSER web on >secret ~* +rl.acquire +rl.quota").await;
    let url = machine.url().replace("//", "//web:secret@");
    let options = Options { patience: PATIENCE, rest: Duration::from_secs(60), ..Options::default() };
    let limiter = Limiter::new(&Server::with(url, options).unwrap(), FailOpen);
    heard();
    // So long that on a busy machine, too, enough are asked for in it.
    let refused = Lease::new(&limiter, "refused", "1000000/h").unwrap().interval(Duration::from_secs(10));
    for _ in 0..100 {
        assert_eq!(refused.acquire(1).await.unwrap().source, Source::Redis);
    }
    eventually("it is told", async || heard().iter().any(|said| said.contains("nothing is leased"))).await;
    assert_eq!(refused.counters().taken, 1);
}

/// Beyond the limit it is debt; while Redis is away the fallback is asked.
#[tokio::test]
async fn charged_afterwards() {
    let mut machine = Machine::start().await;
    let limiter = Limiter::new(&machine.server(), LocalBucket::new(1.0).burst(5.0));
    assert_eq!(limiter.charge("llm", "10/h", 4).await.unwrap().remaining, 6);
    let decision = limiter.charge("llm", "10/h", 12).track().await.unwrap();
    assert_eq!((decision.granted, decision.remaining), (12, 0));
    assert!(decision.retry_after_ms > 0);
    assert_eq!(used(&limiter, "llm").await, 16);
    assert_ne!(line::<Vec<redis::Value>>(limiter.server(), "RL.STATS llm").await, []);
    assert!(!limiter.acquire("llm", "10/h").await.unwrap().is_granted());
    limiter.acquire("llm", "9/d").await.unwrap();
    assert_eq!(limiter.refund_on("llm", "10/h", 3).await.unwrap(), 3);
    assert_eq!(limiter.quota("llm", "10/h").await.unwrap().unwrap().limits[0].used, 13);
    line::<redis::Value>(limiter.server(), "RL.PIN pinned 3/h").await;
    assert_eq!(limiter.charge("pinned", "*", 1).await.unwrap().remaining, 2);
    let refused = limiter.charge("place", "concurrent:3", 1).await.unwrap_err().to_string();
    assert!(refused.contains("concurrent"), "{refused}");
    machine.is_to("kill").await;
    let alone = limiter.charge("llm", "10/h", 4).await.unwrap();
    assert_eq!((alone.granted, alone.source), (4, Source::Fallback));
}
