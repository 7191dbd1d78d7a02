//! What the connector to Azure Data Explorer sends, and how it takes what comes back, seen from the network.

mod catalog;
mod client;
mod fake;
mod golden;
mod ingestion;
