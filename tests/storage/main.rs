//! The state stores against the promises of the ports: in memory, in one SQLite file, in an Azure Storage account (on Azurite); and
//! the emulator against what the tests take it for. One program and one emulator, because most of these tests wait.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../support/azure.rs"]
mod azure;
#[path = "../support/azurite.rs"]
mod azurite;
#[macro_use]
mod conformance;
mod faulty;
#[path = "../support/azurite_grants.rs"]
mod grants;
#[path = "../support/proxy.rs"]
mod proxy;

mod azure_adapter;
mod azure_connection;
mod emulator;
mod faults;
mod legacy_adapter;
mod one_machine;
mod retrying;
mod retrying_seeds;
mod sqlite;
