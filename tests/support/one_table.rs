//! One table in the middle of a run, as its ledger has it, and the services around it, for tests that call a function of the app.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::wiring::wired;
use adxingestor::adx::RandomIds;
use adxingestor::app::App;
use adxingestor::config::Settings;
use adxingestor::orchestration::ids::{InstanceId, LedgerId, Part, TableKey, WindowId};
use adxingestor::orchestration::instance::{Instance, LoadType, RuntimeStatus, StartInput, TableConfig, TableRun};
use adxingestor::orchestration::ledger::{ChunkIdPlace, CutAxis, Head, PartedBy, RowFormat, Shape, TableState};
use adxingestor::outbound::{Outbound, TrustedHosts};
use adxingestor::random::SystemRandom;
use adxingestor::storage::memory;
use adxingestor::timestamp::{SystemClock, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

const TABLE: &str = "DeviceEvents";

/// The id of the run.
pub fn id() -> InstanceId {
    InstanceId::from_bits(1)
}

/// The key of the table.
pub fn key() -> TableKey {
    TableKey::new("t", TABLE, "c", "db", TABLE)
}

/// The run, which has not begun.
pub fn pending(now: Timestamp) -> Instance {
    Instance::pending(id(), StartInput::default(), Value::Null, now)
}

/// The run in the middle, and the table in it.
pub fn running(now: Timestamp) -> (Instance, TableRun) {
    let config = TableConfig {
        source: TABLE.into(),
        folder: "f".into(),
        destination: TABLE.into(),
        watermark_column: "Timestamp".into(),
        load_type: Some(LoadType::Incremental),
        last_refreshed: None,
        high_watermark: None,
    };
    let table = TableRun {
        key: key(),
        ordinal: 0,
        config,
        high: now,
        started: true,
        result: None,
        owed: Vec::new(),
        auditor: None,
    };
    (Instance { status: RuntimeStatus::Running, tables_total: 1, ..pending(now) }, table)
}

/// The head of its ledger, whose plan stands.
pub fn head(row_format: RowFormat, now: Timestamp) -> Head {
    let mut head = Head::new(LedgerId(1), TABLE, TABLE, "Timestamp", now);
    (head.state, head.run, head.plan) = (TableState::Running, Some(id()), Some("p".into()));
    head.shape = Some(Shape {
        axis: CutAxis::ArrivalTime,
        row_format,
        chunk_id: ChunkIdPlace::Column,
        parts: PartedBy { columns: vec!["DeviceId".into()], ..PartedBy::default() },
        parting: 0,
        narrower: Vec::new(),
        handover: None,
    });
    head
}

/// The window of the ticks behind `low` up to `high`.
pub fn window(low: u64, high: u64) -> WindowId {
    let [low, high] = [low, high].map(Timestamp::from_ticks);
    WindowId { ledger: LedgerId(1), low, high, part: Part::WHOLE, generation: 0, repair: 0 }
}

/// The settings of an app whose services are all at one address.
pub fn settings(url: &str, more: &[(&str, String)]) -> Settings {
    let lookup = |name: &str| match name {
        "ADX_CLUSTER_URI" | "ADX_INGEST_URI" => Some(url.to_owned()),
        "DEFENDER_HUNTING_API_URL" => Some(format!("{url}/v1.0/security/runHuntingQuery")),
        "ADX_DATABASE" => Some("db".to_owned()),
        "TRUSTED_HOSTS" => Some("127.0.0.1".to_owned()),
        _ => more.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()),
    };
    Settings::parse(&lookup).unwrap()
}

/// The app of `settings` with an empty store.
pub fn app(settings: Settings, outbound: impl FnOnce(TrustedHosts) -> Outbound) -> App {
    let outbound = outbound(TrustedHosts::new(settings.trusted_hosts.clone()));
    wired(settings, memory(Arc::new(SystemClock)), outbound, Arc::new(SystemRandom), Arc::new(RandomIds))
}

/// The status and the body with which ADX and its storage at `url` answer a request, as far as posting a window goes; what is
/// asked begins with the method.
pub fn answer(url: &str, asked: &str) -> (u16, Value) {
    let table = |columns: [&str; 2], rows: Value| {
        let columns = columns.map(|name| json!({"ColumnName": name, "DataType": "String"}));
        json!({"Tables": [{"TableName": "Table_0", "Columns": columns, "Rows": rows}]})
    };
    if asked.contains(".get ingestion resources") {
        let rows = json!([
            ["TempStorage", format!("{url}/container?sig=x")],
            ["SecuredReadyForAggregationQueue", format!("{url}/queue?sig=x")]
        ]);
        (200, table(["ResourceTypeName", "StorageRoot"], rows))
    } else if asked.contains(".get kusto identity token") {
        (200, table(["AuthorizationContext", "Other"], json!([["identity", ""]])))
    } else if asked.starts_with("PUT ") || asked.starts_with("POST /queue") {
        (201, Value::Null)
    } else if asked.starts_with("HEAD ") {
        // Its signatures let nobody read.
        (403, Value::Null)
    } else {
        (404, json!({}))
    }
}
