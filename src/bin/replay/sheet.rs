//! Outcomes as CSV: by key, and over time.

use crate::judge::{Outcome, column_seconds};
use crate::read::Traffic;
use crate::table::time;
use std::path::Path;

/// A row for each set of limits and each key that asked. Times are UTC and
/// empty for keys that were never denied.
pub fn by_key(path: &Path, traffic: &Traffic, outcomes: &[Outcome<'_>]) -> Result<(), csv::Error> {
    let mut sheet = csv::Writer::from_path(path)?;
    sheet.write_record(["limits", "key", "requests", "granted", "denied", "first_denied", "last_denied"])?;
    for outcome in outcomes {
        for (key, fate) in outcome.fates.iter().enumerate() {
            let (first, last) =
                fate.denied.map(|(first, last)| (time(first), time(last))).unwrap_or_default();
            sheet.write_record([
                outcome.contender.text(),
                &traffic.name(key),
                &fate.count.requests().to_string(),
                &fate.count.granted.to_string(),
                &fate.count.denied.to_string(),
                &first,
                &last,
            ])?;
        }
    }
    sheet.flush()?;
    Ok(())
}

/// A row for each set of limits and each stretch of time, as the picture draws
/// them: when it began, in UTC, and how many seconds it lasts.
pub fn over_time(path: &Path, traffic: &Traffic, outcomes: &[Outcome<'_>]) -> Result<(), csv::Error> {
    let (first, _) = traffic.span();
    let every = column_seconds(traffic);
    let mut sheet = csv::Writer::from_path(path)?;
    sheet.write_record(["limits", "from", "seconds", "requests", "granted", "denied"])?;
    for outcome in outcomes {
        for (since, count) in (first..).step_by(every as usize).zip(&outcome.columns) {
            sheet.write_record([
                outcome.contender.text(),
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
