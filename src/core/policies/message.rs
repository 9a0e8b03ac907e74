//! The messages about policies between the nodes of a cluster.
//!
//! Each node sends all others its [`TableSummary`] at regular intervals. A node that finds that a
//! master has another history asks it. It sends outlines of the entries that it knows, range of
//! names by range of names, and the answer is what it lacks. Besides, a change is sent to all nodes
//! at once. If a message is lost, doubled or late, the next summary repairs that.

use super::change::{EntryOutline, read_name};
use super::{Policies, PolicyEntry, PolicyState, PolicyVersion};
use crate::core::limits::Label;
use crate::core::wire::{Corrupt, Reader, put_bytes, put_u64};

/// The first byte of every message.
const PROTOCOL: u8 = 1;

/// The longest message in bytes.
pub const LONGEST_MESSAGE: usize = 64 * 1024;

/// The length in bytes up to which messages are filled. The server puts a head of about 2 KiB
/// before each.
const FULL: usize = 60 * 1024;

/// The greatest lead over this node's clock with which a version is accepted, in milliseconds: one
/// day.
pub const FURTHEST_AHEAD_MS: u64 = 86_400_000;

/// A node's table in short, which it sends at regular intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSummary {
    /// The table's [`Policies::version`].
    pub version: u64,
    /// The table's [`Policies::digest`].
    pub digest: u64,
    /// The table's [`Policies::history_digest`].
    pub history: u64,
    /// True if the node is a master, and so has a table of its own.
    pub master: bool,
}

/// The changes that a node knows of the names after `after`, up to and including `until`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownNames {
    /// The lower bound; `None` starts at the first name.
    pub after: Option<Label>,
    /// The upper bound; `None` ends at the last name.
    pub until: Option<Label>,
    /// An outline of each name that it knows in this range.
    pub outlines: Vec<EntryOutline>,
}

/// The changes that a message carries.
#[derive(Clone, Debug, Default)]
pub struct ReceivedEntries {
    /// The changes that this version could read.
    pub entries: Vec<PolicyEntry>,
    /// The number of policies that this version cannot read.
    pub unreadable: usize,
}

/// A message between two nodes.
#[derive(Clone, Debug)]
pub enum PolicyMessage {
    /// The sender's table in short.
    Summary(TableSummary),
    /// A question for the changes that the sender lacks.
    Query(KnownNames),
    /// Changes that the receiver may lack.
    Entries(ReceivedEntries),
}

const SUMMARY: u8 = 1;
const QUERY: u8 = 2;
const ENTRIES: u8 = 3;

impl TableSummary {
    /// The message that carries this summary.
    pub fn message(&self) -> Vec<u8> {
        let mut out = vec![PROTOCOL, SUMMARY, self.master.into()];
        put_u64(&mut out, self.version);
        put_u64(&mut out, self.digest);
        put_u64(&mut out, self.history);
        out
    }
}

/// The messages that ask for the changes that this table lacks. Together they cover all names.
pub fn queries(table: &Policies) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let mut after: Option<Label> = None;
    let mut body = Vec::new();
    let mut last: Option<Label> = None;
    for entry in table.entries() {
        let outline = entry.outline();
        let mut one = Vec::new();
        put_bytes(&mut one, outline.name.as_str().as_bytes());
        outline.version.put(&mut one);
        put_u64(&mut one, outline.state);
        if body.len() + one.len() > FULL {
            messages.push(query_message(after.as_ref(), last.as_ref(), &body));
            body.clear();
            after = last.take();
        }
        body.extend_from_slice(&one);
        last = Some(outline.name);
    }
    messages.push(query_message(after.as_ref(), None, &body));
    messages
}

fn query_message(after: Option<&Label>, until: Option<&Label>, outlines: &[u8]) -> Vec<u8> {
    let mut out = vec![PROTOCOL, QUERY];
    for bound in [after, until] {
        // No name is empty, so an empty one stands for no bound.
        put_bytes(&mut out, bound.map_or("", Label::as_str).as_bytes());
    }
    out.extend_from_slice(outlines);
    out
}

/// The messages that carry these changes.
pub fn entry_messages(entries: &[PolicyEntry]) -> Vec<Vec<u8>> {
    let begin = || vec![PROTOCOL, ENTRIES];
    let mut messages = Vec::new();
    let mut message = begin();
    for entry in entries.iter().filter(|entry| entry.state != PolicyState::Forgotten) {
        let before = message.len();
        entry.put(&mut message);
        if message.len() > FULL && before > begin().len() {
            let next = [begin(), message.split_off(before)].concat();
            messages.push(std::mem::replace(&mut message, next));
        }
    }
    if message.len() > begin().len() {
        messages.push(message);
    }
    messages
}

/// Reads a message.
///
/// # Errors
/// [`Corrupt`] if it is too long, cut, malformed, or of an unknown protocol.
pub fn read(message: &[u8]) -> Result<PolicyMessage, Corrupt> {
    if message.len() > LONGEST_MESSAGE {
        return Err(Corrupt("message longer than 64 KiB"));
    }
    let mut rest = Reader::new(message);
    if rest.byte()? != PROTOCOL {
        return Err(Corrupt("unknown protocol"));
    }
    let read = match rest.byte()? {
        SUMMARY => PolicyMessage::Summary(read_summary(&mut rest)?),
        QUERY => PolicyMessage::Query(read_known(&mut rest)?),
        ENTRIES => PolicyMessage::Entries(read_entries(&mut rest)?),
        _ => return Err(Corrupt("unknown message")),
    };
    rest.end()?;
    Ok(read)
}

fn read_summary(rest: &mut Reader<'_>) -> Result<TableSummary, Corrupt> {
    let master = match rest.byte()? {
        0 => false,
        1 => true,
        _ => return Err(Corrupt("neither a master nor a replica")),
    };
    Ok(TableSummary { version: rest.u64()?, digest: rest.u64()?, history: rest.u64()?, master })
}

fn read_known(rest: &mut Reader<'_>) -> Result<KnownNames, Corrupt> {
    let after = read_bound(rest)?;
    let until = read_bound(rest)?;
    let mut outlines = Vec::new();
    while !rest.is_empty() {
        let (name, version) = (read_name(rest)?, PolicyVersion::read(rest)?);
        outlines.push(EntryOutline { name, version, state: rest.u64()? });
    }
    Ok(KnownNames { after, until, outlines })
}

fn read_bound(rest: &mut Reader<'_>) -> Result<Option<Label>, Corrupt> {
    let bytes = rest.bytes(crate::core::limits::label::MAX_LABEL)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    Label::parse(bytes).map(Some).map_err(|_| Corrupt("malformed policy name"))
}

fn read_entries(rest: &mut Reader<'_>) -> Result<ReceivedEntries, Corrupt> {
    let mut received = ReceivedEntries::default();
    while !rest.is_empty() {
        match PolicyEntry::read(rest)? {
            Some(read) if read.entry.state == PolicyState::Forgotten => {
                return Err(Corrupt("a change without the node that made it"));
            }
            Some(read) => received.entries.push(read.entry),
            None => received.unreadable += 1,
        }
    }
    Ok(received)
}

/// The changes of a message that a node takes over into its table.
#[derive(Clone, Debug, Default)]
pub struct PolicyNews {
    /// The changes that are news, at most one for each name.
    pub entries: Vec<PolicyEntry>,
    /// The number of changes that lie more than a day ahead and are not accepted.
    pub ahead: usize,
}

/// Selects the changes that are news to this table. `now_ms` is the real time in milliseconds.
pub fn news(table: &Policies, received: Vec<PolicyEntry>, now_ms: u64) -> PolicyNews {
    let mut news = PolicyNews::default();
    for entry in received {
        if entry.version.number > now_ms.saturating_add(FURTHEST_AHEAD_MS) {
            news.ahead += 1;
        } else if table.is_news(&entry) {
            // One message may hold two changes of a name.
            match news.entries.iter_mut().find(|other| other.name == entry.name) {
                Some(other) if entry.is_later_than(other) => *other = entry,
                Some(_) => {}
                None => news.entries.push(entry),
            }
        }
    }
    news
}
