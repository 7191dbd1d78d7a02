use crate::fake::{Fake, Reply, appended, body, missing, soon, status, v1, v2};
use crate::golden::{CONFIG_COLUMNS, ENTRY, FAILURES, at, audit_row, catalog, name};
use adxingestor::adx::Error;
use adxingestor::adx::catalog::{Claim, Counts, WatermarkMove};
use adxingestor::adx::ingestion::ChunkIdMode;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

const COUNT_COLUMNS: &str = "ChunkId:string,N:long,NoRow:long,NoTime:long";
const COPY_COLUMNS: &str = "ChunkId:string,N:long,NoRow:long,NoTime:long,First:datetime,Rows:long";

async fn count(fake: &Fake, ids: &[&str]) -> Result<Vec<(String, Counts)>, Error> {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let counts = catalog(fake).counts(&name("T"), &name("Timestamp"), ChunkIdMode::Constant, &ids, soon()).await?;
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|(left, _), (right, _)| left.cmp(right));
    Ok(counts)
}

#[tokio::test]
async fn every_window_asked_for_has_counts_and_a_missing_one_has_zero() {
    let rows = json!([["b", 10, 1, 2], ["c", "9007199254740993", 0, 0]]);
    let fake = Fake::start(move |_| v2(COUNT_COLUMNS, &rows)).await;
    let counts = count(&fake, &["a", "b", "c"]).await.unwrap();
    let zero = Counts::default();
    let counted = [
        ("a".to_owned(), zero),
        ("b".to_owned(), Counts { rows: 10, no_row: 1, no_time: 2, first: None }),
        ("c".to_owned(), Counts { rows: 9_007_199_254_740_993, ..zero }),
    ];
    assert_eq!(counts, counted);
    let csl = fake.csl().remove(0);
    assert!(!csl.contains("ingestion_time"), "the proof asks no more than it needs: {csl}");
}

async fn copies(fake: &Fake, ids: &[&str]) -> Result<Option<HashMap<String, Counts>>, Error> {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    catalog(fake).copies(&name("T"), &name("Timestamp"), ChunkIdMode::Constant, &ids, soon()).await
}

#[tokio::test]
async fn of_several_copies_it_is_told_when_the_first_came_where_the_service_notes_that() {
    let rows = json!([["b", 10, 1, 2, "2026-04-14T07:00:00Z", 6], ["c", 3, 0, 0, null, null]]);
    let fake = Fake::start(move |_| v2(COPY_COLUMNS, &rows)).await;
    let told = copies(&fake, &["b", "c"]).await.unwrap().unwrap();
    let first = Some((at("2026-04-14T07:00:00Z"), 6));
    assert_eq!(told["b"], Counts { rows: 10, no_row: 1, no_time: 2, first });
    assert_eq!(told["c"], Counts { rows: 3, ..Counts::default() });
    let fake = Fake::start(|_| refused()).await;
    assert_eq!(copies(&fake, &["b"]).await.unwrap(), None);
    let fake = Fake::start(|_| status(503)).await;
    assert!(matches!(copies(&fake, &["b"]).await, Err(Error::Unavailable { .. })));
}

#[tokio::test]
async fn more_ids_than_one_query_takes_are_several_queries() {
    let fake = Fake::start(|_| v2(COUNT_COLUMNS, &json!([]))).await;
    let ids: Vec<String> = (0..1001).map(|n| format!("w{n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(count(&fake, &ids).await.unwrap().len(), 1001);
    assert_eq!(fake.seen().len(), 3);
}

#[tokio::test]
async fn a_cached_count_is_no_proof() {
    let cached = json!([
        {"FrameType": "DataTable", "TableId": 0, "TableKind": "QueryProperties", "TableName": "@ExtendedProperties",
         "Columns": [{"ColumnName": "TableId", "ColumnType": "int"}, {"ColumnName": "Key", "ColumnType": "string"}, {"ColumnName": "Value", "ColumnType": "dynamic"}],
         "Rows": [[1, "ServerCache", "{\"OriginalStartedOn\":\"2026-04-14T07:00:00Z\"}"]]},
        {"FrameType": "DataTable", "TableId": 1, "TableKind": "PrimaryResult", "TableName": "P",
         "Columns": [{"ColumnName": "ChunkId", "ColumnType": "string"}, {"ColumnName": "N", "ColumnType": "long"}, {"ColumnName": "NoRow", "ColumnType": "long"}, {"ColumnName": "NoTime", "ColumnType": "long"}],
         "Rows": [["a", 10, 0, 0]]},
        {"FrameType": "DataSetCompletion", "HasErrors": false, "Cancelled": false},
    ]);
    let fake = Fake::start(move |_| body(&cached)).await;
    let error = count(&fake, &["a"]).await.unwrap_err();
    assert!(error.to_string().contains("cache"), "{error}");
}

#[tokio::test]
async fn a_count_for_a_window_that_was_not_asked_for_is_refused() {
    let fake = Fake::start(|_| v2(COUNT_COLUMNS, &json!([["z", 10, 0, 0]]))).await;
    assert!(matches!(count(&fake, &["a"]).await, Err(Error::Corrupt { .. })));
}

#[tokio::test]
async fn the_configuration_is_read_from_our_view_and_from_the_python_apps() {
    let typed = CONFIG_COLUMNS.to_owned() + ",IngestionTime:datetime";
    let text = CONFIG_COLUMNS.replace("HighWatermark:datetime", "HighWatermark:string") + ",IngestionTime:datetime";
    for (columns, high, none) in
        [(typed, "2025-09-01T10:20:30.1234567Z", Value::Null), (text, "2025-09-01 10:20:30.1234567", json!(""))]
    {
        let fake = Fake::start(move |_| {
            v2(
                &columns,
                &json!([
                    [
                        "DeviceEvents",
                        "Defender",
                        "DeviceEvents",
                        "Timestamp",
                        "2025-09-01T11:00:00Z",
                        high,
                        "Incremental",
                        true,
                        "2025-09-01T11:00:00Z"
                    ],
                    ["Other", "", "", "", null, none, "", 1, null],
                ]),
            )
        })
        .await;
        let rows = catalog(&fake).read_config(soon()).await.unwrap();
        assert_eq!(rows[0].high_watermark, Some(at("2025-09-01T10:20:30.1234567Z")));
        assert_eq!(rows[0].last_refreshed, Some(at("2025-09-01T11:00:00Z")));
        assert_eq!((rows[0].destination_folder.as_str(), rows[0].is_active), ("Defender", Some(true)));
        assert_eq!((rows[1].high_watermark, rows[1].last_refreshed, rows[1].is_active), (None, None, Some(true)));
    }
}

#[tokio::test]
async fn a_cell_that_cannot_be_read_is_the_problem_of_its_row_alone() {
    let text = CONFIG_COLUMNS.replace("HighWatermark:datetime", "HighWatermark:string");
    let row = |table: &str, high: &str, active: &Value| {
        json!([table, "Defender", table, "Timestamp", null, high, "Incremental", active])
    };
    let rows = json!([
        row("A", "2025-09-01 10:20:30", &json!("True")),
        row("B", "n/a", &json!(true)),
        row("C", "", &json!("perhaps")),
        row("D", "", &json!("0")),
    ]);
    let fake = Fake::start(move |_| v2(&text, &rows)).await;
    let rows = catalog(&fake).read_config(soon()).await.unwrap();
    assert_eq!((rows[0].is_active, &rows[0].problem), (Some(true), &None));
    assert_eq!((rows[3].is_active, &rows[3].problem), (Some(false), &None));
    for (row, column, seen) in [(&rows[1], "HighWatermark", "n/a"), (&rows[2], "IsActive", "perhaps")] {
        let problem = row.problem.as_deref().unwrap();
        assert!(row.is_active == Some(true) && problem.contains(column) && problem.contains(seen), "{problem}");
    }
    assert_eq!(rows[1].source_table, "B");
    let fake = Fake::start(|_| v2("SourceTable:string", &json!([]))).await;
    assert!(matches!(catalog(&fake).read_config(soon()).await, Err(Error::Corrupt { .. })));
}

#[tokio::test]
async fn metadata_that_is_there_is_left_alone() {
    // The identity may not merge into the Python app's tables, and lists nothing.
    let fake = Fake::start(|seen| match seen.csl().as_str() {
        csl if csl.starts_with(".create-merge table meta_Ledger") => v1("TableName:string", &json!([])),
        // A view of somebody's own that does not run.
        "vw_meta_LatestChunkIngestionFailures | take 0" => status(400),
        csl if csl.ends_with(" | take 0") => v2("X:string", &json!([])),
        csl if csl.starts_with(".create-merge table") => status(403),
        _ => status(400),
    })
    .await;
    catalog(&fake).ensure_metadata(soon()).await.unwrap();
    let changes: Vec<String> = fake.csl().into_iter().filter(|csl| csl.starts_with('.')).collect();
    assert_eq!(changes.len(), 4);
    assert!(changes.iter().all(|csl| csl.starts_with(".create-merge table ")), "{changes:?}");
}

#[tokio::test]
async fn a_metadata_table_that_cannot_be_made_says_why() {
    let fake = Fake::start(|seen| if seen.csl().starts_with('.') { status(403) } else { missing("Table", "T") }).await;
    let error = catalog(&fake).ensure_metadata(soon()).await.unwrap_err();
    assert!(matches!(&error, Error::Denied { message } if message.contains("Database User")), "{error}");
}

const LEDGER_COLUMNS: &str = "Arrived:datetime,LedgerId:string,CutAxis:string,VerifiedUpTo:datetime";

#[tokio::test]
async fn a_destination_with_an_owner_is_not_claimed() {
    let fake = Fake::start(|_| {
        v2(LEDGER_COLUMNS, &json!([["2026-04-14T07:00:00Z", "theirs", "arrival", "2026-04-13T00:00:00Z"]]))
    })
    .await;
    let claim = catalog(&fake).claim_ledger(&ENTRY, soon()).await.unwrap();
    assert!(matches!(claim, Claim::Other(owner) if owner.ledger_id == "theirs"));
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn of_two_claims_at_once_both_read_the_same_winner() {
    let asked = AtomicUsize::new(0);
    let fake = Fake::start(move |seen| {
        if seen.path == "/v1/rest/mgmt" {
            return appended(1);
        }
        match asked.fetch_add(1, Ordering::SeqCst) {
            0 => v2(LEDGER_COLUMNS, &json!([])),
            // Same instant, and not in order: the smaller id wins.
            _ => v2(
                LEDGER_COLUMNS,
                &json!([
                    ["2026-04-14T07:00:00Z", "0a1b2c3d", "arrival", null],
                    ["2026-04-14T07:00:00Z", "01", "arrival", null]
                ]),
            ),
        }
    })
    .await;
    let claim = catalog(&fake).claim_ledger(&ENTRY, soon()).await.unwrap();
    assert!(matches!(claim, Claim::Other(owner) if owner.ledger_id == "01"));
}

#[tokio::test]
async fn a_ledger_table_that_is_missing_is_made() {
    let made = AtomicUsize::new(0);
    let fake = Fake::start(move |seen| {
        let csl = seen.csl();
        if seen.path == "/v2/rest/query" {
            return if made.load(Ordering::SeqCst) == 0 {
                missing("Table", "meta_Ledger")
            } else {
                v2(LEDGER_COLUMNS, &json!([]))
            };
        }
        made.fetch_add(usize::from(csl.starts_with(".create-merge table meta_Ledger")), Ordering::SeqCst);
        v1("Name:string,TableName:string", &json!([]))
    })
    .await;
    assert_eq!(catalog(&fake).ledger_owner("S", "D", soon()).await.unwrap(), None);
}

/// Answers appends with `append` and shows the tag if `tagged`.
async fn appending(append: fn() -> Reply, tagged: bool) -> Fake {
    Fake::start(move |seen| {
        let csl = seen.csl();
        if csl.starts_with(".set-or-append") {
            append()
        } else if csl.ends_with("cslschema") {
            v1("TableName:string,Schema:string", &json!([["t", CONFIG_COLUMNS]]))
        } else {
            v1("ExtentId:guid", &if tagged { json!([["c1b2a3d4-0000-0000-0000-000000000001"]]) } else { json!([]) })
        }
    })
    .await
}

fn refused() -> Reply {
    status(400)
        .saying(&json!({"error": {"code": "BadRequest", "@message": "ingest-by tags exist", "@permanent": true}}))
}

#[tokio::test]
async fn a_watermark_moves_once_and_only_if_the_ledger_says_so() {
    for (append, tagged, expected) in [
        ((|| appended(1)) as fn() -> Reply, false, WatermarkMove::Moved),
        (|| appended(0), true, WatermarkMove::Moved),
        (refused, true, WatermarkMove::Moved),
        (|| appended(0), false, WatermarkMove::Held),
    ] {
        let fake = appending(append, tagged).await;
        let until = at("2026-04-13T00:00:00Z");
        let moved = catalog(&fake).advance_watermark(&ENTRY, until, until, "tag", soon()).await.unwrap();
        assert_eq!(moved, expected);
    }
    let fake = appending(refused, false).await;
    let until = at("2026-04-13T00:00:00Z");
    assert!(catalog(&fake).advance_watermark(&ENTRY, until, until, "tag", soon()).await.is_err());
}

#[tokio::test]
async fn audit_rows_that_vanish_are_an_error_and_repeated_ones_are_not() {
    let rows = [audit_row("x")];
    assert!(catalog(&appending(|| appended(0), false).await).append_audit(&rows, "r", soon()).await.is_err());
    assert!(catalog(&appending(|| appended(0), true).await).append_audit(&rows, "r", soon()).await.is_ok());
    assert!(catalog(&appending(refused, true).await).append_audit(&rows, "r", soon()).await.is_ok());
    assert!(catalog(&appending(refused, false).await).append_audit(&rows, "r", soon()).await.is_err());
}

#[tokio::test]
async fn an_append_whose_answer_is_lost_is_looked_for_before_it_is_sent_again() {
    // The first is carried out and its answer lost, or it is lost itself.
    for (carried_out, appends) in [(true, 1), (false, 2)] {
        let sent = std::sync::Arc::new(AtomicUsize::new(0));
        let count = sent.clone();
        let fake = Fake::start(move |seen| {
            if seen.csl().starts_with(".set-or-append") {
                let first = count.fetch_add(1, Ordering::SeqCst) == 0;
                return if first { status(504) } else { appended(1) };
            }
            let is_there = carried_out && count.load(Ordering::SeqCst) > 0;
            v1("ExtentId:guid", &if is_there { json!([["c1b2a3d4-0000-0000-0000-000000000001"]]) } else { json!([]) })
        })
        .await;
        catalog(&fake).append_audit(&[audit_row("x")], "r", soon()).await.unwrap();
        assert_eq!(sent.load(Ordering::SeqCst), appends);
    }
}

/// A database whose metadata tables have gained a column before the others.
async fn widened(columns: &'static str) -> Fake {
    Fake::start(move |seen| {
        let csl = seen.csl();
        if csl.starts_with(".set-or-append") {
            let fits = csl.contains("| project ['Owned by'] = \"\", ") && csl.contains(", Added = guid(null)");
            return if fits { appended(1) } else { refused() };
        }
        if csl.ends_with("cslschema") {
            let schema = format!("['Owned by']:string,{columns},Added:guid");
            return v1("TableName:string,Schema:string", &json!([["t", schema]]));
        }
        v1("ExtentId:guid", &json!([]))
    })
    .await
}

#[tokio::test]
async fn metadata_tables_that_have_gained_columns_take_rows_all_the_same() {
    let audit = "ingestion_id:string,ingestion_timestamp:datetime,folder:string,table:string,success:bool,records_processed:long,chunked:bool,chunks_processed:int,chunks_failed:int,chunk_results:dynamic,error:string";
    catalog(&widened(audit).await).append_audit(&[audit_row("x")], "r", soon()).await.unwrap();
    let ledger = "SourceTable:string,DestinationTable:string,LedgerId:string,CutAxis:string,VerifiedUpTo:datetime,UpdatedAt:datetime";
    catalog(&widened(ledger).await).record_verified(&ENTRY, at("2026-04-13T00:00:00Z"), soon()).await.unwrap();
    // One that lacks a column is refused as it was.
    let error = catalog(&widened("ingestion_id:string").await).append_audit(&[audit_row("x")], "r", soon()).await;
    assert!(matches!(error, Err(Error::Refused { .. })), "{error:?}");
}

#[tokio::test]
async fn a_failure_of_the_engine_is_explained_without_its_signature() {
    let rows = json!([
        [
            "2026-04-14T07:00:00Z",
            "https://a/c/w1.gz",
            "BadRequest_InvalidBlob",
            "Permanent",
            "cannot read https://a/b.gz?sig=SECRET now",
            false,
            false
        ],
        [
            "2026-04-14T06:00:00Z",
            "https://a/c/w2.gz?sig=SECRET",
            "BadRequest_TableAccessDenied",
            "Permanent",
            "no",
            false,
            false
        ],
        ["2026-04-14T05:00:00Z", "w3.gz", "UpdatePolicy_BadRequest", "Permanent", "x", true, true],
        ["2026-04-14T04:00:00Z", "w4.gz", "Stream_NoDataToIngest", "", "x", null, null],
        ["2026-04-14T03:00:00Z", "w5.gz", "Brand_New", "Transient", "x", false, true]
    ]);
    let fake = Fake::start(move |_| v1(FAILURES, &rows)).await;
    let since = at("2026-04-14T00:00:00Z");
    let failures = catalog(&fake).ingestion_failures(&name("T"), since, soon()).await.unwrap();
    let words: Vec<&str> = failures.iter().map(|failure| failure.words.as_str()).collect();
    let first = "BadRequest_InvalidBlob (Permanent) at 2026-04-14T07:00:00.0000000Z: cannot read https://a/b.gz now; the service";
    assert!(words[0].starts_with(first), "{words:#?}");
    assert!(words[1].contains("ingestors (") && words[2].contains("(Permanent, in an update policy)"), "{words:#?}");
    assert!(words[4].ends_with(": x"), "an unknown code has no advice: {words:#?}");
    assert_eq!(failures[1].source, "https://a/c/w2.gz");
    let permanent: Vec<bool> = failures.iter().map(|failure| failure.permanent).collect();
    assert_eq!(
        permanent,
        [true, true, false, true, false],
        "what should be tried again is not, an unsaid kind goes by its code"
    );
    let fake = Fake::start(|_| status(403)).await;
    let denied = catalog(&fake).ingestion_failures(&name("T"), since, soon()).await.unwrap_err().to_string();
    assert!(denied.contains("viewers ("), "{denied}");
}
