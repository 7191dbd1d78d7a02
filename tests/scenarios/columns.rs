//! Columns that go or become others between runs, and what rows are parted by where no time parts them.

use super::hunting::warnings;
use crate::support::{Copied, Deployment, Store, cloud, now, table, ticks};
use localcloud::kql::Type;
use localcloud::source::TableSettings;
use serde_json::Value;
use std::time::Duration;

const BURST: &str = "DeviceNetworkEvents";
/// Of windows, so that a burst is too much for one.
const CHUNK_SIZE: (&str, &str) = ("CHUNK_SIZE", "700");

/// A table all of whose rows arrived in one instant.
fn burst(rows: u64) -> TableSettings {
    let at = now() - ticks(Duration::from_secs(3600));
    TableSettings::new(BURST, rows, at, at)
}

/// The rows of a source as they were when they were copied.
struct Shown<'a> {
    app: &'a Deployment,
    source: &'a str,
    rows: Vec<u64>,
    until: i64,
}

impl<'a> Shown<'a> {
    fn by(app: &'a Deployment, source: &'a str) -> Self {
        Self { app, source, rows: Vec::new(), until: -1 }
    }

    /// Takes in what the last run has copied. Panics unless the destination holds that and all before it, once.
    fn is_copied(&mut self) {
        let until = self.app.watermark(self.source);
        let rows = self.app.cloud.source().identities_within(self.source, self.until, until).unwrap();
        self.rows.extend(rows.map(|(_, identity)| identity));
        self.until = until;
        self.rows.sort_unstable();
        let mut copied = self.app.cloud.adx().identities(self.source);
        copied.sort_unstable();
        assert_eq!(copied.len(), self.rows.len(), "{}\n{}", self.source, self.app.tail());
        assert!(copied == self.rows, "{} holds other rows than its source showed", self.source);
    }
}

/// Lets rows arrive in one instant.
fn more(app: &Deployment, source: &str, rows: u64) {
    let at = now();
    app.cloud.source().append(source, rows, at, at).unwrap();
}

pub async fn a_service_without_the_named_hash_has_its_rows_parted_by_another(store: Store) {
    let mut cloud = cloud(vec![burst(41_000), table("ExposureGraphNodes", 900, 4)]);
    cloud.hunting.refuse_xxhash = true;
    let nodes = Copied { watermark_column: "", load_type: "Snapshot", ..Copied::incremental("ExposureGraphNodes") };
    let copied = [Copied::incremental(BURST), nodes];
    let app = Deployment::start_with(store, cloud, &copied, &[("CHUNK_SIZE", "15000")]).await;
    let first = app.completed().await;
    app.assert_equal(BURST, BURST);
    app.assert_latest("ExposureGraphNodes", "ExposureGraphNodes");
    assert_eq!(warnings(&first, BURST), "[]", "rows are packed all the same: {first:#}");
    more(&app, BURST, 16_000);
    app.completed().await;
    app.assert_equal(BURST, BURST);
    app.assert_latest("ExposureGraphNodes", "ExposureGraphNodes");
    let asked = app.cloud.hunting_statistics().log;
    let parted = asked.iter().filter(|call| call.query.contains("| where hash(strcat(") && call.status == 200).count();
    let refused = asked.iter().filter(|call| call.status == 400).count();
    assert!(parted >= 5 && refused == 2, "{parted} parts were asked for; each table is refused once: {refused}");
}

pub async fn a_column_that_rows_are_parted_by_may_go(store: Store) {
    let app =
        Deployment::start_with(store, cloud(vec![burst(2_500)]), &[Copied::incremental(BURST)], &[CHUNK_SIZE]).await;
    app.completed().await;
    let mut shown = Shown::by(&app, BURST);
    shown.is_copied();
    app.cloud.source().drop_column(BURST, "ReportId").unwrap();
    more(&app, BURST, 2_500);
    let second = app.completed().await;
    assert!(
        warnings(&second, BURST).contains("have disappeared at the source since the last run: ReportId"),
        "{second:#}"
    );
    shown.is_copied();
    // Nor is it looked for in another night.
    more(&app, BURST, 1_500);
    let third = app.completed().await;
    assert_eq!(warnings(&third, BURST), "[]", "{third:#}");
    shown.is_copied();
}

pub async fn a_column_that_rows_are_parted_by_may_become_another(store: Store) {
    let app =
        Deployment::start_with(store, cloud(vec![burst(2_500)]), &[Copied::incremental(BURST)], &[CHUNK_SIZE]).await;
    app.completed().await;
    let mut shown = Shown::by(&app, BURST);
    shown.is_copied();
    app.cloud.source().retype_column(BURST, "ReportId", Type::String).unwrap();
    more(&app, BURST, 2_500);
    let second = app.completed().await;
    assert!(
        warnings(&second, BURST)
            .contains("have another type at the source since the last run: ReportId (long, now string)"),
        "{second:#}"
    );
    shown.is_copied();
}

pub async fn a_watermark_column_that_goes_is_told_by_each_run_and_rows_are_copied_without_it(store: Store) {
    let told = |summary: &Value| warnings(summary, "DeviceEvents").contains("has no column Timestamp any more");
    let app = Deployment::start_with(
        store,
        cloud(vec![table("DeviceEvents", 500, 2)]),
        &[Copied::incremental("DeviceEvents")],
        &[CHUNK_SIZE],
    )
    .await;
    assert!(!told(&app.completed().await));
    let mut shown = Shown::by(&app, "DeviceEvents");
    shown.is_copied();
    app.cloud.source().drop_column("DeviceEvents", "Timestamp").unwrap();
    for _ in 0..2 {
        more(&app, "DeviceEvents", 900);
        let next = app.completed().await;
        assert!(told(&next), "{next:#}");
        shown.is_copied();
    }
    assert_eq!(app.adx("DeviceEvents | where isnull(Timestamp) | count")[0][0], 1_800);
}
