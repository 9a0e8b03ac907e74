//! The permit of an admitted call, and its text.
//!
//! The text ties a result to the call that was admitted. CB.ACQUIRE calls it the token. It names
//! the epoch, so that a result of an earlier epoch is recognised as stale. For a trial it also
//! names the trial's number, so that it settles no other one.

use crate::core::text::duration::whole_number;
use crate::core::text::token::TokenError;

/// The length of the longest text in bytes: `t-`, two numbers of up to 20 digits, `-`.
const ROOM: usize = 43;

/// A permit, which an admitted call gets and sends back with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permit {
    /// The permit of a call that a closed circuit admitted: `c-<epoch>`. All calls of an epoch
    /// share it.
    Closed {
        /// The epoch that admitted the call.
        epoch: u64,
    },
    /// The permit of a trial: `t-<epoch>-<trial>`.
    Trial {
        /// The epoch that admitted the trial.
        epoch: u64,
        /// The number of the trial within the epoch, counted from 1.
        trial: u64,
    },
}

impl Permit {
    /// Reads the text that [`Permit::text`] wrote. Nothing else is accepted.
    ///
    /// # Errors
    /// A [`TokenError`] for a text that no circuit ever gave out.
    pub fn parse(text: &[u8]) -> Result<Self, TokenError> {
        let fail = || TokenError::new("token", text, "CB.ACQUIRE gave no such token");
        let permit = match text {
            [b'c', b'-', epoch @ ..] => number(epoch).map(|epoch| Self::Closed { epoch }),
            [b't', b'-', rest @ ..] => trial(rest),
            _ => None,
        };
        permit.ok_or_else(fail)
    }

    /// The text of the permit. Takes no heap.
    pub fn text(self) -> PermitText {
        let mut text = PermitText { bytes: [0; ROOM], len: 0 };
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

/// Parses `<epoch>-<trial>`.
fn trial(text: &[u8]) -> Option<Permit> {
    let (epoch, trial) = text.split_at_checked(text.iter().position(|&b| b == b'-')?)?;
    let (_, trial) = trial.split_first()?;
    Some(Permit::Trial { epoch: number(epoch)?, trial: number(trial)? })
}

/// Parses a number without leading zeros, so that each permit has only one text.
fn number(digits: &[u8]) -> Option<u64> {
    match digits {
        [b'0', _, ..] => None,
        _ => whole_number(digits),
    }
}

/// The text of a permit in printable ASCII. It has at most 40 bytes as long as epochs come from a
/// clock (16 digits until the year 2286).
#[derive(Clone, Copy, Debug)]
pub struct PermitText {
    bytes: [u8; ROOM],
    len: usize,
}

impl PermitText {
    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Appends a part. There is room for every permit, so nothing is ever left out.
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
