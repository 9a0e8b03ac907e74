//! Queues of waiters: who is next on a key, and when to look at its queue.
//!
//! There is one queue for each key. Critical waiters are served before the others; within each class
//! it is first come first served. A queue is looked at when the units for its head should be free,
//! and at once after anything that may have moved it. Nothing here knows what a waiter asks for or
//! how it is answered.

use crate::core::time::Micros;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::ops::Bound;

/// The number of a waiter. A later waiter has a larger one.
pub type WaiterId = u64;

/// The class of a waiter. Those of an earlier class are served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaiterClass {
    /// The waiter's request is marked CRITICAL.
    Critical,
    /// Any other.
    Ordinary,
}

impl WaiterClass {
    /// The class of those whose request is marked CRITICAL, or is not.
    pub const fn of(critical: bool) -> Self {
        if critical { Self::Critical } else { Self::Ordinary }
    }
}

/// The place of a waiter in its queue. A smaller one is served earlier.
pub type QueuePlace = (WaiterClass, WaiterId);

#[derive(Debug)]
struct WaitQueue<W, F> {
    waiters: BTreeMap<QueuePlace, W>,
    /// The time to look at it; `None` while only a change can move it.
    due: Option<Micros>,
    /// The forecast for the critical waiters.
    critical: Option<F>,
    /// The forecast for all waiters.
    all: Option<F>,
}

impl<W, F> WaitQueue<W, F> {
    fn forget_forecasts(&mut self) {
        (self.critical, self.all) = (None, None);
    }

    /// The first waiter of each class.
    fn fronts(&self) -> impl Iterator<Item = &W> {
        let front = |class| self.waiters.range((class, 0)..=(class, WaiterId::MAX)).next();
        [WaiterClass::Critical, WaiterClass::Ordinary].into_iter().filter_map(front).map(|(_, waiter)| waiter)
    }
}

/// All queues. `K` names the key of a queue (database and name), `W` is a waiter, and `F` is a
/// forecast for a queue, which holds until the queue changes.
#[derive(Debug)]
pub struct WaitQueues<K, W, F> {
    queues: HashMap<K, WaitQueue<W, F>>,
    keys: HashMap<WaiterId, (K, WaiterClass)>,
    due: BTreeSet<(Micros, K)>,
    /// The length of every queue.
    lengths: BTreeSet<(usize, K)>,
    last: WaiterId,
    /// The latest time that [`WaitQueues::time_is`] was given.
    seen: Micros,
}

impl<K, W, F> Default for WaitQueues<K, W, F> {
    fn default() -> Self {
        Self {
            queues: HashMap::new(),
            keys: HashMap::new(),
            due: BTreeSet::new(),
            lengths: BTreeSet::new(),
            last: 0,
            seen: Micros::default(),
        }
    }
}

/// A moment that has already come, for a look at once.
pub const AT_ONCE: Micros = Micros(0);

impl<K: Clone + Eq + Ord + Hash, W, F> WaitQueues<K, W, F> {
    /// The number of waiters in all queues.
    pub fn waiting(&self) -> usize {
        self.keys.len()
    }

    /// The number of waiters in this queue.
    pub fn length(&self, key: &K) -> usize {
        self.queues.get(key).map_or(0, |queue| queue.waiters.len())
    }

    /// The longest queue, and the number of its waiters. Takes O(log n).
    pub fn longest(&self) -> Option<(&K, usize)> {
        self.lengths.last().map(|(length, key)| (key, *length))
    }

    /// The number that the next waiter gets.
    pub const fn next_id(&self) -> WaiterId {
        self.last + 1
    }

    /// Adds a waiter at the end of its class in a queue. If it is the head now, the queue is looked at
    /// when `due`.
    ///
    /// ```
    /// use floodgate::core::time::Micros;
    /// use floodgate::core::wait_queue::{WaitQueues, WaiterClass};
    ///
    /// let mut queues: WaitQueues<&str, &str, ()> = WaitQueues::default();
    /// let ann = queues.join(&"key", "Ann", WaiterClass::Ordinary, Some(Micros(5)));
    /// queues.join(&"key", "Ben", WaiterClass::Ordinary, None);
    /// assert_eq!(queues.head(&"key"), Some((ann, &"Ann")));
    /// let eve = queues.join(&"key", "Eve", WaiterClass::Critical, Some(Micros(9)));
    /// assert_eq!(queues.head(&"key"), Some((eve, &"Eve")));
    /// queues.leave(ann);
    /// queues.leave(eve);
    /// assert_eq!(queues.head(&"key").map(|(_, waiter)| *waiter), Some("Ben"));
    /// ```
    pub fn join(&mut self, key: &K, waiter: W, class: WaiterClass, due: Option<Micros>) -> WaiterId {
        self.last += 1;
        let id = self.last;
        let queue = self.queues.entry(key.clone()).or_insert_with(|| WaitQueue {
            waiters: BTreeMap::new(),
            due: None,
            critical: None,
            all: None,
        });
        queue.waiters.insert((class, id), waiter);
        if class == WaiterClass::Critical {
            queue.all = None;
        }
        let length = queue.waiters.len();
        let is_head = queue.waiters.first_key_value().is_some_and(|(place, _)| *place == (class, id));
        self.keys.insert(id, (key.clone(), class));
        self.length_changed(key, length - 1, length);
        if is_head {
            self.look_at(key, due);
        }
        id
    }

    /// Removes a waiter from its queue. If it was the head, the queue is looked at for the next
    /// one.
    pub fn leave(&mut self, id: WaiterId) -> Option<(K, W)> {
        let (key, class) = self.keys.remove(&id)?;
        let queue = self.queues.get_mut(&key)?;
        let head = queue.waiters.first_key_value().is_some_and(|(first, _)| *first == (class, id));
        let waiter = queue.waiters.remove(&(class, id))?;
        queue.forget_forecasts();
        let length = queue.waiters.len();
        self.length_changed(&key, length + 1, length);
        if length == 0 {
            self.look_at(&key, None);
            self.queues.remove(&key);
        } else if head {
            self.look_at(&key, Some(AT_ONCE));
        }
        Some((key, waiter))
    }

    fn length_changed(&mut self, key: &K, before: usize, now: usize) {
        self.lengths.remove(&(before, key.clone()));
        if now > 0 {
            self.lengths.insert((now, key.clone()));
        }
    }

    /// The waiter of this number.
    pub fn waiter(&self, id: WaiterId) -> Option<&W> {
        let (key, class) = self.keys.get(&id)?;
        self.queues.get(key)?.waiters.get(&(*class, id))
    }

    /// The head of the queue.
    pub fn head(&self, key: &K) -> Option<(WaiterId, &W)> {
        let ((_, id), waiter) = self.queues.get(key)?.waiters.first_key_value()?;
        Some((*id, waiter))
    }

    /// The waiters that are served before a newcomer of this class, in order: those behind the place
    /// `after`, or all.
    pub fn ahead_of(
        &self,
        key: &K,
        class: WaiterClass,
        after: Option<QueuePlace>,
    ) -> impl Iterator<Item = (QueuePlace, &W)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let places = (from, Bound::Included((class, WaiterId::MAX)));
        let queue = self.queues.get(key);
        queue
            .into_iter()
            .flat_map(move |queue| queue.waiters.range(places).map(|(place, waiter)| (*place, waiter)))
    }

    /// Plans to look at a queue at `due` in place of the time that was planned.
    pub fn look_at(&mut self, key: &K, due: Option<Micros>) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        if let Some(old) = queue.due.take() {
            self.due.remove(&(old, key.clone()));
        }
        queue.due = due;
        if let Some(due) = due {
            self.due.insert((due, key.clone()));
        }
    }

    /// Looks at a queue at once, because its key changed. Returns false if nobody waits there.
    pub fn touch(&mut self, key: &K) -> bool {
        let Some(queue) = self.queues.get_mut(key) else { return false };
        queue.forget_forecasts();
        self.look_at(key, Some(AT_ONCE));
        true
    }

    /// [`WaitQueues::touch`] for every key for which `affects` returns true.
    pub fn touch_all(&mut self, affects: impl Fn(&K) -> bool) {
        let keys: Vec<K> = self.queues.keys().filter(|key| affects(key)).cloned().collect();
        for key in keys {
            self.touch(&key);
        }
    }

    /// Sets the time. If the clock has stepped back, the planned times mean nothing any more, so
    /// every queue is looked at once.
    pub fn time_is(&mut self, now: Micros) {
        if now < self.seen {
            self.touch_all(|_| true);
        }
        self.seen = now;
    }

    /// The time at which the next queue is to be looked at.
    pub fn next_due(&self) -> Option<Micros> {
        self.due.first().map(|(due, _)| *due)
    }

    /// A queue that is to be looked at by `now`. Its plan is removed.
    pub fn take_due(&mut self, now: Micros) -> Option<K> {
        let (due, key) = self.due.first().cloned()?;
        if due > now {
            return None;
        }
        self.look_at(&key, None);
        Some(key)
    }

    /// The forecast for the waiters ahead of a newcomer of this class, if nothing changed since it was
    /// made.
    pub fn forecast(&mut self, key: &K, class: WaiterClass) -> Option<&mut Option<F>> {
        self.queues.get_mut(key).map(|queue| match class {
            WaiterClass::Critical => &mut queue.critical,
            WaiterClass::Ordinary => &mut queue.all,
        })
    }

    /// The first waiter of each class of a queue. One of them has waited longest.
    pub fn fronts(&self, key: &K) -> impl Iterator<Item = &W> {
        self.queues.get(key).into_iter().flat_map(WaitQueue::fronts)
    }

    /// The same as [`WaitQueues::fronts`], of all queues.
    pub fn all_fronts(&self) -> impl Iterator<Item = &W> {
        self.queues.values().flat_map(WaitQueue::fronts)
    }
}
