//! How a post stands, as far as the service tells (dataexplorer-docs `api/netfx/kusto-ingest-client-status.md`). It explains
//! what a count does not show; it proves nothing.

use super::super::error::clean;
use super::super::{Client, Error, codes};
use super::way::{Queues, Way};
use super::{Ingestor, rest, status_table};
use crate::kql::Identifier;
use tokio::time::Instant;

/// How a post stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It is under way: another post beside it could land as well.
    Pending,
    /// It has landed, or something had landed under its id before.
    Succeeded,
    /// It has not landed, and will not any more.
    Failed {
        /// `BadRequest_InvalidBlob`, …; empty if there is none.
        code: String,
        /// Whether the same post would fail again.
        permanent: bool,
        /// The service's words.
        details: String,
    },
    /// Nobody says.
    Unknown,
}

/// What a post is found again by.
#[derive(Debug, Clone, Copy)]
pub struct PostKey<'a> {
    /// The destination.
    pub table: &'a Identifier,
    /// The id under which the rows land.
    pub window_id: &'a str,
    /// Which post of the window it was; the first is 1.
    pub number: u32,
    /// What the service called it, where it gives posts a name.
    pub operation: Option<&'a str>,
}

/// How a post has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Whether the same post would fail again, until somebody changes something.
    pub permanent: bool,
    /// What happened, and what to do.
    pub words: String,
}

/// The failure that a status tells of.
pub(super) fn failure(client: &Client, table: &Identifier, status: Status) -> Option<Ended> {
    let Status::Failed { code, permanent, details } = status else { return None };
    let said = format!("{} ({}): {details}", clean(&code), if permanent { "Permanent" } else { "Transient" });
    let words = codes::with_advice(said, &code, table, client.database(), client.application());
    Some(Ended { permanent, words })
}

/// What a service says of one source, in the words of all its ways.
pub(super) struct Told<'a> {
    pub status: &'a str,
    pub code: &'a str,
    pub failure: &'a str,
    pub details: &'a str,
}

impl Told<'_> {
    /// Its status in ours.
    pub fn read(&self) -> Status {
        let is = |name: &str| self.status.eq_ignore_ascii_case(name);
        // What a tag has kept out is there, or has been.
        let kept_out = is("Skipped") || self.code.starts_with("Skipped_");
        if is("Succeeded") || kept_out {
            Status::Succeeded
        } else if is("Pending") || is("InProgress") {
            Status::Pending
        } else if is("Failed") || is("Canceled") {
            Status::Failed {
                code: if self.code.is_empty() { self.status.to_owned() } else { self.code.to_owned() },
                permanent: is("Failed") && self.failure.eq_ignore_ascii_case("Permanent"),
                details: clean(self.details),
            }
        } else {
            // `Queued` is the end of what is not tracked, and a part is nothing that one blob can land in.
            Status::Unknown
        }
    }
}

/// Asks how a post stands.
pub(super) async fn status(ingestor: &Ingestor, post: &PostKey<'_>, deadline: Instant) -> Result<Status, Error> {
    if let Some(operation) = post.operation {
        return rest::status(&ingestor.client, post.table, operation, deadline).await;
    }
    let resources = ingestor.resources(deadline).await?;
    match &resources.way {
        Way::Queued(Queues { status_table: Some(table), .. }) => {
            status_table::read(ingestor, table, post, deadline).await
        }
        Way::Queued(_) | Way::Rest | Way::Direct | Way::Inline => Ok(Status::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_a_status_is_read() {
        let read = |status, code, failure| Told { status, code, failure, details: "why: https://a/b?sig=x" }.read();
        let failed = |code: &str, permanent| Status::Failed {
            code: code.to_owned(),
            permanent,
            details: "why: https://a/b".to_owned(),
        };
        for (status, code, failure, expected) in [
            ("Pending", "", "", Status::Pending),
            ("inProgress", "", "", Status::Pending),
            ("succeeded", "", "", Status::Succeeded),
            ("Skipped", "Skipped_IngestByTagAlreadyExists", "Permanent", Status::Succeeded),
            ("Failed", "Skipped_IngestByTagAlreadyExists", "Permanent", Status::Succeeded),
            ("Failed", "BadRequest_InvalidBlob", "Permanent", failed("BadRequest_InvalidBlob", true)),
            ("Failed", "General_InternalServerError", "Transient", failed("General_InternalServerError", false)),
            ("Failed", "General_RetryAttemptsExceeded", "Exhausted", failed("General_RetryAttemptsExceeded", false)),
            ("Failed", "", "Unknown", failed("Failed", false)),
            ("Canceled", "", "", failed("Canceled", false)),
            ("Queued", "", "", Status::Unknown),
            ("PartiallySucceeded", "", "", Status::Unknown),
            ("", "", "", Status::Unknown),
        ] {
            assert_eq!(read(status, code, failure), expected, "{status} {code} {failure}");
        }
    }
}
