//! The caller of a request, as axum tells it, for [`RateLimitLayer`](crate::tower::RateLimitLayer).
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use floodgate_redis::{LocalBucket, Limiter, Server, axum::by_address, tower::RateLimitLayer};
//!
//! # fn example() -> redis::RedisResult<()> {
//! let limiter = Limiter::new(&Server::open("redis://localhost:6379")?, LocalBucket::new(20.0));
//! let app: Router = Router::new()
//!     .route("/", get(|| async { "hello" }))
//!     .layer(RateLimitLayer::new(&limiter, "10/s,1000/h", by_address));
//! # Ok(())
//! # }
//! ```

use std::net::SocketAddr;
use std::sync::Once;

use axum::extract::{ConnectInfo, Request};

use crate::tower::network;

/// The warning that addresses are unknown.
static IS_TOLD: Once = Once::new();

/// Returns the caller's address; of an IPv6 address its network of 64 bits. The application must be
/// served with `into_make_service_with_connect_info::<SocketAddr>()`. If it is served in another way,
/// all callers are one, `unknown`, and a line is logged once. Behind a proxy the address is that of the
/// proxy: name the caller there by what the proxy says, and trust nobody else.
pub fn by_address(request: &Request) -> String {
    by_network::<64>(request)
}

/// Returns the same as [`by_address`], but of an IPv6 address the network of `BITS` bits.
pub fn by_network<const BITS: u32>(request: &Request) -> String {
    if let Some(ConnectInfo(address)) = request.extensions().get::<ConnectInfo<SocketAddr>>() {
        return network(address.ip(), BITS);
    }
    IS_TOLD.call_once(|| {
        log::warn!(
            "the addresses of callers are unknown, and all share one limit: serve the application with \
             into_make_service_with_connect_info::<SocketAddr>()"
        );
    });
    "unknown".into()
}
