//! One HTTP exchange, the narrowest place where a request leaves the process. Knows no service, repeats nothing.

use super::identity::causes;
use async_trait::async_trait;

/// Sends requests; the process's HTTP client is the one that does it in earnest.
#[async_trait]
pub trait Exchange: Send + Sync {
    /// Sends `request` once and gives the head of its answer. The body is read from there.
    ///
    /// # Errors
    /// [`Unanswered`].
    async fn exchange(&self, request: reqwest::Request) -> Result<reqwest::Response, Unanswered>;
}

/// A request that got no answer.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Unanswered {
    /// Whether no connection stood, so that nothing can have been done.
    pub unconnected: bool,
    /// What happened, without the URL: its query may hold what is not for the eye.
    pub message: String,
}

impl From<reqwest::Error> for Unanswered {
    fn from(error: reqwest::Error) -> Self {
        Self { unconnected: error.is_connect(), message: causes(&error.without_url()) }
    }
}

#[async_trait]
impl Exchange for reqwest::Client {
    async fn exchange(&self, request: reqwest::Request) -> Result<reqwest::Response, Unanswered> {
        Ok(self.execute(request).await?)
    }
}
