//! The settings of the module: one table, one place for their values.

use crate::core::breaker::Breaker;
use crate::core::stats::alerts::Thresholds;
use crate::core::text::duration;
use crate::core::text::duration::{DAY, MILLISECOND, SECOND};
use crate::core::text::token::shown;
use crate::server::ffi::log;
use crate::server::ffi::log::LogLevel;
use crate::server::load::settings::SettingKind::{Number, Switch, Text};
use crate::server::load::settings::{Setting, SettingAccess, is_loading};
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::types::cbcircuit::rules;
use crate::types::cbcircuit::rules::BreakerRef;
use crate::types::intern;
use crate::types::intern::{LimitsRef, ParsedLimits};
use crate::types::policies::file::PoliciesFile;
use crate::types::ratelimit::tracked;
use std::ffi::CStr;
use std::rc::Rc;
use std::sync::OnceLock;

#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // each one is a setting
struct Settings {
    default_limit: Option<(String, LimitsRef)>,
    default_breaker: DefaultBreaker,
    events: bool,
    caller_limits: bool,
    batch_max: i64,
    mask_keys: bool,
    alert_error_rate: i64,
    alert_queue: i64,
    alert_breaker_openings: i64,
    alert_breaker_open: DurationSetting,
    alert_response_time: DurationSetting,
    alert_batch_failures: i64,
    alert_latency: DurationSetting,
    queue_max: i64,
    waiters_max: i64,
    wait_max: DurationSetting,
    track_usage: bool,
    compat_cl_throttle: bool,
    enable_debug_command: bool,
    policies_file: Option<Rc<PoliciesFile>>,
}

/// The value of a setting that is a length of time.
#[derive(Debug)]
struct DurationSetting {
    us: u64,
    /// The text that is shown while the setting has its default.
    default: &'static str,
    /// The text as it was written; `None` for the default.
    text: Option<String>,
}

impl DurationSetting {
    const fn of(us: u64, default: &'static str) -> Self {
        Self { us, default, text: None }
    }

    fn shown(&self) -> String {
        self.text.clone().unwrap_or_else(|| self.default.to_owned())
    }

    /// Reads a value of the setting `name`, at most `max_us` microseconds.
    fn read(main: MainThread, name: &CStr, text: String, max_us: u64) -> Result<Self, String> {
        let us = match duration::parse(text.as_bytes()) {
            Ok(us) => us,
            Err(error) => {
                let kept = duration::parse_stored(text.as_bytes()).ok().filter(|_| is_loading(main));
                return match kept.filter(|us| *us <= max_us) {
                    Some(us) => {
                        let shown = duration::canonical(us);
                        tell_unitless(name, &text, &shown);
                        Ok(Self { us, default: "", text: Some(shown) })
                    }
                    None => Err(error.to_string()),
                };
            }
        };
        if us > max_us {
            return Err(format!("must be at most {}", duration::canonical(max_us)));
        }
        Ok(Self { us, default: "", text: Some(text) })
    }
}

/// Logs a notice for an operator whose configuration is of a version in which a duration needed no
/// unit.
fn tell_unitless(name: &CStr, text: &str, now: &str) {
    let (name, text) = (name.to_string_lossy(), shown(text.as_bytes()));
    log::line(
        LogLevel::Notice,
        &format!(
            "setting '{name}' = '{text}' has a duration without a unit, taken as milliseconds \
             as versions before durations had units did: write {now}"
        ),
    );
}

/// The breaker of keys for which neither pin, call nor policy names one.
#[derive(Debug)]
enum DefaultBreaker {
    /// The setting is not given: the breaker is [`BUILT_IN_BREAKER`].
    BuiltIn,
    /// The setting is empty: such keys have no breaker.
    Nothing,
    /// The setting is given: its text and its breaker.
    Set(String, BreakerRef),
}

const BUILT_IN_BREAKER: &str = "50%/60s";

static SETTINGS: MainThreadCell<Settings> = MainThreadCell::new(Settings {
    default_limit: None,
    default_breaker: DefaultBreaker::BuiltIn,
    events: true,
    caller_limits: true,
    batch_max: 1000,
    mask_keys: false,
    alert_error_rate: 5,
    alert_queue: 80,
    alert_breaker_openings: 3,
    alert_breaker_open: DurationSetting::of(60 * SECOND, "60s"),
    alert_response_time: DurationSetting::of(500 * MILLISECOND, "500ms"),
    alert_batch_failures: 10,
    alert_latency: DurationSetting::of(100 * MILLISECOND, "100ms"),
    queue_max: 1000,
    waiters_max: 10_000,
    wait_max: DurationSetting::of(30 * SECOND, "30s"),
    track_usage: false,
    compat_cl_throttle: true,
    enable_debug_command: false,
    policies_file: None,
});

static ON_LIMITS_CHANGED: OnceLock<fn(MainThread)> = OnceLock::new();

/// Calls `hook` after each setting or policy that changes which limits a key has. Call this once, when
/// the module is loaded.
pub fn on_limits_changed(hook: fn(MainThread)) {
    // A second call would come from a second load, with the same hook.
    let _ = ON_LIMITS_CHANGED.set(hook);
}

/// Tells the hook that keys may have other limits now.
pub fn limits_changed(main: MainThread) {
    if let Some(hook) = ON_LIMITS_CHANGED.get() {
        hook(main);
    }
}

/// The access to a number or a switch that is kept in a field.
macro_rules! field {
    ($field:ident) => {
        SettingAccess {
            read: |main| SETTINGS.of(main).borrow().$field,
            write: |main, value| {
                SETTINGS.of(main).borrow_mut().$field = value;
                Ok(())
            },
        }
    };
}

/// The row of a setting that is a length of time, of at most this many microseconds.
macro_rules! duration {
    ($name:literal, $field:ident, $max_us:expr) => {
        Setting::new(
            $name,
            Text(SettingAccess {
                read: |main| SETTINGS.of(main).borrow().$field.shown(),
                write: |main, text| {
                    let read = DurationSetting::read(main, $name, text, $max_us)?;
                    SETTINGS.of(main).borrow_mut().$field = read;
                    Ok(())
                },
            }),
        )
    };
}

/// All settings. Each is a module argument and `floodgate.<name>` in the server's configuration.
pub static TABLE: &[Setting] = &[
    Setting::new(
        c"default-limit",
        Text(SettingAccess { read: shown_default_limit, write: write_default_limit }),
    ),
    Setting::new(
        c"default-breaker",
        Text(SettingAccess { read: shown_default_breaker, write: write_default_breaker }),
    ),
    Setting::new(c"events", Switch(field!(events))),
    Setting::new(
        c"caller-limits",
        Switch(SettingAccess {
            read: caller_limits,
            write: |main, hold| {
                SETTINGS.of(main).borrow_mut().caller_limits = hold;
                limits_changed(main);
                Ok(())
            },
        }),
    ),
    Setting::new(c"batch-max", Number { min: 1, max: 1_000_000, value: field!(batch_max) }),
    Setting::new(c"queue-max", Number { min: 1, max: 1_000_000, value: field!(queue_max) }),
    Setting::new(c"waiters-max", Number { min: 1, max: 1_000_000, value: field!(waiters_max) }),
    duration!(c"wait-max", wait_max, duration::LONGEST),
    Setting::new(c"mask-keys", Switch(field!(mask_keys))),
    Setting::new(c"alert-error-rate", Number { min: 0, max: 100, value: field!(alert_error_rate) }),
    Setting::new(c"alert-queue", Number { min: 0, max: 100, value: field!(alert_queue) }),
    Setting::new(
        c"alert-breaker-openings",
        Number { min: 0, max: 1_000_000, value: field!(alert_breaker_openings) },
    ),
    duration!(c"alert-breaker-open", alert_breaker_open, duration::LONGEST),
    duration!(c"alert-response-time", alert_response_time, DAY),
    Setting::new(c"alert-batch-failures", Number { min: 0, max: 100, value: field!(alert_batch_failures) }),
    duration!(c"alert-latency", alert_latency, DAY),
    Setting::new(c"track-usage", Switch(field!(track_usage))),
    Setting::new(
        c"track-max",
        Number {
            min: 0,
            max: 100_000_000,
            value: SettingAccess {
                read: |_| i64::try_from(tracked::most()).unwrap_or(i64::MAX),
                write: |_, most| {
                    tracked::set_most(usize::try_from(most).unwrap_or(0));
                    Ok(())
                },
            },
        },
    ),
    Setting::new(c"compat-cl-throttle", Switch(field!(compat_cl_throttle))).load_only(),
    Setting::new(
        c"policies-file",
        Text(SettingAccess { read: shown_policies_file, write: write_policies_file }),
    )
    .load_only(),
    Setting::new(c"enable-debug-command", Switch(field!(enable_debug_command))).load_only(),
];

fn shown_default_limit(main: MainThread) -> String {
    let settings = SETTINGS.of(main).borrow();
    settings.default_limit.as_ref().map_or_else(String::new, |(text, _)| text.clone())
}

fn write_default_limit(main: MainThread, text: String) -> Result<(), String> {
    let limits = match text.as_bytes() {
        b"" => None,
        bytes => match intern::want(main, bytes).map_err(|error| error.to_string())? {
            ParsedLimits::Limits(limits) => Some((text, limits)),
            ParsedLimits::ServerChosen => {
                return Err("'*' would ask for this setting itself, write limits such as 100/m".to_owned());
            }
            ParsedLimits::Terms(_) => {
                return Err("a policy chooses its keys by PREFIX, write the limits out here".to_owned());
            }
        },
    };
    SETTINGS.of(main).borrow_mut().default_limit = limits;
    limits_changed(main);
    Ok(())
}

fn shown_default_breaker(main: MainThread) -> String {
    match &SETTINGS.of(main).borrow().default_breaker {
        DefaultBreaker::BuiltIn => BUILT_IN_BREAKER.to_owned(),
        DefaultBreaker::Nothing => String::new(),
        DefaultBreaker::Set(text, _) => text.clone(),
    }
}

fn write_default_breaker(main: MainThread, text: String) -> Result<(), String> {
    let breaker = if text.is_empty() {
        DefaultBreaker::Nothing
    } else {
        let shown = Breaker::with_units(&text);
        let text = match Breaker::parse_stored(text.as_bytes()) {
            Ok(_) if is_loading(main) && shown != text => {
                tell_unitless(c"default-breaker", &text, &shown);
                shown
            }
            _ => text,
        };
        let rule = rules::find(main, text.as_bytes()).map_err(|error| error.to_string())?;
        DefaultBreaker::Set(text, rule)
    };
    SETTINGS.of(main).borrow_mut().default_breaker = breaker;
    Ok(())
}

fn shown_policies_file(main: MainThread) -> String {
    policies_file(main).map_or_else(String::new, |file| file.path.clone())
}

fn write_policies_file(main: MainThread, path: String) -> Result<(), String> {
    let file = if path.is_empty() { None } else { Some(Rc::new(PoliciesFile::read(path)?)) };
    SETTINGS.of(main).borrow_mut().policies_file = file;
    Ok(())
}

/// The file of policies as it was when the module was loaded; `None` without one.
pub fn policies_file(main: MainThread) -> Option<Rc<PoliciesFile>> {
    SETTINGS.of(main).borrow().policies_file.clone()
}

/// The breaker of keys for which neither pin, call nor policy names one; `None` if they have none.
pub fn default_breaker(main: MainThread) -> Option<BreakerRef> {
    match &SETTINGS.of(main).borrow().default_breaker {
        DefaultBreaker::BuiltIn => {}
        DefaultBreaker::Nothing => return None,
        DefaultBreaker::Set(_, rule) => return Some(rule.clone()),
    }
    // The built-in breaker is needed for the first time. It is interned and kept from now on.
    let rule = rules::find(main, BUILT_IN_BREAKER.as_bytes()).ok()?;
    SETTINGS.of(main).borrow_mut().default_breaker =
        DefaultBreaker::Set(BUILT_IN_BREAKER.to_owned(), rule.clone());
    Some(rule)
}

/// True if events are published.
pub fn events(main: MainThread) -> bool {
    SETTINGS.of(main).borrow().events
}

/// The limits of keys for which neither pin, call nor policy names any; `None` if they have none.
pub fn default_limit(main: MainThread) -> Option<LimitsRef> {
    SETTINGS.of(main).borrow().default_limit.as_ref().map(|(_, limits)| limits.clone())
}

/// True if the limits and breakers of calls hold.
pub fn caller_limits(main: MainThread) -> bool {
    SETTINGS.of(main).borrow().caller_limits
}

/// The most items in a call of RL.BATCH.
pub fn batch_max(main: MainThread) -> u64 {
    u64::try_from(SETTINGS.of(main).borrow().batch_max).unwrap_or(1)
}

/// The most waiters on one key.
pub fn queue_max(main: MainThread) -> usize {
    usize::try_from(SETTINGS.of(main).borrow().queue_max).unwrap_or(1)
}

/// The most waiters on this server.
pub fn waiters_max(main: MainThread) -> usize {
    usize::try_from(SETTINGS.of(main).borrow().waiters_max).unwrap_or(1)
}

/// The longest time that a caller may ask to wait, in microseconds.
pub fn wait_max_us(main: MainThread) -> u64 {
    SETTINGS.of(main).borrow().wait_max.us
}

/// True if the names of keys are hidden from observers.
pub fn mask_keys(main: MainThread) -> bool {
    SETTINGS.of(main).borrow().mask_keys
}

/// The figures from which on there is an alert.
pub fn alert_thresholds(main: MainThread) -> Thresholds {
    let settings = SETTINGS.of(main).borrow();
    let positive = |n: i64| u64::try_from(n).unwrap_or(0);
    Thresholds {
        error_rate: positive(settings.alert_error_rate),
        queue: positive(settings.alert_queue),
        breaker_openings: positive(settings.alert_breaker_openings),
        breaker_open: settings.alert_breaker_open.us.div_ceil(SECOND),
        response_time: settings.alert_response_time.us / MILLISECOND,
        batch_failures: positive(settings.alert_batch_failures),
        stall: settings.alert_latency.us / MILLISECOND,
    }
}

/// True if every key is tracked on which RL.ACQUIRE decides.
pub fn track_usage(main: MainThread) -> bool {
    SETTINGS.of(main).borrow().track_usage
}

/// True if CL.THROTTLE, RL.THROTTLE and GCRA are registered.
pub fn compat_cl_throttle(main: MainThread) -> bool {
    SETTINGS.of(main).borrow().compat_cl_throttle
}

/// True if RL.DEBUG is enabled.
pub fn enable_debug_command(main: MainThread) -> bool {
    SETTINGS.of(main).borrow().enable_debug_command
}
