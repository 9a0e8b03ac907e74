//! The table of policies as it travels: whole, exact, and never half applied.

use floodgate::core::limits::Label;
use floodgate::core::policies::{ChangedBy, Policies, Policy};
use floodgate::core::wire::{put_bytes, put_u64};
use floodgate::types::effect::policy::PolicyChange;
use floodgate::types::policies::json::{self, Existing};

fn policy(name: &str, limits: &str, prefix: Option<&[u8]>, breaker: Option<&str>) -> Policy {
    Policy::parse(name.as_bytes(), limits.as_bytes(), prefix, breaker.map(str::as_bytes)).unwrap()
}

fn to_set(table: &Policies, policies: Vec<Policy>) -> Vec<u8> {
    table.encode_next(&PolicyChange::of(table.to_set(policies, ChangedBy::Alone)))
}

fn to_delete(table: &Policies, name: Label) -> Vec<u8> {
    table.encode_next(&PolicyChange::of(vec![table.to_delete(name, ChangedBy::Alone)]))
}

fn table() -> Policies {
    let mut policies = Policies::default();
    for policy in [
        policy("free", "100/minute", Some(b"user:"), Some("50%/60s")),
        policy("pro", "10/s,bucket:1000/h:burst=5", Some(b"user:pro:"), None),
        policy("odd", "fixed:5/day:tz=Europe/Paris", Some(b"\xff\x00"), None),
        policy("all", "unlimited", Some(b""), None),
        policy("named-only", "3/s", None, Some("5")),
    ] {
        let payload = to_set(&policies, vec![policy]);
        policies.apply(&payload).unwrap();
    }
    policies
}

fn same(a: &Policies, b: &Policies) -> bool {
    a.version() == b.version() && a.iter().eq(b.iter()) && a.digest() == b.digest()
}

#[test]
fn a_copy_equals_the_table_and_counts_on_with_it() {
    let mut here = table();
    assert_eq!((here.version(), here.len()), (5, 5));
    let mut there = Policies::default();
    there.apply(&here.encode_all()).unwrap();
    assert!(same(&here, &there));
    let gone = to_delete(&here, here.iter().next().unwrap().name.clone());
    for table in [&mut here, &mut there] {
        table.apply(&gone).unwrap();
    }
    assert!(same(&here, &there));
    assert_eq!((here.version(), here.len()), (6, 4));
    assert!(here.longest(b"other", |_| true).is_none(), "'all' had the empty prefix");
    assert_eq!(here.longest(b"user:pro:1", |_| true).unwrap().name.as_str(), "pro");
    assert_eq!(here.longest(b"user:pro:1", |p| p.breaker.is_some()).unwrap().name.as_str(), "free");
}

#[test]
fn an_empty_table_starts_anew() {
    let mut policies = table();
    for name in policies.iter().map(|policy| policy.name.clone()).collect::<Vec<_>>() {
        let payload = to_delete(&policies, name);
        policies.apply(&payload).unwrap();
    }
    assert!(same(&policies, &Policies::default()));
}

#[test]
fn policies_that_do_not_fit_change_nothing() {
    let mut policies = table();
    let clash = vec![policy("new", "1/s", None, None), policy("other", "1/s", Some(b"user:"), None)];
    assert_eq!(policies.check(&clash).unwrap_err().0, 1);
    // Version 0.1, where nobody could have a prefix twice, kept no such change.
    assert!(policies.apply(&kept_by_0_1(2, 6, &[("new", "", ""), ("other", "user:", "")])).is_err());
    assert!(same(&policies, &table()));
    // Two that swap their prefixes do fit.
    let swap =
        vec![policy("free", "1/s", Some(b"user:pro:"), None), policy("pro", "2/s", Some(b"user:"), None)];
    let payload = to_set(&policies, swap);
    policies.apply(&payload).unwrap();
    assert_eq!(policies.longest(b"user:pro:1", |_| true).unwrap().name.as_str(), "free");
    assert_eq!(policies.longest(b"user:x", |_| true).unwrap().name.as_str(), "pro");
}

#[test]
fn a_damaged_payload_is_refused_or_harmless() {
    let whole = table().encode_all();
    for cut in 0..whole.len() {
        let mut policies = table();
        if policies.apply(&whole[..cut]).is_err() {
            assert!(same(&policies, &table()));
        }
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            let mut policies = table();
            match policies.apply(&bytes) {
                Err(_) => assert!(same(&policies, &table())),
                // Whatever was believed is a table that travels on.
                Ok(_) => {
                    let mut copy = Policies::default();
                    copy.apply(&policies.encode_all()).unwrap();
                    assert!(copy.iter().eq(policies.iter()));
                }
            }
        }
    }
}

#[test]
fn json_goes_there_and_back() {
    let policies = table();
    let text = json::export(&policies).unwrap();
    let mut copy = Policies::default();
    let read = json::import(&copy, text.as_bytes(), Existing::Refused).unwrap();
    let payload = to_set(&copy, read);
    copy.apply(&payload).unwrap();
    assert!(copy.iter().eq(policies.iter()));
    assert_eq!(copy.digest(), policies.digest());
}

/// A payload of version 0.1: of everything (1) or of a change (2). What is empty is not
/// there.
fn kept_by_0_1(kind: u8, version: u64, policies: &[(&str, &str, &str)]) -> Vec<u8> {
    let mut payload = Vec::new();
    put_u64(&mut payload, 1);
    put_u64(&mut payload, version);
    payload.push(kind);
    for (name, prefix, breaker) in policies {
        put_bytes(&mut payload, name.as_bytes());
        put_bytes(&mut payload, b"10/s");
        for part in [prefix, breaker] {
            payload.push((!part.is_empty()).into());
            if !part.is_empty() {
                put_bytes(&mut payload, part.as_bytes());
            }
        }
    }
    payload
}

/// What version 0.1 kept without a unit is milliseconds, and has one from then on;
/// a prefix that ends with `*` is refused only where somebody writes it now.
#[test]
fn what_0_1_kept_without_a_unit() {
    let payload = kept_by_0_1(1, 7, &[("old", "svc:*", "5:open=1500"), ("new", "web:", "5:open=1500ms")]);
    let mut policies = Policies::default();
    let unitless = policies.apply(&payload).unwrap();
    assert_eq!(unitless.iter().map(Label::as_str).collect::<Vec<_>>(), ["old"]);
    let breaker = |name: &[u8]| {
        let policy = policies.get(&Label::parse(name).unwrap()).unwrap();
        policy.breaker.clone().unwrap()
    };
    assert_eq!(breaker(b"old").1, breaker(b"new").1);
    assert_eq!(&*breaker(b"old").0, "5:open=1500ms");
    // Written again it has a unit, and nothing is to be told.
    let mut again = Policies::default();
    assert!(again.apply(&policies.encode_all()).unwrap().is_empty());
    assert!(Policy::parse(b"old", b"10/s", Some(b"svc:*"), None).is_err());
    assert!(Policy::parse(b"old", b"10/s", None, Some(b"5:open=1500")).is_err());
}
