//! Lines in the server's log.

use redis_module::raw;
use std::ffi::CString;
use std::sync::atomic::{AtomicPtr, Ordering};

/// How serious a line is.
#[derive(Clone, Copy, Debug)]
pub enum LogLevel {
    /// A line that belongs to normal operation.
    Notice,
    /// Something is wrong.
    Warning,
}

/// The context in whose name code writes that has none; null before the module is loaded.
static CONTEXT: AtomicPtr<raw::RedisModuleCtx> = AtomicPtr::new(std::ptr::null_mut());

/// From now on every line has the module's name. Call it when the module is loaded.
///
/// # Safety
/// `own` is a context of the module that is never freed.
pub(in crate::server) unsafe fn begin(own: *mut raw::RedisModuleCtx) {
    CONTEXT.store(own, Ordering::Release);
}

/// The module does not load, so it has no name in the log any more.
pub(in crate::server) fn ends() {
    CONTEXT.store(std::ptr::null_mut(), Ordering::Release);
}

/// Writes `text` as one line, for code that has no context. It may run on any thread.
pub fn line(level: LogLevel, text: &str) {
    let ctx = CONTEXT.load(Ordering::Acquire);
    // SAFETY: null, or a context that is never freed. Of that, the server only reads the module's name.
    unsafe { write(ctx, level, text) }
}

/// Writes `text` as one line. The server puts the module's name in front, and with a null context the
/// word `module`. The text is never used as a format.
///
/// # Safety
/// `ctx` is null or a live context.
pub(in crate::server) unsafe fn write(ctx: *mut raw::RedisModuleCtx, level: LogLevel, text: &str) {
    let level = match level {
        LogLevel::Notice => c"notice",
        LogLevel::Warning => c"warning",
    };
    let Ok(text) = CString::new(text.replace('\0', "\\0")) else { return };
    // SAFETY: all pointers are live C strings, and the format takes exactly one.
    unsafe {
        if let Some(log) = raw::RedisModule_Log {
            log(ctx, level.as_ptr(), c"%s".as_ptr(), text.as_ptr());
        }
    }
}
