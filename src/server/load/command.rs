//! The row of a command: what the server, RL.HELP and the reference say about it.

use crate::server::load::argument::{Argument, ArgumentKind, WordCount};
use redis_module::raw;
use std::ffi::c_int;
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

/// The access of a command to data.
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
    /// The access of the subcommand to data.
    pub key_access: KeyAccess,
    /// One line for COMMAND DOCS.
    pub summary: &'static str,
}

/// The places of a command's keys among its arguments. The command's name is argument 0.
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

/// One row of the table of commands: what the server, RL.HELP and the reference say about a
/// command.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// The name in capitals.
    pub name: &'static str,
    /// The function that the server calls.
    pub entry: CommandEntry,
    /// The access of the command to data.
    pub key_access: KeyAccess,
    /// True if it runs in constant time.
    pub fast: bool,
    /// The users who may run it.
    pub rights: Access,
    /// The places of the command's keys among its arguments.
    pub keys: Keys,
    /// One line for COMMAND DOCS.
    pub summary: &'static str,
    /// The cost of the command in O notation.
    pub complexity: &'static str,
    /// The arguments of the command.
    pub arguments: &'static [Argument],
    /// True if the server passes calls on that lack arguments.
    pub says_what_is_missing: bool,
}

impl Command {
    /// A row with the usual values: users may run the command, it runs in constant time, and its
    /// first argument is its key if it has one. The functions below set other values.
    pub const fn new(name: &'static str, entry: CommandEntry, key_access: KeyAccess) -> Self {
        let (rights, summary) = (Access::User, "");
        let keys = match key_access {
            KeyAccess::Read | KeyAccess::Write | KeyAccess::Release => Keys::First,
            KeyAccess::Keyless | KeyAccess::Node(_) => Keys::None,
        };
        let (fast, complexity, says_what_is_missing) = (true, "O(1)", false);
        let arguments = &[];
        Self {
            name,
            entry,
            key_access,
            fast,
            rights,
            keys,
            summary,
            complexity,
            arguments,
            says_what_is_missing,
        }
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

    /// Sets the cost of the command in O notation.
    #[must_use]
    pub const fn complexity(self, complexity: &'static str) -> Self {
        Self { complexity, ..self }
    }

    /// The server asks for no more arguments than it needs to find the keys, and the command says itself
    /// what is missing. The server would say that the number of arguments is wrong, and no more.
    #[must_use]
    pub const fn says_what_is_missing(self) -> Self {
        Self { says_what_is_missing: true, ..self }
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

    /// Sets the places of the command's keys among its arguments.
    #[must_use]
    pub const fn keys(self, keys: Keys) -> Self {
        Self { keys, ..self }
    }

    /// The number of arguments without which the server refuses a call, the command's name included,
    /// as COMMAND INFO shows it. It is negative if more arguments may follow.
    pub fn arity(&self) -> i32 {
        if self.says_what_is_missing {
            // Redis 7.0 reads the count of keys without looking whether it is there.
            let until_keys = if let Keys::Counted { count, .. } = self.keys { count + 1 } else { 2 };
            return -until_keys;
        }
        let name = WordCount { least: 1, is_exact: true };
        let WordCount { least, is_exact } =
            self.arguments.iter().map(Argument::words).fold(name, WordCount::and);
        if is_exact { least } else { -least }
    }

    /// A line of syntax and a line of summary for each subcommand.
    pub fn subcommand_lines(&self) -> Vec<String> {
        let KeyAccess::Node(subcommands) = self.key_access else { return Vec::new() };
        let lines = subcommands.iter().flat_map(|subcommand| {
            let arguments = self.arguments_of(subcommand.name);
            let syntax = syntax_of(format!("{} {}", self.name, subcommand.name), arguments);
            [syntax, format!("    {}", subcommand.summary)]
        });
        lines.collect()
    }

    /// The arguments of a subcommand: those of the alternative that begins with its name.
    pub(super) fn arguments_of(&self, subcommand: &str) -> &'static [Argument] {
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
        syntax_of(self.name.to_owned(), self.arguments)
    }

    /// The command's flags, in the server's words.
    pub fn flags(&self) -> String {
        let mut flags = match self.key_access {
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

    /// The command's ACL categories among those that every server has, in the server's words.
    pub(super) fn categories(&self) -> Vec<&'static str> {
        let access = match self.key_access {
            KeyAccess::Read => Some("read"),
            KeyAccess::Write | KeyAccess::Release | KeyAccess::Node(_) => Some("write"),
            KeyAccess::Keyless => None,
        };
        let speed = if self.fast { "fast" } else { "slow" };
        let danger: &[_] = match self.rights {
            Access::User => &[],
            Access::Admin => &["admin", "dangerous"],
            Access::Internal => &["dangerous"],
        };
        access.into_iter().chain([speed]).chain(danger.iter().copied()).collect()
    }

    /// Our own ACL category of the command.
    pub(super) const fn own_category(&self) -> Option<&'static str> {
        match self.rights {
            Access::User => Some(USER_CATEGORY),
            Access::Admin => Some(ADMIN_CATEGORY),
            Access::Internal => None,
        }
    }
}

/// A name with the arguments that follow it.
fn syntax_of(name: String, arguments: &[Argument]) -> String {
    arguments.iter().fold(name, |text, argument| text + " " + &argument.syntax())
}

static REGISTERED: OnceLock<Vec<Command>> = OnceLock::new();

/// The registered commands. Empty before they are registered.
pub fn registered() -> &'static [Command] {
    REGISTERED.get().map_or(&[], Vec::as_slice)
}

pub(super) fn note_registered(commands: &[Command]) {
    // A second call would come from a second load, with the same list.
    let _ = REGISTERED.set(commands.to_vec());
}

/// The ACL category of the commands that clients use.
pub const USER_CATEGORY: &str = "floodgate";
/// The ACL category of the commands that operators use.
pub const ADMIN_CATEGORY: &str = "floodgate-admin";
