//! Lines in the server's log.

use redis_module::raw;
use std::ffi::CString;

/// How serious a line is.
#[derive(Clone, Copy, Debug)]
pub enum LogLevel {
    /// A line that belongs to normal operation.
    Notice,
    /// Something is wrong.
    Warning,
}

/// Writes `text` as one line in the name of the server, for code that has no context. It may run on
/// any thread.
pub fn line(level: LogLevel, text: &str) {
    // SAFETY: a null context is allowed on every thread.
    unsafe { write(std::ptr::null_mut(), level, text) }
}

/// Writes `text` as one line; with a null context, in the name of the server. The text is never
/// used as a format.
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
