//! The ports in an Azure Storage account: one table, queues by name and one container. Knows nothing of what rows,
//! messages and payloads mean.

#![allow(dead_code, reason = "the adapters that use it come next")]

mod account;
mod blobs;
mod client;
mod error;
mod queues;
mod tables;
