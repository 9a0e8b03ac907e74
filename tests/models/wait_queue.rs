//! Waiting queues by lists of who stands where.
//!
//! It promises who stands in which order, and which queue is looked at next.

use floodgate::core::time::Micros;
use floodgate::core::wait_queue::{QueuePlace, WaiterClass};
use std::collections::BTreeMap;

/// Who stands in each queue, and when it is to be looked at.
#[derive(Default)]
pub struct WaitQueueModel {
    pub queues: BTreeMap<u8, (Vec<QueuePlace>, Option<Micros>)>,
    pub last: u64,
    pub seen: u64,
}

impl WaitQueueModel {
    /// Somebody joins behind those of the same class. Who is the head now is looked at when `due`.
    pub fn join(&mut self, key: u8, class: WaiterClass, due: Option<Micros>) {
        self.last += 1;
        let (waiters, planned) = self.queues.entry(key).or_default();
        let others = waiters.iter().position(|(other, _)| *other > class);
        let at = others.unwrap_or(waiters.len());
        waiters.insert(at, (class, self.last));
        if at == 0 {
            *planned = due;
        }
    }

    pub fn plan(&mut self, key: u8, due: Option<Micros>) {
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.1 = due;
        }
    }
}
