//! Writes outcomes as text for people.

use crate::options::ReplayOptions;
use crate::read::Traffic;
use crate::simulate::{Count, Outcome};
use floodgate::core::text::percent::Percent;
use jiff::Timestamp;
use std::fmt::Write as _;

/// Writes the whole text. Several sets of limits stand beside each other.
pub fn table(traffic: &Traffic, options: &ReplayOptions, outcomes: &[Outcome<'_>]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = head(&mut text, traffic, options);
    let _ = summary(&mut text, options, outcomes);
    let _ = most_denied(&mut text, traffic, options, outcomes);
    text
}

/// A time in UTC.
pub fn time(seconds: u32) -> String {
    Timestamp::from_second(seconds.into())
        .map(|at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
        .unwrap_or_default()
}

fn head(text: &mut String, traffic: &Traffic, options: &ReplayOptions) -> std::fmt::Result {
    let (first, last) = traffic.span();
    writeln!(
        text,
        "{} of {}, {} to {} UTC",
        counted(traffic.requests.len() as u64, ("request", "requests")),
        counted(traffic.keys.len() as u64, options.by.names()),
        time(first),
        time(last)
    )?;
    if traffic.out_of_order > 0 {
        writeln!(
            text,
            "{} out of order; all are replayed in order of time",
            counted(traffic.out_of_order, ("line was", "lines were"))
        )?;
    }
    let malformed = &traffic.malformed;
    if malformed.count > 0 {
        let more = if malformed.count > malformed.samples.len() as u64 { ". The first:" } else { ":" };
        let what = ("line that is not a request", "lines that are not requests");
        writeln!(text, "passed over {}{more}", counted(malformed.count, what))?;
        for sample in &malformed.samples {
            writeln!(text, "    {sample}")?;
        }
    }
    Ok(())
}

/// A number with its noun, in the singular or the plural.
pub fn counted(count: u64, (one, several): (&str, &str)) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

fn share(count: Count) -> String {
    // The share is 0% if there were no requests.
    let hundredths = Percent::of(count.denied, count.requests()).hundredths();
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

fn summary(text: &mut String, options: &ReplayOptions, outcomes: &[Outcome<'_>]) -> std::fmt::Result {
    let width = outcomes.iter().map(|outcome| outcome.candidate.text().len()).max().unwrap_or(0).max(6);
    writeln!(
        text,
        "\n    {:width$} {:>10} {:>10} {:>8} {:>8}  {:19}  last denial",
        "limits", "granted", "denied", "share", "limited", "first denial"
    )?;
    for (at, outcome) in outcomes.iter().enumerate() {
        let (first, last) = outcome
            .denied()
            .map_or_else(|| ("-".into(), "-".into()), |(first, last)| (time(first), time(last)));
        writeln!(
            text,
            "#{:<2} {:width$} {:>10} {:>10} {:>8} {:>8}  {first:19}  {last}",
            at + 1,
            outcome.candidate.text(),
            outcome.total.granted,
            outcome.total.denied,
            share(outcome.total),
            outcome.limited(),
        )?;
        let limits = outcome.candidate.limits().as_slice();
        if limits.len() > 1 {
            let by = limits.iter().zip(&outcome.denied_by).filter(|(limit, _)| !limit.shadow());
            let by: Vec<_> = by.map(|(limit, denied)| format!("{} {denied}", limit.label())).collect();
            writeln!(text, "    denied by: {}", by.join(", "))?;
        }
        if limits.iter().any(floodgate::core::limits::Limit::shadow) {
            let would = counted(outcome.shadow_denied, ("request", "requests"));
            writeln!(text, "    shadow limits would have denied {would}")?;
        }
    }
    writeln!(text, "limited: how many {} were denied at least once", options.by.names().1)
}

fn most_denied(
    text: &mut String,
    traffic: &Traffic,
    options: &ReplayOptions,
    outcomes: &[Outcome<'_>],
) -> std::fmt::Result {
    let denied = |key: usize| -> u64 {
        outcomes
            .iter()
            .filter_map(|outcome| outcome.by_key.get(key))
            .map(|outcome| outcome.count.denied)
            .sum()
    };
    let mut keys: Vec<usize> = (0..traffic.keys.len()).filter(|&key| denied(key) > 0).collect();
    // The most denied keys come first. Equal ones stay in the order in which they first asked.
    keys.sort_by_key(|&key| std::cmp::Reverse(denied(key)));
    if keys.is_empty() {
        return writeln!(text, "\nnobody would have been limited");
    }
    keys.truncate(options.top);
    if keys.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = keys.iter().map(|&key| traffic.name(key)).collect();
    let width = names.iter().map(String::len).max().unwrap_or(0).clamp(11, 60);
    write!(text, "\n{:width$} {:>9}", "most denied", "requests")?;
    for at in 1..=outcomes.len() {
        write!(text, " {:>9} {:>8}", format!("denied #{at}"), "share")?;
    }
    writeln!(text, "  {:19}  last denial", "first denial")?;
    for (name, &key) in names.iter().zip(&keys) {
        let by_key: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.by_key.get(key)).collect();
        let requests = by_key.first().map_or(0, |outcome| outcome.count.requests());
        write!(text, "{name:width$} {requests:>9}")?;
        for outcome in &by_key {
            write!(text, " {:>9} {:>8}", outcome.count.denied, share(outcome.count))?;
        }
        let times = by_key.iter().filter_map(|outcome| outcome.denied);
        if let Some((first, last)) = times.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) {
            write!(text, "  {}  {}", time(first), time(last))?;
        }
        writeln!(text)?;
    }
    Ok(())
}
