//! Ports for servers, none given twice.

use std::{
    net::TcpListener,
    sync::{
        LazyLock,
        atomic::{AtomicU16, Ordering},
    },
};

/// A port that nobody listens on, and below the range that the kernel hands out
/// to clients; free together with its cluster bus port 10 000 above.
pub fn free_port() -> u16 {
    const FIRST: u16 = 11_000;
    const COUNT: u16 = 10_000;
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| {
        let seed = std::process::id().wrapping_mul(7919) % u32::from(COUNT);
        AtomicU16::new(u16::try_from(seed).expect("below COUNT"))
    });
    for _ in 0..COUNT {
        let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && free(port + 10_000) {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}
