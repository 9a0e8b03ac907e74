//! What goes wrong while the module is loaded makes the load fail, and never ends the server.

use crate::harness::{Program, Reply, Server, c_library, module_path};

/// A server without the module, to which modules can be added.
fn server() -> Server {
    // Before 7.0 MODULE needs no leave.
    let leave: &[&str] =
        if Program::under_test().at_least(7, 0) { &["--enable-module-command", "yes"] } else { &[] };
    Server::builder().without_module().args(leave).start()
}

/// Loads the module into a server that lacks a function of the module API. Returns the log.
fn log_without(server: &Server, function: &str) -> String {
    let (_dir, lacking) = c_library("server/module/lacking.c");
    let (lacking, module) = (lacking.to_str().expect("text"), module_path());
    let module = module.to_str().expect("text");
    let loaded = server.call(&["MODULE", "LOAD", lacking, module, function, "events", "no"]);
    assert!(loaded.error().is_some(), "it loads without {function}: {loaded:?}");
    server.log()
}

/// The crate for the module API panics where the function is missing that keeps the arguments.
#[test]
fn a_panic_makes_the_load_fail() {
    let server = server();
    let log = log_without(&server, "RedisModule_RetainString");
    let reason = log.lines().position(|line| line.contains("internal error, please report it: panicked at"));
    let refused = log
        .lines()
        .position(|line| line.contains("floodgate does not load: an internal error, see the line above"));
    assert!(reason.is_some() && reason < refused, "{log}");
    goes_on(&server);
}

#[test]
fn a_function_that_the_server_lacks_is_named() {
    let server = server();
    let log = log_without(&server, "RedisModule_BlockClientOnKeys");
    let line = "floodgate does not load: the server lacks RedisModule_BlockClientOnKeys, which Redis 6.2";
    assert!(log.contains(line), "{log}");
    goes_on(&server);
}

/// The server lives, and takes the module when it lacks nothing.
#[track_caller]
fn goes_on(server: &Server) {
    let module = module_path();
    assert_eq!(server.call(&["MODULE", "LOAD", module.to_str().expect("text")]), Reply::ok());
    assert_eq!(server.line("RL.ACQUIRE k 10/s").rate_limit().granted, 1);
}
