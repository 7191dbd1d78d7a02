//! The way out: one HTTP client for all services, the hosts that may be given a token, and the identity
//! that gets the tokens. Knows no service's protocol.

mod body;
mod cloud;
mod exchange;
mod http;
mod identity;
mod proxy;
mod trusted;

pub use body::{BodyError, read_capped};
pub use cloud::Cloud;
pub use exchange::{Exchange, Unanswered};
pub use http::{http_client, http_client_by, http_client_through, retry_after, service_time};
pub use identity::{MANAGED_IDENTITY_RESOURCE_ID, causes, credential, token_source};
pub use proxy::{HTTPS_PROXY, Proxy};
pub use trusted::{TrustedHosts, cloud_of};

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
    #[error("no token for {scope}: {message}; {}{remedy}", later(.transient))]
    Token {
        /// The scope asked for.
        scope: String,
        /// What the identity service said, without secrets.
        message: String,
        /// What to do about it.
        remedy: String,
        /// Whether it may work later without anyone changing anything.
        transient: bool,
    },
    /// The settings do not describe an identity.
    #[error("{message}; {remedy}")]
    Identity {
        /// What is missing or wrong.
        message: String,
        /// What to do about it.
        remedy: String,
    },
    /// `HTTPS_PROXY` names no proxy.
    #[error("{0}; correct it, or remove it where no proxy is needed")]
    Proxy(String),
    /// The HTTP client cannot be built; usually the system has no root certificates.
    #[error("the HTTP client cannot be built: {0}; check SSL_CERT_FILE or install the system's root certificates")]
    Client(String),
}

/// What a process does by itself about an error that may pass.
fn later(transient: &bool) -> &'static str {
    if *transient { "trying again later; if it stays, " } else { "" }
}

impl Error {
    /// Whether it may work later without anyone changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Token { transient: true, .. })
    }

    /// No token came in time.
    pub(crate) fn late_token(scope: &str, waited: Duration) -> Self {
        Self::Token {
            scope: scope.to_owned(),
            message: format!("the identity service did not answer within {} s", waited.as_secs()),
            remedy: "check AZURE_AUTHORITY_HOST, IDENTITY_ENDPOINT and the network".to_owned(),
            transient: true,
        }
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
            Ok(Err(error)) => {
                let (message, remedy) = identity::explain(&error);
                let transient = identity::is_transient(&error);
                Err(Error::Token { scope: scope.to_owned(), message, remedy, transient })
            }
            Err(_) => Err(Error::late_token(scope, TOKEN_TIMEOUT)),
        }
    }
}
