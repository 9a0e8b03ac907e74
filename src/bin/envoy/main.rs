//! The service that Envoy, and what is built on it, asks whether a request is
//! within its limits: envoyproxy/ratelimit's protocol and configuration, with
//! Floodgate's decisions. `README.md` beside this file is for who runs it.
//!
//! | file | idea |
//! |---|---|
//! | [`args`] | what was asked |
//! | [`config`] | files → what is limited how much |
//! | [`plan`] | a request's descriptors → the limits that they meet |
//! | [`matching`] | a descriptor of a request → the limit it meets |
//! | [`key`] | a descriptor → its Redis key |
//! | [`decision`] | limits → commands → where each stands, and the verdict |
//! | [`link`] | the connection to Redis |
//! | [`service`] | Envoy's gRPC method, and its answer |
//! | [`kuadrant`] | Kuadrant's: look, report, reserve, commit |
//! | [`lease`] | parts of limits, lent to Envoys that decide by themselves |
//! | [`headers`], [`metadata`] | what the answer tells clients and filters |
//! | [`metrics`], [`health`], [`http`] | what operators see |
//! | [`reload`] | the configuration in force, and the next |

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
mod matching;
mod metadata;
mod metrics;
mod plan;
mod reload;
mod service;

use args::{Asked, Options};
use config::{Algorithm, Refused};
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

/// How long requests under way may take once a stop was asked for.
const FAREWELL: Duration = Duration::from_secs(10);

/// Why it ends.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Args(#[from] args::Wrong),
    #[error(transparent)]
    Config(#[from] Refused),
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    #[error("cannot start: {0}")]
    Start(std::io::Error),
    #[error("the gRPC server ended: {0}")]
    Grpc(#[from] tonic::transport::Error),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("floodgate-envoy: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Ended> {
    match Asked::parse(std::env::args_os().skip(1))? {
        Asked::Help => println!("{}", args::HELP.trim_end()),
        Asked::Version => println!("floodgate-envoy {}", env!("CARGO_PKG_VERSION")),
        Asked::Check(path) => check(path)?,
        Asked::Serve(options) => {
            // One of several that the TLS crates know; they want to be told.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let runtime =
                tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Ended::Start)?;
            runtime.block_on(serve(*options))?;
        }
    }
    Ok(())
}

fn check(path: PathBuf) -> Result<(), Ended> {
    let (_, config) = Watch::start(path, Algorithm::default())?;
    println!("good: {} domains, {} limits", config.domains(), config.limits());
    Ok(())
}

async fn serve(options: Options) -> Result<(), Ended> {
    let Options { config, way, listen, http, style } = options;
    let (files, config) = Watch::start(config, style.algorithm)?;
    let (domains, limits) = (config.domains(), config.limits());
    let current = Arc::new(Current::new(config));
    let metrics = Arc::new(Metrics::default());
    metrics.loaded(true);
    let link = Arc::new(Link::new(way));
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
    let signals = Signals::listen().map_err(Ended::Start)?;
    tokio::spawn(signals.follow(stop, asked));

    eprintln!(
        "floodgate-envoy: {domains} domains, {limits} limits; gRPC on {grpc_address}, HTTP on {http_address}"
    );
    let service = Arc::new(Service { current, link, metrics, style });
    let leases = Leases { service: Arc::clone(&service), stopping: stopping.clone() };
    // An answer is written in several pieces, and none waits for the one before to
    // have arrived: that would take 40 ms.
    let incoming = TcpIncoming::from(grpc_listener).with_nodelay(Some(true));
    let mut stopped = stopping.clone();
    let server = tonic::transport::Server::builder()
        .add_service(health_service)
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
            tokio::time::sleep(FAREWELL).await;
        } => eprintln!("floodgate-envoy: some connections did not end within {} s", FAREWELL.as_secs()),
    }
    eprintln!("floodgate-envoy: stopped");
    Ok(())
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Ended> {
    let listener = TcpListener::bind(address).await.map_err(|why| Ended::Listen(address, why))?;
    let bound = listener.local_addr().map_err(|why| Ended::Listen(address, why))?;
    Ok((listener, bound))
}

/// What the operator may ask of the process.
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

    /// Reads the configuration at once on SIGHUP; stops on the others.
    async fn follow(mut self, stop: watch::Sender<bool>, read: Arc<Notify>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                _ = self.hang_up.recv() => read.notify_one(),
            }
        }
        eprintln!("floodgate-envoy: stopping");
        stop.send_replace(true);
        // Who waits for it must not find it closed.
        std::future::pending::<()>().await;
    }
}
