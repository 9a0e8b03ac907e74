//! What a request may say, and what is answered.

use envoy_types::pb::{
    envoy::{
        extensions::common::ratelimit::v3::{RateLimitDescriptor, rate_limit_descriptor::RateLimitOverride},
        r#type::v3::RateLimitUnit,
    },
    google::protobuf::UInt64Value,
};
use tonic::Code;

use crate::{
    fixtures::{NOON, Service, descriptor},
    harness::Server,
};

const CONFIG: &str = "
domain: d
descriptors:
  - {key: a, rate_limit: {unit: minute, requests_per_unit: 10}}
  - {key: b, rate_limit: {unit: hour, requests_per_unit: 20, name: second}}
  - {key: all, rate_limit: {unlimited: true}}
  - {key: two, limits: '5/s,8/h:name=hourly'}
  - {key: none, rate_limit: {unit: second, requests_per_unit: 0}}
  - {key: c, limits: '100/h:name=new'}
";

fn started() -> (Server, Service) {
    let redis = Server::start();
    redis.clock_set(NOON + 1_500_000);
    let service = Service::start(&redis, CONFIG);
    (redis, service)
}

/// A descriptor with a hit count of its own.
fn hits(text: &str, n: u64, negative: bool) -> RateLimitDescriptor {
    RateLimitDescriptor {
        hits_addend: Some(UInt64Value { value: n }),
        is_negative_hits: negative,
        ..descriptor(text)
    }
}

#[test]
fn statuses_tell_limit_remaining_and_reset() {
    let (_redis, service) = started();
    let asking = service.asking("d");
    let answer = asking.ask(&["a=1", "b=1", "all=1", "free=1"]);
    assert!(answer.ok());
    assert_eq!(answer.left(), [(true, 9), (true, 19), (true, u32::MAX), (true, 0)]);
    assert_eq!([0, 1, 2, 3].map(|at| answer.limit(at)), ["10/MINUTE", "20/HOUR second", "-", "-"]);
    assert_eq!([0, 1, 2].map(|at| answer.reset_ms(at)), [Some(58_500), Some(3_598_500), None]);
    // Nobody's key is another one's.
    assert_eq!(asking.ask(&["a=2"]).left(), [(true, 9)]);
    assert_eq!(asking.ask(&["a"]).left(), [(true, 9)]);
}

#[test]
fn a_request_without_limits_asks_nothing_of_redis() {
    let (_redis, service) = started();
    assert!(service.asking("d").ask(&["free=1", "all=1"]).ok());
    assert!(service.asking("unknown").ask(&["a=1"]).ok());
    assert_eq!(service.commands(), 0);
    assert!(service.asking("d").ask(&["a=1", "b=1", "all=1"]).ok());
    assert_eq!(service.commands(), 1);
}

#[test]
fn hits_of_the_request_and_of_each_descriptor() {
    let (redis, service) = started();
    let asking = service.asking("d");
    assert_eq!(asking.hit(4, &["a=1", "b=1"]).left(), [(true, 6), (true, 16)]);
    let sent = asking.send(4, vec![hits("a=1", 5, false), descriptor("b=1")]).unwrap();
    assert_eq!(sent.left(), [(true, 1), (true, 12)]);
    // More than is left: denied, and nothing taken of either.
    let denied = asking.send(1, vec![hits("a=1", 2, false), descriptor("b=1")]).unwrap();
    assert_eq!((denied.ok(), denied.left()), (false, vec![(false, 1), (true, 12)]));
    // More than a limit ever has.
    for n in [11, u64::from(u32::MAX) + 9, u64::MAX] {
        assert!(!asking.send(0, vec![hits("a=2", n, false)]).unwrap().ok());
    }
    assert_eq!(asking.ask(&["a=1", "b=1"]).left(), [(true, 0), (true, 11)]);
    redis.clock_advance(60_000_000);
    assert_eq!(asking.ask(&["a=1"]).left(), [(true, 9)]);
}

#[test]
fn zero_hits_only_look() {
    let (_redis, service) = started();
    let asking = service.asking("d");
    let look = || asking.send(1, vec![hits("a=1", 0, false)]).unwrap();
    assert_eq!((look().ok(), look().left()), (true, vec![(true, 10)]));
    asking.hit(10, &["a=1"]);
    assert_eq!((look().ok(), look().left()), (false, vec![(false, 0)]));
    // What is looked at denies the others' hits before they are taken.
    let both = asking.send(1, vec![hits("a=1", 0, false), descriptor("b=1")]).unwrap();
    assert_eq!((both.ok(), both.left()), (false, vec![(false, 0), (true, 20)]));
    let both = asking.send(1, vec![hits("a=2", 0, false), descriptor("b=1")]).unwrap();
    assert_eq!((both.ok(), both.left()), (true, vec![(true, 10), (true, 19)]));
}

#[test]
fn negative_hits_give_back() {
    let (_redis, service) = started();
    let asking = service.asking("d");
    asking.hit(10, &["a=1"]);
    assert!(!asking.ask(&["a=1"]).ok());
    let back = asking.send(0, vec![hits("a=1", 3, true)]).unwrap();
    assert_eq!((back.ok(), back.left()), (true, vec![(true, 3)]));
    // Never beyond full, and together with another's hits.
    let back = asking.send(0, vec![hits("a=1", 100, true), descriptor("b=1")]).unwrap();
    assert_eq!(back.left(), [(true, 10), (true, 19)]);
    assert!(asking.send(0, vec![hits("a=9", 5, true)]).unwrap().ok());
    assert_eq!(back.headers()[1], "RateLimit: \"second\";r=19;t=3599", "{:?}", back.headers());
}

/// The key's last grant was on another limit, as while two versions of the
/// configuration are in use: what is given back goes to the limit that is named.
#[test]
fn negative_hits_give_back_on_the_limits_that_are_named() {
    let (redis, service) = started();
    let asking = service.asking("d");
    asking.hit(10, &["c=1"]);
    redis.line("RL.ACQUIRE envoy:{d}:c=1 50/h:name=old COST 20");
    let back = asking.send(0, vec![hits("c=1", 4, true)]).unwrap();
    assert_eq!(back.left(), [(true, 94)]);
    let old = redis.line("RL.QUOTA envoy:{d}:c=1 50/h:name=old");
    assert_eq!(old.items()[0].field("used").int(), 20, "nothing comes back there");
}

/// A pin wins over the rule, so it is what granted.
#[test]
fn negative_hits_give_back_on_a_pinned_key() {
    let (redis, service) = started();
    let asking = service.asking("d");
    redis.ok("RL.PIN envoy:{d}:a=vip 1000/h");
    assert_eq!(asking.hit(500, &["a=vip"]).left(), [(true, 500)]);
    assert_eq!(asking.send(0, vec![hits("a=vip", 200, true)]).unwrap().left(), [(true, 700)]);
    assert_eq!(service.commands(), 5);
}

#[test]
fn a_request_may_bring_its_own_limit() {
    let (_redis, service) = started();
    let asking = service.asking("d");
    let own = |text: &str, requests: u32, unit: RateLimitUnit| RateLimitDescriptor {
        limit: Some(RateLimitOverride { requests_per_unit: requests, unit: unit.into() }),
        ..descriptor(text)
    };
    let ask = |descriptor| asking.send(1, vec![descriptor]);
    let first = ask(own("a=1", 2, RateLimitUnit::Minute)).unwrap();
    assert_eq!((first.left(), first.limit(0)), (vec![(true, 1)], "2/MINUTE".into()));
    assert!(ask(own("a=1", 2, RateLimitUnit::Minute)).unwrap().ok());
    assert!(!ask(own("a=1", 2, RateLimitUnit::Minute)).unwrap().ok());
    // On descriptors without a limit, too; one of 0 denies.
    assert_eq!(ask(own("free=1", 7, RateLimitUnit::Year)).unwrap().limit(0), "7/YEAR");
    assert!(!ask(own("free=2", 0, RateLimitUnit::Day)).unwrap().ok());
    assert_eq!(ask(own("a=1", 2, RateLimitUnit::Unknown)).unwrap_err().code(), Code::InvalidArgument);
    let unknown = service.asking("unknown").send(1, vec![own("a=1", 0, RateLimitUnit::Day)]).unwrap();
    assert!(unknown.ok(), "a domain that is not configured has no limits");
}

#[test]
fn several_limits_of_one_descriptor() {
    let (redis, service) = started();
    let asking = service.asking("d");
    let first = asking.hit(4, &["two=1"]);
    assert_eq!((first.left(), first.limit(0)), (vec![(true, 1)], "5/SECOND 5/s".into()));
    assert_eq!(
        first.headers()[..2],
        ["RateLimit-Policy: \"5/s\";q=5;w=1, \"hourly\";q=8;w=3600", "RateLimit: \"5/s\";r=1;t=1"]
    );
    redis.clock_advance(1_000_000);
    assert!(asking.hit(4, &["two=1"]).ok());
    redis.clock_advance(1_000_000);
    let denied = asking.ask(&["two=1"]);
    assert_eq!((denied.left(), denied.limit(0)), (vec![(false, 0)], "8/HOUR hourly".into()));
    assert_eq!(denied.headers()[1], "RateLimit: \"hourly\";r=0;t=3598");
}

#[test]
fn a_limit_of_nothing_denies_for_ever() {
    let (_redis, service) = started();
    let answer = service.asking("d").ask(&["none=1"]);
    assert_eq!((answer.ok(), answer.limit(0)), (false, "0/SECOND".into()));
    assert!(
        !answer.headers().iter().any(|header| header.starts_with("Retry-After")),
        "{:?}",
        answer.headers()
    );
}

#[test]
fn a_request_that_says_nothing_is_refused() {
    let (_redis, service) = started();
    assert_eq!(
        service.asking("").send(1, vec![descriptor("a=1")]).unwrap_err().code(),
        Code::InvalidArgument
    );
    assert_eq!(service.asking("d").send(1, vec![]).unwrap_err().code(), Code::InvalidArgument);
    // Descriptors without entries meet nothing.
    assert!(service.asking("d").ask(&[""]).ok());
    assert_eq!(service.metric("ratelimit_service_should_rate_limit_error{err_type=\"service_error\"}"), 2);
}

#[test]
fn an_operators_word_holds_here_too() {
    let (redis, service) = started();
    let asking = service.asking("d");
    redis.ok("RL.BLOCK envoy:{d}:a=bad FOREVER");
    redis.ok("RL.PIN envoy:{d}:a=vip 1000/s");
    assert_eq!(asking.ask(&["a=bad"]).left(), [(false, 0)]);
    assert!(!asking.send(1, vec![hits("a=bad", 0, false)]).unwrap().ok());
    assert_eq!(asking.hit(500, &["a=vip"]).left(), [(true, 500)]);
    assert_eq!(redis.line("RL.UNBLOCK envoy:{d}:a=bad").int(), 1);
    assert!(asking.ask(&["a=bad"]).ok());
}

/// A pin's unit is not in the reply, so no unit is told. No header tells the rule that the pin
/// replaces.
#[test]
fn figures_of_pins_and_blocks_are_theirs() {
    let (redis, service) = started();
    let asking = service.asking("d");
    redis.ok("RL.PIN envoy:{d}:a=vip 3/m");
    let answer = asking.ask(&["a=vip"]);
    assert_eq!(answer.limit(0), "3/UNKNOWN");
    assert_eq!(
        answer.headers(),
        ["X-RateLimit-Limit: 3", "X-RateLimit-Remaining: 2", "X-RateLimit-Reset: 60"]
    );
    asking.ask(&["a=bad"]);
    redis.ok("RL.BLOCK envoy:{d}:a=bad FOR 1h");
    for n in [0, 1] {
        let answer = asking.send(0, vec![hits("a=bad", n, false)]).unwrap();
        assert_eq!((answer.ok(), answer.reset_ms(0)), (false, Some(3_600_000)), "{n} hits");
        assert!(answer.headers().contains(&"Retry-After: 3600".to_owned()), "{answer:?}");
    }
}

#[test]
fn hostile_names_are_names() {
    let (_redis, service) = started();
    let asking = service.asking("d");
    let mut strange = descriptor("a");
    for value in ["}{", "\r\nFLUSHALL", "%7D", "", "~", "a=1,b=2", "\u{0}", "ключ", &"x".repeat(20_000)] {
        strange.entries[0].value = value.to_owned();
        let first = asking.send(10, vec![strange.clone()]).unwrap();
        assert_eq!(first.left(), [(true, 0)], "{value:?}");
        assert!(!asking.send(1, vec![strange.clone()]).unwrap().ok(), "{value:?}");
    }
}
