//! The services of a storage account, ready to be called: where they are, and how requests travel, are allowed in and
//! tell the time. Knows no table, queue or blob.

use super::authorize::{Authorize, Grant};
use super::clock::ServiceClock;
use super::connection::{Connection, Identity, Way};
use super::signing::Scheme;
use super::transport::Transport;
use crate::config::{Lookup, cloud, trusted_hosts};
use crate::outbound::{self, Outbound, TrustedHosts, credential};
use crate::storage::limits::{MAX_BLOB_BYTES, MAX_PAGE_BYTES};
use crate::timestamp::Clock;
use azure_core::http::{ClientOptions, RetryOptions, Transport as SdkTransport, Url};
use std::sync::Arc;

/// Room for what stands around the rows of a page and the messages of a receive; JSON writes a character in up to six.
const MAX_ANSWER: usize = 8 * MAX_PAGE_BYTES;
/// Room for the largest blob.
const MAX_BLOB_ANSWER: usize = MAX_BLOB_BYTES + 64 * 1024;

/// One service (table, queue or blob) of a storage account.
#[derive(Debug, Clone)]
pub(super) struct Service {
    /// Where it is, with a slash at the end and without a query.
    pub(super) endpoint: Url,
    /// For the official clients, made without a credential, and for `Pipeline::new`: the shared transport, no retries, and
    /// the policy that authorizes each try.
    pub(super) options: ClientOptions,
}

/// A storage account.
pub(super) struct Account {
    pub(super) tables: Service,
    pub(super) queues: Service,
    pub(super) blobs: Service,
    /// The time of its services.
    pub(super) clock: Arc<ServiceClock>,
    /// The kind of the identity, if it is one that lets in.
    pub(super) identity: Option<&'static str>,
}

impl Account {
    /// Puts the account together; makes no request.
    ///
    /// # Errors
    /// The settings describe no identity.
    pub(super) fn new(
        connection: &Connection,
        lookup: Lookup<'_>,
        http: reqwest::Client,
        local: Arc<dyn Clock>,
    ) -> Result<Self, outbound::Error> {
        let clock = Arc::new(ServiceClock::new(local));
        let (grant, identity) = match &connection.way {
            Way::Key(key) => (Grant::Key(key.clone()), None),
            Way::Sas(sas) => (Grant::Sas(sas.clone()), None),
            Way::Identity(identity) => {
                let (outbound, kind) = tokens(identity, lookup, http.clone())?;
                (Grant::Token(outbound), Some(kind))
            }
        };
        let service = |name, endpoint: &Url, scheme, cap| {
            let authorize = Authorize {
                grant: grant.clone(),
                scheme,
                account: connection.account.clone(),
                service: name,
                clock: Arc::clone(&clock),
            };
            let transport = Transport { http: http.clone(), clock: Arc::clone(&clock), cap };
            let options = ClientOptions {
                per_try_policies: vec![Arc::new(authorize)],
                // Repeating is decided where it is known what may be repeated.
                retry: RetryOptions::none(),
                transport: Some(SdkTransport::new(Arc::new(transport))),
                ..ClientOptions::default()
            };
            Service { endpoint: endpoint.clone(), options }
        };
        let places = &connection.endpoints;
        Ok(Self {
            tables: service("Table", &places.table, Scheme::SharedKeyLite, MAX_ANSWER),
            queues: service("Queue", &places.queue, Scheme::SharedKey, MAX_ANSWER),
            blobs: service("Blob", &places.blob, Scheme::SharedKey, MAX_BLOB_ANSWER),
            clock,
            identity,
        })
    }
}

/// Where tokens come from, and the kind of the identity. They go to the hosts of storage accounts only.
pub(super) fn tokens(
    identity: &Identity,
    lookup: Lookup<'_>,
    http: reqwest::Client,
) -> Result<(Outbound, &'static str), outbound::Error> {
    let described = |name: &str| identity.setting(lookup, name);
    let (credential, kind) = credential(&described, http.clone())?;
    Ok((Outbound::new(http, credential, TrustedHosts::of_storage(trusted_hosts(lookup)).in_cloud(cloud(lookup))), kind))
}
