//! The program under test, as its users start it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{Asking, Page, get};
use crate::harness::{Server, eventually, spawn};

/// How long it may take to say something.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running service with its configuration folder; killed when dropped.
pub struct Service {
    process: Child,
    dir: TempDir,
    grpc: u16,
    http: u16,
}

impl Service {
    /// Serves one file of configuration, with the decisions of `redis`, once it
    /// is connected.
    #[track_caller]
    pub fn start(redis: &Server, config: &str) -> Self {
        Self::with(redis, config, &[])
    }

    /// The same with more options.
    #[track_caller]
    pub fn with(redis: &Server, config: &str, options: &[&str]) -> Self {
        let url = format!("redis://127.0.0.1:{}", redis.port());
        let mut all = vec!["--redis", url.as_str()];
        all.extend_from_slice(options);
        let service = Self::alone(config, &all);
        service.wait_connected();
        service
    }

    /// With options alone, connected or not.
    #[track_caller]
    pub fn alone(config: &str, options: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("floodgate-envoy-").tempdir().unwrap();
        fs::create_dir(dir.path().join("config")).unwrap();
        fs::write(dir.path().join("config/limits.yaml"), config).unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", env!("CARGO_BIN_EXE_floodgate-envoy")])
            .args([
                "--config",
                "config",
                "--listen",
                "127.0.0.1:0",
                "--http",
                "127.0.0.1:0",
                "--timeout",
                "30s",
            ])
            .args(options)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let mut service = Self { process: spawn(command).unwrap(), dir, grpc: 0, http: 0 };
        let start = Instant::now();
        loop {
            if let Some((grpc, http)) = ports(&service.log()) {
                (service.grpc, service.http) = (grpc, http);
                return service;
            }
            let ended = service.process.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < PATIENCE, "no ports, {ended:?}: {}", service.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until it decides.
    #[track_caller]
    pub fn wait_connected(&self) {
        eventually(PATIENCE, "the service is connected to Redis", || self.page("/healthcheck").status == 200);
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    #[track_caller]
    pub fn wait_log(&self, text: &str) {
        let start = Instant::now();
        while !self.log().contains(text) {
            assert!(start.elapsed() < PATIENCE, "it never says {text:?}: {}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Where its configuration stands.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    /// Writes a file as careful tools do: beside, then renamed over.
    pub fn write(&self, name: &str, text: &str) {
        let beside = self.dir.path().join("beside");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.config().join(name)).unwrap();
    }

    pub fn grpc(&self) -> u16 {
        self.grpc
    }

    /// A page of its HTTP port.
    #[track_caller]
    pub fn page(&self, path: &str) -> Page {
        get(self.http, path, &[])
    }

    /// The figure of a line of `/metrics`, 0 where it is missing.
    #[track_caller]
    pub fn metric(&self, name: &str) -> u64 {
        let page = self.page("/metrics").body;
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// Commands sent to Redis for requests.
    #[track_caller]
    pub fn commands(&self) -> u64 {
        self.metric("floodgate_envoy_redis_commands_total")
    }

    /// A client of its own connection.
    #[track_caller]
    pub fn asking(&self, domain: &str) -> Asking {
        Asking::connect(self.grpc, domain)
    }

    /// Sends it a signal, by number or name.
    pub fn signal(&self, which: &str) {
        let status =
            Command::new("kill").arg(format!("-{which}")).arg(self.process.id().to_string()).status();
        assert!(status.unwrap().success());
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "it does not end: {}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Runs `floodgate-envoy check` on a file: whether it is good, and what it said.
    pub fn check(path: &Path) -> (bool, String) {
        Self::check_all(&[path])
    }

    /// The same for several files.
    pub fn check_all(paths: &[&Path]) -> (bool, String) {
        let output =
            Command::new(env!("CARGO_BIN_EXE_floodgate-envoy")).arg("check").args(paths).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            eprintln!("the service said:\n{}", self.log());
        }
    }
}

/// `… gRPC on 127.0.0.1:1, HTTP on 127.0.0.1:2`
fn ports(log: &str) -> Option<(u16, u16)> {
    let (_, after) = log.split_once("gRPC on 127.0.0.1:")?;
    let (grpc, after) = after.split_once(", HTTP on 127.0.0.1:")?;
    let (http, _) = after.split_once('\n')?;
    Some((grpc.parse().ok()?, http.parse().ok()?))
}
