//! The adapters of Azure Storage against the promises of the ports, on the emulator.

use crate::azure;
use crate::azurite::Azurite;
use crate::conformance::{Harness, Time};

conformance_tests!(on_azurite, crate::azure_adapter::on_azurite());

fn on_azurite() -> Option<Harness> {
    let azurite = Azurite::shared()?;
    let mut harness = Harness::new(azure::open(&azurite.connection_string()), Time::Wait, ());
    harness.bounds_merged_rows = false;
    Some(harness)
}
