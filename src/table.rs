//! The one table of commands: what the server registers, what RL.HELP and
//! COMMAND DOCS say, and what the reference is made from.

use crate::commands::breaker::{acquire as cb_acquire, operate as cb_operate, report, state};
use crate::commands::{acquire, batch, clear, debug, effect, help, operate, quota, refund, throttle};
use crate::server::command::{Argument as A, Command, Effect, Keys, Rights, entry, entry_with_keys};
use crate::server::load::Loading;
use crate::settings;

const KEY: A = A::key("key");
const LIMITS: A = A::text("limits");
const FOR: A = A::text("duration").after("FOR");
const COST: A = A::integer("n").after("COST").optional();
const SCAN: [A; 3] = [
    A::integer("cursor"),
    A::pattern("glob").after("MATCH").optional(),
    A::integer("n").after("COUNT").optional(),
];
const ITEM: &[A] = &[KEY, LIMITS, A::integer("cost")];
const BREAKER: A = A::text("breaker");
const LIMIT: &[A] = &[A::key("rlkey"), LIMITS, COST];
const LIMIT_KEYS: Keys = Keys::FirstAndAfter("LIMIT");
const TEXT: A = A::text("text");
const BATCH_KEYS: Keys = Keys::Counted { count: 2, step: 3 };

/// Every command.
pub static COMMANDS: &[Command] = &[
    Command {
        name: "RL.ACQUIRE",
        entry: entry!(acquire::acquire),
        effect: Effect::Write,
        fast: true,
        rights: Rights::User,
        keys: Keys::First,
        summary: "Takes units from every limit of a key, or from none.",
        complexity: "O(1) a limit",
        arguments: &[
            KEY,
            LIMITS.optional(),
            COST,
            A::flag("PARTIAL").optional(),
            A::flag("CRITICAL").optional(),
        ],
    },
    Command {
        name: "RL.QUOTA",
        entry: entry!(quota::quota),
        effect: Effect::Read,
        fast: true,
        rights: Rights::User,
        keys: Keys::First,
        summary: "Shows how the limits of a key stand, without taking.",
        complexity: "O(1) a limit",
        arguments: &[KEY, LIMITS.optional(), COST, A::flag("HEADERS").optional()],
    },
    Command {
        name: "RL.BATCH",
        entry: entry_with_keys!(batch::batch, BATCH_KEYS),
        effect: Effect::Write,
        fast: false,
        rights: Rights::User,
        keys: BATCH_KEYS,
        summary: "Decides many requests in one atomic step, each on its own or all or nothing.",
        complexity: "O(N) items",
        arguments: &[
            A::one_of("mode", &[A::flag("ALL"), A::flag("EACH")]),
            A::integer("numitems"),
            A::group("item", ITEM).multiple(),
            A::flag("CRITICAL").optional(),
        ],
    },
    Command {
        name: "RL.REFUND",
        entry: entry!(refund::refund),
        effect: Effect::Release,
        fast: true,
        rights: Rights::User,
        keys: Keys::First,
        summary: "Gives units back, the newest first.",
        complexity: "O(1) a limit",
        arguments: &[KEY, A::integer("n")],
    },
    Command {
        name: "RL.RESET",
        entry: entry!(operate::reset),
        effect: Effect::Release,
        fast: true,
        rights: Rights::Admin,
        keys: Keys::All,
        summary: "Forgets the usage of keys; keeps pin and block.",
        complexity: "O(N) keys",
        arguments: &[KEY.multiple()],
    },
    Command {
        name: "RL.PIN",
        entry: entry!(operate::pin),
        effect: Effect::Write,
        fast: true,
        rights: Rights::Admin,
        keys: Keys::First,
        summary: "Fixes the limits of one key, whatever callers say.",
        complexity: "O(1)",
        arguments: &[KEY, LIMITS, FOR.optional()],
    },
    Command {
        name: "RL.UNPIN",
        entry: entry!(operate::unpin),
        effect: Effect::Release,
        fast: true,
        rights: Rights::Admin,
        keys: Keys::First,
        summary: "Takes the pin of a key back.",
        complexity: "O(1)",
        arguments: &[KEY],
    },
    Command {
        name: "RL.BLOCK",
        entry: entry!(operate::block),
        effect: Effect::Write,
        fast: true,
        rights: Rights::Admin,
        keys: Keys::First,
        summary: "Denies every request on a key until the block ends.",
        complexity: "O(1)",
        arguments: &[
            KEY,
            A::one_of("end", &[FOR, A::flag("FOREVER")]),
            A::text("text").after("REASON").optional(),
        ],
    },
    Command {
        name: "RL.UNBLOCK",
        entry: entry!(operate::unblock),
        effect: Effect::Release,
        fast: true,
        rights: Rights::Admin,
        keys: Keys::First,
        summary: "Ends the block of a key.",
        complexity: "O(1)",
        arguments: &[KEY],
    },
    Command {
        name: "RL.CLEAR",
        entry: entry!(clear::clear),
        effect: Effect::Release,
        fast: false,
        rights: Rights::Admin,
        keys: Keys::None,
        summary: "Deletes limiter and breaker keys step by step like SCAN; pinned, blocked and forced ones stay.",
        complexity: "O(N) keys looked at",
        arguments: &SCAN,
    },
    Command {
        name: "RL.HELP",
        entry: entry!(help::rl),
        effect: Effect::Keyless,
        fast: true,
        rights: Rights::User,
        keys: Keys::None,
        summary: "Lists the commands for limits.",
        complexity: "O(1)",
        arguments: &[],
    },
    Command {
        name: "RL.DEBUG",
        entry: entry!(debug::debug),
        effect: Effect::Keyless,
        fast: true,
        rights: Rights::Admin,
        keys: Keys::None,
        summary: "Sets the module's clock, for tests (needs enable-debug-command).",
        complexity: "O(1)",
        arguments: &[
            A::flag("CLOCK"),
            A::one_of(
                "how",
                &[A::integer("us").after("SET"), A::integer("us").after("ADVANCE"), A::flag("REAL")],
            ),
        ],
    },
    Command {
        name: "CL.THROTTLE",
        entry: entry!(throttle::throttle),
        effect: Effect::Write,
        fast: true,
        rights: Rights::User,
        keys: Keys::First,
        summary: "Decides like redis-cell, with its arguments and its reply.",
        complexity: "O(1)",
        arguments: &[
            KEY,
            A::integer("max_burst"),
            A::integer("count_per_period"),
            A::integer("period"),
            A::integer("quantity").optional(),
        ],
    },
    Command {
        name: "CB.ACQUIRE",
        entry: entry_with_keys!(cb_acquire::acquire, LIMIT_KEYS),
        effect: Effect::Write,
        fast: true,
        rights: Rights::User,
        keys: LIMIT_KEYS,
        summary: "Asks whether a call may go through, alone or together with a limit.",
        complexity: "O(1)",
        arguments: &[KEY, BREAKER.optional(), A::group("limit", LIMIT).after("LIMIT").optional()],
    },
    Command {
        name: "CB.REPORT",
        entry: entry!(report::report),
        effect: Effect::Release,
        fast: true,
        rights: Rights::User,
        keys: Keys::First,
        summary: "Tells a breaker the result of a call.",
        complexity: "O(1)",
        arguments: &[
            KEY,
            A::one_of("outcome", &[A::flag("OK"), A::flag("FAIL"), A::flag("IGNORE")]),
            A::text("token").after("TOKEN").optional(),
            A::text("duration").after("DUR").optional(),
            BREAKER.after("BREAKER").optional(),
        ],
    },
    Command {
        name: "CB.STATE",
        entry: entry!(state::state),
        effect: Effect::Read,
        fast: true,
        rights: Rights::User,
        keys: Keys::First,
        summary: "Shows how a breaker stands, without changing it.",
        complexity: "O(1)",
        arguments: &[KEY],
    },
    Command {
        name: "CB.FORCE",
        entry: entry!(cb_operate::force),
        effect: Effect::Write,
        fast: true,
        rights: Rights::Admin,
        keys: Keys::First,
        summary: "Forces a breaker open or closed, or ends that.",
        complexity: "O(1)",
        arguments: &[
            KEY,
            A::one_of("state", &[A::flag("OPEN"), A::flag("CLOSED"), A::flag("AUTO")]),
            FOR.optional(),
            TEXT.after("REASON").optional(),
        ],
    },
    Command {
        name: "CB.RESET",
        entry: entry!(cb_operate::reset),
        effect: Effect::Release,
        fast: true,
        rights: Rights::Admin,
        keys: Keys::First,
        summary: "Closes a breaker and empties its window; keeps the pin.",
        complexity: "O(1)",
        arguments: &[KEY],
    },
    Command {
        name: "CB.PIN",
        entry: entry!(cb_operate::pin),
        effect: Effect::Write,
        fast: true,
        rights: Rights::Admin,
        keys: Keys::First,
        summary: "Fixes the breaker of one key, whatever callers say.",
        complexity: "O(1)",
        arguments: &[KEY, BREAKER, FOR.optional()],
    },
    Command {
        name: "CB.UNPIN",
        entry: entry!(cb_operate::unpin),
        effect: Effect::Release,
        fast: true,
        rights: Rights::Admin,
        keys: Keys::First,
        summary: "Takes the pin of a breaker back.",
        complexity: "O(1)",
        arguments: &[KEY],
    },
    Command {
        name: "CB.HELP",
        entry: entry!(help::cb),
        effect: Effect::Keyless,
        fast: true,
        rights: Rights::User,
        keys: Keys::None,
        summary: "Lists the commands for circuit breakers.",
        complexity: "O(1)",
        arguments: &[],
    },
    Command {
        name: "RL.EFFECT",
        entry: entry!(effect::effect),
        effect: Effect::Release,
        fast: true,
        rights: Rights::Internal,
        keys: Keys::Pairs,
        summary: "Internal: carries changes to replicas and the AOF.",
        complexity: "O(N) keys",
        arguments: &[A::group("effect", &[KEY, A::text("payload")]).multiple()],
    },
];

/// The commands to register: all but CL.THROTTLE where it is switched off or
/// another module owns it.
pub fn wanted(loading: &Loading<'_>) -> Vec<Command> {
    let throttle =
        settings::compat_cl_throttle(loading.context().main()) && !loading.command_is_taken("cl.throttle");
    COMMANDS.iter().filter(|row| throttle || row.name != "CL.THROTTLE").copied().collect()
}
