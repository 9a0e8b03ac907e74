//! Policies as JSON, for people and their version control:
//!
//! ```json
//! {"policies":[{"name":"free","limits":"100/m","prefix":"user:","breaker":"50%/60s"}]}
//! ```
//!
//! `prefix` and `breaker` may be left out or null. A prefix that is not UTF-8 is written as
//! `prefix_hex`.

use crate::core::policies::{Policies, Policy, PolicyRefused};
use crate::core::text::token::shown;
use serde::de::value::MapDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::fmt;
use std::marker::PhantomData;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonPolicy {
    name: String,
    limits: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prefix_hex: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    breaker: Option<String>,
}

#[derive(Debug, Serialize)]
struct Document {
    policies: Vec<JsonPolicy>,
}

/// A document to import.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Input {
    Entries(Vec<Entry>),
    Document(JsonObject<Vec<Entry>>),
}

/// An entry of a document, before it is known to be right.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Entry {
    Object(JsonObject<Value>),
    Other(Value),
}

/// The fields of an object in their order, those that come again too.
#[derive(Debug)]
struct JsonObject<V>(Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for JsonObject<V> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(JsonObjectVisitor(PhantomData))
    }
}

struct JsonObjectVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for JsonObjectVisitor<V> {
    type Value = JsonObject<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(JsonObject(fields))
    }
}

/// The reason for which an import is refused. The text is for the client, without the error's code.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The document is not JSON.
    #[error("invalid JSON: {0}")]
    Json(serde_json::Error),
    /// The document is JSON of another form.
    #[error("invalid JSON: expected {{\"policies\": [ ... ]}} or an array of policies")]
    Form,
    /// An entry is bad.
    #[error("policy {entry}: {reason}")]
    Entry {
        /// The name of the entry in quotes, or its position.
        entry: String,
        /// The reason.
        reason: String,
    },
}

/// Writes all policies in one line, in the order of their names.
///
/// # Errors
/// None can happen; the type comes from serde.
pub fn export(policies: &Policies) -> Result<String, serde_json::Error> {
    let entry = |policy: &Policy| {
        let prefix = policies.prefix_of(policy);
        let text = prefix.map(std::str::from_utf8);
        JsonPolicy {
            name: policy.name.as_str().to_owned(),
            limits: policy.text.to_string(),
            prefix: text.and_then(Result::ok).map(str::to_owned),
            prefix_hex: match (text, prefix) {
                (Some(Err(_)), Some(bytes)) => Some(hex(bytes)),
                _ => None,
            },
            breaker: policy.breaker.as_ref().map(|(text, _)| text.to_string()),
        }
    };
    serde_json::to_string(&Document { policies: policies.iter().map(entry).collect() })
}

/// What an import does with an entry whose policy exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// The entry replaces the policy.
    Replaced,
    /// The entry is bad.
    Refused,
}

/// Reads the policies that an import would set. Either all are accepted or none.
///
/// # Errors
/// Names the first bad entry and the reason.
pub fn import(policies: &Policies, json: &[u8], existing: Existing) -> Result<Vec<Policy>, Unreadable> {
    let entries = entries(json)?;
    let mut read = Vec::with_capacity(entries.len());
    for (at, entry) in entries.into_iter().enumerate() {
        let title = entry
            .name()
            .map_or_else(|| format!("at position {at}"), |name| format!("'{}'", shown(name.as_bytes())));
        let refused = |reason: String| Unreadable::Entry { entry: title.clone(), reason };
        let policy = entry.policy().map_err(|error| refused(error.to_string()))?;
        let policy = policy.read().map_err(refused)?;
        if existing == Existing::Refused && policies.get(&policy.name).is_some() {
            return Err(refused(PolicyRefused::Exists.to_string()));
        }
        read.push(policy);
    }
    policies.check(&read).map_err(|(at, refused)| Unreadable::Entry {
        entry: read.get(at).map_or_else(String::new, |policy| format!("'{}'", policy.name)),
        reason: refused.to_string(),
    })?;
    Ok(read)
}

fn entries(json: &[u8]) -> Result<Vec<Entry>, Unreadable> {
    match serde_json::from_slice(json) {
        Ok(Input::Entries(entries)) => Ok(entries),
        Ok(Input::Document(JsonObject(mut fields))) => match (fields.pop(), fields.is_empty()) {
            (Some((name, entries)), true) if name == "policies" => Ok(entries),
            _ => Err(Unreadable::Form),
        },
        Err(error) if error.is_data() => Err(Unreadable::Form),
        Err(error) => Err(Unreadable::Json(error)),
    }
}

impl Entry {
    /// The name that the entry gives first.
    fn name(&self) -> Option<&str> {
        let Self::Object(JsonObject(fields)) = self else { return None };
        fields.iter().find(|(field, _)| field == "name").and_then(|(_, name)| name.as_str())
    }

    fn policy(self) -> Result<JsonPolicy, serde_json::Error> {
        match self {
            Self::Object(JsonObject(fields)) => {
                JsonPolicy::deserialize(MapDeserializer::new(fields.into_iter()))
            }
            Self::Other(value) => serde_json::from_value(value),
        }
    }
}

impl JsonPolicy {
    fn read(&self) -> Result<Policy, String> {
        let prefix = match (&self.prefix, &self.prefix_hex) {
            (Some(_), Some(_)) => return Err("prefix and prefix_hex exclude each other".to_owned()),
            (Some(text), None) => Some(text.as_bytes().to_vec()),
            (None, Some(digits)) => {
                Some(bytes(digits).ok_or_else(|| "prefix_hex is not pairs of hex digits".to_owned())?)
            }
            (None, None) => None,
        };
        Policy::parse(
            self.name.as_bytes(),
            self.limits.as_bytes(),
            prefix.as_deref(),
            self.breaker.as_deref().map(str::as_bytes),
        )
        .map_err(|refused| refused.to_string())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        digits.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    digits?.chunks(2).map(|pair| if let [high, low] = pair { Some(high << 4 | low) } else { None }).collect()
}
