//! A Redis that wants TLS and a password.

use std::{fs, path::Path, process::Command};

use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use tonic::Code;

use crate::{
    fixtures::{NOON, Service, descriptor},
    harness::{Server, eventually, free_port},
};

const CONFIG: &str = "domain: d\ndescriptors: [{key: a, rate_limit: {unit: minute, requests_per_unit: 5}}]\n";

fn openssl(dir: &Path, line: &str) {
    let output = Command::new("openssl").args(line.split_whitespace()).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An authority, and a certificate of it for a server and one for a client.
fn certificates(dir: &Path) {
    openssl(
        dir,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=authority -keyout ca.key -out ca.pem",
    );
    fs::write(dir.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        .unwrap();
    for who in ["server", "client"] {
        openssl(
            dir,
            &format!(
                "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={who} -keyout {who}.key -out {who}.csr"
            ),
        );
        openssl(
            dir,
            &format!(
                "x509 -req -days 30 -in {who}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile names -out {who}.pem"
            ),
        );
    }
}

#[test]
fn tls_with_certificates_of_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let port = free_port();
    let redis = Server::with(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &file("server.pem"),
        "--tls-key-file",
        &file("server.key"),
        "--tls-ca-cert-file",
        &file("ca.pem"),
        "--tls-auth-clients",
        "yes",
    ]);
    redis.clock_set(NOON);
    let url = format!("rediss://localhost:{port}");
    let (ca, cert, key) = (file("ca.pem"), file("client.pem"), file("client.key"));
    let service = Service::alone(
        CONFIG,
        &["--redis", &url, "--redis-ca", &ca, "--redis-cert", &cert, "--redis-key", &key],
    );
    service.wait_connected();
    assert_eq!(service.asking("d").ask(&["a=1"]).left(), [(true, 4)]);
    // Who shows no certificate, or trusts another authority, is not connected.
    let junk = Service::alone(CONFIG, &["--redis", &url, "--redis-ca", &key]);
    junk.wait_log("client.key: holds no certificate (PEM)");
    let nobody = Service::alone(CONFIG, &["--redis", &url, "--redis-ca", &ca]);
    let stranger = Service::alone(CONFIG, &["--redis", &url]);
    for service in [&nobody, &stranger] {
        service.wait_log("trying again");
        let why = service.asking("d").send(1, vec![descriptor("a=1")]).unwrap_err();
        assert_eq!(why.code(), Code::Unavailable);
    }
}

#[test]
fn the_password_stands_in_a_file_and_may_change() {
    let redis = Server::start();
    redis.clock_set(NOON);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    fs::write(&file, "first\n").unwrap();
    // The rights that the README names.
    redis.ok("ACL SETUSER limiter on >first ~envoy:* +rl.batch +rl.quota +rl.refund +ping");
    redis.ok("ACL SETUSER default resetpass nopass");
    let url = format!("redis://limiter@127.0.0.1:{}", redis.port());
    let service = Service::alone(CONFIG, &["--redis", &url, "--redis-password", file.to_str().unwrap()]);
    service.wait_connected();
    let asking = service.asking("d");
    assert_eq!(asking.ask(&["a=1"]).left(), [(true, 4)]);
    let back = RateLimitDescriptor { is_negative_hits: true, ..descriptor("a=1") };
    assert_eq!(asking.send(1, vec![back]).unwrap().left(), [(true, 5)]);
    fs::write(&file, "second").unwrap();
    redis.ok("ACL SETUSER limiter resetpass >second");
    redis.line("CLIENT KILL USER limiter");
    eventually(std::time::Duration::from_secs(30), "it is in with the new password", || {
        asking.send(0, vec![descriptor("a=1")]).is_ok()
    });
    assert!(!service.log().contains("first") && !service.log().contains("second"), "secrets are not logged");
    // A wrong one is told, without saying it.
    fs::write(&file, "wrong").unwrap();
    redis.line("CLIENT KILL USER limiter");
    service.wait_log("trying again");
    assert!(
        service.log().contains("WRONGPASS") || service.log().contains("authentication failed"),
        "{}",
        service.log()
    );
    fs::remove_file(&file).unwrap();
    service.wait_log("cannot read");
}
