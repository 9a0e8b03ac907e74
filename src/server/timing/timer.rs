//! Timers that run a function once, outside the current command or event.
//!
//! The server keeps the end of a timer by the wall clock. If that clock steps back, the server would
//! run the timer later by the whole step. So the module's timers all run at once then, and a task
//! must bear to come early.

use crate::server::boundary;
use crate::server::context::Context;
use crate::server::ffi::api::call;
use crate::server::main_thread::{MainThread, MainThreadCell};
use redis_module::raw;
use std::ffi::c_void;
use std::time::Instant;

/// The function that a timer runs.
type Task = fn(&Context<'_>);

/// A step back of more milliseconds is noticed. Less is how inexactly two clocks are read at the same
/// time.
const STEP_MS: i64 = 10;

/// A timer that has not run yet.
#[derive(Clone, Copy, Debug)]
struct Timer {
    /// Our own number, which it keeps when it is set anew.
    number: usize,
    /// The server's number.
    id: raw::RedisModuleTimerID,
    task: Task,
}

#[derive(Debug)]
struct Timers {
    /// The number of the timer that was made last.
    last: usize,
    set: Vec<Timer>,
    /// The steady clock and the server's wall clock in milliseconds, as of the server's last turn.
    clocks: Option<(Instant, i64)>,
}

static TIMERS: MainThreadCell<Timers> =
    MainThreadCell::new(Timers { last: 0, set: Vec::new(), clocks: None });

/// Runs `task` once, `ms` milliseconds from now.
pub fn after(ctx: &Context<'_>, ms: i64, task: Task) {
    start(ctx, ms, task);
}

/// The same as [`after`]. Returns the number of the timer, for [`stop`].
pub(super) fn start(ctx: &Context<'_>, ms: i64, task: Task) -> usize {
    let number = {
        let mut timers = TIMERS.of(ctx.main()).borrow_mut();
        timers.last = timers.last.wrapping_add(1);
        timers.last
    };
    set(ctx, ms, number, task);
    number
}

fn set(ctx: &Context<'_>, ms: i64, number: usize, task: Task) {
    let data = std::ptr::without_provenance_mut::<c_void>(number);
    // SAFETY: the context is live; nobody dereferences the data.
    let id = unsafe { call!(RedisModule_CreateTimer(ctx.raw(), ms, Some(fire), data)) };
    TIMERS.of(ctx.main()).borrow_mut().set.push(Timer { number, id, task });
}

/// Takes the timer of this number back, if it has not run yet.
pub(super) fn stop(ctx: &Context<'_>, number: usize) -> Option<Task> {
    let timer = take(ctx.main(), number)?;
    // SAFETY: the context is live, and the timer has not run yet.
    unsafe { call!(RedisModule_StopTimer(ctx.raw(), timer.id, std::ptr::null_mut())) };
    Some(timer.task)
}

fn take(main: MainThread, number: usize) -> Option<Timer> {
    let set = &mut TIMERS.of(main).borrow_mut().set;
    let at = set.iter().position(|timer| timer.number == number)?;
    Some(set.swap_remove(at))
}

/// Makes all timers run at once if the wall clock has stepped back since the server's last turn.
pub(in crate::server) fn turn(ctx: &Context<'_>) {
    // SAFETY: takes no arguments.
    let (now, wall) = (Instant::now(), unsafe { call!(RedisModule_Milliseconds()) });
    let before = TIMERS.of(ctx.main()).borrow_mut().clocks.replace((now, wall));
    let has_stepped = before.is_some_and(|(then, wall_then)| {
        let passed = i64::try_from(now.duration_since(then).as_millis()).unwrap_or(i64::MAX);
        wall_then.saturating_add(passed).saturating_sub(wall) > STEP_MS
    });
    if has_stepped {
        let all: Vec<usize> = TIMERS.of(ctx.main()).borrow().set.iter().map(|timer| timer.number).collect();
        for number in all {
            if let Some(task) = stop(ctx, number) {
                set(ctx, 0, number, task);
            }
        }
    }
}

unsafe extern "C" fn fire(ctx: *mut raw::RedisModuleCtx, data: *mut c_void) {
    // SAFETY: the server passes a live context, on its main thread.
    let context = unsafe { Context::from_raw(ctx) };
    if let Some(timer) = take(context.main(), data.addr()) {
        boundary::enter(&context, || (timer.task)(&context));
    }
}
