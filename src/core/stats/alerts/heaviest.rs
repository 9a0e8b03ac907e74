//! The keys that weigh most, in little memory: Misra-Gries with weights.
//!
//! With up to [`KEYS`] different keys every weight is exact. With more, the weight that is reported
//! for a key is never too large. It is too small by at most 1 / ([`KEYS`] + 1) of all that was
//! added. So a key that has more than half by its reported weight certainly has more than half.
//!
//! Adding allocates only for more keys, and for longer names, than ever before.

/// The number of keys that are counted at once.
pub const KEYS: usize = 16;
/// The longest name that is kept, in bytes. A key with a longer name is never reported as the
/// heaviest.
pub const LONGEST: usize = 1024;

#[derive(Clone, Copy, Debug)]
struct Weight {
    key: u64,
    weight: u64,
}

/// The weights of the heaviest keys by hash, and the name of the heaviest.
#[derive(Clone, Debug, Default)]
pub struct HeaviestKeys {
    /// At most [`KEYS`] weights above 0.
    weights: Vec<Weight>,
    /// The hash of the key whose name is kept.
    named: u64,
    name: Vec<u8>,
}

impl HeaviestKeys {
    /// Forgets all keys, without freeing memory.
    pub fn clear(&mut self) {
        self.weights.clear();
        self.name.clear();
    }

    /// The weight that the key with this hash has at least.
    pub fn weight(&self, key: u64) -> u64 {
        self.weights.iter().find(|one| one.key == key).map_or(0, |one| one.weight)
    }

    /// The hash and the name of the heaviest key. `None` if its name is not kept.
    pub fn heaviest(&self) -> Option<(u64, &[u8])> {
        (!self.name.is_empty()).then_some((self.named, &*self.name))
    }

    /// Adds `more` to the weight of the key `name`, whose hash is `key`.
    pub fn add(&mut self, key: u64, name: &[u8], more: u64) {
        let weight = match self.weights.iter_mut().find(|one| one.key == key) {
            Some(one) => {
                one.weight = one.weight.saturating_add(more);
                one.weight
            }
            None => self.add_another(key, more),
        };
        if self.named == key && !self.name.is_empty() {
            return;
        }
        if weight > 0 && (self.name.is_empty() || weight > self.weight(self.named)) {
            self.named = key;
            self.name.clear();
            if name.len() <= LONGEST {
                self.name.extend_from_slice(name);
            }
        }
    }

    /// Adds a key that has no place, and returns its weight then. If no place is free, every key
    /// loses the weight of the lightest, this one included.
    fn add_another(&mut self, key: u64, more: u64) -> u64 {
        let mut weight = more;
        if self.weights.len() == KEYS {
            let least = self.weights.iter().map(|one| one.weight).min().unwrap_or(0).min(more);
            weight -= least;
            self.weights.iter_mut().for_each(|one| one.weight -= least);
            self.weights.retain(|one| one.weight > 0);
        }
        if weight > 0 {
            self.weights.push(Weight { key, weight });
        }
        weight
    }

    /// Adds all weights of `others`.
    pub fn merge(&mut self, others: &Self) {
        for one in &others.weights {
            let name = others.heaviest().filter(|(key, _)| *key == one.key).map_or(&[][..], |(_, name)| name);
            self.add(one.key, name, one.weight);
        }
    }
}
