//! The busiest keys of a stream, in bounded memory: Space-Saving in sets.
//!
//! A key belongs to one set of [`WAYS`] places, by its hash. A key that has a
//! place is counted exactly from then on. One that has none takes the place of
//! the least in its set and inherits its count, which is the most that it may
//! have missed: the error that is kept beside.
//!
//! **Error.** With `t` the true count of a key and `s` the events of its set
//! (about 1/[`SETS`] of all): a listed key has `count - error ≤ t ≤ count` and
//! `error ≤ s / WAYS`; a key with `t > s / WAYS` is listed. As long as no set is
//! full, every count is exact. Keys longer than [`LONGEST`] bytes are left out.
//!
//! Counting allocates nothing once the places have their buffers.

use rustc_hash::FxHasher;
use std::hash::Hasher;

/// Places in a set.
pub const WAYS: usize = 8;
/// Sets.
pub const SETS: usize = 256;
/// The longest key that is counted, in bytes.
pub const LONGEST: usize = 512;

/// Tags and counts of a set: two lines of the processor's cache.
#[derive(Clone, Debug)]
#[repr(C, align(16))]
struct Set {
    /// The hash of each key; 0 for an empty place.
    tags: [u64; WAYS],
    counts: [u64; WAYS],
}

/// Who is in a place, and since which count.
#[derive(Clone, Debug, Default)]
struct Tenant {
    name: Vec<u8>,
    error: u64,
}

/// One of the busiest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busy<'a> {
    /// The key.
    pub name: &'a [u8],
    /// At most so often.
    pub count: u64,
    /// And so much less often at the least.
    pub error: u64,
}

/// Counts keys and remembers the busiest.
#[derive(Clone, Debug)]
pub struct Busiest {
    seed: usize,
    sets: Box<[Set]>,
    tenants: Box<[[Tenant; WAYS]]>,
}

impl Busiest {
    /// Nothing counted. The seed keeps strangers from choosing keys that fall
    /// into one set.
    pub fn new(seed: usize) -> Self {
        let set = Set { tags: [0; WAYS], counts: [0; WAYS] };
        Self {
            seed,
            sets: vec![set; SETS].into_boxed_slice(),
            tenants: vec![Default::default(); SETS].into_boxed_slice(),
        }
    }

    /// Counts one event of a key.
    #[inline]
    pub fn count(&mut self, name: &[u8]) {
        let mut hasher = FxHasher::with_seed(self.seed);
        hasher.write(name);
        let tag = hasher.finish() | 1;
        let index = usize::try_from(tag >> 32).unwrap_or(0) % SETS;
        let Some(set) = self.sets.get_mut(index) else { return };
        for (held, count) in set.tags.iter().zip(&mut set.counts) {
            if *held == tag {
                *count += 1;
                return;
            }
        }
        if let Some(tenants) = self.tenants.get_mut(index) {
            displace(set, tenants, tag, name);
        }
    }

    /// All that have a place, the busiest first; equals by name.
    pub fn list(&self) -> Vec<Busy<'_>> {
        let mut all: Vec<_> = self
            .sets
            .iter()
            .zip(&self.tenants)
            .flat_map(|(set, tenants)| set.counts.iter().zip(tenants))
            .filter(|(count, _)| **count > 0)
            .map(|(&count, tenant)| Busy { name: &tenant.name, count, error: tenant.error })
            .collect();
        all.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(b.name)));
        all
    }
}

/// Gives the least place of the set to another key.
fn displace(set: &mut Set, tenants: &mut [Tenant; WAYS], tag: u64, name: &[u8]) {
    if name.len() > LONGEST {
        return;
    }
    let places = set.tags.iter_mut().zip(&mut set.counts).zip(tenants);
    if let Some(((held, count), tenant)) = places.min_by_key(|((_, count), _)| **count) {
        *held = tag;
        tenant.error = *count;
        *count += 1;
        tenant.name.clear();
        tenant.name.extend_from_slice(name);
    }
}
