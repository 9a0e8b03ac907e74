//! The first limited request:
//!
//! ```text
//! REDIS_URL=redis://localhost:6379 cargo run --example first
//! ```

use floodgate_redis::{Limiter, LocalBucket, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("REDIS_URL").unwrap_or("redis://localhost:6379".into());
    let limiter = Limiter::new(&Server::open(url)?, LocalBucket::new(5.0));
    let decision = limiter.acquire("user:42", "10/s,1000/h").await?;
    if decision.is_granted() {
        println!("{} left", decision.remaining);
    } else {
        println!("429, again in {} ms", decision.retry_after_ms);
    }
    Ok(())
}
