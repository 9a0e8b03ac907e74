//! Redis Cluster: each command goes to the node that has its key.

use std::time::Duration;

use redis::cluster::{ClusterClient, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::{Arg, Cmd, IntoConnectionInfo, Pipeline, RedisResult, Value};
use tokio::time::timeout;

use crate::connection::{Client, late};

/// To some nodes of a cluster. How long an answer may take is said for each connection.
pub(crate) fn open<T: IntoConnectionInfo>(urls: impl IntoIterator<Item = T>) -> RedisResult<Client> {
    ClusterClient::builder(urls).overall_response_timeout(None).build().map(Box::new).map(Client::Cluster)
}

/// A clone is the same connection.
#[derive(Clone)]
pub(crate) struct ToNodes {
    connection: ClusterConnection,
    longest_answer: Duration,
}

/// Twice it connects to nodes: to those that are named, and to those that they tell of. One that
/// is silent must not keep it from the others: to a node it connects within half of `patience`.
pub(super) async fn connect(
    client: &ClusterClient,
    patience: Duration,
    longest_answer: Duration,
) -> RedisResult<ToNodes> {
    let config =
        ClusterConfig::new().set_connection_timeout(patience / 2).set_response_timeout(longest_answer);
    let connection = client.get_async_connection_with_config(config).await?;
    Ok(ToNodes { connection, longest_answer })
}

impl ToNodes {
    pub(super) async fn put(mut self, command: &Cmd) -> RedisResult<Value> {
        let answer = async {
            let Some(key) = later_key(command) else {
                return command.query_async(&mut self.connection).await;
            };
            let route = SingleNodeRoutingInfo::SpecificNode(Route::with_key(key, SlotAddr::Master));
            let route = RoutingInfo::SingleNode(route);
            self.connection.route_command(command.clone(), route).await?.extract_error()
        };
        // Of all attempts: redis-rs asks a silent node again and again.
        timeout(self.longest_answer, answer).await.unwrap_or_else(|_| Err(late()))
    }

    pub(super) async fn put_all(mut self, commands: &Pipeline) -> RedisResult<Value> {
        let answer = commands.query_async(&mut self.connection);
        timeout(self.longest_answer, answer).await.unwrap_or_else(|_| Err(late()))
    }
}

/// The first key of a command of ours whose first argument is none; redis-rs takes that for
/// the key of a command that it does not know.
fn later_key(command: &Cmd) -> Option<&[u8]> {
    let word = |place| match command.args_iter().nth(place)? {
        Arg::Simple(word) => Some(word),
        _ => None,
    };
    let place = match word(0)?.to_ascii_uppercase().as_slice() {
        b"RL.RESERVE" => 2,
        b"RL.BATCH" | b"RL.COMMIT" | b"RL.RELEASE" => 3,
        b"RL.RENEW" => 5,
        _ => return None,
    };
    word(place)
}
