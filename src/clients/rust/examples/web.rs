//! A web service with axum that uses all of it:
//!
//! ```text
//! REDIS_URL=redis://localhost:6379 PORT=8000 cargo run --features axum --example web
//! ```

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header::RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use floodgate_redis::axum::by_address;
use floodgate_redis::tower::RateLimitLayer;
use floodgate_redis::{
    Breaker, CallError, Decision, Error, FailClosed, Limiter, LocalBucket, Options, Reservation,
    ReserveError, Server,
};
use futures_util::stream;
use tokio::time::{sleep, timeout};

struct App {
    limiter: Limiter,
    logins: Limiter,
    words: Limiter,
    payments: Breaker,
}

fn router(server: &Server) -> Router {
    let limiter = Limiter::new(server, LocalBucket::new(20.0));
    let app = App {
        limiter: limiter.clone(),
        logins: Limiter::new(server, FailClosed),
        // Its units are not requests.
        words: Limiter::new(server, LocalBucket::new(500.0).burst(5000.0)),
        payments: Breaker::new(server, "payments", "3:open=30s"),
    };
    Router::new()
        .route("/hello", get(|| async { "world\n" }))
        .route("/login/{user}", post(login))
        .route("/report", get(report))
        .route("/pay/{cents}", post(pay))
        .route("/ask/{length}", post(ask))
        .with_state(Arc::new(app))
        // Three limits at once, for each caller.
        .layer(RateLimitLayer::new(&limiter, "10/s,1000/h,10000/d", by_address))
}

/// A limit by key. While Redis is away nobody logs in.
async fn login(State(app): State<Arc<App>>, Path(user): Path<String>) -> Result<String, Problem> {
    let decision = app.logins.acquire(&format!("login:{user}"), "5/m").await?;
    granted(decision, StatusCode::TOO_MANY_REQUESTS)?;
    Ok(format!("hello {user}\n"))
}

/// Waiting: two at a time pass each second, the others stand in line.
async fn report(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    let decision = app.limiter.acquire("report", "2/s").wait(Duration::from_secs(5)).await?;
    granted(decision, StatusCode::SERVICE_UNAVAILABLE)?;
    Ok("ready\n")
}

/// A breaker round a call, with the call's own timeout inside.
async fn pay(State(app): State<Arc<App>>, Path(cents): Path<u32>) -> Result<String, Problem> {
    let call = async { timeout(Duration::from_secs(2), charge(cents)).await.unwrap_or(Err("too slow\n")) };
    Ok(format!("paid {}\n", app.payments.call(call).await?))
}

/// The tokens of a language model: an estimate is reserved, what was streamed is
/// charged, also when the caller hangs up half way.
async fn ask(State(app): State<Arc<App>>, Path(length): Path<u32>) -> Result<Body, Problem> {
    let limits = [("llm", "100000/m,concurrent:5")];
    let reservation = app.words.reserve(&limits).estimate(1500).ttl(Duration::from_secs(3)).await?;
    let words = stream::unfold((reservation, length), async |(mut reservation, left): (Reservation, u32)| {
        if left == 0 {
            reservation.commit().await;
            return None;
        }
        let word = model().await;
        reservation.spend(1);
        Some((Ok::<_, Infallible>(word), (reservation, left - 1)))
    });
    Ok(Body::from_stream(words))
}

/// What is said where something is denied or fails.
enum Problem {
    Later(StatusCode, Decision),
    CircuitOpen(Option<u64>),
    NoAnswer(&'static str),
    Server(Error),
}

fn granted(decision: Decision, otherwise: StatusCode) -> Result<(), Problem> {
    if decision.is_granted() { Ok(()) } else { Err(Problem::Later(otherwise, decision)) }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let retry = |seconds: u64| [(RETRY_AFTER, seconds.to_string())];
        match self {
            Self::Later(status, decision) => match decision.retry_after_s() {
                Some(seconds) => (status, retry(seconds), "too many\n").into_response(),
                None => (status, "too much\n").into_response(),
            },
            Self::CircuitOpen(after) => {
                let down = (StatusCode::SERVICE_UNAVAILABLE, "payments are down\n");
                match after {
                    Some(seconds) => (retry(seconds), down).into_response(),
                    // Forced open, with no end.
                    None => down.into_response(),
                }
            }
            Self::NoAnswer(text) => (StatusCode::BAD_GATEWAY, text).into_response(),
            Self::Server(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Server(error)
    }
}

impl From<CallError<&'static str>> for Problem {
    fn from(error: CallError<&'static str>) -> Self {
        match error {
            CallError::Open { .. } => Self::CircuitOpen(error.retry_after_s()),
            CallError::Failed(text) => Self::NoAnswer(text),
            CallError::Undecided(error) => Self::Server(error),
        }
    }
}

impl From<ReserveError> for Problem {
    fn from(error: ReserveError) -> Self {
        match error {
            ReserveError::Denied(decision) => Self::Later(StatusCode::TOO_MANY_REQUESTS, decision),
            ReserveError::Undecided(error) => Self::Server(error),
        }
    }
}

// What stands for the services of others.

#[allow(clippy::unused_async, reason = "a call to another service would wait")]
async fn charge(cents: u32) -> Result<u32, &'static str> {
    if cents == 13 { Err("no answer\n") } else { Ok(cents) }
}

async fn model() -> &'static str {
    sleep(Duration::from_millis(10)).await;
    "word "
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let variable = |name, default: &str| std::env::var(name).unwrap_or(default.into());
    let url = variable("REDIS_URL", "redis://localhost:6379");
    let patience = Duration::from_millis(variable("REDIS_PATIENCE_MS", "250").parse()?);
    let server = Server::with(url, Options { patience, ..Options::default() })?;
    server.check().await?; // wrong credentials or no Floodgate: it does not start
    let app = router(&server);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, variable("PORT", "8000").parse()?));
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
