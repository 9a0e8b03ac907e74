//! The examples of the reference: each is run on a real server, and its
//! replies are those that are printed.

use std::{fs, io::Write as _, path::Path};

use floodgate::reference::{
    pages::{TO_COME, all},
    transcript::{CLOSING, OPENING, REST, Step, examples, pause, words},
};

use crate::harness::{Reply, Server};

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

fn starts_anew(server: &Server) {
    server.ok("FLUSHALL");
    server.clock_set(START);
}

#[test]
fn examples_answer_as_printed() {
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        return update();
    }
    let mut wrong = Vec::new();
    for (name, page) in all() {
        // One server a page, so that a page does not depend on the others.
        let server = Server::start();
        for example in examples(page) {
            starts_anew(&server);
            for step in &example.steps {
                match step {
                    Step::Pause(us) => server.clock_advance(i64::try_from(*us).unwrap()),
                    Step::Call { line, reply } => {
                        let got = shown(&server.call(&words(line)));
                        let same = match reply.split_last() {
                            Some((last, first)) if last == REST => got.starts_with(first),
                            _ => got == *reply,
                        };
                        if !same {
                            wrong.push(format!("{name}: > {line}\n{}\n", got.join("\n")));
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

/// Writes what the server answers into the pages (`make reference`).
fn update() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/reference/pages");
    for (name, page) in all() {
        let path = folder.join(format!("{}.md", name.to_lowercase()));
        let server = Server::start();
        let (mut made, mut open, mut rest) = (String::new(), false, false);
        let mut lines = page.lines().peekable();
        while let Some(line) = lines.next() {
            let mut replies = Vec::new();
            match line {
                OPENING => {
                    open = true;
                    starts_anew(&server);
                }
                CLOSING => open = false,
                _ if open && line.starts_with("> ") => {
                    replies = shown(&server.call(&words(&line[2..])));
                    rest = lines.peek() == Some(&REST);
                }
                _ if open && pause(line).is_some() => {
                    server.clock_advance(i64::try_from(pause(line).unwrap()).unwrap());
                }
                // The reply as it was.
                _ if open => continue,
                _ => {}
            }
            made += &format!("{line}\n");
            if rest {
                made += &format!("{REST}\n");
                rest = false;
            } else {
                replies.iter().for_each(|reply| made += &format!("{reply}\n"));
            }
        }
        fs::write(path, made).unwrap();
    }
}

#[test]
fn what_is_still_to_come_is_said() {
    let there = |name: &&&str| floodgate::COMMANDS.iter().any(|command| command.name == **name);
    let without: Vec<_> = TO_COME.iter().filter(there).collect();
    if !without.is_empty() {
        // Not through the macro: what tests print is kept back.
        let _ = writeln!(std::io::stderr(), "\nwarning: no page in the reference yet for {without:?}");
    }
}
