//! Rate limits: from the token that a user writes to the decision.
//!
//! | file | idea |
//! |---|---|
//! | [`grammar`] | text → [`Expression`] / [`Limits`], with a reason for every refusal |
//! | `hints` | what people write in place of a limit, and what they mean |
//! | [`options`], [`quantity`] | the parts of one token: `name=value` options, counts and periods |
//! | [`limit`] + [`limit_set`] | a limit and a set of them: identity, canonical text |
//! | [`per`], [`keep`], [`label`], [`expression`] | the parts of a limit, and what names limits |
//! | [`algorithm`] | the trait that every algorithm implements |
//! | `algorithms` | the one table that lists the algorithms |
//! | [`rule`] | what follows from it: [`Rule`], an algorithm with its numbers |
//! | [`state`] + `state_reads` + `state_changes` | and [`State`], what a limit remembers; what a rule reads from it, and how it changes it |
//! | `kept_state` | the state that another rule keeps |
//! | [`sliding`] + [`slots`] + [`grain`] + `store`, [`bucket`], [`fixed`] + [`calendar`] + [`window`] + [`window_count`], [`concurrent`], [`throttle`] | one algorithm each |
//! | [`closing`] + `closed_state` | `block=`: a limit that is exceeded closes itself |
//! | [`mod@decide`] + [`request`] + [`decision`] | several limits as one decision |
//! | `limit_view` | a look at one limit |
//! | [`apply`] | the changes: take, touch, give back, charge |
//! | [`change`] | usage finds its limit again after the limits changed |
//!
//! Reading never changes a state. The functions that change one are deterministic: the same calls
//! at the same times on equal states give equal states. So a replica that applies what the master
//! applied is equal to it in every bit.

pub mod algorithm;
mod algorithms;
pub mod apply;
pub mod bucket;
pub mod calendar;
pub mod change;
mod closed_state;
pub mod closing;
pub mod concurrent;
pub mod decide;
pub mod decision;
pub mod expression;
pub mod fixed;
pub mod grain;
pub mod grammar;
mod hints;
pub mod keep;
mod kept_state;
pub mod label;
pub mod layer;
pub mod limit;
pub mod limit_set;
mod limit_view;
pub mod options;
pub mod per;
pub mod quantity;
pub mod request;
pub mod rule;
pub mod sliding;
pub mod slots;
pub mod state;
mod state_changes;
mod state_reads;
mod store;
pub mod throttle;
pub mod window;
pub mod window_count;

pub use algorithm::{Filled, MAX_UNITS};
pub use apply::{
    charge, charge_all, chargeable, charges, full_at, give_back, layer_at, left_by, take, touch,
};
pub use change::{MAX_UNLISTED, UnlistedLimit, count_unlisted, hand_on, look_by_position};
pub use closing::{Closed, Closing};
pub use concurrent::HeldPlaces;
pub use decide::{blocks, decide};
pub use decision::{Decision, LimitMask, LimitStatus, ResetAfter, Taken};
pub use expression::{Expression, Term};
pub use keep::Keep;
pub use label::Label;
pub use layer::Layer;
pub use limit::Limit;
pub use limit_set::{Limits, LimitsError, MAX_LIMITS};
pub use limit_view::{LimitQuota, limit_quota};
pub use per::Charge;
pub use quantity::MAX_COUNT;
pub use request::Request;
pub use rule::Rule;
pub use state::{ClosedState, KeptState, State};
pub use throttle::{SecondsRounding, Throttle, ThrottleError, ThrottlePeriod, ThrottleReply};
