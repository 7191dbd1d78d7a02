//! The state store is lost or moved, and the ledger of a table is rebuilt from what its destination holds.

use crate::support::{Copied, Deployment, Store, cloud, now, table, ticks};
use adxingestor::printable::grouped;
use serde_json::Value;
use std::time::Duration;

const TABLE: &str = "DeviceFileEvents";
const ADOPT: [&str; 3] = ["adopt", "--table", TABLE];

async fn ended(app: &Deployment) -> Value {
    let id = app.start_run().await;
    app.ended(&id).await["output"]["result"]["processing_summary"].clone()
}

/// A run that is refused with the command that helps, and copies nothing.
async fn assert_refused(app: &Deployment) {
    let before = app.rows(TABLE);
    let summary = ended(app).await;
    assert_eq!(summary["failed_tables"], 1, "{summary:#}\n{}", app.tail());
    let said = summary["exceptions"].to_string();
    assert!(said.contains(&format!("`adxingestor adopt --table {TABLE}`")), "{said}");
    assert_eq!(app.rows(TABLE), before);
}

async fn adopted(app: &Deployment) -> String {
    let (success, printed) = app.command(&ADOPT).await;
    assert!(success && printed.contains("The ledger is rebuilt"), "{printed}");
    printed
}

pub async fn a_lost_state_store_is_rebuilt_from_the_destination_and_only_what_is_new_is_copied(store: Store) {
    let tables = vec![table(TABLE, 3_000, 8)];
    let copied = [Copied::incremental(TABLE)];
    let mut app = Deployment::start_with(store, cloud(tables), &copied, &[("CHUNK_SIZE", "250")]).await;
    app.completed().await;
    app.lose_the_store().await;
    let at = now();
    app.cloud.source().append(TABLE, 400, at - ticks(Duration::from_millis(500)), at).unwrap();
    assert_refused(&app).await;

    let (success, planned) = app.command(&[&ADOPT[..], &["--dry-run"]].concat()).await;
    assert!(success && planned.contains("with 3,000 rows") && planned.contains("Nothing was written"), "{planned}");
    assert_refused(&app).await;
    adopted(&app).await;
    let (success, again) = app.command(&ADOPT).await;
    assert!(success && again.contains("Nothing to adopt"), "{again}");
    assert_eq!(app.rows(TABLE), 3_000, "an adoption touches no row");

    assert_eq!(ended(&app).await["total_records_processed"], 400, "{}", app.tail());
    app.assert_equal(TABLE, TABLE);
    assert_eq!(app.rows(TABLE), 3_400);
    assert_eq!(app.completed().await["total_records_processed"], 0);
    let owners = app.adx("meta_Ledger | where isnotnull(VerifiedUpTo) | distinct LedgerId | count");
    assert_eq!(owners[0][0], 2, "the rebuilt ledger has an id of its own");
}

pub async fn a_store_that_is_lost_in_the_middle_of_a_run_leaves_gaps_that_the_next_run_fills(store: Store) {
    let tables = vec![table(TABLE, 6_000, 8)];
    let copied = [Copied::incremental(TABLE)];
    let settings = [("CHUNK_SIZE", "100"), ("HUNTING_CALLS_PER_MINUTE", "900")];
    let mut app = Deployment::start_with(store, cloud(tables), &copied, &settings).await;
    let id = app.start_run().await;
    app.until(&id, |status| status["customStatus"]["tables"][0]["rows"].as_u64() > Some(600)).await;
    let (success, refused) = app.command(&ADOPT).await;
    assert!(!success && refused.contains(&format!("run {id} is active")), "{refused}");
    app.lose_the_store().await;
    // What was posted may still land.
    while !app.cloud.ingestion().is_idle() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let rows = app.rows(TABLE);
    assert!(rows > 0 && rows < 6_000, "{rows}");
    assert_refused(&app).await;

    let printed = adopted(&app).await;
    assert!(printed.contains(&format!("with {} rows", grouped(rows))), "{printed}");
    let summary = app.completed().await;
    assert_eq!(summary["total_records_processed"], 6_000 - rows, "{summary:#}\n{printed}");
    app.assert_equal(TABLE, TABLE);
    assert_eq!(app.rows(TABLE), 6_000);
}

pub async fn what_lands_twice_after_an_adoption_is_flagged_with_the_command_that_removes_it(store: Store) {
    let copied = [Copied::incremental(TABLE)];
    let settings = [("CHUNK_SIZE", "250")];
    let mut app = Deployment::start_with(store, cloud(vec![table(TABLE, 1_000, 8)]), &copied, &settings).await;
    app.completed().await;
    app.lose_the_store().await;
    adopted(&app).await;
    app.completed().await;

    let ids = app.adx(&format!("{TABLE} | distinct ChunkId | order by ChunkId asc"));
    let (late, twice) = (ids[0][0].as_str().unwrap(), ids[1][0].as_str().unwrap());
    let next = format!("{}0001", &late[..late.len() - 4]);
    for (from, to) in [(late, next.as_str()), (twice, twice)] {
        app.adx(&format!(
            ".set-or-append {TABLE} <| {TABLE} | where ChunkId == \"{from}\" | project Timestamp, RawData, ChunkId = \"{to}\""
        ));
    }
    let summary = ended(&app).await;
    assert_eq!(summary["failed_tables"], 1, "{summary:#}\n{}", app.tail());
    let said = summary["exceptions"].to_string().replace("\\\"", "\"");
    let removal = |id: &str| format!(".delete table {TABLE} records <| {TABLE} | where ChunkId == \"{id}\"");
    assert!(said.contains(&format!("`{}`", removal(&next))), "{said}");
    assert!(said.contains(&format!("{} and ingestion_time() > datetime(", removal(twice))), "{said}");
}

pub async fn windows_of_nobody_are_refused_and_adopted_with_their_missing_hash_parts(store: Store) {
    let at = now() - ticks(Duration::from_secs(3_600));
    let burst = localcloud::source::TableSettings::new(TABLE, 4_000, at, at);
    let copied = [Copied::incremental(TABLE)];
    let app = Deployment::start_with(store, cloud(vec![burst]), &copied, &[("CHUNK_SIZE", "700")]).await;
    app.completed().await;
    let ids = app.adx(&format!("{TABLE} | summarize N = count() by ChunkId | order by ChunkId asc"));
    assert!(ids.len() > 4, "{ids:?}");
    let id = ids[1][0].as_str().unwrap();
    let rest = format!("{TABLE} | where ChunkId != \"{id}\" | project Timestamp, RawData, ChunkId");
    let some = format!("{TABLE} | where ChunkId == \"{id}\" | take 7 | project Timestamp, RawData, ChunkId");

    app.adx(&format!(".set-or-append Halved <| {rest}"));
    app.adx(&format!(".set-or-append Halved <| {some}"));
    app.configure(&Copied { destination: "Halved", ..Copied::incremental(TABLE) });
    let (success, refused) = app.command(&ADOPT).await;
    assert!(!success && refused.contains("did not land whole") && refused.contains(id), "{refused}");
    assert_eq!(app.adx("meta_Ledger | where DestinationTable == \"Halved\" | count")[0][0], 0, "nothing was changed");

    app.adx(&format!(".set-or-append Rescued <| {rest}"));
    let rescued = app.rows("Rescued");
    app.configure(&Copied { destination: "Rescued", ..Copied::incremental(TABLE) });
    let summary = ended(&app).await;
    let said = summary["exceptions"].to_string();
    assert!(said.contains("does not know") && said.contains(&format!("`adxingestor adopt --table {TABLE}`")), "{said}");
    assert_eq!(app.rows("Rescued"), rescued);
    let printed = adopted(&app).await;
    assert!(printed.contains("nobody") && printed.contains("and 1 missing hash parts"), "{printed}");
    assert_eq!(app.completed().await["total_records_processed"], 4_000 - rescued, "{}", app.tail());
    app.assert_equal(TABLE, "Rescued");
    assert_eq!(app.rows("Rescued"), 4_000);
}
