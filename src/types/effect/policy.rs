//! A change of the table of policies, as the master and every replica apply it, and as RDB and AOF
//! keep it.

use crate::core::limits::Label;
use crate::core::limits::label::MAX_LABEL;
use crate::core::policies::policy::PolicyParts;
use crate::core::policies::{Policies, Policy, PolicyEntry, PolicyState, PolicyVersion};
use crate::core::wire::{Corrupt, Reader, put_u64};
use crate::types::tlv::{OPTIONAL, Sections, Writer};
use std::ffi::CStr;

/// The internal command that carries changes: `RL.NODE payload`.
pub const COMMAND: &CStr = c"RL.NODE";

/// The version of the encoding that is written. Every payload holds it.
const VERSION: u64 = 2;

/// The version that version 0.1 wrote: policies without versions, and no deleted ones.
const VERSION_0_1: u64 = 1;

/// The change by which version 0.1 deleted a policy.
const DELETED_0_1: u8 = 3;

/// The section with the changed policies.
const ENTRIES: u64 = 1;
/// The section with the digest of the file that was imported last.
const FILE: u64 = 2;

/// A change of the table. The number that the table has afterwards travels along, so that a replica
/// counts as its master does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyChange {
    /// The names that were changed.
    pub entries: Vec<PolicyEntry>,
    /// The digest of the file from which they were imported.
    pub file: Option<u64>,
}

impl PolicyChange {
    /// A change of these names.
    pub const fn of(entries: Vec<PolicyEntry>) -> Self {
        Self { entries, file: None }
    }
}

/// The extent of a payload: a whole table, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// The payload holds the whole table, which replaces the old one.
    Whole = 1,
    /// The payload holds changes. All other policies stay.
    Part = 2,
}

impl Policies {
    /// The payload of a change that is about to be applied here.
    pub fn encode_next(&self, change: &PolicyChange) -> Vec<u8> {
        let number =
            change.entries.iter().fold(self.version(), |number, entry| number.max(entry.version.number));
        encode(Extent::Part, number, change.file, |out| {
            change.entries.iter().for_each(|entry| entry.put(out));
        })
    }

    /// The payload that brings another node to exactly this table.
    pub fn encode_all(&self) -> Vec<u8> {
        encode(Extent::Whole, self.version(), self.file(), |out| {
            self.entries().for_each(|entry| entry.put(out));
        })
    }

    /// Applies a payload of [`Policies::encode_next`] or [`Policies::encode_all`].
    ///
    /// Returns the policies whose breaker version 0.1 stored with a duration without a unit. Such a
    /// duration is in milliseconds, and is written with its unit from now on.
    ///
    /// # Errors
    /// [`Corrupt`] if the payload is cut, malformed or does not fit the table. Nothing has changed
    /// then.
    pub fn apply(&mut self, payload: &[u8]) -> Result<Vec<Label>, Corrupt> {
        let decoded = decode(payload, self)?;
        if decoded.extent == Extent::Whole {
            *self = Self::default();
        }
        decoded.change.entries.into_iter().for_each(|entry| self.put(entry));
        if let Some(file) = decoded.change.file {
            self.note_file(file);
        }
        self.count_to(decoded.number);
        Ok(decoded.unitless)
    }
}

fn encode(extent: Extent, number: u64, file: Option<u64>, entries: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    put_u64(&mut out, VERSION);
    put_u64(&mut out, number);
    out.push(extent as u8);
    let mut sections = Writer::new(&mut out);
    sections.put(ENTRIES, entries);
    if let Some(file) = file {
        sections.put(FILE, |out| put_u64(out, file));
    }
    out
}

struct Decoded {
    extent: Extent,
    number: u64,
    change: PolicyChange,
    unitless: Vec<Label>,
}

fn decode(payload: &[u8], table: &Policies) -> Result<Decoded, Corrupt> {
    let mut rest = Reader::new(payload);
    let version = rest.u64()?;
    if version != VERSION && version != VERSION_0_1 {
        return Err(Corrupt("unknown encoding version"));
    }
    let number = rest.u64()?;
    let kind = rest.byte()?;
    let extent = match (kind, version) {
        (1, _) => Extent::Whole,
        (2, _) | (DELETED_0_1, VERSION_0_1) => Extent::Part,
        _ => return Err(Corrupt("unknown change of policies")),
    };
    let mut decoded = Decoded { extent, number, change: PolicyChange::default(), unitless: Vec::new() };
    match version {
        VERSION => read_sections(rest.remaining(), &mut decoded)?,
        _ if kind == DELETED_0_1 => {
            let name = Label::parse(rest.bytes(MAX_LABEL)?).map_err(|_| Corrupt("malformed policy name"))?;
            rest.end()?;
            decoded.change.entries.push(of_0_1(name, PolicyState::Forgotten));
        }
        _ if extent == Extent::Whole => read_0_1(&mut rest, &Policies::default(), &mut decoded)?,
        _ => read_0_1(&mut rest, table, &mut decoded)?,
    }
    Ok(decoded)
}

fn read_sections(payload: &[u8], decoded: &mut Decoded) -> Result<(), Corrupt> {
    let mut sections = Sections::new(payload);
    while let Some((tag, mut body)) = sections.read()? {
        match tag {
            ENTRIES => read_entries(&mut body, decoded)?,
            FILE => decoded.change.file = Some(body.u64()?),
            OPTIONAL.. => continue,
            _ => return Err(Corrupt("unknown section")),
        }
        body.end()?;
    }
    Ok(())
}

fn read_entries(body: &mut Reader<'_>, decoded: &mut Decoded) -> Result<(), Corrupt> {
    while !body.is_empty() {
        let read = PolicyEntry::read(body)?.ok_or(Corrupt("malformed policy"))?;
        if read.unitless {
            decoded.unitless.push(read.entry.name.clone());
        }
        decoded.change.entries.push(read.entry);
    }
    Ok(())
}

/// Reads policies as version 0.1 wrote them, which must fit into the table.
fn read_0_1(rest: &mut Reader<'_>, table: &Policies, decoded: &mut Decoded) -> Result<(), Corrupt> {
    let mut policies: Vec<Policy> = Vec::new();
    while !rest.is_empty() {
        let name = rest.bytes(MAX_LABEL)?;
        let (policy, had_none) =
            PolicyParts::read(rest)?.parse(name).map_err(|_| Corrupt("malformed policy"))?;
        if had_none {
            decoded.unitless.push(policy.name.clone());
        }
        policies.push(policy);
    }
    table.check(&policies).map_err(|_| Corrupt("policies that do not fit together"))?;
    let live = |policy: Policy| of_0_1(policy.name.clone(), PolicyState::Live(policy));
    decoded.change.entries = policies.into_iter().map(live).collect();
    Ok(())
}

const fn of_0_1(name: Label, state: PolicyState) -> PolicyEntry {
    PolicyEntry { name, version: PolicyVersion::FIRST, state }
}
