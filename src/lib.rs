//! Floodgate: rate limits, quotas, waiting lines and circuit breakers as
//! native, atomic commands of a Redis server.
//!
//! Data flows one way: parse → resolve → decide → apply → propagate → reply.
//!
//! | module | what it holds |
//! |---|---|
//! | [`core`] | the algorithms: no Redis, no clock, no I/O |
//! | [`types`] | what a key holds, its encoding, and how a change travels |
//! | [`commands`] | one file a family of commands |
//! | [`server`] | the only place with `unsafe`: the raw module API made safe |
//! | [`observe`] | counters and what operators see |
//! | [`settings`] | the settings and their values |
//! | [`table`], [`mod@reference`] | the table of commands, and COMMANDS.md made from it |

pub mod commands;
pub mod core;
pub mod observe;
pub mod reference;
pub mod server;
pub mod settings;
pub mod table;
pub mod types;

pub use table::COMMANDS;

use server::alloc::ServerAlloc;
use server::load::Loading;

/// Who hears of what happens to the server.
static LISTENERS: &[&[server::events::Listener]] =
    &[commands::policy::LISTENERS, observe::alerts::LISTENERS, observe::breakers::LISTENERS];

/// Loads the module: settings first, since they say which commands there are.
fn load(ctx: &redis_module::Context, args: &[redis_module::RedisString]) -> redis_module::Status {
    let loading = Loading::new(ctx);
    loading.options();
    loading.server();
    let done = loading.settings(settings::TABLE, args).and_then(|()| {
        loading.data_type::<types::ratelimit::RateLimit>()?;
        loading.data_type::<types::cbcircuit::CbCircuit>()?;
        loading.commands(&table::wanted(&loading))
    });
    if let Err(reason) = done {
        return loading.refuse(&reason);
    }
    loading.events(LISTENERS);
    loading.info(observe::metrics::info);
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
