//! What the queries and commands mean, by an engine that knows nothing of them: the fake service holds tables and
//! evaluates the text that it is sent.

use crate::fake::{Fake, Reply, Seen, appended, body, missing, soon, v1};
use crate::golden::{CONFIG_COLUMNS, ENTRY, HOSTILE, at, audit_row, catalog, name};
use adxingestor::adx::catalog::{Chunk, Claim, Counts, LedgerEntry, Stopped, WatermarkMove};
use adxingestor::adx::ingestion::ChunkIdMode;
use adxingestor::timestamp::Timestamp;
use localcloud::kql::json::to_serde;
use localcloud::kql::{Catalog, Column, MemoryTable, Table, Type, Value, run};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Held {
    columns: Vec<Column>,
    rows: Vec<Vec<Value>>,
    arrivals: Vec<i64>,
}

/// A database that evaluates what it is sent; each append arrives a tick after the one before.
#[derive(Clone, Default)]
struct Database {
    tables: BTreeMap<String, Held>,
    functions: BTreeMap<String, String>,
    tags: HashSet<String>,
    appends: i64,
}

impl Catalog for Database {
    fn table(&self, name: &str) -> Option<Arc<dyn Table>> {
        let Held { columns, rows, arrivals } = self.tables.get(name)?.clone();
        Some(Arc::new(MemoryTable::new(columns, rows).with_arrivals(arrivals)))
    }

    fn function(&self, name: &str) -> Option<String> {
        self.functions.get(name).cloned()
    }

    fn now(&self) -> i64 {
        ticks("2026-04-14T07:00:00Z")
    }
}

fn ticks(text: &str) -> i64 {
    i64::try_from(at(text).ticks()).unwrap()
}

impl Database {
    fn with(mut self, table: &str, columns: &str) -> Self {
        let columns = columns.split(',').map(|column| column.split_once(':').unwrap());
        let columns =
            columns.map(|(name, ty)| Column { name: name.to_owned(), ty: Type::from_name(ty).unwrap() }).collect();
        self.tables.insert(table.to_owned(), Held { columns, ..Held::default() });
        self
    }

    fn evaluate(&self, query: &str) -> (Vec<Column>, Vec<Vec<Value>>) {
        let catalog: Arc<dyn Catalog> = Arc::new(self.clone());
        let answer = run(query, &catalog).unwrap_or_else(|error| panic!("{query}: {error}"));
        (answer.columns, answer.rows.map(|row| row.unwrap()).collect())
    }

    fn append(&mut self, table: &str, query: &str) -> u64 {
        let (_, rows) = self.evaluate(query);
        self.appends += 1;
        let arrived = ticks("2026-04-14T00:00:00Z") + self.appends;
        let held = self.tables.get_mut(table).unwrap();
        for row in &rows {
            assert_eq!(row.len(), held.columns.len(), "an append goes by position");
            held.rows.push(row.clone());
            held.arrivals.push(arrived);
        }
        rows.len() as u64
    }

    fn answer(&mut self, seen: &Seen) -> Reply {
        let csl = seen.csl();
        if seen.path == "/v2/rest/query" {
            if let Some(entity) = csl.strip_suffix(" | take 0")
                && !self.tables.contains_key(entity)
                && !self.functions.contains_key(entity)
            {
                return missing("Entity", entity);
            }
            let (columns, rows) = self.evaluate(&csl);
            let columns: Vec<Json> = columns
                .iter()
                .map(|column| json!({"ColumnName": column.name, "ColumnType": column.ty.name()}))
                .collect();
            let rows: Vec<Json> = rows.iter().map(|row| row.iter().map(to_serde).collect()).collect();
            return body(&json!([
                {"FrameType": "DataTable", "TableId": 0, "TableKind": "PrimaryResult", "TableName": "P", "Columns": columns, "Rows": rows},
                {"FrameType": "DataSetCompletion", "HasErrors": false, "Cancelled": false},
            ]));
        }
        if let Some(rest) = csl.strip_prefix(".set-or-append ") {
            let (head, query) = rest.split_once("<|").unwrap();
            let tag = head.split("ingest-by:").nth(1).unwrap().split('"').next().unwrap().to_owned();
            if self.tags.contains(&tag) {
                return appended(0);
            }
            let rows = self.append(head.split(' ').next().unwrap(), query);
            if rows > 0 {
                self.tags.insert(tag);
            }
            return appended(rows);
        }
        if csl.contains(" extents where tags has ") {
            let tag = csl.split("ingest-by:").nth(1).unwrap().trim_end_matches('\'');
            let found: &[i32] = if self.tags.contains(tag) { &[1] } else { &[] };
            return v1("N:long", &found.iter().map(|n| json!([n])).collect());
        }
        if let Some(table) = csl.strip_prefix(".show table ").and_then(|rest| rest.strip_suffix(" cslschema")) {
            let columns = &self.tables[table].columns;
            let schema: Vec<String> = columns.iter().map(|c| format!("{}:{}", c.name, c.ty.name())).collect();
            return v1("TableName:string,Schema:string", &json!([[table, schema.join(",")]]));
        }
        if let Some(rest) = csl.strip_prefix(".create-or-alter function ") {
            let (head, text) = rest.split_once('{').unwrap();
            let name = head.trim().rsplit(' ').next().unwrap().trim_end_matches("()");
            self.functions.insert(name.to_owned(), text.trim().trim_end_matches('}').to_owned());
            return v1("Name:string", &json!([]));
        }
        assert!(csl.starts_with(".create-merge table "), "{csl}");
        v1("TableName:string", &json!([]))
    }
}

async fn serve(database: Database) -> (Fake, Arc<Mutex<Database>>) {
    let shared = Arc::new(Mutex::new(database));
    let served = Arc::clone(&shared);
    (Fake::start(move |seen| served.lock().unwrap().answer(seen)).await, shared)
}

fn metadata() -> Database {
    let audit = "ingestion_id:string,ingestion_timestamp:datetime,folder:string,table:string,success:bool,records_processed:long,chunked:bool,chunks_processed:int,chunks_failed:int,chunk_results:dynamic,error:string";
    let ledger = "SourceTable:string,DestinationTable:string,LedgerId:string,CutAxis:string,VerifiedUpTo:datetime,UpdatedAt:datetime";
    Database::default()
        .with("meta_MigrationConfiguration", &format!("{CONFIG_COLUMNS},Owner:string"))
        .with("meta_MigrationAudit", audit)
        .with(
            "meta_ChunkIngestionFailures",
            &format!("{audit},reprocess_success:bool,chunk_id:int,low_watermark:datetime,high_watermark:datetime"),
        )
        .with("meta_Ledger", ledger)
}

fn configure(database: &Mutex<Database>, source: &str, high: &str, load_type: &str, active: bool, owner: &str) {
    let row = format!(
        "print '{source}', 'f', 'Device Events', 'Timestamp', datetime(null), {high}, '{load_type}', {active}, '{owner}'"
    );
    assert_eq!(database.lock().unwrap().append("meta_MigrationConfiguration", &row), 1);
}

#[tokio::test]
async fn the_configuration_is_the_latest_active_row_of_every_table() {
    let (fake, database) = serve(metadata()).await;
    let catalog = catalog(&fake);
    catalog.ensure_metadata(soon()).await.unwrap();
    configure(&database, "A", "datetime(null)", "Full", true, "");
    configure(&database, "A", "datetime(2026-04-01)", "Incremental", true, "");
    configure(&database, "B", "datetime(null)", "Full", true, "");
    configure(&database, "B", "datetime(null)", "Full", false, "");
    let rows = catalog.read_config(soon()).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].source_table.as_str(), rows[0].load_type.as_str()), ("A", "Incremental"));
    assert_eq!(rows[0].high_watermark, Some(at("2026-04-01T00:00:00Z")));
}

#[tokio::test]
async fn a_watermark_keeps_an_edit_made_meanwhile_and_never_goes_back() {
    let (fake, database) = serve(metadata()).await;
    let catalog = catalog(&fake);
    configure(&database, "DeviceEvents", "datetime(2026-04-01)", "Full", true, "");
    configure(&database, "DeviceEvents", "datetime(2026-04-01)", "Incremental", true, "soc");
    let (early, late, now) =
        (at("2026-04-12T00:00:00Z"), at("2026-04-13T23:50:00.1234567Z"), at("2026-04-14T07:00:00Z"));
    let rows = || database.lock().unwrap().tables["meta_MigrationConfiguration"].rows.clone();

    let moved = catalog.advance_watermark(&ENTRY, late, now, "t0", soon()).await.unwrap();
    assert_eq!((moved, rows().len()), (WatermarkMove::Held, 2), "the ledger has not verified anything");

    catalog.record_verified(&ENTRY, late, soon()).await.unwrap();
    for _ in 0..2 {
        let moved = catalog.advance_watermark(&ENTRY, late, now, "t1", soon()).await.unwrap();
        assert_eq!((moved, rows().len()), (WatermarkMove::Moved, 3), "once, however often it is asked for");
    }
    let written: Vec<Json> = rows()[2].iter().map(to_serde).collect();
    let expected = json!([
        "DeviceEvents",
        "f",
        "Device Events",
        "Timestamp",
        now.to_string(),
        late.to_string(),
        "Incremental",
        true,
        "soc"
    ]);
    assert_eq!(Json::Array(written), expected);

    catalog.record_verified(&ENTRY, early, soon()).await.unwrap();
    let moved = catalog.advance_watermark(&ENTRY, early, now, "t2", soon()).await.unwrap();
    assert_eq!((moved, rows().len()), (WatermarkMove::Held, 3), "a late worker");

    let other_axis = LedgerEntry { axis: "Timestamp", ..ENTRY };
    catalog.record_verified(&other_axis, early, soon()).await.unwrap();
    let moved = catalog.advance_watermark(&ENTRY, late, now, "t3", soon()).await.unwrap();
    assert_eq!((moved, rows().len()), (WatermarkMove::Held, 3), "the axis was handed over");

    let elsewhere = LedgerEntry { destination: "Other", ..ENTRY };
    catalog.record_verified(&elsewhere, late, soon()).await.unwrap();
    let moved = catalog.advance_watermark(&elsewhere, late, now, "t4", soon()).await.unwrap();
    assert_eq!((moved, rows().len()), (WatermarkMove::Held, 3), "the table is copied elsewhere now");
}

#[tokio::test]
async fn the_first_claim_holds_and_progress_of_another_ledger_takes_over() {
    let (fake, _) = serve(metadata()).await;
    let catalog = catalog(&fake);
    let second = LedgerEntry { ledger_id: "00", ..ENTRY };
    assert!(matches!(catalog.claim_ledger(&ENTRY, soon()).await.unwrap(), Claim::Ours(_)));
    assert!(matches!(catalog.claim_ledger(&ENTRY, soon()).await.unwrap(), Claim::Ours(_)));
    assert!(
        matches!(catalog.claim_ledger(&second, soon()).await.unwrap(), Claim::Other(owner) if owner.ledger_id == "0a1b2c3d")
    );
    let until = at("2026-04-13T00:00:00Z");
    catalog.record_verified(&ENTRY, until, soon()).await.unwrap();
    catalog.record_verified(&second, until, soon()).await.unwrap();
    let owner = catalog.ledger_owner(ENTRY.source, ENTRY.destination, soon()).await.unwrap().unwrap();
    assert_eq!((owner.ledger_id.as_str(), owner.verified_up_to), ("00", Some(until)));
    assert_eq!(catalog.ledger_owner("Another", ENTRY.destination, soon()).await.unwrap(), None);
    let inherited = async |source: &str, destination: &str, watermark| {
        catalog.watermark_inherited_from(source, destination, watermark, soon()).await.unwrap()
    };
    assert_eq!(inherited(ENTRY.source, "Elsewhere", until).await.as_deref(), Some(ENTRY.destination));
    assert_eq!(inherited(ENTRY.source, ENTRY.destination, until).await, None, "its own");
    assert_eq!(inherited("Another", "Elsewhere", until).await, None);
    assert_eq!(inherited(ENTRY.source, "Elsewhere", at("2026-04-13T00:00:01Z")).await, None);
    let others = async |source: &str, destination: &str| {
        let others = catalog.ledgers_of_others(source, destination, soon()).await.unwrap();
        others.into_iter().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(others("Another", ENTRY.destination).await, ["00", "0a1b2c3d"]);
    assert!(
        others(ENTRY.source, ENTRY.destination).await.is_empty() && others("Another", "Elsewhere").await.is_empty()
    );
}

#[tokio::test]
async fn a_count_sees_rows_and_what_they_lost() {
    let (fake, database) =
        serve(Database::default().with("T", "Timestamp:datetime,RawData:dynamic,ChunkId:string")).await;
    let rows = r#"datatable(Timestamp:datetime, RawData:dynamic, ChunkId:string)[
        datetime(2026-04-01), dynamic({"_ChunkId": "a"}), "a",
        datetime(null), dynamic({"_ChunkId": "a"}), "a",
        datetime(2026-04-01), dynamic(null), "a",
        datetime(2026-04-01), dynamic({"_ChunkId": "b"}), "b",
        datetime(2026-04-01), dynamic({}), "c"]"#;
    database.lock().unwrap().append("T", rows);
    let catalog = catalog(&fake);
    let ids = ["a".to_owned(), "b".to_owned(), "z".to_owned()];
    let count = async |mode| catalog.counts(&name("T"), &name("Timestamp"), mode, &ids, soon()).await.unwrap();
    let found = count(ChunkIdMode::Constant).await;
    let told = |counts: &Counts| (counts.rows, counts.no_row, counts.no_time, counts.first.map(|(_, rows)| rows));
    assert_eq!(told(&found["a"]), (3, 1, 1, None));
    assert_eq!((found["b"].rows, found["z"].rows, found.len()), (1, 0, 3));
    let found = count(ChunkIdMode::InRow).await;
    assert_eq!(told(&found["a"]), (2, 0, 1, None));
    let copies =
        async |mode| catalog.copies(&name("T"), &name("Timestamp"), mode, &ids, soon()).await.unwrap().unwrap();
    assert_eq!(told(&copies(ChunkIdMode::Constant).await["a"]), (3, 1, 1, Some(3)));
    assert_eq!(told(&copies(ChunkIdMode::InRow).await["a"]), (2, 0, 1, Some(2)));
}

#[tokio::test]
async fn a_hostile_text_arrives_in_the_audit_as_it_was() {
    let (fake, database) = serve(metadata()).await;
    let catalog = catalog(&fake);
    for _ in 0..2 {
        catalog.append_audit(&[audit_row(HOSTILE)], "run1", soon()).await.unwrap();
    }
    let rows = database.lock().unwrap().tables["meta_MigrationAudit"].rows.clone();
    assert_eq!(rows.len(), 1);
    assert_eq!(to_serde(&rows[0][10]), json!(HOSTILE));
    assert_eq!(to_serde(&rows[0][9]), json!([{"chunk": 1, "error": HOSTILE}]));
    assert_eq!(to_serde(&rows[0][5]), json!(i64::MAX));
}

#[tokio::test]
async fn the_windows_of_a_destination_are_found_page_by_page_with_their_times() {
    let id = |n: u64| format!("{n:064x}");
    let rows = |chunks: &[String]| {
        let mut database = metadata().with("T", "Timestamp:datetime,RawData:dynamic,ChunkId:string");
        for chunk in chunks {
            let row = format!(
                "print Timestamp=datetime(2026-04-14), RawData=dynamic({{\"_ChunkId\": \"{chunk}\"}}), ChunkId=\"{chunk}\""
            );
            database.append("T", &row);
        }
        database
    };
    let landed = [id(3), id(1), "chunk-7".to_owned(), String::new(), id(2), id(1)];
    let time = |n: u64| Timestamp::from_ticks(at("2026-04-14T00:00:00Z").ticks() + n);
    let chunk = |n: u64, rows: u64, first: u64, last: u64| Chunk {
        id: id(n),
        rows,
        first: Some(time(first)),
        last: Some(time(last)),
    };
    for mode in [ChunkIdMode::Constant, ChunkIdMode::InRow] {
        let (fake, _) = serve(rows(&landed)).await;
        let (table, all) = (name("T"), Timestamp::MIN);
        let found = catalog(&fake).chunks_by(2, &table, mode, all, soon()).await.unwrap();
        assert_eq!(found, [chunk(1, 2, 2, 6), chunk(2, 1, 5, 5), chunk(3, 1, 1, 1)]);
        assert_eq!(fake.seen().len(), 2);
        let late = catalog(&fake).chunks(&table, mode, time(4), soon()).await.unwrap();
        assert_eq!(late, [chunk(1, 1, 6, 6), chunk(2, 1, 5, 5)], "what was ingested after an instant");
        let copies = catalog(&fake).landings(&table, mode, &id(1), soon()).await.unwrap();
        assert_eq!(copies, [(time(2), 1), (time(6), 1)]);
        assert_eq!(catalog(&fake).size(&table, soon()).await.unwrap(), Some((6, true)));
    }
}

#[tokio::test]
async fn where_the_python_app_stopped_is_what_the_configuration_said_before_our_first_rows() {
    let (fake, shared) = serve(metadata()).await;
    let stopped = async |before: Timestamp| {
        catalog(&fake).stopped_before("DeviceEvents", "Device Events", before, soon()).await.unwrap()
    };
    assert_eq!(stopped(Timestamp::MAX).await, None);
    configure(&shared, "DeviceEvents", "datetime(2026-04-01)", "Incremental", true, "x");
    configure(&shared, "DeviceEvents", "datetime(2026-04-02)", "Incremental", true, "x");
    let high = |stopped: Option<Stopped>| stopped.map(|stopped| stopped.high_watermark);
    assert_eq!(high(stopped(Timestamp::MAX).await), Some(at("2026-04-02T00:00:00Z")));
    // An append arrives a tick after the one before.
    let second = Timestamp::from_ticks(at("2026-04-14T00:00:00Z").ticks() + 2);
    assert_eq!(high(stopped(second).await), Some(at("2026-04-01T00:00:00Z")), "what was said later is ours");
    assert_eq!(stopped(second.before()).await, None);
}

#[tokio::test]
async fn of_ledgers_that_claim_at_once_all_read_the_same_winner_and_an_adoption_takes_it_over() {
    let (fake, _) = serve(metadata()).await;
    let catalog = catalog(&fake);
    let entry = |ledger_id| LedgerEntry { ledger_id, ..ENTRY };
    let entries = ["c1", "b2", "a3"].map(entry);
    let claim = |at: usize| catalog.claim_ledger(&entries[at], soon());
    let claims = tokio::join!(claim(0), claim(1), claim(2));
    let owners = [claims.0.unwrap(), claims.1.unwrap(), claims.2.unwrap()];
    let mut ours = 0;
    let owners = owners.map(|claim| match claim {
        Claim::Ours(owner) => {
            ours += 1;
            owner.ledger_id
        }
        Claim::Other(owner) => owner.ledger_id,
    });
    assert_eq!((ours, &owners[1], &owners[2]), (1, &owners[0], &owners[0]));
    // Nothing was proved before it, and still the destination is its own.
    catalog.record_verified(&entry("d4"), Timestamp::MIN, soon()).await.unwrap();
    let owner = catalog.ledger_owner(ENTRY.source, ENTRY.destination, soon()).await.unwrap();
    assert_eq!(owner.map(|owner| owner.ledger_id).as_deref(), Some("d4"));
}
