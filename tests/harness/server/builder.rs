//! A server to be: its program, settings, module and data.

use super::Server;
use crate::harness::program::{Program, module_path};
use std::path::PathBuf;

/// A server to be: its program, settings and module arguments.
#[derive(Clone, Debug)]
pub struct Builder {
    pub(super) program: PathBuf,
    pub(super) settings: Vec<Vec<String>>,
    pub(super) module: Option<PathBuf>,
    pub(super) module_args: Vec<String>,
    pub(super) data: Option<PathBuf>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            program: Program::under_test().path,
            settings: Vec::new(),
            module: Some(module_path()),
            module_args: vec!["enable-debug-command".into(), "yes".into()],
            data: None,
        }
    }

    /// Adds settings as on the server's command line:
    /// `["--appendonly", "yes", "--save", "900", "1"]`. A later setting wins.
    #[must_use]
    pub fn args<S: AsRef<str>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        for arg in args {
            if let Some(name) = arg.as_ref().strip_prefix("--") {
                self.settings.push(vec![name.into()]);
            } else {
                self.settings.last_mut().expect("a setting before its value").push(arg.as_ref().into());
            }
        }
        self
    }

    /// Replaces the arguments of the module, `enable-debug-command yes`.
    #[must_use]
    pub fn module_args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.module_args = args.into_iter().map(Into::into).collect();
        self
    }

    /// Loads no module.
    #[must_use]
    pub fn without_module(mut self) -> Self {
        self.module = None;
        self
    }

    /// Loads another library instead of ours.
    #[must_use]
    pub fn module(mut self, path: impl Into<PathBuf>) -> Self {
        self.module = Some(path.into());
        self
    }

    /// Runs another program than the one under test.
    #[must_use]
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = path.into();
        self
    }

    /// Starts on a copy of the RDB and AOF files of this folder.
    #[must_use]
    pub fn data(mut self, from: impl Into<PathBuf>) -> Self {
        self.data = Some(from.into());
        self
    }

    /// Starts the server and waits until it serves.
    #[track_caller]
    pub fn start(self) -> Server {
        match self.try_start() {
            Ok(server) => server,
            Err(log) => panic!("the server did not start; its log:\n{log}"),
        }
    }

    /// Starts the server and waits until it serves; if it refuses to, gives its
    /// log.
    pub fn try_start(self) -> Result<Server, String> {
        for _ in 0..20 {
            let mut server = Server::prepare(self.clone());
            match server.launch() {
                Ok(()) => return Ok(server),
                // Another process was quicker to take the port.
                Err(log) if log.contains("Address already in use") => {}
                Err(log) => return Err(log),
            }
        }
        Err("found no free port in 20 attempts".into())
    }
}
