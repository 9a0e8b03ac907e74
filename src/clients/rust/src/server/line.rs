//! Requests that stand in line, each on a connection of its own: it is blocked meanwhile,
//! and for longer than the others are waited for.

use std::time::Duration;

use redis::{Cmd, FromRedisValue, from_redis_value};
use tokio::runtime::Handle;

use super::{Server, ms};
use crate::connection::{Connection, Question as _};
use crate::error::Error;

impl Server {
    /// The answer to a command that waits. Whoever drops it leaves the line. When too
    /// many wait already it does not wait.
    pub(crate) async fn wait<T: FromRedisValue>(&self, wait: Duration, command: Cmd) -> Result<T, Error> {
        let Ok(_permit) = self.inner.waiters.try_acquire() else { return self.put(command).await };
        self.in_line(wait, command, None).await
    }

    /// The same for a command that takes what has to be given back: `undo` gives back what
    /// it took, if that is not known to whoever waited, and replies 0 where it took nothing.
    pub(crate) async fn take_in_line<T: FromRedisValue + Send + 'static>(
        &self,
        wait: Duration,
        command: Cmd,
        undo: Cmd,
    ) -> Result<T, Error> {
        let Ok(_permit) = self.inner.waiters.try_acquire() else {
            return self.take(command, move |_| vec![undo.clone()]).await;
        };
        self.in_line(wait, command, Some(undo)).await
    }

    async fn in_line<T: FromRedisValue>(
        &self,
        wait: Duration,
        mut command: Cmd,
        undo: Option<Cmd>,
    ) -> Result<T, Error> {
        let patience = self.inner.patience;
        command.arg("WAIT").arg(ms(wait));
        let longest = wait.saturating_add(patience);
        let mut place = InLine { own: None, undo, server: self.clone(), runtime: Handle::current() };
        if !self.inner.health.may_ask(true) {
            return Err(Error::Away);
        }
        let answer = self
            .judged(true, longest.saturating_add(patience), async {
                let own = self.inner.client.connect(patience, longest).await?;
                let answer = command.put(place.own.insert(own).clone()).await?;
                Ok(from_redis_value(answer)?)
            })
            .await;
        if !matches!(answer, Err(Error::Away)) {
            place.undo = None; // what was taken is known
        }
        answer
    }
}

/// The place of a request in line, until its answer is known.
struct InLine {
    /// None before it has connected, and so asked.
    own: Option<Connection>,
    undo: Option<Cmd>,
    server: Server,
    runtime: Handle,
}

impl Drop for InLine {
    fn drop(&mut self) {
        // Closed first: who has left the line is granted nothing any more.
        let (Some(_), Some(undo)) = (self.own.take(), self.undo.take()) else { return };
        let server = self.server.clone();
        self.runtime.spawn(async move {
            let Server { inner } = &server;
            // Again where nothing was taken: the server may find later that the connection
            // is closed, and have granted the request in between.
            for pause in [Duration::ZERO, inner.patience] {
                tokio::time::sleep(pause).await;
                let answer = inner.taking.ask(&inner.client, &undo).await;
                let Ok(Ok(0)) = answer.map(from_redis_value::<u64>) else { return };
            }
        });
    }
}
