//! The recipes of `tests/clients`, tried as a new user would, with the server
//! killed and started again while they run.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use crate::harness::Server;

#[path = "../clients/rust/recipe.rs"]
#[allow(dead_code, reason = "a recipe shows more than one test needs")]
mod recipe;

use recipe::{Away, Decision, Failed, Limiter, Reach, guarded};

const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");

/// What the recipes of a language need, or none where it is not installed,
/// which is then said.
fn installed(language: &str) -> Option<PathBuf> {
    let output = Command::new(format!("{CLIENTS}/install.sh")).arg(language).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.code() {
        Some(0) => Some(String::from_utf8_lossy(&output.stdout).trim().into()),
        Some(3) => {
            // Not through the macro: what tests print is kept back.
            let _ = writeln!(std::io::stderr(), "\nthe recipes for {language} are NOT tried: {said}");
            None
        }
        _ => panic!("{output:?}"),
    }
}

/// Runs a recipe against a server that goes away and comes back when it says so.
fn tried(mut recipe: Command) {
    let mut server = Server::start();
    let mut process = recipe
        .arg(server.port().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let mut said = Vec::new();
    for line in BufReader::new(process.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        match line.as_str() {
            "down" => server.kill9(),
            "up" => server.restart(),
            _ => {}
        }
        // It may have failed meanwhile: its own words are shown below.
        let _ = stdin.write_all(b"\n");
        said.push(line);
    }
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said, ["down", "up", "done"]);
}

#[test]
fn python_redis_py_and_fastapi() {
    let Some(folder) = installed("python") else { return };
    let mut recipe = Command::new(folder.join("venv/bin/python"));
    recipe.arg("-B").arg(format!("{CLIENTS}/python/try_it.py"));
    tried(recipe);
}

#[test]
fn python_does_what_like_systems_offer() {
    let Some(folder) = installed("python") else { return };
    let server = Server::start();
    let mut table = Command::new(folder.join("venv/bin/python"));
    table.arg("-B").arg(format!("{CLIENTS}/python/offers.py")).arg(server.port().to_string());
    let output = table.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().last(), Some("14 of 14"));
}

#[test]
fn node_ioredis_and_express() {
    let Some(folder) = installed("node") else { return };
    // Node looks for packages beside the program and above.
    for file in ["floodgate.mjs", "service.mjs", "try_it.mjs"] {
        std::fs::copy(format!("{CLIENTS}/node/{file}"), folder.join(file)).unwrap();
    }
    let mut recipe = Command::new("node");
    recipe.arg(folder.join("try_it.mjs"));
    tried(recipe);
}

/// Runs a program that waits and reserves by the client's ordinary commands.
fn waits_and_reserves(mut program: Command) {
    let server = Server::start();
    let output = program.arg(server.port().to_string()).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "done");
}

#[test]
fn python_redis_py_waits_and_reserves() {
    let Some(folder) = installed("python") else { return };
    let mut program = Command::new(folder.join("venv/bin/python"));
    program.arg("-B").arg(format!("{CLIENTS}/python/waiting.py"));
    waits_and_reserves(program);
}

#[test]
fn node_ioredis_waits_and_reserves() {
    let Some(folder) = installed("node") else { return };
    let program = folder.join("waiting.mjs");
    std::fs::copy(format!("{CLIENTS}/node/waiting.mjs"), &program).unwrap();
    let mut node = Command::new("node");
    node.arg(program);
    waits_and_reserves(node);
}

#[test]
fn rust_redis_rs() {
    let mut server = Server::start();
    let url = format!("redis://127.0.0.1:{}", server.port());
    let reach = || Reach::new(&url, Duration::from_millis(200)).unwrap();
    let mut limiter = Limiter::new(reach(), Away::Local(5.0));

    // A limit by key.
    let grants: Vec<u64> = (0..4).map(|_| limiter.acquire("user:1", "3/h", 1).unwrap().granted()).collect();
    assert_eq!(grants, [1, 1, 1, 0]);
    let refused = limiter.acquire("user:1", "3/", 1).unwrap_err().to_string();
    assert!(refused.contains("invalid limit '3/'"), "{refused}");

    // Three limits at once: the tightest binds, and a denial takes from none.
    let three = "100/s,5/h,1000/d";
    let grants: Vec<u64> = (0..3).map(|_| limiter.acquire("user:3", three, 2).unwrap().granted()).collect();
    assert_eq!(grants, [2, 2, 0]);
    let Decision::Shared { remaining, index, .. } = limiter.acquire("user:3", three, 1).unwrap() else {
        panic!("Redis is there")
    };
    assert_eq!((remaining, index), (0, 1));

    // A breaker round a call.
    let mut breaker = reach();
    let mut call =
        |result: Result<i32, &'static str>| guarded(&mut breaker, "payments", "2:open=1h", || result);
    assert_eq!(call(Ok(42)), Ok(42));
    assert_eq!(call(Err("no answer")), Err(Failed::Call("no answer")));
    assert_eq!(call(Err("no answer")), Err(Failed::Call("no answer")));
    assert!(matches!(call(Ok(42)), Err(Failed::Open { retry_after_ms: 3_500_000..=3_600_000 })));

    server.kill9();
    for (away, least, most) in [(Away::Open, 20, 20), (Away::Closed, 0, 0), (Away::Local(5.0), 5, 12)] {
        limiter.away = away;
        let decisions: Vec<_> = (0..20).map(|_| limiter.acquire("user:1", "3/h", 1).unwrap()).collect();
        assert!(decisions.iter().all(|decision| matches!(decision, Decision::Alone { .. })));
        let granted: u64 = decisions.iter().map(|decision| decision.granted()).sum();
        assert!((least..=most).contains(&granted), "{away:?}: {granted}");
    }
    assert_eq!(call(Ok(42)), Ok(42));

    server.restart();
    crate::harness::eventually(Duration::from_secs(10), "it asks again", || {
        matches!(limiter.acquire("user:9", "1000/h", 1).unwrap(), Decision::Shared { .. })
    });
}
