//! The slots of a Redis Cluster, by which keys are told to nodes.

use crc::{CRC_16_XMODEM, Crc};
use std::borrow::Cow;

/// The number of slots.
pub const SLOTS: u16 = 16_384;
const CRC16: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// The part of a key in braces by which its slot is computed, if it has one.
pub fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let (_, rest) = key.split_at_checked(key.iter().position(|&byte| byte == b'{')? + 1)?;
    let (tag, _) = rest.split_at_checked(rest.iter().position(|&byte| byte == b'}')?)?;
    (!tag.is_empty()).then_some(tag)
}

/// The slot of a key whose hash tag, or the whole of it if it has none, is `hashed`.
pub fn slot(hashed: &[u8]) -> u16 {
    CRC16.checksum(hashed) % SLOTS
}

/// The slot of a key.
pub fn slot_of(key: &[u8]) -> u16 {
    slot(hash_tag(key).unwrap_or(key))
}

/// A hash tag for names in the slot of `key`: the key's own; the whole key, if it can stand in
/// braces; else a number.
///
/// A number is looked for, which takes about a millisecond. There is one in each slot.
pub fn tag_in_slot_of(key: &[u8]) -> Cow<'_, [u8]> {
    let hashed = hash_tag(key).unwrap_or(key);
    if !hashed.is_empty() && !hashed.contains(&b'}') {
        return Cow::Borrowed(hashed);
    }
    let wanted = slot(hashed);
    let number = numbers().find(|tag| slot(tag.as_bytes()) == wanted);
    Cow::Owned(number.unwrap_or_default().into_bytes())
}

/// Enough numbers for all slots.
pub fn numbers() -> impl Iterator<Item = String> {
    (0..1_000_000).map(|number| number.to_string())
}
