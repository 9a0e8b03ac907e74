//! The settings of the module: one table, one place for their values.

use crate::commands::waiting;
use crate::core::duration;
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::server::settings::{Domain, Setting, Value};
use crate::types::intern::{self, LimitsRef, Wanted};

#[derive(Debug)]
struct Settings {
    default_limit: Option<(String, LimitsRef)>,
    caller_limits: bool,
    batch_max: i64,
    queue_max: i64,
    waiters_max: i64,
    wait_max: Option<(String, u64)>,
    compat_cl_throttle: bool,
    enable_debug_command: bool,
}

/// The longest wait unless it is set.
const WAIT_MAX: &str = "30s";
const WAIT_MAX_US: u64 = 30_000_000;

static SETTINGS: MainThreadCell<Settings> = MainThreadCell::new(Settings {
    default_limit: None,
    caller_limits: true,
    batch_max: 1000,
    queue_max: 1000,
    waiters_max: 10_000,
    wait_max: None,
    compat_cl_throttle: true,
    enable_debug_command: false,
});

/// One row a number or switch whose value is a field.
macro_rules! field {
    ($name:literal, $field:ident, Number { $min:expr, $max:expr }, load_only: $load_only:expr) => {
        Setting {
            name: $name,
            domain: Domain::Number { min: $min, max: $max },
            load_only: $load_only,
            read: |main| Value::Number(SETTINGS.of(main).borrow().$field),
            write: |main, value| match value {
                Value::Number(n) => {
                    SETTINGS.of(main).borrow_mut().$field = n;
                    waiting::limits_changed(main);
                    Ok(())
                }
                _ => Err("expected a number".to_owned()),
            },
        }
    };
    ($name:literal, $field:ident, Switch, load_only: $load_only:expr) => {
        Setting {
            name: $name,
            domain: Domain::Switch,
            load_only: $load_only,
            read: |main| Value::Switch(SETTINGS.of(main).borrow().$field),
            write: |main, value| match value {
                Value::Switch(on) => {
                    SETTINGS.of(main).borrow_mut().$field = on;
                    waiting::limits_changed(main);
                    Ok(())
                }
                _ => Err("expected yes or no".to_owned()),
            },
        }
    };
}

/// Every setting, as module argument and as `floodgate.<name>`.
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
    field!(c"caller-limits", caller_limits, Switch, load_only: false),
    field!(c"batch-max", batch_max, Number { 1, 1_000_000 }, load_only: false),
    field!(c"queue-max", queue_max, Number { 1, 1_000_000 }, load_only: false),
    field!(c"waiters-max", waiters_max, Number { 1, 1_000_000 }, load_only: false),
    Setting {
        name: c"wait-max",
        domain: Domain::Text,
        load_only: false,
        read: |main| {
            let settings = SETTINGS.of(main).borrow();
            Value::Text(settings.wait_max.as_ref().map_or(WAIT_MAX.to_owned(), |(text, _)| text.clone()))
        },
        write: |main, value| {
            let Value::Text(text) = value else { return Err("expected a duration".to_owned()) };
            let us = duration::parse(text.as_bytes()).map_err(|error| error.to_string())?;
            SETTINGS.of(main).borrow_mut().wait_max = Some((text, us));
            Ok(())
        },
    },
    field!(c"compat-cl-throttle", compat_cl_throttle, Switch, load_only: true),
    field!(c"enable-debug-command", enable_debug_command, Switch, load_only: true),
];

fn write_default_limit(main: MainThread, value: Value) -> Result<(), String> {
    let Value::Text(text) = value else { return Err("expected limits".to_owned()) };
    let limits = match text.as_bytes() {
        b"" => None,
        bytes => match intern::want(main, bytes).map_err(|error| error.to_string())? {
            Wanted::Limits(limits) => Some((text, limits)),
            Wanted::ServerChosen => return Err("'*' asks for the default itself".to_owned()),
            Wanted::Terms(_) => {
                return Err("policies choose their keys by PREFIX; write limits out here".to_owned());
            }
        },
    };
    SETTINGS.of(main).borrow_mut().default_limit = limits;
    waiting::limits_changed(main);
    Ok(())
}

/// The limits of keys that nothing else says anything of.
pub fn default_limit(main: MainThread) -> Option<LimitsRef> {
    SETTINGS.of(main).borrow().default_limit.as_ref().map(|(_, limits)| limits.clone())
}

/// Whether the limits of a call count.
pub fn caller_limits(main: MainThread) -> bool {
    SETTINGS.of(main).borrow().caller_limits
}

/// The most items of RL.BATCH.
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

/// The longest that a caller may ask to wait, in microseconds.
pub fn wait_max_us(main: MainThread) -> u64 {
    SETTINGS.of(main).borrow().wait_max.as_ref().map_or(WAIT_MAX_US, |(_, us)| *us)
}

/// Whether to register CL.THROTTLE.
pub fn compat_cl_throttle(main: MainThread) -> bool {
    SETTINGS.of(main).borrow().compat_cl_throttle
}

/// Whether RL.DEBUG works.
pub fn enable_debug_command(main: MainThread) -> bool {
    SETTINGS.of(main).borrow().enable_debug_command
}
