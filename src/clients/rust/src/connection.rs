//! A connection to Redis that all share.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, RedisError, RedisResult};
use tokio::sync::Mutex;

/// A connection that all share, made anew when it is broken. Not redis-rs's
/// `ConnectionManager`: that keeps one on which nothing comes back, as when the
/// machine behind it is gone.
pub(crate) struct Shared {
    current: Mutex<Option<Arc<MultiplexedConnection>>>,
    patience: Duration,
    longest_answer: Duration,
}

impl Shared {
    pub(crate) fn new(patience: Duration, longest_answer: Duration) -> Self {
        Self { current: Mutex::default(), patience, longest_answer }
    }

    /// Asks, on a new connection where there is none.
    pub(crate) async fn ask<T: FromRedisValue>(
        &self,
        client: &Client,
        question: &impl Question,
    ) -> RedisResult<T> {
        let connection = {
            let mut current = self.current.lock().await;
            if let Some(connection) = &*current {
                Arc::clone(connection)
            } else {
                let made = connect(client, self.patience, self.longest_answer).await?;
                Arc::clone(current.insert(Arc::new(made)))
            }
        };
        let answer = question.put((*connection).clone()).await;
        if answer.as_ref().is_err_and(RedisError::is_io_error) {
            // Unless it was made anew meanwhile.
            self.current.lock().await.take_if(|current| Arc::ptr_eq(current, &connection));
        }
        answer
    }

    /// The next is asked on a new connection.
    pub(crate) async fn leave(&self) {
        self.current.lock().await.take();
    }
}

/// Opens one within `patience`, on which an answer may take as long as it is told.
pub(crate) async fn connect(
    client: &Client,
    patience: Duration,
    longest_answer: Duration,
) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(patience))
        .set_response_timeout(Some(longest_answer));
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// What can be asked over a connection.
pub(crate) trait Question: Sync {
    fn put<T: FromRedisValue>(
        &self,
        connection: MultiplexedConnection,
    ) -> impl Future<Output = RedisResult<T>> + Send;
}

impl Question for Cmd {
    async fn put<T: FromRedisValue>(&self, mut connection: MultiplexedConnection) -> RedisResult<T> {
        self.query_async(&mut connection).await
    }
}

impl Question for Pipeline {
    async fn put<T: FromRedisValue>(&self, mut connection: MultiplexedConnection) -> RedisResult<T> {
        self.query_async(&mut connection).await
    }
}
