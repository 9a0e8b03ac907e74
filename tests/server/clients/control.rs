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
/// port, and does what each line asks for.
fn serve(connection: TcpStream) {
    let mut answer = connection.try_clone().unwrap();
    let mut lines = BufReader::new(connection).lines().map_while(Result::ok);
    let kind = lines.next().unwrap();
    if kind == "cluster" {
        let cluster = cluster(3, 0);
        writeln!(answer, "{}", cluster.nodes[0].port()).unwrap();
        return lines.for_each(drop);
    }
    let mut server = match kind.as_str() {
        "plain" => Server::builder().without_module().start(),
        _ => durable(),
    };
    if kind == "sentinel" {
        let sentinels = Sentinels::watch(&server, 0, 1);
        writeln!(answer, "{}", sentinels.ports[0]).unwrap();
        return lines.for_each(drop);
    }
    assert!(["server", "plain"].contains(&kind.as_str()), "nobody knows what {kind} is");
    writeln!(answer, "{}", server.port()).unwrap();
    for line in lines {
        match line.as_str() {
            "kill" => server.kill9(),
            "start" => server.restart(),
            "freeze" => signal(&server, "-STOP"),
            "thaw" => signal(&server, "-CONT"),
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
