//! Waiting queues by lists of who stands where.
//!
//! It promises who stands in which order, and which queue is looked at next.

use floodgate::core::time::Micros;
use floodgate::core::wait_queue::WaiterId;
use std::collections::BTreeMap;

/// Who stands in each queue, and when it is to be looked at.
#[derive(Default)]
pub struct WaitQueueModel {
    pub queues: BTreeMap<u8, (Vec<WaiterId>, Option<Micros>)>,
    pub last: WaiterId,
    pub seen: u64,
}

impl WaitQueueModel {
    pub fn plan(&mut self, key: u8, due: Option<Micros>) {
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.1 = due;
        }
    }
}
