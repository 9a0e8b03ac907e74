//! Registers the commands with the server.

use crate::server::context::Context;
use crate::server::ffi::api::{call, call_if_there};
use crate::server::ffi::call::ServerReply;
use crate::server::load::command::{
    ADMIN_CATEGORY, Access, Command, KeyAccess, Keys, Subcommand, USER_CATEGORY, note_registered,
};
use crate::server::load::command_info;
use crate::server::load::key_lookup::KeyLookup;
use redis_module::raw;
use std::ffi::CString;

/// True if the server or another module has a command of this name.
pub fn is_taken(ctx: &Context<'_>, name: &str) -> bool {
    let row = |reply: ServerReply<'_>| reply.part(0).is_some_and(ServerReply::is_array);
    ctx.ask(c"COMMAND", c"v", &[b"INFO", name.as_bytes()], row).unwrap_or(false)
}

/// Registers these commands. Call it once, when the module is loaded.
///
/// # Errors
/// A line for the log that names the command that the server refused.
pub fn commands(ctx: &Context<'_>, commands: &[Command]) -> Result<(), String> {
    let registrar = Registrar::of_server(ctx);
    for command in commands {
        registrar
            .register(command)
            .ok_or_else(|| format!("the server refused the command {}", command.name))?;
    }
    note_registered(commands);
    Ok(())
}

/// What this server can be told of commands.
struct Registrar<'c> {
    ctx: &'c Context<'c>,
    lookup: KeyLookup,
    /// True if the server has our own ACL categories.
    has_own_categories: bool,
}

impl<'c> Registrar<'c> {
    fn of_server(ctx: &'c Context<'c>) -> Self {
        // SAFETY: the context is live and the names are C strings.
        let has_own_categories = unsafe {
            [USER_CATEGORY, ADMIN_CATEGORY].iter().all(|category| {
                let name = CString::new(*category).unwrap_or_default();
                call_if_there!(RedisModule_AddACLCategory(ctx.raw(), name.as_ptr())) == Some(0)
            })
        };
        Self { ctx, lookup: KeyLookup::of_server(ctx), has_own_categories }
    }

    /// Registers a command with its subcommands. `None` if the server refused it.
    fn register(&self, command: &Command) -> Option<()> {
        let name = CString::new(command.name.to_ascii_lowercase()).ok()?;
        // SAFETY: only reads the pointer.
        let has_subcommands = unsafe { raw::RedisModule_CreateSubcommand }.is_some();
        let subcommands = match command.key_access {
            KeyAccess::Node(subcommands) if has_subcommands => subcommands,
            _ => &[],
        };
        // Of a command with subcommands only those who may run it are known; each subcommand says the rest.
        let mut flags = match command.rights {
            _ if subcommands.is_empty() => command.flags(),
            Access::Admin => "admin".to_owned(),
            Access::User | Access::Internal => String::new(),
        };
        // Cluster redirection reads no key specifications before Redis 8.6: it knows a plain range of keys,
        // and asks otherwise. If it did not ask, a command on several slots would go unnoticed.
        let has_range = !matches!(command.keys, Keys::Counted { .. } | Keys::FirstAndAfter(_));
        if !has_range && self.lookup != KeyLookup::FirstKey {
            flags.push_str(" getkeys-api");
        }
        let flags = CString::new(flags).ok()?;
        let (first, last, step) = match command.keys {
            Keys::First | Keys::FirstAndAfter(_) => (1, 1, 1),
            Keys::All => (1, -1, 1),
            Keys::Pairs => (1, -1, 2),
            Keys::Counted { count, .. } if self.lookup == KeyLookup::FirstKey => (count + 1, count + 1, 1),
            Keys::None | Keys::Counted { .. } => (0, 0, 0),
        };
        // A command with subcommands has no function of its own.
        let entry = subcommands.is_empty().then_some(command.entry);
        // SAFETY: the context is live, the strings outlive the calls, which copy them.
        unsafe {
            let (name, flags) = (name.as_ptr(), flags.as_ptr());
            if call!(RedisModule_CreateCommand(self.ctx.raw(), name, entry, flags, first, last, step)) != 0 {
                return None;
            }
            let handle = call_if_there!(RedisModule_GetCommand(self.ctx.raw(), name));
            let Some(handle) = handle.filter(|handle| !handle.is_null()) else { return Some(()) };
            let arity = if subcommands.is_empty() { command.arity() } else { -2 };
            self.describe(handle, command, arity)?;
            for subcommand in subcommands {
                self.register_subcommand(handle, command, subcommand)?;
            }
        }
        Some(())
    }

    /// # Safety
    /// The handle is that of the command that contains the subcommand.
    unsafe fn register_subcommand(
        &self,
        container: *mut raw::RedisModuleCommand,
        command: &Command,
        subcommand: &Subcommand,
    ) -> Option<()> {
        let lower = subcommand.name.to_ascii_lowercase();
        let (name, full) = (
            CString::new(lower.as_str()).ok()?,
            CString::new(format!("{}|{lower}", command.name.to_ascii_lowercase())).ok()?,
        );
        let row = Command {
            key_access: subcommand.key_access,
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
            let handle = call_if_there!(RedisModule_GetCommand(self.ctx.raw(), full.as_ptr()))
                .filter(|handle| !handle.is_null())?;
            self.describe(handle, &row, arity)
        }
    }

    /// Tells the server what COMMAND DOCS and ACL show of a command.
    ///
    /// # Safety
    /// The handle belongs to the command.
    unsafe fn describe(
        &self,
        handle: *mut raw::RedisModuleCommand,
        command: &Command,
        arity: i32,
    ) -> Option<()> {
        // SAFETY: only reads the pointer.
        let has_info = unsafe { raw::RedisModule_SetCommandInfo }.is_some();
        let own_category = command.own_category().filter(|_| self.has_own_categories);
        let categories = command.categories().into_iter().chain(own_category).collect::<Vec<_>>().join(" ");
        let categories = CString::new(categories).ok()?;
        // SAFETY: the caller's promise; the server copies what it is given.
        unsafe {
            if has_info {
                command_info::set(handle, command, arity, self.lookup)?;
            }
            let status = call_if_there!(RedisModule_SetCommandACLCategories(handle, categories.as_ptr()));
            status.is_none_or(|status| status == 0).then_some(())
        }
    }
}
