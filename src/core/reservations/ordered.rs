//! An ordered map that is small while it holds few entries.
//!
//! A tree's first node takes room for eleven entries. But most keys have one or two reservations at
//! a time, and a key that holds places needs several maps. So a few entries are kept in a sorted
//! row of exactly their size. Many are kept in the tree of [`Summed`], whose copies share what
//! neither changes.

use super::summed::{Entries, Summed, Weighted};
use std::borrow::Borrow;
use std::slice;

/// The most entries of a row. With more, moving entries costs more than a tree does.
const ROW: usize = 8;
/// A tree of at most this many entries becomes a row again. It is half of [`ROW`], so that a map
/// whose size moves around one number does not change its shape each time.
const ROW_AGAIN: usize = ROW / 2;

/// A map in the order of its keys.
#[derive(Clone, Debug)]
pub enum Ordered<K, V> {
    /// A sorted row of at most [`ROW`] entries.
    Few(Box<[(K, V)]>),
    /// A tree of more than [`ROW_AGAIN`] entries. It is boxed, so that the row determines the size
    /// of the enum.
    Many(Box<Tree<K, V>>),
}

/// A tree and the number of its entries.
#[derive(Clone, Debug)]
pub struct Tree<K, V> {
    entries: Summed<K, Weightless<V>>,
    len: usize,
}

/// A value whose sum is never asked for.
#[derive(Clone, Debug)]
pub struct Weightless<V>(V);

impl<V> Weighted for Weightless<V> {
    fn weight(&self) -> u128 {
        0
    }
}

impl<K, V> Default for Ordered<K, V> {
    fn default() -> Self {
        Self::Few(Box::default())
    }
}

impl<K: Clone + Ord, V: Clone> Ordered<K, V> {
    /// The number of entries.
    pub fn len(&self) -> usize {
        match self {
            Self::Few(row) => row.len(),
            Self::Many(tree) => tree.len,
        }
    }

    /// True if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True while the map is a row. Then looking at every entry is as quick as a search in a tree.
    pub const fn is_few(&self) -> bool {
        matches!(self, Self::Few(_))
    }

    /// The entry of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Few(row) => row.get(place(row, key).ok()?).map(of_row),
            Self::Many(tree) => tree.entries.get(key).map(of_tree),
        }
    }

    /// The value of a key, for changing it.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Few(row) => {
                let at = place(row, key).ok()?;
                row.get_mut(at).map(|(_, value)| value)
            }
            Self::Many(tree) => tree.entries.get_mut(key).map(|value| &mut value.0),
        }
    }

    /// Adds an entry. It replaces an entry with the same key.
    pub fn insert(&mut self, key: K, value: V) {
        match self {
            Self::Few(row) => match place(row, &key) {
                Ok(at) => {
                    if let Some(entry) = row.get_mut(at) {
                        entry.1 = value;
                    }
                }
                Err(at) if row.len() < ROW => {
                    let mut longer = std::mem::take(row).into_vec();
                    longer.reserve_exact(1);
                    longer.insert(at, (key, value));
                    *row = longer.into_boxed_slice();
                }
                Err(_) => {
                    let mut tree = Tree { entries: Summed::default(), len: 0 };
                    let few = std::mem::take(row).into_iter();
                    few.chain([(key, value)]).for_each(|(key, value)| tree.insert(key, value));
                    *self = Self::Many(Box::new(tree));
                }
            },
            Self::Many(tree) => tree.insert(key, value),
        }
    }

    /// Removes the entry of a key.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Few(row) => {
                let at = place(row, key).ok()?;
                let mut shorter = std::mem::take(row).into_vec();
                let entry = shorter.remove(at);
                *row = shorter.into_boxed_slice();
                Some(entry)
            }
            Self::Many(tree) => {
                let (key, Weightless(value)) = tree.entries.remove(key)?;
                tree.len -= 1;
                if tree.len <= ROW_AGAIN {
                    let few = tree.entries.entries().map(|(key, value)| (key.clone(), value.0.clone()));
                    *self = Self::Few(few.collect());
                }
                Some((key, value))
            }
        }
    }

    /// The first entry.
    pub fn first(&self) -> Option<(&K, &V)> {
        match self {
            Self::Few(row) => row.first().map(of_row),
            Self::Many(tree) => tree.entries.first().map(of_tree),
        }
    }

    /// The last entry.
    pub fn last(&self) -> Option<(&K, &V)> {
        match self {
            Self::Few(row) => row.last().map(of_row),
            Self::Many(tree) => tree.entries.last().map(of_tree),
        }
    }

    /// The entries in the order of their keys.
    pub fn iter(&self) -> Iter<'_, K, V> {
        match self {
            Self::Few(row) => Iter::Few(row.iter()),
            Self::Many(tree) => Iter::Many(tree.entries.entries()),
        }
    }

    /// The approximate number of bytes that the map holds outside itself.
    pub fn memory(&self) -> usize {
        match self {
            Self::Few(row) => size_of_val(&**row),
            Self::Many(tree) => size_of::<Tree<K, V>>() + tree.entries.memory(),
        }
    }
}

impl<K: Clone + Ord, V: Clone> Tree<K, V> {
    fn insert(&mut self, key: K, value: V) {
        if let Some(there) = self.entries.get_mut(&key) {
            there.0 = value;
        } else {
            self.entries.insert(key, Weightless(value));
            self.len += 1;
        }
    }
}

fn of_row<K, V>((key, value): &(K, V)) -> (&K, &V) {
    (key, value)
}

fn of_tree<K, V>((key, value): &(K, Weightless<V>)) -> (&K, &V) {
    (key, &value.0)
}

/// The place of a key's entry, or else the place where it belongs.
fn place<K: Borrow<Q>, V, Q: Ord + ?Sized>(row: &[(K, V)], key: &Q) -> Result<usize, usize> {
    row.binary_search_by(|(other, _)| other.borrow().cmp(key))
}

/// The entries of an [`Ordered`].
#[derive(Debug)]
pub enum Iter<'a, K, V> {
    /// The entries of a row.
    Few(slice::Iter<'a, (K, V)>),
    /// The entries of a tree.
    Many(Entries<'a, K, Weightless<V>>),
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(row) => row.next().map(of_row),
            Self::Many(entries) => entries.next().map(of_tree),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// After any changes, the map holds what a tree holds, in the same order. The changes also
        /// make a row a tree, and a tree a row again.
        #[test]
        fn it_holds_what_a_tree_holds(
            changes in prop::collection::vec((0..3 * ROW, any::<Option<u8>>(), any::<bool>()), 0..200),
        ) {
            let (mut ours, mut tree) = (Ordered::default(), BTreeMap::new());
            for (key, value, clear) in changes {
                match value {
                    Some(value) => {
                        ours.insert(key, value);
                        tree.insert(key, value);
                    }
                    // Now and then remove all entries, from the least on.
                    None if clear && key == 0 => {
                        while let Some(least) = tree.keys().next().copied() {
                            prop_assert_eq!(ours.remove(&least), tree.remove_entry(&least));
                        }
                    }
                    None => prop_assert_eq!(ours.remove(&key), tree.remove_entry(&key)),
                }
                prop_assert_eq!(ours.get(&key), tree.get_key_value(&key));
                prop_assert_eq!(ours.get_mut(&key), tree.get_mut(&key));
                prop_assert!(ours.iter().eq(tree.iter()));
                prop_assert_eq!((ours.first(), ours.last()), (tree.iter().next(), tree.iter().next_back()));
                prop_assert_eq!((ours.len(), ours.is_empty()), (tree.len(), tree.is_empty()));
                // Between the two sizes the shape depends on the changes before.
                if tree.len() <= ROW_AGAIN || tree.len() > ROW {
                    prop_assert_eq!(ours.is_few(), tree.len() <= ROW_AGAIN);
                }
                prop_assert!(ours.memory() >= tree.len() * size_of::<(usize, u8)>());
            }
        }
    }
}
