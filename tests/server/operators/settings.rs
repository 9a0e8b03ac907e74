//! Settings: module arguments, CONFIG GET, SET and REWRITE, and refusals.

use floodgate::reference::pages::SETTINGS;

use crate::harness::{Reply, Server, assert_error_prefix, call};

fn with(args: &[&str]) -> Server {
    let mut all = vec!["enable-debug-command", "yes"];
    all.extend(args);
    Server::builder().module_args(all).start()
}

#[test]
fn module_arguments() {
    let server = with(&[
        "default-limit",
        "7/m",
        "caller-limits",
        "no",
        "floodgate.batch-max",
        "2",
        "Compat-CL-Throttle",
        "NO",
    ]);
    assert_eq!(server.line("RL.ACQUIRE k 10/s").rate_limit().limit, 7);
    assert_error_prefix(
        &server.line("RL.BATCH ALL 3 a 1/s 1 b 1/s 1 c 1/s 1"),
        "ERR numitems must be a whole number from 1 to 2",
    );
    assert_error_prefix(&server.line("CL.THROTTLE k 1 1 1"), "ERR unknown command");
    if server.at_least(7, 0) {
        for (name, value) in [
            ("default-limit", "7/m"),
            ("caller-limits", "no"),
            ("batch-max", "2"),
            ("compat-cl-throttle", "no"),
            ("enable-debug-command", "yes"),
        ] {
            assert_eq!(server.config_get(&format!("floodgate.{name}")).as_deref(), Some(value));
        }
    }
}

/// Each is as the reference says.
#[test]
fn defaults() {
    let server = Server::builder().module_args(Vec::<String>::new()).start();
    if server.at_least(7, 0) {
        let mut rows = 0;
        for line in SETTINGS.1.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = line.split('|').map(|cell| cell.trim_matches([' ', '`'])).collect();
            let value = server.config_get(&format!("floodgate.{}", cells[1]));
            assert_eq!(value.as_deref(), Some(cells[2]), "{line}");
            rows += 1;
        }
        assert!(rows >= 19, "{rows}");
    }
    assert_eq!(server.line("CL.THROTTLE k 1 1 1").items().len(), 5);
}

#[test]
fn a_wrong_argument_refuses_to_load_and_says_why() {
    for (args, reason) in [
        (&["nonsense", "1"] as &[&str], "unknown setting 'nonsense'"),
        (&["floodgate.nonsense", "1"], "unknown setting 'floodgate.nonsense'"),
        (&["batch-max"], "setting 'batch-max' has no value"),
        (&["batch-max", "0"], "setting 'batch-max' = '0': expected a whole number from 1 to 1000000"),
        (&["batch-max", "1000001"], "setting 'batch-max' = '1000001': expected a whole number from 1 to"),
        (&["batch-max", "many"], "setting 'batch-max' = 'many': expected a whole number from 1 to 1000000"),
        (&["caller-limits", "maybe"], "setting 'caller-limits' = 'maybe': expected yes or no"),
        (&["enable-debug-command", "1"], "setting 'enable-debug-command' = '1': expected yes or no"),
        (&["default-limit", "10/"], "setting 'default-limit' = '10/': invalid limit '10/': missing period"),
        (
            &["default-limit", "*"],
            "setting 'default-limit' = '*': '*' would ask for this setting itself, write limits such as 100/m",
        ),
        (
            &["default-limit", "@gold"],
            "setting 'default-limit' = '@gold': a policy chooses its keys by PREFIX",
        ),
        (&["batch-max", "5", "%s%n", "1"], "unknown setting '%s%n'"),
    ] {
        let log = Server::builder().module_args(args.iter().copied()).try_start().err();
        let log = log.unwrap_or_else(|| panic!("{args:?} was taken"));
        let line = format!("floodgate does not load: {reason}");
        assert!(log.contains(&line), "{line}\n{log}");
    }
}

/// CONFIG REWRITE, which Sentinel sends too, writes module arguments without quotes.
#[test]
fn what_needs_quotes_is_warned_of_and_survives_a_rewrite_on_a_line_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("two words.json");
    std::fs::write(&file, r#"{"policies":[{"name":"a","limits":"5/s","prefix":"a:"}]}"#).expect("room");
    let file = file.to_string_lossy().into_owned();
    let settings = [("default-breaker", ""), ("default-limit", ""), ("policies-file", &file)];
    for (name, value) in settings {
        let server = Server::builder().module_args([name, value, "events", "no"]).start();
        let line = format!(
            "setting '{name}' = '{value}': CONFIG REWRITE writes module arguments without quotes, and the server \
             would not start after it. Give it on a line of its own: floodgate.{name} \"...\""
        );
        // Before 7.0 the server leaves the arguments as they are.
        assert_eq!(server.log().contains(&line), server.at_least(7, 0), "{line}\n{}", server.log());
    }
    let lines =
        settings.iter().flat_map(|(name, value)| [format!("--floodgate.{name}"), (*value).to_owned()]);
    let Ok(mut server) = Server::builder().args(lines).try_start() else { return };
    for _ in 0..2 {
        for (name, value) in settings {
            assert_eq!(server.config_get(&format!("floodgate.{name}")).as_deref(), Some(value));
        }
        server.ok("CONFIG REWRITE");
        server.restart();
    }
}

#[test]
fn config_set_takes_effect_at_once() {
    let server = Server::start();
    if !server.at_least(7, 0) {
        return;
    }
    server.config_set("floodgate.default-limit", "bucket:5/s:burst=9,100/h");
    assert_eq!(server.line("RL.ACQUIRE k").rate_limit().limit, 9);
    // As written, not as stored.
    server.config_set("floodgate.default-limit", "5/SECOND");
    assert_eq!(server.config_get("floodgate.default-limit").as_deref(), Some("5/SECOND"));
    server.config_set("floodgate.batch-max", "1");
    assert!(server.line("RL.BATCH ALL 2 a 1/s 1 b 1/s 1").error().is_some());
    let refused = |name: &str, value: &str, reason: &str| {
        let full = format!("floodgate.{name}");
        let before = server.config_get(&full);
        assert_error_prefix(
            &call!(server, "CONFIG", "SET", full, value),
            &format!("ERR CONFIG SET failed (possibly related to argument '{full}') - {reason}"),
        );
        assert_eq!(server.config_get(&full), before);
    };
    refused("default-limit", "10/", "invalid limit '10/': missing period");
    refused("default-limit", "*", "'*' would ask for this setting itself, write limits such as 100/m");
    refused("default-limit", "10/s\r\n", r"invalid limit '10/s\r\n': has white space");
    refused("batch-max", "0", "argument must be between 1 and 1000000 inclusive");
    refused("batch-max", "x", "argument couldn't be parsed into an integer");
    refused("caller-limits", "maybe", "argument must be 'yes' or 'no'");
    refused("compat-cl-throttle", "no", "can't set immutable config");
    assert_eq!(server.line("RL.ACQUIRE k2").rate_limit().limit, 5);
}

#[test]
fn config_rewrite_and_restart() {
    let mut server = with(&["default-limit", "7/m", "batch-max", "50"]);
    if !server.at_least(7, 0) {
        return;
    }
    // Nothing changed: nothing to write, and it starts again.
    server.ok("CONFIG REWRITE");
    server.restart();
    assert_eq!(server.config_get("floodgate.default-limit").as_deref(), Some("7/m"));
    server.config_set("floodgate.default-limit", "fixed:3/day:tz=Europe/Paris:name=a,9/h");
    server.config_set("floodgate.caller-limits", "no");
    server.config_set("floodgate.batch-max", "3");
    server.ok("CONFIG REWRITE");
    server.restart();
    assert_eq!(
        server.config_get("floodgate.default-limit").as_deref(),
        Some("fixed:3/day:tz=Europe/Paris:name=a,9/h")
    );
    assert_eq!(server.config_get("floodgate.caller-limits").as_deref(), Some("no"));
    assert_eq!(server.config_get("floodgate.batch-max").as_deref(), Some("3"));
    assert_eq!(server.line("RL.ACQUIRE k 10/s").rate_limit().limit, 3);
    // Back to empty, although the module argument says otherwise.
    server.config_set("floodgate.default-limit", "");
    server.ok("CONFIG REWRITE");
    server.restart();
    assert_eq!(server.config_get("floodgate.default-limit").as_deref(), Some(""));
}

#[test]
fn settings_in_the_configuration_file() {
    let server = Server::builder().args(["--floodgate.batch-max", "7"]);
    // Before 7.0 a module has no settings in the file.
    match server.try_start() {
        Ok(server) => {
            assert!(server.at_least(7, 0));
            assert_eq!(server.config_get("floodgate.batch-max").as_deref(), Some("7"));
        }
        Err(log) => assert!(log.contains("floodgate.batch-max"), "{log}"),
    }
    for (name, value) in [("floodgate.batch-max", "0"), ("floodgate.default-limit", "10/")] {
        let refused = Server::builder().args(["--".to_owned() + name, value.to_owned()]).try_start();
        let log = refused.err().unwrap_or_else(|| panic!("{name} {value} was taken"));
        assert!(log.contains(name), "{log}");
    }
}

#[test]
fn module_loadex() {
    let server = Server::builder().without_module().start();
    if !server.at_least(7, 0) {
        return;
    }
    let path = crate::harness::module_path().to_string_lossy().into_owned();
    let load = |tail: &[&str]| {
        let mut args = vec!["MODULE", "LOADEX", &path];
        args.extend(tail);
        server.call(&args)
    };
    assert_error_prefix(&load(&["ARGS", "nonsense", "1"]), "ERR Error loading the extension.");
    assert_error_prefix(&load(&["CONFIG", "floodgate.batch-max", "0"]), "ERR Error loading the extension.");
    assert_error_prefix(&server.line("RL.HELP"), "ERR unknown command");
    let ok = load(&["CONFIG", "floodgate.batch-max", "9", "ARGS", "default-limit", "4/s"]);
    assert_eq!(ok, Reply::ok());
    assert_eq!(server.config_get("floodgate.batch-max").as_deref(), Some("9"));
    assert_eq!(server.line("RL.ACQUIRE k").rate_limit().limit, 4);
    // A module with a native type stays.
    assert_error_prefix(&server.line("MODULE UNLOAD floodgate"), "ERR Error unloading module");
}
