//! Connections to Redis.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Arg, AsyncConnectionConfig, Cmd, Pipeline, RedisError, RedisResult, Value};
use tokio::sync::Mutex;
use tokio::time::timeout;

#[cfg(feature = "cluster")]
pub(crate) mod cluster;

/// The server or the cluster that is connected to.
pub(crate) enum Client {
    One(redis::Client),
    #[cfg(feature = "cluster")]
    Cluster(Box<redis::cluster::ClusterClient>),
}

impl Client {
    /// Opens a connection within `patience`. An answer on it may take up to `longest_answer`.
    pub(crate) async fn connect(
        &self,
        patience: Duration,
        longest_answer: Duration,
    ) -> RedisResult<Connection> {
        match self {
            Self::One(client) => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(patience))
                    .set_response_timeout(Some(longest_answer));
                client.get_multiplexed_async_connection_with_config(&config).await.map(Connection::One)
            }
            #[cfg(feature = "cluster")]
            Self::Cluster(client) => {
                cluster::connect(client, patience, longest_answer).await.map(Connection::Cluster)
            }
        }
    }

    pub(crate) fn is_cluster(&self) -> bool {
        !matches!(self, Self::One(_))
    }
}

/// A clone is the same connection.
#[derive(Clone)]
pub(crate) enum Connection {
    One(MultiplexedConnection),
    #[cfg(feature = "cluster")]
    Cluster(cluster::ToNodes),
}

/// A connection that all share, made anew when it is broken. Not redis-rs's
/// `ConnectionManager`: that keeps one on which nothing comes back, as when the
/// machine behind it is gone.
pub(crate) struct Shared {
    current: Mutex<Option<Arc<Connection>>>,
    patience: Duration,
    longest_answer: Duration,
}

impl Shared {
    pub(crate) fn new(patience: Duration, longest_answer: Duration) -> Self {
        Self { current: Mutex::default(), patience, longest_answer }
    }

    /// Asks. If the connection was lost, it asks a second time at once, because the connection may have
    /// been idle for so long that the server closed it. It does not do so after a timeout. If both
    /// arrive, the limit has counted too much, and never too little.
    pub(crate) async fn ask(&self, client: &Client, question: &impl Question) -> RedisResult<Value> {
        match self.ask_once(client, question).await {
            Err(error) if error.is_connection_dropped() => self.ask_once(client, question).await,
            answer => answer,
        }
    }

    async fn ask_once(&self, client: &Client, question: &impl Question) -> RedisResult<Value> {
        let connection = self.connection(client).await?;
        let answer = question.put((*connection).clone()).await;
        if answer.as_ref().is_err_and(RedisError::is_io_error) {
            self.leave(&connection).await;
        }
        answer
    }

    /// The connection. If there is none, a new one is opened within `patience`.
    pub(crate) async fn connection(&self, client: &Client) -> RedisResult<Arc<Connection>> {
        let connection = async {
            let mut current = self.current.lock().await;
            if let Some(connection) = &*current {
                return Ok(Arc::clone(connection));
            }
            let made = client.connect(self.patience, self.longest_answer).await?;
            Ok(Arc::clone(current.insert(Arc::new(made))))
        };
        // To a cluster it connects twice.
        let longest = if client.is_cluster() { self.patience * 2 } else { self.patience };
        timeout(longest, connection).await.unwrap_or_else(|_| Err(late()))
    }

    /// Makes the next question open a new connection, unless there is one already.
    pub(crate) async fn leave(&self, connection: &Arc<Connection>) {
        self.current.lock().await.take_if(|current| Arc::ptr_eq(current, connection));
    }
}

/// A command or a pipeline that can be asked over a connection.
pub(crate) trait Question: Send + Sync + 'static {
    fn put(&self, connection: Connection) -> impl Future<Output = RedisResult<Value>> + Send;

    /// Whether the question takes something. A server that cannot write refuses that. Other questions
    /// look, or give back.
    fn takes(&self) -> bool;
}

impl Question for Cmd {
    async fn put(&self, connection: Connection) -> RedisResult<Value> {
        match connection {
            Connection::One(mut connection) => self.query_async(&mut connection).await,
            #[cfg(feature = "cluster")]
            Connection::Cluster(connection) => connection.put(self).await,
        }
    }

    fn takes(&self) -> bool {
        const TAKES: [&[u8]; 6] =
            [b"RL.ACQUIRE", b"RL.BATCH", b"RL.CHARGE", b"RL.RESERVE", b"CB.ACQUIRE", b"SET"];
        matches!(self.args_iter().next(), Some(Arg::Simple(name)) if TAKES.contains(&name))
    }
}

impl Question for Pipeline {
    async fn put(&self, connection: Connection) -> RedisResult<Value> {
        match connection {
            Connection::One(mut connection) => self.query_async(&mut connection).await,
            #[cfg(feature = "cluster")]
            Connection::Cluster(connection) => connection.put_all(self).await,
        }
    }

    fn takes(&self) -> bool {
        self.cmd_iter().any(Question::takes)
    }
}

pub(crate) fn late() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}
