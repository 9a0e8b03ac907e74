//! The frame of every stored value: a row of sections in the order of their tags. Each section is a
//! tag, a length and that many bytes.
//!
//! A later minor version may add sections with tags from [`OPTIONAL`] on. A version that does not
//! know such a section skips it. It refuses every other section that it does not know.

use crate::core::wire::{Corrupt, Reader, put_bytes, put_u64};

/// The first tag of sections that a version skips if it does not know them.
pub const OPTIONAL: u64 = 64;

/// Writes sections one after the other.
#[derive(Debug)]
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
    /// The bytes of the section that is being written. They follow their length.
    body: Vec<u8>,
}

impl<'o> Writer<'o> {
    /// A writer that appends to `out`.
    pub const fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, body: Vec::new() }
    }

    /// Writes a section. Its tag must be greater than the last one.
    pub fn put(&mut self, tag: u64, body: impl FnOnce(&mut Vec<u8>)) {
        self.body.clear();
        body(&mut self.body);
        put_u64(self.out, tag);
        put_bytes(self.out, &self.body);
    }
}

/// Reads the sections that [`Writer`] wrote.
#[derive(Debug)]
pub struct Sections<'p> {
    rest: Reader<'p>,
    len: usize,
    last: u64,
}

impl<'p> Sections<'p> {
    /// A reader that starts at the first section.
    pub const fn new(payload: &'p [u8]) -> Self {
        Self { rest: Reader::new(payload), len: payload.len(), last: 0 }
    }

    /// The tag and the bytes of the next section; `None` at the end.
    ///
    /// # Errors
    /// [`Corrupt`] if it is cut, or its tag is not greater than the one before.
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

/// The longest text of limits in a payload, in bytes.
const LONGEST_TEXT: usize = 4096;

/// Reads a text of limits.
///
/// # Errors
/// [`Corrupt`] if it is cut, longer than any such text, or not UTF-8.
pub fn read_text<'a>(body: &mut Reader<'a>) -> Result<&'a str, Corrupt> {
    std::str::from_utf8(body.bytes(LONGEST_TEXT)?).map_err(|_| Corrupt("not text"))
}
