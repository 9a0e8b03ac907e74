//! Counters that carry a label: a policy, or a shadow limit. However many there
//! are, only so many are told apart.

use crate::core::limits::{Limit, LimitSet};
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::types::intern::LimitsRef;

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

/// Denials that shadow limits would have made.
#[derive(Clone, Debug)]
pub struct ShadowDenied {
    /// The limits of the call.
    pub limits: LimitsRef,
    /// Which of them.
    pub which: LimitSet,
}

impl ShadowDenied {
    /// How many.
    pub const fn len(&self) -> u32 {
        self.which.len()
    }

    /// True for none.
    pub const fn is_empty(&self) -> bool {
        self.which.is_empty()
    }

    /// Counts each under its limit.
    #[cold]
    pub fn count(&self, main: MainThread) {
        let set = self.limits.get(main);
        let mut shadows = SHADOWS.of(main).borrow_mut();
        for limit in self.which.iter().filter_map(|index| set.limits().get(index)) {
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
