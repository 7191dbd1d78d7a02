//! What a person is told when rows land otherwise than they were sent, and that doing it mends the table.

use crate::support::{Copied, Deployment, Store, cloud, now, table, ticks};
use localcloud::adx::ingestion::Mishap;
use serde_json::Value;
use std::time::Duration;

const TABLE: &str = "DeviceEvents";
const ROWS: u64 = 300;
/// What has not landed is waited for during half an hour: 30 seconds.
const TIME_SCALE: f64 = 60.0;

async fn suffering(store: Store, mishap: Mishap) -> Deployment {
    suffering_with(store, mishap, &[]).await
}

async fn suffering_with(store: Store, mishap: Mishap, settings: &[(&str, &str)]) -> Deployment {
    let mut cloud = cloud(vec![table(TABLE, ROWS, 3)]);
    cloud.ingestion.mishaps = vec![(mishap, 1.0)];
    Deployment::start_scaled(TIME_SCALE, store, cloud, &[Copied::incremental(TABLE)], settings).await
}

/// A run in which the table fails; gives what is said of it.
async fn said(app: &Deployment) -> String {
    let id = app.start_run().await;
    let status = app.ended(&id).await;
    let summary: &Value = &status["output"]["result"]["processing_summary"];
    assert_eq!(summary["failed_tables"], 1, "{status:#}\n{}", app.tail());
    let audited = app.adx("meta_MigrationAudit | where success == false | count");
    assert_ne!(audited[0][0], 0);
    summary["exceptions"].to_string().replace("\\\"", "\"")
}

/// The command in a text for a person.
fn command(said: &str) -> &str {
    let (_, rest) = said.split_once("`.delete table").unwrap_or_else(|| panic!("no command: {said}"));
    let (rest, _) = rest.split_once('`').unwrap();
    &said[said.find("`.delete table").unwrap() + 1..][..".delete table".len() + rest.len()]
}

async fn mended(app: &Deployment) {
    app.cloud.ingestion().end_mishaps();
    app.completed().await;
    app.assert_equal(TABLE, TABLE);
    assert_eq!(app.rows(TABLE), ROWS);
}

pub async fn a_window_that_landed_twice_loses_its_younger_copy_by_the_command_that_is_said(store: Store) {
    let app = suffering(store, Mishap::Twice).await;
    let said = said(&app).await;
    assert_eq!(app.rows(TABLE), 2 * ROWS);
    assert!(command(&said).contains("ingestion_time() > datetime("), "{said}");
    app.adx(command(&said));
    assert_eq!(app.rows(TABLE), ROWS, "{said}");
    mended(&app).await;
}

pub async fn a_window_that_a_person_removed_is_pulled_again_under_another_id(store: Store) {
    let app = suffering(store, Mishap::Twice).await;
    let said = said(&app).await;
    let (whole, _) = command(&said).split_once(" and ingestion_time()").unwrap();
    app.adx(whole);
    assert_eq!(app.rows(TABLE), 0, "{said}");
    mended(&app).await;
}

pub async fn a_window_of_which_a_half_landed_is_pulled_again_once_that_is_removed(store: Store) {
    let app = suffering(store, Mishap::Half).await;
    let said = said(&app).await;
    assert!(said.contains(" of the 300 rows"), "{said}");
    app.adx(command(&said));
    assert_eq!(app.rows(TABLE), 0, "{said}");
    mended(&app).await;
}

pub async fn a_second_copy_that_lands_after_the_proof_is_found_by_the_next_run(store: Store) {
    let app = suffering(store, Mishap::Lost).await;
    let id = app.start_run().await;
    app.until(&id, |_| app.cloud.ingestion().statistics().lost > 0).await;
    app.cloud.ingestion().end_mishaps();
    let first = app.ended(&id).await;
    assert_eq!(first["output"]["result"]["processing_summary"]["failed_tables"], 0, "{first:#}\n{}", app.tail());
    let watermark = app.watermark(TABLE);

    // What the first message brings when it comes after all and finds no tag yet.
    app.adx(&format!(".set-or-append {TABLE} <| {TABLE}"));
    let at = now();
    app.cloud.source().append(TABLE, 20, at - ticks(Duration::from_millis(500)), at).unwrap();
    let said = said(&app).await;
    assert!(app.watermark(TABLE) > watermark, "what is proved stays proved, and what is new is copied");
    app.adx(command(&said));
    assert_eq!(app.rows(TABLE), ROWS + 20, "{said}");
    app.completed().await;
    app.assert_equal(TABLE, TABLE);
}

pub async fn a_permanent_failure_is_told_with_what_to_do_and_posted_once_in_each_run_until_it_is_mended(store: Store) {
    let app = suffering(store, Mishap::Permanent).await;
    let posts = || app.cloud.ingestion().statistics().messages;
    for run in 1..=2 {
        let said = said(&app).await;
        for part in ["BadRequest_InvalidBlob (Permanent) at ", "The blob was refused on purpose.", "start another run"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
        let audited = app.adx("meta_ChunkIngestionFailures | where error has 'BadRequest_InvalidBlob' | count");
        assert_eq!((posts(), &audited[0][0]), (run, &Value::from(run)), "{said}");
    }
    mended(&app).await;
    assert_eq!(posts(), 3);
}

pub async fn a_failure_before_the_engine_is_told_by_what_became_of_the_post(_store: Store) {
    for way in ["queued", "rest"] {
        let app = suffering_with(Store::sqlite(), Mishap::Undelivered, &[("ADX_INGESTION", way)]).await;
        let said = said(&app).await;
        for part in ["Download_SourceNotFound (Permanent): The blob was not found on purpose.", "; "] {
            assert!(said.contains(part), "{way}: {part}: {said}");
        }
        assert_eq!(app.adx(".show ingestion failures | count")[0][0], 0);
        assert_eq!(app.cloud.ingestion().statistics().messages, 1, "{way}: it would fail again");
        mended(&app).await;
    }
}

pub async fn a_window_that_landed_twice_is_mended_by_the_app_where_it_may(store: Store) {
    let app = suffering_with(store, Mishap::Twice, &[("REPAIR", "delete"), ("CHUNK_SIZE", "100")]).await;
    let summary = app.completed().await;
    app.assert_equal(TABLE, TABLE);
    assert_eq!(app.rows(TABLE), ROWS);
    let said = summary.to_string();
    assert!(said.contains("REPAIR=delete removed") && said.contains("a second copy"), "{summary:#}");
    let audited = app.adx("meta_MigrationAudit | where tostring(chunk_results) has 'removed' | count");
    assert_eq!(audited[0][0], 1);
    assert_eq!(app.cloud.ingestion().statistics().messages, summary["total_chunks_processed"].as_u64().unwrap());
}
