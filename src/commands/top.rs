//! RL.TOP: the busiest keys, ever or now, the breakers that are open, and the keys that
//! operators blocked or pinned.

use super::arguments::number;
use super::{quota, way_out};
use crate::commands::arguments::ArgCursor;
use crate::core::retry_after::RetryAfter;
use crate::core::stats::heavy_hitters::BusyPeriod;
use crate::limiter::Error;
use crate::limiter::breaker::open;
use crate::limiter::operated::{self, PinnedTo};
use crate::limiter::reply::signed;
use crate::observe::key_mask;
use crate::observe::top as observed;
use crate::observe::top::{BusyKey, RequestOutcome};
use crate::queue;
use crate::server::context::Context;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::call::{OwnedString, user_may_see};
use crate::server::ffi::reply;
use crate::types::cbcircuit::CbCircuit;
use crate::types::ratelimit::RateLimit;
use crate::types::until::Until;

const DEFAULT: u64 = 10;
const MOST: u64 = 2048;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
enum Which {
    Decided(RequestOutcome),
    OpenBreakers,
    Blocked,
    Pinned,
}

/// `RL.TOP DENIED|GRANTED|OPEN|BLOCKED|PINNED [n] [NOW]`. Of keys `[key, count, error]`, the
/// busiest since the module was loaded first: the true count is at most `error`
/// less; with NOW `[key, count, since_ms, by]` of the last minute's. Of breakers
/// that are open `[key, state, since_ms, retry_after_ms]`, the longest so first. Of
/// blocked keys `[key, reason, until_ms]`, and of pinned ones
/// `[key, limits|breaker, text, until_ms]`, those first that stay so for longest.
/// Keys that the user may not read are left out.
///
/// # Errors
/// Malformed arguments.
pub fn top(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = ArgCursor::new(args);
    let which = walk.required()?;
    let which = if which.is("DENIED") {
        Which::Decided(RequestOutcome::Denied)
    } else if which.is("GRANTED") {
        Which::Decided(RequestOutcome::Granted)
    } else if which.is("OPEN") {
        Which::OpenBreakers
    } else if which.is("BLOCKED") {
        Which::Blocked
    } else if which.is("PINNED") {
        Which::Pinned
    } else {
        return Err(way_out::none_of(which, "DENIED, GRANTED, OPEN, BLOCKED or PINNED"));
    };
    let n = match walk.peek() {
        Some(next) if !next.is("NOW") => {
            walk.take();
            number("n", next, 1, MOST)?
        }
        _ => DEFAULT,
    };
    let n = usize::try_from(n).unwrap_or(usize::MAX);
    let lately = matches!(which, Which::Decided(_)) && walk.keyword("NOW");
    walk.end()?;
    match which {
        Which::OpenBreakers => open_breakers(ctx, n),
        Which::Blocked => blocked(ctx, n),
        Which::Pinned => pinned(ctx, n),
        Which::Decided(outcome) if lately => now(ctx, outcome, n),
        Which::Decided(outcome) => ever(ctx, outcome, n),
    }
    Ok(())
}

fn ever(ctx: &Context<'_>, outcome: RequestOutcome, n: usize) {
    let all = observed::list(ctx.main(), outcome, ctx.now());
    let seen: Vec<BusyKey> = all.into_iter().filter(|busy| user_may_see(ctx, &busy.name)).take(n).collect();
    reply::array(ctx, seen.len());
    for busy in &seen {
        reply::array(ctx, 3);
        reply::bytes(ctx, &key_mask::shown(ctx.main(), &busy.name));
        reply::integer(ctx, signed(busy.count));
        reply::integer(ctx, signed(busy.error));
    }
}

fn now(ctx: &Context<'_>, outcome: RequestOutcome, n: usize) {
    let all = observed::list(ctx.main(), outcome, ctx.now());
    let mut seen: Vec<(Vec<u8>, BusyPeriod)> = all
        .into_iter()
        .filter_map(|busy| Some((busy.name, busy.spell?)))
        .filter(|(name, _)| user_may_see(ctx, name))
        .collect();
    // Equals stay as they were: the busiest ever first.
    seen.sort_by_key(|(_, spell)| std::cmp::Reverse(spell.count));
    seen.truncate(n);
    reply::array(ctx, seen.len());
    for (name, spell) in &seen {
        reply::array(ctx, 4);
        reply::bytes(ctx, &key_mask::shown(ctx.main(), name));
        reply::integer(ctx, signed(spell.count));
        reply::integer(ctx, signed(spell.since.0 / 1000));
        match by(ctx, OwnedString::new(ctx, name).arg()) {
            Some(by) => reply::text(ctx, &by),
            None => reply::null(ctx),
        }
    }
}

fn open_breakers(ctx: &Context<'_>, n: usize) {
    let all = open::list(ctx);
    let seen: Vec<_> = all.into_iter().filter(|open| user_may_see(ctx, &open.name)).take(n).collect();
    reply::array(ctx, seen.len());
    for open in &seen {
        reply::array(ctx, 4);
        reply::bytes(ctx, &key_mask::shown(ctx.main(), &open.name));
        reply::text(ctx, open.state.name());
        reply::integer(ctx, signed(open.since.0 / 1000));
        reply::integer(ctx, open.retry_after_ms);
    }
}

fn blocked(ctx: &Context<'_>, n: usize) {
    let all = operated::blocked(ctx);
    let seen: Vec<_> = all.into_iter().filter(|one| user_may_see(ctx, &one.name)).take(n).collect();
    reply::array(ctx, seen.len());
    for one in &seen {
        reply::array(ctx, 3);
        reply::bytes(ctx, &key_mask::shown(ctx.main(), &one.name));
        reply::bytes(ctx, &one.word);
        reply::integer(ctx, until_ms(one.until));
    }
}

fn pinned(ctx: &Context<'_>, n: usize) {
    let all = operated::pinned(ctx);
    let seen: Vec<_> = all.into_iter().filter(|one| user_may_see(ctx, &one.name)).take(n).collect();
    reply::array(ctx, seen.len());
    for one in &seen {
        reply::array(ctx, 4);
        reply::bytes(ctx, &key_mask::shown(ctx.main(), &one.name));
        let (kind, text) = match &one.word {
            PinnedTo::Limits(text) => ("limits", text),
            PinnedTo::Breaker(text) => ("breaker", text),
        };
        reply::text(ctx, kind);
        reply::text(ctx, text);
        reply::integer(ctx, until_ms(one.until));
    }
}

/// Unix milliseconds; -1 for ever.
fn until_ms(until: Until) -> i64 {
    until.end().map_or(-1, |end| signed(end.ceil_millis()))
}

/// By what a request for one unit of this key would be denied now: names of
/// limits, `blocked`, `queue`, or the state of a breaker; `None` where it would
/// be granted, or nothing can be said.
fn by(ctx: &Context<'_>, name: Arg<'_>) -> Option<String> {
    let now = ctx.now();
    let key = ctx.read(name);
    if let Ok(Some(circuit)) = key.value::<CbCircuit>() {
        let seen = open::view(ctx, name.bytes(), &circuit, now);
        let denies = seen.retry > RetryAfter::Now && !circuit.is_over(now);
        return denies.then(|| seen.state.name().to_owned());
    }
    let held = key.value::<RateLimit>().ok()?;
    let value = held.as_deref();
    if value.is_some_and(|value| value.block(now).is_some()) {
        return Some("blocked".to_owned());
    }
    if queue::has_queue(ctx, name) {
        return Some("queue".to_owned());
    }
    let denying = quota::denying(ctx, name.bytes(), value, now).ok()?;
    (!denying.is_empty()).then(|| denying.join(","))
}
