//! CL.THROTTLE: the command of redis-cell, with the same replies, on our own type. RL.THROTTLE is
//! the same command. GCRA is one for which client libraries have calls.

mod call;
mod decision;

use crate::core::limits::throttle::{Arrival, ThrottleReply};
use crate::core::limits::{Limit, State};
use crate::core::time::Micros;
use crate::core::wait_queue::WaiterClass;
use crate::limiter::Error;
use crate::limiter::apply::{self, refused};
use crate::limiter::resolve::KeyView;
use crate::limiter::track::{self, Recording};
use crate::observe::top::RequestOutcome;
use crate::observe::{metrics, top};
use crate::queue;
use crate::server::context::Context;
use crate::server::ffi::args::Args;
use crate::server::ffi::reply;
use crate::server::keys::key::Key;
use crate::types::effect::ratelimit::RateLimitChange;
use crate::types::ratelimit::{RateLimit, encoding};
use call::{ThrottleCall, parse, parse_gcra};
use decision::{ThrottleDecision, interned, seconds_until};

pub use call::{CELL, GCRA};

/// `CL.THROTTLE key max_burst count_per_period period [quantity]` replies the five integers of
/// redis-cell. The period is in seconds.
///
/// # Errors
/// Malformed arguments, or a key of another type that redis-cell did not leave.
pub fn cl_throttle(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    throttle(ctx, parse(args, c"cl.throttle")?)
}

/// `RL.THROTTLE key max_burst count_per_period period [quantity]`: the same as [`cl_throttle`],
/// under a name that redis-cell does not use.
///
/// # Errors
/// The same as [`cl_throttle`].
pub fn rl_throttle(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    throttle(ctx, parse(args, c"rl.throttle")?)
}

/// `GCRA key max_burst tokens_per_period period [TOKENS n]`: the same as [`cl_throttle`], with a
/// period in seconds that may have decimals.
///
/// # Errors
/// The same as [`cl_throttle`].
pub fn gcra(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    throttle(ctx, parse_gcra(args)?)
}

fn throttle(ctx: &Context<'_>, call: ThrottleCall<'_>) -> Result<(), Error> {
    // The key is opened before the clock is read, so that the prefetch of its value overlaps with
    // that.
    let mut key = ctx.write(call.key);
    let now = ctx.now();
    let recording = Recording { ctx, now, event: call.event };
    let answer = match left_by_cell(&key, now) {
        Some(state) => call.adopt(recording, &mut key, state)?,
        None => call.ask(recording, &mut key)?,
    };
    // A call with a quantity of 0 only looks.
    if call.quantity > 0 {
        metrics::count(ctx.main(), |m| {
            if answer.limited { &mut m.throttle_denied } else { &mut m.throttle_granted }
        });
        top::decided(ctx.main(), call.key.bytes(), RequestOutcome::of(!answer.limited), now);
    }
    let ThrottleReply { limited, limit, remaining, retry_after_s, reset_after_s } = answer;
    reply::integers(ctx, &[limited.into(), limit, remaining, retry_after_s, reset_after_s]);
    Ok(())
}

impl ThrottleCall<'_> {
    /// Decides on a key that is a limiter, or does not exist. If the key has a queue, nothing is
    /// taken: the request waits for that, and then for its own units.
    fn ask(&self, recording: Recording<'_, '_>, key: &mut Key<'_>) -> Result<ThrottleReply, Error> {
        let Recording { ctx, now, .. } = recording;
        let behind = queue::retry_behind(ctx, key, WaiterClass::Ordinary, now, |then| self.wait(then))?;
        let asked = if behind.is_some() { self.look() } else { *self };
        let held = key.value::<RateLimit>()?;
        let counts = self.quantity > 0 && track::counts(ctx.main(), held.as_deref(), false);
        let mut decision = asked.decide(KeyView::of(ctx, self.key, held.as_deref(), now))?;
        if let (ThrottleDecision::Server(decision), 1..) = (&mut decision, asked.quantity) {
            decision.close();
        }
        let mut reply = decision.reply();
        if let Some(retry) = behind {
            let retry_after_s = seconds_until(retry);
            reply = ThrottleReply { limited: true, remaining: 0, retry_after_s, ..reply };
        }
        let granted = if reply.limited { 0 } else { self.quantity };
        let counted = counts.then(|| track::decided(self.quantity, granted));
        recording.alone(key, counted, |make| asked.record(ctx.main(), &decision, make))?;
        Ok(reply)
    }

    /// Decides on a string that redis-cell left. If the request is granted, the key becomes a
    /// limiter with the usage that redis-cell counted.
    fn adopt(
        &self,
        recording: Recording<'_, '_>,
        key: &mut Key<'_>,
        state: State,
    ) -> Result<ThrottleReply, Error> {
        let Recording { ctx, now, .. } = recording;
        let main = ctx.main();
        let mut value = RateLimit::new(interned(main, Limit::throttle(self.rule))?, vec![state]);
        let decision = self.decide(KeyView::of(ctx, self.key, Some(&value), now))?;
        let reply = decision.reply();
        self.record(main, &decision, |change| {
            if reply.limited {
                return Ok(());
            }
            apply::effect(ctx, now, change).apply(main, Some(&mut value)).map_err(refused)?;
            let mut payload = Vec::new();
            encoding::save(&value, main, &mut payload);
            recording.change(key, RateLimitChange::Become(&payload))
        })?;
        Ok(reply)
    }
}

/// The usage that redis-cell left in a plain string, as a decimal number of nanoseconds.
fn left_by_cell(key: &Key<'_>, now: Micros) -> Option<State> {
    let nanoseconds = crate::core::text::duration::whole_number(key.string()?)?;
    Some(State::of_arrival(Arrival::adopt(nanoseconds, now)))
}
