//! A client that hides nothing: sends any bytes, and gives each reply with the
//! very type and text that the server sent.

use super::{
    protocol::{Parser, encode},
    reply::Reply,
};
use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// How long [`Wire::read`] waits before it calls the server stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection that sends arbitrary bytes and reads typed replies.
///
/// Pushes (RESP3) are kept apart from replies: see [`Wire::push`].
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    received: Vec<u8>,
    pushes: VecDeque<Reply>,
}

impl Wire {
    /// Connects to a port of this machine, in RESP2.
    pub fn connect(port: u16) -> std::io::Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::new(), pushes: VecDeque::new() })
    }

    /// Switches to RESP3; gives the map that the server answers.
    #[track_caller]
    pub fn hello3(&mut self) -> Reply {
        let reply = self.line("HELLO 3");
        assert!(matches!(reply, Reply::Map(_)), "HELLO 3 was answered by {reply:?}");
        reply
    }

    /// Sends one command and reads its reply. See also the macro `call!`.
    #[track_caller]
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Reply {
        self.send(args);
        self.read()
    }

    /// Sends one command given as words between blanks, and reads its reply.
    #[track_caller]
    pub fn line(&mut self, command: &str) -> Reply {
        self.call(&command.split_whitespace().collect::<Vec<_>>())
    }

    /// Sends all commands at once, each given as words between blanks, then reads all replies.
    #[track_caller]
    pub fn lines<S: AsRef<str>>(&mut self, commands: &[S]) -> Vec<Reply> {
        let words = |line: &S| line.as_ref().split_whitespace().map(str::to_owned).collect();
        self.pipeline(&commands.iter().map(words).collect::<Vec<Vec<String>>>())
    }

    /// Sends all commands at once, each given as its words, then reads all replies.
    #[track_caller]
    pub fn pipeline<A: AsRef<[u8]>>(&mut self, commands: &[Vec<A>]) -> Vec<Reply> {
        let bytes: Vec<u8> = commands.iter().flat_map(|args| encode(args)).collect();
        self.send_raw(&bytes);
        commands.iter().map(|_| self.read()).collect()
    }

    /// Sends one command and does not wait.
    #[track_caller]
    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        self.send_raw(&encode(args));
    }

    /// Sends one command to a server that may be gone.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn try_send<A: AsRef<[u8]>>(&mut self, args: &[A]) -> std::io::Result<()> {
        self.stream.write_all(&encode(args))
    }

    /// Sends one command given as words between blanks and does not wait.
    #[track_caller]
    pub fn send_line(&mut self, command: &str) {
        self.send(&command.split_whitespace().collect::<Vec<_>>());
    }

    /// Sends these bytes as they are.
    #[track_caller]
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes the bytes");
    }

    /// Reads the next reply; panics when the server closes or stays silent.
    #[track_caller]
    pub fn read(&mut self) -> Reply {
        match self.try_read(PATIENCE) {
            Ok(Some(reply)) => reply,
            Ok(None) => panic!("no reply within {PATIENCE:?}"),
            Err(e) => panic!("no reply: {e}"),
        }
    }

    /// Reads the next reply if it comes in time; a blocked client gets none.
    #[track_caller]
    pub fn read_within(&mut self, limit: Duration) -> Option<Reply> {
        self.try_read(limit).unwrap_or_else(|e| panic!("no reply: {e}"))
    }

    /// Asserts that nothing is answered for so long: the client is blocked.
    #[track_caller]
    pub fn assert_blocked_for(&mut self, time: Duration) {
        let reply = self.read_within(time);
        assert!(reply.is_none(), "expected to be blocked for {time:?}, the reply was {reply:?}");
    }

    /// Reads the next reply: `Ok(None)` when none came in time, an error when
    /// the connection is gone.
    pub fn try_read(&mut self, limit: Duration) -> std::io::Result<Option<Reply>> {
        let end = Instant::now() + limit;
        loop {
            match self.next_message(end)? {
                Some(push @ Reply::Push(_)) => self.pushes.push_back(push),
                other => return Ok(other),
            }
        }
    }

    /// The next push (invalidation, message), oldest first, if one comes in
    /// time.
    #[track_caller]
    pub fn push(&mut self, limit: Duration) -> Option<Reply> {
        if let Some(push) = self.pushes.pop_front() {
            return Some(push);
        }
        match self.next_message(Instant::now() + limit) {
            Ok(Some(push @ Reply::Push(_))) => Some(push),
            Ok(None) => None,
            other => panic!("expected a push: {other:?}"),
        }
    }

    /// Whether the server closes this connection in time, after whatever it
    /// still sends.
    pub fn closes_within(&mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        loop {
            match self.next_message(end) {
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    fn next_message(&mut self, end: Instant) -> std::io::Result<Option<Reply>> {
        let mut chunk = [0; 16 * 1024];
        loop {
            let mut parser = Parser { bytes: &self.received, at: 0 };
            if let Some(reply) = parser.reply() {
                let used = parser.at;
                self.received.drain(..used);
                return Ok(Some(reply));
            }
            // A timeout of zero would mean "for ever".
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_micros(1));
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(std::io::Error::new(ErrorKind::UnexpectedEof, "the server closed")),
                Ok(n) => self.received.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if Instant::now() >= end {
                        return Ok(None);
                    }
                }
                Err(e) => return Err(e),
            }
        }
    }
}
