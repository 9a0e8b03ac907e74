//! A breaker round a call, and units that are settled when the work is done:
//!
//! ```text
//! REDIS_URL=redis://localhost:6379 cargo run --example calls
//! ```

use std::time::Duration;

use floodgate_redis::{Breaker, FailOpen, Limiter, Server};
use tokio::time::{sleep, timeout};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("REDIS_URL").unwrap_or("redis://localhost:6379".into());
    let server = Server::open(url)?;
    server.check().await?; // wrong credentials or no Floodgate: it does not start

    let payments = Breaker::new(&server, "payments", "50%/60s:open=30s");
    payments.call(timeout(Duration::from_secs(2), sleep(Duration::from_millis(10)))).await?;

    let limiter = Limiter::new(&server, FailOpen);
    let limits = [("llm:acme", "100000/m"), ("llm:acme:joe", "20000/m,concurrent:5")];
    let mut tokens = limiter.reserve(&limits).estimate(1500).await?;
    tokens.spend(900); // what it cost
    tokens.commit().await; // the rest goes back
    println!("{} left", limiter.acquire("llm:acme:joe", "20000/m").await?.remaining);
    Ok(())
}
