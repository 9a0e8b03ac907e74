//! Bytes that somebody has changed: put in, taken out, cut or overwritten.

use proptest::prelude::*;

/// Where, which byte, and how.
pub type Forgery = (prop::sample::Index, u8, u8);

/// Changes the bytes here and there.
pub fn forge(bytes: &mut Vec<u8>, forgeries: Vec<Forgery>) {
    for (at, byte, how) in forgeries {
        if bytes.is_empty() {
            return;
        }
        let at = at.index(bytes.len());
        match how {
            0 => bytes.insert(at, byte),
            1 => drop(bytes.remove(at)),
            2 => bytes.truncate(at),
            _ => bytes[at] = byte,
        }
    }
}

/// How to change some bytes.
pub fn forgeries() -> impl Strategy<Value = Vec<Forgery>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..6u8), 1..4)
}
