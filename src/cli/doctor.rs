//! `adxingestor doctor`: checks what a run needs and prints a line for each check.

use super::standalone::{environment, process_environment};
use super::{logging, print_lines};
use adxingestor::adx::RandomIds;
use adxingestor::config::{Lookup, Problem, StateStore};
use adxingestor::doctor::{Finding, Inputs, Report, Status, examine};
use adxingestor::random::SystemRandom;
use adxingestor::telemetry::otlp;
use adxingestor::timestamp::SystemClock;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// The options of `doctor`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// One JSON object on standard output, for scripts.
    #[arg(long)]
    json: bool,
    /// The folder with host.json and local.settings.json; without STATE_STORE also the one with the state.
    #[arg(long, default_value = ".")]
    app_root: PathBuf,
}

/// Checks everything, and prints what was found. The exit code says whether nothing failed.
///
/// # Errors
/// Why it could not be printed.
pub async fn run(arguments: &Arguments, lookup: Lookup<'_>) -> Result<ExitCode, String> {
    let mut problems = Vec::new();
    let (app_root, environment) = environment(&arguments.app_root, lookup).unwrap_or_else(|message| {
        problems.push(Problem { name: "local.settings.json".to_owned(), message });
        (arguments.app_root.clone(), process_environment())
    });
    let merged = |name: &str| environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let names: Vec<String> = environment.iter().map(|(name, _)| name.clone()).collect();
    let inputs = Inputs {
        lookup: &merged,
        names: &names,
        problems,
        ignored: [logging::problems(&merged), otlp::problems(&merged)].concat(),
        default_store: StateStore::Sqlite(app_root.join("adxingestor.db")),
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        ids: Arc::new(RandomIds),
    };
    let report = examine(inputs).await;
    let text = if arguments.json { in_json(&report) } else { in_lines(&report) };
    print_lines(&text)?;
    Ok(if report.healthy() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn in_json(report: &Report) -> String {
    json!({ "healthy": report.healthy(), "checks": report.checks }).to_string()
}

fn in_lines(report: &Report) -> String {
    let width = report.checks.iter().map(|check| check.id.chars().count()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for Finding { id, status, what, remedy, .. } in &report.checks {
        lines.push(format!("{:<4}  {id:<width$}  {what}", word(*status)));
        if let Some(remedy) = remedy {
            lines.push(format!("      {:<width$}  -> {remedy}", ""));
        }
    }
    let count = |status| report.count(status);
    let (warned, failed) = (count(Status::Warn), count(Status::Fail));
    lines.push(format!(
        "{} ok, {warned} warning{}, {failed} failed, {} skipped",
        count(Status::Pass),
        if warned == 1 { "" } else { "s" },
        count(Status::Skip)
    ));
    lines.join("\n")
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Pass => "ok",
        Status::Warn => "warn",
        Status::Fail => "FAIL",
        Status::Skip => "skip",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adxingestor::doctor::Area;

    #[test]
    fn columns_are_aligned_and_a_remedy_stands_below_its_check() {
        let checks = vec![
            Finding::pass(Area::Settings, "settings", "fine"),
            Finding::fail(Area::Adx, "adx.database", "gone", "make it"),
            Finding::skip(Area::Clock, "clock", "`adx.database`"),
        ];
        let text = in_lines(&Report { checks });
        let expected = [
            "ok    settings      fine",
            "FAIL  adx.database  gone",
            "                    -> make it",
            "skip  clock         not checked, because of `adx.database`",
            "1 ok, 0 warnings, 1 failed, 1 skipped",
        ];
        assert_eq!(text, expected.join("\n"));
    }

    #[test]
    fn scripts_get_one_object() {
        let checks = vec![Finding::warn(Area::Quota, "quota.now", "paused", "wait")];
        let read: serde_json::Value = serde_json::from_str(&in_json(&Report { checks })).unwrap();
        let check = json!({"id": "quota.now", "area": "quota", "status": "warn", "what": "paused", "remedy": "wait"});
        assert_eq!(read, json!({"healthy": true, "checks": [check]}));
    }
}
