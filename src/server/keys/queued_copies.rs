//! The databases in which transactions copy keys.
//!
//! The server shows a command of a transaction to a command filter when the command is queued, not
//! when it runs. So the filter follows each transaction that may copy a key to another database:
//! in which database each of its COPY commands and of its scripts will run.

use crate::server::ffi::args::Arg;
use std::collections::{BTreeMap, VecDeque};

/// The most transactions that are followed at a time. Of more, that of the oldest client is
/// forgotten. A client that closes its connection in a transaction leaves one behind.
const MOST: usize = 256;

/// A COPY that has not run yet.
#[derive(Debug)]
pub(super) struct QueuedCopy {
    /// The key that the copy creates.
    target: Box<[u8]>,
    /// The database in which the command runs.
    from: i32,
}

impl QueuedCopy {
    pub fn new(target: Arg<'_>, from: i32) -> Self {
        Self { target: target.bytes().into(), from }
    }

    /// The database in which the command runs, if it creates this key.
    pub fn creating(&self, target: &[u8]) -> Option<i32> {
        (*self.target == *target).then_some(self.from)
    }
}

/// The commands that one client has queued since its MULTI.
#[derive(Debug)]
struct Transaction {
    /// The database in which the next command would run.
    database: i32,
    copies: VecDeque<QueuedCopy>,
    /// The database in which the first script runs.
    script: Option<i32>,
}

/// The transactions of all clients, and the one that runs.
#[derive(Debug)]
pub(super) struct QueuedCopies {
    /// By the ID of the client.
    queued: BTreeMap<u64, Transaction>,
    running: VecDeque<QueuedCopy>,
}

impl QueuedCopies {
    pub const fn new() -> Self {
        Self { queued: BTreeMap::new(), running: VecDeque::new() }
    }

    /// Follows a SELECT, a COPY or a script that a client in a transaction sends. `database` is
    /// where the client was at its MULTI.
    pub fn queue<'a>(&mut self, client: u64, database: i32, arg: impl Fn(usize) -> Option<Arg<'a>>) {
        let (Some(name), Some(first)) = (arg(0), arg(1)) else { return };
        let transaction = self.of(client, database);
        let from = transaction.database;
        if name.is("SELECT") {
            transaction.database = number(first).unwrap_or(from);
        } else if !name.is("COPY") {
            transaction.script.get_or_insert(from);
        } else if let Some(target) = arg(2) {
            transaction.copies.push_back(QueuedCopy::new(target, from));
        }
    }

    /// The client gives its transaction up.
    pub fn discard(&mut self, client: u64) {
        self.queued.remove(&client);
    }

    /// The client's transaction runs now. Returns the database in which its first script runs, if
    /// it has any.
    pub fn run(&mut self, client: u64) -> Option<i32> {
        self.running.clear();
        let transaction = self.queued.remove(&client)?;
        self.running = transaction.copies;
        transaction.script
    }

    /// The database of the running transaction's COPY that created this key.
    ///
    /// If an earlier COPY of the transaction had the same target, and copied nothing, the database
    /// is that of the earlier one.
    pub fn ran(&mut self, target: &[u8]) -> Option<i32> {
        let at = self.running.iter().position(|copy| copy.creating(target).is_some())?;
        self.running.drain(..=at).next_back().map(|copy| copy.from)
    }

    fn of(&mut self, client: u64, database: i32) -> &mut Transaction {
        if self.queued.len() >= MOST && !self.queued.contains_key(&client) {
            self.queued.pop_first();
        }
        let begun = Transaction { database, copies: VecDeque::new(), script: None };
        self.queued.entry(client).or_insert(begun)
    }
}

/// The number of a database in a SELECT.
pub(super) fn number(arg: Arg<'_>) -> Option<i32> {
    std::str::from_utf8(arg.bytes()).ok()?.parse().ok()
}
