//! How the reservations of a key are stored: the reservations, and the units of each on each limit.

use super::accounts::{AccountId, StoredStake, each_limit, has_ledger, leaving_of};
use super::full::Full;
use super::reservations::Reservations;
use crate::core::limits::{LimitMask, MAX_COUNT, MAX_LIMITS, Taken, layer_at};
use crate::core::reservations::{Id, Ledger, MAX_ID, Remembered, Reservation, Stage, Stake};
use crate::core::time::Micros;
use crate::core::wire::{Corrupt, Reader, put_bytes, put_u64};
use crate::server::main_thread::MainThread;
use crate::types::intern::{self, LimitsRef};
use crate::types::tlv::read_text;
use std::collections::{BTreeMap, HashMap, HashSet};

const UNKNOWN_STAGE: Corrupt = Corrupt("unknown stage");

const OPEN: u8 = 0;
const ENDED: u8 = 1;
/// A flag beside the stage: the units that each limit took follow at the end of the reservation.
const WITH_LESS: u8 = 2;

/// Appends the reservations in this order:
///
/// * the sets of limits, in the order of their first use;
/// * the latest time that the book has seen;
/// * each reservation in the order of IDs, with its place in the order of grants, its units on each
///   limit, and, if a shadow limit took less than the cost, what each limit took;
/// * for each limit, in the order of their first use, the units without a reservation above all
///   reservations.
pub fn save(main: MainThread, reservations: &Reservations, body: &mut Vec<u8>) {
    let book = reservations.book();
    let mut sets: Vec<&LimitsRef> = Vec::new();
    let mut numbers: HashMap<u32, u64> = HashMap::new();
    let mut serials = Vec::with_capacity(book.len());
    for (_, one) in book.iter() {
        serials.push(one.serial);
        numbers.entry(one.limits.id()).or_insert_with(|| {
            sets.push(&one.limits);
            sets.len() as u64 - 1
        });
    }
    serials.sort_unstable();
    put_u64(body, sets.len() as u64);
    for limits in sets {
        put_bytes(body, limits.get(main).canonical().as_bytes());
    }
    put_u64(body, book.seen().0);
    put_u64(body, book.len() as u64);
    let (mut seen, mut tails) = (HashSet::new(), Vec::new());
    for (id, one) in book.iter() {
        put_bytes(body, id);
        save_one(one, numbers.get(&one.limits.id()).copied().unwrap_or(0), body);
        put_u64(body, serials.partition_point(|serial| *serial < one.serial) as u64);
        each_limit(main, one, |_, limit| {
            if !has_ledger(limit) {
                return;
            }
            match reservations.accounts().stored(main, limit, one.serial) {
                Some(StoredStake { stake: Some(stake), account, tail }) => {
                    put_u64(body, stake.own);
                    put_u64(body, stake.gap);
                    if seen.insert(account) {
                        tails.push(tail);
                    }
                }
                _ => put_u64(body, 0),
            }
        });
        if let Some(taken) = &one.less {
            one.charged.iter().for_each(|at| put_u64(body, taken.units(at)));
        }
    }
    for tail in tails {
        put_u64(body, tail);
    }
}

/// Writes a reservation up to its place in the order of grants. `limits` is the number of its set.
fn save_one(one: &Reservation<LimitsRef>, limits: u64, body: &mut Vec<u8>) {
    put_u64(body, limits);
    body.push(one.charged.bits());
    let stage = match one.stage {
        Stage::Open => OPEN,
        Stage::Ended => ENDED,
    };
    body.push(if one.less.is_some() { stage | WITH_LESS } else { stage });
    put_u64(body, one.cost);
    for time in [one.granted, one.since, one.end, one.left_by] {
        put_u64(body, time.0);
    }
}

/// The texts of sets of limits. A set is looked up when a reservation has it, in the order of their
/// first use. So a payload adds no more limits to the table of interned limits than its key keeps.
struct Sets<'a> {
    texts: Vec<&'a str>,
    found: Vec<(usize, LimitsRef)>,
}

impl<'a> Sets<'a> {
    fn read(body: &mut Reader<'a>) -> Result<Self, Corrupt> {
        let mut texts = Vec::new();
        for _ in 0..body.u64()? {
            texts.push(read_text(body)?);
        }
        Ok(Self { texts, found: Vec::new() })
    }

    /// The set of this number, and how many limits it has.
    fn get(&mut self, main: MainThread, number: u64) -> Result<(usize, LimitsRef), Corrupt> {
        let unknown = Corrupt("unknown limits");
        let number = usize::try_from(number).map_err(|_| unknown)?;
        if number == self.found.len() {
            let limits = intern::stored(main, self.texts.get(number).ok_or(unknown)?)?;
            let count = limits.get(main).limits().len();
            self.found.push((count, limits));
        }
        self.found.get(number).cloned().ok_or(unknown)
    }

    fn end(&self) -> Result<(), Corrupt> {
        if self.found.len() < self.texts.len() {
            return Err(Corrupt("limits that no reservation has"));
        }
        Ok(())
    }
}

/// Reads the ID of the next reservation, which must be greater than the last one.
fn read_id<'a>(body: &mut Reader<'a>, last: &mut &'a [u8]) -> Result<&'a [u8], Corrupt> {
    let id = body.bytes(MAX_ID)?;
    if id <= *last {
        return Err(Corrupt("reservations out of order"));
    }
    *last = id;
    Ok(id)
}

/// Reads what both versions store of a reservation, up to its cost. Also returns whether the units
/// that each limit took follow, which version 0.1 never stored.
fn read_one(
    main: MainThread,
    sets: &mut Sets<'_>,
    body: &mut Reader<'_>,
) -> Result<(Reservation<LimitsRef>, bool), Corrupt> {
    let (count, limits) = sets.get(main, body.u64()?)?;
    let charged = LimitMask::from_bits(body.byte()?);
    if charged.iter().any(|at| at >= count) {
        return Err(Corrupt("a limit that is not there"));
    }
    let stage = body.byte()?;
    let with_less = stage & WITH_LESS != 0;
    let stage = match stage & !WITH_LESS {
        OPEN => Stage::Open,
        ENDED => Stage::Ended,
        _ => return Err(UNKNOWN_STAGE),
    };
    let cost = body.u64_to(MAX_COUNT)?;
    let (granted, end, left_by) = Default::default();
    let (since, serial, less) = (granted, 0, None);
    let leaving = leaving_of(limits.get(main).limits(), charged);
    let one =
        Reservation { cost, granted, since, end, left_by, serial, limits, charged, less, leaving, stage };
    Ok((one, with_less))
}

fn read_time(body: &mut Reader<'_>) -> Result<Micros, Corrupt> {
    body.u64_to(Micros::MAX.0).map(Micros)
}

/// Reads the reservations that [`save`] wrote.
pub fn read(main: MainThread, body: &mut Reader<'_>) -> Result<Reservations, Corrupt> {
    let mut sets = Sets::read(body)?;
    let mut reservations = Reservations::default();
    reservations.resume(read_time(body)?);
    let count = body.u64()?;
    let mut last: &[u8] = &[];
    let mut numbers = HashSet::new();
    // One limit of each account, in the order of their first use.
    let mut accounts = Vec::new();
    let mut known = HashSet::new();
    for _ in 0..count {
        let id = read_id(body, &mut last)?;
        let (mut one, with_less) = read_one(main, &mut sets, body)?;
        (one.granted, one.since) = (read_time(body)?, read_time(body)?);
        (one.end, one.left_by) = (read_time(body)?, read_time(body)?);
        one.serial = body.u64_to(count - 1)?;
        if !numbers.insert(one.serial) {
            return Err(Corrupt("two reservations at one place"));
        }
        for (at, place) in read_stakes(main, &one, &mut reservations, body)? {
            if known.insert(place) {
                accounts.push((one.limits.clone(), at));
            }
        }
        if with_less {
            one.less = Some(Box::new(read_taken(one.charged, body)?));
        }
        reservations.load(main, Id::from(id), one);
    }
    for (limits, at) in accounts {
        let units = body.u64()?;
        if let Some(limit) = limits.get(main).limits().get(at) {
            reservations.accounts_mut().on_ledger(main, limit, |ledger| ledger.load_tail(units));
        }
    }
    sets.end()?;
    if reservations.book().is_empty() { Err(Corrupt("empty section")) } else { Ok(reservations) }
}

/// Reads the stakes of a reservation and puts them back on their accounts. Returns the position of
/// each limit with a stake, and the place of its account.
fn read_stakes(
    main: MainThread,
    one: &Reservation<LimitsRef>,
    reservations: &mut Reservations,
    body: &mut Reader<'_>,
) -> Result<Vec<(usize, Option<AccountId>)>, Corrupt> {
    let mut places = Vec::new();
    let set = one.limits.get(main);
    for at in one.charged.iter() {
        let Some(limit) = set.limits().get(at).filter(|limit| has_ledger(limit)) else { continue };
        let own = body.u64()?;
        if own == 0 {
            continue;
        }
        let stake = Stake { gap: body.u64()?, own };
        if let Some(ledger) = reservations.accounts_mut().open_ledger(main, &one.limits, (at, limit)) {
            ledger.load(one.serial, stake);
        }
        let stored = reservations.accounts().stored(main, limit, one.serial);
        places.push((at, stored.map(|stored| stored.account)));
    }
    Ok(places)
}

/// Reads what each limit took.
fn read_taken(charged: LimitMask, body: &mut Reader<'_>) -> Result<Taken, Corrupt> {
    let mut taken = [0; MAX_LIMITS];
    for at in charged.iter() {
        *taken.get_mut(at).ok_or(UNKNOWN_STAGE)? = body.u64()?;
    }
    Ok(Taken::new(taken))
}

/// Reads the reservations that version 0.1 wrote for a key with this usage.
pub fn read_of_0_1(main: MainThread, full: &Full, body: &mut Reader<'_>) -> Result<Reservations, Corrupt> {
    let mut sets = Sets::read(body)?;
    let mut all = Vec::new();
    let mut last: &[u8] = &[];
    while !body.is_empty() {
        let id = read_id(body, &mut last)?;
        let (mut one, with_less) = read_one(main, &mut sets, body)?;
        if with_less {
            return Err(UNKNOWN_STAGE);
        }
        (one.granted, one.end, one.left_by) = (read_time(body)?, read_time(body)?, read_time(body)?);
        one.since = one.granted;
        all.push((id, one));
    }
    sets.end()?;
    // Sort them in the order of their grants, as far as the times tell it.
    all.sort_by_key(|(_, one)| one.granted);
    let mut reservations = Reservations::default();
    let mut seen = Micros::default();
    for (serial, (id, one)) in (0..).zip(&mut all) {
        one.serial = serial;
        let ended = if one.stage == Stage::Ended { one.end } else { one.granted };
        seen = seen.max(one.granted).max(ended);
        reservations.load(main, Id::from(*id), one.clone());
    }
    reservations.resume(seen);
    remember(main, full, all.iter().map(|(_, one)| one), &mut reservations);
    if reservations.book().is_empty() { Err(Corrupt("empty section")) } else { Ok(reservations) }
}

/// A limit from which reservations of version 0.1 took units.
struct TakenBefore {
    limits: LimitsRef,
    at: usize,
    by: Vec<Remembered>,
}

/// Restores which units belong to which reservation, as far as that is certain.
fn remember<'a>(
    main: MainThread,
    full: &Full,
    all: impl Iterator<Item = &'a Reservation<LimitsRef>>,
    reservations: &mut Reservations,
) {
    let mut taken: BTreeMap<u32, Vec<TakenBefore>> = BTreeMap::new();
    for one in all {
        each_limit(main, one, |at, limit| {
            if !has_ledger(limit) {
                return;
            }
            let units = if limit.per_call() { 1 } else { one.cost };
            let layer =
                full.usage_of(main, limit, |rule, state| layer_at(rule, state, one.granted)).flatten();
            let remembered = Remembered { serial: one.serial, units, layer };
            let alike = taken.entry(limit.identity_hash()).or_default();
            let same = alike.iter_mut().find(|taken| {
                let set = taken.limits.get(main);
                set.limits().get(taken.at).is_some_and(|other| other.same_identity(limit))
            });
            match same {
                Some(same) => same.by.push(remembered),
                None => alike.push(TakenBefore { limits: one.limits.clone(), at, by: vec![remembered] }),
            }
        });
    }
    for TakenBefore { limits, at, by } in taken.into_values().flatten() {
        if let Some(limit) = limits.get(main).limits().get(at) {
            let ledger = Ledger::of_remembered(&by);
            if !ledger.is_empty()
                && let Some(own) = reservations.accounts_mut().open_ledger(main, &limits, (at, limit))
            {
                *own = ledger;
            }
        }
    }
}
