//! The text that ties a result to the call that was admitted (CB.ACQUIRE calls
//! it the token; here it is a ticket, since the grammars call their texts
//! tokens). It names the epoch, so that a result of an earlier epoch is known
//! as stale, and for a trial its number, so that it settles no other one.

use crate::core::duration::whole_number;
use crate::core::token::TokenError;

/// Room for the longest ticket: `t-`, two numbers of up to 20 digits, `-`.
const ROOM: usize = 43;

/// Eight decimal digits.
const CHUNK: u64 = 100_000_000;

/// What an admitted call hands back with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ticket {
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

impl Ticket {
    /// Reads what [`Ticket::text`] wrote; nothing else is accepted.
    ///
    /// # Errors
    /// A [`TokenError`] for a text that no circuit ever gave out.
    pub fn parse(text: &[u8]) -> Result<Self, TokenError> {
        let fail = || TokenError::new("token", text, "not one that CB.ACQUIRE gave");
        let ticket = match text {
            [b'c', b'-', epoch @ ..] => number(epoch).map(|epoch| Self::Closed { epoch }),
            [b't', b'-', rest @ ..] => trial(rest),
            _ => None,
        };
        ticket.ok_or_else(fail)
    }

    /// As text, without the heap.
    pub fn text(self) -> TicketText {
        let mut text = TicketText { bytes: [0; ROOM], start: ROOM };
        match self {
            Self::Closed { epoch } => {
                text.prepend_number(epoch);
                text.prepend(b'-');
                text.prepend(b'c');
            }
            Self::Trial { epoch, trial } => {
                text.prepend_number(trial);
                text.prepend(b'-');
                text.prepend_number(epoch);
                text.prepend(b'-');
                text.prepend(b't');
            }
        }
        text
    }
}

/// `<epoch>-<trial>`.
fn trial(text: &[u8]) -> Option<Ticket> {
    let (epoch, trial) = text.split_at_checked(text.iter().position(|&b| b == b'-')?)?;
    let (_, trial) = trial.split_first()?;
    Some(Ticket::Trial { epoch: number(epoch)?, trial: number(trial)? })
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
    start: usize,
}

impl TicketText {
    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    fn prepend(&mut self, byte: u8) {
        if let Some(start) = self.start.checked_sub(1)
            && let Some(slot) = self.bytes.get_mut(start)
        {
            *slot = byte;
            self.start = start;
        }
    }

    fn prepend_number(&mut self, mut n: u64) {
        // Eight digits at a time: numbers of 32 bits divide faster.
        while n >= CHUNK {
            self.prepend_digits(n % CHUNK, 8);
            n /= CHUNK;
        }
        self.prepend_digits(n, 1);
    }

    /// `n`, below [`CHUNK`], with at least so many digits.
    fn prepend_digits(&mut self, n: u64, least: u32) {
        let mut n = u32::try_from(n).unwrap_or(0);
        let mut written = 0;
        while n > 0 || written < least {
            self.prepend(b'0' + u8::try_from(n % 10).unwrap_or(0));
            n /= 10;
            written += 1;
        }
    }
}
