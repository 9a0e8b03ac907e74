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
//! Counting allocates nothing, but for the first names that are too long for
//! their place.
//!
//! **Optimisation.** When nearly every event names a new key, each one misses the CPU
//! caches: 110 ns of a decision of 2 200 ns. Events are therefore noted in a row and
//! counted 32 at a time, which leaves 52 ns (commit 1abfd7e). Whoever notes an event
//! may fetch its set, which saves 2.6 % of a denial's time (commit 12c5954). Each set
//! fills two adjacent cache lines, and a victim's slot is overwritten without being
//! read. The plain version counts each event at once: the model in
//! `tests/core/busiest.rs`.

use crate::core::prefetch_hint::PrefetchHint;
use crate::core::time::Micros;
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
#[allow(clippy::cast_possible_truncation)] // times have 52 bits
const fn tick(now: Micros) -> u32 {
    (now.0 >> 20) as u32
}

/// Whether there is no gap between two steps.
const fn is_one_spell(one: u32, other: u32) -> bool {
    one.abs_diff(other) <= tick(Micros(GAP_US)) + 1
}

/// What every event looks at: two lines of the processor's cache.
#[derive(Clone, Debug)]
#[repr(C, align(128))]
struct Set {
    /// A part of the hash of each key; 0 for an empty place.
    tags: [u32; WAYS],
    /// When each happened last.
    ticks: [u32; WAYS],
    counts: [u64; WAYS],
}

/// The longest name that lies in its place.
const SHORT: usize = 38;

/// Who is in a place, and since which count.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct Counter {
    error: u64,
    /// When its spell began, and what its count was before.
    since: Micros,
    before: u64,
    /// Above [`SHORT`] the name lies apart.
    length: u16,
    name: [u8; SHORT],
}

const _: () = assert!(size_of::<Set>() == 128 && size_of::<Counter>() == 64);

/// One of the busiest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeavyHitter<'a> {
    /// The key.
    pub name: &'a [u8],
    /// At most so often.
    pub count: u64,
    /// And so much less often at the least.
    pub error: u64,
    /// Its spell, while that lasts.
    pub spell: Option<BusyPeriod>,
}

/// Events of one key with no long gap between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyPeriod {
    /// Since when.
    pub since: Micros,
    /// How many.
    pub count: u64,
}

/// So many events are counted at once.
const TOGETHER: usize = 32;

/// An event that is not counted yet.
#[derive(Clone, Copy, Debug)]
struct Noted {
    now: Micros,
    home: Home,
    length: u8,
    name: [u8; SHORT],
}

/// Where a key belongs.
#[derive(Clone, Copy, Debug)]
struct Home {
    set: u32,
    tag: u32,
}

#[allow(clippy::cast_possible_truncation)] // two different parts of the hash
fn home(seed: usize, name: &[u8]) -> Home {
    let mut hasher = FxHasher::with_seed(seed);
    hasher.write(name);
    let hash = hasher.finish();
    Home { set: hash as u32 % SETS as u32, tag: (hash >> 32) as u32 | 1 }
}

/// Counts keys and remembers the busiest. Large: 160 KB.
#[derive(Clone, Debug)]
pub struct TopK {
    seed: usize,
    sets: [Set; SETS],
    tenants: [[Counter; WAYS]; SETS],
    /// Names above [`SHORT`], by set and place; made for the first of them.
    long_names: Option<Box<[[Vec<u8>; WAYS]]>>,
    noted: [Noted; TOGETHER],
    /// How many of them are there.
    waiting: usize,
}

impl TopK {
    /// Nothing counted. The seed keeps strangers from choosing keys that fall
    /// into one set.
    #[allow(clippy::large_stack_arrays)] // made at compile time where it counts
    pub const fn new(seed: usize) -> Self {
        const SET: Set = Set { tags: [0; WAYS], ticks: [0; WAYS], counts: [0; WAYS] };
        const TENANT: Counter =
            Counter { error: 0, since: Micros(0), before: 0, length: 0, name: [0; SHORT] };
        const TENANTS: [Counter; WAYS] = [TENANT; WAYS];
        const HOME: Home = Home { set: 0, tag: 0 };
        const NOTED: Noted = Noted { now: Micros(0), home: HOME, length: 0, name: [0; SHORT] };
        Self {
            seed,
            sets: [SET; SETS],
            tenants: [TENANTS; SETS],
            long_names: None,
            noted: [NOTED; TOGETHER],
            waiting: 0,
        }
    }

    /// The seed.
    pub const fn seed(&self) -> usize {
        self.seed
    }

    /// Gives what was made as a constant a seed before anything is counted.
    pub const fn set_seed(&mut self, seed: usize) {
        self.seed = seed;
    }

    /// Counts one event of a key. Returns what counting it will look at, if that is
    /// later.
    #[inline]
    pub fn count(&mut self, name: &[u8], now: Micros) -> Option<PrefetchHint> {
        if let Some(noted) = self.noted.get_mut(self.waiting)
            && let Some(short) = noted.name.get_mut(..name.len())
            && let Ok(length) = u8::try_from(name.len())
        {
            short.copy_from_slice(name);
            let home = home(self.seed, name);
            (noted.length, noted.now, noted.home) = (length, now, home);
            self.waiting += 1;
            if self.waiting == TOGETHER {
                self.catch_up();
            }
            self.sets.get(home.set as usize).map(PrefetchHint::of)
        } else {
            self.count_long(name, now);
            None
        }
    }

    /// Counts what is only noted.
    #[inline(never)]
    fn catch_up(&mut self) {
        let noted = self.noted;
        for noted in noted.get(..std::mem::take(&mut self.waiting)).unwrap_or_default() {
            self.count_at(noted.home, noted.name.get(..noted.length.into()).unwrap_or_default(), noted.now);
        }
    }

    #[cold]
    fn count_long(&mut self, name: &[u8], now: Micros) {
        self.catch_up();
        if name.len() <= LONGEST {
            self.count_at(home(self.seed, name), name, now);
        }
    }

    #[inline]
    fn count_at(&mut self, home: Home, name: &[u8], now: Micros) {
        let index = home.set as usize;
        let Some(set) = self.sets.get_mut(index) else { return };
        let place = set.tags.iter().position(|held| *held == home.tag);
        if let Some((place, count)) = place.and_then(|place| Some((place, set.counts.get_mut(place)?))) {
            if let Some(last) = set.ticks.get_mut(place)
                && *last != tick(now)
            {
                let tenant = self.tenants.get_mut(index).and_then(|tenants| tenants.get_mut(place));
                time_passed(last, tenant, *count, now);
            }
            *count += 1;
        } else {
            self.displace(home, name, now);
        }
    }

    /// Gives the least place of the set to another key.
    #[inline]
    fn displace(&mut self, home: Home, name: &[u8], now: Micros) {
        let index = home.set as usize;
        let sides = self.sets.get_mut(index).zip(self.tenants.get_mut(index));
        let Some(((set, tenants), length)) = sides.zip(u16::try_from(name.len()).ok()) else { return };
        let (mut least, mut fewest) = (0, u64::MAX);
        for (place, &count) in set.counts.iter().enumerate() {
            if count < fewest {
                (least, fewest) = (place, count);
            }
        }
        if let (Some(tag), Some(last), Some(count), Some(tenant)) = (
            set.tags.get_mut(least),
            set.ticks.get_mut(least),
            set.counts.get_mut(least),
            tenants.get_mut(least),
        ) {
            *tag = home.tag;
            *last = tick(now);
            *count += 1;
            tenant.error = fewest;
            tenant.before = fewest;
            tenant.since = now;
            tenant.length = length;
            match tenant.name.get_mut(..name.len()) {
                Some(short) => short.copy_from_slice(name),
                None => self.keep_long(index, least, name),
            }
        }
    }

    #[cold]
    fn keep_long(&mut self, index: usize, place: usize, name: &[u8]) {
        let names = self.long_names.get_or_insert_with(|| vec![Default::default(); SETS].into_boxed_slice());
        if let Some(kept) = names.get_mut(index).and_then(|set| set.get_mut(place)) {
            kept.clear();
            kept.extend_from_slice(name);
        }
    }

    fn name_at(&self, index: usize, place: usize) -> Option<&[u8]> {
        let tenant = self.tenants.get(index)?.get(place)?;
        match tenant.name.get(..tenant.length.into()) {
            Some(short) => Some(short),
            None => self.long_names.as_ref()?.get(index)?.get(place).map(Vec::as_slice),
        }
    }

    /// All that have a place, the busiest first; equals by name.
    pub fn list(&mut self, now: Micros) -> Vec<HeavyHitter<'_>> {
        self.catch_up();
        let mut all = Vec::new();
        for (index, (set, tenants)) in self.sets.iter().zip(&self.tenants).enumerate() {
            let places = set.counts.iter().zip(&set.ticks).zip(tenants).enumerate();
            for (place, ((&count, &last), tenant)) in places {
                if count > 0
                    && let Some(name) = self.name_at(index, place)
                {
                    let spell =
                        BusyPeriod { since: tenant.since, count: count.saturating_sub(tenant.before) };
                    let spell = is_one_spell(tick(now), last).then_some(spell);
                    all.push(HeavyHitter { name, count, error: tenant.error, spell });
                }
            }
        }
        all.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(b.name)));
        all
    }
}

/// The first event of a key in this step of time: after a gap a spell begins.
#[cold]
fn time_passed(last: &mut u32, tenant: Option<&mut Counter>, count: u64, now: Micros) {
    if let Some(tenant) = tenant
        && !is_one_spell(tick(now), *last)
    {
        (tenant.since, tenant.before) = (now, count);
    }
    *last = tick(now);
}
