//! Addresses of the three services of an account. Knows no setting.

use url::{Host, Url};

/// The services that are used, as their hosts name them.
pub(super) const SERVICES: [&str; 3] = ["table", "queue", "blob"];

/// Where the services are, each with a slash at the end and without a query.
#[derive(Debug, Clone)]
pub(in crate::storage::azure) struct Endpoints {
    pub(in crate::storage::azure) table: Url,
    pub(in crate::storage::azure) queue: Url,
    pub(in crate::storage::azure) blob: Url,
}

impl Endpoints {
    /// In the order of [`SERVICES`]; `None` if one is missing.
    pub(super) fn of(urls: [Option<Url>; 3]) -> Option<Self> {
        let [table, queue, blob] = urls;
        Some(Self { table: table?, queue: queue?, blob: blob? })
    }

    /// In the order of [`SERVICES`].
    pub(super) fn all(&self) -> [&Url; 3] {
        [&self.table, &self.queue, &self.blob]
    }

    /// The account that the address of its tables names: the first label of a host of its own, else the first segment of
    /// the path, as with an emulator.
    pub(super) fn account(&self) -> String {
        let in_path =
            self.table.path_segments().and_then(|mut segments| segments.next()).filter(|name| !name.is_empty());
        let in_host = match self.table.host() {
            Some(Host::Domain(host)) => host.split('.').next(),
            _ => None,
        };
        in_path.or(in_host).unwrap_or_default().to_owned()
    }
}

/// An address as it is set.
///
/// # Errors
/// What is wrong with it, without what it holds: a signature may have been pasted.
pub(super) fn parse(text: &str) -> Result<Url, &'static str> {
    let mut url = Url::parse(text).map_err(|_| "is no URL")?;
    if !matches!(url.scheme(), "https" | "http") || !url.has_host() {
        return Err("is no https URL with a host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user name or a password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has more behind its path, which does not belong there");
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// The address of a service below the suffix of a cloud; `None` if that makes no host.
pub(super) fn derive(protocol: &str, account: &str, service: &str, suffix: &str) -> Option<Url> {
    let url = Url::parse(&format!("{protocol}://{account}.{service}.{suffix}/")).ok()?;
    let is_host = suffix.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':'));
    (is_host && url.has_host()).then_some(url)
}

/// The names that accounts have (azure-docs `storage-account-overview`).
pub(super) fn is_account_name(name: &str) -> bool {
    (3..=24).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}
