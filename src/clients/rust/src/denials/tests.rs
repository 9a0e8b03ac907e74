//! The memory of denials beside a limit of which everything is known.

use std::time::{Duration, Instant};

use super::Denials;
use crate::decision::{Decision, Source};

const COUNT: u64 = 5;
const PERIOD: u64 = 700;

/// `5/700ms`, sliding, by the times of its units.
#[derive(Default)]
struct KnownLimit {
    taken: Vec<u64>,
}

impl KnownLimit {
    fn acquire(&mut self, cost: u64, now: u64) -> Decision {
        self.taken.retain(|time| time + PERIOD > now);
        let free = COUNT - self.taken.len() as u64;
        let retry_after_ms = if cost > COUNT {
            -1
        } else if cost <= free {
            self.taken.extend((0..cost).map(|_| now));
            0
        } else {
            let frees_enough = self.taken[usize::try_from(cost - free - 1).unwrap()];
            i64::try_from(frees_enough + PERIOD - now).unwrap()
        };
        let granted = if retry_after_ms == 0 { cost } else { 0 };
        let (limit, reset_after_ms) = (5, 700);
        let (remaining, source) = (0, Source::Redis);
        Decision { granted, limit, remaining, retry_after_ms, reset_after_ms, index: 0, source }
    }
}

/// Whatever is denied from memory the limit would deny too, with no longer to wait; and
/// it remembers all that it was told, for as long as that holds.
#[test]
fn it_denies_only_what_the_limit_would() {
    let (mut asked, mut spared) = (0, 0);
    for seed in 0..300 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let (start, denials) = (Instant::now(), Denials::default());
        let mut limits = [KnownLimit::default(), KnownLimit::default()];
        let mut told: Vec<(&str, u64, u64, u64)> = Vec::new();
        let mut now = 0;
        for step in 0..200 {
            now += dice.u64(0..120);
            let which = dice.usize(0..2);
            let (key, cost) = (["a", "b"][which], dice.u64(1..=COUNT + 1));
            let at = start + Duration::from_millis(now);
            let known = denials.recall(key, "5/700ms", cost, at);
            let holds =
                told.iter().any(|told| told.0 == key && told.1 <= cost && (told.2..told.3).contains(&now));
            assert_eq!(known.is_some(), holds, "seed {seed}, step {step}");
            if let Some(known) = known {
                let decided = limits[which].acquire(cost, now);
                assert!(!decided.is_granted(), "seed {seed}, step {step}: {known:?}, {decided:?}");
                assert!(known.retry_after_ms <= decided.retry_after_ms.max(1) || decided.retry_after_ms < 0);
                assert_eq!((known.granted, known.source), (0, Source::Memory));
                spared += 1;
            } else {
                // The answer takes its time.
                let decided = limits[which].acquire(cost, now + 3);
                if !decided.is_granted() {
                    let lasts = u64::try_from(decided.retry_after_ms).unwrap_or(1000);
                    told.push((key, cost, now, now + lasts));
                }
                now += 6;
                denials.learn(key, "5/700ms", cost, decided, at);
                asked += 1;
            }
        }
    }
    assert!(spared > asked / 2, "{spared} spared, {asked} asked");
}

fn denied(retry_after_ms: i64) -> Decision {
    let (remaining, reset_after_ms, index) = (0, 60_000, 0);
    Decision { granted: 0, limit: 1, remaining, retry_after_ms, reset_after_ms, index, source: Source::Redis }
}

#[test]
fn it_holds_for_at_most_a_second_and_for_what_was_asked() {
    let (start, denials) = (Instant::now(), Denials::default());
    let later = |ms| start + Duration::from_millis(ms);
    denials.learn("a", "1/m", 2, denied(60_000), start);
    let left = |cost, ms| denials.recall("a", "1/m", cost, later(ms)).map(|known| known.retry_after_ms);
    assert_eq!(left(2, 400), Some(59_600));
    assert_eq!((left(1, 0), left(3, 999), left(2, 1000)), (None, Some(59_001), None));
    assert_eq!(denials.recall("a", "2/m", 2, start), None);
    assert_eq!(denials.recall("b", "1/m", 2, start), None);

    denials.learn("a", "1/m", 9, denied(-1), start);
    denials.learn("a", "1/m", 1, denied(50), start);
    assert_eq!((left(1, 49), left(1, 50), left(9, 999)), (Some(1), None, Some(59_001)));
    denials.forget("a");
    assert_eq!(left(9, 0), None);

    // A fallback's word is none.
    denials.learn("c", "1/m", 1, Decision { source: Source::Fallback, ..denied(500) }, start);
    assert_eq!(denials.recall("c", "1/m", 1, start), None);
}

#[test]
fn it_is_bounded() {
    let (start, denials) = (Instant::now(), Denials::default());
    for number in 0..Denials::MOST_KEYS * 2 {
        denials.learn(&number.to_string(), "1/m", 1, denied(60_000), start);
        denials.learn("one", &format!("{number}/m"), 1, denied(60_000), start);
    }
    let known = denials.known();
    assert!(known.len() <= Denials::MOST_KEYS, "{}", known.len());
    assert!(known.values().all(|denials| denials.len() <= Denials::MOST_LIMITS));
}
