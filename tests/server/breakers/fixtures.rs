//! One breaker on a real server, spoken to as a client does.

use crate::harness::{Reply, Server};

/// A key and the breaker that its calls give.
pub struct Key<'s> {
    pub server: &'s Server,
    pub name: &'static str,
    pub breaker: &'static str,
}

impl<'s> Key<'s> {
    pub const fn new(server: &'s Server, name: &'static str, breaker: &'static str) -> Self {
        Self { server, name, breaker }
    }

    pub fn wait_ms(&self, ms: i64) {
        self.server.clock_advance(ms * 1000);
    }

    #[track_caller]
    pub fn acquire(&self) -> Reply {
        self.server.call(&["CB.ACQUIRE", self.name, self.breaker])
    }

    /// Acquires, which must be allowed; the token.
    #[track_caller]
    pub fn admit(&self) -> String {
        let reply = self.acquire();
        assert_eq!((reply[0].int(), reply[3].int(), reply.items().len()), (1, 0, 4), "{reply:?}");
        reply[2].text()
    }

    /// Acquires, which must be denied; the milliseconds to wait.
    #[track_caller]
    pub fn deny(&self) -> i64 {
        let reply = self.acquire();
        assert_eq!((&reply[0], &reply[2], reply.items().len()), (&Reply::Int(0), &Reply::NilBulk, 4));
        reply[3].int()
    }

    /// Reports with these arguments: whether it counted, and the state.
    #[track_caller]
    pub fn report(&self, arguments: &[&str]) -> (bool, String) {
        let mut all = vec!["CB.REPORT", self.name];
        all.extend(arguments);
        all.extend(["BREAKER", self.breaker]);
        let reply = self.server.call(&all);
        assert_eq!(reply.items().len(), 2, "{reply:?}");
        (reply[0].int() == 1, reply[1].text())
    }

    #[track_caller]
    pub fn settle(&self, outcome: &str, token: &str) -> bool {
        self.report(&[outcome, "TOKEN", token]).0
    }

    #[track_caller]
    pub fn ok(&self, token: &str) -> bool {
        self.settle("OK", token)
    }

    #[track_caller]
    pub fn fail(&self, token: &str) -> bool {
        self.settle("FAIL", token)
    }

    /// Results without a token: `s` success, `f` failure, `l` slow success, `L`
    /// slow failure, `i` ignored. The state after each, as its initial.
    #[track_caller]
    pub fn run(&self, results: &str) -> String {
        let state = |result| {
            let arguments: &[&str] = match result {
                's' => &["OK"],
                'f' => &["FAIL"],
                'l' => &["OK", "DUR", "1000s"],
                'L' => &["FAIL", "DUR", "1000s"],
                _ => &["IGNORE"],
            };
            self.report(arguments).1.remove(0)
        };
        results.chars().map(state).collect()
    }

    /// One field of CB.STATE.
    #[track_caller]
    pub fn field(&self, name: &str) -> Reply {
        self.server.call(&["CB.STATE", self.name]).field(name)
    }

    #[track_caller]
    pub fn state(&self) -> String {
        self.field("state").text()
    }

    #[track_caller]
    pub fn number(&self, name: &str) -> i64 {
        self.field(name).int()
    }

    #[track_caller]
    pub fn digest(&self) -> String {
        digest(self.server, self.name)
    }
}

/// `DEBUG DIGEST-VALUE` of one key.
#[track_caller]
pub fn digest(server: &Server, key: &str) -> String {
    server.call(&["DEBUG", "DIGEST-VALUE", key])[0].text()
}

/// Bytes written to replicas so far.
#[track_caller]
pub fn written(server: &Server) -> i64 {
    server.info_field("replication", "master_repl_offset").parse().unwrap()
}
