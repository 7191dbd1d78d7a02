//! Runs by each way into a table, whatever kind of a cluster it is: equal in the end, and told in the log.

use crate::support::{Copied, Deployment, Store, cloud, now, table, ticks};
use localcloud::adx::{Kind, QueuedRest};
use localcloud::cloud::Settings;
use localcloud::faults::{Area, Fault, Plan};
use std::time::Duration;

const TABLE: &str = "DeviceEvents";
const ROWS: u64 = 900;

fn cluster(kind: Kind, queued_rest: QueuedRest) -> Settings {
    Settings { kind, queued_rest, ..cloud(vec![table(TABLE, ROWS, 4)]) }
}

async fn app(store: Store, cloud: Settings, way: &str) -> Deployment {
    let settings = [("CHUNK_SIZE", "300"), ("ADX_INGESTION", way)];
    Deployment::start_with(store, cloud, &[Copied::incremental(TABLE)], &settings).await
}

/// Two runs that copy all that there is, by the way that the log tells.
async fn copies(app: &Deployment, told: &str) {
    app.completed().await;
    app.assert_equal(TABLE, TABLE);
    assert_eq!(app.rows(TABLE), ROWS);
    let at = now();
    app.cloud.source().append(TABLE, 40, at - ticks(Duration::from_millis(500)), at).unwrap();
    app.completed().await;
    app.assert_equal(TABLE, TABLE);
    assert_eq!(app.rows(TABLE), ROWS + 40);
    let log = app.log(0);
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("how blobs are ingested")).collect();
    assert!(lines.len() == 1 && lines[0].contains(told), "{told}: {lines:#?}");
    assert!(!log.contains("sig="), "no signature is logged");
}

pub async fn each_kind_of_cluster_is_copied_to_by_the_way_that_it_offers(_store: Store) {
    for (kind, queued_rest, told, posted) in [
        (Kind::Cluster, QueuedRest::Absent, "queued (messages", true),
        (Kind::Cluster, QueuedRest::Offered, "queued (messages", true),
        (Kind::Cluster, QueuedRest::Preferred, "rest (queued ingestion over REST)", true),
        (Kind::Fabric, QueuedRest::Offered, "rest (queued ingestion over REST)", true),
        (Kind::Emulator, QueuedRest::Absent, "direct (commands that hold the rows", false),
    ] {
        let app = app(Store::sqlite(), cluster(kind, queued_rest), "auto").await;
        copies(&app, told).await;
        assert_eq!(app.cloud.ingestion().statistics().messages > 0, posted, "{kind:?}");
    }
}

pub async fn a_way_that_a_setting_names_is_taken(_store: Store) {
    for (way, told, operation) in [
        ("queued", "queued (messages", None),
        ("rest", "rest (queued ingestion over REST)", None),
        ("direct", "direct (commands that load from", Some("DataIngestPull")),
    ] {
        let app = app(Store::sqlite(), cluster(Kind::Cluster, QueuedRest::Offered), way).await;
        copies(&app, told).await;
        let pulled = app.adx(".show operations | where Operation == 'DataIngestPull' | count");
        assert_eq!(pulled[0][0] != 0, operation.is_some(), "{way}");
    }
}

pub async fn a_cluster_that_announces_rest_and_does_not_have_it_is_copied_to_by_its_queues(store: Store) {
    let app = app(store, cluster(Kind::Cluster, QueuedRest::Announced), "auto").await;
    app.completed().await;
    app.assert_equal(TABLE, TABLE);
    assert_eq!(app.rows(TABLE), ROWS);
    let log = app.log(0);
    for told in ["rest (queued ingestion over REST)", "is announced and not there", "queued (messages"] {
        assert!(log.contains(told), "{told}: {}", app.tail());
    }
    assert_eq!(app.cloud.ingestion().statistics().messages, app.cloud.ingestion().statistics().landed, "each once");
}

pub async fn a_cluster_that_takes_uploads_into_a_lake_alone_is_refused_with_what_to_set(store: Store) {
    let app = app(store, cluster(Kind::Lake, QueuedRest::Preferred), "auto").await;
    let id = app.start_run().await;
    let status = app.ended(&id).await;
    let summary = &status["output"]["result"]["processing_summary"];
    let said = summary["exceptions"].to_string();
    assert_eq!(summary["failed_tables"], 1, "{status:#}\n{}", app.tail());
    assert!(said.contains("lake folders only") && said.contains("ADX_INGESTION=queued"), "{said}");
    let audited =
        app.adx("meta_MigrationAudit | where success == false and error contains 'lake folders only' | count");
    assert_ne!(audited[0][0], 0);
    assert_eq!(app.rows(TABLE), 0);
}

pub async fn windows_for_a_cluster_that_is_sent_rows_in_commands_are_as_small_as_those_take(store: Store) {
    const MANY: u64 = 20_000;
    let cloud = Settings { kind: Kind::Emulator, ..cloud(vec![table(TABLE, MANY, 4)]) };
    let app = Deployment::start_with(store, cloud, &[Copied::incremental(TABLE)], &[]).await;
    let summary = app.completed().await;
    app.assert_equal(TABLE, TABLE);
    assert_eq!(app.rows(TABLE), MANY);
    let windows = summary["total_chunks_processed"].as_u64().unwrap();
    assert!(windows > 2, "they are more than a command takes: {summary:#}");
    assert_eq!(app.cloud.ingestion().statistics().messages, 0);
    assert!(!app.log(0).contains("is split"), "the plan knows how much a command takes");
}

pub async fn posts_whose_answers_are_lost_land_once_by_every_way(_store: Store) {
    for (kind, way) in [(Kind::Cluster, "rest"), (Kind::Cluster, "direct"), (Kind::Emulator, "auto")] {
        let mut cloud = cluster(kind, QueuedRest::Offered);
        cloud.faults = Plan { most: Some(12), ..Plan::default() }
            .with(Area::Commands, [(Fault::GatewayTimeout, 0.15), (Fault::Internal, 0.1), (Fault::Throttled, 0.1)]);
        let app = app(Store::sqlite(), cloud, way).await;
        app.completed().await;
        app.assert_equal(TABLE, TABLE);
        assert_eq!(app.rows(TABLE), ROWS, "{kind:?} {way}");
        assert!(!app.cloud.faults().happened().is_empty());
    }
}

pub async fn storage_that_lets_only_write_turns_bits_and_refuses_messages_is_copied_through(store: Store) {
    let cloud = Settings { container_permissions: "w".to_owned(), ..cluster(Kind::Cluster, QueuedRest::Absent) };
    let app = app(store, cloud, "auto").await;
    // An operation tries three of the four.
    app.cloud.storage().close_queues(2);
    app.cloud.faults().script(Area::Blobs, [Some(Fault::Garbled), Some(Fault::Garbled)]);
    app.completed().await;
    app.assert_equal(TABLE, TABLE);
    assert_eq!(app.rows(TABLE), ROWS);
    assert_eq!(app.cloud.faults().happened().get(&(Area::Blobs, Fault::Garbled)), Some(&2));
}
