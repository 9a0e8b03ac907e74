//! What a name stands for since its last change, and which of two changes is the later.

use super::bytes::fnv;
use super::policy::PolicyParts;
use super::{Policy, PolicyVersion};
use crate::core::limits::Label;
use crate::core::limits::spec::MAX_LABEL;
use crate::core::wire::{Corrupt, Reader, put_bytes};

/// What a change left under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyState {
    /// A policy.
    Live(Policy),
    /// Nothing, and older changes must not bring it back.
    Deleted,
    /// Nothing, and nobody else will ever bring it back: a server outside of clusters
    /// deleted it. It is applied and leaves no trace.
    Forgotten,
}

/// The last change of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyEntry {
    /// The name.
    pub name: Label,
    /// When it was changed.
    pub version: PolicyVersion,
    /// What it stands for since.
    pub state: PolicyState,
}

/// A change as it was read.
#[derive(Clone, Debug)]
pub struct ReadEntry {
    /// The change.
    pub entry: PolicyEntry,
    /// Its breaker was kept by version 0.1 with a duration without a unit.
    pub unitless: bool,
}

/// An entry where it stands in a table.
#[derive(Clone, Copy, Debug)]
pub struct EntryRef<'t> {
    /// The name.
    pub name: &'t Label,
    /// When it was changed.
    pub version: PolicyVersion,
    /// The policy; none where it was deleted.
    pub policy: Option<&'t Policy>,
}

impl EntryRef<'_> {
    /// As [`PolicyEntry::put`].
    pub fn put(&self, out: &mut Vec<u8>) {
        put_head(self.name, self.version, out);
        put_state(self.policy, out);
    }

    /// The name and version, and a digest of what it stands for, which tells apart
    /// changes of one version (forged ones, and those that version 0.1 kept).
    pub fn outline(&self) -> EntryOutline {
        let mut bytes = Vec::new();
        put_state(self.policy, &mut bytes);
        EntryOutline { name: self.name.clone(), version: self.version, state: fnv(&bytes) }
    }

    /// The entry by itself.
    pub fn to_entry(&self) -> PolicyEntry {
        let state = self.policy.map_or(PolicyState::Deleted, |policy| PolicyState::Live(policy.clone()));
        PolicyEntry { name: self.name.clone(), version: self.version, state }
    }
}

fn put_head(name: &Label, version: PolicyVersion, out: &mut Vec<u8>) {
    put_bytes(out, name.as_str().as_bytes());
    version.put(out);
}

/// A policy, or a deleted one.
fn put_state(policy: Option<&Policy>, out: &mut Vec<u8>) {
    let Some(policy) = policy else { return out.push(2) };
    let mut parts = Vec::new();
    policy.put_parts(policy.prefix.as_deref(), &mut parts);
    out.push(1);
    put_bytes(out, &parts);
}

impl PolicyEntry {
    /// Appends it: equal entries, equal bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_head(&self.name, self.version, out);
        self.put_state(out);
    }

    fn put_state(&self, out: &mut Vec<u8>) {
        match &self.state {
            PolicyState::Live(policy) => put_state(Some(policy), out),
            PolicyState::Deleted => put_state(None, out),
            PolicyState::Forgotten => out.push(3),
        }
    }

    fn state_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.put_state(&mut bytes);
        bytes
    }

    /// Reads what [`PolicyEntry::put`] wrote. `None` where its frame is whole, but this
    /// version cannot read the policy in it: another may know more.
    ///
    /// # Errors
    /// The frame is cut or malformed.
    pub fn read(rest: &mut Reader<'_>) -> Result<Option<ReadEntry>, Corrupt> {
        /// More than its parts can have; a later version may have longer ones.
        const LONGEST: usize = 1 << 20;
        let name = read_name(rest)?;
        let version = PolicyVersion::read(rest)?;
        let state = match rest.byte()? {
            1 => {
                let mut parts = Reader::new(rest.bytes(LONGEST)?);
                let read = PolicyParts::read(&mut parts).ok().filter(|_| parts.is_empty());
                let Some((policy, unitless)) =
                    read.and_then(|parts| parts.parse(name.as_str().as_bytes()).ok())
                else {
                    return Ok(None);
                };
                let entry = Self { name, version, state: PolicyState::Live(policy) };
                return Ok(Some(ReadEntry { entry, unitless }));
            }
            2 => PolicyState::Deleted,
            3 => PolicyState::Forgotten,
            _ => return Err(Corrupt("neither a policy nor a deleted one")),
        };
        Ok(Some(ReadEntry { entry: Self { name, version, state }, unitless: false }))
    }

    /// Whether this is the later change of a name that both are of. Of two with one
    /// version, which honest nodes never make, the same one wins everywhere.
    pub fn is_later_than(&self, other: &Self) -> bool {
        self.version.cmp(&other.version).then_with(|| self.state_bytes().cmp(&other.state_bytes())).is_gt()
    }
}

/// An entry in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryOutline {
    /// Its name.
    pub name: Label,
    /// Its version.
    pub version: PolicyVersion,
    /// A digest of what it stands for.
    pub state: u64,
}

pub(super) fn read_name(rest: &mut Reader<'_>) -> Result<Label, Corrupt> {
    Label::parse(rest.bytes(MAX_LABEL)?).map_err(|_| Corrupt("malformed policy name"))
}
