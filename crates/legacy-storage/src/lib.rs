//! The table and queue ports on `azure_data_tables` and `azure_storage_queues` 0.21. The crates build and sign the
//! requests and read the answers; `wire` sends them and judges every answer before the crates see it. Knows no
//! setting and nothing of runs or windows.
//!
//! Both crates are at their last version. What they do wrong, and what is done about it here:
//!
//! | the crates | here |
//! |---|---|
//! | a refused transaction is `Ok`, its index and code are lost | `answer::transaction` reads the answer first: anything but one success an operation is an error |
//! | a quote in a key ends it | `tables` doubles it in URLs and filters |
//! | a connection for each request | `wire` sends through the client handed in, which pools |
//! | no timeout; eight attempts, inserts and sends too | `wire::REQUEST_TIMEOUT`; `RetryOptions::none()` |
//! | `UseDevelopmentStorage=true` gives no endpoint; clouds are built in | [`Account`] takes endpoints, and the crates' connection strings are not used |
//! | a bearer token is sent over http | [`open`] refuses it |
//! | a message's text loses white space at its ends and carriage returns | `text` writes both as character references, on the way out and before the crate reads |
//! | rows come with full metadata | `requests` asks for minimal metadata, which still tells the types |
//! | an answer without `x-ms-request-id` and friends is an error although it was applied | the outcome counts as unknown |
//! | `TokenCredential` and `Error` are those of `azure_core` 0.21 | [`TokenSource`] and the ports' error instead |
//! | a log line at debug level holds the whole request, `Authorization` and SAS in clear | `wire` stands before the policy that writes it; SAS and token are added there |
//! | `x-ms-date` is the machine's time | `requests` puts the clock's, again if the service has just set it right |
//! | an update of a message overwrites its text | `requests` sends it without a body |
//! | a time to live cannot be "never"; times are rounded down | `requests` adds `messagettl=-1`; `queues` rounds up |

mod answer;
mod entity;
mod failure;
mod queues;
mod requests;
mod tables;
mod text;
mod wire;

#[cfg(test)]
mod tests;

use adxingestor_ports::storage::{MessageQueue, TableStore, limits};
use adxingestor_ports::timestamp::{Clock, Timestamp};
use async_trait::async_trait;
use azure_core::auth::Secret;
use azure_core::{ClientOptions, RetryOptions};
use azure_storage::{CloudLocation, StorageCredentials};
use std::sync::Arc;
use std::time::Duration;
use url::Url;
use wire::{Authorize, Wire};

/// An error of whatever gives tokens.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Tokens for the scope `https://storage.azure.com/.default`.
#[async_trait]
pub trait TokenSource: Send + Sync {
    /// A token that is good now. `refused` is one that the service has just refused with 401: another is wanted, if
    /// there is any.
    ///
    /// # Errors
    /// Whatever kept the source from giving one; its text may be logged.
    async fn token(&self, refused: Option<&str>) -> Result<String, BoxError>;
}

/// Told the `Date` of each answer, and how long it took from the request to the headers of the answer.
pub type OnDate = Arc<dyn Fn(Timestamp, Duration) + Send + Sync>;

/// How requests are authorized.
pub enum Access {
    /// The account's key, base64.
    Key(String),
    /// A shared access signature, with or without the leading `?`.
    Sas(String),
    /// An identity.
    Token(Arc<dyn TokenSource>),
}

/// A storage account.
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its table service, e.g. `https://name.table.core.windows.net/` or `http://127.0.0.1:10002/devstoreaccount1`.
    pub tables: Url,
    /// Its queue service.
    pub queues: Url,
    /// How requests are authorized.
    pub access: Access,
}

/// The ports that the two crates can serve.
#[derive(Clone)]
pub struct Stores {
    /// Rows of one table.
    pub tables: Arc<dyn TableStore>,
    /// Messages.
    pub queues: Arc<dyn MessageQueue>,
}

/// Why an account cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OpenError {
    /// An endpoint is no plain http(s) URL.
    #[error("the {service} endpoint must be an http or https URL with a host, and without user, query and fragment")]
    Endpoint {
        /// `table` or `queue`.
        service: &'static str,
    },
    /// A token would go out in clear.
    #[error("the {service} endpoint is http, and a token is only sent over https; use https or a key")]
    TokenOverHttp {
        /// `table` or `queue`.
        service: &'static str,
    },
    /// The key cannot be decoded.
    #[error("the account key is not base64; copy it again, whole, from the account's access keys")]
    Key,
    /// The text is no signature.
    #[error("the shared access signature has no `sig`; copy it again, whole")]
    Sas,
    /// A name that Azure forbids (rest-api-ref `Understanding-the-Table-Service-Data-Model`).
    #[error("the table name {0:?} must have 3 to 63 letters and digits, the first a letter, and must not be `tables`")]
    Table(String),
}

/// The table `table`, made by its first write, and the queues of `account`. `http` pools connections and should follow no redirects;
/// requests are dated by `clock`, which `on_date` may set right: a request that was refused for its date is sent once more.
///
/// # Errors
/// [`OpenError`]; nothing is sent yet.
pub fn open(
    account: Account,
    table: &str,
    http: reqwest::Client,
    clock: Arc<dyn Clock>,
    on_date: OnDate,
) -> Result<Stores, OpenError> {
    limits::table_name(table).map_err(|_| OpenError::Table(table.to_owned()))?;
    let (credentials, authorize) = authorization(&account)?;
    let wire = Arc::new(Wire::new(http, authorize, Arc::clone(&clock), on_date));
    let options = || {
        let mut options = ClientOptions::default().retry(RetryOptions::none());
        options.per_call_policies_mut().push(Arc::new(requests::Adjust::new(Arc::clone(&clock))));
        // The last of these is behind the crate's signing and before its transport, which is never reached.
        options.per_retry_policies_mut().push(Arc::clone(&wire) as _);
        options
    };
    let location = |endpoint: &Url| CloudLocation::Custom {
        account: account.name.clone(),
        // The crates append path segments to it.
        uri: endpoint.as_str().trim_end_matches('/').to_owned(),
    };
    let tables = azure_data_tables::clients::TableServiceClientBuilder::with_location(
        location(&account.tables),
        credentials.clone(),
    )
    .client_options(options())
    .build();
    let queues = azure_storage_queues::QueueServiceClientBuilder::with_location(location(&account.queues), credentials)
        .client_options(options())
        .build();
    Ok(Stores {
        tables: Arc::new(tables::Tables::new(tables.table_client(table))),
        queues: Arc::new(queues::Queues::new(queues)),
    })
}

/// What the crates sign with, and what is left to [`Wire`].
fn authorization(account: &Account) -> Result<(StorageCredentials, Authorize), OpenError> {
    for (service, endpoint) in [("table", &account.tables), ("queue", &account.queues)] {
        let plain = matches!(endpoint.scheme(), "http" | "https")
            && endpoint.has_host()
            && endpoint.username().is_empty()
            && endpoint.password().is_none()
            && endpoint.query().is_none()
            && endpoint.fragment().is_none();
        if !plain {
            return Err(OpenError::Endpoint { service });
        }
        if matches!(account.access, Access::Token(_)) && endpoint.scheme() != "https" {
            return Err(OpenError::TokenOverHttp { service });
        }
    }
    Ok(match &account.access {
        Access::Key(key) => {
            if key.is_empty() || azure_core::base64::decode(key).is_err() {
                return Err(OpenError::Key);
            }
            let credentials = StorageCredentials::access_key(account.name.clone(), Secret::new(key.clone()));
            (credentials, Authorize::Signed)
        }
        Access::Sas(sas) => {
            let sas = sas.trim_start_matches('?').as_bytes();
            let pairs: Vec<_> = url::form_urlencoded::parse(sas).into_owned().collect();
            if !pairs.iter().any(|(name, value)| name == "sig" && !value.is_empty()) {
                return Err(OpenError::Sas);
            }
            (StorageCredentials::anonymous(), Authorize::Sas(pairs))
        }
        Access::Token(source) => (StorageCredentials::anonymous(), Authorize::Token(Arc::clone(source))),
    })
}
