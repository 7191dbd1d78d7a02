//! The adapters of Azure Storage against the promises of the ports, on the emulator.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/azure.rs"]
mod azure;
#[path = "support/azurite.rs"]
mod azurite;
#[macro_use]
mod conformance;

use azurite::Azurite;
use conformance::{Harness, Time};

conformance_tests!(on_azurite, crate::on_azurite());

fn on_azurite() -> Option<Harness> {
    let azurite = Azurite::shared()?;
    let mut harness = Harness::new(azure::open(&azurite.connection_string()), Time::Wait, ());
    harness.bounds_merged_rows = false;
    Some(harness)
}
