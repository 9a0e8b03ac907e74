//! The exchange of policies between the masters of a cluster, over the cluster bus.
//!
//! [`crate::core::policies::message`] holds the messages. Every node sends its summary to all
//! others twice a second. A replica sends it, too, so that people see whether it agrees. But it
//! takes over no policies, because it follows its master.

use super::commit;
use crate::core::policies::message::{self, KnownNames, PolicyMessage, ReceivedEntries, TableSummary};
use crate::core::policies::{NodeId, Policies, PolicyEntry};
use crate::observe::metrics::{self, Gauge};
use crate::server::cluster_bus;
use crate::server::context::Context;
use crate::server::ffi::log::LogLevel;
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::server::timing::timer;
use crate::server::write_check;
use crate::types::effect::policy::PolicyChange;
use crate::types::policies::node;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The time between two summaries of a node, in milliseconds.
const SUMMARY_INTERVAL_MS: i64 = 500;
/// A node that has been silent for longer than this is not known to agree.
const SILENT_AFTER: Duration = Duration::from_secs(5);
/// The wait before a node is asked the same again. It doubles each time, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(400);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The most nodes that are asked between two turns. If a node returns to a large cluster, all
/// others know what it lacks, and one answer is enough.
const MOST_ASKED: usize = 3;
/// The most bytes of messages that wait to be read. Further messages are dropped.
const MOST_WAITING: usize = 8 << 20;

/// A node, with what it sent last and what it was asked last.
#[derive(Clone, Copy, Debug)]
struct Peer {
    summary: TableSummary,
    heard: Instant,
    asked: Option<SentQuery>,
}

/// The digests of the history of another node and of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HistoryDigests {
    theirs: u64,
    ours: u64,
}

/// A question that was sent to a node.
#[derive(Clone, Copy, Debug)]
struct SentQuery {
    /// The digests at that time.
    histories: HistoryDigests,
    at: Instant,
    /// The time for which it is not repeated while both digests are the same.
    wait: Duration,
}

#[derive(Debug)]
struct Gossip {
    /// The messages that are not read yet.
    inbox: Vec<(NodeId, Box<[u8]>)>,
    inbox_bytes: usize,
    peers: BTreeMap<NodeId, Peer>,
    /// The number of nodes that were asked since the last turn.
    asked: usize,
    /// The number of nodes that did not agree at the last turn.
    disagreeing: u64,
}

static GOSSIP: MainThreadCell<Gossip> = MainThreadCell::new(Gossip {
    inbox: Vec::new(),
    inbox_bytes: 0,
    peers: BTreeMap::new(),
    asked: 0,
    disagreeing: 0,
});

fn with<R>(main: MainThread, run: impl FnOnce(&mut Gossip) -> R) -> R {
    run(&mut GOSSIP.of(main).borrow_mut())
}

/// The gauge of the exchange for INFO and RL.METRICS.
pub static GAUGES: &[Gauge] =
    &[("policies_disagreeing_nodes", |main| with(main, |gossip| gossip.disagreeing))];

/// Begins the exchange, if there is a cluster bus.
pub fn begin(ctx: &Context<'_>) {
    if cluster_bus::on_message(ctx, arrived) {
        node::keep(ctx.main(), |worth| worth.deleted = true);
        timer::after(ctx, SUMMARY_INTERVAL_MS, turn);
    }
}

/// The summary of this node's table.
fn summary(ctx: &Context<'_>) -> TableSummary {
    let digests = node::digests(ctx.main());
    TableSummary {
        version: node::with_policies(ctx.main(), Policies::version),
        digest: digests.policies,
        history: digests.history,
        master: ctx.flags().master(),
    }
}

/// Sends the summary to all others, twice a second.
fn turn(ctx: &Context<'_>) {
    timer::after(ctx, SUMMARY_INTERVAL_MS, turn);
    cluster_bus::send(ctx, None, &summary(ctx).message());
    let known = cluster_bus::nodes(ctx);
    with(ctx.main(), |gossip| {
        gossip.asked = 0;
        gossip.peers.retain(|id, _| known.iter().any(|node| node.id == *id));
    });
    let disagreeing = nodes(ctx).iter().filter(|node| !node.agrees).count();
    with(ctx.main(), |gossip| gossip.disagreeing = disagreeing as u64);
}

/// Sends a change that was made here to all others.
pub fn broadcast(ctx: &Context<'_>, entries: &[PolicyEntry]) {
    if cluster_bus::own_id(ctx).is_some() {
        send_all(ctx, None, &message::entry_messages(entries));
    }
}

fn send_all(ctx: &Context<'_>, to: Option<NodeId>, messages: &[Vec<u8>]) {
    for message in messages {
        cluster_bus::send(ctx, to, message);
    }
}

/// Keeps a message that has arrived, perhaps in the middle of a command. It is read after the
/// command.
fn arrived(ctx: &Context<'_>, from: NodeId, bytes: &[u8]) {
    let is_first = with(ctx.main(), |gossip| {
        if gossip.inbox_bytes.saturating_add(bytes.len()) > MOST_WAITING {
            return false;
        }
        gossip.inbox_bytes += bytes.len();
        gossip.inbox.push((from, bytes.into()));
        gossip.inbox.len() == 1
    });
    if is_first {
        timer::after(ctx, 0, read_inbox);
    }
}

fn read_inbox(ctx: &Context<'_>) {
    let inbox = with(ctx.main(), |gossip| {
        gossip.inbox_bytes = 0;
        std::mem::take(&mut gossip.inbox)
    });
    if ctx.flags().replicated_or_loading() {
        return;
    }
    for (from, bytes) in inbox {
        match message::read(&bytes) {
            Ok(PolicyMessage::Summary(theirs)) => heard(ctx, from, theirs),
            Ok(PolicyMessage::Query(known)) => answer(ctx, from, &known),
            Ok(PolicyMessage::Entries(received)) => take_over(ctx, from, received),
            Err(_) => metrics::count(ctx.main(), |m| &mut m.policy_messages_malformed),
        }
    }
}

/// Handles the summary of another node: if that node knows something else, it is asked.
fn heard(ctx: &Context<'_>, from: NodeId, theirs: TableSummary) {
    let now = Instant::now();
    let was_silent = with(ctx.main(), |gossip| {
        let before = gossip.peers.get(&from).copied();
        let asked = before.and_then(|before| before.asked);
        gossip.peers.insert(from, Peer { summary: theirs, heard: now, asked });
        before.is_none_or(|before| now.duration_since(before.heard) > SILENT_AFTER)
    });
    let ours = summary(ctx);
    if was_silent {
        // The node joined or came back, and need not wait for the next turn.
        cluster_bus::send(ctx, Some(from), &ours.message());
    }
    let histories = HistoryDigests { theirs: theirs.history, ours: ours.history };
    let differs = ours.master && theirs.master && histories.ours != histories.theirs;
    if differs && write_check::may_write(ctx) && may_ask(ctx.main(), from, histories, now) {
        let queries = node::with_policies(ctx.main(), message::queries);
        send_all(ctx, Some(from), &queries);
    }
}

/// True if it is time to ask this node. If so, notes the question.
fn may_ask(main: MainThread, node: NodeId, histories: HistoryDigests, now: Instant) -> bool {
    with(main, |gossip| {
        let Some(peer) = gossip.peers.get_mut(&node) else { return false };
        let before = peer.asked.filter(|asked| asked.histories == histories);
        if gossip.asked >= MOST_ASKED || before.is_some_and(|asked| now.duration_since(asked.at) < asked.wait)
        {
            return false;
        }
        let wait = before.map_or(FIRST_WAIT, |asked| asked.wait.saturating_mul(2).min(LONGEST_WAIT));
        peer.asked = Some(SentQuery { histories, at: now, wait });
        gossip.asked += 1;
        true
    })
}

fn answer(ctx: &Context<'_>, from: NodeId, known: &KnownNames) {
    if !ctx.flags().master() {
        return;
    }
    let lacking = node::with_policies(ctx.main(), |policies| {
        policies.lacking(known.after.as_ref(), known.until.as_ref(), &known.outlines)
    });
    send_all(ctx, Some(from), &message::entry_messages(&lacking));
}

/// Takes over the changes that are news, if the server would accept them from a client now.
/// Otherwise they are asked for again later.
fn take_over(ctx: &Context<'_>, from: NodeId, received: ReceivedEntries) {
    let now_ms = u64::try_from(ctx.wall_millis()).unwrap_or(0);
    metrics::add(ctx.main(), |m| &mut m.policies_unreadable, received.unreadable as u64);
    let news = node::with_policies(ctx.main(), |policies| message::news(policies, received.entries, now_ms));
    metrics::add(ctx.main(), |m| &mut m.policies_ahead, news.ahead as u64);
    if news.entries.is_empty() || !ctx.flags().master() || !write_check::may_write(ctx) {
        return;
    }
    let count = news.entries.len() as u64;
    match commit::commit(ctx, &PolicyChange::of(news.entries)) {
        Ok(()) => metrics::add(ctx.main(), |m| &mut m.policies_taken_over, count),
        Err(error) => {
            ctx.log(LogLevel::Warning, &format!("policies of node {from} were not taken over: {error}"));
        }
    }
}

/// A node as RL.POLICY LIST shows it.
#[derive(Clone, Copy, Debug)]
pub struct NodeView {
    /// The name of the node.
    pub id: NodeId,
    /// The version and the digest of its policies, as it sent them last.
    pub said: Option<(u64, u64)>,
    /// True if it has the same policies as this node.
    pub agrees: bool,
}

/// All nodes of the cluster, in the order of their names. None outside a cluster.
pub fn nodes(ctx: &Context<'_>) -> Vec<NodeView> {
    let now = Instant::now();
    let ours = summary(ctx);
    let known = cluster_bus::nodes(ctx);
    let mut nodes: Vec<NodeView> = with(ctx.main(), |gossip| {
        let view = |node: &cluster_bus::ClusterNode| {
            let theirs = gossip.peers.get(&node.id);
            let (said, is_recent) = if node.is_here {
                (Some(ours), true)
            } else {
                let is_recent = |theirs: &Peer| now.duration_since(theirs.heard) <= SILENT_AFTER;
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
