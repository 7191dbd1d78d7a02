//! Access tokens: they look like JWTs, carry their claims, and are signed so that a service can check them
//! without asking.

use crate::clock::Clock;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Issues and checks tokens.
pub struct Tokens {
    key: u64,
    tenant_id: String,
    lifetime: Duration,
    clock: Arc<dyn Clock>,
    generation: AtomicU64,
    issued: AtomicU64,
}

/// What a valid token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The service that it is for.
    #[serde(rename = "aud")]
    pub audience: String,
    /// The tenant.
    #[serde(rename = "tid")]
    pub tenant_id: String,
    /// The application.
    #[serde(rename = "appid")]
    pub client_id: String,
    /// The application's roles at that service.
    #[serde(default)]
    pub roles: Vec<String>,
    /// When it was issued, in seconds since 1970.
    #[serde(rename = "iat")]
    pub issued_at: i64,
    /// When it ends, in seconds since 1970.
    #[serde(rename = "exp")]
    pub expires_on: i64,
    #[serde(rename = "rev")]
    generation: u64,
    /// No token is like another.
    #[serde(rename = "uti")]
    number: u64,
}

impl Claims {
    /// Of a caller whom nobody asks for a token.
    pub fn of_anybody() -> Self {
        let text = String::new;
        Self {
            audience: text(),
            tenant_id: text(),
            client_id: text(),
            roles: Vec::new(),
            issued_at: 0,
            expires_on: i64::MAX,
            generation: 0,
            number: 0,
        }
    }
}

/// A new token.
#[derive(Clone)]
pub struct Issued {
    /// The token itself.
    pub token: String,
    /// The service that it is for.
    pub audience: String,
    /// When it ends, in seconds since 1970.
    pub expires_on: i64,
    /// How long it lasts.
    pub lifetime: Duration,
}

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("there is no bearer token; send `Authorization: Bearer …`")]
    Missing,
    /// It was not issued here.
    #[error("the token is malformed or its signature is wrong; get one from this tenant")]
    Invalid,
    /// Its time is over, or it was revoked.
    #[error("the token is expired; get a new one")]
    Expired,
    /// It is for another service.
    #[error("the token is for `{0}`; get one for this service")]
    Audience(String),
}

impl Tokens {
    /// Tokens of `tenant_id` that last `lifetime`. The same `key` accepts them again after a restart.
    pub fn new(key: u64, tenant_id: impl Into<String>, lifetime: Duration, clock: Arc<dyn Clock>) -> Self {
        Self {
            key,
            tenant_id: tenant_id.into(),
            lifetime,
            clock,
            generation: AtomicU64::new(0),
            issued: AtomicU64::new(0),
        }
    }

    /// A token for `client_id` at `audience`.
    pub fn issue(&self, client_id: &str, audience: &str, roles: &[String]) -> Issued {
        let number = self.issued.fetch_add(1, Ordering::SeqCst);
        let issued_at = self.clock.unix_seconds();
        let expires_on = issued_at + i64::try_from(self.lifetime.as_secs()).unwrap_or(i64::MAX / 2);
        let claims = Claims {
            audience: normal(audience).to_owned(),
            tenant_id: self.tenant_id.clone(),
            client_id: client_id.to_owned(),
            roles: roles.to_vec(),
            issued_at,
            expires_on,
            generation: self.generation.load(Ordering::SeqCst),
            number,
        };
        let header = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"HS256","kid":"localcloud"}"#);
        let payload = URL_SAFE_NO_PAD.encode(serde_json::json!(claims).to_string());
        let signed = format!("{header}.{payload}");
        let token = format!("{signed}.{}", self.signature(&signed));
        Issued { token, audience: claims.audience, expires_on, lifetime: self.lifetime }
    }

    /// Checks the value of an `Authorization` header for a service that answers to `audiences`.
    ///
    /// # Errors
    /// [`TokenError`] says what is wrong with it.
    pub fn check(&self, authorization: Option<&str>, audiences: &[&str]) -> Result<Claims, TokenError> {
        let (scheme, token) =
            authorization.and_then(|value| value.trim().split_once(' ')).ok_or(TokenError::Missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
            return Err(TokenError::Missing);
        }
        let claims = self.read(token.trim()).ok_or(TokenError::Invalid)?;
        if !audiences.iter().any(|audience| normal(audience).eq_ignore_ascii_case(&claims.audience)) {
            return Err(TokenError::Audience(claims.audience));
        }
        let revoked = claims.generation < self.generation.load(Ordering::SeqCst);
        if revoked || claims.expires_on <= self.clock.unix_seconds() {
            return Err(TokenError::Expired);
        }
        Ok(claims)
    }

    /// Makes every token so far count as expired.
    pub fn revoke_all(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// How many tokens were issued.
    pub fn issued(&self) -> u64 {
        self.issued.load(Ordering::SeqCst)
    }

    fn read(&self, token: &str) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        if self.signature(signed) != signature {
            return None;
        }
        let (_, payload) = signed.split_once('.')?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    }

    fn signature(&self, signed: &str) -> String {
        let mut hasher = Sha256::new();
        hasher.update(self.key.to_le_bytes());
        hasher.update(signed.as_bytes());
        URL_SAFE_NO_PAD.encode(hasher.finalize())
    }
}

/// An audience without its last slash, which clients add or leave out.
pub(super) fn normal(audience: &str) -> &str {
    audience.strip_suffix('/').unwrap_or(audience)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::entra::{GRAPH, KUSTO};

    fn tokens() -> (Arc<ManualClock>, Tokens) {
        let clock = Arc::new(ManualClock::new(crate::source::ticks::UNIX_EPOCH + 500_000_000));
        (clock.clone(), Tokens::new(1, "tenant", Duration::from_secs(60), clock))
    }

    #[test]
    fn a_token_is_good_for_its_audience_until_it_ends() {
        let (clock, tokens) = tokens();
        let header = format!("Bearer {}", tokens.issue("app", "https://graph.microsoft.com/", &["R".into()]).token);
        let claims = tokens.check(Some(&header), &[KUSTO, GRAPH]).unwrap();
        assert_eq!((claims.client_id.as_str(), claims.roles.as_slice()), ("app", ["R".to_owned()].as_slice()));
        assert_eq!(tokens.check(Some(&header), &[KUSTO]), Err(TokenError::Audience(GRAPH.into())));
        clock.advance(Duration::from_secs(59));
        assert!(tokens.check(Some(&header), &[GRAPH]).is_ok());
        clock.advance(Duration::from_secs(1));
        assert_eq!(tokens.check(Some(&header), &[GRAPH]), Err(TokenError::Expired));
    }

    #[test]
    fn foreign_changed_and_revoked_tokens_are_refused() {
        let (clock, tokens) = tokens();
        let other = Tokens::new(2, "tenant", Duration::from_secs(60), clock);
        let foreign = format!("Bearer {}", other.issue("app", GRAPH, &[]).token);
        assert_eq!(tokens.check(Some(&foreign), &[GRAPH]), Err(TokenError::Invalid));
        let own = format!("Bearer {}", tokens.issue("app", GRAPH, &[]).token);
        assert_eq!(tokens.check(Some(&format!("{own}x")), &[GRAPH]), Err(TokenError::Invalid));
        tokens.revoke_all();
        assert_eq!(tokens.check(Some(&own), &[GRAPH]), Err(TokenError::Expired));
        for header in [None, Some(""), Some("Bearer"), Some("Bearer "), Some("Basic abc")] {
            assert_eq!(tokens.check(header, &[GRAPH]), Err(TokenError::Missing), "{header:?}");
        }
    }
}
