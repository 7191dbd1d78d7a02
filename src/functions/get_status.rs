//! HTTP `status/{instanceId}`: what a run does or did, 200 for every known id.

use super::http::{Answer, Call};
use crate::app::App;
use crate::orchestration::history::{Details, history};
use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::{Instance, TableRun};
use crate::orchestration::ledger::Head;
use crate::orchestration::summary;
use crate::state::{Error, readable};
use axum::http::StatusCode;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Value, json};

/// The name that the contract asks for: the function that starts a run.
pub const NAME: &str = "start_orchestrator";

/// Heads of tables that are read at once.
const AT_ONCE: usize = 8;

/// What a status body holds besides what it always does.
#[derive(Debug, Clone, Copy)]
pub struct Shows {
    /// The orchestration's name.
    pub name: bool,
    /// What the run was started with.
    pub input: bool,
    /// What happened in it.
    pub history: bool,
    /// Results in the history.
    pub history_output: bool,
}

impl Shows {
    /// What a call asks for.
    pub fn asked(call: &Call) -> Self {
        Self {
            name: false,
            input: call.flag("showinput") != Some(false),
            history: call.flag("showhistory") == Some(true),
            history_output: call.flag("showhistoryoutput") == Some(true),
        }
    }
}

/// Handles a call.
///
/// # Errors
/// The state store's.
pub async fn handle(app: &App, call: &Call) -> Result<Answer, Error> {
    let run = match call.route("instanceId").parse::<InstanceId>() {
        Ok(id) => app.state.instance(&id).await?,
        Err(_) => None,
    };
    Ok(match run {
        Some(run) => Answer::json(StatusCode::OK, status(app, &run.record, Shows::asked(call)).await?),
        None => Answer::error(StatusCode::NOT_FOUND, "Instance not found"),
    })
}

/// A table with its head, as long as it has no result.
async fn with_its_head(app: &App, table: TableRun) -> Result<(TableRun, Option<Head>), Error> {
    let head = match table.result {
        None => readable(app.state.head(&table.key).await)?.flatten().map(|head| head.record),
        Some(_) => None,
    };
    Ok((table, head))
}

/// The status body of a run.
///
/// # Errors
/// The state store's.
pub async fn status(app: &App, run: &Instance, shows: Shows) -> Result<Value, Error> {
    // A run that begins again has no tables yet, whatever its former life left.
    let tables: Vec<_> = match run.has_begun() {
        true => app.state.tables(&run.id).await?.into_iter().map(|table| table.record).collect(),
        false => Vec::new(),
    };
    let output = if run.status.is_final() { summary::output(run, &tables) } else { Value::Null };
    let details = Details { input: shows.input, results: shows.history_output };
    let events = shows.history.then(|| history(run, &tables, &output, details));
    let heads = tables.into_iter().map(|table| with_its_head(app, table));
    let progress: Vec<_> = stream::iter(heads.collect::<Vec<_>>()).buffered(AT_ONCE).try_collect().await?;
    let now = app.state.now();
    let calls_open_at = if summary::waits_for_calls(run, &progress) { app.state.calls_open_at().await? } else { now };
    let mut body = json!({
        "instanceId": run.id.as_str(),
        "runtimeStatus": run.status.name(),
        "input": if shows.input { run.raw_input.clone() } else { Value::Null },
        "customStatus": summary::custom_status(run, &progress, calls_open_at, now, app.limits.lease()),
        "output": output,
        "createdTime": run.created.to_seconds(),
        "lastUpdatedTime": run.updated.to_seconds(),
    });
    if let Value::Object(members) = &mut body {
        if shows.name {
            members.insert("name".to_owned(), NAME.into());
        }
        members.extend(events.map(|events| ("historyEvents".to_owned(), Value::Array(events))));
    }
    Ok(body)
}
