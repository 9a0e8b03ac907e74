//! What the program says: whoever reads it finds the bad part and the way out, and where nobody can
//! read it the program works on.

use std::{
    fs::{self, OpenOptions},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{
    fixtures::{Service, get},
    harness::{Server, eventually, free_port, spawn},
};

const CONFIG: &str = "domain: d\ndescriptors: [{key: a, rate_limit: {unit: minute, requests_per_unit: 5}}]\n";

/// A disk that is full, and a pipe whose reader has ended.
fn unread() -> [Stdio; 2] {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (_, closed) = std::io::pipe().unwrap();
    [Stdio::from(full), Stdio::from(closed)]
}

/// Killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_decides_though_its_log_cannot_be_written() {
    let mut redis = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("limits.yaml");
    let write = |text: &str| {
        let beside = dir.path().join("beside");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, &file).unwrap();
    };
    for log in unread() {
        write(CONFIG);
        let (grpc, http) = (free_port(), free_port());
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", env!("CARGO_BIN_EXE_floodgate-envoy"), "--config"])
            .arg(&file)
            .args(["--redis", &format!("redis://127.0.0.1:{}", redis.port())])
            .args(["--listen", &format!("127.0.0.1:{grpc}"), "--http", &format!("127.0.0.1:{http}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let mut service = Process(spawn(command).unwrap());
        let answers = |path: &str, what: &str| {
            eventually(Duration::from_secs(30), what, || get(http, path, &[]).status == 200);
        };
        answers("/healthcheck", "it decides");
        // Each of these has its line in the log.
        redis.kill9();
        eventually(Duration::from_secs(30), "it sees that Redis is away", || {
            get(http, "/healthcheck", &[]).status == 503
        });
        redis.restart();
        answers("/healthcheck", "it decides again");
        for (text, counted) in [("domain: [", "_load_error 1"), (CONFIG, "_load_success 2")] {
            write(text);
            eventually(Duration::from_secs(30), counted, || {
                get(http, "/metrics", &[]).body.contains(&format!("ratelimit_service_config{counted}\n"))
            });
        }
        let id = service.0.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
        assert!(service.0.wait().unwrap().success());
    }
}

#[test]
fn answers_that_cannot_be_written_are_told_without_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("good.yaml"), CONFIG).unwrap();
    let good = dir.path().to_str().unwrap();
    for args in [&["--help"][..], &["--version"], &["check", good]] {
        let [full, closed] = unread();
        for (out, status, said) in [
            (
                full,
                1,
                "floodgate-envoy: cannot write to standard output: No space left on device (os error 28)\n",
            ),
            (closed, 0, ""),
        ] {
            let program = Command::new(env!("CARGO_BIN_EXE_floodgate-envoy"))
                .args(args)
                .stdout(out)
                .stderr(Stdio::piped())
                .spawn();
            let output = program.and_then(Child::wait_with_output).unwrap();
            assert_eq!(
                (output.status.code(), &*String::from_utf8_lossy(&output.stderr)),
                (Some(status), said),
                "{args:?}"
            );
        }
    }
}

#[test]
fn a_redis_that_cannot_be_used_is_named_with_the_way_out() {
    let redis = Server::start();
    let port = redis.port();
    let nobody = free_port();
    for (url, more, said) in [
        (
            format!("redis://:pw@127.0.0.1:{nobody}"),
            None,
            format!("at 127.0.0.1:{nobody}: Connection refused"),
        ),
        (
            format!("redis://127.0.0.1:{port}"),
            Some("--cluster"),
            "no cluster: leave --cluster out".to_owned(),
        ),
        (format!("rediss://127.0.0.1:{port}"), None, "if it does not speak TLS, write redis://".to_owned()),
    ] {
        let options: Vec<&str> = ["--redis", &url].into_iter().chain(more).collect();
        let service = Service::alone(CONFIG, &options);
        service.wait_log(&said);
        assert!(!service.log().contains("pw"), "{}", service.log());
    }
    redis.ok("CONFIG SET requirepass pw");
    let service = Service::alone(CONFIG, &["--redis", &format!("redis://127.0.0.1:{port}")]);
    service.wait_log("required. (--redis-password names the file that holds its password)");
}
