//! One timer that wakes the module, at a time that may be changed.

use crate::server::context::Context;
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::server::timing::timer;

#[derive(Debug)]
struct Alarm {
    /// A context of our own, because the timer is set from places that have none.
    ctx: Option<Context<'static>>,
    /// The timer that was set last.
    timer: Option<usize>,
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
    let Alarm { ctx: Some(ctx), timer, wake: Some(wake) } = &mut *alarm else { return };
    if let Some(before) = timer.take() {
        timer::stop(ctx, before);
    }
    *timer = ms.map(|ms| timer::start(ctx, ms, *wake));
}
