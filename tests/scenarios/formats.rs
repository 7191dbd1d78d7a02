//! How rows look in the destination: which members they have, where the id of their window stands, and what becomes of those
//! that are too large for a cell.

use crate::support::{Copied, Deployment, Store, cloud, now, odd_table, table, ticks};
use adxingestor::timestamp::Timestamp;
use localcloud::source::{HugeCell, TableOptions};
use serde_json::Value;
use std::time::Duration;

impl Deployment {
    /// Which of the rows of a table have a member that is null or an empty text: `(some do, some do not)`.
    fn with_empty_members(&self, table: &str) -> (bool, bool) {
        let has_empty = |row: &Vec<Value>| {
            let row = row[0].as_object().expect("a bag");
            row.values().any(|value| value.is_null() || value.as_str() == Some(""))
        };
        let rows: Vec<bool> = self.adx(&format!("{table} | project RawData")).iter().map(has_empty).collect();
        assert!(!rows.is_empty());
        (rows.contains(&true), rows.contains(&false))
    }

    /// A table that the Python app made, and that it has copied up to an instant, in ticks.
    fn taken_over(&self, source: &str, copied_to: i64) {
        let at = Timestamp::from_ticks(u64::try_from(copied_to).unwrap());
        self.adx(&format!(".create table {source} (Timestamp:datetime, RawData:dynamic)"));
        self.adx(&format!(
            ".set-or-append meta_MigrationConfiguration <| print SourceTable='{source}', DestinationFolder='Defender', \
             DestinationTable='{source}', WatermarkColumn='Timestamp', LastRefreshedTime=datetime({at}), HighWatermark=datetime({at}), \
             LoadType='Incremental', IsActive=true"
        ));
    }

    fn append(&self, source: &str, rows: u64) {
        let at = now();
        self.cloud.source().append(source, rows, at - ticks(Duration::from_millis(300)), at).unwrap();
    }
}

pub async fn rows_are_compact_in_tables_of_ours_and_full_in_those_that_are_taken_over(store: Store) {
    const COMPACT: (bool, bool) = (false, true);
    const FULL: (bool, bool) = (true, false);
    let tables = vec![table("DeviceEvents", 300, 5), table("DeviceInfo", 300, 5), table("DeviceFileEvents", 300, 5)];
    let mut app = Deployment::start(store, cloud(tables), &[Copied::incremental("DeviceEvents")]).await;
    app.taken_over("DeviceInfo", now() - ticks(Duration::from_secs(20 * 86_400)));
    app.completed().await;
    let formats = |app: &Deployment| ["DeviceEvents", "DeviceInfo"].map(|table| app.with_empty_members(table));
    assert_eq!(formats(&app), [COMPACT, FULL]);
    // A setting is for tables that are new to it: no table mixes both.
    app.set("ROW_FORMAT", "full").await;
    app.configure(&Copied::incremental("DeviceFileEvents"));
    for source in ["DeviceEvents", "DeviceInfo"] {
        app.append(source, 40);
    }
    app.completed().await;
    assert_eq!((formats(&app), app.with_empty_members("DeviceFileEvents")), ([COMPACT, FULL], FULL));
    app.set("ROW_FORMAT", "compact").await;
    app.append("DeviceFileEvents", 40);
    app.completed().await;
    assert_eq!(app.with_empty_members("DeviceFileEvents"), FULL);
    for (source, rows) in [("DeviceEvents", 340), ("DeviceInfo", 340), ("DeviceFileEvents", 340)] {
        app.assert_equal(source, source);
        assert_eq!(app.rows(source), rows);
    }
}

pub async fn plain_rows_are_made_compact_or_full_like_packed_ones(store: Store) {
    let mut settings = cloud(vec![table("DeviceProcessEvents", 400, 5), table("DeviceFileEvents", 300, 5)]);
    settings.hunting.refuse_pack = true;
    let mut app = Deployment::start(store, settings, &[Copied::incremental("DeviceProcessEvents")]).await;
    app.completed().await;
    app.set("ROW_FORMAT", "full").await;
    app.configure(&Copied::incremental("DeviceFileEvents"));
    app.append("DeviceProcessEvents", 40);
    app.completed().await;
    assert_eq!(app.with_empty_members("DeviceProcessEvents"), (false, true));
    assert_eq!(app.with_empty_members("DeviceFileEvents"), (true, false));
    for source in ["DeviceProcessEvents", "DeviceFileEvents"] {
        app.assert_equal(source, source);
    }
}

pub async fn a_row_that_is_too_large_is_refused_with_its_remedy_and_lands_after_it(store: Store) {
    let huge_cell = Some(HugeCell { row: 100, bytes: 1_200_000 });
    let options = TableOptions { huge_cell, ..TableOptions::default() };
    let tables = vec![odd_table("DeviceEvents", 300, 3, options), table("DeviceInfo", 100, 3)];
    let copied = [Copied::incremental("DeviceEvents"), Copied::incremental("DeviceInfo")];
    let mut app = Deployment::start_with(store, cloud(tables), &copied, &[("CHUNK_SIZE", "60")]).await;
    let id = app.start_run().await;
    let ended = app.ended(&id).await;
    let summary = &ended["output"]["result"]["processing_summary"];
    assert_eq!((&ended["runtimeStatus"], &summary["failed_tables"]), (&"Completed".into(), &1.into()), "{ended:#}");
    let said = summary["exceptions"].to_string();
    let command = ".alter column DeviceEvents.RawData policy encoding type = 'BigObject32'";
    for part in ["DeviceEvents has a row of 12", "TABLE_ENCODING=BigObject32", command] {
        assert!(said.contains(part), "{part}: {said}");
    }
    app.assert_equal("DeviceInfo", "DeviceInfo");
    assert_eq!(app.adx("DeviceEvents | where isnull(RawData) | count")[0][0], 0);
    let rows = app.rows("DeviceEvents");
    assert!(rows > 0 && rows < 300, "the other windows are copied: {rows}");

    app.adx(command);
    app.set("OVERSIZE_ROWS", "ingest").await;
    app.completed().await;
    app.assert_equal("DeviceEvents", "DeviceEvents");
    assert_eq!(app.rows("DeviceEvents"), 300);
    assert_eq!(app.adx("DeviceEvents | where strlen(tostring(RawData)) > 1200000 | count")[0][0], 1);
}

pub async fn the_id_of_its_window_may_stand_in_each_row_and_no_column_is_added(store: Store) {
    let settings = [("CHUNK_ID", "row"), ("CHUNK_SIZE", "700")];
    let tables = vec![table("DeviceEvents", 2_000, 5), table("DeviceInfo", 300, 5)];
    let app = Deployment::start_with(store, cloud(tables), &[Copied::incremental("DeviceEvents")], &settings).await;
    // One that another app has made stays as it is.
    app.taken_over("DeviceInfo", now() - ticks(Duration::from_secs(20 * 86_400)));
    let columns = |table: &str| {
        let rows = app.adx(&format!("{table} | getschema | project ColumnName"));
        rows.iter().map(|row| row[0].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let ids = |table: &str| {
        let rows = app.adx(&format!("{table} | summarize N = count() by Id = tostring(RawData._ChunkId)"));
        rows.iter().map(|row| row[0].as_str().unwrap().len()).collect::<Vec<_>>()
    };
    let first = app.completed().await;
    assert_eq!(first["total_records_processed"], 2_300, "{first:#}");
    for (source, windows) in [("DeviceEvents", 3), ("DeviceInfo", 1)] {
        app.assert_equal(source, source);
        assert_eq!(columns(source), ["Timestamp", "RawData"]);
        assert_eq!(ids(source), vec![64; windows], "each row says which window it came with");
    }
    app.append("DeviceEvents", 50);
    let second = app.completed().await;
    assert_eq!(second["total_records_processed"], 50, "{second:#}");
    app.assert_equal("DeviceEvents", "DeviceEvents");
    assert_eq!((columns("DeviceEvents").len(), app.rows("DeviceEvents"), ids("DeviceEvents").len()), (2, 2_050, 4));
}
