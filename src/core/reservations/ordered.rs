//! An ordered map that is small while it holds little.
//!
//! A tree's first node takes room for eleven entries. Most keys have one
//! reservation or two at a time, and a key that holds places needs several such
//! maps: a few entries lie in a sorted row of exactly their size instead. Many lie in
//! the tree of [`Summed`], whose copies share what neither changes.

use super::summed::{Entries, Summed, Weighted};
use std::borrow::Borrow;
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
    Many(Box<Tree<K, V>>),
}

/// A tree, and how many entries it has.
#[derive(Clone, Debug)]
pub struct Tree<K, V> {
    entries: Summed<K, Weightless<V>>,
    len: usize,
}

/// A value of which no sum is asked.
#[derive(Clone, Debug)]
pub struct Weightless<V>(V);

impl<V> Weighted for Weightless<V> {
    fn weight(&self) -> u128 {
        0
    }
}

impl<K, V> Default for Ordered<K, V> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<K: Clone + Ord, V: Clone> Ordered<K, V> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Few(row) => row.len(),
            Self::Many(tree) => tree.len,
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
            Self::Few(row) => row.get(place(row, key).ok()?).map(of_row),
            Self::Many(tree) => tree.entries.get(key).map(of_tree),
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
            Self::Many(tree) => tree.entries.get_mut(key).map(|value| &mut value.0),
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
                    let mut tree = Tree { entries: Summed::default(), len: 0 };
                    let few = std::mem::take(row).into_iter();
                    few.chain([(key, value)]).for_each(|(key, value)| tree.insert(key, value));
                    *self = Self::Many(Box::new(tree));
                }
            },
            Self::Many(tree) => tree.insert(key, value),
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
                let (key, Weightless(value)) = tree.entries.remove(key)?;
                tree.len -= 1;
                if tree.len == 0 {
                    *self = Self::default();
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

    /// About how many bytes it holds beside itself.
    pub fn memory(&self) -> usize {
        match self {
            Self::Few(row) => row.capacity() * size_of::<(K, V)>(),
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
                prop_assert!(ours.iter().eq(tree.iter()));
                prop_assert_eq!((ours.first(), ours.last()), (tree.iter().next(), tree.iter().next_back()));
                prop_assert_eq!((ours.len(), ours.is_empty()), (tree.len(), tree.is_empty()));
                prop_assert!(ours.memory() >= tree.len() * size_of::<(usize, u8)>());
            }
        }
    }
}
