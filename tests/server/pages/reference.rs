//! The examples of the reference, README.md and OPERATIONS.md: each is run on a real server,
//! and its replies are those that are printed.

use std::{fs, path::PathBuf, time::Duration};

use floodgate::reference::pages::all;
use floodgate::reference::transcript::{HIDDEN, REST, Start, TranscriptStep, examples, pause, words};

use crate::harness::{Reply, Server};
use crate::support::root;

/// 2027-01-15 08:00 UTC.
const START: i64 = 1_800_000_000_000_000;

/// The lines that redis-cli shows.
fn shown(reply: &Reply) -> Vec<String> {
    match reply {
        Reply::Simple(text) => vec![text.clone()],
        Reply::Error(text) => vec![format!("(error) {text}")],
        Reply::Int(n) => vec![format!("(integer) {n}")],
        Reply::Bulk(bytes) => vec![format!("\"{}\"", bytes.escape_ascii())],
        Reply::NilBulk | Reply::NilArray => vec!["(nil)".into()],
        Reply::Array(items) if items.is_empty() => vec!["(empty array)".into()],
        Reply::Array(items) => {
            let width = items.len().to_string().len();
            let of_item = |(at, item): (usize, &Reply)| {
                let lines = shown(item).into_iter().enumerate();
                lines.map(move |(line, text)| match line {
                    0 => format!("{:>width$}) {text}", at + 1),
                    _ => format!("{:width$}  {text}", ""),
                })
            };
            items.iter().enumerate().flat_map(of_item).collect()
        }
        other => panic!("RESP2 has no {other:?}"),
    }
}

/// A text whose examples are run.
struct Document {
    path: PathBuf,
    text: String,
}

/// The pages of the reference, and those at the top that show replies.
fn documents() -> Vec<Document> {
    let root = root();
    let page = |(name, text): (&str, &str)| Document {
        path: root.join("src/reference/pages").join(format!("{}.md", name.to_lowercase())),
        text: text.to_owned(),
    };
    let top = ["README.md", "OPERATIONS.md"].map(|file| {
        let path = root.join(file);
        Document { text: fs::read_to_string(&path).unwrap(), path }
    });
    all().map(page).chain(top).collect()
}

/// A server of its own for each document, so that none depends on another. The
/// machine under test may stall by itself: no alert tells of that.
fn server() -> Server {
    let arguments = ["enable-debug-command", "yes", "alert-latency", "0"];
    Server::builder().args(["--hz", "100"]).module_args(arguments).start()
}

fn starts_anew(server: &Server) {
    server.ok("FLUSHALL");
    server.clock_set(START);
}

/// What the server answers. Alerts are looked for a hundred times a second,
/// after the commands before.
fn answer(server: &Server, line: &str, is_right: impl Fn(&[String]) -> bool) -> Vec<String> {
    let words = words(line);
    let tries = if words.first().is_some_and(|word| word == "RL.ALERTS") { 100 } else { 1 };
    let mut got = Vec::new();
    for _ in 0..tries {
        got = shown(&server.call(&words));
        if is_right(&got) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    got
}

#[test]
fn examples_answer_as_printed() {
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        return update();
    }
    let mut wrong = Vec::new();
    for Document { path, text } in documents() {
        let server = server();
        for example in examples(&text) {
            starts_anew(&server);
            for step in &example.steps {
                match step {
                    TranscriptStep::Pause(us) => server.clock_advance(i64::try_from(*us).unwrap()),
                    TranscriptStep::Call { line, reply } => {
                        let is_right = |got: &[String]| match reply.split_last() {
                            // Nothing printed: it only has to work.
                            None => !got[0].starts_with("(error)"),
                            Some((last, first)) if last == REST => got.starts_with(first),
                            _ => got == *reply,
                        };
                        let got = answer(&server, line, is_right);
                        if !is_right(&got) {
                            wrong.push(format!("{}: > {line}\n{}\n", path.display(), got.join("\n")));
                        }
                    }
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "run `make reference` if this is what should be answered:\n{}",
        wrong.join("\n")
    );
}

/// Writes what the server answers into the documents (`make reference`). What
/// readers do not see stays without replies.
fn update() {
    for Document { path, text } in documents() {
        let server = server();
        let (mut made, mut closing) = (String::new(), None);
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let mut replies = Vec::new();
            match (closing, Start::of(line)) {
                (None, Some((start, end))) => {
                    closing = Some(end);
                    if start == Start::Anew {
                        starts_anew(&server);
                    }
                }
                (Some(end), _) if line == end => closing = None,
                (Some(end), _) if line.starts_with("> ") => {
                    let told = |got: &[String]| got != ["(empty array)"];
                    replies = answer(&server, &line[2..], told);
                    let is_next =
                        |line: &&str| *line == end || line.starts_with("> ") || pause(line).is_some();
                    let before: Vec<_> = lines.clone().take_while(|line| !is_next(line)).collect();
                    if let Some(cut) = before.iter().position(|line| *line == REST) {
                        replies.truncate(cut);
                        replies.push(REST.to_owned());
                    } else if end == HIDDEN {
                        replies.clear();
                    }
                }
                (Some(_), _) if pause(line).is_some() => {
                    server.clock_advance(i64::try_from(pause(line).unwrap()).unwrap());
                }
                // The reply as it was.
                (Some(_), _) => continue,
                (None, None) => {}
            }
            made += &format!("{line}\n");
            replies.iter().for_each(|reply| made += &format!("{reply}\n"));
        }
        fs::write(path, made).unwrap();
    }
}
