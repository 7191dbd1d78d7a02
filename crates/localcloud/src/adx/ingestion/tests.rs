use super::*;
use crate::adx::database::Entry;
use crate::adx::storage;
use crate::adx::table::TableData;
use crate::clock::{Clock, ManualClock};
use crate::faults::Faults;
use crate::kql::{Catalog, Column, Type, Value};
use crate::source::{row_identity, ticks};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value as Json, json};
use std::io::Write;

const ROWS: &str = "{\"Timestamp\":\"2026-01-01T00:00:00.5Z\",\"N\":1}\n{\"Timestamp\":null,\"N\":2}\n{\"N\":3}\n";

struct Setup {
    database: Arc<Database>,
    storage: Arc<Storage>,
    ingestion: Ingestion,
    posted: u64,
}

fn setup_with(mishaps: Vec<(Mishap, f64)>) -> Setup {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(ticks::UNIX_EPOCH + 20_500 * ticks::DAY));
    let database = Arc::new(Database::new("D", clock.clone()));
    let columns = [("Timestamp", Type::Datetime), ("RawData", Type::Dynamic), ("ChunkId", Type::String)]
        .map(|(name, ty)| Column { name: name.into(), ty });
    let entry = Entry {
        folder: String::new(),
        docstring: String::new(),
        data: TableData::new(columns.to_vec()),
        json_mappings: [("M".to_owned(), mapping("by reference"))].into(),
        csv_mappings: BTreeMap::new(),
        policies: BTreeMap::new(),
    };
    database.write().tables.insert("T".into(), entry);
    let storage = Arc::new(Storage::new(storage::Settings::default(), clock, Arc::new(Faults::none())).unwrap());
    let settings = Settings { delay: Duration::ZERO, lateness: Duration::ZERO, mishaps, ..Settings::default() };
    let ingestion = Ingestion::start(database.clone(), storage.clone(), settings, &Handle::current());
    Setup { database, storage, ingestion, posted: 0 }
}

fn setup() -> Setup {
    setup_with(Vec::new())
}

fn mapping(chunk: &str) -> String {
    json!([
        {"column": "Timestamp", "Properties": {"Path": "$.Timestamp"}},
        {"column": "RawData", "Properties": {"Path": "$"}},
        {"column": "ChunkId", "Properties": {"ConstValue": chunk}},
    ])
    .to_string()
}

fn gz(text: impl AsRef<[u8]>) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(text.as_ref()).unwrap();
    packer.finish().unwrap()
}

impl Setup {
    /// Posts a message for a new blob, changed by `properties`, and waits until it is done with.
    async fn ingest(&mut self, name: &str, content: &[u8], properties: Json) {
        let blob = self.storage.put_for_test(name, content);
        self.post(&blob, properties).await;
    }

    async fn post(&mut self, blob: &str, properties: Json) {
        let mut additional = json!({
            "authorizationContext": self.storage.identity_token(),
            "format": "multijson",
            "ingestionMapping": mapping("w"),
            "ingestionMappingType": "Json",
        });
        for (name, value) in properties.as_object().unwrap() {
            additional[name] = value.clone();
        }
        let table = additional.get("table").cloned().unwrap_or_else(|| json!("T"));
        let message = json!({
            "Id": "7b6c5bf4-6b61-4d3f-9d53-2a5a0b1c4f4e", "BlobPath": blob, "DatabaseName": "d", "TableName": table,
            "RetainBlobOnSuccess": additional.get("retain").is_none(), "AdditionalProperties": additional,
            "ReportLevel": additional.get("level").cloned().unwrap_or_else(|| json!(1)),
            "IngestionStatusInTable": additional.get("row"), "ReportMethod": if additional.get("row").is_some() { 2 } else { 0 },
        });
        self.storage.post(BASE64.encode(message.to_string()));
        self.posted += 1;
        let settled = async {
            while self.ingestion.statistics().finished < self.posted {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), settled).await.unwrap();
    }

    fn rows(&self) -> Vec<Vec<Value>> {
        let table = self.database.table("T").unwrap();
        (0..table.row_count()).map(|row| (0..3).map(|column| table.value(row, column)).collect()).collect()
    }

    fn failures(&self) -> Vec<(String, String)> {
        let content = self.database.read();
        content.failures.iter().map(|f| (f.error_code.clone(), f.failure_kind.clone())).collect()
    }

    fn last_failure(&self) -> String {
        self.failures().pop().unwrap().0
    }
}

fn keyed(key: &str) -> Json {
    json!({"tags": json!([format!("ingest-by:{key}")]).to_string(), "ingestIfNotExists": json!([key]).to_string()})
}

#[tokio::test]
async fn a_blob_lands_whole_with_its_tag_and_mapping() {
    let mut setup = setup();
    setup.ingest("a.multijson.gz", &gz(ROWS), keyed("w")).await;
    let rows = setup.rows();
    assert_eq!(rows.len(), 3, "{:?}", setup.failures());
    let at = ticks::parse("2026-01-01T00:00:00.5Z").unwrap();
    let raw = json!({"Timestamp": "2026-01-01T00:00:00.5Z", "N": 1});
    assert_eq!(rows[0], [Value::Datetime(at), Value::dynamic(raw.clone()), Value::text("w")]);
    assert_eq!(rows[1][0], Value::Null);
    let extents = setup.database.read().tables["T"].data.extents();
    assert_eq!((extents[0].rows, extents[0].original_size), (3, ROWS.len() as u64));
    assert_eq!(extents[0].tags, ["ingest-by:w"]);
    let identities: Vec<_> = setup.database.read().tables["T"].data.identities().collect();
    assert_eq!((identities[0].0, &*identities[0].1), (row_identity(raw.as_object().unwrap()), "w"));
}

#[tokio::test]
async fn a_key_that_landed_is_skipped_and_another_is_not() {
    let mut setup = setup();
    for key in ["a", "a", "b"] {
        setup.ingest("a.multijson", ROWS.as_bytes(), keyed(key)).await;
    }
    let untagged = json!({"tags": "[\"ingest-by:c\"]"});
    setup.ingest("a.multijson", ROWS.as_bytes(), untagged.clone()).await;
    setup.ingest("a.multijson", ROWS.as_bytes(), untagged).await;
    let statistics = setup.ingestion.statistics();
    assert_eq!((statistics.landed, statistics.skipped, statistics.failed), (4, 1, 0));
    assert_eq!(setup.rows().len(), 12);
}

#[tokio::test]
async fn parallel_ingestions_of_one_key_land_once() {
    let mut setup = setup();
    let blob = setup.storage.put_for_test("a.multijson", ROWS.repeat(2_000).as_bytes());
    let mut message = keyed("a");
    message["authorizationContext"] = setup.storage.identity_token().into();
    message["format"] = "multijson".into();
    let message = json!({"Id": "7b6c5bf4-6b61-4d3f-9d53-2a5a0b1c4f4e", "BlobPath": blob, "DatabaseName": "D",
        "TableName": "T", "RetainBlobOnSuccess": true, "AdditionalProperties": message});
    for _ in 0..3 {
        setup.storage.post(BASE64.encode(message.to_string()));
    }
    setup.posted = 3;
    setup.ingest("b.multijson", ROWS.as_bytes(), keyed("b")).await;
    let statistics = setup.ingestion.statistics();
    assert_eq!((statistics.landed, statistics.skipped), (2, 2), "{:?}", setup.failures());
}

#[tokio::test]
async fn multijson_lands_all_or_nothing_and_json_what_it_can_read() {
    let mut setup = setup();
    let broken = format!("{ROWS}no json\n{ROWS}");
    setup.ingest("a.multijson.gz", &gz(&broken), json!({})).await;
    assert_eq!(setup.failures(), [("BadRequest_InvalidBlob".to_owned(), "Permanent".to_owned())]);
    assert_eq!(setup.rows().len(), 0);
    let path = setup.database.read().failures[0].source_path.clone();
    assert!(path.ends_with("/a.multijson.gz"), "no signature in {path}");
    setup.ingest("a.json.gz", &gz(&broken), json!({"format": "json"})).await;
    assert_eq!(setup.rows().len(), 6);
    setup.ingest("a.json", b"no json\n", json!({"format": "json"})).await;
    assert_eq!(setup.last_failure(), "BadRequest_NoRecordsOrWrongFormat");
}

#[tokio::test]
async fn the_name_says_whether_it_is_gzip() {
    let mut setup = setup();
    let mut cut = gz(ROWS.repeat(100));
    cut.truncate(cut.len() - 20);
    for (name, content) in [("a.multijson.gz", ROWS.as_bytes()), ("a.multijson", &gz(ROWS)), ("b.gz", &cut)] {
        setup.ingest(name, content, json!({})).await;
        assert_eq!(setup.last_failure(), "BadRequest_InvalidBlob", "{name}");
    }
    for (name, content) in [("a.multijson", &b""[..]), ("a.multijson.gz", &gz(""))] {
        setup.ingest(name, content, json!({})).await;
        assert_eq!(setup.last_failure(), "BadRequest_EmptyBlob", "{name}");
    }
    assert_eq!(setup.rows().len(), 0);
    let members = [gz(ROWS), gz(ROWS)].concat();
    setup.ingest("c.gz", &members, json!({})).await;
    assert_eq!(setup.rows().len(), 6);
}

#[tokio::test]
async fn a_row_above_one_mebibyte_lands_as_null_unless_the_column_allows_it() {
    let mut setup = setup();
    let large = format!("{{\"N\":0,\"Text\":\"{}\"}}\n{ROWS}", "x".repeat(1024 * 1024));
    setup.ingest("a.multijson.gz", &gz(&large), keyed("a")).await;
    let nulls = |setup: &Setup| setup.rows().iter().filter(|row| row[1] == Value::Null).count();
    assert_eq!((setup.rows().len(), nulls(&setup)), (4, 1));
    assert!(setup.failures().is_empty());
    let policy = json!({"Type": "BigObject32"}).to_string();
    setup.database.write().tables.get_mut("T").unwrap().policies.insert("encoding/RawData".into(), policy);
    setup.ingest("a.multijson.gz", &gz(&large), keyed("b")).await;
    assert_eq!((setup.rows().len(), nulls(&setup)), (8, 1));
}

#[tokio::test]
async fn a_mapping_is_found_by_name_or_its_lack_is_on_record() {
    let mut setup = setup();
    let by_name = |name: &str| json!({"ingestionMapping": null, "ingestionMappingReference": name});
    setup.ingest("a.multijson", ROWS.as_bytes(), by_name("M")).await;
    assert_eq!(setup.rows()[2][2], Value::text("by reference"));
    for (properties, code) in [
        (by_name("N"), "BadRequest_MappingReferenceWasNotFound"),
        (json!({"ingestionMapping": "[{}]"}), "BadRequest_InvalidMapping"),
        (json!({"table": "t"}), "BadRequest_TableNotExist"),
        (json!({"authorizationContext": "x"}), "BadRequest_InvalidKustoIdentityToken"),
    ] {
        setup.ingest("a.multijson", ROWS.as_bytes(), properties).await;
        assert_eq!(setup.last_failure(), code);
    }
    for (blob, code) in [
        ("http://127.0.0.1/storage/ingest-temp-0/none?sig=x", "Download_Forbidden"),
        ("https://elsewhere/c/b?sig=x", "Download_AccountNotFound"),
    ] {
        setup.post(blob, json!({"level": 0})).await;
        assert_eq!(told(&setup).1.last().unwrap()["ErrorCode"], code);
        assert_eq!(setup.failures().len(), 4, "the engine has not seen it");
    }
    assert_eq!(setup.rows().len(), 3);
}

#[tokio::test]
async fn a_blob_goes_after_landing_unless_it_is_retained() {
    let mut setup = setup();
    setup.ingest("a.multijson", ROWS.as_bytes(), json!({})).await;
    assert_eq!(setup.storage.blob_count(), 1);
    setup.ingest("b.multijson", b"no json", json!({"retain": false})).await;
    setup.ingest("c.multijson", ROWS.as_bytes(), json!({"retain": false})).await;
    assert_eq!(setup.storage.blob_count(), 2);
}

#[tokio::test]
async fn csv_is_read_by_place_or_ordinal() {
    let mut setup = setup();
    let text = "Timestamp,RawData,ChunkId\n2026-01-01,\"{\"\"a\"\":1}\",c\n";
    let plain = json!({"format": "csv", "ingestionMapping": null, "ingestionMappingType": null,
        "ignoreFirstRecord": "true"});
    setup.ingest("a.csv", text.as_bytes(), plain).await;
    let expected = [Value::Datetime(ticks::parse("2026-01-01").unwrap()), Value::dynamic(json!({"a": 1}))];
    assert_eq!(setup.rows()[0][..2], expected, "{:?}", setup.failures());
}

#[tokio::test]
async fn mishaps_happen_to_the_windows_they_are_written_for() {
    let mut setup = setup();
    let mishaps = [Mishap::Lost, Mishap::Transient, Mishap::Permanent, Mishap::Half, Mishap::Twice, Mishap::Late];
    let mut landed = Vec::new();
    for (number, mishap) in mishaps.into_iter().enumerate() {
        let window = number.to_string();
        setup.ingestion.script(&window, [Some(mishap)]);
        let before = setup.rows().len();
        setup.ingest("a.multijson", ROWS.repeat(2).as_bytes(), keyed(&window)).await;
        landed.push(setup.rows().len() - before);
    }
    assert_eq!(landed, [0, 0, 0, 3, 12, 6]);
    let kinds: Vec<String> = setup.failures().into_iter().map(|(_, kind)| kind).collect();
    assert_eq!(kinds, ["Transient", "Permanent"]);
    let statistics = setup.ingestion.statistics();
    assert_eq!((statistics.lost, statistics.mishaps.len()), (1, 6));
}

#[tokio::test]
async fn odds_of_one_always_happen() {
    let mut setup = setup_with(vec![(Mishap::Lost, 1.0)]);
    setup.ingest("a.multijson", ROWS.as_bytes(), keyed("a")).await;
    assert!(setup.rows().is_empty());
}

/// What the queues of successes and failures tell.
fn told(setup: &Setup) -> (Vec<Json>, Vec<Json>) {
    let read = |messages: Vec<String>| {
        let texts = messages.into_iter().map(|message| BASE64.decode(message).unwrap());
        texts.map(|text| serde_json::from_slice(&text).unwrap()).collect()
    };
    let (successes, failures) = setup.storage.told_for_test();
    (read(successes), read(failures))
}

#[tokio::test]
async fn how_it_ended_is_told_as_far_as_the_message_asks() {
    let mut setup = setup();
    for level in [0, 1, 2] {
        setup.ingest("a.multijson.gz", &gz(ROWS), json!({ "level": level })).await;
        setup.ingest("b.multijson.gz", &gz("{"), json!({ "level": level })).await;
    }
    let (successes, failures) = told(&setup);
    assert_eq!((successes.len(), failures.len()), (1, 2));
    assert_eq!(successes[0]["IngestionSourceId"], "7b6c5bf4-6b61-4d3f-9d53-2a5a0b1c4f4e");
    assert!(!successes[0]["IngestionSourcePath"].as_str().unwrap().contains('?'), "{}", successes[0]);
    let expected = json!(["BadRequest_InvalidBlob", "Permanent", false]);
    assert_eq!(json!([failures[0]["ErrorCode"], failures[0]["FailureStatus"], failures[0]["ShouldRetry"]]), expected);
}

#[tokio::test]
async fn mishaps_are_told_as_the_service_takes_them() {
    let mut setup = setup();
    setup.ingestion.script("w", [Some(Mishap::Lost), Some(Mishap::Transient), Some(Mishap::Twice), None]);
    for _ in 0..4 {
        let mut asked = keyed("w");
        asked["level"] = json!(2);
        setup.ingest("a.multijson.gz", &gz(ROWS), asked).await;
    }
    let (successes, failures) = told(&setup);
    assert_eq!(successes.len(), 1, "what landed twice is told once");
    let seen: Vec<_> = failures.iter().map(|told| (told["ErrorCode"].clone(), told["ShouldRetry"].clone())).collect();
    assert_eq!(
        seen,
        [
            (json!("General_InternalServerError"), json!(true)),
            (json!("Skipped_IngestByTagAlreadyExists"), json!(false))
        ]
    );
}
