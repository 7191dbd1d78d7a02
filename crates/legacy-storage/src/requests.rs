//! What is changed on the crates' requests before they are signed. Sends nothing.

use crate::failure::Failure;
use adxingestor_ports::timestamp::{Clock, Timestamp};
use async_trait::async_trait;
use azure_core::headers::{ACCEPT, CONTENT_LENGTH, MS_DATE};
use azure_core::{Context, Method, Policy, PolicyResult, Request};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::time::Instant;

/// Half of what a date may be off (rest-api-ref `Authorize-with-Shared-Key`: 15 minutes).
const TOLERATED: Duration = Duration::from_secs(7 * 60 + 30);

/// In a request's context: the body to send in place of the crate's.
pub(crate) struct BodyInstead(pub(crate) Bytes);

/// In a request's context: a message that is put never expires (rest-api-ref `Put-Message`, `messagettl`).
pub(crate) struct NeverExpires;

/// In a request's context: the answer holds messages.
pub(crate) struct HoldsMessages;

/// In a request's context: it is a transaction of so many operations.
pub(crate) struct Operations(pub(crate) usize);

/// A context with one thing in it.
pub(crate) fn context<T: Send + Sync + 'static>(thing: T) -> Context {
    let mut context = Context::new();
    context.insert(thing);
    context
}

/// Changes requests as their context says, and dates them.
pub(crate) struct Adjust {
    clock: Arc<dyn Clock>,
}

impl Adjust {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

impl fmt::Debug for Adjust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Adjust")
    }
}

#[async_trait]
impl Policy for Adjust {
    async fn send(&self, context: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        if let Some(BodyInstead(body)) = context.get() {
            request.insert_header(CONTENT_LENGTH, body.len().to_string());
            request.set_body(body.clone());
        }
        if context.get::<NeverExpires>().is_some() {
            request.url_mut().query_pairs_mut().append_pair("messagettl", "-1");
        }
        if *request.method() == Method::Get && request.headers().get_optional_str(&ACCEPT).is_some() {
            request.insert_header(ACCEPT, "application/json;odata=minimalmetadata");
        }
        let [first, rest @ ..] = next else {
            return Err(azure_core::Error::message(azure_core::error::ErrorKind::Other, "no policy sends the request"));
        };
        let (dated, since) = (self.clock.now(), Instant::now());
        request.insert_header(MS_DATE, azure_core::date::to_rfc1123(&date(dated)));
        let result = first.send(context, request, rest).await;
        let refused = matches!(&result, Err(error) if error.downcast_ref().is_some_and(Failure::is_forbidden));
        let (now, expected) = (self.clock.now(), dated + since.elapsed());
        if !refused || now.since(expected).max(expected.since(now)) < TOLERATED {
            return result;
        }
        // The answer has set the clock right. What was refused for its date was not carried out.
        request.insert_header(MS_DATE, azure_core::date::to_rfc1123(&date(now)));
        first.send(context, request, rest).await
    }
}

fn date(at: Timestamp) -> OffsetDateTime {
    /// The Unix epoch in seconds of [`Timestamp`].
    const EPOCH: i64 = 62_135_596_800;
    let seconds = i64::try_from(at.ticks() / 10_000_000).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds - EPOCH).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_become_dates_of_whole_seconds() {
        for (at, expected) in [
            ("2026-04-14T07:00:00.9999999Z", "Tue, 14 Apr 2026 07:00:00 GMT"),
            ("0001-01-01T00:00:00Z", "Mon, 01 Jan 0001 00:00:00 GMT"),
            ("9999-12-31T23:59:59Z", "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(azure_core::date::to_rfc1123(&date(at.parse().unwrap())), expected);
        }
    }
}
