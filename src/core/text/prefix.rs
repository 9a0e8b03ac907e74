//! A map that finds the longest of many prefixes of a name.
//!
//! It is a radix tree. A look-up walks down the name and never reads more bytes than the longest
//! prefix has, however many prefixes there are.

/// The length of the longest prefix in bytes. It bounds the depth of the tree, and so the depth of
/// recursion.
pub const MAX_PREFIX: usize = 256;

/// A map from prefixes to values.
#[derive(Clone, Debug)]
pub struct PrefixMap<T> {
    root: PrefixNode<T>,
}

#[derive(Clone, Debug)]
struct PrefixNode<T> {
    value: Option<T>,
    /// The edges in the order of their first bytes. No two edges share one.
    children: Vec<Edge<T>>,
}

#[derive(Clone, Debug)]
struct Edge<T> {
    /// The bytes of the edge, at least one.
    bytes: Box<[u8]>,
    node: PrefixNode<T>,
}

impl<T> Default for PrefixMap<T> {
    fn default() -> Self {
        Self { root: PrefixNode::leaf(None) }
    }
}

impl<T> PrefixMap<T> {
    /// Sets the value of `prefix`, which may be any bytes. The empty prefix matches every name.
    /// Returns the value that was there.
    pub fn insert(&mut self, prefix: &[u8], value: T) -> Option<T> {
        self.root.insert(prefix, value)
    }

    /// Removes the value of `prefix`.
    pub fn remove(&mut self, prefix: &[u8]) -> Option<T> {
        self.root.remove(prefix)
    }

    /// The value of exactly this prefix.
    pub fn get(&self, prefix: &[u8]) -> Option<&T> {
        let (mut node, mut rest) = (&self.root, prefix);
        while !rest.is_empty() {
            let edge = node.edge(rest)?;
            rest = rest.strip_prefix(&*edge.bytes)?;
            node = &edge.node;
        }
        node.value.as_ref()
    }

    /// The value of the longest prefix of `name`, among those for which `fits` returns true.
    ///
    /// ```
    /// use floodgate::core::text::prefix::PrefixMap;
    ///
    /// let mut policies = PrefixMap::default();
    /// policies.insert(b"api:", "everybody");
    /// policies.insert(b"api:admin:", "operators");
    /// assert_eq!(policies.longest(b"api:admin:7", |_| true), Some(&"operators"));
    /// assert_eq!(policies.longest(b"api:u7", |_| true), Some(&"everybody"));
    /// assert_eq!(policies.longest(b"web", |_| true), None);
    /// ```
    pub fn longest(&self, name: &[u8], fits: impl Fn(&T) -> bool) -> Option<&T> {
        let (mut node, mut rest) = (&self.root, name);
        let mut found = None;
        loop {
            found = node.value.as_ref().filter(|value| fits(value)).or(found);
            let Some(edge) = node.edge(rest) else { return found };
            let Some(after) = rest.strip_prefix(&*edge.bytes) else { return found };
            rest = after;
            node = &edge.node;
        }
    }
}

impl<T> PrefixNode<T> {
    const fn leaf(value: Option<T>) -> Self {
        Self { value, children: Vec::new() }
    }

    /// The place of the edge that starts as `name` does, or else the place where it belongs.
    fn place(&self, name: &[u8]) -> Result<usize, usize> {
        self.children.binary_search_by_key(&name.first(), |edge| edge.bytes.first())
    }

    fn edge(&self, name: &[u8]) -> Option<&Edge<T>> {
        self.children.get(self.place(name).ok()?)
    }

    fn insert(&mut self, prefix: &[u8], value: T) -> Option<T> {
        if prefix.is_empty() {
            return self.value.replace(value);
        }
        let place = match self.place(prefix) {
            Ok(place) => place,
            Err(place) => {
                let node = Self::leaf(Some(value));
                self.children.insert(place, Edge { bytes: prefix.into(), node });
                return None;
            }
        };
        let edge = self.children.get_mut(place)?;
        let shared = edge.bytes.iter().zip(prefix).take_while(|(a, b)| a == b).count();
        if let Some((head, tail)) = edge.bytes.split_at_checked(shared)
            && !tail.is_empty()
        {
            // The new prefix ends or branches in the middle of the edge, so a node is inserted
            // there.
            let (head, tail) = (head.into(), tail.into());
            let lower = std::mem::replace(&mut edge.node, Self::leaf(None));
            edge.node.children.push(Edge { bytes: tail, node: lower });
            edge.bytes = head;
        }
        edge.node.insert(prefix.get(shared..).unwrap_or_default(), value)
    }

    fn remove(&mut self, prefix: &[u8]) -> Option<T> {
        if prefix.is_empty() {
            return self.value.take();
        }
        let place = self.place(prefix).ok()?;
        let edge = self.children.get_mut(place)?;
        let removed = edge.node.remove(prefix.strip_prefix(&*edge.bytes)?)?;
        if edge.node.value.is_none() {
            // Remove a node that has neither a value nor children, and merge one that has a single
            // child.
            match edge.node.children.len() {
                0 => drop(self.children.remove(place)),
                1 => {
                    if let Some(lower) = edge.node.children.pop() {
                        edge.bytes = [&*edge.bytes, &*lower.bytes].concat().into();
                        edge.node = lower.node;
                    }
                }
                _ => {}
            }
        }
        Some(removed)
    }
}
