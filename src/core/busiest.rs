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
//! **Lately.** A spell of a key is a run of events with no gap longer than
//! [`GAP_US`]: since when it lasts, and how often it happened in it, is kept for
//! every place. Both begin anew when a key gets its place.
//!
//! Counting allocates nothing once the places have their buffers.

use super::clock::Micros;
use rustc_hash::FxHasher;
use std::hash::Hasher;

/// Places in a set.
pub const WAYS: usize = 8;
/// Sets.
pub const SETS: usize = 256;
/// The longest key that is counted, in bytes.
pub const LONGEST: usize = 512;

/// A key without an event for longer than this, to about a second, ends its
/// spell.
pub const GAP_US: u64 = 60_000_000;

/// Time in steps of 2^20 microseconds, so that a key is looked at about once a
/// second and not at each event.
const fn tick(now: Micros) -> u64 {
    now.0 >> 20
}

/// Whether there is no gap between two steps.
const fn is_one_spell(one: u64, other: u64) -> bool {
    one.abs_diff(other) <= tick(Micros(GAP_US)) + 1
}

/// What every event looks at: three lines of the processor's cache.
#[derive(Clone, Debug)]
#[repr(C, align(16))]
struct Set {
    /// The hash of each key; 0 for an empty place.
    tags: [u64; WAYS],
    counts: [u64; WAYS],
    /// When each happened last.
    ticks: [u64; WAYS],
}

/// Who is in a place, and since which count.
#[derive(Clone, Debug, Default)]
struct Tenant {
    name: Vec<u8>,
    error: u64,
    /// When its spell began, and what its count was before.
    since: Micros,
    before: u64,
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
    /// Its spell, while that lasts.
    pub spell: Option<Spell>,
}

/// Events of one key with no long gap between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spell {
    /// Since when.
    pub since: Micros,
    /// How many.
    pub count: u64,
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
        let set = Set { tags: [0; WAYS], counts: [0; WAYS], ticks: [0; WAYS] };
        Self {
            seed,
            sets: vec![set; SETS].into_boxed_slice(),
            tenants: vec![Default::default(); SETS].into_boxed_slice(),
        }
    }

    /// Counts one event of a key.
    #[inline]
    pub fn count(&mut self, name: &[u8], now: Micros) {
        let mut hasher = FxHasher::with_seed(self.seed);
        hasher.write(name);
        let tag = hasher.finish() | 1;
        let index = usize::try_from(tag >> 32).unwrap_or(0) % SETS;
        let Some(set) = self.sets.get_mut(index) else { return };
        let place = set.tags.iter().position(|held| *held == tag);
        if let Some((place, count)) = place.and_then(|place| Some((place, set.counts.get_mut(place)?))) {
            if let Some(last) = set.ticks.get_mut(place)
                && *last != tick(now)
            {
                let tenant = self.tenants.get_mut(index).and_then(|tenants| tenants.get_mut(place));
                time_passed(last, tenant, *count, now);
            }
            *count += 1;
            return;
        }
        if let Some(tenants) = self.tenants.get_mut(index) {
            displace(set, tenants, tag, name, now);
        }
    }

    /// All that have a place, the busiest first; equals by name.
    pub fn list(&self, now: Micros) -> Vec<Busy<'_>> {
        let mut all: Vec<_> = self
            .sets
            .iter()
            .zip(&self.tenants)
            .flat_map(|(set, tenants)| set.counts.iter().zip(&set.ticks).zip(tenants))
            .filter(|((count, _), _)| **count > 0)
            .map(|((&count, &last), tenant)| {
                let spell = Spell { since: tenant.since, count: count.saturating_sub(tenant.before) };
                let spell = is_one_spell(tick(now), last).then_some(spell);
                Busy { name: &tenant.name, count, error: tenant.error, spell }
            })
            .collect();
        all.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(b.name)));
        all
    }
}

/// The first event of a key in this step of time: after a gap a spell begins.
#[cold]
fn time_passed(last: &mut u64, tenant: Option<&mut Tenant>, count: u64, now: Micros) {
    if let Some(tenant) = tenant
        && !is_one_spell(tick(now), *last)
    {
        (tenant.since, tenant.before) = (now, count);
    }
    *last = tick(now);
}

/// Gives the least place of the set to another key.
fn displace(set: &mut Set, tenants: &mut [Tenant; WAYS], tag: u64, name: &[u8], now: Micros) {
    if name.len() > LONGEST {
        return;
    }
    let places = set.tags.iter_mut().zip(&mut set.counts).zip(&mut set.ticks).zip(tenants);
    if let Some((((held, count), last), tenant)) = places.min_by_key(|(((_, count), _), _)| **count) {
        *held = tag;
        tenant.error = *count;
        tenant.before = *count;
        tenant.since = now;
        *last = tick(now);
        *count += 1;
        tenant.name.clear();
        tenant.name.extend_from_slice(name);
    }
}
