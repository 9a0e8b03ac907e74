//! The options of the command line.

use crate::config::UnitAlgorithm;
use crate::headers::Wanted;
use crate::link::Endpoint;
use crate::service::Style;
use floodgate::core::text::duration;
use lexopt::{Arg, Parser, ValueExt as _};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The text of `--help`.
pub const HELP: &str = "\
Answers the rate limit requests of Envoy with Floodgate's limits.

  floodgate-envoy --config FILE|FOLDER [options]
  floodgate-envoy check FILE|FOLDER …   check each of these configurations

  --config PATH           the limits, in the YAML of envoyproxy/ratelimit
  --redis URL             where Redis is (redis://127.0.0.1:6379); rediss:// for TLS;
                          repeat it for more nodes of a cluster
  --cluster               Redis is a cluster
  --redis-password FILE   the file that holds the password
  --redis-ca FILE         the authority that signed Redis' certificate, PEM
  --redis-cert FILE       the certificate that this service shows to Redis, PEM
  --redis-key FILE        the key of that certificate, PEM
  --listen ADDRESS        gRPC (0.0.0.0:8081)
  --http ADDRESS          /healthcheck and /metrics (0.0.0.0:8080)
  --algorithm WHICH       how unit and requests_per_unit count: fixed (default),
                          sliding or bucket
  --timeout TIME          the longest that a request may take (1s)
  --prefix TEXT           in front of all keys (envoy)
  --headers LIST          of ratelimit,x-ratelimit,retry-after (all), or off
  --metadata              answer with dynamic metadata
";

/// The reasons why a command line is refused.
#[derive(Debug, thiserror::Error)]
pub enum ArgsError {
    /// The options are malformed.
    #[error("{0} (--help shows the options)")]
    Syntax(#[from] lexopt::Error),
    /// An option does not take this value.
    #[error("--{0} {1}: {2}")]
    Value(&'static str, String, String),
    /// An option is missing, or contradicts another.
    #[error("{0}")]
    Missing(&'static str),
}

/// The task that the command line asks for.
#[derive(Debug)]
pub enum EnvoyCommand {
    /// Show the help.
    Help,
    /// Show the version.
    Version,
    /// Check configurations and say what is wrong with them.
    Check(Vec<PathBuf>),
    /// Serve Envoys.
    Serve(Box<ServeOptions>),
}

/// Everything that serving needs to know.
#[derive(Debug)]
pub struct ServeOptions {
    pub config: PathBuf,
    pub endpoint: Endpoint,
    pub listen: SocketAddr,
    pub http: SocketAddr,
    pub style: Style,
}

impl EnvoyCommand {
    /// Reads the arguments that follow the program's name.
    ///
    /// # Errors
    /// [`ArgsError`] if an option is unknown or missing, or if its value is refused.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, ArgsError> {
        let mut parser = Parser::from_args(args);
        let mut draft = OptionsDraft::default();
        let mut checked: Option<Vec<PathBuf>> = None;
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Long("help") | Arg::Short('h') => return Ok(Self::Help),
                Arg::Long("version") => return Ok(Self::Version),
                Arg::Value(word) => match &mut checked {
                    Some(paths) => paths.push(word.into()),
                    None if word == "check" => checked = Some(Vec::new()),
                    None => return Err(Arg::Value(word).unexpected().into()),
                },
                Arg::Long(name) => {
                    let name = name.to_owned();
                    draft.option(&name, &mut parser)?;
                }
                short @ Arg::Short(_) => return Err(short.unexpected().into()),
            }
        }
        let Some(mut paths) = checked else {
            return draft.complete().map(|options| Self::Serve(Box::new(options)));
        };
        paths.extend(draft.config);
        if paths.is_empty() {
            return Err(ArgsError::Missing("check: the file or folder of the limits is missing"));
        }
        Ok(Self::Check(paths))
    }
}

/// The options that have been read so far.
struct OptionsDraft {
    config: Option<PathBuf>,
    endpoint: Endpoint,
    certificate: Option<PathBuf>,
    own_key: Option<PathBuf>,
    listen: SocketAddr,
    http: SocketAddr,
    style: Style,
}

impl Default for OptionsDraft {
    fn default() -> Self {
        Self {
            config: None,
            endpoint: Endpoint::default(),
            certificate: None,
            own_key: None,
            listen: SocketAddr::from(([0, 0, 0, 0], 8081)),
            http: SocketAddr::from(([0, 0, 0, 0], 8080)),
            style: Style {
                algorithm: UnitAlgorithm::Fixed,
                prefix: "envoy".to_owned(),
                deadline: Duration::from_secs(1),
                headers: Wanted::ALL,
                metadata: false,
            },
        }
    }
}

impl OptionsDraft {
    /// Takes one option and its value.
    fn option(&mut self, name: &str, parser: &mut Parser) -> Result<(), ArgsError> {
        match name {
            "config" => {
                // The limits of the first one would be missing without a word.
                if self.config.replace(parser.value()?.into()).is_some() {
                    let way = "--config was given twice: put the files into one folder, and name that";
                    return Err(ArgsError::Missing(way));
                }
            }
            "redis" => self.endpoint.urls.push(parser.value()?.string()?),
            "cluster" => self.endpoint.cluster = true,
            "redis-password" => self.endpoint.password_file = Some(parser.value()?.into()),
            "redis-ca" => self.endpoint.ca_file = Some(parser.value()?.into()),
            "redis-cert" => self.certificate = Some(parser.value()?.into()),
            "redis-key" => self.own_key = Some(parser.value()?.into()),
            "listen" => self.listen = address("listen", &parser.value()?.string()?)?,
            "http" => self.http = address("http", &parser.value()?.string()?)?,
            "algorithm" => {
                let which = "fixed, sliding or bucket";
                self.style.algorithm = known("algorithm", parser.value()?, UnitAlgorithm::parse, which)?;
            }
            "headers" => {
                let which = "ratelimit,x-ratelimit,retry-after or off";
                self.style.headers = known("headers", parser.value()?, Wanted::parse, which)?;
            }
            "timeout" => self.style.deadline = time("timeout", &parser.value()?.string()?)?,
            "prefix" => self.style.prefix = prefix(parser.value()?.string()?)?,
            "metadata" => self.style.metadata = true,
            _ => return Err(Arg::Long(name).unexpected().into()),
        }
        Ok(())
    }

    /// All options, if they go together.
    fn complete(self) -> Result<ServeOptions, ArgsError> {
        let Self { config, mut endpoint, certificate, own_key, listen, http, style } = self;
        endpoint.certificate = match (certificate, own_key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(ArgsError::Missing("--redis-cert and --redis-key go together")),
        };
        if endpoint.urls.is_empty() {
            endpoint.urls.push("redis://127.0.0.1:6379".to_owned());
        }
        if endpoint.urls.len() > 1 && !endpoint.cluster {
            return Err(ArgsError::Missing("several --redis are nodes of one cluster: add --cluster"));
        }
        for url in &endpoint.urls {
            if let Err(why) = redis::IntoConnectionInfo::into_connection_info(url.as_str()) {
                let reason = match url.split_once("://") {
                    None => format!("is not a URL, write redis://{url}"),
                    Some(("redis" | "rediss" | "unix", _)) => why.to_string(),
                    Some(_) => "begins with none of redis://, rediss:// and unix://".to_owned(),
                };
                return Err(ArgsError::Value("redis", url.clone(), reason));
            }
        }
        let config = config.ok_or(ArgsError::Missing(
            "--config is missing: it names the file or folder of the limits (--help shows more)",
        ))?;
        Ok(ServeOptions { config, endpoint, listen, http, style })
    }
}

fn address(option: &'static str, text: &str) -> Result<SocketAddr, ArgsError> {
    text.parse().map_err(|_| {
        ArgsError::Value(
            option,
            text.to_owned(),
            "is not an address with a port, such as 127.0.0.1:8081".to_owned(),
        )
    })
}

fn known<T>(
    option: &'static str,
    value: OsString,
    parse: fn(&str) -> Option<T>,
    which: &str,
) -> Result<T, ArgsError> {
    let text = value.string()?;
    parse(&text).ok_or_else(|| ArgsError::Value(option, text, format!("takes {which}")))
}

/// Reads a time above 0, written as in limits: `200ms`, `1s`.
fn time(option: &'static str, text: &str) -> Result<Duration, ArgsError> {
    match duration::parse(text.as_bytes()) {
        Ok(0) => Err(ArgsError::Value(option, text.to_owned(), "must be longer than 0".to_owned())),
        Ok(us) => Ok(Duration::from_micros(us)),
        Err(why) => Err(ArgsError::Value(option, text.to_owned(), why.to_string())),
    }
}

/// Checks the text that goes in front of all keys. Redis would take a brace in it for the hash tag.
fn prefix(text: String) -> Result<String, ArgsError> {
    if text.contains(['{', '}']) {
        return Err(ArgsError::Value(
            "prefix",
            text,
            "has a brace: braces are kept for the hash tag".to_owned(),
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<EnvoyCommand, String> {
        EnvoyCommand::parse(line.split_whitespace().map(OsString::from)).map_err(|why| why.to_string())
    }

    #[test]
    fn a_full_line() {
        let Ok(EnvoyCommand::Serve(options)) = parse(
            "--config c --redis rediss://a:1 --redis redis://b:2 --cluster --redis-password p --redis-ca ca --redis-cert x \
             --redis-key y --listen 127.0.0.1:0 --http [::1]:9 --algorithm sliding --timeout 20ms --prefix rl \
             --headers off --metadata",
        ) else {
            panic!("it parses");
        };
        assert_eq!(options.style.deadline, Duration::from_millis(20));
        assert_eq!(options.style.algorithm, UnitAlgorithm::Sliding);
        assert_eq!(options.endpoint.urls, ["rediss://a:1", "redis://b:2"]);
        assert_eq!(options.endpoint.certificate, Some(("x".into(), "y".into())));
        assert!(options.style.metadata && options.endpoint.cluster);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, reason) in [
            ("", "--config is missing"),
            ("--config c --redis a:1 --redis b:2", "--cluster"),
            ("--config c --redis-cert a", "--redis-cert and --redis-key go together"),
            ("--config c --listen 8081", "--listen 8081: is not an address"),
            ("--config c --timeout 0", "must be longer than 0"),
            ("--config c --timeout 20", "unit"),
            ("--config c --algorithm leaky", "takes fixed, sliding or bucket"),
            ("--config c --headers draft", "takes ratelimit"),
            ("--config c --prefix {a}", "hash tag"),
            (
                "--config c --redis http://a",
                "--redis http://a: begins with none of redis://, rediss:// and unix://",
            ),
            (
                "--config c --config d",
                "--config was given twice: put the files into one folder, and name that",
            ),
            (
                "--config c --redis 127.0.0.1:6379",
                "--redis 127.0.0.1:6379: is not a URL, write redis://127.0.0.1:6379",
            ),
            ("--config c more", "unexpected"),
            ("check", "missing"),
            ("check f --bogus", "bogus"),
            ("check f --algorithm leaky", "takes fixed, sliding or bucket"),
        ] {
            let why = parse(line).unwrap_err();
            assert!(why.contains(reason), "{line}: {why}");
        }
        let Ok(EnvoyCommand::Check(paths)) = parse("check f g --algorithm sliding --config h") else {
            panic!("it parses");
        };
        assert_eq!(paths, ["f", "g", "h"].map(PathBuf::from));
        assert!(matches!(parse("--help"), Ok(EnvoyCommand::Help)));
    }
}
