//! What the nodes of a cluster tell each other of their policies.
//!
//! Each tells all others its [`TableSummary`] again and again. Who finds that a master
//! has another history asks it: "these are what I know of the names from here to
//! there", an outline of each. The answer is what the asker lacks. A change is told to
//! all at once. Whatever is lost, doubled or late, the next summary mends it.

use super::change::{EntryOutline, read_name};
use super::{Policies, PolicyEntry, PolicyState, PolicyVersion};
use crate::core::limits::Label;
use crate::core::wire::{Corrupt, Reader, put_bytes, put_u64};

/// The first byte of every message.
const PROTOCOL: u8 = 1;

/// The longest message in bytes.
pub const LONGEST_MESSAGE: usize = 64 * 1024;

/// Messages are filled up to here: the server puts a head of its own before each, of
/// about 2 KiB.
const FULL: usize = 60 * 1024;

/// Versions that lie further ahead than this are not accepted: one day.
pub const FURTHEST_AHEAD_MS: u64 = 86_400_000;

/// What a node tells of its table, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSummary {
    /// [`Policies::version`].
    pub version: u64,
    /// [`Policies::digest`].
    pub digest: u64,
    /// [`Policies::history_digest`].
    pub history: u64,
    /// It is a master, and so has a table of its own.
    pub master: bool,
}

/// What a node knows of the names after `after`, up to and with `until`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownNames {
    /// From the first name on where there is none.
    pub after: Option<Label>,
    /// To the last name where there is none.
    pub until: Option<Label>,
    /// Each name that it knows there.
    pub outlines: Vec<EntryOutline>,
}

/// The changes in a message.
#[derive(Clone, Debug, Default)]
pub struct ToldEntries {
    /// Those that were understood.
    pub entries: Vec<PolicyEntry>,
    /// How many policies this version cannot read.
    pub unreadable: usize,
}

/// One message.
#[derive(Clone, Debug)]
pub enum PolicyMessage {
    /// This is my table in short.
    Summary(TableSummary),
    /// Tell me what I lack.
    Ask(KnownNames),
    /// These are changes.
    Tell(ToldEntries),
}

const SUMMARY: u8 = 1;
const ASK: u8 = 2;
const TELL: u8 = 3;

impl TableSummary {
    /// The message.
    pub fn message(&self) -> Vec<u8> {
        let mut out = vec![PROTOCOL, SUMMARY, self.master.into()];
        put_u64(&mut out, self.version);
        put_u64(&mut out, self.digest);
        put_u64(&mut out, self.history);
        out
    }
}

/// The messages that ask for what this table lacks: together they cover all names.
pub fn ask(table: &Policies) -> Vec<Vec<u8>> {
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
            messages.push(ask_message(after.as_ref(), last.as_ref(), &body));
            body.clear();
            after = last.take();
        }
        body.extend_from_slice(&one);
        last = Some(outline.name);
    }
    messages.push(ask_message(after.as_ref(), None, &body));
    messages
}

fn ask_message(after: Option<&Label>, until: Option<&Label>, outlines: &[u8]) -> Vec<u8> {
    let mut out = vec![PROTOCOL, ASK];
    for bound in [after, until] {
        // No name is empty: an empty one stands for none.
        put_bytes(&mut out, bound.map_or("", Label::as_str).as_bytes());
    }
    out.extend_from_slice(outlines);
    out
}

/// The messages that tell of changes.
pub fn tell(entries: &[PolicyEntry]) -> Vec<Vec<u8>> {
    let begin = || vec![PROTOCOL, TELL];
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
/// It is too long, cut, malformed, or of a protocol that is not known here.
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
        ASK => PolicyMessage::Ask(read_known(&mut rest)?),
        TELL => PolicyMessage::Tell(read_told(&mut rest)?),
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
    let bytes = rest.bytes(crate::core::limits::spec::MAX_LABEL)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    Label::parse(bytes).map(Some).map_err(|_| Corrupt("malformed policy name"))
}

fn read_told(rest: &mut Reader<'_>) -> Result<ToldEntries, Corrupt> {
    let mut told = ToldEntries::default();
    while !rest.is_empty() {
        match PolicyEntry::read(rest)? {
            Some(read) if read.entry.state == PolicyState::Forgotten => {
                return Err(Corrupt("a change without the node that made it"));
            }
            Some(read) => told.entries.push(read.entry),
            None => told.unreadable += 1,
        }
    }
    Ok(told)
}

/// What of a message is taken over by a node with this table.
#[derive(Clone, Debug, Default)]
pub struct PolicyNews {
    /// Changes that are news, each name once.
    pub entries: Vec<PolicyEntry>,
    /// How many lie more than a day ahead, and are not accepted.
    pub ahead: usize,
}

/// Sorts out what is news to this table at the real time `now_ms`.
pub fn news(table: &Policies, told: Vec<PolicyEntry>, now_ms: u64) -> PolicyNews {
    let mut news = PolicyNews::default();
    for entry in told {
        if entry.version.number > now_ms.saturating_add(FURTHEST_AHEAD_MS) {
            news.ahead += 1;
        } else if table.is_news(&entry) {
            // One message may tell of a name twice.
            match news.entries.iter_mut().find(|other| other.name == entry.name) {
                Some(other) if entry.is_later_than(other) => *other = entry,
                Some(_) => {}
                None => news.entries.push(entry),
            }
        }
    }
    news
}
