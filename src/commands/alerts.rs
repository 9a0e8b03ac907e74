//! RL.ALERTS: the alerts that last, and recent ones.

use crate::commands::arguments::number;
use crate::commands::cursor::ArgCursor;
use crate::commands::hints;
use crate::commands::options::Options;
use crate::core::stats::alerts::{Alert, REMEMBERED};
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::observe::{alerts as observed, key_mask};
use crate::server::context::Context;
use crate::server::ffi::args::Args;
use crate::server::ffi::call::user_may_see;
use crate::server::ffi::reply::{self, Each, Reply};
use crate::server::load::argument::Argument;

const DEFAULT: u64 = 10;

/// `[n] [KEY key]`
pub const ARGUMENTS: &[Argument] =
    &[Argument::integer("n").optional(), Argument::text("key").after("KEY").optional()];
const OPTIONS: Options = Options::of(ARGUMENTS);

/// `RL.ALERTS [n] [KEY key]`: a map for each alert, the newest first. Alerts of keys that the user
/// may not read are left out.
///
/// # Errors
/// Malformed arguments.
pub fn alerts(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut cursor = ArgCursor::new(args);
    let n = cursor.before(&OPTIONS).map_or(Ok(DEFAULT), |n| number("n", n, 1, REMEMBERED as u64))?;
    let mut of = None;
    while let Some((option, value)) = cursor.option(&OPTIONS)? {
        match option {
            "KEY" => of = Some(value.bytes()),
            _ => return Err(hints::not_taken(option)),
        }
    }
    let seen: Vec<_> = observed::recent(ctx.main())
        .into_iter()
        .filter(|alert| of.is_none_or(|key| alert.key.as_deref() == Some(key)))
        .filter(|alert| may_see(ctx, alert))
        .take(usize::try_from(n).unwrap_or(usize::MAX))
        .collect();
    Each(&seen, send).send(ctx);
    Ok(())
}

fn may_see(ctx: &Context<'_>, alert: &Alert) -> bool {
    alert.key.as_deref().is_none_or(|key| user_may_see(ctx, key))
}

fn send(ctx: &Context<'_>, alert: &Alert) {
    reply::map(
        ctx,
        &[
            ("alert", &alert.kind.name()),
            ("active", &alert.ended.is_none()),
            ("key", &alert.key.as_deref().map(|key| key_mask::shown(ctx.main(), key))),
            ("value", &alert.value),
            ("peak", &alert.peak),
            ("threshold", &alert.threshold),
            ("unit", &alert.kind.unit()),
            ("started_at_ms", &alert.started.millis()),
            ("ended_at_ms", &alert.ended.map(Micros::millis)),
        ],
    );
}
