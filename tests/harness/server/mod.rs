//! One server process: how it is configured, started, killed and brought back.

mod asking;
mod builder;
mod commands;
mod configuration;
mod lifecycle;
mod log;
mod replica;

pub use self::builder::Builder;

use super::{program::Program, wire::Wire};
use std::{path::Path, process::Child, sync::Mutex};
use tempfile::TempDir;

/// The time at which the clocks of most tests stand at first, in microseconds since 1970: 2027-01-15
/// 08:00 UTC. Windows of an hour and less begin then.
pub const T0: i64 = 1_800_000_000_000_000;

/// A running server; killed and reaped when dropped.
#[derive(Debug)]
pub struct Server {
    builder: Builder,
    program: Program,
    port: u16,
    process: Option<Child>,
    control: Mutex<Option<Wire>>,
    dir: TempDir,
}

impl Server {
    /// Starts the server under test with the module, its debug command on and
    /// nothing saved to disk.
    #[track_caller]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// The same, with the module's clock at [`T0`].
    #[track_caller]
    pub fn at_t0() -> Self {
        let server = Self::start();
        server.clock_set(T0);
        server
    }

    /// Starts it with more settings, as on the server's command line:
    /// `&["--appendonly", "yes"]`.
    #[track_caller]
    pub fn with(args: &[&str]) -> Self {
        Self::builder().args(args).start()
    }

    /// What it has answered is in its append-only file, whatever happens then.
    #[track_caller]
    pub fn durable() -> Self {
        Self::durable_with(&[])
    }

    /// The same with more settings.
    #[track_caller]
    pub fn durable_with(args: &[&str]) -> Self {
        Self::builder().args(["--appendonly", "yes", "--appendfsync", "always"]).args(args).start()
    }

    /// For everything else.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("a running server").id()
    }

    /// Whether it was started and not killed since.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// The folder with its data, log and `redis.conf`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The program that it runs.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The program's own version number.
    pub fn version(&self) -> (u32, u32, u32) {
        self.program.version
    }

    /// Whether it is Valkey.
    pub fn is_valkey(&self) -> bool {
        self.program.valkey
    }

    /// Whether it offers what Redis `major.minor` does; any Valkey counts as
    /// 7.2.
    pub fn at_least(&self, major: u32, minor: u32) -> bool {
        self.program.at_least(major, minor)
    }
}
