//! A limit that closed itself: its units in use go on under its block.

use super::algorithm::Filled;
use super::closing::Closed;
use super::rule::Rule;
use super::state::{ClosedState, State};
use crate::core::time::Micros;

impl Rule {
    /// The moment at which nothing is in use and no block is remembered, if nobody asks, by
    /// the clock as it is now.
    pub(super) fn over_at(&self, state: &State, now: Micros) -> Micros {
        let full = self.full_after(state, now, 0);
        state.block().map_or(full, |block| block.seen_at(now).forgotten_at().max(full))
    }

    /// The same as `take`, for a closed limit.
    #[cold]
    pub(super) fn take_closed(&self, state: &mut State, now: Micros, units: u64) -> Filled {
        if let State::Closed(closed) = state
            && units > 0
        {
            closed.block.note_grant(now);
        }
        self.change_closed(state, now, units)
    }

    /// The same as `take`, for units that were not granted. The units for lack of which a
    /// block began are then back later. The block is dropped once it is forgotten.
    pub(super) fn change_closed(&self, state: &mut State, now: Micros, units: u64) -> Filled {
        let State::Closed(closed) = state else { return self.take(state, now, units) };
        let Filled { at, .. } = self.take(&mut closed.units, now, units);
        self.note_units(&mut closed.block, &closed.units, now);
        let forgotten = closed.block.forgotten_at();
        if forgotten <= now {
            // The block may have been remembered for longer before.
            *state = std::mem::take(&mut closed.units);
            return Filled { at, as_before: false };
        }
        Filled { at: at.max(forgotten), as_before: false }
    }

    /// Combines `units` with the block, unless that is forgotten.
    pub(super) fn keep_block(&self, mut block: Closed, units: State, now: Micros) -> State {
        self.note_units(&mut block, &units, now);
        if !self.can_close() || block.is_forgotten(now) {
            return units;
        }
        State::Closed(Box::new(ClosedState { block, units }))
    }

    /// Records on a block when its units are back, as of a change at `now` that left `units`
    /// in use.
    pub(super) fn note_units(&self, block: &mut Closed, units: &State, now: Micros) {
        let target = self.capacity().unwrap_or(0).saturating_sub(block.need());
        block.units_back_at(now, self.falls_to(units, now, target));
    }
}

impl State {
    /// The block that lasts or is remembered.
    #[inline]
    pub const fn block(&self) -> Option<&Closed> {
        if let Self::Closed(closed) = self { Some(&closed.block) } else { None }
    }

    /// Begins a block in place of an earlier one.
    pub fn close(&mut self, block: Closed) {
        if let Self::Closed(closed) = self {
            closed.block = block;
        } else {
            let units = std::mem::take(self);
            *self = Self::Closed(Box::new(ClosedState { block, units }));
        }
    }

    /// Ends the block and forgets it.
    pub fn reopen(&mut self) {
        if let Self::Closed(closed) = self {
            *self = std::mem::take(&mut closed.units);
        }
    }
}
