//! Limits for every request of an application with axum:
//!
//! ```text
//! REDIS_URL=redis://localhost:6379 PORT=8000 cargo run --features axum --example hello
//! ```

use std::net::{Ipv4Addr, SocketAddr};

use axum::{Router, routing::get};
use floodgate_redis::axum::by_address;
use floodgate_redis::tower::RateLimitLayer;
use floodgate_redis::{Limiter, LocalBucket, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let variable = |name, default: &str| std::env::var(name).unwrap_or(default.into());
    let server = Server::open(variable("REDIS_URL", "redis://localhost:6379"))?;
    let limiter = Limiter::new(&server, LocalBucket::new(20.0));
    let app = Router::new().route("/hello", get(|| async { "world\n" })).layer(RateLimitLayer::new(
        &limiter,
        "2/m,1000/h",
        by_address,
    )); // each caller
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, variable("PORT", "8000").parse()?));
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
