//! Texts of limits as payloads hold them.

use crate::core::wire::{Corrupt, Reader};

/// The longest in bytes.
const LONGEST: usize = 4096;

/// Reads the next one.
///
/// # Errors
/// It is cut, too long or not text.
pub fn read<'a>(body: &mut Reader<'a>) -> Result<&'a str, Corrupt> {
    std::str::from_utf8(body.bytes(LONGEST)?).map_err(|_| Corrupt("not text"))
}
