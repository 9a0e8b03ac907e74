//! Our sections of INFO.

use crate::server::boundary;
use crate::server::context::Context;
use crate::server::ffi::api::call;
use crate::server::main_thread::MainThread;
use redis_module::raw;
use std::ffi::{CString, c_int};
use std::sync::OnceLock;

/// Writes the module's part of INFO.
#[derive(Debug)]
pub struct InfoWriter {
    raw: *mut raw::RedisModuleInfoCtx,
    main: MainThread,
}

impl InfoWriter {
    /// The proof that the code runs on the main thread.
    pub const fn main(&self) -> MainThread {
        self.main
    }

    /// Starts a section: `# floodgate_name`, or `# floodgate` if `name` is empty. Returns false if
    /// the client did not ask for it.
    pub fn section(&self, name: &str) -> bool {
        let name = CString::new(name).unwrap_or_default();
        // SAFETY: the context is live and the name a C string.
        unsafe { call!(RedisModule_InfoAddSection(self.raw, name.as_ptr())) == 0 }
    }

    /// Writes a field with a number.
    pub fn number(&self, field: &str, value: u64) {
        let field = CString::new(field).unwrap_or_default();
        // SAFETY: the context is live and the name a C string.
        unsafe {
            call!(RedisModule_InfoAddFieldULongLong(self.raw, field.as_ptr(), value));
        }
    }

    /// Writes a field with a text.
    pub fn text(&self, field: &str, value: &str) {
        let field = CString::new(field).unwrap_or_default();
        let value = CString::new(value).unwrap_or_default();
        // SAFETY: the context is live and both are C strings.
        unsafe {
            call!(RedisModule_InfoAddFieldCString(self.raw, field.as_ptr(), value.as_ptr()));
        }
    }
}

static WRITE: OnceLock<fn(&InfoWriter)> = OnceLock::new();

unsafe extern "C" fn callback(ctx: *mut raw::RedisModuleInfoCtx, crash_report: c_int) {
    // The server has crashed, so its state may be broken: none of our code runs.
    if crash_report != 0 {
        return;
    }
    if let Some(write) = WRITE.get() {
        // SAFETY: the server runs this on its main thread.
        let writer = InfoWriter { raw: ctx, main: unsafe { MainThread::new() } };
        boundary::guard(|| write(&writer));
    }
}

/// Registers `write` as the function that writes our part of INFO, instead of the crate's own
/// handler. Call it once, when the module is loaded.
pub fn on_info(ctx: &Context<'_>, write: fn(&InfoWriter)) {
    let _ = WRITE.set(write);
    // SAFETY: the context is live; the callback is a function of this library.
    unsafe {
        call!(RedisModule_RegisterInfoFunc(ctx.raw(), Some(callback)));
    }
}
