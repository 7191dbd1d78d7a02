//! Streaming ingestion: the rows of one request's body, or of a lent blob that it names, are in their table when the answer
//! comes (dataexplorer-docs `api/rest/streaming-ingest.md`). It knows no tags, so what comes twice lands twice.

use super::result::Outcome;
use super::{Adx, v1};
use crate::adx::commands::{Error, ResultTable};
use crate::adx::database::{Entry, MappingKind};
use crate::adx::ingestion::rows::{self, Format};
use crate::adx::ingestion::{Mapping, Missing, mapping_for};
use crate::faults::Area;
use crate::kql::{Type, Value};
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

/// The most bytes of a payload, as it comes and unpacked (dataexplorer-docs `ingest-data-streaming.md`). The lower limit
/// of about 4 MB on what the engine makes of the data is not told exactly, and not kept here.
const PAYLOAD_CAP: usize = 10 * 1024 * 1024;

type Url = BTreeMap<String, String>;

/// What is to be ingested, and where.
struct Order {
    database: String,
    table: String,
    url: Url,
    packed: bool,
    body: Bytes,
}

/// `POST /v1/rest/ingest/<database>/<table>`
pub(super) async fn ingest(
    State(adx): State<Arc<Adx>>,
    Path((database, table)): Path<(String, String)>,
    Query(url): Query<Url>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let packed = headers.get("content-encoding").is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"gzip"));
    let work = move |adx: &Adx, body| {
        let ResultTable { columns, rows } = consumed(adx.land(&Order { database, table, url, packed, body })?);
        Ok(v1::command(&Outcome { columns, rows, problem: None, cached: None }))
    };
    adx.serve(Area::Streaming, headers, body, work).await
}

impl Adx {
    /// The number of rows that landed. Blocking.
    fn land(&self, order: &Order) -> Result<usize, Error> {
        self.check_database(&order.database)?;
        if order.body.len() > PAYLOAD_CAP {
            return Err(Error::payload_too_large(PAYLOAD_CAP));
        }
        let mapping = {
            let content = self.database.read();
            let entry = content.tables.get(&order.table).ok_or_else(|| Error::not_found("Table", &order.table))?;
            order.mapping(entry)?
        };
        let mut landing = Vec::new();
        let mut take = |record| {
            landing.push(mapping.row(record));
            Ok(())
        };
        let data = BufReader::new(order.data(self)?.take(PAYLOAD_CAP as u64 + 1));
        let mut counted = Counted { inner: data, bytes: 0 };
        let read = rows::read(order.format()?, &mut counted, &mut take);
        if counted.bytes > PAYLOAD_CAP {
            return Err(Error::payload_too_large(PAYLOAD_CAP));
        }
        read.map_err(|error| order.bad("BadRequest_InvalidBlob", error))?;
        if landing.is_empty() {
            let what = "The input stream is empty after processing, tip:check stream validity";
            return Err(order.bad("BadRequest_NoRecordsOrWrongFormat", what));
        }
        let landed = landing.len();
        let info = self.database.append(&mut self.database.write(), &order.table, landing, Vec::new())?;
        info.ok_or_else(|| Error::not_found("Table", &order.table))?;
        Ok(landed)
    }
}

impl Order {
    fn bad(&self, code: &'static str, detail: impl std::fmt::Display) -> Error {
        Error::streaming(code, (&self.database, &self.table), detail)
    }

    fn format(&self) -> Result<Format, Error> {
        let name = self.url.get("streamFormat").map_or("csv", String::as_str);
        let unknown =
            || self.bad("BadRequest_FormatNotSupported", format_args!("The format '{name}' is not supported"));
        Format::from_name(name).ok_or_else(unknown)
    }

    /// Whether the table takes streams at all, and how it reads them.
    fn mapping(&self, entry: &Entry) -> Result<Mapping, Error> {
        let policy = entry.policies.get("streamingingestion").and_then(|text| serde_json::from_str::<Json>(text).ok());
        if policy.is_none_or(|policy| policy["IsEnabled"] != true) {
            let what = "Streaming ingestion policy is not enabled for the table";
            return Err(self.bad("BadRequest_StreamingIngestionPolicyNotEnabled", what));
        }
        let format = self.format()?;
        let name = self.url.get("mappingName").map(String::as_str);
        if name.is_none() && format.mapping_kind() == MappingKind::Json {
            return Err(self.bad("BadRequest_InvalidMappingReference", "JSON needs the name of a mapping"));
        }
        mapping_for(entry, format, None, name).map_err(|missing| match missing {
            Missing::Invalid(failure) => self.bad(failure.code, failure.details),
            Missing::Reference(name) => {
                let what = format!("Mapping reference '{name}' was not found");
                self.bad("BadRequest_MappingReferenceWasNotFound", what)
            }
        })
    }

    /// The data, unpacked as it is read.
    fn data<'o>(&'o self, adx: &Adx) -> Result<Box<dyn Read + 'o>, Error> {
        if self.url.get("sourceKind").is_some_and(|kind| kind.eq_ignore_ascii_case("uri")) {
            let named: Json = serde_json::from_slice(&self.body).unwrap_or_default();
            let address = ["sourceUri", "SourceUri"].iter().find_map(|name| named[*name].as_str());
            let address = address.ok_or_else(|| Error::bad_request("The request names no blob in 'sourceUri'."))?;
            let provider = adx.resources.get().ok_or_else(|| Error::bad_request("This cluster lends no storage."))?;
            let opened = provider.open(address).map_err(|error| self.bad("Download_Forbidden", error))?;
            let mut content = BufReader::new(opened.content);
            let packed = content.fill_buf().is_ok_and(|start| start.starts_with(&[0x1f, 0x8b]));
            return Ok(if packed { Box::new(MultiGzDecoder::new(content)) } else { Box::new(content) });
        }
        let body: &'o [u8] = &self.body;
        Ok(if self.packed { Box::new(MultiGzDecoder::new(body)) } else { Box::new(body) })
    }
}

/// What the answer tells (azure-kusto-python `azure-kusto-ingest/tests/test_kusto_streaming_ingest_client.py`).
fn consumed(rows: usize) -> ResultTable {
    let columns = [
        ("ConsumedRecordsCount", Type::Long),
        ("UpdatePolicyStatus", Type::String),
        ("UpdatePolicyFailureCode", Type::String),
        ("UpdatePolicyFailureReason", Type::String),
    ];
    let count = i64::try_from(rows).unwrap_or(i64::MAX);
    let row = vec![Value::Long(count), Value::text("Inactive"), Value::text("Unknown"), Value::Null];
    ResultTable::new(&columns, vec![row])
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    bytes: usize,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes += count;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.bytes += amount;
        self.inner.consume(amount);
    }
}
