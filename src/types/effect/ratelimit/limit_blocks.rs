//! The change by which limits close: the blocks that one denial begins.

use super::changed_value::{ChangedValue, RateLimitKind};
use crate::core::limits::{Closed, Limit, MAX_LIMITS, touch};
use crate::core::wire::{Corrupt, Reader, put_bytes};
use crate::types::tlv::read_text;

/// Nothing is taken, and limits close. A clock that stepped back is recorded, too.
///
/// The limits and their blocks stay encoded, so that an effect carries any number of them and
/// allocates nothing if none closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitBlocks<'a>(
    /// Blocks that [`put_block`] appended.
    pub &'a [u8],
);

/// Appends the block of `limit`.
pub fn put_block(out: &mut Vec<u8>, limit: &Limit, block: &Closed) {
    put_bytes(out, limit.stored().as_bytes());
    block.write(out);
}

impl<'a> LimitBlocks<'a> {
    /// Decodes the limits and their blocks.
    ///
    /// # Errors
    /// [`Corrupt`] if they are cut, malformed, or none.
    fn decode(self) -> Result<Vec<(Limit, Closed)>, Corrupt> {
        let mut rest = Reader::new(self.0);
        let mut blocks = Vec::new();
        while !rest.is_empty() {
            if blocks.len() == MAX_LIMITS {
                return Err(Corrupt("too many limits"));
            }
            let text = read_text(&mut rest)?;
            let limit = Limit::parse_stored(text.as_bytes()).map_err(|_| Corrupt("malformed limit"))?;
            blocks.push((limit, Closed::read(&mut rest)?));
        }
        if blocks.is_empty() { Err(Corrupt("no limit closes")) } else { Ok(blocks) }
    }
}

impl<'a> RateLimitKind<'a> for LimitBlocks<'a> {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.0);
    }

    fn read(_: Option<&'a str>, rest: &mut Reader<'a>) -> Result<Self, Corrupt> {
        rest.bytes(usize::MAX).map(Self)
    }

    fn apply(&self, value: &mut ChangedValue<'_>) -> Result<(), Corrupt> {
        let blocks = self.decode()?;
        if value.get_mut().is_none() {
            return Ok(());
        }
        value.record_clock();
        value.update(None, touch)?;
        let main = value.main;
        if let Some(value) = value.get_mut() {
            for (limit, block) in &blocks {
                value.close(main, limit, *block);
            }
        }
        Ok(())
    }
}
