//! Random bytes that nobody can guess.

use crate::server::ffi::api::call_if_there;

/// Returns `N` hexadecimal digits of the server's own generator, which the kernel seeds. Without a
/// server, as in tests, they are all 0.
pub fn hex<const N: usize>() -> [u8; N] {
    let mut digits = [b'0'; N];
    // SAFETY: the buffer holds `N` bytes.
    unsafe { call_if_there!(RedisModule_GetRandomHexChars(digits.as_mut_ptr().cast(), N)) };
    digits
}
