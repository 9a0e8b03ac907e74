//! A change to a `cbcircuit`, as it is applied here and on every replica.
//!
//! A circuit is a function of what it was, its breaker, the time and what is
//! asked of it. So an effect says what was asked, with the master's time and
//! the breaker if it is another one; the same code answers here and there.

use crate::core::breaker::{
    CircuitState, Force, Permit, REASON_BYTES, Report, ReportOutcome, Reporter, Transition, Transitions,
};
use crate::core::retry_after::RetryAfter;
use crate::core::text::duration::LONGEST;
use crate::core::time::Micros;
use crate::core::wire::{Corrupt, Reader, put_bytes, put_u64, put_u128};
use crate::server::main_thread::MainThread;
use crate::types::cbcircuit::encoding;
use crate::types::cbcircuit::encoding::{put_rule, read_rule};
use crate::types::cbcircuit::rules::BreakerRef;
use crate::types::cbcircuit::{BreakerPin, CbCircuit, Contents, FROM_CALLER, GIVEN_BY_REPORT, epochs};
use crate::types::ratelimit::encoding::{put_until, read_until};
use crate::types::until::Until;

/// Something asked of a circuit at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerEffect<'a> {
    /// The master's time.
    pub now: Micros,
    /// Whether the key gets the expiry of its state (not under the debug clock).
    pub expires: bool,
    /// A new circuit begins, whatever the key held: its epochs start here.
    pub begin: Option<u64>,
    /// The breaker that holds, unless it is the one in force already.
    pub rule: Option<BreakerRef>,
    /// The breaker that the call gave, unless it is the key's own already.
    pub given: Option<BreakerRef>,
    /// For how long these two hold.
    pub holds: Holds,
    /// Whether a caller chose the breaker that holds: then a report without one
    /// goes by it, and asks no policy.
    pub from_caller: bool,
    /// What is asked.
    pub change: BreakerChange<'a>,
}

/// For how long the breakers that an effect names hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// For this call; they become the key's where it is admitted, or opens the
    /// circuit.
    ForCall,
    /// From now on, whatever the answer.
    FromNowOn,
    /// The same as version 0.1 did it: another trip forgets the results.
    Forgetting,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum BreakerChange<'a> {
    /// A call wants to go through.
    Acquire,
    /// A call has a result.
    Report(Report),
    /// Nothing; what time has done is recorded. Only version 0.1 asked this.
    Settle,
    /// Nothing; a clock that stepped back is recorded.
    StepBack,
    /// An operator forces a state.
    Force {
        /// Which.
        force: Force,
        /// Until when; `None` for good.
        until: Option<Micros>,
        /// What the operator said.
        reason: &'a [u8],
    },
    /// An operator resets the circuit.
    Reset,
    /// An operator fixes the breaker.
    Pin(BreakerPin),
    /// The pin goes.
    Unpin,
    /// The key becomes what this stored payload says, whatever it was.
    Become {
        /// A payload of [`encoding::VERSION`].
        payload: &'a [u8],
    },
}

/// What a circuit answered.
#[derive(Debug)]
pub struct AppliedBreaker {
    /// The state after it.
    pub state: CircuitState,
    /// To whether a call may go through: its ticket, if it may.
    pub ticket: Option<Permit>,
    /// When to ask again, if not.
    pub retry: RetryAfter,
    /// To a result: false when it was stale.
    pub counted: bool,
    /// Whether anything changed: only then is there anything to replicate.
    pub changed: bool,
    /// The new value, where the key had none.
    pub created: Option<CbCircuit>,
    /// How long the key is worth keeping, where anything changed.
    pub lifetime: Until,
    by_breaker: Transitions,
    by_change: Transitions,
}

impl AppliedBreaker {
    const fn unchanged(state: CircuitState) -> Self {
        Self {
            state,
            ticket: None,
            retry: RetryAfter::Now,
            counted: false,
            changed: false,
            created: None,
            lifetime: Until::Forever,
            by_breaker: Transitions::NONE,
            by_change: Transitions::NONE,
        }
    }

    /// What happened on the way, in that order.
    pub fn transitions(&self) -> impl Iterator<Item = Transition> + use<> {
        self.by_breaker.iter().chain(self.by_change.iter())
    }
}

/// The mark of a circuit's effect in the head byte that all effects share.
const CIRCUIT: u8 = 0x20;
const WITHOUT_EXPIRY: u8 = 0x80;
/// A byte follows that says what else does.
const WITH_MORE: u8 = 0x40;
const KIND: u8 = 0x1f;

const MORE_RULE: u8 = 1;
const MORE_GIVEN: u8 = 2;
const MORE_GIVEN_IS_RULE: u8 = 4;
const MORE_BEGIN: u8 = 8;
const MORE_BY_CALL: u8 = 16;
const MORE_FROM_CALLER: u8 = 32;
/// Another breaker in force keeps the results.
const MORE_KEEPS: u8 = 64;
const MORE: u8 =
    MORE_RULE | MORE_GIVEN | MORE_GIVEN_IS_RULE | MORE_BEGIN | MORE_BY_CALL | MORE_FROM_CALLER | MORE_KEEPS;

/// Whether this payload is of a circuit's effect.
pub fn is_circuit(payload: &[u8]) -> bool {
    payload.first().is_some_and(|head| head & CIRCUIT != 0)
}

impl<'a> BreakerEffect<'a> {
    /// The effect that rebuilds a key from its stored payload. Its expiry
    /// travels apart.
    pub const fn become_stored(payload: &'a [u8]) -> Self {
        Self {
            now: Micros(0),
            expires: false,
            begin: None,
            rule: None,
            given: None,
            holds: Holds::FromNowOn,
            from_caller: false,
            change: BreakerChange::Become { payload },
        }
    }

    /// Appends the payload of [`COMMAND`](crate::types::effect::ratelimit::COMMAND).
    pub fn encode(&self, out: &mut Vec<u8>) {
        let kind = match self.change {
            BreakerChange::Acquire => 1,
            BreakerChange::Report(_) => 2,
            BreakerChange::Settle => 3,
            BreakerChange::Force { .. } => 4,
            BreakerChange::Reset => 5,
            BreakerChange::Pin(_) => 6,
            BreakerChange::Unpin => 7,
            BreakerChange::Become { .. } => 8,
            BreakerChange::StepBack => 9,
        };
        let given_is_rule = self.given.is_some() && self.given == self.rule;
        let more = [
            (self.rule.is_some(), MORE_RULE),
            (self.given.is_some() && !given_is_rule, MORE_GIVEN),
            (given_is_rule, MORE_GIVEN_IS_RULE),
            (self.begin.is_some(), MORE_BEGIN),
            (self.holds == Holds::ForCall, MORE_BY_CALL),
            (self.from_caller, MORE_FROM_CALLER),
            (self.rule.is_some() && self.holds == Holds::FromNowOn, MORE_KEEPS),
        ]
        .into_iter()
        .fold(0, |all, (there, bit)| if there { all | bit } else { all });
        let mut head = kind | CIRCUIT;
        if !self.expires {
            head |= WITHOUT_EXPIRY;
        }
        if more != 0 {
            head |= WITH_MORE;
        }
        out.push(head);
        put_u64(out, self.now.0);
        if more != 0 {
            out.push(more);
        }
        if let Some(rule) = &self.rule {
            put_rule(out, rule);
        }
        if let Some(given) = self.given.as_ref().filter(|_| !given_is_rule) {
            put_rule(out, given);
        }
        if let Some(epoch) = self.begin {
            put_u64(out, epoch);
        }
        match &self.change {
            BreakerChange::Report(report) => put_report(out, report),
            BreakerChange::Force { force, until, reason } => {
                out.push(match force {
                    Force::Open => 0,
                    Force::Closed => 1,
                    Force::Auto => 2,
                });
                put_u64(out, until.map_or(0, |until| until.since(self.now).saturating_add(1)));
                put_bytes(out, reason);
            }
            BreakerChange::Pin(pin) => {
                put_rule(out, &pin.rule);
                put_until(out, pin.until);
            }
            BreakerChange::Become { payload } => put_bytes(out, payload),
            BreakerChange::Acquire
            | BreakerChange::Settle
            | BreakerChange::StepBack
            | BreakerChange::Reset
            | BreakerChange::Unpin => {}
        }
    }

    /// Reads what [`BreakerEffect::encode`] wrote.
    ///
    /// # Errors
    /// Where it is cut, malformed or unknown.
    pub fn decode(main: MainThread, payload: &'a [u8]) -> Result<Self, Corrupt> {
        let mut rest = Reader::new(payload);
        let head = rest.byte()?;
        if head & CIRCUIT == 0 {
            return Err(Corrupt("not the effect of a circuit"));
        }
        let now = Micros(rest.u64_to(Micros::MAX.0)?);
        let more = if head & WITH_MORE == 0 { 0 } else { rest.byte()? };
        if more & !MORE != 0 {
            return Err(Corrupt("unknown part of an effect"));
        }
        let has = |bit: u8| more & bit != 0;
        let rule = if has(MORE_RULE) { Some(read_rule(main, &mut rest)?) } else { None };
        let given = if has(MORE_GIVEN_IS_RULE) {
            rule.clone()
        } else if has(MORE_GIVEN) {
            Some(read_rule(main, &mut rest)?)
        } else {
            None
        };
        let begin = if has(MORE_BEGIN) { Some(rest.u64()?) } else { None };
        let change = match head & KIND {
            1 => BreakerChange::Acquire,
            2 => BreakerChange::Report(read_report(&mut rest)?),
            3 => BreakerChange::Settle,
            4 => BreakerChange::Force {
                force: match rest.byte()? {
                    0 => Force::Open,
                    1 => Force::Closed,
                    2 => Force::Auto,
                    _ => return Err(Corrupt("unknown force")),
                },
                until: rest.u64_to(LONGEST + 1)?.checked_sub(1).map(|us| now.plus(us)),
                reason: rest.bytes(REASON_BYTES)?,
            },
            5 => BreakerChange::Reset,
            6 => BreakerChange::Pin(BreakerPin {
                rule: read_rule(main, &mut rest)?,
                began: now,
                until: read_until(&mut rest)?,
            }),
            7 => BreakerChange::Unpin,
            8 => BreakerChange::Become { payload: rest.bytes(payload.len())? },
            9 => BreakerChange::StepBack,
            _ => return Err(Corrupt("unknown effect")),
        };
        rest.end()?;
        Ok(Self {
            now,
            expires: head & WITHOUT_EXPIRY == 0,
            begin,
            rule,
            given,
            holds: match (has(MORE_BY_CALL), has(MORE_RULE) && !has(MORE_KEEPS)) {
                (true, _) => Holds::ForCall,
                (false, true) => Holds::Forgetting,
                (false, false) => Holds::FromNowOn,
            },
            from_caller: has(MORE_FROM_CALLER),
            change,
        })
    }

    /// Asks it of the value of a key, or of a key without one.
    ///
    /// # Errors
    /// The effect does not fit: it counts on a circuit that is not there, or its
    /// payload is malformed. Nothing has changed then.
    pub fn apply(&self, main: MainThread, value: Option<&mut CbCircuit>) -> Result<AppliedBreaker, Corrupt> {
        if let BreakerChange::Become { payload } = self.change {
            let loaded = encoding::load(main, encoding::VERSION, payload)?;
            let mut applied = AppliedBreaker::unchanged(loaded.circuit().state());
            applied.changed = true;
            applied.lifetime = loaded.lifetime(self.now);
            applied.created = Some(loaded);
            return Ok(applied);
        }
        if let Some(epoch) = self.begin {
            let rule = self.rule.clone().ok_or(Corrupt("a circuit without a breaker"))?;
            let mut made = CbCircuit::new(rule, self.now, epoch);
            let mut applied = self.ask(main, &mut made);
            applied.changed = true;
            applied.lifetime = made.lifetime(self.now);
            epochs::learn(main, made.circuit().epoch());
            applied.created = Some(made);
            return Ok(applied);
        }
        value.map(|value| self.ask(main, value)).ok_or(Corrupt("it counts on a circuit that is not there"))
    }

    fn ask(&self, main: MainThread, value: &mut CbCircuit) -> AppliedBreaker {
        let now = self.now;
        let contents = &mut *value.0;
        let mut applied = AppliedBreaker::unchanged(contents.circuit.state());
        if let Some(pin) = &mut contents.pin {
            applied.changed |= pin.step_back(now);
        }
        let is_over = contents.pin.as_ref().is_some_and(|pin| !pin.until.lasts(now));
        if is_over && self.change != BreakerChange::StepBack {
            contents.pin = None;
            applied.changed = true;
        }
        let (begins, for_call) = (self.begin.is_some(), self.holds == Holds::ForCall);
        let other = self.rule.as_ref().filter(|rule| contents.rule != **rule);
        if begins || !for_call {
            self.put_in_force(contents, other, &mut applied);
        }
        let other = other.filter(|_| for_call);
        let breaker = other.unwrap_or(&contents.rule).breaker();
        let (in_force, circuit) = (contents.rule.breaker(), &mut contents.circuit);
        match &self.change {
            BreakerChange::Acquire => {
                let admission = match other {
                    None => circuit.acquire(breaker, now),
                    Some(_) => circuit.acquire_under(in_force, breaker, now),
                };
                applied.ticket = admission.ticket;
                applied.retry = admission.retry;
                applied.changed |= admission.changed;
                applied.by_change = admission.transitions;
                if for_call {
                    applied.changed |= self.became(contents, admission.adopted, admission.allowed, false);
                }
            }
            BreakerChange::Report(report) => {
                let reported = circuit.report_under(in_force, breaker, now, report);
                applied.counted = reported.applied;
                applied.changed |= reported.changed;
                applied.by_change = reported.transitions;
                if for_call {
                    applied.changed |= self.became(contents, reported.adopted, reported.applied, true);
                }
            }
            BreakerChange::StepBack => applied.changed |= circuit.step_back(now),
            BreakerChange::Settle => applied.take(&circuit.change_breaker(breaker, breaker, now)),
            BreakerChange::Force { force, until, reason } => {
                applied.take(&circuit.force(breaker, now, *force, *until, reason));
            }
            BreakerChange::Reset => applied.take(&circuit.reset(breaker, now)),
            BreakerChange::Pin(pin) => {
                contents.pin = Some(Box::new(pin.clone()));
                applied.changed = true;
            }
            BreakerChange::Unpin => applied.changed |= contents.pin.take().is_some(),
            BreakerChange::Become { .. } => {}
        }
        applied.state = contents.circuit.state();
        if applied.changed {
            contents.counted.update(main, &contents.circuit, contents.rule.breaker());
            epochs::learn(main, contents.circuit.epoch());
            applied.lifetime = value.lifetime(now);
        }
        applied
    }

    /// What the effect names is in force from now on, whatever the answer.
    fn put_in_force(
        &self,
        contents: &mut Contents,
        other: Option<&BreakerRef>,
        applied: &mut AppliedBreaker,
    ) {
        let from_caller = self.from_caller || self.given.is_some() && self.given == self.rule;
        if let Some(rule) = other {
            let (old, new) = (contents.rule.breaker(), rule.breaker());
            let circuit = &mut contents.circuit;
            let changed = if self.holds == Holds::Forgetting {
                circuit.change_breaker_0_1(old, new, self.now)
            } else {
                circuit.change_breaker(old, new, self.now)
            };
            applied.by_breaker = changed.transitions;
            contents.rule = rule.clone();
        }
        if other.is_some() || self.begin.is_some() || from_caller && !contents.is_marked(FROM_CALLER) {
            contents.mark(FROM_CALLER, from_caller);
            applied.changed = true;
        }
        if let Some(given) = self.given.as_ref().filter(|_| self.holds != Holds::ForCall) {
            contents.given = Some(given.clone());
            contents.mark(GIVEN_BY_REPORT, false);
            applied.changed = true;
        }
    }

    /// After a call that was admitted, a report that counted, or either that
    /// opened the circuit and so `adopted` its breaker: what of the names is the
    /// key's from now on. True when that changed anything.
    fn became(&self, contents: &mut Contents, adopted: bool, passed: bool, by_report: bool) -> bool {
        let mut changed = false;
        if adopted && let Some(rule) = &self.rule {
            contents.rule = rule.clone();
            contents.mark(FROM_CALLER, self.from_caller);
            changed = true;
        } else if passed && !by_report && self.rule.is_none() && self.from_caller {
            // A caller chose what a policy had.
            changed |= !contents.is_marked(FROM_CALLER);
            contents.mark(FROM_CALLER, true);
        }
        // What a report gives does not replace what an acquire gave.
        let replaces = !by_report || contents.given.is_none() || contents.is_marked(GIVEN_BY_REPORT);
        if let Some(given) = self.given.as_ref().filter(|_| passed && replaces) {
            contents.circuit.name(given.breaker());
            contents.given = Some(given.clone());
            contents.mark(GIVEN_BY_REPORT, by_report);
            changed = true;
        }
        changed
    }
}

impl AppliedBreaker {
    fn take(&mut self, change: &crate::core::breaker::StateTransition) {
        self.changed |= change.changed;
        self.by_change = change.transitions;
    }
}

const OUTCOME: u8 = 0b11;
const BY_CLOSED: u8 = 0b100;
const BY_TRIAL: u8 = 0b1000;
const TIMED: u8 = 0b1_0000;

/// Who reports follows.
const NAMED: u8 = 0b10_0000;

fn put_report(out: &mut Vec<u8>, report: &Report) {
    let outcome = match report.outcome {
        ReportOutcome::Ok => 0,
        ReportOutcome::Fail => 1,
        ReportOutcome::Ignore => 2,
    };
    let ticket = match report.ticket {
        None => 0,
        Some(Permit::Closed { .. }) => BY_CLOSED,
        Some(Permit::Trial { .. }) => BY_TRIAL,
    };
    let timed = if report.duration_us.is_some() { TIMED } else { 0 };
    let named = if report.reporter.is_named() { NAMED } else { 0 };
    out.push(outcome | ticket | timed | named);
    match report.ticket {
        None => {}
        Some(Permit::Closed { epoch }) => put_u64(out, epoch),
        Some(Permit::Trial { epoch, trial }) => {
            put_u64(out, epoch);
            put_u64(out, trial);
        }
    }
    if let Some(us) = report.duration_us {
        put_u64(out, us);
    }
    if report.reporter.is_named() {
        put_u128(out, report.reporter.bits());
    }
}

fn read_report(rest: &mut Reader<'_>) -> Result<Report, Corrupt> {
    let head = rest.byte()?;
    let outcome = match head & OUTCOME {
        0 => ReportOutcome::Ok,
        1 => ReportOutcome::Fail,
        2 => ReportOutcome::Ignore,
        _ => return Err(Corrupt("unknown outcome")),
    };
    let ticket = match head & (BY_CLOSED | BY_TRIAL) {
        0 => None,
        BY_CLOSED => Some(Permit::Closed { epoch: rest.u64()? }),
        BY_TRIAL => Some(Permit::Trial { epoch: rest.u64()?, trial: rest.u64()? }),
        _ => return Err(Corrupt("two tickets")),
    };
    let duration_us = if head & TIMED == 0 { None } else { Some(rest.u64_to(LONGEST)?) };
    let reporter = if head & NAMED == 0 { Reporter::UNNAMED } else { Reporter::from_bits(rest.u128()?) };
    Ok(Report { outcome, ticket, duration_us, reporter })
}
