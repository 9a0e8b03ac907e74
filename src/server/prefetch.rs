//! Memory that is fetched while the command does something else.

/// Has the processor fetch the line of the cache in which `value` begins. Does not
/// wait for it, and does nothing else.
#[inline]
pub fn prefetch<T>(value: &T) {
    prefetch_at(std::ptr::from_ref(value).cast());
}

/// The same of any address, also of one where nothing lies.
#[inline]
pub(super) fn prefetch_at(address: *const i8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: prefetching touches no memory as far as the program can tell,
        // whatever the address is.
        unsafe { _mm_prefetch(address, _MM_HINT_T0) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
