//! Writes outcomes as CSV, by key and over time.

use crate::read::Traffic;
use crate::simulate::{Outcome, column_seconds};
use crate::table::time;
use std::borrow::Cow;
use std::path::Path;

/// Writes a row for each set of limits and each key that asked. Times are in UTC. They are empty
/// for keys that were never denied.
pub fn by_key(path: &Path, traffic: &Traffic, outcomes: &[Outcome<'_>]) -> Result<(), csv::Error> {
    let mut sheet = csv::Writer::from_path(path)?;
    sheet.write_record(["limits", "key", "requests", "granted", "denied", "first_denied", "last_denied"])?;
    for outcome in outcomes {
        for (at, key) in outcome.by_key.iter().enumerate() {
            let (first, last) = key.denied.map(|(first, last)| (time(first), time(last))).unwrap_or_default();
            sheet.write_record([
                outcome.candidate.text(),
                &harmless(&traffic.name(at)),
                &key.count.requests().to_string(),
                &key.count.granted.to_string(),
                &key.count.denied.to_string(),
                &first,
                &last,
            ])?;
        }
    }
    sheet.flush()?;
    Ok(())
}

/// The text with an apostrophe before it if a spreadsheet would take it for a formula. Callers choose
/// such texts, as paths and names.
fn harmless(text: &str) -> Cow<'_, str> {
    // `-` stands for requests without a user.
    if text != "-" && text.starts_with(['=', '+', '-', '@']) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Writes a row for each set of limits and each column of the picture: when the column starts, in
/// UTC, and how many seconds it lasts.
pub fn over_time(path: &Path, traffic: &Traffic, outcomes: &[Outcome<'_>]) -> Result<(), csv::Error> {
    let (first, _) = traffic.span();
    let every = column_seconds(traffic);
    let mut sheet = csv::Writer::from_path(path)?;
    sheet.write_record(["limits", "from", "seconds", "requests", "granted", "denied"])?;
    for outcome in outcomes {
        for (since, count) in (first..).step_by(every as usize).zip(&outcome.columns) {
            sheet.write_record([
                outcome.candidate.text(),
                &time(since),
                &every.to_string(),
                &count.requests().to_string(),
                &count.granted.to_string(),
                &count.denied.to_string(),
            ])?;
        }
    }
    sheet.flush()?;
    Ok(())
}
