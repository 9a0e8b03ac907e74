//! Other modules in the same server.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    harness::{Reply, Server, assert_error_prefix, call, module_path},
    size::record,
};

/// A module with a command of its own that replies "another's": CL.THROTTLE, as
/// redis-cell has.
const OTHER: &str = r#"
#include <stddef.h>
typedef struct Ctx Ctx;
typedef struct String String;
typedef int (*Run)(Ctx *, String **, int);
static int (*reply)(Ctx *, const char *);
static int throttle(Ctx *ctx, String **argv, int argc) {
    (void)argv; (void)argc;
    return reply(ctx, "another's");
}
int RedisModule_OnLoad(Ctx *ctx, String **argv, int argc) {
    (void)argv; (void)argc;
    int (*get)(const char *, void *) = ((void **)ctx)[0];
    void (*attributes)(Ctx *, const char *, int, int);
    int (*create)(Ctx *, const char *, Run, const char *, int, int, int);
    if (get("RedisModule_SetModuleAttribs", &attributes) || get("RedisModule_CreateCommand", &create) ||
        get("RedisModule_ReplyWithSimpleString", &reply)) return 1;
    attributes(ctx, "cell", 1, 1);
    return create(ctx, "cl.throttle", throttle, "write", 1, 1, 1);
}
"#;

/// Compiles it, with a command of this name.
fn other(folder: &tempfile::TempDir, command: &str) -> PathBuf {
    let (source, library) = (folder.path().join("other.c"), folder.path().join("other.so"));
    fs::write(&source, OTHER.replace("cl.throttle", command)).expect("room");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .output()
        .expect("a C compiler");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    library
}

/// Where another module has CL.THROTTLE, ours leaves it alone and loads.
#[test]
fn a_module_with_a_cl_throttle_of_its_own_keeps_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let library = other(&folder, "cl.throttle");
    let library = library.to_string_lossy();
    let server = Server::with(&["--loadmodule", &library]);
    assert_eq!(server.line("CL.THROTTLE k 1 1 1"), Reply::Simple("another's".into()));
    assert_eq!(server.line("RL.ACQUIRE k 5/h").rate_limit().remaining, 4);
    let names: Vec<String> =
        server.line("MODULE LIST").items().iter().map(|module| module.field("name").text()).collect();
    assert!(
        names.iter().any(|name| name == "floodgate") && names.iter().any(|name| name == "cell"),
        "{names:?}"
    );
    // The other way round it is the other that does not load.
    let server = Server::start();
    assert_error_prefix(&server.line(&format!("MODULE LOAD {library}")), "ERR Error loading the extension");
    assert_eq!(server.line("CL.THROTTLE k 1 1 1").items().len(), 5);
    // Unless ours was told to leave the name to others.
    let server = Server::builder().module_args(["compat-cl-throttle", "no"]).start();
    server.ok(&format!("MODULE LOAD {library}"));
    assert_eq!(server.line("CL.THROTTLE k 1 1 1"), Reply::Simple("another's".into()));
    record("another module with CL.THROTTLE", 3, "nothing");
}

/// The same for the other names that others may have; ours keep the rest.
#[test]
fn names_that_another_module_has_are_left_to_it() {
    for (taken, ours) in [
        ("gcra", ["CL.THROTTLE", "RL.THROTTLE"]),
        ("rl.throttle", ["CL.THROTTLE", "GCRA"]),
        ("cl.throttle", ["RL.THROTTLE", "GCRA"]),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let library = other(&folder, taken);
        let server = Server::with(&["--loadmodule", &library.to_string_lossy()]);
        assert_eq!(server.line(&format!("{taken} k 1 1 1")), Reply::Simple("another's".into()));
        for name in ours {
            assert_eq!(server.line(&format!("{name} k 1 1 1")).items().len(), 5, "{name} beside {taken}");
        }
        assert_eq!(server.line("RL.ACQUIRE l 5/h").rate_limit().remaining, 4);
    }
    record("another module with GCRA or RL.THROTTLE", 3, "nothing");
}

/// Loaded twice, the second is refused and the first goes on.
#[test]
fn a_second_copy_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("copy.so");
    fs::copy(module_path(), &copy).expect("room");
    let server = Server::start();
    server.line("RL.ACQUIRE k 5/h");
    for path in [module_path(), copy] {
        let refused = call!(server, "MODULE", "LOAD", path.to_string_lossy().into_owned());
        assert_error_prefix(&refused, "ERR Error loading the extension");
    }
    assert_eq!(server.line("RL.ACQUIRE k 5/h").rate_limit().remaining, 3);
    let modules = server.line("MODULE LIST");
    let ours = modules.items().iter().filter(|module| module.field("name").text() == "floodgate");
    assert_eq!(ours.count(), 1);
}
