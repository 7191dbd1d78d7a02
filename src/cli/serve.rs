//! `adxingestor serve`: the custom handler. Listens first, so that the host finds it ready.

use super::store::{Opened, Unusable, open};
use adxingestor::adx::RandomIds;
use adxingestor::app::{App, Services};
use adxingestor::config::{Lookup, Settings, StateStore, cloud, time_scale};
use adxingestor::functions;
use adxingestor::host::{HOST_PID, die_with_parent};
use adxingestor::orchestration::limits::Limits;
use adxingestor::outbound::{Outbound, TrustedHosts, credential, http_client};
use adxingestor::random::SystemRandom;
use adxingestor::state::{State, Tenant};
use adxingestor::storage::Storage;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// The port that the Functions host names; the second is its older name.
const PORTS: [&str; 2] = ["FUNCTIONS_CUSTOMHANDLER_PORT", "FUNCTIONS_HTTPWORKER_PORT"];

/// Serves until the process is killed: the host gives no other notice.
///
/// # Errors
/// Why the handler cannot serve.
pub async fn run(lookup: Lookup<'_>, names: &[String]) -> Result<(), String> {
    let host = lookup(HOST_PID).and_then(|pid| pid.parse().ok());
    if let Some(parent) = host {
        die_with_parent(parent).map_err(|error| error.to_string())?;
    }
    let port = PORTS.iter().find_map(|name| lookup(name)).ok_or_else(|| {
        format!(
            "{} is not set: `serve` is started by a Functions host; on one machine use `adxingestor standalone`",
            PORTS[0]
        )
    })?;
    let port: u16 = port.parse().map_err(|_| format!("{} is `{port}`, which is no port", PORTS[0]))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| format!("cannot listen on 127.0.0.1:{port}: {error}"))?;
    let store = StateStore::parse(lookup, StateStore::Azure).map_err(|problems| problems.to_string())?;
    if host.is_none() && store != StateStore::Azure {
        return Err(format!(
            "STATE_STORE is `{store}`, but under a Functions host only `azure` is possible, as its instances share no file; \
             remove STATE_STORE or set it to `azure` (on one machine, `adxingestor standalone` takes a file)"
        ));
    }
    let http = http_client().map_err(|error| error.to_string());
    let opened = open(&store, lookup, || http.clone())?;
    tracing::info!(port, state_store = opened.description, "the handler serves");
    let storage = opened.storage.clone();
    let (tenant, limits) = match Settings::parse_all(lookup, names) {
        Ok(settings) => (settings.tenant, settings.limits),
        Err(_) => (String::new(), Limits::scaled(time_scale(lookup))),
    };
    let services = services(lookup, names, http, &storage).map(Arc::new).inspect_err(|reason| {
        tracing::error!(reason, "no table can be copied with these settings; every run will fail with this reason");
    });
    let state = State::new(storage, Arc::new(SystemRandom), Tenant::new(&tenant, &limits));
    let app = App { state, limits, services };
    let serving = async {
        axum::serve(listener, functions::router(app)).await.map_err(|error| format!("the handler stopped: {error}"))
    };
    let (served, ()) = tokio::join!(serving, look(&opened));
    served
}

/// Says whether the store can be used, and goes on either way: the host would start an ended handler again and again, and
/// calls are answered with the reason.
async fn look(opened: &Opened) {
    match opened.look().await {
        Ok(()) => {}
        Err(error @ Unusable::Refused { .. }) => {
            tracing::error!(%error, "every call will fail with this reason until it is mended");
        }
        Err(error @ Unusable::Unreached(_)) => tracing::warn!(%error, "going on; calls fail until it is"),
    }
}

/// The two ends of a copy.
///
/// # Errors
/// Why no table can be copied with these settings.
pub fn services(
    lookup: Lookup<'_>,
    names: &[String],
    http: Result<reqwest::Client, String>,
    storage: &Storage,
) -> Result<Services, String> {
    let settings = Settings::parse_all(lookup, names).map_err(|problems| format!("settings: {problems}"))?;
    let http = http?;
    let (identity, kind) = credential(lookup, http.clone()).map_err(|error| error.to_string())?;
    let outbound =
        Outbound::new(http, identity, TrustedHosts::new(settings.trusted_hosts.clone()).in_cloud(cloud(lookup)));
    for url in [&settings.cluster, &settings.ingest, &settings.hunting] {
        outbound.check(url).map_err(|error| error.to_string())?;
    }
    let services = Services::new(settings, outbound, Arc::clone(&storage.clock), Arc::new(RandomIds))
        .keeping(Arc::clone(&storage.blobs));
    let Services { settings, defender, .. } = &services;
    if let Some(notice) = defender.retirement_notice() {
        tracing::warn!("{notice}");
    }
    tracing::info!(identity = kind, cluster = %settings.cluster, database = settings.database, hunting = %settings.hunting, "the services");
    Ok(services)
}
