//! The HTTP client of the process, and what a `Retry-After` header means. Knows no service.

use super::{Error, Proxy};
use crate::timestamp::Timestamp;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// Builds the client for what is near: it uses no proxy.
///
/// # Errors
/// [`Error::Client`].
pub fn http_client() -> Result<reqwest::Client, Error> {
    http_client_through(None)
}

/// Builds the client that all services share, with the proxy that the settings name.
///
/// # Errors
/// [`Error::Proxy`] and [`Error::Client`].
pub fn http_client_by(lookup: &dyn Fn(&str) -> Option<String>) -> Result<reqwest::Client, Error> {
    let proxy = Proxy::of_settings(lookup).map_err(Error::Proxy)?;
    if let Some(proxy) = &proxy {
        tracing::info!("{}", proxy.described());
    }
    http_client_through(proxy.as_ref())
}

/// Builds a client that uses `proxy`.
///
/// It follows no redirects (a token must not travel), asks for no compression, and keeps idle connections for less than the 4 minutes after which Azure's load balancers drop them. Roots are the system's, or those of
/// `SSL_CERT_FILE`. There is no overall timeout: a hunting query may think for minutes, so every call brings its deadline.
///
/// # Errors
/// [`Error::Client`].
pub fn http_client_through(proxy: Option<&Proxy>) -> Result<reqwest::Client, Error> {
    // Fails only if a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .user_agent(concat!("adxingestor/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .no_gzip()
        .connect_timeout(Duration::from_secs(20))
        .pool_idle_timeout(Duration::from_secs(180))
        .tcp_keepalive(Duration::from_secs(60));
    let builder = match proxy {
        Some(proxy) => proxy.build(builder),
        None => Ok(builder),
    };
    builder.and_then(reqwest::ClientBuilder::build).map_err(|error| Error::Client(super::identity::causes(&error)))
}

/// How long the service asks to wait: `Retry-After` in seconds or as an HTTP date, seen from `now`. `None` if there is no
/// header or it says nothing that can be read.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    Some(http_date(text)?.since(now))
}

/// What the service says the time is, by its header `Date`: the clock to read its `Retry-After` by.
pub fn service_time(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(DATE)?.to_str().ok()?.trim())
}

/// An HTTP date is the RFC 2822 form with a fixed zone.
fn http_date(text: &str) -> Option<Timestamp> {
    OffsetDateTime::parse(text, &Rfc2822).ok().map(Timestamp::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(value: &str) -> Option<Duration> {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
        retry_after(&headers, "2026-11-06T08:49:30Z".parse().unwrap())
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        assert_eq!(after("10"), Some(Duration::from_secs(10)));
        assert_eq!(after(" 0 "), Some(Duration::ZERO));
        assert_eq!(after("Fri, 06 Nov 2026 08:49:37 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(after("Fri, 06 Nov 2026 08:00:00 GMT"), Some(Duration::ZERO));
    }

    #[test]
    fn an_unreadable_retry_after_is_none() {
        for value in ["", "soon", "-1", "+5", "1.5", "99999999999999999999999", "2026-11-06T08:49:37Z"] {
            assert_eq!(after(value), None, "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), Timestamp::MIN), None);
    }

    #[test]
    fn the_services_clock_is_its_date_header() {
        let headers = HeaderMap::from_iter([(DATE, "Fri, 06 Nov 2026 08:49:37 GMT".parse().unwrap())]);
        assert_eq!(service_time(&headers), Some("2026-11-06T08:49:37Z".parse().unwrap()));
    }
}
