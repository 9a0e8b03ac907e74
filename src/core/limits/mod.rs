//! Rate limits: from the token that a user writes to the decision.
//!
//! | file | idea |
//! |---|---|
//! | [`grammar`] | text → [`Expression`] / [`Limits`], with a reason for every refusal |
//! | `hints` | what people write in place of a limit, and what they mean |
//! | [`options`], [`quantity`] | the parts of one token: `name=value` options, counts and periods |
//! | [`spec`] | what was parsed: [`Label`], [`Limit`], [`Limits`]; identity, canonical text |
//! | [`algorithm`] | the trait that every algorithm implements |
//! | [`rule`] | the one table that lists the algorithms; [`Rule`], [`State`] |
//! | [`sliding`] + [`slots`] + [`grain`] + `store`, [`bucket`], [`fixed`] + [`calendar`] + [`window`], [`concurrent`], [`throttle`] | one algorithm each |
//! | [`closing`] | `block=`: a limit that is exceeded closes itself |
//! | [`mod@decide`] + [`request`] + [`decision`] | several limits as one decision |
//! | `limit_view` | a look at one limit |
//! | [`apply`] | the changes: take, touch, give back, charge |
//! | [`change`] | usage finds its limit again after the limits changed |
//!
//! Reading never changes a state. The functions that change one are deterministic: the same calls
//! at the same times on equal states give equal states. So a replica that applies what the master
//! applied is equal to it in every bit.

pub mod algorithm;
pub mod apply;
pub mod bucket;
pub mod calendar;
pub mod change;
pub mod closing;
pub mod concurrent;
pub mod decide;
pub mod decision;
pub mod fixed;
pub mod grain;
pub mod grammar;
mod hints;
pub mod layer;
mod limit_view;
pub mod options;
pub mod quantity;
pub mod request;
pub mod rule;
pub mod sliding;
pub mod slots;
pub mod spec;
mod store;
pub mod throttle;
pub mod window;

pub use algorithm::{Filled, MAX_UNITS};
pub use apply::{
    charge, charge_all, chargeable, charges, full_at, give_back, layer_at, left_by, take, touch,
};
pub use change::{MAX_UNLISTED, UnlistedLimit, count_unlisted, hand_on, look_by_position};
pub use closing::{Closed, Closing};
pub use concurrent::HeldPlaces;
pub use decide::{blocks, decide};
pub use decision::{Decision, LimitMask, LimitStatus, ResetAfter, Taken};
pub use layer::Layer;
pub use limit_view::{LimitQuota, limit_quota};
pub use request::Request;
pub use rule::{ClosedState, KeptState, Rule, State};
pub use spec::{Charge, Expression, Keep, Label, Limit, Limits, LimitsError, MAX_COUNT, MAX_LIMITS, Term};
pub use throttle::{SecondsRounding, Throttle, ThrottleError, ThrottlePeriod, ThrottleReply};
