//! States as bytes: lossless, and nothing forged gets in or panics.

use crate::world::{World, cases, cost_of, count, gap, period_ms};
use floodgate::core::clock::Micros;
use floodgate::core::limits::{
    Limit, Limits, Request, State, charge, decide, full_at, give_back, look, take,
};
use floodgate::core::wire::Reader;
use proptest::prelude::*;

fn any_limit() -> impl Strategy<Value = Limit> {
    (0u8..8, count(), period_ms()).prop_map(|(kind, count, ms)| {
        let text = match kind {
            0 | 1 => format!("{count}/{ms}ms"),
            2 => format!("bucket:{count}/{ms}ms"),
            3 => format!("bucket:5/{ms}ms:burst={count}"),
            4 => format!("fixed:{count}/{ms}ms"),
            5 => format!("fixed:{count}/w:tz=Europe/Paris"),
            6 => format!("concurrent:{count}"),
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
    let state = State::read(&mut reader, limit).ok()?;
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
        look(limit, &state[0], now, 3);
        take(limits, &mut state, now, &decision.taken);
        charge(limit, &mut state[0], now, 1_000_000_000_000);
        give_back(limits, &mut state, now, 2);
        let bytes = written(&state[0]);
        assert_eq!(read(&bytes, limit).as_ref(), Some(&state[0]), "{limit:?}");
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn lossless_and_validated(
        limit in any_limit(),
        steps in prop::collection::vec((gap(), 0u16..300, 0u8..8), 1..24),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..4),
    ) {
        let limits = std::slice::from_ref(&limit);
        let mut state = State::Fresh;
        let mut now = Micros(1_800_000_000_000_777);
        for (gap, part, kind) in steps {
            now = now.plus(gap.of(limit.period_us().unwrap_or(1000)) % (1 << 46));
            if now > Micros(1 << 51) {
                break;
            }
            let cost = cost_of(part, limit.capacity().unwrap());
            match kind {
                0 => { charge(&limit, &mut state, now, cost); }
                1 => { give_back(limits, std::slice::from_mut(&mut state), now, cost); }
                _ => {
                    let decision = decide(limits, std::slice::from_ref(&state), now, &Request::of(cost));
                    take(limits, std::slice::from_mut(&mut state), now, &decision.taken);
                }
            }
            let bytes = written(&state);
            prop_assert_eq!(read(&bytes, &limit), Some(state.clone()));
        }
        let mut bytes = written(&state);
        for (index, value, kind) in mutations {
            match kind {
                0 if !bytes.is_empty() => { let at = index.index(bytes.len()); bytes[at] = value; }
                1 if !bytes.is_empty() => { let at = index.index(bytes.len()); bytes.remove(at); }
                _ => { let at = index.index(bytes.len() + 1); bytes.insert(at, value); }
            }
        }
        if let Some(state) = read(&bytes, &limit) {
            prop_assert_eq!(written(&state), bytes, "one state, one text");
            exercise(&limit, &state);
        }
    }

    #[test]
    fn random_bytes_never_panic(limit in any_limit(), mut bytes in prop::collection::vec(any::<u8>(), 0..80), tag in 0u8..7) {
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
    let mut world = World::new("5/s");
    world.acquire(1_800_000_000_000_000, 1);
    let bytes = written(&world.states[0]);
    let bucket = crate::world::parse("bucket:5/s");
    assert!(read(&bytes, &bucket.as_slice()[0]).is_none());
    let shorter = crate::world::parse("unlimited");
    assert!(read(&bytes, &shorter.as_slice()[0]).is_none());
}
