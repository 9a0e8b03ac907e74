//! The table of policies of one server: every change of it, and which policy has which prefix.

use super::change::{EntryOutline, EntryRef};
use super::{ChangedBy, Policy, PolicyEntry, PolicyRefused, PolicyState, PolicyVersion};
use crate::core::limits::Label;
use crate::core::text::prefix::longest;
use crate::core::text::token::shown;
use crate::core::wire::{fnv, put_bytes};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;

/// The number of deleted names that are remembered: those deleted last.
pub const MOST_DELETED: usize = 1000;

#[derive(Clone, Debug)]
struct LivePolicy {
    version: PolicyVersion,
    policy: Policy,
}

/// The policies that claim one prefix, the latest last. The last one has the prefix.
type Claimants = Vec<Label>;

/// All policies of a server, and the names that were deleted.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    number: u64,
    live: BTreeMap<Label, LivePolicy>,
    deleted: BTreeMap<Label, PolicyVersion>,
    by_prefix: BTreeMap<Box<[u8]>, Claimants>,
    /// The digest of the file of policies that was imported last.
    file: Option<u64>,
}

impl Policies {
    /// In a cluster, the number of the latest change. Outside, the number of changes since the
    /// table was empty.
    pub const fn version(&self) -> u64 {
        self.number
    }

    /// The number of policies.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// True if there is no policy.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// True if there is nothing worth storing: no policy, and no trace of one.
    pub fn is_blank(&self) -> bool {
        self.live.is_empty() && self.deleted.is_empty() && self.file.is_none()
    }

    /// The policy of this name.
    pub fn get(&self, name: &Label) -> Option<&Policy> {
        self.live.get(name).map(|live| &live.policy)
    }

    /// All policies, in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Policy> {
        self.live.values().map(|live| &live.policy)
    }

    /// The number of deleted names that are remembered.
    pub fn deleted(&self) -> usize {
        self.deleted.len()
    }

    /// The prefix that a policy of this table has: its own, unless a later policy has the same.
    pub fn prefix_of<'p>(&self, policy: &'p Policy) -> Option<&'p [u8]> {
        policy.prefix.as_deref().filter(|prefix| self.owner_of(prefix) == Some(&policy.name))
    }

    /// The policy that has exactly this prefix.
    pub fn owner_of(&self, prefix: &[u8]) -> Option<&Label> {
        self.by_prefix.get(prefix).and_then(|claimants| claimants.last())
    }

    /// The policy with the longest prefix of `key`, among those for which `fits` returns true.
    pub fn longest(&self, key: &[u8], fits: impl Fn(&Policy) -> bool) -> Option<&Policy> {
        let owner = |claimants: &Claimants| claimants.last().and_then(|name| self.get(name));
        let found = longest(&self.by_prefix, key, |claimants| owner(claimants).is_some_and(&fits));
        found.and_then(owner)
    }

    /// Checks whether these policies may be set together, in place of those with their names.
    ///
    /// # Errors
    /// The position of the first that may not be set, and the reason: it is named twice, or its
    /// prefix belongs to another policy.
    pub fn check(&self, policies: &[Policy]) -> Result<(), (usize, PolicyRefused)> {
        let mut names = HashSet::new();
        if let Some(twice) = policies.iter().position(|policy| !names.insert(&policy.name)) {
            return Err((twice, PolicyRefused::Twice));
        }
        let mut prefixes: HashMap<&[u8], &Label> = HashMap::new();
        for (at, policy) in policies.iter().enumerate() {
            let Some(prefix) = policy.prefix.as_deref() else { continue };
            let stays = self.owner_of(prefix).filter(|owner| !names.contains(owner));
            if let Some(owner) = stays.or(prefixes.insert(prefix, &policy.name)) {
                return Err((at, PolicyRefused::PrefixTaken { prefix: shown(prefix), owner: owner.clone() }));
            }
        }
        Ok(())
    }

    /// The version of a change that is made here and now.
    pub fn next_version(&self, by: ChangedBy) -> PolicyVersion {
        by.version(self.number)
    }

    /// The changes that set these policies here and now.
    pub fn to_set(&self, policies: Vec<Policy>, by: ChangedBy) -> Vec<PolicyEntry> {
        let version = self.next_version(by);
        let entry = |policy: Policy| PolicyEntry {
            name: policy.name.clone(),
            version,
            state: PolicyState::Live(policy),
        };
        policies.into_iter().map(entry).collect()
    }

    /// The change that deletes a policy here and now.
    pub fn to_delete(&self, name: Label, by: ChangedBy) -> PolicyEntry {
        let state = match by {
            ChangedBy::Alone => PolicyState::Forgotten,
            ChangedBy::Node { .. } => PolicyState::Deleted,
        };
        PolicyEntry { name, version: self.next_version(by), state }
    }

    /// True if a change that another node sent is news: it is later than the last known change of
    /// its name, or its name is unknown.
    pub fn is_news(&self, entry: &PolicyEntry) -> bool {
        match self.entry(&entry.name) {
            Some(known) => entry.is_later_than(&known),
            None => match entry.state {
                PolicyState::Live(_) => true,
                // A deletion that is older than all remembered ones would be forgotten at once.
                PolicyState::Deleted => {
                    self.deleted.len() < MOST_DELETED
                        || self
                            .oldest_deleted()
                            .is_some_and(|oldest| (oldest.1, &oldest.0) < (entry.version, &entry.name))
                }
                PolicyState::Forgotten => false,
            },
        }
    }

    /// Applies a change, whatever was known of its name before.
    pub fn put(&mut self, entry: PolicyEntry) {
        let PolicyEntry { name, version, state } = entry;
        self.number = self.number.max(version.number);
        self.deleted.remove(&name);
        if let Some(prefix) = self.live.remove(&name).and_then(|live| live.policy.prefix) {
            self.give_up(&prefix, &name);
        }
        match state {
            PolicyState::Live(policy) => {
                let prefix = policy.prefix.clone();
                self.live.insert(name.clone(), LivePolicy { version, policy });
                if let Some(prefix) = prefix {
                    self.claim(prefix, name, version);
                }
            }
            PolicyState::Deleted => {
                self.deleted.insert(name, version);
                if self.deleted.len() > MOST_DELETED
                    && let Some((oldest, _)) = self.oldest_deleted()
                {
                    self.deleted.remove(&oldest);
                }
            }
            PolicyState::Forgotten => {}
        }
    }

    /// Counts on to `number` after a change. A blank table starts again at 0.
    pub fn count_to(&mut self, number: u64) {
        self.number = if self.is_blank() { 0 } else { self.number.max(number) };
    }

    /// The digest of the file that was imported last.
    pub const fn file(&self) -> Option<u64> {
        self.file
    }

    /// Remembers the digest of the file that was imported last.
    pub const fn note_file(&mut self, digest: u64) {
        self.file = Some(digest);
    }

    fn oldest_deleted(&self) -> Option<(Label, PolicyVersion)> {
        let oldest = self.deleted.iter().min_by_key(|(name, version)| (**version, *name));
        oldest.map(|(name, version)| (name.clone(), *version))
    }

    fn claim(&mut self, prefix: Box<[u8]>, name: Label, version: PolicyVersion) {
        let is_before =
            |other: &Label| self.live.get(other).is_some_and(|live| (live.version, other) < (version, &name));
        let claimants = self.by_prefix.entry(prefix).or_default();
        let at = claimants.partition_point(is_before);
        claimants.insert(at, name);
    }

    fn give_up(&mut self, prefix: &[u8], name: &Label) {
        if let Some(claimants) = self.by_prefix.get_mut(prefix) {
            claimants.retain(|other| other != name);
            if claimants.is_empty() {
                self.by_prefix.remove(prefix);
            }
        }
    }

    /// The last change of a name, if it is known.
    pub fn entry(&self, name: &Label) -> Option<PolicyEntry> {
        let live = self.live.get_key_value(name);
        let live = live.map(|(name, live)| (name, live.version, Some(&live.policy)));
        let deleted = || self.deleted.get_key_value(name).map(|(name, version)| (name, *version, None));
        let (name, version, policy) = live.or_else(deleted)?;
        Some(EntryRef { name, version, policy }.to_entry())
    }

    /// The last change of every name, in the order of names.
    pub fn entries(&self) -> impl Iterator<Item = EntryRef<'_>> {
        self.entries_between(None, None)
    }

    /// The last change of every name after `after`, up to and including `until`, in the order of
    /// names.
    pub fn entries_between<'t>(
        &'t self,
        after: Option<&Label>,
        until: Option<&Label>,
    ) -> impl Iterator<Item = EntryRef<'t>> + use<'t> {
        let from = after.cloned().map_or(Bound::Unbounded, Bound::Excluded);
        let to = until.cloned().map_or(Bound::Unbounded, Bound::Included);
        // The standard library panics on a range that ends before it begins.
        let is_empty = matches!((&from, &to), (Bound::Excluded(from), Bound::Included(to)) if from >= to);
        let range = (from, to);
        let live = (!is_empty).then(|| self.live.range(range.clone())).into_iter().flatten();
        let deleted = (!is_empty).then(|| self.deleted.range(range)).into_iter().flatten();
        let live =
            live.map(|(name, live)| EntryRef { name, version: live.version, policy: Some(&live.policy) });
        let deleted = deleted.map(|(name, version)| EntryRef { name, version: *version, policy: None });
        let mut entries: Vec<EntryRef<'t>> = live.chain(deleted).collect();
        entries.sort_unstable_by_key(|entry| entry.name);
        entries.into_iter()
    }

    /// A number that, except by chance, is equal on two nodes only if they have the same policies.
    pub fn digest(&self) -> u64 {
        let mut bytes = Vec::new();
        for policy in self.iter() {
            put_bytes(&mut bytes, policy.name.as_str().as_bytes());
            policy.put_parts(self.prefix_of(policy), &mut bytes);
        }
        fnv(&bytes)
    }

    /// A number that, except by chance, is equal on two nodes only if neither has a change that the
    /// other lacks.
    pub fn history_digest(&self) -> u64 {
        let mut bytes = Vec::new();
        self.entries().for_each(|entry| entry.put(&mut bytes));
        fnv(&bytes)
    }

    /// The changes that a node lacks which knows only `known` of the names after `after`, up to and
    /// including `until`.
    pub fn lacking(
        &self,
        after: Option<&Label>,
        until: Option<&Label>,
        known: &[EntryOutline],
    ) -> Vec<PolicyEntry> {
        let known: HashMap<&Label, &EntryOutline> =
            known.iter().map(|outline| (&outline.name, outline)).collect();
        self.entries_between(after, until)
            .filter(|entry| {
                known.get(entry.name).is_none_or(|theirs| {
                    entry.version > theirs.version
                        || entry.version == theirs.version && entry.outline().state != theirs.state
                })
            })
            .map(|entry| entry.to_entry())
            .collect()
    }
}
