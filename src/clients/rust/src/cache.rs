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

/// The longest wait that a server allows by default (setting `wait-max`).
const LONGEST: Duration = Duration::from_secs(30);

/// A value that is to be kept for longer is kept for ever, because no server accepts a longer time.
const FOR_EVER: Duration = Duration::from_secs(1000 * 365 * 24 * 60 * 60);

/// The pause between two tries of a process that cannot stand in line.
const BEAT: Duration = Duration::from_millis(50);

/// Values that all processes share, as JSON, in keys `namespace:key`. The packages for Python and
/// Node use the same keys. A clone is the same cache.
///
/// While Redis is away each process keeps its own values, at most 1,000. A value that is set then is
/// found then, and forgotten when Redis is back.
///
/// [`Cache::once`] lets one process make a value while the others wait for it, for at most 30 s. If
/// that process dies, the others take over after 10 s.
#[derive(Clone)]
pub struct Cache {
    state: Arc<CacheState>,
    patience: Duration,
    hold: Duration,
}

/// What the clones of a [`Cache`] share.
struct CacheState {
    server: Server,
    namespace: String,
    memory: Mutex<Memory>,
    places: Limiter,
}

impl Cache {
    /// Makes a cache with this namespace.
    pub fn new(server: &Server, namespace: &str) -> Self {
        let state = CacheState {
            server: server.clone(),
            namespace: namespace.to_owned(),
            memory: Mutex::new(Memory::new(1000)),
            places: Limiter::new(server, FailOpen).without_memory(),
        };
        Self { state: Arc::new(state), patience: Duration::from_secs(30), hold: Duration::from_secs(10) }
    }

    /// Sets how long a process waits for a value that another one makes (30 s). After that it makes
    /// the value itself, too.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets the time after which the others take over from a process that dies while it makes a
    /// value (10 s).
    #[must_use]
    pub fn hold(mut self, hold: Duration) -> Self {
        self.hold = hold;
        self
    }

    /// Returns the value of a key; `None` if there is none.
    ///
    /// # Errors
    /// Fails if Redis refuses the command, and if the kept text is no value of this type.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let answer = self.asked::<Option<Vec<u8>>>(redis::cmd("GET").arg(self.name(key))).await?.flatten();
        // What is kept here while Redis cannot write is newer than what it has.
        let kept = self.memory().get(key, Instant::now()).map(|text| text.as_bytes().to_vec());
        let text = kept.or(answer);
        text.map(|text| serde_json::from_slice(&text).map_err(|error| Error::NotJson(error.to_string())))
            .transpose()
    }

    /// Keeps a value, for the time `ttl` if that is given. More than a thousand years are for ever.
    ///
    /// # Errors
    /// Fails if Redis refuses the command, and if JSON cannot hold the value.
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

    /// Returns whether the key has a value.
    ///
    /// # Errors
    /// Fails if Redis refuses the command.
    pub async fn exists(&self, key: &str) -> Result<bool, Error> {
        let exists = self.asked(redis::cmd("EXISTS").arg(self.name(key))).await?;
        Ok(exists == Some(true) || self.memory().get(key, Instant::now()).is_some())
    }

    /// Returns the time until the value ends: [`Duration::MAX`] if it does not end, `None` if there is
    /// no value.
    ///
    /// # Errors
    /// Fails if Redis refuses the command.
    pub async fn ttl(&self, key: &str) -> Result<Option<Duration>, Error> {
        let left = match self.asked::<i64>(redis::cmd("PTTL").arg(self.name(key))).await? {
            Some(-1) => Some(Duration::MAX),
            left => left.and_then(|left| u64::try_from(left).ok()).map(Duration::from_millis),
        };
        Ok(self.memory().ttl(key, Instant::now()).or(left))
    }

    /// Deletes a value, and returns whether there was one.
    ///
    /// # Errors
    /// Fails if Redis refuses the command.
    pub async fn delete(&self, key: &str) -> Result<bool, Error> {
        let alone = self.memory().delete(key, Instant::now());
        Ok(self.asked(redis::cmd("UNLINK").arg(self.name(key))).await? == Some(true) || alone)
    }

    /// Deletes the values whose keys match `pattern`, which is written as for the command KEYS, and
    /// returns their number. It walks over all keys of the server, a thousand at a time.
    ///
    /// # Errors
    /// Fails if Redis refuses a command, and always on a cluster.
    pub async fn clear(&self, pattern: &str) -> Result<u64, Error> {
        let alone = self.memory().clear(pattern, Instant::now());
        Ok(self.cleared(pattern).await?.filter(|cleared| *cleared > 0).unwrap_or(alone))
    }

    /// Returns the value of a key. If there is none, one process makes it by `make` while the others
    /// wait for it, and it is kept for the time `ttl` if that is given. A kept text that is no value
    /// of this type is overwritten. A value that was made is returned even if it cannot be kept,
    /// because Redis refuses the command or JSON cannot hold the value. Then a line is logged.
    ///
    /// # Errors
    /// Fails with the error of `make`. Fails before `make` runs if Redis refuses to look the value
    /// up.
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

    /// Keeps a value that was made in this place, if that is possible.
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

    /// The value, or the place of the caller, who must then make it. There is no place if patience is
    /// at its end.
    pub(crate) async fn wait_for<T: DeserializeOwned>(&self, key: &str) -> Result<Missing<T>, Error> {
        let place = format!("{}!{key}", self.state.namespace);
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
            let reserve = self.state.places.reserve(&limits).ttl(self.hold);
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

    /// The value, if it can be read.
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
        if self.state.server.is_cluster() {
            let why = "a cache on a cluster cannot be cleared, for its keys are on all nodes";
            return Err(Error::Refused((redis::ErrorKind::Client, why).into()));
        }
        // Of a namespace no character stands for others. Places are of another type.
        let mut wanted = String::new();
        for letter in self.state.namespace.chars() {
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

    /// The answer to a command; `None` while Redis is away.
    async fn asked<T: FromRedisValue>(&self, command: &Cmd) -> Result<Option<T>, Error> {
        match self.state.server.ask(command).await {
            Err(Error::Away) => Ok(None),
            answer => answer.map(Some),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        let mut memory = self.state.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.lasts(self.state.server.outage());
        memory
    }

    fn name(&self, key: &str) -> String {
        format!("{}:{key}", self.state.namespace)
    }
}

/// What a look for a value found.
pub(crate) enum Missing<T> {
    /// The value is there.
    Found(T),
    /// There is no value, and the caller must make it.
    Mine(Option<Reservation>),
}
