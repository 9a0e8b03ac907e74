//! Tests of files that are taken, and of files that are refused with a line and a reason.

use super::build::build;
use super::source::SourceFile;
use super::{Allowance, Config, DenialEffect, UnitAlgorithm, holds};
use crate::matching::find;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;

fn read(text: &str) -> Result<Config, String> {
    let file = SourceFile { path: "f.yaml".into(), text: text.as_bytes().to_vec() };
    build(&[file], UnitAlgorithm::Fixed).map_err(|why| why.to_string())
}

fn entries(text: &str) -> Vec<Entry> {
    text.split_whitespace()
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| Entry { key: key.into(), value: value.into() })
        .collect()
}

/// The limits that a descriptor meets: their text, `unlimited`, or `-` for none.
fn met(config: &Config, domain: &str, descriptor: &str) -> String {
    match find(config, domain, &entries(descriptor)).map(|found| found.allowance) {
        None => "-".into(),
        Some(allowance) => match &*allowance {
            Allowance::Unlimited { .. } => "unlimited".into(),
            Allowance::Limited(rule) => rule.limits.clone(),
        },
    }
}

fn path(config: &Config, descriptor: &str) -> String {
    find(config, "d", &entries(descriptor)).unwrap().path.join(".")
}

#[test]
fn a_star_holds_anything() {
    for (pattern, text) in
        [("a*", "a"), ("a*", "abc"), ("*", ""), ("a*c", "ac"), ("a*b*c", "axbxbxc"), ("**", "x")]
    {
        assert!(holds(pattern, text), "{pattern} {text}");
    }
    for (pattern, text) in [("a*", "ba"), ("a*c", "acb"), ("ab*ba", "aba"), ("a*b*c", "acb"), ("a", "ab")] {
        assert!(!holds(pattern, text), "{pattern} {text}");
    }
}

#[test]
fn the_most_exact_match_wins_and_there_is_no_way_back() {
    let config = read(
        "
domain: d
descriptors:
  - key: path
    rate_limit: {unit: second, requests_per_unit: 1}
  - key: path
    value: /a*
    rate_limit: {unit: minute, requests_per_unit: 2}
  - key: path
    value: /a*z
    rate_limit: {unit: minute, requests_per_unit: 3}
  - key: path
    value: /abc
    rate_limit: {unit: HOUR, requests_per_unit: 4}
  - key: path
    value: '*.png'
    rate_limit: {unit: day, requests_per_unit: 5}
  - key: user
    value: bob
    descriptors:
      - key: path
        value: /x
        rate_limit: {unit: week, requests_per_unit: 6}
  - key: user
    descriptors:
      - key: path
        rate_limit: {unit: month, requests_per_unit: 7}
  - key: free
  - key: all
    rate_limit: {unlimited: true}
  - key: closed
    rate_limit: {unit: year}
",
    )
    .unwrap();
    assert_eq!((config.domains(), config.limits()), (1, 9));
    for (descriptor, limit) in [
        ("path=/abc", "fixed:4/h"),
        // The first in the file wins, not the longest.
        ("path=/abz", "fixed:2/m"),
        ("path=/x.png", "fixed:5/d"),
        ("path=/other", "fixed:1/s"),
        ("path", "fixed:1/s"),
        ("user=bob path=/x", "fixed:6/7d"),
        // Bob has a list of his own, which does not contain /y.
        ("user=bob path=/y", "-"),
        ("user=eve path=/y", "fixed:7/30d"),
        // The request must have exactly as many entries as lead to the limit.
        ("user=eve", "-"),
        ("user=eve path=/y more=1", "-"),
        ("free=1", "-"),
        ("other=1", "-"),
        ("all=1", "unlimited"),
        ("closed=1", "fixed:0/365d"),
    ] {
        assert_eq!(met(&config, "d", descriptor), limit, "{descriptor}");
    }
    assert_eq!(met(&config, "e", "path=/abc"), "-");
    assert!(find(&config, "d", &[]).is_none());
}

#[test]
fn metrics_tell_values_as_asked() {
    let config = read(
        "
domain: d
descriptors:
  - {key: plain, rate_limit: {unit: second, requests_per_unit: 1}}
  - {key: plain, value: known, rate_limit: {unit: second, requests_per_unit: 1}}
  - {key: told, value_to_metric: true, rate_limit: {unit: second, requests_per_unit: 1}}
  - {key: star, value: 'a*', rate_limit: {unit: second, requests_per_unit: 1}}
  - {key: startold, value: 'a*', value_to_metric: true, rate_limit: {unit: second, requests_per_unit: 1}}
  - {key: shared, value: 'a*', share_threshold: true, value_to_metric: true, rate_limit: {unit: second, requests_per_unit: 1}}
  - key: up
    descriptors: [{key: down, detailed_metric: true, rate_limit: {unit: second, requests_per_unit: 1}}]
",
    )
    .unwrap();
    for (descriptor, name) in [
        ("plain=x", "plain"),
        ("plain=known", "plain_known"),
        ("told=x", "told_x"),
        ("star=ab", "star_a*"),
        ("startold=ab", "startold_ab"),
        ("shared=ab", "shared_a*"),
        ("up=1 down=2", "up_1.down_2"),
    ] {
        assert_eq!(path(&config, descriptor), name, "{descriptor}");
    }
    // The pattern, sent as a value, is one of the values that share the limit.
    for value in ["shared=ab", "shared=a*"] {
        let found = find(&config, "d", &entries(value)).unwrap();
        assert_eq!((found.shared, found.path), (vec![Some("a*".to_owned())], vec!["shared_a*".to_owned()]));
    }
    assert_eq!(path(&config, "startold=a*"), "startold_a*");
    assert_eq!(find(&config, "d", &entries("star=ab")).unwrap().shared, [None]);
}

#[test]
fn modes_metadata_and_limits_in_our_own_text() {
    let config = read(
        "
domain: d
descriptors:
  - {key: a, limits: '10/s,1000/h'}
  - {key: b, rate_limit: {limits: 'bucket:5/s:burst=9', name: n, replaces: [{name: m}]}, quota_mode: true}
  - {key: c, shadow_mode: true, quota_mode: true, limits: '@gold', metadata: {team: x, deep: {n: [1, null]}}}
",
    )
    .unwrap();
    let rule = |descriptor: &str| match &*find(&config, "d", &entries(descriptor)).unwrap().allowance {
        Allowance::Limited(rule) => std::sync::Arc::clone(rule),
        Allowance::Unlimited { .. } => panic!("limited"),
    };
    assert_eq!(rule("a=1").limits, "10/s,1000/h");
    assert_eq!(rule("a=1").facts[1].window, Some(3600));
    let b = rule("b=1");
    assert_eq!(
        (b.mode, b.name.as_str(), b.replaces.as_slice()),
        (DenialEffect::Quota, "n", ["m".to_owned()].as_slice())
    );
    assert_eq!(
        (b.facts[0].capacity, b.facts[0].window, b.facts[0].unit),
        (Some(9), Some(2), Some(super::TimeUnit::Second))
    );
    let c = rule("c=1");
    assert_eq!((c.mode, c.facts[0].capacity), (DenialEffect::Shadow, None));
    assert_eq!(c.metadata.as_ref().unwrap()["deep"]["n"][0], 1);
}

#[test]
fn sliding_and_bucket_change_how_units_count() {
    let text = b"domain: d\ndescriptors:\n  - {key: a, rate_limit: {unit: week, requests_per_unit: 3}}\n  - {key: b, rate_limit: {unit: day}}\n";
    let file = SourceFile { path: "f.yaml".into(), text: text.to_vec() };
    let sliding = build(std::slice::from_ref(&file), UnitAlgorithm::Sliding).unwrap();
    assert_eq!((met(&sliding, "d", "a=1").as_str(), met(&sliding, "d", "b=1").as_str()), ("3/7d", "0/d"));
    let bucket = build(&[file], UnitAlgorithm::Bucket).unwrap();
    assert_eq!(
        (met(&bucket, "d", "a=1").as_str(), met(&bucket, "d", "b=1").as_str()),
        ("bucket:3/7d", "fixed:0/d")
    );
}

#[test]
fn yaml_as_people_write_it() {
    let config = read("---\n# a comment\ndomain: d\ndescriptors:\n- key: a\n  value: 5\n  shadow_mode: yes\n  rate_limit:\n    unit: Minute\n    requests_per_unit: 4294967295\n- key: b\n  value:\n  rate_limit:\n  descriptors:\n").unwrap();
    assert_eq!(met(&config, "d", "a=5"), "fixed:4294967295/m");
    assert_eq!(read("domain: d\n").unwrap().limits(), 0);
    // A value is text, whatever it looks like. Anchors and merges are features of YAML.
    let config = read(
        "
domain: d
descriptors:
  - {key: 404, value: true, rate_limit: &one {unit: second, requests_per_unit: 1}}
  - {key: v, value: 1.50, rate_limit: *one}
  - {key: v, value: 0x10, rate_limit: {<<: *one, requests_per_unit: 2}}
  - {key: v, value: ~, rate_limit: *one}
",
    )
    .unwrap();
    assert_eq!(
        ["404=true", "v=1.50", "v=other"].map(|descriptor| met(&config, "d", descriptor)),
        ["fixed:1/s"; 3]
    );
    assert_eq!(met(&config, "d", "v=0x10"), "fixed:2/s");
}

#[test]
fn what_is_refused_and_where() {
    let with = |descriptor: &str| {
        format!("domain: d\ndescriptors:\n  - key: a\n    rate_limit: {{unit: second}}\n{descriptor}")
    };
    for (text, place, reason) in [
        ("# nothing\n".into(), "f.yaml: ", "domain"),
        ("domain:\n".into(), "f.yaml:1:7: ", "the text is missing after ':'"),
        ("domain: [d]\n".into(), "f.yaml:1:9: ", "expected a text"),
        (with("  - key: b\n    limits: @gold\n"), "f.yaml:6:13: ", "needs quotes, such as '@gold'"),
        ("domain: d\ndescriptors:\n\t- key: a\n".into(), "f.yaml:3:2: ", "with blanks, not with tabs"),
        ("domain: ''\n".into(), "f.yaml:1:9: ", "the domain is empty"),
        ("descriptors: []\n".into(), "f.yaml:1", "domain"),
        ("domain: d\nlimits: 3\n".into(), "f.yaml:2:1: ", "limits"),
        (with("  - key: ''\n"), "f.yaml:5:10: ", "the key of a descriptor is empty"),
        (with("  - value: x\n"), "f.yaml:5", "key"),
        (with("  - key: a\n"), "f.yaml:5:10: ", "'d.a' is there twice"),
        (with("  - key: b\n    ratelimit: {}\n"), "f.yaml:6:5: ", "ratelimit"),
        (
            with("  - key: b\n    rate_limit: {unit: minute, unit_multiplier: 3}\n"),
            "f.yaml:6:32: ",
            "unit_multiplier",
        ),
        (with("  - key: b\n    rate_limit: {requests_per_unit: 3}\n"), "f.yaml:5:10: ", "has no unit"),
        (
            with("  - key: b\n    rate_limit: {unit: fortnight}\n"),
            "f.yaml:6:24: ",
            "'fortnight' is not second",
        ),
        (with("  - key: b\n    rate_limit: {unit: day, requests_per_unit: -1}\n"), "f.yaml:6", NUMBER),
        (
            with("  - key: b\n    rate_limit: {unit: day, requests_per_unit: 4294967296}\n"),
            "f.yaml:6",
            NUMBER,
        ),
        (with("  - key: b\n    rate_limit: {unit: day, requests_per_unit: 5.0}\n"), "f.yaml:6", NUMBER),
        (with("  - key: b\n    rate_limit: {unit: day, requests_per_unit: 1e3}\n"), "f.yaml:6", NUMBER),
        (with("  - key: b\n    shadow_mode: maybe\n"), "f.yaml:6:18: ", "expected true or false"),
        (
            with("  - key: b\n    rate_limit: {unit: day, unit: hour}\n"),
            "f.yaml:6:29: ",
            "'unit' is there twice: leave one of them out",
        ),
        (with("---\ndomain: e\n"), "f.yaml:6:1: ", "put what follows '---' into a file of its own"),
        (with("  - value: x\n"), "f.yaml:5:5: ", "'key' is missing"),
        ("domain: d\ndescriptors:\n  key: a\n".into(), "f.yaml:3:3: ", "a list, whose items begin with '- '"),
        ("- a\n".into(), "f.yaml:1:1: ", "such as 'domain: NAME'"),
        (deep(), "f.yaml:", "descriptors are nested too deeply"),
        (
            with("  - key: b\n    rate_limit: {unlimited: true, unit: day}\n"),
            "f.yaml:6:41: ",
            "unlimited and has a unit",
        ),
        (
            with("  - key: b\n    rate_limit: {unit: day, name: n, replaces: [{name: n}]}\n"),
            "f.yaml:6:56: ",
            "replaces itself",
        ),
        (
            with("  - key: b\n    rate_limit: {unit: day, replaces: [{name: ''}]}\n"),
            "f.yaml:5:10: ",
            "without a name",
        ),
        (
            with("  - key: b\n    value: x\n    share_threshold: true\n"),
            "f.yaml:5:10: ",
            "share_threshold needs a '*'",
        ),
        (with("  - key: b\n    limits: 10/\n"), "f.yaml:6:13: ", "invalid limit '10/': missing period"),
        (with("  - key: b\n    limits: concurrent:3\n"), "f.yaml:6:13: ", "'concurrent'"),
        (
            with("  - key: b\n    limits: 9/h,5/m:name=rlqs-lease\n"),
            "f.yaml:6:13: ",
            "names such as 'rlqs-lease' are this service's own: choose one without 'rlqs-'",
        ),
        (with("  - key: b\n    limits: '*'\n"), "f.yaml:6:13: ", "names no limits"),
        (
            with("  - key: b\n    limits: 1/s\n    rate_limit: {unit: day}\n"),
            "f.yaml:5:10: ",
            "leave one of them out",
        ),
        (
            with("  - key: b\n    rate_limit: {unit: day, limits: 1/s}\n"),
            "f.yaml:6:24: ",
            "leave one of them out",
        ),
        (with("  - [1, 2]\n"), "f.yaml:5", ""),
        ("domain: [\n".into(), "f.yaml:", ""),
    ] {
        let why = read(&text).err().unwrap_or_else(|| panic!("taken: {text}"));
        assert!(why.starts_with(place) && why.contains(reason), "{text}\n{why}");
        assert_eq!(why.lines().count(), 1, "{why}");
    }
}

/// What is said of a number that is none.
const NUMBER: &str = "requests_per_unit must be a whole number from 0 to 4294967295";

/// A file whose descriptors stand in each other, 500 deep.
fn deep() -> String {
    let mut text = "domain: d\n".to_owned();
    for depth in 0..500 {
        let blanks = " ".repeat(2 * depth);
        text.push_str(&format!("{blanks}descriptors:\n{blanks}- key: a\n"));
    }
    text
}

#[test]
fn one_domain_stands_in_one_file() {
    let file = |name: &str| SourceFile { path: name.into(), text: b"domain: d\n".to_vec() };
    let why = build(&[file("a.yaml"), file("b.yaml")], UnitAlgorithm::Fixed).unwrap_err().to_string();
    assert_eq!(why, "b.yaml:1:9: another file has the domain 'd', too");
}
