//! `make demo`: a log goes in, a table comes out.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use crate::harness::{Program, eventually, module_path};
use crate::support::root;

fn demo(variables: &[(&str, &str)]) -> Output {
    demo_into(Stdio::piped(), variables)
}

fn demo_into(out: Stdio, variables: &[(&str, &str)]) -> Output {
    Command::new("python3")
        .arg(root().join("scripts/demo.py"))
        .stdout(out)
        .stderr(Stdio::piped())
        .env_remove("LOG")
        .env_remove("LIMITS")
        .env_remove("TOP")
        .env("FLOODGATE_MODULE", module_path())
        .env("FLOODGATE_SERVER", Program::under_test().path)
        .envs(variables.iter().copied())
        .spawn()
        .and_then(Child::wait_with_output)
        .expect("python3 can be run")
}

/// A pipe whose reader has stopped, and a disk that is full.
fn closed_and_full() -> [Stdio; 2] {
    let (_, writer) = std::io::pipe().unwrap();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    [Stdio::from(writer), Stdio::from(full)]
}

#[test]
fn what_cannot_be_written_is_told_without_a_traceback() {
    let said = |output: Output| {
        (output.status.code(), String::from_utf8_lossy(&output.stderr).trim_end().to_owned())
    };
    let [closed, full] = closed_and_full();
    assert_eq!(said(demo_into(closed, &[("TOP", "2")])), (Some(0), String::new()));
    let told = "cannot write to standard output: No space left on device";
    assert_eq!(said(demo_into(full, &[("TOP", "2")])), (Some(1), format!("demo: {told}")));
    let made = |out: Stdio, lines: &str| {
        let made = Command::new("python3")
            .arg(root().join("scripts/synthetic_log.py"))
            .arg(lines)
            .stdout(out)
            .stderr(Stdio::piped())
            .spawn();
        said(made.and_then(Child::wait_with_output).unwrap())
    };
    let [closed, full] = closed_and_full();
    assert_eq!(made(closed, "5"), (Some(0), String::new()));
    assert_eq!(made(full, "5"), (Some(1), format!("synthetic_log: {told}")));
    assert_eq!(made(Stdio::piped(), "²"), (Some(1), "usage: scripts/synthetic_log.py LINES".to_owned()));
}

/// What it printed, each line as words.
fn lines(output: &Output) -> Vec<Vec<String>> {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

#[test]
fn a_log_of_ones_own_becomes_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let mut text = String::from("nonsense\n");
    // Written when they ended: not in order. Eight in one minute, of two offsets.
    for second in [7, 3, 5, 1] {
        text += &format!("10.0.0.1 - - [17/May/2015:10:05:0{second} +0000] \"GET / HTTP/1.1\" 200 1\n");
        text += &format!("10.0.0.1 - joe [17/May/2015:12:05:1{second} +0200] \"GET / HTTP/1.1\" 200 1\n");
    }
    text += "::1 - - [29/Feb/2016:23:59:59 +0000] \"GET / HTTP/1.1\" 304 -\n";
    for caller in ["10.0.0.9, 10.0.0.1", "a.example:443 10.0.0.9", "10.0.0.9:5555", "[::9]:443"] {
        text += &format!("{caller} - joe [29/Feb/2016:23:59:59 +0000] \"GET / HTTP/1.1\" 304 -\n");
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text.as_bytes()).unwrap();
    fs::write(&path, gzip.finish().unwrap()).unwrap();
    let output = demo(&[("LOG", &path.to_string_lossy()), ("LIMITS", "3/m"), ("TOP", "5")]);
    let lines = lines(&output);
    let row = |first: &str| {
        lines.iter().find(|line| line.first().is_some_and(|word| word == first)).cloned().unwrap_or_default()
    };
    assert_eq!(row("address")[..5], ["address", "requests", "granted", "denied", "remaining"]);
    // The fourth comes 6 s after the first, which is free again 54 s later.
    assert_eq!(row("10.0.0.1"), ["10.0.0.1", "8", "3", "5", "0", "54.0", "s"]);
    assert_eq!(row("::1"), ["::1", "1", "1", "0", "2", "-"]);
    // As `make replay` reads it: the first of a list, behind a virtual host, without a port.
    assert_eq!(row("10.0.0.9")[..4], ["10.0.0.9", "3", "3", "0"]);
    assert_eq!(row("::9")[..4], ["::9", "1", "1", "0"]);
    assert_eq!(row("8")[..6], ["8", "granted,", "5", "denied", "(38.5%),", "of"]);
    assert_eq!(row("1")[..5], ["1", "lines", "were", "passed", "over:"]);
}

/// As `make replay` does.
#[test]
fn a_log_that_ends_in_the_middle_is_read_up_to_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log.gz");
    // The mark in front of the file is no part of the first address.
    let mut text = "\u{feff}".to_owned();
    for n in 0..20_000 {
        text += &format!("10.0.0.{} - - [17/May/2015:10:05:01 +0000] \"GET /{n} HTTP/1.1\" 200 1\n", n % 200);
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text.as_bytes()).unwrap();
    let mut gzip = gzip.finish().unwrap();
    gzip.truncate(gzip.len() / 2);
    fs::write(&path, gzip).unwrap();
    let output = demo(&[("LOG", path.to_str().unwrap())]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.starts_with(&format!("demo: {} was read only in part: ", path.display())), "{said}");
    let heading = lines(&output).into_iter().find(|line| !line.is_empty()).unwrap();
    assert!(heading[1].parse::<u32>().unwrap() > 5_000, "{heading:?}");
    assert_eq!(heading[2..5], ["requests", "of", "200"], "{heading:?}");
}

#[test]
fn without_a_log_there_is_traffic_all_the_same() {
    let output = demo(&[]);
    let denied = lines(&output).iter().any(|line| {
        line.get(1).is_some_and(|word| word == "granted,") && line[2].parse::<u32>().unwrap() > 0
    });
    assert!(denied, "{output:?}");
}

#[test]
fn what_is_wrong_is_said() {
    for (variables, text) in [
        (("LOG", "/nowhere/at.all"), "demo: cannot read /nowhere/at.all: No such file or directory"),
        (
            ("LOG", "/dev/null"),
            "demo: null holds no request in the common log format (make replay reads other formats)",
        ),
        (("LIMITS", "10/"), "demo: the server says: ERR invalid limit '10/': missing period"),
        (("TOP", "many"), "demo: TOP=many is not a number of 1 and more"),
        (("TOP", "²"), "demo: TOP=² is not a number of 1 and more"),
        (
            ("FLOODGATE_MODULE", "/nowhere/at.all"),
            "demo: the module is not built: /nowhere/at.all is missing (make build makes it)",
        ),
        (
            ("FLOODGATE_SERVER", "/nowhere/at.all"),
            "demo: cannot start /nowhere/at.all: No such file or directory",
        ),
    ] {
        let output = demo(&[variables]);
        assert!(!output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stderr).trim_end(), text);
    }
}

/// A server that is left over holds memory until somebody finds it.
#[test]
fn whoever_ends_it_finds_nothing_left_over() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("access.log");
    let line = "10.0.0.1 - - [17/May/2015:10:05:01 +0000] \"GET / HTTP/1.1\" 200 1\n";
    fs::write(&log, line.repeat(100_000)).unwrap();
    for (signal, status) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let folder = dir.path().join(signal);
        fs::create_dir(&folder).unwrap();
        let its_folder = || fs::read_dir(&folder).unwrap().next().map(|entry| entry.unwrap().path());
        // Who runs the tests may ignore a signal, and so would what they start.
        let demo = Command::new("env")
            .args(["--default-signal", "python3"])
            .arg(root().join("scripts/demo.py"))
            .env("FLOODGATE_MODULE", module_path())
            .env("FLOODGATE_SERVER", Program::under_test().path)
            .env("LOG", &log)
            .env("TMPDIR", &folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let listens = || its_folder().is_some_and(|folder| folder.join("socket").exists());
        eventually(Duration::from_secs(60), "its server listens", listens);
        let server = UnixStream::connect(its_folder().unwrap().join("socket")).unwrap();
        let id = demo.id().to_string();
        assert!(Command::new("kill").arg(format!("-{signal}")).arg(id).status().unwrap().success());
        let output = demo.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
        assert_eq!(its_folder(), None, "{signal}: its folder is left");
        // The server's end closes the connection.
        let closed = (&server).read(&mut [0]);
        assert!(matches!(&closed, Ok(0) | Err(_)), "{signal}: its server is left: {closed:?}");
    }
}
