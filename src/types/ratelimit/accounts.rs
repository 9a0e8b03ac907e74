//! The accounts of a key: the units or places that its reservations have on each limit.
//!
//! Accounts are found by the identity of a limit, as usage is. A limit has an account only while
//! some reservation has units or places on it, so a key without reservations pays nothing. Places
//! have an account only if the key has many reservations. Those of a few are counted when somebody
//! asks ([`places_of_few`]).

use crate::core::limits::{HeldPlaces, Limit, LimitMask, Rule};
use crate::core::reservations::{
    Leaving, Ledger, LedgerPosition, Places, PlacesAsked, Reservation, Stage, Stake, Summed, Weighted,
};
use crate::server::main_thread::MainThread;
use crate::types::intern::LimitsRef;

/// The units or places that reservations have on one limit.
#[derive(Clone, Debug)]
enum Holding {
    Units(Ledger),
    Places(Places),
}

#[derive(Clone, Debug)]
struct Account {
    /// A set that contains the limit. Together with `at` it tells which limit this is.
    limits: LimitsRef,
    at: u8,
    holding: Holding,
}

/// The hash of a limit's identity, and a number among the limits with that hash. The numbers run
/// from 0 without a gap.
pub type AccountId = (u32, u32);

/// The accounts of a key.
#[derive(Clone, Debug, Default)]
pub struct Accounts(Summed<AccountId, Account>);

impl Weighted for Account {}

impl Account {
    /// True if this is the account of `limit`. A name may belong to a limit of places in one set
    /// and to a limit of units in another.
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
    fn find(&self, main: MainThread, limit: &Limit) -> Option<(AccountId, &Account)> {
        let hash = limit.identity_hash();
        for number in 0.. {
            let (place, account) = self.0.get(&(hash, number))?;
            if account.is(main, limit) {
                return Some((*place, account));
            }
        }
        None
    }

    /// Runs `change` on the account of a limit, if it has one. An account that the change emptied
    /// is closed.
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

    /// Removes an account. The last account with the same hash takes its number.
    fn close(&mut self, (hash, number): AccountId) {
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

    /// The account of the limit at `at` of a set. It is opened if it does not exist.
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
            let holding = if limit.rule().holds_places() {
                Holding::Places(Places::default())
            } else {
                Holding::Units(Ledger::default())
            };
            let at = u8::try_from(at).ok()?;
            self.0.insert((hash, number), Account { limits: limits.clone(), at, holding });
            (hash, number)
        };
        self.0.get_mut(&place)
    }

    /// Records that units are granted without a reservation.
    pub fn grant(&mut self, main: MainThread, limit: &Limit, units: u64) {
        if units > 0 {
            self.on_ledger(main, limit, |ledger| ledger.grant(units));
        }
    }

    /// Changes the ledger of a limit, if it has one.
    pub fn on_ledger(&mut self, main: MainThread, limit: &Limit, change: impl FnOnce(&mut Ledger)) {
        self.change(main, limit, |account| account.ledger().map(change));
    }

    /// The ledger of the limit at `at` of a set. It is opened if it does not exist, so something must
    /// be put into it.
    pub fn open_ledger(
        &mut self,
        main: MainThread,
        limits: &LimitsRef,
        (at, limit): (usize, &Limit),
    ) -> Option<&mut Ledger> {
        self.open(main, limits, at, limit).and_then(Account::ledger)
    }

    /// The units of a reservation that are still in use on a limit, and the units that lie above
    /// them.
    pub fn position(&self, main: MainThread, limit: &Limit, serial: u64) -> LedgerPosition {
        match self.find(main, limit).map(|(_, account)| &account.holding) {
            Some(Holding::Units(ledger)) => ledger.position(serial),
            _ => LedgerPosition::default(),
        }
    }

    /// The units of a reservation's cost that refunds took. Where its limits lost different numbers
    /// of them, it is the largest. A limit that counts calls does not tell.
    pub fn refunded(&self, main: MainThread, one: &Reservation<LimitsRef>) -> u64 {
        let mut refunded = 0;
        each_limit(main, one, |at, limit| {
            if has_ledger(limit) && !limit.per_call() {
                let left = self.position(main, limit, one.serial).own;
                refunded = refunded.max(one.taken(at, limit.charge()).saturating_sub(left));
            }
        });
        refunded
    }

    /// Records that a reservation is forgotten. From then on its units belong to no reservation.
    pub fn forget(&mut self, main: MainThread, one: &Reservation<LimitsRef>) {
        each_limit(main, one, |_, limit| {
            if has_ledger(limit) {
                self.on_ledger(main, limit, |ledger| ledger.settle(one.serial, 0));
            }
        });
    }

    /// Records that an open reservation holds its places until its end.
    pub fn hold(&mut self, main: MainThread, one: &Reservation<LimitsRef>) {
        each_held(main, one, |at, limit, places| {
            if let Some(held) = self.open(main, &one.limits, at, limit).and_then(Account::places) {
                held.hold(one.end, places);
            }
        });
    }

    /// Records that an open reservation frees its places.
    pub fn free(&mut self, main: MainThread, one: &Reservation<LimitsRef>) {
        each_held(main, one, |_, limit, places| {
            self.change(main, limit, |account| account.places().map(|held| held.free(one.end, places)));
        });
    }

    /// Closes all accounts of places, so that the places can be counted anew.
    pub fn forget_places(&mut self) {
        let places = |(place, account): &(AccountId, Account)| {
            matches!(account.holding, Holding::Places(_)).then_some(*place)
        };
        // From the last to the first, because closing an account can only give a later one another
        // number.
        let all: Vec<AccountId> = self.0.entries().filter_map(places).collect();
        all.into_iter().rev().for_each(|place| self.close(place));
    }

    /// The places held on a `concurrent` limit, for a request.
    pub fn held(&self, main: MainThread, limit: &Limit, asked: PlacesAsked) -> HeldPlaces {
        match self.find(main, limit).map(|(_, account)| &account.holding) {
            Some(Holding::Places(places)) => places.held(limit, asked),
            _ => Places::default().held(limit, asked),
        }
    }

    /// Returns what is stored of a reservation on a limit.
    pub fn stored(&self, main: MainThread, limit: &Limit, serial: u64) -> Option<StoredStake> {
        match self.find(main, limit)? {
            (account, Account { holding: Holding::Units(ledger), .. }) => {
                Some(StoredStake { stake: ledger.get(serial), account, tail: ledger.tail() })
            }
            _ => None,
        }
    }

    /// The bytes held outside this value itself.
    pub fn memory(&self) -> usize {
        let of = |account: &Account| match &account.holding {
            Holding::Units(ledger) => ledger.memory(),
            Holding::Places(places) => places.memory(),
        };
        self.0.memory() + self.0.entries().map(|(_, account)| of(account)).sum::<usize>()
    }
}

/// What is stored of a reservation on one limit.
#[derive(Clone, Copy, Debug)]
pub struct StoredStake {
    /// The stake of the reservation, if it has one.
    pub stake: Option<Stake>,
    /// The place of the limit's account.
    pub account: AccountId,
    /// The units without a reservation that were granted after those of all reservations.
    pub tail: u64,
}

/// Calls `see` for each limit that a reservation charged, with its position in the set.
pub fn each_limit(main: MainThread, one: &Reservation<LimitsRef>, mut see: impl FnMut(usize, &Limit)) {
    let set = one.limits.get(main);
    charged_of(set.limits(), one.charged).for_each(|(at, limit)| see(at, limit));
}

/// The limits of a set that a reservation charged, with their positions.
pub fn charged_of(limits: &[Limit], charged: LimitMask) -> impl Iterator<Item = (usize, &Limit)> {
    limits.iter().enumerate().filter(move |(at, _)| charged.contains(*at))
}

/// Returns how the units of a reservation leave the limits. `charged` are the limits of its set
/// that it charged.
pub fn leaving_of(limits: &[Limit], charged: LimitMask) -> Leaving {
    let by_themselves = charged_of(limits, charged).all(|(_, limit)| limit.comes_back());
    if by_themselves { Leaving::ByThemselves } else { Leaving::NotFromCredit }
}

/// Calls `see` for each limit on which an open reservation holds places, with its position in the
/// set and the number of places.
fn each_held(main: MainThread, one: &Reservation<LimitsRef>, mut see: impl FnMut(usize, &Limit, u64)) {
    if one.stage != Stage::Open {
        return;
    }
    each_limit(main, one, |at, limit| {
        if limit.rule().holds_places() {
            let places = one.taken(at, limit.charge());
            if places > 0 {
                see(at, limit, places);
            }
        }
    });
}

/// Counts the places that these reservations hold on a `concurrent` limit. Reservations that are so
/// few have no account of places.
pub fn places_of_few<'r>(
    main: MainThread,
    few: impl Iterator<Item = &'r Reservation<LimitsRef>>,
    limit: &Limit,
) -> Places {
    let mut held = Places::default();
    for one in few {
        each_held(main, one, |_, own, places| {
            if own.same_identity(limit) {
                held.hold(one.end, places);
            }
        });
    }
    held
}

/// True if the limit counts units. Its account is then a ledger, because it matters to which
/// reservation each unit belongs.
pub const fn has_ledger(limit: &Limit) -> bool {
    !limit.rule().holds_places() && !matches!(limit.rule(), Rule::Unlimited)
}
