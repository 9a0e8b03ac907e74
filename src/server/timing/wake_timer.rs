//! One timer that wakes the module, at a time that may be changed.

use crate::server::context::Context;
use crate::server::ffi::api::call_if_there;
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::server::timing::timer;
use redis_module::raw;

#[derive(Debug)]
struct Alarm {
    /// A context of our own, because the timer is set from places that have none.
    ctx: *mut raw::RedisModuleCtx,
    /// The timer that was set last.
    timer: Option<usize>,
    wake: Option<fn(&Context<'_>)>,
}

static ALARM: MainThreadCell<Alarm> =
    MainThreadCell::new(Alarm { ctx: std::ptr::null_mut(), timer: None, wake: None });

/// Makes the timer ready to be set, from any context of the module. Calling it once is enough.
pub fn prepare(ctx: &Context<'_>, wake: fn(&Context<'_>)) {
    let mut alarm = ALARM.of(ctx.main()).borrow_mut();
    if alarm.ctx.is_null() {
        // SAFETY: the context is live. The new context is never freed.
        unsafe {
            alarm.ctx = call_if_there!(RedisModule_GetDetachedThreadSafeContext(ctx.raw()))
                .unwrap_or_else(std::ptr::null_mut);
        }
        alarm.wake = Some(wake);
    }
}

/// Wakes the module `ms` milliseconds from now and not at the time set before; with `None`, never.
pub fn set(main: MainThread, ms: Option<i64>) {
    let mut alarm = ALARM.of(main).borrow_mut();
    let (false, Some(wake)) = (alarm.ctx.is_null(), alarm.wake) else { return };
    // SAFETY: the context is ours, and is never freed.
    let ctx = unsafe { Context::from_raw(alarm.ctx) };
    if let Some(before) = alarm.timer.take() {
        timer::stop(&ctx, before);
    }
    alarm.timer = ms.map(|ms| timer::start(&ctx, ms, wake));
}
