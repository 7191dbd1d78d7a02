//! The audit and failure rows of a table in ADX, written once whatever repeats.

use crate::adx::Error;
use crate::adx::catalog::{AuditRow, FailureRow};
use crate::app::Services;
use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::{Instance, TableResult, TableRun};
use crate::orchestration::limits::AUDIT_WINDOWS;
use crate::orchestration::window::{Window, WindowState};
use crate::timestamp::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

/// Writes the audit row of a table that has its result, and a row for each window that failed, or that had
/// failed in an earlier run and is proved now. Written again, they are there once.
///
/// # Errors
/// The first of them that could not be written; the other was tried.
pub async fn write(
    services: &Services,
    run: &Instance,
    table: &TableRun,
    windows: &[Window],
    now: Timestamp,
    deadline: Instant,
) -> Result<(), Error> {
    let Some(result) = &table.result else { return Ok(()) };
    let id = &run.id;
    let of = tag_of(run, table);
    let tag = format!("audit{of}");
    let row = audit_row(id, table, result, windows, now);
    let audited = services.catalog.append_audit(&[row], &tag, deadline).await;
    let failures = failure_rows(id, table, windows, now);
    if failures.is_empty() {
        return audited;
    }
    let tag = format!("failures{of}");
    audited.and(services.catalog.append_failures(&failures, &tag, deadline).await)
}

/// What the `ingest-by` tags of a table's rows end in. Every life of a run writes rows of its own: a restarted one has
/// another birth, a rewound one keeps it.
fn tag_of(run: &Instance, table: &TableRun) -> String {
    format!("{}{:016x}{:08x}{}", run.id, run.created.ticks(), run.lives, table.key.as_str())
}

fn audit_row(id: &InstanceId, table: &TableRun, result: &TableResult, windows: &[Window], now: Timestamp) -> AuditRow {
    // The columns of the table are the Python app's: what there is to say of snapshots stands before the windows.
    let snapshots = result.snapshots.iter().map(|snapshot| json!(snapshot));
    let chunk_results =
        windows.iter().filter(|window| !matches!(window.state, WindowState::Split)).take(AUDIT_WINDOWS).map(|window| {
            let mut told = json!({
                "chunk_id": window.id.to_string(),
                "low_watermark": window.id.low,
                "high_watermark": window.id.high,
                "state": window.state,
                "records_count": window.planned_rows,
                "records_processed": proved_rows(window),
                "error": window.error,
            });
            if let Some(removal) = &window.removal {
                told["removed"] = json!(removal);
            }
            told
        });
    let chunk_results = snapshots.chain(chunk_results).collect();
    AuditRow {
        ingestion_id: id.to_string(),
        ingestion_timestamp: now,
        folder: table.config.folder.clone(),
        table: table.config.destination.clone(),
        success: result.success,
        records_processed: result.rows,
        chunked: result.windows > 1,
        chunks_processed: result.windows_done,
        chunks_failed: result.windows_failed,
        chunk_results: Value::Array(chunk_results),
        error: result.error.clone().or_else(|| result.skipped.clone()).unwrap_or_default(),
    }
}

/// Whether it can be said what became of a window that failed. One that was divided or merged is what became of those that took its
/// range over.
fn is_settled(window: &Window, windows: &[Window]) -> bool {
    let takes_over = |other: &&Window| {
        other.state != WindowState::Split && other.id.low < window.id.high && other.id.high > window.id.low
    };
    match window.state {
        WindowState::Verified | WindowState::Empty | WindowState::Failed | WindowState::Expired => true,
        WindowState::Split => {
            let heirs: Vec<&Window> = windows.iter().filter(takes_over).collect();
            !heirs.is_empty()
                && heirs.iter().all(|other| matches!(other.state, WindowState::Verified | WindowState::Empty))
        }
        WindowState::Planned
        | WindowState::Claimed
        | WindowState::Sealed
        | WindowState::Submitted
        | WindowState::Later => false,
    }
}

fn failure_rows(id: &InstanceId, table: &TableRun, windows: &[Window], now: Timestamp) -> Vec<FailureRow> {
    windows
        .iter()
        .filter(|window| window.failures > 0 && is_settled(window, windows))
        .map(|window| {
            let proved = !matches!(window.state, WindowState::Failed | WindowState::Expired);
            FailureRow {
                ingestion_id: id.to_string(),
                ingestion_timestamp: now,
                folder: table.config.folder.clone(),
                table: table.config.destination.clone(),
                chunk_id: chunk_number(window),
                success: proved,
                records_count: window.planned_rows,
                records_processed: proved_rows(window),
                low_watermark: Some(window.id.low),
                high_watermark: Some(window.id.high),
                error: window.error.clone().unwrap_or_default(),
                reprocess_success: proved,
            }
        })
        .collect()
}

fn proved_rows(window: &Window) -> u64 {
    window.seal.as_ref().filter(|_| window.state == WindowState::Verified).map_or(0, |seal| seal.rows)
}

/// The number that stands for a window in the failure table, the same in every run: 31 bits of its range, part and repair.
fn chunk_number(window: &Window) -> u32 {
    let id = window.id;
    let mixed = id.low.ticks()
        ^ id.high.ticks().rotate_left(17)
        ^ u64::from(id.part.index) << 32
        ^ u64::from(id.part.count) << 48
        ^ u64::from(id.repair).rotate_left(7);
    ((mixed ^ mixed >> 31) & 0x7fff_ffff) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{id, later, now, table};
    use crate::orchestration::instance::StartInput;
    use crate::orchestration::run::{restart, rewind};

    #[test]
    fn every_life_of_a_run_writes_audit_rows_of_its_own() {
        let first = Instance::pending(id(1), StartInput::default(), Value::Null, now());
        let failed = first.failed("no cluster", later(1)).unwrap();
        let rewound = rewind::request(Some(&failed), &[], later(2)).unwrap().run;
        let restarted = restart::request(&failed, later(2)).unwrap().run;
        let again = rewind::request(Some(&rewound.failed("x", later(3)).unwrap()), &[], later(4)).unwrap().run;
        let mut tags: Vec<String> = [&first, &rewound, &restarted, &again].map(|run| tag_of(run, &table())).to_vec();
        assert_eq!(tag_of(&failed, &table()), tags[0], "one life, one row, whatever repeats");
        tags.sort();
        tags.dedup();
        assert_eq!(tags.len(), 4, "{tags:?}");
    }
}
