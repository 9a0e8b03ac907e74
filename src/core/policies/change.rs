//! What a name stands for since its last change, and which of two changes is later.

use super::policy::PolicyParts;
use super::{Policy, PolicyVersion};
use crate::core::limits::Label;
use crate::core::limits::label::MAX_LABEL;
use crate::core::wire::{Corrupt, Reader, fnv, put_bytes};

/// The state of a name after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyState {
    /// The name has a policy.
    Live(Policy),
    /// The name has no policy, and older changes must not bring one back.
    Deleted,
    /// The name has no policy, and nobody else can bring one back, because a server outside a
    /// cluster deleted it. Such a change leaves no trace in the table.
    Forgotten,
}

/// The last change of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyEntry {
    /// The name that was changed.
    pub name: Label,
    /// The version of the policy: when it was changed, and by which node.
    pub version: PolicyVersion,
    /// The state of the name since then.
    pub state: PolicyState,
}

/// A change that was read from bytes.
#[derive(Clone, Debug)]
pub struct ReadEntry {
    /// The change itself.
    pub entry: PolicyEntry,
    /// True if version 0.1 stored its breaker, with a duration without a unit.
    pub unitless: bool,
}

/// A reference to an entry of a table.
#[derive(Clone, Copy, Debug)]
pub struct EntryRef<'t> {
    /// The name of the entry.
    pub name: &'t Label,
    /// The version of the policy: when it was changed, and by which node.
    pub version: PolicyVersion,
    /// The policy; `None` if it was deleted.
    pub policy: Option<&'t Policy>,
}

impl EntryRef<'_> {
    /// Appends the entry as [`PolicyEntry::put`] does.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_head(self.name, self.version, out);
        put_state(self.policy, out);
    }

    /// The name, the version, and a digest of the state. The digest distinguishes changes that have
    /// the same version: forged ones, and those that version 0.1 stored.
    pub fn outline(&self) -> EntryOutline {
        let mut bytes = Vec::new();
        put_state(self.policy, &mut bytes);
        EntryOutline { name: self.name.clone(), version: self.version, state: fnv(&bytes) }
    }

    /// A copy of the entry.
    pub fn to_entry(&self) -> PolicyEntry {
        let state = self.policy.map_or(PolicyState::Deleted, |policy| PolicyState::Live(policy.clone()));
        PolicyEntry { name: self.name.clone(), version: self.version, state }
    }
}

fn put_head(name: &Label, version: PolicyVersion, out: &mut Vec<u8>) {
    put_bytes(out, name.as_str().as_bytes());
    version.put(out);
}

/// Appends the state of a policy, or of a deleted one.
fn put_state(policy: Option<&Policy>, out: &mut Vec<u8>) {
    let Some(policy) = policy else { return out.push(2) };
    let mut parts = Vec::new();
    policy.put_parts(policy.prefix.as_deref(), &mut parts);
    out.push(1);
    put_bytes(out, &parts);
}

impl PolicyEntry {
    /// Appends the entry to `out`. Equal entries give equal bytes.
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

    /// Reads the bytes that [`PolicyEntry::put`] wrote. `None` if the frame is whole but this
    /// version cannot read the policy in it; a later version may be able to.
    ///
    /// # Errors
    /// [`Corrupt`] if the frame is cut or malformed.
    pub fn read(rest: &mut Reader<'_>) -> Result<Option<ReadEntry>, Corrupt> {
        /// The longest encoding of a policy that is accepted, in bytes. It is more than the parts
        /// can need now, because a later version may have longer ones.
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

    /// True if this change is later than `other`, a change of the same name. Honest nodes never
    /// make two changes with one version. If it happens, the same one wins on every node.
    pub fn is_later_than(&self, other: &Self) -> bool {
        self.version.cmp(&other.version).then_with(|| self.state_bytes().cmp(&other.state_bytes())).is_gt()
    }
}

/// An entry in short: a digest in place of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryOutline {
    /// The name of the entry.
    pub name: Label,
    /// The version of the entry.
    pub version: PolicyVersion,
    /// A digest of its state.
    pub state: u64,
}

pub(super) fn read_name(rest: &mut Reader<'_>) -> Result<Label, Corrupt> {
    Label::parse(rest.bytes(MAX_LABEL)?).map_err(|_| Corrupt("malformed policy name"))
}
