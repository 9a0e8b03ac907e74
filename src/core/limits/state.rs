//! The state of a limit: what it remembers between calls, and its encoding.

use super::algorithm::Algorithm;
use super::algorithms::algorithms;
use super::closing::Closed;
use super::rule::Rule;
use super::throttle::Arrival;
use crate::core::prefetch_hint::PrefetchHint;
use crate::core::wire::{Corrupt, Reader};

/// Usage that another rule keeps, as a limit sees it that would take it over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptState {
    /// The rule of the last grant. The units come back by this rule.
    pub(super) rule: Rule,
    pub(super) state: State,
    /// The state that the limit would have after a grant now.
    pub(super) carried: State,
}

/// The tag of a state with a block. It is above the tags of the algorithms.
const CLOSED: u8 = 64;

/// The block of a limit, and its units in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedState {
    pub(super) block: Closed,
    /// The units in use. This is never another `ClosedState`.
    pub(super) units: State,
}

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident($rule:ty) = $tag:literal,)+) => {
        /// The state that one limit remembers between calls.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub enum State {
            /// Nothing is used.
            #[default]
            Fresh,
            $($(#[$doc])* $name(<$rule as Algorithm>::State),)+
            /// The usage is kept under another rule, until units are taken under the limit's own.
            /// Only looks and decisions see this state; no key holds it.
            Kept(Box<KeptState>),
            /// The limit has a block that lasts or is remembered.
            Closed(Box<ClosedState>),
        }

        impl State {
            /// Appends the lossless encoding: a tag, then what the algorithm writes.
            pub fn write(&self, out: &mut Vec<u8>) {
                match self {
                    Self::Fresh => out.push(0),
                    $(Self::$name(state) => {
                        out.push($tag);
                        <$rule as Algorithm>::write(state, out);
                    })+
                    Self::Kept(kept) => kept.carried.write(out),
                    Self::Closed(closed) => {
                        out.push(CLOSED);
                        closed.block.write(out);
                        closed.units.write(out);
                    }
                }
            }

            /// Reads the state that [`State::write`] wrote under `rule`. The result equals what was
            /// written.
            ///
            /// # Errors
            /// [`Corrupt`] for the state of another algorithm, and for one that the rule's
            /// algorithm cannot have left behind.
            pub fn read(reader: &mut Reader<'_>, rule: &Rule) -> Result<Self, Corrupt> {
                match reader.byte()? {
                    CLOSED if rule.can_close() => {
                        let block = Closed::read(reader)?;
                        let tag = reader.byte()?;
                        Ok(Self::Closed(Box::new(ClosedState { block, units: Self::read_units(tag, reader, rule)? })))
                    }
                    tag => Self::read_units(tag, reader, rule),
                }
            }

            fn read_units(tag: u8, reader: &mut Reader<'_>, rule: &Rule) -> Result<Self, Corrupt> {
                match (tag, rule) {
                    (0, _) => Ok(Self::Fresh),
                    $(($tag, Rule::$name(rule)) => rule.read(reader).map(Self::$name),)+
                    _ => Err(Corrupt("state of another algorithm")),
                }
            }

            /// The bytes held outside the value itself.
            pub fn heap_bytes(&self) -> usize {
                match self {
                    Self::Fresh => 0,
                    $(Self::$name(state) => <$rule as Algorithm>::heap_bytes(state),)+
                    Self::Kept(kept) => size_of::<KeptState>() + kept.carried.heap_bytes(),
                    Self::Closed(closed) => size_of::<ClosedState>() + closed.units.heap_bytes(),
                }
            }

            /// The memory outside the state that a grant most likely writes.
            #[inline]
            pub fn prefetch_hint(&self) -> Option<PrefetchHint> {
                match self {
                    Self::Fresh => None,
                    $(Self::$name(state) => <$rule as Algorithm>::prefetch_hint(state),)+
                    Self::Kept(_) => None,
                    Self::Closed(closed) => closed.units.prefetch_hint(),
                }
            }
        }
    };
}
algorithms!(states);

impl State {
    /// The arrival time of a `CL.THROTTLE` limit. For any other limit it is that of a fresh
    /// one.
    pub fn arrival(&self) -> Arrival {
        if let Self::Throttle(arrival) = self { *arrival } else { Arrival::default() }
    }

    /// The state of a `CL.THROTTLE` limit with this arrival time.
    pub fn of_arrival(arrival: Arrival) -> Self {
        if arrival == Arrival::default() { Self::Fresh } else { Self::Throttle(arrival) }
    }
}

// The key of one limit must stay small, and arrays of states tightly packed.
const _: () = assert!(size_of::<State>() <= 40 && align_of::<State>() == 8);
