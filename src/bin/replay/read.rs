//! Reads log files, plain or gzip, into traffic in the order of time.

use crate::ReplayError;
use crate::fields::{FieldNames, LineError, names};
use crate::log_line::{ALL, GroupBy, LogLine, stamp_seconds};
use crate::unreadable;
use flate2::bufread::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// The most bytes of a line that are read. Servers cut their lines far earlier.
const LONGEST_LINE: u64 = 1 << 20;
/// The number of malformed lines that are kept to be shown.
const SAMPLES: usize = 3;
/// The number of bytes that are kept of each of them.
const SAMPLE_BYTES: usize = 80;
const BUFFER: usize = 1 << 18;

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedRequest {
    /// The time in microseconds since 1970. Its second fits into 32 bits.
    pub time: u64,
    /// The position of the key in [`Traffic::keys`].
    pub key: u32,
}

impl LoggedRequest {
    /// The second of the time.
    pub fn second(self) -> u32 {
        u32::try_from(self.time / 1_000_000).unwrap_or(u32::MAX)
    }
}

/// The lines that are no request.
#[derive(Debug, Default)]
pub struct Malformed {
    /// The number of such lines.
    pub count: u64,
    /// The first few of them, printable and cut.
    pub samples: Vec<String>,
    /// The reason why the first one is none.
    pub reason: Option<LineError>,
    /// The names of the fields of the first one, if it is JSON.
    pub names: Vec<String>,
}

/// Everything that the logs say.
#[derive(Debug, Default)]
pub struct Traffic {
    /// The requests in the order of time. Those of one time are in the order logged.
    pub requests: Vec<LoggedRequest>,
    /// The keys that asked, by the number in [`LoggedRequest::key`].
    pub keys: Vec<Box<[u8]>>,
    /// The lines that were skipped.
    pub malformed: Malformed,
    /// The number of lines right after a line of a later time. Servers write a line when the
    /// answer is out, so there are many.
    pub out_of_order: u64,
    /// The files that ended in the middle, and why.
    pub broken: Vec<(PathBuf, io::Error)>,
}

impl Traffic {
    /// The first and the last request's second since 1970. Both are 0 if there are no
    /// requests.
    pub fn span(&self) -> (u32, u32) {
        let time = |request: Option<&LoggedRequest>| request.map_or(0, |request| request.second());
        (time(self.requests.first()), time(self.requests.last()))
    }

    /// What users should know before they believe the result.
    pub fn notes(&self) -> Vec<String> {
        self.broken.iter().map(|(path, e)| format!("{} was read only in part: {e}", path.display())).collect()
    }

    /// The name of a key in printable characters.
    pub fn name(&self, key: usize) -> String {
        self.keys.get(key).map(|key| key.escape_ascii().to_string()).unwrap_or_default()
    }
}

/// Reads all files. It fails if a file cannot be opened or holds no lines of text. From a file that ends in the middle, such
/// as a gzip file that is still being written, it takes what is there.
pub fn read(paths: &[PathBuf], by: GroupBy, fields: Option<&FieldNames>) -> Result<Traffic, ReplayError> {
    let mut reader = TrafficReader {
        by,
        fields,
        traffic: Traffic::default(),
        numbers: HashMap::new(),
        stamp: None,
        last: None,
    };
    for path in paths {
        let failed = |e| ReplayError::Read(path.display().to_string(), e);
        let (size, file) = open(path).map_err(failed)?;
        let bar = bar(size, path);
        let mut plain = BufReader::with_capacity(BUFFER, bar.wrap_read(file));
        let gzip = plain.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]);
        let done = if gzip {
            reader.log(&mut BufReader::with_capacity(BUFFER, MultiGzDecoder::new(plain)), path)?
        } else {
            reader.log(&mut plain, path)?
        };
        bar.finish_and_clear();
        if let Err(e) = done {
            reader.traffic.broken.push((path.clone(), e));
        }
    }
    let mut traffic = reader.traffic;
    traffic.requests.sort_by_key(|request| request.time);
    Ok(traffic)
}

fn open(path: &Path) -> io::Result<(u64, Box<dyn Read>)> {
    if path.as_os_str() == "-" {
        return Ok((0, Box::new(io::stdin())));
    }
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    Ok((size, Box::new(file)))
}

fn bar(size: u64, path: &Path) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:24} [{wide_bar}] {percent:>3}% {bytes_per_sec}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    ProgressBar::new(size).with_style(style).with_message(name)
}

/// Traffic while it is being read.
struct TrafficReader<'o> {
    by: GroupBy,
    /// Where the time and the key stand in a line. Without fields the files are access logs.
    fields: Option<&'o FieldNames>,
    traffic: Traffic,
    numbers: HashMap<Box<[u8]>, u32>,
    /// The last time as text, and its second. Most lines repeat it, so it is parsed once.
    stamp: Option<([u8; 26], u32)>,
    /// The time of the last request.
    last: Option<u64>,
}

impl TrafficReader<'_> {
    /// Reads a log, packed no more. It fails if the file is no text; what ends in the middle is no
    /// such failure.
    fn log(&mut self, from: &mut impl BufRead, path: &Path) -> Result<io::Result<()>, ReplayError> {
        let name = path.display().to_string();
        let unreadable = match from.fill_buf() {
            Ok(start) => unreadable::why(start, &name),
            Err(e) => return Ok(Err(e)),
        };
        match unreadable {
            Some(why) => Err(ReplayError::Read(name, io::Error::other(why))),
            None => Ok(self.lines(from)),
        }
    }

    fn lines(&mut self, from: &mut impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = from.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(());
            }
            if read as u64 == LONGEST_LINE && !line.ends_with(b"\n") {
                from.skip_until(b'\n')?;
            }
            let text = line.trim_ascii_end();
            // Editors of Windows put a mark in front of a file.
            let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
            if !text.is_empty()
                && let Err(why) = self.line(text)
            {
                self.malformed(text, why);
            }
        }
    }

    fn line(&mut self, text: &[u8]) -> Result<(), LineError> {
        if let Some(fields) = self.fields {
            let (time, key) = fields.read(text)?;
            self.request(time, if self.by == GroupBy::All { ALL } else { &key });
            return Ok(());
        }
        let line = LogLine::parse(text).ok_or(LineError::NoAccessLog)?;
        let time = match self.stamp {
            Some((stamp, time)) if stamp == *line.stamp => time,
            _ => stamp_seconds(line.stamp).ok_or(LineError::NoAccessLog)?,
        };
        self.stamp = Some((*line.stamp, time));
        self.request(u64::from(time) * 1_000_000, self.by.key(&line));
        Ok(())
    }

    fn request(&mut self, time: u64, name: &[u8]) {
        self.traffic.out_of_order += u64::from(self.last.is_some_and(|last| time < last));
        self.last = Some(time);
        let key = if let Some(&key) = self.numbers.get(name) {
            key
        } else {
            let Ok(key) = u32::try_from(self.traffic.keys.len()) else { return };
            self.traffic.keys.push(name.into());
            self.numbers.insert(name.into(), key);
            key
        };
        self.traffic.requests.push(LoggedRequest { time, key });
    }

    fn malformed(&mut self, text: &[u8], why: LineError) {
        let malformed = &mut self.traffic.malformed;
        malformed.count += 1;
        if malformed.count == 1 {
            // The names help whoever named a field that is not there.
            malformed.names = if matches!(why, LineError::Time(_)) { Vec::new() } else { names(text) };
            malformed.reason = Some(why);
        }
        if malformed.samples.len() < SAMPLES {
            let start = text.get(..SAMPLE_BYTES).unwrap_or(text);
            let cut = if start.len() < text.len() { "…" } else { "" };
            malformed.samples.push(format!("{}{cut}", start.escape_ascii()));
        }
    }
}
