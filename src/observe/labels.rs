//! Counters by policy and by shadow limit. Their number is bounded: beyond [`MOST`], the rest share
//! one counter.

use crate::core::limits::{Label, Limit, LimitMask};
use crate::observe::top::RequestOutcome;
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::types::intern::{LimitsRef, Origin};
use crate::types::policies::node;

/// The number of labels of a kind that have a counter of their own. The others are counted together
/// as [`OTHER`].
pub const MOST: usize = 100;
/// The label of the shared counter.
pub const OTHER: &str = "(other)";

#[derive(Debug)]
struct Shadow {
    limit: Limit,
    denied: u64,
}

#[derive(Debug, Default)]
struct Shadows {
    each: Vec<Shadow>,
    other: u64,
}

static SHADOWS: MainThreadCell<Shadows> = MainThreadCell::new(Shadows { each: Vec::new(), other: 0 });

/// The numbers of decisions under the limits of a policy.
#[derive(Clone, Debug)]
pub struct PolicyCounts {
    /// The name of the policy, or a text that names several.
    pub name: Box<str>,
    /// The number of requests granted.
    pub granted: u64,
    /// The number of requests denied.
    pub denied: u64,
}

static POLICIES: MainThreadCell<Vec<PolicyCounts>> = MainThreadCell::new(Vec::new());

fn count_policy(main: MainThread, origin: &Origin, outcome: RequestOutcome) {
    let name = match origin {
        Origin::Followed(name) => name.as_str(),
        Origin::Named(text) => match text.strip_prefix('@') {
            Some(name) if !name.contains(',') => name,
            _ => text,
        },
    };
    let mut policies = POLICIES.of(main).borrow_mut();
    if let Some(policy) = place_of(&mut policies, name) {
        match outcome {
            RequestOutcome::Granted => policy.granted += 1,
            RequestOutcome::Denied => policy.denied += 1,
        }
    }
}

/// The counts of a name, which begin at zero. Beyond the most names, the shared counts.
fn place_of<'p>(policies: &'p mut Vec<PolicyCounts>, name: &str) -> Option<&'p mut PolicyCounts> {
    let find = |policies: &[PolicyCounts], name: &str| policies.iter().position(|one| &*one.name == name);
    let index = find(policies, name).unwrap_or_else(|| {
        // The last place belongs to all other names.
        let name = if policies.len() >= MOST { OTHER } else { name };
        find(policies, name).unwrap_or_else(|| {
            policies.push(PolicyCounts { name: name.into(), granted: 0, denied: 0 });
            policies.len() - 1
        })
    });
    policies.get_mut(index)
}

/// The numbers of decisions by policy.
///
/// Every existing policy is listed from the beginning, with zeros. Otherwise somebody who looks at
/// the growth of a count would miss its first steps. A policy that was deleted and was never
/// counted is not listed.
pub fn policies(main: MainThread) -> Vec<PolicyCounts> {
    node::with_policies(main, |existing| {
        let mut policies = POLICIES.of(main).borrow_mut();
        let stands =
            |name: &str| Label::parse(name.as_bytes()).is_ok_and(|name| existing.get(&name).is_some());
        policies.retain(|one| one.granted + one.denied > 0 || stands(&one.name));
        // Once the shared counter exists, all further policies use it.
        for policy in existing.iter() {
            if policies.len() > MOST {
                break;
            }
            place_of(&mut policies, policy.name.as_str());
        }
        policies.clone()
    })
}

/// The labels under which a decision is counted.
#[derive(Clone, Debug)]
pub struct DecisionLabels {
    /// The limits of the call.
    pub limits: LimitsRef,
    /// The shadow limits among them that would have denied.
    pub shadow_denied: LimitMask,
}

impl DecisionLabels {
    /// The labels of a decision; `None` if there is nothing to count.
    pub fn of(main: MainThread, limits: &LimitsRef, shadow_denied: LimitMask) -> Option<Self> {
        let counts = !shadow_denied.is_empty() || limits.get(main).origin().is_some();
        counts.then(|| Self { limits: limits.clone(), shadow_denied })
    }

    /// Counts the policy, unless `outcome` is `None` because other limits decided, and each shadow
    /// limit that would have denied.
    pub fn count(&self, main: MainThread, outcome: Option<RequestOutcome>) {
        let set = self.limits.get(main);
        if let Some((origin, outcome)) = set.origin().zip(outcome) {
            count_policy(main, origin, outcome);
        }
        if self.shadow_denied.is_empty() {
            return;
        }
        let mut shadows = SHADOWS.of(main).borrow_mut();
        for limit in self.shadow_denied.iter().filter_map(|index| set.limits().get(index)) {
            let same = |shadow: &&mut Shadow| {
                shadow.limit.rule() == limit.rule() && shadow.limit.name() == limit.name()
            };
            if let Some(shadow) = shadows.each.iter_mut().find(same) {
                shadow.denied += 1;
            } else if shadows.each.len() < MOST {
                shadows.each.push(Shadow { limit: limit.clone(), denied: 1 });
            } else {
                shadows.other += 1;
            }
        }
    }
}

/// The number of denials that each shadow limit would have made.
pub fn shadows(main: MainThread) -> Vec<(String, u64)> {
    let shadows = SHADOWS.of(main).borrow();
    let mut all: Vec<_> =
        shadows.each.iter().map(|shadow| (shadow.limit.label().into_owned(), shadow.denied)).collect();
    if shadows.other > 0 {
        all.push((OTHER.to_owned(), shadows.other));
    }
    all
}
