//! The arguments of a command, borrowed from the server.

use crate::server::ffi::api::call;
use redis_module::raw;
use std::ffi::c_int;

/// One argument: the server's own string. It is neither copied nor retained.
#[derive(Clone, Copy)]
pub struct Arg<'a> {
    raw: *mut raw::RedisModuleString,
    bytes: &'a [u8],
}

impl<'a> Arg<'a> {
    /// # Safety
    /// `raw` is a live string of the server for at least `'a`.
    pub(in crate::server) unsafe fn from_raw(raw: *mut raw::RedisModuleString) -> Self {
        let mut len = 0;
        // SAFETY: `raw` is a live string; the returned buffer lives as long and holds `len` bytes.
        // An empty string has a non-null pointer, too.
        let bytes = unsafe {
            let start = call!(RedisModule_StringPtrLen(raw, &raw mut len));
            if start.is_null() { &[] } else { std::slice::from_raw_parts(start.cast::<u8>(), len) }
        };
        Self { raw, bytes }
    }

    /// The bytes of the argument, which may have any value.
    pub const fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// True if the argument is this keyword, in any letter case.
    #[inline]
    pub fn is(self, keyword: &str) -> bool {
        // Most clients send capitals, as the keywords are written.
        self.bytes == keyword.as_bytes() || self.bytes.eq_ignore_ascii_case(keyword.as_bytes())
    }

    pub(in crate::server) const fn raw(self) -> *mut raw::RedisModuleString {
        self.raw
    }
}

impl std::fmt::Debug for Arg<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.bytes.escape_ascii())
    }
}

/// All arguments of a call, without the command's own name.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    raw: &'a [*mut raw::RedisModuleString],
}

impl<'a> Args<'a> {
    /// # Safety
    /// `argv` holds `argc` live strings of the server for at least `'a`, the
    /// first of them the command's name.
    pub(in crate::server) unsafe fn from_raw(argv: *mut *mut raw::RedisModuleString, argc: c_int) -> Self {
        let count = usize::try_from(argc).unwrap_or(0);
        // SAFETY: the caller's promise.
        let all = if count == 0 { &[] } else { unsafe { std::slice::from_raw_parts(argv, count) } };
        Self { raw: all.get(1..).unwrap_or_default() }
    }

    /// The number of arguments.
    pub const fn len(self) -> usize {
        self.raw.len()
    }

    /// True if there is no argument.
    pub const fn is_empty(self) -> bool {
        self.raw.is_empty()
    }

    /// The argument at `index`, counted from 0.
    pub fn get(self, index: usize) -> Option<Arg<'a>> {
        // SAFETY: every element of the slice is a live string.
        self.raw.get(index).map(|&raw| unsafe { Arg::from_raw(raw) })
    }

    /// The arguments from `index` on, counted from 0.
    #[must_use]
    pub fn from(self, index: usize) -> Self {
        Self { raw: self.raw.get(index..).unwrap_or_default() }
    }

    /// An iterator over the arguments.
    pub fn iter(self) -> impl ExactSizeIterator<Item = Arg<'a>> {
        // SAFETY: every element of the slice is a live string.
        self.raw.iter().map(|&raw| unsafe { Arg::from_raw(raw) })
    }
}

impl std::fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
