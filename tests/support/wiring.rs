//! The app as `serve` makes it, on whatever store, network and dice a test brings.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use adxingestor::adx::FreshIds;
use adxingestor::app::{App, Services};
use adxingestor::config::Settings;
use adxingestor::outbound::Outbound;
use adxingestor::random::Random;
use adxingestor::state::{State, Tenant};
use adxingestor::storage::Storage;
use std::sync::Arc;

/// The app of `settings`, with its state in `storage`.
pub fn wired(
    settings: Settings,
    storage: Storage,
    outbound: Outbound,
    random: Arc<dyn Random>,
    ids: Arc<dyn FreshIds>,
) -> App {
    let (limits, clock) = (settings.limits.clone(), Arc::clone(&storage.clock));
    let blobs = Arc::clone(&storage.blobs);
    let state = State::new(storage, random, Tenant::new(&settings.tenant, &limits));
    let services = Services::new(settings, outbound, clock, ids).keeping(blobs);
    App { state, limits, services: Ok(Arc::new(services)) }
}
