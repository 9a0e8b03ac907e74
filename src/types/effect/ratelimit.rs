//! A change to a `ratelimit`, as it is applied here and on every replica.
//!
//! The master decides once. What it decided becomes an effect that carries the
//! master's time; applying it to equal states gives equal states, whatever the
//! clock of the machine that applies it.

use crate::core::limits::{self, Filled, MAX_COUNT, MAX_LIMITS, State, Taken};
use crate::core::reservations::MAX_ID;
use crate::core::time::Micros;
use crate::core::usage::{Decided, Spend, UsageSeries, WorkOutcome};
use crate::core::wire::{Corrupt, Reader, put_bytes, put_u64, put_u128};
use crate::server::context;
use crate::server::main_thread::MainThread;
use crate::types::effect::limit_blocks::LimitBlocks;
use crate::types::intern;
use crate::types::intern::LimitsRef;
use crate::types::operator::{Block, Pin};
use crate::types::ratelimit::encoding;
use crate::types::ratelimit::encoding::{put_until, read_until};
use crate::types::ratelimit::layout::Full;
use crate::types::ratelimit::reservations::{self, Settlement};
use crate::types::ratelimit::{Lifetime, RateLimit};
use crate::types::until::{Lasting, Until};
use std::ffi::CStr;

/// The internal command that carries effects: `RL.EFFECT key payload [key payload …]`.
pub const COMMAND: &CStr = c"RL.EFFECT";

/// A change at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimitEffect<'a> {
    /// The master's time.
    pub now: Micros,
    /// Whether the key gets the expiry of its state (not under the debug clock).
    pub expires: bool,
    /// What changes.
    pub change: RateLimitChange<'a>,
}

/// What changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RateLimitChange<'a> {
    /// Units are taken. `limits` stands where the key is new or had others.
    Take {
        /// Canonical text of the limits, unless they are the key's own already.
        limits: Option<&'a str>,
        /// Units for each limit.
        taken: Taken,
    },
    /// Units are charged, whether they fit or not. `limits` as for `Take`.
    Charge {
        /// Canonical text of the limits, unless they are the key's own already.
        limits: Option<&'a str>,
        /// Units for each limit.
        taken: Taken,
        /// What the key counts as used, where it is tracked.
        used: Option<u64>,
    },
    /// Nothing is taken, but a clock that stepped back is recorded.
    Touch {
        /// As for `Take`: 0.1 let a denied call change the limits.
        limits: Option<&'a str>,
    },
    /// Nothing is taken, and limits close. A clock that stepped back is recorded.
    Close {
        /// Which, and for how long.
        blocks: LimitBlocks<'a>,
    },
    /// Up to so many units are given back on each limit, the newest first.
    GiveBack {
        /// Canonical text of the limits, unless they are the key's own.
        limits: Option<&'a str>,
        /// Units.
        units: u64,
        /// Units of a limit that counts calls.
        calls: u64,
    },
    /// Usage is forgotten.
    Reset,
    /// An operator fixes the limits.
    Pin {
        /// As written.
        text: &'a str,
        /// When that ends.
        until: Until,
    },
    /// The pin goes.
    Unpin,
    /// An operator blocks the key.
    Block {
        /// When that ends.
        until: Until,
        /// What the operator said.
        reason: &'a [u8],
    },
    /// The operator's block goes, and those that limits began.
    Unblock,
    /// Units are taken until they are settled.
    Reserve {
        /// As for `Take`.
        limits: Option<&'a str>,
        /// Units for each limit.
        taken: Taken,
        /// What it is known by.
        id: &'a [u8],
        /// Units asked for.
        cost: u64,
        /// When its time ends.
        end: Micros,
    },
    /// A reservation is settled.
    Settle {
        /// Which.
        id: &'a [u8],
        /// At what.
        how: Settlement,
    },
    /// A reservation ends at another time.
    Renew {
        /// Which.
        id: &'a [u8],
        /// When its time ends now.
        end: Micros,
    },
    /// The key becomes what this stored payload says, whatever it was.
    Become {
        /// A payload of [`encoding::VERSION`].
        payload: &'a [u8],
    },
    /// A decision is counted towards the key's usage.
    Count(Decided),
    /// The outcome of work is counted towards the key's usage.
    Record(WorkOutcome),
}

/// What is to be done with the key after an effect.
#[derive(Debug)]
pub enum AppliedRateLimit {
    /// The value changed in place.
    InPlace(Lifetime),
    /// There was no value; this is the new one.
    Created(RateLimit, Lifetime),
    /// There is nothing to change (an unblock of a missing key).
    Nothing,
}

/// Comes before the payload of an effect that created its key. What the receiver still
/// has there, the sender did not have any more.
const CREATED: u8 = 0x1f;

/// Appends the mark of an effect that created its key; the effect follows.
pub fn put_created(out: &mut Vec<u8>) {
    out.push(CREATED);
}

/// Whether the effect created its key, and the effect.
pub fn split_created(payload: &[u8]) -> (bool, &[u8]) {
    match payload {
        [CREATED, effect @ ..] => (true, effect),
        effect => (false, effect),
    }
}

const WITHOUT_EXPIRY: u8 = 0x80;
const WITH_LIMITS: u8 = 0x40;
const KIND: u8 = 0x1f;

impl<'a> RateLimitEffect<'a> {
    /// Appends the payload of [`COMMAND`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, limits) = match self.change {
            RateLimitChange::Take { limits, .. } => (1, limits),
            RateLimitChange::Charge { limits, .. } => (11, limits),
            RateLimitChange::Touch { limits } => (2, limits),
            RateLimitChange::GiveBack { limits, .. } => (19, limits),
            RateLimitChange::Reset => (4, None),
            RateLimitChange::Pin { .. } => (5, None),
            RateLimitChange::Unpin => (6, None),
            RateLimitChange::Block { .. } => (7, None),
            RateLimitChange::Unblock => (8, None),
            RateLimitChange::Become { .. } => (9, None),
            RateLimitChange::Close { .. } => (10, None),
            RateLimitChange::Reserve { limits, .. } => (16, limits),
            RateLimitChange::Settle { .. } => (17, None),
            RateLimitChange::Renew { .. } => (18, None),
            RateLimitChange::Count(_) => (24, None),
            RateLimitChange::Record(_) => (25, None),
        };
        let mut head = kind;
        if !self.expires {
            head |= WITHOUT_EXPIRY;
        }
        if limits.is_some() {
            head |= WITH_LIMITS;
        }
        out.push(head);
        put_u64(out, self.now.0);
        if let Some(text) = limits {
            put_bytes(out, text.as_bytes());
        }
        match self.change {
            RateLimitChange::Take { taken, .. } => put_taken(out, &taken),
            RateLimitChange::Charge { taken, used, .. } => {
                put_u64(out, used.map_or(0, |units| units.saturating_add(1)));
                put_taken(out, &taken);
            }
            RateLimitChange::Reserve { taken, id, cost, end, .. } => {
                put_bytes(out, id);
                put_u64(out, cost);
                put_u64(out, end.0);
                put_taken(out, &taken);
            }
            RateLimitChange::Settle { id, how } => {
                put_bytes(out, id);
                put_u64(
                    out,
                    match how {
                        Settlement::Release => 0,
                        Settlement::At(units) => units.saturating_add(1),
                    },
                );
            }
            RateLimitChange::Renew { id, end } => {
                put_bytes(out, id);
                put_u64(out, end.0);
            }
            RateLimitChange::GiveBack { units, calls, .. } => {
                put_u64(out, units);
                put_u64(out, calls);
            }
            RateLimitChange::Pin { text, until } => {
                put_bytes(out, text.as_bytes());
                put_until(out, until);
            }
            RateLimitChange::Block { until, reason } => {
                put_bytes(out, reason);
                put_until(out, until);
            }
            RateLimitChange::Become { payload } => put_bytes(out, payload),
            RateLimitChange::Close { blocks } => put_bytes(out, blocks.encoded()),
            RateLimitChange::Count(Decided { granted, denied }) => {
                put_u64(out, granted);
                put_u64(out, denied);
            }
            RateLimitChange::Record(outcome) => put_outcome(out, &outcome),
            RateLimitChange::Touch { .. }
            | RateLimitChange::Reset
            | RateLimitChange::Unpin
            | RateLimitChange::Unblock => {}
        }
    }

    /// Reads what [`RateLimitEffect::encode`] wrote.
    ///
    /// # Errors
    /// Where it is cut, malformed or unknown.
    pub fn decode(payload: &'a [u8]) -> Result<Self, Corrupt> {
        let mut rest = Reader::new(payload);
        let head = rest.byte()?;
        let now = Micros(rest.u64_to(Micros::MAX.0)?);
        let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).map_err(|_| Corrupt("not text"));
        let limits = if head & WITH_LIMITS == 0 { None } else { Some(text(rest.bytes(payload.len())?)?) };
        let change = match head & KIND {
            1 => RateLimitChange::Take { limits, taken: read_taken(&mut rest)? },
            2 => RateLimitChange::Touch { limits },
            // As 0.1 wrote it: calls are counted as units.
            3 => {
                let units = rest.u64()?;
                RateLimitChange::GiveBack { limits: None, units, calls: units }
            }
            19 => RateLimitChange::GiveBack { limits, units: rest.u64()?, calls: rest.u64()? },
            4 => RateLimitChange::Reset,
            5 => RateLimitChange::Pin {
                text: text(rest.bytes(payload.len())?)?,
                until: read_until(&mut rest)?,
            },
            6 => RateLimitChange::Unpin,
            7 => RateLimitChange::Block {
                reason: rest.bytes(encoding::LONGEST_REASON)?,
                until: read_until(&mut rest)?,
            },
            8 => RateLimitChange::Unblock,
            9 => RateLimitChange::Become { payload: rest.bytes(payload.len())? },
            10 => {
                let blocks = LimitBlocks::new(rest.bytes(payload.len())?);
                blocks.read()?;
                RateLimitChange::Close { blocks }
            }
            11 => {
                let used = rest.u64_to(MAX_COUNT + 1)?.checked_sub(1);
                RateLimitChange::Charge { limits, taken: read_taken(&mut rest)?, used }
            }
            16 => {
                let id = read_id(&mut rest)?;
                let cost = rest.u64_to(MAX_COUNT)?;
                let end = Micros(rest.u64_to(Micros::MAX.0)?);
                RateLimitChange::Reserve { limits, taken: read_taken(&mut rest)?, id, cost, end }
            }
            17 => {
                let id = read_id(&mut rest)?;
                let how = match rest.u64_to(MAX_COUNT + 1)? {
                    0 => Settlement::Release,
                    more => Settlement::At(more - 1),
                };
                RateLimitChange::Settle { id, how }
            }
            18 => {
                let id = read_id(&mut rest)?;
                RateLimitChange::Renew { id, end: Micros(rest.u64_to(Micros::MAX.0)?) }
            }
            24 => RateLimitChange::Count(Decided { granted: rest.u64()?, denied: rest.u64()? }),
            25 => RateLimitChange::Record(read_outcome(&mut rest)?),
            _ => return Err(Corrupt("unknown effect")),
        };
        rest.end()?;
        Ok(Self { now, expires: head & WITHOUT_EXPIRY == 0, change })
    }

    /// Applies it to the value of a key, or to a key without one.
    ///
    /// # Errors
    /// The effect does not fit: its texts are malformed, or it counts on limits
    /// that the key does not have. Nothing has changed then.
    pub fn apply(
        &self,
        main: MainThread,
        mut value: Option<&mut RateLimit>,
    ) -> Result<AppliedRateLimit, Corrupt> {
        let was_without_expiry = value.as_deref().is_some_and(RateLimit::is_without_expiry);
        let mut applied = self.apply_change(main, value.as_deref_mut())?;
        // A stored payload says itself how its key was changed last.
        if matches!(self.change, RateLimitChange::Become { .. }) {
            return Ok(applied);
        }
        match (&mut applied, value) {
            (AppliedRateLimit::Created(created, _), _) => created.set_without_expiry(!self.expires),
            (AppliedRateLimit::InPlace(lifetime), Some(value)) => {
                value.set_without_expiry(!self.expires);
                if was_without_expiry && let Lifetime::AsBefore(until) = *lifetime {
                    // The expiry is not there yet.
                    *lifetime = Lifetime::StillUntil(until);
                }
            }
            _ => {}
        }
        Ok(applied)
    }

    fn apply_change(
        &self,
        main: MainThread,
        mut value: Option<&mut RateLimit>,
    ) -> Result<AppliedRateLimit, Corrupt> {
        if let Some(value) = value.as_deref_mut() {
            self.record_clock(main, value)?;
        }
        let reserves = matches!(self.change, RateLimitChange::Reserve { .. });
        let reserved = value.as_ref().is_some_and(|value| value.has_reservations());
        if reserves || reserved {
            reservations::advance(context::now(main));
        }
        match self.change {
            RateLimitChange::Take { limits, taken } => {
                let limits = limits.map(|text| intern::stored(main, text)).transpose()?;
                let take = |rules: &[limits::Limit], states: &mut [State], now| {
                    limits::take(rules, states, now, &taken)
                };
                match value {
                    Some(value) if reserved => {
                        let applied = self.update(main, Some(value), limits, take)?;
                        value.grant(main, &taken);
                        Ok(applied)
                    }
                    value => self.update(main, value, limits, take),
                }
            }
            RateLimitChange::Charge { limits, taken, used } => {
                let limits = limits.map(|text| intern::stored(main, text)).transpose()?;
                let charge = |rules: &[limits::Limit], states: &mut [State], now| {
                    limits::charge_all(rules, states, now, &taken)
                };
                let applied = self.update(main, value.as_deref_mut(), limits, charge)?;
                if reserved && let Some(value) = value.as_deref_mut() {
                    value.grant(main, &taken);
                }
                Ok(match used {
                    Some(units) => self.count_used(main, applied, value, units),
                    None => applied,
                })
            }
            RateLimitChange::Touch { limits } => {
                let limits = limits.map(|text| intern::stored(main, text)).transpose()?;
                self.update(main, value, limits, limits::touch)
            }
            RateLimitChange::GiveBack { limits, units, calls } => {
                let named = limits.map(|text| intern::stored(main, text)).transpose()?;
                Ok(self.rebuild(main, value, |full| {
                    if let Some(limits) = named.or_else(|| full.limits.clone()) {
                        full.refund(main, self.now, limits.get(main).limits(), (units, calls));
                    }
                }))
            }
            RateLimitChange::Reset => Ok(self.rebuild(main, value, |full| {
                full.states.iter_mut().for_each(|state| *state = State::default());
                full.orphans.clear();
                full.reservations = None;
            })),
            RateLimitChange::Pin { text, until } => {
                check_pin(text)?;
                let pin = Pin { text: text.into(), lasting: Lasting::new(self.now, until) };
                Ok(self.rebuild_or_create(main, value, |full| full.pin = Some(Box::new(pin))))
            }
            RateLimitChange::Unpin => Ok(self.rebuild(main, value, |full| full.pin = None)),
            RateLimitChange::Block { until, reason } => {
                let block = Block { lasting: Lasting::new(self.now, until), reason: reason.into() };
                Ok(self.rebuild_or_create(main, value, |full| full.block = Some(Box::new(block))))
            }
            RateLimitChange::Unblock => Ok(self.rebuild(main, value, |full| {
                full.block = None;
                full.reopen();
            })),
            RateLimitChange::Close { blocks } => self.close(main, value, blocks),
            RateLimitChange::Reserve { limits, taken, id, cost, end } => {
                let limits = limits.map(|text| intern::stored(main, text)).transpose()?;
                let take = |rules: &[limits::Limit], states: &mut [State], now| {
                    limits::take(rules, states, now, &taken)
                };
                let reserve = |full: &mut Full| full.reserve(main, self.now, id, cost, end, &taken);
                if let Some(value) = value {
                    self.update(main, Some(value), limits, take)?;
                    return Ok(self.rebuild(main, Some(value), reserve));
                }
                Ok(match self.update(main, None, limits, take)? {
                    AppliedRateLimit::Created(mut created, _) => {
                        created.rebuild(reserve);
                        let lifetime = created.lifetime(main, self.now);
                        AppliedRateLimit::Created(created, lifetime)
                    }
                    other => other,
                })
            }
            RateLimitChange::Settle { id, how } => {
                Ok(self.rebuild(main, value, |full| full.settle(main, self.now, id, how)))
            }
            RateLimitChange::Renew { id, end } => Ok(self.rebuild(main, value, |full| {
                if let Some(reservations) = &mut full.reservations {
                    reservations.sweep(main, self.now);
                    reservations.renew(main, id, self.now, end);
                }
            })),
            RateLimitChange::Count(decided) => {
                Ok(self.count(main, value, |usage| usage.decided(self.now, decided)))
            }
            RateLimitChange::Record(outcome) => {
                Ok(self.count(main, value, |usage| usage.record(self.now, &outcome)))
            }
            RateLimitChange::Become { payload } => self.replace(main, value, payload),
        }
    }

    /// Records a clock that stepped back of everything that the change itself does not
    /// look at: a pin, a block, the usage of limits that are not listed.
    ///
    /// # Errors
    /// The change does not fit: nothing is recorded then.
    fn record_clock(&self, main: MainThread, value: &mut RateLimit) -> Result<(), Corrupt> {
        let touches_listed = match self.change {
            RateLimitChange::Become { .. } => return Ok(()),
            RateLimitChange::Take { limits, .. }
            | RateLimitChange::Charge { limits, .. }
            | RateLimitChange::Touch { limits }
            | RateLimitChange::Reserve { limits, .. } => limits.is_none(),
            // Counted after what was taken.
            RateLimitChange::Count(Decided { granted, .. }) => granted > 0,
            _ => false,
        };
        let beside = value.stepped_back_beside(self.now);
        let listed = !touches_listed && value.stepped_back(main, self.now);
        if !beside && !listed {
            return Ok(());
        }
        match self.change {
            RateLimitChange::Take { limits: Some(text), .. }
            | RateLimitChange::Charge { limits: Some(text), .. }
            | RateLimitChange::Touch { limits: Some(text) }
            | RateLimitChange::Reserve { limits: Some(text), .. } => {
                intern::stored(main, text)?;
            }
            RateLimitChange::Pin { text, .. } => check_pin(text)?,
            RateLimitChange::Close { blocks } => {
                blocks.read()?;
            }
            _ => {}
        }
        value.step_back_beside(self.now);
        if listed && let Some(id) = value.limits_id() {
            let set = intern::get(main, id);
            value.with_states_mut(|states| limits::touch(set.limits(), states, self.now));
        }
        Ok(())
    }

    /// The key becomes what a stored payload says.
    fn replace(
        &self,
        main: MainThread,
        value: Option<&mut RateLimit>,
        payload: &[u8],
    ) -> Result<AppliedRateLimit, Corrupt> {
        let loaded = encoding::load(main, encoding::VERSION, payload)?;
        // Whoever sent the payload wants the key, even where nothing of it
        // counts any more: it then ends by its expiry.
        let lifetime = match loaded.lifetime(main, self.now) {
            Lifetime::Over => Lifetime::Until(Until::At(self.now)),
            lasting => lasting,
        };
        match value {
            Some(value) => {
                *value = loaded;
                Ok(AppliedRateLimit::InPlace(lifetime))
            }
            None => Ok(AppliedRateLimit::Created(loaded, lifetime)),
        }
    }

    /// Begins blocks of limits.
    fn close(
        &self,
        main: MainThread,
        value: Option<&mut RateLimit>,
        blocks: LimitBlocks<'_>,
    ) -> Result<AppliedRateLimit, Corrupt> {
        let blocks = blocks.read()?;
        let Some(value) = value else { return Ok(AppliedRateLimit::Nothing) };
        self.update(main, Some(value), None, limits::touch)?;
        for (limit, block) in blocks {
            value.close(main, &limit, block);
        }
        Ok(AppliedRateLimit::InPlace(value.lifetime(main, self.now)))
    }

    /// Changes the usage of the given limits, or of the key's own.
    fn update(
        &self,
        main: MainThread,
        value: Option<&mut RateLimit>,
        wanted: Option<LimitsRef>,
        change: impl FnOnce(&[limits::Limit], &mut [State], Micros) -> Filled,
    ) -> Result<AppliedRateLimit, Corrupt> {
        match (value, wanted) {
            (Some(value), None) => {
                let mut filled = Filled { at: self.now, as_before: false };
                if let Some(id) = value.limits_id() {
                    let set = intern::get(main, id);
                    filled = value.with_states_mut(|states| change(set.limits(), states, self.now));
                }
                Ok(AppliedRateLimit::InPlace(if value.sweep(main, self.now) {
                    value.lifetime(main, self.now)
                } else {
                    value.lifetime_after(filled, self.now)
                }))
            }
            (Some(value), Some(wanted)) => {
                let set = wanted.get(main);
                let (mut states, orphans) = value.realigned(main, set.limits(), self.now);
                let _ = change(set.limits(), &mut states, self.now);
                drop(set);
                value.rebuild(|full| {
                    full.limits = Some(wanted);
                    full.states = states;
                    full.orphans = orphans;
                    full.sweep(main, self.now);
                });
                Ok(AppliedRateLimit::InPlace(value.lifetime(main, self.now)))
            }
            (None, Some(wanted)) => {
                let set = wanted.get(main);
                let mut states = vec![State::default(); set.limits().len()];
                let filled = change(set.limits(), &mut states, self.now);
                drop(set);
                let created = RateLimit::new(wanted, states);
                let lifetime = created.lifetime_after(filled, self.now);
                Ok(AppliedRateLimit::Created(created, lifetime))
            }
            (None, None) => Err(Corrupt("it counts on a key that is not there")),
        }
    }

    /// Adds to the usage of the key, which may be new.
    fn count(
        &self,
        main: MainThread,
        value: Option<&mut RateLimit>,
        add: impl FnOnce(&mut UsageSeries),
    ) -> AppliedRateLimit {
        if let Some(value) = value {
            value.count(self.now, add);
            return AppliedRateLimit::InPlace(value.lifetime(main, self.now));
        }
        let mut created = RateLimit::pack(crate::types::ratelimit::layout::Full::default());
        created.count(self.now, add);
        let lifetime = created.lifetime(main, self.now);
        AppliedRateLimit::Created(created, lifetime)
    }

    /// Adds units to what a key counts as used that was changed in place or created.
    fn count_used(
        &self,
        main: MainThread,
        applied: AppliedRateLimit,
        value: Option<&mut RateLimit>,
        units: u64,
    ) -> AppliedRateLimit {
        let units = i64::try_from(units).unwrap_or(i64::MAX);
        let add = |usage: &mut UsageSeries| usage.corrected(self.now, units);
        match applied {
            AppliedRateLimit::Created(mut created, _) => {
                created.count(self.now, add);
                let lifetime = created.lifetime(main, self.now);
                AppliedRateLimit::Created(created, lifetime)
            }
            AppliedRateLimit::InPlace(_) | AppliedRateLimit::Nothing => self.count(main, value, add),
        }
    }

    fn rebuild(
        &self,
        main: MainThread,
        value: Option<&mut RateLimit>,
        change: impl FnOnce(&mut Full),
    ) -> AppliedRateLimit {
        match value {
            Some(value) => {
                value.rebuild(change);
                AppliedRateLimit::InPlace(value.lifetime(main, self.now))
            }
            None => AppliedRateLimit::Nothing,
        }
    }

    fn rebuild_or_create(
        &self,
        main: MainThread,
        value: Option<&mut RateLimit>,
        change: impl FnOnce(&mut Full),
    ) -> AppliedRateLimit {
        if value.is_some() {
            return self.rebuild(main, value, change);
        }
        let mut full = Full::default();
        change(&mut full);
        let created = RateLimit::pack(full);
        let lifetime = created.lifetime(main, self.now);
        AppliedRateLimit::Created(created, lifetime)
    }
}

fn check_pin(text: &str) -> Result<(), Corrupt> {
    limits::Expression::parse(text.as_bytes()).map(drop).map_err(|_| Corrupt("malformed pin"))
}

fn put_taken(out: &mut Vec<u8>, taken: &Taken) {
    let all = taken.as_array();
    let used = all.iter().rposition(|&units| units > 0).map_or(0, |last| last + 1);
    all.iter().take(used).for_each(|&units| put_u64(out, units));
}

/// What is left of the payload.
fn read_taken(rest: &mut Reader<'_>) -> Result<Taken, Corrupt> {
    let mut units = [0; MAX_LIMITS];
    let mut count = 0;
    // Any number: CL.THROTTLE takes up to 2^63 - 1, and counting saturates.
    while !rest.is_empty() {
        *units.get_mut(count).ok_or(Corrupt("too many limits"))? = rest.u64()?;
        count += 1;
    }
    Ok(Taken::new(units))
}

fn read_id<'a>(rest: &mut Reader<'a>) -> Result<&'a [u8], Corrupt> {
    match rest.bytes(MAX_ID)? {
        [] => Err(Corrupt("empty id")),
        id => Ok(id),
    }
}

const OK: u8 = 1;
const CACHED: u8 = 2;
const TIMED: u8 = 4;
/// Spend is in pico-units, with a sign. Without it, as 0.1 wrote it: in nano-units.
const PICOS: u8 = 8;

fn put_outcome(out: &mut Vec<u8>, outcome: &WorkOutcome) {
    let flag = |holds: bool, flag: u8| if holds { flag } else { 0 };
    out.push(
        flag(outcome.ok, OK)
            | flag(outcome.cached, CACHED)
            | flag(outcome.duration_ms.is_some(), TIMED)
            | PICOS,
    );
    put_u64(out, outcome.count);
    put_u128(out, outcome.spend.zigzag());
    if let Some(ms) = outcome.duration_ms {
        put_u64(out, ms);
    }
}

fn read_outcome(rest: &mut Reader<'_>) -> Result<WorkOutcome, Corrupt> {
    let flags = rest.byte()?;
    if flags & !(OK | CACHED | TIMED | PICOS) != 0 {
        return Err(Corrupt("unknown outcome"));
    }
    Ok(WorkOutcome {
        ok: flags & OK != 0,
        cached: flags & CACHED != 0,
        count: rest.u64()?,
        spend: match (rest.u128()?, flags & PICOS) {
            (nanos, 0) => Spend::from_nanos(nanos),
            (picos, _) => Spend::from_zigzag(picos),
        },
        duration_ms: if flags & TIMED == 0 { None } else { Some(rest.u64()?) },
    })
}
