//! Replays the access log of a web server through the limiter's core, at the times of the log and
//! without a server. Shows who would have been limited, how often and when.
//!
//! | file | idea |
//! |---|---|
//! | [`options`] | the options of the command line |
//! | [`log_line`] | one line of an access log: the client, the request, the time |
//! | [`fields`] | the time and the key in JSON lines, or in words by their number |
//! | [`outputs`] | no file that is written is one that is read |
//! | [`read`] | files, plain or gzip → [`read::Traffic`] in order of time |
//! | [`unreadable`] | files that hold a log in another form, and what reads that |
//! | [`mod@simulate`] | traffic and limits → [`simulate::Outcome`] |
//! | [`table`], [`csv_file`], [`chart`] | outcomes as text, CSV and SVG |

mod chart;
mod csv_file;
mod fields;
mod log_line;
mod options;
mod outputs;
mod read;
mod simulate;
mod table;
mod unreadable;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use options::{ReplayCommand, ReplayOptions};
use simulate::{Candidate, Outcome};
use std::fmt::Display;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The reasons why there is nothing to show.
#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error(transparent)]
    Options(#[from] options::OptionsError),
    #[error("cannot read {0}: {1}")]
    Read(String, std::io::Error),
    #[error("{0}")]
    Nothing(String),
    #[error("cannot write {0}: {1}")]
    Write(String, String),
    #[error("{0}")]
    Outputs(#[from] outputs::SameFile),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&failure);
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), ReplayError> {
    let options = match ReplayOptions::parse(std::env::args_os().skip(1))? {
        ReplayCommand::Help => {
            return print(options::HELP);
        }
        ReplayCommand::Replay(options) => options,
    };
    outputs::check(&options)?;
    let start = Instant::now();
    let traffic = read::read(&options.logs, options.by, options.fields.as_ref())?;
    for note in traffic.notes() {
        tell(&note);
    }
    if traffic.requests.is_empty() {
        return Err(ReplayError::Nothing(nothing(&traffic.malformed, options.fields.is_some())));
    }
    let outcomes = simulate_all(&traffic, &options.candidates);
    let took = start.elapsed();
    print(&table::table(&traffic, &options, &outcomes))?;
    let lines = traffic.requests.len() as u64 + traffic.malformed.count;
    save(options.csv.as_deref(), |path| csv_file::by_key(path, &traffic, &outcomes))?;
    save(options.timeline.as_deref(), |path| csv_file::over_time(path, &traffic, &outcomes))?;
    save(options.picture.as_deref(), |path| chart::write(path, &traffic, &outcomes))?;
    let read = table::counted(lines, ("line", "lines"));
    tell(&format!("{read} in {:.1} s, {} a second", took.as_secs_f64(), per_second(lines, took)));
    Ok(())
}

/// Says why no line was taken, and what to do about it.
fn nothing(malformed: &read::Malformed, mapped: bool) -> String {
    if malformed.count == 0 {
        return "there is no line to read: the log is empty".to_owned();
    }
    let mut text = String::from(if mapped {
        "no line has a time and a key in the fields that you named"
    } else {
        "no line is a request in the common or combined log format"
    });
    if let Some(first) = malformed.samples.first() {
        text.push_str(&format!("; the first: {first}"));
    }
    if let Some(reason) = &malformed.reason {
        text.push_str(&format!("\nreplay: {reason}"));
    }
    if !malformed.names.is_empty() {
        text.push_str(&format!("\nreplay: the fields of that line are {}", malformed.names.join(", ")));
    }
    text
}

fn per_second(lines: u64, took: Duration) -> u128 {
    (u128::from(lines) * 1_000_000).checked_div(took.as_micros()).unwrap_or_default()
}

/// Writes a file, if one was asked for.
fn save<E: ToString>(
    path: Option<&Path>,
    write: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), ReplayError> {
    let Some(path) = path else { return Ok(()) };
    write(path).map_err(|e| ReplayError::Write(path.display().to_string(), e.to_string()))
}

/// Writes to standard output. A reader that stops early (`| head`) is no failure.
fn print(text: &str) -> Result<(), ReplayError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(ReplayError::Write("to standard output".to_owned(), e.to_string()))
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error. Where nobody reads that, there is nobody to tell.
fn tell(what: &impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "replay: {what}");
}

/// Judges the same traffic by every set of limits, each on a thread of its own.
fn simulate_all<'o>(traffic: &read::Traffic, candidates: &'o [Candidate]) -> Vec<Outcome<'o>> {
    let bars = MultiProgress::new();
    std::thread::scope(|scope| {
        let running: Vec<_> = candidates
            .iter()
            .map(|candidate| {
                let bar = bars.add(progress(traffic.requests.len() as u64, candidate.text()));
                scope.spawn(move || simulate::simulate(traffic, candidate, &bar))
            })
            .collect();
        // A thread that panicked has printed its message already.
        running.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}

/// A progress bar on the terminal. It shows nothing if standard error is not a terminal.
fn progress(length: u64, name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:24} [{wide_bar}] {percent:>3}% {per_sec}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style).with_message(name.to_owned())
}
