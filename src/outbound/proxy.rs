//! The proxy through which a network lets its machines out, as `HTTPS_PROXY` names it. Knows no service.
//!
//! Only `https` goes through it, in a tunnel: the proxy sees names of hosts, and no token. Plain `http` is for endpoints of this
//! machine, such as those of managed identities and emulators, which no proxy reaches.

use reqwest::NoProxy;
use std::fmt;
use url::Url;

/// The proxy, as curl and the other SDKs of Azure know it.
pub const HTTPS_PROXY: &str = "HTTPS_PROXY";
/// Hosts, domains and address ranges that are reached without it.
pub const NO_PROXY: &str = "NO_PROXY";
/// What is never asked for through a proxy.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1,::ffff:127.0.0.0/104";

/// The proxy of the settings.
#[derive(Clone)]
pub struct Proxy {
    /// With the password, if there is one.
    url: Url,
    /// `NO_PROXY`, trimmed.
    except: String,
}

impl Proxy {
    /// The proxy that the settings name, in capitals or else in small letters; `None` without one.
    ///
    /// # Errors
    /// What its setting has to look like. It is not quoted: there may be a password in it.
    pub fn of_settings(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let set = |name: &str| {
            let value = lookup(name).or_else(|| lookup(&name.to_ascii_lowercase()));
            value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let Some(value) = set(HTTPS_PROXY) else { return Ok(None) };
        let value = if value.contains("://") { value } else { format!("http://{value}") };
        match Url::parse(&value) {
            Ok(url) if ["http", "https"].contains(&url.scheme()) && url.has_host() => {
                Ok(Some(Self { url, except: set(NO_PROXY).unwrap_or_default() }))
            }
            _ => Err(format!("{HTTPS_PROXY} is not the URL of a proxy such as http://proxy.example.com:8080")),
        }
    }

    /// Has `builder` use it, and name it where it gives no connection.
    pub(super) fn build(&self, builder: reqwest::ClientBuilder) -> reqwest::Result<reqwest::ClientBuilder> {
        // `*.domain` is what others than curl understand.
        let except = self.except.split(',').map(str::trim);
        let except: Vec<&str> =
            except.map(|name| name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(name)).collect();
        let except = NoProxy::from_string(&format!("{},{LOOPBACK}", except.join(",")));
        let named = self.to_string();
        let name = tower::util::MapErrLayer::new(move |cause: Cause| -> Cause {
            match cause.to_string().starts_with(OF_A_TUNNEL) {
                true => Box::new(NoTunnel { proxy: named.clone(), cause }),
                false => cause,
            }
        });
        Ok(builder.proxy(reqwest::Proxy::https(self.url.clone())?.no_proxy(except)).connector_layer(name))
    }

    /// What is said of it where the settings are looked at.
    pub fn described(&self) -> String {
        let except = if self.except.is_empty() { String::new() } else { format!(" and what {NO_PROXY} names") };
        format!("https goes through the proxy {self}, but for loopback hosts{except}")
    }
}

/// Its host and port: what stands before them is not for the eye.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.url.port_or_known_default().unwrap_or_default();
        write!(f, "{}:{port}", self.url.host_str().unwrap_or_default())
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// How the client's errors of a tunnel begin; their type is not for others.
const OF_A_TUNNEL: &str = "tunnel error: ";

/// The proxy did not answer, or let nothing through.
#[derive(Debug, thiserror::Error)]
#[error("the proxy {proxy} ({HTTPS_PROXY}) gave no connection")]
struct NoTunnel {
    proxy: String,
    #[source]
    cause: Cause,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::{causes, http_client_by};
    use std::sync::{Arc, Mutex};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// A proxy that refuses everything, and what it was sent.
    async fn refusing(answer: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let heads = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let mut head = vec![0; 4096];
                let length = connection.read(&mut head).await.unwrap_or(0);
                heads.lock().unwrap().push(String::from_utf8_lossy(&head[..length]).into_owned());
                let _ = connection.write_all(answer.as_bytes()).await;
            }
        });
        (address, seen)
    }

    async fn asked(settings: &[(&str, &str)], url: &str) -> String {
        let lookup = |name: &str| settings.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let request = http_client_by(&lookup).unwrap().get(url).bearer_auth("token");
        let error = request.send().await.expect_err("an answer");
        assert!(error.is_connect(), "{error:?}");
        causes(&error)
    }

    #[tokio::test]
    async fn https_goes_through_the_proxy_whose_refusal_is_told_with_its_name_and_no_password() {
        let forbidden = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
        let login = "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
        for (answer, why) in [(forbidden, "unsuccessful"), (login, "authorization required")] {
            let (address, seen) = refusing(answer).await;
            for (name, proxy) in [
                ("HTTPS_PROXY", format!("http://me:pa55@{address}")),
                ("https_proxy", address.clone()),
                ("HTTPS_PROXY", format!(" {address}/ ")),
            ] {
                let told = asked(&[(name, &proxy)], "https://graph.invalid/v1").await;
                assert!(told.contains(&format!("the proxy {address} (HTTPS_PROXY) gave no connection")), "{told}");
                assert!(told.contains(why) && !told.contains("pa55"), "{told}");
                let head = seen.lock().unwrap().pop().expect("a request to the proxy");
                assert!(head.starts_with("CONNECT graph.invalid:443 "), "{head}");
                assert!(!head.contains("Bearer"), "{head}");
                assert_eq!(
                    head.to_lowercase().contains("proxy-authorization: basic"),
                    proxy.contains("pa55"),
                    "{head}"
                );
            }
        }
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        let told = asked(&[("HTTPS_PROXY", &nobody)], "https://graph.invalid/").await;
        assert!(told.contains(&format!("the proxy {nobody} (HTTPS_PROXY) gave no connection")), "{told}");
    }

    #[tokio::test]
    async fn loopback_plain_http_and_the_hosts_of_no_proxy_are_reached_without_it() {
        let (address, seen) = refusing("HTTP/1.1 403 Forbidden\r\n\r\n").await;
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let except = "internal.invalid, *.kusto.invalid,10.255.0.0/16";
        for url in [
            &format!("https://127.0.0.1:{nobody}/"),
            &format!("https://127.9.9.9:{nobody}/"),
            &format!("https://[::1]:{nobody}/"),
            &format!("https://localhost:{nobody}/"),
            &format!("https://app.localhost:{nobody}/"),
            &format!("http://127.0.0.1:{nobody}/"),
            "http://graph.invalid/",
            "https://internal.invalid/",
            "https://INTERNAL.invalid/",
            "https://db.internal.invalid/",
            "https://c.r.kusto.invalid/",
        ] {
            let told = asked(&[("HTTPS_PROXY", &address), ("NO_PROXY", except)], url).await;
            assert!(!told.contains("proxy"), "{url}: {told}");
        }
        assert!(seen.lock().unwrap().is_empty(), "{seen:?}");
        for (name, except) in [("no_proxy", "graph.invalid"), ("NO_PROXY", "*")] {
            let told = asked(&[("HTTPS_PROXY", &address), (name, except)], "https://graph.invalid/").await;
            assert!(!told.contains("proxy") && seen.lock().unwrap().is_empty(), "{told}");
        }
        asked(&[("HTTPS_PROXY", &address), ("NO_PROXY", except)], "https://notinternal.invalid/").await;
        assert_eq!(seen.lock().unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_a_quote_and_nothing_is_none() {
        let read = |value: &'static str| Proxy::of_settings(&move |name| (name == HTTPS_PROXY).then(|| value.into()));
        for wrong in ["socks5://me:pa55@proxy:1080", "http://", "http://me:pa55@:x", "a b:pa55"] {
            let told = read(wrong).unwrap_err();
            assert!(told.contains("http://proxy.example.com:8080") && !told.contains("pa55"), "{told}");
        }
        for none in ["", "  "] {
            assert!(read(none).unwrap().is_none());
        }
        let proxy = read("https://me:pa55@proxy.corp").unwrap().unwrap();
        assert_eq!(
            (proxy.to_string(), format!("{proxy:?}")),
            ("proxy.corp:443".into(), "Proxy(proxy.corp:443)".into())
        );
    }
}
