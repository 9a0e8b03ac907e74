use super::root;
use jiff::{Timestamp, fmt::strtime};
use std::{env, fs, path::Path, path::PathBuf};

/// One request of a log: who, and when in microseconds since 1970.
pub type LoggedRequest = (String, u64);

/// The access log that `FLOODGATE_LOG` names, by which tests are repeated on real traffic. A relative
/// path begins in the folder of the project.
pub fn named_log() -> Option<PathBuf> {
    let path = root().join(env::var_os("FLOODGATE_LOG")?);
    assert!(path.is_file(), "FLOODGATE_LOG={}: there is no such file", path.display());
    Some(path)
}

/// The requests of a log in the common format, in order of time, within a second in the order logged.
pub fn logged_requests(path: &Path) -> Vec<LoggedRequest> {
    let text = fs::read_to_string(path).unwrap();
    let request = |line| logged_request(line).unwrap_or_else(|| panic!("no request of a log: {line}"));
    let mut requests: Vec<_> = text.lines().map(request).collect();
    requests.sort_by_key(|(_, time)| *time);
    requests
}

fn logged_request(line: &str) -> Option<LoggedRequest> {
    let (address, rest) = line.split_once(' ')?;
    let (stamp, _) = rest.split_once('[')?.1.split_once(']')?;
    let time: Timestamp = strtime::parse("%d/%b/%Y:%H:%M:%S %z", stamp).ok()?.to_timestamp().ok()?;
    Some((address.to_owned(), u64::try_from(time.as_microsecond()).ok()?))
}
