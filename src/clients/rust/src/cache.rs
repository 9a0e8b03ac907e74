//! Values that all processes share, kept in the Redis of the limits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::{Cmd, FromRedisValue};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::fallback::FailOpen;
use crate::limiter::Limiter;
use crate::memory::Memory;
use crate::reservation::{Reservation, ReserveError};
use crate::server::Server;

/// The longest that a server lets wait, unless told (setting `wait-max`).
const LONGEST: Duration = Duration::from_secs(30);

/// What is kept for longer is kept for ever: no server can reckon with more.
const FOR_EVER: Duration = Duration::from_secs(1000 * 365 * 24 * 60 * 60);

/// Between two tries of who cannot stand in line.
const BEAT: Duration = Duration::from_millis(50);

/// Values that all processes share, as JSON, in keys `namespace:key`: those of the packages
/// for Python and Node, too. A clone is the same cache.
///
/// While Redis is away each process keeps its own, at most 1,000: what is set then is got
/// then, and forgotten when Redis is back.
///
/// [`Cache::once`] lets one process make a value while the others wait for it, for at most
/// 30 s. Of one that dies the others take over after 10 s.
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
    patience: Duration,
    hold: Duration,
}

struct Inner {
    server: Server,
    namespace: String,
    memory: Mutex<Memory>,
    places: Limiter,
}

impl Cache {
    /// In this namespace.
    pub fn new(server: &Server, namespace: &str) -> Self {
        let inner = Inner {
            server: server.clone(),
            namespace: namespace.to_owned(),
            memory: Mutex::new(Memory::new(1000)),
            places: Limiter::new(server, FailOpen).without_memory(),
        };
        Self { inner: Arc::new(inner), patience: Duration::from_secs(30), hold: Duration::from_secs(10) }
    }

    /// How long a process waits for what another one makes; then it makes it too.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Of a process that dies while it makes a value, the others take over after this time.
    #[must_use]
    pub fn hold(mut self, hold: Duration) -> Self {
        self.hold = hold;
        self
    }

    /// The value, if there is one.
    ///
    /// # Errors
    /// Where Redis refuses it, and where what is kept is no such value.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let answer = self.asked::<Option<Vec<u8>>>(redis::cmd("GET").arg(self.name(key))).await?.flatten();
        // What is kept here while Redis cannot write is newer than what it has.
        let kept = self.memory().get(key, Instant::now()).map(|text| text.as_bytes().to_vec());
        let text = kept.or(answer);
        text.map(|text| serde_json::from_slice(&text).map_err(|error| Error::NotJson(error.to_string())))
            .transpose()
    }

    /// Keeps the value, for so long where that is said; what is more than a thousand years is
    /// for ever.
    ///
    /// # Errors
    /// Where Redis refuses it, and where JSON has no such value.
    pub async fn set<T: Serialize>(&self, key: &str, value: &T, ttl: Option<Duration>) -> Result<(), Error> {
        let text = serde_json::to_string(value).map_err(|error| Error::NotJson(error.to_string()))?;
        let mut command = redis::cmd("SET");
        command.arg(self.name(key)).arg(&text);
        if let Some(ttl) = ttl.filter(|ttl| *ttl < FOR_EVER) {
            command.arg("PX").arg(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1));
        }
        if self.asked::<()>(&command).await?.is_none() {
            self.memory().set(key, text, ttl, Instant::now());
        }
        Ok(())
    }

    /// Whether there is a value.
    ///
    /// # Errors
    /// Where Redis refuses it.
    pub async fn exists(&self, key: &str) -> Result<bool, Error> {
        let exists = self.asked(redis::cmd("EXISTS").arg(self.name(key))).await?;
        Ok(exists == Some(true) || self.memory().get(key, Instant::now()).is_some())
    }

    /// Until the value ends: [`Duration::MAX`] where it does not, none where there is none.
    ///
    /// # Errors
    /// Where Redis refuses it.
    pub async fn ttl(&self, key: &str) -> Result<Option<Duration>, Error> {
        let left = match self.asked::<i64>(redis::cmd("PTTL").arg(self.name(key))).await? {
            Some(-1) => Some(Duration::MAX),
            left => left.and_then(|left| u64::try_from(left).ok()).map(Duration::from_millis),
        };
        Ok(self.memory().ttl(key, Instant::now()).or(left))
    }

    /// Forgets a value; says whether there was one.
    ///
    /// # Errors
    /// Where Redis refuses it.
    pub async fn delete(&self, key: &str) -> Result<bool, Error> {
        let alone = self.memory().delete(key, Instant::now());
        Ok(self.asked(redis::cmd("UNLINK").arg(self.name(key))).await? == Some(true) || alone)
    }

    /// Forgets the values whose keys match, as KEYS of Redis does; says how many. It walks
    /// over all keys of the server, a thousand at a time.
    ///
    /// # Errors
    /// Where Redis refuses it; on a cluster always.
    pub async fn clear(&self, pattern: &str) -> Result<u64, Error> {
        let alone = self.memory().clear(pattern, Instant::now());
        Ok(self.cleared(pattern).await?.filter(|cleared| *cleared > 0).unwrap_or(alone))
    }

    /// The value; where there is none, that which `make` gives, in one process while the
    /// others wait for it. It is kept for so long where that is said. A kept text that is no
    /// such value counts as none, and is overwritten. What was made is the answer, also where
    /// it cannot be kept: because Redis refuses it, or JSON has no such value. That is logged.
    ///
    /// # Errors
    /// Those of `make`; and, before it is made, where Redis refuses to look.
    pub async fn once<T, E>(
        &self,
        key: &str,
        ttl: Option<Duration>,
        make: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<Error>,
    {
        let place = match self.wait_for(key).await? {
            Missing::Found(value) => return Ok(value),
            Missing::Mine(place) => place,
        };
        let value = make.await?;
        self.made(key, &value, ttl, place).await;
        Ok(value)
    }

    /// Keeps, where it can, what was made in this place.
    pub(crate) async fn made<T: Serialize>(
        &self,
        key: &str,
        value: &T,
        ttl: Option<Duration>,
        place: Option<Reservation>,
    ) {
        if let Err(error) = self.set(key, value, ttl).await {
            log::warn!("{:?} is not cached: {error}", self.name(key));
        }
        if let Some(place) = place {
            place.commit().await;
        }
    }

    /// The value, or the place of who is to make it; none where patience is at its end.
    pub(crate) async fn wait_for<T: DeserializeOwned>(&self, key: &str) -> Result<Missing<T>, Error> {
        let place = format!("{}!{key}", self.inner.namespace);
        let limits = [(place.as_str(), "concurrent:1")];
        let began = Instant::now();
        let mut may_stand_in_line = true;
        loop {
            if let Some(value) = self.found(key).await? {
                return Ok(Missing::Found(value));
            }
            let left = self.patience.saturating_sub(began.elapsed());
            if left < BEAT {
                return Ok(Missing::Mine(None)); // rather twice than never
            }
            let reserve = self.inner.places.reserve(&limits).ttl(self.hold);
            let reserved =
                if may_stand_in_line { reserve.wait(left.min(LONGEST)).await } else { reserve.await };
            match reserved {
                // Made meanwhile, perhaps.
                Ok(place) => {
                    return Ok(match self.found(key).await? {
                        Some(value) => Missing::Found(value),
                        None => Missing::Mine(Some(place)),
                    });
                }
                // So many wait already that it cannot stand in line, or not for longer.
                Err(ReserveError::Denied(_)) => tokio::time::sleep(BEAT).await,
                // This server lets nobody wait for so long.
                Err(ReserveError::Undecided(Error::Refused(_))) if may_stand_in_line => {
                    may_stand_in_line = false;
                }
                Err(ReserveError::Undecided(error)) => return Err(error),
            }
        }
    }

    /// The value, if there is one that can be read.
    async fn found<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        match self.get(key).await {
            Err(Error::NotJson(reason)) => {
                log::warn!("what is kept in {:?} cannot be read, and is made anew: {reason}", self.name(key));
                Ok(None)
            }
            found => found,
        }
    }

    async fn cleared(&self, pattern: &str) -> Result<Option<u64>, Error> {
        if self.inner.server.is_cluster() {
            let why = "a cache on a cluster cannot be cleared, for its keys are on all nodes";
            return Err(Error::Refused((redis::ErrorKind::Client, why).into()));
        }
        // Of a namespace no character stands for others. Places are of another type.
        let mut wanted = String::new();
        for letter in self.inner.namespace.chars() {
            if "\\*?[]^".contains(letter) {
                wanted.push('\\');
            }
            wanted.push(letter);
        }
        wanted.push(':');
        wanted.push_str(pattern);
        let (mut cursor, mut cleared) = ("0".to_owned(), 0);
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(&cursor).arg("MATCH").arg(&wanted).arg("COUNT").arg(1000).arg("TYPE").arg("string");
            let Some((next, keys)) = self.asked::<(String, Vec<String>)>(&scan).await? else {
                return Ok(None);
            };
            if !keys.is_empty() {
                let Some(unlinked) = self.asked::<u64>(redis::cmd("UNLINK").arg(keys)).await? else {
                    return Ok(None);
                };
                cleared += unlinked;
            }
            if next == "0" {
                return Ok(Some(cleared));
            }
            cursor = next;
        }
    }

    /// None while Redis is away.
    async fn asked<T: FromRedisValue>(&self, command: &Cmd) -> Result<Option<T>, Error> {
        match self.inner.server.ask(command).await {
            Err(Error::Away) => Ok(None),
            answer => answer.map(Some),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        let mut memory = self.inner.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.lasts(self.inner.server.outage());
        memory
    }

    fn name(&self, key: &str) -> String {
        format!("{}:{key}", self.inner.namespace)
    }
}

/// Who looked for a value.
pub(crate) enum Missing<T> {
    /// It is there.
    Found(T),
    /// It is not, and who looked is to make it.
    Mine(Option<Reservation>),
}
