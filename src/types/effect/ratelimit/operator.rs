//! What an operator sets on a key: limits that are fixed, and a block.

use super::changed_value::{ChangedValue, RateLimitKind};
use crate::core::limits::Expression;
use crate::core::wire::{Corrupt, Reader, put_bytes};
use crate::types::operator::{Block, Pin};
use crate::types::ratelimit::encoding::LONGEST_REASON;
use crate::types::tlv::read_text;
use crate::types::until::{Until, Validity};

/// An operator fixes the limits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SetPin<'a> {
    /// The limits as the operator wrote them.
    pub text: &'a str,
    /// When the pin ends.
    pub until: Until,
}

impl<'a> RateLimitKind<'a> for SetPin<'a> {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.text.as_bytes());
        self.until.put(out);
    }

    fn read(_: Option<&'a str>, rest: &mut Reader<'a>) -> Result<Self, Corrupt> {
        Ok(Self { text: read_text(rest)?, until: Until::read(rest)? })
    }

    fn apply(&self, value: &mut ChangedValue<'_>) -> Result<(), Corrupt> {
        Expression::parse(self.text.as_bytes()).map_err(|_| Corrupt("malformed pin"))?;
        let pin = Pin { text: self.text.into(), validity: Validity::new(value.now, self.until) };
        value.create_if_missing().rebuild(|full| full.pin = Some(Box::new(pin)));
        Ok(())
    }
}

/// An operator blocks the key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SetBlock<'a> {
    /// When the block ends.
    pub until: Until,
    /// The operator's reason.
    pub reason: &'a [u8],
}

impl<'a> RateLimitKind<'a> for SetBlock<'a> {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.reason);
        self.until.put(out);
    }

    fn read(_: Option<&'a str>, rest: &mut Reader<'a>) -> Result<Self, Corrupt> {
        Ok(Self { reason: rest.bytes(LONGEST_REASON)?, until: Until::read(rest)? })
    }

    fn apply(&self, value: &mut ChangedValue<'_>) -> Result<(), Corrupt> {
        let block = Block { validity: Validity::new(value.now, self.until), reason: self.reason.into() };
        value.create_if_missing().rebuild(|full| full.block = Some(Box::new(block)));
        Ok(())
    }
}

impl ChangedValue<'_> {
    /// Removes the pin.
    pub(super) fn remove_pin(&mut self) {
        self.rebuild(|full| full.pin = None);
    }

    /// Removes the block, and all blocks that limits began.
    pub(super) fn remove_block(&mut self) {
        self.rebuild(|full| {
            full.block = None;
            full.reopen();
        });
    }
}
