//! Which key weighs most, in little memory: Misra-Gries with weights.
//!
//! With up to [`KEYS`] different keys every weight is exact. With more, the weight
//! that is told of a key is never too large, and too small by at most a
//! [`KEYS`]-and-first of all that was added: so whoever has more than half by
//! what is told here surely has.
//!
//! Adding allocates nothing, but for the first names that are longer than any before.

/// So many keys are told apart at once.
pub const KEYS: usize = 16;
/// A longer name is not kept, in bytes: such a key is never the heaviest.
pub const LONGEST: usize = 1024;

#[derive(Clone, Copy, Debug, Default)]
struct Weight {
    key: u64,
    weight: u64,
}

/// The weights of the heaviest keys, by hash, and the name of the heaviest.
#[derive(Clone, Debug, Default)]
pub struct HeaviestKeys {
    weights: [Weight; KEYS],
    /// How many of them are in use; they are the first.
    used: usize,
    /// The hash of the key whose name is kept.
    named: u64,
    name: Vec<u8>,
}

impl HeaviestKeys {
    /// Forgets all; the room for the name stays.
    pub fn clear(&mut self) {
        self.used = 0;
        self.name.clear();
    }

    fn used(&self) -> &[Weight] {
        self.weights.get(..self.used).unwrap_or_default()
    }

    fn used_mut(&mut self) -> &mut [Weight] {
        self.weights.get_mut(..self.used).unwrap_or_default()
    }

    /// What the key with this hash weighs at least.
    pub fn weight(&self, key: u64) -> u64 {
        self.used().iter().find(|one| one.key == key).map_or(0, |one| one.weight)
    }

    /// The hash and the name of the heaviest; `None` where its name is not kept.
    pub fn heaviest(&self) -> Option<(u64, &[u8])> {
        (!self.name.is_empty()).then_some((self.named, &*self.name))
    }

    /// The key `name`, whose hash is `key`, weighs so much more.
    pub fn add(&mut self, key: u64, name: &[u8], more: u64) {
        let weight = match self.used_mut().iter_mut().find(|one| one.key == key) {
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

    /// Puts a key that has no place, and says what it weighs then. Without a free
    /// place every key, this one included, gives up as much as the lightest has.
    fn add_another(&mut self, key: u64, more: u64) -> u64 {
        let mut weight = more;
        if self.used == KEYS {
            let least = self.used().iter().map(|one| one.weight).min().unwrap_or(0).min(more);
            weight -= least;
            let mut kept = 0;
            for at in 0..self.used {
                let Some(mut one) = self.weights.get(at).copied() else { break };
                one.weight -= least;
                if one.weight > 0
                    && let Some(place) = self.weights.get_mut(kept)
                {
                    *place = one;
                    kept += 1;
                }
            }
            self.used = kept;
        }
        if weight > 0
            && let Some(place) = self.weights.get_mut(self.used)
        {
            *place = Weight { key, weight };
            self.used += 1;
        }
        weight
    }

    /// Adds all that others weigh.
    pub fn merge(&mut self, others: &Self) {
        for one in others.used() {
            let name = others.heaviest().filter(|(key, _)| *key == one.key).map_or(&[][..], |(_, name)| name);
            self.add(one.key, name, one.weight);
        }
    }
}
