//! The first limited request: REDIS_URL=redis://localhost:6379 cargo run --bin first

fn main() -> redis::RedisResult<()> {
    let url = std::env::var("REDIS_URL").unwrap_or("redis://localhost:6379".into());
    let mut connection = redis::Client::open(url)?.get_connection()?;
    let [granted, _limit, remaining, retry_after_ms, _reset_after_ms, _index]: [i64; 6] =
        redis::cmd("RL.ACQUIRE").arg("user:42").arg("10/s,1000/h").query(&mut connection)?;
    if granted > 0 {
        println!("{remaining} left");
    } else {
        println!("again in {retry_after_ms} ms");
    }
    Ok(())
}
