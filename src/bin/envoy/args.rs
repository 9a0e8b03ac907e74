//! What was asked on the command line.

use crate::config::Algorithm;
use crate::headers::Wanted;
use crate::link::Way;
use crate::service::Style;
use floodgate::core::text::duration;
use lexopt::{Arg, Parser, ValueExt as _};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What `--help` says.
pub const HELP: &str = "\
Answers the rate limit requests of Envoy with Floodgate's limits.

  floodgate-envoy --config FILE|FOLDER [options]
  floodgate-envoy check FILE|FOLDER     check this configuration

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

/// A command line that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// The syntax of the options.
    #[error("{0} (--help shows the options)")]
    Syntax(#[from] lexopt::Error),
    /// A value that an option does not take.
    #[error("--{0} {1}: {2}")]
    Value(&'static str, String, String),
    /// What is missing.
    #[error("{0}")]
    Missing(&'static str),
}

/// What is to be done.
#[derive(Debug)]
pub enum Asked {
    /// Show how it is used.
    Help,
    /// Say the version.
    Version,
    /// Read a configuration and say what is wrong with it.
    Check(PathBuf),
    /// Serve.
    Serve(Box<Options>),
}

/// Everything that serving needs to know.
#[derive(Debug)]
pub struct Options {
    pub config: PathBuf,
    pub way: Way,
    pub listen: SocketAddr,
    pub http: SocketAddr,
    pub style: Style,
}

impl Asked {
    /// Reads a command line, without the program's name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, Wrong> {
        let mut parser = Parser::from_args(args);
        let mut config = None;
        let mut way = Way::default();
        let (mut certificate, mut own_key) = (None, None);
        let mut listen = SocketAddr::from(([0, 0, 0, 0], 8081));
        let mut http = SocketAddr::from(([0, 0, 0, 0], 8080));
        let mut style = Style {
            algorithm: Algorithm::Fixed,
            prefix: "envoy".to_owned(),
            deadline: Duration::from_secs(1),
            headers: Wanted::ALL,
            metadata: false,
        };
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Long("help") | Arg::Short('h') => return Ok(Self::Help),
                Arg::Long("version") => return Ok(Self::Version),
                Arg::Value(word) if word == "check" && config.is_none() => {
                    return Ok(Self::Check(parser.value()?.into()));
                }
                Arg::Long("config") => config = Some(PathBuf::from(parser.value()?)),
                Arg::Long("redis") => way.urls.push(parser.value()?.string()?),
                Arg::Long("cluster") => way.cluster = true,
                Arg::Long("redis-password") => way.password_file = Some(parser.value()?.into()),
                Arg::Long("redis-ca") => way.ca_file = Some(parser.value()?.into()),
                Arg::Long("redis-cert") => certificate = Some(PathBuf::from(parser.value()?)),
                Arg::Long("redis-key") => own_key = Some(PathBuf::from(parser.value()?)),
                Arg::Long("listen") => listen = address("listen", &parser.value()?.string()?)?,
                Arg::Long("http") => http = address("http", &parser.value()?.string()?)?,
                Arg::Long("algorithm") => {
                    style.algorithm =
                        known("algorithm", parser.value()?, Algorithm::parse, "fixed, sliding or bucket")?;
                }
                Arg::Long("headers") => {
                    style.headers = known(
                        "headers",
                        parser.value()?,
                        Wanted::parse,
                        "ratelimit,x-ratelimit,retry-after or off",
                    )?;
                }
                Arg::Long("timeout") => style.deadline = time("timeout", &parser.value()?.string()?)?,
                Arg::Long("prefix") => style.prefix = prefix(parser.value()?.string()?)?,
                Arg::Long("metadata") => style.metadata = true,
                _ => return Err(arg.unexpected().into()),
            }
        }
        way.certificate = match (certificate, own_key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(Wrong::Missing("--redis-cert and --redis-key go together")),
        };
        if way.urls.is_empty() {
            way.urls.push("redis://127.0.0.1:6379".to_owned());
        }
        if way.urls.len() > 1 && !way.cluster {
            return Err(Wrong::Missing("several --redis are nodes of one cluster: add --cluster"));
        }
        for url in &way.urls {
            if let Err(why) = redis::IntoConnectionInfo::into_connection_info(url.as_str()) {
                return Err(Wrong::Value("redis", url.clone(), why.to_string()));
            }
        }
        let config = config.ok_or(Wrong::Missing(
            "--config is missing: it names the file or folder of the limits (--help shows more)",
        ))?;
        Ok(Self::Serve(Box::new(Options { config, way, listen, http, style })))
    }
}

fn address(option: &'static str, text: &str) -> Result<SocketAddr, Wrong> {
    text.parse().map_err(|_| {
        Wrong::Value(
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
) -> Result<T, Wrong> {
    let text = value.string()?;
    parse(&text).ok_or_else(|| Wrong::Value(option, text, format!("takes {which}")))
}

/// A time above 0, as in limits: `200ms`, `1s`.
fn time(option: &'static str, text: &str) -> Result<Duration, Wrong> {
    match duration::parse(text.as_bytes()) {
        Ok(0) => Err(Wrong::Value(option, text.to_owned(), "must be longer than 0".to_owned())),
        Ok(us) => Ok(Duration::from_micros(us)),
        Err(why) => Err(Wrong::Value(option, text.to_owned(), why.to_string())),
    }
}

/// A brace in front of the domain's would be taken for the hash tag.
fn prefix(text: String) -> Result<String, Wrong> {
    if text.contains(['{', '}']) {
        return Err(Wrong::Value("prefix", text, "has a brace: braces are kept for the hash tag".to_owned()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Asked, String> {
        Asked::parse(line.split_whitespace().map(OsString::from)).map_err(|why| why.to_string())
    }

    #[test]
    fn a_full_line() {
        let Ok(Asked::Serve(options)) = parse(
            "--config c --redis rediss://a:1 --redis redis://b:2 --cluster --redis-password p --redis-ca ca --redis-cert x \
             --redis-key y --listen 127.0.0.1:0 --http [::1]:9 --algorithm sliding --timeout 20ms --prefix rl \
             --headers off --metadata",
        ) else {
            panic!("it parses");
        };
        assert_eq!(options.style.deadline, Duration::from_millis(20));
        assert_eq!(options.style.algorithm, Algorithm::Sliding);
        assert_eq!(options.way.urls, ["rediss://a:1", "redis://b:2"]);
        assert_eq!(options.way.certificate, Some(("x".into(), "y".into())));
        assert!(options.style.metadata && options.way.cluster);
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
            ("--config c --redis http://a", "--redis http://a"),
            ("--config c more", "unexpected"),
            ("check", "missing"),
        ] {
            let why = parse(line).unwrap_err();
            assert!(why.contains(reason), "{line}: {why}");
        }
        assert!(matches!(parse("check f"), Ok(Asked::Check(_))));
        assert!(matches!(parse("--help"), Ok(Asked::Help)));
    }
}
