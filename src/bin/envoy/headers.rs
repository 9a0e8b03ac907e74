//! The headers of a response: those of draft-ietf-httpapi-ratelimit-headers-10, the older
//! X-RateLimit-*, and Retry-After.

use crate::config::rule::Facts;
use crate::config::{DenialEffect, DescriptorLimits};
use crate::decision::{Figures, Hits, LimitCheck, RequestDecision};
use envoy_types::pb::envoy::config::core::v3::HeaderValue;

/// Which headers are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// `RateLimit-Policy` and `RateLimit`.
    pub draft: bool,
    /// `X-RateLimit-Limit`, `-Remaining`, `-Reset`.
    pub x: bool,
    /// `Retry-After`, if the request is denied.
    pub retry_after: bool,
}

impl Wanted {
    /// All headers.
    pub const ALL: Self = Self { draft: true, x: true, retry_after: true };

    /// Reads `off`, or a list of `ratelimit`, `x-ratelimit` and `retry-after`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut wanted = Self { draft: false, x: false, retry_after: false };
        if text == "off" {
            return Some(wanted);
        }
        for name in text.split(',') {
            match name {
                "ratelimit" => wanted.draft = true,
                "x-ratelimit" => wanted.x = true,
                "retry-after" => wanted.retry_after = true,
                _ => return None,
            }
        }
        Some(wanted)
    }
}

/// A limit that the headers show, and its figures.
struct Row<'a> {
    rule: &'a DescriptorLimits,
    figures: &'a Figures,
}

/// The headers of a decision. They show all limits that were asked and can deny.
pub fn headers(wanted: Wanted, checks: &[LimitCheck], decision: &RequestDecision) -> Vec<HeaderValue> {
    let rows: Vec<Row<'_>> = checks
        .iter()
        .zip(&decision.figures)
        .filter(|(check, figures)| {
            check.rule.mode != DenialEffect::Shadow
                && !matches!(check.hits, Hits::GiveBack(_))
                && figures.capacity.is_some()
        })
        .map(|(check, figures)| Row { rule: &check.rule, figures })
        .collect();
    let mut headers = Vec::new();
    let mut add = |name: &str, value: String| {
        headers.push(HeaderValue { key: name.to_owned(), value, raw_value: Vec::new() });
    };
    if wanted.draft {
        let (policies, limits) = draft(&rows);
        if !policies.is_empty() {
            add("RateLimit-Policy", policies.join(", "));
        }
        if !limits.is_empty() {
            add("RateLimit", limits.join(", "));
        }
    }
    let binding =
        rows.iter().reduce(|best, row| if row.figures.binds_before(best.figures) { row } else { best });
    if let Some(Row { figures, .. }) = binding {
        if wanted.x {
            add("X-RateLimit-Limit", figures.capacity.unwrap_or(0).to_string());
            add("X-RateLimit-Remaining", figures.remaining.unwrap_or(0).to_string());
            if let Ok(ms) = u64::try_from(figures.reset_ms) {
                add("X-RateLimit-Reset", ms.div_ceil(1000).to_string());
            }
        }
        if wanted.retry_after
            && decision.denied
            && let Ok(ms @ 1..) = u64::try_from(figures.retry_ms)
        {
            add("Retry-After", ms.div_ceil(1000).to_string());
        }
    }
    headers
}

/// The items of `RateLimit-Policy`, one for each limit, and of `RateLimit`, one for the binding
/// limit of each rule. Rules in whose place a pin holds are left out. A repeated name gets `-2`, `-3`
/// and so on.
fn draft(rows: &[Row<'_>]) -> (Vec<String>, Vec<String>) {
    let (mut policies, mut limits) = (Vec::new(), Vec::new());
    let mut names: Vec<String> = Vec::new();
    for Row { rule, figures } in rows {
        // What holds in place of the rule, such as a pin, is not known here.
        if figures.overruled || rule.facts_of(figures.index, figures.capacity).is_none() {
            continue;
        }
        let mut binding = None;
        for (at, facts) in rule.facts.iter().enumerate() {
            let base = quoted(name(rule, facts));
            let mut own = base.clone();
            for n in 2.. {
                if !names.contains(&own) {
                    break;
                }
                own = format!("{base}-{n}");
            }
            names.push(own.clone());
            if let (Some(capacity), true) = (facts.capacity, facts.denies) {
                let window = facts.window.map_or(String::new(), |window| format!(";w={window}"));
                policies.push(format!("\"{own}\";q={capacity}{window}"));
            }
            if figures.index == Some(at) || binding.is_none() {
                binding = Some(own);
            }
        }
        let left = figures.remaining.unwrap_or(0);
        // `t` is the time until the request is granted if this limit denies it, else the time until
        // the limit is full again.
        let time = if figures.over { figures.retry_ms } else { figures.reset_ms };
        let after = u64::try_from(time).map_or(String::new(), |ms| format!(";t={}", ms.div_ceil(1000)));
        limits.push(format!("\"{}\";r={left}{after}", binding.unwrap_or_default()));
    }
    (policies, limits)
}

/// The name of a limit: the one in the configuration if the rule has a single limit, else the text
/// of the limit.
fn name<'a>(rule: &'a DescriptorLimits, facts: &'a Facts) -> &'a str {
    if rule.facts.len() == 1 && !rule.name.is_empty() { &rule.name } else { &facts.label }
}

/// Replaces the characters that may not stand between quotes.
fn quoted(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_graphic() && c != '"' && c != '\\' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{TimeUnit, UnitAlgorithm};
    use std::sync::Arc;

    fn figures(capacity: u64, remaining: u64, retry_ms: i64, reset_ms: i64) -> Figures {
        Figures {
            over: retry_ms != 0,
            capacity: Some(capacity),
            remaining: Some(remaining),
            retry_ms,
            reset_ms,
            index: Some(0),
            overruled: false,
        }
    }

    fn told(rules: Vec<(DescriptorLimits, Figures)>, denied: bool) -> Vec<String> {
        let (mut checks, mut all) = (Vec::new(), Vec::new());
        for (rule, figures) in rules {
            checks.push(LimitCheck { key: String::new(), rule: Arc::new(rule), hits: Hits::Take(1) });
            all.push(figures);
        }
        let decision = RequestDecision { figures: all, denied };
        headers(Wanted::ALL, &checks, &decision)
            .into_iter()
            .map(|h| format!("{}: {}", h.key, h.value))
            .collect()
    }

    fn per_second(requests: u32) -> DescriptorLimits {
        DescriptorLimits::new(UnitAlgorithm::Fixed, requests, TimeUnit::Second)
    }

    #[test]
    fn the_closest_limit_is_told() {
        let hourly = DescriptorLimits {
            name: "say \"hi\"".into(),
            ..DescriptorLimits::new(UnitAlgorithm::Sliding, 9, TimeUnit::Hour)
        };
        assert_eq!(
            told(vec![(per_second(5), figures(5, 4, 0, 300)), (hourly, figures(9, 2, 0, 3_600_000))], false),
            [
                "RateLimit-Policy: \"fixed:5/s\";q=5;w=1, \"say__hi_\";q=9;w=3600",
                "RateLimit: \"fixed:5/s\";r=4;t=1, \"say__hi_\";r=2;t=3600",
                "X-RateLimit-Limit: 9",
                "X-RateLimit-Remaining: 2",
                "X-RateLimit-Reset: 3600",
            ]
        );
    }

    #[test]
    fn a_denial_says_when_to_come_back() {
        let rules = vec![(per_second(5), figures(5, 0, 1200, 1300)), (per_second(5), figures(5, 5, 0, 0))];
        assert_eq!(
            told(rules, true),
            [
                "RateLimit-Policy: \"fixed:5/s\";q=5;w=1, \"fixed:5/s-2\";q=5;w=1",
                "RateLimit: \"fixed:5/s\";r=0;t=2, \"fixed:5/s-2\";r=5;t=0",
                "X-RateLimit-Limit: 5",
                "X-RateLimit-Remaining: 0",
                "X-RateLimit-Reset: 2",
                "Retry-After: 2",
            ]
        );
        let never = told(vec![(per_second(0), figures(0, 0, -1, 0))], true);
        assert!(!never.iter().any(|header| header.starts_with("Retry-After")), "{never:?}");
        assert_eq!(never[1], "RateLimit: \"fixed:0/s\";r=0");
    }

    #[test]
    fn shadows_and_refunds_are_not_told() {
        let shadow = DescriptorLimits { mode: DenialEffect::Shadow, ..per_second(5) };
        assert_eq!(told(vec![(shadow, figures(5, 0, 9, 9))], false), Vec::<String>::new());
        assert_eq!(told(vec![], false), Vec::<String>::new());
    }

    #[test]
    fn which_are_wanted() {
        assert_eq!(Wanted::parse("ratelimit,x-ratelimit,retry-after"), Some(Wanted::ALL));
        assert_eq!(Wanted::parse("off"), Some(Wanted { draft: false, x: false, retry_after: false }));
        assert_eq!(Wanted::parse("x-ratelimit"), Some(Wanted { draft: false, x: true, retry_after: false }));
        assert_eq!(Wanted::parse("all"), None);
        assert_eq!(Wanted::parse(""), None);
    }
}
