//! The settings of the module: one table, one place for their values.

use crate::core::breaker::Breaker;
use crate::core::policies::bytes::fnv;
use crate::core::policies::{Policies, Policy};
use crate::core::stats::alerts::Thresholds;
use crate::core::text::duration;
use crate::core::text::duration::{DAY, MILLISECOND, SECOND};
use crate::core::text::token::shown;
use crate::server::ffi::log;
use crate::server::ffi::log::LogLevel;
use crate::server::load::settings::{Domain, Setting, Value, is_loading};
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::types::cbcircuit::rules;
use crate::types::cbcircuit::rules::BreakerRef;
use crate::types::intern;
use crate::types::intern::{LimitsRef, ParsedLimits};
use crate::types::policies::json;
use crate::types::ratelimit::tracked;
use std::ffi::CStr;
use std::io::Read;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::UNIX_EPOCH;

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

/// The content of a file of policies when the module was loaded.
#[derive(Debug)]
pub struct PoliciesFile {
    /// The path of the file.
    pub path: String,
    /// The digest of its bytes.
    pub digest: u64,
    /// When it was last changed, in seconds since 1970; 0 if the system does not tell.
    pub changed_s: u64,
    /// The policies in it.
    pub policies: Vec<Policy>,
}

impl PoliciesFile {
    /// The largest file that is read, in bytes. Files that people write are smaller.
    const LONGEST: u64 = 64 << 20;

    fn read(path: String) -> Result<Self, String> {
        let mut bytes = Vec::new();
        let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
        let file = std::fs::File::open(&path).map_err(unreadable)?;
        let changed = file.metadata().and_then(|metadata| metadata.modified()).ok();
        let changed_s =
            changed.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0, |age| age.as_secs());
        file.take(Self::LONGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > Self::LONGEST {
            return Err("is longer than 64 MiB".to_owned());
        }
        let policies =
            json::import(&Policies::default(), &bytes, true).map_err(|unreadable| unreadable.to_string())?;
        Ok(Self { path, digest: fnv(&bytes), changed_s, policies })
    }
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
    fn read(main: MainThread, name: &CStr, value: Value, max_us: u64) -> Result<Self, String> {
        let Value::Text(text) = value else { return Err("expected a duration".to_owned()) };
        let us = match duration::parse(text.as_bytes()) {
            Ok(us) => us,
            Err(error) => {
                let kept = duration::parse_stored(text.as_bytes()).ok().filter(|_| is_loading(main));
                return match kept.filter(|us| *us <= max_us) {
                    Some(us) => {
                        let shown = duration::canonical(us);
                        tell_unitless(main, name, &text, &shown);
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

/// Logs a notice for an operator whose configuration is from version 0.1, in which a duration
/// needed no unit.
fn tell_unitless(main: MainThread, name: &CStr, text: &str, now: &str) {
    let (name, text) = (name.to_string_lossy(), shown(text.as_bytes()));
    log::line(
        main,
        LogLevel::Notice,
        &format!(
            "floodgate: setting '{name}' = '{text}' has a duration without a unit, taken as milliseconds \
             as version 0.1 did: write {now}"
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

/// Calls `hook` after each setting that changes which limits a key has. Call this once, when the
/// module is loaded.
pub fn on_limits_changed(hook: fn(MainThread)) {
    // A second call would come from a second load, with the same hook.
    let _ = ON_LIMITS_CHANGED.set(hook);
}

fn limits_changed(main: MainThread) {
    if let Some(hook) = ON_LIMITS_CHANGED.get() {
        hook(main);
    }
}

/// One row of the table, for a number, a switch or a length of time that is kept in a field.
macro_rules! field {
    ($name:literal, $field:ident, Duration { $max_us:expr }) => {
        Setting {
            name: $name,
            domain: Domain::Text,
            load_only: false,
            read: |main| Value::Text(SETTINGS.of(main).borrow().$field.shown()),
            write: |main, value| {
                let read = DurationSetting::read(main, $name, value, $max_us)?;
                SETTINGS.of(main).borrow_mut().$field = read;
                Ok(())
            },
        }
    };
    ($name:literal, $field:ident, Number { $min:expr, $max:expr }, load_only: $load_only:expr, affects_limits: $affects_limits:expr) => {
        field!($name, $field, Domain::Number { min: $min, max: $max }, Number, $load_only, $affects_limits)
    };
    ($name:literal, $field:ident, Switch, load_only: $load_only:expr, affects_limits: $affects_limits:expr) => {
        field!($name, $field, Domain::Switch, Switch, $load_only, $affects_limits)
    };
    ($name:literal, $field:ident, $domain:expr, $kind:ident, $load_only:expr, $affects_limits:expr) => {
        Setting {
            name: $name,
            domain: $domain,
            load_only: $load_only,
            read: |main| Value::$kind(SETTINGS.of(main).borrow().$field),
            write: |main, value| {
                let Value::$kind(value) = value else {
                    return Err("expected another kind of value".to_owned());
                };
                SETTINGS.of(main).borrow_mut().$field = value;
                if $affects_limits {
                    limits_changed(main);
                }
                Ok(())
            },
        }
    };
}

/// All settings. Each is a module argument and `floodgate.<name>` in the server's configuration.
pub static TABLE: &[Setting] = &[
    Setting {
        name: c"default-limit",
        domain: Domain::Text,
        load_only: false,
        read: |main| {
            let settings = SETTINGS.of(main).borrow();
            Value::Text(settings.default_limit.as_ref().map_or_else(String::new, |(text, _)| text.clone()))
        },
        write: write_default_limit,
    },
    Setting {
        name: c"default-breaker",
        domain: Domain::Text,
        load_only: false,
        read: |main| {
            Value::Text(match &SETTINGS.of(main).borrow().default_breaker {
                DefaultBreaker::BuiltIn => BUILT_IN_BREAKER.to_owned(),
                DefaultBreaker::Nothing => String::new(),
                DefaultBreaker::Set(text, _) => text.clone(),
            })
        },
        write: write_default_breaker,
    },
    field!(c"events", events, Switch, load_only: false, affects_limits: false),
    field!(c"caller-limits", caller_limits, Switch, load_only: false, affects_limits: true),
    field!(c"batch-max", batch_max, Number { 1, 1_000_000 }, load_only: false, affects_limits: false),
    field!(c"queue-max", queue_max, Number { 1, 1_000_000 }, load_only: false, affects_limits: false),
    field!(c"waiters-max", waiters_max, Number { 1, 1_000_000 }, load_only: false, affects_limits: false),
    field!(c"wait-max", wait_max, Duration { duration::LONGEST }),
    field!(c"mask-keys", mask_keys, Switch, load_only: false, affects_limits: false),
    field!(c"alert-error-rate", alert_error_rate, Number { 0, 100 }, load_only: false, affects_limits: false),
    field!(c"alert-queue", alert_queue, Number { 0, 100 }, load_only: false, affects_limits: false),
    field!(c"alert-breaker-openings", alert_breaker_openings, Number { 0, 1_000_000 }, load_only: false, affects_limits: false),
    field!(c"alert-breaker-open", alert_breaker_open, Duration { duration::LONGEST }),
    field!(c"alert-response-time", alert_response_time, Duration { DAY }),
    field!(c"alert-batch-failures", alert_batch_failures, Number { 0, 100 }, load_only: false, affects_limits: false),
    field!(c"alert-latency", alert_latency, Duration { DAY }),
    field!(c"track-usage", track_usage, Switch, load_only: false, affects_limits: false),
    Setting {
        name: c"track-max",
        domain: Domain::Number { min: 0, max: 100_000_000 },
        load_only: false,
        read: |_| Value::Number(i64::try_from(tracked::most()).unwrap_or(i64::MAX)),
        write: |_, value| match value {
            Value::Number(n) => {
                tracked::set_most(usize::try_from(n).unwrap_or(0));
                Ok(())
            }
            _ => Err("expected a number".to_owned()),
        },
    },
    field!(c"compat-cl-throttle", compat_cl_throttle, Switch, load_only: true, affects_limits: false),
    Setting {
        name: c"policies-file",
        domain: Domain::Text,
        load_only: true,
        read: |main| {
            let settings = SETTINGS.of(main).borrow();
            Value::Text(settings.policies_file.as_ref().map_or_else(String::new, |file| file.path.clone()))
        },
        write: write_policies_file,
    },
    field!(c"enable-debug-command", enable_debug_command, Switch, load_only: true, affects_limits: false),
];

fn write_default_limit(main: MainThread, value: Value) -> Result<(), String> {
    let Value::Text(text) = value else { return Err("expected limits".to_owned()) };
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

fn write_default_breaker(main: MainThread, value: Value) -> Result<(), String> {
    let Value::Text(text) = value else { return Err("expected a breaker".to_owned()) };
    let breaker = if text.is_empty() {
        DefaultBreaker::Nothing
    } else {
        let shown = Breaker::with_units(&text);
        let text = match Breaker::parse_stored(text.as_bytes()) {
            Ok(_) if is_loading(main) && shown != text => {
                tell_unitless(main, c"default-breaker", &text, &shown);
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

fn write_policies_file(main: MainThread, value: Value) -> Result<(), String> {
    let Value::Text(path) = value else { return Err("expected a path".to_owned()) };
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

/// Whether events are published.
pub fn events(main: MainThread) -> bool {
    SETTINGS.of(main).borrow().events
}

/// The limits of keys for which neither pin, call nor policy names any; `None` if they have none.
pub fn default_limit(main: MainThread) -> Option<LimitsRef> {
    SETTINGS.of(main).borrow().default_limit.as_ref().map(|(_, limits)| limits.clone())
}

/// Whether the limits and breakers of calls hold.
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

/// Whether the names of keys are hidden from observers.
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
        latency: settings.alert_latency.us / MILLISECOND,
    }
}

/// Whether every key is tracked on which RL.ACQUIRE decides.
pub fn track_usage(main: MainThread) -> bool {
    SETTINGS.of(main).borrow().track_usage
}

/// Whether CL.THROTTLE, RL.THROTTLE and GCRA are registered.
pub fn compat_cl_throttle(main: MainThread) -> bool {
    SETTINGS.of(main).borrow().compat_cl_throttle
}

/// Whether RL.DEBUG is enabled.
pub fn enable_debug_command(main: MainThread) -> bool {
    SETTINGS.of(main).borrow().enable_debug_command
}
