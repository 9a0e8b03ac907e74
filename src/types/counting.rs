//! Whether what time does to values is this server's to count.

use std::sync::atomic::{AtomicBool, Ordering};

/// A dataset is being loaded: what ended in it ended before.
static LOADING: AtomicBool = AtomicBool::new(false);
/// This server is a replica: transitions of breakers are its master's to count.
static FOLLOWING: AtomicBool = AtomicBool::new(false);

/// A load has begun, or is over.
pub fn set_loading(loading: bool) {
    LOADING.store(loading, Ordering::Relaxed);
}

/// The server is a replica, or a master.
pub fn set_following(following: bool) {
    FOLLOWING.store(following, Ordering::Relaxed);
}

/// Whether the end of a reservation counts now.
pub(in crate::types) fn ends() -> bool {
    !LOADING.load(Ordering::Relaxed)
}

/// Whether a transition of a breaker counts now.
pub(in crate::types) fn transitions() -> bool {
    ends() && !FOLLOWING.load(Ordering::Relaxed)
}
