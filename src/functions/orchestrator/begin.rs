//! The step `start`: reads the configuration once, freezes the run's end, and sets the run going.

use super::{audit, is_transient, store};
use crate::adx::catalog::ConfigRow;
use crate::app::{App, Services};
use crate::config::Settings;
use crate::functions::control::{confirm, release};
use crate::functions::hunting::jittered;
use crate::kql::Identifier;
use crate::orchestration::head::narrow::bounded;
use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::{Instance, LoadType, TableConfig, TableRun};
use crate::orchestration::message::{ControlMessage, Debt};
use crate::orchestration::run::asked::{Places, Unknown};
use crate::orchestration::run::begin::{self, Begin, Look, Row};
use crate::orchestration::snapshot::TIME_COLUMN;
use crate::state::{Error, Stored};
use crate::telemetry::metrics;
use crate::timestamp::Timestamp;
use futures_util::future::join_all;
use std::time::Duration;
use tokio::time::Instant;

/// How long a look at the metadata tables may take, of a cluster that may not answer at all.
const LOOK: Duration = Duration::from_secs(15);
/// What names the metadata tables, in the order of `Catalog::metadata_tables`.
const SETTINGS: [Option<&str>; 4] = [Some("CONFIG_TABLE"), Some("AUDIT_TABLE"), Some("CHUNK_AUDIT_TABLE"), None];

/// Handles the step.
///
/// # Errors
/// The state store's.
pub async fn handle(app: &App, id: &InstanceId, attempt: u32) -> Result<(), Error> {
    let Some(run) = app.state.instance(id).await? else {
        tracing::warn!(
            "a start names a run that is not in this store and is dropped; apps that share a storage account need queues of \
             their own (queueName in their function.json files)"
        );
        return Ok(());
    };
    match begin::look(&run.record) {
        Look::Over => return release(app, id).await,
        Look::Held => return Ok(()),
        Look::Again => {
            let tables: Vec<TableRun> = app.state.tables(id).await?.into_iter().map(|t| t.record).collect();
            return app.state.pay(&run.record.plans_owed(&tables)).await;
        }
        Look::Begin => {}
    }
    if let Some(active) = confirm(app, &run.record).await? {
        return fail(app, &run, &format!("its place was taken by {active} while it was being started")).await;
    }
    let services = match &app.services {
        Ok(services) => services,
        Err(reason) => return fail(app, &run, reason).await,
    };
    let deadline = Instant::now() + app.limits.working_time();
    if let Some(reason) = names_another(services, deadline).await {
        return fail(app, &run, &reason).await;
    }
    let rows = match services.catalog.read_config(deadline).await {
        Ok(rows) => rows,
        Err(error) => {
            let again =
                begin::retry(&run.record, attempt, error.asked_pause(), &app.limits).filter(|_| is_transient(&error));
            let reason = format!("the configuration cannot be read from {}: {error}", services.settings.cluster);
            let Some(again) = again else { return fail(app, &run, &reason).await };
            tracing::warn!(reason, attempt, "the run waits, and its start is tried again");
            // Apps on one cluster that lost it together do not come back together.
            let delay = jittered(again.delay, app.state.random());
            return try_again(app, &run, Debt { delay, ..again }, &reason).await;
        }
    };
    let reason = knows_none(&services.settings, &run.record, &rows);
    if let Some(reason) = reason.or_else(|| copies_to_own(services, &rows)) {
        return fail(app, &run, &reason).await;
    }
    let mut run = run;
    loop {
        match set_going(app, services, &run, rows.clone(), deadline).await {
            Err(Error::Conflict) => {}
            other => return other,
        }
        match app.state.instance(id).await? {
            // A repair was put on record meanwhile: what was read is as good as before.
            Some(now) if now.etag != run.etag && now.record.is_but_for_repairs(&run.record) => run = now,
            _ => break,
        }
    }
    // Another delivery of this message, or a person, was faster: look again.
    let again = ControlMessage::Start { instance: id.clone(), attempt };
    app.state.pay(&[Debt::control(again, app.limits.retry_first)]).await
}

/// Why nothing can be put on record: what a setting names is a table of something else, to which a run would give columns and rows.
/// What cannot be looked at now is met again where it is written.
async fn names_another(services: &Services, deadline: Instant) -> Option<String> {
    let (catalog, deadline) = (&services.catalog, deadline.min(Instant::now() + LOOK));
    let looks = catalog.metadata_tables().map(|(table, file)| catalog.look_at_metadata(table, file, deadline));
    let looks = join_all(looks).await.into_iter().zip(SETTINGS);
    let (look, setting) =
        looks.filter_map(|(look, setting)| Some((look.ok()?, setting))).find(|(look, _)| look.is_another())?;
    let (table, lacks) = (look.table.as_str(), look.lacks());
    let remedy = match setting {
        Some(setting) => format!("set {setting} to a name that is free"),
        None => format!("rename {table} in ADX"),
    };
    Some(format!(
        "{table} is a table of something else: it has none of the columns {lacks}. Nothing was copied; {remedy}"
    ))
}

/// The same of one that is still to be made, and that rows of a source are copied to.
fn copies_to_own(services: &Services, rows: &[ConfigRow]) -> Option<String> {
    let mut own = services.catalog.metadata_tables().map(|(table, _)| table.as_str()).into_iter().zip(SETTINGS);
    let is_active = |row: &&ConfigRow| row.is_active == Some(true);
    let copied = |table: &str| rows.iter().filter(is_active).find(|row| row.destination_table == table);
    let (table, setting, row) = own.find_map(|(table, setting)| Some((table, setting, copied(table)?)))?;
    Some(format!(
        "{} is copied to {table}, where the app keeps its own records{}. Nothing was copied; append a row with another DestinationTable{}",
        row.source_table,
        setting.map(|setting| format!(" ({setting})")).unwrap_or_default(),
        setting.map(|setting| format!(", or set {setting} to a name that is free")).unwrap_or_default()
    ))
}

/// Sends the message of another attempt, and tells the watchdog until when it waits, and the status why. Whoever changes the run
/// meanwhile knows better.
async fn try_again(app: &App, run: &Stored<Instance>, again: Debt, reason: &str) -> Result<(), Error> {
    if let Some(waiting) = begin::waiting(&run.record, app.state.now() + again.delay, reason) {
        store::swap_run(app, run, &waiting).await?;
    }
    app.state.pay(&[again]).await
}

async fn fail(app: &App, run: &Stored<Instance>, reason: &str) -> Result<(), Error> {
    match run.record.failed(reason, app.state.now()) {
        Ok(failed) => end(app, run, &failed).await,
        Err(_) => Ok(()),
    }
}

/// Puts down that a run could not begin, as `failed` says, and leaves its place.
pub async fn end(app: &App, run: &Stored<Instance>, failed: &Instance) -> Result<(), Error> {
    tracing::error!(reason = failed.error.as_deref(), "the run cannot begin");
    if store::swap_run(app, run, failed).await? { release(app, &failed.id).await } else { Ok(()) }
}

async fn set_going(
    app: &App,
    services: &Services,
    run: &Stored<Instance>,
    rows: Vec<ConfigRow>,
    deadline: Instant,
) -> Result<(), Error> {
    let now = app.state.now();
    let id = &run.record.id;
    let high = now - app.limits.settling_lag;
    let begun = run.record.with_notes(services.defender.retirement_notice());
    let tables = planned_tables(services, &begun, rows, (high, now));
    let old = store::tables(app, id).await?;
    let Ok(Begin { before, last, owed, over }) =
        begin::begin(&begun, tables.clone(), old, app.limits.tables_at_once, now)
    else {
        return Ok(());
    };
    for table in tables.iter().filter(|table| table.result.is_some()) {
        let error = table.result.as_ref().and_then(|result| result.error.as_ref());
        let reason = error.map_or("", String::as_str);
        tracing::error!(table = table.config.source, reason, "a table is refused");
        // What is no row of the configuration has no folder and no destination that a row could name.
        if table.config.is_configured()
            && let Err(error) = audit::write(services, &run.record, table, &[], now, deadline).await
        {
            tracing::error!(%error, table = table.config.source, "the audit row could not be written");
        }
    }
    let refused: Vec<&str> =
        tables.iter().filter(|table| table.result.is_some()).map(|table| table.config.source.as_str()).collect();
    let mut etag = run.etag.clone();
    for write in before.iter().chain([&last]) {
        etag = store::run(app, write, &etag).await?;
    }
    tracing::info!(tables = tables.len(), high = %high, "the run begins");
    refused.into_iter().for_each(|source| metrics::table_ended(source, false));
    for note in &begun.notes {
        tracing::warn!(note, "a run begins with something that a person has to see to");
    }
    app.state.pay(&owed).await?;
    if over { release(app, id).await } else { Ok(()) }
}

/// The tables of a run that asks for all, as the configuration has them now.
pub fn configured(settings: &Settings, rows: Vec<ConfigRow>) -> Vec<TableRun> {
    tables_asked_for(settings, None, rows, Timestamp::MAX)
}

/// The tables of a run that begins at `now` and whose range ends at `high`, from the rows of the configuration.
pub(super) fn planned_tables(
    services: &Services,
    run: &Instance,
    rows: Vec<ConfigRow>,
    (high, now): (Timestamp, Timestamp),
) -> Vec<TableRun> {
    let mut tables = tables_asked_for(&services.settings, run.asked_for(), rows, high);
    for table in tables.iter_mut().filter(|table| table.config.load_type == Some(LoadType::Snapshot)) {
        table.high = run.snapshot_time(now);
    }
    tables.into_iter().map(|table| bounded(table, &run.input)).collect()
}

fn tables_asked_for(
    settings: &Settings,
    asked_for: Option<&[String]>,
    rows: Vec<ConfigRow>,
    high: Timestamp,
) -> Vec<TableRun> {
    let key = |source: &str, destination: &str| settings.table_key(source, destination);
    let active = rows.into_iter().filter(|row| row.is_active == Some(true)).map(validated).collect();
    begin::tables(asked_for, active, high, places(settings), key)
}

fn places(settings: &Settings) -> Places<'_> {
    Places { view: settings.names.config_view.as_str(), table: settings.names.config_table.as_str() }
}

/// Those of `wanted` that no active row is for.
pub fn unknown(settings: &Settings, wanted: Option<&[String]>, rows: &[ConfigRow]) -> Option<Unknown> {
    let active = rows.iter().filter(|row| row.is_active == Some(true)).map(|row| row.source_table.as_str());
    Unknown::find(wanted?, &active.collect::<Vec<_>>(), places(settings))
}

/// Why a run has nothing to begin with: no table that it asks for is configured. Where one is, the others are results of it.
fn knows_none(settings: &Settings, run: &Instance, rows: &[ConfigRow]) -> Option<String> {
    unknown(settings, run.asked_for(), rows).filter(Unknown::is_all).map(|unknown| unknown.to_string())
}

/// Checks a config row; gives its first problem.
pub fn validated(row: ConfigRow) -> Row {
    let name = |column: &str, text: &str| {
        Identifier::new(text)
            .err()
            .map(|error| format!("{column}: {error}. Correct the row in the configuration table"))
    };
    let load_type = load_type(&row.load_type);
    let is_snapshot = load_type == Some(LoadType::Snapshot);
    let column = row.watermark_column.trim();
    let unreadable = row.problem.map(|problem| format!("{problem}. Correct the row in the configuration table"));
    let problem = unreadable
        .or_else(|| name("SourceTable", &row.source_table))
        .or_else(|| name("DestinationTable", &row.destination_table))
        .or_else(|| match is_snapshot {
            true if column.is_empty() || column == TIME_COLUMN => None,
            true => Some(format!(
                "WatermarkColumn: a Snapshot has no `{column}`, its rows get the time of the snapshot in {TIME_COLUMN}. Leave it \
                 empty in the configuration table, or set it to {TIME_COLUMN}"
            )),
            false => name("WatermarkColumn", &row.watermark_column),
        })
        .or_else(|| {
            load_type.is_none().then(|| {
                format!(
                    "LoadType: `{}` is neither Full nor Incremental nor Snapshot. Correct the row in the configuration table",
                    row.load_type
                )
            })
        });
    let config = TableConfig {
        source: row.source_table,
        folder: row.destination_folder,
        destination: row.destination_table,
        watermark_column: if is_snapshot { TIME_COLUMN.to_owned() } else { row.watermark_column },
        load_type,
        last_refreshed: row.last_refreshed,
        high_watermark: row.high_watermark,
    };
    Row { config, problem }
}

fn load_type(text: &str) -> Option<LoadType> {
    let known = [("Full", LoadType::Full), ("Incremental", LoadType::Incremental), ("Snapshot", LoadType::Snapshot)];
    known.into_iter().find(|(word, _)| word.eq_ignore_ascii_case(text.trim())).map(|(_, load_type)| load_type)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::control::{Started, start};
    use crate::functions::testing::World;
    use crate::orchestration::head::testing::id;
    use crate::orchestration::instance::StartInput;
    use crate::orchestration::run::place::Active;
    use crate::state::Transaction;
    use serde_json::Value;

    fn row(source: &str, destination: &str, column: &str, load_type: &str) -> ConfigRow {
        ConfigRow {
            source_table: source.into(),
            destination_folder: "Defender".into(),
            destination_table: destination.into(),
            watermark_column: column.into(),
            last_refreshed: None,
            high_watermark: None,
            load_type: load_type.into(),
            is_active: Some(true),
            problem: None,
        }
    }

    /// A start that took its place, and whose run is not there yet.
    async fn half_started(world: &World) -> Instance {
        let run = Instance::pending(id(9), StartInput::default(), Value::Null, world.app.state.now());
        let place = Active { instance: id(9), since: run.created, life: 0 };
        world.app.state.commit(Transaction::new().active(&place, None).unwrap()).await.unwrap();
        run
    }

    async fn begun(world: &World, run: &Instance) -> String {
        world.app.state.commit(Transaction::new().instance(run, None).unwrap()).await.unwrap();
        handle(&world.app, &run.id, 0).await.unwrap();
        world.run(&run.id).await.unwrap().error.unwrap()
    }

    #[tokio::test]
    async fn a_start_whose_place_was_taken_over_meanwhile_does_not_go_on() {
        let world = World::new();
        let run = half_started(&world).await;
        world.clock.forward(121);
        let Started::New(other) = start(&world.app, StartInput::default(), Value::Null).await.unwrap() else {
            panic!("not taken over")
        };
        let error = begun(&world, &run).await;
        assert!(error.starts_with(&format!("its place was taken by {other}")), "{error}");
        assert_eq!(world.app.state.active().await.unwrap().unwrap().record.instance, other);
    }

    #[tokio::test]
    async fn a_start_that_came_late_and_finds_no_other_run_goes_on() {
        let world = World::new();
        let run = half_started(&world).await;
        world.clock.forward(121);
        release(&world.app, &run.id).await.unwrap();
        assert!(world.app.state.active().await.unwrap().is_none());
        assert_eq!(begun(&world, &run).await, "no settings", "that is what stops it here");
    }

    #[test]
    fn a_bad_row_says_which_column_and_what_to_do() {
        for (bad, column) in [
            (row("a | take 1", "B", "Timestamp", "Full"), "SourceTable"),
            (row("A", "", "Timestamp", "Full"), "DestinationTable"),
            (row("A", "B", "Time\"stamp", "Full"), "WatermarkColumn"),
            (row("A", "B", "Timestamp", "Sometimes"), "LoadType"),
            (row("A", "B", "", "Full"), "WatermarkColumn"),
        ] {
            let problem = validated(bad).problem.unwrap();
            assert!(problem.starts_with(column) && problem.contains("Correct the row"), "{problem}");
        }
        let unreadable = ConfigRow { problem: Some("column `X` is odd".into()), ..row("A", "B", "Timestamp", "Full") };
        let problem = validated(unreadable).problem.unwrap();
        assert_eq!(problem, "column `X` is odd. Correct the row in the configuration table");
        let problem = validated(row("A", "B", "Timestamp", "Snapshot")).problem.unwrap();
        assert!(problem.contains("Leave it empty"), "{problem}");
        for column in ["", " ", "SnapshotTime"] {
            let Row { config, problem } = validated(row("A", "B", column, "snapshot"));
            let known = (config.load_type, config.watermark_column.as_str(), problem);
            assert_eq!(known, (Some(LoadType::Snapshot), "SnapshotTime", None));
        }
        assert_eq!(validated(row("A", "B", "Timestamp", "full")).config.load_type, Some(LoadType::Full));
    }
}
