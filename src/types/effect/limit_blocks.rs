//! The blocks that one denial begins, as they travel.

use crate::core::limits::{Closed, Limit, MAX_LIMITS};
use crate::core::wire::{Corrupt, Reader, put_bytes};

/// Which limits of a key close, and for how long: encoded, so that an effect carries
/// any number of them without an allocation where none closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitBlocks<'a>(&'a [u8]);

/// The longest text of a limit.
const LONGEST_TEXT: usize = 4096;

/// Appends a block of `limit`.
pub fn put_block(out: &mut Vec<u8>, limit: &Limit, block: &Closed) {
    put_bytes(out, limit.stored().as_bytes());
    block.write(out);
}

impl<'a> LimitBlocks<'a> {
    /// Of what [`put_block`] appended.
    pub const fn new(encoded: &'a [u8]) -> Self {
        Self(encoded)
    }

    /// The encoding.
    pub const fn encoded(self) -> &'a [u8] {
        self.0
    }

    /// Each limit with its block.
    ///
    /// # Errors
    /// Where it is cut, malformed, or no limit closes.
    pub fn read(self) -> Result<Vec<(Limit, Closed)>, Corrupt> {
        let mut rest = Reader::new(self.0);
        let mut blocks = Vec::new();
        while !rest.is_empty() {
            if blocks.len() == MAX_LIMITS {
                return Err(Corrupt("too many limits"));
            }
            let limit =
                Limit::parse_stored(rest.bytes(LONGEST_TEXT)?).map_err(|_| Corrupt("malformed limit"))?;
            blocks.push((limit, Closed::read(&mut rest)?));
        }
        if blocks.is_empty() { Err(Corrupt("no limit closes")) } else { Ok(blocks) }
    }
}
