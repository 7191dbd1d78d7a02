//! `adxingestor serve`: the custom handler. Listens first, so that the host finds it ready.

use super::standalone::asked_to_end;
use super::store::{Opened, Unusable, open};
use adxingestor::adx::RandomIds;
use adxingestor::app::{App, Services};
use adxingestor::config::{Lookup, Problem, Problems, Settings, StateStore, cloud, time_scale, unknown_names};
use adxingestor::functions;
use adxingestor::host::{HOST_PID, die_with_parent};
use adxingestor::orchestration::limits::Limits;
use adxingestor::outbound::{Outbound, TrustedHosts, credential, http_client_by};
use adxingestor::printable::one_line;
use adxingestor::random::SystemRandom;
use adxingestor::state::{State, Tenant};
use adxingestor::storage::Storage;
use adxingestor::timestamp::SystemClock;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// The port that the Functions host names; the second is its older name.
const PORTS: [&str; 2] = ["FUNCTIONS_CUSTOMHANDLER_PORT", "FUNCTIONS_HTTPWORKER_PORT"];

/// How long calls that are in hand may take to end once the process was asked to.
const GRACE: Duration = Duration::from_secs(4);
/// Asked to end (128 and the number of SIGTERM, as shells have it): to a host it is no end in good order, after which it would go on
/// calling a process that is gone.
const TERMINATED: u8 = 143;

/// Serves until the process is killed, which the host does without notice, or is asked to end, as a platform does with all that
/// it stops: then there is time to send the last of the telemetry. Nothing else depends on it.
///
/// # Errors
/// Why the handler cannot serve.
pub async fn run(lookup: Lookup<'_>, names: &[String]) -> Result<ExitCode, String> {
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
    let http = http_client_by(lookup).map_err(|error| error.to_string());
    let opened = open(&store, lookup, || http.clone())?;
    tracing::info!(port, state_store = opened.description, "the handler serves");
    let storage = opened.storage.clone();
    let (tenant, limits) = match Settings::parse_all(lookup, names) {
        Ok(settings) => (settings.tenant, settings.limits),
        Err(_) => (String::new(), Limits::scaled(time_scale(lookup))),
    };
    let ready = ready(lookup, names, http).map_err(|reason| reason.to_string());
    let services = ready.map(|ready| Arc::new(ready.services(&storage))).inspect_err(|reason| {
        tracing::error!(reason, "no table can be copied with these settings; every run will fail with this reason");
    });
    let state = State::new(storage, Arc::new(SystemRandom), Tenant::new(&tenant, &limits));
    let app = App { state, limits, services };
    let (end, mut ending) = watch::channel(false);
    let serving = axum::serve(listener, functions::router(app)).with_graceful_shutdown(async move {
        // An error means that nobody is left who could ask for it.
        let _ = ending.wait_for(|ending| *ending).await;
    });
    let asked = async {
        asked_to_end().await;
        tracing::info!(grace_s = GRACE.as_secs(), "the handler was asked to end");
        end.send_replace(true);
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        (served, ()) = async { tokio::join!(serving, look(&opened)) } => {
            served.map_err(|error| format!("the handler stopped: {error}"))?;
        }
        () = asked => {}
    }
    Ok(ExitCode::from(TERMINATED))
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

/// What the settings say of the two ends of a copy, before there is a state store.
pub struct Ready {
    settings: Settings,
    outbound: Outbound,
    identity: &'static str,
}

/// Reads the settings and finds the identity. What is set and means nothing is told of.
///
/// # Errors
/// Why no table can be copied with these settings.
pub fn ready(lookup: Lookup<'_>, names: &[String], http: Result<reqwest::Client, String>) -> Result<Ready, Unready> {
    for unknown in unknown_names(names) {
        tracing::warn!("{unknown}");
    }
    let settings = Settings::parse_all(lookup, names)?;
    let http = http?;
    let (credential, identity) = credential(lookup, http.clone()).map_err(|error| error.to_string())?;
    let outbound =
        Outbound::new(http, credential, TrustedHosts::new(settings.trusted_hosts.clone()).in_cloud(cloud(lookup)));
    for url in [&settings.cluster, &settings.ingest, &settings.hunting] {
        outbound.check(url).map_err(|error| error.to_string())?;
    }
    Ok(Ready { settings, outbound, identity })
}

/// Why no table can be copied.
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    /// Settings are missing or wrong.
    #[error("settings: {0}")]
    Settings(#[from] Problems),
    /// The rest, as told.
    #[error("{0}")]
    Other(String),
}

impl From<String> for Unready {
    fn from(reason: String) -> Self {
        Self::Other(reason)
    }
}

/// Why no table can be copied, for a person at a command line: one line for each of several settings.
pub fn pointing_on(reason: Unready) -> String {
    const DOCTOR: &str = "`adxingestor doctor` checks what the others lead to";
    match &reason {
        Unready::Settings(Problems(problems)) if problems.len() > 1 => {
            let line = |problem: &Problem| format!("  {}: {}\n", problem.name, one_line(&problem.message));
            format!("settings:\n{}{DOCTOR}", problems.iter().map(line).collect::<String>())
        }
        _ => format!("{reason}; {DOCTOR}"),
    }
}

impl Ready {
    /// The two ends for questions that need no state store.
    pub fn preview(&self) -> Services {
        Services::new(self.settings.clone(), self.outbound.clone(), Arc::new(SystemClock), Arc::new(RandomIds))
    }

    /// The two ends of a copy whose state is in `storage`.
    pub fn services(self, storage: &Storage) -> Services {
        let Self { settings, outbound, identity } = self;
        let services = Services::new(settings, outbound, Arc::clone(&storage.clock), Arc::new(RandomIds))
            .keeping(Arc::clone(&storage.blobs));
        let Services { settings, defender, .. } = &services;
        if let Some(notice) = defender.retirement_notice() {
            tracing::warn!("{notice}");
        }
        tracing::info!(identity, cluster = %settings.cluster, database = settings.database, hunting = %settings.hunting, "the services");
        services
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_several_wrong_settings_has_a_line_of_its_own() {
        let problem = |name: &str, message: &str| Problem { name: name.to_owned(), message: message.to_owned() };
        let said = |problems: Vec<Problem>| pointing_on(Problems(problems).into());
        let doctor = "`adxingestor doctor` checks what the others lead to";
        let (first, second) = (problem("A", "is missing"), problem("B", "`x\ny` is no number"));
        assert_eq!(
            said(vec![first.clone(), second]),
            format!("settings:\n  A: is missing\n  B: `x y` is no number\n{doctor}")
        );
        assert_eq!(said(vec![first]), format!("settings: A: is missing; {doctor}"));
        assert_eq!(pointing_on("no identity".to_owned().into()), format!("no identity; {doctor}"));
    }
}
