//! States as bytes: lossless, and nothing forged gets in or panics.

use crate::checked_limiter::{CheckedLimiter, cases, cost_of, count, gap, parse, period_ms, refund};
use floodgate::core::limits::{Limit, Limits, Request, State, charge, decide, full_at, limit_quota, take};
use floodgate::core::time::Micros;
use floodgate::core::wire::{Reader, put_u64};
use proptest::prelude::*;

fn any_limit() -> impl Strategy<Value = Limit> {
    (0u8..12, count(), period_ms()).prop_map(|(kind, count, ms)| {
        let text = match kind {
            0 | 1 => format!("{count}/{ms}ms"),
            2 => format!("bucket:{count}/{ms}ms"),
            3 => format!("bucket:5/{ms}ms:burst={count}"),
            4 => format!("fixed:{count}/{ms}ms"),
            5 => format!("fixed:{count}/w:tz=Europe/Paris"),
            6 => format!("concurrent:{count}"),
            7 => format!("fixed:{count}/day:from=23:59:tz=America/St_Johns"),
            8 => format!("fixed:{count}/month:from=31"),
            9 => format!("fixed:{count}/year:from=02-29:tz=Asia/Kathmandu"),
            10 => format!("fixed:{count}/ever"),
            _ => format!("throttle:{}/7/60", count - 1),
        };
        Limits::parse_stored(text.as_bytes()).unwrap().as_slice()[0].clone()
    })
}

fn written(state: &State) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.write(&mut bytes);
    bytes
}

fn read(bytes: &[u8], limit: &Limit) -> Option<State> {
    let mut reader = Reader::new(bytes);
    let state = State::read(&mut reader, limit.rule()).ok()?;
    reader.end().ok()?;
    Some(state)
}

/// Whatever was let in can be used at any time.
fn exercise(limit: &Limit, state: &State) {
    let limits = std::slice::from_ref(limit);
    for now in [Micros(0), Micros(1_800_000_000_000_000), Micros::MAX] {
        let mut state = [state.clone()];
        let decision = decide(limits, &state, now, &Request::of(3));
        full_at(limits, &state, now);
        limit_quota(limit, &state[0], now, 3);
        take(limits, &mut state, now, &decision.taken);
        charge(limit, &mut state[0], now, 1_000_000_000_000);
        refund(limits, &mut state, now, 2);
        let bytes = written(&state[0]);
        assert_eq!(read(&bytes, limit).as_ref(), Some(&state[0]), "{limit:?}");
    }
}

/// What changes a state.
#[derive(Clone, Copy, Debug)]
enum Change {
    Charge,
    Refund,
    /// Where the limit can close; else as [`Change::Take`].
    Close,
    Take,
}

/// What somebody does to one byte of an encoding.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Overwrite,
    Remove,
    Insert,
}

fn change() -> impl Strategy<Value = Change> {
    (0u8..8).prop_map(|kind| match kind {
        0 => Change::Charge,
        1 => Change::Refund,
        2 => Change::Close,
        _ => Change::Take,
    })
}

fn damage() -> impl Strategy<Value = Damage> {
    (0usize..3).prop_map(|kind| [Damage::Overwrite, Damage::Remove, Damage::Insert][kind])
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn lossless_and_validated(
        limit in any_limit(),
        steps in prop::collection::vec((gap(), 0u16..300, change()), 1..24),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), damage()), 1..4),
    ) {
        let limits = std::slice::from_ref(&limit);
        let closes = !matches!(limit.algorithm_name(), "concurrent" | "throttle");
        let mut state = State::Fresh;
        let mut now = Micros(1_800_000_000_000_777);
        for (gap, part, change) in steps {
            now = now.plus(gap.of(limit.period_us().unwrap_or(1000)) % (1 << 46));
            if now > Micros(1 << 51) {
                break;
            }
            let cost = cost_of(part, limit.capacity().unwrap());
            match change {
                Change::Charge => { charge(&limit, &mut state, now, cost); }
                Change::Refund => { refund(limits, std::slice::from_mut(&mut state), now, cost); }
                Change::Close if closes => {
                    let block = parse("1/s:block=2s:grow=3").as_slice()[0].closing().unwrap().block(state.block(), now, cost, cost);
                    state.close(block);
                }
                Change::Close | Change::Take => {
                    let decision = decide(limits, std::slice::from_ref(&state), now, &Request::of(cost));
                    take(limits, std::slice::from_mut(&mut state), now, &decision.taken);
                }
            }
            let bytes = written(&state);
            prop_assert_eq!(read(&bytes, &limit), Some(state.clone()));
        }
        let mut bytes = written(&state);
        for (index, value, damage) in mutations {
            match damage {
                Damage::Overwrite if !bytes.is_empty() => { let at = index.index(bytes.len()); bytes[at] = value; }
                Damage::Remove if !bytes.is_empty() => { let at = index.index(bytes.len()); bytes.remove(at); }
                _ => { let at = index.index(bytes.len() + 1); bytes.insert(at, value); }
            }
        }
        if let Some(state) = read(&bytes, &limit) {
            prop_assert_eq!(written(&state), bytes, "one state, one text");
            exercise(&limit, &state);
        }
    }

    #[test]
    fn random_bytes_never_panic(limit in any_limit(), mut bytes in prop::collection::vec(any::<u8>(), 0..80), tag in prop_oneof![0u8..7, Just(64)]) {
        if let Some(first) = bytes.first_mut() {
            *first = tag;
        }
        if let Some(state) = read(&bytes, &limit) {
            exercise(&limit, &state);
        }
    }
}

#[test]
fn another_algorithms_state_is_refused() {
    let mut limiter = CheckedLimiter::new("5/s");
    limiter.acquire(1_800_000_000_000_000, 1);
    let bytes = written(&limiter.states[0]);
    let bucket = crate::checked_limiter::parse("bucket:5/s");
    assert!(read(&bytes, &bucket.as_slice()[0]).is_none());
    let shorter = crate::checked_limiter::parse("unlimited");
    assert!(read(&bytes, &shorter.as_slice()[0]).is_none());
}

/// Forged payloads, each wrong in one way; numbers as the encoding orders them.
#[test]
fn nonsense_is_refused() {
    let tagged = |tag: u8, numbers: &[u64]| {
        let mut bytes = vec![tag];
        for &n in numbers {
            put_u64(&mut bytes, n);
        }
        bytes
    };
    let valid = |limit: &str, tag: u8, numbers: &[u64]| {
        let limits = Limits::parse_stored(limit.as_bytes()).unwrap();
        read(&tagged(tag, numbers), &limits.as_slice()[0]).is_some()
    };
    let far = Micros::MAX.0;
    // Sliding: twice the number of slots, plus one for coarse ones; then distance and units of each.
    assert!(valid("5/s", 1, &[4, 1000, 2, 999_999, 1]));
    assert!(!valid("5/s", 1, &[4, 1000, 2, 1_000_000, 1]), "wider than a period");
    assert!(!valid("5/s", 1, &[4, 1000, 2, 0, 1]), "same time twice");
    assert!(!valid("5/s", 1, &[2, 1000, 0]), "no units");
    assert!(!valid("5/s", 1, &[0]), "no slots");
    assert!(!valid("5/s", 1, &[2, 1000, 1 << 18]), "too many units");
    assert!(!valid("5/s", 1, &[2, far + 1, 1]), "too late");
    assert!(!valid("5/s", 1, &[130, 1000, 1]), "too many slots");
    assert!(valid("500/s", 1, &[5, 1000, 2, 50, 1]));
    assert!(!valid("500/s", 1, &[5, 1000, 2, 51, 1]), "wider than a period");
    assert!(!valid("500/s", 1, &[5, 1000, 2, 0, 1]), "same slot twice");
    assert!(!valid("500/s", 1, &[3, far / 20_000 + 1, 1]), "too late");
    // Bucket: level in two halves, ceiling.
    assert!(valid("bucket:5/s", 2, &[7, 1 << 27, 6]));
    assert!(!valid("bucket:5/s", 2, &[7, 1 << 28, 0]), "too late");
    assert!(!valid("bucket:5/s", 2, &[0, 0, 0]), "full");
    assert!(!valid("bucket:5/s", 2, &[7, 0, 5]), "ceiling within the burst");
    // Fixed: start, length, units.
    assert!(valid("fixed:5/s", 3, &[1000, 1_000_000, 5]));
    assert!(!valid("fixed:5/s", 3, &[1000, 1_000_001, 5]), "longer than a window");
    assert!(!valid("fixed:5/s", 3, &[1000, 0, 5]), "empty window");
    assert!(!valid("fixed:5/s", 3, &[1000, 5, 0]), "nothing used");
    assert!(!valid("fixed:5/s", 3, &[far + 1, 5, 1]), "too late");
    assert!(valid("fixed:5/month", 3, &[1000, 31 * crate::checked_limiter::DAY, 5]));
    // Concurrent: what is held stands with the reservations, never here.
    assert!(!valid("concurrent:5", 4, &[6]));
    assert!(!valid("concurrent:5", 4, &[]));
    // Throttle: arrival time in two halves, time of the change.
    assert!(valid("throttle:4/1/60", 5, &[1_000_001, 0, 1000]));
    assert!(!valid("throttle:4/1/60", 5, &[1_000_000, 0, 1000]), "no wait");
    assert!(!valid("throttle:4/1/60", 5, &[0, 1 << 63, 1000]), "too late");
    assert!(!valid("unlimited", 4, &[6]), "unlimited remembers nothing");
}
