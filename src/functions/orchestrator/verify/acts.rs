//! What verdicts ask to be done once they are on record. A crash before or in the middle of it changes nothing of what the next
//! count finds, which decides anew.

use super::Judged;
use crate::adx::catalog::{Removed, WindowRows};
use crate::app::{App, Services};
use crate::functions::orchestrator::is_transient;
use crate::functions::posting;
use crate::orchestration::ids::{TableKey, WindowName};
use crate::orchestration::ledger::{ChunkIdPlace, Head};
use crate::orchestration::removal::Place;
use crate::orchestration::repair::failed;
use crate::orchestration::verification::Verdict;
use crate::orchestration::window::Window;
use crate::state::{Error, Transaction};
use tokio::time::Instant;

/// Where the content of windows lies that are proved by these verdicts.
pub fn blobs_of_proved(judged: &[Judged]) -> Vec<String> {
    let proved = judged.iter().filter(|judged| judged.verdict == Verdict::Verified);
    proved.filter_map(|judged| Some(judged.seen.window.seal.as_ref()?.blob.clone())).collect()
}

/// Removes blobs that are not needed any more from the app's own store. After a crash before it they stay, and do no harm.
pub async fn forget(services: &Services, blobs: &[String], deadline: Instant) {
    for blob in blobs {
        services.ingestor.forget(blob, deadline).await;
    }
}

/// Posts windows again whose post is on record, and keeps what went wrong with it.
///
/// # Errors
/// The state store's.
pub async fn post_again(
    app: &App,
    services: &Services,
    key: &TableKey,
    head: &Head,
    posts: &[(WindowName, Window)],
    deadline: Instant,
) -> Result<(), Error> {
    for (name, window) in posts {
        let Some(seal) = &window.seal else { continue };
        tracing::warn!(window = %window.id, posts = window.posts, "a window is posted again");
        let posted = posting::post(services, head, window, seal, deadline).await;
        let outcome = window.outcome.after(&posted);
        if outcome != window.outcome {
            keep(app, key, name, window, |current| current.met(outcome)).await?;
        }
    }
    Ok(())
}

/// Stores what an act came to in the window that it was about, unless that has gone on meanwhile.
async fn keep(
    app: &App,
    key: &TableKey,
    name: &WindowName,
    window: &Window,
    change: impl FnOnce(Window) -> Window,
) -> Result<(), Error> {
    let Some(current) = app.state.window(key, name).await? else { return Ok(()) };
    let is_same = |other: &Window| {
        (other.id, other.state, other.posts, other.last_post)
            == (window.id, window.state, window.posts, window.last_post)
    };
    if !is_same(&current.record) {
        return Ok(());
    }
    let changed = Transaction::new().window(key, name, &change(current.record), Some(&current.etag))?;
    match app.state.commit(changed).await {
        Ok(_) | Err(Error::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes rows of windows whose removal is on record, and keeps what went wrong with it. One after the other: two removals from a
/// table at once may fail each other (dataexplorer-docs `concepts/data-soft-delete`).
///
/// # Errors
/// The state store's.
pub async fn remove(
    app: &App,
    services: &Services,
    key: &TableKey,
    head: &Head,
    removals: &[(WindowName, Window)],
    deadline: Instant,
) -> Result<(), Error> {
    let Some(place) = Place::of(head) else { return Ok(()) };
    for (name, window) in removals {
        let Some(removal) = &window.removal else { continue };
        let id_in_row = place.chunk_id == ChunkIdPlace::Row;
        let rows = WindowRows { table: &place.table, id: &removal.window, id_in_row, after: removal.after };
        let (error, refused) = match services.catalog.remove_rows(&rows, removal.rows, deadline).await {
            Ok(Removed::All) => {
                tracing::warn!(window = %window.id, rows = removal.rows, after = removal.after.map(display), "rows of a window were removed");
                continue;
            }
            Ok(Removed::Otherwise { previewed }) => {
                let (rows, table) = (removal.rows, &place.table);
                (format!("a preview of it removes {previewed} rows of {table}, and {rows} are too many"), false)
            }
            Err(error) => (error.to_string(), !is_transient(&error)),
        };
        tracing::error!(window = %window.id, error, "rows of a window could not be removed");
        keep(app, key, name, window, |current| failed(current, error, refused)).await?;
    }
    Ok(())
}
