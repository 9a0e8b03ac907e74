//! RL.TOP: shows the busiest keys, the breakers that are open, and the keys that operators blocked,
//! pinned or forced.

use super::quota;
use crate::commands::arguments::number;
use crate::commands::cursor::ArgCursor;
use crate::commands::hints;
use crate::commands::options::{Options, flags};
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
use std::ops::Deref;

const DEFAULT: u64 = 10;
const MOST: u64 = 2048;

/// The list that the call asks for.
#[derive(Clone, Copy, Debug)]
enum TopList {
    Decided(RequestOutcome),
    OpenBreakers,
    Blocked,
    Pinned,
    ForcedBreakers,
}

const WORDS: [(&str, TopList); 6] = [
    ("DENIED", TopList::Decided(RequestOutcome::Denied)),
    ("GRANTED", TopList::Decided(RequestOutcome::Granted)),
    ("OPEN", TopList::OpenBreakers),
    ("BLOCKED", TopList::Blocked),
    ("PINNED", TopList::Pinned),
    ("FORCED", TopList::ForcedBreakers),
];
/// `DENIED|GRANTED|OPEN|BLOCKED|PINNED|FORCED [n] [NOW]`
pub const ARGUMENTS: &[Argument] = &[
    Argument::one_of("which", const { &flags(&WORDS) }),
    Argument::integer("n").optional(),
    Argument::flag("NOW").optional(),
];

/// `RL.TOP DENIED|GRANTED|OPEN|BLOCKED|PINNED|FORCED [n] [NOW]` replies at most `n` rows:
///
/// * for DENIED and GRANTED `[key, count, error]`, the busiest since the module was loaded first;
///   the true count is at least `count - error`;
/// * with NOW `[key, count, since_ms, by]`, for the keys that are busy now;
/// * for OPEN `[key, state, since_ms, retry_after_ms]`, the breaker first that has been open for
///   longest;
/// * for BLOCKED `[key, reason, until_ms]`, and for PINNED `[key, limits|breaker, text, until_ms]`,
///   the key first that stays so for longest;
/// * for FORCED `[key, state, reason, until_ms]`, the breaker first that stays forced for longest.
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
    // The other lists are of now anyway.
    let options = match which {
        TopList::Decided(_) => const { &Options::of(ARGUMENTS) },
        _ => const { &Options::of(&[]) },
    };
    let mut lately = false;
    while let Some((option, _)) = cursor.option(options)? {
        match option {
            "NOW" => lately = true,
            _ => return Err(hints::not_taken(option)),
        }
    }
    match which {
        TopList::Decided(outcome) if lately => now(ctx, outcome, n),
        TopList::Decided(outcome) => {
            let all = observed::list(ctx.main(), outcome, ctx.now()).into_iter();
            let all = all.map(|busy| (busy.name, (busy.count, busy.error)));
            rows(ctx, all, n, |name, _, (count, error)| reply::array(ctx, &[name, count, error]));
        }
        TopList::OpenBreakers => rows(ctx, open::list(ctx), n, |name, _, open| {
            reply::array(ctx, &[name, &open.state.name(), &open.since.millis(), &open.retry_after_ms]);
        }),
        TopList::Blocked => rows(ctx, operated::blocked(ctx), n, |name, _, one| {
            reply::array(ctx, &[name, &one.word, &one.until]);
        }),
        TopList::Pinned => rows(ctx, operated::pinned(ctx), n, |name, _, one| {
            let (kind, text) = match &one.word {
                PinnedTo::Limits(text) => ("limits", text),
                PinnedTo::Breaker(text) => ("breaker", text),
            };
            reply::array(ctx, &[name, &kind, text, &one.until]);
        }),
        TopList::ForcedBreakers => rows(ctx, open::forced(ctx), n, |name, _, one| {
            reply::array(ctx, &[name, &one.state.name(), &one.reason, &one.until]);
        }),
    }
    Ok(())
}

fn now(ctx: &Context<'_>, outcome: RequestOutcome, n: usize) {
    let all = observed::list(ctx.main(), outcome, ctx.now()).into_iter();
    let mut lately: Vec<(Vec<u8>, BusyPeriod)> =
        all.filter_map(|busy| Some((busy.name, busy.period?))).collect();
    // Keys with equal counts keep their order: the busiest of all time comes first.
    lately.sort_by_key(|(_, period)| std::cmp::Reverse(period.count));
    rows(ctx, lately, n, |shown, name, period| {
        let by = by(ctx, OwnedString::new(ctx, name).arg());
        reply::array(ctx, &[shown, &period.count, &period.since.millis(), &by]);
    });
}

/// Writes a row for each of the first `n` keys that the user may read. `row` gets the key's name as
/// the user may see it, the name itself, and what there is to tell of the key.
fn rows<N: Deref<Target = [u8]>, T>(
    ctx: &Context<'_>,
    all: impl IntoIterator<Item = (N, T)>,
    n: usize,
    row: impl Fn(&dyn Reply, &[u8], &T),
) {
    let seen: Vec<(N, T)> = all.into_iter().filter(|(name, _)| user_may_see(ctx, name)).take(n).collect();
    let item = |_: &Context<'_>, (name, what): &(N, T)| {
        row(&key_mask::shown(ctx.main(), name), name, what);
    };
    Each(&seen, item).send(ctx);
}

/// Names what would deny a request for one unit of this key now: names of limits, `blocked`,
/// `queue`, or the state of a breaker. `None` if it would be granted, or if that is unknown.
fn by(ctx: &Context<'_>, name: Arg<'_>) -> Option<String> {
    let now = ctx.now();
    let key = ctx.look(name);
    if let Ok(Some(circuit)) = key.value::<CbCircuit>() {
        let seen = open::view(ctx, name.bytes(), &circuit, now);
        let denies = seen.retry > RetryAfter::Now && !circuit.is_over(now);
        return denies.then(|| seen.state.name().to_owned());
    }
    let held = key.value::<RateLimit>().ok()?;
    let found = KeyView::of(ctx, name, held.as_deref(), now);
    if found.is_blocked() {
        return Some("blocked".to_owned());
    }
    if queue::has_queue(ctx, name) {
        return Some("queue".to_owned());
    }
    let denying = quota::denying(found).ok()?;
    (!denying.is_empty()).then(|| denying.join(","))
}
