//! An ordered map that is small while it holds little.
//!
//! A tree's first node takes room for eleven entries. Most keys have one
//! reservation or two at a time, and a key that holds places needs several such
//! maps: a few entries lie in a sorted row of exactly their size instead.

use std::borrow::Borrow;
use std::collections::{BTreeMap, btree_map};
use std::slice;

/// The longest row. Beyond, moving entries aside costs more than a tree does; a
/// tree stays one until it is empty, so that no history makes it change often.
const ROW: usize = 8;

/// A map in the order of its keys.
#[derive(Clone, Debug)]
pub enum Ordered<K, V> {
    /// Sorted, at most [`ROW`] of them.
    Few(Vec<(K, V)>),
    /// Any number. Apart, so that a row sets the size of both.
    #[allow(clippy::box_collection)]
    Many(Box<BTreeMap<K, V>>),
}

impl<K, V> Default for Ordered<K, V> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<K: Ord, V> Ordered<K, V> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Few(row) => row.len(),
            Self::Many(tree) => tree.len(),
        }
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entry of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Few(row) => row.get(place(row, key).ok()?).map(|(key, value)| (key, value)),
            Self::Many(tree) => tree.get_key_value(key),
        }
    }

    /// The value of a key, to change it.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Few(row) => {
                let at = place(row, key).ok()?;
                row.get_mut(at).map(|(_, value)| value)
            }
            Self::Many(tree) => tree.get_mut(key),
        }
    }

    /// Adds an entry, in place of another with this key.
    pub fn insert(&mut self, key: K, value: V) {
        match self {
            Self::Few(row) => match place(row, &key) {
                Ok(at) => {
                    if let Some(entry) = row.get_mut(at) {
                        entry.1 = value;
                    }
                }
                Err(at) if row.len() < ROW => {
                    row.reserve_exact(1);
                    row.insert(at, (key, value));
                }
                Err(_) => {
                    let mut tree: BTreeMap<K, V> = std::mem::take(row).into_iter().collect();
                    tree.insert(key, value);
                    *self = Self::Many(Box::new(tree));
                }
            },
            Self::Many(tree) => {
                tree.insert(key, value);
            }
        }
    }

    /// Takes the entry of a key out.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Few(row) => {
                let at = place(row, key).ok()?;
                let entry = row.remove(at);
                row.shrink_to_fit();
                Some(entry)
            }
            Self::Many(tree) => {
                let entry = tree.remove_entry(key);
                if tree.is_empty() {
                    *self = Self::default();
                }
                entry
            }
        }
    }

    /// The entries in the order of their keys.
    pub fn iter(&self) -> Iter<'_, K, V> {
        match self {
            Self::Few(row) => Iter::Few(row.iter()),
            Self::Many(tree) => Iter::Many(tree.iter()),
        }
    }

    /// About how many bytes it holds beside itself.
    pub fn memory(&self) -> usize {
        match self {
            Self::Few(row) => row.capacity() * size_of::<(K, V)>(),
            // A tree's node is about two thirds full.
            Self::Many(tree) => tree.len() * size_of::<(K, V)>() * 3 / 2,
        }
    }
}

/// Where the entry of a key is, or where it belongs.
fn place<K: Borrow<Q>, V, Q: Ord + ?Sized>(row: &[(K, V)], key: &Q) -> Result<usize, usize> {
    row.binary_search_by(|(other, _)| other.borrow().cmp(key))
}

/// The entries of an [`Ordered`].
#[derive(Debug)]
pub enum Iter<'a, K, V> {
    /// Of a row.
    Few(slice::Iter<'a, (K, V)>),
    /// Of a tree.
    Many(btree_map::Iter<'a, K, V>),
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(row) => row.next().map(|(key, value)| (key, value)),
            Self::Many(tree) => tree.next(),
        }
    }
}

impl<K, V> DoubleEndedIterator for Iter<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(row) => row.next_back().map(|(key, value)| (key, value)),
            Self::Many(tree) => tree.next_back(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever happens to it, it holds what a tree would, in the same order:
        /// also when the row becomes a tree, and the tree a row again.
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
                    // Now and then all go, from the least on.
                    None if clear && key == 0 => {
                        while let Some(least) = tree.keys().next().copied() {
                            prop_assert_eq!(ours.remove(&least), tree.remove_entry(&least));
                        }
                        prop_assert!(matches!(ours, Ordered::Few(_)));
                    }
                    None => prop_assert_eq!(ours.remove(&key), tree.remove_entry(&key)),
                }
                prop_assert_eq!(ours.get(&key), tree.get_key_value(&key));
                prop_assert_eq!(ours.get_mut(&key), tree.get_mut(&key));
                prop_assert!(ours.iter().eq(tree.iter()) && ours.iter().rev().eq(tree.iter().rev()));
                prop_assert_eq!((ours.len(), ours.is_empty()), (tree.len(), tree.is_empty()));
                prop_assert!(ours.memory() >= tree.len() * size_of::<(usize, u8)>());
            }
        }
    }
}
