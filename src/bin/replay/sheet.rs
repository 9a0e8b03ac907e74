//! Outcomes as CSV: a row for each set of limits and each key that asked.

use crate::judge::Outcome;
use crate::read::Traffic;
use crate::table::time;
use std::path::Path;

/// Writes the file. Times are UTC and empty for keys that were never denied.
pub fn write(path: &Path, traffic: &Traffic, outcomes: &[Outcome<'_>]) -> Result<(), csv::Error> {
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
