//! Which of two changes of one policy is the later.

use crate::core::wire::{Corrupt, Reader, put_bytes, put_u64};
use std::fmt;

/// The name of a node of a cluster: 160 bits, which people see as 40 hex digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; Self::BYTES]);

impl NodeId {
    /// No node: what a server outside of clusters puts in the place.
    pub const NONE: Self = Self([0; Self::BYTES]);

    /// How many hex digits people see.
    pub const DIGITS: usize = 2 * Self::BYTES;

    const BYTES: usize = 20;

    /// Reads the 40 hex digits.
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

/// When a policy was set or deleted, and by whom: the greater is the later.
///
/// The number is the real time in milliseconds, or one more than any that the node
/// had seen. A server outside of clusters counts 1, 2, 3 instead; what version 0.1
/// kept has 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyVersion {
    /// Milliseconds, or a count.
    pub number: u64,
    /// Who made the change.
    pub node: NodeId,
}

impl PolicyVersion {
    /// Before every other.
    pub const FIRST: Self = Self { number: 0, node: NodeId::NONE };

    pub(in crate::core) fn put(self, out: &mut Vec<u8>) {
        put_u64(out, self.number);
        put_bytes(out, if self.node == NodeId::NONE { &[] } else { &self.node.0 });
    }

    pub(in crate::core) fn read(rest: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let number = rest.u64()?;
        let node = match rest.bytes(NodeId::BYTES)? {
            [] => NodeId::NONE,
            bytes => NodeId(bytes.try_into().map_err(|_| Corrupt("a node's name of another length"))?),
        };
        Ok(Self { number, node })
    }
}

/// Who makes a change, and so which version it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangedBy {
    /// A server outside of clusters, which counts and keeps no trace of what is deleted.
    Alone,
    /// A node of a cluster.
    Node {
        /// Its name.
        id: NodeId,
        /// Its real time.
        now_ms: u64,
    },
}

impl ChangedBy {
    /// The version of a change where `seen` is the highest number so far.
    pub fn version(self, seen: u64) -> PolicyVersion {
        let next = seen.saturating_add(1);
        match self {
            Self::Alone => PolicyVersion { number: next, node: NodeId::NONE },
            Self::Node { id, now_ms } => PolicyVersion { number: next.max(now_ms), node: id },
        }
    }
}
