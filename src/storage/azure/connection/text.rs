//! Connection strings, as they stand in `AzureWebJobsStorage` (azure-docs `storage-configure-connection-string`). Shows
//! nothing of what it reads: a key may stand in any place of a string that is wrong.

use super::endpoint::{self, Endpoints, SERVICES};
use super::{Place, Sas, Way};
use crate::storage::azure::signing::Key;
use std::collections::HashMap;
use url::Url;

/// The accepted forms.
pub(super) const FORMS: &str = "`DefaultEndpointsProtocol=https;AccountName=NAME;AccountKey=KEY;EndpointSuffix=core.windows.net`, \
     `BlobEndpoint=URL;QueueEndpoint=URL;TableEndpoint=URL;SharedAccessSignature=SAS` and `UseDevelopmentStorage=true`";

/// The account that every emulator has, with its published key (azure-docs `storage-use-azurite`).
const EMULATOR: &str = "devstoreaccount1";
const EMULATOR_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// Its ports, in the order of [`SERVICES`].
const EMULATOR_PORTS: [u16; 3] = [10002, 10001, 10000];
/// The keys of the addresses, in the same order.
const ENDPOINT_KEYS: [&str; 3] = ["TableEndpoint", "QueueEndpoint", "BlobEndpoint"];
const OTHER_KEYS: [&str; 7] = [
    "UseDevelopmentStorage",
    "DevelopmentStorageProxyUri",
    "AccountName",
    "AccountKey",
    "DefaultEndpointsProtocol",
    "EndpointSuffix",
    "SharedAccessSignature",
];

/// The account that a connection string names.
///
/// # Errors
/// All that is wrong with it.
pub(super) fn parse(text: &str) -> Result<Place, Vec<String>> {
    let wrapped = match text.chars().next() {
        Some('"' | '\'' | '\u{201c}') => Some("begins with a quotation mark; remove the quotes around it"),
        _ if text.chars().any(char::is_control) => Some("holds a line break; write it on one line"),
        _ if text.starts_with("http://") || text.starts_with("https://") => Some("is a URL, not a connection string"),
        _ => None,
    };
    if let Some(wrapped) = wrapped {
        return Err(vec![wrapped.to_owned()]);
    }
    let mut reader = Reader::new(text);
    let place = match reader.get("UseDevelopmentStorage") {
        Some(choice) if choice.eq_ignore_ascii_case("true") => reader.emulator(),
        Some(_) => reader.fault("UseDevelopmentStorage can only be `true`"),
        None => reader.account(),
    };
    match place {
        Some(place) if reader.faults.is_empty() => Ok(place),
        _ => Err(reader.faults),
    }
}

struct Reader<'t> {
    /// By the key as it is written above.
    values: HashMap<&'static str, &'t str>,
    faults: Vec<String>,
}

impl<'t> Reader<'t> {
    /// Keys of other services and of later versions are left aside.
    fn new(text: &'t str) -> Self {
        let mut reader = Self { values: HashMap::new(), faults: Vec::new() };
        for (index, part) in text.split(';').map(str::trim).enumerate().filter(|(_, part)| !part.is_empty()) {
            let Some((key, value)) = part.split_once('=') else {
                reader.fault::<()>(format!("part {} of the connection string is no `Key=value`", index + 1));
                continue;
            };
            let known = ENDPOINT_KEYS.iter().chain(&OTHER_KEYS).find(|known| known.eq_ignore_ascii_case(key.trim()));
            if let Some(known) = known
                && reader.values.insert(known, value.trim()).is_some()
            {
                reader.fault::<()>(format!("{known} stands there twice"));
            }
        }
        reader
    }

    /// Always `None`, for the place where the value would be.
    fn fault<T>(&mut self, fault: impl Into<String>) -> Option<T> {
        self.faults.push(fault.into());
        None
    }

    /// A value that is not empty.
    fn get(&self, key: &str) -> Option<&'t str> {
        self.values.get(key).copied().filter(|value| !value.is_empty())
    }

    fn emulator(&mut self) -> Option<Place> {
        if ["AccountName", "AccountKey", "SharedAccessSignature"].iter().any(|key| self.get(key).is_some()) {
            return self
                .fault("UseDevelopmentStorage=true names the emulator, and the rest another account; remove one");
        }
        let proxy = self.get("DevelopmentStorageProxyUri").unwrap_or("http://127.0.0.1");
        let base = match endpoint::parse(proxy) {
            Ok(base) => base,
            Err(wrong) => return self.fault(format!("DevelopmentStorageProxyUri {wrong}")),
        };
        let urls = std::array::from_fn(|index| {
            let mut url = base.clone();
            // A URL with a host takes a port.
            let _ = url.set_port(Some(EMULATOR_PORTS[index]));
            url.set_path(&format!("/{EMULATOR}/"));
            self.explicit(index).unwrap_or(Some(url))
        });
        Some((EMULATOR.to_owned(), Endpoints::of(urls)?, Way::Key(Key::parse(EMULATOR_KEY)?)))
    }

    fn account(&mut self) -> Option<Place> {
        let name = self.account_name();
        let way = self.way();
        let urls = std::array::from_fn(|index| match self.explicit(index) {
            Some(explicit) => explicit,
            None => self.derived(index, name),
        });
        let endpoints = Endpoints::of(urls)?;
        let account = name.map_or_else(|| endpoints.account(), str::to_owned);
        Some((account, endpoints, way?))
    }

    fn account_name(&mut self) -> Option<&'t str> {
        let name = self.get("AccountName");
        let everywhere = ENDPOINT_KEYS.iter().all(|key| self.get(key).is_some());
        match name {
            None if self.get("AccountKey").is_some() || !everywhere => self.fault("it has no AccountName"),
            None => None,
            Some(name) if endpoint::is_account_name(name) => Some(name),
            // An emulator takes other names, and then no address is made of it.
            Some(name) if everywhere && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)) => {
                Some(name)
            }
            Some(_) => self.fault("AccountName is no name of a storage account: 3 to 24 lower-case letters and digits"),
        }
    }

    fn way(&mut self) -> Option<Way> {
        match (self.get("AccountKey"), self.get("SharedAccessSignature")) {
            (Some(_), Some(_)) => self.fault("it has both AccountKey and SharedAccessSignature; remove one"),
            (None, None) => self.fault("it has neither AccountKey nor SharedAccessSignature"),
            (Some(key), None) => match Key::parse(key) {
                Some(key) => Some(Way::Key(key)),
                None => self.fault("AccountKey is not base64; copy it whole from the account's Access keys"),
            },
            (None, Some(sas)) => match Sas::parse(sas) {
                Ok(sas) => Some(Way::Sas(sas)),
                Err(wrong) => self.fault(wrong),
            },
        }
    }

    /// The address that is set for a service; `None` if none is.
    fn explicit(&mut self, index: usize) -> Option<Option<Url>> {
        let key = ENDPOINT_KEYS[index];
        Some(match endpoint::parse(self.get(key)?) {
            Ok(url) => Some(url),
            Err(wrong) => {
                let service = SERVICES[index];
                self.fault(format!("{key} {wrong}; such as https://NAME.{service}.core.windows.net"))
            }
        })
    }

    fn derived(&mut self, index: usize, account: Option<&str>) -> Option<Url> {
        let protocol = self.get("DefaultEndpointsProtocol").unwrap_or("https");
        let suffix = self.get("EndpointSuffix").unwrap_or("core.windows.net");
        if !["https", "http"].iter().any(|known| known.eq_ignore_ascii_case(protocol)) {
            return self.once("DefaultEndpointsProtocol is neither https nor http");
        }
        match endpoint::derive(protocol, account?, SERVICES[index], suffix.trim_start_matches('.')) {
            Some(url) => Some(url),
            None => self.once("EndpointSuffix is no end of a host, such as core.windows.net"),
        }
    }

    /// A fault that each service has.
    fn once<T>(&mut self, fault: &str) -> Option<T> {
        if self.faults.iter().any(|known| known == fault) { None } else { self.fault(fault) }
    }
}
