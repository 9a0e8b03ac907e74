//! Limits for every request of a tower service (axum, hyper, tonic). The headers of each response tell
//! how the caller stands. A request that is denied is answered by 429 with `Retry-After`.
//!
//! ```no_run
//! use floodgate_redis::{FailOpen, Limiter, Server, tower::RateLimitLayer};
//! use http::{Request, Response, StatusCode};
//!
//! # fn example() -> redis::RedisResult<()> {
//! let limiter = Limiter::new(&Server::open("redis://localhost:6379")?, FailOpen);
//! let user = |request: &Request<String>| match request.headers().get("x-user") {
//!     Some(name) => String::from_utf8_lossy(name.as_bytes()).into_owned(),
//!     None => "nobody".into(),
//! };
//! let layer = RateLimitLayer::new(&limiter, "10/s,1000/h", user)
//!     .name("search") // keys are search:USER
//!     .refuse(|_refusal| {
//!         let mut response = Response::new("come back later".to_owned());
//!         *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
//!         response
//!     });
//! # Ok(())
//! # }
//! ```

use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use crate::decision::Decision;
use crate::error::Error;
use crate::limiter::{Headers, Limiter};

/// Returns the name of a caller with this address. Of an IPv6 address it is the network of `bits` bits,
/// because whoever has one address of a network has all of them. A customer has at least a network of
/// 64 bits.
pub fn network(address: IpAddr, bits: u32) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let bits = bits.min(128);
            let others = u128::MAX.checked_shr(bits).unwrap_or(0);
            format!("{}/{bits}", Ipv6Addr::from_bits(address.to_bits() & !others))
        }
    }
}

/// The reason why a request does not reach the service.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// The limits deny the request.
    Denied(Decision),
    /// Redis refuses the command: the limits are malformed, the credentials are wrong, or there is no
    /// Floodgate. A line is logged.
    Undecided(Error),
}

/// Answers requests that are refused. The layer adds the headers `RateLimit` and `Retry-After`.
pub trait Refuse<R> {
    /// Returns the response to a refused request.
    fn response(&self, refusal: &Refusal) -> Response<R>;
}

impl<R, F: Fn(&Refusal) -> Response<R>> Refuse<R> for F {
    fn response(&self, refusal: &Refusal) -> Response<R> {
        self(refusal)
    }
}

/// Answers by a line of text: with status 429 if the request is denied, and with 500 if it cannot be
/// decided.
#[derive(Clone, Copy, Debug)]
pub struct Plainly;

impl<R: From<&'static str>> Refuse<R> for Plainly {
    fn response(&self, refusal: &Refusal) -> Response<R> {
        let (status, text) = match refusal {
            Refusal::Denied(_) => (StatusCode::TOO_MANY_REQUESTS, "too many requests\n"),
            Refusal::Undecided(_) => (StatusCode::INTERNAL_SERVER_ERROR, "limits cannot be checked\n"),
        };
        let mut response = Response::new(R::from(text));
        *response.status_mut() = status;
        response
    }
}

/// A layer that limits every request of a service.
#[derive(Clone)]
pub struct RateLimitLayer<C, D = Plainly> {
    limiter: Limiter,
    limits: Arc<str>,
    name: Arc<str>,
    caller: C,
    refuse: D,
}

impl<C> RateLimitLayer<C> {
    /// Makes a layer with these limits for each caller. `caller` names the caller of a request. If
    /// callers sign in, take their identity: a header that anybody can invent is none.
    pub fn new<B>(limiter: &Limiter, limits: &str, caller: C) -> Self
    where
        C: Fn(&Request<B>) -> String,
    {
        let (limiter, limits) = (limiter.clone(), limits.into());
        Self { limiter, limits, name: "api".into(), caller, refuse: Plainly }
    }
}

impl<C, D> RateLimitLayer<C, D> {
    /// Sets the name that keeps several layers apart (`api`). Keys are NAME:CALLER.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// Sets another answer to refused requests than [`Plainly`].
    pub fn refuse<R, F: Fn(&Refusal) -> Response<R>>(self, refuse: F) -> RateLimitLayer<C, F> {
        let Self { limiter, limits, name, caller, .. } = self;
        RateLimitLayer { limiter, limits, name, caller, refuse }
    }
}

impl<S, C: Clone, D: Clone> Layer<S> for RateLimitLayer<C, D> {
    type Service = RateLimit<S, C, D>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit { inner, layer: self.clone() }
    }
}

/// A service whose requests are limited. [`RateLimitLayer`] makes it of yours.
#[derive(Clone)]
pub struct RateLimit<S, C, D = Plainly> {
    inner: S,
    layer: RateLimitLayer<C, D>,
}

impl<S, C, D, B, R> Service<Request<B>> for RateLimit<S, C, D>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    C: Fn(&Request<B>) -> String,
    D: Refuse<R> + Clone + Send + 'static,
    B: Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The clone has not been asked whether it is ready; the original has.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let RateLimitLayer { limiter, limits, name, caller, refuse } = &self.layer;
        let key = format!("{name}:{}", caller(&request));
        let (limiter, limits, refuse) = (limiter.clone(), Arc::clone(limits), refuse.clone());
        Box::pin(async move {
            let (headers, refusal) = match limiter.acquire(&key, &limits).with_headers().await {
                Ok((decision, headers)) if decision.is_granted() => (headers, None),
                Ok((decision, headers)) => (headers, Some(Refusal::Denied(decision))),
                Err(error) => {
                    log::error!("the limits of a request cannot be checked: {error}");
                    (Headers::new(), Some(Refusal::Undecided(error)))
                }
            };
            let mut response = match refusal {
                Some(refusal) => refuse.response(&refusal),
                None => inner.call(request).await?,
            };
            tell(response.headers_mut(), headers);
            Ok(response)
        })
    }
}

/// Adds headers. Those that the route has set for limits of its own stay.
fn tell(map: &mut HeaderMap, headers: Headers) {
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            map.entry(name).or_insert(value);
        }
    }
}
