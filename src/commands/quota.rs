//! RL.QUOTA: looks without taking.

use super::arguments::cost;
use crate::commands::arguments::ArgCursor;
use crate::core::limits::{Limit, LimitStatus, Look, Request, Rule, State, decide, look};
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::ends::{self, PinEnd, Retry};
use crate::limiter::reply::{RateLimitReply, signed};
use crate::limiter::resolve::{ResolvedLimits, Source, limits_of, resolve, usage_of};
use crate::limiter::words::Word;
use crate::observe::metrics;
use crate::queue;
use crate::server::context::Context;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::reply;
use crate::server::keys::key::ReadKey;
use crate::server::main_thread::MainThread;
use crate::types::intern;
use crate::types::intern::{InternedLimits, Origin};
use crate::types::operator::Block;
use crate::types::ratelimit::RateLimit;
use crate::types::ratelimit::hold;
use crate::types::until::Until;

/// `RL.QUOTA key [limits] [COST n] [HEADERS]`
///
/// # Errors
/// Malformed arguments or a key of another type.
pub fn quota(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = ArgCursor::new(args);
    let name = walk.required()?;
    let given = walk.take_unless(|next| next.is("COST") || next.is("HEADERS")).map(Arg::bytes);
    let (mut units, mut headers) = (1, false);
    while let Some(option) = walk.option(&["COST", "HEADERS"])? {
        match option {
            "COST" => units = cost(walk.value_of(option)?)?,
            _ => headers = true,
        }
    }
    // In this order, so that the value arrives meanwhile.
    let key = ctx.read(name);
    let now = ctx.now();
    let main = ctx.main();
    let ask = QuotaAsk { key: name.bytes(), given, units };
    let line = if headers { queue_for(ctx, &key, &ask, now)? } else { None };
    let held = key.value::<RateLimit>()?;
    let value = held.as_deref();
    let block = value.and_then(|value| value.block(now));
    let chosen = match ask.choose(main, value, now) {
        // A block needs no limits to hold.
        Err(Error::NoLimits) if block.is_some() => None,
        chosen => chosen?,
    };
    metrics::count(main, |m| &mut m.quota_calls);
    let block_ends = block.map(|block| block.lasting.until(now));
    let Some((resolved, source)) = chosen else {
        let view = QuotaView {
            now,
            units,
            limits: &[],
            labels: &[],
            states: &[],
            source: Source::Last,
            block,
            pin_end: None,
            retry: block_ends.map_or(RetryAfter::Now, |until| until.wait(now)),
        };
        match block {
            None => reply::null(ctx),
            Some(_) if headers => view.send_headers(ctx, line.as_ref()),
            Some(_) => view.send(ctx),
        }
        return Ok(());
    };
    // Whatever has to be looked up comes before the limits are borrowed.
    let pinned = source == Source::Pin;
    let limits_say = ask.wait(main, value, &resolved, now)?;
    let later = |value: Option<&RateLimit>, then| ask.retry(main, value, then);
    let retry = match value {
        Some(value) if limits_say > RetryAfter::Now || block.is_some() => {
            ends::across(main, value, Retry { limits: limits_say, pinned }, now, later)
        }
        _ => limits_say,
    };
    let pin_end = match value {
        Some(value) if pinned => PinEnd::of(main, value, now, later),
        _ => None,
    };
    with_usage(main, value, &resolved, &ask.request(), now, |set, states| {
        let (limits, labels) = (set.limits(), set.labels());
        let view = QuotaView { now, units, limits, labels, states, source, block, pin_end, retry };
        if headers { view.send_headers(ctx, line.as_ref()) } else { view.send(ctx) }
    })
}

/// How long the line on the key keeps the request from being granted, if one stands.
#[derive(Debug)]
struct QueueAhead(RetryAfter);

fn queue_for(
    ctx: &Context<'_>,
    key: &ReadKey<'_>,
    ask: &QuotaAsk<'_>,
    now: Micros,
) -> Result<Option<QueueAhead>, Error> {
    let told = match queue::look(ctx, key, ask.given, &ask.request(), now) {
        // Nobody waits for what cannot be taken so, but all wait behind the others.
        Err(Error::Concurrent(_) | Error::NoLimits | Error::TooManyAside) => {
            let served = queue::served_by(ctx, key, now)?;
            return Ok(served.map(|served| QueueAhead(RetryAfter::until(served, now))));
        }
        told => told?,
    };
    Ok(told.map(|RateLimitReply { status, .. }| QueueAhead(status.retry)))
}

/// What RL.QUOTA is asked to look for.
#[derive(Clone, Copy, Debug)]
struct QuotaAsk<'a> {
    key: &'a [u8],
    given: Option<&'a [u8]>,
    units: u64,
}

impl QuotaAsk<'_> {
    const fn request(&self) -> Request {
        Request { cost: self.units, calls: 1, partial: false, critical: false }
    }

    /// Which limits to show: with limits, `*` too, those that would decide the same
    /// RL.ACQUIRE; else the pin, the key's own last, a policy's, the default.
    fn choose(
        &self,
        main: MainThread,
        value: Option<&RateLimit>,
        now: Micros,
    ) -> Result<Option<(ResolvedLimits, Source)>, Error> {
        if self.given.is_some() {
            return resolve(main, self.key, value, self.given, now).map(Some);
        }
        choose(main, self.key, value, now)
    }

    /// How long until these limits grant.
    fn wait(
        &self,
        main: MainThread,
        value: Option<&RateLimit>,
        resolved: &ResolvedLimits,
        now: Micros,
    ) -> Result<RetryAfter, Error> {
        let request = self.request();
        with_usage(main, value, resolved, &request, now, |set, states| {
            decide(set.limits(), states, now, &request).status.retry
        })
    }

    /// How long until it is granted from `then` on.
    fn retry(&self, main: MainThread, value: Option<&RateLimit>, then: Micros) -> Result<RetryAfter, Error> {
        let (resolved, _) = self.choose(main, value, then)?.ok_or(Error::NoLimits)?;
        self.wait(main, value, &resolved, then)
    }
}

/// Looks at limits and what is in use of them; copies that only where it must.
fn with_usage<R>(
    main: MainThread,
    value: Option<&RateLimit>,
    resolved: &ResolvedLimits,
    request: &Request,
    now: Micros,
    look: impl FnOnce(&InternedLimits, &[State]) -> R,
) -> Result<R, Error> {
    if let (Some(value), ResolvedLimits::Own) = (value, resolved)
        && let Some(id) = value.limits_id()
    {
        let set = intern::get(main, id);
        if !set.has_concurrent() {
            return Ok(value.with_states(|states| look(&set, states)));
        }
    }
    let (limits, mut states) = usage_of(main, value, resolved, now).ok_or(Error::NoLimits)?;
    let set = limits.get(main);
    hold(main, value, set.limits(), &mut states, now, now, request);
    Ok(look(&set, &states))
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
    let Some((resolved, _)) = choose(ctx.main(), key, value, now)? else { return Ok(Vec::new()) };
    with_usage(ctx.main(), value, &resolved, &Request::of(1), now, |set, states| {
        let limits = set.limits().iter().zip(set.labels()).zip(states);
        let denying = limits.filter(|((limit, _), state)| {
            !limit.shadow() && look(limit, state, now, 1).retry > RetryAfter::Now
        });
        denying.map(|((_, label), _)| label.to_string()).collect()
    })
}

/// One limit as it stands.
#[derive(Debug)]
struct QuotaRow<'v> {
    limit: &'v Limit,
    label: &'v str,
    look: Look,
}

/// Everything that RL.QUOTA tells.
#[derive(Debug)]
struct QuotaView<'v> {
    now: Micros,
    /// The request to look for.
    units: u64,
    limits: &'v [Limit],
    labels: &'v [Box<str>],
    states: &'v [State],
    source: Source,
    block: Option<&'v Block>,
    /// Where the limits are a pin that ends.
    pin_end: Option<PinEnd>,
    /// Until the request would be granted, were there no line.
    retry: RetryAfter,
}

impl<'v> QuotaView<'v> {
    fn rows(&self) -> impl Iterator<Item = QuotaRow<'v>> {
        let (now, units, pin_end) = (self.now, self.units, self.pin_end);
        self.limits.iter().zip(self.labels).zip(self.states).map(move |((limit, label), state)| {
            let mut look = look(limit, state, now, units);
            if let Some(pin_end) = pin_end {
                look.retry = pin_end.wait(look.retry, now);
            }
            QuotaRow { limit, label, look }
        })
    }

    fn send(&self, ctx: &Context<'_>) {
        reply::array(ctx, self.limits.len() + usize::from(self.block.is_some()));
        for QuotaRow { limit, label, look } in self.rows() {
            reply::map(ctx, 11);
            Word::Name.send(ctx);
            reply::text(ctx, label);
            Word::Algorithm.send(ctx);
            send_algorithm(ctx, limit);
            for (name, value) in [
                (Word::Limit, limit.capacity().map_or(-1, signed)),
                (Word::Used, signed(look.used)),
                (Word::Remaining, look.remaining.map_or(-1, signed)),
                (Word::PeriodMs, limit.period_us().map_or(-1, |us| signed(us.div_ceil(1000)))),
                (Word::RetryAfterMs, look.retry.millis()),
                (Word::ResetAfterMs, look.reset.millis()),
                (Word::ResetAtMs, look.reset.moment(self.now).map_or(-1, |at| signed(at.ceil_millis()))),
            ] {
                name.send(ctx);
                reply::integer(ctx, value);
            }
            Word::Shadow.send(ctx);
            reply::boolean(ctx, limit.shadow());
            Word::Source.send(ctx);
            self.source.word().send(ctx);
        }
        if let Some(block) = self.block {
            reply::map(ctx, 1);
            reply::text(ctx, "blocked");
            reply::map(ctx, 2);
            reply::text(ctx, "until");
            reply::integer(
                ctx,
                match block.lasting.until(self.now) {
                    Until::At(at) => signed(at.ceil_millis()),
                    Until::Forever => -1,
                },
            );
            reply::text(ctx, "reason");
            reply::bytes(ctx, &block.reason);
        }
    }

    /// Where the whole stands: the binding limit, `None` without limits.
    fn status(&self) -> Option<LimitStatus> {
        let request = Request { cost: self.units, calls: 1, partial: false, critical: false };
        let (limits, states, now) = (self.limits, self.states, self.now);
        let status = || decide(limits, states, now, &request).before(limits, states, now);
        (!limits.is_empty()).then(|| LimitStatus { retry: self.retry, ..status() })
    }

    /// One flat map of strings, ready to be sent as HTTP headers. Where a line
    /// stands on the key nobody else is served before it has been.
    fn send_headers(&self, ctx: &Context<'_>, line: Option<&QueueAhead>) {
        let mut status = self.status();
        let line = line.map(|line| line.0);
        if let (Some(status), Some(line)) = (&mut status, line) {
            *status = LimitStatus { remaining: Some(0), retry: status.retry.max(line), ..*status };
        }
        if let Some(block) = self.block {
            let before = status.unwrap_or(LimitStatus::UNLIMITED);
            let mut blocked =
                LimitStatus { remaining: Some(0), retry: before.retry.max(self.retry), ..before };
            // Nothing is there again before the block ends.
            if let Until::At(end) = block.lasting.until(self.now) {
                blocked.reset = blocked.reset.at_least(end.since(self.now));
            }
            status = Some(blocked);
        }
        let retry_seconds = match status.map(|status| status.retry) {
            Some(RetryAfter::After(us)) => Some(seconds(us)),
            _ => None,
        };
        let mut fields: Vec<(&str, String)> = Vec::new();
        let visible: Vec<QuotaRow<'_>> =
            self.rows().filter(|row| !row.limit.shadow() && row.limit.capacity().is_some()).collect();
        let names = header_names(&visible);
        let policies: Vec<String> =
            visible.iter().zip(&names).map(|(row, name)| policy_item(row.limit, name)).collect();
        if !policies.is_empty() {
            fields.push(("RateLimit-Policy", policies.join(", ")));
            let denied = self.block.map(|block| block.lasting.until(self.now).wait(self.now)).max(line);
            let items: Vec<String> = visible
                .iter()
                .zip(&names)
                .map(|(row, name)| Self::limit_item(row, name, denied, retry_seconds))
                .collect();
            fields.push(("RateLimit", items.join(", ")));
        }
        if let Some(LimitStatus { limit: Some(limit), remaining, reset, .. }) = status {
            fields.push(("X-RateLimit-Limit", limit.to_string()));
            fields.push(("X-RateLimit-Remaining", remaining.unwrap_or(limit).to_string()));
            if let Some(at) = reset.moment(self.now) {
                fields.push(("X-RateLimit-Reset", seconds(at.0).to_string()));
            }
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
    /// time than Retry-After tells none. A credit tells none at all.
    fn limit_item(
        row: &QuotaRow<'_>,
        name: &str,
        denied: Option<RetryAfter>,
        retry_after: Option<u64>,
    ) -> String {
        let (remaining, retry) = match denied {
            None => (row.look.remaining.unwrap_or(0), row.look.retry),
            Some(denied) => (0, row.look.retry.max(denied)),
        };
        let at = match retry {
            _ if !row.limit.comes_back() => None,
            RetryAfter::After(us) => Some(seconds(us)),
            RetryAfter::Now => row.look.reset.micros().map(seconds),
            RetryAfter::Never => None,
        };
        let mut item = format!("\"{name}\";r={remaining}");
        if let Some(at) = at.filter(|&at| retry_after.is_none_or(|retry| at <= retry)) {
            item.push_str(&format!(";t={at}"));
        }
        item
    }
}

/// What the limits are called in the headers: a name that comes again gets `-2`,
/// `-3`, so that each item of one field has a name of its own.
fn header_names(rows: &[QuotaRow<'_>]) -> Vec<String> {
    let times = |at: usize, label: &str| rows.iter().take(at).filter(|row| row.label == label).count();
    let name = |(at, row): (usize, &QuotaRow<'_>)| match times(at, row.label) {
        0 => row.label.to_owned(),
        earlier => format!("{}-{}", row.label, earlier + 1),
    };
    rows.iter().enumerate().map(name).collect()
}

/// `"name";q=100;w=60`: `w` is the time in which `q` comes back. With the unit
/// where it is not the request's cost.
fn policy_item(limit: &Limit, label: &str) -> String {
    let mut item = format!("\"{label}\";q={}", limit.capacity().unwrap_or(0));
    if limit.per_call() {
        item.push_str(match limit.rule() {
            Rule::Concurrent(_) => ";qu=\"concurrent-requests\"",
            _ => ";qu=\"requests\"",
        });
    }
    if let Some(us) = limit.refill_us() {
        item.push_str(&format!(";w={}", seconds(us)));
    }
    item
}

/// Whole seconds, rounded up.
const fn seconds(us: u64) -> u64 {
    us.div_ceil(1_000_000)
}

/// CL.THROTTLE keeps what users know as a bucket.
fn send_algorithm(ctx: &Context<'_>, limit: &Limit) {
    match limit.rule() {
        Rule::Sliding(_) => Word::Sliding.send(ctx),
        Rule::Bucket(_) | Rule::Throttle(_) => Word::Bucket.send(ctx),
        Rule::Fixed(_) => Word::Fixed.send(ctx),
        _ => reply::text(ctx, limit.algorithm_name()),
    }
}

/// Which limits to show of a key that nobody names any for: the pin, the key's own last,
/// a policy's, the default.
fn choose(
    main: MainThread,
    key: &[u8],
    value: Option<&RateLimit>,
    now: Micros,
) -> Result<Option<(ResolvedLimits, Source)>, Error> {
    let own = value.and_then(RateLimit::limits_id);
    let server = match resolve(main, key, value, None, now) {
        Ok(found) => Some(found),
        Err(Error::NoLimits) => None,
        Err(error) => return Err(error),
    };
    if matches!(server, Some((_, Source::Pin))) {
        return Ok(server);
    }
    let Some(own) = own else { return Ok(server) };
    // What came from a policy is asked for anew.
    let origin = intern::get(main, own).origin().cloned();
    Ok(match (origin, server) {
        (Some(Origin::Followed(_)), Some((resolved, Source::Policy))) => Some((resolved, Source::Policy)),
        (Some(Origin::Named(text)), _) => match limits_of(main, Some(own), text.as_bytes()) {
            Ok(Some(resolved)) => Some((resolved, Source::Policy)),
            _ => Some((ResolvedLimits::Own, Source::Last)),
        },
        _ => Some((ResolvedLimits::Own, Source::Last)),
    })
}
