//! The way out: one HTTP client for all services, the hosts that may be given a token, and the identity
//! that gets the tokens. Knows no service's protocol.

mod body;
mod cloud;
mod exchange;
mod http;
mod identity;
mod trusted;

pub use body::{BodyError, read_capped};
pub use cloud::Cloud;
pub use exchange::{Exchange, Unanswered};
pub use http::{http_client, retry_after, service_time};
pub use identity::{MANAGED_IDENTITY_RESOURCE_ID, causes, credential};
pub use trusted::TrustedHosts;

use crate::secret::Secret;
use azure_core::credentials::{TokenCredential, TokenRequestOptions};
use azure_core::http::{ClientMethodOptions, Context};
use reqwest::{Method, RequestBuilder, Response};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// How long a token may take, retries included.
pub const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);

/// The shared HTTP client with the rules of where tokens may go.
#[derive(Clone)]
pub struct Outbound {
    http: reqwest::Client,
    exchange: Arc<dyn Exchange>,
    credential: Arc<dyn TokenCredential>,
    trusted: Arc<TrustedHosts>,
}

/// What can go wrong before a request leaves.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL may not be given a token.
    #[error(
        "`{url}` is not trusted with a token in this cloud (AZURE_AUTHORITY_HOST); list its host in TRUSTED_HOSTS if it is yours (https, or http on loopback)"
    )]
    Untrusted {
        /// The URL without its query.
        url: String,
    },
    /// No token could be had.
    #[error("no token for {scope}: {message}")]
    Token {
        /// The scope asked for.
        scope: String,
        /// What the identity service said, without secrets, and what to do.
        message: String,
        /// Whether it may work later without anyone changing anything.
        transient: bool,
    },
    /// The settings do not describe an identity.
    #[error("{0}")]
    Identity(String),
    /// The HTTP client cannot be built; usually the system has no root certificates.
    #[error("the HTTP client cannot be built: {0}; check SSL_CERT_FILE or install the system's root certificates")]
    Client(String),
}

impl Error {
    /// Whether it may work later without anyone changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Token { transient: true, .. })
    }

    /// Why there is no token and what to do, apart from each other.
    pub fn no_token(&self) -> Option<(&str, &'static str)> {
        let Self::Token { message, .. } = self else { return None };
        Some(identity::parted(message))
    }
}

/// A token that a service has refused: a credential of [`credential`] drops its cache for it.
struct Refused(Secret);

impl Outbound {
    /// Puts the parts together.
    pub fn new(http: reqwest::Client, credential: Arc<dyn TokenCredential>, trusted: TrustedHosts) -> Self {
        let exchange = Arc::new(http.clone());
        Self { http, exchange, credential, trusted: Arc::new(trusted) }
    }

    /// The same, with requests sent by `exchange` instead of the client.
    #[must_use]
    pub fn through(self, exchange: Arc<dyn Exchange>) -> Self {
        Self { exchange, ..self }
    }

    /// A request to be sent by [`Outbound::send`].
    pub fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.http.request(method, url)
    }

    /// Sends a request once and gives the head of its answer. It has no deadline of its own.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, Unanswered> {
        self.exchange.exchange(request.build()?).await
    }

    /// Checks that `url` may be given a token.
    ///
    /// # Errors
    /// [`Error::Untrusted`].
    pub fn check(&self, url: &Url) -> Result<(), Error> {
        self.trusted.check(url)
    }

    /// Checks that a cluster may name `resource` as what its tokens are for.
    ///
    /// # Errors
    /// [`Error::Untrusted`].
    pub fn check_kusto_resource(&self, resource: &Url) -> Result<(), Error> {
        self.trusted.check_kusto_resource(resource)
    }

    /// The cloud whose hosts are trusted.
    pub fn cloud(&self) -> Cloud {
        self.trusted.cloud()
    }

    /// A token for `scope` (`…/.default`), cached by the credential. Takes at most [`TOKEN_TIMEOUT`].
    ///
    /// # Errors
    /// [`Error::Token`].
    pub async fn token(&self, scope: &str) -> Result<Secret, Error> {
        self.ask(scope, None).await
    }

    /// Another token for `scope` after a service refused this one; `None` if the identity has no other, so
    /// that repeating the request would be refused again.
    ///
    /// # Errors
    /// [`Error::Token`].
    pub async fn renewed_token(&self, scope: &str, refused: &Secret) -> Result<Option<Secret>, Error> {
        let context = Context::new().with_value(Refused(refused.clone()));
        let options = TokenRequestOptions { method_options: ClientMethodOptions { context } };
        let token = self.ask(scope, Some(options)).await?;
        Ok((token != *refused).then_some(token))
    }

    async fn ask(&self, scope: &str, options: Option<TokenRequestOptions<'_>>) -> Result<Secret, Error> {
        let scopes = [scope];
        match tokio::time::timeout(TOKEN_TIMEOUT, self.credential.get_token(&scopes, options)).await {
            Ok(Ok(token)) => Ok(Secret::new(token.token.secret())),
            Ok(Err(error)) => Err(Error::Token {
                scope: scope.to_owned(),
                message: identity::explain(&error),
                transient: identity::is_transient(&error),
            }),
            Err(_) => Err(Error::Token {
                scope: scope.to_owned(),
                message: format!(
                    "the identity service did not answer within {} s; check AZURE_AUTHORITY_HOST, IDENTITY_ENDPOINT and the network",
                    TOKEN_TIMEOUT.as_secs()
                ),
                transient: true,
            }),
        }
    }
}
