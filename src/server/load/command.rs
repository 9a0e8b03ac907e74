//! The table of commands as the server learns it, and the function through which every call enters.

use crate::server::boundary;
use crate::server::context::Context;
use crate::server::ffi::api::{call, call_if_there, constant};
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::reply;
use crate::server::timing::command_timing;
use redis_module::raw;
use std::ffi::{CString, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

/// The C function of a command. The macro `entry!` makes it.
pub type CommandEntry =
    unsafe extern "C" fn(*mut raw::RedisModuleCtx, *mut *mut raw::RedisModuleString, c_int) -> c_int;

/// The users who may run a command, as its ACL category and flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Clients; the category is `@floodgate`.
    User,
    /// Operators; the category is `@floodgate-admin`, and the command has the flag `admin`.
    Admin,
    /// The link to the master and the replay of the AOF only.
    Internal,
}

/// What a command does to data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAccess {
    /// The command only reads.
    Read,
    /// The command takes units or creates keys. It is refused when memory is short.
    Write,
    /// The command gives back, settles or reports. It is never refused for lack of memory.
    Release,
    /// The command touches no key of its own.
    Keyless,
    /// The command reads, or changes and replicates, state of the server outside keys. Some of its
    /// subcommands run on replicas too, so the server does not count it among writes.
    Node(&'static [Subcommand]),
}

/// A subcommand, which servers of 7.0 and later treat as a command of its own.
///
/// So a subcommand that looks is a read, and one that changes is a write. Its arguments are those
/// of the alternative that begins with its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subcommand {
    /// The name in capitals.
    pub name: &'static str,
    /// What the subcommand does to data.
    pub effect: KeyAccess,
    /// One line for COMMAND DOCS.
    pub summary: &'static str,
}

/// Where a command's keys are among its arguments. The command's name is argument 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// The command has no key.
    None,
    /// The key is argument 1.
    First,
    /// Argument 1 and all that follow are keys.
    All,
    /// Argument 1 is a key, and so is every second one after it.
    Pairs,
    /// Argument `count` holds a number of groups. They follow it, each of `step` arguments, the
    /// first of which is a key.
    Counted {
        /// The position of the count.
        count: i32,
        /// The number of arguments in a group, the key included.
        step: i32,
    },
    /// Argument 1 is a key, and so is the argument after this keyword.
    FirstAndAfter(&'static str),
}

/// One argument of a command, as COMMAND DOCS and RL.HELP show it.
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    /// The name of the argument.
    pub name: &'static str,
    /// The kind of its value.
    pub kind: ArgumentKind,
    /// The keyword before it, if it has one.
    pub token: Option<&'static str>,
    /// True if it may be left out.
    pub optional: bool,
    /// True if it may be repeated.
    pub multiple: bool,
}

/// The kind of value that an argument takes.
#[derive(Clone, Copy, Debug)]
pub enum ArgumentKind {
    /// A key.
    Key,
    /// A string.
    Text,
    /// An integer.
    Integer,
    /// A number with decimals.
    Double,
    /// A glob pattern.
    Pattern,
    /// The argument is its keyword alone.
    Flag,
    /// One of these arguments.
    OneOf(&'static [Argument]),
    /// All of these arguments, in this order.
    Group(&'static [Argument]),
}

impl Argument {
    const fn of(name: &'static str, kind: ArgumentKind) -> Self {
        Self { name, kind, token: None, optional: false, multiple: false }
    }

    /// A key.
    pub const fn key(name: &'static str) -> Self {
        Self::of(name, ArgumentKind::Key)
    }

    /// A string.
    pub const fn text(name: &'static str) -> Self {
        Self::of(name, ArgumentKind::Text)
    }

    /// An integer.
    pub const fn integer(name: &'static str) -> Self {
        Self::of(name, ArgumentKind::Integer)
    }

    /// A number with decimals.
    pub const fn double(name: &'static str) -> Self {
        Self::of(name, ArgumentKind::Double)
    }

    /// A glob pattern.
    pub const fn pattern(name: &'static str) -> Self {
        Self::of(name, ArgumentKind::Pattern)
    }

    /// A keyword without a value.
    pub const fn flag(token: &'static str) -> Self {
        Self { token: Some(token), ..Self::of(token, ArgumentKind::Flag) }
    }

    /// One of several arguments.
    pub const fn one_of(name: &'static str, choices: &'static [Self]) -> Self {
        Self::of(name, ArgumentKind::OneOf(choices))
    }

    /// Several arguments, in this order.
    pub const fn group(name: &'static str, parts: &'static [Self]) -> Self {
        Self::of(name, ArgumentKind::Group(parts))
    }

    /// The same argument, after a keyword.
    #[must_use]
    pub const fn after(self, token: &'static str) -> Self {
        Self { token: Some(token), ..self }
    }

    /// The same argument, which may be left out.
    #[must_use]
    pub const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    /// The same argument, which may be repeated.
    #[must_use]
    pub const fn multiple(self) -> Self {
        Self { multiple: true, ..self }
    }

    /// The argument as people write it, such as `[COST n]`.
    pub fn syntax(&self) -> String {
        let inner = match self.kind {
            ArgumentKind::Flag => String::new(),
            ArgumentKind::OneOf(choices) => choices.iter().map(Self::syntax).collect::<Vec<_>>().join(" | "),
            ArgumentKind::Group(parts) => parts.iter().map(Self::syntax).collect::<Vec<_>>().join(" "),
            ArgumentKind::Key
            | ArgumentKind::Text
            | ArgumentKind::Integer
            | ArgumentKind::Double
            | ArgumentKind::Pattern => self.name.to_owned(),
        };
        let mut text = match (self.token, inner.is_empty()) {
            (Some(token), true) => token.to_owned(),
            (Some(token), false) => format!("{token} {inner}"),
            (None, _) => inner,
        };
        if self.multiple {
            text = format!("{text} [{text} ...]");
        }
        match (self.optional, self.kind) {
            (true, _) => format!("[{text}]"),
            (false, ArgumentKind::OneOf(_)) => format!("<{text}>"),
            _ => text,
        }
    }
}

/// One row of the table of commands: what the server, RL.HELP and the reference say about a
/// command.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// The name in capitals.
    pub name: &'static str,
    /// The function that the server calls.
    pub entry: CommandEntry,
    /// What the command does to data.
    pub effect: KeyAccess,
    /// True if it runs in constant time.
    pub fast: bool,
    /// The users who may run it.
    pub rights: Access,
    /// Where its keys are among its arguments.
    pub keys: Keys,
    /// One line for COMMAND DOCS.
    pub summary: &'static str,
    /// Its cost in O notation.
    pub complexity: &'static str,
    /// The arguments of the command.
    pub arguments: &'static [Argument],
}

impl Command {
    /// A row with the usual values: users may run the command, it runs in constant time, and its
    /// first argument is its key if it has one. The functions below set other values.
    pub const fn new(name: &'static str, entry: CommandEntry, effect: KeyAccess) -> Self {
        let (rights, summary) = (Access::User, "");
        let keys = match effect {
            KeyAccess::Read | KeyAccess::Write | KeyAccess::Release => Keys::First,
            KeyAccess::Keyless | KeyAccess::Node(_) => Keys::None,
        };
        Self { name, entry, effect, fast: true, rights, keys, summary, complexity: "O(1)", arguments: &[] }
    }

    /// The arguments of the command.
    #[must_use]
    pub const fn arguments(self, arguments: &'static [Argument]) -> Self {
        Self { arguments, ..self }
    }

    /// One line for COMMAND DOCS.
    #[must_use]
    pub const fn summary(self, summary: &'static str) -> Self {
        Self { summary, ..self }
    }

    /// Its cost in O notation.
    #[must_use]
    pub const fn complexity(self, complexity: &'static str) -> Self {
        Self { complexity, ..self }
    }

    /// Marks the command as one that does not run in constant time.
    #[must_use]
    pub const fn slow(self) -> Self {
        Self { fast: false, ..self }
    }

    /// Only operators may run the command.
    #[must_use]
    pub const fn admin(self) -> Self {
        Self { rights: Access::Admin, ..self }
    }

    /// Only the link to the master and the replay of the AOF may run the command.
    #[must_use]
    pub const fn internal(self) -> Self {
        Self { rights: Access::Internal, ..self }
    }

    /// Where its keys are among its arguments.
    #[must_use]
    pub const fn keys(self, keys: Keys) -> Self {
        Self { keys, ..self }
    }

    /// The least number of arguments, the command's name included, as COMMAND INFO shows it. It is
    /// negative if more arguments may follow.
    pub fn arity(&self) -> i32 {
        fn least(argument: &Argument) -> (i32, bool) {
            let own = i32::from(argument.token.is_some());
            let (inner, exact) = match argument.kind {
                ArgumentKind::Flag => (0, true),
                ArgumentKind::OneOf(choices) => {
                    let all: Vec<_> = choices.iter().map(least).collect();
                    let min = all.iter().map(|&(n, _)| n).min().unwrap_or(0);
                    (min, all.iter().all(|&(n, exact)| exact && n == min))
                }
                ArgumentKind::Group(parts) => {
                    parts.iter().map(least).fold((0, true), |(n, e), (m, f)| (n + m, e && f))
                }
                ArgumentKind::Key
                | ArgumentKind::Text
                | ArgumentKind::Integer
                | ArgumentKind::Double
                | ArgumentKind::Pattern => (1, true),
            };
            if argument.optional { (0, false) } else { (own + inner, exact && !argument.multiple) }
        }
        let (n, exact) = self.arguments.iter().map(least).fold((1, true), |(n, e), (m, f)| (n + m, e && f));
        if exact { n } else { -n }
    }

    /// A line of syntax and a line of summary for each subcommand.
    pub fn subcommand_lines(&self) -> Vec<String> {
        let KeyAccess::Node(subcommands) = self.effect else { return Vec::new() };
        let lines = subcommands.iter().flat_map(|subcommand| {
            let arguments = self.arguments_of(subcommand.name);
            let syntax =
                arguments.iter().fold(format!("{} {}", self.name, subcommand.name), |all, argument| {
                    format!("{all} {}", argument.syntax())
                });
            [syntax, format!("    {}", subcommand.summary)]
        });
        lines.collect()
    }

    /// The arguments of a subcommand: those of the alternative that begins with its name.
    fn arguments_of(&self, subcommand: &str) -> &'static [Argument] {
        let alternatives = self.arguments.iter().filter_map(|argument| match argument.kind {
            ArgumentKind::OneOf(choices) => Some(choices),
            _ => None,
        });
        for choice in alternatives.flatten() {
            if let ArgumentKind::Group([name, rest @ ..]) = choice.kind
                && name.token == Some(subcommand)
            {
                return rest;
            }
        }
        &[]
    }

    /// The command as people write it, such as `RL.ACQUIRE key [limits] …`.
    pub fn syntax(&self) -> String {
        let mut text = self.name.to_owned();
        for argument in self.arguments {
            text.push(' ');
            text.push_str(&argument.syntax());
        }
        text
    }

    /// The command's flags, in the server's words.
    pub fn flags(&self) -> String {
        let mut flags = match self.effect {
            KeyAccess::Read => vec!["readonly"],
            KeyAccess::Write => vec!["write", "deny-oom"],
            KeyAccess::Release => vec!["write"],
            KeyAccess::Keyless => vec![],
            KeyAccess::Node(_) => vec!["may-replicate"],
        };
        if self.fast {
            flags.push("fast");
        }
        if self.rights == Access::Admin {
            flags.push("admin");
        }
        flags.join(" ")
    }

    /// The command's ACL categories, in the server's words. With `own`, our own category is the
    /// last.
    fn categories(&self, own: bool) -> String {
        let mut all = vec![match self.effect {
            KeyAccess::Read => "read",
            KeyAccess::Write | KeyAccess::Release | KeyAccess::Node(_) => "write",
            KeyAccess::Keyless => "",
        }];
        all.push(if self.fast { "fast" } else { "slow" });
        match self.rights {
            Access::User if own => all.push(USER_CATEGORY),
            Access::Admin => {
                all.extend(["admin", "dangerous"]);
                if own {
                    all.push(ADMIN_CATEGORY);
                }
            }
            Access::Internal => all.push("dangerous"),
            Access::User => {}
        }
        all.retain(|category| !category.is_empty());
        all.join(" ")
    }
}

static REGISTERED: OnceLock<Vec<Command>> = OnceLock::new();

/// The registered commands. Empty before they are registered.
pub fn registered() -> &'static [Command] {
    REGISTERED.get().map_or(&[], Vec::as_slice)
}

pub(in crate::server) fn note_registered(commands: &[Command]) {
    // A second call would come from a second load, with the same list.
    let _ = REGISTERED.set(commands.to_vec());
}

/// The ACL category of the commands that clients use.
pub const USER_CATEGORY: &str = "floodgate";
/// The ACL category of the commands that operators use.
pub const ADMIN_CATEGORY: &str = "floodgate-admin";

/// An error of a command, and how the client gets to see it.
pub trait CommandError {
    /// Sends the error. `command` is the row of the table; `None` if the command was renamed.
    fn send(&self, ctx: &Context<'_>, command: Option<&Command>);
}

/// Makes the [`CommandEntry`] of a command from its safe function.
macro_rules! entry {
    ($run:path) => {{
        extern "C" fn entry(
            ctx: *mut ::redis_module::raw::RedisModuleCtx,
            argv: *mut *mut ::redis_module::raw::RedisModuleString,
            argc: ::std::ffi::c_int,
        ) -> ::std::ffi::c_int {
            $crate::server::load::command::enter(ctx, argv, argc, $run)
        }
        entry as $crate::server::load::command::CommandEntry
    }};
}
pub(crate) use entry;

/// Runs one call. Only functions that `entry!` made use it, with what the server gave them.
#[doc(hidden)]
#[allow(clippy::not_unsafe_ptr_arg_deref)] // only `entry!` uses it, see above
pub fn enter<E: CommandError>(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
    run: impl FnOnce(&Context<'_>, Args<'_>) -> Result<(), E>,
) -> c_int {
    // SAFETY: the server passes a live context and live arguments, on its main thread, for the
    // duration of this call.
    let (context, args) = unsafe { (Context::from_raw(ctx), Args::from_raw(argv, argc)) };
    let started = command_timing::start(context.main());
    let done = boundary::enter(&context, || {
        let outcome = run(&context, args);
        // SAFETY: the first argument is the command's name, as live as the others.
        command_timing::stop(context.main(), started, || unsafe { Arg::from_raw(*argv) }.bytes());
        if let Err(refusal) = outcome {
            // SAFETY: as above.
            let name = unsafe { Arg::from_raw(*argv) };
            refusal.send(&context, registered().iter().find(|command| name.is(command.name)));
        }
    });
    if done.is_none() {
        reply::error(&context, "ERR internal error in floodgate; please report it");
    }
    constant(raw::REDISMODULE_OK)
}

/// Makes the [`CommandEntry`] of a command whose keys a server without key specifications (6.2)
/// asks for.
macro_rules! entry_with_keys {
    ($run:path, $keys:expr) => {{
        extern "C" fn entry(
            ctx: *mut ::redis_module::raw::RedisModuleCtx,
            argv: *mut *mut ::redis_module::raw::RedisModuleString,
            argc: ::std::ffi::c_int,
        ) -> ::std::ffi::c_int {
            if $crate::server::load::command::tell_keys(ctx, argv, argc, $keys) {
                return 0;
            }
            $crate::server::load::command::enter(ctx, argv, argc, $run)
        }
        entry as $crate::server::load::command::CommandEntry
    }};
}
pub(crate) use entry_with_keys;

/// Answers a question of the server for the positions of the keys (6.2 only). Returns false if it
/// did not ask.
#[doc(hidden)]
#[allow(clippy::not_unsafe_ptr_arg_deref)] // only `entry_with_keys!` uses it
pub fn tell_keys(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
    keys: Keys,
) -> bool {
    // SAFETY: the context is live.
    if unsafe { call!(RedisModule_IsKeysPositionRequest(ctx)) } == 0 {
        return false;
    }
    // SAFETY: the server passes live arguments.
    let args = unsafe { Args::from_raw(argv, argc) };
    // After a panic there are no positions, and the server refuses the command.
    let positions = catch_unwind(AssertUnwindSafe(|| positions(args, keys))).unwrap_or_default();
    for position in positions {
        // SAFETY: the context is live and is a request for positions.
        unsafe { call!(RedisModule_KeyAtPos(ctx, c_int::try_from(position).unwrap_or(c_int::MAX))) }
    }
    true
}

/// The positions of a call's keys. The command's name is at position 0.
fn positions(args: Args<'_>, keys: Keys) -> Vec<usize> {
    let last = args.len();
    match keys {
        Keys::None => Vec::new(),
        Keys::First => (1..=last.min(1)).collect(),
        Keys::All => (1..=last).collect(),
        Keys::Pairs => (1..=last).step_by(2).collect(),
        Keys::Counted { count, step } => {
            let at = usize::try_from(count).unwrap_or(0);
            let step = usize::try_from(step).unwrap_or(1).max(1);
            let number = args
                .get(at.saturating_sub(1))
                .and_then(|arg| crate::core::text::duration::whole_number(arg.bytes()))
                .and_then(|n| usize::try_from(n).ok())
                .unwrap_or(0);
            (at + 1..=last).step_by(step).take(number).collect()
        }
        Keys::FirstAndAfter(keyword) => {
            let mut found: Vec<usize> = (1..=last.min(1)).collect();
            // A position is one more than its index, and the key follows the keyword.
            let after =
                args.iter().enumerate().skip(1).find(|(_, arg)| arg.is(keyword)).map(|(index, _)| index + 2);
            found.extend(after.filter(|&position| position <= last));
            found
        }
    }
}

/// Registers every command of the table.
///
/// # Errors
/// The name of the command that the server refused.
///
/// # Safety
/// `ctx` is the live context of the module's load function.
pub(in crate::server) unsafe fn register(
    ctx: *mut raw::RedisModuleCtx,
    commands: &[Command],
) -> Result<(), &'static str> {
    // SAFETY: the context is live and the names are C strings.
    let own_categories = unsafe {
        [USER_CATEGORY, ADMIN_CATEGORY].iter().all(|category| {
            let name = CString::new(*category).unwrap_or_default();
            call_if_there!(RedisModule_AddACLCategory(ctx, name.as_ptr())) == Some(0)
        })
    };
    for command in commands {
        // SAFETY: as promised by the caller.
        unsafe { register_one(ctx, command, own_categories) }.ok_or(command.name)?;
    }
    Ok(())
}

unsafe fn register_one(ctx: *mut raw::RedisModuleCtx, command: &Command, own_categories: bool) -> Option<()> {
    let name = CString::new(command.name.to_ascii_lowercase()).ok()?;
    // SAFETY: only reads the pointer.
    let has_subcommands = unsafe { raw::RedisModule_CreateSubcommand }.is_some();
    let subcommands = match command.effect {
        KeyAccess::Node(subcommands) if has_subcommands => subcommands,
        _ => &[],
    };
    let mut flags = if subcommands.is_empty() { command.flags() } else { String::new() };
    if needs_asking(command.keys) {
        flags.push_str(" getkeys-api");
    }
    let flags = CString::new(flags).ok()?;
    let (first, last, step) = match command.keys {
        Keys::First | Keys::FirstAndAfter(_) => (1, 1, 1),
        Keys::All => (1, -1, 1),
        Keys::Pairs => (1, -1, 2),
        Keys::None | Keys::Counted { .. } => (0, 0, 0),
    };
    // A command with subcommands has no function of its own.
    let entry = subcommands.is_empty().then_some(command.entry);
    // SAFETY: the context is live, the strings outlive the calls, which copy them.
    unsafe {
        let status =
            call!(RedisModule_CreateCommand(ctx, name.as_ptr(), entry, flags.as_ptr(), first, last, step));
        if status != 0 {
            return None;
        }
        let handle =
            call_if_there!(RedisModule_GetCommand(ctx, name.as_ptr())).filter(|handle| !handle.is_null());
        let Some(handle) = handle else { return Some(()) };
        describe(handle, command, if subcommands.is_empty() { command.arity() } else { -2 }, own_categories)?;
        for subcommand in subcommands {
            register_subcommand(ctx, handle, command, subcommand, own_categories)?;
        }
    }
    Some(())
}

/// # Safety
/// The context is the live one of the load function. The handle is that of the command that
/// contains the subcommand.
unsafe fn register_subcommand(
    ctx: *mut raw::RedisModuleCtx,
    container: *mut raw::RedisModuleCommand,
    command: &Command,
    subcommand: &Subcommand,
    own_categories: bool,
) -> Option<()> {
    let lower = subcommand.name.to_ascii_lowercase();
    let (name, full) = (
        CString::new(lower.as_str()).ok()?,
        CString::new(format!("{}|{lower}", command.name.to_ascii_lowercase())).ok()?,
    );
    let row = Command {
        effect: subcommand.effect,
        summary: subcommand.summary,
        arguments: command.arguments_of(subcommand.name),
        ..*command
    };
    // The name of the containing command is one argument more.
    let arity = row.arity();
    let arity = if arity < 0 { arity - 1 } else { arity + 1 };
    let flags = CString::new(row.flags()).ok()?;
    // SAFETY: the caller's promise; the strings outlive the calls, which copy them.
    unsafe {
        let status = call_if_there!(RedisModule_CreateSubcommand(
            container,
            name.as_ptr(),
            Some(command.entry),
            flags.as_ptr(),
            0,
            0,
            0
        ));
        if status != Some(0) {
            return None;
        }
        let handle =
            call_if_there!(RedisModule_GetCommand(ctx, full.as_ptr())).filter(|handle| !handle.is_null())?;
        describe(handle, &row, arity, own_categories)
    }
}

/// Tells the server what COMMAND DOCS and ACL show of a command.
///
/// # Safety
/// The handle belongs to the command.
unsafe fn describe(
    handle: *mut raw::RedisModuleCommand,
    command: &Command,
    arity: i32,
    own_categories: bool,
) -> Option<()> {
    // SAFETY: only reads the pointer.
    let has_info = unsafe { raw::RedisModule_SetCommandInfo }.is_some();
    // SAFETY: the caller's promise; the server copies what it is given.
    unsafe {
        if has_info {
            set_info(handle, command, arity)?;
        }
        let categories = CString::new(command.categories(own_categories)).ok()?;
        let status = call_if_there!(RedisModule_SetCommandACLCategories(handle, categories.as_ptr()));
        status.is_none_or(|status| status == 0).then_some(())
    }
}

/// Whether the server must ask for the positions of the keys. Cluster redirection reads no key
/// specifications: it knows a plain range of keys, and asks otherwise. If it did not ask, a command
/// on several slots would go unnoticed.
const fn needs_asking(keys: Keys) -> bool {
    matches!(keys, Keys::Counted { .. } | Keys::FirstAndAfter(_))
}

/// Whether the specification must say that it is incomplete. Redis 7.0 misreads a count of keys
/// with a step above 1: it finds too few keys.
const fn specified_incompletely(keys: Keys) -> bool {
    matches!(keys, Keys::Counted { step: 2.., .. })
}

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

unsafe fn set_info(handle: *mut raw::RedisModuleCommand, command: &Command, arity: i32) -> Option<()> {
    let mut loan = CStringArena::default();
    let version = raw::RedisModuleCommandInfoVersion {
        version: 1,
        sizeof_historyentry: size_of::<raw::RedisModuleCommandHistoryEntry>(),
        sizeof_keyspec: size_of::<raw::RedisModuleCommandKeySpec>(),
        sizeof_arg: size_of::<raw::RedisModuleCommandArg>(),
    };
    let mut specs = key_specs(command, &mut loan);
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

fn key_specs(command: &Command, loan: &mut CStringArena) -> Vec<raw::RedisModuleCommandKeySpec> {
    let flags = match command.effect {
        KeyAccess::Read => raw::REDISMODULE_CMD_KEY_RO | raw::REDISMODULE_CMD_KEY_ACCESS,
        _ => raw::REDISMODULE_CMD_KEY_RW | raw::REDISMODULE_CMD_KEY_ACCESS | raw::REDISMODULE_CMD_KEY_UPDATE,
    };
    let base = || {
        // SAFETY: all zeroes is a valid, empty specification.
        let mut spec: raw::RedisModuleCommandKeySpec = unsafe { std::mem::zeroed() };
        spec.flags = u64::from(flags);
        spec
    };
    let at = |position: c_int, lastkey: c_int, keystep: c_int| {
        let mut spec = base();
        spec.begin_search_type = raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_INDEX;
        spec.bs.index.pos = position;
        spec.find_keys_type = raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_RANGE;
        spec.fk.range =
            raw::RedisModuleCommandKeySpec__bindgen_ty_2__bindgen_ty_1 { lastkey, keystep, limit: 0 };
        spec
    };
    match command.keys {
        Keys::None => vec![],
        Keys::First => vec![at(1, 0, 1)],
        Keys::All => vec![at(1, -1, 1)],
        Keys::Pairs => vec![at(1, -1, 2)],
        Keys::Counted { count, step } => {
            let mut spec = at(count, 0, 1);
            if specified_incompletely(command.keys) {
                spec.flags |= u64::from(raw::REDISMODULE_CMD_KEY_INCOMPLETE);
            }
            spec.find_keys_type = raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_KEYNUM;
            spec.fk.keynum = raw::RedisModuleCommandKeySpec__bindgen_ty_2__bindgen_ty_2 {
                keynumidx: 0,
                firstkey: 1,
                keystep: step,
            };
            vec![spec]
        }
        Keys::FirstAndAfter(keyword) => {
            let mut spec = at(1, 0, 1);
            spec.begin_search_type = raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_KEYWORD;
            spec.bs.keyword = raw::RedisModuleCommandKeySpec__bindgen_ty_1__bindgen_ty_2 {
                keyword: loan.text(keyword),
                startfrom: 2,
            };
            vec![at(1, 0, 1), spec]
        }
    }
}
