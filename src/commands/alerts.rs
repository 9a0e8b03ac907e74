//! RL.ALERTS: what was wrong lately, and what still is.

use super::arguments::number;
use crate::commands::arguments::ArgCursor;
use crate::core::stats::alerts::{Alert, REMEMBERED};
use crate::limiter::Error;
use crate::limiter::reply::signed;
use crate::observe::{alerts as observed, key_mask};
use crate::server::context::Context;
use crate::server::ffi::args::Args;
use crate::server::ffi::call::user_may_see;
use crate::server::ffi::reply;

const DEFAULT: u64 = 10;

/// `RL.ALERTS [n] [KEY key]`: a map for each, the newest first. Alerts of keys
/// that the user may not read are left out.
///
/// # Errors
/// Malformed arguments.
pub fn alerts(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = ArgCursor::new(args);
    let n = match walk.peek() {
        Some(arg) if !arg.is("KEY") => {
            walk.take();
            number("n", arg, 1, REMEMBERED as u64)?
        }
        _ => DEFAULT,
    };
    let mut of = None;
    while let Some(option) = walk.option(&["KEY"])? {
        of = Some(walk.value_of(option)?.bytes());
    }
    let seen: Vec<_> = observed::recent(ctx.main())
        .into_iter()
        .filter(|alert| of.is_none_or(|key| alert.key.as_deref() == Some(key)))
        .filter(|alert| may_see(ctx, alert))
        .take(usize::try_from(n).unwrap_or(usize::MAX))
        .collect();
    reply::array(ctx, seen.len());
    for alert in &seen {
        send(ctx, alert);
    }
    Ok(())
}

fn may_see(ctx: &Context<'_>, alert: &Alert) -> bool {
    alert.key.as_deref().is_none_or(|key| user_may_see(ctx, key))
}

fn send(ctx: &Context<'_>, alert: &Alert) {
    let millis = |at: crate::core::time::Micros| signed(at.0 / 1000);
    reply::map(ctx, 9);
    reply::text(ctx, "alert");
    reply::text(ctx, alert.kind.name());
    reply::text(ctx, "active");
    reply::boolean(ctx, alert.ended.is_none());
    reply::text(ctx, "key");
    match alert.key.as_deref() {
        Some(key) => reply::bytes(ctx, &key_mask::shown(ctx.main(), key)),
        None => reply::null(ctx),
    }
    reply::text(ctx, "value");
    reply::integer(ctx, signed(alert.value));
    reply::text(ctx, "peak");
    reply::integer(ctx, signed(alert.peak));
    reply::text(ctx, "threshold");
    reply::integer(ctx, signed(alert.threshold));
    reply::text(ctx, "unit");
    reply::text(ctx, alert.kind.unit());
    reply::text(ctx, "started_at_ms");
    reply::integer(ctx, millis(alert.started));
    reply::text(ctx, "ended_at_ms");
    match alert.ended {
        Some(at) => reply::integer(ctx, millis(at)),
        None => reply::null(ctx),
    }
}
