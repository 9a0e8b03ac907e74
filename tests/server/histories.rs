//! Random histories on real servers. proptest makes their steps, and shortens a history that fails.

use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};
use std::cell::RefCell;
use std::env;

/// The number of lines of a transcript that a failure shows.
const SHOWN: usize = 40;

/// Plays `cases` histories, or as many as `FLOODGATE_HISTORIES` says. `file` is the file of the
/// test, beside whose regressions a failing history is kept.
pub fn run_histories<S: Strategy>(file: &'static str, cases: u32, histories: &S, play: impl Fn(&S::Value))
where
    S::Value: Clone,
{
    let asked = env::var("FLOODGATE_HISTORIES").ok().and_then(|n| n.parse().ok());
    let config = ProptestConfig {
        cases: asked.unwrap_or(cases),
        max_shrink_iters: 200,
        // A history that fails may wait for seconds before it does.
        max_shrink_time: 60_000,
        source_file: Some(file),
        ..ProptestConfig::default()
    };
    let played = TestRunner::new(config).run(histories, |history| {
        play(&history);
        Ok(())
    });
    match played {
        Ok(()) => {}
        Err(TestError::Fail(why, history)) => panic!("{why}\nthe shortest history that fails: {history:#?}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

/// What a history did. Its end is printed if the history fails.
#[derive(Default)]
pub struct Transcript(RefCell<Vec<String>>);

impl Transcript {
    pub fn note(&self, line: String) {
        self.0.borrow_mut().push(line);
    }
}

impl Drop for Transcript {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.0.borrow();
            println!("{}", lines[lines.len().saturating_sub(SHOWN)..].join("\n"));
        }
    }
}
