//! Finds the keys that got their names unnoticed while an AOF was loaded.
//!
//! The indexes of keys by name follow RENAME, MOVE and COPY by what the server reports of keys. Valkey
//! 8.1 to 9.1.1 cannot be asked for such reports while it loads an AOF
//! ([`left_database`](crate::server::keys::left_database)). If a key of an index changed its name
//! there, all keys are looked at once, when the load is over.

use crate::server::context::Context;
use crate::server::events::{Event, EventListener};
use crate::server::ffi::call::{OwnedString, scan};
use crate::server::keys::data_type::NativeType;
use crate::server::keys::key::ReadKey;
use crate::server::keys::keyspace;
use crate::types::cbcircuit::CbCircuit;
use crate::types::ratelimit::RateLimit;

/// The events that this file listens to.
pub const LISTENERS: &[EventListener] = &[(Event::LoadEnded, find)];

/// The keys that one step of the scan looks at.
const A_STEP: u64 = 1000;

/// Notes every key that belongs into an index, if some may be missing there.
fn find(ctx: &Context<'_>) {
    if !keyspace::take_missed_arrivals(ctx.main()) {
        return;
    }
    ctx.in_each_database(|database| {
        let mut cursor = b"0".to_vec();
        // SCAN fails only if the server does not have it. The indexes then stay as they are.
        while let Ok(step) = scan(ctx, &cursor, None, A_STEP) {
            for name in &step.keys {
                note(ctx, database, name);
            }
            cursor = step.cursor;
            if cursor == b"0" {
                break;
            }
        }
    });
}

fn note(ctx: &Context<'_>, database: i32, name: &[u8]) {
    let string = OwnedString::new(ctx, name);
    let key = ctx.look(string.arg());
    loaded::<RateLimit>(ctx, &key, database, name);
    loaded::<CbCircuit>(ctx, &key, database, name);
}

/// Notes a key as one that was loaded under this name, if it holds a value of this type.
fn loaded<T: NativeType>(ctx: &Context<'_>, key: &ReadKey<'_>, database: i32, name: &[u8]) {
    if let Ok(Some(value)) = key.value::<T>() {
        value.loaded(ctx.main(), Some(database), name);
    }
}
