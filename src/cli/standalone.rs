//! `adxingestor standalone`: the embedded Functions host, with this program as the handler.

use super::logging;
use super::store::{Unusable, open};
use adxingestor::config::{Lookup, NIGHTLY_SCHEDULE as SCHEDULE, StateStore, TIME_SCALE};
use adxingestor::host::{
    Console, Entry, Host, Keys, Level, ProcessLauncher, STARTUP, Settings, StandardOutput, check_app_root,
    local_http_port, local_settings,
};
use adxingestor::outbound::http_client_by;
use adxingestor::random::SystemRandom;
use adxingestor::timestamp::SystemClock;
use clap::Args;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// When the nightly run begins when nobody set it.
const DEFAULT_SCHEDULE: &str = "0 0 2 * * *";
const DEFAULT_PORT: u16 = 7071;
/// Faster than that, what takes a moment takes longer than any limit.
const MOST_TIME_SCALE: f64 = 10_000.0;

/// The options of `standalone`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The port of the HTTP functions.
    /// [default: LocalHttpPort of local.settings.json, else 7071]
    #[arg(long)]
    port: Option<u16>,
    /// The address to listen on; any other than loopback needs --keys.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,
    /// The folder with host.json and the function folders.
    #[arg(long, default_value = ".")]
    app_root: PathBuf,
    /// A JSON file of host, function and master keys; they are enforced as the Functions host does.
    #[arg(long)]
    keys: Option<PathBuf>,
    /// Divides every time of the host and the protocol; for tests and demonstrations.
    #[arg(long, default_value_t = 1.0)]
    time_scale: f64,
}

/// Runs the host until it is asked to end, or until the handler crashed three times.
///
/// # Errors
/// Why the host cannot run.
pub async fn run(arguments: Arguments, lookup: Lookup<'_>) -> Result<(), String> {
    if !arguments.address.is_loopback() && arguments.keys.is_none() {
        return Err(format!(
            "--address {} is reachable from outside: name a file of keys with --keys FILE",
            arguments.address
        ));
    }
    if !(1.0..=MOST_TIME_SCALE).contains(&arguments.time_scale) {
        return Err(format!("--time-scale {} must be between 1 and {MOST_TIME_SCALE}", arguments.time_scale));
    }
    let (app_root, mut environment) = environment(&arguments.app_root, lookup)?;
    check_app_root(&app_root)
        .map_err(|error| format!("{error}; start from that folder, or name it with --app-root DIR"))?;
    if environment.iter().all(|(name, value)| name != SCHEDULE || value.trim().is_empty()) {
        environment.retain(|(name, _)| name != SCHEDULE);
        environment.push((SCHEDULE.to_owned(), DEFAULT_SCHEDULE.to_owned()));
    }
    let merged = |name: &str| environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let store = local_store(&app_root, &merged)?;
    let port = match arguments.port {
        Some(port) => port,
        None => default_port(&app_root)?,
    };
    let opened = open(&store, &merged, || http_client_by(&merged).map_err(|error| error.to_string()))?;
    let console = console(&merged);
    let text = format!("State store: {}", opened.description);
    console.write(Entry { level: Level::Information, category: STARTUP.to_owned(), invocation: None, text });
    match opened.look().await {
        Ok(()) => {}
        Err(error @ Unusable::Refused { .. }) => return Err(error.to_string()),
        Err(error @ Unusable::Unreached(_)) => tracing::warn!(%error, "starting all the same"),
    }
    let keys = arguments.keys.as_deref().map(Keys::read).transpose().map_err(|error| error.to_string())?;
    let own_executable =
        std::env::current_exe().map_err(|error| format!("the path of this program is unknown: {error}"))?;
    let settings = Settings {
        app_root,
        bind: SocketAddr::new(arguments.address, port),
        storage: opened.storage,
        time_scale: arguments.time_scale,
        environment,
        keys,
        own_executable,
        random: Arc::new(SystemRandom),
        console,
        launcher: Arc::new(
            ProcessLauncher::new(no_text()).map_err(|error| format!("the handler cannot be started: {error}"))?,
        ),
        extra_child_environment: vec![
            ("STATE_STORE".to_owned(), store.to_string()),
            (TIME_SCALE.to_owned(), arguments.time_scale.to_string()),
        ],
    };
    let mut host = Host::start(settings).await.map_err(|error| error.to_string())?;
    tokio::select! {
        why = host.stopped() => Err(why.to_string()),
        () = asked_to_end() => {
            host.stop().await;
            Ok(())
        }
    }
}

/// The port where none is named.
///
/// # Errors
/// Why `local.settings.json` cannot be read.
pub fn default_port(app_root: &Path) -> Result<u16, String> {
    Ok(local_http_port(app_root).map_err(|error| error.to_string())?.unwrap_or(DEFAULT_PORT))
}

/// Where the host's lines go: in the form of the handler's.
fn console(lookup: Lookup<'_>) -> Arc<dyn Console> {
    let plain = StandardOutput::new(Arc::new(SystemClock));
    if logging::is_json(lookup) { Arc::new(plain.as_json()) } else { Arc::new(plain) }
}

/// The app root as an absolute path, and the settings: those of `local.settings.json` beneath the environment's.
///
/// # Errors
/// Why they cannot be read.
pub fn environment(app_root: &Path, lookup: Lookup<'_>) -> Result<(PathBuf, Vec<(String, String)>), String> {
    let app_root = app_root.canonicalize().map_err(|error| format!("--app-root {}: {error}", app_root.display()))?;
    let mut environment = local_settings(&app_root).map_err(|error| error.to_string())?;
    environment.retain(|(name, _)| lookup(name).is_none());
    environment.extend(process_environment());
    Ok((app_root, environment))
}

/// The state store of an app on this machine, its folder made: without `STATE_STORE`, a file in the app root.
///
/// # Errors
/// Why there can be none.
pub fn local_store(app_root: &Path, lookup: Lookup<'_>) -> Result<StateStore, String> {
    let store = StateStore::parse(lookup, StateStore::Sqlite(app_root.join("adxingestor.db")))
        .map_err(|problems| problems.to_string())?;
    let StateStore::Sqlite(path) = store else { return Ok(store) };
    let path = std::path::absolute(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| {
            format!(
                "the folder of the state store, {}, cannot be made: {error}; set STATE_STORE=sqlite:PATH",
                folder.display()
            )
        })?;
    }
    Ok(StateStore::Sqlite(path))
}

/// Ends on Ctrl-C, or on the signal by which a service manager or container runtime stops a process.
pub async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        // Without a handler the signal ends the process as it always does.
        return drop(tokio::signal::ctrl_c().await);
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// The environment of this process as far as it is text: no setting is anything else.
#[allow(clippy::disallowed_methods, reason = "the process environment is read in the command line only")]
pub fn process_environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The rest of it, which the handler inherits as it is.
#[allow(clippy::disallowed_methods, reason = "the process environment is read in the command line only")]
fn no_text() -> Vec<(OsString, OsString)> {
    std::env::vars_os().filter(|(name, value)| name.to_str().is_none() || value.to_str().is_none()).collect()
}
