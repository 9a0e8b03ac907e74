//! The examples of envoyproxy/ratelimit's documentation, each with the decisions
//! that its text promises.

use crate::{
    fixtures::{Asking, NOON, Service},
    harness::Server,
};

/// A service for one example.
fn example(config: &str, domain: &str) -> (Server, Service, Asking) {
    let redis = Server::start();
    redis.clock_set(NOON);
    let service = Service::start(&redis, config);
    let asking = service.asking(domain);
    (redis, service, asking)
}

/// How many of so many requests are granted.
fn granted(asking: &Asking, of: u32, descriptors: &[&str]) -> u32 {
    (0..of).map(|_| u32::from(asking.ask(descriptors).ok())).sum()
}

#[test]
fn example_1_two_values_of_a_key() {
    let (redis, _service, asking) = example(
        "
domain: mongo_cps
descriptors:
  - key: database
    value: users
    rate_limit:
      unit: second
      requests_per_unit: 500

  - key: database
    value: default
    rate_limit:
      unit: second
      requests_per_unit: 500
",
        "mongo_cps",
    );
    assert!(asking.hit(500, &["database=users"]).ok());
    assert!(!asking.ask(&["database=users"]).ok());
    assert!(asking.hit(500, &["database=default"]).ok());
    assert!(asking.hit(5000, &["database=other"]).ok());
    redis.clock_advance(1_000_000);
    assert!(asking.hit(500, &["database=users"]).ok());
}

#[test]
fn example_2_nested_and_several_descriptors() {
    let (redis, _service, asking) = example(
        "
domain: messaging
descriptors:
  # Only allow 5 marketing messages a day
  - key: message_type
    value: marketing
    descriptors:
      - key: to_number
        rate_limit:
          unit: day
          requests_per_unit: 5

  # Only allow 100 messages a day to any unique phone number
  - key: to_number
    rate_limit:
      unit: day
      requests_per_unit: 100
",
        "messaging",
    );
    let marketing = "message_type=marketing to_number=2061111111";
    assert_eq!(granted(&asking, 8, &[marketing]), 5);
    assert_eq!(granted(&asking, 8, &["message_type=marketing to_number=2062222222"]), 5);
    assert!(asking.hit(99, &["to_number=2061111111"]).ok());
    // All matching rules count, and the result is over when one is.
    assert!(!asking.ask(&[marketing, "to_number=2061111111"]).ok());
    // Where envoyproxy/ratelimit has now charged the number for a message that was
    // not sent, we have not.
    assert_eq!(asking.ask(&["to_number=2061111111"]).left(), [(true, 0)]);
    assert!(!asking.ask(&["to_number=2061111111"]).ok());
    redis.clock_advance(24 * 3_600_000_000);
    assert!(asking.ask(&[marketing, "to_number=2061111111"]).ok());
}

#[test]
fn example_3_the_more_specific_match() {
    let (_redis, _service, asking) = example(
        "
domain: edge_proxy_per_ip
descriptors:
  - key: remote_address
    rate_limit:
      unit: second
      requests_per_unit: 10

  # Black list IP
  - key: remote_address
    value: 50.0.0.5
    rate_limit:
      unit: second
      requests_per_unit: 0
",
        "edge_proxy_per_ip",
    );
    assert_eq!(granted(&asking, 12, &["remote_address=50.0.0.1"]), 10);
    assert_eq!(granted(&asking, 12, &["remote_address=50.0.0.2"]), 10);
    assert_eq!(granted(&asking, 12, &["remote_address=50.0.0.5"]), 0);
}

#[test]
fn example_4_the_same_depth() {
    let shallow = "
domain: example4
descriptors:
  - key: key
    value: value
    rate_limit:
      requests_per_unit: 300
      unit: second
";
    let (_redis, service, asking) = example(shallow, "example4");
    assert!(asking.hit(301, &["key=value subkey=subvalue"]).ok());
    assert_eq!(service.commands(), 0);
    assert!(!asking.hit(301, &["key=value"]).ok());
    let deep = "
domain: example4
descriptors:
  - key: key
    value: value
    descriptors:
      - key: subkey
        rate_limit:
          requests_per_unit: 300
          unit: second
";
    let (_redis, _service, asking) = example(deep, "example4");
    assert!(asking.hit(300, &["key=value subkey=subvalue"]).ok());
    assert!(!asking.ask(&["key=value subkey=subvalue"]).ok());
}

#[test]
fn example_5_unlimited() {
    let (_redis, service, asking) = example(
        "
domain: internal
descriptors:
  - key: ldap
    rate_limit:
      unlimited: true

  - key: azure
    rate_limit:
      unit: minute
      requests_per_unit: 100
",
        "internal",
    );
    let answer = asking.hit(1_000_000, &["ldap=x"]);
    assert_eq!((answer.ok(), answer.left()), (true, vec![(true, u32::MAX)]));
    assert_eq!(service.commands(), 0);
    assert_eq!(asking.hit(99, &["azure=x", "ldap=x"]).left(), [(true, 1), (true, u32::MAX)]);
}

#[test]
fn example_6_shadow_mode() {
    let (_redis, service, asking) = example(
        "
domain: example6
descriptors:
  - key: service
    descriptors:
      - key: user
        value: user-a
        rate_limit:
          requests_per_unit: 10
          unit: second
        shadow_mode: true
      - key: user
        value: user-b
        rate_limit:
          requests_per_unit: 20
          unit: second
",
        "example6",
    );
    assert_eq!(granted(&asking, 30, &["service=auth-service user=user-a"]), 30);
    assert_eq!(granted(&asking, 30, &["service=auth-service user=user-b"]), 20);
    let figure = |kind: &str| {
        let labels = "{domain=\"example6\",key1=\"service\",key2=\"user_user-a\"}";
        service.metric(&format!("ratelimit_service_rate_limit_{kind}{labels}"))
    };
    assert_eq!(["total_hits", "over_limit", "shadow_mode"].map(figure), [30, 20, 20]);
}

#[test]
fn example_7_replaces() {
    let (_redis, _service, asking) = example(
        "
domain: example7
descriptors:
  - key: key_1
    value: value_1
    descriptors:
      - key: user
        value: bkthomps
        rate_limit:
          name: specific_limit
          requests_per_unit: 5
          unit: second
  - key: key_2
    value: value_2
    descriptors:
      - key: user
        value: bkthomps
        rate_limit:
          replaces:
            - name: specific_limit
          requests_per_unit: 10
          unit: second
",
        "example7",
    );
    let (one, two) = ("key_1=value_1 user=bkthomps", "key_2=value_2 user=bkthomps");
    assert_eq!(granted(&asking, 12, &[one, two]), 10, "the second alone counts");
    assert_eq!(granted(&asking, 12, &[one]), 5, "and the first was not touched");
    assert_eq!(granted(&asking, 12, &[two]), 0);
}

#[test]
fn example_8_detailed_metrics() {
    let (_redis, service, asking) = example(
        "
domain: example8
descriptors:
  - key: key1
    detailed_metric: true
    rate_limit:
      unit: minute
      requests_per_unit: 10
  - key: key1
    value: value1
    rate_limit:
      unit: minute
      requests_per_unit: 20
",
        "example8",
    );
    assert_eq!(granted(&asking, 30, &["key1=unspecified_value"]), 10);
    assert_eq!(granted(&asking, 30, &["key1=unspecified_value2"]), 10);
    assert_eq!(granted(&asking, 30, &["key1=value1"]), 20);
    for name in ["key1_unspecified_value", "key1_unspecified_value2", "key1_value1"] {
        let labels = format!("{{domain=\"example8\",key1=\"{name}\"}}");
        assert_eq!(service.metric(&format!("ratelimit_service_rate_limit_total_hits{labels}")), 30, "{name}");
    }
    let plain = "ratelimit_service_rate_limit_total_hits{domain=\"example8\",key1=\"key1\"}";
    assert_eq!(service.metric(plain), 0);
}

#[test]
fn example_9_a_star_in_the_value() {
    let (_redis, _service, asking) = example(
        "
domain: example9
descriptors:
  - key: key1
    value: value*
    rate_limit:
      unit: minute
      requests_per_unit: 20
",
        "example9",
    );
    assert_eq!(granted(&asking, 25, &["key1=value_1"]), 20);
    assert_eq!(granted(&asking, 25, &["key1=value_2"]), 20);
    assert_eq!(granted(&asking, 25, &["key1=other"]), 25);
}
