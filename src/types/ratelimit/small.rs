//! The shapes of a key with one limit and nothing else.
//!
//! **Optimisation.** Such a key takes 145 bytes of the server's memory in [`Small`], as much as the
//! string of a Lua script (commit e9555b1). The plain version is [`Full`](super::full::Full), which
//! can hold every key. `tests/types/shape.rs` compares the shapes.

use crate::core::limits::State;
use crate::core::limits::bucket::Level;
use crate::core::limits::slots::Slots;
use crate::core::limits::window_count::WindowCount;
use crate::types::intern::LimitsRef;

/// The number of bits for a state within its kind.
const STATE_BITS: u32 = 94;
/// The number of bits for a state with its kind. The number of the limits takes the 32 bits above.
const PACKED_BITS: u32 = STATE_BITS + 2;

const FRESH: u128 = 0;
const BUCKET: u128 = 1;
const FIXED: u128 = 2;
const SLIDING: u128 = 3;

/// One limit in 16 bytes: its exact state, and the number of its set of limits.
#[derive(Debug)]
pub struct Small {
    low: u64,
    high: u64,
}

impl Small {
    /// Packs the reference and the bits that [`small_bits`] returned.
    pub(in crate::types) fn new(limits: LimitsRef, bits: u128) -> Self {
        let mut small = Self { low: 0, high: 0 };
        small.pack(limits.into_id(), bits);
        small
    }

    #[allow(clippy::cast_possible_truncation)] // the two halves of 128 bits
    const fn pack(&mut self, id: u32, bits: u128) {
        let all = (id as u128) << PACKED_BITS | bits;
        self.low = all as u64;
        self.high = (all >> 64) as u64;
    }

    const fn all(&self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }

    /// The number of its set of limits.
    #[allow(clippy::cast_possible_truncation)] // 32 bits were put there
    pub const fn limits_id(&self) -> u32 {
        (self.all() >> PACKED_BITS) as u32
    }

    /// The limits, as one more counted reference.
    pub fn limits(&self) -> LimitsRef {
        LimitsRef::new(self.limits_id())
    }

    /// The state of the limit.
    #[inline]
    pub fn state(&self) -> State {
        let bits = self.all() & ((1 << STATE_BITS) - 1);
        match self.all() >> STATE_BITS & 0b11 {
            BUCKET => State::Bucket(Level::from_bits(bits)),
            FIXED => State::Fixed(WindowCount::from_bits(bits)),
            SLIDING => State::Sliding(Slots::from_bits(bits)),
            _ => State::Fresh,
        }
    }

    /// Replaces the state. False if it does not fit into 16 bytes.
    #[inline]
    pub(in crate::types) fn set_state(&mut self, state: &State) -> bool {
        let bits = small_bits(state);
        if let Some(bits) = bits {
            self.pack(self.limits_id(), bits);
        }
        bits.is_some()
    }
}

/// The bits by which [`Small`] holds a state, or `None` if they do not fit.
#[inline]
pub fn small_bits(state: &State) -> Option<u128> {
    let (kind, bits) = match state {
        State::Fresh => (FRESH, 0),
        State::Bucket(level) => (BUCKET, level.bits()?),
        State::Fixed(usage) => (FIXED, usage.bits()?),
        State::Sliding(slots) => (SLIDING, slots.bits()?),
        State::Concurrent(_) | State::Throttle(_) | State::Kept(_) | State::Closed(_) => return None,
    };
    Some(kind << STATE_BITS | bits)
}

impl Clone for Small {
    fn clone(&self) -> Self {
        std::mem::forget(self.limits());
        Self { low: self.low, high: self.high }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(LimitsRef::from_id(self.limits_id()));
    }
}

/// One limit and its state.
#[derive(Clone, Debug)]
pub struct Single {
    /// A set of one limit.
    pub limits: LimitsRef,
    /// The usage of the limit.
    pub state: State,
}

const _: () =
    assert!(Level::BITS <= STATE_BITS && WindowCount::BITS <= STATE_BITS && Slots::BITS <= STATE_BITS);
const _: () = assert!(PACKED_BITS + u32::BITS <= u128::BITS);
const _: () = assert!(size_of::<Small>() == 16 && size_of::<Single>() <= 48);
