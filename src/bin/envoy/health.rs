//! Whether Envoys should send requests here: Redis is connected and decides, and no stop was asked for.

use crate::link::Link;
use std::sync::Arc;
use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// The names under which the services report their health.
const SERVICES: [&str; 4] = [
    "",
    "envoy.service.ratelimit.v3.RateLimitService",
    "envoy.service.rate_limit_quota.v3.RateLimitQuotaService",
    "kuadrant.service.ratelimit.v1.RateLimitService",
];

/// The facts that health depends on.
#[derive(Clone)]
pub struct Health {
    redis: watch::Receiver<bool>,
    stopping: watch::Receiver<bool>,
}

impl Health {
    pub fn new(link: &Arc<Link>, stopping: watch::Receiver<bool>) -> Self {
        Self { redis: link.up(), stopping }
    }

    /// True if Redis is connected and decides, and no stop was asked for.
    pub fn good(&self) -> bool {
        *self.redis.borrow() && !*self.stopping.borrow()
    }

    /// True if Redis is connected and decides.
    pub fn redis(&self) -> bool {
        *self.redis.borrow()
    }

    /// Reports each change to the clients that watch health over gRPC. Their streams end at the stop,
    /// so that they do not hold it up.
    pub async fn tell(mut self, mut reporter: HealthReporter) {
        loop {
            let status = if self.good() { ServingStatus::Serving } else { ServingStatus::NotServing };
            for service in SERVICES {
                reporter.set_service_status(service, status).await;
                if *self.stopping.borrow() {
                    // A watch ends with its entry. A new entry answers those who ask once more.
                    reporter.clear_service_status(service).await;
                    reporter.set_service_status(service, ServingStatus::NotServing).await;
                }
            }
            if *self.stopping.borrow() {
                return;
            }
            let changed = tokio::select! {
                changed = self.redis.changed() => changed,
                changed = self.stopping.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
        }
    }
}
