//! Commands by which operators change one key: RESET, PIN, UNPIN, BLOCK, UNBLOCK.

use crate::commands::arguments::{FOR, KEY, ONLY_FOR, REASON, length, optional_for, reason_of};
use crate::commands::cursor::ArgCursor;
use crate::commands::hints;
use crate::commands::options::Options;
use crate::core::limits::limit_quota;
use crate::core::text::duration;
use crate::core::text::token::{TokenError, shown};
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::apply::{self, EffectBatch, commit, commit_with};
use crate::observe::metrics;
use crate::server::context::Context;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::reply::{self, Reply as _};
use crate::server::load::argument::Argument;
use crate::server::main_thread::MainThread;
use crate::types::effect::ratelimit::{RateLimitChange, SetBlock, SetPin};
use crate::types::intern::{self, ParsedLimits};
use crate::types::ratelimit::RateLimit;
use crate::types::ratelimit::encoding::LONGEST_REASON;
use crate::types::until::Until;
use std::ffi::CStr;

/// `RL.RESET key [key …]`: forgets usage, and keeps pin and block. Replies the number of keys that
/// had usage.
///
/// # Errors
/// A key of another type. Nothing is reset then.
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
    let mut count = 0;
    EffectBatch::run(ctx, |effects| {
        for name in args.iter() {
            let mut key = ctx.write(name);
            if !key.value::<RateLimit>()?.is_some_and(|value| has_usage(main, &value, now)) {
                continue;
            }
            let effect = apply::effect(ctx, now, RateLimitChange::Reset);
            commit_with(ctx, effects, &mut key, &effect, c"rl.reset")?;
            count += 1;
        }
        Ok::<(), Error>(())
    })?;
    metrics::add(main, |m| &mut m.resets, count);
    count.send(ctx);
    Ok(())
}

fn has_usage(main: MainThread, value: &RateLimit, now: Micros) -> bool {
    let own = value.limits_id().is_some_and(|id| {
        let set = intern::get(main, id);
        value.with_states(|states| {
            set.limits().iter().zip(states).any(|(limit, state)| limit_quota(limit, state, now, 1).used > 0)
        })
    });
    own || value.book().is_some()
        || value.unlisted().iter().any(|one| limit_quota(&one.limit, &one.state, now, 1).used > 0)
        || value.limit_blocks().iter().any(|block| !block.is_forgotten(now))
}

/// `RL.PIN key limits [FOR d]`: fixes the limits of a key, for the duration or until RL.UNPIN.
///
/// # Errors
/// Malformed limits or a key of another type.
pub fn pin(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut cursor = ArgCursor::new(args);
    let name = cursor.required()?;
    let given = cursor.required_before(&ONLY_FOR, "limits")?.bytes();
    let now = ctx.now();
    let until = optional_for(&mut cursor, now)?;
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
        // The text is kept as it was written, so that the pin follows its policies.
        ParsedLimits::Terms(_) => {
            crate::limiter::resolve::limits_of(ctx.main(), None, given)?;
            String::from_utf8_lossy(given).into_owned()
        }
    };
    let change = RateLimitChange::Pin(SetPin { text: &text, until });
    set(ctx, name, now, c"rl.pin", change, |value| {
        value.pin(now).is_some_and(|pin| *pin.text == *text && pin.validity.stays(until, now))
    })?;
    metrics::count(ctx.main(), |m| &mut m.pins);
    Ok(())
}

/// `RL.UNPIN key`: replies 1 if there was a pin, else 0.
///
/// # Errors
/// A key of another type.
pub fn unpin(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let stood =
        lift(ctx, args, RateLimitChange::Unpin, c"rl.unpin", |value, now| value.pin(now).map(|_| true))?;
    metrics::add(ctx.main(), |m| &mut m.unpins, stood.into());
    Ok(())
}

/// `key FOR d|FOREVER [REASON text]` of RL.BLOCK.
pub const BLOCK: &[Argument] = &[KEY, BLOCK_END, REASON];
const BLOCK_END: Argument = Argument::one_of("end", &[FOR, Argument::flag("FOREVER")]);
const BLOCK_OPTIONS: Options = Options::of(&[BLOCK_END.optional(), REASON]);

/// `RL.BLOCK key FOR d|FOREVER [REASON text]`: denies every request on a key until the end of the
/// block.
///
/// # Errors
/// Malformed arguments or a key of another type.
pub fn block(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut cursor = ArgCursor::new(args);
    let name = cursor.required()?;
    let how = cursor.peek().ok_or(Error::Arity)?;
    let now = ctx.now();
    if !how.is("FOREVER") && !how.is("FOR") {
        return Err(match duration::parse(how.bytes()) {
            Ok(_) => hints::none_of(how, &format!("FOR {}, or FOREVER", shown(how.bytes()))),
            Err(_) => hints::none_of(how, "FOR with a duration such as FOR 30s, or FOREVER"),
        });
    }
    let (mut until, mut reason): (_, &[u8]) = (Until::Forever, &[]);
    while let Some((option, value)) = cursor.option(&BLOCK_OPTIONS)? {
        match option {
            "FOR" if value.is("FOREVER") => {}
            "FOR" if value.is("EVER") => return Err(hints::none_of(value, "FOREVER in place of FOR")),
            "FOR" => until = Until::At(now.plus(length(value)?).min(Micros::MAX)),
            "REASON" => reason = reason_of(value, LONGEST_REASON)?,
            "FOREVER" => {}
            _ => return Err(hints::not_taken(option)),
        }
    }
    let change = RateLimitChange::Block(SetBlock { until, reason });
    set(ctx, name, now, c"rl.block", change, |value| {
        value.block(now).is_some_and(|block| *block.reason == *reason && block.validity.stays(until, now))
    })?;
    metrics::count(ctx.main(), |m| &mut m.blocks);
    Ok(())
}

/// Makes the change, unless the key `has` it already.
fn set(
    ctx: &Context<'_>,
    name: Arg<'_>,
    now: Micros,
    event: &'static CStr,
    change: RateLimitChange<'_>,
    has: impl FnOnce(&RateLimit) -> bool,
) -> Result<(), Error> {
    let mut key = ctx.write(name);
    if !key.value::<RateLimit>()?.is_some_and(|value| has(&value)) {
        commit(ctx, &mut key, &apply::effect(ctx, now, change), event)?;
    }
    reply::ok(ctx);
    Ok(())
}

/// `RL.UNBLOCK key`: replies 1 if the key was blocked or one of its limits was closed, else 0.
/// Limits also forget how long their next block would be.
///
/// # Errors
/// A key of another type.
pub fn unblock(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let stood = lift(ctx, args, RateLimitChange::Unblock, c"rl.unblock", |value, now| {
        let of_limits = value.limit_blocks();
        let closed = of_limits.iter().any(|block| block.lasts_until(now).is_some());
        let stands = value.block(now).is_some() || closed;
        (stands || !of_limits.is_empty()).then_some(stands)
    })?;
    metrics::add(ctx.main(), |m| &mut m.unblocks, stood.into());
    Ok(())
}

/// Removes what an operator set, and replies whether it still held. `look` tells that; `None` if there
/// is nothing to remove.
fn lift(
    ctx: &Context<'_>,
    args: Args<'_>,
    change: RateLimitChange<'_>,
    event: &'static CStr,
    look: impl FnOnce(&RateLimit, Micros) -> Option<bool>,
) -> Result<bool, Error> {
    let name = ArgCursor::only_key(args)?;
    let now = ctx.now();
    let mut key = ctx.write(name);
    let found = key.value::<RateLimit>()?.and_then(|value| look(&value, now));
    if found.is_some() {
        commit(ctx, &mut key, &apply::effect(ctx, now, change), event)?;
    }
    let stood = found.unwrap_or(false);
    reply::integer(ctx, stood.into());
    Ok(stood)
}
