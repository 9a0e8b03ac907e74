//! A client that hides nothing: sends any bytes, and gives each reply with the
//! very type and text that the server sent.

use std::{
    collections::VecDeque,
    fmt,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    ops::Index,
    time::{Duration, Instant},
};

use crate::support::RateLimitReply;

/// How long [`Wire::read`] waits before it calls the server stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// One reply of the protocol, in RESP2 or RESP3.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reply {
    /// `+OK`
    Simple(String),
    /// `-ERR …`, without the minus sign
    Error(String),
    /// `:1`
    Int(i64),
    /// `$3 …`
    Bulk(Vec<u8>),
    /// `$-1`, the RESP2 nil
    NilBulk,
    /// `*-1`, the RESP2 nil array
    NilArray,
    /// `*2 …`
    Array(Vec<Reply>),
    /// `_`, the RESP3 null
    Null,
    /// `#t`
    Bool(bool),
    /// `,1.5`, as it was written
    Double(String),
    /// `(123…`
    BigNumber(String),
    /// `=15 txt:…`: the format and the text
    Verbatim(String, Vec<u8>),
    /// `%1 …`, in the order sent
    Map(Vec<(Reply, Reply)>),
    /// `~2 …`, in the order sent
    Set(Vec<Reply>),
    /// `>2 …`
    Push(Vec<Reply>),
}

impl Reply {
    /// A bulk string of this text, to compare with.
    pub fn bulk(text: impl AsRef<[u8]>) -> Self {
        Self::Bulk(text.as_ref().to_vec())
    }

    /// `+OK`
    pub fn ok() -> Self {
        Self::Simple("OK".into())
    }

    /// An array of integers, to compare with.
    pub fn ints(numbers: &[i64]) -> Self {
        Self::Array(numbers.iter().map(|&n| Self::Int(n)).collect())
    }

    /// The integer of `:n`.
    #[track_caller]
    pub fn int(&self) -> i64 {
        match self {
            Self::Int(n) => *n,
            other => panic!("not an integer: {other:?}"),
        }
    }

    /// The number of a double, whatever its protocol (RESP2 sends text).
    #[track_caller]
    pub fn double(&self) -> f64 {
        match self {
            Self::Double(text) => text.parse().unwrap_or_else(|_| panic!("not a double: {text}")),
            other => other.text().parse().unwrap_or_else(|_| panic!("not a double: {other:?}")),
        }
    }

    /// The text of a simple, bulk or verbatim string.
    #[track_caller]
    pub fn text(&self) -> String {
        match self {
            Self::Simple(text) => text.clone(),
            _ => String::from_utf8_lossy(self.bytes()).into_owned(),
        }
    }

    /// The bytes of a bulk or verbatim string.
    #[track_caller]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Bulk(bytes) | Self::Verbatim(_, bytes) => bytes,
            other => panic!("not a string: {other:?}"),
        }
    }

    /// The text of an error, or none.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Error(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is a nil of either protocol.
    pub fn is_nil(&self) -> bool {
        matches!(self, Self::NilBulk | Self::NilArray | Self::Null)
    }

    /// The items of an array, set or push.
    #[track_caller]
    pub fn items(&self) -> &[Reply] {
        match self {
            Self::Array(items) | Self::Set(items) | Self::Push(items) => items,
            other => panic!("not an array: {other:?}"),
        }
    }

    /// The integers of an array of integers.
    #[track_caller]
    pub fn to_ints(&self) -> Vec<i64> {
        self.items().iter().map(Self::int).collect()
    }

    /// The six numbers of a decision, by their names.
    #[track_caller]
    pub fn rate_limit(&self) -> RateLimitReply {
        let numbers = self.to_ints();
        RateLimitReply::of(numbers.try_into().unwrap_or_else(|_| panic!("not six numbers: {self:?}")))
    }

    /// The pairs of a map: of a RESP3 map, or of a flat RESP2 array.
    #[track_caller]
    pub fn pairs(&self) -> Vec<(Reply, Reply)> {
        match self {
            Self::Map(pairs) => pairs.clone(),
            other => {
                let items = other.items();
                assert!(items.len().is_multiple_of(2), "not a map: {other:?}");
                items.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
            }
        }
    }

    /// The value of a text key of a map (RESP3 or flat RESP2), or none.
    #[track_caller]
    pub fn get(&self, key: &str) -> Option<Reply> {
        self.pairs().into_iter().find_map(|(k, v)| (k.text() == key).then_some(v))
    }

    /// The value of a text key of a map, which must be there.
    #[track_caller]
    pub fn field(&self, key: &str) -> Reply {
        self.get(key).unwrap_or_else(|| panic!("no field {key}: {self:?}"))
    }
}

impl Index<usize> for Reply {
    type Output = Self;

    #[track_caller]
    fn index(&self, i: usize) -> &Self {
        self.items().get(i).unwrap_or_else(|| panic!("no item {i}: {self:?}"))
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Simple(text) => write!(f, "+{text}"),
            Self::Error(text) => write!(f, "-{text}"),
            Self::Int(n) => write!(f, ":{n}"),
            Self::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Self::NilBulk => write!(f, "$-1"),
            Self::NilArray => write!(f, "*-1"),
            Self::Array(items) => f.debug_list().entries(items).finish(),
            Self::Null => write!(f, "_"),
            Self::Bool(value) => write!(f, "#{value}"),
            Self::Double(text) => write!(f, ",{text}"),
            Self::BigNumber(text) => write!(f, "({text}"),
            Self::Verbatim(format, bytes) => write!(f, "={format}:\"{}\"", bytes.escape_ascii()),
            Self::Map(pairs) => f.debug_map().entries(pairs.iter().map(|(k, v)| (k, v))).finish(),
            Self::Set(items) => {
                write!(f, "~")?;
                f.debug_list().entries(items).finish()
            }
            Self::Push(items) => {
                write!(f, ">")?;
                f.debug_list().entries(items).finish()
            }
        }
    }
}

/// Asserts that a reply is an error of exactly this text, its code included.
#[track_caller]
pub fn assert_error(reply: &Reply, text: &str) {
    assert_eq!(reply.error(), Some(text), "the reply was {reply:?}");
}

/// Asserts that a reply is an error whose text starts like this.
#[track_caller]
pub fn assert_error_prefix(reply: &Reply, start: &str) {
    assert!(
        reply.error().is_some_and(|text| text.starts_with(start)),
        "expected an error that starts with {start:?}, the reply was {reply:?}"
    );
}

/// What can be an argument of a command.
pub trait Arg {
    /// The bytes to send.
    fn to_arg(&self) -> Vec<u8>;
}

macro_rules! bytes_arg {
    ($($type:ty),+) => {$(
        impl Arg for $type {
            fn to_arg(&self) -> Vec<u8> {
                AsRef::<[u8]>::as_ref(self).to_vec()
            }
        }
    )+};
}
bytes_arg!(str, String, [u8], Vec<u8>);

impl<const N: usize> Arg for [u8; N] {
    fn to_arg(&self) -> Vec<u8> {
        self.to_vec()
    }
}

macro_rules! number_arg {
    ($($type:ty),+) => {$(
        impl Arg for $type {
            fn to_arg(&self) -> Vec<u8> {
                self.to_string().into_bytes()
            }
        }
    )+};
}
number_arg!(i32, i64, i128, u16, u32, u64, u128, usize, f64);

impl<T: Arg + ?Sized> Arg for &T {
    fn to_arg(&self) -> Vec<u8> {
        (**self).to_arg()
    }
}

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

    /// Sends all commands at once, then reads all replies.
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

fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args.iter().map(AsRef::as_ref) {
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Reads one reply out of what has come so far; `None` when more must come.
/// Anything that is not RESP panics: the server broke the protocol.
struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn line(&mut self) -> Option<String> {
        let rest = &self.bytes[self.at..];
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        self.at += end + 2;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    }

    fn blob(&mut self, len: usize) -> Option<Vec<u8>> {
        let bytes = self.bytes.get(self.at..self.at + len + 2)?;
        assert_eq!(&bytes[len..], b"\r\n", "a string of {len} bytes does not end there");
        self.at += len + 2;
        Some(bytes[..len].to_vec())
    }

    fn many(&mut self, n: usize) -> Option<Vec<Reply>> {
        (0..n).map(|_| self.reply()).collect()
    }

    fn reply(&mut self) -> Option<Reply> {
        let line = self.line()?;
        let (kind, rest) = line.split_at_checked(1).expect("a type byte");
        let length = || rest.parse::<usize>().unwrap_or_else(|_| panic!("not a length: {line:?}"));
        Some(match kind {
            "+" => Reply::Simple(rest.into()),
            "-" => Reply::Error(rest.into()),
            ":" => Reply::Int(rest.parse().unwrap_or_else(|_| panic!("not an integer: {line:?}"))),
            "$" if rest == "-1" => Reply::NilBulk,
            "*" if rest == "-1" => Reply::NilArray,
            "$" => Reply::Bulk(self.blob(length())?),
            "*" => Reply::Array(self.many(length())?),
            "_" => Reply::Null,
            "#" => Reply::Bool(match rest {
                "t" => true,
                "f" => false,
                _ => panic!("not a boolean: {line:?}"),
            }),
            "," => Reply::Double(rest.into()),
            "(" => Reply::BigNumber(rest.into()),
            "!" => Reply::Error(String::from_utf8_lossy(&self.blob(length())?).into_owned()),
            "=" => {
                let mut text = self.blob(length())?;
                let bytes = text.split_off(4);
                Reply::Verbatim(String::from_utf8_lossy(&text[..3]).into_owned(), bytes)
            }
            "%" => {
                let items = self.many(length() * 2)?;
                Reply::Map(items.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
            }
            "~" => Reply::Set(self.many(length())?),
            ">" => Reply::Push(self.many(length())?),
            _ => panic!("not a reply: {line:?}"),
        })
    }
}
