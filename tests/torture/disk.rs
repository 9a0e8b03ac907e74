//! Disks that are full.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command, time::Duration};

use crate::{
    harness::{Builder, Program, Reply, Server, Wire, eventually},
    load::LIMITS,
    size::{record, tries},
};

/// A server whose files can be kept from growing: a write beyond the limit
/// fails, as on a full disk, and does not end the process.
fn builder(folder: &tempfile::TempDir, fsync: &str) -> Builder {
    let program = Program::under_test().path;
    let wrapper: PathBuf = folder.path().join("server");
    let script = format!("#!/bin/sh\ntrap '' XFSZ\nexec \"{}\" \"$@\"\n", program.display());
    fs::write(&wrapper, script).expect("room");
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).expect("our own file");
    Server::builder().program(wrapper).args([
        "--appendonly",
        "yes",
        "--appendfsync",
        fsync,
        "--auto-aof-rewrite-percentage",
        "0",
    ])
}

/// Lets no file of the server grow beyond so many bytes.
fn limit_files(server: &Server, bytes: &str) {
    let pid = server.pid().to_string();
    let done = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")]).status();
    assert!(done.expect("prlimit (util-linux) can be run").success());
}

/// Takes a unit at a time until the server refuses or is gone; gives how many
/// were granted, and whether a last one perhaps was.
fn take_until_refused(wire: &mut Wire) -> (i64, i64) {
    let mut granted = 0;
    loop {
        let request = ["RL.ACQUIRE", "user", LIMITS];
        match wire.try_send(&request).and_then(|()| wire.try_read(Duration::from_secs(20))) {
            Ok(Some(Reply::Array(_))) => granted += 1,
            Ok(Some(Reply::Error(text))) => {
                assert!(text.starts_with("MISCONF "), "{text}");
                return (granted, 0);
            }
            Ok(other) => panic!("answered by {other:?}"),
            Err(_) => return (granted, 1),
        }
    }
}

fn used(server: &Server) -> i64 {
    server.line("RL.QUOTA user")[0].field("used").int()
}

/// With `everysec` the server refuses what it cannot write and lives; when there
/// is room again it goes on, and everything acknowledged is in the file.
#[test]
fn a_full_disk_loses_nothing_acknowledged() {
    let rounds = tries(1, 20);
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = builder(&folder, "everysec").start();
    let mut expected = 0;
    for round in 1..=rounds {
        limit_files(&server, &(20_000 * round).to_string());
        expected += take_until_refused(&mut server.wire()).0;
        // What only looks goes on; what takes says why not.
        assert_eq!(used(&server), expected);
        limit_files(&server, "unlimited");
        eventually(Duration::from_secs(20), "the server writes again", || {
            server.info_field("persistence", "aof_last_write_status") == "ok"
        });
        assert_eq!(server.line(&format!("RL.ACQUIRE user {LIMITS}")).rate_limit().granted, 1);
        expected += 1;
        eventually(Duration::from_secs(20), "the server has written all", || {
            server.info_field("persistence", "aof_buffer_length") == "0"
        });
        server.restart();
        assert_eq!(used(&server), expected, "after round {round}");
    }
    assert!(expected > 100, "only {expected} units were granted: nothing was tried");
    record(&format!("disk full, appendfsync everysec ({expected} units granted)"), rounds, "nothing");
}

/// With `always` the server itself ends on a write that fails, rather than
/// acknowledge it; started again it has everything that it had acknowledged.
#[test]
fn a_full_disk_ends_a_server_that_must_always_write() {
    let rounds = tries(1, 20);
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = builder(&folder, "always").start();
    let mut expected = 0;
    for round in 1..=rounds {
        limit_files(&server, &(20_000 * round).to_string());
        let (granted, unknown) = take_until_refused(&mut server.wire());
        let status = server.wait_exit();
        assert_eq!(status.code(), Some(1), "{}", server.log());
        server.restart();
        let used = used(&server);
        expected += granted;
        assert!((expected..=expected + unknown).contains(&used), "{used} used, {expected} granted");
        expected = used;
    }
    assert!(expected > 100, "only {expected} units were granted: nothing was tried");
    record(&format!("disk full, appendfsync always ({expected} units granted)"), rounds, "nothing");
}
