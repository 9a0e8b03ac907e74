//! What COMMAND DOCS, COMMAND INFO and COMMAND GETKEYS show of a command, in the structs of the
//! server.

use crate::server::ffi::api::call_if_there;
use crate::server::load::argument::{Argument, ArgumentKind};
use crate::server::load::command::{Command, KeyAccess, Keys};
use crate::server::load::key_lookup::KeyLookup;
use redis_module::raw;
use std::ffi::{CString, c_char, c_int};

/// Strings and arrays of arguments that live until the server has copied them.
#[derive(Default)]
struct CStringArena {
    strings: Vec<CString>,
    arguments: Vec<Box<[raw::RedisModuleCommandArg]>>,
}

impl CStringArena {
    fn text(&mut self, text: &str) -> *const c_char {
        let text = CString::new(text).unwrap_or_default();
        let pointer = text.as_ptr();
        self.strings.push(text);
        pointer
    }

    fn list(&mut self, arguments: &[Argument], keys: &mut c_int) -> *mut raw::RedisModuleCommandArg {
        let mut all: Vec<_> = arguments.iter().map(|argument| self.one(argument, keys)).collect();
        // SAFETY: the server marks the end of such an array by an element of zeroes.
        all.push(unsafe { std::mem::zeroed() });
        self.arguments.push(all.into_boxed_slice());
        self.arguments.last_mut().map_or(std::ptr::null_mut(), |list| list.as_mut_ptr())
    }

    fn one(&mut self, argument: &Argument, keys: &mut c_int) -> raw::RedisModuleCommandArg {
        // SAFETY: all zeroes is a valid empty argument.
        let mut out: raw::RedisModuleCommandArg = unsafe { std::mem::zeroed() };
        out.name = self.text(argument.name);
        out.key_spec_index = -1;
        if let Some(token) = argument.token {
            out.token = self.text(token);
        }
        let mut flags = raw::REDISMODULE_CMD_ARG_NONE;
        if argument.optional {
            flags |= raw::REDISMODULE_CMD_ARG_OPTIONAL;
        }
        if argument.multiple {
            flags |= raw::REDISMODULE_CMD_ARG_MULTIPLE;
        }
        out.flags = flags.cast_signed();
        out.type_ = match argument.kind {
            ArgumentKind::Key => {
                out.key_spec_index = *keys;
                *keys += 1;
                raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_KEY
            }
            ArgumentKind::Text => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_STRING,
            ArgumentKind::Integer => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_INTEGER,
            ArgumentKind::Double => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_DOUBLE,
            ArgumentKind::Pattern => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_PATTERN,
            ArgumentKind::Flag => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_PURE_TOKEN,
            ArgumentKind::OneOf(choices) => {
                out.subargs = self.list(choices, keys);
                raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_ONEOF
            }
            ArgumentKind::Group(parts) => {
                out.subargs = self.list(parts, keys);
                raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_BLOCK
            }
        };
        out
    }
}

/// Tells the server the arguments and the keys of a command.
///
/// # Safety
/// The handle belongs to the command.
pub(super) unsafe fn set(
    handle: *mut raw::RedisModuleCommand,
    command: &Command,
    arity: i32,
    lookup: KeyLookup,
) -> Option<()> {
    let mut loan = CStringArena::default();
    let version = raw::RedisModuleCommandInfoVersion {
        version: 1,
        sizeof_historyentry: size_of::<raw::RedisModuleCommandHistoryEntry>(),
        sizeof_keyspec: size_of::<raw::RedisModuleCommandKeySpec>(),
        sizeof_arg: size_of::<raw::RedisModuleCommandArg>(),
    };
    let mut specs = key_specs(command, lookup, &mut loan);
    // SAFETY: an element of zeroes ends the array.
    specs.push(unsafe { std::mem::zeroed() });
    let mut keys = 0;
    let arguments = match command.arguments {
        [] => std::ptr::null_mut(),
        arguments => loan.list(arguments, &mut keys),
    };
    let info = raw::RedisModuleCommandInfo {
        version: &raw const version,
        summary: loan.text(command.summary),
        complexity: loan.text(command.complexity),
        since: loan.text("0.1.0"),
        history: std::ptr::null_mut(),
        tips: std::ptr::null(),
        arity,
        key_specs: specs.as_mut_ptr(),
        args: arguments,
    };
    // SAFETY: everything that `info` points to lives until the call returns; the server copies it.
    let status = unsafe { call_if_there!(RedisModule_SetCommandInfo(handle, &raw const info)) };
    status.filter(|&status| status == 0).map(|_| ())
}

fn key_specs(
    command: &Command,
    lookup: KeyLookup,
    loan: &mut CStringArena,
) -> Vec<raw::RedisModuleCommandKeySpec> {
    let at = |first, last, step| key_range(command.key_access, first, last, step);
    match command.keys {
        Keys::None => vec![],
        Keys::First => vec![at(1, 0, 1)],
        Keys::All => vec![at(1, -1, 1)],
        Keys::Pairs => vec![at(1, -1, 2)],
        Keys::Counted { count, .. } if lookup == KeyLookup::FirstKey => vec![at(count + 1, 0, 1)],
        Keys::Counted { count, step } => {
            let mut spec = counted_keys(at(count, 0, 1), step);
            if step > 1 && lookup != KeyLookup::Specifications {
                spec.flags |= u64::from(raw::REDISMODULE_CMD_KEY_INCOMPLETE);
            }
            vec![spec]
        }
        Keys::FirstAndAfter(keyword) => vec![at(1, 0, 1), key_after(at(1, 0, 1), loan.text(keyword))],
    }
}

/// The specification of keys by their places: from the argument `first` on, each `step`, up to `last`
/// arguments later. If `last` is negative, it counts from the end.
fn key_range(access: KeyAccess, first: c_int, last: c_int, step: c_int) -> raw::RedisModuleCommandKeySpec {
    let flags = match access {
        KeyAccess::Read => raw::REDISMODULE_CMD_KEY_RO | raw::REDISMODULE_CMD_KEY_ACCESS,
        _ => raw::REDISMODULE_CMD_KEY_RW | raw::REDISMODULE_CMD_KEY_ACCESS | raw::REDISMODULE_CMD_KEY_UPDATE,
    };
    // SAFETY: all zeroes is a valid, empty specification.
    let mut spec: raw::RedisModuleCommandKeySpec = unsafe { std::mem::zeroed() };
    spec.flags = u64::from(flags);
    spec.begin_search_type = raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_INDEX;
    spec.bs.index.pos = first;
    spec.find_keys_type = raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_RANGE;
    spec.fk.range =
        raw::RedisModuleCommandKeySpec__bindgen_ty_2__bindgen_ty_1 { lastkey: last, keystep: step, limit: 0 };
    spec
}

/// The specification of keys whose number is the argument where `spec` begins.
fn counted_keys(mut spec: raw::RedisModuleCommandKeySpec, step: c_int) -> raw::RedisModuleCommandKeySpec {
    spec.find_keys_type = raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_KEYNUM;
    spec.fk.keynum = raw::RedisModuleCommandKeySpec__bindgen_ty_2__bindgen_ty_2 {
        keynumidx: 0,
        firstkey: 1,
        keystep: step,
    };
    spec
}

/// The specification of a key behind a keyword.
fn key_after(
    mut spec: raw::RedisModuleCommandKeySpec,
    keyword: *const c_char,
) -> raw::RedisModuleCommandKeySpec {
    spec.begin_search_type = raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_KEYWORD;
    spec.bs.keyword = raw::RedisModuleCommandKeySpec__bindgen_ty_1__bindgen_ty_2 { keyword, startfrom: 2 };
    spec
}
