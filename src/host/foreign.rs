//! Requests that a page of another site has a browser of this machine make. A host without keys answers whoever reaches its loopback
//! address, and so does a browser's every page: by a form or an image, or under a name of its own that it lets point here.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};
use std::net::IpAddr;

/// What a caller is told.
pub const REFUSAL: &str = "A host without keys answers no pages of other sites, and browsers only under the names of this machine: open \
http://localhost itself, or start the host with --keys.\n";
/// What every browser calls itself, and programs do not; a page may change it.
const BROWSER: &str = "Mozilla/";
/// What a browser says of a request, whatever a page does.
const FETCHED: [&str; 3] = ["sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest"];

/// Whether a request is one of these: a browser says that a page of another site sent it (`Origin`, `Sec-Fetch-Site`), or asks for
/// another name than this machine's (`Host`), as a page does whose own name was made to point here. Programs may use any name.
pub fn is_foreign(uri: &Uri, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let named = uri.authority().map(Authority::as_str).or_else(|| text(header::HOST));
    let is_elsewhere = |authority: &str| !authority.parse().is_ok_and(|authority| is_this_machine(&authority));
    let is_of_another = |origin: &str| origin.split_once("://").is_none_or(|(_, authority)| is_elsewhere(authority));
    let is_browser = text(header::USER_AGENT).is_some_and(|agent| agent.starts_with(BROWSER))
        || FETCHED.iter().any(|name| headers.contains_key(*name));
    (is_browser && named.is_some_and(is_elsewhere))
        || text(header::ORIGIN).is_some_and(is_of_another)
        || headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site")
}

fn is_this_machine(authority: &Authority) -> bool {
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    host.parse::<IpAddr>().map_or_else(|_| host == "localhost" || host.ends_with(".localhost"), |ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: (&str, &str) = ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)");

    fn is_refused(headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        is_foreign(&Uri::from_static("/api/dashboard"), &headers.collect())
    }

    #[test]
    fn this_machine_is_answered_under_its_own_names() {
        for host in ["localhost", "LOCALHOST:7071", "127.0.0.1:7071", "127.9.9.9", "[::1]:7071", "app.localhost:7071"] {
            assert!(!is_refused(&[("host", host), AGENT]), "{host}");
        }
        assert!(!is_refused(&[("host", "proxy.example")]), "no browser");
        assert!(!is_refused(&[]), "no browser leaves it out");
        let own_page =
            [("host", "localhost:7071"), ("origin", "http://127.0.0.1:3000"), ("sec-fetch-site", "same-site")];
        assert!(!is_refused(&own_page));
        assert!(!is_refused(&[("sec-fetch-site", "none")]), "typed into the address bar");
    }

    #[test]
    fn pages_of_other_sites_and_names_that_were_made_to_point_here_are_refused() {
        for host in ["evil.example:7071", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "a b"] {
            assert!(is_refused(&[("host", host), AGENT]), "{host}");
        }
        for origin in ["https://evil.example", "null", "http://localhost.evil.example:7071", ""] {
            assert!(is_refused(&[("host", "localhost:7071"), ("origin", origin)]), "{origin}");
        }
        assert!(is_refused(&[("host", "localhost:7071"), ("sec-fetch-site", "cross-site")]), "an image, or a link");
        assert!(is_refused(&[("host", "evil.example"), ("user-agent", "x"), ("sec-fetch-site", "same-origin")]));
        let absolute = Uri::from_static("http://evil.example/api/dashboard");
        assert!(is_foreign(&absolute, &HeaderMap::from_iter([(header::USER_AGENT, AGENT.1.parse().unwrap())])));
    }
}
