//! GET `instances`: the runs that a query names, newest first, in pages. A page may be shorter than asked for, even
//! empty, while more follow: the header `x-ms-continuation-token` says so. A run whose records cannot be read is left out and
//! logged: it hides no other.

use super::query::{Unread, filter};
use crate::app::App;
use crate::functions::get_status::{Shows, status};
use crate::functions::http::{Answer, Call};
use crate::orchestration::run::listed::{Filter, Listed, Place};
use crate::state::{Error, Stored, Stretch, readable};
use axum::http::StatusCode;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;
use tokio::time::Instant;

/// The header that says where a call goes on, of the request and of the answer.
pub(super) const TOKEN: &str = "x-ms-continuation-token";
/// Runs in a page, unless the call says otherwise.
const PAGE: usize = 100;
const LARGEST_PAGE: usize = 1_000;
/// Runs that are looked at for one page.
const LOOKED_AT: usize = 2_000;
/// Reads at once.
const AT_ONCE: usize = 8;

/// What a call asks for.
struct Wanted {
    filter: Filter,
    shows: Shows,
    top: usize,
    after: Option<Place>,
}

/// Handles a call.
///
/// # Errors
/// The state store's.
pub async fn handle(app: &App, call: &Call) -> Result<Answer, Error> {
    let wanted = match wanted(call) {
        Ok(wanted) => wanted,
        Err(message) => return Ok(Answer::invalid(message)),
    };
    let deadline = Instant::now() + app.limits.invocation_deadline / 4;
    let (runs, next) = page(app, wanted, deadline).await?;
    let token = next.map(|place| place.to_string()).unwrap_or_default();
    Ok(Answer::json(StatusCode::OK, Value::Array(runs)).with(TOKEN, token))
}

fn wanted(call: &Call) -> Result<Wanted, String> {
    let top = call.query("top").and_then(|text| text.trim().parse::<usize>().ok()).filter(|top| *top > 0);
    let after = behind(call)?;
    let shows = Shows { name: true, history: false, history_output: false, ..Shows::asked(call) };
    Ok(Wanted { filter: filter(call, Unread::LeftOut)?, shows, top: top.unwrap_or(PAGE).min(LARGEST_PAGE), after })
}

/// Where a call goes on.
///
/// # Errors
/// A token that is none of ours.
pub(super) fn behind(call: &Call) -> Result<Option<Place>, String> {
    let text = call.header(TOKEN).map(str::trim).filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(|error| format!("{TOKEN}: {error}"))).transpose()
}

/// The runs of a page as they are shown, and where the next one begins. Something is looked at however late it is.
async fn page(app: &App, wanted: Wanted, deadline: Instant) -> Result<(Vec<Value>, Option<Place>), Error> {
    let Wanted { filter, shows, top, after } = wanted;
    let mut stretch = Stretch { created_from: filter.created_from, created_to: filter.created_to, after };
    let (mut runs, mut looked_at) = (Vec::new(), 0);
    loop {
        let (entries, more) = app.state.listed(&stretch).await?;
        let mut left = entries.as_slice();
        while !left.is_empty() {
            if runs.len() >= top || looked_at >= LOOKED_AT || (looked_at > 0 && Instant::now() >= deadline) {
                return Ok((runs, stretch.after));
            }
            let (some, rest) = left.split_at(left.len().min(top - runs.len()).min(AT_ONCE));
            runs.extend(those_wanted(app, some, &filter, shows).await?);
            looked_at += some.len();
            stretch.after = some.last().map(|entry| entry.record.place());
            left = rest;
        }
        if !more {
            return Ok((runs, None));
        }
    }
}

async fn those_wanted(
    app: &App,
    entries: &[Stored<Listed>],
    filter: &Filter,
    shows: Shows,
) -> Result<Vec<Value>, Error> {
    let wanted = entries.iter().map(|entry| &entry.record).filter(|entry| filter.may_want(entry));
    let reads: Vec<_> = wanted.map(|entry| shown(app, entry, filter, shows)).collect();
    let runs: Vec<Option<Value>> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
    Ok(runs.into_iter().flatten().collect())
}

async fn shown(app: &App, entry: &Listed, filter: &Filter, shows: Shows) -> Result<Option<Value>, Error> {
    let run = readable(app.state.instance(&entry.instance).await)?.flatten().map(|run| run.record);
    match run.filter(|run| entry.is_of(run) && filter.wants(run)) {
        Some(run) => readable(status(app, &run, shows).await),
        None => Ok(None),
    }
}
