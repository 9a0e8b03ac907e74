//! How the examples of a page are read.

use floodgate::reference::transcript::{TranscriptStep, examples, words};

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
    let page = "Text\n```redis\n> A b \"c d\"\n1) x\n2) y\n(2s later)\n> B\n```\nMore\n```\n> not run\n```\n";
    let steps = examples(page).into_iter().flat_map(|example| example.steps).collect::<Vec<_>>();
    assert_eq!(
        steps,
        [
            TranscriptStep::Call { line: "A b \"c d\"".into(), reply: vec!["1) x".into(), "2) y".into()] },
            TranscriptStep::Pause(2_000_000),
            TranscriptStep::Call { line: "B".into(), reply: vec![] },
        ]
    );
    assert_eq!(words("A  b \"c d\" '{\"e\": 1}' \"\""), ["A", "b", "c d", "{\"e\": 1}", ""]);
}
