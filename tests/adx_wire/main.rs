//! What the connector to Azure Data Explorer sends, and how it takes what comes back, seen from the network.

#![allow(clippy::unwrap_used, reason = "a test ends there, with the line")]

mod announced;
mod catalog;
mod client;
mod content;
mod denied;
mod destination;
mod engine;
mod fake;
mod golden;
mod ingestion;
#[path = "../support/metadata_names.rs"]
mod metadata_names;
mod uploads;
mod ways;
