//! What if? Replays the access log of a web server at its own times through the
//! limiter's own core, without a server, and shows who would have been limited,
//! how often and when.
//!
//! | file | idea |
//! |---|---|
//! | [`options`] | what was asked |
//! | [`mod@line`] | one line of an access log: who, what, when |
//! | [`fields`] | who and when in JSON lines, and in words by their number |
//! | [`read`] | files, plain or gzip → [`read::Traffic`] in order of time |
//! | [`judge`] | traffic and limits → [`judge::Outcome`] |
//! | [`table`], [`sheet`], [`picture`] | outcomes as text, CSV and SVG |

mod fields;
mod judge;
mod line;
mod options;
mod picture;
mod read;
mod sheet;
mod table;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use judge::{Contender, Outcome};
use options::{Asked, Options};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Options(#[from] options::Wrong),
    #[error("cannot read {0}: {1}")]
    Read(String, std::io::Error),
    #[error("{0}")]
    Nothing(String),
    #[error("cannot write {0}: {1}")]
    Write(String, String),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("replay: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let options = match Options::parse(std::env::args_os().skip(1))? {
        Asked::Help => {
            print(options::HELP);
            return Ok(());
        }
        Asked::Replay(options) => options,
    };
    let start = Instant::now();
    let traffic = read::read(&options.logs, options.by, options.fields.as_ref())?;
    for note in traffic.notes() {
        eprintln!("replay: {note}");
    }
    if traffic.requests.is_empty() {
        return Err(Failure::Nothing(nothing(&traffic.malformed, options.fields.is_some())));
    }
    let outcomes = judge_all(&traffic, &options.contenders);
    let took = start.elapsed();
    print(&table::table(&traffic, &options, &outcomes));
    let lines = traffic.requests.len() as u64 + traffic.malformed.count;
    save(options.csv.as_deref(), |path| sheet::by_key(path, &traffic, &outcomes))?;
    save(options.timeline.as_deref(), |path| sheet::over_time(path, &traffic, &outcomes))?;
    save(options.picture.as_deref(), |path| picture::write(path, &traffic, &outcomes))?;
    eprintln!("replay: {lines} lines in {:.1} s, {} a second", took.as_secs_f64(), per_second(lines, took));
    Ok(())
}

/// Why no line was taken, and the way out.
fn nothing(malformed: &read::Malformed, mapped: bool) -> String {
    let mut text = String::from(if mapped {
        "no line has a time and a key in the fields that you named"
    } else {
        "no line is a request in the common or combined log format"
    });
    if let Some(first) = malformed.samples.first() {
        text.push_str(&format!("; the first: {first}"));
        if !mapped {
            text.push_str(
                "\nreplay: for another format, name the fields of the time and the key: FIELDS='time=ts,key=request.client_ip' \
                 for JSON lines, FIELDS='time=2,key=4' for the second and the fourth word of a line",
            );
        }
    }
    if !malformed.names.is_empty() {
        text.push_str(&format!("\nreplay: the fields of that line are {}", malformed.names.join(", ")));
    }
    text
}

fn per_second(lines: u64, took: Duration) -> u128 {
    (u128::from(lines) * 1_000_000).checked_div(took.as_micros()).unwrap_or_default()
}

/// Writes a file, where one was asked for.
fn save<E: ToString>(path: Option<&Path>, write: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    write(path).map_err(|e| Failure::Write(path.display().to_string(), e.to_string()))
}

/// Writes to standard output; a reader that has seen enough (`| head`) is no
/// failure.
fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Every set of limits on the same traffic, each on a thread of its own.
fn judge_all<'o>(traffic: &read::Traffic, contenders: &'o [Contender]) -> Vec<Outcome<'o>> {
    let bars = MultiProgress::new();
    std::thread::scope(|scope| {
        let running: Vec<_> = contenders
            .iter()
            .map(|contender| {
                let bar = bars.add(progress(traffic.requests.len() as u64, contender.text()));
                scope.spawn(move || judge::judge(traffic, contender, &bar))
            })
            .collect();
        // A thread that panicked has said so itself.
        running.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}

/// A bar on the terminal; nothing where standard error is none.
fn progress(length: u64, name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:24} [{wide_bar}] {percent:>3}% {per_sec}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style).with_message(name.to_owned())
}
