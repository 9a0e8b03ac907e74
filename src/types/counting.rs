//! Whether this server counts what time alone does to values.

use std::sync::atomic::{AtomicBool, Ordering};

/// True while a dataset is being loaded. What ended in it ended before.
static LOADING: AtomicBool = AtomicBool::new(false);
/// True on a replica. Its master counts the transitions of breakers.
static FOLLOWING: AtomicBool = AtomicBool::new(false);

/// Notes that a load has begun or is over.
pub fn set_loading(loading: bool) {
    LOADING.store(loading, Ordering::Relaxed);
}

/// Notes whether the server is a replica.
pub fn set_following(following: bool) {
    FOLLOWING.store(following, Ordering::Relaxed);
}

/// True while a dataset is being loaded.
pub fn is_loading() -> bool {
    LOADING.load(Ordering::Relaxed)
}

/// True if the end of a reservation counts now.
pub(in crate::types) fn ends() -> bool {
    !is_loading()
}

/// True if a transition of a breaker counts now.
pub(in crate::types) fn transitions() -> bool {
    ends() && !FOLLOWING.load(Ordering::Relaxed)
}
