//! An ordered map that knows the sum of the weights of its entries.
//!
//! It is a tree whose inner nodes keep the sum of each child. These operations take O(log n): the
//! sum behind a key, the key at which the sum reaches a figure, adding, changing and removing. A
//! few entries are one row of exactly their size.
//!
//! A copy takes O(1). It shares the nodes, and a change copies only the nodes on its way. So
//! forecasts run on copies, however much is held.

use std::borrow::Borrow;
use std::slice;
use std::sync::Arc;

/// The most entries of a leaf, and the most children of an inner node.
const WIDE: usize = 32;
/// The number of entries up to which a row allocates exactly what it needs.
const EXACT: usize = 8;

/// What an entry adds to the sums.
pub trait Weighted {
    /// The weight. It is at most 2^65, so that no sum of entries that fit into memory overflows.
    fn weight(&self) -> u128;
}

/// A map in the order of its keys, with sums of weights.
#[derive(Clone, Debug)]
pub struct Summed<K, V>(Node<K, V>);

#[derive(Clone, Debug)]
enum Node<K, V> {
    Leaf(Vec<(K, V)>),
    /// Children of the same height. There is at least one, and none is empty.
    #[allow(clippy::box_collection)] // Most maps are a leaf, which determines the size.
    Inner(Box<Vec<Child<K, V>>>),
}

#[derive(Clone, Debug)]
struct Child<K, V> {
    /// The least key of the child.
    first: K,
    sum: u128,
    /// The node, shared with copies of the map until one of them changes it.
    node: Arc<Node<K, V>>,
}

impl<K, V> Default for Summed<K, V> {
    fn default() -> Self {
        Self(Node::Leaf(Vec::new()))
    }
}

impl<K: Clone + Ord, V: Clone + Weighted> Child<K, V> {
    fn of(node: Node<K, V>) -> Option<Self> {
        Some(Self { first: node.first()?.0.clone(), sum: node.sum(), node: Arc::new(node) })
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

impl<K: Clone + Ord, V: Clone + Weighted> Node<K, V> {
    fn first(&self) -> Option<&(K, V)> {
        match self {
            Self::Leaf(row) => row.first(),
            Self::Inner(children) => children.first().and_then(|child| child.node.first()),
        }
    }

    fn sum(&self) -> u128 {
        match self {
            Self::Leaf(row) => row.iter().map(|(_, value)| value.weight()).sum(),
            Self::Inner(children) => children.iter().map(|child| child.sum).sum(),
        }
    }

    fn width(&self) -> usize {
        match self {
            Self::Leaf(row) => row.len(),
            Self::Inner(children) => children.len(),
        }
    }

    /// Runs `change` on the value of a key, if there is one.
    fn change<R>(&mut self, key: &K, change: impl FnOnce(&mut V) -> R) -> Option<R> {
        match self {
            Self::Leaf(row) => {
                let at = find(row, key).ok()?;
                row.get_mut(at).map(|(_, value)| change(value))
            }
            Self::Inner(children) => {
                let at = place(children, key);
                let child = children.get_mut(at)?;
                let changed = Arc::make_mut(&mut child.node).change(key, change)?;
                child.sum = child.node.sum();
                Some(changed)
            }
        }
    }

    /// The value of a key, for changes that leave its weight.
    fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
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

    /// Adds an entry. It replaces an entry with the same key. Returns the second half if the node
    /// became too wide.
    fn insert(&mut self, key: K, value: V) -> Option<Child<K, V>> {
        match self {
            Self::Leaf(row) => {
                match find(row, &key) {
                    Ok(at) => {
                        if let Some(entry) = row.get_mut(at) {
                            entry.1 = value;
                        }
                    }
                    Err(at) => {
                        if row.len() < EXACT {
                            row.reserve_exact(1);
                        }
                        row.insert(at, (key, value));
                        if row.len() > WIDE {
                            // Entries that come in order fill their leaves.
                            let half = if at == WIDE { WIDE } else { WIDE / 2 };
                            let second = row.split_off(half);
                            row.shrink_to_fit();
                            return Child::of(Self::Leaf(second));
                        }
                    }
                }
                None
            }
            Self::Inner(children) => {
                let at = place(children, &key);
                let child = children.get_mut(at)?;
                if key < child.first {
                    child.first = key.clone();
                }
                let second = Arc::make_mut(&mut child.node).insert(key, value);
                child.sum = child.node.sum();
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

    fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Leaf(row) => {
                let at = find(row, key).ok()?;
                let entry = row.remove(at);
                if row.len() <= EXACT || row.len() * 2 <= row.capacity() {
                    row.shrink_to_fit();
                }
                Some(entry)
            }
            Self::Inner(children) => {
                let at = place(children, key);
                let child = children.get_mut(at)?;
                let entry = Arc::make_mut(&mut child.node).remove(key)?;
                child.sum = child.node.sum();
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

    /// The weight of all entries after a key.
    fn after(&self, key: &K) -> u128 {
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
    fn reached(&self, mut wanted: u128) -> Option<K> {
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
    fn next(&self, key: &K) -> Option<K> {
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

    fn last(&self) -> Option<&(K, V)> {
        match self {
            Self::Leaf(row) => row.last(),
            Self::Inner(children) => children.last().and_then(|child| child.node.last()),
        }
    }

    /// Removes entries from the end that together weigh at most `left`. Returns the part of `left`
    /// that remains.
    fn cut(&mut self, mut left: u128) -> u128 {
        match self {
            Self::Leaf(row) => {
                while let Some((_, value)) = row.last()
                    && value.weight() <= left
                {
                    left -= value.weight();
                    row.pop();
                }
                row.shrink_to_fit();
            }
            Self::Inner(children) => {
                while let Some(child) = children.last()
                    && child.sum <= left
                {
                    left -= child.sum;
                    children.pop();
                }
                if let Some(child) = children.last_mut() {
                    left = Arc::make_mut(&mut child.node).cut(left);
                    child.sum = child.node.sum();
                }
                let last = children.len().saturating_sub(1);
                rebalance(children, last);
            }
        }
        left
    }

    fn memory(&self) -> usize {
        match self {
            Self::Leaf(row) => row.capacity() * size_of::<(K, V)>(),
            Self::Inner(children) => {
                // Each node carries two counts of the maps that share it.
                let shared = size_of::<Node<K, V>>() + 2 * size_of::<usize>();
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
        (Node::Leaf(row), Node::Leaf(more)) => row.extend(more),
        (Node::Inner(row), Node::Inner(more)) => row.extend(*more),
        // All children have the same height.
        _ => return,
    }
    first.sum += taken.sum;
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug, PartialEq)]
    struct Heavy(u64);

    impl Weighted for Heavy {
        fn weight(&self) -> u128 {
            u128::from(self.0)
        }
    }

    /// Checks that sums and first keys are right, and that no node is empty or too wide. Returns
    /// the height.
    fn check(node: &Node<u32, Heavy>, root: bool) -> usize {
        match node {
            Node::Leaf(row) => {
                assert!(root || !row.is_empty());
                assert!(row.len() <= WIDE && row.is_sorted_by(|a, b| a.0 < b.0));
                0
            }
            Node::Inner(children) => {
                assert!(!children.is_empty() && children.len() <= WIDE && !(root && children.len() == 1));
                let heights: Vec<usize> = children.iter().map(|child| check(&child.node, false)).collect();
                assert!(heights.iter().all(|height| *height == heights[0]));
                for child in children.iter() {
                    assert_eq!(child.sum, child.node.sum());
                    assert_eq!(Some(child.first), child.node.first().map(|(key, _)| *key));
                }
                heights[0] + 1
            }
        }
    }

    /// Calls `see` for all entries in order.
    fn each(node: &Node<u32, Heavy>, see: &mut impl FnMut(u32, u64)) {
        match node {
            Node::Leaf(row) => row.iter().for_each(|(key, value)| see(*key, value.0)),
            Node::Inner(children) => children.iter().for_each(|child| each(&child.node, see)),
        }
    }

    fn grow(keys: impl Iterator<Item = u32>) -> Summed<u32, Heavy> {
        let mut ours = Summed::default();
        keys.for_each(|key| ours.insert(key, Heavy(1)));
        ours
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u32, u64),
        Remove(u32),
        RemoveRun(u32, u32),
        Change(u32, u64),
        Cut(u64),
        /// Goes on with a copy, while the original stays as it is.
        GoOnAsCopy,
    }

    fn op() -> impl Strategy<Value = Op> {
        let key = 0..400u32;
        prop_oneof![
            6 => (key.clone(), 0..9u64).prop_map(|(key, weight)| Op::Insert(key, weight)),
            2 => key.clone().prop_map(Op::Remove),
            1 => (key.clone(), 0..90u32).prop_map(|(key, run)| Op::RemoveRun(key, run)),
            2 => (key, 0..9u64).prop_map(|(key, weight)| Op::Change(key, weight)),
            1 => prop_oneof![0..9u64, 0..600u64].prop_map(Op::Cut),
            1 => Just(Op::GoOnAsCopy),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        /// After any operations, the map holds and sums what a plain map does.
        #[test]
        fn it_sums_what_a_plain_map_sums(
            before in prop_oneof![Just(0u32), Just(400)],
            ops in prop::collection::vec(op(), 0..150),
        ) {
            let mut ours = grow(0..before);
            let mut plain: BTreeMap<u32, u64> = (0..before).map(|key| (key, 1)).collect();
            let mut left_behind = Vec::new();
            for op in ops {
                match op {
                    Op::Insert(key, weight) => {
                        ours.insert(key, Heavy(weight));
                        plain.insert(key, weight);
                    }
                    Op::Remove(key) => prop_assert_eq!(ours.remove(&key).map(|(_, v)| v.0), plain.remove(&key)),
                    Op::RemoveRun(key, run) => for key in key..key + run {
                        prop_assert_eq!(ours.remove(&key).map(|(_, v)| v.0), plain.remove(&key));
                    },
                    Op::Change(key, weight) => {
                        let changed = ours.change(&key, |value| value.0 = weight);
                        prop_assert_eq!(changed, plain.get_mut(&key).map(|there| *there = weight));
                    }
                    Op::Cut(weight) => {
                        let mut left = weight;
                        while let Some((&key, &there)) = plain.iter().next_back() && there <= left {
                            left -= there;
                            plain.remove(&key);
                        }
                        prop_assert_eq!(ours.cut(u128::from(weight)), u128::from(left));
                    }
                    Op::GoOnAsCopy => {
                        let copy = ours.clone();
                        left_behind.push((std::mem::replace(&mut ours, copy), plain.clone()));
                    }
                }
                check(&ours.0, true);
                let mut seen = Vec::new();
                each(&ours.0, &mut |key, value| seen.push((key, value)));
                prop_assert!(seen.iter().copied().eq(plain.iter().map(|(key, weight)| (*key, *weight))));
                let total: u64 = plain.values().sum();
                prop_assert_eq!(ours.total(), u128::from(total));
                prop_assert_eq!(ours.is_empty(), plain.is_empty());
                prop_assert_eq!(ours.first().map(|first| first.0), plain.keys().next().copied());
                prop_assert_eq!(ours.last().map(|last| last.0), plain.keys().next_back().copied());
                let entries = ours.entries().map(|(key, value)| (*key, value.0));
                prop_assert!(entries.eq(plain.iter().map(|(key, weight)| (*key, *weight))));
                for key in (0..410).step_by(37) {
                    let after: u64 = plain.range(key + 1..).map(|(_, weight)| weight).sum();
                    prop_assert_eq!(ours.after(&key), u128::from(after));
                    prop_assert_eq!(ours.next(&key), plain.range(key + 1..).next().map(|(key, _)| *key));
                    prop_assert_eq!(ours.get(&key).map(|(_, v)| v.0), plain.get(&key).copied());
                }
                for wanted in [0, 1, total / 2, total, total + 1] {
                    let mut sum = 0;
                    let reached = plain.iter().find(|(_, weight)| { sum += **weight; sum >= wanted });
                    prop_assert_eq!(ours.reached(u128::from(wanted)), reached.map(|(key, _)| *key));
                }
            }
            for (ours, plain) in left_behind {
                check(&ours.0, true);
                let mut seen = Vec::new();
                each(&ours.0, &mut |key, value| seen.push((key, value)));
                prop_assert!(seen.iter().copied().eq(plain.iter().map(|(key, weight)| (*key, *weight))));
            }
        }
    }

    /// The number of nodes that only one map has.
    fn unshared(node: &Node<u32, Heavy>) -> usize {
        let Node::Inner(children) = node else { return 0 };
        let own = children.iter().filter(|child| Arc::strong_count(&child.node) == 1);
        own.map(|child| 1 + unshared(&child.node)).sum()
    }

    /// A change copies only the nodes on its way, whether of the copy or of the original.
    #[test]
    fn a_copy_shares_what_nobody_changes() {
        let mut ours = grow(0..100_000);
        let mut copy = ours.clone();
        assert_eq!((unshared(&ours.0), unshared(&copy.0)), (0, 0));
        ours.change(&70_000, |value| value.0 = 2);
        copy.insert(100_000, Heavy(1));
        copy.remove(&5);
        assert!(
            unshared(&ours.0) <= 16 && unshared(&copy.0) <= 16,
            "{} {}",
            unshared(&ours.0),
            unshared(&copy.0)
        );
        assert_eq!((ours.total(), copy.total()), (100_001, 100_000));
    }

    /// The tree stays low, whatever the order of insertions and removals.
    #[test]
    fn it_stays_low() {
        let scattered = |n: u32| n.wrapping_mul(2_654_435_761) >> 8;
        for mut ours in [grow(0..100_000), grow((0..100_000).rev()), grow((0..100_000).map(scattered))] {
            assert!(check(&ours.0, true) <= 4);
            assert!(ours.memory() < 100_000 * size_of::<(u32, Heavy)>() * 3);
            let mut keys = Vec::new();
            each(&ours.0, &mut |key, _| keys.push(key));
            keys.iter().filter(|key| **key % 64 > 0).for_each(|key| assert!(ours.remove(key).is_some()));
            assert!(check(&ours.0, true) <= 3);
            assert!(ours.memory() < 100_000 / 64 * size_of::<(u32, Heavy)>() * 8);
        }
    }
}
