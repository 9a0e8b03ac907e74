//! What a key holds, how it is stored, and how a change travels.
//!
//! A value changes in one way only: an [`effect`] is applied to it. The master decides, makes
//! the effect, applies it and propagates it. A replica, and a server that replays an AOF, apply the
//! same effect with the same code, and so arrive at the same bytes.

pub mod by_time;
pub mod cbcircuit;
pub mod counting;
pub mod db_key;
pub mod effect;
pub mod intern;
pub mod name_index;
pub mod operator;
pub mod policies;
pub mod ratelimit;
pub mod tlv;
pub mod until;
