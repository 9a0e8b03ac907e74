//! The programs of `src/clients/OTHER-LANGUAGES.md`, run as they stand there: granted and
//! denied by a real server, and while there is none, while it hangs, and while it refuses.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::harness::{Reply, Server};
use crate::support::{not_tried, root};

/// A language, as its code is marked on the page.
struct Language {
    name: &'static str,
    file: &'static str,
    /// Succeeds where Debian's client is installed.
    there: &'static str,
    /// Makes `first` of the file.
    build: &'static str,
}

const LANGUAGES: [Language; 5] = [
    Language {
        name: "go",
        file: "first.go",
        there: "go version && test -d /usr/share/gocode/src/github.com/gomodule/redigo",
        build: "GOPATH=/usr/share/gocode GO111MODULE=off GOFLAGS= GOCACHE=$PWD/cache go build -o first first.go",
    },
    Language {
        name: "php",
        file: "first.php",
        there: "php -r 'exit(extension_loaded(\"redis\") ? 0 : 1);'",
        build: "printf '#!/bin/sh\\nexec php first.php\\n' >first && chmod +x first",
    },
    Language {
        name: "ruby",
        file: "first.rb",
        there: "ruby -e 'require \"redis\"'",
        build: "printf '#!/bin/sh\\nexec ruby first.rb\\n' >first && chmod +x first",
    },
    Language {
        name: "perl",
        file: "first.pl",
        there: "perl -MRedis -e 1",
        build: "printf '#!/bin/sh\\nexec perl first.pl\\n' >first && chmod +x first",
    },
    Language {
        name: "c",
        file: "first.c",
        there: "test -e /usr/include/hiredis/hiredis.h && cc --version",
        build: "cc -Wall -Wextra -Werror first.c -o first -lhiredis",
    },
];

/// Nothing that ends takes so long; what takes longer hangs.
const HANGS: Duration = Duration::from_secs(30);

/// How often a busy machine may be late.
const TURNS: u32 = 20;

fn page() -> String {
    fs::read_to_string(root().join("src/clients/OTHER-LANGUAGES.md")).unwrap()
}

/// The only program of a language on the page.
fn program<'p>(page: &'p str, language: &str) -> &'p str {
    let fence = format!("```{language}\n");
    let mut blocks = page.split(&fence).skip(1);
    let block = blocks.next().unwrap_or_else(|| panic!("no program in {language}"));
    assert!(blocks.next().is_none(), "two programs in {language}");
    block.split("```").next().unwrap()
}

fn shell(line: &str, folder: &Path) -> (bool, String) {
    let mut command = Command::new("sh");
    let output = command.args(["-c", line]).current_dir(folder).stdin(Stdio::null()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// What the program prints, and how long it took.
fn first(folder: &Path, port: u16) -> (String, Duration) {
    let mut command = Command::new("./first");
    command.current_dir(folder).env("REDIS_URL", format!("redis://127.0.0.1:{port}"));
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8(output.stdout).unwrap(), start.elapsed())
}

fn tried(language: &Language, server: &Server) -> bool {
    let Language { name, file, there, build } = language;
    let dir = TempDir::with_prefix(format!("floodgate-{name}-")).unwrap();
    let folder = dir.path();
    let (is_there, _) = shell(there, folder);
    if !is_there {
        not_tried(&format!("the program in {name} is"), "its Debian packages are not installed");
        return false;
    }
    fs::write(folder.join(file), program(&page(), name)).unwrap();
    let (is_built, said) = shell(build, folder);
    assert!(is_built, "{name}: {said}");

    let says = |port| first(folder, port).0;
    // A server that is well may take longer than the program's 250 ms on a busy machine: then all
    // is said anew.
    let answers = |expected: &[&str]| {
        for _ in 0..TURNS {
            server.ok("FLUSHALL");
            let said: Vec<String> = expected.iter().map(|_| says(server.port())).collect();
            if said == expected {
                return;
            }
            assert!(said.iter().any(|line| line.starts_with("let pass: ")), "{name}: {said:?}");
        }
        panic!("{name}: it does not say {expected:?}");
    };
    server.clock_set(1_700_000_000_000_000);
    answers(&["2 left\n", "1 left\n", "0 left\n", "again in 60000 ms\n"]);

    // It refuses.
    server.line("DEL user:42");
    server.ok("SET user:42 text");
    let refused = (0..TURNS).map(|_| says(server.port())).any(|said| {
        assert!(said.starts_with("let pass: "), "{name}: {said}");
        said.contains("WRONGTYPE ")
    });
    assert!(refused, "{name}");
    server.line("DEL user:42");

    // It hangs; what was sent meanwhile counts at most once.
    signal(server, "-STOP");
    let (said, took) = first(folder, server.port());
    signal(server, "-CONT");
    assert!(said.starts_with("let pass: "), "{name}: {said}");
    assert!(took < HANGS, "{name}: {took:?}");
    let used = server.line("RL.QUOTA user:42 3/m").items()[0].field("used");
    assert!([Reply::Int(0), Reply::Int(1)].contains(&used), "{name}: {used:?}");
    // The server may do only now what was sent while it hung.
    let said = (0..TURNS).map(|_| says(server.port())).find(|said| !said.starts_with("let pass: "));
    assert!(said.as_deref().is_some_and(|said| said.ends_with(" left\n")), "{name}: {said:?}");

    // There is none.
    let said = says(1);
    assert!(said.starts_with("let pass: "), "{name}: {said}");
    true
}

fn signal(server: &Server, signal: &str) {
    assert!(Command::new("kill").args([signal, &server.pid().to_string()]).status().unwrap().success());
}

#[test]
fn the_programs_of_the_page_run() {
    let server = Server::start();
    for language in &LANGUAGES {
        tried(language, &server);
    }
}

/// And those that nothing here runs are said to be unrun.
#[test]
fn what_is_not_run_is_said() {
    let page = page();
    for (name, heading) in [("java", "## Java (not run)\n"), ("csharp", "## .NET (not run)\n")] {
        assert!(program(&page, name).contains("RL.ACQUIRE"));
        assert!(page.contains(heading), "{heading}");
    }
    let fences = page.lines().filter(|line| line.starts_with("```") && line.len() > 3).count();
    assert_eq!(fences, LANGUAGES.len() + 2, "a program that nothing runs");
}
