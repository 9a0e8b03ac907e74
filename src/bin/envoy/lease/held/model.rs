//! Envoys that use all they can, on a limit that counts what is reserved: whoever is
//! late, cut off, killed or frozen, none of it is used twice.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    reason = "a model with small numbers"
)]

use super::*;
use crate::config::Rule;
use proptest::prelude::*;

/// Milliseconds of a step.
const STEP: u64 = 100;
/// How long an Envoy counts as one.
const SPAN: u64 = SPAN_SECONDS * 1000;

/// A limit that counts all that is reserved for so long after.
struct Counted {
    count: u64,
    for_ms: u64,
    holds: Vec<(u64, u64)>,
}

impl Counted {
    fn free(&self, now: u64) -> u64 {
        let held = self.holds.iter().filter(|(at, _)| at + self.for_ms > now);
        self.count.saturating_sub(held.map(|(_, units)| units).sum())
    }

    /// The place of the hold, and its units.
    fn reserve(&mut self, now: u64, cost: u64) -> (usize, u64) {
        let granted = cost.min(self.free(now));
        self.holds.push((now, granted));
        (self.holds.len() - 1, granted)
    }
}

/// An Envoy as eager as it can be, and its bucket.
#[derive(Default)]
struct Played {
    held: Option<Held>,
    hold: Option<usize>,
    /// Most tokens, tokens a millisecond, tokens.
    bucket: Option<(f64, f64, f64)>,
    told: Option<Told>,
    ends: u64,
    inbox: Vec<(u64, Told)>,
    frozen: u64,
    reported: u64,
    allowed: u64,
    denied: u64,
}

impl Played {
    /// What arrived, and what has ended.
    fn hear(&mut self, now: u64, terms: &Terms) {
        self.inbox.sort_by_key(|(at, _)| *at);
        while self.inbox.first().is_some_and(|(at, _)| *at <= now) {
            let (_, told) = self.inbox.remove(0);
            self.ends = now + crate::lease::terms::TTL_SECONDS * 1000;
            match told {
                Told::Tokens(tokens) => {
                    if self.told != Some(told) {
                        let most = tokens.burst as f64;
                        let rate = tokens.fill as f64 / (terms.fill_seconds() * 1000) as f64;
                        let begin = self.bucket.map_or(most, |(old, _, left)| (most * left / old).floor());
                        self.bucket = Some((most, rate, begin));
                    }
                }
                Told::DenyAll | Told::Abandon => self.bucket = None,
            }
            self.told = Some(told);
        }
        if now >= self.ends {
            (self.bucket, self.told) = (None, None);
        }
    }

    fn ask(&mut self, times: u64) -> u64 {
        let mut passed = 0;
        for _ in 0..times {
            match &mut self.bucket {
                Some((.., left)) if *left >= 1.0 => {
                    *left -= 1.0;
                    passed += 1;
                }
                _ => self.denied += 1,
            }
        }
        self.allowed += passed;
        passed
    }

    fn fill(&mut self) {
        if let Some((most, rate, left)) = &mut self.bucket {
            *left = (*left + *rate * STEP as f64).min(*most);
        }
    }
}

/// What happens to an Envoy at its report.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Fine,
    /// The answer takes so many steps.
    Late(u64),
    Cut,
    Killed,
    Frozen(u64),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        8 => Just(Fate::Fine),
        2 => (0u64..49).prop_map(Fate::Late),
        1 => Just(Fate::Cut),
        1 => Just(Fate::Killed),
        1 => (1u64..400).prop_map(Fate::Frozen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn all_together_never_use_more_than_the_limit(
        limits in prop_oneof![
            Just("30/s"), Just("7/2s"), Just("60/10s"), Just("100/m"), Just("200/5m"), Just("50/2m")
        ],
        envoys in 1usize..5,
        fates in prop::collection::vec(fate(), 200),
        starts in prop::collection::vec(0u64..120_000, 4),
        eager in prop::collection::vec(prop_oneof![Just(0u64), Just(200)], 97),
    ) {
        let terms = Terms::of(&Rule::written(limits).unwrap()).unwrap();
        let period = terms.period_ms();
        let mut counted = Counted { count: terms.count, for_ms: period + SPAN, holds: Vec::new() };
        let mut played: Vec<Played> = (0..envoys).map(|_| Played::default()).collect();
        let begin = Instant::now();
        let mut fates = fates.into_iter().cycle();
        let mut passed: Vec<(u64, u64)> = Vec::new();
        let mut seen: Vec<(String, u64)> = Vec::new();
        for now in (0..180_000).step_by(STEP as usize) {
            for (at, one) in played.iter_mut().enumerate() {
                one.fill();
                if now < one.frozen || now < starts[at] {
                    continue;
                }
                one.hear(now, &terms);
                // Idle for a while, so that its bucket is full, and then as eager as it can be.
                let n = one.ask(eager[(now / 1700) as usize * (at + 1) % eager.len()]);
                if n > 0 {
                    passed.push((now, n));
                }
                if one.reported > 0 && now < one.reported + 5000 {
                    continue;
                }
                // A report.
                one.reported = now;
                let what = fates.next().unwrap();
                if matches!(what, Fate::Killed) {
                    *one = Played { reported: now, ..Played::default() };
                    continue;
                }
                if matches!(what, Fate::Cut) {
                    (one.held, one.hold) = (None, None);
                }
                let usage = Usage {
                    allowed: std::mem::take(&mut one.allowed),
                    denied: std::mem::take(&mut one.denied),
                    elapsed: Duration::from_secs(5),
                };
                let held = one.held.get_or_insert_with(|| Held::new("k".into(), terms.clone()));
                seen.retain(|(name, at)| *name != held.name && now - at < SPAN);
                seen.push((held.name.clone(), now));
                let look = Look {
                    envoys: seen.len() as u64,
                    remaining: counted.free(now),
                    overruled: false,
                };
                let moment = begin + Duration::from_millis(now);
                let next = held.next(usage, &look, moment);
                if let Some(hold) = one.hold.take() {
                    counted.holds[hold].1 = match terms.footing() {
                        Footing::Share => 0,
                        Footing::Units => usage.allowed,
                    };
                }
                let (hold, granted) = counted.reserve(now, next.cost);
                one.hold = Some(hold);
                held.reserved = Some(Reservation { id: String::new(), units: granted });
                let told = held.assign(&next, granted, moment);
                let arrives = now + match what { Fate::Late(steps) => steps * STEP, _ => 0 };
                let arrives = one.inbox.iter().map(|(at, _)| *at).fold(arrives, u64::max);
                one.inbox.push((arrives, told));
                if let Fate::Frozen(steps) = what {
                    one.hear(now, &terms);
                    one.frozen = now + if one.inbox.is_empty() { steps * STEP } else { 0 };
                }
            }
        }
        let (mut used, mut last) = (0, 0);
        for (at, n) in &passed {
            used += n;
            while passed[last].0 + period <= *at {
                used -= passed[last].1;
                last += 1;
            }
            prop_assert!(used <= terms.count, "{used} of {limits} until {at} ms");
        }
    }
}
