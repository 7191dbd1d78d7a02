//! Whom the services of the simulated cloud let in, without a way through the environment of this process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::time::OffsetDateTime;
use localcloud::entra::{THREAT_HUNTING_READ_ALL, Tokens};
use std::sync::Arc;

/// An application with the right to hunt.
pub struct Identity(pub Arc<Tokens>);

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

#[async_trait]
impl TokenCredential for Identity {
    async fn get_token(&self, scopes: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        let audience = scopes[0].trim_end_matches("/.default");
        let issued = self.0.issue("app", audience, &[THREAT_HUNTING_READ_ALL.to_owned()]);
        Ok(AccessToken::new(issued.token, OffsetDateTime::from_unix_timestamp(issued.expires_on).unwrap()))
    }
}
