//! How the server handles a `cbcircuit`: saving, loading, copying, freeing.

use super::not_closed::NOT_CLOSED;
use super::{CbCircuit, Contents, encoding};
use crate::core::breaker::CircuitState;
use crate::core::wire::Corrupt;
use crate::server::keys::data_type::{Handle, NativeType};
use crate::server::main_thread::MainThread;
use crate::types::cbcircuit::BreakerPin;
use crate::types::effect::breaker::BreakerEffect;
use crate::types::operator::PINNED;

static HANDLE: Handle = Handle::new();

impl NativeType for CbCircuit {
    type Pointer = Box<Contents>;
    const NAME: &'static str = "cbcircuit";
    const ENCODING: u16 = encoding::VERSION;
    const REBUILD: &'static std::ffi::CStr = crate::server::effects::replicate::EFFECT;
    const HANDLE: &'static Handle = &HANDLE;

    fn into_pointer(self) -> Self::Pointer {
        self.0
    }

    fn from_pointer(pointer: Self::Pointer) -> Self {
        Self(pointer)
    }

    fn save(&self, _: MainThread, out: &mut Vec<u8>) {
        encoding::save(self, out);
    }

    fn rebuild(&self, main: MainThread, out: &mut Vec<u8>) {
        let mut payload = Vec::new();
        self.save(main, &mut payload);
        BreakerEffect::become_stored(&payload).encode(out);
    }

    fn load(main: MainThread, encoding: u16, payload: &[u8]) -> Result<Self, Corrupt> {
        encoding::load(main, encoding, payload)
    }

    fn loaded(&self, main: MainThread, database: Option<i32>, name: &[u8]) {
        if self.circuit().state() != CircuitState::Closed {
            NOT_CLOSED.loaded(main, database, name, self.circuit().since());
        }
        if let Some(pin) = &self.0.pin {
            PINNED.loaded(main, database, name, pin.validity.since());
        }
    }

    fn memory(&self) -> usize {
        size_of::<Contents>()
            + self.circuit().heap_bytes()
            + self.0.pin.as_ref().map_or(0, |_| size_of::<BreakerPin>())
    }

    fn free_effort(&self) -> usize {
        2
    }

    fn duplicate(&self, main: MainThread) -> Self {
        if self.circuit().state() != CircuitState::Closed {
            NOT_CLOSED.comes(main, self.circuit().since());
        }
        if let Some(pin) = &self.0.pin {
            PINNED.comes(main, pin.validity.since());
        }
        Self(self.0.clone())
    }
}
