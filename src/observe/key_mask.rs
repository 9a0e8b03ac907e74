//! Names of keys as observers may see them.

use crate::server::ffi::random;
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::settings;
use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};

/// The secret by which names are masked. It is made once, so a key has the same mask until the
/// server stops. Nobody can find the key by trying likely names.
static MASKS: MainThreadCell<Option<RandomState>> = MainThreadCell::new(None);

/// The name as it is, or, with `mask-keys yes`, three stars and eight hexadecimal digits of a hash.
pub fn shown(main: MainThread, key: &[u8]) -> Cow<'_, [u8]> {
    if !settings::mask_keys(main) {
        return Cow::Borrowed(key);
    }
    let mut masks = MASKS.of(main).borrow_mut();
    let hash = masks.get_or_insert_with(RandomState::new).hash_one(key);
    Cow::Owned(format!("***{:08x}", hash >> 32).into_bytes())
}

/// The same as text. Bytes that are not UTF-8 are replaced.
pub fn shown_text(main: MainThread, key: &[u8]) -> String {
    String::from_utf8_lossy(&shown(main, key)).into_owned()
}

/// A seed for hashes that clients must not foresee.
pub fn seed() -> usize {
    let digits: [u8; 16] = random::hex();
    digits.iter().fold(0usize, |seed, digit| seed.rotate_left(5) ^ usize::from(*digit))
}
