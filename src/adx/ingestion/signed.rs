//! Addresses of storage that the service lends, each with a signature in its query. The signature stays in here and in
//! the URL that is sent.

use super::super::Error;
use crate::timestamp::Timestamp;
use std::fmt;
use url::Url;

/// A container, queue or table with its signature. `Debug` and [`Signed::bare`] leave the signature out.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Signed {
    url: Url,
    /// When the signature ends, if it says so.
    ends: Option<Timestamp>,
    /// It had ended by this machine's clock when it was lent: which of both is wrong, only storage knows.
    contested: bool,
}

/// Those of the addresses that can be used; the others are told of and left out.
///
/// # Errors
/// The first problem, where none can be used.
pub(super) fn usable<'a>(lent: impl Iterator<Item = &'a str>) -> Result<Vec<Signed>, Error> {
    let (mut usable, mut problem) = (Vec::new(), None);
    for root in lent {
        match Signed::parse(root) {
            Ok(signed) => usable.push(signed),
            Err(error) => {
                tracing::warn!(%error, "some of what the service lends cannot be used");
                problem.get_or_insert(error);
            }
        }
    }
    match problem {
        Some(error) if usable.is_empty() => Err(error),
        _ => Ok(usable),
    }
}

impl Signed {
    /// Reads an address that the service lends.
    pub fn parse(root: &str) -> Result<Self, Error> {
        let url = Url::parse(root).map_err(|_| Error::corrupt("storage is lent at what is no URL"))?;
        let loopback = match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
            return Err(Error::corrupt(format!(
                "storage is lent on {:?}, which is not https",
                url.host_str().unwrap_or("")
            )));
        }
        let ends = end_of(&url);
        Ok(Self { url, ends, contested: false })
    }

    /// The address below this one, signature included.
    pub fn below(&self, name: &str) -> Url {
        let mut url = self.url.clone();
        let path = format!("{}/{name}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    }

    /// The address without signature.
    pub fn bare(&self) -> String {
        bare(&self.url)
    }

    /// The address, signature included.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The storage account, by its host.
    pub fn account(&self) -> String {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}{port}", self.url.host_str().unwrap_or_default())
    }

    /// The same as it was lent at `now`.
    pub fn lent(self, now: Timestamp) -> Self {
        Self { contested: !self.is_live(now), ..self }
    }

    /// Whether it is worth a request: it is live, or has been lent so.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.contested || self.is_live(now)
    }

    /// Whether the signature is still good, as far as it says.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.ends.is_none_or(|end| now < end)
    }
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.bare())
    }
}

/// When the signature in a URL ends, if it says so.
pub(super) fn end_of(url: &Url) -> Option<Timestamp> {
    url.query_pairs().find(|(name, _)| name == "se").and_then(|(_, at)| end(&at))
}

/// The end of a signature in the forms that it may have (Azure Storage REST, "Create a service SAS").
fn end(text: &str) -> Option<Timestamp> {
    let whole = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        17 => format!("{}:00Z", text.strip_suffix('Z')?),
        _ => text.to_owned(),
    };
    whole.parse().ok()
}

/// A URL without query and fragment.
pub(super) fn bare(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_not_printed() {
        let signed = Signed::parse("https://a.blob.core.windows.net/c?sv=1&sig=SECRET").unwrap();
        assert_eq!(format!("{signed:?}"), "https://a.blob.core.windows.net/c");
        assert_eq!(signed.below("b").as_str(), "https://a.blob.core.windows.net/c/b?sv=1&sig=SECRET");
    }

    #[test]
    fn a_signature_is_good_until_its_end() {
        let now = "2026-04-14T07:00:00Z".parse().unwrap();
        for (end, live) in [
            ("2026-04-14T07%3A00%3A01Z", true),
            ("2026-04-14T07:00:00Z", false),
            ("2026-04-14T07:01Z", true),
            ("2026-04-14T06:59Z", false),
            ("2026-04-14", false),
            ("2026-04-15", true),
            ("2026-04-14T06:59:59.9999999Z", false),
            ("soon", true),
        ] {
            let signed = Signed::parse(&format!("https://a.blob.core.windows.net/c?sv=1&se={end}&sig=x")).unwrap();
            assert_eq!(signed.is_live(now), live, "{end}");
        }
        assert!(Signed::parse("https://a.blob.core.windows.net/c?sig=x").unwrap().is_live(now));
        let ended = Signed::parse("https://a.blob.core.windows.net/c?se=2026-04-14&sig=x").unwrap();
        assert!(!ended.is_usable(now) && ended.lent(now).is_usable(now), "what is lent ended is for storage to judge");
    }

    #[test]
    fn signatures_do_not_travel_in_the_clear() {
        assert!(Signed::parse("http://a.blob.core.windows.net/c?sig=x").is_err());
        assert!(Signed::parse("http://127.0.0.1:10000/devstoreaccount1/c?sig=x").is_ok());
    }
}
