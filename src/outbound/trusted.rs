//! Which hosts may be given a token. A token that leaks is a tenant that leaks, so the rule is a closed list:
//! the names of the services of one cloud over https, and what the operator listed. Knows no setting but its own.

use super::Error;
use super::cloud::Cloud;
use url::{Host, Url};

/// Hosts that may be given a token.
#[derive(Debug, Clone, Default)]
pub struct TrustedHosts {
    known: Known,
    cloud: Cloud,
    listed: Vec<Listed>,
}

/// What the tokens are for.
#[derive(Debug, Clone, Copy, Default)]
enum Known {
    #[default]
    HuntingAndKusto,
    Storage,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    host: Host,
    port: Option<u16>,
}

impl TrustedHosts {
    /// The hosts named in the setting `TRUSTED_HOSTS`, besides the public cloud's own suffixes: `host`, `host:port` or the host
    /// and port of a URL, whole names only, with commas, semicolons or white space between them. One name of this machine
    /// stands for all of them. Anything else in the list, such as a pattern, matches nothing.
    pub fn new(listed: Vec<String>) -> Self {
        Self {
            known: Known::HuntingAndKusto,
            cloud: Cloud::Public,
            listed: entries(&listed).filter_map(Listed::parse).collect(),
        }
    }

    /// What is in the list and can match no host, as far as it may be shown.
    pub fn useless(listed: &[String]) -> Vec<String> {
        let useless = entries(listed).filter(|entry| match Listed::parse(entry).map(|entry| entry.host) {
            Some(Host::Domain(name)) => name.contains('*') || name.split('.').any(str::is_empty),
            Some(_) => false,
            None => true,
        });
        useless.map(|entry| entry.rsplit('@').next().unwrap_or_default().to_owned()).collect()
    }

    /// The same for tokens of storage accounts.
    pub fn of_storage(listed: Vec<String>) -> Self {
        Self { known: Known::Storage, ..Self::new(listed) }
    }

    /// The same with the suffixes of another cloud in place of the public one's.
    #[must_use]
    pub fn in_cloud(self, cloud: Cloud) -> Self {
        Self { cloud, ..self }
    }

    /// Whose suffixes they are.
    pub fn cloud(&self) -> Cloud {
        self.cloud
    }

    /// Whether `url` may be given a token.
    ///
    /// # Errors
    /// [`Error::Untrusted`].
    pub fn check(&self, url: &Url) -> Result<(), Error> {
        let trusted = url.username().is_empty()
            && url.password().is_none()
            && match url.scheme() {
                "https" => self.known.has(self.cloud, url) || self.lists(url),
                "http" => is_loopback(url) && self.lists(url),
                _ => false,
            };
        if trusted { Ok(()) } else { Err(Error::Untrusted { url: bare(url) }) }
    }

    /// Whether a token for `resource` may be asked for because a cluster names it: one for Kusto in this cloud, or for a host
    /// that is listed. Where nothing is known of the cloud, Kusto of any cloud is meant.
    ///
    /// # Errors
    /// [`Error::Untrusted`].
    pub fn check_kusto_resource(&self, resource: &Url) -> Result<(), Error> {
        let host = resource.host_str().unwrap_or_default();
        let clouds = match self.cloud {
            Cloud::Other => &[Cloud::Public, Cloud::Government, Cloud::China][..],
            known => &[known][..],
        };
        let mut parents =
            clouds.iter().flat_map(|cloud| cloud.names().parents).filter(|name| name.starts_with("kusto"));
        let is_kusto = resource.scheme() == "https"
            && parents.any(|parent| host.strip_suffix(parent).is_some_and(|child| child.ends_with('.')));
        if is_kusto || self.lists(resource) { Ok(()) } else { Err(Error::Untrusted { url: bare(resource) }) }
    }

    fn lists(&self, url: &Url) -> bool {
        let Some(host) = url.host() else { return false };
        let host = host.to_owned();
        let same = |listed: &Host| *listed == host || (names_this_machine(listed) && names_this_machine(&host));
        self.listed.iter().any(|listed| {
            same(&listed.host) && listed.port.is_none_or(|port| url.port_or_known_default() == Some(port))
        })
    }
}

/// The members of the list.
fn entries(listed: &[String]) -> impl Iterator<Item = &str> {
    let split = listed.iter().flat_map(|entry| entry.split(|c: char| matches!(c, ',' | ';') || c.is_whitespace()));
    split.filter(|entry| !entry.is_empty())
}

impl Listed {
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim().trim_end_matches('/');
        if entry.contains("://") {
            let url = Url::parse(entry).ok()?;
            let plain =
                matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
            return plain.then(|| url.host().map(|host| Self { host: host.to_owned(), port: url.port() })).flatten();
        }
        // An IPv6 address holds colons itself: bare, or bracketed with a port behind it.
        if let Ok(address) = entry.parse::<std::net::Ipv6Addr>() {
            return Some(Self { host: Host::Ipv6(address), port: None });
        }
        let (name, port) = match entry.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, Some(port.parse().ok()?)),
            _ => (entry, None),
        };
        Some(Self { host: Host::parse(name).ok()?, port })
    }
}

impl Known {
    /// A service's own name, on the port of https. `Url` has lower-cased it and turned other scripts into `xn--` labels.
    fn has(self, cloud: Cloud, url: &Url) -> bool {
        let Some(Host::Domain(host)) = url.host() else { return false };
        let labels_are_plain = host.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with("xn--")
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        });
        let below = |parent: &&str| host.strip_suffix(*parent).is_some_and(|child| child.ends_with('.'));
        let names = cloud.names();
        let named = match self {
            Self::HuntingAndKusto => names.hosts.contains(&host) || names.parents.iter().any(below),
            Self::Storage => names.storage.iter().any(below),
        };
        url.port().is_none() && labels_are_plain && named
    }
}

/// The cloud that a hunting service or a cluster is of, by its name; `None` for a name that no cloud has.
pub fn cloud_of(url: &Url) -> Option<Cloud> {
    [Cloud::Public, Cloud::Government, Cloud::China].into_iter().find(|cloud| Known::HuntingAndKusto.has(*cloud, url))
}

/// The three names of the loopback device, which reach the same services.
fn names_this_machine(host: &Host) -> bool {
    match host {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => *address == std::net::Ipv4Addr::LOCALHOST,
        Host::Ipv6(address) => *address == std::net::Ipv6Addr::LOCALHOST,
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The URL without user, query and fragment, which may hold secrets.
fn bare(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted_in(cloud: Cloud, url: &str) -> bool {
        TrustedHosts::default().in_cloud(cloud).check(&Url::parse(url).unwrap()).is_ok()
    }

    #[test]
    fn a_service_is_of_the_cloud_that_has_its_name() {
        for (url, cloud) in [
            ("https://c.westeurope.kusto.windows.net", Some(Cloud::Public)),
            ("https://graph.microsoft.us/v1.0", Some(Cloud::Government)),
            ("https://c.kusto.chinacloudapi.cn", Some(Cloud::China)),
            ("https://kusto.windows.net.evil.example", None),
        ] {
            assert_eq!(cloud_of(&Url::parse(url).unwrap()), cloud, "{url}");
        }
    }

    #[test]
    fn a_cluster_may_name_kusto_or_a_listed_host_as_what_tokens_are_for() {
        let allowed = |cloud, resource: &str| {
            let hosts = TrustedHosts::new(vec!["adx.example".into()]).in_cloud(cloud);
            hosts.check_kusto_resource(&Url::parse(resource).unwrap()).is_ok()
        };
        for (resource, public, other) in [
            ("https://kusto.kusto.windows.net/.default", true, true),
            ("https://kusto.kustomfa.windows.net/.default", true, true),
            ("https://c.kusto.fabric.microsoft.com/.default", true, true),
            ("https://kusto.kusto.usgovcloudapi.net/.default", false, true),
            ("https://adx.example/.default", true, true),
            ("https://graph.microsoft.com/.default", false, false),
            ("https://api.security.microsoft.com/.default", false, false),
            ("https://kusto.windows.net.evil.example/.default", false, false),
            ("http://kusto.kusto.windows.net/.default", false, false),
        ] {
            assert_eq!(allowed(Cloud::Public, resource), public, "{resource}");
            assert_eq!(allowed(Cloud::Other, resource), other, "{resource}");
        }
    }

    fn trusts(listed: &[&str], url: &str) -> bool {
        let hosts = TrustedHosts::new(listed.iter().map(|&host| host.to_owned()).collect());
        hosts.check(&Url::parse(url).unwrap()).is_ok()
    }

    #[test]
    fn the_services_own_names_are_trusted_over_https_in_their_cloud_alone() {
        let clouds = [Cloud::Public, Cloud::Government, Cloud::China, Cloud::Other];
        for (own, url) in [
            (Cloud::Public, "https://graph.microsoft.com/v1.0/security/runHuntingQuery"),
            (Cloud::Public, "https://GRAPH.microsoft.com:443/"),
            (Cloud::Public, "https://api.security.microsoft.com/api/advancedhunting/run"),
            (Cloud::Public, "https://eu.api.security.microsoft.com"),
            (Cloud::Public, "https://api-us.securitycenter.microsoft.com"),
            (Cloud::Public, "https://ingest-help.westeurope.kusto.windows.net"),
            (Cloud::Public, "https://trd-abc.z1.kusto.fabric.microsoft.com"),
            (Cloud::Government, "https://graph.microsoft.us"),
            (Cloud::Government, "https://dod-graph.microsoft.us"),
            (Cloud::Government, "https://api-gov.security.microsoft.us"),
            (Cloud::Government, "https://c.r.kusto.usgovcloudapi.net"),
            (Cloud::China, "https://c.r.kusto.chinacloudapi.cn"),
        ] {
            for cloud in clouds {
                assert_eq!(trusted_in(cloud, url), cloud == own, "{url} in {cloud:?}");
            }
        }
        // Its tenants have identities of the public cloud.
        assert!(trusted_in(Cloud::Public, "https://api-gcc.securitycenter.microsoft.us"));
        let listed = TrustedHosts::new(vec!["c.r.kusto.chinacloudapi.cn".to_owned()]);
        assert!(listed.check(&Url::parse("https://c.r.kusto.chinacloudapi.cn").unwrap()).is_ok());
    }

    #[test]
    fn tokens_of_storage_and_of_other_services_go_different_ways() {
        let storage = TrustedHosts::of_storage(vec!["10.0.0.1".to_owned()]);
        let others = TrustedHosts::new(vec!["10.0.0.1".to_owned()]);
        for (url, of_storage, of_others) in [
            ("https://contoso.table.core.windows.net", true, false),
            ("https://contoso.queue.core.usgovcloudapi.net", false, false),
            ("https://contoso.blob.core.chinacloudapi.cn", false, false),
            ("https://contoso.z07.blob.storage.azure.net", true, false),
            ("https://contoso.file.core.windows.net", false, false),
            ("https://core.windows.net", false, false),
            ("https://table.core.windows.net", false, false),
            ("https://evil-table.core.windows.net", false, false),
            ("https://contoso.table.core.windows.net.evil.example", false, false),
            ("https://contoso.table.core.windows.net:8443", false, false),
            ("http://contoso.table.core.windows.net", false, false),
            ("https://graph.microsoft.com", false, true),
            ("https://c.r.kusto.windows.net", false, true),
            ("https://10.0.0.1", true, true),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!((storage.check(&url).is_ok(), others.check(&url).is_ok()), (of_storage, of_others), "{url}");
        }
        for (cloud, url) in [
            (Cloud::Government, "https://contoso.queue.core.usgovcloudapi.net"),
            (Cloud::China, "https://contoso.blob.core.chinacloudapi.cn"),
        ] {
            let url = Url::parse(url).unwrap();
            assert!(storage.clone().in_cloud(cloud).check(&url).is_ok() && storage.check(&url).is_err(), "{url}");
        }
    }

    #[test]
    fn lookalikes_are_not_trusted() {
        for url in [
            "http://graph.microsoft.com",
            "https://graph.microsoft.com:8443",
            "https://graph.microsoft.com.evil.example",
            "https://graph.microsoft.com.",
            "https://evil-graph.microsoft.com",
            "https://x.graph.microsoft.com",
            "https://evilsecurity.microsoft.com",
            "https://security.microsoft.com",
            "https://.security.microsoft.com",
            "https://kusto.windows.net",
            "https://evilkusto.windows.net",
            "https://a..kusto.windows.net",
            "https://evil.example/.kusto.windows.net",
            "https://evil.example?.kusto.windows.net",
            "https://evil.example#.kusto.windows.net",
            "https://evil.example\\.kusto.windows.net",
            "https://graph.microsoft.com@evil.example",
            "https://user@graph.microsoft.com",
            "https://user:pw@graph.microsoft.com",
            "https://gr\u{430}ph.microsoft.com",
            "https://\u{430}.kusto.windows.net",
            "https://127.0.0.1",
            "ftp://graph.microsoft.com",
            "data:text/plain,graph.microsoft.com",
        ] {
            if let Ok(parsed) = Url::parse(url) {
                assert!(TrustedHosts::default().check(&parsed).is_err(), "{url}");
            }
        }
    }

    #[test]
    fn a_listed_host_is_trusted_exactly() {
        assert!(trusts(&[" Hunting.example "], "https://hunting.example:8443/x"));
        assert!(trusts(&["hunting.example:8443"], "https://hunting.example:8443"));
        assert!(!trusts(&["hunting.example:8443"], "https://hunting.example"));
        for url in
            ["https://a.hunting.example", "https://example", "https://hunting.example.", "http://hunting.example"]
        {
            assert!(!trusts(&["hunting.example"], url), "{url}");
        }
        assert!(!trusts(&["hunting.example"], "https://x@hunting.example"));
        assert!(!trusts(&["*.example", "https://", ".example", "", "/"], "https://b.example"));
    }

    #[test]
    fn a_list_is_read_however_it_is_written() {
        for listed in ["http://127.0.0.1:8080", "127.0.0.1:8080/", "http://127.0.0.1:8080/adx/", "localhost:8080"] {
            assert!(trusts(&[listed], "http://127.0.0.1:8080/x"), "{listed}");
            assert!(!trusts(&[listed], "http://127.0.0.1:8081/x"), "{listed}");
        }
        for list in ["a.example;b.example", "a.example b.example", "a.example,\n b.example/", "https://b.example;x"] {
            assert!(trusts(&[list], "https://b.example"), "{list}");
        }
        assert!(!trusts(&["https://b.example:8443"], "https://b.example"));
        for unusable in ["https://user@b.example", "ftp://b.example", "https://b.example@evil.example"] {
            assert!(!trusts(&[unusable], "https://b.example"), "{unusable}");
        }
    }

    #[test]
    fn what_matches_nothing_is_told_without_a_password() {
        let useless = |list: &str| TrustedHosts::useless(&[list.to_owned()]);
        assert_eq!(
            useless("*.kusto.windows.net, http:// ;.example a..example b.example:port https://me:pa55@c.example"),
            ["*.kusto.windows.net", "http://", ".example", "a..example", "b.example:port", "c.example"]
        );
        assert!(useless("a.example, 127.0.0.1:8080;https://b.example/adx [::1]:1 ::1 localhost,").is_empty());
    }

    #[test]
    fn plain_http_goes_only_to_a_listed_loopback_host() {
        assert!(!trusts(&[], "http://127.0.0.1:1"));
        assert!(trusts(&["127.0.0.1"], "http://127.0.0.1:40001/x"));
        assert!(trusts(&["::1"], "http://[::1]:40001"));
        assert!(trusts(&["[::1]:40001"], "http://[::1]:40001"));
        assert!(trusts(&["localhost"], "http://localhost:40001"));
        assert!(!trusts(&["127.0.0.1"], "http://127.0.0.2"));
        for name in ["localhost", "127.0.0.1", "::1"] {
            for url in ["http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1"] {
                assert!(trusts(&[name], url), "{name} {url}");
            }
        }
        assert!(!trusts(&["10.0.0.1", "evil.example"], "http://localhost"));
        assert!(!trusts(&["10.0.0.1"], "http://10.0.0.1"));
        assert!(trusts(&["10.0.0.1"], "https://10.0.0.1"));
    }

    #[test]
    fn the_error_shows_neither_user_nor_query() {
        let url = Url::parse("https://user:secret@evil.example:9/p?code=secret#secret").unwrap();
        let message = TrustedHosts::default().check(&url).unwrap_err().to_string();
        assert!(message.contains("`https://evil.example:9/p`") && !message.contains("secret"), "{message}");
    }
}
