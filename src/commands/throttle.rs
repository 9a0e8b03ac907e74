//! CL.THROTTLE: the command of redis-cell, with the same replies, on our own type. RL.THROTTLE is
//! the same command. GCRA is one for which client libraries have calls.

use crate::commands::arguments::{KEY, number};
use crate::commands::cursor::ArgCursor;
use crate::commands::hints;
use crate::commands::options::Options;
use crate::commands::quota_headers::seconds;
use crate::core::limits::throttle::{Arrival, ThrottleReply};
use crate::core::limits::{
    self, Limit, Limits, Request, SecondsRounding, State, Taken, Throttle, ThrottleError, ThrottlePeriod,
};
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::core::wait_queue::WaiterClass;
use crate::limiter::Error;
use crate::limiter::acquire::{AcquireDecision, decide_until};
use crate::limiter::apply::{self, refused};
use crate::limiter::ends::{self, Retry};
use crate::limiter::reply::RateLimitReply;
use crate::limiter::resolve::{KeyView, Source};
use crate::limiter::track::{self, Recording};
use crate::observe::{metrics, top};
use crate::queue;
use crate::server::context::Context;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::reply::{self, signed};
use crate::server::keys::key::Key;
use crate::server::load::argument::Argument;
use crate::server::main_thread::MainThread;
use crate::settings;
use crate::types::effect::ratelimit::{RateLimitChange, TakeUnits};
use crate::types::intern::{self, LimitsRef};
use crate::types::ratelimit::{RateLimit, encoding};
use crate::types::until::Until;
use std::ffi::CStr;

/// The arguments of a call.
#[derive(Clone, Copy, Debug)]
struct ThrottleCall<'a> {
    key: Arg<'a>,
    rule: Throttle,
    quantity: u64,
    rounding: SecondsRounding,
    /// The keyspace event of a change, which names the command.
    event: &'static CStr,
}

/// Parses `key max_burst count_per_period period [quantity]`.
fn parse<'a>(args: Args<'a>, event: &'static CStr) -> Result<ThrottleCall<'a>, Error> {
    let mut cursor = ArgCursor::new(args);
    let key = cursor.required()?;
    let max_burst = integer("max_burst", cursor.required()?)?;
    let count = integer("count_per_period", cursor.required()?)?;
    let period = integer("period", cursor.required()?)?;
    let quantity = cursor.take().map_or(Ok(1), |arg| integer("quantity", arg))?;
    cursor.no_more()?;
    let quantity = u64::try_from(quantity)
        .map_err(|_| Error::Range { name: "quantity", expected: "0 or more".to_owned() })?;
    let rule = Throttle::new(max_burst, count, period).map_err(no_rate)?;
    Ok(ThrottleCall { key, rule, quantity, rounding: SecondsRounding::Cell, event })
}

/// `key max_burst count_per_period period [quantity]` of CL.THROTTLE and RL.THROTTLE.
pub const CELL: &[Argument] = &[
    KEY,
    Argument::integer("max_burst"),
    Argument::integer("count_per_period"),
    Argument::integer("period"),
    Argument::integer("quantity").optional(),
];
/// `key max_burst tokens_per_period period [TOKENS n]` of GCRA.
pub const GCRA: &[Argument] = &[
    KEY,
    Argument::integer("max_burst"),
    Argument::integer("tokens_per_period"),
    Argument::double("period"),
    Argument::integer("n").after("TOKENS").optional(),
];

/// Parses `key max_burst tokens_per_period period [TOKENS n]`.
fn parse_gcra(args: Args<'_>) -> Result<ThrottleCall<'_>, Error> {
    let mut cursor = ArgCursor::new(args);
    let key = cursor.required()?;
    let max_burst = within("max_burst", cursor.required()?, 0)?;
    let count = within("tokens_per_period", cursor.required()?, 1)?;
    let period = ThrottlePeriod::parse(cursor.required()?.bytes()).ok_or_else(|| Error::Range {
        name: "period",
        expected: "a number of seconds from 0.000000001 on, such as 60 or 0.5".to_owned(),
    })?;
    let mut quantity = 1;
    while let Some((option, value)) = cursor.option(const { &Options::of(GCRA) })? {
        match option {
            "TOKENS" => quantity = within(option, value, 1)?,
            _ => return Err(hints::not_taken(option)),
        }
    }
    let rule = Throttle::over(max_burst, count, period).map_err(no_rate)?;
    let quantity = quantity.unsigned_abs();
    Ok(ThrottleCall { key, rule, quantity, rounding: SecondsRounding::Up, event: c"gcra" })
}

fn no_rate(error: ThrottleError) -> Error {
    Error::Other(error.to_string())
}

/// `CL.THROTTLE key max_burst count_per_period period [quantity]` replies the five integers of
/// redis-cell. The period is in seconds.
///
/// # Errors
/// Malformed arguments, or a key of another type that redis-cell did not leave.
pub fn cl_throttle(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    throttle(ctx, parse(args, c"cl.throttle")?)
}

/// `RL.THROTTLE key max_burst count_per_period period [quantity]`: the same as [`cl_throttle`],
/// under a name that redis-cell does not use.
///
/// # Errors
/// The same as [`cl_throttle`].
pub fn rl_throttle(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    throttle(ctx, parse(args, c"rl.throttle")?)
}

/// `GCRA key max_burst tokens_per_period period [TOKENS n]`: the same as [`cl_throttle`], with a
/// period in seconds that may have decimals.
///
/// # Errors
/// The same as [`cl_throttle`].
pub fn gcra(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    throttle(ctx, parse_gcra(args)?)
}

fn throttle(ctx: &Context<'_>, call: ThrottleCall<'_>) -> Result<(), Error> {
    // The key is opened before the clock is read, so that the prefetch of its value overlaps with
    // that.
    let mut key = ctx.write(call.key);
    let now = ctx.now();
    let recording = Recording { ctx, now, event: call.event };
    let answer = match left_by_cell(&key, now) {
        Some(state) => call.adopt(recording, &mut key, state)?,
        None => call.ask(recording, &mut key)?,
    };
    // A call with a quantity of 0 only looks.
    if call.quantity > 0 {
        metrics::count(ctx.main(), |m| {
            if answer.limited { &mut m.throttle_denied } else { &mut m.throttle_granted }
        });
        top::decided(ctx.main(), call.key.bytes(), !answer.limited, now);
    }
    let ThrottleReply { limited, limit, remaining, retry_after_s, reset_after_s } = answer;
    reply::integers(ctx, &[limited.into(), limit, remaining, retry_after_s, reset_after_s]);
    Ok(())
}

/// The decision on a call.
#[derive(Debug)]
enum ThrottleDecision {
    /// The limit that the arguments make decides.
    Caller {
        reply: ThrottleReply,
        /// The limit, if the key used another one last or is new.
        other: Option<LimitsRef>,
        is_blocked: bool,
        /// True for a denial after the clock stepped back. It is recorded, so that the rest of a wait
        /// is counted from now.
        stepped_back: bool,
    },
    /// The limits that the server has for the key decide, which go before the caller's.
    Server(AcquireDecision),
}

impl ThrottleDecision {
    fn reply(&self) -> ThrottleReply {
        match self {
            Self::Caller { reply, .. } => *reply,
            Self::Server(decision) => answer_of(&decision.reply),
        }
    }
}

impl ThrottleCall<'_> {
    /// The same call, which only looks.
    const fn look(&self) -> Self {
        Self { quantity: 0, ..*self }
    }

    /// The same request, for limits that the server has for the key.
    fn request(&self) -> Request {
        Request { calls: u64::from(self.quantity > 0), ..Request::of(self.quantity) }
    }

    /// Returns the decision of the limit that the arguments make.
    fn by_rule(&self, state: &State, now: Micros) -> ThrottleReply {
        self.rule.ask(&state.arrival(), now, self.quantity, self.rounding)
    }

    /// The limit of the arguments; `None` if it is the key's own last limit.
    fn other(&self, found: KeyView<'_>) -> Result<Option<LimitsRef>, Error> {
        let limit = Limit::throttle(self.rule);
        // The limits are compared first, so that none must be written out and looked up.
        let is_own = |id| matches!(intern::get(found.main, id).limits(), [only] if *only == limit);
        if found.value.and_then(RateLimit::limits_id).is_some_and(is_own) {
            return Ok(None);
        }
        interned(found.main, limit).map(Some)
    }

    /// Decides on the value of a key, without changing it.
    fn decide(&self, found: KeyView<'_>) -> Result<ThrottleDecision, Error> {
        if server_decides(found)? {
            let decision = decide_until(found, None, &self.request(), |then| self.wait(then))?;
            return Ok(ThrottleDecision::Server(decision));
        }
        let other = self.other(found)?;
        let state = state_under(found, other.as_ref());
        let mut reply = self.by_rule(&state, found.now);
        let block = found.value.and_then(|value| value.block(found.now));
        if let Some(block) = block {
            reply = self.blocked(&state, reply, block.validity.until(found.now), found.now);
        }
        if let (false, Some(other)) = (reply.limited || self.quantity == 0, &other) {
            found.refuse_too_many(other.get(found.main).limits())?;
        }
        let stepped_back = reply.limited && found.stepped_back();
        Ok(ThrottleDecision::Caller { reply, other, is_blocked: block.is_some(), stepped_back })
    }

    /// Calls `make` with the change that the decision asks for, if there is one, and counts the
    /// decision. A look changes and counts nothing.
    fn record(
        &self,
        main: MainThread,
        decision: &ThrottleDecision,
        make: impl FnOnce(RateLimitChange<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match decision {
            _ if self.quantity == 0 => {}
            ThrottleDecision::Server(decision) => {
                decision.change(main, make)?;
                decision.count(main);
            }
            ThrottleDecision::Caller { reply, other, .. } if !reply.limited => {
                let text = other.as_ref().map(|other| other.text(main));
                let taken = Taken::new([self.quantity]);
                make(RateLimitChange::Take(TakeUnits { limits: text.as_deref(), taken }))?;
            }
            ThrottleDecision::Caller { is_blocked, stepped_back, .. } => {
                if *stepped_back {
                    make(RateLimitChange::Touch(None))?;
                }
                if *is_blocked {
                    metrics::count(main, |m| &mut m.blocked_denied);
                }
            }
        }
        Ok(())
    }

    /// Decides on a key that is a limiter, or does not exist. If the key has a queue, nothing is
    /// taken: the request waits for that, and then for its own units.
    fn ask(&self, recording: Recording<'_, '_>, key: &mut Key<'_>) -> Result<ThrottleReply, Error> {
        let Recording { ctx, now, .. } = recording;
        let behind = queue::retry_behind(ctx, key, WaiterClass::Ordinary, now, |then| self.wait(then))?;
        let asked = if behind.is_some() { self.look() } else { *self };
        let held = key.value::<RateLimit>()?;
        let counts = self.quantity > 0 && track::counts(ctx.main(), held.as_deref(), false);
        let mut decision = asked.decide(KeyView::of(ctx, self.key, held.as_deref(), now))?;
        if let (ThrottleDecision::Server(decision), 1..) = (&mut decision, asked.quantity) {
            decision.close();
        }
        let mut reply = decision.reply();
        if let Some(retry) = behind {
            let retry_after_s = seconds_until(retry);
            reply = ThrottleReply { limited: true, remaining: 0, retry_after_s, ..reply };
        }
        let granted = if reply.limited { 0 } else { self.quantity };
        let counted = counts.then(|| track::decided(self.quantity, granted));
        recording.alone(key, counted, |make| asked.record(ctx.main(), &decision, make))?;
        Ok(reply)
    }

    /// Decides on a string that redis-cell left. If the request is granted, the key becomes a
    /// limiter with the usage that redis-cell counted.
    fn adopt(
        &self,
        recording: Recording<'_, '_>,
        key: &mut Key<'_>,
        state: State,
    ) -> Result<ThrottleReply, Error> {
        let Recording { ctx, now, .. } = recording;
        let main = ctx.main();
        let mut value = RateLimit::new(interned(main, Limit::throttle(self.rule))?, vec![state]);
        let decision = self.decide(KeyView::of(ctx, self.key, Some(&value), now))?;
        let reply = decision.reply();
        self.record(main, &decision, |change| {
            if reply.limited {
                return Ok(());
            }
            apply::effect(ctx, now, change).apply(main, Some(&mut value)).map_err(refused)?;
            let mut payload = Vec::new();
            encoding::save(&value, main, &mut payload);
            recording.change(key, RateLimitChange::Become(&payload))
        })?;
        Ok(reply)
    }

    /// The time that the request waits from `then.now` on if there is no queue.
    fn wait(&self, then: KeyView<'_>) -> Result<RetryAfter, Error> {
        if server_decides(then)? {
            let decision = decide_until(then, None, &self.request(), |later| self.wait(later))?;
            return Ok(decision.reply.status.retry);
        }
        let limits = [Limit::throttle(self.rule)];
        let states = match then.value {
            Some(value) => value.seen_by(then.main, &limits, then.now),
            None => vec![State::default()],
        };
        let retry = limits::decide(&limits, &states, then.now, &self.request()).status.retry;
        Ok(ends::across(then, Retry { limits: retry, pinned: false }, |later| self.wait(later)))
    }

    /// The reply on a blocked key. The wait is the longer of those for the block and for the limit.
    fn blocked(&self, state: &State, answer: ThrottleReply, until: Until, now: Micros) -> ThrottleReply {
        let reset_after_s = self.look().by_rule(state, now).reset_after_s;
        let never = answer.limited && answer.retry_after_s < 0;
        let retry_after_s = match until {
            Until::At(end) if !never => signed(seconds(end.since(now))).max(answer.retry_after_s),
            _ => -1,
        };
        ThrottleReply { limited: true, remaining: 0, retry_after_s, reset_after_s, ..answer }
    }
}

/// The state of the call's limit.
fn state_under(found: KeyView<'_>, other: Option<&LimitsRef>) -> State {
    let Some(value) = found.value else { return State::default() };
    let state = match other {
        None => value.with_states(|states| states.first().cloned()),
        Some(other) => value.seen_by(found.main, other.get(found.main).limits(), found.now).pop(),
    };
    state.unwrap_or_default()
}

/// True if the server's limits decide: a pin holds, or callers may not choose limits.
fn server_decides(found: KeyView<'_>) -> Result<bool, Error> {
    if !settings::caller_limits(found.main) {
        return Ok(true);
    }
    if found.value.and_then(|value| value.pin(found.now)).is_none() {
        return Ok(false);
    }
    match found.resolve(None) {
        Ok((_, source)) => Ok(source == Source::Pin),
        // If a pin is passed over, the caller's limits hold.
        Err(Error::NoLimits) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Turns the six integers of our reply into the five of redis-cell's.
fn answer_of(reply: &RateLimitReply) -> ThrottleReply {
    let status = &reply.status;
    let limited = status.retry > RetryAfter::Now;
    ThrottleReply {
        limited,
        limit: status.limit.map_or(i64::MAX, signed),
        remaining: status.remaining.map_or(i64::MAX, signed),
        retry_after_s: seconds_until(status.retry),
        reset_after_s: status.reset.micros().map_or(-1, |us| signed(seconds(us))),
    }
}

/// The whole seconds until a request is granted; -1 for one that is granted, or never is.
fn seconds_until(retry: RetryAfter) -> i64 {
    match retry {
        RetryAfter::After(us) => signed(seconds(us)).max(1),
        RetryAfter::Now | RetryAfter::Never => -1,
    }
}

fn interned(main: MainThread, limit: Limit) -> Result<LimitsRef, Error> {
    let limits = Limits::new(vec![limit]).map_err(|error| Error::Other(error.to_string()))?;
    Ok(intern::intern(main, limits))
}

/// Parses a whole number of at least `least`.
fn within(name: &'static str, arg: Arg<'_>, least: u64) -> Result<i64, Error> {
    let most = i64::MAX.unsigned_abs();
    number(name, arg, least, most).map(signed)
}

fn integer(name: &'static str, arg: Arg<'_>) -> Result<i64, Error> {
    std::str::from_utf8(arg.bytes())
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Error::Range { name, expected: "an integer".to_owned() })
}

/// The usage that redis-cell left in a plain string, as a decimal number of nanoseconds.
fn left_by_cell(key: &Key<'_>, now: Micros) -> Option<State> {
    let nanoseconds = crate::core::text::duration::whole_number(key.string()?)?;
    Some(State::of_arrival(Arrival::adopt(nanoseconds, now)))
}
