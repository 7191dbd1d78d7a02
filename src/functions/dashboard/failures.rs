//! Windows that failed, in the ledgers of the tables that have some: a look at the first rows behind what is proved.

use super::reading::{FailedWindow, Overview};
use crate::app::App;
use crate::orchestration::ids::WindowName;
use crate::orchestration::window::WindowState;
use crate::state::{Error, readable};
use crate::timestamp::Timestamp;

/// Tables whose windows are looked at, and windows of each that are shown.
const TABLES: usize = 10;
const WINDOWS: usize = 5;

/// Some of the windows that failed, and whether there are more.
///
/// # Errors
/// The store's.
pub async fn windows(app: &App, overview: &Overview) -> Result<(Vec<FailedWindow>, bool), Error> {
    let tables = overview.tables();
    let heads = tables.iter().filter_map(|(_, table)| Some((&table.key, overview.heads.get(&table.key)?)));
    let failing: Vec<_> = heads.filter(|(_, head)| head.counts.failed > 0).collect();
    let (mut windows, mut cut) = (Vec::new(), failing.len() > TABLES);
    for (key, head) in failing.into_iter().take(TABLES) {
        // Where the proved prefix ends the first failed one begins; a repair that failed may lie before it.
        let proved = Some(head.verified_up_to).filter(|proved| *proved > Timestamp::MIN);
        let after = proved.map(|proved| WindowName::new(proved.before(), "~"));
        let Some((rows, _)) = readable(app.state.windows_after(key, after.as_ref()).await)? else { continue };
        let failed = rows.into_iter().map(|(_, window)| window.record);
        let failed = failed.filter(|window| window.state == WindowState::Failed);
        let shown: Vec<FailedWindow> = failed
            .take(WINDOWS)
            .map(|window| FailedWindow {
                table: head.source.clone(),
                destination: head.destination.clone(),
                low: window.id.low,
                high: window.id.high,
                rows: window.planned_rows,
                error: window.error,
                at: window.updated,
            })
            .collect();
        cut |= head.counts.failed > shown.len() as u64;
        windows.extend(shown);
    }
    Ok((windows, cut))
}
