//! What operators do to one key: RESET, PIN, UNPIN, BLOCK, UNBLOCK.

use super::arguments::{length, optional_for};
use super::way_out;
use crate::commands::arguments::ArgCursor;
use crate::core::limits::look;
use crate::core::text::duration;
use crate::core::text::token::{TokenError, shown};
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::apply;
use crate::limiter::apply::{EffectBatch, commit};
use crate::observe::metrics;
use crate::server::context::Context;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::reply;
use crate::server::main_thread::MainThread;
use crate::types::effect::ratelimit::RateLimitChange;
use crate::types::intern;
use crate::types::intern::ParsedLimits;
use crate::types::ratelimit::RateLimit;
use crate::types::ratelimit::encoding::LONGEST_REASON;
use crate::types::until::{Lasting, Until};

/// `RL.RESET key [key …]`: forgets usage, keeps pin and block; replies how many
/// keys had some.
///
/// # Errors
/// A key of another type; then nothing is reset.
pub fn reset(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    if args.is_empty() {
        return Err(Error::Arity);
    }
    let (main, now) = (ctx.main(), ctx.now());
    ctx.settle_keys(args.iter());
    for (at, name) in args.iter().enumerate() {
        let checked = ctx.write(name).value::<RateLimit>().map(drop);
        checked.map_err(|wrong| {
            let error = Error::from(wrong);
            if args.len() > 1 { error.of_item("key", at) } else { error }
        })?;
    }
    let mut together = EffectBatch::new(ctx);
    let mut count = 0;
    for name in args.iter() {
        let mut key = ctx.write(name);
        if !key.value::<RateLimit>()?.is_some_and(|value| has_usage(main, &value, now)) {
            continue;
        }
        together.apply(ctx, &mut key, &apply::effect(ctx, now, RateLimitChange::Reset), c"rl.reset")?;
        count += 1;
    }
    together.propagate(ctx);
    metrics::add(main, |m| &mut m.resets, count);
    reply::integer(ctx, crate::limiter::reply::signed(count));
    Ok(())
}

fn has_usage(main: MainThread, value: &RateLimit, now: Micros) -> bool {
    let own = value.limits_id().is_some_and(|id| {
        let set = intern::get(main, id);
        value.with_states(|states| {
            set.limits().iter().zip(states).any(|(limit, state)| look(limit, state, now, 1).used > 0)
        })
    });
    own || value.book().is_some()
        || value.orphans().iter().any(|orphan| look(&orphan.limit, &orphan.state, now, 1).used > 0)
        || value.limit_blocks().iter().any(|block| !block.is_forgotten(now))
}

/// `RL.PIN key limits [FOR d]`
///
/// # Errors
/// Malformed limits or a key of another type.
pub fn pin(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = ArgCursor::new(args);
    let name = walk.required()?;
    let given = walk.required()?.bytes();
    let now = ctx.now();
    let until = optional_for(&mut walk, now)?;
    walk.end()?;
    let text = match intern::want(ctx.main(), given)? {
        ParsedLimits::Limits(limits) => limits.get(ctx.main()).canonical().to_owned(),
        ParsedLimits::ServerChosen => {
            return Err(TokenError::new(
                "limit",
                given,
                "a pin names its limits; RL.UNPIN returns to the server's",
            )
            .into());
        }
        // The text is kept as it is: a pin follows its policies.
        ParsedLimits::Terms(_) => {
            crate::limiter::resolve::limits_of(ctx.main(), None, given)?;
            String::from_utf8_lossy(given).into_owned()
        }
    };
    let change = RateLimitChange::Pin { text: &text, until };
    let mut key = ctx.write(name);
    let same = key.value::<RateLimit>()?.is_some_and(|value| {
        value.pin(now).is_some_and(|pin| *pin.text == *text && stays(pin.lasting, until, now))
    });
    if !same {
        commit(ctx, &mut key, &apply::effect(ctx, now, change), c"rl.pin")?;
    }
    metrics::count(ctx.main(), |m| &mut m.pins);
    reply::ok(ctx);
    Ok(())
}

/// `RL.UNPIN key`: 1 when there was a pin.
///
/// # Errors
/// A key of another type.
pub fn unpin(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let stood = lift(ctx, args, RateLimitChange::Unpin, c"rl.unpin", |value, now| value.pin(now).is_some())?;
    metrics::add(ctx.main(), |m| &mut m.unpins, stood.into());
    Ok(())
}

/// `RL.BLOCK key FOR d|FOREVER [REASON text]`
///
/// # Errors
/// Malformed arguments or a key of another type.
pub fn block(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = ArgCursor::new(args);
    let name = walk.required()?;
    let how = walk.required()?;
    let now = ctx.now();
    let until = if how.is("FOREVER") {
        Until::Forever
    } else if how.is("FOR") {
        let given = walk.value_of("FOR")?;
        if given.is("FOREVER") {
            Until::Forever
        } else {
            Until::At(now.plus(length(given)?).min(Micros::MAX))
        }
    } else {
        return Err(match duration::parse(how.bytes()) {
            Ok(_) => way_out::none_of(how, &format!("FOR {}, or FOREVER", shown(how.bytes()))),
            Err(_) => way_out::none_of(how, "FOR with a duration such as FOR 30s, or FOREVER"),
        });
    };
    let mut reason: &[u8] = &[];
    while let Some(option) = walk.option(&["REASON"])? {
        reason = reason_of(walk.value_of(option)?)?;
    }
    let change = RateLimitChange::Block { until, reason };
    let mut key = ctx.write(name);
    let same = key.value::<RateLimit>()?.is_some_and(|value| {
        value.block(now).is_some_and(|block| *block.reason == *reason && stays(block.lasting, until, now))
    });
    if !same {
        commit(ctx, &mut key, &apply::effect(ctx, now, change), c"rl.block")?;
    }
    metrics::count(ctx.main(), |m| &mut m.blocks);
    reply::ok(ctx);
    Ok(())
}

/// True where what lasts is as good as begun now until then.
fn stays(lasting: Lasting, until: Until, now: Micros) -> bool {
    !lasting.stepped_back(now) && lasting.recorded() == until
}

fn reason_of(arg: Arg<'_>) -> Result<&[u8], Error> {
    let text = arg.bytes();
    if text.len() > LONGEST_REASON {
        return Err(Error::Range { name: "REASON", expected: format!("at most {LONGEST_REASON} bytes") });
    }
    Ok(text)
}

/// `RL.UNBLOCK key`: 1 when it was blocked, or a limit of it was closed. How long the
/// next block of a limit would be is forgotten, too.
///
/// # Errors
/// A key of another type.
pub fn unblock(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = ArgCursor::new(args);
    let name = walk.required()?;
    walk.no_more()?;
    let now = ctx.now();
    let mut key = ctx.write(name);
    let (mut stood, mut remembers) = (false, false);
    if let Some(value) = key.value::<RateLimit>()? {
        let of_limits = value.limit_blocks();
        stood = value.block(now).is_some() || of_limits.iter().any(|block| block.lasts_until(now).is_some());
        remembers = !of_limits.is_empty();
    }
    if stood || remembers {
        commit(ctx, &mut key, &apply::effect(ctx, now, RateLimitChange::Unblock), c"rl.unblock")?;
    }
    reply::integer(ctx, stood.into());
    metrics::add(ctx.main(), |m| &mut m.unblocks, stood.into());
    Ok(())
}

/// Takes an operator's word back, if it stands, and replies whether it did.
fn lift(
    ctx: &Context<'_>,
    args: Args<'_>,
    change: RateLimitChange<'_>,
    event: &'static std::ffi::CStr,
    stands: impl FnOnce(&RateLimit, Micros) -> bool,
) -> Result<bool, Error> {
    let mut walk = ArgCursor::new(args);
    let name = walk.required()?;
    walk.no_more()?;
    let now = ctx.now();
    let mut key = ctx.write(name);
    let stood = key.value::<RateLimit>()?.is_some_and(|value| stands(&value, now));
    if stood {
        commit(ctx, &mut key, &apply::effect(ctx, now, change), event)?;
    }
    reply::integer(ctx, stood.into());
    Ok(stood)
}
