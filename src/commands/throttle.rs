//! CL.THROTTLE: redis-cell's command, reply for reply, on our own type; RL.THROTTLE,
//! which is the same; and GCRA, which client libraries have calls for.

use crate::commands::arguments::{ArgCursor, number};
use crate::core::limits::throttle::{Arrival, ThrottleReply};
use crate::core::limits::{
    self, Limit, Limits, Request, SecondsRounding, State, Taken, Throttle, ThrottleError, ThrottlePeriod,
};
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::core::wire::Corrupt;
use crate::limiter::acquire::{decide, decide_until};
use crate::limiter::apply;
use crate::limiter::apply::{EffectBatch, commit};
use crate::limiter::reply::{RateLimitReply, signed};
use crate::limiter::resolve::{Source, refuse_crowd, resolve};
use crate::limiter::{Error, track};
use crate::observe::{metrics, top};
use crate::queue;
use crate::server::context::Context;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::reply;
use crate::server::keys::key::Key;
use crate::server::main_thread::MainThread;
use crate::settings;
use crate::types::effect::ratelimit::{RateLimitChange, RateLimitEffect};
use crate::types::intern::{self, LimitsRef};
use crate::types::ratelimit::{RateLimit, encoding};
use crate::types::until::Until;
use std::ffi::CStr;

/// Which of the commands it is: they differ in their arguments and in this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ThrottleName {
    Cell,
    RateLimit,
    Gcra,
}

impl ThrottleName {
    /// The event that a change is told as.
    const fn event(self) -> &'static CStr {
        match self {
            Self::Cell => c"cl.throttle",
            Self::RateLimit => c"rl.throttle",
            Self::Gcra => c"gcra",
        }
    }

    const fn rounding(self) -> SecondsRounding {
        match self {
            Self::Cell | Self::RateLimit => SecondsRounding::Cell,
            Self::Gcra => SecondsRounding::Up,
        }
    }
}

/// What the caller asks for.
#[derive(Clone, Copy, Debug)]
struct ThrottleCall<'a> {
    name: ThrottleName,
    key: Arg<'a>,
    rule: Throttle,
    quantity: u64,
}

/// `key max_burst count_per_period period [quantity]`
fn parse(name: ThrottleName, args: Args<'_>) -> Result<ThrottleCall<'_>, Error> {
    let mut walk = ArgCursor::new(args);
    let key = walk.required()?;
    let max_burst = integer("max_burst", walk.required()?)?;
    let count = integer("count_per_period", walk.required()?)?;
    let period = integer("period", walk.required()?)?;
    let quantity = walk.take().map_or(Ok(1), |arg| integer("quantity", arg))?;
    walk.no_more()?;
    let quantity = u64::try_from(quantity)
        .map_err(|_| Error::Range { name: "quantity", expected: "0 or more".to_owned() })?;
    let rule = Throttle::new(max_burst, count, period).map_err(no_rate)?;
    Ok(ThrottleCall { name, key, rule, quantity })
}

/// `key max_burst tokens_per_period period [TOKENS n]`
fn parse_gcra(args: Args<'_>) -> Result<ThrottleCall<'_>, Error> {
    let mut walk = ArgCursor::new(args);
    let key = walk.required()?;
    let max_burst = within("max_burst", walk.required()?, 0)?;
    let count = within("tokens_per_period", walk.required()?, 1)?;
    let period = ThrottlePeriod::parse(walk.required()?.bytes()).ok_or_else(|| Error::Range {
        name: "period",
        expected: "a number of seconds from 0.000000001 on, such as 60 or 0.5".to_owned(),
    })?;
    let mut quantity = 1;
    while let Some(option) = walk.option(&["TOKENS"])? {
        quantity = within("TOKENS", walk.value_of(option)?, 1)?;
    }
    let rule = Throttle::over(max_burst, count, period).map_err(no_rate)?;
    Ok(ThrottleCall { name: ThrottleName::Gcra, key, rule, quantity: quantity.unsigned_abs() })
}

fn no_rate(error: ThrottleError) -> Error {
    Error::Other(error.to_string())
}

/// `CL.THROTTLE key max_burst count_per_period period [quantity]`
///
/// # Errors
/// Malformed arguments, or a key of another type that redis-cell did not leave.
pub fn cl_throttle(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    throttle(ctx, parse(ThrottleName::Cell, args)?)
}

/// `RL.THROTTLE key max_burst count_per_period period [quantity]`
///
/// # Errors
/// As [`cl_throttle`].
pub fn rl_throttle(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    throttle(ctx, parse(ThrottleName::RateLimit, args)?)
}

/// `GCRA key max_burst tokens_per_period period [TOKENS n]`
///
/// # Errors
/// As [`cl_throttle`].
pub fn gcra(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    throttle(ctx, parse_gcra(args)?)
}

fn throttle(ctx: &Context<'_>, call: ThrottleCall<'_>) -> Result<(), Error> {
    // In this order, so that the value arrives meanwhile.
    let mut key = ctx.write(call.key);
    let now = ctx.now();
    let answer = match (left_by_cell(&key, now), queue::served_by(ctx, &key, now)) {
        (Some(state), _) => call.adopt(ctx, &mut key, state, now)?,
        (None, served_by) => {
            let asked = call.quantity > 0;
            let counts = asked && track::counts(ctx.main(), key.value::<RateLimit>()?.as_deref(), false);
            let mut together = counts.then(|| EffectBatch::new(ctx));
            let answer = match served_by? {
                None => call.ask(ctx, &mut key, together.as_mut(), now)?,
                Some(at) => call.behind(ctx, &mut key, at, now)?,
            };
            if let Some(mut together) = together {
                // What is taken and what is counted travel as one.
                let granted = if answer.limited { 0 } else { call.quantity };
                let counted = track::decided(call.quantity, granted);
                together.apply(ctx, &mut key, &apply::effect(ctx, now, counted), call.name.event())?;
                together.propagate(ctx);
            }
            answer
        }
    };
    // Who asks for nothing only looks.
    if call.quantity > 0 {
        metrics::count(ctx.main(), |m| {
            if answer.limited { &mut m.throttle_denied } else { &mut m.throttle_granted }
        });
        top::decided(ctx.main(), call.key.bytes(), !answer.limited, now);
    }
    reply::array(ctx, 5);
    for number in [
        i64::from(answer.limited),
        answer.limit,
        answer.remaining,
        answer.retry_after_s,
        answer.reset_after_s,
    ] {
        reply::integer(ctx, number);
    }
    Ok(())
}

/// What is to be done on a limiter.
enum ThrottleStep {
    Nothing,
    Take,
    /// The clock stepped back: what is left to wait is counted from now.
    RecordClock,
}

impl<'a> ThrottleCall<'a> {
    /// The same request of limits that the server has for the key.
    fn request(&self) -> Request {
        let calls = u64::from(self.quantity > 0);
        Request { cost: self.quantity, calls, partial: false, critical: false }
    }

    /// What the limit of the arguments says.
    fn decide(&self, state: &State, now: Micros) -> ThrottleReply {
        self.rule.ask(&state.arrival(), now, self.quantity, self.name.rounding())
    }

    /// Makes a change so; it travels with what is counted of a tracked key.
    fn make(
        &self,
        ctx: &Context<'_>,
        key: &mut Key<'a>,
        together: Option<&mut EffectBatch<'a>>,
        effect: &RateLimitEffect<'_>,
    ) -> Result<(), Error> {
        match together {
            Some(together) => together.apply(ctx, key, effect, self.name.event()),
            None => commit(ctx, key, effect, self.name.event()).map(drop),
        }
    }

    /// Asks on a key that is a limiter, or missing.
    fn ask(
        &self,
        ctx: &Context<'_>,
        key: &mut Key<'a>,
        together: Option<&mut EffectBatch<'a>>,
        now: Micros,
    ) -> Result<ThrottleReply, Error> {
        let main = ctx.main();
        let held = key.value::<RateLimit>()?;
        let value = held.as_deref();
        if server_decides(main, self.key.bytes(), value, now)? {
            return self.ask_server(ctx, key, together, now);
        }
        let limit = Limit::throttle(self.rule);
        let own = value.and_then(RateLimit::limits_id).filter(|&id| {
            // Compared before anything is written out and looked up.
            matches!(intern::get(main, id).limits(), [only] if *only == limit)
        });
        let wanted = if own.is_some() { None } else { Some(interned(main, limit)?) };
        let state = match (value, &wanted) {
            (None, _) => State::default(),
            (Some(value), None) => value.with_states(|states| states.first().cloned().unwrap_or_default()),
            (Some(value), Some(wanted)) => {
                let set = wanted.get(main);
                value.seen_by(main, set.limits(), now).pop().unwrap_or_default()
            }
        };
        let answer = self.decide(&state, now);
        let block = value.and_then(|value| value.block(now)).map(|block| block.lasting.until(now));
        let step = if !answer.limited && self.quantity > 0 && block.is_none() {
            if let Some(wanted) = &wanted {
                refuse_crowd(main, value, wanted.get(main).limits(), now)?;
            }
            ThrottleStep::Take
        } else if self.quantity > 0 && value.is_some_and(|value| value.stepped_back(main, now)) {
            ThrottleStep::RecordClock
        } else {
            ThrottleStep::Nothing
        };
        let text = wanted.as_ref().map(|wanted| wanted.text(main));
        let limits = text.as_deref();
        let change = match step {
            ThrottleStep::Nothing => None,
            ThrottleStep::Take => Some(RateLimitChange::Take { limits, taken: Taken::new([self.quantity]) }),
            ThrottleStep::RecordClock => Some(RateLimitChange::Touch { limits: None }),
        };
        if let Some(change) = change {
            self.make(ctx, key, together, &apply::effect(ctx, now, change))?;
        }
        Ok(match block {
            None => answer,
            Some(until) => {
                if self.quantity > 0 {
                    metrics::count(main, |m| &mut m.blocked_denied);
                }
                self.blocked(&state, answer, until, now)
            }
        })
    }

    /// Asks on a string that redis-cell left: granted, it becomes a limiter with
    /// the usage that redis-cell counted.
    fn adopt(
        &self,
        ctx: &Context<'_>,
        key: &mut Key<'_>,
        state: State,
        now: Micros,
    ) -> Result<ThrottleReply, Error> {
        let main = ctx.main();
        if server_decides(main, self.key.bytes(), None, now)? {
            return self.adopt_by_server(ctx, key, state, now);
        }
        let answer = self.decide(&state, now);
        if answer.limited || self.quantity == 0 {
            return Ok(answer);
        }
        let wanted = interned(main, Limit::throttle(self.rule))?;
        let mut states = vec![state];
        limits::take(wanted.get(main).limits(), &mut states, now, &Taken::new([self.quantity]));
        let mut payload = Vec::new();
        encoding::save(&RateLimit::new(wanted, states), main, &mut payload);
        let change = RateLimitChange::Become { payload: &payload };
        commit(ctx, key, &apply::effect(ctx, now, change), self.name.event())?;
        Ok(answer)
    }

    /// As [`ThrottleCall::adopt`] where the limits that the server has for the key go
    /// before the caller's: what redis-cell counted stays beside them.
    fn adopt_by_server(
        &self,
        ctx: &Context<'_>,
        key: &mut Key<'_>,
        state: State,
        now: Micros,
    ) -> Result<ThrottleReply, Error> {
        let main = ctx.main();
        let mut value = RateLimit::new(interned(main, Limit::throttle(self.rule))?, vec![state]);
        let decision = decide(ctx, self.key.bytes(), Some(&value), None, &self.request(), now)?;
        if self.quantity > 0 {
            decision.count(main);
        }
        if self.quantity == 0 || decision.reply.granted == 0 {
            return Ok(answer_of(&decision.reply));
        }
        decision.change(main, |change| {
            let refused = |corrupt: Corrupt| Error::Other(corrupt.to_string());
            apply::effect(ctx, now, change).apply(main, Some(&mut value)).map(drop).map_err(refused)
        })?;
        let mut payload = Vec::new();
        encoding::save(&value, main, &mut payload);
        let change = RateLimitChange::Become { payload: &payload };
        commit(ctx, key, &apply::effect(ctx, now, change), self.name.event())?;
        Ok(answer_of(&decision.reply))
    }

    /// Asks the limits that the server has for the key, which go before the
    /// caller's.
    fn ask_server(
        &self,
        ctx: &Context<'_>,
        key: &mut Key<'a>,
        together: Option<&mut EffectBatch<'a>>,
        now: Micros,
    ) -> Result<ThrottleReply, Error> {
        let request = self.request();
        let mut decision = {
            let held = key.value::<RateLimit>()?;
            decide_until(ctx, self.key.bytes(), held.as_deref(), None, &request, now, |value, then| {
                self.wait(ctx, value, then)
            })?
        };
        if self.quantity > 0 {
            decision.close();
            decision.change(ctx.main(), |change| {
                self.make(ctx, key, together, &apply::effect(ctx, now, change))
            })?;
            decision.count(ctx.main());
        }
        Ok(answer_of(&decision.reply))
    }

    /// How long the request waits from `then` on, when a pin has ended.
    fn wait(&self, ctx: &Context<'_>, value: Option<&RateLimit>, then: Micros) -> Result<RetryAfter, Error> {
        let main = ctx.main();
        if server_decides(main, self.key.bytes(), value, then)? {
            let later = decide(ctx, self.key.bytes(), value, None, &self.request(), then)?;
            return Ok(later.reply.status.retry);
        }
        let state = value.and_then(|value| value.seen_by(main, &[Limit::throttle(self.rule)], then).pop());
        let answer = self.decide(&state.unwrap_or_default(), then);
        Ok(match (answer.limited, u64::try_from(answer.retry_after_s)) {
            (false, _) => RetryAfter::Now,
            (true, Ok(seconds)) => RetryAfter::After(seconds.saturating_mul(1_000_000)),
            (true, Err(_)) => RetryAfter::Never,
        })
    }

    /// The answer where a line stands that is served by `at`: nothing is taken.
    fn behind(
        &self,
        ctx: &Context<'_>,
        key: &mut Key<'a>,
        at: Micros,
        now: Micros,
    ) -> Result<ThrottleReply, Error> {
        let answer = Self { quantity: 0, ..*self }.ask(ctx, key, None, now)?;
        let retry_after_s = signed(seconds(at.since(now))).max(1);
        Ok(ThrottleReply { limited: true, remaining: 0, retry_after_s, ..answer })
    }

    /// The answer on a blocked key: the wait is the later of the block's and the
    /// limit's.
    fn blocked(&self, state: &State, answer: ThrottleReply, until: Until, now: Micros) -> ThrottleReply {
        let reset_after_s = Self { quantity: 0, ..*self }.decide(state, now).reset_after_s;
        let never = answer.limited && answer.retry_after_s < 0;
        let retry_after_s = match until {
            Until::At(end) if !never => signed(seconds(end.since(now))).max(answer.retry_after_s),
            _ => -1,
        };
        ThrottleReply { limited: true, remaining: 0, retry_after_s, reset_after_s, ..answer }
    }
}

/// True where a pin holds, or callers choose no limits.
fn server_decides(
    main: MainThread,
    key: &[u8],
    value: Option<&RateLimit>,
    now: Micros,
) -> Result<bool, Error> {
    if !settings::caller_limits(main) {
        return Ok(true);
    }
    if value.and_then(|value| value.pin(now)).is_none() {
        return Ok(false);
    }
    match resolve(main, key, value, None, now) {
        Ok((_, source)) => Ok(source == Source::Pin),
        // A pin that is passed over leaves the caller's word.
        Err(Error::NoLimits) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Six integers as redis-cell's five.
fn answer_of(reply: &RateLimitReply) -> ThrottleReply {
    let status = &reply.status;
    let limited = status.retry > RetryAfter::Now;
    ThrottleReply {
        limited,
        limit: status.limit.map_or(i64::MAX, signed),
        remaining: status.remaining.map_or(i64::MAX, signed),
        retry_after_s: match status.retry {
            RetryAfter::After(us) => signed(seconds(us)).max(1),
            RetryAfter::Now | RetryAfter::Never => -1,
        },
        reset_after_s: status.reset.micros().map_or(-1, |us| signed(seconds(us))),
    }
}

/// Whole seconds, rounded up.
const fn seconds(us: u64) -> u64 {
    us.div_ceil(1_000_000)
}

fn interned(main: MainThread, limit: Limit) -> Result<LimitsRef, Error> {
    let limits = Limits::new(vec![limit]).map_err(|error| Error::Other(error.to_string()))?;
    Ok(intern::intern(main, limits))
}

/// A whole number from `least` on.
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

/// The usage that redis-cell left in a plain string of decimal nanoseconds.
fn left_by_cell(key: &Key<'_>, now: Micros) -> Option<State> {
    let nanoseconds = crate::core::text::duration::whole_number(key.string()?)?;
    Some(State::of_arrival(Arrival::adopt(nanoseconds, now)))
}
