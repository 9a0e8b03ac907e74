//! Requests that stand in line. Each has a connection of its own, because that is blocked meanwhile,
//! and for longer than other requests are waited for.
//!
//! Such a connection speaks of one waiter only: the server may have too many clients to open it, or
//! an operator may close it. So its failure is no outage. The request is then asked without waiting
//! over the connection that all share, whose failure alone is one.

use std::time::Duration;

use redis::{Cmd, FromRedisValue, RedisError, RedisResult, Value, from_redis_value};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::{Server, ServerState, ms};
use crate::connection::{Connection, Question as _, late};
use crate::error::Error;
use crate::health::is_servers_word;

impl Server {
    /// The answer to a command that waits. A caller that drops the future leaves the line. When too
    /// many wait already, the command does not wait.
    pub(crate) async fn wait<T: FromRedisValue>(&self, wait: Duration, command: Cmd) -> Result<T, Error> {
        let Ok(_permit) = self.state.waiters.try_acquire() else { return self.put(command).await };
        self.may_ask(true)?;
        let mut place = PlaceInLine::new(self);
        match place.asked(wait, &command, None).await {
            Err(error) if !is_servers_word(&error) => {
                place.leave();
                self.put_now(command).await
            }
            answer => self.heard(answer),
        }
    }

    /// The same for a command that takes something under an ID that it names. Asked again it takes
    /// nothing more. `undo` gives back what it took if the caller does not learn of that, and
    /// replies 0 where nothing was taken. `is_taken` says whether an answer tells of something taken.
    pub(crate) async fn take_in_line<T: FromRedisValue + Send + 'static>(
        &self,
        wait: Duration,
        command: Cmd,
        undo: Cmd,
        is_taken: fn(&T) -> bool,
    ) -> Result<T, Error> {
        let commands = {
            let undo = undo.clone();
            move |answer: &T| is_taken(answer).then(|| undo.clone()).into_iter().collect::<Vec<_>>()
        };
        let Ok(_permit) = self.state.waiters.try_acquire() else { return self.take(command, commands).await };
        self.may_ask(true)?;
        let mut place = PlaceInLine::new(self);
        match place.asked(wait, &command, Some(undo)).await {
            Err(error) if !is_servers_word(&error) => {
                place.leave();
                let answer = self.take_now(command, commands).await;
                // If the answer tells of nothing taken, the place that was lost may still be served.
                if answer.as_ref().is_ok_and(is_taken) {
                    place.undo = None;
                }
                answer
            }
            answer => {
                place.undo = None; // the caller learns what was taken
                self.heard(answer)
            }
        }
    }

    /// What the server said to a waiter. Whatever it is, Redis is well.
    fn heard<T: FromRedisValue>(&self, answer: RedisResult<Value>) -> Result<T, Error> {
        match answer.and_then(|answer| from_redis_value(answer).map_err(RedisError::from)) {
            Ok(answer) => {
                self.state.health.answered(true);
                Ok(answer)
            }
            Err(error) => Err(self.state.health.judged(error, true)),
        }
    }
}

/// The place of a request in line, until its answer is known.
struct PlaceInLine {
    /// The connection; `None` until it is open and after it is closed.
    own: Option<Connection>,
    /// The command that gives back what may have been taken; `None` until the request is asked.
    undo: Option<Cmd>,
    server: Server,
    runtime: Handle,
}

impl PlaceInLine {
    fn new(server: &Server) -> Self {
        Self { own: None, undo: None, server: server.clone(), runtime: Handle::current() }
    }

    /// Opens the connection, and asks on it.
    async fn asked(&mut self, wait: Duration, command: &Cmd, undo: Option<Cmd>) -> RedisResult<Value> {
        let patience = self.server.state.patience;
        let longest = wait.saturating_add(patience);
        let mut command = command.clone();
        command.arg("WAIT").arg(ms(wait));
        let answer = async {
            let opened = self.server.state.client.connect(patience, longest).await?;
            self.undo = undo;
            command.put(self.own.insert(opened).clone()).await
        };
        timeout(longest.saturating_add(patience), answer).await.unwrap_or_else(|_| Err(late()))
    }

    /// Closes the connection: a request that has left the line is granted nothing any more.
    fn leave(&mut self) {
        self.own = None;
    }
}

impl Drop for PlaceInLine {
    fn drop(&mut self) {
        self.leave();
        let Some(undo) = self.undo.take() else { return };
        let server = self.server.clone();
        self.runtime.spawn(async move {
            let ServerState { taking, client, patience, .. } = &*server.state;
            // The command is given again where nothing was taken: the server may find later that
            // the connection is closed, and have granted the request in between.
            for pause in [Duration::ZERO, *patience] {
                tokio::time::sleep(pause).await;
                let answer = taking.ask(client, &undo).await;
                let Ok(Ok(0)) = answer.map(from_redis_value::<u64>) else { return };
            }
        });
    }
}
