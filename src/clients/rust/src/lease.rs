//! Leases: units of a busy key, taken in blocks and spent without asking Redis.

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

/// The time for which the limits of a key are taken to be those that were seen last.
const SEEN: Duration = Duration::from_secs(1);

/// Takes the units of a busy key in blocks, in the background, and spends them without asking Redis.
/// A lease is for limits of many units that one process uses many times a second.
///
/// A block has as many units as were requested in the last interval, and never more than
/// `remaining / (2 × processes)` of what the server last said. Blocks of fewer than ten units are not
/// taken. RL.RESERVE PARTIAL takes a block. It may be spent for one interval after that was asked, and
/// then RL.COMMIT gives the rest of exactly this block back. If no block has units for a request, the
/// lease asks as [`Limiter::acquire`] does, with its fallback and its memory. Ask the limiter itself
/// for requests that are critical.
///
/// A lease promises:
///
/// - Grants keep what the limit promises (S1 of sliding limits), because a unit is charged before it is
///   spent and never after.
/// - In a period at most `count` units are used, besides those that were on lease when the period
///   began. These are at most one interval's blocks of each process.
/// - The block of a process that dies stays charged, and no unit is granted twice.
/// - If an operator blocks the key or pins other limits, a process spends what it has for up to one
///   interval more, and for up to a second more if those limits count requests.
///
/// RL.STATS and RL.TOP count each block as one request, granted when it is taken. So a limit with
/// `per=call`, which counts requests, cannot be leased: if the server has such a limit for the key,
/// each request is asked. The lease asks RL.QUOTA for that before its first block, and at most once a
/// second.
///
/// ```no_run
/// # async fn example(limiter: floodgate_redis::Limiter) -> Result<(), floodgate_redis::Error> {
/// let lease = floodgate_redis::Lease::new(&limiter, "api", "100000/m")?.processes(4);
/// let decision = lease.acquire(1).await?;
/// # Ok(())
/// # }
/// ```
///
/// A lease that is dropped gives back what is left. [`Lease::close`] waits for that.
pub struct Lease {
    state: Arc<LeaseState>,
}

/// What a [`Lease`] shares with its work in the background.
struct LeaseState {
    limiter: Limiter,
    key: String,
    limits: String,
    ledger: Mutex<Ledger>,
    /// The time at which the server last said that no limit of the key counts requests.
    seen: Mutex<Option<Instant>>,
    is_warned: AtomicBool,
    is_closed: AtomicBool,
    /// The work in the background, which [`Lease::close`] waits for.
    working: Mutex<Vec<JoinHandle<()>>>,
    runtime: Mutex<Option<Handle>>,
}

/// The round trips that a lease made and saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseCounters {
    /// The number of requests that were granted out of a block, without a round trip.
    pub leased: u64,
    /// The number of requests for which the server was asked.
    pub asked: u64,
    /// The number of blocks that were asked for. Each is a round trip in the background. At most once
    /// a second there is another, for the limits.
    pub taken: u64,
    /// The number of blocks that were settled. Each is a round trip in the background.
    pub settled: u64,
}

impl Lease {
    /// Makes a lease of this key with these limits, for one process and an interval of 100 ms.
    ///
    /// # Errors
    /// Fails if a limit counts requests (`per=call`).
    pub fn new(limiter: &Limiter, key: &str, limits: &str) -> Result<Self, Error> {
        if limits.to_ascii_lowercase().contains("per=call") {
            return Err(Error::CannotLease);
        }
        let state = LeaseState {
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
        Ok(Self { state: Arc::new(state) })
    }

    /// Sets how many processes lease the same key. Each takes at most its share of what is left.
    #[must_use]
    pub fn processes(self, processes: u32) -> Self {
        self.state.ledger().processes = processes.max(1);
        self
    }

    /// Sets the interval for which a block may be spent, 1 ms to 60 s.
    #[must_use]
    pub fn interval(self, interval: Duration) -> Self {
        self.state.ledger().interval = interval.clamp(Duration::from_millis(1), Duration::from_secs(60));
        self
    }

    /// Takes `cost` units: out of a block if there is one, else from the server.
    ///
    /// # Errors
    /// Fails if Redis refuses the command. While Redis is away the limiter's fallback decides.
    pub async fn acquire(&self, cost: u64) -> Result<Decision, Error> {
        let LeaseState { limiter, key, limits, .. } = &*self.state;
        let now = Instant::now();
        let (leased, over) = {
            let mut ledger = self.state.ledger();
            ledger.note(cost, now);
            (ledger.spend(cost, now), ledger.over(now))
        };
        self.state.settle(&Handle::current(), over);
        if let Some(decision) = leased {
            telemetry::decided(DecisionOutcome::Leased);
            self.take_soon(now);
            return Ok(decision);
        }
        self.state.ledger().counters.asked += 1;
        let decision = limiter.acquire(key, limits).cost(cost).await?;
        if decision.source == Source::Redis {
            self.state.ledger().remaining = decision.remaining;
            if decision.is_granted() {
                self.take_soon(Instant::now());
            }
        }
        Ok(decision)
    }

    /// Gives back what is left, and waits until the server was told.
    pub async fn close(self) {
        self.state.is_closed.store(true, Ordering::SeqCst);
        // First what is being taken, then what that has to settle.
        loop {
            let all = self.state.ledger().all();
            self.state.settle(&Handle::current(), all);
            let working = std::mem::take(&mut *locked(&self.state.working));
            if working.is_empty() {
                return;
            }
            for work in working {
                let _ = work.await; // it does not fail
            }
        }
    }

    /// Returns the number of units that may be spent without asking.
    pub fn left(&self) -> u64 {
        self.state.ledger().left(Instant::now())
    }

    /// Returns the round trips made and saved so far.
    pub fn counters(&self) -> LeaseCounters {
        self.state.ledger().counters
    }

    fn take_soon(&self, now: Instant) {
        if self.state.is_closed.load(Ordering::SeqCst) {
            return;
        }
        let Some(wanted) = self.state.ledger().wants(now) else { return };
        let state = Arc::clone(&self.state);
        let runtime = Handle::current();
        *locked(&state.runtime) = Some(runtime.clone());
        let taking = runtime.spawn(async move { LeaseState::take(&state, wanted).await });
        locked(&self.state.working).push(taking);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.state.is_closed.store(true, Ordering::SeqCst);
        let all = self.state.ledger().all();
        let runtime = locked(&self.state.runtime).clone();
        if let Some(runtime) = runtime {
            self.state.settle(&runtime, all);
        }
    }
}

impl LeaseState {
    async fn take(state: &Arc<Self>, wanted: u64) {
        let interval = state.ledger().interval;
        let rests = match state.taken(wanted, interval).await {
            Ok(Some(block)) => return Self::arrived(state, block),
            Ok(None) => interval,
            Err(error) => {
                if !matches!(error, Error::Away) && !state.is_warned.swap(true, Ordering::SeqCst) {
                    log::warn!("nothing is leased of {:?}, each request is asked for: {error}", state.key);
                }
                interval.max(SEEN)
            }
        };
        state.ledger().rests_until(Instant::now() + rests);
    }

    fn arrived(state: &Arc<Self>, block: Block) {
        let runtime = Handle::current();
        if state.is_closed.load(Ordering::SeqCst) {
            state.ledger().is_taking = false;
            state.settle(&runtime, vec![block]);
        } else {
            runtime.spawn(Self::settle_later(Arc::clone(state), block.until));
            state.ledger().arrived(block);
        }
    }

    /// Takes a block of at most `wanted` units; `None` if the limits grant none.
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

    /// Asks whether a limit that holds counts requests. If none does, it does not ask again for a
    /// while.
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

    async fn settle_later(state: Arc<Self>, until: Instant) {
        tokio::time::sleep_until(until.into()).await;
        let over = state.ledger().over(Instant::now());
        state.settle(&Handle::current(), over);
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
