//! How the server handles a `ratelimit`: saving, loading, copying, freeing.

use super::full::Full;
use super::small::{Single, Small};
use super::tracked::{self, TrackedCopy};
use super::{RateLimit, encoding};
use crate::core::time::Micros;
use crate::core::wire::Corrupt;
use crate::server::keys::data_type::{AuxData, Handle, NativeType};
use crate::server::keys::tagged_box::{OneOf, TaggedBox};
use crate::server::main_thread::MainThread;
use crate::types::effect::ratelimit::{RateLimitChange, RateLimitEffect};
use crate::types::name_index::{BLOCKED, NameIndex, PINNED};
use crate::types::policies::node;

static HANDLE: Handle = Handle::new();

impl RateLimit {
    /// The indexes in which the key is, each with the time since when.
    fn indexes(&self) -> impl Iterator<Item = (&'static NameIndex, Micros)> {
        let pin = self.recorded_pin().map(|pin| (&PINNED, pin.validity.since()));
        let block = self.recorded_block().map(|block| (&BLOCKED, block.validity.since()));
        pin.into_iter().chain(block)
    }
}

impl NativeType for RateLimit {
    type Pointer = TaggedBox<Small, Single, Full>;
    const NAME: &'static str = "ratelimit";
    const ENCODING: u16 = encoding::VERSION;
    const REBUILD: &'static std::ffi::CStr = crate::server::effects::replicate::EFFECT;
    const HANDLE: &'static Handle = &HANDLE;
    const BESIDE: Option<AuxData> =
        Some(AuxData { save: node::save, rebuild: crate::types::effect::policy::COMMAND, load: node::apply });

    fn into_pointer(self) -> Self::Pointer {
        self.0
    }

    fn from_pointer(pointer: Self::Pointer) -> Self {
        Self(pointer)
    }

    fn save(&self, main: MainThread, out: &mut Vec<u8>) {
        encoding::save(self, main, out);
    }

    fn rebuild(&self, main: MainThread, out: &mut Vec<u8>) {
        let mut payload = Vec::new();
        encoding::save(self, main, &mut payload);
        // The server itself writes the expiry of a key beside it.
        let change = RateLimitChange::Become(&payload);
        RateLimitEffect { now: Micros::default(), expires: false, change }.encode(out);
    }

    fn load(main: MainThread, encoding: u16, payload: &[u8]) -> Result<Self, Corrupt> {
        encoding::load(main, encoding, payload)
    }

    fn loaded(&self, main: MainThread, database: Option<i32>, name: &[u8]) {
        self.indexes().for_each(|(index, since)| index.loaded(main, database, name, since));
    }

    fn memory(&self) -> usize {
        match self.0.get() {
            OneOf::First(_) => size_of::<Small>(),
            OneOf::Second(single) => size_of::<Single>() + single.state.heap_bytes(),
            OneOf::Third(full) => full.memory(),
        }
    }

    fn free_effort(&self) -> usize {
        match self.0.get() {
            OneOf::First(_) | OneOf::Second(_) => 1,
            OneOf::Third(full) => {
                let reserved = full.reservations.as_ref().map_or(0, |all| all.book().len());
                1 + full.states.len() + full.unlisted.len() + 4 * reserved
            }
        }
    }

    /// The copy of a tracked key is a key of its own. If there is room for one more tracked key, it
    /// is tracked, too, with the usage so far.
    fn duplicate(&self, main: MainThread) -> Self {
        self.indexes().for_each(|(index, since)| index.comes(main, since));
        let mut copy = match self.0.get() {
            OneOf::First(small) => Self(TaggedBox::first(Box::new(small.clone()))),
            OneOf::Second(single) => Self(TaggedBox::second(Box::new(single.clone()))),
            OneOf::Third(full) => Self::pack(match &full.usage {
                None => full.clone(),
                Some(_) if tracked::has_room() => {
                    tracked::note_copied(main, TrackedCopy::Tracked);
                    full.clone()
                }
                Some(usage) => {
                    tracked::note_copied(main, TrackedCopy::Untracked(usage.ends()));
                    full.clone_untracked()
                }
            }),
        };
        copy.set_without_expiry(self.is_without_expiry());
        copy
    }
}
