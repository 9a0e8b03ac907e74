//! One reply, with the very type and text that the server sent.

use crate::support::RateLimitReply;
use std::{fmt, ops::Index};

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

    /// What is in use of each limit, in a reply of RL.QUOTA: nothing of a key that it does not know. A
    /// block has a row of its own, where nothing is in use.
    #[track_caller]
    pub fn used(&self) -> Vec<i64> {
        let rows = if self.is_nil() { &[] } else { self.items() };
        rows.iter().filter_map(|row| row.get("used")).map(|used| used.int()).collect()
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
