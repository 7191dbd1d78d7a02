//! The state store of an Azure connection, opened as the product opens it, without repetitions.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use adxingestor::outbound::http_client;
use adxingestor::storage::{self, Connection, Storage};
use adxingestor::timestamp::SystemClock;
use std::sync::Arc;

/// The store behind a connection string.
pub fn open(connection: &str) -> Storage {
    let lookup = |name: &str| (name == "AzureWebJobsStorage").then(|| connection.to_owned());
    let connection = Connection::parse(&lookup).expect("a connection");
    storage::azure(&connection, &lookup, http_client().unwrap(), Arc::new(SystemClock)).expect("a store").0
}
