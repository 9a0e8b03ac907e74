//! Copies `/libfloodgate.so` into a folder: the one program of the library's image,
//! for init containers. That image has no shell and no `cp`.
//!
//!     /copy FOLDER
//!
//! `scripts/images/context.sh` builds it as a static program.

use std::path::Path;
use std::process::ExitCode;

const LIBRARY: &str = "/libfloodgate.so";

fn main() -> ExitCode {
    let mut folders = std::env::args_os().skip(1);
    let (Some(folder), None) = (folders.next(), folders.next()) else {
        eprintln!("copy: name one folder, such as /modules");
        return ExitCode::from(2);
    };
    let (folder, name) = (Path::new(&folder), "libfloodgate.so");
    // A server that starts meanwhile finds the whole library or none.
    let (whole, part) = (folder.join(name), folder.join(".libfloodgate.so.part"));
    match std::fs::copy(LIBRARY, &part).and_then(|_| std::fs::rename(&part, &whole)) {
        Ok(()) => {
            println!("copy: {} is there", whole.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("copy: cannot write {}: {error}", whole.display());
            ExitCode::FAILURE
        }
    }
}
