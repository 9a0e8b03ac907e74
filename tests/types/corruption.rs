//! Bytes that somebody has changed: put in, taken out, cut or overwritten.

use proptest::prelude::*;

/// One change of some bytes. Where is a part of their length.
#[derive(Clone, Copy, Debug)]
pub enum Forgery {
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Cut(prop::sample::Index),
    Overwrite(prop::sample::Index, u8),
}

/// Changes the bytes here and there.
pub fn forge(bytes: &mut Vec<u8>, forgeries: Vec<Forgery>) {
    for forgery in forgeries {
        if bytes.is_empty() {
            return;
        }
        match forgery {
            Forgery::Insert(at, byte) => bytes.insert(at.index(bytes.len()), byte),
            Forgery::Remove(at) => drop(bytes.remove(at.index(bytes.len()))),
            Forgery::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Forgery::Overwrite(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
    }
}

/// How to change some bytes.
pub fn forgeries() -> impl Strategy<Value = Vec<Forgery>> {
    let forgery = (any::<prop::sample::Index>(), any::<u8>(), 0..6u8).prop_map(|(at, byte, how)| match how {
        0 => Forgery::Insert(at, byte),
        1 => Forgery::Remove(at),
        2 => Forgery::Cut(at),
        _ => Forgery::Overwrite(at, byte),
    });
    prop::collection::vec(forgery, 1..4)
}
