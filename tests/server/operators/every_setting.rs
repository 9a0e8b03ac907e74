//! Every row of the table of settings, in each of its forms: a module argument, CONFIG SET, and a line of
//! the configuration file, which CONFIG REWRITE keeps. Each sets its own setting and no other.

use floodgate::server::load::settings::{Setting, SettingKind};
use floodgate::settings::TABLE;
use std::{collections::BTreeMap, fs, path::PathBuf};

use crate::harness::{Builder, Reply, Server, assert_error_prefix, call};

/// All settings of the module, by their names without the prefix.
type Values = BTreeMap<String, String>;

fn name(setting: &Setting) -> &str {
    setting.name.to_str().unwrap()
}

/// A server without module arguments.
fn bare() -> Builder {
    Server::builder().module_args(Vec::<String>::new())
}

fn all_values(server: &Server) -> Values {
    let reply = call!(server, "CONFIG", "GET", "floodgate.*");
    let pairs = reply.items().chunks(2).map(|pair| {
        let name = pair[0].text();
        (name.strip_prefix("floodgate.").unwrap().to_owned(), pair[1].text())
    });
    let values: Values = pairs.collect();
    assert_eq!(values.len(), TABLE.len());
    values
}

/// A value of each setting that is neither its default nor a value of another.
struct OtherValues {
    defaults: Values,
    policies_file: PathBuf,
    _folder: tempfile::TempDir,
}

impl OtherValues {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let policies_file = folder.path().join("policies.json");
        fs::write(&policies_file, r#"{"policies":[{"name":"a","limits":"5/s","prefix":"a:"}]}"#).unwrap();
        let server = bare().start();
        let defaults = if server.at_least(7, 0) { all_values(&server) } else { Values::new() };
        Self { defaults, policies_file, _folder: folder }
    }

    fn of(&self, place: usize, setting: &Setting) -> String {
        match &setting.kind {
            SettingKind::Number { min, max, .. } => {
                let number = min + 20 + i64::try_from(place).unwrap();
                assert!(number <= *max);
                number.to_string()
            }
            SettingKind::Switch(_) if self.defaults.get(name(setting)).is_some_and(|value| value == "no") => {
                "yes".into()
            }
            SettingKind::Switch(_) => "no".into(),
            SettingKind::Text(_) => match name(setting) {
                "default-limit" => "7/m".into(),
                "default-breaker" => "20%/20s".into(),
                "policies-file" => self.policies_file.to_str().unwrap().into(),
                // All others are durations.
                _ => format!("{}s", 20 + place),
            },
        }
    }

    /// What is to be read when this setting has another value, and all others their defaults.
    fn expected(&self, place: usize, setting: &Setting) -> Values {
        let mut expected = self.defaults.clone();
        let before = expected.insert(name(setting).to_owned(), self.of(place, setting));
        assert_ne!(before.as_ref(), Some(&expected[name(setting)]), "{} has its default", name(setting));
        expected
    }

    fn assert_alone(&self, server: &Server, place: usize, setting: &Setting, form: &str) {
        assert_eq!(all_values(server), self.expected(place, setting), "{} by {form}", name(setting));
    }
}

#[test]
fn a_module_argument_sets_its_setting_and_no_other() {
    let other = OtherValues::new();
    for (place, setting) in TABLE.iter().enumerate() {
        let server = bare().module_args([name(setting), &other.of(place, setting)]).start();
        // Before 7.0 the server cannot say what a module's settings are.
        if server.at_least(7, 0) {
            other.assert_alone(&server, place, setting, "a module argument");
        }
    }
}

#[test]
fn config_set_sets_its_setting_and_no_other() {
    let other = OtherValues::new();
    let server = bare().start();
    if !server.at_least(7, 0) {
        return;
    }
    for (place, setting) in TABLE.iter().enumerate() {
        let full = format!("floodgate.{}", name(setting));
        let set = |value: &str| call!(server, "CONFIG", "SET", full.as_str(), value);
        let reply = set(&other.of(place, setting));
        if setting.load_only {
            assert_error_prefix(&reply, "ERR CONFIG SET failed");
        } else {
            assert_eq!(reply, Reply::ok(), "{full}");
            other.assert_alone(&server, place, setting, "CONFIG SET");
            assert_eq!(set(&other.defaults[name(setting)]), Reply::ok(), "{full}");
        }
        assert_eq!(all_values(&server), other.defaults, "{full} has its default again");
    }
}

#[test]
fn a_line_of_the_configuration_file_sets_its_setting_and_no_other() {
    let other = OtherValues::new();
    if other.defaults.is_empty() {
        return;
    }
    for (place, setting) in TABLE.iter().enumerate() {
        let line = format!("--floodgate.{}", name(setting));
        let mut server = bare().args([line, other.of(place, setting)]).start();
        other.assert_alone(&server, place, setting, "the configuration file");
        server.ok("CONFIG REWRITE");
        server.restart();
        other.assert_alone(&server, place, setting, "the file after CONFIG REWRITE");
    }
}

/// CONFIG REWRITE keeps what CONFIG SET has set, of all settings at once.
#[test]
fn config_rewrite_keeps_every_setting() {
    let other = OtherValues::new();
    let mut server = bare().start();
    if !server.at_least(7, 0) {
        return;
    }
    let mut expected = other.defaults.clone();
    for (place, setting) in TABLE.iter().enumerate().filter(|(_, setting)| !setting.load_only) {
        let value = other.of(place, setting);
        server.config_set(&format!("floodgate.{}", name(setting)), &value);
        expected.insert(name(setting).to_owned(), value);
    }
    assert_eq!(all_values(&server), expected);
    server.ok("CONFIG REWRITE");
    server.restart();
    assert_eq!(all_values(&server), expected);
}
