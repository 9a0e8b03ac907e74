//! Connections to a server, and commands over one that is kept open.

use super::Server;
use crate::harness::{reply::Reply, wire::Wire};
use std::{
    process::{Command, Stdio},
    sync::PoisonError,
};

impl Server {
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

    /// Has the next command go over a new connection: somebody closed the old one.
    pub fn forget_control(&mut self) {
        *self.control.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
