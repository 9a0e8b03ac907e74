//! What stands in one place: unsafe code, the catching of panics, folders of the top level.

use crate::sources::sources;
use std::fs;
use std::path::Path;

#[test]
fn unsafe_code_and_the_raw_api_stay_in_server() {
    for file in sources() {
        let folder = file.module.first().map(String::as_str);
        let text = fs::read_to_string(&file.path).unwrap();
        let code: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let has = |word: &str| code.iter().any(|line| line.contains(word));
        let path = file.path.display();
        assert!(folder == Some("server") || !has("unsafe"), "{path} has unsafe code");
        let may_name_it = matches!(folder, Some("server") | None);
        assert!(may_name_it || !has("redis_module"), "{path} names the crate redis-module");
    }
}

/// A panic must not reach the server: `src/server/boundary.rs` stops it, and every function that
/// the server calls goes through there.
#[test]
fn panics_are_caught_in_one_file() {
    let catching = sources().into_iter().filter_map(|file| {
        let text = fs::read_to_string(&file.path).unwrap();
        text.contains("catch_unwind").then(|| file.module.join("::"))
    });
    assert_eq!(catching.collect::<Vec<_>>(), ["server::boundary"]);
}

#[test]
fn the_top_level_has_no_other_folder() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ignored = fs::read_to_string(root.join(".gitignore")).unwrap();
    for entry in fs::read_dir(root).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let known = ["src", "tests", "scripts"].contains(&name.as_str())
            || name.starts_with('.')
            || ignored.lines().any(|line| line.trim_matches('/') == name);
        assert!(known || !entry.path().is_dir(), "{name} is a folder of its own");
    }
}
