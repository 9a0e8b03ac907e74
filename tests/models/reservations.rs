//! Reservations on a sliding limit and on places, by a list of every grant and of every
//! reservation as it was given.
//!
//! It promises what is in use of each limit at any time, and what is known of each
//! reservation.

use super::grants::GrantLog;
use floodgate::core::reservations::Stage;

pub const PERIOD: u64 = 1_000_000;

/// The limits of a history.
pub struct ReservationBounds {
    /// The text of all three limits.
    pub limits: &'static str,
    /// The units of the sliding limit in each period.
    pub count: u64,
    /// The places of the limit that counts reservations.
    pub places: usize,
    /// The places of the limit that counts their cost.
    pub weight: u64,
}

/// Bounds of a key that holds a few reservations.
pub const NARROW: ReservationBounds = ReservationBounds {
    limits: "30/s,concurrent:4,concurrent:14:per=cost",
    count: 30,
    places: 4,
    weight: 14,
};
/// Bounds of a key that comes to hold many reservations, and a few again. Up to 64 units are exact
/// to the microsecond.
pub const WIDE: ReservationBounds = ReservationBounds {
    limits: "60/s,concurrent:15,concurrent:40:per=cost",
    count: 60,
    places: 15,
    weight: 40,
};

/// One that is not settled.
#[derive(Clone, Debug)]
pub struct StandingReservation {
    pub id: u8,
    pub cost: u64,
    pub granted: u64,
    pub end: u64,
}

pub struct ReservationsModel {
    bounds: &'static ReservationBounds,
    pub grants: GrantLog,
    pub status: Vec<StandingReservation>,
}

impl ReservationsModel {
    pub fn new(bounds: &'static ReservationBounds) -> Self {
        Self { bounds, grants: GrantLog::default(), status: Vec::new() }
    }

    pub fn used(&self, now: u64) -> u64 {
        self.grants.younger(now, PERIOD)
    }

    pub fn held(&self, now: u64) -> usize {
        self.status.iter().filter(|one| now < one.end).count()
    }

    /// What those held cost together.
    pub fn weight(&self, now: u64) -> u64 {
        self.status.iter().filter(|one| now < one.end).map(|one| one.cost).sum()
    }

    pub fn fits(&self, cost: u64, now: u64) -> bool {
        self.used(now) + cost <= self.bounds.count
            && self.held(now) < self.bounds.places
            && self.weight(now) + cost <= self.bounds.weight
    }

    pub fn open(&self, id: u8, now: u64) -> bool {
        self.status.iter().any(|one| one.id == id && now < one.end)
    }

    /// What is known of an id: open, or ended and still counted.
    pub fn stage(&self, id: u8, now: u64) -> Option<Stage> {
        let one = self.status.iter().find(|one| one.id == id)?;
        if now < one.end { Some(Stage::Open) } else { (now < one.granted + PERIOD).then_some(Stage::Ended) }
    }

    pub fn settle(&mut self, id: u8, actual: Option<u64>, now: u64) {
        let at = self.status.iter().position(|one| one.id == id).expect("it is known");
        let one = self.status.remove(at);
        let actual = actual.unwrap_or(0);
        if actual > one.cost {
            let most = (2 * self.bounds.count).saturating_sub(self.used(now));
            self.grants.take(now, (actual - one.cost).min(most));
        } else if now < one.granted + PERIOD {
            let back = one.cost - actual;
            assert_eq!(self.grants.give_back_of(one.granted, back), back, "what was reserved is there");
        }
    }
}
