//! Encoding of parts that may be missing, and a digest of bytes.

use crate::core::wire::{Corrupt, Reader, put_bytes};

pub(super) fn put_optional(out: &mut Vec<u8>, part: Option<&[u8]>) {
    out.push(part.is_some().into());
    if let Some(part) = part {
        put_bytes(out, part);
    }
}

pub(super) fn read_optional<'a>(rest: &mut Reader<'a>, longest: usize) -> Result<Option<&'a [u8]>, Corrupt> {
    match rest.byte()? {
        0 => Ok(None),
        1 => rest.bytes(longest).map(Some),
        _ => Err(Corrupt("a mark other than 0 and 1")),
    }
}

/// The 64-bit FNV-1a hash of some bytes. Except by chance, it is equal on two nodes only for equal
/// bytes.
pub fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
