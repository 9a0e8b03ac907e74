//! At most `count` units in any interval of length `period`.
//!
//! Up to a count of 64, every grant keeps its own time and is free again exactly one period later.
//! Debt (RL.CHARGE, RL.COMMIT) may need more than 64 times. Then two times in the same fiftieth of the
//! period become the later one, so that a unit is free at most a fiftieth of the period late.
//! Above, grants fall into slots of a fiftieth of the period, aligned to the epoch. Slot k is free
//! again at the start of slot k + 51. Let w be the length of a slot. A grant at t in slot k has
//! `k*w <= t < (k+1)*w`. So it is free again after `t + 50*w`, which is one period, and at `t +
//! 51*w` at the latest. At most 52 slots are in use at a time, whatever the count.
//!
//! When the count changes across 64, the slots keep their form until the next grant, which converts
//! them. A slot then counts as used at its last microsecond, and a time counts as used in its slot.
//! So nothing is freed early.
//!
//! **A clock that stepped back.** Every grant lies in the past, so one with a later time counts as
//! granted now. It never comes back early by the present clock, and at most one period after the
//! step.

use super::algorithm::Algorithm;
use super::grain::{Grain, MAX_SLOTS};
use super::layer::Layer;
use super::quantity::{self, Rate, Reason};
use super::slots::Slots;
use crate::core::limits::options::LimitOptions;
use crate::core::prefetch_hint::PrefetchHint;
use crate::core::time::Micros;
use crate::core::wire::{Corrupt, Reader, put_u64};

/// The largest count for which every grant has a slot of its own.
const EXACT_COUNT: u64 = MAX_SLOTS as u64;
/// The number of coarse slots in a period.
const SLOTS_IN_PERIOD: u64 = 50;

/// The rule `count/period` of a sliding limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    count: u64,
    /// The period in microseconds. It is whole milliseconds, so a fiftieth of it is whole, too.
    period: u64,
}

/// The positions of one grain, as a rule sees them at one time.
#[derive(Clone, Copy)]
struct Scale {
    /// The position of now.
    current: u64,
    /// The distance behind `current` from which on a slot is free.
    span: u64,
    /// The microseconds from one position to the next.
    width: u64,
}

impl Scale {
    /// The last position that is free again.
    #[inline]
    const fn dead(self) -> Option<u64> {
        self.current.checked_sub(self.span)
    }

    /// The moment at which a slot is free again. A slot after now counts as of now.
    #[inline]
    fn freed_at(self, position: u64) -> Micros {
        Micros((position.min(self.current) + self.span).saturating_mul(self.width))
    }
}

impl Sliding {
    /// The grain of new grants.
    #[inline]
    const fn grain(&self) -> Grain {
        if self.count <= EXACT_COUNT { Grain::Exact } else { Grain::Coarse }
    }

    const fn slot_width(&self) -> u64 {
        let width = self.period / SLOTS_IN_PERIOD;
        if width == 0 { 1 } else { width }
    }

    #[inline]
    fn scale(&self, grain: Grain, now: Micros) -> Scale {
        // The mask changes nothing for times that the library accepts.
        let now = now.0 & (u64::MAX >> 2);
        match grain {
            Grain::Exact => Scale { current: now, span: self.period, width: 1 },
            Grain::Coarse => {
                let width = self.slot_width();
                Scale { current: now / width, span: SLOTS_IN_PERIOD + 1, width }
            }
        }
    }

    /// Forgets slots that are free, and moves slots that lie after now back to now.
    #[inline]
    fn advance(&self, slots: &mut Slots, now: Micros) -> Scale {
        let scale = self.scale(slots.grain(), now);
        slots.forget_to(scale.dead());
        slots.pull_back_to(scale.current);
        scale
    }

    /// Converts slots, kept with slots of `old_width` microseconds, into slots of `grain`. Slots
    /// that are free are dropped. Nothing is converted if some slot has more units than `grain` can
    /// hold.
    fn convert(&self, slots: &mut Slots, old_width: u64, grain: Grain, now: Micros) {
        let scale = self.scale(grain, now);
        let mut converted = Slots::new(grain);
        for slot in slots.iter() {
            let time = match slots.grain() {
                Grain::Exact => slot.position,
                Grain::Coarse => {
                    slot.position.saturating_mul(old_width).saturating_add(old_width - 1).min(now.0)
                }
            };
            let position = time / scale.width;
            if scale.dead().is_some_and(|dead| position <= dead) {
                continue;
            }
            if slot.units > grain.max_units() {
                return;
            }
            converted.push(position, slot.units);
        }
        *slots = converted;
    }
}

impl Algorithm for Sliding {
    type State = Slots;
    const NAME: &'static str = "sliding";

    fn parse(quantity: &[u8], _options: &LimitOptions<'_>) -> Result<Self, Reason> {
        let Rate { count, period } = quantity::parse_rate(quantity)?;
        Ok(Self { count, period })
    }

    fn head(&self) -> String {
        format!("{}/{}", self.count, quantity::period_text(self.period))
    }

    fn same_usage(&self, other: &Self) -> bool {
        self.period == other.period
    }

    fn period_us(&self) -> Option<u64> {
        Some(self.period)
    }

    #[inline]
    fn capacity(&self) -> u64 {
        self.count
    }

    #[inline]
    fn is_fresh(slots: &Slots) -> bool {
        slots.is_empty()
    }

    #[inline]
    fn used(&self, slots: &Slots, now: Micros) -> u64 {
        slots.units_after(self.scale(slots.grain(), now).dead())
    }

    fn falls_to(&self, slots: &Slots, now: Micros, target: u64) -> Micros {
        let scale = self.scale(slots.grain(), now);
        let mut used = slots.units_after(scale.dead());
        let mut at = now;
        for slot in slots.after(scale.dead()) {
            if used <= target {
                break;
            }
            used = used.saturating_sub(slot.units);
            at = scale.freed_at(slot.position);
        }
        at
    }

    #[inline]
    fn full_after(&self, slots: &Slots, now: Micros, taken: u64) -> Micros {
        if taken > 0 {
            let scale = self.scale(self.grain(), now);
            return scale.freed_at(scale.current);
        }
        let scale = self.scale(slots.grain(), now);
        slots.newest_position().map_or(now, |newest| scale.freed_at(newest).max(now))
    }

    #[inline]
    fn stepped_back(&self, slots: &Slots, now: Micros) -> bool {
        let scale = self.scale(slots.grain(), now);
        slots.newest_position().is_some_and(|newest| newest > scale.current)
    }

    fn not_before(&self, slots: &Slots) -> Micros {
        let width = self.scale(slots.grain(), Micros::default()).width;
        Micros(slots.newest_position().unwrap_or(0).saturating_mul(width))
    }

    #[inline]
    fn outlasts_now(&self, slots: &Slots, now: Micros) -> bool {
        slots.grain() == self.grain()
            && slots.newest_position() == Some(self.scale(self.grain(), now).current)
    }

    #[inline]
    fn take(&self, slots: &mut Slots, now: Micros, units: u64) {
        let mut scale = self.advance(slots, now);
        if units == 0 {
            return;
        }
        if slots.grain() != self.grain() {
            self.convert(slots, self.slot_width(), self.grain(), now);
            scale = self.scale(slots.grain(), now);
        }
        // Only debt fills all slots. They lie within one period, so at least two of them are in the
        // same fiftieth of it.
        slots.make_room(self.slot_width());
        slots.push(scale.current, units);
    }

    fn give_back(&self, slots: &mut Slots, now: Micros, above: u64, units: u64) -> u64 {
        self.advance(slots, now);
        if above == 0 { slots.remove_newest(units) } else { slots.remove_beneath(above, units) }
    }

    fn layer(&self, slots: &Slots, granted: Micros) -> Option<Layer> {
        let position = self.scale(slots.grain(), granted).current;
        let slot = slots.iter().find(|slot| slot.position == position)?;
        Some(Layer { position, units: slot.units, above: slots.units_after(Some(position)) })
    }

    fn carry(&self, old: &Self, slots: &mut Slots, now: Micros) {
        if self.period != old.period {
            // Units that have come back stay back even if they lie within the new period, because
            // the key may have forgotten them.
            old.advance(slots, now);
            if slots.grain() == Grain::Coarse {
                self.convert(slots, old.slot_width(), Grain::Coarse, now);
            }
            self.advance(slots, now);
        }
    }

    fn kept_falls_to(&self, old: &Self, slots: &Slots, now: Micros, target: u64) -> Micros {
        let kept = old.scale(slots.grain(), now);
        let own = self.scale(slots.grain(), now);
        // The moment at which a slot is free as it is kept, or once it is converted. Converted, it
        // counts by its end, which may be in the future.
        let freed = |slot: u64| {
            let end = slot.min(kept.current).saturating_mul(kept.width).saturating_add(kept.width - 1);
            let converted = Micros((end / own.width + own.span).saturating_mul(own.width));
            converted.min(kept.freed_at(slot))
        };
        let in_use =
            || slots.iter().map(|slot| (freed(slot.position), slot.units)).filter(|slot| slot.0 > now);
        let mut used = in_use().fold(0, |sum: u64, slot| sum.saturating_add(slot.1));
        let mut at = now;
        for (freed, units) in in_use() {
            if used <= target {
                break;
            }
            used = used.saturating_sub(units);
            at = freed;
        }
        at
    }

    fn write(slots: &Slots, out: &mut Vec<u8>) {
        let head = (slots.len() as u64) << 1 | u64::from(slots.grain() == Grain::Coarse);
        put_u64(out, head);
        let mut last = 0;
        for slot in slots.iter() {
            put_u64(out, slot.position - last);
            put_u64(out, slot.units);
            last = slot.position;
        }
    }

    fn read(&self, reader: &mut Reader<'_>) -> Result<Slots, Corrupt> {
        let head = reader.u64_to((EXACT_COUNT << 1) | 1)?;
        let grain = if head & 1 == 0 { Grain::Exact } else { Grain::Coarse };
        let width = self.scale(grain, Micros(0)).width;
        let span = self.scale(grain, Micros(0)).span;
        let mut slots = Slots::new(grain);
        let (mut first, mut position) = (0, 0u64);
        for at in 0..head >> 1 {
            let step = reader.u64_to(Micros::MAX.0 / width)?;
            let units = reader.u64_to(grain.max_units())?;
            position += step;
            if at == 0 {
                first = position;
            } else if step == 0 {
                return Err(Corrupt("slots out of order"));
            }
            if units == 0 {
                return Err(Corrupt("empty slot"));
            }
            if position > Micros::MAX.0 / width || position - first >= span {
                return Err(Corrupt("slot out of range"));
            }
            slots.push(position, units);
        }
        if slots.is_empty() { Err(Corrupt("no slots")) } else { Ok(slots) }
    }

    fn heap_bytes(slots: &Slots) -> usize {
        slots.heap_bytes()
    }

    #[inline]
    fn prefetch_hint(slots: &Slots) -> Option<PrefetchHint> {
        slots.prefetch_hint()
    }
}
