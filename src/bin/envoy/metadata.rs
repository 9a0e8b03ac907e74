//! The dynamic metadata of an answer, under the names of envoyproxy/ratelimit. It has the request,
//! the limits in quota mode that were over, and the metadata that the configuration gives to the
//! limits that granted.

use envoy_types::pb::envoy::service::ratelimit::v3::RateLimitRequest;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{ListValue, Struct, Value};
use serde_json::Value as Json;

/// What the metadata says beside the request itself.
pub struct MetadataParts<'a> {
    /// True if a limit of the request is in quota mode.
    pub quota_mode: bool,
    /// The positions of the descriptors whose limit in quota mode was over.
    pub violations: Vec<usize>,
    /// The configured metadata of the limits that granted, in their order.
    pub granted: Vec<&'a serde_json::Map<String, Json>>,
}

/// Makes the structure that Envoy puts into `envoy.filters.http.ratelimit`.
pub fn metadata(request: &RateLimitRequest, parts: &MetadataParts<'_>) -> Struct {
    let mut fields = vec![("domain", string(&request.domain))];
    let descriptors = request.descriptors.iter().map(|descriptor| {
        let entries =
            descriptor.entries.iter().map(|entry| string(&format!("{}={}", entry.key, entry.value)));
        structure([("entries", list(entries))])
    });
    fields.push(("descriptors", list(descriptors)));
    if request.hits_addend != 0 {
        fields.push(("hitsAddend", number(f64::from(request.hits_addend))));
    }
    fields.push(("quotaModeEnabled", kind(Kind::BoolValue(parts.quota_mode))));
    if !parts.violations.is_empty() {
        // Positions are small numbers, so the conversion is exact.
        let places = parts.violations.iter().map(|&at| number(u32::try_from(at).unwrap_or(u32::MAX).into()));
        fields.push(("quotaModeViolations", list(places)));
    }
    let mut merged = serde_json::Map::new();
    for own in &parts.granted {
        merge(&mut merged, own);
    }
    if !merged.is_empty() {
        fields.push(("metadata", of_json(&Json::Object(merged))));
    }
    match structure(fields).kind {
        Some(Kind::StructValue(structure)) => structure,
        _ => Struct::default(),
    }
}

/// Merges `from` into `into`. Structures of one name are merged. Of other values of one name the
/// first stays.
fn merge(into: &mut serde_json::Map<String, Json>, from: &serde_json::Map<String, Json>) {
    for (name, value) in from {
        match (into.get_mut(name), value) {
            (None, _) => {
                into.insert(name.clone(), value.clone());
            }
            (Some(Json::Object(into)), Json::Object(from)) => merge(into, from),
            (Some(_), _) => {}
        }
    }
}

fn of_json(json: &Json) -> Value {
    match json {
        Json::Null => kind(Kind::NullValue(0)),
        Json::Bool(yes) => kind(Kind::BoolValue(*yes)),
        Json::Number(n) => number(n.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => string(text),
        Json::Array(items) => list(items.iter().map(of_json)),
        Json::Object(fields) => structure(fields.iter().map(|(name, value)| (name.as_str(), of_json(value)))),
    }
}

const fn kind(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn string(text: &str) -> Value {
    kind(Kind::StringValue(text.to_owned()))
}

const fn number(n: f64) -> Value {
    kind(Kind::NumberValue(n))
}

fn list(values: impl IntoIterator<Item = Value>) -> Value {
    kind(Kind::ListValue(ListValue { values: values.into_iter().collect() }))
}

fn structure<'n>(fields: impl IntoIterator<Item = (&'n str, Value)>) -> Value {
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    kind(Kind::StructValue(Struct { fields }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_of_two_names_stays() {
        let object = |json: Json| json.as_object().cloned().unwrap();
        let mut merged = object(json!({"name": "a", "in": {"x": 1}}));
        merge(&mut merged, &object(json!({"name": "b", "more": [true], "in": {"x": 2, "y": null}})));
        assert_eq!(Json::Object(merged), json!({"name": "a", "more": [true], "in": {"x": 1, "y": null}}));
    }

    #[test]
    fn names_are_those_of_the_reference() {
        let request = RateLimitRequest { domain: "d".into(), hits_addend: 5, ..RateLimitRequest::default() };
        let own = json!({"name": "s"});
        let parts =
            MetadataParts { quota_mode: true, violations: vec![1], granted: vec![own.as_object().unwrap()] };
        let made = metadata(&request, &parts);
        let mut names: Vec<&str> = made.fields.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["descriptors", "domain", "hitsAddend", "metadata", "quotaModeEnabled", "quotaModeViolations"]
        );
    }
}
