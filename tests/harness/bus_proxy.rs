//! A proxy before the bus port of each node of a cluster: it cuts the cluster into parts,
//! and loses, doubles, holds back and forges what modules tell each other.
//!
//! Nodes announce its ports (`cluster-announce-bus-port`). It knows who sends by the name
//! that stands in the head of each message.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use crate::support::Dice;

use super::{
    cluster::Cluster,
    eventually,
    server::{Builder, Server},
};

/// The bytes of a message up to and with the sender's name.
const HEAD: usize = 80;
/// Where the name is, 40 characters.
const SENDER: usize = 40;
/// Where the kind is, two bytes.
const KIND: usize = 12;
/// A message between modules, and the bit of a short head that some servers give it.
const OF_MODULE: u16 = 9;
const SHORT_HEAD: u16 = 1 << 15;

/// What becomes of messages between modules: each in so many percent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mischief {
    /// It does not arrive.
    pub lost: u8,
    /// It arrives twice.
    pub doubled: u8,
    /// It arrives after the next one of its connection.
    pub late: u8,
    /// A byte near its end is another.
    pub forged: u8,
}

#[derive(Debug)]
struct Rules {
    /// Nodes by their names.
    nodes: BTreeMap<String, usize>,
    /// The side of each node while the cluster is cut.
    sides: Option<Vec<usize>>,
    mischief: Mischief,
    dice: Dice,
}

impl Rules {
    fn are_cut(&self, from: Option<usize>, to: Option<usize>) -> bool {
        match (&self.sides, from, to) {
            (Some(sides), Some(from), Some(to)) => sides[from] != sides[to],
            _ => false,
        }
    }
}

/// The proxies of a cluster.
#[derive(Debug)]
pub struct BusProxy {
    rules: Arc<Mutex<Rules>>,
}

fn lock(rules: &Mutex<Rules>) -> MutexGuard<'_, Rules> {
    rules.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a cluster of so many masters whose bus goes through a proxy.
#[track_caller]
pub fn cluster_behind_proxy(node: &Builder, masters: usize) -> (Cluster, BusProxy) {
    let rules =
        Rules { nodes: BTreeMap::new(), sides: None, mischief: Mischief::default(), dice: Dice::new(7) };
    let rules = Arc::new(Mutex::new(rules));
    let mut nodes: Vec<Server> = Vec::new();
    let mut announced = Vec::new();
    for index in 0..masters {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let node = node.clone().args(["--cluster-enabled", "yes", "--cluster-node-timeout", "3000"]);
        let server = node.args(["--cluster-announce-bus-port", &port.to_string()]).start();
        lock(&rules).nodes.insert(server.node_id(), index);
        let (rules, bus) = (Arc::clone(&rules), server.port() + 10_000);
        thread::spawn(move || serve(&listener, bus, index, &rules));
        announced.push(format!(":{}@{port}", server.port()));
        nodes.push(server);
    }
    let cluster = Cluster { nodes };
    let mut args = vec!["create".to_owned()];
    args.extend(cluster.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())));
    args.push("--cluster-yes".into());
    cluster.cli(&args);
    cluster.wait_ok();
    for node in &cluster.nodes {
        eventually(std::time::Duration::from_secs(60), "all know the ports of the proxy", || {
            let known = node.line("CLUSTER NODES").text();
            announced.iter().all(|port| known.contains(port)) && !known.contains("disconnected")
        });
    }
    (cluster, BusProxy { rules })
}

impl BusProxy {
    /// Cuts the cluster: `sides` says on which side each node is.
    pub fn cut(&self, sides: &[usize]) {
        lock(&self.rules).sides = Some(sides.to_vec());
    }

    /// All reach each other again.
    pub fn heal(&self) {
        lock(&self.rules).sides = None;
    }

    /// What happens to messages between modules from now on.
    pub fn mischief(&self, mischief: Mischief) {
        lock(&self.rules).mischief = mischief;
    }
}

/// Takes connections to the node `to`, as long as the test runs.
fn serve(listener: &TcpListener, bus: u16, to: usize, rules: &Arc<Mutex<Rules>>) {
    for incoming in listener.incoming() {
        let (Ok(incoming), Ok(outgoing)) = (incoming, TcpStream::connect(("127.0.0.1", bus))) else {
            continue;
        };
        // Who connects is known by the first message.
        let from = Arc::new(Mutex::new(None));
        let pair = |stream: &TcpStream| stream.try_clone().expect("a second handle");
        let (reader, writer) = (pair(&outgoing), pair(&incoming));
        let (rules_there, from_there) = (Arc::clone(rules), Arc::clone(&from));
        thread::spawn(move || pump(incoming, outgoing, Way::Towards(to), &rules_there, &from_there));
        let rules_back = Arc::clone(rules);
        thread::spawn(move || pump(reader, writer, Way::Back(to), &rules_back, &from));
    }
}

#[derive(Clone, Copy, Debug)]
enum Way {
    /// From who connected to this node.
    Towards(usize),
    /// The other way.
    Back(usize),
}

fn pump(
    mut reader: TcpStream,
    mut writer: TcpStream,
    way: Way,
    rules: &Mutex<Rules>,
    other: &Mutex<Option<usize>>,
) {
    let mut held: Option<Vec<u8>> = None;
    while let Ok(message) = read_message(&mut reader) {
        let known = {
            let mut other = other.lock().unwrap_or_else(PoisonError::into_inner);
            if let (Way::Towards(_), None, false) = (way, *other, is_short(&message)) {
                let name = String::from_utf8_lossy(&message[SENDER..SENDER + 40]).into_owned();
                *other = lock(rules).nodes.get(&name).copied();
            }
            *other
        };
        let (from, to) = match way {
            Way::Towards(node) => (known, Some(node)),
            Way::Back(node) => (Some(node), known),
        };
        let mut passed: Vec<Vec<u8>> = Vec::new();
        {
            let mut rules = lock(rules);
            if rules.are_cut(from, to) {
                continue;
            }
            if is_of_module(&message) {
                let mischief = rules.mischief;
                let mut message = message;
                if rules.dice.chance(mischief.forged.into()) {
                    let back = rules.dice.below(24_usize) + 1;
                    let at = message.len() - back;
                    message[at] ^= 1 << rules.dice.below(8);
                }
                if rules.dice.chance(mischief.lost.into()) {
                    continue;
                }
                if rules.dice.chance(mischief.late.into()) && held.is_none() {
                    held = Some(message);
                    continue;
                }
                if rules.dice.chance(mischief.doubled.into()) {
                    passed.push(message.clone());
                }
                passed.push(message);
            } else {
                passed.push(message);
            }
            passed.extend(held.take());
        }
        if passed.iter().any(|message| writer.write_all(message).is_err()) {
            break;
        }
    }
    let _ = reader.shutdown(Shutdown::Both);
    let _ = writer.shutdown(Shutdown::Both);
}

fn kind(message: &[u8]) -> u16 {
    u16::from_be_bytes([message[KIND], message[KIND + 1]])
}

fn is_short(message: &[u8]) -> bool {
    kind(message) & SHORT_HEAD != 0 || message.len() < HEAD
}

fn is_of_module(message: &[u8]) -> bool {
    kind(message) & !SHORT_HEAD == OF_MODULE
}

/// `RCmb`, the length of all in four bytes, and the rest.
fn read_message(reader: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; 16];
    reader.read_exact(&mut message)?;
    let length = u32::from_be_bytes([message[4], message[5], message[6], message[7]]);
    let length = usize::try_from(length).expect("a length");
    if &message[..4] != b"RCmb" || length < message.len() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let start = message.len();
    message.resize(length, 0);
    reader.read_exact(&mut message[start..])?;
    Ok(message)
}
