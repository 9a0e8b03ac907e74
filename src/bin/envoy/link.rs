//! The connection to Redis. All requests share one. A task of its own connects again after a loss,
//! and meanwhile a request gets an error at once.

use crate::log::log;
use crate::refused::{self, RefusedCommands};
use crate::way_out::with_way_out;
use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionInfo, IntoConnectionInfo as _, Pipeline,
    RedisError, RedisResult, TlsCertificates, Value,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// The longest time for connecting, and for the answer of an idle connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The time between two checks of an idle connection.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// The time between two lines of the log about commands that Redis refused for the same reason.
const REFUSAL_INTERVAL: Duration = Duration::from_secs(5);
/// The most reasons that are told in one such time.
const MOST_REASONS: usize = 16;
/// The pause after the first attempt that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The address of Redis, and how to log in.
#[derive(Debug, Clone, Default)]
pub struct Endpoint {
    /// One address, or those of some nodes of a cluster.
    pub urls: Vec<String>,
    pub cluster: bool,
    /// The file with the password. It is read for each connection, so that a new password needs no
    /// restart.
    pub password_file: Option<PathBuf>,
    /// The file with the authority that signed the server's certificate. Without it, the
    /// authorities that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// The certificate of this service and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

impl Endpoint {
    /// Where Redis is, as far as the log may say it: a URL may hold a password.
    fn addresses(&self) -> String {
        let infos = self.urls.iter().filter_map(|url| url.as_str().into_connection_info().ok());
        infos.map(|info| info.addr().to_string()).collect::<Vec<_>>().join(", ")
    }
}

/// The reasons why Redis gave no decision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// There is no connection.
    #[error("Redis is away")]
    Away,
    /// The connection broke before the answer came.
    #[error("the connection to Redis broke: {0}")]
    Broken(String),
    /// Redis answered with an error.
    #[error("Redis refused: {0}")]
    Refused(String),
    /// The request asks for more in one command than Redis takes.
    #[error("the request has too many descriptors: {0}")]
    TooMany(String),
}

impl LinkError {
    /// An error that the server replied.
    pub fn refused(why: &RedisError) -> Self {
        let text = why.to_string();
        let too_many = ["numitems must be", "numkeys must be"].iter().any(|part| text.contains(part));
        if too_many { Self::TooMany(text) } else { Self::Refused(text) }
    }

    /// A reply that does not have the form of the command's replies.
    pub fn unreadable() -> Self {
        Self::Refused("its reply is not one of this command".to_owned())
    }
}

/// The reasons why no connection can be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A file cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    File { path: PathBuf, why: std::io::Error },
    /// The Redis client reports an error.
    #[error("{0}")]
    Redis(#[from] RedisError),
    /// The file of the authority is no such file. The Redis client would trust nobody, and say no
    /// more than that the server's certificate is of an unknown issuer.
    #[error("{}: holds no certificate (PEM)", .0.display())]
    NoCertificate(PathBuf),
    /// Connecting took too long.
    #[error("Redis did not answer within {} ms", CONNECT_TIMEOUT.as_millis())]
    Slow,
}

/// A connection. Its copies share it.
#[derive(Clone)]
enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    /// Sends commands. Returns `count` answers, from the one at `from` on.
    async fn ask(
        &mut self,
        commands: &Pipeline,
        from: usize,
        count: usize,
        key: &str,
    ) -> RedisResult<Vec<Value>> {
        match self {
            Self::Single(connection) => connection.send_packed_commands(commands, from, count).await,
            Self::Cluster(connection) => {
                let route = Route::with_key(key, SlotAddr::Master);
                connection
                    .route_pipeline(commands.clone(), from, count, SingleNodeRoutingInfo::SpecificNode(route))
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

    /// The reason why the server decides nothing, if it decides nothing. The probe is a write that
    /// changes nothing: it gives units back on a key that never exists. A user has the rights for one
    /// of the two commands; one without both is told of the first.
    async fn unable(&mut self, probe: &str) -> Option<String> {
        let mut refund = redis::cmd("RL.REFUND");
        refund.arg(probe).arg(1);
        let unable = self.refusal(refund, probe).await?;
        if !unable.starts_with("NOPERM") {
            return Some(unable);
        }
        let mut release = redis::cmd("RL.RELEASE");
        release.arg("none").arg(1).arg(probe);
        let other = self.refusal(release, probe).await?;
        Some(if other.starts_with("NOPERM") { unable } else { other })
    }

    /// The reason why the server still refuses commands, if it does.
    async fn still_refuses(&mut self, refused: &RefusedCommands) -> Option<String> {
        let RefusedCommands { again, from, count, key } = refused;
        match timeout(CONNECT_TIMEOUT, self.ask(again, *from, *count, key)).await {
            Ok(answers) => refused::still(&answers),
            Err(_) => Some(ConnectError::Slow.to_string()),
        }
    }

    /// The reason why the server does not carry out a command, if it does not.
    async fn refusal(&mut self, command: Cmd, key: &str) -> Option<String> {
        let mut commands = Pipeline::with_capacity(1);
        commands.add_command(command);
        let Ok(answer) = timeout(CONNECT_TIMEOUT, self.ask(&commands, 0, 1, key)).await else {
            return Some(ConnectError::Slow.to_string());
        };
        let why =
            answer.and_then(|values| values.into_iter().try_for_each(|one| one.extract_error().map(drop)));
        let why = why.err()?;
        let text = match why.code() {
            Some(code) => format!("{code} {}", why.detail().unwrap_or_default()),
            None => why.to_string(),
        };
        // The user may not be allowed this key, but all others.
        let key = text.starts_with("NOPERM") && text.contains(" to access ");
        (!key).then_some(text)
    }
}

/// The connection, as all requests share it.
pub struct Link {
    endpoint: Endpoint,
    connection: RwLock<Option<Connection>>,
    lost: Notify,
    up: watch::Sender<bool>,
    commands: AtomicU64,
    /// The key of the probe.
    probe: String,
    /// The last commands of requests that were refused for want of memory or of a right. The usual
    /// probe does not meet that: a server without memory still takes what gives units back, and a
    /// user may lack the rights for other commands only.
    refused: Mutex<Option<RefusedCommands>>,
    /// The reasons of refusals that were written to the log, and when.
    told: Mutex<Vec<(String, Instant)>>,
}

impl Link {
    /// A link without a connection. [`Link::keep`] connects it. All keys start with `prefix`.
    pub fn new(endpoint: Endpoint, prefix: &str) -> Self {
        Self {
            endpoint,
            connection: RwLock::new(None),
            lost: Notify::new(),
            up: watch::Sender::new(false),
            commands: AtomicU64::new(0),
            // No domain is empty, so this is no descriptor's key.
            probe: format!("{prefix}:{{}}:health"),
            refused: Mutex::new(None),
            told: Mutex::new(Vec::new()),
        }
    }

    /// Tells whether Redis is connected and decides, and each change of that.
    pub fn up(&self) -> watch::Receiver<bool> {
        self.up.subscribe()
    }

    /// The number of commands that were sent for requests.
    pub fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    fn connection(&self) -> Option<Connection> {
        self.connection.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, connection: Option<Connection>) {
        *self.connection.write().unwrap_or_else(PoisonError::into_inner) = connection;
    }

    fn set_up(&self, up: bool) {
        self.up.send_if_modified(|before| std::mem::replace(before, up) != up);
    }

    /// Writes to the log that Redis refused a command. The same reason is written at most once in
    /// some seconds.
    pub fn tell(&self, refused: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|(_, at)| at.elapsed() < REFUSAL_INTERVAL);
        if told.len() < MOST_REASONS && told.iter().all(|(reason, _)| reason != refused) {
            told.push((refused.to_owned(), Instant::now()));
            log(&with_way_out(refused, &self.endpoint));
        }
    }

    /// Remembers commands that were refused, if any were.
    fn notice(&self, refused: Option<RefusedCommands>) {
        if refused.is_some() {
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        }
    }

    /// The reason why Redis decides nothing, if it decides nothing.
    async fn unable(&self, connection: &mut Connection) -> Option<String> {
        if let Some(why) = connection.unable(&self.probe).await {
            return Some(why);
        }
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let why = connection.still_refuses(&refused).await?;
        // Commands that were refused meanwhile say more of the present.
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(refused);
        Some(why)
    }

    /// Sends commands whose keys are in the slot of `key`, and sends them once. A command without
    /// an answer may have been carried out, so it is never sent again.
    ///
    /// # Errors
    /// [`LinkError`] if there is no connection, or if it breaks. If a command is answered with an
    /// error, the error stands among the values.
    pub async fn ask(&self, commands: Pipeline, count: usize, key: &str) -> Result<Vec<Value>, LinkError> {
        let Some(mut connection) = self.connection() else { return Err(LinkError::Away) };
        self.commands.fetch_add(count as u64, Ordering::Relaxed);
        let answers = connection.ask(&commands, 0, count, key).await;
        self.notice(RefusedCommands::of(&commands, &answers, key));
        answers.map_err(|why| self.failed(&why))
    }

    /// Sends one command.
    ///
    /// # Errors
    /// The same as those of [`Link::ask`], and [`LinkError::Refused`] if the answer is an error.
    pub async fn ask_one(&self, command: Cmd, key: &str) -> Result<Value, LinkError> {
        let mut commands = Pipeline::with_capacity(1);
        commands.add_command(command);
        let value = self.ask(commands, 1, key).await?.pop().ok_or_else(LinkError::unreadable)?;
        value.extract_error().map_err(|why| LinkError::refused(&why))
    }

    /// Sends commands as one transaction, so that no other commands run between them.
    ///
    /// # Errors
    /// The same as those of [`Link::ask`].
    pub async fn ask_together(
        &self,
        mut commands: Pipeline,
        count: usize,
        key: &str,
    ) -> Result<Vec<Value>, LinkError> {
        let Some(mut connection) = self.connection() else { return Err(LinkError::Away) };
        self.commands.fetch_add(count as u64, Ordering::Relaxed);
        commands.atomic();
        // The answers to MULTI and to each command come first, and then the one to EXEC.
        let answers = connection.ask(&commands, count + 1, 1, key).await;
        self.notice(RefusedCommands::of_transaction(&commands, &answers, key));
        match answers.map_err(|why| self.failed(&why))?.into_iter().next() {
            Some(Value::Array(values)) if values.len() == count => Ok(values),
            Some(value) => {
                value.extract_error().map_err(|why| LinkError::refused(&why))?;
                Err(LinkError::unreadable())
            }
            None => Err(LinkError::unreadable()),
        }
    }

    fn failed(&self, why: &RedisError) -> LinkError {
        if why.is_unrecoverable_error() || why.is_io_error() {
            self.lost.notify_one();
            LinkError::Broken(why.to_string())
        } else {
            LinkError::refused(why)
        }
    }

    /// Connects, watches the connection, and connects again, for ever.
    pub async fn keep(&self) {
        let mut pause = FIRST_PAUSE;
        let mut told = String::new();
        loop {
            match self.connect().await {
                Ok(connection) => {
                    log(&format_args!("connected to Redis at {}", self.endpoint.addresses()));
                    told.clear();
                    pause = FIRST_PAUSE;
                    self.set(Some(connection.clone()));
                    let why = self.watch(connection).await;
                    self.set(None);
                    self.set_up(false);
                    log(&format_args!("lost the connection to Redis: {why}"));
                }
                Err(why) => {
                    let why = with_way_out(&why.to_string(), &self.endpoint);
                    // The same reason is printed once, not after each attempt.
                    if why != told {
                        let at = self.endpoint.addresses();
                        log(&format_args!(
                            "cannot connect to Redis at {at}: {why}; trying again until it answers"
                        ));
                        told = why;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PING_INTERVAL);
                }
            }
        }
    }

    /// Returns the reason once the connection is of no use any more.
    async fn watch(&self, mut connection: Connection) -> String {
        let mut told = String::new();
        loop {
            let unable = self.unable(&mut connection).await;
            self.set_up(unable.is_none());
            // The same reason is printed once.
            let why = unable.unwrap_or_default();
            if why != told {
                match why.as_str() {
                    "" => log(&"Redis decides"),
                    why => log(&format_args!("Redis does not decide: {}", with_way_out(why, &self.endpoint))),
                }
                told = why;
            }
            if timeout(PING_INTERVAL, self.lost.notified()).await.is_ok() {
                // A request reported that the connection broke. It may have been an earlier
                // connection, so this one is checked.
                if let Ok(Ok(Value::SimpleString(_))) = timeout(CONNECT_TIMEOUT, connection.ping()).await {
                    continue;
                }
                return "it broke".to_owned();
            }
            match timeout(CONNECT_TIMEOUT, connection.ping()).await {
                Ok(Err(why)) if why.is_unrecoverable_error() || why.is_io_error() => return why.to_string(),
                // Every answer shows that the server lives, also an error such as loading.
                Ok(_) => {}
                Err(_) => return ConnectError::Slow.to_string(),
            }
        }
    }

    async fn connect(&self) -> Result<Connection, ConnectError> {
        let certificates = self.certificates()?;
        let infos = self.endpoint.urls.iter().map(|url| self.info(url)).collect::<Result<Vec<_>, _>>()?;
        let connecting = async {
            if self.endpoint.cluster {
                let mut builder = redis::cluster::ClusterClient::builder(infos)
                    .tcp_settings(redis::io::tcp::TcpSettings::default().set_nodelay(true))
                    .connection_timeout(CONNECT_TIMEOUT)
                    .response_timeout(CONNECT_TIMEOUT * 5);
                if let Some(certificates) = certificates {
                    builder = builder.certs(certificates);
                }
                return Ok(Connection::Cluster(builder.build()?.get_async_connection().await?));
            }
            let Some(info) = infos.into_iter().next() else { return Err(ConnectError::Slow) };
            let client = match certificates {
                Some(certificates) => Client::build_with_tls(info, certificates)?,
                None => Client::open(info)?,
            };
            // Each request has a deadline of its own.
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(CONNECT_TIMEOUT))
                .set_response_timeout(None);
            Ok(Connection::Single(client.get_multiplexed_async_connection_with_config(&config).await?))
        };
        timeout(CONNECT_TIMEOUT * 2, connecting).await.map_err(|_| ConnectError::Slow)?
    }

    fn info(&self, url: &str) -> Result<ConnectionInfo, ConnectError> {
        let info = url.into_connection_info()?;
        // Without a delay, a command does not wait for the answer to the command before it.
        let settings = info.tcp_settings().clone().set_nodelay(true);
        let info = info.set_tcp_settings(settings);
        let Some(path) = &self.endpoint.password_file else { return Ok(info) };
        let password = String::from_utf8_lossy(&read(path)?).trim_end_matches(['\r', '\n']).to_owned();
        let settings = info.redis_settings().clone().set_password(password);
        Ok(info.set_redis_settings(settings))
    }

    fn certificates(&self) -> Result<Option<TlsCertificates>, ConnectError> {
        if self.endpoint.ca_file.is_none() && self.endpoint.certificate.is_none() {
            return Ok(None);
        }
        let root_cert = self.endpoint.ca_file.as_deref().map(read_authority).transpose()?;
        let client_tls = match &self.endpoint.certificate {
            Some((certificate, key)) => {
                Some(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? })
            }
            None => None,
        };
        Ok(Some(TlsCertificates { client_tls, root_cert }))
    }
}

fn read_authority(path: &Path) -> Result<Vec<u8>, ConnectError> {
    let text = read(path)?;
    let begins = b"-----BEGIN CERTIFICATE-----";
    let holds = text.windows(begins.len()).any(|part| part == begins);
    if holds { Ok(text) } else { Err(ConnectError::NoCertificate(path.to_owned())) }
}

fn read(path: &Path) -> Result<Vec<u8>, ConnectError> {
    std::fs::read(path).map_err(|why| ConnectError::File { path: path.to_owned(), why })
}
