//! One timer that wakes the module, at a time that may be changed.

use crate::server::context::Context;
use crate::server::ffi::api::call;
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::server::timing::timer::start;

#[derive(Debug)]
struct Alarm {
    /// A context of our own, because the timer is set from places that have none.
    ctx: Option<Context<'static>>,
    /// The timer that is set, if one is.
    timer: Option<u64>,
    wake: Option<fn(&Context<'_>)>,
}

static ALARM: MainThreadCell<Alarm> = MainThreadCell::new(Alarm { ctx: None, timer: None, wake: None });

/// Makes the timer ready to be set, from any context of the module. Calling it once is enough.
pub fn prepare(ctx: &Context<'_>, wake: fn(&Context<'_>)) {
    let mut alarm = ALARM.of(ctx.main()).borrow_mut();
    if alarm.ctx.is_none() {
        alarm.ctx = ctx.detached();
        alarm.wake = Some(wake);
    }
}

/// Wakes the module `ms` milliseconds from now and not at the time set before; with `None`, never.
pub fn set(main: MainThread, ms: Option<i64>) {
    let mut alarm = ALARM.of(main).borrow_mut();
    let Alarm { ctx: Some(ctx), timer, .. } = &mut *alarm else { return };
    if let Some(timer) = timer.take() {
        // SAFETY: the context is live, and a timer that is still set has not run yet.
        unsafe { call!(RedisModule_StopTimer(ctx.raw(), timer, std::ptr::null_mut())) };
    }
    *timer = ms.map(|ms| start(ctx, ms, woken));
}

fn woken(ctx: &Context<'_>) {
    let wake = {
        let mut alarm = ALARM.of(ctx.main()).borrow_mut();
        // The timer is running, so it can no longer be stopped.
        alarm.timer = None;
        alarm.wake
    };
    if let Some(wake) = wake {
        wake(ctx);
    }
}
