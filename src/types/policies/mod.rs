//! Policies: limits by name and by prefix, kept by the node.
//!
//! | file | idea |
//! |---|---|
//! | this one | the table: what a policy is, and every change of it |
//! | [`crate::types::effect::policy`] | how a change travels to replicas, RDB and AOF |
//! | [`json`] | export and import |
//! | [`node`] | the one table of this node, and the questions that commands ask it |
//!
//! The table is plain data: a change is checked first and applied as a whole,
//! and each one that is applied counts the version on by one; an empty table has
//! version 0.

pub mod json;
pub mod node;

use crate::core::breaker::Breaker;
use crate::core::limits::{Label, Limits};
use crate::core::text::prefix::{MAX_PREFIX, PrefixMap};
use crate::core::text::token::{TokenError, shown};
use crate::core::wire::put_bytes;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Limits, and perhaps a breaker, that an operator gave a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name.
    pub name: Label,
    /// Its limits as they were written; they name no other policy.
    pub text: Box<str>,
    /// Its limits.
    pub limits: Limits,
    /// The keys that follow it without naming it. The empty prefix is every key's.
    pub prefix: Option<Box<[u8]>>,
    /// Its breaker as it was written, and read.
    pub breaker: Option<(Box<str>, Breaker)>,
}

/// Why a policy or a change of the table is refused. The text is for the
/// client, without the code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyRefused {
    /// The limits, the breaker or the name are malformed.
    #[error("{0}")]
    Token(#[from] TokenError),
    /// The prefix is too long.
    #[error("invalid prefix '{0}': longer than {MAX_PREFIX} bytes")]
    PrefixTooLong(String),
    /// A prefix is no glob.
    #[error("invalid prefix '{0}': a prefix is literal, leave out the '*' at its end")]
    PrefixGlob(String),
    /// Two policies cannot have the same prefix.
    #[error("invalid prefix '{prefix}': it is the prefix of policy '{owner}' already")]
    PrefixTaken {
        /// The prefix.
        prefix: String,
        /// Whose it is.
        owner: Label,
    },
    /// An import without REPLACE names a policy that is there.
    #[error("a policy has this name already, REPLACE replaces it")]
    Exists,
    /// An import names a policy twice.
    #[error("the document names it twice")]
    Twice,
}

impl Policy {
    /// Reads the parts of a policy.
    ///
    /// # Errors
    /// The part that is malformed, and why.
    pub fn parse(
        name: &[u8],
        limits: &[u8],
        prefix: Option<&[u8]>,
        breaker: Option<&[u8]>,
    ) -> Result<Self, PolicyRefused> {
        if let Some(prefix) = prefix.filter(|prefix| prefix.ends_with(b"*")) {
            return Err(PolicyRefused::PrefixGlob(shown(prefix)));
        }
        let breaker =
            breaker.map(|text| Breaker::parse(text).map(|breaker| (printable(text), breaker))).transpose()?;
        Self::from_parts(name, limits, prefix, breaker)
    }

    /// Reads the parts of a policy that was kept, perhaps by version 0.1: there the
    /// durations of a breaker needed no unit and were milliseconds. Also says
    /// whether one had none.
    ///
    /// # Errors
    /// As [`Policy::parse`].
    pub fn parse_stored(
        name: &[u8],
        limits: &[u8],
        prefix: Option<&[u8]>,
        breaker: Option<&[u8]>,
    ) -> Result<(Self, bool), PolicyRefused> {
        let mut unitless = false;
        let mut read = |text: &[u8]| {
            let parsed = Breaker::parse_stored(text)?;
            // With a unit the text stays as it was written.
            unitless = Breaker::parse(text).is_err();
            Ok::<_, TokenError>((Breaker::with_units(&printable(text)).into_boxed_str(), parsed))
        };
        let breaker = breaker.map(&mut read).transpose()?;
        Ok((Self::from_parts(name, limits, prefix, breaker)?, unitless))
    }

    fn from_parts(
        name: &[u8],
        limits: &[u8],
        prefix: Option<&[u8]>,
        breaker: Option<(Box<str>, Breaker)>,
    ) -> Result<Self, PolicyRefused> {
        let label = Label::parse(name).map_err(|reason| TokenError::new("policy name", name, reason))?;
        let parsed = Limits::parse(limits)?;
        if let Some(prefix) = prefix.filter(|prefix| prefix.len() > MAX_PREFIX) {
            return Err(PolicyRefused::PrefixTooLong(shown(prefix)));
        }
        Ok(Self {
            name: label,
            text: printable(limits),
            limits: parsed,
            prefix: prefix.map(Into::into),
            breaker,
        })
    }
}

/// A token that was parsed, hence is printable ASCII.
fn printable(text: &[u8]) -> Box<str> {
    text.iter().map(|&byte| char::from(byte)).collect::<String>().into_boxed_str()
}

/// All policies of a node.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    pub(in crate::types) version: u64,
    by_name: BTreeMap<Label, Policy>,
    by_prefix: PrefixMap<Label>,
}

impl Policies {
    /// How many changes led here since the table was empty.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The policy of this name.
    pub fn get(&self, name: &Label) -> Option<&Policy> {
        self.by_name.get(name)
    }

    /// Each, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Policy> {
        self.by_name.values()
    }

    /// The policy with the longest prefix of `key` among those that `fits`.
    pub fn longest(&self, key: &[u8], fits: impl Fn(&Policy) -> bool) -> Option<&Policy> {
        let fits = |name: &Label| self.by_name.get(name).is_some_and(&fits);
        self.by_prefix.longest(key, fits).and_then(|name| self.by_name.get(name))
    }

    /// Whether these could be set together, in place of those of their names.
    ///
    /// # Errors
    /// The position of the first that could not, and why: the document names it twice, or
    /// its prefix is another's.
    pub fn check(&self, policies: &[Policy]) -> Result<(), (usize, PolicyRefused)> {
        let mut names = HashSet::new();
        if let Some(twice) = policies.iter().position(|policy| !names.insert(&policy.name)) {
            return Err((twice, PolicyRefused::Twice));
        }
        let mut prefixes: HashMap<&[u8], &Label> = HashMap::new();
        for (at, policy) in policies.iter().enumerate() {
            let Some(prefix) = policy.prefix.as_deref() else { continue };
            let stays = self.by_prefix.get(prefix).filter(|owner| !names.contains(owner));
            if let Some(owner) = stays.or(prefixes.insert(prefix, &policy.name)) {
                return Err((at, PolicyRefused::PrefixTaken { prefix: shown(prefix), owner: owner.clone() }));
            }
        }
        Ok(())
    }

    /// Sets policies that [`Policies::check`] found to fit.
    pub(in crate::types) fn put(&mut self, policies: Vec<Policy>) {
        for policy in &policies {
            self.take(&policy.name);
        }
        for policy in policies {
            if let Some(prefix) = &policy.prefix {
                self.by_prefix.insert(prefix, policy.name.clone());
            }
            self.by_name.insert(policy.name.clone(), policy);
        }
    }

    pub(in crate::types) fn take(&mut self, name: &Label) {
        if let Some(prefix) = self.by_name.remove(name).and_then(|policy| policy.prefix) {
            self.by_prefix.remove(&prefix);
        }
    }

    /// A number that is the same on two nodes exactly when (but for chance)
    /// they hold the same policies: FNV-1a of 64 bits over all of them.
    pub fn digest(&self) -> u64 {
        let mut bytes = Vec::new();
        for policy in self.iter() {
            put_policy(&mut bytes, policy);
        }
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }
}

/// Appends one policy: equal policies, equal bytes.
pub(in crate::types) fn put_policy(out: &mut Vec<u8>, policy: &Policy) {
    put_bytes(out, policy.name.as_str().as_bytes());
    put_bytes(out, policy.text.as_bytes());
    put_optional(out, policy.prefix.as_deref());
    put_optional(out, policy.breaker.as_ref().map(|(text, _)| text.as_bytes()));
}

fn put_optional(out: &mut Vec<u8>, part: Option<&[u8]>) {
    out.push(part.is_some().into());
    if let Some(part) = part {
        put_bytes(out, part);
    }
}
