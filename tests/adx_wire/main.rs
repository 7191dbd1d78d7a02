//! What the connector to Azure Data Explorer sends, and how it takes what comes back, seen from the network.

#![allow(clippy::unwrap_used, reason = "a test ends there, with the line")]

mod catalog;
mod client;
mod destination;
mod engine;
mod fake;
mod golden;
mod ingestion;
mod uploads;
mod ways;
