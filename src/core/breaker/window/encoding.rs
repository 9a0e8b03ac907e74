//! The encoding of all windows of one circuit.

use super::call::{Keeps, SlowCalls};
use super::kind::{CallWindow, WindowKind};
use super::set::{BESIDE, CallWindows, MOST_SINCE, SharedWindows};
use crate::core::breaker::spec::{Breaker, MAX_CALLS};
use crate::core::text::duration::{LONGEST, MILLISECOND};
use crate::core::time::Micros;
use crate::core::wire::{Corrupt, Reader, put_u64};

/// Bits of the first byte of the encoding.
const SLOW: u8 = 1;
const SEVERAL: u8 = 2;
const REPORTERS: u8 = 4;
/// The number of kinds that were named since the breaker in force was brought.
const SINCE: u8 = 8;

const RUN: u8 = 0;
const PERIOD: u8 = 1;
const CALLS: u8 = 2;

impl CallWindows {
    /// Appends the windows to `out`: one byte that says whether slow calls and reporters are
    /// counted, and how many kinds were named since the breaker in force was brought; then the window
    /// of the breaker in force. Several windows are followed by the number of those beside it, each of
    /// these with its kind, and the moment until which they are kept.
    pub fn write(&self, out: &mut Vec<u8>) {
        let slow = if self.slow_calls().are_counted() { SLOW } else { 0 };
        let kept = slow | if self.tells_reporters() { REPORTERS } else { 0 };
        match self {
            Self::One(window) => {
                out.push(kept);
                window.write(out);
            }
            Self::Several(shared) => {
                out.push(kept | SEVERAL | (shared.named_since * SINCE));
                shared.in_force.write(out);
                put_u64(out, shared.beside.iter().flatten().count() as u64);
                for window in shared.beside.iter().flatten() {
                    match window.kind() {
                        WindowKind::Run => out.push(RUN),
                        WindowKind::Period(us) => {
                            out.push(PERIOD);
                            put_u64(out, us);
                        }
                        WindowKind::Calls(calls) => {
                            out.push(CALLS);
                            put_u64(out, calls.into());
                        }
                    }
                    window.write(out);
                }
                put_u64(out, shared.kept_until.0);
            }
        }
    }

    /// Reads what [`CallWindows::write`] wrote with this breaker in force.
    pub fn read(reader: &mut Reader, breaker: &Breaker) -> Result<Self, Corrupt> {
        let head = reader.byte()?;
        let (head, since) = (head % SINCE, head / SINCE);
        if since > if head & SEVERAL == 0 { 0 } else { MOST_SINCE } {
            return Err(Corrupt("unknown windows"));
        }
        let slow = if head & SLOW != 0 { SlowCalls::Counted } else { SlowCalls::Ignored };
        let keeps = Keeps { slow, reporters: head & REPORTERS != 0 };
        if SlowCalls::of(breaker).are_counted() && !slow.are_counted() {
            return Err(Corrupt("a window without slow calls"));
        }
        if breaker.reporters() > 1 && !keeps.reporters {
            return Err(Corrupt("a window without reporters"));
        }
        let in_force = CallWindow::read(reader, WindowKind::of(breaker.trip()), keeps)?;
        if head & SEVERAL == 0 {
            return Ok(Self::One(in_force));
        }
        let mut shared = SharedWindows::of(in_force);
        let count = usize::try_from(reader.u64_to(BESIDE as u64)?).unwrap_or(0);
        for at in 0..count {
            let kind = read_kind(reader)?;
            if shared.all().any(|window| window.kind() == kind) {
                return Err(Corrupt("two windows of one kind"));
            }
            let window = CallWindow::read(reader, kind, keeps)?;
            if let Some(place) = shared.beside.get_mut(at) {
                *place = Some(window);
            }
        }
        if usize::from(since) > count {
            return Err(Corrupt("more kinds named than there are"));
        }
        shared.named_since = since;
        shared.kept_until = Micros(reader.u64_to(Micros::MAX.0 + LONGEST)?);
        Ok(Self::Several(Box::new(shared)))
    }

    /// Reads the one window that version 0.1 wrote under this breaker.
    pub fn read_one(reader: &mut Reader, breaker: &Breaker) -> Result<Self, Corrupt> {
        let keeps = Keeps { slow: SlowCalls::of(breaker), reporters: false };
        let mut windows = Self::One(CallWindow::read(reader, WindowKind::of(breaker.trip()), keeps)?);
        windows.see_reporters(breaker);
        Ok(windows)
    }
}

/// Reads the kind of a window beside the one in force.
fn read_kind(reader: &mut Reader) -> Result<WindowKind, Corrupt> {
    Ok(match reader.byte()? {
        RUN => WindowKind::Run,
        PERIOD => match reader.u64_to(LONGEST)? {
            us if us >= MILLISECOND => WindowKind::Period(us),
            _ => return Err(Corrupt("number out of range")),
        },
        CALLS => match reader.number_to(MAX_CALLS)? {
            0 => return Err(Corrupt("number out of range")),
            calls => WindowKind::Calls(calls),
        },
        _ => return Err(Corrupt("unknown kind of window")),
    })
}
