//! Counters that carry a label: a policy, or a shadow limit. However many there
//! are, only so many are told apart.

use crate::core::limits::{Label, Limit, LimitMask};
use crate::observe::top::RequestOutcome;
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::types::intern::{LimitsRef, Origin};
use crate::types::policies::node;

/// So many labels of a kind are counted each on its own; the rest together as
/// [`OTHER`].
pub const MOST: usize = 100;
/// The label of all beyond the most.
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

/// Decisions under the limits of a policy.
#[derive(Clone, Debug)]
pub struct PolicyCounts {
    /// Its name, or the text that names several.
    pub name: Box<str>,
    /// Requests granted.
    pub granted: u64,
    /// Requests denied.
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

/// The counts of a name, which begin at zero; beyond the most those of everybody else.
fn place_of<'p>(policies: &'p mut Vec<PolicyCounts>, name: &str) -> Option<&'p mut PolicyCounts> {
    let find = |policies: &[PolicyCounts], name: &str| policies.iter().position(|one| &*one.name == name);
    let index = find(policies, name).unwrap_or_else(|| {
        // The last place is everybody else's.
        let name = if policies.len() >= MOST { OTHER } else { name };
        find(policies, name).unwrap_or_else(|| {
            policies.push(PolicyCounts { name: name.into(), granted: 0, denied: 0 });
            policies.len() - 1
        })
    });
    policies.get_mut(index)
}

/// Decisions by policy. Each that stands is there from the beginning, at zero: whoever
/// looks at how much a count has grown misses its first steps otherwise. One that is gone
/// and was never counted is not.
pub fn policies(main: MainThread) -> Vec<PolicyCounts> {
    node::look(main, |standing| {
        let mut policies = POLICIES.of(main).borrow_mut();
        let stands =
            |name: &str| Label::parse(name.as_bytes()).is_ok_and(|name| standing.get(&name).is_some());
        policies.retain(|one| one.granted + one.denied > 0 || stands(&one.name));
        // Once everybody else has a place, all others share it.
        for policy in standing.iter() {
            if policies.len() > MOST {
                break;
            }
            place_of(&mut policies, policy.name.as_str());
        }
        policies.clone()
    })
}

/// What is to be counted under labels of a decision.
#[derive(Clone, Debug)]
pub struct DecisionLabels {
    /// The limits of the call.
    pub limits: LimitsRef,
    /// Which of them are shadow limits that would have denied.
    pub shadow_denied: LimitMask,
}

impl DecisionLabels {
    /// `None` where nothing is to be counted.
    pub fn of(main: MainThread, limits: &LimitsRef, shadow_denied: LimitMask) -> Option<Self> {
        let counts = !shadow_denied.is_empty() || limits.get(main).origin().is_some();
        counts.then(|| Self { limits: limits.clone(), shadow_denied })
    }

    /// How many shadow limits would have denied.
    pub const fn shadows(&self) -> u32 {
        self.shadow_denied.len()
    }

    /// Counts the policy, unless others decided in its place, and each shadow
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

/// Denials that each shadow limit would have made.
pub fn shadows(main: MainThread) -> Vec<(String, u64)> {
    let shadows = SHADOWS.of(main).borrow();
    let mut all: Vec<_> =
        shadows.each.iter().map(|shadow| (shadow.limit.label().into_owned(), shadow.denied)).collect();
    if shadows.other > 0 {
        all.push((OTHER.to_owned(), shadows.other));
    }
    all
}
