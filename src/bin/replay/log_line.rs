//! One line of an access log in the common or combined format:
//!
//! ```text
//! 203.0.113.9 - joe [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 5 "referer" "agent"
//! ```
//!
//! Apache on Debian also writes `vhost_combined`. It has the name and the port of the virtual host
//! in front of the line. Behind a proxy, the address may be a list: `client, proxy, proxy`.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;
use memchr::{memchr, memrchr};
use std::net::{IpAddr, SocketAddr};

/// The one key if all requests are limited together.
pub const ALL: &[u8] = b"all";

/// Whom the limits apply to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// Each address.
    Address,
    /// Each user who logged in. The requests of others are limited together, as `-`.
    User,
    /// Each path, without its query.
    Path,
    /// All requests together.
    All,
    /// Each value of the field that `--fields` calls key.
    Field,
}

impl GroupBy {
    /// Reads the name that `--by` takes.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "address" => Ok(Self::Address),
            "user" => Ok(Self::User),
            "path" => Ok(Self::Path),
            "all" => Ok(Self::All),
            _ => Err("expected address, user, path or all"),
        }
    }

    /// The word for one key, and the word for several.
    pub const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Address => ("address", "addresses"),
            Self::User => ("user", "users"),
            Self::Path => ("path", "paths"),
            Self::All | Self::Field => ("key", "keys"),
        }
    }

    /// The key of a request.
    pub fn key<'l>(self, line: &LogLine<'l>) -> &'l [u8] {
        match self {
            Self::Address => line.address,
            Self::User => line.user,
            Self::Path => line.path(),
            Self::All | Self::Field => ALL,
        }
    }
}

/// The parts of a line that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLine<'l> {
    /// The address of the client.
    pub address: &'l [u8],
    /// The user, or `-` if nobody logged in.
    pub user: &'l [u8],
    /// The request as it was sent, such as `GET /a HTTP/1.1`.
    pub request: &'l [u8],
    /// The time as it is written, in 26 bytes.
    pub stamp: &'l [u8; 26],
}

impl<'l> LogLine<'l> {
    /// Takes a line apart. `None` if it has another format.
    pub fn parse(line: &'l [u8]) -> Option<Self> {
        // A user name may contain blanks and brackets.
        let open = line.windows(2).position(|two| two == b" [")?;
        let (names, rest) = line.split_at_checked(open)?;
        let (address, names) = client(names)?;
        let (second, user) = client(names)?;
        // The second word is no address if it is an identity of RFC 1413. If it is one, the first
        // word was a virtual host.
        let (address, user) = if second != b"-" && is_address(second) {
            (second, user.get(memchr(b' ', user)? + 1..)?)
        } else {
            (address, user)
        };
        let (stamp, rest) = rest.get(2..)?.split_first_chunk::<26>()?;
        let rest = rest.strip_prefix(b"] \"")?;
        let (request, rest) = rest.split_at_checked(closing_quote(rest)?)?;
        let status = rest.strip_prefix(b"\" ")?.get(..3)?;
        let sound = !address.is_empty() && !user.is_empty() && status.iter().all(u8::is_ascii_digit);
        sound.then_some(Self { address, user, request, stamp })
    }

    /// The path of the request without its query. It is the whole request if that is not HTTP.
    fn path(&self) -> &'l [u8] {
        let path = self.request.split(|&b| b == b' ').nth(1).unwrap_or(self.request);
        path.split(|&b| b == b'?').next().unwrap_or(path)
    }
}

/// The first word, and what follows it. Of a list of addresses, as `X-Forwarded-For` has it, the
/// word is the first, which is the client; the proxies after it are passed over.
fn client(names: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut word, mut rest) = names.split_at_checked(memchr(b' ', names)?)?;
    let client = without_port(word.split(|&b| b == b',').next()?);
    while word.ends_with(b",") {
        let names = rest.get(1..)?;
        (word, rest) = names.split_at_checked(memchr(b' ', names)?)?;
    }
    Some((client, rest.get(1..)?))
}

/// The address if the word is one with a port. Other words remain as they are. A caller has a port
/// for each connection, but limits apply to the address.
pub fn without_port(word: &[u8]) -> &[u8] {
    let Some((address, _)) = memrchr(b':', word).and_then(|colon| word.split_at_checked(colon)) else {
        return word;
    };
    match std::str::from_utf8(word).map(str::parse::<SocketAddr>) {
        Ok(Ok(SocketAddr::V4(_))) => address,
        Ok(Ok(SocketAddr::V6(_))) => address.get(1..address.len() - 1).unwrap_or(address),
        _ => word,
    }
}

/// True if the word is an address without a port.
pub fn is_address(word: &[u8]) -> bool {
    std::str::from_utf8(word).is_ok_and(|word| word.parse::<IpAddr>().is_ok())
}

/// The position of the first quote that no backslash escapes.
pub fn closing_quote(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + memchr(b'"', text.get(from..)?)?;
        let backslashes = text.get(..at)?.iter().rev().take_while(|&&b| b == b'\\').count();
        if backslashes % 2 == 0 {
            return Some(at);
        }
        from = at + 1;
    }
}

/// The seconds since 1970 of a time such as `17/May/2015:10:05:03 +0000`. `None` if 32 bits cannot
/// hold it, which means before 1970 or after 2106.
pub fn stamp_seconds(stamp: &[u8; 26]) -> Option<u32> {
    const MONTHS: [&[u8]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let number = |from: usize, len: usize| -> Option<i16> {
        stamp.get(from..from + len)?.iter().try_fold(0i16, |n, b| {
            b.is_ascii_digit().then(|| n.checked_mul(10)?.checked_add(i16::from(b - b'0')))?
        })
    };
    let small = |from: usize| i8::try_from(number(from, 2)?).ok();
    let fixed = [(2, b'/'), (6, b'/'), (11, b':'), (14, b':'), (17, b':'), (20, b' ')];
    if fixed.iter().any(|&(at, byte)| stamp.get(at) != Some(&byte)) {
        return None;
    }
    let name = stamp.get(3..6)?;
    let month = i8::try_from(MONTHS.iter().position(|month| *month == name)?).ok()? + 1;
    let date = Date::new(number(7, 4)?, month, small(0)?).ok()?;
    // A leap second counts as the second before it.
    let second = if number(18, 2)? == 60 { 59 } else { small(18)? };
    let time = Time::new(small(12)?, small(15)?, second, 0).ok()?;
    let minutes = i32::from(number(22, 2)?) * 60 + i32::from(number(24, 2)?);
    let offset = match stamp.get(21)? {
        b'+' => Offset::from_seconds(minutes * 60),
        b'-' => Offset::from_seconds(-minutes * 60),
        _ => return None,
    };
    let at = offset.ok()?.to_timestamp(DateTime::from_parts(date, time)).ok()?;
    u32::try_from(at.as_second()).ok()
}

#[cfg(test)]
mod tests {
    use super::{GroupBy, LogLine, stamp_seconds};

    fn read(text: &str) -> Option<(String, u32)> {
        let line = LogLine::parse(text.as_bytes())?;
        let key = |by: GroupBy| String::from_utf8_lossy(by.key(&line)).into_owned();
        let all = [GroupBy::Address, GroupBy::User, GroupBy::Path, GroupBy::All].map(key).join("|");
        Some((all, stamp_seconds(line.stamp)?))
    }

    #[test]
    fn lines_of_both_formats() {
        let both = [
            r#"1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET /a?b=c HTTP/1.1" 200 5"#,
            r#"1.2.3.4 - - [17/May/2015:12:05:03 +0200] "GET /a?b=c HTTP/1.1" 200 - "-" "x \" y""#,
        ];
        for line in both {
            assert_eq!(read(line), Some(("1.2.3.4|-|/a|all".into(), 1_431_857_103)), "{line}");
        }
        let odd = r#"::1 - joe [x] doe [29/Feb/2016:23:59:59 -0130] "a\"b" 400 0"#;
        assert_eq!(read(odd), None, "the stamp is the first bracket's");
        let odd = r#"::1 - joe doe [29/Feb/2016:23:59:59 -0130] "a\"b" 400 0"#;
        assert_eq!(read(odd), Some((r#"::1|joe doe|a\"b|all"#.into(), 1_456_795_799)));
        for (host, address) in [("www.example.org:443", "2001:db8::1"), ("a", "1.2.3.4")] {
            let vhost = format!(
                r#"{host} {address} - joe doe [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 5 "-" "x""#
            );
            assert_eq!(read(&vhost), Some((format!("{address}|joe doe|/a|all"), 1_431_857_103)));
        }
        for list in
            ["1.2.3.4, 10.0.0.1", "1.2.3.4, 10.0.0.2, 10.0.0.1", "1.2.3.4,10.0.0.1", "a:443 1.2.3.4, ::1"]
        {
            let proxied = format!(r#"{list} - joe [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 5"#);
            assert_eq!(read(&proxied), Some(("1.2.3.4|joe|/a|all".into(), 1_431_857_103)), "{list}");
        }
        for port in ["1.2.3.4:5555", "a:443 1.2.3.4:5555", "1.2.3.4:5555, 10.0.0.1:9", "10.0.0.9:443 1.2.3.4"]
        {
            let line = format!(r#"{port} - joe [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 5"#);
            assert_eq!(read(&line), Some(("1.2.3.4|joe|/a|all".into(), 1_431_857_103)), "{port}");
        }
        let v6 = r#"[2001:db8::1]:443 - - [30/Jun/2015:23:59:60 +0000] "GET /a HTTP/1.1" 200 5"#;
        assert_eq!(read(v6), Some(("2001:db8::1|-|/a|all".into(), 1_435_708_799)), "a leap second");
        let empty = r#"::1 - - [01/Jan/1970:00:00:00 +0000] "" 408 -"#;
        assert_eq!(read(empty), Some(("::1|-||all".into(), 0)));
    }

    #[test]
    fn lines_of_neither() {
        for line in [
            "",
            "nonsense",
            r#"1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1"#,
            r#"1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" abc 5"#,
            r#"1.2.3.4 - - [32/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5"#,
            r#"1.2.3.4 - - [29/Feb/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5"#,
            r#"1.2.3.4 - - [17/Mai/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5"#,
            r#"1.2.3.4 - - [17/May/2015:10:05:03 ~0000] "GET / HTTP/1.1" 200 5"#,
            r#"1.2.3.4 - - [17/May/1915:10:05:03 +0000] "GET / HTTP/1.1" 200 5"#,
            r#", 10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5"#,
            r#" - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5"#,
            r#"1.2.3.4 [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5"#,
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
