//! Settings: module arguments, and CONFIG GET, SET and REWRITE (7.0 and later).

use crate::core::text::token::shown;
use crate::server::boundary;
use crate::server::context::Context;
use crate::server::ffi::api::{call, call_if_there};
use crate::server::ffi::args::Arg;
use crate::server::ffi::log::LogLevel;
use crate::server::main_thread::{MainThread, MainThreadCell};
use redis_module::{RedisString, raw};
use std::ffi::{CStr, CString, c_char, c_int, c_longlong, c_void};

/// How a value is read and set. Its owner keeps it.
#[derive(Debug)]
pub struct SettingAccess<T> {
    /// Returns the present value.
    pub read: fn(MainThread) -> T,
    /// Sets the value, or returns the reason of a refusal.
    pub write: fn(MainThread, T) -> Result<(), String>,
}

/// The values that a setting can take.
#[derive(Debug)]
pub enum SettingKind {
    /// Whole numbers within these bounds.
    Number {
        /// The least value.
        min: i64,
        /// The greatest value.
        max: i64,
        /// The value, within the bounds.
        value: SettingAccess<i64>,
    },
    /// `yes` or `no`.
    Switch(SettingAccess<bool>),
    /// Every text that `write` accepts, such as limits, a breaker or a duration.
    Text(SettingAccess<String>),
}

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// The name without the prefix `floodgate.`.
    pub name: &'static CStr,
    /// True if it can only be given when the module is loaded.
    pub load_only: bool,
    /// The values that it can take.
    pub kind: SettingKind,
}

impl Setting {
    /// A setting that may be changed while the server runs.
    pub const fn new(name: &'static CStr, kind: SettingKind) -> Self {
        Self { name, load_only: false, kind }
    }

    /// The same setting, which can only be given when the module is loaded.
    #[must_use]
    pub const fn load_only(self) -> Self {
        Self { load_only: true, ..self }
    }

    fn title(&self) -> &str {
        self.name.to_str().unwrap_or_default()
    }

    /// Sets the value from a module argument.
    fn set(&self, main: MainThread, argument: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(argument);
        match &self.kind {
            SettingKind::Number { min, max, value } => {
                let number = text.ok().and_then(|text| text.parse().ok());
                let number = number.filter(|n| (min..=max).contains(&n));
                let refusal = || format!("expected a whole number from {min} to {max}");
                (value.write)(main, number.ok_or_else(refusal)?)
            }
            SettingKind::Switch(value) if argument.eq_ignore_ascii_case(b"yes") => (value.write)(main, true),
            SettingKind::Switch(value) if argument.eq_ignore_ascii_case(b"no") => (value.write)(main, false),
            SettingKind::Switch(_) => Err("expected yes or no".to_owned()),
            SettingKind::Text(value) => (value.write)(main, text.map_err(|_| "not text")?.to_owned()),
        }
    }
}

/// Sets the settings that the module arguments name, then registers every setting with the server.
/// The arguments are pairs `name value`, with or without the prefix.
///
/// # Errors
/// A line for the log that names the bad argument and says why.
pub fn register(ctx: &Context<'_>, settings: &'static [Setting], args: &[RedisString]) -> Result<(), String> {
    LOADING.of(ctx.main()).replace(true);
    let registered = take_over(ctx, settings, args);
    LOADING.of(ctx.main()).replace(false);
    registered
}

/// True while the module is being loaded.
static LOADING: MainThreadCell<bool> = MainThreadCell::new(false);

/// True if a setting comes from the line that loads the module or from the configuration file, and
/// not from CONFIG SET.
pub fn is_loading(main: MainThread) -> bool {
    *LOADING.of(main).borrow()
}

fn take_over(ctx: &Context<'_>, settings: &'static [Setting], args: &[RedisString]) -> Result<(), String> {
    let mut args = args.iter().map(RedisString::as_slice);
    while let Some(name) = args.next() {
        let bare = name.strip_prefix(b"floodgate.").unwrap_or(name);
        let setting = settings
            .iter()
            .find(|setting| setting.name.to_bytes().eq_ignore_ascii_case(bare))
            .ok_or_else(|| unknown(settings, name))?;
        let text = args.next().ok_or_else(|| format!("setting '{}' has no value", setting.title()))?;
        warn_of_rewrite(ctx, setting, text);
        setting
            .set(ctx.main(), text)
            .map_err(|reason| format!("setting '{}' = '{}': {reason}", setting.title(), shown(text)))?;
    }
    for setting in settings {
        if register_one(ctx, setting).is_some_and(|status| status != 0) {
            return Err(format!("the server refused setting '{}'", setting.title()));
        }
    }
    // SAFETY: the context is live.
    match unsafe { call_if_there!(RedisModule_LoadConfigs(ctx.raw())) } {
        Some(status) if status != 0 => {
            Err("the server refused a setting of its configuration file".to_owned())
        }
        _ => Ok(()),
    }
}

/// Warns of a module argument that CONFIG REWRITE would spoil: it writes the arguments without quotes,
/// and the next start would read other arguments. Servers before 7.0 do not write them.
fn warn_of_rewrite(ctx: &Context<'_>, setting: &Setting, text: &[u8]) {
    // SAFETY: only reads the pointer.
    let is_rewritten = unsafe { raw::RedisModule_RegisterStringConfig }.is_some();
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'') || !byte.is_ascii();
    if !is_rewritten || !text.is_empty() && text.iter().all(is_plain) {
        return;
    }
    let (name, value) = (setting.title(), shown(text));
    let warning = format!(
        "setting '{name}' = '{value}': CONFIG REWRITE writes module arguments without quotes, and the \
         server would not start after it. Give it on a line of its own: floodgate.{name} \"...\""
    );
    ctx.log(LogLevel::Warning, &warning);
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
fn register_one(ctx: &Context<'_>, setting: &'static Setting) -> Option<c_int> {
    let flags =
        if setting.load_only { raw::REDISMODULE_CONFIG_IMMUTABLE } else { raw::REDISMODULE_CONFIG_DEFAULT };
    let name = setting.name.as_ptr();
    // SAFETY: the context is live; the name is static, and so are the functions in the data, which
    // are of the type that the callbacks take; the default text is copied.
    unsafe {
        match &setting.kind {
            SettingKind::Number { min, max, value } => call_if_there!(RedisModule_RegisterNumericConfig(
                ctx.raw(),
                name,
                (value.read)(ctx.main()),
                flags,
                *min,
                *max,
                Some(get_number),
                Some(set_number),
                None,
                data_of(value)
            )),
            SettingKind::Switch(value) => call_if_there!(RedisModule_RegisterBoolConfig(
                ctx.raw(),
                name,
                (value.read)(ctx.main()).into(),
                flags,
                Some(get_switch),
                Some(set_switch),
                None,
                data_of(value)
            )),
            SettingKind::Text(value) => call_if_there!(RedisModule_RegisterStringConfig(
                ctx.raw(),
                name,
                CString::new((value.read)(ctx.main())).unwrap_or_default().as_ptr(),
                flags,
                Some(get_text),
                Some(set_text),
                None,
                data_of(value)
            )),
        }
    }
}

/// The pointer that the callbacks of a setting get.
fn data_of<T>(value: &'static SettingAccess<T>) -> *mut c_void {
    std::ptr::from_ref(value).cast_mut().cast()
}

/// The present value; `None` after a panic, which the log holds.
///
/// # Safety
/// The server calls it on its main thread, with the [`data_of`] of a setting of this type.
unsafe fn read<T>(data: *mut c_void) -> Option<T> {
    // SAFETY: the caller's promise.
    let (value, main) = unsafe { (&*data.cast::<SettingAccess<T>>(), MainThread::new()) };
    boundary::guard(|| (value.read)(main))
}

unsafe extern "C" fn get_number(_: *const c_char, data: *mut c_void) -> c_longlong {
    // SAFETY: the callback was registered with this data.
    unsafe { read(data) }.unwrap_or(0)
}

unsafe extern "C" fn get_switch(_: *const c_char, data: *mut c_void) -> c_int {
    // SAFETY: the callback was registered with this data.
    unsafe { read(data) }.unwrap_or(false).into()
}

/// The string handed out last for each setting, by its data. The server does not take ownership of
/// it, so the next read of the same setting frees it.
static HANDED_OUT: MainThreadCell<Vec<(*mut c_void, *mut raw::RedisModuleString)>> =
    MainThreadCell::new(Vec::new());

unsafe extern "C" fn get_text(_: *const c_char, data: *mut c_void) -> *mut raw::RedisModuleString {
    // SAFETY: the callback was registered with this data, and runs on the main thread.
    let (text, main) = unsafe { (read::<String>(data), MainThread::new()) };
    // After a panic the text is empty, because the server does not expect null.
    let fresh = string_of(&text.unwrap_or_default());
    let mut all = HANDED_OUT.of(main).borrow_mut();
    if let Some((_, old)) = all.iter_mut().find(|(of, _)| *of == data) {
        // SAFETY: the string is ours, was handed out before, and is no longer in use.
        unsafe { call!(RedisModule_FreeString(std::ptr::null_mut(), *old)) };
        *old = fresh;
    } else {
        all.push((data, fresh));
    }
    fresh
}

/// A new string of the server, which the caller owns.
fn string_of(text: &str) -> *mut raw::RedisModuleString {
    // SAFETY: a null context is allowed; the buffer is copied.
    unsafe { call!(RedisModule_CreateString(std::ptr::null_mut(), text.as_ptr().cast(), text.len())) }
}

/// Hands `value` to the setting's owner. The reason of a refusal goes to the client.
///
/// # Safety
/// The same as for [`read`]; `err` is null, or takes a string over.
unsafe fn write<T>(data: *mut c_void, value: T, err: *mut *mut raw::RedisModuleString) -> c_int {
    // SAFETY: the caller's promise.
    let (setting, main) = unsafe { (&*data.cast::<SettingAccess<T>>(), MainThread::new()) };
    let written = boundary::guard(|| (setting.write)(main, value));
    match written.unwrap_or_else(|| Err("internal error in floodgate; please report it".to_owned())) {
        Ok(()) => 0,
        Err(reason) => {
            if !err.is_null() {
                // SAFETY: the server takes ownership of the string.
                unsafe { *err = string_of(&reason) };
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
    unsafe { write(data, value, err) }
}

unsafe extern "C" fn set_switch(
    _: *const c_char,
    value: c_int,
    data: *mut c_void,
    err: *mut *mut raw::RedisModuleString,
) -> c_int {
    // SAFETY: `data` and `err` are what the server passed.
    unsafe { write(data, value != 0, err) }
}

unsafe extern "C" fn set_text(
    _: *const c_char,
    value: *mut raw::RedisModuleString,
    data: *mut c_void,
    err: *mut *mut raw::RedisModuleString,
) -> c_int {
    // SAFETY: the server passes a live string.
    unsafe { write(data, String::from_utf8_lossy(Arg::from_raw(value).bytes()).into_owned(), err) }
}
