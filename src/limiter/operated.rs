//! The keys that operators blocked or pinned, by name, with what was set and until when.

use super::listed::{ListedKeys, look_at_each, once_a_name};
use crate::server::context::Context;
use crate::server::events::{Event, EventListener};
use crate::server::keys::key::ReadKey;
use crate::types::cbcircuit::CbCircuit;
use crate::types::name_index::{BLOCKED, NameIndex, PINNED};
use crate::types::ratelimit::RateLimit;
use crate::types::until::{Until, Validity};

/// The events that this file listens to.
pub const LISTENERS: &[EventListener] = &[(Event::Cron, sweep)];

/// A key with a pin or a block that holds.
#[derive(Clone, Debug)]
pub struct OperatedKey<W> {
    /// The setting: the reason of a block, or the pin.
    pub word: W,
    /// The end of the block or pin.
    pub until: Until,
}

/// The limits or the breaker to which a key is pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinnedTo {
    /// The key is pinned to these limits, as the operator wrote them.
    Limits(Box<str>),
    /// The key is pinned to this breaker, in its canonical text.
    Breaker(Box<str>),
}

/// All blocked keys with the operator's reason. Those that stay blocked for longest come first.
///
/// A name that several databases have is listed once: for the key in the caller's database, or else
/// for the one that stays blocked for longest. At most
/// [`name_index::MOST`](crate::types::name_index::MOST) are listed.
pub fn blocked(ctx: &Context<'_>) -> ListedKeys<OperatedKey<Box<[u8]>>> {
    list(ctx, &BLOCKED, |key| {
        let held = key.value::<RateLimit>().ok()??;
        let block = held.recorded_block()?;
        Some((block.reason.clone(), block.validity))
    })
}

/// All pinned keys, in the same order as [`blocked`] lists.
pub fn pinned(ctx: &Context<'_>) -> ListedKeys<OperatedKey<PinnedTo>> {
    list(ctx, &PINNED, |key| {
        if let Ok(Some(circuit)) = key.value::<CbCircuit>() {
            let pin = circuit.recorded_pin()?;
            return Some((PinnedTo::Breaker(pin.rule.canonical().into()), pin.validity));
        }
        let held = key.value::<RateLimit>().ok()??;
        let pin = held.recorded_pin()?;
        Some((PinnedTo::Limits(pin.text.clone()), pin.validity))
    })
}

/// Lists the keys for which `look` finds something that lasts. Something that is over keeps its
/// name, because a clock that steps back makes it hold again, unless others may need its room.
fn list<W>(
    ctx: &Context<'_>,
    names: &'static NameIndex,
    look: impl Fn(&ReadKey<'_>) -> Option<(W, Validity)>,
) -> ListedKeys<OperatedKey<W>> {
    let (now, has_room) = (ctx.now(), !names.is_half_full(ctx.main()));
    let mut found = look_at_each(ctx, names, |key, _| {
        let Some((word, validity)) = look(key) else { return (false, None) };
        let lasts = validity.lasts(now);
        let until = validity.until(now);
        (lasts || has_room, lasts.then_some(OperatedKey { word, until }))
    });
    found.sort_by(|(a, one), (b, other)| other.until.cmp(&one.until).then_with(|| a.name.cmp(&b.name)));
    once_a_name(ctx, found)
}

/// Makes room in the indexes before they have none for another name.
fn sweep(ctx: &Context<'_>) {
    if BLOCKED.is_half_full(ctx.main()) {
        blocked(ctx);
    }
    if PINNED.is_half_full(ctx.main()) {
        pinned(ctx);
    }
}
