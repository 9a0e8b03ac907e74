//! Hints that tell where in memory something lies, so that it can be fetched before it is needed.

/// An address and a length. Nothing is read through it.
#[derive(Clone, Copy, Debug)]
pub struct PrefetchHint {
    /// The address of the first byte.
    pub start: *const u8,
    /// The number of bytes.
    pub bytes: usize,
}

impl PrefetchHint {
    /// The place of `value` in memory. The value is not read.
    #[inline]
    pub const fn of<T: ?Sized>(value: &T) -> Self {
        Self { start: std::ptr::from_ref(value).cast(), bytes: size_of_val(value) }
    }
}
