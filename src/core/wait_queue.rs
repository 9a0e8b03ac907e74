//! Queues of waiters: who is next on a key, and when to look at its queue.
//!
//! There is one queue for each key, first come first served. A queue is looked at when the units
//! for its head should be free, and at once after anything that may have moved it. Nothing here
//! knows what a waiter asks for or how it is answered.

use crate::core::time::Micros;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

/// The number of a waiter. A later waiter has a larger one.
pub type WaiterId = u64;

#[derive(Debug)]
struct WaitQueue<W, F> {
    waiters: BTreeMap<WaiterId, W>,
    /// The time to look at it; `None` while only a change can move it.
    due: Option<Micros>,
    forecast: Option<F>,
}

/// All queues. `K` names the key of a queue (database and name), `W` is a waiter, and `F` is a
/// forecast for a queue, which holds until the queue changes.
#[derive(Debug)]
pub struct WaitQueues<K, W, F> {
    queues: HashMap<K, WaitQueue<W, F>>,
    keys: HashMap<WaiterId, K>,
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

    /// Adds a waiter at the end of a queue. If it is the first of a new queue, that is looked at
    /// when `due`.
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
    pub fn join(&mut self, key: &K, waiter: W, due: Option<Micros>) -> WaiterId {
        self.last += 1;
        let id = self.last;
        let queue = self.queues.entry(key.clone()).or_insert_with(|| WaitQueue {
            waiters: BTreeMap::new(),
            due: None,
            forecast: None,
        });
        let first = queue.waiters.is_empty();
        queue.waiters.insert(id, waiter);
        let length = queue.waiters.len();
        self.keys.insert(id, key.clone());
        self.length_changed(key, length - 1, length);
        if first {
            self.look_at(key, due);
        }
        id
    }

    /// Removes a waiter from its queue. If it was the head, the queue is looked at for the next
    /// one.
    pub fn leave(&mut self, id: WaiterId) -> Option<(K, W)> {
        let key = self.keys.remove(&id)?;
        let queue = self.queues.get_mut(&key)?;
        let head = queue.waiters.first_key_value().is_some_and(|(first, _)| *first == id);
        let waiter = queue.waiters.remove(&id)?;
        queue.forecast = None;
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

    /// The head of the queue.
    pub fn head(&self, key: &K) -> Option<(WaiterId, &W)> {
        let (id, waiter) = self.queues.get(key)?.waiters.first_key_value()?;
        Some((*id, waiter))
    }

    /// The waiters of a queue after this number, in order. 0 gives all.
    pub fn after(&self, key: &K, id: WaiterId) -> impl Iterator<Item = (WaiterId, &W)> {
        let queue = self.queues.get(key);
        queue.into_iter().flat_map(move |queue| {
            queue.waiters.range(id.saturating_add(1)..).map(|(id, waiter)| (*id, waiter))
        })
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
        queue.forecast = None;
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

    /// The forecast for a queue, if nothing changed since it was made.
    pub fn forecast(&mut self, key: &K) -> Option<&mut Option<F>> {
        self.queues.get_mut(key).map(|queue| &mut queue.forecast)
    }

    /// The heads of all queues.
    pub fn heads(&self) -> impl Iterator<Item = &W> {
        self.queues.values().filter_map(|queue| queue.waiters.first_key_value().map(|(_, waiter)| waiter))
    }
}
