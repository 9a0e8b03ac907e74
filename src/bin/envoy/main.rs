//! The service that Envoy, and programs built on it, ask whether a request is within its limits. It
//! has the protocol and the configuration of envoyproxy/ratelimit, and decides with Floodgate.
//! `README.md` beside this file is for those who run it.
//!
//! | file | idea |
//! |---|---|
//! | [`args`] | the options of the command line |
//! | [`config`] | files → the limits of each descriptor |
//! | [`plan`] | the descriptors of a request → the limits that they meet |
//! | [`matching`] | one descriptor of a request → the limit that it meets |
//! | [`key`] | a descriptor → its Redis key |
//! | [`decision`] | limits → commands → the figures of each limit, and the decision |
//! | [`link`] | the connection to Redis |
//! | [`way_out`] | what to do where Redis' own words do not say it |
//! | [`refused`] | what Redis refused for want of memory or of a right |
//! | [`service`] | the gRPC method of Envoy, and its answer |
//! | [`kuadrant`] | the methods of Kuadrant: check, report, reserve, commit |
//! | [`lease`] | parts of limits, lent to Envoys that decide by themselves |
//! | [`headers`], [`metadata`] | what the answer tells clients and filters |
//! | [`metrics`], [`health`], [`http`] | what operators see |
//! | [`mod@log`] | what the program says, whether or not somebody reads it |
//! | [`reload`] | the configuration in force, and the next one |

#![deny(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing))]

mod args;
mod config;
mod decision;
mod headers;
mod health;
mod http;
mod key;
mod kuadrant;
mod lease;
mod link;
mod log;
mod matching;
mod metadata;
mod metrics;
mod plan;
mod refused;
mod reload;
mod service;
mod way_out;

use crate::log::{log, print};
use args::{EnvoyCommand, ServeOptions};
use config::{ConfigError, UnitAlgorithm};
use envoy_types::pb::envoy::service::rate_limit_quota::v3::rate_limit_quota_service_server::RateLimitQuotaServiceServer;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_server::RateLimitServiceServer;
use health::Health;
use http::Pages;
use kuadrant::{Kuadrant, KuadrantServer};
use lease::Leases;
use link::Link;
use metrics::Metrics;
use reload::{Current, Watch};
use service::Service;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};
use tonic::transport::server::TcpIncoming;
use tonic_health::pb::health_server::HealthServer;

/// The time that requests under way have after a stop was asked for.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// The reasons why the program ends with a failure.
#[derive(Debug, thiserror::Error)]
enum ExitError {
    #[error(transparent)]
    Args(#[from] args::ArgsError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    #[error("cannot start: {0}")]
    Start(std::io::Error),
    #[error("cannot write to standard output: {0}")]
    Print(std::io::Error),
    #[error("the gRPC server ended: {0}")]
    Grpc(#[from] tonic::transport::Error),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            log(&why);
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), ExitError> {
    match EnvoyCommand::parse(std::env::args_os().skip(1))? {
        EnvoyCommand::Help => print(&args::HELP.trim_end()).map_err(ExitError::Print)?,
        EnvoyCommand::Version => {
            print(&concat!("floodgate-envoy ", env!("CARGO_PKG_VERSION"))).map_err(ExitError::Print)?;
        }
        EnvoyCommand::Check(paths) => check(paths)?,
        EnvoyCommand::Serve(options) => {
            // The TLS crates support several providers, so one of them must be chosen.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let runtime =
                tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(ExitError::Start)?;
            runtime.block_on(serve(*options))?;
        }
    }
    Ok(())
}

/// Checks each configuration by itself. The last fault is the reason of the failure, and those
/// before it are told.
fn check(paths: Vec<PathBuf>) -> Result<(), ExitError> {
    let mut fault = None;
    for path in paths {
        match Watch::start(path, UnitAlgorithm::default()) {
            Ok((_, config)) => print(&format_args!("good: {config}")).map_err(ExitError::Print)?,
            Err(why) => {
                if let Some(before) = fault.replace(why) {
                    log(&before);
                }
            }
        }
    }
    fault.map_or(Ok(()), |why| Err(why.into()))
}

async fn serve(options: ServeOptions) -> Result<(), ExitError> {
    let ServeOptions { config, endpoint, listen, http, style } = options;
    let (files, config) = Watch::start(config, style.algorithm)?;
    let size = config.to_string();
    let current = Arc::new(Current::new(config));
    let metrics = Arc::new(Metrics::default());
    metrics.loaded(true);
    let link = Arc::new(Link::new(endpoint, &style.prefix));
    let (grpc_listener, grpc_address) = bind(listen).await?;
    let (http_listener, http_address) = bind(http).await?;
    let (stop, stopping) = watch::channel(false);

    let health = Health::new(&link, stopping.clone());
    let (reporter, health_service) = tonic_health::server::health_reporter();
    tokio::spawn(health.clone().tell(reporter));
    let pages = Pages { health, metrics: Arc::clone(&metrics), link: Arc::clone(&link) };
    tokio::spawn(pages.serve(http_listener));
    let keeper = Arc::clone(&link);
    tokio::spawn(async move { keeper.keep().await });
    let asked = Arc::new(Notify::new());
    tokio::spawn({
        let (current, metrics, asked) = (Arc::clone(&current), Arc::clone(&metrics), Arc::clone(&asked));
        async move { files.keep(&current, &metrics, &asked).await }
    });
    let signals = Signals::listen().map_err(ExitError::Start)?;
    tokio::spawn(signals.follow(stop, asked));

    log(&format_args!("{size}; gRPC on {grpc_address}, HTTP on {http_address}"));
    let service = Arc::new(Service { current, link, metrics, style });
    answer(service, health_service, grpc_listener, stopping).await
}

/// Answers over gRPC until a stop is asked for.
async fn answer(
    service: Arc<Service>,
    health: HealthServer<impl tonic_health::pb::health_server::Health>,
    listener: TcpListener,
    stopping: watch::Receiver<bool>,
) -> Result<(), ExitError> {
    let leases = Leases { service: Arc::clone(&service), stopping: stopping.clone() };
    // An answer is written in several pieces. Without `nodelay` a piece would wait up to 40 ms for
    // the acknowledgement of the piece before it.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let mut stopped = stopping.clone();
    let server = tonic::transport::Server::builder()
        .add_service(health)
        .add_service(RateLimitServiceServer::from_arc(Arc::clone(&service)))
        .add_service(KuadrantServer::new(Kuadrant(service)))
        .add_service(RateLimitQuotaServiceServer::new(leases))
        .serve_with_incoming_shutdown(incoming, async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        });
    let mut late = stopping;
    tokio::select! {
        ended = server => ended?,
        () = async {
            let _ = late.wait_for(|stop| *stop).await;
            tokio::time::sleep(DRAIN_TIME).await;
        } => log(&format_args!("some connections did not end within {} s", DRAIN_TIME.as_secs())),
    }
    log(&"stopped");
    Ok(())
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ExitError> {
    let listener = TcpListener::bind(address).await.map_err(|why| ExitError::Listen(address, why))?;
    let bound = listener.local_addr().map_err(|why| ExitError::Listen(address, why))?;
    Ok((listener, bound))
}

/// The signals by which an operator asks the process for something.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Reads the configuration at once on SIGHUP. Stops on the other signals.
    async fn follow(mut self, stop: watch::Sender<bool>, read: Arc<Notify>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                _ = self.hang_up.recv() => read.notify_one(),
            }
        }
        log(&"stopping");
        stop.send_replace(true);
        // The channel stays open, because other tasks still wait for it.
        std::future::pending::<()>().await;
    }
}
