//! Waiting lines: who is next on a key, and when to look.
//!
//! One line a key, first come first served. A line is looked at when its head's
//! units should be free, or at once after anything that may have moved it.
//! Nothing here knows what a waiter wants or how it is answered.

use crate::core::time::Micros;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

/// The number of a waiter: a later one is larger.
pub type WaiterId = u64;

#[derive(Debug)]
struct Line<W, F> {
    waiters: BTreeMap<WaiterId, W>,
    /// When to look; `None` while there is nothing to wait for but a change.
    due: Option<Micros>,
    forecast: Option<F>,
}

/// Every line. `P` is the place of a line (a key of a database), `W` a waiter,
/// `F` what was worked out about a line and holds until it changes.
#[derive(Debug)]
pub struct WaitQueues<P, W, F> {
    by_place: HashMap<P, Line<W, F>>,
    places: HashMap<WaiterId, P>,
    due: BTreeSet<(Micros, P)>,
    /// Every line by its length.
    lengths: BTreeSet<(usize, P)>,
    last: WaiterId,
    /// The latest time that [`WaitQueues::time_is`] was told.
    seen: Micros,
}

impl<P, W, F> Default for WaitQueues<P, W, F> {
    fn default() -> Self {
        Self {
            by_place: HashMap::new(),
            places: HashMap::new(),
            due: BTreeSet::new(),
            lengths: BTreeSet::new(),
            last: 0,
            seen: Micros::default(),
        }
    }
}

/// A moment that has come already: look at once.
pub const AT_ONCE: Micros = Micros(0);

impl<P: Clone + Eq + Ord + Hash, W, F> WaitQueues<P, W, F> {
    /// How many wait, in all lines.
    pub fn waiting(&self) -> usize {
        self.places.len()
    }

    /// How many wait in this line.
    pub fn length(&self, place: &P) -> usize {
        self.by_place.get(place).map_or(0, |line| line.waiters.len())
    }

    /// The longest line, and how many wait in it. O(log n).
    pub fn longest(&self) -> Option<(&P, usize)> {
        self.lengths.last().map(|(length, place)| (place, *length))
    }

    /// The number that the next waiter will get.
    pub const fn next_ticket(&self) -> WaiterId {
        self.last + 1
    }

    /// Stands at the end of a line. When it is the first of a new line, that is
    /// looked at when `due`.
    ///
    /// ```
    /// use floodgate::core::time::Micros;
    /// use floodgate::core::wait_queue::WaitQueues;
    ///
    /// let mut queues: WaitQueues<&str, &str, ()> = WaitQueues::default();
    /// let ann = queues.join(&"key", "Ann", Some(Micros(5)));
    /// queues.join(&"key", "Ben", None);
    /// assert_eq!(queues.head(&"key"), Some((ann, &"Ann")));
    /// queues.leave(ann);
    /// assert_eq!(queues.head(&"key").map(|(_, waiter)| *waiter), Some("Ben"));
    /// ```
    pub fn join(&mut self, place: &P, waiter: W, due: Option<Micros>) -> WaiterId {
        self.last += 1;
        let ticket = self.last;
        let line = self.by_place.entry(place.clone()).or_insert_with(|| Line {
            waiters: BTreeMap::new(),
            due: None,
            forecast: None,
        });
        let first = line.waiters.is_empty();
        line.waiters.insert(ticket, waiter);
        let length = line.waiters.len();
        self.places.insert(ticket, place.clone());
        self.length_changed(place, length - 1, length);
        if first {
            self.look_at(place, due);
        }
        ticket
    }

    /// Goes out of its line, which may be the head's turn of the next.
    pub fn leave(&mut self, ticket: WaiterId) -> Option<(P, W)> {
        let place = self.places.remove(&ticket)?;
        let line = self.by_place.get_mut(&place)?;
        let head = line.waiters.first_key_value().is_some_and(|(first, _)| *first == ticket);
        let waiter = line.waiters.remove(&ticket)?;
        line.forecast = None;
        let length = line.waiters.len();
        self.length_changed(&place, length + 1, length);
        if length == 0 {
            self.look_at(&place, None);
            self.by_place.remove(&place);
        } else if head {
            self.look_at(&place, Some(AT_ONCE));
        }
        Some((place, waiter))
    }

    fn length_changed(&mut self, place: &P, before: usize, now: usize) {
        self.lengths.remove(&(before, place.clone()));
        if now > 0 {
            self.lengths.insert((now, place.clone()));
        }
    }

    /// The first in line.
    pub fn head(&self, place: &P) -> Option<(WaiterId, &W)> {
        let (ticket, waiter) = self.by_place.get(place)?.waiters.first_key_value()?;
        Some((*ticket, waiter))
    }

    /// Those in line after this ticket (0 for all), in order.
    pub fn after(&self, place: &P, ticket: WaiterId) -> impl Iterator<Item = (WaiterId, &W)> {
        let line = self.by_place.get(place);
        line.into_iter().flat_map(move |line| {
            line.waiters.range(ticket.saturating_add(1)..).map(|(ticket, waiter)| (*ticket, waiter))
        })
    }

    /// Looks at a line at another time than was planned.
    pub fn look_at(&mut self, place: &P, due: Option<Micros>) {
        let Some(line) = self.by_place.get_mut(place) else { return };
        if let Some(old) = line.due.take() {
            self.due.remove(&(old, place.clone()));
        }
        line.due = due;
        if let Some(due) = due {
            self.due.insert((due, place.clone()));
        }
    }

    /// Something happened to the place: look at once. False when nobody waits
    /// there.
    pub fn touch(&mut self, place: &P) -> bool {
        let Some(line) = self.by_place.get_mut(place) else { return false };
        line.forecast = None;
        self.look_at(place, Some(AT_ONCE));
        true
    }

    /// As [`WaitQueues::touch`] for every place that `affects`.
    pub fn touch_all(&mut self, affects: impl Fn(&P) -> bool) {
        let places: Vec<P> = self.by_place.keys().filter(|place| affects(place)).cloned().collect();
        for place in places {
            self.touch(&place);
        }
    }

    /// Tells the time. Where the clock has stepped back, what was planned by it
    /// says nothing any more: every line is looked at once.
    pub fn time_is(&mut self, now: Micros) {
        if now < self.seen {
            self.touch_all(|_| true);
        }
        self.seen = now;
    }

    /// When the next line is to be looked at.
    pub fn next_due(&self) -> Option<Micros> {
        self.due.first().map(|(due, _)| *due)
    }

    /// A line that is to be looked at by `now`; it is then no longer planned.
    pub fn take_due(&mut self, now: Micros) -> Option<P> {
        let (due, place) = self.due.first().cloned()?;
        if due > now {
            return None;
        }
        self.look_at(&place, None);
        Some(place)
    }

    /// What was worked out about a line since it changed last.
    pub fn forecast(&mut self, place: &P) -> Option<&mut Option<F>> {
        self.by_place.get_mut(place).map(|line| &mut line.forecast)
    }

    /// The heads of all lines.
    pub fn heads(&self) -> impl Iterator<Item = &W> {
        self.by_place.values().filter_map(|line| line.waiters.first_key_value().map(|(_, waiter)| waiter))
    }
}
