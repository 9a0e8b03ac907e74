//! The commands, one file a family: parse the arguments → resolve → decide → apply → propagate →
//! reply.
//!
//! | file | idea |
//! |---|---|
//! | [`cursor`], [`options`] | the walk over the arguments, and the options of a command |
//! | [`arguments`] | the arguments that many commands share |
//! | `hints` | what people write in place of an argument, and what they should write |
//! | [`acquire`], [`batch`], [`charge`], [`refund`] | units that are taken and given back |
//! | [`reserve`], [`commit`] | reservations, from taking to settling |
//! | [`throttle`] | CL.THROTTLE, RL.THROTTLE and GCRA |
//! | [`quota`], [`queue`], [`usage`] | what a key shows: limits, waiters, usage; RL.RECORD |
//! | [`operate`], [`clear`] | what operators change on keys |
//! | [`policy`] | RL.POLICY |
//! | [`breaker`] | the commands of circuit breakers |
//! | [`alerts`], [`metrics`], [`top`], [`help`] | what operators read |
//! | [`effect`] | changes that replicas and the AOF get |
//! | [`debug`] | a clock for tests |

pub mod acquire;
pub mod alerts;
pub mod arguments;
pub mod batch;
pub mod breaker;
pub mod charge;
pub mod clear;
pub mod commit;
pub mod cursor;
pub mod debug;
pub mod effect;
pub mod help;
mod hints;
pub mod metrics;
pub mod operate;
pub mod options;
pub mod policy;
pub mod queue;
pub mod quota;
mod quota_headers;
mod quota_view;
pub mod refund;
pub mod reserve;
pub mod throttle;
pub mod top;
pub mod usage;
