//! HTTP `status/{instanceId}`: what a run does or did, 200 for every known id.

use super::http::{Answer, Call};
use crate::app::App;
use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::Instance;
use crate::orchestration::summary;
use crate::state::Error;
use axum::http::StatusCode;
use serde_json::{Value, json};

/// Handles a call.
///
/// # Errors
/// The state store's.
pub async fn handle(app: &App, call: &Call) -> Result<Answer, Error> {
    Ok(match status(app, call.route("instanceId"), call.query("showinput") != Some("false")).await? {
        Some((_, body)) => Answer::json(StatusCode::OK, body),
        None => Answer::error(StatusCode::NOT_FOUND, "Instance not found"),
    })
}

/// The status body of a run; `None` for an id that is unknown or malformed.
///
/// # Errors
/// The state store's.
pub async fn status(app: &App, id: &str, show_input: bool) -> Result<Option<(Instance, Value)>, Error> {
    let Ok(id) = id.parse::<InstanceId>() else { return Ok(None) };
    let Some(run) = app.state.instance(&id).await?.map(|run| run.record) else { return Ok(None) };
    let tables: Vec<_> = app.state.tables(&id).await?.into_iter().map(|table| table.record).collect();
    let output = if run.status.is_final() { summary::output(&run, &tables) } else { Value::Null };
    let mut progress = Vec::with_capacity(tables.len());
    for table in tables {
        let head =
            if table.result.is_none() { app.state.head(&table.key).await?.map(|head| head.record) } else { None };
        progress.push((table, head));
    }
    let body = json!({
        "instanceId": run.id.as_str(),
        "runtimeStatus": run.status.name(),
        "input": if show_input { run.raw_input.clone() } else { Value::Null },
        "customStatus": summary::custom_status(&run, &progress),
        "output": output,
        "createdTime": run.created.to_seconds(),
        "lastUpdatedTime": run.updated.to_seconds(),
    });
    Ok(Some((run, body)))
}
