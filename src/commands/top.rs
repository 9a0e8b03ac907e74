//! RL.TOP: shows the busiest keys, the breakers that are open, and the keys that operators blocked
//! or pinned.

use super::quota;
use crate::commands::arguments::{ArgCursor, flags, number};
use crate::commands::options::Options;
use crate::core::retry_after::RetryAfter;
use crate::core::stats::heavy_hitters::BusyPeriod;
use crate::limiter::Error;
use crate::limiter::breaker::open;
use crate::limiter::operated::{self, PinnedTo};
use crate::limiter::resolve::KeyView;
use crate::observe::key_mask;
use crate::observe::top as observed;
use crate::observe::top::RequestOutcome;
use crate::queue;
use crate::server::context::Context;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::call::{OwnedString, user_may_see};
use crate::server::ffi::reply::{self, Each, Reply};
use crate::server::load::argument::Argument;
use crate::types::cbcircuit::CbCircuit;
use crate::types::ratelimit::RateLimit;

const DEFAULT: u64 = 10;
const MOST: u64 = 2048;

/// The list that the call asks for.
#[derive(Clone, Copy, Debug)]
enum TopList {
    Decided(RequestOutcome),
    OpenBreakers,
    Blocked,
    Pinned,
}

const WORDS: [(&str, TopList); 5] = [
    ("DENIED", TopList::Decided(RequestOutcome::Denied)),
    ("GRANTED", TopList::Decided(RequestOutcome::Granted)),
    ("OPEN", TopList::OpenBreakers),
    ("BLOCKED", TopList::Blocked),
    ("PINNED", TopList::Pinned),
];
/// `DENIED|GRANTED|OPEN|BLOCKED|PINNED [n] [NOW]`
pub const ARGUMENTS: &[Argument] = &[
    Argument::one_of("which", const { &flags(&WORDS) }),
    Argument::integer("n").optional(),
    Argument::flag("NOW").optional(),
];

/// `RL.TOP DENIED|GRANTED|OPEN|BLOCKED|PINNED [n] [NOW]` replies at most `n` rows:
///
/// * for DENIED and GRANTED `[key, count, error]`, the busiest since the module was loaded first;
///   the true count is at least `count - error`;
/// * with NOW `[key, count, since_ms, by]`, for the keys that are busy now;
/// * for OPEN `[key, state, since_ms, retry_after_ms]`, the breaker first that has been open for
///   longest;
/// * for BLOCKED `[key, reason, until_ms]`, and for PINNED `[key, limits|breaker, text, until_ms]`,
///   the key first that stays so for longest.
///
/// Keys that the user may not read are left out.
///
/// # Errors
/// Malformed arguments.
pub fn top(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut cursor = ArgCursor::new(args);
    let which = cursor.choice(&WORDS)?;
    let n = cursor.take_unless(|next| next.is("NOW"));
    let n = n.map_or(Ok(DEFAULT), |n| number("n", n, 1, MOST))?;
    let n = usize::try_from(n).unwrap_or(usize::MAX);
    let mut lately = false;
    while matches!(which, TopList::Decided(_)) && cursor.option(const { &Options::of(ARGUMENTS) })?.is_some()
    {
        lately = true;
    }
    cursor.end()?;
    match which {
        TopList::OpenBreakers => open_breakers(ctx, n),
        TopList::Blocked => blocked(ctx, n),
        TopList::Pinned => pinned(ctx, n),
        TopList::Decided(outcome) if lately => now(ctx, outcome, n),
        TopList::Decided(outcome) => ever(ctx, outcome, n),
    }
    Ok(())
}

fn ever(ctx: &Context<'_>, outcome: RequestOutcome, n: usize) {
    let all = observed::list(ctx.main(), outcome, ctx.now());
    rows(
        ctx,
        all,
        n,
        |busy| &busy.name,
        |name, busy| {
            reply::array(ctx, &[name, &busy.count, &busy.error]);
        },
    );
}

fn now(ctx: &Context<'_>, outcome: RequestOutcome, n: usize) {
    let all = observed::list(ctx.main(), outcome, ctx.now()).into_iter();
    let mut lately: Vec<(Vec<u8>, BusyPeriod)> =
        all.filter_map(|busy| Some((busy.name, busy.spell?))).collect();
    // Keys with equal counts keep their order: the busiest of all time comes first.
    lately.sort_by_key(|(_, spell)| std::cmp::Reverse(spell.count));
    rows(
        ctx,
        lately,
        n,
        |(name, _)| name,
        |shown, (name, spell)| {
            let by = by(ctx, OwnedString::new(ctx, name).arg());
            reply::array(ctx, &[shown, &spell.count, &spell.since.millis(), &by]);
        },
    );
}

fn open_breakers(ctx: &Context<'_>, n: usize) {
    rows(
        ctx,
        open::list(ctx),
        n,
        |open| &open.name,
        |name, open| {
            reply::array(ctx, &[name, &open.state.name(), &open.since.millis(), &open.retry_after_ms]);
        },
    );
}

fn blocked(ctx: &Context<'_>, n: usize) {
    rows(
        ctx,
        operated::blocked(ctx),
        n,
        |one| &one.name,
        |name, one| {
            reply::array(ctx, &[name, &one.word, &one.until]);
        },
    );
}

fn pinned(ctx: &Context<'_>, n: usize) {
    rows(
        ctx,
        operated::pinned(ctx),
        n,
        |one| &one.name,
        |name, one| {
            let (kind, text) = match &one.word {
                PinnedTo::Limits(text) => ("limits", text),
                PinnedTo::Breaker(text) => ("breaker", text),
            };
            reply::array(ctx, &[name, &kind, text, &one.until]);
        },
    );
}

/// Writes a row for each of the first `n` keys that the user may read. `row` gets the key's name as
/// the user may see it.
fn rows<T>(
    ctx: &Context<'_>,
    all: Vec<T>,
    n: usize,
    name: impl Fn(&T) -> &[u8],
    row: impl Fn(&dyn Reply, &T),
) {
    let seen: Vec<T> = all.into_iter().filter(|one| user_may_see(ctx, name(one))).take(n).collect();
    Each(&seen, |_: &Context<'_>, one: &T| row(&key_mask::shown(ctx.main(), name(one)), one)).send(ctx);
}

/// What would deny a request for one unit of this key now: names of limits, `blocked`, `queue`, or
/// the state of a breaker. `None` if it would be granted, or if that is unknown.
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
    let found = KeyView::of(ctx, name, value, now);
    let denying = quota::denying(found).ok()?;
    (!denying.is_empty()).then(|| denying.join(","))
}
