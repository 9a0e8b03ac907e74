//! One HTTP request, and what came back as it was sent.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

/// A response.
#[derive(Debug, Clone)]
pub struct Page {
    /// 0 when there was no response at all.
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Page {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Of several headers with this name.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// GET on a port of this machine.
pub fn get(port: u16, path: &str, headers: &[(&str, &str)]) -> Page {
    try_get(port, path, headers).unwrap_or(Page { status: 0, headers: Vec::new(), body: String::new() })
}

fn try_get(port: u16, path: &str, headers: &[(&str, &str)]) -> Option<Page> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: test\r\n{more}connection: close\r\n\r\n").as_bytes())
        .ok()?;
    // Envoy closes some connections a second after it has answered.
    let (mut text, mut piece) = (Vec::new(), [0; 4096]);
    while !is_whole(&text) {
        match stream.read(&mut piece).ok()? {
            0 => break,
            n => text.extend_from_slice(&piece[..n]),
        }
    }
    let text = String::from_utf8_lossy(&text);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Some(Page { status, headers, body: body.to_owned() })
}

/// All that the head promises is there.
fn is_whole(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().ok())?
    });
    length.is_some_and(|length| body.len() >= length)
}
