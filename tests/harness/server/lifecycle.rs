//! A server starts, ends and starts again.

use super::{Builder, Server};
use crate::harness::{free_port::free_port, program::Program, reply::Reply, spawn::spawn, wire::Wire};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

/// How long a server may take to load its data and answer; valgrind is slow.
pub(super) const START_LIMIT: Duration = Duration::from_secs(120);

/// What a server logs that cannot read its RDB file.
const REFUSED_FILE: &str = "Internal error in RDB reading";

/// How long a server may take to end that has refused its RDB file.
const REFUSED_LIMIT: Duration = Duration::from_secs(3);

impl Server {
    pub(super) fn prepare(builder: Builder) -> Self {
        let dir = tempfile::Builder::new().prefix("floodgate-").tempdir().expect("a temporary folder");
        if let Some(data) = &builder.data {
            copy_data(data, dir.path()).expect("the data files can be copied");
        }
        let program = Program::at(&builder.program);
        let port = free_port();
        fs::write(dir.path().join("redis.conf"), builder.configuration(&program, port))
            .expect("the configuration can be written");
        Self { builder, program, port, process: None, control: Mutex::default(), dir }
    }

    /// Runs the program until it serves; gives its log if it ends instead.
    pub(super) fn launch(&mut self) -> Result<(), String> {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).expect("a log file");
        let before = self.log().len();
        // `setpriv` makes the kernel kill the server when we are killed, and
        // then becomes it: the process is the server's own.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.program.path)
            .arg("redis.conf")
            // What the module does not do while the server may call back (src/server/main_thread.rs).
            .env("FLOODGATE_WATCH", "1")
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        self.process = Some(spawn(command).expect("setpriv (util-linux) can be run"));
        let start = Instant::now();
        while !self.serves() {
            let exited = self.process.as_mut().is_some_and(|p| p.try_wait().expect("our child").is_some());
            if exited || start.elapsed() > self.patience(before) {
                self.end();
                return Err(self.log().split_off(before));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// How long a start may take. A server that has refused a damaged RDB file
    /// looks through it once more for the log, and where a module's value is cut
    /// that never ends: it is as good as gone.
    fn patience(&self, log_before: usize) -> Duration {
        let refused = self.log().get(log_before..).is_some_and(|log| log.contains(REFUSED_FILE));
        if refused { REFUSED_LIMIT } else { START_LIMIT }
    }

    /// Whether the server on the port is ours (and not another that took the
    /// port first) and has loaded its data.
    fn serves(&self) -> bool {
        let Ok(mut wire) = Wire::connect(self.port) else { return false };
        // One that refuses its data may be gone again by now.
        if wire.try_send(&["CONFIG", "GET", "dir"]).is_err() || wire.try_send(&["PING"]).is_err() {
            return false;
        }
        let mut answer = || wire.try_read(Duration::from_secs(5)).ok().flatten();
        let ours = match answer() {
            Some(Reply::Array(items)) => {
                items.get(1).is_some_and(|dir| dir.text() == self.dir.path().to_string_lossy())
            }
            // It has a password; it must be the test that gave it.
            Some(Reply::Error(text)) => text.starts_with("NOAUTH"),
            _ => false,
        };
        ours && match answer() {
            Some(Reply::Error(text)) => text.starts_with("NOAUTH") || text.starts_with("MASTERDOWN"),
            other => other.is_some(),
        }
    }

    /// Kills the process with SIGKILL, if it runs, and reaps it; panics when it
    /// had crashed before.
    #[track_caller]
    pub fn kill9(&mut self) {
        if let Some(status) = self.end() {
            panic!("the server died during the test ({status}); its log:\n{}", self.log_tail());
        }
    }

    /// Waits for the process to end by itself, as after SHUTDOWN.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        self.forget_control();
        let mut process = self.process.take().expect("a running server");
        let start = Instant::now();
        loop {
            if let Some(status) = process.try_wait().expect("our child") {
                return status;
            }
            if start.elapsed() > START_LIMIT {
                self.process = Some(process);
                panic!("the server does not end");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// `SHUTDOWN SAVE`, and waits for the end.
    #[track_caller]
    pub fn stop_save(&mut self) {
        self.stop("SAVE");
    }

    /// `SHUTDOWN NOSAVE`, and waits for the end.
    #[track_caller]
    pub fn stop_nosave(&mut self) {
        self.stop("NOSAVE");
    }

    #[track_caller]
    fn stop(&mut self, how: &str) {
        self.wire().send(&["SHUTDOWN", how]);
        let status = self.wait_exit();
        assert!(status.success(), "SHUTDOWN {how} ended with {status}; the log:\n{}", self.log_tail());
    }

    /// Starts the server again: same folder, configuration file and port. Kills
    /// it first if it still runs.
    #[track_caller]
    pub fn restart(&mut self) {
        if let Err(log) = self.try_restart() {
            panic!("the server did not start again; its log:\n{log}");
        }
    }

    /// Starts the server again, or gives its log when it refuses.
    #[track_caller]
    pub fn try_restart(&mut self) -> Result<(), String> {
        self.kill9();
        let mut attempts = 0;
        loop {
            match self.launch() {
                // A connection of a test may for a moment own the port.
                Err(log) if log.contains("Address already in use") && attempts < 100 => attempts += 1,
                result => return result,
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills and reaps the process; tells how it ended if that was not by our
    /// hand: a crash shows even when the kernel is still taking it down.
    fn end(&mut self) -> Option<ExitStatus> {
        self.forget_control();
        let mut process = self.process.take()?;
        let before = process.try_wait().ok()?;
        let _ = process.kill();
        let after = process.wait().ok()?;
        let killed = before.is_none() && after.signal() == Some(9);
        (!killed && !after.success()).then_some(after)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let died = self.end();
        if thread::panicking() {
            eprintln!("--- log of the server on port {} ---\n{}\n---", self.port, self.log_tail());
        } else if let Some(status) = died {
            panic!("the server died during the test ({status}); its log:\n{}", self.log_tail());
        }
    }
}

/// Copies RDB and AOF files, not the log nor the configuration.
fn copy_data(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let name = path.file_name().expect("an entry has a name");
        if path.is_dir() {
            fs::create_dir_all(to.join(name))?;
            copy_data(&path, &to.join(name))?;
        } else if path.extension().is_some_and(|e| e == "rdb" || e == "aof" || e == "manifest") {
            io::copy(&mut File::open(&path)?, &mut File::create(to.join(name))?)?;
        }
    }
    Ok(())
}
