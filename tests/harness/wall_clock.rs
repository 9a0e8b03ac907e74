//! Servers whose wall clock a test moves, as an administrator or a bad time server does: expiry times and
//! all else of the server move along, unlike under `RL.DEBUG CLOCK`. The steady clock stays as it is.

use super::{Builder, Program, Server, c_library};
use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::LazyLock};

/// A program that runs the server under test with the library before the C library.
static PROGRAM: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let (folder, library) = c_library("harness/wall_clock.c");
    let wrapper = folder.path().join("server");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" != redis.conf ] || head -c 8 /dev/zero >moved\nLD_PRELOAD='{}' exec '{}' \"$@\"\n",
        library.display(),
        Program::under_test().path.display()
    );
    fs::write(&wrapper, script).expect("room");
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).expect("our own file");
    (folder, wrapper)
});

/// A server to be, whose wall clock begins at that of the machine.
pub fn with_wall_clock() -> Builder {
    Server::builder().program(&PROGRAM.1)
}

/// Moves the wall clock of a server to so many seconds after that of the machine.
pub fn move_wall_clock(server: &Server, seconds: i64) {
    let mut moved = fs::OpenOptions::new().write(true).open(server.dir().join("moved")).expect("its file");
    moved.write_all(&seconds.to_ne_bytes()).expect("room");
}
