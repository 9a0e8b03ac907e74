//! The frame of every stored value: a row of sections, each a tag, a length and
//! that many bytes, in the order of their tags.
//!
//! A later minor version may add sections with tags from [`OPTIONAL`] on: who
//! does not know one of those passes over it, and refuses every other that he
//! does not know.

use crate::core::wire::{Corrupt, Reader, put_bytes, put_u64};

/// Sections from this tag on may be passed over by a version that does not know them.
pub const OPTIONAL: u64 = 64;

/// Writes sections one after the other.
#[derive(Debug)]
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
    /// The bytes of the one that is being written, which come after their length.
    body: Vec<u8>,
}

impl<'o> Writer<'o> {
    /// Appends to `out`.
    pub const fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, body: Vec::new() }
    }

    /// Writes a section; tags must rise.
    pub fn put(&mut self, tag: u64, body: impl FnOnce(&mut Vec<u8>)) {
        self.body.clear();
        body(&mut self.body);
        put_u64(self.out, tag);
        put_bytes(self.out, &self.body);
    }
}

/// Reads what [`Writer`] wrote.
#[derive(Debug)]
pub struct Sections<'p> {
    rest: Reader<'p>,
    len: usize,
    last: u64,
}

impl<'p> Sections<'p> {
    /// Starts at the first.
    pub const fn new(payload: &'p [u8]) -> Self {
        Self { rest: Reader::new(payload), len: payload.len(), last: 0 }
    }

    /// The next section, its tag and its bytes; none at the end.
    ///
    /// # Errors
    /// Where it is cut, or its tag is not above the one before.
    pub fn read(&mut self) -> Result<Option<(u64, Reader<'p>)>, Corrupt> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.rest.u64()?;
        if tag <= self.last {
            return Err(Corrupt("sections out of order"));
        }
        self.last = tag;
        Ok(Some((tag, Reader::new(self.rest.bytes(self.len)?))))
    }
}

/// The longest text of limits in a payload.
const LONGEST_TEXT: usize = 4096;

/// A text of limits.
///
/// # Errors
/// It is cut, longer than any such text, or no text.
pub fn read_text<'a>(body: &mut Reader<'a>) -> Result<&'a str, Corrupt> {
    std::str::from_utf8(body.bytes(LONGEST_TEXT)?).map_err(|_| Corrupt("not text"))
}
