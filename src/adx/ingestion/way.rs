//! The ways in which a blob gets into its table. Knows what each is called and what it needs, and asks nobody.

use super::signed::Signed;
use crate::secret::Secret;

/// Which way is taken: `ADX_INGESTION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// What the cluster offers and prefers.
    #[default]
    Auto,
    /// Messages in the queues that the cluster lends.
    Queued,
    /// The same service, asked over REST.
    Rest,
    /// Commands that load while one waits: for emulators and small tables.
    Direct,
}

/// How a blob is asked to be ingested, with what that needs.
#[derive(Debug)]
pub(super) enum Way {
    /// A message in one of the service's queues.
    Queued(Queues),
    /// A request to the ingestion endpoint.
    Rest,
    /// A command that has the engine load the blob.
    Direct,
    /// A command that holds the rows, from a blob in the app's own store.
    Inline,
}

/// What a message needs.
#[derive(Debug)]
pub(super) struct Queues {
    /// Where it goes.
    pub queues: Vec<Signed>,
    /// What it carries as `authorizationContext`.
    pub identity_token: Secret,
    /// Where it is told how it ended.
    pub status_table: Option<Signed>,
}

impl Way {
    /// The setting that names it.
    pub fn choice(&self) -> Choice {
        match self {
            Self::Queued(_) => Choice::Queued,
            Self::Rest => Choice::Rest,
            Self::Direct | Self::Inline => Choice::Direct,
        }
    }

    /// It in words.
    pub fn told(&self) -> &'static str {
        match self {
            Self::Queued(_) => "queued (messages in the cluster's queues)",
            Self::Rest => "rest (queued ingestion over REST)",
            Self::Direct => "direct (commands that load from the cluster's containers)",
            Self::Inline => "direct (commands that hold the rows, kept in the app's own store)",
        }
    }
}
