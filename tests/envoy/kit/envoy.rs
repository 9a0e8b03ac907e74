//! A real Envoy: one listener that asks the service, and behind it one that
//! always answers `hello`.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{Page, get};
use crate::harness::spawn;

/// A running Envoy; killed when dropped.
pub struct Envoy {
    process: Child,
    dir: TempDir,
    port: u16,
}

impl Envoy {
    /// The program that `scripts/envoy.sh` fetched, or `FLOODGATE_ENVOY`.
    pub fn program() -> PathBuf {
        if let Some(path) = env::var_os("FLOODGATE_ENVOY") {
            return path.into();
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let cache =
            env::var_os("FLOODGATE_CACHE").map_or_else(|| root.join(".cache"), |path| root.join(path));
        let path = cache.join("envoy/envoy");
        assert!(path.exists(), "{} is missing: run scripts/envoy.sh", path.display());
        path
    }

    /// Asks the service on that port about the domain `edge`. `more` are lines of
    /// the rate limit filter, as `failure_mode_deny: true`.
    ///
    /// A request has a descriptor for each of its headers `x-a` and `x-b`, with the
    /// keys `a` and `b`, and one of two entries for `x-user` with its path. The
    /// header `x-hits` says how many hits it is on `a`.
    #[track_caller]
    pub fn start(grpc: u16, more: &[&str]) -> Self {
        let more: String = more.iter().map(|line| format!("              {line}\n")).collect();
        Self::with(grpc, &ASKING.replace("MORE\n", &more))
    }

    /// Decides by itself, on what the service lends to the bucket of the domain
    /// `edge` whose `a` is the header `x-a`.
    #[track_caller]
    pub fn borrowing(grpc: u16) -> Self {
        Self::with(grpc, BORROWING)
    }

    /// What Envoy says about a filter, in the lines of a page.
    pub fn check(filter: &str) -> (bool, String) {
        let filter: String = filter.lines().map(|line| format!("          {line}\n")).collect();
        let dir = configured(1, &filter);
        let output = Command::new(Self::program())
            .args(["--mode", "validate", "--log-level", "error", "-c", "envoy.yaml"])
            .current_dir(dir.path())
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into())
    }

    #[track_caller]
    fn with(grpc: u16, filter: &str) -> Self {
        let dir = configured(grpc, filter);
        let log = File::create(dir.path().join("log")).unwrap();
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(Self::program())
            .args([
                "-c",
                "envoy.yaml",
                "--concurrency",
                "1",
                "--disable-hot-restart",
                "--log-level",
                "warning",
            ])
            .args(["--admin-address-path", "admin"])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let mut envoy = Self { process: spawn(command).unwrap(), dir, port: 0 };
        let start = Instant::now();
        while envoy.port == 0 {
            let ended = envoy.process.try_wait().unwrap();
            assert!(
                ended.is_none() && start.elapsed() < Duration::from_secs(60),
                "{ended:?}: {}",
                envoy.log()
            );
            thread::sleep(Duration::from_millis(20));
            envoy.port = envoy.bound().unwrap_or(0);
        }
        envoy
    }

    /// The port of the listener, once it is there.
    fn bound(&self) -> Option<u16> {
        let admin = fs::read_to_string(self.dir.path().join("admin")).ok()?;
        let admin: u16 = admin.rsplit_once(':')?.1.trim().parse().ok()?;
        if get(admin, "/ready", &[]).status != 200 {
            return None;
        }
        let listeners = get(admin, "/listeners", &[]).body;
        listeners.lines().find_map(|line| line.strip_prefix("front::127.0.0.1:")?.trim().parse().ok())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sends it a signal, by name.
    pub fn signal(&self, which: &str) {
        let status =
            Command::new("kill").arg(format!("-{which}")).arg(self.process.id().to_string()).status();
        assert!(status.unwrap().success());
    }

    /// A request with these headers.
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Page {
        get(self.port, path, headers)
    }
}

/// A folder with its configuration.
fn configured(grpc: u16, filter: &str) -> TempDir {
    let dir = tempfile::Builder::new().prefix("floodgate-envoy-").tempdir().unwrap();
    let text = BOOTSTRAP
        .replace("          FILTER\n", filter.trim_start_matches('\n'))
        .replace("GRPC_PORT", &grpc.to_string())
        .replace("DIR", &dir.path().display().to_string());
    fs::write(dir.path().join("envoy.yaml"), text).unwrap();
    dir
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            eprintln!("Envoy said:\n{}", self.log());
        }
    }
}

/// Each request is asked about.
const ASKING: &str = r#"
          - name: envoy.filters.http.ratelimit
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
              domain: edge
              timeout: 10s
              rate_limit_service:
                transport_api_version: V3
                grpc_service: {envoy_grpc: {cluster_name: floodgate}, timeout: 10s}
MORE
"#;

/// No request is asked about.
const BORROWING: &str = r#"
          - name: envoy.filters.http.rate_limit_quota
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rate_limit_quota.v3.RateLimitQuotaFilterConfig
              domain: edge
              rlqs_server: {envoy_grpc: {cluster_name: floodgate}}
              bucket_matchers:
                on_no_match:
                  action:
                    name: all
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.rate_limit_quota.v3.RateLimitQuotaBucketSettings
                      bucket_id_builder:
                        bucket_id_builder:
                          a:
                            custom_value:
                              name: header
                              typed_config:
                                "@type": type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput
                                header_name: x-a
                      reporting_interval: 5s
                      no_assignment_behavior: {fallback_rate_limit: {blanket_rule: DENY_ALL}}
                      expired_assignment_behavior:
                        expired_assignment_behavior_timeout: 3600s
                        fallback_rate_limit: {blanket_rule: DENY_ALL}
"#;

const BOOTSTRAP: &str = r#"
admin:
  address: {socket_address: {address: 127.0.0.1, port_value: 0}}
static_resources:
  listeners:
  - name: front
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          http_filters:
          FILTER
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /}
                route: {cluster: upstream}
                typed_per_filter_config:
                  envoy.filters.http.ratelimit:
                    "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute
                    rate_limits:
                    - actions: [{request_headers: {header_name: x-a, descriptor_key: a}}]
                      hits_addend: {format: "%REQ(x-hits)%"}
                    - actions: [{request_headers: {header_name: x-b, descriptor_key: b}}]
                    - actions:
                      - {request_headers: {header_name: x-user, descriptor_key: user}}
                      - {request_headers: {header_name: ":path", descriptor_key: path}}
  - name: back
    address: {pipe: {path: DIR/back}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: back
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /}
                direct_response: {status: 200, body: {inline_string: hello}}
  clusters:
  - name: upstream
    type: STATIC
    load_assignment:
      cluster_name: upstream
      endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: DIR/back}}}}]}]
  - name: floodgate
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: floodgate
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: GRPC_PORT}}}}]}]
"#;
