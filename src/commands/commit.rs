//! RL.COMMIT, RL.RELEASE, RL.RENEW and RL.RESERVATIONS: settle, renew and list reservations.

use crate::commands::arguments::{ID, KEY, NUMKEYS, TTL, length, number};
use crate::commands::cursor::ArgCursor;
use crate::commands::hints;
use crate::commands::options::Options;
use crate::commands::reserve::id_of;
use crate::core::limits::MAX_COUNT;
use crate::core::reservations::{Reservation, Stage};
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::apply::{EffectBatch, commit_with, effect};
use crate::observe::metrics::{self, Counters};
use crate::server::context::Context;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::reply::{self, Each, Reply};
use crate::server::load::argument::Argument;
use crate::settings;
use crate::types::effect::ratelimit::{RateLimitChange, Renew, Settle};
use crate::types::intern::LimitsRef;
use crate::types::ratelimit::RateLimit;
use crate::types::ratelimit::reservations::Settlement;
use std::ffi::CStr;

/// The outcome of a command on a key, as the command replies it. RL.COMMIT and RL.RELEASE reply the
/// greatest value of all keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SettleOutcome {
    /// The reservation is unknown or already settled.
    Nothing = 0,
    /// The reservation was open. It is settled or renewed now.
    Open = 1,
    /// The time of the reservation had ended, so it stood committed at its cost.
    Late = 2,
}

impl SettleOutcome {
    const fn of(stage: Option<Stage>) -> Self {
        match stage {
            None => Self::Nothing,
            Some(Stage::Open) => Self::Open,
            Some(Stage::Ended) => Self::Late,
        }
    }
}

/// The action of a command on the reservations that it finds.
struct SettleAction {
    event: &'static CStr,
    counter: fn(&mut Counters) -> &mut u64,
}

/// `id numkeys key [key …] [COST actual]` of RL.COMMIT.
pub const ARGUMENTS: &[Argument] =
    &[ID, NUMKEYS, KEY.multiple(), Argument::integer("actual").after("COST").optional()];

const OPTIONS: Options = Options::of(ARGUMENTS);

/// `RL.COMMIT id numkeys key [key …] [COST actual]`: settles a reservation at the units that were
/// really used, or at its cost.
///
/// # Errors
/// Malformed arguments, or a key of another type. Nothing is settled then.
pub fn commit(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut cursor = ArgCursor::new(args);
    let id = id_of(cursor.required()?)?;
    let keys = keys(ctx, &mut cursor)?;
    let mut actual = None;
    let missed = |error| OPTIONS.counted_as_key(keys.iter().copied()).unwrap_or(error);
    while let Some((option, value)) = cursor.option(&OPTIONS).map_err(missed)? {
        match option {
            "COST" => actual = Some(number(option, value, 0, MAX_COUNT)?),
            _ => return Err(hints::not_taken(option)),
        }
    }
    let action = SettleAction { event: c"rl.commit", counter: |m| &mut m.reservations_committed };
    each(ctx, id, &keys, &action, |one| {
        RateLimitChange::Settle(Settle { id, how: Settlement::At(actual.unwrap_or(one.cost)) })
    })
}

/// `RL.RELEASE id numkeys key [key …]`: settles a reservation, and gives all its units back.
///
/// # Errors
/// The same as [`commit`].
pub fn release(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut cursor = ArgCursor::new(args);
    let id = id_of(cursor.required()?)?;
    let keys = keys(ctx, &mut cursor)?;
    cursor.end()?;
    let action = SettleAction { event: c"rl.release", counter: |m| &mut m.reservations_released };
    each(ctx, id, &keys, &action, |_| RateLimitChange::Settle(Settle { id, how: Settlement::Release }))
}

/// `RL.RENEW id TTL d numkeys key [key …]`: makes a reservation end `d` from now. One whose time has
/// ended stays ended. One that is not open on all keys is not renewed on any.
///
/// # Errors
/// The same as [`commit`].
pub fn renew(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut cursor = ArgCursor::new(args);
    let id = id_of(cursor.required()?)?;
    let keyword = cursor.required()?;
    if !keyword.is("TTL") {
        return Err(hints::unexpected(keyword, &Options::of(&[TTL])));
    }
    let ttl_us = length(cursor.value_of("TTL")?)?;
    let keys = keys(ctx, &mut cursor)?;
    cursor.end()?;
    ctx.settle_keys(keys.iter().copied());
    check_types(ctx, &keys)?;
    let now = ctx.now();
    let found = keys.iter().map(|name| outcome(ctx, *name, id, now));
    if let Some(least) = found.filter(|found| *found != SettleOutcome::Open).min() {
        reply::integer(ctx, least as i64);
        return Ok(());
    }
    let end = now.plus(ttl_us).min(Micros::MAX);
    let action = SettleAction { event: c"rl.renew", counter: |m| &mut m.reservations_renewed };
    each(ctx, id, &keys, &action, |_| RateLimitChange::Renew(Renew { id, end }))
}

/// Parses `numkeys key [key …]`.
fn keys<'a>(ctx: &Context<'_>, cursor: &mut ArgCursor<'a>) -> Result<Vec<Arg<'a>>, Error> {
    let count = cursor.count("numkeys", settings::batch_max(ctx.main()), 1)?;
    (0..count).map(|_| cursor.required()).collect()
}

/// Refuses keys of another type.
fn check_types(ctx: &Context<'_>, keys: &[Arg<'_>]) -> Result<(), Error> {
    for (at, name) in keys.iter().enumerate() {
        let checked = ctx.write(*name).value::<RateLimit>().map(drop);
        checked.map_err(|wrong| Error::from(wrong).of_item("key", at))?;
    }
    Ok(())
}

/// Returns what a key holds of a reservation.
fn outcome(ctx: &Context<'_>, name: Arg<'_>, id: &[u8], now: Micros) -> SettleOutcome {
    let key = ctx.read(name);
    let held = key.value::<RateLimit>().ok().flatten();
    SettleOutcome::of(held.as_deref().and_then(|value| value.stage_of(ctx.main(), id, now)))
}

/// Applies `change` to the reservation on each key, as one effect, and replies what was found.
fn each<'a>(
    ctx: &Context<'_>,
    id: &[u8],
    keys: &[Arg<'a>],
    action: &SettleAction,
    change: impl Fn(&Reservation<LimitsRef>) -> RateLimitChange<'a>,
) -> Result<(), Error> {
    let now = ctx.now();
    ctx.settle_keys(keys.iter().copied());
    check_types(ctx, keys)?;
    let mut all = SettleOutcome::Nothing;
    EffectBatch::run(ctx, |effects| {
        for name in keys {
            let mut key = ctx.write(*name);
            let todo = key.value::<RateLimit>()?.and_then(|value| {
                let one = value.book()?.get(id)?;
                let found = SettleOutcome::of(value.stage_of(ctx.main(), id, now));
                (found > SettleOutcome::Nothing).then(|| (found, change(one)))
            });
            let Some((found, change)) = todo else { continue };
            all = all.max(found);
            commit_with(ctx, effects, &mut key, &effect(ctx, now, change), action.event)?;
            metrics::count(ctx.main(), action.counter);
        }
        Ok::<(), Error>(())
    })?;
    reply::integer(ctx, all as i64);
    Ok(())
}

/// `RL.RESERVATIONS key`: lists the open reservations, the one that ends first at the front. Each
/// has its ID, its cost, and its age and time left in milliseconds.
///
/// # Errors
/// A key of another type.
pub fn reservations(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let name = ArgCursor::only_key(args)?;
    let now = ctx.now();
    let key = ctx.read(name);
    let held = key.value::<RateLimit>()?;
    let all = held.as_deref().and_then(RateLimit::reservations).map(|all| all.at(ctx.main(), now));
    let open = all.iter().flat_map(|all| all.book().open_at(now)).map(|(id, one)| (&**id, one));
    let open: Vec<(&[u8], &Reservation<LimitsRef>)> = open.collect();
    let row = |ctx: &Context<'_>, (id, one): &(&[u8], &Reservation<LimitsRef>)| {
        let age_ms = now.since(one.granted) / 1000;
        reply::array(ctx, &[id, &one.cost, &age_ms, &one.end.millis_after(now)]);
    };
    Each(&open, row).send(ctx);
    Ok(())
}
