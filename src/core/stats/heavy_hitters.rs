//! The busiest keys of a stream, in bounded memory: Space-Saving in sets.
//!
//! The hash of a key chooses one set of [`WAYS`] places. A key with a place is counted exactly from
//! then on. A key without one takes the place of the least busy key in its set and inherits its
//! count. That is the most that the new key may have missed, and it is kept as the key's error.
//!
//! **Error.** Let `t` be the true count of a key, and `s` the number of events of its set, which is
//! about 1/[`SETS`] of all. A listed key has `count - error ≤ t ≤ count` and `error ≤ s / WAYS`. A
//! key with `t > s / WAYS` is listed. As long as no set is full, every count is exact. Keys longer
//! than [`LONGEST`] bytes are left out.
//!
//! **Busy periods.** A busy period of a key is a run of events with no gap longer than [`GAP_US`].
//! Each place keeps since when the busy period lasts and how many events it has. Both start again when
//! a key gets its place.
//!
//! Counting allocates only for the first names that are too long for their place.
//!
//! **Optimisation.** When nearly every event names a new key, each one misses the CPU caches: 110
//! ns of a decision of 2 200 ns. So events are noted in a row and counted 32 at a time, which
//! leaves 52 ns (commit 1abfd7e). Each set fills two adjacent cache lines, and a victim's slot is
//! overwritten without being read. The plain version counts each event at once; it is the model in
//! `tests/core/busiest.rs`.

use crate::core::time::Micros;
use rustc_hash::FxHasher;
use std::hash::Hasher;

/// The number of places in a set.
pub const WAYS: usize = 8;
/// The number of sets.
pub const SETS: usize = 256;
/// The longest key that is counted, in bytes.
pub const LONGEST: usize = 512;

/// A gap of more than this many microseconds between two events ends a busy period. It is exact to about
/// a second.
pub const GAP_US: u64 = 60_000_000;

/// Time in steps of 2^20 microseconds, so that the place of a key is updated about once a second
/// and not at each event.
#[allow(clippy::cast_possible_truncation)] // times have 52 bits
const fn tick(now: Micros) -> u32 {
    (now.0 >> 20) as u32
}

/// True if the gap between two steps is too short to end a busy period.
const fn is_one_period(one: u32, other: u32) -> bool {
    one.abs_diff(other) <= tick(Micros(GAP_US)) + 1
}

/// The part of a set that every event reads: two cache lines.
#[derive(Clone, Debug)]
#[repr(C, align(128))]
struct Set {
    /// A part of the hash of each key; 0 for an empty place.
    tags: [u32; WAYS],
    /// The step of each key's last event.
    ticks: [u32; WAYS],
    counts: [u64; WAYS],
}

/// The longest name, in bytes, that is stored in its place.
const SHORT: usize = 38;

/// The key in a place, and the count that it started with.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct Counter {
    error: u64,
    /// The start of its busy period, and its count before that.
    since: Micros,
    before: u64,
    /// The length of the name. A name longer than [`SHORT`] is stored elsewhere.
    length: u16,
    name: [u8; SHORT],
}

const _: () = assert!(size_of::<Set>() == 128 && size_of::<Counter>() == 64);

/// One of the busiest keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeavyHitter {
    /// The name of the key.
    pub name: Vec<u8>,
    /// The upper bound of its number of events.
    pub count: u64,
    /// The largest error of that: the true number is at least `count - error`.
    pub error: u64,
    /// The busy period of the key, if it still lasts.
    pub period: Option<BusyPeriod>,
}

/// Events of one key without a long gap between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyPeriod {
    /// The time of the first event.
    pub since: Micros,
    /// The number of events.
    pub count: u64,
}

/// The number of events that are counted together.
const TOGETHER: usize = 32;

/// An event that is noted and not yet counted.
#[derive(Clone, Copy, Debug)]
struct PendingEvent {
    now: Micros,
    home: Home,
    length: u8,
    name: [u8; SHORT],
}

/// The set and the tag of a key.
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

/// Counts keys and remembers the busiest. It takes 160 KB.
#[derive(Clone, Debug)]
pub struct TopK {
    seed: usize,
    sets: [Set; SETS],
    counters: [[Counter; WAYS]; SETS],
    /// The names longer than [`SHORT`], by set and place. They are allocated with the first such
    /// name.
    long_names: Option<Box<[[Vec<u8>; WAYS]]>>,
    noted: [PendingEvent; TOGETHER],
    /// The number of events that are noted.
    waiting: usize,
}

impl TopK {
    /// A counter without events. The seed keeps clients from choosing keys that fall into one set.
    #[allow(clippy::large_stack_arrays)] // made at compile time in the module
    pub const fn new(seed: usize) -> Self {
        const SET: Set = Set { tags: [0; WAYS], ticks: [0; WAYS], counts: [0; WAYS] };
        const COUNTER: Counter =
            Counter { error: 0, since: Micros(0), before: 0, length: 0, name: [0; SHORT] };
        const COUNTERS: [Counter; WAYS] = [COUNTER; WAYS];
        const HOME: Home = Home { set: 0, tag: 0 };
        const NOTED: PendingEvent = PendingEvent { now: Micros(0), home: HOME, length: 0, name: [0; SHORT] };
        Self {
            seed,
            sets: [SET; SETS],
            counters: [COUNTERS; SETS],
            long_names: None,
            noted: [NOTED; TOGETHER],
            waiting: 0,
        }
    }

    /// The seed of the hashes.
    pub const fn seed(&self) -> usize {
        self.seed
    }

    /// Sets the seed of a counter that was made as a constant. Call it before the first event.
    pub const fn set_seed(&mut self, seed: usize) {
        self.seed = seed;
    }

    /// Counts one event of a key, now or with the events that follow.
    #[inline]
    pub fn record(&mut self, name: &[u8], now: Micros) {
        if let Some(noted) = self.noted.get_mut(self.waiting)
            && let Some(short) = noted.name.get_mut(..name.len())
            && let Ok(length) = u8::try_from(name.len())
        {
            short.copy_from_slice(name);
            (noted.length, noted.now, noted.home) = (length, now, home(self.seed, name));
            self.waiting += 1;
            if self.waiting == TOGETHER {
                self.catch_up();
            }
        } else {
            self.count_long(name, now);
        }
    }

    /// Counts the events that are noted.
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
                let counter = self.counters.get_mut(index).and_then(|counters| counters.get_mut(place));
                time_passed(last, counter, *count, now);
            }
            *count += 1;
        } else {
            self.displace(home, name, now);
        }
    }

    /// Gives the place of the set's least busy key to another key.
    #[inline]
    fn displace(&mut self, home: Home, name: &[u8], now: Micros) {
        let index = home.set as usize;
        let sides = self.sets.get_mut(index).zip(self.counters.get_mut(index));
        let Some(((set, counters), length)) = sides.zip(u16::try_from(name.len()).ok()) else { return };
        let (mut least, mut fewest) = (0, u64::MAX);
        for (place, &count) in set.counts.iter().enumerate() {
            if count < fewest {
                (least, fewest) = (place, count);
            }
        }
        if let (Some(tag), Some(last), Some(count), Some(counter)) = (
            set.tags.get_mut(least),
            set.ticks.get_mut(least),
            set.counts.get_mut(least),
            counters.get_mut(least),
        ) {
            *tag = home.tag;
            *last = tick(now);
            *count += 1;
            counter.error = fewest;
            counter.before = fewest;
            counter.since = now;
            counter.length = length;
            match counter.name.get_mut(..name.len()) {
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
        let counter = self.counters.get(index)?.get(place)?;
        match counter.name.get(..counter.length.into()) {
            Some(short) => Some(short),
            None => self.long_names.as_ref()?.get(index)?.get(place).map(Vec::as_slice),
        }
    }

    /// All keys that have a place, the busiest first, and keys with equal counts by name.
    pub fn list(&mut self, now: Micros) -> Vec<HeavyHitter> {
        self.catch_up();
        let mut all = Vec::new();
        for (index, (set, counters)) in self.sets.iter().zip(&self.counters).enumerate() {
            let places = set.counts.iter().zip(&set.ticks).zip(counters).enumerate();
            for (place, ((&count, &last), counter)) in places {
                if count > 0
                    && let Some(name) = self.name_at(index, place)
                {
                    let period =
                        BusyPeriod { since: counter.since, count: count.saturating_sub(counter.before) };
                    let period = is_one_period(tick(now), last).then_some(period);
                    all.push(HeavyHitter { name: name.to_vec(), count, error: counter.error, period });
                }
            }
        }
        all.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
        all
    }
}

/// Updates the step of a key at its first event in it. After a gap a busy period begins.
#[cold]
fn time_passed(last: &mut u32, counter: Option<&mut Counter>, count: u64, now: Micros) {
    if let Some(counter) = counter
        && !is_one_period(tick(now), *last)
    {
        (counter.since, counter.before) = (now, count);
    }
    *last = tick(now);
}
