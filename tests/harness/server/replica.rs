//! Replicas of a server.

use super::Server;
use crate::harness::eventually;
use std::time::Duration;

impl Server {
    /// Starts a replica of this server, of the same settings, and waits until
    /// it has the data.
    #[track_caller]
    pub fn replica(&self) -> Self {
        self.replica_with(&[])
    }

    /// The same with more settings.
    #[track_caller]
    pub fn replica_with(&self, args: &[&str]) -> Self {
        let replica = self.builder.clone().args(args).start();
        replica.follow(self);
        replica
    }

    /// Makes this server a replica of another one and waits for the link.
    #[track_caller]
    pub fn follow(&self, master: &Self) {
        self.ok(&format!("REPLICAOF 127.0.0.1 {}", master.port));
        self.wait_link();
    }

    /// Waits until this replica is linked to its master and has its data.
    #[track_caller]
    pub fn wait_link(&self) {
        eventually(Duration::from_secs(60), "the replica is linked to its master", || {
            let info = self.info("replication");
            info.get("master_link_status").is_some_and(|status| status == "up")
                && info.get("master_sync_in_progress").is_some_and(|n| n == "0")
        });
    }
}
