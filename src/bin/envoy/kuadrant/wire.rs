//! The gRPC service: the path of each method.

use super::Kuadrant;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::{Body as HttpBody, BoxFuture, Service, StdError, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

/// The service as gRPC clients reach it.
#[derive(Clone)]
pub struct KuadrantServer(Arc<Kuadrant>);

impl KuadrantServer {
    pub fn new(kuadrant: Kuadrant) -> Self {
        Self(Arc::new(kuadrant))
    }
}

impl NamedService for KuadrantServer {
    const NAME: &'static str = "kuadrant.service.ratelimit.v1.RateLimitService";
}

/// A method that takes one message and answers with one message.
struct Method<F>(F);

impl<F, Answered, Asked, Answer> UnaryService<Asked> for Method<F>
where
    F: FnMut(Request<Asked>) -> Answered,
    Answered: Future<Output = Result<Response<Answer>, Status>>,
{
    type Response = Answer;
    type Future = Answered;

    fn call(&mut self, request: Request<Asked>) -> Answered {
        (self.0)(request)
    }
}

impl<B> Service<http::Request<B>> for KuadrantServer
where
    B: HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let kuadrant = Arc::clone(&self.0);
        Box::pin(async move {
            let path = request.uri().path();
            let method = path.strip_prefix('/').and_then(|path| path.strip_prefix(Self::NAME));
            // One line for each method. The codec depends on the messages.
            macro_rules! answer {
                ($method:ident) => {{
                    let method = Method(|request| {
                        let kuadrant = Arc::clone(&kuadrant);
                        async move { kuadrant.$method(request).await }
                    });
                    Grpc::new(ProstCodec::default()).unary(method, request).await
                }};
            }
            Ok(match method {
                Some("/CheckRateLimit") => answer!(check_rate_limit),
                Some("/Report") => answer!(report),
                Some("/Reserve") => answer!(reserve),
                Some("/Commit") => answer!(commit),
                _ => Status::new(Code::Unimplemented, "there is no such method").into_http(),
            })
        })
    }
}
