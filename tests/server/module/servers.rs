//! The harness itself, on servers without the module.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use redis::Commands as _;

use crate::harness::{
    Reply, Server, assert_error, assert_error_prefix, assert_same_data, call, cluster_of, eventually,
    snapshot, wait_synced,
};

fn plain() -> Server {
    Server::builder().without_module().start()
}

fn alive(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn starts_answers_and_tells_its_version() {
    let server = plain();
    let mut wire = server.wire();
    assert_eq!(wire.line("PING"), Reply::Simple("PONG".into()));
    let info = server.info("server");
    assert_eq!(info["tcp_port"], server.port().to_string());
    let (major, minor, patch) = server.version();
    let named = if server.is_valkey() { "valkey_version" } else { "redis_version" };
    assert_eq!(info[named], format!("{major}.{minor}.{patch}"));
    assert!(server.at_least(6, 2) && !server.at_least(99, 0));
    assert_eq!(server.cli(&["ECHO", "hello"]), "hello");
    assert_eq!(server.config_get("save").as_deref(), Some(""));
    server.config_set("maxmemory", "100mb");
    assert_eq!(server.config_get("maxmemory").as_deref(), Some("104857600"));
    assert!(server.log().contains("Ready to accept connections"));
}

#[test]
fn both_protocols_come_as_they_were_sent() {
    let server = plain();
    let mut two = server.wire();
    assert_eq!(two.line("GET none"), Reply::NilBulk);
    assert_eq!(two.line("BLPOP none 0.01"), Reply::NilArray);
    assert_eq!(call!(two, "SET", b"k\0\xff", vec![0_u8, 255]), Reply::ok());
    assert_eq!(call!(two, "GET", b"k\0\xff"), Reply::Bulk(vec![0, 255]));
    assert_error(&two.line("LPUSH"), "ERR wrong number of arguments for 'lpush' command");
    assert_eq!(call!(two, "HSET", "h", "field", 17), Reply::Int(1));
    assert_error_prefix(&two.line("GET h"), "WRONGTYPE ");
    assert_eq!(two.line("HGETALL h").field("field"), Reply::bulk("17"));

    let mut three = server.wire3();
    assert_eq!(three.line("GET none"), Reply::Null);
    assert_eq!(three.line("HGETALL h"), Reply::Map(vec![(Reply::bulk("field"), Reply::bulk("17"))]));
    assert_eq!(three.line("ZADD z 1.5 m"), Reply::Int(1));
    assert_eq!(three.line("ZSCORE z m"), Reply::Double("1.5".into()));
    assert_eq!(three.line("DEBUG PROTOCOL true"), Reply::Bool(true));
    assert!(matches!(three.line("DEBUG PROTOCOL verbatim"), Reply::Verbatim(format, _) if format == "txt"));
    assert_eq!(three.line("CLIENT TRACKING on"), Reply::ok());
    assert_eq!(three.line("GET watched"), Reply::Null);
    server.line("SET watched 1");
    let push = three.push(Duration::from_secs(30)).unwrap();
    assert_eq!(push[0], Reply::bulk("invalidate"));
    assert_eq!(three.lines(&["PING", "PING"]).len(), 2);

    two.send_raw(b"*1\r\n$4\r\nPI");
    two.assert_blocked_for(Duration::from_millis(20));
    two.send_raw(b"NG\r\n");
    assert_eq!(two.read(), Reply::Simple("PONG".into()));
    two.send_raw(b"*-x\r\n");
    assert!(two.closes_within(Duration::from_secs(30)));
}

#[test]
fn a_blocked_client_is_seen_to_be_blocked() {
    let server = plain();
    let mut waiting = server.wire();
    waiting.send_line("BLPOP list 0");
    waiting.assert_blocked_for(Duration::from_millis(50));
    server.line("RPUSH list x");
    assert_eq!(waiting.read_within(Duration::from_secs(30)).unwrap()[1], Reply::bulk("x"));
}

#[test]
fn connections_of_the_client_library() {
    let server = plain();
    let mut two = server.connection();
    let () = two.set("k", "v").unwrap();
    let mut three = server.connection_resp3();
    let value: String = three.get("k").unwrap();
    assert_eq!(value, "v");
    let map: redis::Value = redis::cmd("CONFIG").arg("GET").arg("port").query(&mut three).unwrap();
    assert!(matches!(map, redis::Value::Map(_)));
}

#[test]
fn survives_kill_9_on_its_append_only_file() {
    let settings = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut server = Server::builder().without_module().args(settings).start();
    for i in 0..100 {
        call!(server, "SET", format!("k{i}"), i, "PX", 1_000_000 + i);
    }
    server.line("SELECT 3");
    call!(server, "SET", b"\0\xff", "x");
    let (before, port, pid) = (snapshot(&server), server.port(), server.pid());
    assert_eq!(before.0.len(), 101);
    server.kill9();
    assert!(!alive(pid));
    server.restart();
    assert_eq!((server.port(), snapshot(&server)), (port, before));
    assert_ne!(server.pid(), pid);
}

#[test]
fn stops_with_a_save_and_comes_back() {
    let mut server = plain();
    server.line("SET k v");
    server.stop_save();
    server.restart();
    assert_eq!(server.line("GET k"), Reply::bulk("v"));
    let copy = Server::builder().without_module().data(server.dir()).start();
    assert_same_data(&server, &copy);
    server.ok("CONFIG REWRITE");
    server.stop_nosave();
    server.restart();
}

#[test]
fn a_replica_has_the_data() {
    let server = plain();
    for i in 0..500 {
        call!(server, "SET", format!("k{i}"), i, "PX", 1_000_000 + i);
    }
    let replica = server.replica();
    server.line("SELECT 1");
    call!(server, "SET", "later", "x");
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
    assert_error_prefix(&replica.line("SET k v"), "READONLY ");
}

#[test]
fn a_difference_is_found() {
    let (a, b) = (plain(), plain());
    for server in [&a, &b] {
        server.line("SET k v");
        server.line("SET e v PX 1000000");
    }
    b.line("PEXPIRE e 900000");
    let found = snapshot(&a).differences(&snapshot(&b));
    assert_eq!(found.len(), 1, "{found:?}");
    b.line("SET k w");
    assert_eq!(snapshot(&a).differences(&snapshot(&b)).len(), 2);
}

#[test]
fn a_refusal_gives_the_log() {
    let refused = Server::builder().without_module().args(["--no-such-setting", "1"]).try_start();
    let log = refused.err().unwrap();
    assert!(log.contains("no-such-setting"), "{log}");
    let missing = Server::builder().module("/no/such/module.so").try_start();
    assert!(missing.err().unwrap().contains("/no/such/module.so"));
}

#[test]
fn a_failing_test_leaves_no_server_behind() {
    let (tell, told) = std::sync::mpsc::channel();
    let failing = std::thread::spawn(move || {
        let server = plain();
        tell.send(server.pid()).unwrap();
        assert_eq!(server.line("PING"), Reply::Null, "meant to fail");
    });
    let pid = told.recv().unwrap();
    assert!(failing.join().is_err());
    assert!(!alive(pid));
}

#[test]
fn a_server_that_crashed_fails_its_test() {
    let test = std::thread::spawn(|| {
        let server = plain();
        server.wire().send_line("DEBUG SEGFAULT");
        let pid = server.pid();
        eventually(Duration::from_secs(30), "it crashed", || is_zombie(pid));
    });
    let panic = test.join().unwrap_err();
    assert!(panic.downcast_ref::<String>().unwrap().contains("the server died during the test"));
}

#[test]
fn a_server_outlives_the_thread_that_started_it() {
    let server = std::thread::spawn(plain).join().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(server.line("PING"), Reply::Simple("PONG".into()));
}

#[test]
fn a_killed_test_run_leaves_no_server_behind() {
    use std::io::BufRead as _;
    // This very test, run again as the child that gets killed in the middle.
    const CHILD: &str = "FLOODGATE_TEST_TO_BE_KILLED";
    if std::env::var_os(CHILD).is_some() {
        let server = plain();
        println!("server {} {}", server.pid(), server.dir().display());
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    let mut run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "module::servers::a_killed_test_run_leaves_no_server_behind", "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(run.stdout.take().unwrap()).lines();
    let told = lines.find_map(|line| Some(line.unwrap().split_once("server ")?.1.to_owned())).unwrap();
    let (pid, dir) = told.split_once(' ').unwrap();
    let pid = pid.parse().unwrap();
    assert!(alive(pid));
    run.kill().unwrap();
    run.wait().unwrap();
    eventually(Duration::from_secs(30), "the server is gone", || !alive(pid) || is_zombie(pid));
    // The one thing that nobody is left to tidy up.
    std::fs::remove_dir_all(dir).unwrap();
}

fn is_zombie(pid: u32) -> bool {
    // Where nobody reaps orphans, as in some containers.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

#[test]
fn a_cluster_forms_and_redirects() {
    let cluster = cluster_of(&Server::builder().without_module(), 3, 3);
    assert_eq!((cluster.masters().len(), cluster.replicas().len()), (3, 3));
    let owner = cluster.owner_index("key");
    assert_eq!(cluster.nodes[owner].line("SET key v"), Reply::ok());
    let other =
        cluster.masters().into_iter().find(|node| node.port() != cluster.nodes[owner].port()).unwrap();
    assert_error_prefix(&other.line("GET key"), &format!("MOVED {} ", cluster.slot("key")));
    assert!(
        cluster.cli(&["check", &format!("127.0.0.1:{}", other.port())]).contains("All 16384 slots covered")
    );
}

#[test]
fn a_cluster_replaces_a_killed_master() {
    let mut cluster = cluster_of(&Server::builder().without_module(), 3, 3);
    let killed = cluster.owner_index("key");
    let owner = &cluster.nodes[killed];
    assert_eq!(owner.line("SET key v"), Reply::ok());
    assert_eq!(owner.line("WAIT 1 5000"), Reply::Int(1));
    cluster.nodes[killed].kill9();
    eventually(Duration::from_secs(60), "another node serves the key", || {
        cluster.owner_index("key") != killed
    });
    cluster.wait_ok();
    assert_eq!(cluster.owner("key").line("GET key"), Reply::bulk("v"));
    cluster.nodes[killed].restart();
    cluster.wait_ok();
    assert_eq!((cluster.masters().len(), cluster.replicas().len()), (3, 3));
}
