//! The table of policies of this server, and the questions that commands ask it.

use crate::core::limits::{Expression, Label, Limits, Term};
use crate::core::policies::Policies;
use crate::core::text::token::TokenError;
use crate::core::wire::Corrupt;
use crate::server::ffi::log;
use crate::server::ffi::log::LogLevel;
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::types::cbcircuit::rules;
use crate::types::cbcircuit::rules::BreakerRef;
use crate::types::effect::policy::PolicyChange;
use crate::types::intern::{self, LimitsRef, Origin};
use std::collections::HashMap;

/// The most texts with policies in them that are kept resolved.
const MOST_TEXTS: usize = 1024;

#[derive(Debug, Default)]
struct PolicyNode {
    policies: Policies,
    /// The limits of texts such as `@free,10/s`, until the table changes.
    resolved: HashMap<Box<[u8]>, LimitsRef>,
    /// The limits of policies that were found by prefix, by the policy's name, until the table
    /// changes.
    followed: HashMap<Label, LimitsRef>,
    /// The digests of the policies, until the table changes.
    digests: Option<Digests>,
    /// The policies from before a load that is under way.
    before_load: Option<Policies>,
    worth_keeping: WorthKeeping,
    /// True from [`forget_traces`] on, until a policy is set.
    traces_forgotten: bool,
}

/// The rest of a dump when there is no policy. It holds only what this server needs: if it is
/// empty, the dump loads on a server without the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorthKeeping {
    /// True on a node of a cluster, which needs the names that were deleted.
    pub deleted: bool,
    /// True on a server with a file of policies, which needs to know the file that was imported
    /// last.
    pub file: bool,
}

/// The digests by which nodes see whether they agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    /// The digest of the policies.
    pub policies: u64,
    /// The digest of everything that is known of each name.
    pub history: u64,
}

impl PolicyNode {
    /// Forgets what was derived from the table, because it changes.
    fn forget_resolved(&mut self) {
        self.resolved.clear();
        self.followed.clear();
        self.digests = None;
    }
}

static NODE: MainThreadCell<Option<PolicyNode>> = MainThreadCell::new(None);

fn with<R>(main: MainThread, f: impl FnOnce(&mut PolicyNode) -> R) -> R {
    f(NODE.of(main).borrow_mut().get_or_insert_default())
}

/// Runs `read` on the table.
pub fn with_policies<R>(main: MainThread, read: impl FnOnce(&Policies) -> R) -> R {
    with(main, |node| read(&node.policies))
}

/// Applies a change that was checked. Returns the payload that replicas apply.
///
/// # Errors
/// [`Corrupt`] if the change does not fit after all.
pub fn change(main: MainThread, change: &PolicyChange) -> Result<Vec<u8>, Corrupt> {
    let payload = with_policies(main, |policies| policies.encode_next(change));
    apply(main, &payload)?;
    Ok(payload)
}

/// Applies a payload from the master, the AOF or an RDB file.
///
/// # Errors
/// The same as [`Policies::apply`].
pub fn apply(main: MainThread, payload: &[u8]) -> Result<(), Corrupt> {
    let unitless = with(main, |node| {
        node.forget_resolved();
        let unitless = node.policies.apply(payload);
        node.traces_forgotten &= node.policies.is_empty();
        unitless
    })?;
    for name in unitless {
        let breaker =
            with_policies(main, |policies| policies.get(&name).and_then(|policy| policy.breaker.clone()));
        let Some((text, _)) = breaker else { continue };
        log::line(
            LogLevel::Notice,
            &format!(
                "the breaker of policy '{name}' is of a version before durations had units, and is taken as \
                 milliseconds: it is {text} now"
            ),
        );
    }
    Ok(())
}

/// The reason for which a text with policies in it gives no limits.
#[derive(Debug)]
pub enum Unresolved {
    /// There is no policy of this name.
    NoPolicy(Label),
    /// The text is malformed, or its limits cannot form a set.
    Token(TokenError),
}

/// The limits that a text with policies in it means now.
///
/// # Errors
/// [`Unresolved`] if a policy does not exist, the text is malformed, or the limits together are too
/// many or have a name twice.
pub fn limits_of(main: MainThread, text: &[u8]) -> Result<LimitsRef, Unresolved> {
    if let Some(known) = with(main, |node| node.resolved.get(text).cloned()) {
        return Ok(known);
    }
    let Expression::Terms(terms) = Expression::parse(text).map_err(Unresolved::Token)? else {
        return Err(Unresolved::Token(TokenError::new("limit", text, "'*' stands alone")));
    };
    let mut limits = Vec::new();
    let mut origin = Vec::new();
    for term in terms {
        match term {
            Term::Limit(limit) => {
                origin.push(limit.canonical());
                limits.push(limit);
            }
            Term::Policy(name) => {
                origin.push(format!("@{name}"));
                let found = with_policies(main, |policies| {
                    policies.get(&name).map(|found| found.limits.as_slice().to_vec())
                });
                limits.extend(found.ok_or(Unresolved::NoPolicy(name))?);
            }
        }
    }
    let limits = Limits::new(limits).map_err(|why| Unresolved::Token(TokenError::new("limit", text, why)))?;
    let found = intern::intern_from(main, limits, Origin::Named(origin.join(",").into()));
    with(main, |node| {
        if node.resolved.len() >= MOST_TEXTS {
            node.resolved.clear();
        }
        node.resolved.insert(text.into(), found.clone());
    });
    Ok(found)
}

/// The limits of the policy with the longest prefix of `key`.
pub fn limits_for(main: MainThread, key: &[u8]) -> Option<LimitsRef> {
    let (name, limits) = {
        let mut node = NODE.of(main).borrow_mut();
        let PolicyNode { policies, followed, .. } = node.as_mut()?;
        let policy = policies.longest(key, |_| true)?;
        if let Some(known) = followed.get(&policy.name) {
            return Some(known.clone());
        }
        (policy.name.clone(), policy.limits.clone())
    };
    let found = intern::intern_from(main, limits, Origin::Followed(name.clone()));
    with(main, |node| node.followed.insert(name, found.clone()));
    Some(found)
}

/// The breaker of the policy with the longest prefix of `key`, among those that have a breaker.
pub fn breaker_for(main: MainThread, key: &[u8]) -> Option<BreakerRef> {
    let node = NODE.of(main).borrow();
    let found = node.as_ref()?.policies.longest(key, |policy| policy.breaker.is_some())?;
    let (text, _) = found.breaker.as_ref()?;
    let text = text.as_bytes();
    rules::find(main, text).or_else(|_| rules::find_stored(main, text)).ok()
}

/// Changes what a dump holds when there is no policy.
pub fn keep(main: MainThread, change: impl FnOnce(&mut WorthKeeping)) {
    with(main, |node| change(&mut node.worth_keeping));
}

/// Leaves the traces of policies out of dumps until a policy is set: the deleted names, and the
/// file that was imported last. So the dumps load on a server without the module. Other nodes of
/// the cluster are still told of deleted names. Returns false if there are policies.
pub fn forget_traces(main: MainThread) -> bool {
    with(main, |node| {
        node.traces_forgotten = node.policies.is_empty();
        node.traces_forgotten
    })
}

/// The payload for an RDB file; `None` if there is nothing to keep.
pub fn save(main: MainThread) -> Option<Vec<u8>> {
    // If there is nothing to keep, the dump must load on a server without the module.
    with(main, |node| {
        let (policies, worth) = (&node.policies, node.worth_keeping);
        let has_traces = worth.deleted && policies.deleted() > 0 || worth.file && policies.file().is_some();
        let is_kept = !policies.is_empty() || has_traces && !node.traces_forgotten;
        is_kept.then(|| policies.encode_all())
    })
}

/// Prepares for a load. The present policies must not mix with loaded ones, and are dropped even if
/// the load brings none.
pub fn load_begins(main: MainThread) {
    with(main, |node| {
        node.forget_resolved();
        node.before_load = Some(std::mem::take(&mut node.policies));
    });
}

/// Ends a load. After a failed load the server may go on with its former data, and so do the
/// policies.
pub fn load_ended(main: MainThread, success: bool) {
    with(main, |node| {
        let before = node.before_load.take();
        if let Some(before) = before.filter(|_| !success) {
            node.forget_resolved();
            node.policies = before;
        }
    });
}

/// The digests of the policies.
pub fn digests(main: MainThread) -> Digests {
    with(main, |node| {
        let policies = &node.policies;
        *node.digests.get_or_insert_with(|| Digests {
            policies: policies.digest(),
            history: policies.history_digest(),
        })
    })
}

/// The digest of all policies as text. It is equal on nodes that have the same policies.
pub fn digest(main: MainThread) -> String {
    shown_digest(digests(main).policies)
}

/// A digest as people compare it: 16 hexadecimal digits.
pub fn shown_digest(digest: u64) -> String {
    format!("{digest:016x}")
}
