//! Settings: module arguments, and CONFIG GET, SET and REWRITE (7.0 and later).

use crate::core::text::token::shown;
use crate::server::ffi::api::{call, call_if_there};
use crate::server::ffi::args::Args;
use crate::server::main_thread::{MainThread, MainThreadCell};
use redis_module::raw;
use std::ffi::{CStr, CString, c_char, c_int, c_longlong, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The value of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A whole number.
    Number(i64),
    /// `yes` or `no`.
    Switch(bool),
    /// A text, such as limits, a breaker or a duration.
    Text(String),
}

/// The values that a setting can take.
#[derive(Clone, Copy, Debug)]
pub enum Domain {
    /// Whole numbers within these bounds.
    Number {
        /// The least value.
        min: i64,
        /// The greatest value.
        max: i64,
    },
    /// `yes` or `no`.
    Switch,
    /// Every text that `write` accepts.
    Text,
}

/// One setting. Its owner keeps the value.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The name without the prefix `floodgate.`.
    pub name: &'static CStr,
    /// The values that it can take.
    pub domain: Domain,
    /// True if it can only be given when the module is loaded.
    pub load_only: bool,
    /// Returns the present value.
    pub read: fn(MainThread) -> Value,
    /// Sets the value, or returns the reason of a refusal.
    pub write: fn(MainThread, Value) -> Result<(), String>,
}

impl Setting {
    fn title(&self) -> &str {
        self.name.to_str().unwrap_or_default()
    }

    fn parse(&self, text: &[u8]) -> Result<Value, String> {
        match self.domain {
            Domain::Number { min, max } => std::str::from_utf8(text)
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
                .filter(|n| (min..=max).contains(n))
                .map(Value::Number)
                .ok_or_else(|| format!("expected a whole number from {min} to {max}")),
            Domain::Switch if text.eq_ignore_ascii_case(b"yes") => Ok(Value::Switch(true)),
            Domain::Switch if text.eq_ignore_ascii_case(b"no") => Ok(Value::Switch(false)),
            Domain::Switch => Err("expected yes or no".to_owned()),
            Domain::Text => std::str::from_utf8(text)
                .map(|text| Value::Text(text.to_owned()))
                .map_err(|_| "not text".to_owned()),
        }
    }
}

/// Sets the settings that the module arguments name, then registers every setting with the server.
/// The arguments are pairs `name value`, with or without the prefix.
///
/// # Errors
/// A line for the log that names the bad argument and says why.
///
/// # Safety
/// `ctx` is the live context of the module's load function.
pub(in crate::server) unsafe fn register(
    ctx: *mut raw::RedisModuleCtx,
    main: MainThread,
    settings: &'static [Setting],
    args: Args<'_>,
) -> Result<(), String> {
    LOADING.of(main).replace(true);
    // SAFETY: the caller's promise.
    let registered = unsafe { take_over(ctx, main, settings, args) };
    LOADING.of(main).replace(false);
    registered
}

/// True while the module is being loaded.
static LOADING: MainThreadCell<bool> = MainThreadCell::new(false);

/// Whether a setting comes from the line that loads the module or from the configuration file, and
/// not from CONFIG SET.
pub fn is_loading(main: MainThread) -> bool {
    *LOADING.of(main).borrow()
}

/// # Safety
/// The same as for [`register`].
unsafe fn take_over(
    ctx: *mut raw::RedisModuleCtx,
    main: MainThread,
    settings: &'static [Setting],
    args: Args<'_>,
) -> Result<(), String> {
    let mut index = 0;
    while let Some(name) = args.get(index) {
        let bare = name.bytes().strip_prefix(b"floodgate.").unwrap_or(name.bytes());
        let setting = settings
            .iter()
            .find(|setting| setting.name.to_bytes().eq_ignore_ascii_case(bare))
            .ok_or_else(|| unknown(settings, name.bytes()))?;
        let text =
            args.get(index + 1).ok_or_else(|| format!("setting '{}' has no value", setting.title()))?;
        lasts(setting, text.bytes())
            .and_then(|()| setting.parse(text.bytes()))
            .and_then(|value| (setting.write)(main, value))
            .map_err(|reason| {
                format!("setting '{}' = '{}': {reason}", setting.title(), shown(text.bytes()))
            })?;
        index += 2;
    }
    for setting in settings {
        // SAFETY: the caller's promise.
        if unsafe { register_one(ctx, main, setting) }.is_some_and(|status| status != 0) {
            return Err(format!("the server refused setting '{}'", setting.title()));
        }
    }
    // SAFETY: the context is live.
    match unsafe { call_if_there!(RedisModule_LoadConfigs(ctx)) } {
        Some(status) if status != 0 => {
            Err("the server refused a setting of its configuration file".to_owned())
        }
        _ => Ok(()),
    }
}

/// Refuses a module argument that CONFIG REWRITE would spoil: it writes the arguments without quotes, and
/// the next start would read other arguments. Servers before 7.0 do not write them.
fn lasts(setting: &Setting, text: &[u8]) -> Result<(), String> {
    // SAFETY: only reads the pointer.
    let is_rewritten = unsafe { raw::RedisModule_RegisterStringConfig }.is_some();
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'') || !byte.is_ascii();
    if !is_rewritten || !text.is_empty() && text.iter().all(is_plain) {
        return Ok(());
    }
    Err(format!(
        "CONFIG REWRITE writes module arguments without quotes, so give it on a line of its own: \
         floodgate.{} \"...\"",
        setting.title()
    ))
}

/// The error for a name that is no setting. It lists the settings that exist.
fn unknown(settings: &[Setting], name: &[u8]) -> String {
    let names: Vec<&str> = settings.iter().map(Setting::title).collect();
    format!("unknown setting '{}': the settings are {}", shown(name), names.join(", "))
}

/// Registers one setting. Returns the server's status, or `None` if the server has no module
/// settings.
///
/// The value that the module arguments set is registered as the default. CONFIG REWRITE then leaves
/// it to the `loadmodule` line.
unsafe fn register_one(
    ctx: *mut raw::RedisModuleCtx,
    main: MainThread,
    setting: &'static Setting,
) -> Option<c_int> {
    let flags =
        if setting.load_only { raw::REDISMODULE_CONFIG_IMMUTABLE } else { raw::REDISMODULE_CONFIG_DEFAULT };
    let data = std::ptr::from_ref(setting).cast_mut().cast::<c_void>();
    let name = setting.name.as_ptr();
    // SAFETY: the setting and its name are static; the default text is copied.
    unsafe {
        match (setting.domain, (setting.read)(main)) {
            (Domain::Number { min, max }, Value::Number(n)) => {
                call_if_there!(RedisModule_RegisterNumericConfig(
                    ctx,
                    name,
                    n,
                    flags,
                    min,
                    max,
                    Some(get_number),
                    Some(set_number),
                    None,
                    data
                ))
            }
            (Domain::Switch, Value::Switch(on)) => call_if_there!(RedisModule_RegisterBoolConfig(
                ctx,
                name,
                on.into(),
                flags,
                Some(get_switch),
                Some(set_switch),
                None,
                data
            )),
            (Domain::Text, Value::Text(text)) => {
                let text = CString::new(text).unwrap_or_default();
                register_text(ctx, name, &text, flags, data)
            }
            _ => Some(1),
        }
    }
}

/// # Safety
/// As [`register`]; `data` is the setting.
unsafe fn register_text(
    ctx: *mut raw::RedisModuleCtx,
    name: *const c_char,
    text: &CStr,
    flags: u32,
    data: *mut c_void,
) -> Option<c_int> {
    // SAFETY: the caller's promise; the default text is copied.
    unsafe {
        call_if_there!(RedisModule_RegisterStringConfig(
            ctx,
            name,
            text.as_ptr(),
            flags,
            Some(get_text),
            Some(set_text),
            None,
            data
        ))
    }
}

/// # Safety
/// `data` is the setting that was registered.
unsafe fn setting<'a>(data: *mut c_void) -> (&'a Setting, MainThread) {
    // SAFETY: the caller's promise; the server runs this on its main thread.
    unsafe { (&*data.cast::<Setting>(), MainThread::new()) }
}

/// The present value; `None` after a panic, which the log holds.
fn read(setting: &Setting, main: MainThread) -> Option<Value> {
    catch_unwind(AssertUnwindSafe(|| (setting.read)(main))).ok()
}

unsafe extern "C" fn get_number(_: *const c_char, data: *mut c_void) -> c_longlong {
    // SAFETY: the callback was registered with this data.
    let (setting, main) = unsafe { setting(data) };
    match read(setting, main) {
        Some(Value::Number(n)) => n,
        _ => 0,
    }
}

unsafe extern "C" fn get_switch(_: *const c_char, data: *mut c_void) -> c_int {
    // SAFETY: the callback was registered with this data.
    let (setting, main) = unsafe { setting(data) };
    (read(setting, main) == Some(Value::Switch(true))).into()
}

/// The string handed out last for each setting. The server does not take ownership of it, so the
/// next read of the same setting frees it.
static HANDED_OUT: MainThreadCell<Vec<(&CStr, *mut raw::RedisModuleString)>> =
    MainThreadCell::new(Vec::new());

unsafe extern "C" fn get_text(_: *const c_char, data: *mut c_void) -> *mut raw::RedisModuleString {
    // SAFETY: the callback was registered with this data.
    let (setting, main) = unsafe { setting(data) };
    // After a panic the text is empty, because the server does not expect null.
    let text = match read(setting, main) {
        Some(Value::Text(text)) => text,
        _ => String::new(),
    };
    // SAFETY: a null context is allowed; the buffer is copied.
    let fresh =
        unsafe { call!(RedisModule_CreateString(std::ptr::null_mut(), text.as_ptr().cast(), text.len())) };
    let mut all = HANDED_OUT.of(main).borrow_mut();
    if let Some((_, old)) = all.iter_mut().find(|(name, _)| *name == setting.name) {
        // SAFETY: the string is ours, was handed out before, and is no longer in use.
        unsafe { call!(RedisModule_FreeString(std::ptr::null_mut(), *old)) };
        *old = fresh;
    } else {
        all.push((setting.name, fresh));
    }
    fresh
}

/// Hands `value` to the setting's owner. The reason of a refusal goes to the client.
unsafe fn write(data: *mut c_void, value: Value, err: *mut *mut raw::RedisModuleString) -> c_int {
    // SAFETY: the callback was registered with this data.
    let (setting, main) = unsafe { setting(data) };
    let written = catch_unwind(AssertUnwindSafe(|| (setting.write)(main, value)));
    match written.unwrap_or_else(|_| Err("internal error in floodgate; please report it".to_owned())) {
        Ok(()) => 0,
        Err(reason) => {
            if !err.is_null() {
                // SAFETY: the server takes ownership of the string.
                unsafe {
                    *err = call!(RedisModule_CreateString(
                        std::ptr::null_mut(),
                        reason.as_ptr().cast(),
                        reason.len()
                    ));
                }
            }
            1
        }
    }
}

unsafe extern "C" fn set_number(
    _: *const c_char,
    value: c_longlong,
    data: *mut c_void,
    err: *mut *mut raw::RedisModuleString,
) -> c_int {
    // SAFETY: `data` and `err` are what the server passed.
    unsafe { write(data, Value::Number(value), err) }
}

unsafe extern "C" fn set_switch(
    _: *const c_char,
    value: c_int,
    data: *mut c_void,
    err: *mut *mut raw::RedisModuleString,
) -> c_int {
    // SAFETY: `data` and `err` are what the server passed.
    unsafe { write(data, Value::Switch(value != 0), err) }
}

unsafe extern "C" fn set_text(
    _: *const c_char,
    value: *mut raw::RedisModuleString,
    data: *mut c_void,
    err: *mut *mut raw::RedisModuleString,
) -> c_int {
    // SAFETY: the server passes a live string.
    unsafe {
        let bytes = crate::server::ffi::args::Arg::from_raw(value).bytes();
        write(data, Value::Text(String::from_utf8_lossy(bytes).into_owned()), err)
    }
}
