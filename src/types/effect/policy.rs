//! A change of the table of policies, as it is applied here and on every
//! replica, and as RDB and AOF keep it.

use crate::core::limits::Label;
use crate::core::limits::spec::MAX_LABEL;
use crate::core::text::prefix::MAX_PREFIX;
use crate::core::wire::{Corrupt, Reader, put_bytes, put_u64};
use crate::types::policies::{Policies, Policy, put_policy};
use std::ffi::CStr;

/// The internal command that carries changes: `RL.NODE payload`.
pub const COMMAND: &CStr = c"RL.NODE";

/// The encoding that this version writes, inside every payload.
const VERSION: u64 = 1;

/// The longest text of limits or a breaker.
const LONGEST_TEXT: usize = 4096;

/// What changes. The version that the table has afterwards travels along, so
/// that a replica counts as its master does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyChange {
    /// These are all that there are.
    All(Vec<Policy>),
    /// These are set; the others stay.
    Set(Vec<Policy>),
    /// This one goes.
    Delete(Label),
}

impl Policies {
    /// The payload of a change that is about to be applied here.
    pub fn encode_next(&self, change: &PolicyChange) -> Vec<u8> {
        encode(self.version.saturating_add(1), change)
    }

    /// The payload that brings another node to exactly this table.
    pub fn encode_all(&self) -> Vec<u8> {
        encode(self.version, &PolicyChange::All(self.iter().cloned().collect()))
    }

    /// Applies what [`Policies::encode_next`] or [`Policies::encode_all`] wrote.
    /// Names the policies whose breaker version 0.1 kept with a duration without a
    /// unit: it is milliseconds, and written so from now on.
    ///
    /// # Errors
    /// The payload is cut, malformed or does not fit the table; nothing has
    /// changed then.
    pub fn apply(&mut self, payload: &[u8]) -> Result<Vec<Label>, Corrupt> {
        let mut unitless = Vec::new();
        let (version, change) = decode(payload, &mut unitless)?;
        let unfit = |_| Corrupt("policies that do not fit together");
        match change {
            PolicyChange::All(policies) => {
                let mut next = Self::default();
                next.check(&policies).map_err(unfit)?;
                next.put(policies);
                *self = next;
            }
            PolicyChange::Set(policies) => {
                self.check(&policies).map_err(unfit)?;
                self.put(policies);
            }
            PolicyChange::Delete(name) => self.take(&name),
        }
        // An empty table is not kept anywhere, so it starts counting anew everywhere.
        self.version = if self.is_empty() { 0 } else { version };
        Ok(unitless)
    }
}

fn encode(version: u64, change: &PolicyChange) -> Vec<u8> {
    let mut out = Vec::new();
    put_u64(&mut out, VERSION);
    put_u64(&mut out, version);
    match change {
        PolicyChange::All(policies) | PolicyChange::Set(policies) => {
            out.push(if matches!(change, PolicyChange::All(_)) { 1 } else { 2 });
            for policy in policies {
                put_policy(&mut out, policy);
            }
        }
        PolicyChange::Delete(name) => {
            out.push(3);
            put_bytes(&mut out, name.as_str().as_bytes());
        }
    }
    out
}

fn decode(payload: &[u8], unitless: &mut Vec<Label>) -> Result<(u64, PolicyChange), Corrupt> {
    let mut rest = Reader::new(payload);
    if rest.u64()? != VERSION {
        return Err(Corrupt("unknown encoding version"));
    }
    let version = rest.u64()?;
    let change = match rest.byte()? {
        1 => PolicyChange::All(read_policies(&mut rest, unitless)?),
        2 => PolicyChange::Set(read_policies(&mut rest, unitless)?),
        3 => PolicyChange::Delete(
            Label::parse(rest.bytes(MAX_LABEL)?).map_err(|_| Corrupt("malformed policy name"))?,
        ),
        _ => return Err(Corrupt("unknown change of policies")),
    };
    rest.end()?;
    Ok((version, change))
}

fn read_policies(rest: &mut Reader<'_>, unitless: &mut Vec<Label>) -> Result<Vec<Policy>, Corrupt> {
    let mut policies = Vec::new();
    while !rest.is_empty() {
        let (name, limits) = (rest.bytes(MAX_LABEL)?, rest.bytes(LONGEST_TEXT)?);
        let (prefix, breaker) = (read_optional(rest, MAX_PREFIX)?, read_optional(rest, LONGEST_TEXT)?);
        let (policy, had_none) =
            Policy::parse_stored(name, limits, prefix, breaker).map_err(|_| Corrupt("malformed policy"))?;
        if had_none {
            unitless.push(policy.name.clone());
        }
        policies.push(policy);
    }
    Ok(policies)
}

fn read_optional<'a>(rest: &mut Reader<'a>, longest: usize) -> Result<Option<&'a [u8]>, Corrupt> {
    match rest.byte()? {
        0 => Ok(None),
        1 => rest.bytes(longest).map(Some),
        _ => Err(Corrupt("neither there nor not there")),
    }
}
