//! The layer round a service that is no axum.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::ConnectInfo;
use floodgate_redis::axum::by_address;
use floodgate_redis::tower::{RateLimitLayer, Refusal, network};
use floodgate_redis::{FailOpen, Limiter};
use http::{Request, Response, StatusCode};
use tower_layer::Layer as _;
use tower_service::Service;

use crate::fixtures::{Machine, heard};

/// Says of its own how many requests are left for what it does.
#[derive(Clone)]
struct Echo;

impl Service<Request<String>> for Echo {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        ready(Ok(Response::builder()
            .header("X-RateLimit-Remaining", "mine")
            .body(request.into_body())
            .unwrap()))
    }
}

fn by_user(request: &Request<String>) -> String {
    String::from_utf8_lossy(request.headers()["x-user"].as_bytes()).into_owned()
}

async fn ask<S>(service: &mut S, user: &str) -> Response<String>
where
    S: Service<Request<String>, Response = Response<String>, Error = Infallible>,
{
    std::future::poll_fn(|context| service.poll_ready(context)).await.unwrap();
    let request = Request::builder().header("x-user", user).body("hello".to_owned()).unwrap();
    service.call(request).await.unwrap()
}

#[tokio::test]
async fn answers_and_keys_of_its_own() {
    let machine = Machine::start().await;
    let limiter = Limiter::new(&machine.server(), FailOpen);
    let mut plain = RateLimitLayer::new(&limiter, "1/h", by_user).layer(Echo);
    let first = ask(&mut plain, "ann").await;
    assert_eq!((first.status(), first.body().as_str()), (StatusCode::OK, "hello"));
    // What the service says of limits of its own stands.
    assert_eq!(first.headers()["x-ratelimit-remaining"], "mine");
    assert_eq!(first.headers()["ratelimit-policy"], "\"1/h\";q=1;w=3600");
    let second = ask(&mut plain, "ann").await;
    assert_eq!(
        (second.status(), second.body().as_str()),
        (StatusCode::TOO_MANY_REQUESTS, "too many requests\n")
    );
    assert_eq!(second.headers()["x-ratelimit-remaining"], "0");
    assert_eq!(ask(&mut plain, "bob").await.status(), StatusCode::OK);

    let mut own = RateLimitLayer::new(&limiter, "1/h", by_user)
        .name("search")
        .refuse(|refusal| {
            let Refusal::Denied(decision) = refusal else { panic!("{refusal:?}") };
            let body = format!("again in {} h", decision.retry_after_ms.div_euclid(3_500_000));
            Response::builder().status(503).header("Retry-After", "mine").body(body).unwrap()
        })
        .layer(Echo);
    assert_eq!(ask(&mut own, "ann").await.status(), StatusCode::OK);
    let denied = ask(&mut own, "ann").await;
    assert_eq!((denied.status().as_u16(), denied.body().as_str()), (503, "again in 1 h"));
    assert_eq!(denied.headers()["retry-after"], "mine");
    assert_eq!(limiter.quota("ann", "*").await.unwrap(), None);
    assert_eq!(limiter.quota("search:ann", "1/h").await.unwrap().unwrap().limits[0].used, 1);

    // Limits that are none are no reason to let everybody in, nor for their words to get out.
    heard();
    let mut wrong = RateLimitLayer::new(&limiter, "1/", by_user).layer(Echo);
    let refused = ask(&mut wrong, "ann").await;
    assert_eq!(refused.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(refused.body(), "limits cannot be checked\n");
    assert!(heard()[0].contains("invalid limit '1/'"));
}

#[test]
fn callers_by_address() {
    heard();
    for (address, key) in [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("::1", "::/64"),
    ] {
        let address: SocketAddr = (address.parse::<IpAddr>().unwrap(), 1234).into();
        let mut request = Request::new(Body::empty());
        assert_eq!(by_address(&request), "unknown");
        request.extensions_mut().insert(ConnectInfo(address));
        assert_eq!(by_address(&request), key);
    }
    let said = heard();
    assert!(said.len() == 1 && said[0].contains("connect_info"), "{said:?}");
    let address = "2001:db8:1:234::1".parse().unwrap();
    assert_eq!(network(address, 56), "2001:db8:1:200::/56");
    assert_eq!(network(address, 128), "2001:db8:1:234::1/128");
    assert_eq!(network(address, 999), "2001:db8:1:234::1/128");
    assert_eq!(network(address, 0), "::/0");
}
