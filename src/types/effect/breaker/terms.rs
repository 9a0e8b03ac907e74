//! The breakers under which a circuit is asked, as an effect carries them.

use crate::core::wire::{Corrupt, Reader, put_u64};
use crate::server::main_thread::MainThread;
use crate::types::cbcircuit::encoding::{put_rule, read_rule};
use crate::types::cbcircuit::rules::BreakerRef;
use crate::types::effect::header::flag;

/// The breakers under which a circuit is asked, as a difference from what its key has.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerTerms {
    /// The first epoch of a new circuit, if one begins in place of whatever the key held.
    pub begin: Option<u64>,
    /// The least number of an epoch that begins, if it is not only the time and the circuit's own
    /// epoch that decide.
    pub least_epoch: Option<u64>,
    /// The breaker that holds, unless it is the one in force already. Also that one, if a caller
    /// had chosen it and now something else does.
    pub rule: Option<BreakerRef>,
    /// The breaker that the call gave, unless it is the key's own already.
    pub given: Option<BreakerRef>,
    /// How long these two breakers hold.
    pub holds: Holds,
    /// True if a caller chose the breaker that holds. A report without a breaker then uses it, and
    /// asks no policy.
    pub from_caller: bool,
}

/// How long the breakers that an effect names hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// The breakers hold for this call. They become the key's if the call is admitted or opens the
    /// circuit.
    ForCall,
    /// The breakers hold from now on, whatever the answer is.
    FromNowOn,
    /// The breakers hold from now on, as in version 0.1: another trip forgets the results.
    Forgetting,
}

const RULE: u8 = 1;
const GIVEN: u8 = 2;
const GIVEN_IS_RULE: u8 = 4;
const BEGIN: u8 = 8;
const BY_CALL: u8 = 16;
const FROM_CALLER: u8 = 32;
/// Another breaker that comes in force keeps the results.
const KEEPS: u8 = 64;
const LEAST_EPOCH: u8 = 128;

impl BreakerTerms {
    /// The breakers that hold already, from now on.
    pub const STANDING: Self = Self {
        begin: None,
        least_epoch: None,
        rule: None,
        given: None,
        holds: Holds::FromNowOn,
        from_caller: false,
    };

    /// True if no breaker is named, and nobody is said to have chosen one.
    pub const fn names_nothing(&self) -> bool {
        self.rule.is_none() && self.given.is_none() && !self.from_caller
    }

    /// True if they say whether a caller chose the breaker that holds. Otherwise that stays.
    pub(super) const fn says_who_chose(&self) -> bool {
        self.rule.is_some() || self.from_caller
    }

    /// True if the call gave the breaker that holds.
    pub(super) fn given_is_rule(&self) -> bool {
        self.given.is_some() && self.given == self.rule
    }

    /// Returns the bits of the parts that are there; 0 if there are none.
    pub(super) fn parts(&self) -> u8 {
        let given_is_rule = self.given_is_rule();
        flag(self.rule.is_some(), RULE)
            | flag(self.given.is_some() && !given_is_rule, GIVEN)
            | flag(given_is_rule, GIVEN_IS_RULE)
            | flag(self.begin.is_some(), BEGIN)
            | flag(self.holds == Holds::ForCall, BY_CALL)
            | flag(self.from_caller, FROM_CALLER)
            | flag(self.rule.is_some() && self.holds == Holds::FromNowOn, KEEPS)
            | flag(self.least_epoch.is_some(), LEAST_EPOCH)
    }

    /// Appends these parts, which are not none.
    pub(super) fn put(&self, parts: u8, out: &mut Vec<u8>) {
        out.push(parts);
        if let Some(rule) = &self.rule {
            put_rule(out, rule);
        }
        if let Some(given) = self.given.as_ref().filter(|_| parts & GIVEN != 0) {
            put_rule(out, given);
        }
        for epoch in self.begin.into_iter().chain(self.least_epoch) {
            put_u64(out, epoch);
        }
    }

    /// Reads the parts that [`BreakerTerms::put`] wrote.
    pub(super) fn read(main: MainThread, rest: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let parts = rest.byte()?;
        let has = |part: u8| parts & part != 0;
        let rule = if has(RULE) { Some(read_rule(main, rest)?) } else { None };
        let given = match parts & (GIVEN | GIVEN_IS_RULE) {
            0 => None,
            GIVEN => Some(read_rule(main, rest)?),
            _ => rule.clone(),
        };
        let begin = if has(BEGIN) { Some(rest.u64()?) } else { None };
        let least_epoch = if has(LEAST_EPOCH) { Some(rest.u64()?) } else { None };
        let holds = match (has(BY_CALL), has(RULE) && !has(KEEPS)) {
            (true, _) => Holds::ForCall,
            (false, true) => Holds::Forgetting,
            (false, false) => Holds::FromNowOn,
        };
        Ok(Self { begin, least_epoch, rule, given, holds, from_caller: has(FROM_CALLER) })
    }
}
