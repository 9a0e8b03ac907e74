//! The connection to Redis: one, shared by all requests, made anew by a task of
//! its own when it is lost. A request that finds none is told so at once.

use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionInfo, IntoConnectionInfo as _, Pipeline,
    RedisError, RedisResult, TlsCertificates, Value,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// How long a connection may take to be made, and an idle one to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often an idle connection is asked whether it still lives.
const PULSE: Duration = Duration::from_secs(1);
/// How long the next attempt waits after the first that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Where Redis is and how to get in.
#[derive(Debug, Clone, Default)]
pub struct Way {
    /// One address, or some of a cluster's.
    pub urls: Vec<String>,
    pub cluster: bool,
    /// Read at each connection, so that a new password needs no restart.
    pub password_file: Option<PathBuf>,
    /// Who signed the server's certificate; else whom the system trusts.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// Why Redis gave no decision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// No connection stands.
    #[error("Redis is away")]
    Away,
    /// The connection broke before the answer came.
    #[error("the connection to Redis broke: {0}")]
    Broken(String),
    /// Redis answered with an error.
    #[error("Redis refused: {0}")]
    Refused(String),
}

impl Unanswered {
    /// An error of the server.
    pub fn refused(why: &RedisError) -> Self {
        Self::Refused(why.to_string())
    }

    /// An answer that is none.
    pub fn unreadable() -> Self {
        Self::Refused("its reply is not one of this command".to_owned())
    }
}

/// A way that leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum NoWay {
    /// A file that cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    File { path: PathBuf, why: std::io::Error },
    /// What the client says.
    #[error("cannot connect to Redis: {0}")]
    Redis(#[from] RedisError),
    /// It took too long.
    #[error("Redis did not answer within {} ms", PATIENCE.as_millis())]
    Slow,
}

/// A connection; copies share it.
#[derive(Clone)]
enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    /// The answers from the one at `from` on.
    async fn ask(
        &mut self,
        commands: Pipeline,
        from: usize,
        count: usize,
        key: &str,
    ) -> RedisResult<Vec<Value>> {
        match self {
            Self::Single(connection) => connection.send_packed_commands(&commands, from, count).await,
            Self::Cluster(connection) => {
                let route = Route::with_key(key, SlotAddr::Master);
                connection
                    .route_pipeline(commands, from, count, SingleNodeRoutingInfo::SpecificNode(route))
                    .await
            }
        }
    }

    async fn ping(&mut self) -> RedisResult<Value> {
        let ping = redis::cmd("PING");
        match self {
            Self::Single(connection) => connection.send_packed_command(&ping).await,
            Self::Cluster(connection) => {
                connection
                    .route_command(ping, RoutingInfo::SingleNode(SingleNodeRoutingInfo::RandomPrimary))
                    .await
            }
        }
    }
}

/// What requests share.
pub struct Link {
    way: Way,
    connection: RwLock<Option<Connection>>,
    lost: Notify,
    up: watch::Sender<bool>,
    commands: AtomicU64,
}

impl Link {
    /// Not connected yet: [`Link::keep`] does that.
    pub fn new(way: Way) -> Self {
        Self {
            way,
            connection: RwLock::new(None),
            lost: Notify::new(),
            up: watch::Sender::new(false),
            commands: AtomicU64::new(0),
        }
    }

    /// Whether a connection stands, and each change of it.
    pub fn up(&self) -> watch::Receiver<bool> {
        self.up.subscribe()
    }

    /// How many commands were sent for requests.
    pub fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    fn connection(&self) -> Option<Connection> {
        self.connection.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, connection: Option<Connection>) {
        let up = connection.is_some();
        *self.connection.write().unwrap_or_else(PoisonError::into_inner) = connection;
        self.up.send_if_modified(|before| std::mem::replace(before, up) != up);
    }

    /// Sends commands whose keys are in the slot of `key`, once: what got no
    /// answer may have been done, so it is never sent again.
    ///
    /// # Errors
    /// When no connection stands or it breaks. An error in answer to one of the
    /// commands stands among the values.
    pub async fn ask(&self, commands: Pipeline, count: usize, key: &str) -> Result<Vec<Value>, Unanswered> {
        let Some(mut connection) = self.connection() else { return Err(Unanswered::Away) };
        self.commands.fetch_add(count as u64, Ordering::Relaxed);
        connection.ask(commands, 0, count, key).await.map_err(|why| self.failed(&why))
    }

    /// One command.
    ///
    /// # Errors
    /// As [`Link::ask`], and when the answer is an error.
    pub async fn ask_one(&self, command: Cmd, key: &str) -> Result<Value, Unanswered> {
        let mut commands = Pipeline::with_capacity(1);
        commands.add_command(command);
        let value = self.ask(commands, 1, key).await?.pop().ok_or_else(Unanswered::unreadable)?;
        value.extract_error().map_err(|why| Unanswered::refused(&why))
    }

    /// Commands between which no others come.
    ///
    /// # Errors
    /// As [`Link::ask`].
    pub async fn ask_together(
        &self,
        mut commands: Pipeline,
        count: usize,
        key: &str,
    ) -> Result<Vec<Value>, Unanswered> {
        let Some(mut connection) = self.connection() else { return Err(Unanswered::Away) };
        self.commands.fetch_add(count as u64, Ordering::Relaxed);
        commands.atomic();
        // Behind the answers to MULTI and each command is the one to EXEC.
        let values = connection.ask(commands, count + 1, 1, key).await.map_err(|why| self.failed(&why))?;
        match values.into_iter().next() {
            Some(Value::Array(values)) if values.len() == count => Ok(values),
            Some(value) => {
                value.extract_error().map_err(|why| Unanswered::refused(&why))?;
                Err(Unanswered::unreadable())
            }
            None => Err(Unanswered::unreadable()),
        }
    }

    fn failed(&self, why: &RedisError) -> Unanswered {
        if why.is_unrecoverable_error() || why.is_io_error() {
            self.lost.notify_one();
            Unanswered::Broken(why.to_string())
        } else {
            Unanswered::refused(why)
        }
    }

    /// Connects, watches, and connects again, for ever.
    pub async fn keep(&self) {
        let mut pause = FIRST_PAUSE;
        let mut told = String::new();
        loop {
            match self.connect().await {
                Ok(connection) => {
                    eprintln!("floodgate-envoy: connected to Redis");
                    told.clear();
                    pause = FIRST_PAUSE;
                    self.set(Some(connection.clone()));
                    let why = self.watch(connection).await;
                    self.set(None);
                    eprintln!("floodgate-envoy: lost the connection to Redis: {why}");
                }
                Err(why) => {
                    let why = why.to_string();
                    // Once, not with each attempt.
                    if why != told {
                        eprintln!("floodgate-envoy: {why}; trying again until it answers");
                        told = why;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PULSE);
                }
            }
        }
    }

    /// Returns when the connection is of no use any more.
    async fn watch(&self, mut connection: Connection) -> String {
        loop {
            if timeout(PULSE, self.lost.notified()).await.is_ok() {
                // A request says so; one of long ago may, too.
                if let Ok(Ok(Value::SimpleString(_))) = timeout(PATIENCE, connection.ping()).await {
                    continue;
                }
                return "it broke".to_owned();
            }
            match timeout(PATIENCE, connection.ping()).await {
                Ok(Err(why)) if why.is_unrecoverable_error() || why.is_io_error() => return why.to_string(),
                // It lives, whatever it says: loading, or out of memory.
                Ok(_) => {}
                Err(_) => return NoWay::Slow.to_string(),
            }
        }
    }

    async fn connect(&self) -> Result<Connection, NoWay> {
        let certificates = self.certificates()?;
        let infos = self.way.urls.iter().map(|url| self.info(url)).collect::<Result<Vec<_>, _>>()?;
        let connecting = async {
            if self.way.cluster {
                let mut builder = redis::cluster::ClusterClient::builder(infos)
                    .tcp_settings(redis::io::tcp::TcpSettings::default().set_nodelay(true))
                    .connection_timeout(PATIENCE)
                    .response_timeout(PATIENCE * 5);
                if let Some(certificates) = certificates {
                    builder = builder.certs(certificates);
                }
                return Ok(Connection::Cluster(builder.build()?.get_async_connection().await?));
            }
            let Some(info) = infos.into_iter().next() else { return Err(NoWay::Slow) };
            let client = match certificates {
                Some(certificates) => Client::build_with_tls(info, certificates)?,
                None => Client::open(info)?,
            };
            // Requests have deadlines of their own.
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(PATIENCE))
                .set_response_timeout(None);
            Ok(Connection::Single(client.get_multiplexed_async_connection_with_config(&config).await?))
        };
        timeout(PATIENCE * 2, connecting).await.map_err(|_| NoWay::Slow)?
    }

    fn info(&self, url: &str) -> Result<ConnectionInfo, NoWay> {
        let info = url.into_connection_info()?;
        // A command does not wait for the answer to the one before.
        let settings = info.tcp_settings().clone().set_nodelay(true);
        let info = info.set_tcp_settings(settings);
        let Some(path) = &self.way.password_file else { return Ok(info) };
        let password = String::from_utf8_lossy(&read(path)?).trim_end_matches(['\r', '\n']).to_owned();
        let settings = info.redis_settings().clone().set_password(password);
        Ok(info.set_redis_settings(settings))
    }

    fn certificates(&self) -> Result<Option<TlsCertificates>, NoWay> {
        if self.way.ca_file.is_none() && self.way.certificate.is_none() {
            return Ok(None);
        }
        let root_cert = self.way.ca_file.as_deref().map(read).transpose()?;
        let client_tls = match &self.way.certificate {
            Some((certificate, key)) => {
                Some(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? })
            }
            None => None,
        };
        Ok(Some(TlsCertificates { client_tls, root_cert }))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, NoWay> {
    std::fs::read(path).map_err(|why| NoWay::File { path: path.to_owned(), why })
}
