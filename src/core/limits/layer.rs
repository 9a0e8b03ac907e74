//! What a state still tells of a grant.

/// What the state of a limit tells of units that were granted at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Equal for those that the state does not tell apart, greater for later ones.
    pub position: u64,
    /// The most units there.
    pub units: u64,
    /// The most units that were granted later.
    pub above: u64,
}
