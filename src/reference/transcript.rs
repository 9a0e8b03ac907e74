//! The examples of a page: blocks of Markdown that start with `` ```redis ``.
//!
//! Each block starts on an empty server, but `` ```redis continued `` continues where the block
//! before it ended. Steps that readers need not see stand between `<!-- redis` and `-->`.
//!
//! ```text
//! > RL.ACQUIRE user:42 1/s        a command; words with blanks in quotes
//! 1) (integer) 1                  its reply, as redis-cli shows it
//! (500ms later)                   time passes
//! ...                             the last line of a reply: the rest is left out
//! ```

use crate::core::text::duration;

/// The line that stands for the rest of a reply.
pub const REST: &str = "...";

/// Ends a block that readers do not see. The commands in such a block have no replies.
pub const HIDDEN: &str = "-->";

/// The start of a block of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The block starts on an empty server.
    Anew,
    /// The block starts where the block before it ended.
    Continued,
}

impl Start {
    /// How the block starts that a line opens, and the line that ends it. `None` if the line opens
    /// no block.
    pub fn of(line: &str) -> Option<(Self, &'static str)> {
        match line {
            "```redis" => Some((Self::Anew, "```")),
            "```redis continued" => Some((Self::Continued, "```")),
            "<!-- redis" => Some((Self::Anew, HIDDEN)),
            _ => None,
        }
    }
}

/// A block and the blocks that continue it: steps on a server that starts empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The steps in the order written.
    pub steps: Vec<TranscriptStep>,
}

/// One step of an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TranscriptStep {
    /// A command and the lines of its reply.
    Call {
        /// The line without its `> `.
        line: String,
        /// The lines of the reply.
        reply: Vec<String>,
    },
    /// The clock goes on by this many microseconds.
    Pause(u64),
}

impl TranscriptStep {
    /// The words of a command. `None` for a pause.
    pub fn command(&self) -> Option<Vec<String>> {
        match self {
            Self::Call { line, .. } => Some(words(line)),
            Self::Pause(_) => None,
        }
    }
}

/// The examples of a page. Lines before the first command of a block are ignored.
pub fn examples(page: &str) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    let mut closing = None;
    for line in page.lines() {
        match (closing, Start::of(line)) {
            (None, Some((start, end))) => {
                closing = Some(end);
                if start == Start::Anew || found.is_empty() {
                    found.push(Example { steps: Vec::new() });
                }
            }
            (Some(end), _) if line == end => closing = None,
            (Some(_), _) => {
                if let Some(example) = found.last_mut() {
                    read(&mut example.steps, line);
                }
            }
            (None, None) => {}
        }
    }
    found
}

fn read(steps: &mut Vec<TranscriptStep>, line: &str) {
    if let Some(command) = line.strip_prefix("> ") {
        steps.push(TranscriptStep::Call { line: command.to_owned(), reply: Vec::new() });
    } else if let Some(us) = pause(line) {
        steps.push(TranscriptStep::Pause(us));
    } else if let Some(TranscriptStep::Call { reply, .. }) = steps.last_mut() {
        reply.push(line.to_owned());
    }
}

/// The microseconds of a line such as `(500ms later)`. `None` for every other line.
pub fn pause(line: &str) -> Option<u64> {
    let text = line.strip_prefix('(')?.strip_suffix(" later)")?;
    duration::parse(text.as_bytes()).ok()
}

/// The words of a line. They are separated by blanks; a word with blanks stands in single or double
/// quotes.
pub fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let quoted = rest.strip_prefix(['"', '\'']).and_then(|text| text.split_once(first));
        let (word, after) = quoted.unwrap_or_else(|| rest.split_once(' ').unwrap_or((rest, "")));
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}
