//! Names of keys as those who watch may see them.

use crate::server::ffi::random;
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::settings;
use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};

/// Made once: the same key has the same mask until the server stops, and nobody
/// can tell the key by trying likely ones.
static MASKS: MainThreadCell<Option<RandomState>> = MainThreadCell::new(None);

/// The name as it is, or with `mask-keys yes` three stars and eight digits that
/// stand for it.
pub fn shown(main: MainThread, key: &[u8]) -> Cow<'_, [u8]> {
    if !settings::mask_keys(main) {
        return Cow::Borrowed(key);
    }
    let mut masks = MASKS.of(main).borrow_mut();
    let hash = masks.get_or_insert_with(RandomState::new).hash_one(key);
    Cow::Owned(format!("***{:08x}", hash >> 32).into_bytes())
}

/// The same as text; bytes that are no UTF-8 are replaced.
pub fn shown_text(main: MainThread, key: &[u8]) -> String {
    String::from_utf8_lossy(&shown(main, key)).into_owned()
}

/// A seed for hashes that strangers must not foresee.
pub fn seed() -> usize {
    let digits: [u8; 16] = random::hex();
    digits.iter().fold(0usize, |seed, digit| seed.rotate_left(5) ^ usize::from(*digit))
}
