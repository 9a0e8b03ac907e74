//! What the payload of every effect on a key begins with.

use crate::core::time::Micros;
use crate::core::wire::{Corrupt, Reader, put_u64};

/// The key has no expiry, because the effect was made under the debug clock.
const WITHOUT_EXPIRY: u8 = 0x80;
/// Optional parts follow the header.
const WITH_PARTS: u8 = 0x40;
/// The number of the change. Those of a circuit have the bit [`CIRCUIT`].
const KIND: u8 = 0x3f;
/// The effect changes a circuit, not a limiter.
const CIRCUIT: u8 = 0x20;

/// The byte before an effect that created its key. If the receiver still has a key of this name,
/// the sender no longer had it.
pub const CREATED: u8 = 0x1f;

/// The header of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EffectHeader {
    /// The number of the change: 1 to 30 for a limiter, and from 33 on for a circuit.
    pub kind: u8,
    /// True if optional parts follow the header: the limits of a limiter's effect, the terms of a
    /// circuit's.
    pub has_parts: bool,
    /// True if the key gets the expiry of its state. False under the debug clock.
    pub expires: bool,
    /// The master's time.
    pub now: Micros,
}

impl EffectHeader {
    /// Appends the header.
    pub fn put(&self, out: &mut Vec<u8>) {
        let flags = flag(self.has_parts, WITH_PARTS) | flag(!self.expires, WITHOUT_EXPIRY);
        out.push(self.kind & KIND | flags);
        put_u64(out, self.now.0);
    }

    /// Reads the header that [`EffectHeader::put`] wrote.
    ///
    /// # Errors
    /// [`Corrupt`] if it is cut, or its time is later than [`Micros::MAX`].
    pub fn read(rest: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let head = rest.byte()?;
        Ok(Self {
            kind: head & KIND,
            has_parts: head & WITH_PARTS != 0,
            expires: head & WITHOUT_EXPIRY == 0,
            now: Micros(rest.u64_to(Micros::MAX.0)?),
        })
    }
}

/// The bits of `flag` if it is set, else none.
pub(in crate::types::effect) const fn flag(is_set: bool, flag: u8) -> u8 {
    if is_set { flag } else { 0 }
}

/// True if this payload holds the effect of a circuit.
pub fn is_circuit(payload: &[u8]) -> bool {
    payload.first().is_some_and(|head| head & CIRCUIT != 0)
}

/// Splits a payload into whether the effect created its key, and the effect.
pub fn split_created(payload: &[u8]) -> (bool, &[u8]) {
    match payload {
        [CREATED, effect @ ..] => (true, effect),
        effect => (false, effect),
    }
}
