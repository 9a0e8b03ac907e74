//! Limits for every request of a tower service (axum): each response says in its
//! headers how the caller stands, too many get 429 with Retry-After. Copy it
//! with floodgate.rs.
//!
//! ```text
//! Router::new().route(…).layer(RateLimitLayer::new(limiter, "10/s,1000/h", by_address))
//! ```

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use tower::{Layer, Service};

use crate::floodgate::Limiter;

/// Who asks, as the key of their limits.
pub type Caller = fn(&Request) -> String;

/// The caller's address, of IPv6 its /64, where the application is served with
/// `into_make_service_with_connect_info::<SocketAddr>()`. Behind a proxy that is the
/// proxy's: take what it says there, and from nobody else. Where callers sign in,
/// take who they are: a header that anybody can invent is no identity.
pub fn by_address(request: &Request) -> String {
    by_network::<64>(request)
}

/// The caller's address: of IPv6 the network of so many bits, for whoever has one
/// address there has all of them.
pub fn by_network<const BITS: u32>(request: &Request) -> String {
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>();
    address.map_or("unknown".into(), |ConnectInfo(address)| network(address.ip(), BITS))
}

/// The same for an address that comes from elsewhere.
pub fn network(address: IpAddr, bits: u32) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let others = u128::MAX.checked_shr(bits).unwrap_or(0);
            format!("{}/{bits}", Ipv6Addr::from_bits(address.to_bits() & !others))
        }
    }
}

#[derive(Clone)]
pub struct RateLimitLayer {
    limiter: Arc<Limiter>,
    limits: Arc<str>,
    caller: Caller,
}

impl RateLimitLayer {
    pub fn new(limiter: Arc<Limiter>, limits: &str, caller: Caller) -> Self {
        Self { limiter, limits: limits.into(), caller }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        RateLimit { inner, layer: self.clone() }
    }
}

#[derive(Clone)]
pub struct RateLimit<S> {
    inner: S,
    layer: RateLimitLayer,
}

impl<S> Service<Request> for RateLimit<S>
where
    S: Service<Request, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The clone has not been asked whether it is ready; the original has.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let RateLimitLayer { limiter, limits, caller } = self.layer.clone();
        let key = format!("api:{}", caller(&request));
        Box::pin(async move {
            let (decision, headers) = match limiter.acquire_with_headers(&key, &limits).await {
                Ok((decision, headers)) => (decision, header_map(headers)),
                Err(error) => {
                    return Ok((StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response());
                }
            };
            if decision.granted == 0 {
                return Ok((StatusCode::TOO_MANY_REQUESTS, headers, "too many requests\n").into_response());
            }
            let mut response = inner.call(request).await?;
            response.headers_mut().extend(headers);
            Ok(response)
        })
    }
}

fn header_map(headers: HashMap<String, String>) -> HeaderMap {
    let pairs = headers.into_iter();
    pairs
        .filter_map(|(name, value)| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
        })
        .collect()
}
