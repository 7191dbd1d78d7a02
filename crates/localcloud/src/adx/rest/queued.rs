//! Queued ingestion over REST: what is lent, the submission of blobs, and how an operation is (dataexplorer-docs
//! `management/data-ingestion/queued-ingest-configuration-http.md`, `…-use-http.md`, `…-status-http.md`). A submission goes the
//! way of a queue's messages from here.

use super::{Adx, Kind};
use crate::adx::commands::Error;
use crate::adx::ingestion::{Source, State, Tracked};
use crate::adx::storage::without_query;
use crate::faults::Area;
use crate::source::ticks;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State as Shared};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

const MOST_BLOBS: usize = 20;
const MOST_BYTES: u64 = 6_442_450_944;

/// Whether a cluster has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueuedRest {
    /// It does not know these addresses.
    Absent,
    /// It has it and prefers the queues.
    #[default]
    Offered,
    /// It has it and prefers it.
    Preferred,
    /// Its configuration prefers it, and requests by it are answered as to an address that it does not know.
    Announced,
}

type Answer = Result<Vec<Bytes>, Error>;

/// The routes of data management.
pub(super) fn router() -> Router<Arc<Adx>> {
    const QUEUED: &str = "/v1/rest/ingestion/queued/{database}/{table}";
    let configuration = |Shared(adx): Shared<Arc<Adx>>, headers: HeaderMap| async move {
        adx.serve(Area::Commands, headers, Body::empty(), |adx, _| configuration(adx)).await
    };
    Router::new()
        .route("/v1/rest/ingestion/configuration", get(configuration))
        .route(QUEUED, post(submit))
        .route(&format!("{QUEUED}/{{operation}}"), get(status))
}

async fn submit(
    Shared(adx): Shared<Arc<Adx>>,
    Path((database, table)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    adx.serve(Area::Commands, headers, body, move |adx, body| submitted(adx, &database, &table, &body)).await
}

async fn status(
    Shared(adx): Shared<Arc<Adx>>,
    Path((database, table, id)): Path<(String, String, String)>,
    Query(url): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let details = url.get("details").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let told = move |adx: &Adx, _| {
        offered(adx)?;
        let found = adx.database.queued().get(&id);
        let found = found.filter(|found| found.table == table && found.database.eq_ignore_ascii_case(&database));
        Ok(written(&told(&found.ok_or_else(|| Error::unknown(&format!("operation '{id}'")))?, details)))
    };
    adx.serve(Area::Commands, headers, Body::empty(), told).await
}

fn written(body: &Json) -> Vec<Bytes> {
    vec![Bytes::from(body.to_string())]
}

/// A cluster without it answers as to any address that it does not know.
fn told_of(adx: &Adx) -> Result<(), Error> {
    if adx.queued_rest == QueuedRest::Absent || adx.kind == Kind::Emulator {
        Err(Error::unknown("address"))
    } else {
        Ok(())
    }
}

/// Whether it is there, and not only told of.
fn offered(adx: &Adx) -> Result<(), Error> {
    if adx.queued_rest == QueuedRest::Announced {
        return Err(Error::unknown("address"));
    }
    told_of(adx)
}

fn configuration(adx: &Adx) -> Answer {
    told_of(adx)?;
    let lent = adx.resources.get().map_or_else(Vec::new, |provider| provider.resources());
    let containers = lent.into_iter().filter(|(kind, _)| kind == "TempStorage");
    let lake = adx.kind == Kind::Lake;
    let containers: Vec<Json> = containers.filter(|_| !lake).map(|(_, root)| json!({ "path": root })).collect();
    let folder = "https://onelake.dfs.fabric.microsoft.com/workspace/item/Ingestions/folder";
    let lake_folders = if lake { vec![json!({ "path": folder })] } else { Vec::new() };
    let preferred = !matches!(adx.queued_rest, QueuedRest::Absent | QueuedRest::Offered) || adx.kind.is_fabric();
    let method = if preferred { "REST" } else { "Legacy" };
    Ok(written(&json!({
        "containerSettings": {
            "containers": containers,
            "lakeFolders": lake_folders,
            "refreshInterval": "01:00:00",
            "preferredUploadMethod": if lake { "Lake" } else { "Storage" },
        },
        "ingestionSettings": {
            "maxBlobsPerBatch": MOST_BLOBS,
            "maxDataSize": MOST_BYTES,
            "preferredIngestionMethod": method,
        },
    })))
}

#[derive(Deserialize)]
struct Submission {
    blobs: Vec<Blob>,
    properties: Properties,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Blob {
    url: String,
    source_id: Option<String>,
    raw_size: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    format: String,
    #[serde(default)]
    enable_tracking: bool,
    #[serde(default)]
    skip_batching: bool,
    #[serde(default)]
    delete_after_download: bool,
    #[serde(default)]
    ignore_first_record: bool,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    ingest_if_not_exists: Vec<String>,
    ingestion_mapping: Option<String>,
    ingestion_mapping_reference: Option<String>,
    creation_time: Option<String>,
}

/// What may be in a submission, in one of its blobs, and among its properties (dataexplorer-docs
/// `management/data-ingestion/queued-ingest-use-http.md`).
const MEMBERS: [&str; 3] = ["blobs", "properties", "timestamp"];
const OF_A_BLOB: [&str; 3] = ["url", "sourceId", "rawSize"];
const PROPERTIES: [&str; 16] = [
    "format",
    "enableTracking",
    "tags",
    "ingestIfNotExists",
    "skipBatching",
    "deleteAfterDownload",
    "ingestionMappingReference",
    "ingestionMapping",
    "validationPolicy",
    "ignoreSizeLimit",
    "ignoreFirstRecord",
    "ignoreLastRecordIfInvalid",
    "creationTime",
    "zipPattern",
    "extend_schema",
    "recreate_schema",
];

/// The first name in a submission that the service does not know.
fn unknown_name(body: &Json) -> Option<String> {
    let strange = |object: &Json, known: &[&str]| {
        let mut names = object.as_object()?.keys();
        names.find(|name| !known.contains(&name.as_str())).cloned()
    };
    let blobs = body["blobs"].as_array().map_or(&[][..], Vec::as_slice);
    strange(body, &MEMBERS)
        .or_else(|| strange(&body["properties"], &PROPERTIES))
        .or_else(|| blobs.iter().find_map(|blob| strange(blob, &OF_A_BLOB)))
}

fn submitted(adx: &Adx, database: &str, table: &str, body: &[u8]) -> Answer {
    offered(adx)?;
    adx.check_database(database)?;
    let invalid = |what: &str| Error::bad_request(format!("The ingestion request is not valid: {what}."));
    let provider = adx.resources.get().ok_or_else(|| Error::unknown("address"))?;
    let unread = |error: serde_json::Error| invalid(&error.to_string());
    let body: Json = serde_json::from_slice(body).map_err(unread)?;
    if let Some(name) = unknown_name(&body) {
        return Err(invalid(&format!("'{name}' is not known")));
    }
    let Submission { blobs, properties } = serde_json::from_value(body).map_err(unread)?;
    if blobs.is_empty() || blobs.len() > MOST_BLOBS {
        return Err(invalid(&format!("it has {} blobs and may have 1 to {MOST_BLOBS}", blobs.len())));
    }
    if blobs.iter().map(|blob| &blob.url).collect::<BTreeSet<_>>().len() < blobs.len() {
        return Err(invalid("a blob is there twice"));
    }
    let mut ids = Vec::with_capacity(blobs.len());
    for blob in &blobs {
        let id = blob.source_id.as_deref().map_or(Ok(Uuid::new_v4()), Uuid::parse_str);
        ids.push(id.map_err(|_| invalid("a sourceId is no GUID"))?);
    }
    let operation = properties.enable_tracking.then(|| {
        let started = adx.database.now();
        let source = |(id, blob): (&Uuid, &Blob)| Source {
            id: *id,
            address: without_query(&blob.url).to_owned(),
            state: State::InProgress,
            updated: started,
        };
        let sources = ids.iter().zip(&blobs).map(source).collect();
        adx.database.queued().begin(Tracked {
            database: database.to_owned(),
            table: table.to_owned(),
            started,
            sources,
        })
    });
    let additional = properties.additional(&provider.identity_token());
    for (id, blob) in ids.iter().zip(&blobs) {
        let message = json!({
            "Id": id.to_string(),
            "BlobPath": blob.url,
            "RawDataSize": blob.raw_size,
            "DatabaseName": database,
            "TableName": table,
            "RetainBlobOnSuccess": !properties.delete_after_download,
            "FlushImmediately": properties.skip_batching,
            "ReportLevel": 1,
            "IngestionOperationId": operation,
            "AdditionalProperties": additional,
        });
        provider.post(BASE64.encode(message.to_string()));
    }
    Ok(written(&json!({ "ingestionOperationId": operation.unwrap_or_default() })))
}

impl Properties {
    /// As a queue's message carries them: lists as text.
    fn additional(&self, token: &str) -> Map<String, Json> {
        let mut additional = Map::new();
        let mut set = |name: &str, value: Json| additional.insert(name.to_owned(), value);
        set("authorizationContext", token.into());
        set("format", self.format.as_str().into());
        set("ignoreFirstRecord", self.ignore_first_record.into());
        set("tags", json!(self.tags).to_string().into());
        set("ingestIfNotExists", json!(self.ingest_if_not_exists).to_string().into());
        for (name, value) in [
            ("ingestionMapping", &self.ingestion_mapping),
            ("ingestionMappingReference", &self.ingestion_mapping_reference),
            ("creationTime", &self.creation_time),
        ] {
            set(name, value.as_deref().into());
        }
        additional
    }
}

fn told(found: &Tracked, with_details: bool) -> Json {
    let count = |wanted: &str| found.sources.iter().filter(|source| name(&source.state) == wanted).count();
    let updated = found.sources.iter().map(|source| source.updated).max().unwrap_or(found.started);
    let mut body = json!({
        "startTime": ticks::format(found.started),
        "lastUpdated": ticks::format(updated),
        "status": {
            "Succeeded": count("Succeeded"),
            "Failed": count("Failed"),
            "InProgress": count("InProgress"),
            "Canceled": 0,
        },
    });
    if with_details {
        let detail = |source: &Source| {
            let (code, kind, details) = match &source.state {
                State::Failed { code, kind, details } => (Some(*code), Some(*kind), Some(details.as_str())),
                State::InProgress | State::Succeeded => (None, None, None),
            };
            json!({
                "sourceId": source.id.to_string(),
                "url": source.address,
                "status": name(&source.state),
                "startTime": ticks::format(found.started),
                "lastUpdated": ticks::format(source.updated),
                "errorCode": code,
                "failureStatus": kind,
                "details": details,
            })
        };
        body["details"] = found.sources.iter().map(detail).collect();
    }
    body
}

fn name(state: &State) -> &'static str {
    match state {
        State::InProgress => "InProgress",
        State::Succeeded => "Succeeded",
        State::Failed { .. } => "Failed",
    }
}
