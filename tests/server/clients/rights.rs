//! The shipped packages with the rights that OPERATIONS.md gives to applications:
//! the server refuses them nothing that they need.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::support::root;
use crate::{
    clients::node::built,
    clients::recipes::{installed, interpreter},
    harness::{Reply, Server},
};

const PYTHON: &str = r#"
import sys
from floodgate_redis import BatchItem, Breaker, FailClosed, Limiter, Server, reserve

# Patience for a busy machine: what is tried here is not how soon it answers.
with Server(sys.argv[1], patience=20.0) as server:
    limiter = Limiter(server, FailClosed(), remember_denials=False)
    assert limiter.acquire("rl:a", "10/h", cost=2, track=True).from_redis
    assert limiter.acquire("rl:a", "10/h", wait=1).granted
    decision, headers = limiter.acquire_with_headers("rl:a", "10/h")
    assert decision.granted and "RateLimit" in headers, headers
    assert all(one.granted for one in limiter.batch([BatchItem("rl:b", "1/h", 1), BatchItem("rl:c", "1/h", 1)]))
    assert limiter.refund("rl:a", 2) == 2
    assert limiter.quota("rl:a")
    with Breaker(server, "rl:pay", "3:open=30s").guard():
        pass
    with reserve(limiter, {"rl:llm": "1000/m,concurrent:2"}, estimate=10, ttl=0.3) as spending:
        import time
        time.sleep(0.4)  # it is renewed meanwhile
        spending.add(4)
    try:
        with reserve(limiter, {"rl:llm": "1000/m,concurrent:2"}, estimate=10):
            raise KeyError  # it is committed, or released
    except KeyError:
        pass
"#;

const NODE: &str = r"
import { Breaker, FailClosed, Limiter, Server, reserve } from 'floodgate-redis'
import { Redis } from 'ioredis'

const redis = new Redis(process.argv[2])
const limiter = new Limiter(redis, { fallback: new FailClosed(), timeoutMs: 20000 })
await limiter.server.check()
const took = async (decision) => { if ((await decision).granted === 0) throw new Error('denied') }
await took(limiter.acquire('rl:a', '10/h', { cost: 2, track: true }))
await took(limiter.wait('rl:a', '10/h', 1000))
const { decision, headers } = await limiter.acquireWithHeaders('rl:a', '10/h')
if (!decision.granted || !headers['RateLimit']) throw new Error(JSON.stringify(headers))
for (const one of await limiter.batch('ALL', [{ key: 'rl:b', limits: '1/h' }, { key: 'rl:c', limits: '1/h' }])) await took(one)
if (await limiter.refund('rl:a', 2) !== 2) throw new Error('not refunded')
if (!(await limiter.quota('rl:a')).rows.length) throw new Error('no quota')
await new Breaker(redis, 'rl:pay', '3:open=30s').call(async () => {})
await reserve(limiter, { 'rl:llm': '1000/m,concurrent:2' }, { estimate: 10, ttlMs: 300 }, async (spending) => {
  await new Promise((resolve) => setTimeout(resolve, 400))
  spending.add(4)
})
process.exit(0) // what waited had a connection of its own
";

/// A server with the user `app`, and its address for that user.
fn server() -> (Server, String) {
    let page = fs::read_to_string(root().join("OPERATIONS.md")).unwrap();
    let line = page.lines().find(|line| line.starts_with("ACL SETUSER app ")).unwrap();
    let server = Server::start();
    server.ok(line);
    let url = format!("redis://app:secret@127.0.0.1:{}", server.port());
    (server, url)
}

/// Runs it, and asserts that the server refused no command; redis-py and node-redis
/// take no offence where they may not say their version.
#[track_caller]
fn passes(mut program: Command, server: &Server) {
    let output = program.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let log = server.line("ACL LOG");
    let refused: Vec<Reply> = log.items().iter().map(|entry| entry.field("object")).collect();
    let harmless = |object: &Reply| ["client|setinfo", "client"].contains(&object.text().as_str());
    assert!(refused.iter().all(harmless), "{refused:?}");
}

#[test]
fn python_needs_no_more() {
    let Some(folder) = installed("python") else { return };
    let (server, url) = server();
    let mut program = interpreter(&folder);
    program.args(["-c", PYTHON, &url]);
    passes(program, &server);
    // And where it is refused, it says so.
    server.ok("ACL SETUSER app -rl.quota");
    let mut program = interpreter(&folder);
    program.args(["-c", PYTHON, &url]);
    assert!(!program.output().unwrap().status.success());
}

#[test]
fn node_needs_no_more() {
    let Some(package) = built() else { return };
    let (server, url) = server();
    let file: &Path = &package.path().join("rights.mjs");
    fs::write(file, NODE).unwrap();
    // It would wait for ever for what is refused without a word.
    let mut program = Command::new("timeout");
    program.args(["120", "node"]).arg(file).arg(&url);
    passes(program, &server);
}

/// OPERATIONS.md advises it after a grant.
#[test]
fn who_waits_for_replicas_may_do_so() {
    let (server, _) = server();
    server.ok("AUTH app secret");
    assert_eq!(server.line("WAIT 0 10"), Reply::Int(0));
}
