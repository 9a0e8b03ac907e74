//! The nodes of the tree.

use std::borrow::Borrow;
use std::sync::Arc;

/// The most entries of a leaf, and the most children of an inner node.
pub const WIDE: usize = 32;
/// The number of entries up to which a row allocates exactly what it needs.
const EXACT: usize = 8;

/// What an entry adds to the sums.
pub trait Weighted {
    /// The weight. It is at most 2^65, so that no sum of entries that fit into memory overflows.
    fn weight(&self) -> u128;
}

/// A node of the tree.
#[derive(Clone, Debug)]
pub enum Node<K, V> {
    /// Entries in the order of their keys.
    Leaf(Vec<(K, V)>),
    /// Children of the same height. There is at least one, and none is empty.
    #[allow(clippy::box_collection)] // Most maps are a leaf, which determines the size.
    Inner(Box<Vec<Child<K, V>>>),
}

/// A node below another.
#[derive(Clone, Debug)]
pub struct Child<K, V> {
    /// The least key of the child.
    pub first: K,
    /// The sum of the weights below it.
    pub sum: u128,
    /// The node, shared with copies of the map until one of them changes it.
    pub node: Arc<Node<K, V>>,
}

impl<K: Clone + Ord, V: Clone + Weighted> Child<K, V> {
    /// The node as a child; `None` if it is empty.
    pub fn of(node: Node<K, V>) -> Option<Self> {
        Some(Self { first: node.first()?.0.clone(), sum: node.sum(), node: Arc::new(node) })
    }
}

/// The place of the child that holds a key, or to which the key belongs.
pub fn place<K: Borrow<Q>, V, Q: Ord + ?Sized>(children: &[Child<K, V>], key: &Q) -> usize {
    children.partition_point(|child| child.first.borrow() <= key).saturating_sub(1)
}

/// The place of a key's entry, or else the place where it belongs.
pub fn find<K: Borrow<Q>, V, Q: Ord + ?Sized>(row: &[(K, V)], key: &Q) -> Result<usize, usize> {
    row.binary_search_by(|(other, _)| other.borrow().cmp(key))
}

impl<K: Clone + Ord, V: Clone + Weighted> Node<K, V> {
    /// The entry with the least key.
    pub fn first(&self) -> Option<&(K, V)> {
        match self {
            Self::Leaf(row) => row.first(),
            Self::Inner(children) => children.first().and_then(|child| child.node.first()),
        }
    }

    /// The sum of all weights.
    pub fn sum(&self) -> u128 {
        match self {
            Self::Leaf(row) => row.iter().map(|(_, value)| value.weight()).sum(),
            Self::Inner(children) => children.iter().map(|child| child.sum).sum(),
        }
    }

    /// The number of entries of a leaf, or of children of an inner node.
    pub fn width(&self) -> usize {
        match self {
            Self::Leaf(row) => row.len(),
            Self::Inner(children) => children.len(),
        }
    }

    /// Runs `change` on the value of a key, if there is one.
    pub fn change<R>(&mut self, key: &K, change: impl FnOnce(&mut V) -> R) -> Option<R> {
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

    /// Adds an entry. It replaces an entry with the same key. Returns the second half if the node
    /// became too wide.
    pub fn insert(&mut self, key: K, value: V) -> Option<Child<K, V>> {
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

    /// Removes the entry of a key.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<(K, V)>
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

    /// The entry with the greatest key.
    pub fn last(&self) -> Option<&(K, V)> {
        match self {
            Self::Leaf(row) => row.last(),
            Self::Inner(children) => children.last().and_then(|child| child.node.last()),
        }
    }

    /// Removes entries from the end that together weigh at most `left`. Returns the part of `left`
    /// that remains.
    pub fn cut(&mut self, mut left: u128) -> u128 {
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

    /// The bytes that the node holds outside itself.
    pub fn memory(&self) -> usize {
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
