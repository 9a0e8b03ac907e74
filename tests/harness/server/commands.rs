//! Commands that tests send most often: for INFO, settings, the clock, the AOF and a cluster.

use super::{Server, lifecycle::START_LIMIT};
use crate::harness::{eventually, reply::Reply};
use std::{collections::BTreeMap, time::Duration};

impl Server {
    /// A section of `INFO` as a map.
    #[track_caller]
    pub fn info(&self, section: &str) -> BTreeMap<String, String> {
        let text = self.call(&["INFO", section]).text();
        let pairs =
            text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(':'));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// One field of `INFO`, empty when it is not there.
    #[track_caller]
    pub fn info_field(&self, section: &str, name: &str) -> String {
        self.info(section).remove(name).unwrap_or_default()
    }

    /// A number of the module's INFO, by its name without `floodgate_`.
    #[track_caller]
    pub fn counter(&self, name: &str) -> i64 {
        let text = self.info_field("floodgate", &format!("floodgate_{name}"));
        text.parse().unwrap_or_else(|_| panic!("floodgate_{name} is no number: {text:?}"))
    }

    /// Bytes that the server uses once the other clients have gone: what it keeps for
    /// them goes a moment after them.
    pub fn memory_without_clients(&self) -> i64 {
        eventually(Duration::from_secs(10), "the other clients have gone", || {
            self.info_field("clients", "connected_clients") == "1"
        });
        self.info_field("memory", "used_memory").parse().unwrap()
    }

    /// `CONFIG SET`, which must succeed.
    #[track_caller]
    pub fn config_set(&self, name: &str, value: &str) {
        let reply = self.call(&["CONFIG", "SET", name, value]);
        assert_eq!(reply, Reply::ok(), "CONFIG SET {name} {value:?}");
    }

    /// The value of one setting, or none.
    #[track_caller]
    pub fn config_get(&self, name: &str) -> Option<String> {
        self.call(&["CONFIG", "GET", name]).get(name).map(|value| value.text())
    }

    /// Sets the module's clock to this time, in microseconds since 1970.
    #[track_caller]
    pub fn clock_set(&self, us: i64) {
        self.ok(&format!("RL.DEBUG CLOCK SET {us}"));
    }

    /// Moves the module's clock on (or back) by so many microseconds.
    #[track_caller]
    pub fn clock_advance(&self, us: i64) {
        self.ok(&format!("RL.DEBUG CLOCK ADVANCE {us}"));
    }

    /// Gives the module the server's time again.
    #[track_caller]
    pub fn clock_real(&self) {
        self.ok("RL.DEBUG CLOCK REAL");
    }

    /// Rewrites the AOF, and waits for the end.
    #[track_caller]
    pub fn rewrite_aof(&self) {
        const SOON: Duration = Duration::from_secs(60);
        // A replica that was just synchronized rewrites it by itself, and refuses another meanwhile.
        eventually(SOON, "a rewrite begins", || self.line("BGREWRITEAOF").error().is_none());
        eventually(SOON, "the AOF is rewritten", || {
            let info = self.info("persistence");
            info["aof_rewrite_in_progress"] == "0" && info["aof_rewrite_scheduled"] == "0"
        });
        assert_eq!(self.info_field("persistence", "aof_last_bgrewrite_status"), "ok");
    }

    /// Makes it a cluster of one node; it was started with `--cluster-enabled yes`.
    #[track_caller]
    pub fn serve_all_slots(&self) {
        let mut add = vec!["CLUSTER".to_owned(), "ADDSLOTS".to_owned()];
        add.extend((0..16384).map(|slot| slot.to_string()));
        assert_eq!(self.call(&add), Reply::ok());
        eventually(START_LIMIT, "the cluster is ok", || {
            self.line("CLUSTER INFO").text().contains("cluster_state:ok")
        });
    }

    /// The name that a cluster knows this node by.
    #[track_caller]
    pub fn node_id(&self) -> String {
        self.line("CLUSTER MYID").text()
    }
}
