//! WAIT and RL.QUEUE: waiting lines inside the server.
//!
//! Clients are the server's own blocked clients; who is next is decided by
//! [`Lines`]; a line is looked at by one alarm clock for all of them, at the
//! moment when its head's units should be free, and at once after whatever may
//! have moved it. So a line at rest costs nothing, and a server where nobody
//! waits has neither a timer nor a listener: commands ask [`any`] and go on.
//!
//! | file | idea |
//! |---|---|
//! | this | who waits; what becomes of a request where a line stands |
//! | `request` | what a waiter wants, and how it is decided and answered |
//! | `forecast` | when a line will have been served |
//! | `moves` | what moves a line, and when to look at it |
//! | `serve` | serving the lines whose time has come |
//! | `answer` | what becomes of a client whose wait has ended |
//! | `key_filter` | which keys may have a line, for next to nothing |
//! | [`status`] | how long the queues are, for RL.QUEUE, INFO and alerts |

mod answer;
mod forecast;
mod key_filter;
mod moves;
mod request;
mod serve;
pub mod status;

pub use moves::{clock_changed, limits_changed};
pub use request::Ask;

use crate::core::limits::{Request, Standing, Wait};
use crate::core::text::duration;
use crate::core::time::Micros;
use crate::core::wait_queue::{Lines, Ticket};
use crate::limiter::Error;
use crate::limiter::acquire;
use crate::limiter::acquire::Judged;
use crate::limiter::reply::{Index, Six, signed};
use crate::observe::metrics;
use crate::server::blocking::{self, Blocked, Ward};
use crate::server::context::Context;
use crate::server::ffi::args::Arg;
use crate::server::keys::key::Key;
use crate::server::keys::keyspace;
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::server::timing::wake_timer;
use crate::settings;
use crate::types::ratelimit::RateLimit;
use forecast::Forecast;
use moves::plan;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A key of a database.
type Place = (i32, Arc<[u8]>);

/// A client that waits.
#[derive(Debug)]
struct Waiter {
    ask: Ask,
    since: Micros,
    /// When its time is up by the module's clock.
    deadline: Micros,
    /// Whose clock ends its time.
    clock: Clock,
    client: Blocked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    /// The server unblocks it.
    Servers,
    /// The debug clock stood still when it came: it is unblocked when that moves,
    /// or by the server after [`PATIENCE_MS`].
    Debug,
}

#[derive(Debug, Default)]
struct Room {
    lines: Lines<Place, Waiter, Forecast>,
    /// What to tell those that have left their line and are being unblocked:
    /// some servers ask for it at once, some a little later.
    outcomes: HashMap<Ticket, (Ask, Outcome)>,
    /// Denials that are not counted towards the usage of their keys yet: a
    /// client whose time is up is told where nothing may be written.
    uncounted: Vec<(Place, Ask)>,
}

/// How a wait ended.
#[derive(Debug)]
enum Outcome {
    /// By a decision.
    Decided(Result<Six, Error>),
    /// Its time was up.
    TimeIsUp(Place),
}

static ROOM: MainThreadCell<Option<Room>> = MainThreadCell::new(None);
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Under the debug clock a wait also ends when its time, and so much at the
/// least, has really passed: who lets the clock stand still does not hang.
const PATIENCE_MS: i64 = 5000;

const WARD: Ward = Ward { answer: answer::answer_client, gone: answer::client_gone };

/// Whether anybody waits anywhere on this server.
#[inline]
pub fn any() -> bool {
    WAITING.load(Ordering::Relaxed) > 0
}

fn with<R>(main: MainThread, run: impl FnOnce(&mut Room) -> R) -> R {
    let mut room = ROOM.of(main).borrow_mut();
    let room = room.get_or_insert_default();
    let result = run(room);
    WAITING.store(room.lines.waiting(), Ordering::Relaxed);
    result
}

fn place(ctx: &Context<'_>, name: Arg<'_>) -> Place {
    (ctx.database(), name.bytes().into())
}

/// Whether a line stands on this key.
#[inline]
pub fn stands(ctx: &Context<'_>, name: Arg<'_>) -> bool {
    any() && key_filter::perhaps(name.bytes()) && length(ctx, name) > 0
}

#[cold]
fn length(ctx: &Context<'_>, name: Arg<'_>) -> usize {
    with(ctx.main(), |room| room.lines.length(&place(ctx, name)))
}

impl Room {
    fn join(&mut self, place: &Place, waiter: Waiter, due: Option<Micros>) {
        self.lines.join(place, waiter, due);
        if self.lines.length(place) == 1 {
            key_filter::add(&place.1);
        }
    }

    fn leave(&mut self, ticket: Ticket) -> Option<(Place, Waiter)> {
        let (place, waiter) = self.lines.leave(ticket)?;
        if self.lines.length(&place) == 0 {
            key_filter::remove(&place.1);
        }
        Some((place, waiter))
    }

    /// When to be woken.
    fn next(&mut self, now: Micros) -> Option<Micros> {
        self.lines.time_is(now);
        if self.uncounted.is_empty() { self.lines.next_due() } else { Some(now) }
    }
}

/// How long a caller is ready to wait: `WAIT d`, at most `wait-max`; 0 for not.
///
/// # Errors
/// A malformed duration, or too long.
pub fn wait_option(main: MainThread, arg: Arg<'_>) -> Result<u64, Error> {
    let us = duration::parse(arg.bytes())?;
    let most = settings::wait_max_us(main);
    if us > most {
        let expected = format!("at most {}ms (setting wait-max)", most / 1000);
        return Err(Error::Range { name: "WAIT", expected });
    }
    Ok(us)
}

/// What became of a request that met a line, or that wants to wait.
#[derive(Debug)]
pub enum Met {
    /// No line is in its way.
    Nobody,
    /// It waits now, and is answered later.
    Waits,
    /// It is denied.
    Denied(Box<request::Judged>),
}

/// Decides a request where a line may stand: it waits at its end, or is denied.
///
/// # Errors
/// As the decision itself.
pub fn meet(
    ctx: &Context<'_>,
    key: &mut Key<'_>,
    ask: &Ask,
    wait_us: u64,
    now: Micros,
) -> Result<Met, Error> {
    if ask.critical() || !stands(ctx, key.name()) {
        return Ok(Met::Nobody);
    }
    let judged = behind(ctx, key, ask, now)?;
    if judged.six().standing.retry == Wait::Never {
        return Ok(Met::Denied(judged.into()));
    }
    Ok(if join(ctx, key, ask, wait_us, Wait::Never, now) { Met::Waits } else { Met::Denied(judged.into()) })
}

/// The denial of a request on a key where a line stands.
fn behind(ctx: &Context<'_>, key: &mut Key<'_>, ask: &Ask, now: Micros) -> Result<request::Judged, Error> {
    let place = place(ctx, key.name());
    let held = key.value::<RateLimit>()?;
    behind_at(ctx, &place, held.as_deref(), ask, now)
}

fn behind_at(
    ctx: &Context<'_>,
    place: &Place,
    value: Option<&RateLimit>,
    ask: &Ask,
    now: Micros,
) -> Result<request::Judged, Error> {
    let judged = ask.judge(ctx, &place.1, value, now)?;
    if judged.six().standing.retry == Wait::Never {
        return Ok(judged);
    }
    let standing = ask.untouched(ctx, &place.1, value, &judged, now)?;
    let retry = with(ctx.main(), |room| {
        let known = room.lines.forecast(place).and_then(Option::take);
        let mut forecast = known.unwrap_or_else(|| Forecast::new(value, now));
        for (ticket, waiter) in room.lines.after(place, forecast.last()) {
            forecast.add(ctx, &place.1, ticket, &waiter.ask);
        }
        let retry = forecast.retry(ctx, &place.1, ask, now);
        if let Some(slot) = room.lines.forecast(place) {
            *slot = Some(forecast);
        }
        retry
    });
    let standing = Standing { remaining: Some(0), retry, ..standing };
    Ok(judged.denied(Six { granted: 0, standing, index: Index::Line }))
}

/// As [`acquire::judge`], but denied where a line stands and the request is not
/// critical: for every command that takes and does not wait.
///
/// # Errors
/// As [`acquire::judge`].
#[inline]
pub fn judge(
    ctx: &Context<'_>,
    name: Arg<'_>,
    value: Option<&RateLimit>,
    given: Option<&[u8]>,
    request: &Request,
    now: Micros,
) -> Result<Judged, Error> {
    if request.critical || !stands(ctx, name) {
        return acquire::judge(ctx, name.bytes(), value, given, request, now);
    }
    let ask = Ask::Acquire { limits: given.map(Into::into), request: *request, track: false };
    Ok(match behind_at(ctx, &place(ctx, name), value, &ask, now)? {
        request::Judged::Acquire(judged) => judged,
        // Not what was asked.
        request::Judged::Reserve(judged) => Judged::denial(judged.six),
    })
}

/// Puts the client at the end of the key's line, if it may wait. `retry` says
/// when its units are free when it is the first.
pub fn join(ctx: &Context<'_>, key: &Key<'_>, ask: &Ask, wait_us: u64, retry: Wait, now: Micros) -> bool {
    let flags = ctx.flags();
    // On a replica that takes writes nobody would serve the line.
    if wait_us == 0 || flags.deny_blocking() || !flags.master() {
        return false;
    }
    let main = ctx.main();
    let place = place(ctx, key.name());
    let (queue_max, waiters_max) = (settings::queue_max(main), settings::waiters_max(main));
    let ticket = with(main, |room| {
        let full = room.lines.length(&place) >= queue_max || room.lines.waiting() >= waiters_max;
        (!full).then(|| room.lines.next_ticket())
    });
    let Some(ticket) = ticket else {
        metrics::count(main, |m| &mut m.waiting_refused);
        return false;
    };
    wake_timer::prepare(ctx, serve::wake);
    keyspace::listen(ctx, moves::happened);
    let clock = if ctx.debug_clock_is_set() { Clock::Debug } else { Clock::Servers };
    let wait_ms = signed(wait_us.div_ceil(1000));
    let timeout_ms = match clock {
        Clock::Servers => wait_ms,
        Clock::Debug => wait_ms.max(PATIENCE_MS),
    };
    let Some(client) = blocking::block(ctx, key.name(), ticket, timeout_ms, WARD) else {
        // The server has told the client why it cannot wait.
        return true;
    };
    let due = match retry {
        Wait::Now => Some(now),
        Wait::After(us) => Some(now.plus(us)),
        Wait::Never => None,
    };
    let waiter = Waiter { ask: ask.clone(), since: now, deadline: now.plus(wait_us), clock, client };
    with(main, |room| room.join(&place, waiter, due));
    plan(main);
    true
}

/// When the line of a key will have been served, if nobody else comes.
///
/// # Errors
/// The key holds another type.
pub fn served_by(ctx: &Context<'_>, key: &mut Key<'_>, now: Micros) -> Result<Option<Micros>, Error> {
    if !stands(ctx, key.name()) {
        return Ok(None);
    }
    let unlimited: &[u8] = b"unlimited";
    let request = Request { cost: 1, calls: 1, partial: false, critical: false };
    let ask = Ask::Acquire { limits: Some(unlimited.into()), request, track: false };
    Ok(match behind(ctx, key, &ask, now)?.six().standing.retry {
        Wait::Now => Some(now),
        Wait::After(us) => Some(now.plus(us)),
        Wait::Never => Some(Micros::MAX),
    })
}
