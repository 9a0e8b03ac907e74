//! Effects: they arrive as they were sent, lead everywhere to the same bytes,
//! and break nothing where they do not fit.

use floodgate::core::limits::Taken;
use floodgate::core::time::Micros;
use floodgate::server::keys::data_type::NativeType as _;
use floodgate::server::main_thread::{MainThread, StandIn};
use floodgate::types::effect::ratelimit::{RateLimitChange, RateLimitEffect, SetPin, TakeUnits};
use floodgate::types::ratelimit::encoding::VERSION;
use floodgate::types::ratelimit::{RateLimit, encoding};
use proptest::prelude::*;

use crate::strategies::{apply, exercise, history, made, saved, time};

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn an_effect_arrives_as_it_was_sent(made in made(), now in time()) {
        let effect = made.at(now);
        let mut bytes = Vec::new();
        effect.encode(&mut bytes);
        prop_assert_eq!(RateLimitEffect::decode(&bytes), Ok(effect));
        for end in 0..bytes.len() {
            if let Ok(cut) = RateLimitEffect::decode(&bytes[..end]) {
                // Only the units at the end may be fewer.
                let ends_in_units = matches!(
                    cut.change,
                    RateLimitChange::Take(_)
                        | RateLimitChange::Charge(_)
                        | RateLimitChange::Reserve(_)
                );
                prop_assert!(ends_in_units, "{:?}", cut);
            }
        }
    }

    /// A master that never stopped, a replica that got each effect as bytes, and
    /// one that was saved and loaded before each: all the same.
    #[test]
    fn every_way_leads_to_the_same_bytes(history in history()) {
        let alone = StandIn::enter();
        let main = alone.main();
        let (mut kept, mut reloaded): (Option<RateLimit>, Option<RateLimit>) = (None, None);
        for (made, now) in &history {
            let mut bytes = Vec::new();
            made.at(*now).encode(&mut bytes);
            let effect = RateLimitEffect::decode(&bytes).unwrap();
            reloaded = reloaded
                .map(|value| encoding::load(main, VERSION, &saved(main, &value)).expect("its own bytes"));
            let fits = apply(main, &mut kept, &made.at(*now));
            prop_assert_eq!(apply(main, &mut reloaded, &effect), fits);
            let bytes = |value: &Option<RateLimit>| value.as_ref().map(|value| saved(main, value));
            prop_assert_eq!(bytes(&kept), bytes(&reloaded));
            // As an AOF rewrite writes it.
            if let Some(value) = &kept {
                let mut payload = Vec::new();
                value.rebuild(main, &mut payload);
                for mut rebuilt in [None, encoding::load(main, VERSION, b"\x04\x02\x00\x00").ok()] {
                    prop_assert!(apply(main, &mut rebuilt, &RateLimitEffect::decode(&payload).unwrap()));
                    prop_assert_eq!(bytes(&rebuilt), bytes(&kept));
                }
            }
        }
    }

    /// What is applied the short way to a key that remembers nothing but usage says and
    /// leaves the same as the way for all.
    #[test]
    fn a_grant_takes_the_short_way_to_the_same_bytes(history in history(), taken: [u8; 3], now in time()) {
        let alone = StandIn::enter();
        let main = alone.main();
        let mut value = None;
        let grant = RateLimitChange::Take(TakeUnits { limits: None, taken: Taken::new(taken.map(u64::from)) });
        for (change, now) in history.iter().map(|(made, now)| (made.at(*now), *now)).chain([
            (RateLimitEffect { now, expires: true, change: grant }, now),
            (RateLimitEffect { now, expires: false, change: grant }, now),
            (RateLimitEffect { now: now.plus(1).min(Micros::MAX), expires: true, change: grant }, now),
        ]) {
            apply(main, &mut value, &change);
            let Some(value) = &value else { continue };
            let (mut short, mut any) = (copied(main, value), copied(main, value));
            let effect = RateLimitEffect { now, expires: true, change: grant };
            let said = effect.apply(main, Some(&mut short)).unwrap();
            let plainly = effect.apply_any(main, Some(&mut any)).unwrap();
            prop_assert_eq!(format!("{said:?}"), format!("{plainly:?}"));
            prop_assert_eq!(saved(main, &short), saved(main, &any));
            prop_assert_eq!(short.is_without_expiry(), any.is_without_expiry());
        }
    }

    #[test]
    fn random_bytes_are_refused_or_fit(
        history in history(),
        bytes in prop::collection::vec(any::<u8>(), 0..60),
        kind in 0..12u8,
        now in time(),
    ) {
        let alone = StandIn::enter();
        let main = alone.main();
        let mut value = None;
        for (made, now) in &history {
            apply(main, &mut value, &made.at(*now));
        }
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = *first & 0xc0 | kind;
        }
        if let Ok(effect) = RateLimitEffect::decode(&bytes) {
            apply(main, &mut value, &effect);
        }
        exercise(main, &mut value, now);
    }

    #[test]
    fn forged_effects_are_refused_or_fit(
        history in history(),
        made in made(),
        forgeries in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        now in time(),
    ) {
        let alone = StandIn::enter();
        let main = alone.main();
        let mut value = None;
        for (made, now) in &history {
            apply(main, &mut value, &made.at(*now));
        }
        let mut bytes = Vec::new();
        made.at(now).encode(&mut bytes);
        for (at, byte) in forgeries {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(effect) = RateLimitEffect::decode(&bytes) {
            apply(main, &mut value, &effect);
        }
        exercise(main, &mut value, now);
    }
}

/// The same contents, with what was said of the expiry.
fn copied(main: MainThread, value: &RateLimit) -> RateLimit {
    encoding::load(main, VERSION, &saved(main, value)).expect("its own bytes")
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let alone = StandIn::enter();
    let main = alone.main();
    let mut value = encoding::load(main, VERSION, b"\x01\x05\x035/s\x00").ok();
    let before = saved(main, value.as_ref().unwrap());
    for change in [
        RateLimitChange::Take(TakeUnits { limits: Some("5/"), taken: Taken::new([1]) }),
        RateLimitChange::Touch(Some("*")),
        RateLimitChange::Pin(SetPin { text: "5/", until: floodgate::types::until::Until::Forever }),
        RateLimitChange::Become(b""),
        RateLimitChange::Become(b"\x01\x05\x035/x\x00"),
    ] {
        let effect = RateLimitEffect { now: Micros(7), expires: true, change };
        assert!(!apply(main, &mut value, &effect), "{change:?}");
        assert_eq!(saved(main, value.as_ref().unwrap()), before, "{change:?}");
    }
}
