//! What the reservations of a key have on each limit: units or places.
//!
//! A limit is known by its identity, as its usage is. It has an account only while
//! some reservation has something on it, so a key without reservations pays nothing.

use crate::core::limits::{HeldPlaces, Limit, LimitMask, Rule};
use crate::core::reservations::{Ledger, ON_CREDIT_US, Ordered, Places, Reservation, Stage, Stake, Standing};
use crate::core::time::Micros;
use crate::server::main_thread::MainThread;
use crate::types::intern::LimitsRef;

/// What reservations have on one limit.
#[derive(Clone, Debug)]
enum Holding {
    Units(Ledger),
    Places(Places),
}

#[derive(Clone, Debug)]
struct Account {
    /// A set that the limit stands in, and where: which limit it is.
    limits: LimitsRef,
    at: u8,
    holding: Holding,
}

/// The hash of a limit's identity, and a number among the limits of that hash, which
/// run from 0 without a gap.
type Place = (u32, u32);

/// The accounts of a key.
#[derive(Clone, Debug, Default)]
pub struct Accounts(Ordered<Place, Account>);

impl Account {
    /// A name may stand for places in one set and for units in another.
    fn is(&self, main: MainThread, limit: &Limit) -> bool {
        if has_ledger(limit) != matches!(self.holding, Holding::Units(_)) {
            return false;
        }
        let set = self.limits.get(main);
        set.limits().get(usize::from(self.at)).is_some_and(|own| own.same_identity(limit))
    }

    const fn ledger(&mut self) -> Option<&mut Ledger> {
        match &mut self.holding {
            Holding::Units(ledger) => Some(ledger),
            Holding::Places(_) => None,
        }
    }

    const fn places(&mut self) -> Option<&mut Places> {
        match &mut self.holding {
            Holding::Places(places) => Some(places),
            Holding::Units(_) => None,
        }
    }

    fn is_empty(&self) -> bool {
        match &self.holding {
            Holding::Units(ledger) => ledger.is_empty(),
            Holding::Places(places) => places.is_empty(),
        }
    }
}

impl Accounts {
    fn find(&self, main: MainThread, limit: &Limit) -> Option<(Place, &Account)> {
        let hash = limit.identity_hash();
        for number in 0.. {
            let (place, account) = self.0.get(&(hash, number))?;
            if account.is(main, limit) {
                return Some((*place, account));
            }
        }
        None
    }

    /// Runs `change` on the account of a limit, where it has one. An account of nothing
    /// goes.
    fn change<R>(
        &mut self,
        main: MainThread,
        limit: &Limit,
        change: impl FnOnce(&mut Account) -> R,
    ) -> Option<R> {
        let (place, _) = self.find(main, limit)?;
        let account = self.0.get_mut(&place)?;
        let result = change(account);
        if account.is_empty() {
            self.close(place);
        }
        Some(result)
    }

    /// Takes an account out; the last of the same hash takes its number.
    fn close(&mut self, (hash, number): Place) {
        let mut last = number;
        while self.0.get(&(hash, last + 1)).is_some() {
            last += 1;
        }
        let moved = self.0.remove(&(hash, last));
        if last > number
            && let Some((_, moved)) = moved
        {
            self.0.insert((hash, number), moved);
        }
    }

    /// The account of the limit at `at` of a set, which is opened if need be.
    fn open(
        &mut self,
        main: MainThread,
        limits: &LimitsRef,
        at: usize,
        limit: &Limit,
    ) -> Option<&mut Account> {
        let place = if let Some((place, _)) = self.find(main, limit) {
            place
        } else {
            let hash = limit.identity_hash();
            let number = (0..u32::MAX).find(|number| self.0.get(&(hash, *number)).is_none())?;
            let holding = match limit.rule() {
                Rule::Concurrent(_) => Holding::Places(Places::default()),
                _ => Holding::Units(Ledger::default()),
            };
            let at = u8::try_from(at).ok()?;
            self.0.insert((hash, number), Account { limits: limits.clone(), at, holding });
            (hash, number)
        };
        self.0.get_mut(&place)
    }

    /// Units are granted to nobody in particular.
    pub fn grant(&mut self, main: MainThread, limit: &Limit, units: u64) {
        if units > 0 {
            self.change(main, limit, |account| account.ledger().map(|ledger| ledger.grant(units)));
        }
    }

    /// The newest units are taken back.
    pub fn trim(&mut self, main: MainThread, limit: &Limit, units: u64) {
        self.change(main, limit, |account| account.ledger().map(|ledger| ledger.trim(units)));
    }

    /// Units are granted to the reservation of a number, by the limit at `at` of a set.
    pub fn stake(
        &mut self,
        main: MainThread,
        limits: &LimitsRef,
        (at, limit): (usize, &Limit),
        serial: u64,
        units: u64,
    ) {
        if units > 0
            && has_ledger(limit)
            && let Some(ledger) = self.open(main, limits, at, limit).and_then(Account::ledger)
        {
            ledger.stake(serial, units);
        }
    }

    /// Where the units of a reservation lie on a limit.
    pub fn standing(&self, main: MainThread, limit: &Limit, serial: u64) -> Standing {
        match self.find(main, limit).map(|(_, account)| &account.holding) {
            Some(Holding::Units(ledger)) => ledger.standing(serial),
            _ => Standing::default(),
        }
    }

    /// A reservation is settled on a limit: so many units were given back.
    pub fn settle(&mut self, main: MainThread, limit: &Limit, serial: u64, given_back: u64) {
        self.change(main, limit, |account| {
            if let Some(ledger) = account.ledger() {
                ledger.settle(serial, given_back);
            }
        });
    }

    /// A reservation is forgotten: its units are nobody's.
    pub fn forget(&mut self, main: MainThread, one: &Reservation<LimitsRef>) {
        each_limit(main, one, |_, limit| {
            if has_ledger(limit) {
                self.settle(main, limit, one.serial, 0);
            }
        });
    }

    /// An open reservation holds its places until its end.
    pub fn hold(&mut self, main: MainThread, one: &Reservation<LimitsRef>) {
        if one.stage == Stage::Open {
            each_limit(main, one, |at, limit| {
                let places = places_of(one, at, limit);
                if places > 0
                    && let Some(held) = self.open(main, &one.limits, at, limit).and_then(Account::places)
                {
                    held.hold(one.end, places);
                }
            });
        }
    }

    /// An open reservation frees its places.
    pub fn free(&mut self, main: MainThread, one: &Reservation<LimitsRef>) {
        if one.stage == Stage::Open {
            each_limit(main, one, |at, limit| {
                let places = places_of(one, at, limit);
                if places > 0 {
                    self.change(main, limit, |account| {
                        if let Some(held) = account.places() {
                            held.free(one.end, places);
                        }
                    });
                }
            });
        }
    }

    /// The places held on a `concurrent` limit, for a request of so many; one taken now
    /// would be held until `next`.
    pub fn held(
        &self,
        main: MainThread,
        limit: &Limit,
        now: Micros,
        next: Micros,
        demand: u64,
    ) -> HeldPlaces {
        match self.find(main, limit).map(|(_, account)| &account.holding) {
            Some(Holding::Places(places)) => places.held(limit, now, next, demand),
            _ => Places::default().held(limit, now, next, demand),
        }
    }

    /// What a reservation has on a limit, for what is stored, and where the limit's
    /// account is.
    pub fn stored(
        &self,
        main: MainThread,
        limit: &Limit,
        serial: u64,
    ) -> Option<(Option<Stake>, Place, u64)> {
        match self.find(main, limit)? {
            (place, Account { holding: Holding::Units(ledger), .. }) => {
                Some((ledger.get(serial), place, ledger.tail()))
            }
            _ => None,
        }
    }

    /// Puts back the units of nobody's above all reservations of a limit.
    pub fn load_tail(&mut self, main: MainThread, limit: &Limit, units: u64) {
        self.change(main, limit, |account| account.ledger().map(|ledger| ledger.load_tail(units)));
    }

    /// Puts back what [`Accounts::stored`] told of a reservation.
    pub fn load(
        &mut self,
        main: MainThread,
        limits: &LimitsRef,
        (at, limit): (usize, &Limit),
        serial: u64,
        stake: Stake,
    ) {
        if let Some(ledger) = self.open(main, limits, at, limit).and_then(Account::ledger) {
            ledger.load(serial, stake);
        }
    }

    /// Opens the account of a limit with a ledger.
    pub fn load_ledger(
        &mut self,
        main: MainThread,
        limits: &LimitsRef,
        (at, limit): (usize, &Limit),
        ledger: Ledger,
    ) {
        if !ledger.is_empty()
            && let Some(account) = self.open(main, limits, at, limit)
        {
            account.holding = Holding::Units(ledger);
        }
    }

    /// Bytes that it holds beside itself.
    pub fn memory(&self) -> usize {
        let of = |account: &Account| match &account.holding {
            Holding::Units(ledger) => ledger.memory(),
            Holding::Places(places) => places.memory(),
        };
        self.0.memory() + self.0.iter().map(|(_, account)| of(account)).sum::<usize>()
    }
}

/// Runs `see` on each limit that a reservation charged, with its place in the set.
pub fn each_limit(main: MainThread, one: &Reservation<LimitsRef>, mut see: impl FnMut(usize, &Limit)) {
    let set = one.limits.get(main);
    let charged = LimitMask::iter(one.charged);
    for (at, limit) in charged.filter_map(|at| set.limits().get(at).map(|limit| (at, limit))) {
        see(at, limit);
    }
}

/// The limits of a set that a reservation charged, with their positions.
pub fn charged_of(limits: &[Limit], charged: LimitMask) -> impl Iterator<Item = (usize, &Limit)> {
    limits.iter().enumerate().filter(move |(at, _)| charged.contains(*at))
}

/// How long a reservation that charged these limits is remembered after its end at the
/// least, in microseconds: on a credit its units stay, so nothing else says how long.
pub fn remembered_us<'l>(mut charged: impl Iterator<Item = &'l Limit>) -> u64 {
    if charged.all(Limit::comes_back) { 0 } else { ON_CREDIT_US }
}

/// Whether a limit counts units, so that it matters whose they are.
pub const fn has_ledger(limit: &Limit) -> bool {
    !matches!(limit.rule(), Rule::Concurrent(_) | Rule::Unlimited)
}

/// How many places a reservation holds on the limit at `at` of its set.
fn places_of(one: &Reservation<LimitsRef>, at: usize, limit: &Limit) -> u64 {
    match limit.rule() {
        Rule::Concurrent(_) => one.taken(at, limit.charge()),
        _ => 0,
    }
}
