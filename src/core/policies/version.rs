//! Versions of a policy, which tell the later of two changes.

use crate::core::wire::{Corrupt, Reader, put_bytes, put_u64};
use std::fmt;

/// The name of a node of a cluster: 160 bits, shown as 40 hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; Self::BYTES]);

impl NodeId {
    /// No node. A server outside a cluster uses it as its name.
    pub const NONE: Self = Self([0; Self::BYTES]);

    /// The number of hexadecimal digits in a name.
    pub const DIGITS: usize = 2 * Self::BYTES;

    const BYTES: usize = 20;

    /// Parses the 40 hexadecimal digits.
    ///
    /// ```
    /// use floodgate::core::policies::NodeId;
    ///
    /// let text = "07c37dfeb235213a872192d90877d0cd55635b91";
    /// assert_eq!(NodeId::parse(text.as_bytes()).unwrap().to_string(), text);
    /// assert_eq!(NodeId::parse(b"07c37dfeb235"), None);
    /// ```
    pub fn parse(digits: &[u8]) -> Option<Self> {
        if digits.len() != Self::DIGITS {
            return None;
        }
        let mut id = Self::NONE;
        for (byte, pair) in id.0.iter_mut().zip(digits.chunks_exact(2)) {
            for &digit in pair {
                let value = char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())?;
                *byte = *byte << 4 | value;
            }
        }
        Some(id)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// When a policy was set or deleted, and by which node. The greater version is the later.
///
/// The number is the real time in milliseconds, or one more than the largest number that the node
/// had seen. A server outside a cluster counts 1, 2, 3 instead. Policies that version 0.1 stored
/// have 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyVersion {
    /// A time in milliseconds since 1970, or a count.
    pub number: u64,
    /// The node that made the change.
    pub node: NodeId,
}

impl PolicyVersion {
    /// The version before all others.
    pub const FIRST: Self = Self { number: 0, node: NodeId::NONE };

    pub(in crate::core) fn put(self, out: &mut Vec<u8>) {
        put_u64(out, self.number);
        put_bytes(out, if self.node == NodeId::NONE { &[] } else { &self.node.0 });
    }

    pub(in crate::core) fn read(rest: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let number = rest.u64()?;
        let bytes = rest.bytes(NodeId::BYTES)?;
        let node = match bytes {
            [] => NodeId::NONE,
            _ => NodeId(bytes.try_into().map_err(|_| Corrupt("a node's name of another length"))?),
        };
        if node == NodeId::NONE && !bytes.is_empty() {
            // Equal versions have equal bytes.
            return Err(Corrupt("a node's name of zeros"));
        }
        Ok(Self { number, node })
    }
}

/// The author of a change. The author determines the version of the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangedBy {
    /// A server outside a cluster. It counts, and keeps no trace of deleted policies.
    Alone,
    /// A node of a cluster.
    Node {
        /// The name of the node.
        id: NodeId,
        /// The real time in milliseconds since 1970.
        now_ms: u64,
    },
}

impl ChangedBy {
    /// The version of a change, if `seen` is the highest number so far.
    pub fn version(self, seen: u64) -> PolicyVersion {
        let next = seen.saturating_add(1);
        match self {
            Self::Alone => PolicyVersion { number: next, node: NodeId::NONE },
            Self::Node { id, now_ms } => PolicyVersion { number: next.max(now_ms), node: id },
        }
    }
}
