//! Builds a [`Config`] of files, with a reason for every refusal.

use super::file::{DescriptorText, DomainText, RateLimitText};
use super::source::SourceFile;
use super::{
    Allowance, Config, ConfigError, DenialEffect, DescriptorLevel, DescriptorLimits, DescriptorNode,
    TimeUnit, UnitAlgorithm,
};
use serde_saphyr::{Location, Spanned};
use std::path::Path;
use std::sync::Arc;

/// Reads all files. If one of them is refused, all are.
///
/// # Errors
/// [`ConfigError`] with the file, the line and the reason of the first fault.
pub fn build(files: &[SourceFile], algorithm: UnitAlgorithm) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    for SourceFile { path, text } in files {
        let text = std::str::from_utf8(text).map_err(|_| ConfigError::whole(path, "is not UTF-8"))?;
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Err(ConfigError::whole(path, "is empty: a file begins with 'domain: NAME'"));
        }
        let read = serde_saphyr::from_str::<DomainText>(text).map_err(|why| malformed(path, &why))?;
        let domain = &read.domain;
        if domain.value.is_empty() {
            return Err(ConfigError::at(path, domain.referenced, "the domain is empty"));
        }
        if config.domains.contains_key(&domain.value) {
            let reason = format!("another file has the domain '{}', too", domain.value);
            return Err(ConfigError::at(path, domain.referenced, reason));
        }
        let reader = ConfigReader { path, algorithm };
        let level = reader.level(read.descriptors.unwrap_or_default(), &domain.value)?;
        config.domains.insert(read.domain.value, level);
    }
    Ok(config)
}

/// The error of the YAML reader in one line.
fn malformed(path: &Path, why: &serde_saphyr::Error) -> ConfigError {
    let plain = why.without_snippet();
    let text = plain.to_string();
    let line = text.lines().next().unwrap_or("is not YAML");
    match plain.location() {
        Some(location) => {
            // The place already stands in front of the text, so it is cut out of the text.
            let place = format!(" at line {}, column {}", location.line(), location.column());
            ConfigError::at(path, location, in_words(&line.replace(&place, "")))
        }
        None => ConfigError::whole(path, in_words(line)),
    }
}

/// The error of the YAML reader in the words of those who write the file, with the way out.
fn in_words(line: &str) -> String {
    let known = [
        ("invalid u32", "requests_per_unit must be a whole number from 0 to 4294967295"),
        ("invalid boolean", "expected true or false"),
        ("multiple YAML documents", "a file has one domain: put what follows '---' into a file of its own"),
        ("budget breached: Depth", "descriptors are nested too deeply"),
        ("cannot deserialize null into string", "the text is missing after ':'"),
        ("expected string scalar", "expected a text"),
        ("unexpected character: `@'", "a text that begins with @ needs quotes, such as '@gold'"),
        ("tabs disallowed", "indent with blanks, not with tabs"),
        ("expected sequence start", "expected a list, whose items begin with '- '"),
        ("expected mapping start", "expected names with values, such as 'domain: NAME'"),
    ];
    if let Some((_, words)) = known.iter().find(|(start, _)| line.starts_with(start)) {
        return (*words).to_owned();
    }
    let twice = line.strip_prefix("duplicate mapping key: ").and_then(|rest| rest.split(", set ").next());
    if let Some(name) = twice {
        return format!("'{name}' is there twice: leave one of them out");
    }
    match line.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        Some(name) => format!("'{name}' is missing"),
        None => line.to_owned(),
    }
}

/// The file that is being read, and how its units count.
struct ConfigReader<'f> {
    path: &'f Path,
    algorithm: UnitAlgorithm,
}

impl ConfigReader<'_> {
    fn refuse(&self, at: Location, reason: impl Into<String>) -> ConfigError {
        ConfigError::at(self.path, at, reason)
    }

    /// Reads the descriptors of one level.
    fn level(&self, texts: Vec<DescriptorText>, above: &str) -> Result<DescriptorLevel, ConfigError> {
        let mut level = DescriptorLevel::default();
        for text in texts {
            let at = text.key.referenced;
            if text.key.value.is_empty() {
                return Err(self.refuse(at, "the key of a descriptor is empty"));
            }
            let own = match text.value.as_deref() {
                None | Some("") => text.key.value.clone(),
                Some(value) => format!("{}_{value}", text.key.value),
            };
            let full = format!("{above}.{own}");
            if level.names(&own) {
                return Err(self.refuse(at, format!("the descriptor '{full}' is there twice")));
            }
            let wildcard = own.contains('*');
            let share_threshold = text.share_threshold.unwrap_or(false);
            if share_threshold && !wildcard {
                let reason = format!("share_threshold needs a '*' in the value, and '{full}' has none");
                return Err(self.refuse(at, reason));
            }
            let node = DescriptorNode {
                detailed_metric: text.detailed_metric.unwrap_or(false),
                value_to_metric: text.value_to_metric.unwrap_or(false),
                share_threshold,
                allowance: self.allowance(&text, &full)?.map(Arc::new),
                below: self.level(text.descriptors.unwrap_or_default(), &full)?,
            };
            if wildcard {
                level.wildcards.push((own, node));
            } else {
                level.entries.insert(own, node);
            }
        }
        Ok(level)
    }

    fn allowance(&self, text: &DescriptorText, full: &str) -> Result<Option<Allowance>, ConfigError> {
        let at = text.key.referenced;
        let mut rule = match (&text.rate_limit, &text.limits) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                let reason = format!("'{full}' has rate_limit and limits: leave one of them out");
                return Err(self.refuse(at, reason));
            }
            (None, Some(limits)) => self.written(limits)?,
            (Some(limit), None) if limit.unlimited.unwrap_or(false) => {
                return self.unlimited(limit, at, full).map(Some);
            }
            (Some(limit), None) => self.rate_limit(limit, at, full)?,
        };
        rule.mode = match (text.shadow_mode.unwrap_or(false), text.quota_mode.unwrap_or(false)) {
            (true, _) => DenialEffect::Shadow,
            (false, true) => DenialEffect::Quota,
            (false, false) => DenialEffect::Enforced,
        };
        rule.metadata.clone_from(&text.metadata);
        Ok(Some(Allowance::Limited(Arc::new(rule))))
    }

    fn written(&self, limits: &Spanned<String>) -> Result<DescriptorLimits, ConfigError> {
        DescriptorLimits::written(&limits.value).map_err(|why| self.refuse(limits.referenced, why))
    }

    fn unlimited(&self, text: &RateLimitText, at: Location, full: &str) -> Result<Allowance, ConfigError> {
        if let Some(unit) = &text.unit {
            return Err(self.refuse(unit.referenced, format!("'{full}' is unlimited and has a unit")));
        }
        if let Some(limits) = &text.limits {
            return Err(self.refuse(limits.referenced, format!("'{full}' is unlimited and has limits")));
        }
        Ok(Allowance::Unlimited { replaces: self.replaces(text, at, full)? })
    }

    fn rate_limit(
        &self,
        text: &RateLimitText,
        at: Location,
        full: &str,
    ) -> Result<DescriptorLimits, ConfigError> {
        let replaces = self.replaces(text, at, full)?;
        let name = text.name.clone().unwrap_or_default();
        let rule = match (&text.unit, &text.limits) {
            (Some(unit), Some(_)) => {
                let reason = format!("'{full}' has a unit and limits: leave one of them out");
                return Err(self.refuse(unit.referenced, reason));
            }
            (None, Some(limits)) => {
                if let Some(requests) = &text.requests_per_unit {
                    let reason = format!("'{full}' has requests_per_unit and limits: leave one of them out");
                    return Err(self.refuse(requests.referenced, reason));
                }
                self.written(limits)?
            }
            (None, None) => {
                let reason = format!(
                    "the rate_limit of '{full}' has no unit: second, minute, hour, day, week, month or year"
                );
                return Err(self.refuse(at, reason));
            }
            (Some(unit), None) => {
                let Some(known) = TimeUnit::parse(&unit.value) else {
                    let reason = format!(
                        "the unit '{}' is not second, minute, hour, day, week, month or year",
                        unit.value
                    );
                    return Err(self.refuse(unit.referenced, reason));
                };
                // As in envoyproxy/ratelimit, a missing number allows no requests.
                let requests = text.requests_per_unit.as_ref().map_or(0, |requests| requests.value);
                DescriptorLimits::new(self.algorithm, requests, known)
            }
        };
        Ok(DescriptorLimits { name, replaces, ..rule })
    }

    fn replaces(&self, text: &RateLimitText, at: Location, full: &str) -> Result<Vec<String>, ConfigError> {
        let mut names = Vec::new();
        for replaced in text.replaces.iter().flatten() {
            let Some(name) = replaced.name.as_ref().filter(|name| !name.value.is_empty()) else {
                return Err(self.refuse(at, format!("'{full}' replaces a limit without a name")));
            };
            if text.name.as_ref() == Some(&name.value) {
                return Err(
                    self.refuse(name.referenced, format!("'{full}' replaces itself, '{}'", name.value))
                );
            }
            names.push(name.value.clone());
        }
        Ok(names)
    }
}
