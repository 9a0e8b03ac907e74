//! What differs between servers, as the module tells them apart.

use floodgate::server::ffi::api::missing;
use floodgate::server::keys::left_database::has_fault;
use floodgate::server::load::options;
use floodgate::server::other_modules::comes_with_server;

#[test]
fn what_is_valkeys_is_declared_to_valkey_only() {
    assert_eq!(options(false) & 1 << 5, 0);
    assert_eq!(options(true), options(false) | 1 << 5);
}

#[test]
fn a_file_of_the_same_name_is_a_neighbour() {
    for (name, path) in [("vectorset", ""), ("lua", "lua")] {
        assert!(comes_with_server(name.as_bytes(), path.as_bytes()), "{name}");
    }
    for (name, path) in [
        ("vectorset", "/usr/lib/vectorset.so"),
        ("lua", "/usr/lib/valkey/lua.so"),
        ("lua", "./lua"),
        ("search", ""),
        ("floodgate", "/usr/lib/libfloodgate.so"),
    ] {
        assert!(!comes_with_server(name.as_bytes(), path.as_bytes()), "{name} at {path}");
    }
}

#[test]
fn without_a_server_every_function_is_missing() {
    assert_eq!(missing(), Some("RedisModule_BlockClientOnKeys"));
}

#[test]
fn the_versions_between() {
    for version in ["8.1.0", "8.1.1", "8.1.9", "9.0.3", "9.1.0", "9.1.1", "9.1.1-rc1"] {
        assert!(has_fault(version.as_bytes()), "{version}");
    }
    for version in ["", "x", "7.2.4", "8.0.9", "9.1.2", "9.2.0", "10.0.0"] {
        assert!(!has_fault(version.as_bytes()), "{version}");
    }
}
