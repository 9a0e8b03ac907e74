//! How the server handles a `cbcircuit`: saving, loading, copying, freeing.

use super::{CbCircuit, Contents, encoding};
use crate::core::breaker::CircuitState;
use crate::core::time::Micros;
use crate::core::wire::Corrupt;
use crate::server::keys::data_type::{Handle, NativeType};
use crate::server::main_thread::MainThread;
use crate::types::cbcircuit::BreakerPin;
use crate::types::effect::breaker::{BreakerChange, BreakerEffect, BreakerTerms};
use crate::types::name_index::{NOT_CLOSED, NameIndex, PINNED};

static HANDLE: Handle = Handle::new();

impl CbCircuit {
    /// The indexes in which the key is, each with the time since when.
    fn indexes(&self) -> impl Iterator<Item = (&'static NameIndex, Micros)> {
        let circuit = self.circuit();
        let open = (circuit.state() != CircuitState::Closed).then(|| (&NOT_CLOSED, circuit.since()));
        let pin = self.recorded_pin().map(|pin| (&PINNED, pin.validity.since()));
        open.into_iter().chain(pin)
    }
}

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
        // The server itself writes the expiry of a key beside it.
        let change = BreakerChange::Become(&payload);
        BreakerEffect { now: Micros(0), expires: false, terms: BreakerTerms::STANDING, change }.encode(out);
    }

    fn load(main: MainThread, encoding: u16, payload: &[u8]) -> Result<Self, Corrupt> {
        encoding::load(main, encoding, payload)
    }

    fn loaded(&self, main: MainThread, database: Option<i32>, name: &[u8]) {
        self.indexes().for_each(|(index, since)| index.loaded(main, database, name, since));
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
        self.indexes().for_each(|(index, since)| index.comes(main, since));
        Self(self.0.clone())
    }
}
