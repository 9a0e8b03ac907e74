//! The pages over HTTP: `/healthcheck` and `/metrics`.

use crate::health::Health;
use crate::link::Link;
use crate::metrics::Metrics;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// The sources of what the pages show.
#[derive(Clone)]
pub struct Pages {
    pub health: Health,
    pub metrics: Arc<Metrics>,
    pub link: Arc<Link>,
}

impl Pages {
    fn answer(&self, request: &Request<Incoming>) -> Response<String> {
        let (status, text) = match request.uri().path() {
            "/healthcheck" if self.health.good() => (StatusCode::OK, "OK\n".to_owned()),
            "/healthcheck" => (StatusCode::SERVICE_UNAVAILABLE, "not now\n".to_owned()),
            "/metrics" => (StatusCode::OK, self.metrics.page(self.health.redis(), self.link.commands())),
            _ => (StatusCode::NOT_FOUND, "the pages here are /healthcheck and /metrics\n".to_owned()),
        };
        let mut response = Response::new(text);
        *response.status_mut() = status;
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }

    /// Serves the pages for ever.
    pub async fn serve(self, listener: TcpListener) {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // The process has no descriptor left. Wait until another connection is closed.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let pages = self.clone();
            let answer = service_fn(move |request| {
                let response = pages.answer(&request);
                async move { Ok::<_, Infallible>(response) }
            });
            tokio::spawn(async move {
                let _ = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(Duration::from_secs(10))
                    .serve_connection(TokioIo::new(stream), answer)
                    .await;
            });
        }
    }
}
