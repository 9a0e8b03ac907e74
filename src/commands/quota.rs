//! RL.QUOTA: looks at limits without taking units.

use crate::commands::arguments::{COST, KEY, LIMITS, cost};
use crate::commands::cursor::ArgCursor;
use crate::commands::hints;
use crate::commands::options::Options;
use crate::core::limits::{Limit, LimitQuota, LimitStatus, Request, Rule, State, decide, limit_quota};
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::ends::{self, PinEnd, Retry};
use crate::limiter::resolve::{KeyView, ResolvedLimits, Source, limits_of};
use crate::limiter::words::Word;
use crate::observe::metrics;
use crate::queue;
use crate::server::context::Context;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::reply::{self, Each, Fields, Pairs, Reply, signed};
use crate::server::load::argument::Argument;
use crate::types::intern::{self, InternedLimits, Origin};
use crate::types::operator::Block;
use crate::types::ratelimit::RateLimit;
use crate::types::ratelimit::hold;
use crate::types::until::Until;

/// `key [limits] [COST n] [HEADERS]`
pub const ARGUMENTS: &[Argument] = &[KEY, LIMITS.optional(), COST, Argument::flag("HEADERS").optional()];
const OPTIONS: Options = Options::of(ARGUMENTS);

/// `RL.QUOTA key [limits] [COST n] [HEADERS]` replies a map for each limit of the key, or, with
/// HEADERS, one map of HTTP headers. It replies nil for a key without limits.
///
/// # Errors
/// Malformed arguments or a key of another type.
pub fn quota(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut cursor = ArgCursor::new(args);
    let name = cursor.required()?;
    let given = cursor.before(&OPTIONS).map(Arg::bytes);
    let (mut request, mut headers) = (Request::of(1), false);
    while let Some((option, value)) = cursor.option(&OPTIONS)? {
        match option {
            "COST" => request.cost = cost(value)?,
            "HEADERS" => headers = true,
            _ => return Err(hints::not_taken(option)),
        }
    }
    // The key is opened before the clock is read, so that the prefetch of its value overlaps with
    // that.
    let key = ctx.read(name);
    let now = ctx.now();
    let ask = QuotaAsk { given, request };
    let queue = if headers {
        queue::retry_behind(ctx, &key, false, now, |then| ask.whole_retry(then))?
    } else {
        None
    };
    let held = key.value::<RateLimit>()?;
    let found = KeyView::of(ctx, name, held.as_deref(), now);
    let block = found.value.and_then(|value| value.block(now));
    let chosen = match ask.choose(found) {
        // A block is shown even if the key has no limits.
        Err(Error::NoLimits) if block.is_some() => None,
        chosen => chosen?,
    };
    if let Some((resolved, _)) = &chosen
        && ask.is_refused(found, resolved)?
        && !queue::has_queue(ctx, name)
    {
        return Err(Error::TooManyUnlisted);
    }
    metrics::count(ctx.main(), |m| &mut m.quota_calls);
    let send = |view: &QuotaView<'_>| {
        if headers { view.send_headers(ctx, queue) } else { view.send(ctx) }
    };
    let Some((resolved, source)) = chosen else {
        match block {
            None => reply::null(ctx),
            Some(block) => send(&QuotaView::of_block(now, request, block)),
        }
        return Ok(());
    };
    // Every look-up comes before the limits are borrowed.
    let pinned = source == Source::Pin;
    // Only the headers show this time.
    let retry = if headers { ask.retry_across(found, &resolved, pinned)? } else { RetryAfter::Now };
    let pin_end = if pinned { PinEnd::of(found, |then| ask.retry(then)) } else { None };
    with_usage(found, &resolved, &request, |set, states| {
        let (limits, labels) = (set.limits(), set.labels());
        send(&QuotaView { now, request, limits, labels, states, source, block, pin_end, retry });
    })
}

/// The arguments of a call.
#[derive(Clone, Copy, Debug)]
struct QuotaAsk<'a> {
    given: Option<&'a [u8]>,
    request: Request,
}

impl QuotaAsk<'_> {
    /// Chooses the limits to show. If limits are given (also `*`), these are the limits that would
    /// decide the same RL.ACQUIRE. Otherwise they are the pin, the key's own last limits, a
    /// policy's or the default.
    fn choose(&self, found: KeyView<'_>) -> Result<Option<(ResolvedLimits, Source)>, Error> {
        if self.given.is_some() { found.resolve(self.given).map(Some) } else { choose(found) }
    }

    /// Whether the same RL.ACQUIRE would be granted if the key had room to remember the usage of one
    /// more limit, and is refused. A denial stays a denial.
    fn is_refused(&self, found: KeyView<'_>, resolved: &ResolvedLimits) -> Result<bool, Error> {
        let (Some(_), ResolvedLimits::Other(other)) = (self.given, resolved) else { return Ok(false) };
        let has_room = found.refuse_too_many(other.get(found.main).limits()).is_ok();
        Ok(!has_room && !found.is_blocked() && self.wait(found, resolved)? == RetryAfter::Now)
    }

    /// The time until these limits grant the request.
    fn wait(&self, found: KeyView<'_>, resolved: &ResolvedLimits) -> Result<RetryAfter, Error> {
        with_usage(found, resolved, &self.request, |set, states| {
            decide(set.limits(), states, found.now, &self.request).status.retry
        })
    }

    /// The time from `found.now` until the request would be granted, by these limits and by those
    /// that hold once a pin or a block has ended.
    fn retry_across(
        &self,
        found: KeyView<'_>,
        resolved: &ResolvedLimits,
        pinned: bool,
    ) -> Result<RetryAfter, Error> {
        let limits = self.wait(found, resolved)?;
        let ends_first = limits > RetryAfter::Now || found.is_blocked();
        let later = |then: KeyView<'_>| self.retry(then);
        Ok(if ends_first { ends::across(found, Retry { limits, pinned }, later) } else { limits })
    }

    /// The time from `then.now` until the request would be granted, across the ends of a pin and of a
    /// block.
    fn whole_retry(&self, then: KeyView<'_>) -> Result<RetryAfter, Error> {
        let (resolved, source) = self.choose(then)?.ok_or(Error::NoLimits)?;
        self.retry_across(then, &resolved, source == Source::Pin)
    }

    /// The time from `then.now`, when pin and block have ended, until the request would be granted.
    fn retry(&self, then: KeyView<'_>) -> Result<RetryAfter, Error> {
        let (resolved, _) = self.choose(then)?.ok_or(Error::NoLimits)?;
        self.wait(then, &resolved)
    }
}

/// Looks at limits and their usage. The usage is copied only if that is necessary.
fn with_usage<R>(
    found: KeyView<'_>,
    resolved: &ResolvedLimits,
    request: &Request,
    read: impl FnOnce(&InternedLimits, &[State]) -> R,
) -> Result<R, Error> {
    let KeyView { main, value, now, .. } = found;
    if let (Some(value), &ResolvedLimits::Own(id)) = (value, resolved) {
        let set = intern::get(main, id);
        if !set.has_concurrent() {
            return Ok(value.with_states(|states| read(&set, states)));
        }
    }
    let (limits, mut states) = found.usage_of(resolved).ok_or(Error::NoLimits)?;
    let set = limits.get(main);
    hold(main, value, set.limits(), &mut states, now, now, request);
    Ok(read(&set, &states))
}

/// The labels of the limits that would deny a request for one unit now.
///
/// # Errors
/// Those of the key's limits.
pub fn denying(found: KeyView<'_>) -> Result<Vec<String>, Error> {
    let Some((resolved, _)) = choose(found)? else { return Ok(Vec::new()) };
    with_usage(found, &resolved, &Request::of(1), |set, states| {
        let limits = set.limits().iter().zip(set.labels()).zip(states);
        let denying = limits.filter(|((limit, _), state)| {
            !limit.shadow() && limit_quota(limit, state, found.now, 1).retry > RetryAfter::Now
        });
        denying.map(|((_, label), _)| label.to_string()).collect()
    })
}

/// One limit and its status.
#[derive(Debug)]
struct QuotaRow<'v> {
    limit: &'v Limit,
    label: &'v str,
    quota: LimitQuota,
}

/// Everything that RL.QUOTA shows.
#[derive(Debug)]
struct QuotaView<'v> {
    now: Micros,
    request: Request,
    limits: &'v [Limit],
    labels: &'v [Box<str>],
    states: &'v [State],
    source: Source,
    block: Option<&'v Block>,
    /// The end of the pin, if the limits are a pin that ends.
    pin_end: Option<PinEnd>,
    /// The time until the request would be granted if there were no queue. Only the headers tell it.
    retry: RetryAfter,
}

impl<'v> QuotaView<'v> {
    /// The view of a blocked key without limits.
    fn of_block(now: Micros, request: Request, block: &'v Block) -> Self {
        Self {
            now,
            request,
            limits: &[],
            labels: &[],
            states: &[],
            source: Source::Last,
            block: Some(block),
            pin_end: None,
            retry: block.validity.until(now).wait(now),
        }
    }

    fn row(&self, at: usize) -> Option<QuotaRow<'v>> {
        let (limit, label, state) = (self.limits.get(at)?, self.labels.get(at)?, self.states.get(at)?);
        let mut quota = limit_quota(limit, state, self.now, self.request.cost);
        if let Some(pin_end) = self.pin_end {
            quota.retry = pin_end.wait(quota.retry, self.now);
        }
        Some(QuotaRow { limit, label, quota })
    }

    fn rows(&self) -> impl Iterator<Item = QuotaRow<'v>> {
        (0..self.limits.len()).filter_map(|at| self.row(at))
    }

    /// Writes a map for each limit, then one for the key's block if it has one.
    fn send(&self, ctx: &Context<'_>) {
        let count = self.limits.len() + usize::from(self.block.is_some());
        let item = |ctx: &Context<'_>, at| match (self.row(at), self.block) {
            (Some(row), _) => self.send_row(ctx, &row),
            (None, Some(block)) => self.send_block(ctx, block),
            (None, None) => {}
        };
        Each(0..count, item).send(ctx);
    }

    fn send_row(&self, ctx: &Context<'_>, QuotaRow { limit, label, quota }: &QuotaRow<'_>) {
        let or_never = |n: Option<u64>| n.map_or(-1, signed);
        let name = limit.algorithm_name();
        let algorithm: &dyn Reply = match limit.rule() {
            Rule::Sliding(_) => &Word::Sliding,
            // A limit of CL.THROTTLE is shown as a bucket, the name that users know.
            Rule::Bucket(_) | Rule::Throttle(_) => &Word::Bucket,
            Rule::Fixed(_) => &Word::Fixed,
            Rule::Concurrent(_) | Rule::Unlimited => &name,
        };
        reply::map(
            ctx,
            &[
                (Word::Name, label),
                (Word::Algorithm, algorithm),
                (Word::Limit, &or_never(limit.capacity())),
                (Word::Used, &quota.used),
                (Word::Remaining, &or_never(quota.remaining)),
                (Word::PeriodMs, &or_never(limit.period_us().map(|us| us.div_ceil(1000)))),
                (Word::RetryAfterMs, &quota.retry),
                (Word::ResetAfterMs, &quota.reset.millis()),
                (Word::ResetAtMs, &or_never(quota.reset.moment(self.now).map(Micros::ceil_millis))),
                (Word::Shadow, &limit.shadow()),
                (Word::Source, &self.source),
            ],
        );
    }

    fn send_block(&self, ctx: &Context<'_>, block: &Block) {
        let (until, reason) = (block.validity.until(self.now), &*block.reason);
        reply::map(ctx, &[("blocked", &Fields(&[("until", &until), ("reason", &reason)]))]);
    }

    /// The status of all limits together, as that of the binding one; `None` without limits.
    fn status(&self) -> Option<LimitStatus> {
        let (limits, states, now) = (self.limits, self.states, self.now);
        let status = || decide(limits, states, now, &self.request).before(limits, states, now);
        (!limits.is_empty()).then(|| LimitStatus { retry: self.retry, ..status() })
    }

    /// Sends one flat map of strings, ready to be sent as HTTP headers. If the key has a queue, no
    /// units remain for the request, and it is granted after that: in the time `queue`.
    fn send_headers(&self, ctx: &Context<'_>, queue: Option<RetryAfter>) {
        let mut status = self.status();
        if let (Some(status), Some(queue)) = (&mut status, queue) {
            *status = LimitStatus { remaining: Some(0), retry: status.retry.max(queue), ..*status };
        }
        if let Some(block) = self.block {
            let before = status.unwrap_or(LimitStatus::UNLIMITED);
            let mut blocked =
                LimitStatus { remaining: Some(0), retry: before.retry.max(self.retry), ..before };
            // No unit can be granted before the block ends.
            if let Until::At(end) = block.validity.until(self.now) {
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
            let denied = self.denied(status, queue);
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
        Pairs(fields).send(ctx);
    }

    /// The time until no block and no queue denies the request; `None` if there is neither.
    fn denied(&self, status: Option<LimitStatus>, queue: Option<RetryAfter>) -> Option<RetryAfter> {
        let ends = self.block.map(|block| block.validity.until(self.now).wait(self.now)).max(queue)?;
        // What holds after the block may never grant the request.
        let never = status.is_some_and(|status| status.retry == RetryAfter::Never);
        Some(if never { RetryAfter::Never } else { ends })
    }

    /// Makes `"name";r=50;t=30`. Retry-After must not be earlier than `t`. So a denying limit gives
    /// the time until it grants again, and a limit whose time would be later than Retry-After gives
    /// none. A credit gives none at all.
    fn limit_item(
        row: &QuotaRow<'_>,
        name: &str,
        denied: Option<RetryAfter>,
        retry_after: Option<u64>,
    ) -> String {
        let (remaining, retry) = match denied {
            None => (row.quota.remaining.unwrap_or(0), row.quota.retry),
            Some(denied) => (0, row.quota.retry.max(denied)),
        };
        let at = match retry {
            _ if !row.limit.comes_back() => None,
            RetryAfter::After(us) => Some(seconds(us)),
            RetryAfter::Now => row.quota.reset.micros().map(seconds),
            RetryAfter::Never => None,
        };
        let mut item = format!("\"{name}\";r={}", header_integer(remaining));
        if let Some(at) = at.filter(|&at| retry_after.is_none_or(|retry| at <= retry)) {
            item.push_str(&format!(";t={at}"));
        }
        item
    }
}

/// The names of the limits in the headers. A repeated name gets `-2`, `-3` and so on, so that each
/// item of one field has a name of its own.
fn header_names(rows: &[QuotaRow<'_>]) -> Vec<String> {
    let times = |at: usize, label: &str| rows.iter().take(at).filter(|row| row.label == label).count();
    let name = |(at, row): (usize, &QuotaRow<'_>)| match times(at, row.label) {
        0 => row.label.to_owned(),
        earlier => format!("{}-{}", row.label, earlier + 1),
    };
    rows.iter().enumerate().map(name).collect()
}

/// Makes `"name";q=100;w=60`, where `w` is the time in which `q` comes back, in seconds. `qu` names
/// what the limit counts, if it is not the cost of requests.
fn policy_item(limit: &Limit, label: &str) -> String {
    let mut item = format!("\"{label}\";q={}", header_integer(limit.capacity().unwrap_or(0)));
    if limit.per_call() {
        let counted = if limit.rule().holds_places() { "concurrent-requests" } else { "requests" };
        item.push_str(&format!(";qu=\"{counted}\""));
    }
    if let Some(us) = limit.refill_us() {
        item.push_str(&format!(";w={}", seconds(us)));
    }
    item
}

/// The number as an Integer of structured fields (RFC 9651), which has at most 15 digits.
const fn header_integer(n: u64) -> u64 {
    if n < 1_000_000_000_000_000 { n } else { 999_999_999_999_999 }
}

/// Microseconds as whole seconds, rounded up.
pub const fn seconds(us: u64) -> u64 {
    us.div_ceil(1_000_000)
}

/// Chooses the limits to show for a key if no limits are given: the pin, the key's own last limits,
/// a policy's or the default.
///
/// # Errors
/// Those of the key's limits.
pub fn choose(found: KeyView<'_>) -> Result<Option<(ResolvedLimits, Source)>, Error> {
    let main = found.main;
    let own = found.value.and_then(RateLimit::limits_id);
    let server = match found.resolve(None) {
        Ok(found) => Some(found),
        Err(Error::NoLimits) => None,
        Err(error) => return Err(error),
    };
    if matches!(server, Some((_, Source::Pin))) {
        return Ok(server);
    }
    let Some(own) = own else { return Ok(server) };
    // Limits from a policy are looked up again, because the policy may have changed.
    let origin = intern::get(main, own).origin().cloned();
    Ok(match (origin, server) {
        (Some(Origin::Followed(_)), Some((resolved, Source::Policy))) => Some((resolved, Source::Policy)),
        (Some(Origin::Named(text)), _) => match limits_of(main, Some(own), text.as_bytes()) {
            Ok(Some(resolved)) => Some((resolved, Source::Policy)),
            _ => Some((ResolvedLimits::Own(own), Source::Last)),
        },
        _ => Some((ResolvedLimits::Own(own), Source::Last)),
    })
}
