//! The structure of one file. A key that is not named here is an error.

use serde::Deserialize;
use serde_saphyr::Spanned;

/// A file, which describes one domain.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainText {
    pub domain: Spanned<String>,
    pub descriptors: Option<Vec<DescriptorText>>,
}

/// A descriptor with all descriptors below it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescriptorText {
    pub key: Spanned<String>,
    pub value: Option<String>,
    pub rate_limit: Option<RateLimitText>,
    /// Limits in Floodgate's own text, in place of `rate_limit`.
    pub limits: Option<Spanned<String>>,
    pub descriptors: Option<Vec<DescriptorText>>,
    pub shadow_mode: Option<bool>,
    pub quota_mode: Option<bool>,
    pub detailed_metric: Option<bool>,
    pub value_to_metric: Option<bool>,
    pub share_threshold: Option<bool>,
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

/// The limit of a descriptor.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimitText {
    pub unit: Option<Spanned<String>>,
    pub requests_per_unit: Option<Spanned<u32>>,
    pub unlimited: Option<bool>,
    /// Limits in Floodgate's own text, in place of unit and requests.
    pub limits: Option<Spanned<String>>,
    pub name: Option<String>,
    pub replaces: Option<Vec<ReplacesText>>,
}

/// The name of a limit that another limit replaces.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplacesText {
    pub name: Option<Spanned<String>>,
}
