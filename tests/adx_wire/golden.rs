//! Everything that leaves, held against the files in `tests/golden/adx`. `UPDATE_GOLDEN=1` writes them.

use crate::fake::{Fake, Reply, Seen, appended, missing, soon, status, v1, v2};
pub use crate::metadata_names::{name, names};
use adxingestor::adx::catalog::{
    AuditRow, Catalog, Claim, Destination, Encoding, FailureRow, Held, HeldSize, LedgerEntry, Page, Policies,
    Readiness, Removed, Stopped, Tags, WatermarkMove, WindowRows,
};
use adxingestor::adx::ingestion::{BlobName, Choice, ChunkIdMode, Ingestor, StoredBlob, Submission};
use adxingestor::timestamp::Timestamp;
use base64::Engine as _;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use uuid::Uuid;

pub fn catalog(fake: &Fake) -> Catalog {
    Catalog::new(fake.client(), names())
}

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub const ENTRY: LedgerEntry<'static> =
    LedgerEntry { source: "DeviceEvents", destination: "Device Events", ledger_id: "0a1b2c3d", axis: "arrival" };

pub const CONFIG_COLUMNS: &str = "SourceTable:string,DestinationFolder:string,DestinationTable:string,WatermarkColumn:string,LastRefreshedTime:datetime,HighWatermark:datetime,LoadType:string,IsActive:bool";

pub const FAILURES: &str = "FailedOn:datetime,IngestionSourcePath:string,ErrorCode:string,FailureKind:string,Details:string,OriginatesFromUpdatePolicy:bool,ShouldRetry:bool";

pub struct Golden {
    folder: PathBuf,
    used: BTreeSet<String>,
    wrong: String,
}

impl Golden {
    /// The files of a folder of `tests/golden`.
    pub fn of(folder: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
        Self { folder, used: BTreeSet::new(), wrong: String::new() }
    }

    pub fn check(&mut self, file: &str, text: &str) {
        assert!(self.used.insert(file.to_owned()), "{file} is used twice");
        let path = self.folder.join(file);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, text).unwrap();
        }
        let held = std::fs::read_to_string(&path).unwrap_or_default();
        if held != text {
            let _ = write!(self.wrong, "--- {file}: sent now:\n{text}\n");
        }
    }

    fn csl(&mut self, file: &str, fake: &Fake) {
        let mut text = String::new();
        for seen in fake.seen() {
            let _ = writeln!(text, "=== {} {}\n{}", seen.method, seen.path, seen.csl());
        }
        self.check(file, &text);
    }

    pub fn finish(self) {
        assert!(self.wrong.is_empty(), "what is sent has changed:\n{}", self.wrong);
        let files = std::fs::read_dir(&self.folder).unwrap();
        let held: BTreeSet<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(held, self.used, "golden files that nothing is held against");
    }
}

/// Answers like a database that has everything and takes everything.
fn obliging(seen: &Seen) -> Reply {
    let csl = seen.csl();
    let starts = |text: &str| csl.starts_with(text);
    if starts(".set-or-append") {
        appended(1)
    } else if csl.ends_with("cslschema") {
        let schema = format!("{CONFIG_COLUMNS},['Added later']:string");
        v1("TableName:string,Schema:string", &json!([["t", schema]]))
    } else if starts(".alter") {
        v1("PolicyName:string,EntityName:string,Policy:string", &json!([]))
    } else if starts(".show materialized-views") {
        v1("Name:string,SourceTable:string,Query:string", &json!([]))
    } else if csl.contains("policy update") {
        v1("PolicyName:string,EntityName:string,Policy:string", &json!([]))
    } else if csl.contains(" policy ") {
        v1("PolicyName:string,EntityName:string,Policy:string", &json!([["p", "t", "null"]]))
    } else if csl == ".show functions" {
        v1("Name:string,Body:string", &json!([]))
    } else if starts(".show ingestion failures") {
        v1(FAILURES, &json!([]))
    } else if starts(".show") || starts(".create") {
        v1("Name:string,TableName:string", &json!([]))
    } else {
        v2("ChunkId:string,N:long,NoRow:long,NoTime:long,First:datetime,Rows:long", &json!([]))
    }
}

async fn metadata(golden: &mut Golden) {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let fake = Fake::start(move |seen| {
        if seen.path != "/v2/rest/query" {
            return obliging(seen);
        }
        match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            // The view itself, and the two that are looked for before they are made.
            0..3 => missing("Function", "vw_meta_LatestMigrationConfiguration"),
            _ => v2(CONFIG_COLUMNS, &json!([])),
        }
    })
    .await;
    assert_eq!(catalog(&fake).read_config(soon()).await.unwrap(), []);
    golden.csl("metadata.txt", &fake);
}

fn destination(table: &str, watermark: &str) -> Destination {
    Destination {
        table: name(table),
        folder: "Defender \"XDR\"".to_owned(),
        watermark_column: name(watermark),
        stamped: false,
        chunk_id: ChunkIdMode::Constant,
        ours: false,
        must_be_there: false,
        policies: Policies::default(),
    }
}

async fn destinations(golden: &mut Golden) {
    for (file, wanted) in [
        ("destination_new.txt", destination("DeviceEvents", "Timestamp")),
        ("destination_new_with_specials.txt", destination("Device Events.v2", "Log Time")),
        (
            "destination_new_without_chunk_id.txt",
            Destination { chunk_id: ChunkIdMode::InRow, ..destination("DeviceEvents", "Timestamp") },
        ),
    ] {
        let fake = Fake::start(|seen| {
            if seen.csl().ends_with("cslschema") { missing("Table", "DeviceEvents") } else { obliging(seen) }
        })
        .await;
        let found = catalog(&fake).ensure_destination(&wanted, soon()).await.unwrap().readiness;
        assert_eq!(found, Readiness::Created);
        golden.csl(file, &fake);
    }
    let python = |seen: &Seen| {
        if seen.csl().ends_with("cslschema") {
            return v1("TableName:string,Schema:string", &json!([["t", "Timestamp:datetime,RawData:dynamic"]]));
        }
        obliging(seen)
    };
    let fake = Fake::start(python).await;
    let wanted = Destination { ours: true, ..destination("DeviceEvents", "Timestamp") };
    let found = catalog(&fake).ensure_destination(&wanted, soon()).await.unwrap().readiness;
    assert_eq!(found, Readiness::Extended);
    golden.csl("destination_taken_over.txt", &fake);
}

async fn snapshots(golden: &mut Golden) {
    let fake = Fake::start(|seen| {
        if seen.csl().ends_with("cslschema") { missing("Table", "DeviceTvmSoftwareInventory") } else { obliging(seen) }
    })
    .await;
    let wanted = Destination { stamped: true, ..destination("DeviceTvmSoftwareInventory", "SnapshotTime") };
    assert_eq!(catalog(&fake).ensure_destination(&wanted, soon()).await.unwrap().readiness, Readiness::Created);
    catalog(&fake).ensure_latest("DeviceTvmSoftwareInventory", &wanted, soon()).await.unwrap();
    golden.csl("destination_of_snapshots.txt", &fake);
    let fake = Fake::start(obliging).await;
    let wanted = Destination { table: name("Device Tvm.v2"), ..wanted };
    catalog(&fake).ensure_latest("a \"source\"", &wanted, soon()).await.unwrap();
    golden.csl("latest_with_specials.txt", &fake);
}

/// The update policy of another table reads this one through a function.
async fn a_look_at_what_a_new_column_breaks(golden: &mut Golden) {
    let fake = Fake::start(|seen| {
        let csl = seen.csl();
        if csl.ends_with("cslschema") {
            return v1("TableName:string,Schema:string", &json!([["t", "Timestamp:datetime,RawData:dynamic"]]));
        }
        if csl.ends_with("policy update") {
            let policy = r#"[{"IsEnabled":true,"Source":"DeviceEvents","Query":"['flatten events']()"}]"#;
            return v1(
                "PolicyName:string,EntityName:string,Policy:string",
                &json!([["UpdatePolicy", "[Hunting].[Flat]", policy]]),
            );
        }
        if csl == ".show functions" {
            return v1("Name:string,Body:string", &json!([["flatten events", "{ DeviceEvents | project Timestamp }"]]));
        }
        obliging(seen)
    })
    .await;
    let wanted = destination("DeviceEvents", "Timestamp");
    assert_eq!(catalog(&fake).ensure_destination(&wanted, soon()).await.unwrap().readiness, Readiness::Extended);
    golden.csl("destination_read_by_an_update_policy.txt", &fake);
}

/// Every policy that a setting can ask for, of a table that another identity made.
async fn policies_that_settings_ask_for(golden: &mut Golden) {
    let fake = Fake::start(|seen| {
        let csl = seen.csl();
        if csl.ends_with("cslschema") {
            let schema = "Timestamp:datetime,RawData:dynamic,ChunkId:string,Owner:string";
            return v1("TableName:string,Schema:string,Folder:string", &json!([["t", schema, "f"]]));
        }
        if csl.starts_with(".show table") && csl.ends_with("restricted_view_access") {
            return v1("PolicyName:string,EntityName:string,Policy:string", &json!([["p", "t", "true"]]));
        }
        if csl.starts_with(".show database") && csl.ends_with("extent_tags_retention") {
            let policy = r#"[{"TagPrefix":"drop-by:","RetentionPeriod":"3.00:00:00"}]"#;
            return v1("PolicyName:string,EntityName:string,Policy:string", &json!([["p", "t", policy]]));
        }
        obliging(seen)
    })
    .await;
    let day = std::time::Duration::from_secs(86_400);
    let batching = json!({"MaximumBatchingTimeSpan": "00:01:00", "MaximumRawDataSizeMB": 1024});
    let policies = Policies {
        folder: Some("it's \"hot\"".to_owned()),
        retention: Some(day * 730),
        caching: Some(day * 31),
        batching: batching.as_object().cloned(),
        encoding: Some(Encoding::BigObject32),
        tags: Tags::For(day * 45),
        backdated: false,
    };
    let wanted = Destination { policies, ..destination("Device Events", "Timestamp") };
    let ready = catalog(&fake).ensure_destination(&wanted, soon()).await.unwrap();
    assert_eq!((ready.readiness, ready.warnings), (Readiness::Ready, Vec::new()));
    golden.csl("destination_with_policies.txt", &fake);
}

async fn roles(golden: &mut Golden) {
    let columns = "Scope:string,DisplayName:string,AADObjectID:string,Role:string";
    let fake = Fake::start(move |_| v1(columns, &json!([["Database Hunting", "app", "", "Viewer"]]))).await;
    let held = catalog(&fake).own_roles(soon()).await.unwrap().unwrap();
    assert_eq!((held[0].scope.as_str(), held[0].role.as_str()), ("Database Hunting", "Viewer"));
    golden.csl("roles.txt", &fake);
}

async fn an_append_that_was_done_before(golden: &mut Golden) {
    let fake = Fake::start(|seen| match seen.csl().as_str() {
        csl if csl.starts_with(".set-or-append") => appended(0),
        csl if csl.contains("extents where tags") => v1("ExtentId:guid", &json!([[Uuid::from_u128(1).to_string()]])),
        _ => obliging(seen),
    })
    .await;
    catalog(&fake).append_audit(&[audit_row("")], "run1", soon()).await.unwrap();
    golden.csl("audit_done_before.txt", &fake);
}

async fn an_append_to_a_table_that_has_gained_columns(golden: &mut Golden) {
    let fake = Fake::start(|seen| match seen.csl().as_str() {
        csl if csl.starts_with(".set-or-append") && !csl.contains("| project") => missing_column(),
        csl if csl.ends_with("cslschema") => {
            let held = "SourceTable:string,DestinationTable:string,['Owned by']:string,LedgerId:string,CutAxis:string,VerifiedUpTo:datetime,UpdatedAt:datetime,Added:long";
            v1("TableName:string,Schema:string", &json!([["t", held]]))
        }
        csl if csl.contains("extents where tags") => v1("ExtentId:guid", &json!([])),
        _ => obliging(seen),
    })
    .await;
    catalog(&fake).record_verified(&ENTRY, at("2026-04-13T00:00:00Z"), soon()).await.unwrap();
    golden.csl("ledger_with_columns.txt", &fake);
}

fn missing_column() -> Reply {
    status(400).saying(&json!({"error": {"code": "BadRequest", "@permanent": true,
        "@message": "Query schema does not match table schema."}}))
}

async fn proofs(golden: &mut Golden) {
    let fake = Fake::start(obliging).await;
    let ids = ["0f2a".to_owned(), "x\" or 1 == 1".to_owned()];
    let (table, watermark) = (name("Device Events"), name("Timestamp"));
    let counts = catalog(&fake).counts(&table, &watermark, ChunkIdMode::Constant, &ids, soon()).await.unwrap();
    assert_eq!(counts.len(), 2);
    golden.csl("counts.txt", &fake);
    let fake = Fake::start(obliging).await;
    catalog(&fake).counts(&table, &watermark, ChunkIdMode::InRow, &ids[..1], soon()).await.unwrap();
    golden.csl("counts_in_row.txt", &fake);
    for (mode, file) in [(ChunkIdMode::Constant, "copies.txt"), (ChunkIdMode::InRow, "copies_in_row.txt")] {
        let fake = Fake::start(obliging).await;
        catalog(&fake).copies(&table, &watermark, mode, &ids[..1], soon()).await.unwrap();
        golden.csl(file, &fake);
    }
    let fake = Fake::start(obliging).await;
    let since = "2026-05-01T00:00:00Z".parse().unwrap();
    assert_eq!(catalog(&fake).ingestion_failures(&table, since, soon()).await.unwrap(), []);
    golden.csl("failures_shown.txt", &fake);
}

/// What is previewed and, if that is right, removed.
async fn removals(golden: &mut Golden) {
    let (table, after) = (name("Device Events"), "2026-05-01T00:00:02Z".parse().unwrap());
    let id = "0f2a\" or 1 == 1 //";
    let columns = "RecordsMatchPredicate:long";
    for (file, id_in_row, after, removed) in [
        ("removal.txt", false, None, Removed::All),
        ("removal_by_the_id_in_the_row.txt", true, None, Removed::Otherwise { previewed: 3 }),
        ("removal_of_a_second_copy.txt", false, Some(after), Removed::All),
    ] {
        let previewed = if removed == Removed::All { json!([[2], [3]]) } else { json!([[3]]) };
        let fake = Fake::start(move |_| v1(columns, &previewed)).await;
        let rows = WindowRows { table: &table, id, id_in_row, after };
        assert_eq!(catalog(&fake).remove_rows(&rows, 5, soon()).await.unwrap(), removed);
        golden.csl(file, &fake);
    }
}

async fn ledgers(golden: &mut Golden) {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let fake = Fake::start(move |seen| {
        if seen.path != "/v2/rest/query" {
            return obliging(seen);
        }
        let columns = "Arrived:datetime,LedgerId:string,CutAxis:string,VerifiedUpTo:datetime";
        match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => v2(columns, &json!([])),
            _ => v2(columns, &json!([["2026-04-14T07:00:00Z", "0a1b2c3d", "arrival", null]])),
        }
    })
    .await;
    let claim = catalog(&fake).claim_ledger(&ENTRY, soon()).await.unwrap();
    assert!(matches!(claim, Claim::Ours(_)));
    golden.csl("ledger_claim.txt", &fake);

    let fake = Fake::start(obliging).await;
    let (until, now) = (at("2026-04-13T23:50:00.1234567Z"), at("2026-04-14T07:00:00Z"));
    catalog(&fake).record_verified(&ENTRY, until, soon()).await.unwrap();
    golden.csl("ledger_verified.txt", &fake);

    let fake = Fake::start(obliging).await;
    let moved = catalog(&fake).advance_watermark(&ENTRY, until, now, "run1t1", soon()).await.unwrap();
    assert_eq!(moved, WatermarkMove::Moved);
    golden.csl("watermark.txt", &fake);
}

/// Answers a look at a destination.
fn landed(seen: &Seen) -> Reply {
    let csl = seen.csl();
    if csl.ends_with("cslschema") {
        v1("TableName:string,Schema:string", &json!([["t", "Timestamp:datetime,ChunkId:string"]]))
    } else if csl.contains("HighWatermark") {
        let before = json!([["2026-04-14T07:00:00Z", "2026-04-13T00:00:00Z", null]]);
        v2("ArrivedAt:datetime,HighWatermark:datetime,LastRefreshedTime:datetime", &before)
    } else if csl.ends_with("| count") {
        v2("Count:long", &json!([[3]]))
    } else if csl.contains("First = ") {
        v2("ChunkId:string,N:long,First:datetime,Last:datetime", &json!([]))
    } else {
        v2("IngestedAt:datetime,N:long", &json!([["2026-04-14T07:00:00Z", 3]]))
    }
}

async fn adoptions(golden: &mut Golden) {
    let (table, now) = (name("Device Events"), at("2026-04-14T07:00:00Z"));
    for (file, mode) in [("chunks.txt", ChunkIdMode::Constant), ("chunks_in_row.txt", ChunkIdMode::InRow)] {
        let fake = Fake::start(landed).await;
        assert_eq!(catalog(&fake).chunks(&table, mode, now, soon()).await.unwrap(), []);
        golden.csl(file, &fake);
    }
    for (file, mode) in [("landings.txt", ChunkIdMode::Constant), ("landings_in_row.txt", ChunkIdMode::InRow)] {
        let fake = Fake::start(landed).await;
        assert_eq!(catalog(&fake).landings(&table, mode, "x\" or 1", soon()).await.unwrap(), [(now, 3)]);
        golden.csl(file, &fake);
    }
    let fake = Fake::start(|seen| match seen.csl().contains("distinct") {
        true => v2("LedgerId:string", &json!([["0a1b2c3d"]])),
        false => landed(seen),
    })
    .await;
    let others = catalog(&fake).ledgers_of_others("DeviceEvents", "Device Events", soon()).await.unwrap();
    assert_eq!(others.into_iter().collect::<Vec<_>>(), ["0a1b2c3d"]);
    golden.csl("ledgers_of_others.txt", &fake);
    let fake = Fake::start(|seen| match seen.csl().contains("!=") {
        true => v2("DestinationTable:string", &json!([["Elsewhere"]])),
        false => landed(seen),
    })
    .await;
    let other = catalog(&fake).watermark_inherited_from("DeviceEvents", "Device Events", now, soon()).await.unwrap();
    assert_eq!(other.as_deref(), Some("Elsewhere"));
    golden.csl("watermark_inherited_from.txt", &fake);
    let fake = Fake::start(landed).await;
    assert_eq!(catalog(&fake).size(&table, soon()).await.unwrap(), Some((3, true)));
    golden.csl("destination_size.txt", &fake);
    let fake = Fake::start(landed).await;
    let stopped = catalog(&fake).stopped_before("DeviceEvents", "Device Events", now, soon()).await.unwrap();
    assert_eq!(stopped, Some(Stopped { high_watermark: at("2026-04-13T00:00:00Z"), last_refreshed: None }));
    golden.csl("config_before.txt", &fake);
}

/// The rows that a repair is compared with.
async fn repairs(golden: &mut Golden) {
    let (table, watermark) = (name("Device Events"), name("Timestamp"));
    let ids = ["0f2a".to_owned(), "x\" or 1 == 1".to_owned()];
    let (first, last) = (at("2026-04-13T23:00:00Z"), at("2026-04-14T00:00:00Z"));
    let unmarked =
        Held::Unmarked { watermark: &watermark, within: Some((first, last)), after: at("2026-04-13T22:00:00Z") };
    let without = Held::Unmarked { watermark: &watermark, within: None, after: Timestamp::MIN };
    for (file, mode, held) in [
        ("held_unmarked_without.txt", ChunkIdMode::Constant, without),
        ("held.txt", ChunkIdMode::Constant, Held::Windows(&ids)),
        ("held_in_row.txt", ChunkIdMode::InRow, Held::Windows(&ids[..1])),
        ("held_unmarked.txt", ChunkIdMode::Constant, unmarked),
        ("held_unmarked_in_row.txt", ChunkIdMode::InRow, unmarked),
    ] {
        let fake = Fake::start(|seen| {
            if seen.csl().contains("Bytes = ") {
                v2("N:long,Bytes:long", &json!([[2, 40]]))
            } else {
                v2("Row:string", &json!([["{\"a\":1}"], [""]]))
            }
        })
        .await;
        let size = catalog(&fake).held_size(&table, mode, held, soon()).await.unwrap();
        assert_eq!(size, HeldSize { rows: 2, characters: 40 });
        let page = Page { index: 1, count: 3 };
        let rows = catalog(&fake).held_rows(&table, mode, held, page, soon()).await.unwrap();
        assert_eq!(rows, ["{\"a\":1}", ""]);
        golden.csl(file, &fake);
    }
}

pub fn audit_row(error: &str) -> AuditRow {
    AuditRow {
        ingestion_id: "4f1c".to_owned(),
        ingestion_timestamp: at("2026-04-14T07:00:00Z"),
        folder: "Defender".to_owned(),
        table: "DeviceEvents".to_owned(),
        success: false,
        records_processed: 9_223_372_036_854_775_807,
        chunked: true,
        chunks_processed: 3,
        chunks_failed: 1,
        chunk_results: json!([{"chunk": 1, "error": error}]),
        error: error.to_owned(),
    }
}

pub const HOSTILE: &str = "it's \"bad\"]; .drop table T\n<| '''```\\\u{0}é😀 {{rows}} // x";

async fn audits(golden: &mut Golden) {
    let fake = Fake::start(obliging).await;
    catalog(&fake).append_audit(&[audit_row(HOSTILE), audit_row("")], "run1", soon()).await.unwrap();
    golden.csl("audit.txt", &fake);
    let fake = Fake::start(obliging).await;
    let row = FailureRow {
        ingestion_id: "4f1c".to_owned(),
        ingestion_timestamp: at("2026-04-14T07:00:00Z"),
        folder: "Defender".to_owned(),
        table: "DeviceEvents".to_owned(),
        chunk_id: 7,
        success: false,
        records_count: 99_999,
        records_processed: 0,
        low_watermark: Some(at("2026-04-13T00:00:00Z")),
        high_watermark: None,
        error: HOSTILE.to_owned(),
        reprocess_success: false,
    };
    catalog(&fake).append_failures(&[row], "run1", soon()).await.unwrap();
    golden.csl("chunk_audit.txt", &fake);
}

/// The service's own storage: lends one container and one queue and takes everything.
fn lending(url: &url::Url) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    let url = url.clone();
    move |seen| match seen.csl().as_str() {
        ".get ingestion resources" => v1(
            "ResourceTypeName:string,StorageRoot:string",
            &json!([
                ["TempStorage", format!("{url}acct/box?sv=1&sig=S%2BS")],
                ["SecuredReadyForAggregationQueue", format!("{url}acct/line?sv=1&sig=Q")],
                ["FailedIngestionsQueue", format!("{url}acct/failed?sv=1&sig=F")],
            ]),
        ),
        ".get kusto identity token" => v1("AuthorizationContext:string", &json!([["identity"]])),
        // Its signatures let nobody read.
        _ if seen.method == "HEAD" => status(403),
        _ => status(201),
    }
}

async fn uploads_and_messages(golden: &mut Golden) {
    let late: std::sync::Arc<std::sync::OnceLock<url::Url>> = std::sync::Arc::default();
    let known = std::sync::Arc::clone(&late);
    let fake = Fake::start(move |seen| lending(known.get().unwrap())(seen)).await;
    late.set(fake.url.clone()).unwrap();
    let ingestor = Ingestor::new(fake.client(), Choice::Queued);
    let mut text = String::new();
    for bytes in [100, 9 * 1024 * 1024] {
        let name = BlobName::new("Hunting", "Device Events", "0f2a", Uuid::from_u128(7));
        let mut upload = ingestor.begin(name, soon()).await.unwrap();
        let mut content = vec![0u8; bytes];
        content[..2].copy_from_slice(&[0x1f, 0x8b]);
        upload.write(content.into()).await.unwrap();
        upload.commit().await.unwrap();
    }
    for seen in fake.seen() {
        let _ = writeln!(text, "=== {} {}?{}", seen.method, seen.path, seen.query);
        for name in [
            "authorization",
            "content-length",
            "content-md5",
            "content-type",
            "if-none-match",
            "x-ms-blob-content-md5",
            "x-ms-blob-type",
            "x-ms-version",
        ] {
            if !seen.header(name).is_empty() {
                let _ = writeln!(text, "{name}: {}", seen.header(name));
            }
        }
        let body = String::from_utf8(seen.body.to_vec()).unwrap_or_default();
        if !body.is_empty() {
            let _ = writeln!(text, "{body}");
        }
    }
    golden.check("upload.txt", &text);
    let snapshot = Some(at("2026-04-14T07:00:00.1234567Z"));
    for (file, chunk_id, watermark, stamp, created) in [
        ("message.json", ChunkIdMode::Constant, "Log Time", None, None),
        ("message_copied.json", ChunkIdMode::Copied, "Timestamp", None, None),
        ("message_backdated.json", ChunkIdMode::Constant, "Timestamp", None, snapshot),
        ("message_in_row.json", ChunkIdMode::InRow, "Timestamp", None, None),
        ("message_snapshot.json", ChunkIdMode::Constant, "SnapshotTime", snapshot, None),
        ("message_snapshot_in_row.json", ChunkIdMode::InRow, "SnapshotTime", snapshot, None),
    ] {
        let (table, watermark) = (name("Device Events"), name(watermark));
        let url = format!("{}acct/box/Hunting-Device_Events-0f2a-x.multijson.gz", fake.url);
        let blob = StoredBlob { url, compressed_bytes: 100 };
        let (window_id, raw_bytes, number) = ("0f2a", 123_456, 1);
        let watermark_column = &watermark;
        let submission = Submission {
            table: &table,
            window_id,
            number,
            blob: &blob,
            raw_bytes,
            watermark_column,
            stamp,
            chunk_id,
            created,
        };
        ingestor.post(&submission, soon()).await.unwrap();
        let seen = fake.seen().pop().unwrap();
        assert_eq!(
            (seen.method.as_str(), seen.path.as_str(), seen.query.as_str()),
            ("POST", "/acct/line/messages", "sv=1&sig=Q")
        );
        golden.check(file, &decoded_message(&seen, &fake));
    }
}

/// The message of a post, with the port of the test taken out.
pub fn decoded_message(seen: &Seen, fake: &Fake) -> String {
    let xml = std::str::from_utf8(&seen.body).unwrap();
    let text = xml.strip_prefix("<QueueMessage><MessageText>").unwrap();
    let text = text.strip_suffix("</MessageText></QueueMessage>").unwrap();
    let decoded = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    let message: Value = serde_json::from_slice(&decoded).unwrap();
    let text = serde_json::to_string_pretty(&message).unwrap() + "\n";
    text.replace(fake.url.as_str(), "https://storage/").replace(env!("CARGO_PKG_VERSION"), "<version>")
}

#[tokio::test]
async fn everything_that_leaves_matches_its_golden_file_and_none_is_left_over() {
    let mut golden = Golden::of("adx");
    metadata(&mut golden).await;
    destinations(&mut golden).await;
    snapshots(&mut golden).await;
    a_look_at_what_a_new_column_breaks(&mut golden).await;
    policies_that_settings_ask_for(&mut golden).await;
    proofs(&mut golden).await;
    adoptions(&mut golden).await;
    repairs(&mut golden).await;
    removals(&mut golden).await;
    ledgers(&mut golden).await;
    audits(&mut golden).await;
    an_append_that_was_done_before(&mut golden).await;
    an_append_to_a_table_that_has_gained_columns(&mut golden).await;
    roles(&mut golden).await;
    uploads_and_messages(&mut golden).await;
    golden.finish();
}
