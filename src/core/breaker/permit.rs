//! The text that ties a result to the call that was admitted (CB.ACQUIRE calls
//! it the token; here it is a ticket, since the grammars call their texts
//! tokens). It names the epoch, so that a result of an earlier epoch is known
//! as stale, and for a trial its number, so that it settles no other one.

use crate::core::text::duration::whole_number;
use crate::core::text::token::TokenError;

/// Room for the longest ticket: `t-`, two numbers of up to 20 digits, `-`.
const ROOM: usize = 43;

/// What an admitted call hands back with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permit {
    /// Admitted by a closed circuit: `c-<epoch>`. All calls of an epoch share it.
    Closed {
        /// The epoch that admitted it.
        epoch: u64,
    },
    /// Admitted as a trial: `t-<epoch>-<trial>`.
    Trial {
        /// The epoch that admitted it.
        epoch: u64,
        /// Its number within the epoch, from 1.
        trial: u64,
    },
}

impl Permit {
    /// Reads what [`Permit::text`] wrote; nothing else is accepted.
    ///
    /// # Errors
    /// A [`TokenError`] for a text that no circuit ever gave out.
    pub fn parse(text: &[u8]) -> Result<Self, TokenError> {
        let fail = || TokenError::new("token", text, "CB.ACQUIRE gave no such token");
        let ticket = match text {
            [b'c', b'-', epoch @ ..] => number(epoch).map(|epoch| Self::Closed { epoch }),
            [b't', b'-', rest @ ..] => trial(rest),
            _ => None,
        };
        ticket.ok_or_else(fail)
    }

    /// As text, without the heap.
    pub fn text(self) -> TicketText {
        let mut text = TicketText { bytes: [0; ROOM], len: 0 };
        match self {
            Self::Closed { epoch } => {
                text.push(b"c-");
                text.push_number(epoch);
            }
            Self::Trial { epoch, trial } => {
                text.push(b"t-");
                text.push_number(epoch);
                text.push(b"-");
                text.push_number(trial);
            }
        }
        text
    }
}

/// `<epoch>-<trial>`.
fn trial(text: &[u8]) -> Option<Permit> {
    let (epoch, trial) = text.split_at_checked(text.iter().position(|&b| b == b'-')?)?;
    let (_, trial) = trial.split_first()?;
    Some(Permit::Trial { epoch: number(epoch)?, trial: number(trial)? })
}

/// A number without leading zeros: one text for each ticket.
fn number(digits: &[u8]) -> Option<u64> {
    match digits {
        [b'0', _, ..] => None,
        _ => whole_number(digits),
    }
}

/// The text of a ticket: printable ASCII. At most 40 bytes as long as epochs
/// come from a clock (16 digits until the year 2286).
#[derive(Clone, Copy, Debug)]
pub struct TicketText {
    bytes: [u8; ROOM],
    len: usize,
}

impl TicketText {
    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// There is room for every ticket, so nothing is ever left out.
    fn push(&mut self, part: &[u8]) {
        let end = self.len + part.len();
        if let Some(room) = self.bytes.get_mut(self.len..end) {
            room.copy_from_slice(part);
            self.len = end;
        }
    }

    fn push_number(&mut self, n: u64) {
        self.push(itoa::Buffer::new().format(n).as_bytes());
    }
}
