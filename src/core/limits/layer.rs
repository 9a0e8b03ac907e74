//! What the state of a limit still shows of a grant.

/// The units granted at one time, as far as the state of a limit still shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The order of grants. It is greater for a later grant, and equal for grants that the state
    /// does not distinguish.
    pub position: u64,
    /// The most units that were granted at this position.
    pub units: u64,
    /// The most units that were granted later.
    pub above: u64,
}
