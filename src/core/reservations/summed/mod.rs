//! An ordered map that knows the sum of the weights of its entries.
//!
//! It is a tree whose inner nodes keep the sum of each child. These operations take O(log n): the
//! sum behind a key, the key at which the sum reaches a figure, adding, changing and removing. A
//! few entries are one row of exactly their size.
//!
//! A copy takes O(1). It shares the nodes, and a change copies only the nodes on its way. So
//! forecasts run on copies, however much is held.

mod node;
#[cfg(test)]
mod tests;

pub use node::Weighted;

use node::{Child, Node, find, place};
use std::borrow::Borrow;
use std::slice;
use std::sync::Arc;

/// A map in the order of its keys, with sums of weights.
#[derive(Clone, Debug)]
pub struct Summed<K, V>(Node<K, V>);

impl<K, V> Default for Summed<K, V> {
    fn default() -> Self {
        Self(Node::Leaf(Vec::new()))
    }
}

impl<K: Clone + Ord, V: Clone + Weighted> Summed<K, V> {
    /// True if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.width() == 0
    }

    /// Adds an entry. It replaces an entry with the same key.
    pub fn insert(&mut self, key: K, value: V) {
        if let Some(second) = self.0.insert(key, value) {
            let first = std::mem::replace(&mut self.0, Node::Leaf(Vec::new()));
            self.0 = Node::Inner(Box::new(Child::of(first).into_iter().chain([second]).collect()));
        }
    }

    /// Removes the entry of a key.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
    {
        let entry = self.0.remove(key)?;
        self.lower();
        Some(entry)
    }

    /// Changes the value of a key, if there is one.
    pub fn change<R>(&mut self, key: &K, change: impl FnOnce(&mut V) -> R) -> Option<R> {
        self.0.change(key, change)
    }

    /// The entry of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&(K, V)>
    where
        K: Borrow<Q>,
    {
        let mut node = &self.0;
        loop {
            match node {
                Node::Leaf(row) => return row.get(find(row, key).ok()?),
                Node::Inner(children) => node = &children.get(place(children, key))?.node,
            }
        }
    }

    /// The value of a key, for changes that leave its weight.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.0.get_mut(key)
    }

    /// The weight of all entries.
    pub fn total(&self) -> u128 {
        self.0.sum()
    }

    /// The weight of all entries after a key.
    pub fn after(&self, key: &K) -> u128 {
        self.0.after(key)
    }

    /// The first key up to which the weights add up to at least `wanted`.
    pub fn reached(&self, wanted: u128) -> Option<K> {
        self.0.reached(wanted)
    }

    /// The first key after this one.
    pub fn next(&self, key: &K) -> Option<K> {
        self.0.next(key)
    }

    /// The first entry.
    pub fn first(&self) -> Option<&(K, V)> {
        self.0.first()
    }

    /// The last entry.
    pub fn last(&self) -> Option<&(K, V)> {
        self.0.last()
    }

    /// The entries in the order of their keys.
    pub fn entries(&self) -> Entries<'_, K, V> {
        let (mut entries, root) = (Entries { above: Vec::new(), row: [].iter() }, &self.0);
        entries.enter(root);
        entries
    }

    /// Removes entries from the end that together weigh at most `weight`. Returns the part of
    /// `weight` that remains, which is less than the weight of the last entry that stays.
    pub fn cut(&mut self, weight: u128) -> u128 {
        let left = self.0.cut(weight);
        self.lower();
        left
    }

    /// The bytes that the map holds outside itself.
    pub fn memory(&self) -> usize {
        self.0.memory()
    }

    /// Replaces a root that has one child by that child.
    fn lower(&mut self) {
        while let Node::Inner(children) = &mut self.0 {
            if children.len() > 1 {
                return;
            }
            self.0 = children.pop().map_or(Node::Leaf(Vec::new()), |only| Arc::unwrap_or_clone(only.node));
        }
    }
}

/// The entries of a [`Summed`].
#[derive(Debug)]
pub struct Entries<'a, K, V> {
    /// The children that are left at each level above the row.
    above: Vec<slice::Iter<'a, Child<K, V>>>,
    row: slice::Iter<'a, (K, V)>,
}

impl<'a, K, V> Entries<'a, K, V> {
    fn enter(&mut self, node: &'a Node<K, V>) {
        match node {
            Node::Leaf(row) => self.row = row.iter(),
            Node::Inner(children) => self.above.push(children.iter()),
        }
    }
}

impl<'a, K, V> Iterator for Entries<'a, K, V> {
    type Item = &'a (K, V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.row.next() {
                return Some(entry);
            }
            match self.above.last_mut()?.next() {
                Some(child) => self.enter(&child.node),
                None => drop(self.above.pop()),
            }
        }
    }
}
