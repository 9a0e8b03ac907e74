//! Where something lies in memory, for whoever can fetch it before it is needed.

/// An address and a length. Nothing can be read through it.
#[derive(Clone, Copy, Debug)]
pub struct PrefetchHint {
    /// Where it begins.
    pub start: *const u8,
    /// How many bytes it has.
    pub bytes: usize,
}

impl PrefetchHint {
    /// Where `value` lies; it is not read.
    #[inline]
    pub const fn of<T: ?Sized>(value: &T) -> Self {
        Self { start: std::ptr::from_ref(value).cast(), bytes: size_of_val(value) }
    }
}
