//! Servers for the tests of a client package, which are programs of their own: they ask
//! for them over a socket.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::{
    clients::recipes::durable,
    harness::{Sentinels, Server, cluster},
};

/// What who has connected asks for, as long as the connection lasts: it says its
/// port, and does what each line asks for, of a cluster to the node whose port the line names.
fn serve(connection: TcpStream) {
    let mut answer = connection.try_clone().unwrap();
    let mut lines = BufReader::new(connection).lines().map_while(Result::ok);
    let kind = lines.next().unwrap();
    let mut servers = match kind.as_str() {
        "server" | "sentinel" => vec![durable()],
        "plain" => vec![Server::builder().without_module().start()],
        "cluster" => cluster(3, 0).nodes,
        unknown => panic!("nobody knows what {unknown} is"),
    };
    let sentinels = (kind == "sentinel").then(|| Sentinels::watch(&servers[0], 0, 1));
    let port = sentinels.as_ref().map_or_else(|| servers[0].port(), |watching| watching.ports[0]);
    writeln!(answer, "{port}").unwrap();
    for line in lines {
        let (what, node) = line.split_once(' ').unwrap_or((&line, ""));
        let named = |server: &&mut Server| node.is_empty() || server.port().to_string() == node;
        let server = servers.iter_mut().find(named).unwrap();
        match what {
            "kill" => server.kill9(),
            "start" => server.restart(),
            "freeze" => signal(server, "-STOP"),
            "thaw" => signal(server, "-CONT"),
            unknown => panic!("nobody knows how to {unknown}"),
        }
        writeln!(answer, "done").unwrap();
    }
}

fn signal(server: &Server, signal: &str) {
    let told = Command::new("kill").args([signal, &server.pid().to_string()]).status();
    assert!(told.unwrap().success());
}

/// Runs a program that asks for servers on the port that FLOODGATE_CONTROL names.
pub fn with_servers(program: &mut Command) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for connection in listener.incoming() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                scope.spawn(move || serve(connection.unwrap()));
            }
        });
        let output = program.env("FLOODGATE_CONTROL", port.to_string()).stdin(Stdio::null()).output();
        is_over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", port)));
        let output = output.unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    });
}
