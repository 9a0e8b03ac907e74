//! RL.QUOTA: looks without taking.

use super::Error;
use super::acquire::denied_by_block;
use super::arguments::{Walk, cost, unexpected};
use super::resolve::{Resolved, Source, limits_of, resolve, usage_of};
use super::six::{retry_ms, signed};
use super::waiting;
use crate::core::clock::Micros;
use crate::core::limits::{Limit, Look, Request, Standing, State, Wait, decide, look};
use crate::observe::metrics;
use crate::server::args::Args;
use crate::server::context::Context;
use crate::server::main_thread::MainThread;
use crate::server::reply;
use crate::types::intern::{self, Origin};
use crate::types::ratelimit::reserve::hold;
use crate::types::ratelimit::{Block, RateLimit, Until};

/// `RL.QUOTA key [limits] [COST n] [HEADERS]`
///
/// # Errors
/// Malformed arguments or a key of another type.
pub fn quota(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = Walk::new(args);
    let name = walk.required()?;
    let mut given = None;
    if let Some(next) = walk.peek()
        && !next.is("COST")
        && !next.is("HEADERS")
    {
        walk.take();
        given = Some(next.bytes());
    }
    let (mut units, mut headers) = (1, false);
    while let Some(option) = walk.take() {
        if option.is("COST") {
            units = cost(walk.value_of("COST")?)?;
        } else if option.is("HEADERS") {
            headers = true;
        } else {
            return Err(unexpected(option));
        }
    }
    let now = ctx.now();
    let mut key = ctx.read(name);
    let line = waiting::served_by(ctx, &mut key, now)?;
    let held = key.value::<RateLimit>()?;
    let view = View::of(ctx, name.bytes(), held.as_deref(), given, units, now)?;
    metrics::count(ctx.main(), |m| &mut m.quota_calls);
    match view {
        None => reply::null(ctx),
        Some(view) if headers => view.send_headers(ctx, line),
        Some(view) => view.send(ctx),
    }
    Ok(())
}

/// The names of the limits that would deny a request for one unit now.
///
/// # Errors
/// Those of the key's limits.
pub fn denying(
    ctx: &Context<'_>,
    key: &[u8],
    value: Option<&RateLimit>,
    now: Micros,
) -> Result<Vec<String>, Error> {
    let view = View::of(ctx, key, value, None, 1, now)?;
    let rows = view.iter().flat_map(|view| &view.rows);
    let denying = rows.filter(|row| !row.limit.shadow() && row.look.retry > Wait::Now);
    Ok(denying.map(|row| row.limit.label().into_owned()).collect())
}

/// One limit as it stands.
#[derive(Debug)]
struct Row {
    limit: Limit,
    look: Look,
}

/// Everything that RL.QUOTA tells.
#[derive(Debug)]
struct View<'v> {
    now: Micros,
    rows: Vec<Row>,
    source: Source,
    block: Option<&'v Block>,
    /// Where the whole stands: the binding limit, `None` without limits.
    standing: Option<Standing>,
}

impl<'v> View<'v> {
    fn of(
        ctx: &Context<'_>,
        key: &[u8],
        value: Option<&'v RateLimit>,
        given: Option<&[u8]>,
        units: u64,
        now: Micros,
    ) -> Result<Option<Self>, Error> {
        let main = ctx.main();
        let block = value.and_then(|value| value.block(now));
        let Some((resolved, source)) = choose(main, key, value, given, now)? else {
            return Ok(block.map(|block| Self {
                now,
                rows: Vec::new(),
                source: Source::Last,
                block: Some(block),
                standing: None,
            }));
        };
        let request = Request { cost: units, calls: 1, partial: false, critical: false };
        let (limits, mut states) = usage_of(main, value, &resolved, now).ok_or(Error::NoLimits)?;
        let set = limits.get(main);
        hold(main, value, set.limits(), &mut states, now, now);
        let rows = rows(set.limits(), &states, now, units);
        let decision = decide(set.limits(), &states, now, &request);
        let standing = Some(decision.before(set.limits(), &states, now));
        Ok(Some(Self { now, rows, source, block, standing }))
    }

    fn send(&self, ctx: &Context<'_>) {
        reply::array(ctx, self.rows.len() + usize::from(self.block.is_some()));
        for Row { limit, look } in &self.rows {
            reply::map(ctx, 11);
            for (name, value) in [("name", limit.label()), ("algorithm", shown_algorithm(limit).into())] {
                reply::text(ctx, name);
                reply::text(ctx, &value);
            }
            let reset_at = self.now.plus(look.reset_after_us).ceil_millis();
            for (name, value) in [
                ("limit", limit.capacity().map_or(-1, signed)),
                ("used", signed(look.used)),
                ("remaining", look.remaining.map_or(-1, signed)),
                ("period_ms", limit.period_us().map_or(-1, |us| signed(us / 1000))),
                ("retry_after_ms", retry_ms(look.retry)),
                ("reset_after_ms", signed(look.reset_after_us.div_ceil(1000))),
                ("reset_at_ms", signed(reset_at)),
            ] {
                reply::text(ctx, name);
                reply::integer(ctx, value);
            }
            reply::text(ctx, "shadow");
            reply::boolean(ctx, limit.shadow());
            reply::text(ctx, "source");
            reply::text(ctx, self.source.name());
        }
        if let Some(block) = self.block {
            reply::map(ctx, 1);
            reply::text(ctx, "blocked");
            reply::map(ctx, 2);
            reply::text(ctx, "until");
            reply::integer(
                ctx,
                match block.until {
                    Until::At(at) => signed(at.ceil_millis()),
                    Until::Forever => -1,
                },
            );
            reply::text(ctx, "reason");
            reply::bytes(ctx, &block.reason);
        }
    }

    /// One flat map of strings, ready to be sent as HTTP headers. Where a line
    /// stands on the key nobody else is served before it has been.
    fn send_headers(&self, ctx: &Context<'_>, line: Option<Micros>) {
        let mut standing = self.standing;
        let line = line.map(|served| Wait::After(served.since(self.now)));
        if let (Some(standing), Some(line)) = (&mut standing, line) {
            *standing = Standing { remaining: Some(0), retry: standing.retry.max(line), ..*standing };
        }
        if let Some(block) = self.block {
            let mut blocked = denied_by_block(standing.unwrap_or(Standing::UNLIMITED), block, self.now);
            // Nothing is there again before the block ends.
            if let Until::At(end) = block.until {
                blocked.reset_after_us = blocked.reset_after_us.max(end.since(self.now));
            }
            standing = Some(blocked);
        }
        let retry_seconds = match standing.map(|standing| standing.retry) {
            Some(Wait::After(us)) => Some(seconds(us)),
            _ => None,
        };
        let mut fields: Vec<(&str, String)> = Vec::new();
        let visible = || self.rows.iter().filter(|row| !row.limit.shadow() && row.limit.capacity().is_some());
        let policies: Vec<String> = visible().map(|row| policy_item(&row.limit)).collect();
        if !policies.is_empty() {
            fields.push(("RateLimit-Policy", policies.join(", ")));
            let denied = self.block.map(|block| block.until.wait(self.now)).max(line);
            let items: Vec<String> =
                visible().map(|row| Self::limit_item(row, denied, retry_seconds)).collect();
            fields.push(("RateLimit", items.join(", ")));
        }
        if let Some(Standing { limit: Some(limit), remaining, reset_after_us, .. }) = standing {
            fields.push(("X-RateLimit-Limit", limit.to_string()));
            fields.push(("X-RateLimit-Remaining", remaining.unwrap_or(limit).to_string()));
            fields.push(("X-RateLimit-Reset", seconds(self.now.plus(reset_after_us).0).to_string()));
        }
        if let Some(seconds) = retry_seconds {
            fields.push(("Retry-After", seconds.to_string()));
        }
        reply::map(ctx, fields.len());
        for (name, value) in &fields {
            reply::text(ctx, name);
            reply::text(ctx, value);
        }
    }

    /// `"name";r=50;t=30`. Retry-After must not be earlier than `t`, so a
    /// denying limit tells when it grants again, and one that would tell a later
    /// time than Retry-After tells none.
    fn limit_item(row: &Row, denied: Option<Wait>, retry_after: Option<u64>) -> String {
        let (remaining, retry) = match denied {
            None => (row.look.remaining.unwrap_or(0), row.look.retry),
            Some(denied) => (0, row.look.retry.max(denied)),
        };
        let at = match retry {
            Wait::After(us) => Some(seconds(us)),
            Wait::Now => Some(seconds(row.look.reset_after_us)),
            Wait::Never => None,
        };
        let mut item = format!("\"{}\";r={remaining}", row.limit.label());
        if let Some(at) = at.filter(|&at| retry_after.is_none_or(|retry| at <= retry)) {
            item.push_str(&format!(";t={at}"));
        }
        item
    }
}

/// `"name";q=100;w=60`, with the unit where it is not the request's cost.
fn policy_item(limit: &Limit) -> String {
    let mut item = format!("\"{}\";q={}", limit.label(), limit.capacity().unwrap_or(0));
    if limit.per_call() {
        item.push_str(";qu=\"requests\"");
    } else if limit.algorithm_name() == "concurrent" {
        item.push_str(";qu=\"concurrent-requests\"");
    }
    if let Some(us) = limit.period_us() {
        item.push_str(&format!(";w={}", seconds(us)));
    }
    item
}

/// Whole seconds, rounded up.
const fn seconds(us: u64) -> u64 {
    us.div_ceil(1_000_000)
}

/// CL.THROTTLE keeps what users know as a bucket.
fn shown_algorithm(limit: &Limit) -> &'static str {
    match limit.algorithm_name() {
        "throttle" => "bucket",
        name => name,
    }
}

fn rows(limits: &[Limit], states: &[State], now: Micros, units: u64) -> Vec<Row> {
    limits
        .iter()
        .zip(states)
        .map(|(limit, state)| Row { limit: limit.clone(), look: look(limit, state, now, units) })
        .collect()
}

/// Which limits to show: those given; else the pin, the key's own last, a
/// policy's, the default. `*` asks for what the server has for the key, so the
/// key's own last come after all others.
fn choose(
    main: MainThread,
    key: &[u8],
    value: Option<&RateLimit>,
    given: Option<&[u8]>,
    now: Micros,
) -> Result<Option<(Resolved, Source)>, Error> {
    let own = value.and_then(RateLimit::limits_id);
    if let Some(text) = given
        && let Some(resolved) = limits_of(main, own, text)?
    {
        return Ok(Some((resolved, Source::Call)));
    }
    let server = match resolve(main, key, value, None, now) {
        Ok(found) => Some(found),
        Err(Error::NoLimits) => None,
        Err(error) => return Err(error),
    };
    if given.is_some() && server.is_some() || matches!(server, Some((_, Source::Pin))) {
        return Ok(server);
    }
    let Some(own) = own else { return Ok(server) };
    // What came from a policy is asked for anew.
    let origin = intern::get(main, own).origin().cloned();
    Ok(match (origin, server) {
        (Some(Origin::Followed(_)), Some((resolved, Source::Policy))) => Some((resolved, Source::Policy)),
        (Some(Origin::Named(text)), _) => match limits_of(main, Some(own), text.as_bytes()) {
            Ok(Some(resolved)) => Some((resolved, Source::Policy)),
            _ => Some((Resolved::Own, Source::Last)),
        },
        _ => Some((Resolved::Own, Source::Last)),
    })
}
