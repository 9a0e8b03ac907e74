//! Random bytes that nobody can guess.

use crate::server::ffi::api::call;

/// `N` hexadecimal digits from the server's own generator, seeded by the kernel.
pub fn hex<const N: usize>() -> [u8; N] {
    let mut digits = [0u8; N];
    // SAFETY: the buffer holds `N` bytes.
    unsafe { call!(RedisModule_GetRandomHexChars(digits.as_mut_ptr().cast(), N)) }
    digits
}
