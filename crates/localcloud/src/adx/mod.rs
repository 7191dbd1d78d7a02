//! The simulated Azure Data Explorer: one database behind the REST endpoints of engine and data management, the
//! storage that ingestion goes through, and the asynchronous ingestion itself. Knows the source only by the
//! identity of rows.

pub mod commands;
pub mod database;
pub mod extent;
pub mod ingestion;
pub mod rest;
mod seen;
pub mod storage;
mod store;
pub mod table;

pub use commands::{Error, ResourceProvider, ResultTable};
pub use rest::{Adx, Alike, Kind, Limits, QueuedRest, StaleAnswers, router};
pub use store::StoreError;

impl ResourceProvider for storage::Storage {
    fn resources(&self) -> Vec<(String, String)> {
        self.resources().into_iter().map(|(kind, url)| (kind.to_owned(), url)).collect()
    }

    fn identity_token(&self) -> String {
        self.identity_token()
    }

    fn open(&self, address: &str) -> Result<storage::Opened, storage::Unreadable> {
        self.open_blob(address)
    }

    fn post(&self, message: String) {
        self.post(message);
    }
}
