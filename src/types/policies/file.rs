//! A file of policies, as the setting `policies-file` names it.

use crate::core::policies::{Policies, Policy};
use crate::core::wire::fnv;
use crate::types::policies::json::{self, Existing};
use std::io::Read;
use std::time::UNIX_EPOCH;

/// The content of a file of policies when the module was loaded.
#[derive(Debug)]
pub struct PoliciesFile {
    /// The path of the file.
    pub path: String,
    /// The digest of its bytes.
    pub digest: u64,
    /// When it was last changed, in seconds since 1970; 0 if the system does not tell.
    pub changed_s: u64,
    /// The policies in it.
    pub policies: Vec<Policy>,
}

impl PoliciesFile {
    /// The largest file that is read, in bytes. Files that people write are smaller.
    const LONGEST: u64 = 64 << 20;

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// The file cannot be read, is too long, or has no policies that fit together.
    pub fn read(path: String) -> Result<Self, String> {
        let mut bytes = Vec::new();
        let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
        let file = std::fs::File::open(&path).map_err(unreadable)?;
        let changed = file.metadata().and_then(|metadata| metadata.modified()).ok();
        let changed_s =
            changed.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0, |age| age.as_secs());
        file.take(Self::LONGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > Self::LONGEST {
            return Err("is longer than 64 MiB".to_owned());
        }
        let policies = json::import(&Policies::default(), &bytes, Existing::Replaced)
            .map_err(|unreadable| unreadable.to_string())?;
        Ok(Self { path, digest: fnv(&bytes), changed_s, policies })
    }
}
