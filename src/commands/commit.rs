//! RL.COMMIT, RL.RELEASE, RL.RENEW and RL.RESERVATIONS: what becomes of
//! reservations.

use crate::commands::arguments::{ArgCursor, length, number};
use crate::commands::reserve::id_of;
use crate::commands::way_out;
use crate::core::limits::MAX_COUNT;
use crate::core::reservations::{Reservation, Stage};
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::apply::{EffectBatch, effect};
use crate::limiter::reply::signed;
use crate::observe::metrics::{self, Counters};
use crate::server::context::Context;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::reply;
use crate::settings;
use crate::types::effect::ratelimit::RateLimitChange;
use crate::types::intern::LimitsRef;
use crate::types::ratelimit::RateLimit;
use crate::types::ratelimit::reservations::Settlement;
use std::ffi::CStr;

/// What was found on the keys, as the commands reply it: the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SettleOutcome {
    /// Unknown or already settled.
    Nothing,
    /// Open, and settled or renewed now.
    Open,
    /// Its time had ended: it stood committed at its reserved cost.
    Late,
}

impl SettleOutcome {
    const fn number(self) -> i64 {
        match self {
            Self::Nothing => 0,
            Self::Open => 1,
            Self::Late => 2,
        }
    }
}

/// What a command does with the reservations it finds.
struct SettleAction {
    event: &'static CStr,
    counter: fn(&mut Counters) -> &mut u64,
}

/// `RL.COMMIT id numkeys key [key …] [COST actual]`
///
/// # Errors
/// Malformed arguments or a key of another type; then nothing is settled.
pub fn commit(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = ArgCursor::new(args);
    let id = id_of(walk.required()?)?;
    let keys = keys(ctx, &mut walk)?;
    let mut actual = None;
    while let Some(option) = walk.option(&["COST"])? {
        actual = Some(number("COST", walk.value_of(option)?, 0, MAX_COUNT)?);
    }
    let deed = SettleAction { event: c"rl.commit", counter: |m| &mut m.reservations_committed };
    each(ctx, id, &keys, &deed, |one, _| {
        Some(RateLimitChange::Settle { id, how: Settlement::At(actual.unwrap_or(one.cost)) })
    })
}

/// `RL.RELEASE id numkeys key [key …]`
///
/// # Errors
/// As [`commit`].
pub fn release(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = ArgCursor::new(args);
    let id = id_of(walk.required()?)?;
    let keys = keys(ctx, &mut walk)?;
    walk.end()?;
    let deed = SettleAction { event: c"rl.release", counter: |m| &mut m.reservations_released };
    each(ctx, id, &keys, &deed, |_, _| Some(RateLimitChange::Settle { id, how: Settlement::Release }))
}

/// `RL.RENEW id TTL d numkeys key [key …]`: its time ends `d` from now. One
/// whose time has ended stays so.
///
/// # Errors
/// As [`commit`].
pub fn renew(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = ArgCursor::new(args);
    let id = id_of(walk.required()?)?;
    let keyword = walk.required()?;
    if !keyword.is("TTL") {
        return Err(way_out::unexpected(keyword, &["TTL"]));
    }
    let ttl_us = length(walk.value_of("TTL")?)?;
    let keys = keys(ctx, &mut walk)?;
    walk.end()?;
    let end = ctx.now().plus(ttl_us).min(Micros::MAX);
    let deed = SettleAction { event: c"rl.renew", counter: |m| &mut m.reservations_renewed };
    each(ctx, id, &keys, &deed, |_, found| {
        (found == SettleOutcome::Open).then_some(RateLimitChange::Renew { id, end })
    })
}

/// `numkeys key [key …]`.
fn keys<'a>(ctx: &Context<'_>, walk: &mut ArgCursor<'a>) -> Result<Vec<Arg<'a>>, Error> {
    let count = walk.count("numkeys", settings::batch_max(ctx.main()), 1)?;
    (0..count).map(|_| walk.required()).collect()
}

/// Does what `change` says to the reservation on each key, as one, and replies
/// what was found.
fn each<'a>(
    ctx: &Context<'_>,
    id: &[u8],
    keys: &[Arg<'a>],
    deed: &SettleAction,
    change: impl Fn(&Reservation<LimitsRef>, SettleOutcome) -> Option<RateLimitChange<'a>>,
) -> Result<(), Error> {
    let now = ctx.now();
    ctx.settle_keys(keys.iter().copied());
    for (at, name) in keys.iter().enumerate() {
        let checked = ctx.write(*name).value::<RateLimit>().map(drop);
        checked.map_err(|wrong| Error::from(wrong).of_item("key", at))?;
    }
    let mut together = EffectBatch::new(ctx);
    let mut all = SettleOutcome::Nothing;
    for name in keys {
        let mut key = ctx.write(*name);
        let todo = key.value::<RateLimit>()?.and_then(|value| {
            let all = value.reservations()?.at(ctx.main(), now);
            let one = all.book().get(id)?;
            let found = match one.stage_at(now)? {
                Stage::Open => SettleOutcome::Open,
                Stage::Ended => SettleOutcome::Late,
            };
            Some((found, change(one, found)))
        });
        let Some((found, change)) = todo else { continue };
        all = all.max(found);
        if let Some(change) = change {
            together.apply(ctx, &mut key, &effect(ctx, now, change), deed.event)?;
            metrics::count(ctx.main(), deed.counter);
        }
    }
    together.propagate(ctx);
    reply::integer(ctx, all.number());
    Ok(())
}

/// `RL.RESERVATIONS key`: of each open one, soonest to end first, its id, cost,
/// age and time left in milliseconds.
///
/// # Errors
/// A key of another type.
pub fn reservations(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let name = ArgCursor::only_key(args)?;
    let now = ctx.now();
    let key = ctx.read(name);
    let held = key.value::<RateLimit>()?;
    let all = held.as_deref().and_then(RateLimit::reservations).map(|all| all.at(ctx.main(), now));
    let open: Vec<_> = all.iter().flat_map(|all| all.book().open_at(now)).collect();
    reply::array(ctx, open.len());
    for (id, one) in open {
        reply::array(ctx, 4);
        reply::bytes(ctx, id);
        reply::integer(ctx, signed(one.cost));
        reply::integer(ctx, signed(now.since(one.granted) / 1000));
        reply::integer(ctx, signed(one.end.millis_after(now)));
    }
    Ok(())
}
