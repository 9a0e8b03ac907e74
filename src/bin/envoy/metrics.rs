//! Counters in the text format of Prometheus. A counter that means the same in envoyproxy/ratelimit
//! has the same name.

use crate::config::DenialEffect;
use crate::decision::{Figures, Hits, LimitCheck, RequestDecision};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// The most limits with counters of their own. The limits beyond are counted as one. They can
/// become many if `detailed_metric` meets a value that differs with each request.
const MOST_LIMITS: usize = 10_000;
/// The name of the counters for all further limits.
const THE_REST: &str = "_other";
/// The part of a limit's capacity from which on a grant is near the limit: 80 %.
const NEAR: (u64, u64) = (8, 10);
/// The upper bounds of the histogram, in seconds.
const ENDS: [f64; 12] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0];

/// The reasons why there was no decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDecision {
    Redis,
    /// The request is malformed.
    Service,
}

/// The domain, the first entry, and the other entries joined by dots.
type Name = (String, String, String);

/// The counters of one limit, in hits.
#[derive(Debug, Default)]
struct LimitHits {
    total: AtomicU64,
    within: AtomicU64,
    near: AtomicU64,
    over: AtomicU64,
    shadow: AtomicU64,
}

/// One of the counters.
type CounterField = fn(&LimitHits) -> &AtomicU64;

/// All counters.
#[derive(Debug, Default)]
pub struct Metrics {
    limits: RwLock<HashMap<Name, Arc<LimitHits>>>,
    redis_errors: AtomicU64,
    service_errors: AtomicU64,
    loads: AtomicU64,
    refused_loads: AtomicU64,
    buckets: [AtomicU64; ENDS.len()],
    requests: AtomicU64,
    nanos: AtomicU64,
    /// The number of Envoys that decide by themselves.
    streams: AtomicU64,
    lent_allowed: AtomicU64,
    lent_denied: AtomicU64,
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Metrics {
    /// Counts a request that was answered, with or without a decision.
    pub fn answered(&self, took: Duration) {
        add(&self.requests, 1);
        add(&self.nanos, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        let seconds = took.as_secs_f64();
        if let Some((_, bucket)) = ENDS.iter().zip(&self.buckets).find(|(end, _)| seconds <= **end) {
            add(bucket, 1);
        }
    }

    /// Counts a request without a decision.
    pub fn failed(&self, why: NoDecision) {
        add(if why == NoDecision::Redis { &self.redis_errors } else { &self.service_errors }, 1);
    }

    /// Counts a configuration that was taken or refused.
    pub fn loaded(&self, taken: bool) {
        add(if taken { &self.loads } else { &self.refused_loads }, 1);
    }

    /// Counts an Envoy that decides by itself, when it comes and when it goes.
    pub fn stream(&self, came: bool) {
        if came {
            add(&self.streams, 1);
        } else {
            self.streams.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Counts the requests that such an Envoy reports as allowed and denied.
    pub fn reported(&self, allowed: u64, denied: u64) {
        add(&self.lent_allowed, allowed);
        add(&self.lent_denied, denied);
    }

    /// Counts the hits of one ask.
    pub fn hit(
        &self,
        domain: &str,
        path: &[String],
        check: &LimitCheck,
        figures: &Figures,
        decision: &RequestDecision,
    ) {
        let Hits::Take(hits) = check.hits else { return };
        let counts = self.counts(domain, path);
        add(&counts.total, hits);
        if figures.over {
            add(&counts.over, hits);
            if check.rule.mode == DenialEffect::Shadow {
                add(&counts.shadow, hits);
            }
        } else if !decision.denied || check.rule.mode == DenialEffect::Shadow {
            add(&counts.within, hits);
            add(&counts.near, near(figures, hits));
        }
    }

    fn counts(&self, domain: &str, path: &[String]) -> Arc<LimitHits> {
        let first = path.first().cloned().unwrap_or_default();
        let rest = path.get(1..).unwrap_or_default().join(".");
        let name = (domain.to_owned(), first, rest);
        if let Some(counts) = self.limits.read().unwrap_or_else(PoisonError::into_inner).get(&name) {
            return Arc::clone(counts);
        }
        let mut limits = self.limits.write().unwrap_or_else(PoisonError::into_inner);
        let name = if limits.len() < MOST_LIMITS || limits.contains_key(&name) {
            name
        } else {
            (THE_REST.to_owned(), String::new(), String::new())
        };
        Arc::clone(limits.entry(name).or_default())
    }

    /// The page that Prometheus reads.
    pub fn page(&self, redis_up: bool, commands: u64) -> String {
        let mut page = String::new();
        self.write_limits(&mut page);
        counter(&mut page, "ratelimit_service_should_rate_limit_error", "Requests without a decision.");
        for (why, n) in [("redis_error", &self.redis_errors), ("service_error", &self.service_errors)] {
            let n = read(n);
            let _ = writeln!(page, "ratelimit_service_should_rate_limit_error{{err_type=\"{why}\"}} {n}");
        }
        let single = [
            ("ratelimit_service_config_load_success", "Configurations taken.", read(&self.loads)),
            ("ratelimit_service_config_load_error", "Configurations refused.", read(&self.refused_loads)),
            ("floodgate_envoy_redis_commands_total", "Commands sent to Redis for requests.", commands),
            (
                "floodgate_envoy_lent_allowed_total",
                "Requests that Envoys allowed by themselves.",
                read(&self.lent_allowed),
            ),
            (
                "floodgate_envoy_lent_denied_total",
                "Requests that Envoys denied by themselves.",
                read(&self.lent_denied),
            ),
        ];
        for (name, help, n) in single {
            counter(&mut page, name, help);
            let _ = writeln!(page, "{name} {n}");
        }
        counter(&mut page, "ratelimit_service_total_requests", "Requests answered.");
        let requests = read(&self.requests);
        let _ =
            writeln!(page, "ratelimit_service_total_requests{{grpc_method=\"ShouldRateLimit\"}} {requests}");
        self.write_times(&mut page);
        let name = "floodgate_envoy_streams";
        let _ = writeln!(page, "# HELP {name} Envoys that decide by themselves.\n# TYPE {name} gauge");
        let _ = writeln!(page, "{name} {}", read(&self.streams));
        let name = "floodgate_envoy_redis_up";
        let _ = writeln!(page, "# HELP {name} 1 while Redis is connected and decides.\n# TYPE {name} gauge");
        let _ = writeln!(page, "{name} {}", u8::from(redis_up));
        page
    }

    fn write_limits(&self, page: &mut String) {
        let limits: BTreeMap<Name, Arc<LimitHits>> = self
            .limits
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|(name, counts)| (name.clone(), Arc::clone(counts)))
            .collect();
        let kinds: [(&str, &str, CounterField); 5] = [
            ("total_hits", "Hits that requests brought to a limit.", |c| &c.total),
            ("within_limit", "Hits that were granted.", |c| &c.within),
            ("near_limit", "Hits that were granted from 80 % of the limit on.", |c| &c.near),
            ("over_limit", "Hits over the limit.", |c| &c.over),
            ("shadow_mode", "Hits over the limit that shadow_mode let through.", |c| &c.shadow),
        ];
        for (kind, help, pick) in kinds {
            let metric = format!("ratelimit_service_rate_limit_{kind}");
            counter(page, &metric, help);
            for ((domain, first, rest), counts) in &limits {
                let _ = write!(page, "{metric}{{domain=\"{}\",key1=\"{}\"", escaped(domain), escaped(first));
                if !rest.is_empty() {
                    let _ = write!(page, ",key2=\"{}\"", escaped(rest));
                }
                let _ = writeln!(page, "}} {}", read(pick(counts)));
            }
        }
    }

    fn write_times(&self, page: &mut String) {
        let name = "ratelimit_service_response_time_seconds";
        let method = "grpc_method=\"ShouldRateLimit\"";
        let _ = writeln!(page, "# HELP {name} Time to answer a request.\n# TYPE {name} histogram");
        let mut sum = 0;
        for (end, bucket) in ENDS.iter().zip(&self.buckets) {
            sum += read(bucket);
            let _ = writeln!(page, "{name}_bucket{{{method},le=\"{end}\"}} {sum}");
        }
        let count = read(&self.requests).max(sum);
        let seconds = Duration::from_nanos(read(&self.nanos)).as_secs_f64();
        let _ = writeln!(page, "{name}_bucket{{{method},le=\"+Inf\"}} {count}");
        let _ = writeln!(page, "{name}_sum{{{method}}} {seconds}\n{name}_count{{{method}}} {count}");
    }
}

fn counter(page: &mut String, name: &str, help: &str) {
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} counter");
}

/// The number of granted hits that lie in the last fifth of the capacity.
fn near(figures: &Figures, hits: u64) -> u64 {
    let (Some(capacity), Some(remaining)) = (figures.capacity, figures.remaining) else { return 0 };
    let used = capacity.saturating_sub(remaining);
    // The product does not overflow, because a capacity is at most 10^12.
    let threshold = capacity.saturating_mul(NEAR.0) / NEAR.1;
    used.saturating_sub(threshold).min(hits)
}

/// Escapes the value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DescriptorLimits, TimeUnit, UnitAlgorithm};

    fn at(capacity: u64, remaining: u64) -> Figures {
        Figures { capacity: Some(capacity), remaining: Some(remaining), ..Figures::NONE }
    }

    #[test]
    fn near_is_the_last_fifth() {
        assert_eq!(near(&at(10, 2), 1), 0);
        assert_eq!(near(&at(10, 1), 1), 1);
        assert_eq!(near(&at(10, 0), 5), 2);
        assert_eq!(near(&at(1, 0), 1), 1);
        assert_eq!(near(&Figures::NONE, 5), 0);
    }

    #[test]
    fn the_number_of_limits_is_bounded() {
        let metrics = Metrics::default();
        let check = LimitCheck {
            key: String::new(),
            rule: Arc::new(DescriptorLimits::new(UnitAlgorithm::Fixed, 5, TimeUnit::Second)),
            hits: Hits::Take(1),
        };
        let decision = RequestDecision { figures: Vec::new(), denied: false };
        for i in 0..MOST_LIMITS + 5 {
            metrics.hit("d", &[format!("k_{i}")], &check, &at(5, 4), &decision);
        }
        metrics.hit("d", &["k_0".into()], &check, &at(5, 4), &decision);
        let page = metrics.page(true, 0);
        assert!(page.contains("ratelimit_service_rate_limit_total_hits{domain=\"_other\",key1=\"\"} 5\n"));
        assert!(page.contains("ratelimit_service_rate_limit_total_hits{domain=\"d\",key1=\"k_0\"} 2\n"));
    }

    #[test]
    fn times_add_up() {
        let metrics = Metrics::default();
        metrics.answered(Duration::from_millis(1));
        metrics.answered(Duration::from_secs(9));
        let page = metrics.page(false, 3);
        assert!(page.contains("_bucket{grpc_method=\"ShouldRateLimit\",le=\"0.001\"} 1\n"), "{page}");
        assert!(page.contains("le=\"2\"} 1\n") && page.contains("le=\"+Inf\"} 2\n"), "{page}");
        assert!(
            page.contains("floodgate_envoy_redis_up 0\n") && page.contains("commands_total 3\n"),
            "{page}"
        );
    }
}
