//! RL.QUOTA: looks at limits without taking units.

use crate::commands::arguments::{COST, KEY, LIMITS, cost};
use crate::commands::cursor::ArgCursor;
use crate::commands::hints;
use crate::commands::options::Options;
use crate::commands::quota_view::QuotaView;
use crate::core::limits::{Request, State, decide, limit_quota};
use crate::core::retry_after::RetryAfter;
use crate::core::wait_queue::WaiterClass;
use crate::limiter::Error;
use crate::limiter::ends::{self, PinEnd, Retry};
use crate::limiter::resolve::{KeyView, ResolvedLimits, Source, limits_of};
use crate::observe::metrics;
use crate::queue;
use crate::server::context::Context;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::reply;
use crate::server::load::argument::Argument;
use crate::types::intern::{self, InternedLimits, Origin};
use crate::types::ratelimit::RateLimit;
use crate::types::ratelimit::hold;

/// `key [limits] [COST n] [HEADERS]`
pub const ARGUMENTS: &[Argument] = &[KEY, LIMITS.optional(), COST, Argument::flag("HEADERS").optional()];
const OPTIONS: Options = Options::of(ARGUMENTS);

/// `RL.QUOTA key [limits] [COST n] [HEADERS]` replies a map for each limit of the key, or, with
/// HEADERS, one map of HTTP headers. It replies nil for a key without limits.
///
/// # Errors
/// Malformed arguments or a key of another type.
pub fn quota(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let QuotaCall { name, ask, headers } = QuotaCall::parse(args)?;
    let request = ask.request;
    // The key is opened before the clock is read, so that the prefetch of its value overlaps with
    // that.
    let key = ctx.read(name);
    let now = ctx.now();
    let queue = if headers {
        queue::retry_behind(ctx, &key, WaiterClass::Ordinary, now, |then| ask.whole_retry(then))?
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
struct QuotaCall<'a> {
    name: Arg<'a>,
    ask: QuotaAsk<'a>,
    /// True if the call asks for HTTP headers.
    headers: bool,
}

impl<'a> QuotaCall<'a> {
    fn parse(args: Args<'a>) -> Result<Self, Error> {
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
        Ok(Self { name, ask: QuotaAsk { given, request }, headers })
    }
}

/// The request whose outcome the call shows.
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
