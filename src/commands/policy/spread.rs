//! The masters of a cluster tell each other of policies, over the cluster bus.
//!
//! What they say is in [`crate::core::policies::message`]. Every node tells all others
//! its summary twice a second; a replica does so too, so that people see whether it
//! agrees, but it takes nothing over: it follows its master.

use super::commit;
use crate::core::policies::message::{self, KnownNames, PolicyMessage, TableSummary, ToldEntries};
use crate::core::policies::{NodeId, Policies, PolicyEntry};
use crate::observe::metrics::{self, Gauge};
use crate::server::cluster_bus;
use crate::server::context::Context;
use crate::server::door;
use crate::server::ffi::log::LogLevel;
use crate::server::load::Loading;
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::server::timing::timer;
use crate::types::effect::policy::PolicyChange;
use crate::types::policies::node;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often a node tells its summary, in milliseconds.
const TURN_MS: i64 = 500;
/// Who has said nothing for so long is not known to agree.
const SILENT_AFTER: Duration = Duration::from_secs(5);
/// The wait before a node is asked the same again: twice as long each time, up to
/// [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(400);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// So many nodes are asked between two turns: in a large cluster all others know what a
/// node lacks that returns, and one answer is enough.
const MOST_ASKED: usize = 3;
/// Messages beyond so many bytes are dropped while they wait to be read.
const MOST_WAITING: usize = 8 << 20;

/// What another node said last, and what it was asked.
#[derive(Clone, Copy, Debug)]
struct Neighbour {
    summary: TableSummary,
    heard: Instant,
    asked: Option<Question>,
}

/// A question that was put to a node.
#[derive(Clone, Copy, Debug)]
struct Question {
    /// Its history and ours at that time.
    histories: (u64, u64),
    at: Instant,
    /// How long it must not be repeated while both are the same.
    wait: Duration,
}

#[derive(Debug)]
struct Spread {
    /// Messages that were not read yet.
    inbox: Vec<(NodeId, Box<[u8]>)>,
    inbox_bytes: usize,
    neighbours: BTreeMap<NodeId, Neighbour>,
    /// How many were asked since the last turn.
    asked: usize,
    /// How many nodes did not agree at the last turn.
    disagreeing: u64,
}

static SPREAD: MainThreadCell<Spread> = MainThreadCell::new(Spread {
    inbox: Vec::new(),
    inbox_bytes: 0,
    neighbours: BTreeMap::new(),
    asked: 0,
    disagreeing: 0,
});

fn with<R>(main: MainThread, run: impl FnOnce(&mut Spread) -> R) -> R {
    run(&mut SPREAD.of(main).borrow_mut())
}

/// What INFO and RL.METRICS tell of it.
pub static GAUGES: &[Gauge] =
    &[("policies_disagreeing_nodes", |main| with(main, |spread| spread.disagreeing))];

/// Begins to tell and to listen, where there is a cluster bus.
pub fn begin(loading: &Loading<'_>) {
    if loading.cluster_bus(arrived) {
        node::keep(loading.context().main(), |worth| worth.deleted = true);
        timer::after(loading.context(), TURN_MS, turn);
    }
}

/// What the other nodes are to know of this one's table.
fn summary(ctx: &Context<'_>) -> TableSummary {
    let digests = node::digests(ctx.main());
    TableSummary {
        version: node::look(ctx.main(), Policies::version),
        digest: digests.policies,
        history: digests.history,
        master: ctx.flags().master(),
    }
}

/// Tells all others the summary, twice a second.
fn turn(ctx: &Context<'_>) {
    timer::after(ctx, TURN_MS, turn);
    cluster_bus::send(ctx, None, &summary(ctx).message());
    let known = cluster_bus::nodes(ctx);
    with(ctx.main(), |spread| {
        spread.asked = 0;
        spread.neighbours.retain(|id, _| known.iter().any(|node| node.id == *id));
    });
    let disagreeing = nodes(ctx).iter().filter(|node| !node.agrees).count();
    with(ctx.main(), |spread| spread.disagreeing = disagreeing as u64);
}

/// Tells all others of a change that was made here.
pub fn tell(ctx: &Context<'_>, entries: &[PolicyEntry]) {
    if cluster_bus::own_id(ctx).is_some() {
        send_all(ctx, None, &message::tell(entries));
    }
}

fn send_all(ctx: &Context<'_>, to: Option<NodeId>, messages: &[Vec<u8>]) {
    for message in messages {
        cluster_bus::send(ctx, to, message);
    }
}

/// A message has arrived, perhaps in the middle of a command: it is read after that.
fn arrived(ctx: &Context<'_>, from: NodeId, bytes: &[u8]) {
    let is_first = with(ctx.main(), |spread| {
        if spread.inbox_bytes.saturating_add(bytes.len()) > MOST_WAITING {
            return false;
        }
        spread.inbox_bytes += bytes.len();
        spread.inbox.push((from, bytes.into()));
        spread.inbox.len() == 1
    });
    if is_first {
        timer::after(ctx, 0, read_inbox);
    }
}

fn read_inbox(ctx: &Context<'_>) {
    let inbox = with(ctx.main(), |spread| {
        spread.inbox_bytes = 0;
        std::mem::take(&mut spread.inbox)
    });
    if ctx.flags().replicated_or_loading() {
        return;
    }
    for (from, bytes) in inbox {
        match message::read(&bytes) {
            Ok(PolicyMessage::Summary(theirs)) => heard(ctx, from, theirs),
            Ok(PolicyMessage::Ask(known)) => answer(ctx, from, &known),
            Ok(PolicyMessage::Tell(told)) => take_over(ctx, from, told),
            Err(_) => metrics::count(ctx.main(), |m| &mut m.policy_messages_malformed),
        }
    }
}

/// Another node told its summary: where it knows something else, it is asked.
fn heard(ctx: &Context<'_>, from: NodeId, theirs: TableSummary) {
    let now = Instant::now();
    let was_silent = with(ctx.main(), |spread| {
        let neighbour = Neighbour { summary: theirs, heard: now, asked: None };
        let before = spread.neighbours.insert(from, neighbour);
        if let (Some(before), Some(neighbour)) = (before, spread.neighbours.get_mut(&from)) {
            neighbour.asked = before.asked;
        }
        before.is_none_or(|before| now.duration_since(before.heard) > SILENT_AFTER)
    });
    let ours = summary(ctx);
    if was_silent {
        // It joined or came back: it need not wait for the next turn.
        cluster_bus::send(ctx, Some(from), &ours.message());
    }
    let differs = ours.master && theirs.master && ours.history != theirs.history;
    if differs && door::is_open(ctx) && may_ask(ctx.main(), from, (theirs.history, ours.history), now) {
        let questions = node::look(ctx.main(), message::ask);
        send_all(ctx, Some(from), &questions);
    }
}

/// Whether it is time to ask this node, which is noted then.
fn may_ask(main: MainThread, node: NodeId, histories: (u64, u64), now: Instant) -> bool {
    with(main, |spread| {
        let Some(neighbour) = spread.neighbours.get_mut(&node) else { return false };
        let before = neighbour.asked.filter(|asked| asked.histories == histories);
        if spread.asked >= MOST_ASKED || before.is_some_and(|asked| now.duration_since(asked.at) < asked.wait)
        {
            return false;
        }
        let wait = before.map_or(FIRST_WAIT, |asked| asked.wait.saturating_mul(2).min(LONGEST_WAIT));
        neighbour.asked = Some(Question { histories, at: now, wait });
        spread.asked += 1;
        true
    })
}

fn answer(ctx: &Context<'_>, from: NodeId, known: &KnownNames) {
    if !ctx.flags().master() {
        return;
    }
    let lacking = node::look(ctx.main(), |policies| {
        policies.lacking(known.after.as_ref(), known.until.as_ref(), &known.outlines)
    });
    send_all(ctx, Some(from), &message::tell(&lacking));
}

/// Takes over what is news, when the server would take it from a client. Where it would
/// not, it is asked for again later.
fn take_over(ctx: &Context<'_>, from: NodeId, told: ToldEntries) {
    let now_ms = u64::try_from(ctx.wall_millis()).unwrap_or(0);
    metrics::add(ctx.main(), |m| &mut m.policies_unreadable, told.unreadable as u64);
    let news = node::look(ctx.main(), |policies| message::news(policies, told.entries, now_ms));
    metrics::add(ctx.main(), |m| &mut m.policies_ahead, news.ahead as u64);
    if news.entries.is_empty() || !ctx.flags().master() || !door::is_open(ctx) {
        return;
    }
    let count = news.entries.len() as u64;
    match commit::commit(ctx, &PolicyChange::of(news.entries)) {
        Ok(()) => metrics::add(ctx.main(), |m| &mut m.policies_taken_over, count),
        Err(error) => ctx.log(
            LogLevel::Warning,
            &format!("floodgate: policies of node {from} were not taken over: {error}"),
        ),
    }
}

/// A node as RL.POLICY LIST shows it.
#[derive(Clone, Copy, Debug)]
pub struct NodeView {
    /// Its name.
    pub id: NodeId,
    /// The version and the digest of its policies, as it said last.
    pub said: Option<(u64, u64)>,
    /// It has the same policies as this node.
    pub agrees: bool,
}

/// All nodes of the cluster, by their names; none outside of clusters.
pub fn nodes(ctx: &Context<'_>) -> Vec<NodeView> {
    let now = Instant::now();
    let ours = summary(ctx);
    let known = cluster_bus::nodes(ctx);
    let mut nodes: Vec<NodeView> = with(ctx.main(), |spread| {
        let view = |node: &cluster_bus::ClusterNode| {
            let theirs = spread.neighbours.get(&node.id);
            let (said, is_recent) = if node.is_here {
                (Some(ours), true)
            } else {
                let is_recent = |theirs: &Neighbour| now.duration_since(theirs.heard) <= SILENT_AFTER;
                (theirs.map(|theirs| theirs.summary), theirs.is_some_and(is_recent))
            };
            NodeView {
                id: node.id,
                said: said.map(|said| (said.version, said.digest)),
                agrees: is_recent && said.is_some_and(|said| said.digest == ours.digest),
            }
        };
        known.iter().map(view).collect()
    });
    nodes.sort_unstable_by_key(|node| node.id);
    nodes
}
