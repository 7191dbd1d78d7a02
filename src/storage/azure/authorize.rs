//! What lets a request in: the account's key, a shared access signature or a token, added to each try. A try that was
//! refused for want of the right time or of a fresh token is repeated once, as nothing was done; any other refusal becomes
//! an error that says what to do. Knows no table, queue or blob.

use super::clock::{ServiceClock, TOLERATED};
use super::connection::Sas;
use super::denial;
use super::error::{Denied, NoToken, Refusal, date};
use super::signing::{self, Key, Scheme};
use crate::outbound::Outbound;
use crate::secret::Secret;
use crate::timestamp::{Clock, Timestamp};
use async_trait::async_trait;
use azure_core::error::{Error, ErrorKind};
use azure_core::http::headers::{AUTHORIZATION, Headers, MS_DATE};
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{AsyncRawResponse, Context, Request};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// What tokens are asked for (azure-docs `storage/blobs/authorize-access-azure-active-directory`).
pub(super) const SCOPE: &str = "https://storage.azure.com/.default";

/// What lets requests in.
#[derive(Clone)]
pub(super) enum Grant {
    /// A signature with the account's key.
    Key(Key),
    /// A signature made by somebody with the key.
    Sas(Sas),
    /// An identity's token.
    Token(Outbound),
}

/// Authorizes the requests to one service.
#[derive(Clone)]
pub(super) struct Authorize {
    pub(super) grant: Grant,
    pub(super) scheme: Scheme,
    pub(super) account: String,
    /// `Table`, `Queue` or `Blob`, as in the names of the roles.
    pub(super) service: &'static str,
    pub(super) clock: Arc<ServiceClock>,
}

impl std::fmt::Debug for Authorize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authorize({} of {})", self.service, self.account)
    }
}

/// A try that was refused.
struct Refused {
    refusal: Refusal,
    headers: Headers,
}

#[async_trait]
impl Policy for Authorize {
    async fn send(&self, ctx: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        let Some((policy, rest)) = next.split_first() else {
            return Err(Error::with_message(ErrorKind::Other, "a transport is missing"));
        };
        let url = request.url().clone();
        let token = self.token(None).await?;
        let signed = self.clock.now();
        self.enter(request, token.as_ref(), signed);
        let refused = match admitted(policy.send(ctx, request, rest).await?).await? {
            Ok(response) => return Ok(response),
            Err(refused) => refused,
        };
        let Some(token) = self.other_chance(&refused, token, signed).await? else {
            return Err(self.denied(&refused));
        };
        *request.url_mut() = url;
        request.body_mut().reset().await?;
        self.enter(request, token.as_ref(), self.clock.now());
        admitted(policy.send(ctx, request, rest).await?).await?.map_err(|refused| self.denied(&refused))
    }
}

impl Authorize {
    /// A token, if this is what lets in; another one in place of one that was refused.
    async fn token(&self, refused: Option<&Secret>) -> azure_core::Result<Option<Secret>> {
        let Grant::Token(outbound) = &self.grant else { return Ok(None) };
        let token = match refused {
            None => outbound.token(SCOPE).await.map(Some),
            Some(refused) => outbound.renewed_token(SCOPE, refused).await,
        };
        token.map_err(|error| {
            let transient = error.is_transient();
            let said = format!("the identity for AzureWebJobsStorage: {error}");
            if transient {
                Error::new(ErrorKind::Credential, NoToken(said))
            } else {
                Error::new(ErrorKind::Credential, Denied(said))
            }
        })
    }

    fn enter(&self, request: &mut Request, token: Option<&Secret>, now: Timestamp) {
        let now = azure_core::time::to_rfc7231(&moment(now));
        request.insert_header(MS_DATE, now.clone());
        match (&self.grant, token) {
            (Grant::Key(key), _) => {
                let value = signing::authorization(self.scheme, &self.account, key, request, &now);
                request.insert_header(AUTHORIZATION, value);
            }
            (Grant::Sas(sas), _) => {
                let own = request.url().query().filter(|query| !query.is_empty());
                let query = own.map(|own| format!("{own}&")).unwrap_or_default() + sas.expose();
                request.url_mut().set_query(Some(&query));
            }
            (Grant::Token(_), Some(token)) => {
                request.insert_header(AUTHORIZATION, format!("Bearer {}", token.expose()));
            }
            (Grant::Token(_), None) => {}
        }
    }

    /// What to try again with (a token, or nothing but the right time); `None` if that would change nothing.
    async fn other_chance(
        &self,
        refused: &Refused,
        token: Option<Secret>,
        signed: Timestamp,
    ) -> azure_core::Result<Option<Option<Secret>>> {
        match (&self.grant, token) {
            (Grant::Key(_), _) => {
                let off = date(&refused.headers).map_or(Duration::ZERO, |date| apart(date, signed));
                if off > TOLERATED && self.clock.is_first_warning() {
                    tracing::warn!(
                        off_s = off.as_secs(),
                        "the clock of this machine is wrong; requests are signed with the storage service's time"
                    );
                }
                Ok((off > TOLERATED).then_some(None))
            }
            (Grant::Token(_), Some(token)) if refused.refusal.status == 401 => {
                Ok(self.token(Some(&token)).await?.map(Some))
            }
            _ => Ok(None),
        }
    }

    fn denied(&self, Refused { refusal, headers }: &Refused) -> Error {
        let now = date(headers).unwrap_or_else(|| self.clock.now());
        let text = denial::explain(&denial::Case {
            grant: &self.grant,
            account: &self.account,
            service: self.service,
            refusal,
            now,
            local: self.clock.local(),
        });
        Error::new(ErrorKind::Credential, Denied(text))
    }
}

/// The answer, unless it is a refusal to let the request in.
async fn admitted(response: AsyncRawResponse) -> azure_core::Result<Result<AsyncRawResponse, Refused>> {
    let status = u16::from(response.status());
    if !matches!(status, 401 | 403) {
        return Ok(Ok(response));
    }
    let (_, headers, body) = response.deconstruct();
    let body = body.collect().await?;
    Ok(Err(Refused { refusal: Refusal::read(status, &headers, &body), headers }))
}

fn apart(one: Timestamp, other: Timestamp) -> Duration {
    one.since(other).max(other.since(one))
}

fn moment(at: Timestamp) -> OffsetDateTime {
    let epoch = OffsetDateTime::UNIX_EPOCH;
    epoch + at.since(Timestamp::from(epoch))
}
