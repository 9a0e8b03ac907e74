//! What was asked on the command line.

use crate::fields::{Fields, WrongFields};
use crate::judge::Contender;
use crate::line::By;
use floodgate::core::limits::Limits;
use lexopt::{Arg, Parser, ValueExt as _};
use std::ffi::OsString;
use std::path::PathBuf;

/// What `--help` says.
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
                     lines have names, as in time=ts,key=request.client_ip. In
                     other lines a field is the number of a word, counted from 1,
                     as in time=2,key=4
  --top N            show the N that are denied most (10)
  --csv FILE         write every key's figures
  --timeline FILE    write granted and denied over time, as CSV
  --picture FILE     draw granted and denied over time, as SVG
";

/// A command line that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// The syntax of the options.
    #[error("{0} (--help shows the options)")]
    Syntax(#[from] lexopt::Error),
    /// Fields that cannot be followed.
    #[error("invalid fields: {0}")]
    Fields(#[from] WrongFields),
    /// Limits that cannot be parsed, or not replayed.
    #[error("{0}")]
    Limits(String),
    /// What is missing.
    #[error("{0}")]
    Missing(&'static str),
}

/// What is to be done.
pub enum Asked {
    /// Show how it is used.
    Help,
    /// Replay.
    Replay(Options),
}

/// Everything that a replay needs to know.
pub struct Options {
    /// Files; `-` is standard input. At least one.
    pub logs: Vec<PathBuf>,
    /// At least one.
    pub contenders: Vec<Contender>,
    /// Whom the limits limit.
    pub by: By,
    /// Where time and key stand; an access log where nothing says so.
    pub fields: Option<Fields>,
    /// How many rows to show.
    pub top: usize,
    /// Where the figures of each key go.
    pub csv: Option<PathBuf>,
    /// Where those over time go.
    pub timeline: Option<PathBuf>,
    /// Where the picture goes.
    pub picture: Option<PathBuf>,
}

impl Options {
    /// Reads the command line, without the program's name.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Asked, Wrong> {
        let mut options = Self {
            logs: Vec::new(),
            contenders: Vec::new(),
            by: By::Address,
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
                Arg::Long("help") | Arg::Short('h') => return Ok(Asked::Help),
                Arg::Long("limits") => contenders(&mut options.contenders, &parser.value()?.string()?)?,
                Arg::Long("by") => by = Some(parser.value()?.parse_with(By::parse)?),
                Arg::Long("fields") => options.fields = Some(Fields::parse(&parser.value()?.string()?)?),
                Arg::Long("top") => options.top = parser.value()?.parse()?,
                Arg::Long("csv") => options.csv = Some(parser.value()?.into()),
                Arg::Long("timeline") => options.timeline = Some(parser.value()?.into()),
                Arg::Long("picture") => options.picture = Some(parser.value()?.into()),
                Arg::Value(path) => options.logs.push(path.into()),
                other => return Err(other.unexpected().into()),
            }
        }
        options.by = match (by, &options.fields) {
            (Some(By::All), _) => By::All,
            (Some(_), Some(_)) => {
                return Err(Wrong::Missing(
                    "FIELDS names whom to limit by key=: leave BY out, or use BY=all",
                ));
            }
            (None, Some(_)) => By::Field,
            (by, None) => by.unwrap_or(By::Address),
        };
        if options.logs.is_empty() {
            return Err(Wrong::Missing("no log was given: name a file, for example LOG=access.log"));
        }
        if options.contenders.is_empty() {
            return Err(Wrong::Missing("no limits were given, for example LIMITS='30/m,1000/h'"));
        }
        Ok(Asked::Replay(options))
    }
}

fn contenders(into: &mut Vec<Contender>, text: &str) -> Result<(), Wrong> {
    for set in text.split(';').map(str::trim).filter(|set| !set.is_empty()) {
        let limits = Limits::parse(set.as_bytes()).map_err(|e| Wrong::Limits(e.to_string()))?;
        if limits.has_concurrent() {
            let reason = "a log does not say how long a request lasted";
            return Err(Wrong::Limits(format!("cannot replay '{set}': {reason}")));
        }
        into.push(Contender::new(set, limits));
    }
    Ok(())
}
