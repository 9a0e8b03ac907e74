//! The one table of commands. From it the server registers the commands, RL.HELP and COMMAND DOCS
//! explain them, and the reference is made.

use crate::commands::arguments::{BREAKER, FOR, ID, KEY, LIMITS, NUMKEYS, SCAN, TTL};
use crate::commands::breaker::{acquire as cb_acquire, operate as cb_operate, report, state};
use crate::commands::{
    acquire, alerts, batch, charge, clear, commit, debug, effect, help, metrics, operate, policy, queue,
    quota, refund, reserve, throttle, top, usage,
};
use crate::server::context::Context;
use crate::server::load::argument::Argument as A;
use crate::server::load::command::{Command, KeyAccess, Keys, Subcommand};
use crate::server::load::entry::entry;
use crate::server::load::register::is_taken;
use crate::settings;

const RESERVE_KEYS: Keys = Keys::Counted { count: 1, step: 2 };
const SETTLE_KEYS: Keys = Keys::Counted { count: 2, step: 1 };
const RENEW_KEYS: Keys = Keys::Counted { count: 4, step: 1 };
const LIMIT_KEYS: Keys = Keys::FirstAndAfter("LIMIT");
const BATCH_KEYS: Keys = Keys::Counted { count: 2, step: 3 };

const fn policy(name: &'static str, key_access: KeyAccess, summary: &'static str) -> Subcommand {
    Subcommand { name, key_access, summary }
}

const POLICY_SUBCOMMANDS: &[Subcommand] = &[
    policy("SET", KeyAccess::Write, "Sets a policy."),
    policy("GET", KeyAccess::Read, "Shows a policy."),
    policy("DEL", KeyAccess::Release, "Deletes a policy."),
    policy(
        "LIST",
        KeyAccess::Read,
        "Lists the policies, with a version and a digest, and which nodes of a cluster agree.",
    ),
    policy("EXPORT", KeyAccess::Read, "Gives all policies as JSON."),
    policy("IMPORT", KeyAccess::Write, "Sets policies from JSON."),
    policy(
        "FORGET",
        KeyAccess::Keyless,
        "Leaves the deleted names and the imported policies-file out of what this server stores.",
    ),
    policy("HELP", KeyAccess::Keyless, "Lists the subcommands."),
];

/// Every command.
pub static COMMANDS: &[Command] = &[
    Command::new("RL.ACQUIRE", entry!(acquire::acquire), KeyAccess::Write)
        .arguments(acquire::ARGUMENTS)
        .summary("Takes units from every limit of a key, or from none.")
        .complexity("O(1) a limit"),
    Command::new("RL.QUOTA", entry!(quota::quota), KeyAccess::Read)
        .arguments(quota::ARGUMENTS)
        .summary("Shows what is left of a key's limits, without taking.")
        .complexity("O(1) a limit"),
    Command::new("RL.BATCH", entry!(batch::batch, BATCH_KEYS), KeyAccess::Write)
        .arguments(batch::ARGUMENTS)
        .says_what_is_missing()
        .summary("Decides many requests in one atomic step, each on its own or all or nothing.")
        .complexity("O(N) items")
        .slow()
        .keys(BATCH_KEYS),
    Command::new("RL.RESERVE", entry!(reserve::reserve, RESERVE_KEYS), KeyAccess::Write)
        .arguments(reserve::ARGUMENTS)
        .says_what_is_missing()
        .summary("Takes units and places on every key until they are settled, or takes nothing.")
        .complexity("O(N log M) keys with M reservations")
        .slow()
        .keys(RESERVE_KEYS),
    Command::new("RL.COMMIT", entry!(commit::commit, SETTLE_KEYS), KeyAccess::Release)
        .arguments(commit::ARGUMENTS)
        .says_what_is_missing()
        .summary("Settles a reservation at its real cost.")
        .complexity("O(N log M) keys with M reservations")
        .keys(SETTLE_KEYS),
    Command::new("RL.RELEASE", entry!(commit::release, SETTLE_KEYS), KeyAccess::Release)
        .arguments(&[ID, NUMKEYS, KEY.multiple()])
        .says_what_is_missing()
        .summary("Gives back everything that a reservation took.")
        .complexity("O(N log M) keys with M reservations")
        .keys(SETTLE_KEYS),
    Command::new("RL.RENEW", entry!(commit::renew, RENEW_KEYS), KeyAccess::Release)
        .arguments(&[ID, TTL, NUMKEYS, KEY.multiple()])
        .says_what_is_missing()
        .summary("Extends the time of a reservation.")
        .complexity("O(N log M) keys with M reservations")
        .keys(RENEW_KEYS),
    Command::new("RL.RESERVATIONS", entry!(commit::reservations), KeyAccess::Read)
        .arguments(&[KEY])
        .summary("Lists the open reservations of a key: id, cost, age and time left in ms.")
        .complexity("O(N) reservations")
        .slow(),
    Command::new("RL.QUEUE", entry!(queue::queue), KeyAccess::Read)
        .arguments(&[KEY])
        .summary("Shows the queue of a key: length, oldest wait in ms, the head's cost."),
    Command::new("RL.REFUND", entry!(refund::refund), KeyAccess::Release)
        .arguments(&[KEY, A::integer("n"), LIMITS.optional()])
        .says_what_is_missing()
        .summary("Gives units back, the newest first.")
        .complexity("O(log M) a limit with M reservations"),
    Command::new("RL.CHARGE", entry!(charge::charge), KeyAccess::Write)
        .arguments(charge::ARGUMENTS)
        .says_what_is_missing()
        .summary("Charges units that were used anyway, as debt where they do not fit.")
        .complexity("O(1) a limit"),
    Command::new("RL.METRICS", entry!(metrics::metrics), KeyAccess::Keyless)
        .summary("Shows every counter and gauge, and counts by policy and shadow limit.")
        .complexity("O(N) labels")
        .slow()
        .admin(),
    Command::new("RL.TOP", entry!(top::top), KeyAccess::Keyless)
        .arguments(top::ARGUMENTS)
        .summary("Shows the keys that are denied or granted most, ever or now, the breakers that are open, and what operators blocked, pinned or forced.")
        .complexity("O(1), sorting 2048 places")
        .slow()
        .admin(),
    Command::new("RL.ALERTS", entry!(alerts::alerts), KeyAccess::Keyless)
        .arguments(alerts::ARGUMENTS)
        .summary("Shows the recent alerts, the newest first.")
        .complexity("O(N) alerts")
        .slow()
        .admin(),
    Command::new("RL.RESET", entry!(operate::reset), KeyAccess::Release)
        .arguments(&[KEY.multiple()])
        .summary("Forgets the usage of keys; keeps their pins and blocks.")
        .complexity("O(N) keys")
        .admin()
        .keys(Keys::All),
    Command::new("RL.PIN", entry!(operate::pin), KeyAccess::Write)
        .arguments(&[KEY, LIMITS, FOR.optional()])
        .says_what_is_missing()
        .summary("Fixes the limits of one key: they override those of callers.")
        .admin(),
    Command::new("RL.UNPIN", entry!(operate::unpin), KeyAccess::Release)
        .arguments(&[KEY])
        .summary("Removes the pin of a key.")
        .admin(),
    Command::new("RL.BLOCK", entry!(operate::block), KeyAccess::Write)
        .arguments(operate::BLOCK)
        .says_what_is_missing()
        .summary("Denies every request on a key until the block ends.")
        .admin(),
    Command::new("RL.UNBLOCK", entry!(operate::unblock), KeyAccess::Release)
        .arguments(&[KEY])
        .summary("Ends the block of a key.")
        .admin(),
    Command::new("RL.CLEAR", entry!(clear::clear), KeyAccess::Release)
        .arguments(SCAN)
        .summary("Deletes limiter and breaker keys step by step as SCAN does; keeps those that are pinned, blocked or forced.")
        .complexity("O(N) keys looked at")
        .slow()
        .admin()
        .keys(Keys::None),
    Command::new("RL.RECORD", entry!(usage::record), KeyAccess::Release)
        .arguments(usage::RECORD)
        .says_what_is_missing()
        .summary("Adds outcomes of the work itself to the usage of a key."),
    Command::new("RL.STATS", entry!(usage::stats), KeyAccess::Read)
        .arguments(usage::STATS)
        .summary("Shows what happened on a key, by hour and by day.")
        .complexity("O(N) hours and days shown")
        .slow(),
    Command::new("RL.USAGE", entry!(usage::scan), KeyAccess::Keyless)
        .arguments(SCAN)
        .summary("Iterates over the tracked keys as SCAN does, with today's figures.")
        .complexity("O(N) keys looked at")
        .slow()
        .admin(),
    Command::new("RL.POLICY", entry!(policy::policy), KeyAccess::Node(POLICY_SUBCOMMANDS))
        .arguments(&[A::one_of("subcommand", policy::ARGUMENTS)])
        .summary("Manages named limits and breakers, which keys choose by name or by prefix.")
        .complexity("O(1) for SET, GET and DEL, else O(N) policies")
        .slow()
        .admin(),
    Command::new("RL.HELP", entry!(help::rl), KeyAccess::Keyless)
        .arguments(&[A::text("command").optional()])
        .summary("Lists the commands for limits, or explains one command."),
    Command::new("RL.DEBUG", entry!(debug::debug), KeyAccess::Keyless)
        .arguments(&[A::one_of(
            "what",
            &[
                A::group(
                    "clock",
                    &[
                        A::flag("CLOCK"),
                        A::one_of(
                            "how",
                            &[
                                A::integer("us").after("SET"),
                                A::integer("us").after("ADVANCE"),
                                A::flag("REAL"),
                            ],
                        ),
                    ],
                ),
                A::flag("PANIC"),
            ],
        )])
        .summary("Sets the module's clock, or fails on purpose, for tests (needs enable-debug-command).")
        .admin(),
    Command::new("CL.THROTTLE", entry!(throttle::cl_throttle), KeyAccess::Write)
        .arguments(throttle::CELL)
        .summary("Decides as redis-cell does, with its arguments and its reply."),
    Command::new("RL.THROTTLE", entry!(throttle::rl_throttle), KeyAccess::Write)
        .arguments(throttle::CELL)
        .summary("Decides as CL.THROTTLE does: another name for it."),
    Command::new("GCRA", entry!(throttle::gcra), KeyAccess::Write)
        .arguments(throttle::GCRA)
        .summary("Decides as CL.THROTTLE does, with the arguments and the reply that client libraries know."),
    Command::new("CB.ACQUIRE", entry!(cb_acquire::acquire, LIMIT_KEYS), KeyAccess::Write)
        .arguments(cb_acquire::ARGUMENTS)
        .summary("Asks whether a call may go through, alone or together with a limit.")
        .keys(LIMIT_KEYS),
    Command::new("CB.REPORT", entry!(report::report), KeyAccess::Release)
        .arguments(report::ARGUMENTS)
        .says_what_is_missing()
        .summary("Tells a breaker the result of a call."),
    Command::new("CB.STATE", entry!(state::state), KeyAccess::Read)
        .arguments(&[KEY])
        .summary("Shows the state of a breaker, without changing it."),
    Command::new("CB.FORCE", entry!(cb_operate::force), KeyAccess::Release)
        .arguments(cb_operate::FORCE)
        .says_what_is_missing()
        .summary("Forces a breaker open or closed, or ends a force.")
        .admin(),
    Command::new("CB.RESET", entry!(cb_operate::reset), KeyAccess::Release)
        .arguments(&[KEY])
        .summary("Closes a breaker and empties its window; keeps its pin.")
        .admin(),
    Command::new("CB.PIN", entry!(cb_operate::pin), KeyAccess::Write)
        .arguments(&[KEY, BREAKER, FOR.optional()])
        .says_what_is_missing()
        .summary("Fixes the breaker of one key: it overrides those of callers.")
        .admin(),
    Command::new("CB.UNPIN", entry!(cb_operate::unpin), KeyAccess::Release)
        .arguments(&[KEY])
        .summary("Removes the pin of a breaker.")
        .admin(),
    Command::new("CB.HELP", entry!(help::cb), KeyAccess::Keyless)
        .arguments(&[A::text("command").optional()])
        .summary("Lists the commands for circuit breakers, or explains one command."),
    Command::new("RL.EFFECT", entry!(effect::effect), KeyAccess::Release)
        .arguments(&[A::group("effect", &[KEY, A::text("payload")]).multiple()])
        .summary("Internal: carries changes to replicas and the AOF.")
        .complexity("O(N) keys")
        .internal()
        .keys(Keys::Pairs),
    Command::new("RL.NODE", entry!(policy::effect), KeyAccess::Release)
        .arguments(&[A::text("payload")])
        .summary("Internal: carries policies to replicas and the AOF.")
        .complexity("O(N) policies")
        .slow()
        .internal()
        .keys(Keys::None),
];

/// The commands that other modules define, too. They are not registered if `compat-cl-throttle` is
/// off, or if the server or another module already has a command of that name.
const COMPATIBLE: [&str; 3] = ["CL.THROTTLE", "RL.THROTTLE", "GCRA"];

/// The commands to register: all but those of `COMPATIBLE` that are off or taken.
pub fn wanted(ctx: &Context<'_>) -> Vec<Command> {
    let compatible = settings::compat_cl_throttle(ctx.main());
    let to_register =
        |name: &str| !COMPATIBLE.contains(&name) || compatible && !is_taken(ctx, &name.to_lowercase());
    COMMANDS.iter().filter(|row| to_register(row.name)).copied().collect()
}
