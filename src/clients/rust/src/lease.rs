//! Units of a busy key, taken in blocks and spent without asking.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::Cmd;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::decision::{Decision, Source};
use crate::error::Error;
use crate::lease::ledger::{Block, Ledger};
use crate::limiter::{Headers, Limiter};
use crate::server::ms;
use crate::telemetry::{self, DecisionOutcome};

mod ledger;

/// For how long the limits of a key are taken for those that were seen last.
const SEEN: Duration = Duration::from_secs(1);

/// Takes the units of a busy key in blocks, in the background, and spends them without
/// asking: for limits of many units that one process uses many times a second.
///
/// A block has as many units as were asked for in the last interval, and never more than
/// `remaining / (2 × processes)` of what the server last said; fewer than ten are not worth
/// it. It is taken by RL.RESERVE PARTIAL, may be spent for one interval from when it was
/// asked for, and then RL.COMMIT gives the rest of exactly this block back. A request that
/// no block has units for is asked for as by [`Limiter::acquire`], with its fallback and its
/// memory. Ask the limiter itself for requests that are critical.
///
/// What is promised:
///
/// - Grants keep what the limit promises (S1 of sliding limits): a unit is charged before it
///   is spent, never after.
/// - Use in a period is at most `count` plus what was out on lease when the period began: at
///   most one interval's blocks of each process.
/// - A process that dies keeps its block charged, and nothing is granted twice.
/// - For up to an interval a process spends what it has although an operator has blocked the
///   key, or pinned other limits; for up to a second more where those count requests.
///
/// Requests that are granted out of a block count as granted when the block is taken, as one
/// request: RL.STATS and RL.TOP count blocks. So a limit with `per=call`, which counts
/// requests, cannot be leased: where the server has one for the key, each request is asked
/// for. The lease asks RL.QUOTA for that before its first block, and at most once a second.
///
/// ```no_run
/// # async fn example(limiter: floodgate_redis::Limiter) -> Result<(), floodgate_redis::Error> {
/// let lease = floodgate_redis::Lease::new(&limiter, "api", "100000/m")?.processes(4);
/// let decision = lease.acquire(1).await?;
/// # Ok(())
/// # }
/// ```
///
/// Dropped, it gives back what is left; [`Lease::close`] waits for that.
pub struct Lease {
    inner: Arc<Inner>,
}

struct Inner {
    limiter: Limiter,
    key: String,
    limits: String,
    ledger: Mutex<Ledger>,
    /// When the server last said that no limit of the key counts requests.
    seen: Mutex<Option<Instant>>,
    is_warned: AtomicBool,
    is_closed: AtomicBool,
    /// What goes on in the background, to be waited for at the end.
    working: Mutex<Vec<JoinHandle<()>>>,
    runtime: Mutex<Option<Handle>>,
}

/// Round trips made and saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseCounters {
    /// Requests that were granted out of a block: no round trip.
    pub leased: u64,
    /// Requests that were asked for one by one.
    pub asked: u64,
    /// Blocks that were asked for, a round trip each, in the background; and at most once a
    /// second another, for the limits.
    pub taken: u64,
    /// Blocks that were settled, a round trip each, in the background.
    pub settled: u64,
}

impl Lease {
    /// Of this key, with these limits; for one process, and 100 ms at a time.
    ///
    /// # Errors
    /// Where a limit counts requests (`per=call`).
    pub fn new(limiter: &Limiter, key: &str, limits: &str) -> Result<Self, Error> {
        if limits.to_ascii_lowercase().contains("per=call") {
            return Err(Error::CannotLease);
        }
        let inner = Inner {
            limiter: limiter.clone(),
            key: key.to_owned(),
            limits: limits.to_owned(),
            ledger: Mutex::new(Ledger::new(Duration::from_millis(100), Instant::now())),
            seen: Mutex::default(),
            is_warned: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            working: Mutex::default(),
            runtime: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// How many processes lease the same key: each takes at most its share of what is left.
    #[must_use]
    pub fn processes(self, processes: u32) -> Self {
        self.inner.ledger().processes = processes.max(1);
        self
    }

    /// For how long a block may be spent: 1 ms to 60 s.
    #[must_use]
    pub fn interval(self, interval: Duration) -> Self {
        self.inner.ledger().interval = interval.clamp(Duration::from_millis(1), Duration::from_secs(60));
        self
    }

    /// Takes so many units: out of a block where there is one, else of the server.
    ///
    /// # Errors
    /// Where Redis refuses it; while Redis is away the limiter's fallback decides.
    pub async fn acquire(&self, cost: u64) -> Result<Decision, Error> {
        let Inner { limiter, key, limits, .. } = &*self.inner;
        let now = Instant::now();
        let (leased, over) = {
            let mut ledger = self.inner.ledger();
            ledger.note(cost, now);
            (ledger.spend(cost, now), ledger.over(now))
        };
        self.inner.settle(&Handle::current(), over);
        if let Some(decision) = leased {
            telemetry::decided(DecisionOutcome::Leased);
            self.take_soon(now);
            return Ok(decision);
        }
        self.inner.ledger().counters.asked += 1;
        let decision = limiter.acquire(key, limits).cost(cost).await?;
        if decision.source == Source::Redis {
            self.inner.ledger().remaining = decision.remaining;
            if decision.is_granted() {
                self.take_soon(Instant::now());
            }
        }
        Ok(decision)
    }

    /// Gives back what is left, and waits until that is told.
    pub async fn close(self) {
        self.inner.is_closed.store(true, Ordering::SeqCst);
        // First what is being taken, then what that has to settle.
        loop {
            let all = self.inner.ledger().all();
            self.inner.settle(&Handle::current(), all);
            let working = std::mem::take(&mut *locked(&self.inner.working));
            if working.is_empty() {
                return;
            }
            for work in working {
                let _ = work.await; // it does not fail
            }
        }
    }

    /// Units that may be spent without asking.
    pub fn left(&self) -> u64 {
        self.inner.ledger().left(Instant::now())
    }

    /// Round trips made and saved.
    pub fn counters(&self) -> LeaseCounters {
        self.inner.ledger().counters
    }

    fn take_soon(&self, now: Instant) {
        if self.inner.is_closed.load(Ordering::SeqCst) {
            return;
        }
        let Some(wanted) = self.inner.ledger().wants(now) else { return };
        let inner = Arc::clone(&self.inner);
        let runtime = Handle::current();
        *locked(&inner.runtime) = Some(runtime.clone());
        let taking = runtime.spawn(async move { Inner::take(&inner, wanted).await });
        locked(&self.inner.working).push(taking);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.inner.is_closed.store(true, Ordering::SeqCst);
        let all = self.inner.ledger().all();
        let runtime = locked(&self.inner.runtime).clone();
        if let Some(runtime) = runtime {
            self.inner.settle(&runtime, all);
        }
    }
}

impl Inner {
    async fn take(inner: &Arc<Self>, wanted: u64) {
        let interval = inner.ledger().interval;
        let rests = match inner.taken(wanted, interval).await {
            Ok(Some(block)) => return Self::arrived(inner, block),
            Ok(None) => interval,
            Err(error) => {
                if !matches!(error, Error::Away) && !inner.is_warned.swap(true, Ordering::SeqCst) {
                    log::warn!("nothing is leased of {:?}, each request is asked for: {error}", inner.key);
                }
                interval.max(SEEN)
            }
        };
        inner.ledger().rests_until(Instant::now() + rests);
    }

    fn arrived(inner: &Arc<Self>, block: Block) {
        let runtime = Handle::current();
        if inner.is_closed.load(Ordering::SeqCst) {
            inner.ledger().is_taking = false;
            inner.settle(&runtime, vec![block]);
        } else {
            runtime.spawn(Self::settle_later(Arc::clone(inner), block.until));
            inner.ledger().arrived(block);
        }
    }

    /// A block of at most so many units; none where the limits grant none.
    async fn taken(&self, wanted: u64, interval: Duration) -> Result<Option<Block>, Error> {
        self.see().await?;
        let Self { limiter: Limiter { server, .. }, key, limits, .. } = self;
        self.ledger().counters.taken += 1;
        let asked = Instant::now();
        let id = format!("{:032x}", fastrand::u128(..));
        let mut command = redis::cmd("RL.RESERVE");
        command.arg(1).arg(key).arg(limits).arg("COST").arg(wanted);
        // Until the last answer may have come, and it is settled.
        command
            .arg("TTL")
            .arg(ms(interval.saturating_add(server.patience().saturating_mul(4))))
            .arg("ID")
            .arg(&id)
            .arg("PARTIAL");
        let release = settled("RL.RELEASE", &id, key);
        let undo =
            move |(id, _): &(Option<String>, Vec<Decision>)| id.iter().map(|_| release.clone()).collect();
        let (reserved, decisions) = server.take(command, undo).await?;
        let Some(decision) = decisions.into_iter().next() else { return Ok(None) };
        if reserved.is_none() {
            self.ledger().remaining = decision.remaining;
            return Ok(None);
        }
        Ok(Some(Block::new(id, decision, asked + interval)))
    }

    /// Asks whether a limit that holds counts requests; not again for a while after none did.
    async fn see(&self) -> Result<(), Error> {
        if locked(&self.seen).is_some_and(|seen| seen.elapsed() < SEEN) {
            return Ok(());
        }
        let mut command = redis::cmd("RL.QUOTA");
        command.arg(&self.key).arg(&self.limits).arg("HEADERS");
        let headers: Option<Headers> = self.limiter.server.put(command).await?;
        let policy = headers.and_then(|mut headers| headers.remove("RateLimit-Policy"));
        if policy.is_some_and(|policy| policy.contains(r#"qu="requests""#)) {
            return Err(Error::CannotLease);
        }
        *locked(&self.seen) = Some(Instant::now());
        Ok(())
    }

    async fn settle_later(inner: Arc<Self>, until: Instant) {
        tokio::time::sleep_until(until.into()).await;
        let over = inner.ledger().over(Instant::now());
        inner.settle(&Handle::current(), over);
    }

    fn settle(&self, runtime: &Handle, blocks: Vec<Block>) {
        for block in blocks {
            self.ledger().counters.settled += 1;
            let mut commit = settled("RL.COMMIT", &block.id, &self.key);
            commit.arg("COST").arg(block.used);
            let settling = self.limiter.server.finish(runtime, commit);
            let mut working = locked(&self.working);
            working.retain(|work| !work.is_finished());
            working.push(settling);
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        locked(&self.ledger)
    }
}

fn settled(command: &str, id: &str, key: &str) -> Cmd {
    let mut settled = redis::cmd(command);
    settled.arg(id).arg(1).arg(key);
    settled
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
