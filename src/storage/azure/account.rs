//! The services of a storage account, ready to be called: where they are, and how requests travel, are allowed in and
//! tell the time. Knows no table, queue or blob.

use azure_core::http::{ClientOptions, Url};

/// One service (table, queue or blob) of a storage account.
#[derive(Debug, Clone)]
pub(super) struct Service {
    /// Where it is, with a slash at the end and without a query.
    pub(super) endpoint: Url,
    /// For the official clients, made without a credential, and for `Pipeline::new`: the shared transport, no retries, and
    /// the policy that authorizes each try.
    pub(super) options: ClientOptions,
}
