//! The options of the command line.

use crate::fields::{FieldNames, FieldsError};
use crate::log_line::GroupBy;
use crate::simulate::Candidate;
use floodgate::core::limits::Limits;
use lexopt::{Arg, Parser, ValueExt as _};
use std::ffi::OsString;
use std::path::PathBuf;

/// The text of `--help`.
pub const HELP: &str = "\
What would these limits have done to this traffic?

  replay [options] --limits LIMITS LOG...

LOG is an access log in the common or combined format (Apache, nginx), plain or
gzip, with or without the virtual host in front. Several logs may be given in any
order. - is standard input. For other formats, name the fields with --fields.

  --limits LIMITS    limits as in RL.ACQUIRE, such as 30/m,1000/h; put ';'
                     between several sets to compare them
  --by WHAT          whom they limit: address (default), user, path, or all
                     (every request together)
  --fields FIELDS    the fields of the time and of whom to limit (the key). JSON
                     lines have names, as in time=ts,key=request.client_ip; a
                     number leads into a list, as in key=headers.X-User.0. In
                     other lines a field is the number of a word, counted from 1,
                     as in time=2,key=4, or time=1+2 for a time of two words
  --top N            show the N that are denied most (10)
  --csv FILE         write every key's figures
  --timeline FILE    write granted and denied over time, as CSV
  --picture FILE     draw granted and denied over time, as SVG
";

/// The reasons why a command line is refused.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The options are malformed.
    #[error("{0} (--help shows the options)")]
    Syntax(#[from] lexopt::Error),
    /// The fields are malformed.
    #[error("invalid fields: {0}")]
    Fields(#[from] FieldsError),
    /// The limits are malformed, or cannot be replayed.
    #[error("{0}")]
    Limits(String),
    /// An option does not take this value.
    #[error("--{0} {1}: {2}")]
    Value(&'static str, String, &'static str),
    /// An option is missing, or contradicts another.
    #[error("{0}")]
    Missing(&'static str),
}

/// The task that the command line asks for.
pub enum ReplayCommand {
    /// Show the help.
    Help,
    /// Replay logs.
    Replay(ReplayOptions),
}

/// Everything that a replay needs to know.
pub struct ReplayOptions {
    /// The files to read, at least one; `-` is standard input.
    pub logs: Vec<PathBuf>,
    /// The sets of limits to compare, at least one.
    pub candidates: Vec<Candidate>,
    /// Whom the limits apply to.
    pub by: GroupBy,
    /// Where the time and the key stand in a line. Without fields the files are access logs.
    pub fields: Option<FieldNames>,
    /// The number of keys to show.
    pub top: usize,
    /// The file for the figures of each key.
    pub csv: Option<PathBuf>,
    /// The file for the figures over time.
    pub timeline: Option<PathBuf>,
    /// The file for the picture.
    pub picture: Option<PathBuf>,
}

impl ReplayOptions {
    /// Reads the arguments that follow the program's name.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<ReplayCommand, OptionsError> {
        let mut options = Self {
            logs: Vec::new(),
            candidates: Vec::new(),
            by: GroupBy::Address,
            fields: None,
            top: 10,
            csv: None,
            timeline: None,
            picture: None,
        };
        let mut by = None;
        let mut parser = Parser::from_args(args);
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Long("help") | Arg::Short('h') => return Ok(ReplayCommand::Help),
                Arg::Long("limits") => candidates(&mut options.candidates, &parser.value()?.string()?)?,
                Arg::Long("by") => by = Some(value("by", &mut parser, GroupBy::parse)?),
                Arg::Long("fields") => options.fields = Some(FieldNames::parse(&parser.value()?.string()?)?),
                Arg::Long("top") => {
                    let number = |text: &str| text.parse().map_err(|_| "expected a whole number from 0 on");
                    options.top = value("top", &mut parser, number)?;
                }
                Arg::Long("csv") => options.csv = Some(parser.value()?.into()),
                Arg::Long("timeline") => options.timeline = Some(parser.value()?.into()),
                Arg::Long("picture") => options.picture = Some(parser.value()?.into()),
                Arg::Value(path) => options.logs.push(path.into()),
                other => return Err(other.unexpected().into()),
            }
        }
        options.by = match (by, &options.fields) {
            (Some(GroupBy::All), _) => GroupBy::All,
            (Some(_), Some(_)) => {
                return Err(OptionsError::Missing(
                    "FIELDS names whom to limit by key=: leave BY out, or use BY=all",
                ));
            }
            (None, Some(_)) => GroupBy::Field,
            (by, None) => by.unwrap_or(GroupBy::Address),
        };
        if options.logs.is_empty() {
            return Err(OptionsError::Missing("no log was given: name a file, for example LOG=access.log"));
        }
        if options.candidates.is_empty() {
            return Err(OptionsError::Missing("no limits were given, for example LIMITS='30/m,1000/h'"));
        }
        Ok(ReplayCommand::Replay(options))
    }
}

/// Reads the value of an option.
fn value<T>(
    option: &'static str,
    parser: &mut Parser,
    read: fn(&str) -> Result<T, &'static str>,
) -> Result<T, OptionsError> {
    let text = parser.value()?.string()?;
    read(&text).map_err(|why| OptionsError::Value(option, text, why))
}

fn candidates(into: &mut Vec<Candidate>, text: &str) -> Result<(), OptionsError> {
    for set in text.split(';').map(str::trim).filter(|set| !set.is_empty()) {
        let limits = Limits::parse(set.as_bytes()).map_err(|e| OptionsError::Limits(e.to_string()))?;
        if limits.has_concurrent() {
            let reason = "a log does not say how long a request lasted";
            return Err(OptionsError::Limits(format!("cannot replay '{set}': {reason}")));
        }
        into.push(Candidate::new(set, limits));
    }
    Ok(())
}
