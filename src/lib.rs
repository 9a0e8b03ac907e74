//! Floodgate: rate limits, quotas, queues and circuit breakers as native, atomic commands of a
//! Redis server.
//!
//! The [`guide`] is for people who change the code.
//!
//! Data flows one way: parse → resolve → decide → apply → propagate → reply.
//!
//! | module | what it holds | may use |
//! |---|---|---|
//! | [`table`], [`mod@reference`] | the table of commands, and COMMANDS.md made from it | those below |
//! | [`commands`] | one file a family of commands: parse the arguments, call the middle | those below |
//! | [`queue`] | who waits, and how waiters are served | those below |
//! | [`limiter`] | the middle of every command: resolve → decide → apply → propagate → reply | those below |
//! | [`settings`], [`observe`] | the settings and their values; counters and what operators see | those below |
//! | [`types`] | what a key holds, its encoding, and how a change travels | those below |
//! | [`server`] | the raw module API made safe; the only place with `unsafe` | `core` |
//! | [`core`] | the algorithms: no Redis, no clock, no I/O | nothing |

pub mod commands;
pub mod core;
pub mod guide;
pub mod limiter;
pub mod observe;
pub mod queue;
pub mod reference;
pub mod server;
pub mod settings;
pub mod table;
pub mod types;

pub use table::COMMANDS;

use server::context::Context;
use server::ffi::alloc::ServerAlloc;
use server::keys::data_type;

/// The functions that listen to events of the server.
///
/// An event reaches `effects::propagation` first, and then these in this order. So that knows of a
/// fork or a new role before any listener here makes a change.
/// The listeners here do not rely on their order.
static LISTENERS: &[&[server::events::EventListener]] = &[
    limiter::policies::aof::LISTENERS,
    types::by_time::LISTENERS,
    observe::alerts::LISTENERS,
    limiter::breaker::open::LISTENERS,
    limiter::copies::LISTENERS,
    limiter::operated::LISTENERS,
    limiter::unnoticed::LISTENERS,
    types::intern::LISTENERS,
    types::cbcircuit::rules::LISTENERS,
];

/// The gauges of the layers above `observe`, for INFO and RL.METRICS.
static GAUGES: &[&[observe::metrics::Gauge]] = &[queue::status::GAUGES, limiter::policies::gossip::GAUGES];

/// The steps of loading. The settings come first, because they say which commands there are.
fn load(ctx: &Context<'_>, args: &[redis_module::RedisString]) -> Result<(), String> {
    server::load::begin(ctx)?;
    server::load::settings::register(ctx, settings::TABLE, args)?;
    data_type::register::<types::ratelimit::RateLimit>(ctx)?;
    data_type::register::<types::cbcircuit::CbCircuit>(ctx)?;
    server::load::register::commands(ctx, &table::wanted(ctx))?;
    settings::on_limits_changed(queue::limits_changed);
    observe::metrics::register_gauges(GAUGES);
    observe::alerts::on_queue_check(queue::status::fullness);
    observe::alerts::on_breaker_check(limiter::breaker::open::longest);
    server::ffi::info::on_info(ctx, observe::metrics::info);
    // From here on a failure would leave callbacks of a library that is gone: not every server takes back
    // what follows.
    server::keys::keyspace::on_change_by_others(ctx, |main, what| {
        types::by_time::on_keyspace_change(main, what);
        limiter::copies::on_keyspace_change(main, what);
    });
    server::events::register(ctx, LISTENERS);
    limiter::policies::gossip::begin(ctx);
    limiter::policies::file::begin(ctx);
    Ok(())
}

#[global_allocator]
static ALLOCATOR: ServerAlloc = ServerAlloc;

server::load::library::library! { name: c"floodgate", version: 100, load: load }
