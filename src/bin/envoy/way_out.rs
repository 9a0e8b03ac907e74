//! What to do about a Redis that cannot be reached or does not decide, where its words do not say it.

use crate::link::Endpoint;

/// Adds the way out to the reason.
pub fn with_way_out(why: &str, endpoint: &Endpoint) -> String {
    match way_out(why, endpoint) {
        Some(way) => format!("{why} ({way})"),
        None => why.to_owned(),
    }
}

fn way_out(why: &str, endpoint: &Endpoint) -> Option<&'static str> {
    let says = |words: &[&str]| words.iter().any(|word| why.contains(word));
    let tls = endpoint.urls.iter().any(|url| url.starts_with("rediss:"));
    if endpoint.cluster && says(&["cluster support disabled"]) {
        Some("it is no cluster: leave --cluster out")
    } else if !endpoint.cluster && says(&["MOVED", "CLUSTERDOWN", "ASK "]) {
        Some("it is a node of a cluster: add --cluster")
    } else if !tls && says(&["reset by peer"]) {
        Some("if it speaks TLS, write rediss:// in --redis")
    } else if tls && says(&["timed out", "InvalidContentType"]) {
        Some("if it does not speak TLS, write redis:// in --redis")
    } else if says(&["NOAUTH"]) {
        Some("--redis-password names the file that holds its password")
    } else if says(&["unknown command"]) {
        Some("it has not loaded the module floodgate")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_way_and_others_have_none() {
        let told = |why: &str, url: &str, cluster| {
            let endpoint = Endpoint { urls: vec![url.to_owned()], cluster, ..Endpoint::default() };
            with_way_out(why, &endpoint)
        };
        let (plain, tls) = ("redis://a:1", "rediss://a:1");
        for (why, url, cluster, way) in [
            ("ERR This instance has cluster support disabled", plain, true, "leave --cluster out"),
            ("MOVED 5 10.0.0.1:6379", plain, false, "add --cluster"),
            ("CLUSTERDOWN Hash slot not served", plain, false, "add --cluster"),
            ("Connection reset by peer (os error 104)", plain, false, "rediss://"),
            ("timed out", tls, false, "write redis://"),
            ("NOAUTH Authentication required.", plain, false, "--redis-password"),
            ("ERR unknown command 'RL.BATCH'", plain, false, "module"),
        ] {
            let said = told(why, url, cluster);
            assert!(said.starts_with(&format!("{why} (")) && said.contains(way), "{said}");
        }
        for (why, url, cluster) in [
            ("Connection refused (os error 111)", plain, false),
            ("timed out", plain, false),
            ("Connection reset by peer (os error 104)", tls, false),
            ("CLUSTERDOWN Hash slot not served", plain, true),
        ] {
            assert_eq!(told(why, url, cluster), why);
        }
    }
}
