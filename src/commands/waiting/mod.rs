//! WAIT and RL.QUEUE: waiting lines inside the server.
//!
//! Clients are the server's own blocked clients; who is next is decided by
//! [`Lines`]; a line is looked at by one alarm clock for all of them, at the
//! moment when its head's units should be free, and at once after whatever may
//! have moved it. So a line at rest costs nothing, and a server where nobody
//! waits has neither a timer nor a listener: commands ask [`any`] and go on.

mod ask;
mod forecast;
mod names;

pub use ask::Ask;

use super::Error;
use super::acquire::{self, Judged};
use super::arguments::Walk;
use super::commit::{self, Together};
use super::six::{Index, Six, signed};
use crate::core::clock::Micros;
use crate::core::duration;
use crate::core::limits::{Request, Standing, Wait};
use crate::core::line::{Lines, Ticket};
use crate::observe::{metrics, top};
use crate::server::args::{Arg, Args};
use crate::server::blocking::{self, Blocked, Ward};
use crate::server::call::{OwnedString, key_is_served_here};
use crate::server::context::{self, Context};
use crate::server::key::Key;
use crate::server::keyspace::{self, Happened};
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::server::{alarm, reply};
use crate::settings;
use crate::types::ratelimit::RateLimit;
use forecast::Forecast;
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
    /// The debug clock stood still when it came: it is unblocked when that moves.
    Debug,
}

#[derive(Debug, Default)]
struct Room {
    lines: Lines<Place, Waiter, Forecast>,
    /// What to tell those that have left their line and are being unblocked:
    /// some servers ask for it at once, some a little later.
    outcomes: HashMap<Ticket, (Ask, Outcome)>,
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

/// How long to leave a line alone while it must not move (CLIENT PAUSE, a slot
/// on its way).
const HELD_UP_US: u64 = 20_000;

const WARD: Ward = Ward { answer: answer_client, gone: client_gone };

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
    any() && names::perhaps(name.bytes()) && length(ctx, name) > 0
}

#[cold]
fn length(ctx: &Context<'_>, name: Arg<'_>) -> usize {
    with(ctx.main(), |room| room.lines.length(&place(ctx, name)))
}

impl Room {
    fn leave(&mut self, ticket: Ticket) -> Option<(Place, Waiter)> {
        let (place, waiter) = self.lines.leave(ticket)?;
        names::remove(&place.1);
        Some((place, waiter))
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
    Denied(Six),
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
    let six = behind(ctx, key, ask, now)?;
    if six.standing.retry == Wait::Never {
        return Ok(Met::Denied(six));
    }
    Ok(if join(ctx, key, ask, wait_us, Wait::Never, now) { Met::Waits } else { Met::Denied(six) })
}

/// The denial of a request on a key where a line stands.
fn behind(ctx: &Context<'_>, key: &mut Key<'_>, ask: &Ask, now: Micros) -> Result<Six, Error> {
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
) -> Result<Six, Error> {
    let judged = ask.judge(ctx, &place.1, value, now)?;
    if judged.six().standing.retry == Wait::Never {
        return Ok(judged.six());
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
    Ok(Six { granted: 0, standing: Standing { remaining: Some(0), retry, ..standing }, index: Index::Line })
}

/// As [`acquire::judge`], but denied where a line stands and the request is not
/// critical: for every command that takes and does not wait.
///
/// # Errors
/// As [`acquire::judge`].
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
    behind_at(ctx, &place(ctx, name), value, &ask, now).map(Judged::denied)
}

/// Puts the client at the end of the key's line, if it may wait. `retry` says
/// when its units are free when it is the first.
pub fn join(ctx: &Context<'_>, key: &Key<'_>, ask: &Ask, wait_us: u64, retry: Wait, now: Micros) -> bool {
    if wait_us == 0 || ctx.flags().deny_blocking() {
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
    alarm::prepare(ctx, wake);
    keyspace::listen(ctx, happened);
    let clock = if ctx.debug_clock_is_set() { Clock::Debug } else { Clock::Servers };
    let timeout_ms = match clock {
        Clock::Servers => signed(wait_us.div_ceil(1000)),
        Clock::Debug => 0,
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
    with(main, |room| {
        names::add(&place.1);
        room.lines.join(&place, waiter, due);
    });
    plan(main);
    true
}

/// Sets the alarm for the line that is to be looked at next.
fn plan(main: MainThread) {
    let next = with(main, |room| room.lines.next_due());
    let now = context::now(main);
    alarm::set(
        main,
        match next {
            // Under the debug clock time passes only by command.
            Some(due) if due > now && context::debug_clock_is_set(main) => None,
            Some(due) => Some(signed(due.millis_after(now))),
            None => None,
        },
    );
}

/// Something was done to this key of the context's database.
#[inline]
pub fn touched(ctx: &Context<'_>, name: Arg<'_>) {
    if any() && names::perhaps(name.bytes()) {
        touched_perhaps(ctx, name);
    }
}

#[cold]
fn touched_perhaps(ctx: &Context<'_>, name: Arg<'_>) {
    let main = ctx.main();
    if with(main, |room| room.lines.touch(&place(ctx, name))) {
        plan(main);
    }
}

/// What keys may take has changed on the whole server: policies, defaults.
pub fn limits_changed(main: MainThread) {
    if any() {
        with(main, |room| room.lines.touch_all(|_| true));
        plan(main);
    }
}

fn happened(ctx: &Context<'_>, what: Happened<'_>) {
    if !any() {
        return;
    }
    let main = ctx.main();
    match what {
        Happened::ToKey(name) => return touched(ctx, name),
        Happened::ToDatabase(db) => with(main, |room| room.lines.touch_all(|place| place.0 == db)),
        Happened::ToAll => with(main, |room| room.lines.touch_all(|_| true)),
    }
    plan(main);
}

/// RL.DEBUG moved the clock: so do the lines, at once.
pub fn clock_changed(ctx: &Context<'_>) {
    if any() {
        with(ctx.main(), |room| room.lines.touch_all(|_| true));
        wake(ctx);
    }
}

/// Looks at every line whose time has come.
fn wake(ctx: &Context<'_>) {
    let main = ctx.main();
    if !any() || !ctx.flags().master() {
        // A replica's clients are unblocked by the server.
        return alarm::set(main, None);
    }
    if ctx.must_not_propagate() {
        return alarm::set(main, Some(signed(HELD_UP_US / 1000)));
    }
    let now = ctx.now();
    while let Some(place) = with(main, |room| room.lines.take_due(now)) {
        let due = ctx.in_database(place.0, || serve(ctx, &place, now));
        with(main, |room| room.lines.look_at(&place, due));
    }
    plan(main);
}

/// Serves the line while its head can be. Returns when to look again.
fn serve(ctx: &Context<'_>, place: &Place, now: Micros) -> Option<Micros> {
    let main = ctx.main();
    let name = OwnedString::new(ctx, &place.1);
    if ctx.flags().cluster() && !key_is_served_here(ctx, name.arg()) {
        // The server redirects its clients in a moment.
        return Some(now.plus(HELD_UP_US));
    }
    let mut key = ctx.write(name.arg());
    loop {
        let (ticket, ask, deadline, clock) = with(main, |room| {
            let (ticket, waiter) = room.lines.head(place)?;
            Some((ticket, waiter.ask.clone(), waiter.deadline, waiter.clock))
        })?;
        let real = !ctx.debug_clock_is_set();
        let over = |late: bool| late && (clock == Clock::Debug || !real);
        if over(deadline < now) {
            time_is_up(main, ticket);
            continue;
        }
        let judged = key
            .value::<RateLimit>()
            .map_err(Error::from)
            .and_then(|held| ask.judge(ctx, &place.1, held.as_deref(), now));
        let judged = match judged {
            Ok(judged) => judged,
            Err(error) => {
                end(main, ticket, |_| Outcome::Decided(Err(error)));
                continue;
            }
        };
        let six = judged.six();
        if six.granted > 0 {
            let done = grant(ctx, &mut key, &ask, &judged, now);
            metrics::count(main, |m| &mut m.waiting_served);
            judged.count(main);
            top::decided(main, &place.1, true, now);
            end(main, ticket, |_| Outcome::Decided(done.map(|()| six)));
            continue;
        }
        match six.standing.retry {
            // It asks for more than there is now: nobody behind it should wait for that.
            Wait::Never => {
                judged.count(main);
                top::decided(main, &place.1, false, now);
                end(main, ticket, |_| Outcome::Decided(Ok(six)));
            }
            _ if over(deadline <= now) || (real && clock == Clock::Debug) => time_is_up(main, ticket),
            retry => {
                end_late_ones(ctx, place, now);
                let us = if let Wait::After(us) = retry { us } else { 0 };
                return Some(now.plus(us.max(1)));
            }
        }
    }
}

/// Ends the waits of those behind the head whose time is up by the debug clock.
fn end_late_ones(ctx: &Context<'_>, place: &Place, now: Micros) {
    let debug = ctx.debug_clock_is_set();
    let late: Vec<Ticket> = with(ctx.main(), |room| {
        let all = room.lines.after(place, 0).skip(1);
        all.filter(|(_, waiter)| match waiter.clock {
            Clock::Debug => !debug || waiter.deadline <= now,
            Clock::Servers => debug && waiter.deadline <= now,
        })
        .map(|(ticket, _)| ticket)
        .collect()
    });
    for ticket in late {
        time_is_up(ctx.main(), ticket);
    }
}

/// Ends a wait without a grant.
fn time_is_up(main: MainThread, ticket: Ticket) {
    end(main, ticket, |place| Outcome::TimeIsUp(place.clone()));
}

/// Ends a wait; [`answer_client`] tells the client.
fn end(main: MainThread, ticket: Ticket, outcome: impl FnOnce(&Place) -> Outcome) {
    let client = with(main, |room| {
        let (place, waiter) = room.leave(ticket)?;
        room.outcomes.insert(ticket, (waiter.ask, outcome(&place)));
        Some(waiter.client)
    });
    if let Some(client) = client {
        client.answer();
    }
}

/// The server lets us answer this client: with what was decided, or, when its
/// time is up, with where it stands.
fn answer_client(ctx: &Context<'_>, ticket: Ticket) {
    let main = ctx.main();
    let ended = with(main, |room| {
        room.outcomes.remove(&ticket).or_else(|| {
            let (place, waiter) = room.leave(ticket)?;
            Some((waiter.ask, Outcome::TimeIsUp(place)))
        })
    });
    let Some((ask, outcome)) = ended else {
        reply::null(ctx);
        return;
    };
    let reply = match outcome {
        Outcome::Decided(reply) => reply,
        Outcome::TimeIsUp(place) => {
            metrics::count(main, |m| &mut m.waiting_timed_out);
            metrics::count(main, |m| ask.denied(m));
            top::decided(main, &place.1, false, ctx.now());
            let name = OwnedString::new(ctx, &place.1);
            let reply = ctx.in_database(place.0, || denial(ctx, &place, name.arg(), &ask));
            plan(main);
            reply
        }
    };
    ask.send(ctx, &reply);
}

/// Takes what a waiter is granted; what is taken and what is counted travel as one.
fn grant(
    ctx: &Context<'_>,
    key: &mut Key<'_>,
    ask: &Ask,
    judged: &ask::Judged,
    now: Micros,
) -> Result<(), Error> {
    let main = ctx.main();
    let counted = ask.counted(main, key.value::<RateLimit>()?.as_deref(), judged.six().granted);
    let mut together = Together::default();
    ask.change(main, judged, now, |change| {
        together.apply(ctx, key, &commit::effect(ctx, now, change), ask.event())
    })?;
    if let Some(counted) = counted {
        together.apply(ctx, key, &commit::effect(ctx, now, counted), ask.event())?;
    }
    together.propagate(ctx);
    Ok(())
}

/// The reply of a request whose wait has ended without a grant.
fn denial(ctx: &Context<'_>, place: &Place, name: Arg<'_>, ask: &Ask) -> Result<Six, Error> {
    let now = ctx.now();
    let mut key = ctx.read(name);
    let held = key.value::<RateLimit>()?;
    if !ask.critical() && with(ctx.main(), |room| room.lines.length(place) > 0) {
        return behind_at(ctx, place, held.as_deref(), ask, now);
    }
    let six = ask.judge(ctx, &place.1, held.as_deref(), now)?.six();
    if six.granted == 0 {
        return Ok(six);
    }
    // Its units have become free this very moment; asking again gets them.
    let standing = Standing { retry: Wait::After(1), ..six.standing };
    Ok(Six { granted: 0, standing, ..six })
}

/// The server says that this client will not be answered by us.
fn client_gone(ctx: &Context<'_>, ticket: Ticket) {
    let main = ctx.main();
    let waited = with(main, |room| {
        room.outcomes.remove(&ticket);
        room.leave(ticket).is_some()
    });
    if waited {
        metrics::count(main, |m| &mut m.waiting_left);
        plan(main);
    }
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
    let six = behind(ctx, key, &Ask::Acquire { limits: Some(unlimited.into()), request, track: false }, now)?;
    Ok(match six.standing.retry {
        Wait::Now => Some(now),
        Wait::After(us) => Some(now.plus(us)),
        Wait::Never => Some(Micros::MAX),
    })
}

/// `RL.QUEUE key`: how many wait, since when the first in milliseconds, and
/// what it wants.
///
/// # Errors
/// A key of another type.
pub fn queue(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = Walk::new(args);
    let name = walk.required()?;
    walk.end()?;
    ctx.read(name).value::<RateLimit>()?;
    let now = ctx.now();
    let place = place(ctx, name);
    let (length, oldest, cost) = with(ctx.main(), |room| {
        let head = room.lines.head(&place);
        let (oldest, cost) =
            head.map_or((0, 0), |(_, waiter)| (now.since(waiter.since) / 1000, waiter.ask.cost()));
        (room.lines.length(&place) as u64, oldest, cost)
    });
    reply::array(ctx, 3);
    for number in [length, oldest, cost] {
        reply::integer(ctx, signed(number));
    }
    Ok(())
}

/// How many wait on this server, and for how many milliseconds the first has.
pub fn gauges(main: MainThread) -> (u64, u64) {
    let now = context::now(main);
    with(main, |room| {
        let oldest = room.lines.heads().map(|waiter| now.since(waiter.since) / 1000).max();
        (room.lines.waiting() as u64, oldest.unwrap_or(0))
    })
}

/// How full the longest line is, or all lines together, whichever is more:
/// percent, and the key of the longest.
pub fn fullness(main: MainThread) -> (u64, Option<Arc<[u8]>>) {
    if !any() {
        return (0, None);
    }
    let (queue_max, waiters_max) = (settings::queue_max(main), settings::waiters_max(main));
    with(main, |room| {
        let percent = |n: usize, of: usize| (n as u64).saturating_mul(100) / (of as u64).max(1);
        let all = percent(room.lines.waiting(), waiters_max);
        room.lines.longest().map_or((all, None), |((_, key), length)| {
            (all.max(percent(length, queue_max)), Some(Arc::clone(key)))
        })
    })
}
