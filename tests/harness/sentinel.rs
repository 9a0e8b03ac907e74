//! Real sentinels that watch a master.

use std::{
    fs::{self, File},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::{Reply, Wire, eventually, free_port::free_port, program::Program, server::Server, spawn::spawn};

/// The name that the sentinels know the master by.
pub const NAME: &str = "floodgate";

/// Sentinels, each with a folder of its own; killed and reaped when dropped.
#[derive(Debug)]
pub struct Sentinels {
    /// Their ports.
    pub ports: Vec<u16>,
    running: Vec<(Child, TempDir)>,
}

impl Sentinels {
    /// Starts so many on a master, which they call dead after three seconds when
    /// most of them agree, and waits until they know of each other and of the
    /// master's replicas.
    #[track_caller]
    pub fn watch(master: &Server, replicas: usize, count: usize) -> Self {
        let mut all = Self { ports: Vec::new(), running: Vec::new() };
        for _ in 0..count {
            all.start(master.program(), master.port(), count / 2 + 1);
        }
        for &port in &all.ports {
            eventually(Duration::from_secs(60), "the sentinels have met", || {
                let Ok(mut wire) = Wire::connect(port) else { return false };
                let state = wire.call(&["SENTINEL", "MASTER", NAME]);
                let number = |name: &str| {
                    let value = state.get(name).expect("a field of every master");
                    value.text().parse::<usize>().expect("a number")
                };
                number("num-other-sentinels") == count - 1 && number("num-slaves") == replicas
            });
        }
        all
    }

    fn start(&mut self, program: &Program, master: u16, quorum: usize) {
        let dir = tempfile::Builder::new().prefix("floodgate-").tempdir().expect("a temporary folder");
        let port = free_port();
        // Not one second: that long a sentinel takes at times to connect to the
        // master that it has just switched to, and it calls that one dead, too.
        let configuration = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor {NAME} 127.0.0.1 {master} {quorum}\n\
             sentinel down-after-milliseconds {NAME} 3000\nsentinel failover-timeout {NAME} 10000\n"
        );
        fs::write(dir.path().join("sentinel.conf"), configuration).expect("room");
        let log = File::create(dir.path().join("sentinel.log")).expect("room");
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&program.path)
            .args(["sentinel.conf", "--sentinel"])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        self.running.push((spawn(command).expect("setpriv (util-linux) can be run"), dir));
        self.ports.push(port);
    }

    /// True when each of them says that this is the master. One that has not
    /// heard yet would take the old one for it again when that comes back, and
    /// turn the new one into its replica.
    #[track_caller]
    pub fn agree_on(&self, master: u16) -> bool {
        self.ports.iter().all(|&port| {
            let mut wire = Wire::connect(port).expect("a sentinel answers");
            let address: Reply = wire.call(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
            address[1].text() == master.to_string()
        })
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        for (process, _) in &mut self.running {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
