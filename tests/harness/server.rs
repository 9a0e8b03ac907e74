//! One server process: how it is configured, started, killed and brought back.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io,
    net::TcpListener,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicU16, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    eventually,
    program::{Program, module_path},
    wire::{Reply, Wire},
};

/// How long a server may take to load its data and answer; valgrind is slow.
const START_LIMIT: Duration = Duration::from_secs(120);

/// What a server logs that cannot read its RDB file.
const REFUSED_FILE: &str = "Internal error in RDB reading";

/// How long a server may take to end that has refused its RDB file.
const REFUSED_LIMIT: Duration = Duration::from_secs(3);

/// Lines of the server's log shown when a test fails.
const LOG_LINES_SHOWN: usize = 40;

/// A server to be: its program, settings and module arguments.
#[derive(Clone, Debug)]
pub struct Builder {
    program: PathBuf,
    settings: Vec<Vec<String>>,
    module: Option<PathBuf>,
    module_args: Vec<String>,
    data: Option<PathBuf>,
}

impl Builder {
    fn new() -> Self {
        Self {
            program: Program::under_test().path,
            settings: Vec::new(),
            module: Some(module_path()),
            module_args: vec!["enable-debug-command".into(), "yes".into()],
            data: None,
        }
    }

    /// Adds settings as on the server's command line:
    /// `["--appendonly", "yes", "--save", "900", "1"]`. A later setting wins.
    #[must_use]
    pub fn args<S: AsRef<str>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        for arg in args {
            if let Some(name) = arg.as_ref().strip_prefix("--") {
                self.settings.push(vec![name.into()]);
            } else {
                self.settings.last_mut().expect("a setting before its value").push(arg.as_ref().into());
            }
        }
        self
    }

    /// Replaces the arguments of the module, `enable-debug-command yes`.
    #[must_use]
    pub fn module_args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.module_args = args.into_iter().map(Into::into).collect();
        self
    }

    /// Loads no module.
    #[must_use]
    pub fn without_module(mut self) -> Self {
        self.module = None;
        self
    }

    /// Loads another library instead of ours.
    #[must_use]
    pub fn module(mut self, path: impl Into<PathBuf>) -> Self {
        self.module = Some(path.into());
        self
    }

    /// Runs another program than the one under test.
    #[must_use]
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = path.into();
        self
    }

    /// Starts on a copy of the RDB and AOF files of this folder.
    #[must_use]
    pub fn data(mut self, from: impl Into<PathBuf>) -> Self {
        self.data = Some(from.into());
        self
    }

    /// Starts the server and waits until it serves.
    #[track_caller]
    pub fn start(self) -> Server {
        match self.try_start() {
            Ok(server) => server,
            Err(log) => panic!("the server did not start; its log:\n{log}"),
        }
    }

    /// Starts the server and waits until it serves; if it refuses to, gives its
    /// log.
    pub fn try_start(self) -> Result<Server, String> {
        for _ in 0..20 {
            let mut server = Server::prepare(self.clone());
            match server.launch() {
                Ok(()) => return Ok(server),
                // Another process was quicker to take the port.
                Err(log) if log.contains("Address already in use") => {}
                Err(log) => return Err(log),
            }
        }
        Err("found no free port in 20 attempts".into())
    }

    /// The configuration file of a server on this port. A file, not arguments:
    /// `CONFIG REWRITE` wants one, and every version reads its quotes alike.
    fn configuration(&self, program: &Program, port: u16) -> String {
        let mut lines: Vec<Vec<String>> = Vec::new();
        let mut set = |words: &[&str]| lines.push(words.iter().map(|&word| word.to_owned()).collect());
        set(&["port", &port.to_string()]);
        set(&["bind", "127.0.0.1"]);
        set(&["save", ""]);
        set(&["repl-diskless-sync-delay", "0"]);
        if program.at_least(7, 0) {
            set(&["enable-debug-command", "yes"]);
            set(&["enable-module-command", "yes"]);
        }
        lines.extend(self.settings.iter().cloned());
        if let Some(module) = &self.module {
            let mut line = vec!["loadmodule".to_owned(), module.to_string_lossy().into_owned()];
            line.extend(self.module_args.iter().cloned());
            lines.push(line);
        }
        lines.iter().fold(String::new(), |mut text, line| {
            text.push_str(&line[0]);
            for value in &line[1..] {
                write!(text, " {}", quoted(value)).expect("room");
            }
            text + "\n"
        })
    }
}

/// A value of the configuration file.
fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b' '..=b'~' => text.push(char::from(byte)),
            _ => write!(text, "\\x{byte:02x}").expect("room"),
        }
    }
    text + "\""
}

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

    /// The same with more settings, as on the server's command line:
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

    fn prepare(builder: Builder) -> Self {
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
    fn launch(&mut self) -> Result<(), String> {
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

    /// A raw connection in RESP2.
    #[track_caller]
    pub fn wire(&self) -> Wire {
        Wire::connect(self.port).expect("the server takes connections")
    }

    /// A raw connection in RESP3.
    #[track_caller]
    pub fn wire3(&self) -> Wire {
        let mut wire = self.wire();
        wire.hello3();
        wire
    }

    /// A connection of the `redis` crate in RESP2.
    #[track_caller]
    pub fn connection(&self) -> redis::Connection {
        self.connect(redis::ProtocolVersion::RESP2)
    }

    /// A connection of the `redis` crate in RESP3.
    #[track_caller]
    pub fn connection_resp3(&self) -> redis::Connection {
        self.connect(redis::ProtocolVersion::RESP3)
    }

    #[track_caller]
    fn connect(&self, protocol: redis::ProtocolVersion) -> redis::Connection {
        use redis::IntoConnectionInfo as _;
        // No CLIENT SETINFO: it is an error before 7.2, and counts as one.
        let settings = redis::RedisConnectionInfo::default().set_protocol(protocol).set_skip_set_lib_name();
        let info = ("127.0.0.1", self.port).into_connection_info().expect("an address");
        redis::Client::open(info.set_redis_settings(settings))
            .and_then(|client| client.get_connection())
            .expect("the server takes connections")
    }

    /// One command on the harness' own connection (RESP2), kept open between
    /// calls. See also the macro `call!`.
    #[track_caller]
    pub fn call<A: AsRef<[u8]>>(&self, args: &[A]) -> Reply {
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        control.get_or_insert_with(|| self.wire()).call(args)
    }

    /// The same with the command given as words between blanks.
    #[track_caller]
    pub fn line(&self, command: &str) -> Reply {
        self.call(&command.split_whitespace().collect::<Vec<_>>())
    }

    /// The same for a command that must answer `OK`.
    #[track_caller]
    pub fn ok(&self, command: &str) {
        let reply = self.line(command);
        assert_eq!(reply, Reply::ok(), "{command}");
    }

    /// Runs `redis-cli` on this server; gives what it printed, without the last
    /// newline.
    #[track_caller]
    pub fn cli<S: AsRef<str>>(&self, args: &[S]) -> String {
        let output = Command::new(self.program.cli())
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(args.iter().map(AsRef::as_ref))
            .stdin(Stdio::null())
            .output()
            .expect("redis-cli can be run");
        assert!(output.status.success(), "redis-cli failed: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned()
    }

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

    /// The name that a cluster knows this node by.
    #[track_caller]
    pub fn node_id(&self) -> String {
        self.line("CLUSTER MYID").text()
    }

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

    /// Everything that the server has logged.
    pub fn log(&self) -> String {
        fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let last = lines.len().saturating_sub(LOG_LINES_SHOWN);
        // Of a crash the reason and the stack, not the memory test at the end.
        let crash = lines.iter().position(|line| line.contains("BUG REPORT START"));
        let shown = crash.map_or(&lines[last..], |start| {
            let first = start.saturating_sub(LOG_LINES_SHOWN / 4);
            &lines[first..lines.len().min(start + 2 * LOG_LINES_SHOWN)]
        });
        shown.join("\n")
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }

    /// Has the next command go over a new connection: somebody closed the old one.
    pub fn forget_control(&mut self) {
        *self.control.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
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

/// Starts a process from a thread that lives as long as the test run: the
/// kernel's "kill it when its parent dies" means the parent thread, and each
/// test has a thread of its own.
pub fn spawn(command: Command) -> io::Result<Child> {
    type Order = (Command, Sender<io::Result<Child>>);
    static SPAWNER: LazyLock<Mutex<Sender<Order>>> = LazyLock::new(|| {
        let (orders, taken): (Sender<Order>, Receiver<Order>) = channel();
        thread::spawn(move || {
            for (mut command, answer) in taken {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, child) = channel();
    let orders = SPAWNER.lock().unwrap_or_else(PoisonError::into_inner).clone();
    orders.send((command, answer)).expect("the spawner lives");
    child.recv().expect("the spawner answers")
}

/// A port that nobody listens on, and below the range that the kernel hands out
/// to clients; free together with its cluster bus port 10 000 above.
pub fn free_port() -> u16 {
    const FIRST: u16 = 11_000;
    const COUNT: u16 = 10_000;
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| {
        let seed = std::process::id().wrapping_mul(7919) % u32::from(COUNT);
        AtomicU16::new(u16::try_from(seed).expect("below COUNT"))
    });
    for _ in 0..COUNT {
        let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && free(port + 10_000) {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
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
