//! The adapter on `azure_data_tables` and `azure_storage_queues` against the promises of the ports, on Azurite.

use crate::azure;
use crate::azurite::{self, Azurite, Service};
use crate::conformance::{Harness, Time};
use adxingestor::outbound::http_client;
use adxingestor::storage::Storage;
use adxingestor::timestamp::Clock;
use adxingestor_legacy_storage::{Access, Account, Stores};
use std::sync::Arc;

conformance_tests!(legacy, crate::legacy_adapter::legacy());

fn legacy() -> Option<Harness> {
    let azurite = Azurite::shared()?;
    // The blobs are those of the official client: the crates have none that are asked for.
    let storage = azure::open(&azurite.connection_string());
    let stores = stores(azurite, Access::Key(azurite::KEY.to_owned()), Arc::clone(&storage.clock));
    let mut harness = Harness::new(Storage { tables: stores.tables, queues: stores.queues, ..storage }, Time::Wait, ());
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
