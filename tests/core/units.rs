//! Lengths of time: a unit is needed, and what version 0.1 kept without one is
//! milliseconds.

use crate::checked_limiter::cases;
use floodgate::core::text::duration::{self, MILLISECOND};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn only_zero_needs_none(n in 1u64..=31_622_400_000) {
        let bare = n.to_string();
        let refused = duration::parse(bare.as_bytes()).unwrap_err();
        prop_assert!(refused.reason.starts_with("needs a unit, such as "), "{}", refused);
        prop_assert_eq!(duration::parse(format!("{n}ms").as_bytes()), Ok(n * MILLISECOND));
        prop_assert_eq!(duration::parse_stored(bare.as_bytes()), Ok(n * MILLISECOND));
        let shown = duration::canonical(n * MILLISECOND);
        prop_assert_eq!(duration::parse(shown.as_bytes()), Ok(n * MILLISECOND));
    }

    /// What is read without the leave of version 0.1 is read the same with it.
    #[test]
    fn what_has_a_unit_is_the_same_for_both(text in "[0-9]{0,12}[a-zA-Z .+-]{0,8}") {
        if let Ok(us) = duration::parse(text.as_bytes()) {
            prop_assert_eq!(duration::parse_stored(text.as_bytes()), Ok(us));
            prop_assert!(us == 0 || text.bytes().any(|b| b.is_ascii_alphabetic()), "{}", text);
        }
    }
}

#[test]
fn every_refusal_has_a_way_out() {
    for (text, reason) in [
        ("", "expected a number with a unit, such as 30s"),
        ("soon", "expected a number with a unit, such as 30s"),
        ("-5s", "takes no sign"),
        ("+5s", "takes no sign"),
        ("30", "needs a unit, such as 30s or 30ms"),
        ("1.5s", "must be a whole number of its unit, such as 1500ms for 1.5s"),
        ("5 s", "has white space, write it without, as in 30s"),
        ("2hr", "unknown unit, write 2h"),
        ("2x", "unknown unit: the units are ms, s, m, h, d and w"),
        ("367d", "longer than 366 days"),
        ("99999999999999999999s", "longer than 366 days"),
        ("99999999999999999999", "needs a unit, such as 30s or 30ms"),
    ] {
        let error = duration::parse(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(error, format!("invalid duration '{text}': {reason}"));
    }
    assert_eq!((duration::parse(b"0"), duration::parse(b"000")), (Ok(0), Ok(0)));
}
