//! CL.THROTTLE: redis-cell's command, reply for reply, on our own type.

use super::Error;
use super::arguments::Walk;
use super::commit::{self, commit};
use crate::core::clock::Micros;
use crate::core::limits::throttle::Arrival;
use crate::core::limits::{Limit, Limits, State, Taken, Throttle};
use crate::observe::metrics;
use crate::server::args::{Arg, Args};
use crate::server::context::Context;
use crate::server::key::Key;
use crate::server::reply;
use crate::types::effect::Change;
use crate::types::intern;
use crate::types::ratelimit::{RateLimit, encoding};

/// `CL.THROTTLE key max_burst count_per_period period [quantity]`
///
/// # Errors
/// Malformed arguments, or a key of another type that redis-cell did not leave.
pub fn throttle(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = Walk::new(args);
    let name = walk.required()?;
    let max_burst = integer("max_burst", walk.required()?)?;
    let count = integer("count_per_period", walk.required()?)?;
    let period = integer("period", walk.required()?)?;
    let quantity = walk.take().map_or(Ok(1), |arg| integer("quantity", arg))?;
    if walk.left() > 0 {
        return Err(Error::Arity);
    }
    let quantity = u64::try_from(quantity)
        .map_err(|_| Error::Range { name: "quantity", expected: "0 or more".to_owned() })?;
    let rule = Throttle::new(max_burst, count, period).map_err(|error| Error::Other(error.to_string()))?;

    let (main, now) = (ctx.main(), ctx.now());
    let limit = Limit::throttle(rule);
    let wanted =
        intern::intern(main, Limits::new(vec![limit]).map_err(|error| Error::Other(error.to_string()))?);
    let mut key = ctx.write(name);
    let left_by_cell = adopted(&key, now);
    let held = if left_by_cell.is_some() { None } else { key.value::<RateLimit>()? };
    let own = held.as_deref().and_then(RateLimit::limits_id) == Some(wanted.id());
    let state = match (&left_by_cell, held.as_deref()) {
        (Some(state), _) => state.clone(),
        (None, Some(value)) => {
            value.realigned(main, wanted.get(main).limits(), now).0.pop().unwrap_or_default()
        }
        (None, None) => State::default(),
    };
    let blocked = held.as_deref().is_some_and(|value| value.block(now).is_some());
    drop(held);
    let mut answer = rule.ask(&state, now, quantity);
    answer.limited |= blocked;
    if answer.limited {
        metrics::count(main, |m| &mut m.throttle_denied);
    } else {
        metrics::count(main, |m| &mut m.throttle_granted);
    }
    if !answer.limited && quantity > 0 {
        if left_by_cell.is_some() {
            // The string becomes a limiter with the usage that redis-cell counted.
            let value = RateLimit::new(main, wanted.clone(), vec![state]);
            let mut payload = Vec::new();
            encoding::save(&value, main, &mut payload);
            let become_one = Change::Become { payload: &payload };
            commit(ctx, &mut key, &commit::effect(ctx, now, become_one), c"cl.throttle")?;
        }
        let set = wanted.get(main);
        // Also after redis-cell: when its time had passed there is no key now.
        let limits = (!own).then(|| set.canonical());
        let change = Change::Take { limits, taken: Taken::new([quantity]) };
        commit(ctx, &mut key, &commit::effect(ctx, now, change), c"cl.throttle")?;
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

fn integer(name: &'static str, arg: Arg<'_>) -> Result<i64, Error> {
    std::str::from_utf8(arg.bytes())
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Error::Range { name, expected: "an integer".to_owned() })
}

/// The usage that redis-cell left in a plain string of decimal nanoseconds.
fn adopted(key: &Key<'_>, now: Micros) -> Option<State> {
    let nanoseconds = crate::core::duration::whole_number(key.string()?)?;
    Some(Arrival::adopt(nanoseconds, now))
}
