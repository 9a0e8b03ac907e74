//! Limits kept once: a flood of different ones leaves nothing behind, and none
//! is taken from a key that uses it.

use floodgate::core::limits::{Limits, Taken};
use floodgate::core::time::Micros;
use floodgate::server::main_thread::{MainThread, StandIn};
use floodgate::types::effect::ratelimit::{RateLimitChange, RateLimitEffect, TakeUnits};
use floodgate::types::intern;
use floodgate::types::intern::ParsedLimits;
use proptest::prelude::*;

use crate::strategies::{apply, saved};

#[test]
fn a_flood_of_different_limits_is_swept() {
    let alone = StandIn::enter();
    let main = alone.main();
    let take = |text: &str, value: &mut _| {
        let change = RateLimitChange::Take(TakeUnits { limits: Some(text), taken: Taken::new([1]) });
        assert!(
            apply(main, value, &RateLimitEffect { now: Micros(1_000_000), expires: true, change }),
            "{text}"
        );
    };
    let mut kept: Vec<_> = ["11/d", "bucket:12/d", "13/d,fixed:14/month"]
        .map(|text| {
            let mut value = None;
            take(text, &mut value);
            value
        })
        .into();
    let bytes: Vec<_> = kept.iter().map(|value| saved(main, value.as_ref().unwrap())).collect();
    let mut changing = None;
    for n in 1..20_000 {
        let text = format!("{n}/366d:name=flood");
        // By effects, by calls of clients, and by payloads that come to nothing.
        match n % 3 {
            0 => take(&text, &mut changing),
            1 => assert!(matches!(intern::want(main, text.as_bytes()), Ok(ParsedLimits::Limits(_)))),
            _ => {
                let text = format!("{n}/9d,{text}");
                let mut payload = vec![1, u8::try_from(text.len() + 3).unwrap()];
                payload.push(u8::try_from(text.len()).unwrap());
                payload.extend(text.bytes().chain([0, 0, 5, 0]));
                assert!(!apply(
                    main,
                    &mut changing,
                    &RateLimitEffect {
                        now: Micros(1_000_000),
                        expires: true,
                        change: RateLimitChange::Become(&payload)
                    }
                ));
            }
        }
        assert!(intern::size(main) <= 2_100, "{} sets after {n}", intern::size(main));
    }
    // What keys use is what it was, and still the same set for the next call.
    for (value, bytes) in kept.iter_mut().zip(&bytes) {
        assert_eq!(&saved(main, value.as_ref().unwrap()), bytes);
    }
    let Ok(ParsedLimits::Limits(again)) = intern::want(main, b"11/DAY") else { panic!("limits") };
    assert_eq!(kept[0].as_ref().unwrap().limits_id(), Some(again.id()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// Texts come again or in turn, some in other words for the same limits, while sets that
    /// nobody uses are swept and their numbers given to others.
    #[test]
    fn a_text_means_what_parsing_it_says(turns in prop::collection::vec((0..12_u32, 0..3_u8, any::<bool>()), 1..60)) {
        let alone = StandIn::enter();
        let main = alone.main();
        let mut kept = Vec::new();
        for (n, words, keep) in turns {
            let text = match words {
                0 => format!("{n}1/366d:name=turn"),
                1 => format!("{n}1/31622400s:name=turn"),
                _ => format!("sliding:{n}1/366d:name=turn"),
            };
            let Ok(ParsedLimits::Limits(set)) = intern::want(main, text.as_bytes()) else { panic!("{text}") };
            let plain = Limits::parse(text.as_bytes()).unwrap().canonical();
            prop_assert_eq!(set.text(main).to_string(), plain.clone());
            let stored = intern::stored(main, &plain).unwrap();
            prop_assert_eq!(stored.id(), set.id());
            if keep {
                kept.push(set);
            } else {
                kept.clear();
                flood(main);
            }
        }
    }
}

/// Has the sets swept that nobody uses, and gives their numbers to others.
fn flood(main: MainThread) {
    for n in 0..1_100 {
        assert!(matches!(
            intern::want(main, format!("{n}7/365d:name=flood").as_bytes()),
            Ok(ParsedLimits::Limits(_))
        ));
    }
    intern::sweep_unused(main);
}

#[test]
fn what_only_the_server_writes_is_refused_from_clients_known_or_not() {
    let alone = StandIn::enter();
    let main = alone.main();
    let text = "throttle:3/2/77";
    let unknown = intern::want(main, text.as_bytes()).unwrap_err().to_string();
    let mut value = None;
    let change = RateLimitChange::Take(TakeUnits { limits: Some(text), taken: Taken::new([1]) });
    assert!(apply(main, &mut value, &RateLimitEffect { now: Micros(1_000_000), expires: true, change }));
    assert_eq!(intern::want(main, text.as_bytes()).unwrap_err().to_string(), unknown);
    let own = value.unwrap().limits().unwrap();
    assert!(!own.get(main).is(text.as_bytes()));
}

/// Sets that nobody uses any more go with their keys, also where nobody asks for new ones,
/// and the table grows small again.
#[test]
fn the_table_shrinks_when_its_keys_have_gone() {
    let alone = StandIn::enter();
    let main = alone.main();
    let mut kept = Vec::new();
    for n in 1..50_000 {
        let text = format!("{n}/8d:name=shrinks");
        match intern::want(main, text.as_bytes()) {
            Ok(ParsedLimits::Limits(limits)) => kept.push(limits),
            other => panic!("{other:?}"),
        }
    }
    let room = intern::room(main);
    let last = kept.pop();
    intern::sweep_unused(main);
    assert!(intern::size(main) >= 49_998, "what is in use stays");
    drop(kept);
    intern::sweep_unused(main);
    assert!(intern::size(main) < 2_100, "{} sets", intern::size(main));
    drop(last);
    for n in 1..3_000 {
        assert!(intern::want(main, format!("{n}/7d:name=shrinks").as_bytes()).is_ok());
    }
    intern::sweep_unused(main);
    assert!(intern::room(main) < room / 8, "{} of {room}", intern::room(main));
}
