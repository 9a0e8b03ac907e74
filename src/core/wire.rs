//! Encoding and decoding: the primitives of every stored or replicated encoding.
//!
//! Numbers are LEB128 varints, and texts are preceded by their length. A [`Reader`] never panics
//! and never allocates more than the input holds, whatever the bytes are.

#![allow(clippy::cast_possible_truncation)] // low bits are what the encodings take

/// The error for a payload that is cut, malformed or impossible. It says for the log where decoding
/// stopped. Nothing of the payload is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("corrupt payload: {0}")]
pub struct Corrupt(pub &'static str);

/// Appends `n` as a LEB128 varint (1 to 10 bytes).
///
/// ```
/// use floodgate::core::wire::{Reader, put_bytes, put_u64};
///
/// let mut payload = Vec::new();
/// put_u64(&mut payload, 300);
/// put_bytes(&mut payload, b"key");
/// let mut reader = Reader::new(&payload);
/// assert_eq!(reader.u64(), Ok(300));
/// assert_eq!(reader.bytes(64), Ok(&b"key"[..]));
/// assert!(reader.end().is_ok());
/// ```
pub fn put_u64(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends `n` as two varints, the low half first.
pub fn put_u128(out: &mut Vec<u8>, n: u128) {
    put_u64(out, n as u64);
    put_u64(out, (n >> 64) as u64);
}

/// Appends the length of `bytes`, then the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The 64-bit FNV-1a hash of some bytes. Except by chance, it is equal on two nodes only for equal
/// bytes.
pub fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Reads the values that the `put_*` functions wrote.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader that starts at the first byte.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes that have not been read.
    pub const fn remaining(&self) -> &'a [u8] {
        self.rest
    }

    /// True if every byte has been read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Reads the next byte.
    ///
    /// # Errors
    /// [`Corrupt`] at the end of the input.
    pub fn byte(&mut self) -> Result<u8, Corrupt> {
        let (&first, rest) = self.rest.split_first().ok_or(Corrupt("ends too early"))?;
        self.rest = rest;
        Ok(first)
    }

    /// Reads the next varint. Only the shortest form is accepted, so that equal states have equal
    /// bytes.
    ///
    /// # Errors
    /// [`Corrupt`] if the number is cut, above 64 bits or padded.
    pub fn u64(&mut self) -> Result<u64, Corrupt> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Corrupt("number above 64 bits"));
            }
            n |= bits << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 && shift > 0 { Err(Corrupt("padded number")) } else { Ok(n) };
            }
        }
        Err(Corrupt("number above 64 bits"))
    }

    /// Reads a varint of at most `max`.
    ///
    /// # Errors
    /// [`Corrupt`] if it is larger, and for the reasons of [`Reader::u64`].
    pub fn u64_to(&mut self, max: u64) -> Result<u64, Corrupt> {
        let n = self.u64()?;
        if n <= max { Ok(n) } else { Err(Corrupt("number out of range")) }
    }

    /// Reads a varint of at most `max` as a number of that type.
    ///
    /// # Errors
    /// The same as for [`Reader::u64_to`].
    pub fn number_to<N: Into<u64> + TryFrom<u64>>(&mut self, max: N) -> Result<N, Corrupt> {
        N::try_from(self.u64_to(max.into())?).map_err(|_| Corrupt("number out of range"))
    }

    /// Reads the number that [`put_u128`] wrote.
    ///
    /// # Errors
    /// The same as for [`Reader::u64`].
    pub fn u128(&mut self) -> Result<u128, Corrupt> {
        let low = self.u64()?;
        let high = self.u64()?;
        Ok(u128::from(high) << 64 | u128::from(low))
    }

    /// Reads the bytes that [`put_bytes`] wrote, at most `max`.
    ///
    /// # Errors
    /// [`Corrupt`] if there are more than `max`, or more than the input holds.
    pub fn bytes(&mut self, max: usize) -> Result<&'a [u8], Corrupt> {
        let len = usize::try_from(self.u64()?).map_err(|_| Corrupt("length out of range"))?;
        if len > max || len > self.rest.len() {
            return Err(Corrupt("length out of range"));
        }
        let (head, rest) = self.rest.split_at(len);
        self.rest = rest;
        Ok(head)
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// [`Corrupt`] if bytes follow.
    pub fn end(&self) -> Result<(), Corrupt> {
        if self.is_empty() { Ok(()) } else { Err(Corrupt("bytes after the end")) }
    }
}
