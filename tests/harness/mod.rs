//! Real servers for the tests: each started in a folder of its own on a free
//! loopback port, with the module loaded, and gone when its test ends, however
//! it ends.
//!
//! ```text
//! let server = Server::start();                       // module loaded, debug command on
//! let mut wire = server.wire();                       // raw RESP, replies as they were sent
//! assert_eq!(call!(wire, "RL.ACQUIRE", "user:42", "10/s", "COST", 3)[0], Reply::Int(3));
//! assert_error(&wire.line("RL.ACQUIRE user:42 100/"), "ERR invalid limit '100/': missing period");
//!
//! let mut aof = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
//! let before = snapshot(&aof);
//! aof.kill9();
//! aof.restart();
//! assert_eq!(snapshot(&aof), before);
//!
//! let replica = server.replica();
//! wait_synced(&server, &replica);
//! assert_same_data(&server, &replica);
//!
//! let refusal = Server::builder().module_args(["nonsense", "1"]).try_start().err();
//! let cluster = cluster(3, 3);
//! ```
//!
//! `FLOODGATE_SERVER` names the server program (default `redis-server`) and
//! `FLOODGATE_MODULE` the library to load (default: the one that cargo built
//! along with the tests).

#![allow(dead_code, reason = "a kit: no single test binary needs every part of it")]

mod arg;
mod bus_proxy;
mod cluster;
mod data;
mod free_port;
mod program;
mod protocol;
mod reply;
mod sentinel;
mod server;
mod spawn;
mod wall_clock;
mod wire;

use std::time::{Duration, Instant};

#[allow(unused_imports, reason = "as above")]
pub use self::{
    arg::Arg,
    bus_proxy::{BusProxy, Mischief, cluster_behind_proxy},
    cluster::{Cluster, cluster, cluster_of},
    data::{
        Entry, Snapshot, assert_same_data, assert_same_data_however_told, assert_survives_kill, snapshot,
        wait_synced,
    },
    free_port::free_port,
    program::{Program, c_library, module_path},
    reply::{Reply, assert_error, assert_error_prefix},
    sentinel::{NAME as SENTINEL_NAME, Sentinels},
    server::{Builder, Server, T0},
    spawn::spawn,
    wall_clock::{move_wall_clock, with_wall_clock},
    wire::Wire,
};

/// Sends one command on a [`Wire`] (or the control connection of a
/// [`Server`]), arguments of any [`Arg`] type, and gives the reply.
#[allow(unused_macros, reason = "as above")]
macro_rules! call {
    ($to:expr, $($arg:expr),+ $(,)?) => {
        $to.call(&[$($crate::harness::Arg::to_arg(&$arg)),+])
    };
}
#[allow(unused_imports, reason = "as above")]
pub(crate) use call;

/// Waits until `done` holds, looking every few milliseconds; panics with
/// `what` when it still does not after `limit`.
pub fn eventually(limit: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
