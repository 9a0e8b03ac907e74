//! An ordered map that knows the sum of the weights of its entries.
//!
//! It is a tree whose inner nodes keep the sum of each child. These operations take O(log n): the
//! sum behind a key, the key at which the sum reaches a figure, adding, changing and removing. A
//! few entries are one row of exactly their size, because most keys have one or two reservations at
//! a time, and a key that holds places needs several maps.
//!
//! A copy takes O(1). It shares the nodes, and a change copies only the nodes on its way. So
//! forecasts run on copies, however much is held.

use std::borrow::Borrow;
use std::slice;
use std::sync::Arc;

/// The most entries of a leaf, and the most children of an inner node.
const WIDE: usize = 32;

/// The weight that an entry adds to the sums.
pub trait Weighted {
    /// The weight. It is at most 2^65, so that no sum of entries that fit into memory overflows.
    fn weight(&self) -> u128 {
        1
    }
}

impl Weighted for () {}

impl Weighted for u64 {
    fn weight(&self) -> u128 {
        (*self).into()
    }
}

/// A map in the order of its keys, with sums of weights. Each node of its tree is such a map.
#[derive(Clone, Debug)]
pub enum Summed<K, V> {
    /// Entries in the order of their keys.
    Leaf(Box<[(K, V)]>),
    /// Children of the same height. There is at least one, and none is empty.
    #[allow(clippy::box_collection)] // Most maps are a leaf, which determines the size.
    Inner(Box<Vec<Child<K, V>>>),
}

/// A node below another.
#[derive(Clone, Debug)]
pub struct Child<K, V> {
    /// The least key of the child.
    first: K,
    /// The sum of the weights below it.
    sum: u128,
    /// The node, shared with copies of the map until one of them changes it.
    node: Arc<Summed<K, V>>,
}

impl<K, V> Default for Summed<K, V> {
    fn default() -> Self {
        Self::Leaf(Box::default())
    }
}

impl<K: Clone + Ord, V: Clone + Weighted> Child<K, V> {
    /// The node as a child; `None` if it is empty.
    fn of(node: Summed<K, V>) -> Option<Self> {
        Some(Self { first: node.first()?.0.clone(), sum: node.total(), node: Arc::new(node) })
    }
}

/// The place of the child that holds a key, or to which the key belongs.
fn place<K: Borrow<Q>, V, Q: Ord + ?Sized>(children: &[Child<K, V>], key: &Q) -> usize {
    children.partition_point(|child| child.first.borrow() <= key).saturating_sub(1)
}

/// The place of a key's entry, or else the place where it belongs.
fn find<K: Borrow<Q>, V, Q: Ord + ?Sized>(row: &[(K, V)], key: &Q) -> Result<usize, usize> {
    row.binary_search_by(|(other, _)| other.borrow().cmp(key))
}

/// Changes the number of entries of a row, which then takes exactly the room that they need.
fn resize<T, R>(row: &mut Box<[T]>, change: impl FnOnce(&mut Vec<T>) -> R) -> R {
    let mut entries = std::mem::take(row).into_vec();
    let result = change(&mut entries);
    *row = entries.into_boxed_slice();
    result
}

impl<K: Clone + Ord, V: Clone + Weighted> Summed<K, V> {
    /// True if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.width() == 0
    }

    /// The number of entries of a leaf, or of children of an inner node.
    fn width(&self) -> usize {
        match self {
            Self::Leaf(row) => row.len(),
            Self::Inner(children) => children.len(),
        }
    }

    /// Adds an entry. It replaces an entry with the same key.
    pub fn insert(&mut self, key: K, value: V) {
        if let Some(second) = self.insert_below(key, value) {
            let first = std::mem::take(self);
            *self = Self::Inner(Box::new(Child::of(first).into_iter().chain([second]).collect()));
        }
    }

    /// The same as [`Summed::insert`]. Returns the second half if the node became too wide.
    fn insert_below(&mut self, key: K, value: V) -> Option<Child<K, V>> {
        match self {
            Self::Leaf(row) => {
                match find(row, &key) {
                    Ok(at) => {
                        if let Some(entry) = row.get_mut(at) {
                            entry.1 = value;
                        }
                        None
                    }
                    Err(at) => resize(row, |row| {
                        row.reserve_exact(1);
                        row.insert(at, (key, value));
                        if row.len() <= WIDE {
                            return None;
                        }
                        // Entries that come in order fill their leaves.
                        let half = if at == WIDE { WIDE } else { WIDE / 2 };
                        Child::of(Self::Leaf(row.split_off(half).into_boxed_slice()))
                    }),
                }
            }
            Self::Inner(children) => {
                let at = place(children, &key);
                let child = children.get_mut(at)?;
                if key < child.first {
                    child.first = key.clone();
                }
                let second = Arc::make_mut(&mut child.node).insert_below(key, value);
                child.sum = child.node.total();
                if let Some(second) = second {
                    children.insert(at + 1, second);
                }
                if children.len() <= WIDE {
                    return None;
                }
                let half = if at + 2 >= children.len() { WIDE } else { WIDE / 2 };
                Child::of(Self::Inner(Box::new(children.split_off(half))))
            }
        }
    }

    /// Removes the entry of a key.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
    {
        let entry = self.remove_below(key)?;
        self.lower();
        Some(entry)
    }

    fn remove_below<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Leaf(row) => {
                let at = find(row, key).ok()?;
                Some(resize(row, |row| row.remove(at)))
            }
            Self::Inner(children) => {
                let at = place(children, key);
                let child = children.get_mut(at)?;
                let entry = Arc::make_mut(&mut child.node).remove_below(key)?;
                child.sum = child.node.total();
                if let Some((first, _)) = child.node.first()
                    && *first != child.first
                {
                    child.first = first.clone();
                }
                rebalance(children, at);
                Some(entry)
            }
        }
    }

    /// Removes entries from the end that together weigh at most `weight`. Returns the part of
    /// `weight` that remains, which is less than the weight of the last entry that stays.
    pub fn cut(&mut self, weight: u128) -> u128 {
        let left = self.cut_below(weight);
        self.lower();
        left
    }

    fn cut_below(&mut self, mut left: u128) -> u128 {
        match self {
            Self::Leaf(row) => resize(row, |row| {
                while let Some((_, value)) = row.last()
                    && value.weight() <= left
                {
                    left -= value.weight();
                    row.pop();
                }
            }),
            Self::Inner(children) => {
                while let Some(child) = children.last()
                    && child.sum <= left
                {
                    left -= child.sum;
                    children.pop();
                }
                if let Some(child) = children.last_mut() {
                    left = Arc::make_mut(&mut child.node).cut_below(left);
                    child.sum = child.node.total();
                }
                let last = children.len().saturating_sub(1);
                rebalance(children, last);
            }
        }
        left
    }

    /// Replaces a root that has one child by that child.
    fn lower(&mut self) {
        while let Self::Inner(children) = self {
            if children.len() > 1 {
                return;
            }
            *self = children.pop().map_or_else(Self::default, |only| Arc::unwrap_or_clone(only.node));
        }
    }

    /// Changes the value of a key, if there is one.
    pub fn change<R>(&mut self, key: &K, change: impl FnOnce(&mut V) -> R) -> Option<R> {
        match self {
            Self::Leaf(_) => self.get_mut(key).map(change),
            Self::Inner(children) => {
                let at = place(children, key);
                let child = children.get_mut(at)?;
                let changed = Arc::make_mut(&mut child.node).change(key, change)?;
                child.sum = child.node.total();
                Some(changed)
            }
        }
    }

    /// The value of a key, for changes that leave its weight.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Leaf(row) => {
                let at = find(row, key).ok()?;
                row.get_mut(at).map(|(_, value)| value)
            }
            Self::Inner(children) => {
                let at = place(children, key);
                Arc::make_mut(&mut children.get_mut(at)?.node).get_mut(key)
            }
        }
    }

    /// The entry of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&(K, V)>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Leaf(row) => row.get(find(row, key).ok()?),
            Self::Inner(children) => children.get(place(children, key))?.node.get(key),
        }
    }

    /// The weight of all entries.
    pub fn total(&self) -> u128 {
        match self {
            Self::Leaf(row) => row.iter().map(|(_, value)| value.weight()).sum(),
            Self::Inner(children) => children.iter().map(|child| child.sum).sum(),
        }
    }

    /// The number of entries of a map in which each weighs 1.
    pub fn count(&self) -> usize {
        usize::try_from(self.total()).unwrap_or(usize::MAX)
    }

    /// The weight of all entries after a key.
    pub fn after(&self, key: &K) -> u128 {
        match self {
            Self::Leaf(row) => {
                let from = row.partition_point(|(other, _)| other <= key);
                row.get(from..).unwrap_or_default().iter().map(|(_, value)| value.weight()).sum()
            }
            Self::Inner(children) => {
                let at = place(children, key);
                let behind = children.get(at + 1..).unwrap_or_default();
                let inside = children.get(at).map_or(0, |child| child.node.after(key));
                inside + behind.iter().map(|child| child.sum).sum::<u128>()
            }
        }
    }

    /// The first key up to which the weights add up to at least `wanted`.
    pub fn reached(&self, mut wanted: u128) -> Option<K> {
        match self {
            Self::Leaf(row) => {
                for (key, value) in row {
                    if wanted <= value.weight() {
                        return Some(key.clone());
                    }
                    wanted -= value.weight();
                }
                None
            }
            Self::Inner(children) => {
                for child in children.iter() {
                    if wanted <= child.sum {
                        return child.node.reached(wanted);
                    }
                    wanted -= child.sum;
                }
                None
            }
        }
    }

    /// The first key after this one.
    pub fn next(&self, key: &K) -> Option<K> {
        match self {
            Self::Leaf(row) => {
                row.get(row.partition_point(|(other, _)| other <= key)).map(|(key, _)| key.clone())
            }
            Self::Inner(children) => {
                let at = place(children, key);
                let inside = children.get(at).and_then(|child| child.node.next(key));
                inside.or_else(|| children.get(at + 1).map(|child| child.first.clone()))
            }
        }
    }

    /// The first entry.
    pub fn first(&self) -> Option<&(K, V)> {
        match self {
            Self::Leaf(row) => row.first(),
            Self::Inner(children) => children.first().and_then(|child| child.node.first()),
        }
    }

    /// The last entry.
    pub fn last(&self) -> Option<&(K, V)> {
        match self {
            Self::Leaf(row) => row.last(),
            Self::Inner(children) => children.last().and_then(|child| child.node.last()),
        }
    }

    /// The entries in the order of their keys.
    pub fn entries(&self) -> Entries<'_, K, V> {
        let mut entries = Entries { above: Vec::new(), row: [].iter() };
        entries.enter(self);
        entries
    }

    /// The bytes that the map holds outside itself.
    pub fn memory(&self) -> usize {
        match self {
            Self::Leaf(row) => size_of_val(&**row),
            Self::Inner(children) => {
                // Each node carries two counts of the maps that share it.
                let shared = size_of::<Self>() + 2 * size_of::<usize>();
                let own = children.capacity() * size_of::<Child<K, V>>() + size_of::<Vec<()>>();
                own + children.len() * shared
                    + children.iter().map(|child| child.node.memory()).sum::<usize>()
            }
        }
    }
}

/// Tidies up after a child lost entries. A child without entries is removed, and one that is narrow
/// joins a narrow neighbour.
fn rebalance<K: Clone + Ord, V: Clone + Weighted>(children: &mut Vec<Child<K, V>>, at: usize) {
    let width = |at: usize| children.get(at).map_or(usize::MAX, |child| child.node.width());
    if width(at) == 0 {
        children.remove(at);
        return;
    }
    let second = if at > 0 { at } else { 1 };
    if width(second - 1).saturating_add(width(second)) > WIDE / 2 {
        return;
    }
    let taken = children.remove(second);
    let Some(first) = children.get_mut(second - 1) else { return };
    match (Arc::make_mut(&mut first.node), Arc::unwrap_or_clone(taken.node)) {
        (Summed::Leaf(row), Summed::Leaf(more)) => resize(row, |row| row.extend(more)),
        (Summed::Inner(row), Summed::Inner(more)) => row.extend(*more),
        // All children have the same height.
        _ => return,
    }
    first.sum += taken.sum;
}

/// The entries of a [`Summed`].
#[derive(Debug)]
pub struct Entries<'a, K, V> {
    /// The children that are left at each level above the row.
    above: Vec<slice::Iter<'a, Child<K, V>>>,
    row: slice::Iter<'a, (K, V)>,
}

impl<'a, K, V> Entries<'a, K, V> {
    fn enter(&mut self, node: &'a Summed<K, V>) {
        match node {
            Summed::Leaf(row) => self.row = row.iter(),
            Summed::Inner(children) => self.above.push(children.iter()),
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

#[cfg(test)]
mod tests;
