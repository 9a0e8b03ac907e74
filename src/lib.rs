//! Floodgate: rate limits, quotas, waiting lines and circuit breakers as
//! native, atomic commands of a Redis server.
//!
//! [`guide`] is for people who change the code.
//!
//! Data flows one way: parse → resolve → decide → apply → propagate → reply.
//!
//! | module | what it holds | may use |
//! |---|---|---|
//! | [`core`] | the algorithms: no Redis, no clock, no I/O | nothing |
//! | [`server`] | the only place with `unsafe`: the raw module API made safe | `core` |
//! | [`types`] | what a key holds, its encoding, and how a change travels | those above |
//! | [`settings`], [`observe`] | the settings and their values; counters and what operators see | those above |
//! | [`limiter`] | the middle of every command: resolve → decide → apply → propagate → reply | those above |
//! | [`queue`] | who waits, and serving them | those above |
//! | [`commands`] | one file a family of commands: parse arguments, call the middle | those above |
//! | [`table`], [`mod@reference`] | the table of commands, and COMMANDS.md made from it | those above |

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

use server::ffi::alloc::ServerAlloc;
use server::load::Loading;

/// Who hears of what happens to the server.
static LISTENERS: &[&[server::events::EventListener]] = &[
    commands::policy::LISTENERS,
    types::by_time::LISTENERS,
    observe::alerts::LISTENERS,
    limiter::breaker::open::LISTENERS,
    limiter::copies::LISTENERS,
    limiter::operated::LISTENERS,
    types::intern::LISTENERS,
    types::cbcircuit::rules::LISTENERS,
];

/// What INFO and RL.METRICS tell of the layers above `observe`.
static GAUGES: &[&[observe::metrics::Gauge]] = &[queue::status::GAUGES, commands::policy::spread::GAUGES];

/// Loads the module: settings first, since they say which commands there are.
fn load(ctx: &redis_module::Context, args: &[redis_module::RedisString]) -> redis_module::Status {
    let loading = Loading::new(ctx);
    loading.server();
    loading.options();
    loading.log_panics();
    let done = loading.settings(settings::TABLE, args).and_then(|()| {
        loading.data_type::<types::ratelimit::RateLimit>()?;
        loading.data_type::<types::cbcircuit::CbCircuit>()?;
        loading.commands(&table::wanted(&loading))
    });
    if let Err(reason) = done {
        return loading.refuse(&reason);
    }
    settings::on_limits_changed(queue::limits_changed);
    observe::metrics::tell_gauges(GAUGES);
    observe::alerts::watch_queues(queue::status::fullness);
    observe::alerts::watch_breakers(limiter::breaker::open::longest);
    loading.keyspace(|main, what| {
        types::by_time::happened(main, what);
        types::operator::happened(main, what);
        limiter::copies::happened(main, what);
    });
    loading.events(LISTENERS);
    loading.info(observe::metrics::info);
    commands::policy::spread::begin(&loading);
    commands::policy::file::begin(&loading);
    redis_module::Status::Ok
}

/// The functions that the server looks for in the library.
mod library {
    #![allow(missing_docs)] // written by the macro
    use super::{ServerAlloc, load};

    redis_module::redis_module! {
        name: "floodgate",
        version: 100,
        allocator: (ServerAlloc, ServerAlloc),
        data_types: [],
        init: load,
        commands: [],
    }
}
