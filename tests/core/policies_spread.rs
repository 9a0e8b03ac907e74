//! Masters that tell each other of policies over a network that loses, doubles and
//! reorders: once they have met, all have one table, and it is the one that a list of
//! all changes ever made gives.

use crate::models::policies::{last_of_each, owner};
use floodgate::core::limits::Label;
use floodgate::core::policies::message::{self, PolicyMessage, ReceivedEntries};
use floodgate::core::policies::table::MOST_DELETED;
use floodgate::core::policies::{
    ChangedBy, NodeId, Policies, Policy, PolicyEntry, PolicyState, PolicyVersion,
};
use floodgate::core::wire::{put_bytes, put_u64};
use floodgate::types::effect::policy::PolicyChange;
use proptest::prelude::*;
use std::collections::BTreeMap;

const START_MS: u64 = 1_795_186_800_000;

fn id(node: usize) -> NodeId {
    NodeId::parse(format!("{:040x}", node + 1).as_bytes()).unwrap()
}

fn label(name: &str) -> Label {
    Label::parse(name.as_bytes()).unwrap()
}

fn policy(name: &str, count: u64, prefix: Option<&str>) -> Policy {
    let limits = format!("{count}/s");
    Policy::parse(name.as_bytes(), limits.as_bytes(), prefix.map(str::as_bytes), None).unwrap()
}

/// One master: its table, and a clock that may be wrong.
struct Master {
    id: NodeId,
    table: Policies,
    now_ms: u64,
    /// The highest version of the table, and of each name, that was ever seen here.
    highest: u64,
    of_names: BTreeMap<Label, PolicyVersion>,
}

impl Master {
    /// Applies a change as the server does: by its payload, which a replica and the AOF get.
    fn apply(&mut self, entries: Vec<PolicyEntry>) {
        let payload = self.table.encode_next(&PolicyChange::of(entries));
        let mut replica = Policies::default();
        replica.apply(&self.table.encode_all()).unwrap();
        for table in [&mut self.table, &mut replica] {
            table.apply(&payload).unwrap();
        }
        assert_same(&self.table, &replica);
        self.check();
    }

    fn restart(&mut self) {
        let kept = self.table.encode_all();
        self.table = Policies::default();
        self.table.apply(&kept).unwrap();
        self.check();
    }

    /// No version ever goes back, and nothing is ever unknown again.
    fn check(&mut self) {
        assert!(self.table.version() >= self.highest);
        self.highest = self.table.version();
        for (name, version) in &self.of_names {
            assert!(self.table.entry(name).unwrap().version >= *version);
        }
        self.of_names = self.table.entries().map(|entry| (entry.name.clone(), entry.version)).collect();
    }

    /// Reads a message from `from`; gives what to send back.
    fn hear(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        assert!(bytes.len() <= message::LONGEST_MESSAGE);
        match message::read(bytes).unwrap() {
            PolicyMessage::Summary(_) => vec![],
            PolicyMessage::Query(known) => {
                let lacking = self.table.lacking(known.after.as_ref(), known.until.as_ref(), &known.outlines);
                message::entry_messages(&lacking)
            }
            PolicyMessage::Entries(ReceivedEntries { entries, unreadable }) => {
                assert_eq!(unreadable, 0);
                let news = message::news(&self.table, entries, self.now_ms);
                assert_eq!(news.ahead, 0);
                if !news.entries.is_empty() {
                    self.apply(news.entries);
                }
                vec![]
            }
        }
    }
}

fn all_entries(table: &Policies) -> Vec<PolicyEntry> {
    table.entries().map(|entry| entry.to_entry()).collect()
}

fn assert_same(a: &Policies, b: &Policies) {
    assert!(all_entries(a).eq(&all_entries(b)));
    assert!(a.iter().map(|policy| a.prefix_of(policy)).eq(b.iter().map(|policy| b.prefix_of(policy))));
    assert_eq!((a.version(), a.file()), (b.version(), b.file()));
    assert_eq!((a.digest(), a.history_digest()), (b.digest(), b.history_digest()));
}

#[derive(Clone, Debug)]
enum Step {
    Set { node: usize, name: usize, count: u64, prefix: Option<usize> },
    Delete { node: usize, name: usize },
    Ask { from: usize, to: usize },
    Deliver { at: usize },
    Lose { at: usize },
    Double { at: usize },
    Restart { node: usize },
    Clock { node: usize, by_ms: i64 },
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const PREFIXES: [&str; 3] = ["", "u:", "u:p:"];

fn step() -> impl Strategy<Value = Step> {
    let node = 0..4usize;
    prop_oneof![
        4 => (node.clone(), 0..NAMES.len(), 1..9u64, prop::option::of(0..PREFIXES.len()))
            .prop_map(|(node, name, count, prefix)| Step::Set { node, name, count, prefix }),
        2 => (node.clone(), 0..NAMES.len()).prop_map(|(node, name)| Step::Delete { node, name }),
        2 => (node.clone(), node.clone()).prop_map(|(from, to)| Step::Ask { from, to }),
        6 => (0..64usize).prop_map(|at| Step::Deliver { at }),
        2 => (0..64usize).prop_map(|at| Step::Lose { at }),
        1 => (0..64usize).prop_map(|at| Step::Double { at }),
        1 => node.clone().prop_map(|node| Step::Restart { node }),
        2 => (node, -90_000..90_000i64).prop_map(|(node, by_ms)| Step::Clock { node, by_ms }),
    ]
}

struct CheckedLimiter {
    masters: Vec<Master>,
    /// Who gets what; and who is answered.
    network: Vec<(usize, usize, Vec<u8>)>,
    log: Vec<PolicyEntry>,
}

impl CheckedLimiter {
    fn new(masters: usize) -> Self {
        let master = |node| Master {
            id: id(node),
            table: Policies::default(),
            now_ms: START_MS,
            highest: 0,
            of_names: BTreeMap::new(),
        };
        Self { masters: (0..masters).map(master).collect(), network: vec![], log: vec![] }
    }

    fn by(&self, node: usize) -> ChangedBy {
        ChangedBy::Node { id: self.masters[node].id, now_ms: self.masters[node].now_ms }
    }

    /// A client changed something here: the others are told.
    fn changed(&mut self, node: usize, entries: Vec<PolicyEntry>) {
        self.log.extend(entries.iter().cloned());
        self.masters[node].apply(entries.clone());
        for told in message::entry_messages(&entries) {
            for to in (0..self.masters.len()).filter(|to| *to != node) {
                self.network.push((node, to, told.clone()));
            }
        }
    }

    fn ask(&mut self, from: usize, to: usize) {
        if from != to {
            let questions = message::queries(&self.masters[from].table);
            self.network.extend(questions.into_iter().map(|question| (from, to, question)));
        }
    }

    fn deliver(&mut self, at: usize) {
        let (from, to, bytes) = self.network.swap_remove(at);
        let answers = self.masters[to].hear(&bytes);
        self.network.extend(answers.into_iter().map(|answer| (to, from, answer)));
    }

    fn run(&mut self, step: Step) {
        let waiting = self.network.len();
        match step {
            Step::Set { node, name, count, prefix } => {
                let node = node % self.masters.len();
                let policy = policy(NAMES[name], count, prefix.map(|prefix| PREFIXES[prefix]));
                let table = &self.masters[node].table;
                if table.check(std::slice::from_ref(&policy)).is_ok() {
                    let entries = table.to_set(vec![policy], self.by(node));
                    self.changed(node, entries);
                }
            }
            Step::Delete { node, name } => {
                let node = node % self.masters.len();
                let table = &self.masters[node].table;
                if table.get(&label(NAMES[name])).is_some() {
                    let entry = table.to_delete(label(NAMES[name]), self.by(node));
                    self.changed(node, vec![entry]);
                }
            }
            Step::Ask { from, to } => self.ask(from % self.masters.len(), to % self.masters.len()),
            Step::Deliver { at } if waiting > 0 => self.deliver(at % waiting),
            Step::Lose { at } if waiting > 0 => drop(self.network.swap_remove(at % waiting)),
            Step::Double { at } if waiting > 0 => {
                let again = self.network[at % waiting].clone();
                self.network.push(again);
            }
            Step::Restart { node } => {
                let node = node % self.masters.len();
                self.masters[node].restart();
            }
            Step::Clock { node, by_ms } => {
                let node = node % self.masters.len();
                let now = &mut self.masters[node].now_ms;
                *now = now.saturating_add_signed(by_ms);
            }
            Step::Deliver { .. } | Step::Lose { .. } | Step::Double { .. } => {}
        }
    }

    /// All meet: each asks each, around a ring, as often as there are masters.
    fn meet(&mut self) {
        for _ in 0..self.masters.len() {
            for from in 0..self.masters.len() {
                let to = (from + 1) % self.masters.len();
                self.ask(from, to);
                self.ask(to, from);
            }
            while !self.network.is_empty() {
                self.deliver(0);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn masters_that_have_met_have_one_table(
        masters in 2..5usize,
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut limiter = CheckedLimiter::new(masters);
        for step in steps {
            limiter.run(step);
        }
        // What is still under way arrives whenever it likes: half before, half after.
        let late = limiter.network.split_off(limiter.network.len() / 2);
        limiter.meet();
        limiter.network = late;
        while !limiter.network.is_empty() {
            limiter.deliver(0);
        }
        let last = last_of_each(&limiter.log);
        for master in &limiter.masters {
            assert_same(&master.table, &limiter.masters[0].table);
            prop_assert!(all_entries(&master.table).iter().eq(last.values()));
            for prefix in PREFIXES {
                prop_assert_eq!(master.table.owner_of(prefix.as_bytes()).cloned(), owner(&last, prefix));
            }
        }
        // They know all: nobody has anything to tell.
        for master in &limiter.masters {
            for question in message::queries(&master.table) {
                let PolicyMessage::Query(known) = message::read(&question).unwrap() else { panic!() };
                let table = &limiter.masters[0].table;
                prop_assert!(table.lacking(known.after.as_ref(), known.until.as_ref(), &known.outlines).is_empty());
            }
        }
    }
}

/// What version 0.1 kept differs from node to node and has no versions; and somebody
/// may forge changes of one version. The same wins everywhere.
#[test]
fn of_two_changes_with_one_version_the_same_wins_everywhere() {
    let entry = |count, prefix| PolicyEntry {
        name: label("x"),
        version: PolicyVersion::FIRST,
        state: PolicyState::Live(policy("x", count, prefix)),
    };
    let gone = PolicyEntry { name: label("x"), version: PolicyVersion::FIRST, state: PolicyState::Deleted };
    let all = [entry(1, None), entry(2, None), entry(1, Some("p")), gone];
    for (a, one) in all.iter().enumerate() {
        for (b, other) in all.iter().enumerate() {
            assert_eq!(one.is_later_than(other), !other.is_later_than(one) && a != b);
        }
    }
    let mut limiter = CheckedLimiter::new(3);
    for (master, entry) in limiter.masters.iter_mut().zip(&all) {
        master.apply(vec![entry.clone()]);
    }
    limiter.meet();
    for master in &limiter.masters {
        assert_same(&master.table, &limiter.masters[0].table);
    }
}

#[test]
fn the_last_thousand_deleted_names_are_remembered() {
    let mut limiter = CheckedLimiter::new(2);
    let names: Vec<String> = (0..MOST_DELETED + 5).map(|n| format!("n{n:04}")).collect();
    let policies = names.iter().map(|name| policy(name, 1, Some(name))).collect();
    let entries = limiter.masters[0].table.to_set(policies, limiter.by(0));
    limiter.masters[0].apply(entries);
    limiter.meet();
    assert_eq!(limiter.masters[1].table.len(), names.len());
    for name in &names {
        limiter.masters[0].of_names.clear();
        let entry = limiter.masters[0].table.to_delete(label(name), limiter.by(0));
        limiter.masters[0].apply(vec![entry]);
    }
    assert_eq!(limiter.masters[0].table.deleted(), MOST_DELETED);
    limiter.masters[0].restart();
    limiter.meet();
    for master in &limiter.masters {
        assert_same(&master.table, &limiter.masters[0].table);
        // Those that were forgotten came back, for nobody can know better.
        assert_eq!((master.table.len(), master.table.deleted()), (5, MOST_DELETED));
    }
}

#[test]
fn ten_thousand_policies_go_over_in_messages_of_64_kib() {
    let mut limiter = CheckedLimiter::new(2);
    let name = |n: usize| format!("{}{n:05}", "long-name.".repeat(5));
    let policies = (0..10_000).map(|n| policy(&name(n), 7, Some(&name(n)))).collect();
    let entries = limiter.masters[0].table.to_set(policies, limiter.by(0));
    limiter.masters[0].apply(entries);
    let messages = message::entry_messages(&all_entries(&limiter.masters[0].table));
    assert!(messages.len() > 10);
    assert!(messages.iter().all(|message| message.len() <= message::LONGEST_MESSAGE));
    limiter.meet();
    assert_same(&limiter.masters[0].table, &limiter.masters[1].table);
    // Now they ask in many parts, and only what one lacks is told.
    let gone = limiter.masters[1].table.to_delete(label(&name(4321)), limiter.by(1));
    limiter.masters[1].apply(vec![gone]);
    let questions = message::queries(&limiter.masters[0].table);
    assert!(questions.len() > 10);
    let answers: Vec<Vec<u8>> = questions.iter().flat_map(|bytes| limiter.masters[1].hear(bytes)).collect();
    let [answer] = &answers[..] else { panic!("{} answers", answers.len()) };
    limiter.masters[0].hear(answer);
    assert_same(&limiter.masters[0].table, &limiter.masters[1].table);
}

#[test]
fn what_lies_more_than_a_day_ahead_is_not_accepted() {
    let table = Policies::default();
    let at = |number| PolicyEntry {
        name: label("x"),
        version: PolicyVersion { number, node: id(0) },
        state: PolicyState::Live(policy("x", 1, None)),
    };
    let limit = START_MS + message::FURTHEST_AHEAD_MS;
    let news = message::news(&table, vec![at(limit), at(limit + 1), at(u64::MAX)], START_MS);
    assert_eq!((news.entries, news.ahead), (vec![at(limit)], 2));
}

/// What the bytes say is all that they say: what is read of them is written as the same bytes, and where a
/// policy is of a later version, the others are.
fn assert_lossless(bytes: &[u8]) {
    let mut written = Vec::new();
    match message::read(bytes) {
        Err(_) => return,
        Ok(PolicyMessage::Summary(summary)) => written = summary.message(),
        Ok(PolicyMessage::Query(known)) => {
            written.extend([1, 2]);
            for bound in [&known.after, &known.until] {
                put_bytes(&mut written, bound.as_ref().map_or("", Label::as_str).as_bytes());
            }
            for outline in &known.outlines {
                put_bytes(&mut written, outline.name.as_str().as_bytes());
                put_version(&mut written, outline.version);
                put_u64(&mut written, outline.state);
            }
        }
        Ok(PolicyMessage::Entries(received)) => {
            written.extend([1, 3]);
            received.entries.iter().for_each(|entry| entry.put(&mut written));
            if received.unreadable > 0 {
                let Ok(PolicyMessage::Entries(again)) = message::read(&written) else { panic!() };
                assert_eq!((again.entries, again.unreadable), (received.entries, 0));
                return;
            }
        }
    }
    assert_eq!(written, bytes);
}

fn put_version(out: &mut Vec<u8>, version: PolicyVersion) {
    put_u64(out, version.number);
    if version.node == NodeId::NONE {
        return put_bytes(out, b"");
    }
    let digits = version.node.to_string();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    put_bytes(out, &(0..NodeId::DIGITS).step_by(2).map(byte).collect::<Vec<_>>());
}

/// Messages of each kind, and the table that they tell of.
fn whole_messages() -> (Policies, Vec<Vec<u8>>) {
    let entry = |name: &str| PolicyEntry {
        name: label(name),
        version: PolicyVersion { number: START_MS, node: id(3) },
        state: PolicyState::Live(policy(name, 5, Some("p:"))),
    };
    let mut table = Policies::default();
    for name in ["one", "two"] {
        table.put(entry(name));
    }
    table.put(PolicyEntry { state: PolicyState::Deleted, ..entry("gone") });
    let summary = message::TableSummary { version: 7, digest: u64::MAX, history: 0, master: true };
    let mut messages = [message::entry_messages(&all_entries(&table)), message::queries(&table)].concat();
    messages.push(summary.message());
    (table, messages)
}

/// A message that has lost a bit is refused or harmless; a policy that this version cannot read does not
/// hide the others.
#[test]
fn damaged_messages_are_refused_or_harmless() {
    let (table, messages) = whole_messages();
    for whole in &messages {
        message::read(whole).unwrap();
        assert_lossless(whole);
        for cut in 0..whole.len() {
            assert_lossless(&whole[..cut]);
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                assert_lossless(&bytes);
                if let Ok(PolicyMessage::Entries(told)) = message::read(&bytes) {
                    let mut table = table.clone();
                    message::news(&table, told.entries, START_MS)
                        .entries
                        .into_iter()
                        .for_each(|e| table.put(e));
                    let mut copy = Policies::default();
                    copy.apply(&table.encode_all()).unwrap();
                    assert_same(&table, &copy);
                }
            }
        }
    }
    assert!(message::read(&vec![1; message::LONGEST_MESSAGE + 1]).is_err());
    // '5/s' of 'two' becomes '5/x'.
    let mut bytes = messages[0].clone();
    let at = bytes.windows(3).rposition(|part| part == b"5/s").unwrap();
    bytes[at + 2] = b'x';
    let PolicyMessage::Entries(told) = message::read(&bytes).unwrap() else { panic!() };
    assert_eq!((told.unreadable, told.entries.len()), (1, 2));
}

/// A change that no node made has one form.
#[test]
fn zeros_are_no_name_of_a_node() {
    let mut bytes = vec![1, 3];
    put_bytes(&mut bytes, b"gone");
    put_u64(&mut bytes, START_MS);
    let before = bytes.len();
    put_bytes(&mut bytes, b"");
    bytes.push(2);
    assert_lossless(&bytes);
    message::read(&bytes).unwrap();
    bytes.splice(before..=before, [&[20][..], &[0; 20]].concat());
    assert!(message::read(&bytes).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_as_what_they_are_or_refused(
        kind in 0..5u8,
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        assert_lossless(&[&[1, kind][..], &bytes].concat());
    }

    /// A part of a message becomes other bytes.
    #[test]
    fn changed_messages_are_read_as_what_they_are_or_refused(
        which: prop::sample::Index,
        at: prop::sample::Index,
        removed in 0..4usize,
        put in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let mut bytes = which.get(&whole_messages().1).clone();
        let at = at.index(bytes.len());
        bytes.splice(at..(at + removed).min(bytes.len()), put);
        assert_lossless(&bytes);
    }
}
