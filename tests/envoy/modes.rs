//! Limits that deny in their own way: in the shadow, in quota mode, replaced,
//! shared; and the metadata that tells of it.

use envoy_types::pb::{
    envoy::extensions::common::ratelimit::v3::RateLimitDescriptor,
    google::protobuf::{Struct, UInt64Value, Value, value::Kind},
};

use crate::{
    fixtures::{Answer, NOON, Service, descriptor},
    harness::Server,
};

const CONFIG: &str = "
domain: d
descriptors:
  - {key: a, rate_limit: {unit: minute, requests_per_unit: 3}}
  - {key: dark, rate_limit: {unit: minute, requests_per_unit: 2}, shadow_mode: true}
  - {key: q1, rate_limit: {unit: minute, requests_per_unit: 2}, quota_mode: true, metadata: {name: one, n: {x: 1}}}
  - {key: q2, rate_limit: {unit: minute, requests_per_unit: 4}, quota_mode: true, metadata: {name: two, n: {y: 2}}}
";

fn started(options: &[&str]) -> (Server, Service) {
    let redis = Server::start();
    redis.clock_set(NOON);
    let service = Service::with(&redis, CONFIG, options);
    (redis, service)
}

fn zero(text: &str) -> RateLimitDescriptor {
    RateLimitDescriptor { hits_addend: Some(UInt64Value { value: 0 }), ..descriptor(text) }
}

#[test]
fn a_shadow_limit_is_counted_and_never_denies() {
    let (_redis, service) = started(&[]);
    let asking = service.asking("d");
    let left: Vec<_> = (0..4).map(|_| asking.ask(&["dark=1"]).left()[0]).collect();
    assert_eq!(left, [(true, 1), (true, 0), (true, 0), (true, 0)]);
    assert_eq!(service.commands(), 4, "alone, it costs one command");
    let name = |kind: &str| format!("ratelimit_service_rate_limit_{kind}{{domain=\"d\",key1=\"dark\"}}");
    let figures = ["total_hits", "within_limit", "near_limit", "over_limit", "shadow_mode"];
    assert_eq!(figures.map(|kind| service.metric(&name(kind))), [4, 2, 1, 2, 2]);
    // Beside one that denies it is counted all the same, by a second command.
    let denied = asking.hit(4, &["a=1", "dark=2"]);
    assert_eq!((denied.ok(), denied.left()), (false, vec![(false, 3), (true, 2)]));
    let granted = asking.hit(1, &["a=1", "dark=2"]);
    assert_eq!((granted.ok(), granted.left()), (true, vec![(true, 2), (true, 1)]));
    assert_eq!(service.commands(), 8);
    assert!(asking.send(1, vec![zero("dark=1")]).unwrap().ok());
    assert_eq!(asking.ask(&["dark=1"]).headers(), Vec::<String>::new());
}

#[test]
fn quota_mode_denies_when_all_of_them_are_over() {
    let (_redis, service) = started(&[]);
    let asking = service.asking("d");
    let both = ["q1=1", "q2=1"];
    let answers: Vec<Answer> = (0..5).map(|_| asking.ask(&both)).collect();
    let seen: Vec<_> = answers.iter().map(|answer| (answer.ok(), answer.left())).collect();
    assert_eq!(
        seen,
        [
            (true, vec![(true, 1), (true, 3)]),
            (true, vec![(true, 0), (true, 2)]),
            (true, vec![(false, 0), (true, 1)]),
            (true, vec![(false, 0), (true, 0)]),
            (false, vec![(false, 0), (false, 0)]),
        ]
    );
    assert_eq!(service.commands(), 5);
    // Alone, one denies as any limit.
    assert!(!asking.ask(&["q1=1"]).ok());
    assert!(!asking.send(1, vec![zero("q1=1")]).unwrap().ok());
    assert!(asking.send(1, vec![zero("q1=1"), zero("q2=2")]).unwrap().ok());
    assert!(!asking.send(1, vec![zero("q1=1"), zero("q2=1")]).unwrap().ok());
}

#[test]
fn quota_mode_beside_a_limit_that_denies() {
    let (redis, service) = started(&[]);
    let asking = service.asking("d");
    let all = ["a=1", "q1=1", "q2=1"];
    assert_eq!(asking.hit(2, &all).left(), [(true, 1), (true, 0), (true, 2)]);
    // a denies: the quotas are looked at, not taken.
    let denied = asking.hit(2, &all);
    assert_eq!((denied.ok(), denied.left()), (false, vec![(false, 1), (false, 0), (true, 2)]));
    assert_eq!(asking.ask(&["q2=1", "q2=2"]).left()[0], (true, 1));
    // The quotas deny: what a granted is given back.
    asking.ask(&["q2=1", "q2=3"]);
    let denied = asking.ask(&all);
    assert_eq!((denied.ok(), denied.left()), (false, vec![(true, 1), (false, 0), (false, 0)]));
    assert_eq!(asking.ask(&["a=1"]).left(), [(true, 0)]);
    // On a pinned key to the pin, which had granted.
    redis.ok("RL.PIN envoy:{d}:a=9 50/h");
    assert!(!asking.ask(&["a=9", "q1=1", "q2=1"]).ok());
    assert_eq!(asking.ask(&["a=9"]).left(), [(true, 49)]);
}

#[test]
fn metadata_tells_what_was_asked_and_who_granted() {
    let (_redis, service) = started(&["--metadata"]);
    let asking = service.asking("d");
    asking.hit(2, &["q1=1"]);
    let told = asking.hit(1, &["a=x", "q1=1", "q2=1"]).0.dynamic_metadata.unwrap();
    assert_eq!(
        json(&told),
        r#"{"descriptors":[{"entries":["a=x"]},{"entries":["q1=1"]},{"entries":["q2=1"]}],"domain":"d","hitsAddend":1,"metadata":{"n":{"y":2},"name":"two"},"quotaModeEnabled":true,"quotaModeViolations":[1]}"#
    );
    let told = asking.ask(&["q1=2", "q2=2"]).0.dynamic_metadata.unwrap();
    assert!(json(&told).contains(r#""metadata":{"n":{"x":1,"y":2},"name":"one"}"#), "{}", json(&told));
    let (_redis, silent) = started(&[]);
    assert_eq!(silent.asking("d").ask(&["a=1"]).0.dynamic_metadata, None);
}

/// Names in their order, as there is none.
fn json(told: &Struct) -> String {
    let mut fields: Vec<_> = told.fields.iter().collect();
    fields.sort_by_key(|(name, _)| name.as_str());
    let fields: Vec<_> =
        fields.iter().map(|(name, value)| format!("{name:?}:{}", json_value(value))).collect();
    format!("{{{}}}", fields.join(","))
}

fn json_value(value: &Value) -> String {
    match value.kind.as_ref().unwrap() {
        Kind::NullValue(_) => "null".into(),
        Kind::NumberValue(n) => n.to_string(),
        Kind::StringValue(text) => format!("{text:?}"),
        Kind::BoolValue(yes) => yes.to_string(),
        Kind::StructValue(inner) => json(inner),
        Kind::ListValue(list) => {
            format!("[{}]", list.values.iter().map(json_value).collect::<Vec<_>>().join(","))
        }
    }
}

#[test]
fn headers_can_be_chosen() {
    let (_redis, service) = started(&["--headers", "x-ratelimit"]);
    assert_eq!(
        service.asking("d").ask(&["a=1"]).headers(),
        ["X-RateLimit-Limit: 3", "X-RateLimit-Remaining: 2", "X-RateLimit-Reset: 60"]
    );
    let (_redis, service) = started(&["--headers", "off"]);
    assert_eq!(service.asking("d").ask(&["a=1"]).headers(), Vec::<String>::new());
}

#[test]
fn values_of_a_star_share_one_limit_when_told_so() {
    let redis = Server::start();
    redis.clock_set(NOON);
    let service = Service::start(
        &redis,
        "
domain: d
descriptors:
  - {key: file, value: shared/*, share_threshold: true, rate_limit: {unit: hour, requests_per_unit: 3}}
  - {key: file, value: own/*, rate_limit: {unit: hour, requests_per_unit: 3}}
  - key: dir
    value: s*
    share_threshold: true
    descriptors: [{key: user, rate_limit: {unit: hour, requests_per_unit: 1}}]
",
    );
    let asking = service.asking("d");
    let ok = |text: &str| asking.ask(&[text]).ok();
    assert_eq!(
        [ok("file=shared/a"), ok("file=shared/b"), ok("file=shared/c"), ok("file=shared/d")],
        [true, true, true, false]
    );
    assert!(!ok("file=shared/*"), "the pattern, sent as a value, has no count of its own");
    assert!((0..3).all(|_| ok("file=own/a")) && ok("file=own/b"));
    // Not the value that looks like the pattern.
    assert_eq!([ok("dir=s1 user=ann"), ok("dir=s2 user=ann"), ok("dir=s2 user=bob")], [true, false, true]);
}
