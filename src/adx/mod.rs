//! Azure Data Explorer and Fabric Eventhouse: queries and commands over REST, queued ingestion, and the
//! catalog of tables that the product keeps there. Knows nothing of the source, of runs or of windows
//! beyond their ids.

pub mod answer;
pub mod catalog;
pub mod client;
mod codes;
mod denial;
pub mod error;
pub mod ingestion;
pub mod table;
pub(crate) mod template;

pub use client::{Client, Effect, Endpoints, Options, Pace};
pub use error::Error;
pub use table::Table;

use uuid::Uuid;

/// Where randomness comes in: ids of requests, blobs and messages, and the jitter of waits.
pub trait FreshIds: Send + Sync {
    /// An id that was never given before.
    fn fresh(&self) -> Uuid;
}

/// Ids from the machine's random numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomIds;

impl FreshIds for RandomIds {
    fn fresh(&self) -> Uuid {
        Uuid::new_v4()
    }
}
