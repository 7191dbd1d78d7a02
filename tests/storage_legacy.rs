//! The adapter on `azure_data_tables` and `azure_storage_queues` against the promises of the ports, on Azurite.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[macro_use]
mod conformance;
#[path = "support/azurite.rs"]
mod azurite;

use adxingestor::outbound::http_client;
use adxingestor::storage::{self, Storage};
use adxingestor::timestamp::{Clock, SystemClock};
use adxingestor_legacy_storage::{Access, Account, Stores};
use azurite::{Azurite, Service};
use conformance::{Harness, Time};
use std::sync::Arc;

conformance_tests!(legacy, crate::legacy());

fn legacy() -> Option<Harness> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let stores = stores(Azurite::shared()?, Access::Key(azurite::KEY.to_owned()), Arc::clone(&clock));
    // The crates have no blobs that are asked for: those of the store are another adapter's, tested as such.
    let blobs = storage::memory(Arc::clone(&clock)).blobs;
    let storage = Storage { tables: stores.tables, queues: stores.queues, blobs, clock };
    let mut harness = Harness::new(storage, Time::Wait, ());
    harness.bounds_merged_rows = false;
    Some(harness)
}

fn stores(azurite: &Azurite, access: Access, clock: Arc<dyn Clock>) -> Stores {
    let endpoint = |service| azurite.endpoint(service).parse().unwrap();
    let account = Account {
        name: azurite::ACCOUNT.to_owned(),
        tables: endpoint(Service::Table),
        queues: endpoint(Service::Queue),
        access,
    };
    adxingestor_legacy_storage::open(account, "conformance", http_client().unwrap(), clock, Arc::new(|_, _| {}))
        .unwrap()
}
