//! The examples of a page: blocks of Markdown that start with `` ```redis ``.
//!
//! Each starts on an empty server; `` ```redis continued `` goes on where the
//! block before ended. What readers need not see of it stands between
//! `<!-- redis` and `-->`.
//!
//! ```text
//! > RL.ACQUIRE user:42 1/s        a command; words with blanks in quotes
//! 1) (integer) 1                  its reply, as redis-cli shows it
//! (500ms later)                   time passes
//! ...                             the last line of a reply: the rest is left out
//! ```

use crate::core::text::duration;

/// Stands for the rest of a reply.
pub const REST: &str = "...";

/// Ends a block that readers do not see; its commands have no replies.
pub const HIDDEN: &str = "-->";

/// How a block of steps begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// On an empty server.
    Anew,
    /// Where the block before ended.
    Continued,
}

impl Start {
    /// What a line opens, and the line that ends it.
    pub fn of(line: &str) -> Option<(Self, &'static str)> {
        match line {
            "```redis" => Some((Self::Anew, "```")),
            "```redis continued" => Some((Self::Continued, "```")),
            "<!-- redis" => Some((Self::Anew, HIDDEN)),
            _ => None,
        }
    }
}

/// One block and those that go on with it: steps on a server that starts empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// In the order written.
    pub steps: Vec<TranscriptStep>,
}

/// One step of an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TranscriptStep {
    /// A command and the lines of its reply.
    Call {
        /// The line without its `> `.
        line: String,
        /// The reply, a line each.
        reply: Vec<String>,
    },
    /// So many microseconds pass.
    Pause(u64),
}

impl TranscriptStep {
    /// The words of a command; none of a pause.
    pub fn command(&self) -> Option<Vec<String>> {
        match self {
            Self::Call { line, .. } => Some(words(line)),
            Self::Pause(_) => None,
        }
    }
}

/// The examples of a page. Lines before the first command of a block count for
/// nothing.
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

/// The microseconds of a line such as `(500ms later)`.
pub fn pause(line: &str) -> Option<u64> {
    let text = line.strip_prefix('(')?.strip_suffix(" later)")?;
    duration::parse(text.as_bytes()).ok()
}

/// The words of a line: between blanks, or between quotes, single or double.
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

#[cfg(test)]
mod tests {
    use super::{TranscriptStep, examples, words};

    #[test]
    fn blocks_go_on() {
        let page = "<!-- redis\n> A\n-->\n```redis continued\n> B\nx\n```\n```redis\n> C\n```\n";
        let lines: Vec<Vec<_>> = examples(page)
            .iter()
            .map(|example| example.steps.iter().filter_map(TranscriptStep::command).flatten().collect())
            .collect();
        assert_eq!(lines, [vec!["A", "B"], vec!["C"]]);
    }

    #[test]
    fn a_page_is_read() {
        let page =
            "Text\n```redis\n> A b \"c d\"\n1) x\n2) y\n(2s later)\n> B\n```\nMore\n```\n> not run\n```\n";
        let steps = examples(page).into_iter().flat_map(|example| example.steps).collect::<Vec<_>>();
        assert_eq!(
            steps,
            [
                TranscriptStep::Call {
                    line: "A b \"c d\"".into(),
                    reply: vec!["1) x".into(), "2) y".into()]
                },
                TranscriptStep::Pause(2_000_000),
                TranscriptStep::Call { line: "B".into(), reply: vec![] },
            ]
        );
        assert_eq!(words("A  b \"c d\" '{\"e\": 1}' \"\""), ["A", "b", "c d", "{\"e\": 1}", ""]);
    }
}
