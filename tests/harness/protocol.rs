//! The protocol, RESP2 and RESP3: how a command is written, and how a reply is read.

use super::reply::Reply;

pub(super) fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
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
pub(super) struct Parser<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
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

    pub(super) fn reply(&mut self) -> Option<Reply> {
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
