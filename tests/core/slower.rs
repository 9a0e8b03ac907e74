//! Reservations on a limit that becomes slower, faster or a credit: what is remembered of them, against
//! a plain list of grants.

use crate::checked_limiter::parse;
use crate::support::EffectKey;
use floodgate::server::main_thread::StandIn;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3600 * SECOND;
const DAY: u64 = 24 * HOUR;

/// The versions of one named limit, by algorithm.
const VERSIONS: [[&str; 4]; 3] = [
    ["9/s:name=x", "7/m:name=x", "9/h:name=x", "90/h:name=x"],
    ["bucket:9/s:name=x", "bucket:3/m:burst=9:name=x", "bucket:9/h:name=x", "bucket:1/7s:burst=5:name=x"],
    ["fixed:9/s:name=x", "fixed:9/10m:start=first:name=x", "fixed:9/h:name=x", "fixed:9/ever:name=x"],
];

#[derive(Clone, Debug)]
enum Step {
    Take { units: u64, version: usize },
    Reserve { units: u64, version: usize, ttl: u64 },
    Release(usize),
    Advance(u64),
    Reload,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let version = || 0..4usize;
    let time = || prop_oneof![4 => 1..3 * SECOND, 3 => 1..90 * SECOND, 2 => 1..2 * HOUR, 1 => 1..30 * HOUR];
    let step = prop_oneof![
        3 => (1..4u64, version()).prop_map(|(units, version)| Step::Take { units, version }),
        4 => (1..9u64, version(), time()).prop_map(|(units, version, ttl)| Step::Reserve { units, version, ttl }),
        1 => (0..9usize).prop_map(Step::Release),
        5 => time().prop_map(Step::Advance),
        1 => Just(Step::Reload),
    ];
    prop::collection::vec(step, 1..30)
}

/// Units that were granted, in order; with the reservation that has them, and its end.
struct Granted {
    units: u64,
    to: Option<(u8, u64)>,
}

fn history(versions: &[&str; 4], steps: &[Step]) {
    let stand_in = StandIn::enter();
    let mut key = EffectKey::new(stand_in.main());
    let mut now = 1_800_000_000_000_123;
    let mut all: Vec<Granted> = Vec::new();
    let mut ids = 0..=u8::MAX;
    let mut listed = versions[0];
    for step in steps {
        let used = |key: &EffectKey, text: &str, now| key.used(&parse(text), now)[0];
        let fits = |key: &EffectKey, text: &str, now, units| {
            used(key, text, now) + units <= parse(text).as_slice()[0].capacity().unwrap()
        };
        match *step {
            Step::Take { units, version } if fits(&key, versions[version], now, units) => {
                listed = versions[version];
                key.take(now, listed, units);
                all.push(Granted { units, to: None });
            }
            Step::Reserve { units, version, ttl } if fits(&key, versions[version], now, units) => {
                listed = versions[version];
                let id = ids.next().unwrap();
                key.reserve(now, listed, id, units, now + ttl);
                all.push(Granted { units, to: Some((id, now + ttl)) });
            }
            Step::Release(which) if which < all.len() => {
                let above: u64 = all[which + 1..].iter().map(|one| one.units).sum();
                let Some((id, _)) = all[which].to else { continue };
                if key.stage(id, now).is_none() {
                    continue;
                }
                let before = used(&key, listed, now);
                let back = before.saturating_sub(above).min(all[which].units);
                key.settle(now, id, 0);
                assert_eq!(used(&key, listed, now), before - back, "all that is in use of it comes back");
                all[which] = Granted { units: all[which].units - back, to: None };
            }
            Step::Advance(us) => now += us,
            Step::Reload => key.reload(),
            _ => continue,
        }
        key.expire(now);
        let in_use = used(&key, listed, now);
        let mut above = 0;
        for one in all.iter_mut().rev() {
            if let Some((id, end)) = one.to {
                let remembered = !listed.contains("ever") || now < end + DAY;
                let is_known = key.stage(id, now).is_some();
                if now < end || in_use > above && remembered {
                    assert!(is_known, "{id} at {now}, {listed}: {in_use} in use, {above} above");
                } else if !is_known {
                    one.to = None;
                }
            }
            above += one.units;
        }
    }
}

proptest! {
    #![proptest_config(crate::checked_limiter::cases())]

    /// A reservation is remembered while units of it are in use, whatever became of its limit.
    #[test]
    fn what_is_in_use_is_remembered(versions in 0..3usize, steps in steps()) {
        history(&VERSIONS[versions], &steps);
    }
}
