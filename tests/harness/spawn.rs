//! Processes that the kernel kills when the test run ends, however it ends.

use std::{
    io,
    process::{Child, Command},
    sync::{
        LazyLock, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

/// Starts a process from a thread that lives as long as the test run: the
/// kernel's "kill it when its parent dies" means the parent thread, and each
/// test has a thread of its own.
pub fn spawn(command: Command) -> io::Result<Child> {
    type Order = (Command, Sender<io::Result<Child>>);
    static SPAWNER: LazyLock<Mutex<Sender<Order>>> = LazyLock::new(|| {
        let (orders, taken): (Sender<Order>, Receiver<Order>) = channel();
        thread::spawn(move || {
            for (mut command, answer) in taken {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, child) = channel();
    let orders = SPAWNER.lock().unwrap_or_else(PoisonError::into_inner).clone();
    orders.send((command, answer)).expect("the spawner lives");
    child.recv().expect("the spawner answers")
}
