//! `adxingestor run`: one run in this process and the configured state store, without a Functions host: its options, its exit code
//! and what it prints.

mod ahead;
mod screen;
mod told;
pub(super) mod when;

use super::print_lines;
use super::serve::{pointing_on, ready};
use super::standalone::{environment, local_store};
use super::store::open;
use adxingestor::app::App;
use adxingestor::config::{Lookup, time_scale};
use adxingestor::functions::{Estimate, estimates};
use adxingestor::host::in_process::Surroundings;
use adxingestor::local_run::{self, End};
use adxingestor::orchestration::instance::StartInput;
use adxingestor::outbound::http_client_by;
use adxingestor::random::SystemRandom;
use adxingestor::state::{State, Tenant};
use adxingestor::timestamp::{Clock, SystemClock, Timestamp};
use clap::Args;
use screen::Progress;
pub use screen::Screen;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::sync::watch;

/// What is logged unless a setting says otherwise: what goes wrong, and where the log has its form, the progress.
pub const LOGGED: &str = "warn,adxingestor::progress=info";

/// The run could not be made, or failed.
const FAILED: u8 = 1;
/// What was asked for makes no sense; clap ends with it too.
const WRONG_OPTIONS: u8 = 2;
/// The run is over, but not all of it is proved.
const NOT_VERIFIED: u8 = 3;
/// All that the source still has is proved, and what it has no more is missing for good.
const LOST: u8 = 4;
/// The process was asked to stop (128 and the number of SIGINT, as shells have it).
const INTERRUPTED: u8 = 130;

/// The options of `run`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes:\n  \
    0    everything that the run was asked for is copied and proved (with --dry-run: no table would fail)\n  \
    1    the run could not be made, failed, or was terminated\n  \
    2    wrong options, or a --table that is not configured\n  \
    3    the run is over, but tables or windows failed, which the next run takes up again; or no table is active\n  \
    4    all that the source still has is copied and proved, but it no longer keeps what lies in windows that expired\n  \
    130  it was interrupted: `adxingestor run` goes on with it\n\n\
    Ctrl-C lets what is in hand come to a safe end, 25 seconds at most; a second one ends at once. Either way nothing is lost: \
    the next `adxingestor run`, or a function app on the same state store, goes on.")]
pub struct Arguments {
    /// Copy only this table, by its SourceTable in the configuration; may be given more than once.
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<String>,
    /// Where a table that was never copied begins; of others, what lies before is left for a later run. A date or a time in UTC, such
    /// as 2026-01-31 or 2026-01-31T08:00:00Z.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Where the run's range ends at the latest; the next run begins there.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only make the plan, and say what it would take. Its questions are taken from the tenant's quota.
    #[arg(long)]
    dry_run: bool,
    /// Only end the active run of this state store, also one that a host has begun; the next run takes up what it leaves.
    #[arg(
        long,
        value_name = "REASON",
        num_args = 0..=1,
        default_missing_value = "Terminated by adxingestor run --terminate",
        conflicts_with_all = ["tables", "since", "until", "dry_run"]
    )]
    terminate: Option<String>,
    /// Print one JSON object in the end, and nothing else on standard output.
    #[arg(long)]
    json: bool,
    /// The folder with host.json and local.settings.json; without STATE_STORE also the one with the state.
    #[arg(long, default_value = ".")]
    app_root: PathBuf,
}

/// What the command came to.
struct Outcome {
    code: u8,
    /// For `--json`.
    json: Value,
    /// For a person.
    text: String,
}

impl Outcome {
    /// There was no run, because of this.
    fn none(code: u8, message: &str, screen: &Screen) -> Self {
        screen.fail(&format!("adxingestor: {message}"));
        Self { code, json: json!({"error": message, "verified": false}), text: String::new() }
    }
}

/// Runs, and prints what came of it.
///
/// # Errors
/// Why it could not be printed.
pub async fn run(arguments: Arguments, lookup: Lookup<'_>, screen: &Screen) -> Result<ExitCode, String> {
    let as_json = arguments.json;
    let outcome = outcome(arguments, lookup, screen).await;
    let Outcome { code, json, text } = outcome.unwrap_or_else(|message| Outcome::none(FAILED, &message, screen));
    if as_json {
        print_lines(&format!("{json:#}"))?;
    } else if !text.is_empty() {
        print_lines(&text)?;
    }
    Ok(ExitCode::from(code))
}

async fn outcome(arguments: Arguments, lookup: Lookup<'_>, screen: &Screen) -> Result<Outcome, String> {
    let mut stops = signals();
    let input = match input(&arguments, SystemClock.now()) {
        Ok(input) => input,
        Err(message) => return Ok(Outcome::none(WRONG_OPTIONS, &message, screen)),
    };
    let (app_root, environment) = environment(&arguments.app_root, lookup)?;
    let merged = |name: &str| environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let names: Vec<String> = environment.iter().map(|(name, _)| name.clone()).collect();
    let http = http_client_by(&merged).map_err(|error| error.to_string());
    // The state store comes last: with wrong settings none is made.
    let ready = ready(&merged, &names, http.clone()).map_err(pointing_on)?;
    let ask = async {
        if arguments.terminate.is_some() { Ok(()) } else { ahead::ask(&ready, &input, &merged, screen).await }
    };
    let asked = tokio::select! {
        asked = ask => asked,
        _ = stops.wait_for(|times| *times > 0) => return Ok(stopped("nothing was begun")),
    };
    match asked {
        Ok(()) => {}
        Err(ahead::Refused::Options(message)) => return Ok(Outcome::none(WRONG_OPTIONS, &message, screen)),
        Err(ahead::Refused::Broken(message)) => return Err(message),
    }
    let store = local_store(&app_root, &merged)?;
    let opened = open(&store, &merged, || http)?;
    screen.say(&format!("State store: {}", opened.description));
    opened.look().await.map_err(|error| error.to_string())?;
    let services = ready.services(&opened.storage);
    let limits = services.settings.limits.clone();
    let random = Arc::new(SystemRandom);
    let around = Surroundings {
        storage: opened.storage.clone(),
        time_scale: time_scale(&merged),
        random: random.clone(),
        console: Arc::new(screen::Logged),
    };
    let tenant = Tenant::new(&services.settings.tenant, &limits);
    let state = State::new(opened.storage, random, tenant);
    let app = App { state, limits, services: Ok(Arc::new(services)) };
    if let Some(reason) = &arguments.terminate {
        return terminated(&app, reason).await;
    }
    if arguments.dry_run {
        return dry_run(&app, &input, stops, screen).await;
    }
    let mut progress = Progress::new(screen);
    let ended = local_run::run(Arc::new(app), input, &around, stops, &mut progress).await;
    progress.done();
    match ended {
        Ok(end) => Ok(of_run(end)),
        Err(error @ local_run::Error::Stopped) => Ok(stopped(&error.to_string())),
        Err(error) => Err(error.to_string()),
    }
}

/// What the run is to be started with.
fn input(arguments: &Arguments, now: Timestamp) -> Result<StartInput, String> {
    let tables = (!arguments.tables.is_empty()).then(|| arguments.tables.clone());
    // Not left to clap, whose errors are for people alone (`--json`).
    let time = |option: &str, text: &Option<String>| {
        text.as_deref().map(when::parse).transpose().map_err(|error| format!("{option}: {error}"))
    };
    let (since, until) = (time("--since", &arguments.since)?, time("--until", &arguments.until)?);
    let input = StartInput { tables, since, until, ..StartInput::default() };
    input.check_range()?;
    input.check_begin(now)?;
    Ok(input)
}

fn of_run(end: End) -> Outcome {
    match end {
        End::Over(status) => {
            let verified = told::is_verified(&status);
            let code = match status["runtimeStatus"].as_str() {
                Some("Completed") if verified => 0,
                Some("Completed") if told::is_all_that_is_left(&status) => LOST,
                Some("Completed") => NOT_VERIFIED,
                _ => FAILED,
            };
            Outcome { code, text: told::summary(&status), json: told::with_verdict(status, verified) }
        }
        End::Interrupted { id, status } => {
            let text = format!("Interrupted: run {id} is not over. `adxingestor run` goes on with it.");
            let status = status.unwrap_or_else(|| json!({"instanceId": id.as_str()}));
            Outcome { code: INTERRUPTED, text, json: told::with_verdict(status, false) }
        }
    }
}

fn stopped(message: &str) -> Outcome {
    let json = json!({"error": message, "verified": false});
    Outcome { code: INTERRUPTED, json, text: format!("Interrupted: {message}") }
}

async fn terminated(app: &App, reason: &str) -> Result<Outcome, String> {
    let ended = local_run::terminate(app, reason).await.map_err(|error| error.to_string())?;
    let text = match &ended {
        Some(id) => format!("Run {id} is terminated. The next `adxingestor run` takes up what it left."),
        None => "No run is active in this state store: there is nothing to terminate.".to_owned(),
    };
    let json = json!({"terminated": ended.map(|id| id.to_string()), "reason": reason});
    Ok(Outcome { code: 0, json, text })
}

async fn dry_run(
    app: &App,
    input: &StartInput,
    mut stops: watch::Receiver<u32>,
    screen: &Screen,
) -> Result<Outcome, String> {
    if let Some(id) = local_run::active(app).await.map_err(|error| error.to_string())? {
        return Err(format!(
            "run {id} is active: `adxingestor run` goes on with it and `adxingestor run --terminate` ends it, and a dry run is of a \
             new one"
        ));
    }
    screen.say("Planning; the questions are taken from the tenant's quota, and nothing is loaded");
    let tables = tokio::select! {
        tables = estimates(app, input) => tables?,
        _ = stops.wait_for(|times| *times > 0) => return Ok(stopped("nothing was begun")),
    };
    let failed = tables.is_empty() || tables.iter().any(|table: &Estimate| table.error.is_some());
    let quota = app.limits.quota;
    let code = if failed { NOT_VERIFIED } else { 0 };
    Ok(Outcome { code, json: told::estimates_json(&tables, quota), text: told::estimates(&tables, quota) })
}

/// How often this process was asked to end: by Ctrl-C, or by the signal by which a service manager or container runtime stops one.
fn signals() -> watch::Receiver<u32> {
    use tokio::signal::unix::{SignalKind, signal};
    let (tell, times) = watch::channel(0);
    tokio::spawn(async move {
        // Without a handler the signal ends the process as it always does, which is as safe.
        let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            return std::future::pending().await;
        };
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tell.send_modify(|times| *times += 1);
        }
    });
    times
}
