//! A named limit whose period changes: the time that a denial tells is right, whatever else
//! happens to the key meanwhile.

use crate::harness::{Server, T0};
use crate::histories::{Transcript, run_histories};
use crate::limits::fixtures::{acquire, used};
use crate::models::limit::{Counting as Plain, LimitModel};
use crate::models::periods::{Counting, PeriodsModel, Version};
use proptest::prelude::*;
use proptest::sample::select;
use std::thread::sleep;
use std::time::{Duration, Instant};

const BESIDE: &str = "5/20s";
const fn version(counting: Counting, count: u64, ms: u64) -> Version {
    Version { counting, count, period: ms * 1000 }
}

const SLIDING: [Version; 3] = [
    version(Counting::Sliding, 5, 1_000),
    version(Counting::Sliding, 3, 60_000),
    version(Counting::Sliding, 9, 7_000),
];

const FIXED: [Version; 5] = [
    version(Counting::Fixed, 9, 1_000),
    version(Counting::Fixed, 4, 60_000),
    version(Counting::Fixed, 5, 7_000),
    version(Counting::FixedFromFirst, 5, 2_000),
    version(Counting::FixedFromFirst, 4, 60_000),
];

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    Pass {
        us: u64,
    },
    /// Until the moment that the last denial told, or one microsecond earlier.
    PassUntilTold {
        short_us: u64,
    },
    Acquire {
        version: usize,
        cost: u64,
        beside: bool,
    },
    Look {
        version: usize,
    },
    /// A grant or denial of another limit, which sweeps the usage of this one.
    AcquireBeside {
        cost: u64,
    },
    /// The key expires if it is full.
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    let version = 0usize..5;
    prop_oneof![
        3 => prop_oneof![1u64..1_000_000, 0u64..9_000_000, 0u64..70_000_000].prop_map(|us| Step::Pass { us }),
        2 => (0u64..2).prop_map(|short_us| Step::PassUntilTold { short_us }),
        6 => (version.clone(), 1u64..4, prop::bool::weighted(0.2))
            .prop_map(|(version, cost, beside)| Step::Acquire { version, cost, beside }),
        2 => version.prop_map(|version| Step::Look { version }),
        2 => (1u64..3).prop_map(|cost| Step::AcquireBeside { cost }),
        1 => Just(Step::Expire),
    ]
}

/// Every reply is what a list of the units says.
#[test]
fn a_history_of_changing_periods() {
    let server = Server::at_t0();
    let families = select(vec![&SLIDING[..], &FIXED[..]]);
    run_histories(file!(), 300, &(families, prop::collection::vec(step(), 4..40)), |(versions, steps)| {
        let said = Transcript::default();
        server.line("FLUSHALL");
        server.clock_set(T0);
        let (mut named, mut plain) =
            (PeriodsModel::default(), LimitModel::new(Plain::Sliding, 5, 20_000_000));
        let (mut now, mut told) = (T0.cast_unsigned(), T0.cast_unsigned());
        for step in steps {
            said.note(format!("{step:?} at {}", now - T0.cast_unsigned()));
            match *step {
                Step::Pass { us } => now += us,
                Step::PassUntilTold { short_us } => now = now.max(told - short_us),
                Step::Acquire { version, cost, beside } => {
                    let version = versions[version % versions.len()];
                    let by_beside = if beside { plain.stand(now, cost, false).retry } else { 0 };
                    let retry = named.retry(version, now, cost).max(by_beside);
                    let list = if beside { format!(",{BESIDE}") } else { String::new() };
                    let reply = acquire(&server, &format!("k {}{list} COST {cost}", version.text("x")));
                    let expected = if retry == 0 { cost.cast_signed() } else { 0 };
                    assert_eq!(reply.granted, expected, "{reply:?}");
                    assert_eq!(reply.retry_after_ms, retry.div_ceil(1000).cast_signed(), "{reply:?}");
                    told = now + retry;
                    if retry == 0 {
                        named.grant(version, now, cost);
                        if beside {
                            plain.take(now, cost);
                        }
                    }
                }
                Step::Look { version } => {
                    let version = versions[version % versions.len()];
                    let in_use = named.used(version, now).cast_signed();
                    assert_eq!(used(&server, "k", &version.text("x")), [in_use]);
                }
                Step::AcquireBeside { cost } => {
                    let fits = plain.fits(now, cost);
                    let reply = acquire(&server, &format!("k {BESIDE} COST {cost}"));
                    assert_eq!(reply.is_granted(), fits, "{reply:?}");
                    if fits {
                        plain.take(now, cost);
                        named.sweep(now);
                    }
                }
                Step::Expire => {
                    if named.is_full(now) && plain.fits(now, 5) {
                        server.line("DEL k");
                        named.sweep(now);
                    }
                }
            }
            server.clock_set(now.cast_signed());
        }
    });
}

/// By the real clock, the key expires when the units are back by the period of the last grant.
#[test]
fn a_longer_period_tells_when_the_key_expires() {
    let server = Server::start();
    server.line("RL.POLICY SET api 5/1s:name=api PREFIX u:");
    for (key, before, after) in [
        ("u:1", "", ""),
        ("s", "10/1s:name=x", "1/1h:name=x"),
        ("f", "fixed:10/1s:start=first:name=x", "fixed:1/1d:name=x"),
        ("b", "bucket:10/1s:name=x", "bucket:1/1h:name=x"),
    ] {
        server.line("RL.POLICY SET api 5/1s:name=api");
        let cost = if key == "u:1" { 5 } else { 10 };
        assert!(acquire(&server, &format!("{key} {before} COST {cost}")).is_granted(), "{key}");
        server.line("RL.POLICY SET api 3/1h:name=api");
        let denied = acquire(&server, &format!("{key} {after}"));
        let since = Instant::now();
        assert!(!denied.is_granted() && (1..=1000).contains(&denied.retry_after_ms), "{key}: {denied:?}");
        let told = Duration::from_millis(denied.retry_after_ms.cast_unsigned());
        sleep(told.saturating_sub(since.elapsed()) + Duration::from_millis(1));
        assert!(acquire(&server, &format!("{key} {after}")).is_granted(), "{key}");
    }
}

/// A grant of another limit, which sweeps what is back, changes nothing of what a look says.
#[test]
fn a_sweep_between_two_looks_changes_nothing() {
    let server = Server::at_t0();
    acquire(&server, "k fixed:10/1m:name=x");
    server.clock_advance(60_000_000);
    assert_eq!(used(&server, "k", "fixed:1/1h:name=x"), [0]);
    acquire(&server, "k 1/s");
    assert_eq!(used(&server, "k", "fixed:1/1h:name=x"), [0]);
}
