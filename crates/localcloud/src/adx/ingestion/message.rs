//! The message that asks for one blob to be ingested (dataexplorer-docs `api/netfx/kusto-ingest-client-rest.md`),
//! read field by field.

use super::failure::Failure;
use super::report::Reporting;
use super::rows::Format;
use crate::source::ticks;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value as Json};
use uuid::Uuid;

/// Where the mapping comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MappingSource {
    Identity,
    Inline(String),
    Reference(String),
}

/// A valid message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub blob: String,
    pub database: String,
    pub table: String,
    pub retain_blob: bool,
    pub format: Format,
    pub mapping: MappingSource,
    pub tags: Vec<String>,
    pub if_not_exists: Vec<String>,
    pub created: Option<i64>,
    pub ignore_first_record: bool,
    pub reporting: Reporting,
}

/// A message that is not valid, and what is known of it all the same.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid {
    pub failure: Failure,
    /// Empty as far as it is not known.
    pub reporting: Reporting,
}

/// Reads the text of a queue's message. `token` is the identity token that it has to carry.
pub(super) fn read(text: &str, token: &str) -> Result<Message, Box<Invalid>> {
    let corrupted = |what: String| {
        let failure = Failure::permanent("BadRequest_CorruptedMessage", what);
        Box::new(Invalid { failure, reporting: Reporting::default() })
    };
    let bytes = BASE64.decode(text.trim()).map_err(|error| corrupted(format!("The message is no base64: {error}")))?;
    let fields: Map<String, Json> =
        serde_json::from_slice(&bytes).map_err(|error| corrupted(format!("The message is no JSON: {error}")))?;
    let reporting = source(&fields)
        .and_then(|source| Reporting::read(&fields, source))
        .map_err(|failure| Box::new(Invalid { failure, reporting: Reporting::default() }))?;
    checked(&fields, token, reporting.clone()).map_err(|failure| Box::new(Invalid { failure, reporting }))
}

fn malformed(what: impl Into<String>) -> Failure {
    Failure::permanent("BadRequest_MalformedIngestionProperty", what)
}

/// What the client calls its ingestion.
fn source(fields: &Map<String, Json>) -> Result<Uuid, Failure> {
    let id = text(fields, "Id")?.unwrap_or_default();
    Uuid::parse_str(id).map_err(|_| malformed(format!("Id '{id}' is no GUID.")))
}

fn checked(fields: &Map<String, Json>, token: &str, reporting: Reporting) -> Result<Message, Failure> {
    let needed = |name: &str, code: &'static str| match text(fields, name)? {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(Failure::permanent(code, format!("{name} is missing or empty."))),
    };
    let blob = needed("BlobPath", "BadRequest_EmptyBlobUri")?;
    let database = needed("DatabaseName", "BadRequest_EmptyDatabaseName")?;
    let table = needed("TableName", "BadRequest_InvalidOrEmptyTableName")?;
    if fields.get("RawDataSize").is_some_and(|size| !size.is_null() && size.as_u64().is_none()) {
        return Err(malformed("RawDataSize is no number of bytes."));
    }
    let nothing = Map::new();
    let properties = match fields.get("AdditionalProperties") {
        None | Some(Json::Null) => &nothing,
        Some(Json::Object(properties)) => properties,
        Some(_) => return Err(malformed("AdditionalProperties is no object.")),
    };
    if text(properties, "authorizationContext")? != Some(token) {
        let what = "authorizationContext is not the identity token of this cluster.";
        return Err(Failure::permanent("BadRequest_InvalidKustoIdentityToken", what));
    }
    let format = text(properties, "format")?.unwrap_or("csv");
    let unsupported = || Failure::permanent("BadRequest_FormatNotSupported", format!("Format '{format}'."));
    let format = Format::from_name(format).ok_or_else(unsupported)?;
    let created = match text(properties, "creationTime")? {
        None => None,
        Some(at) => Some(ticks::parse(at).ok_or_else(|| malformed(format!("creationTime '{at}' is no datetime.")))?),
    };
    Ok(Message {
        blob,
        database,
        table,
        retain_blob: flag(fields, "RetainBlobOnSuccess")?,
        format,
        mapping: mapping(properties, format)?,
        tags: list(properties, "tags")?,
        if_not_exists: list(properties, "ingestIfNotExists")?,
        created,
        ignore_first_record: flag(properties, "ignoreFirstRecord")?,
        reporting,
    })
}

fn mapping(properties: &Map<String, Json>, format: Format) -> Result<MappingSource, Failure> {
    let inline = text(properties, "ingestionMapping")?.filter(|text| !text.is_empty());
    let reference = text(properties, "ingestionMappingReference")?.filter(|name| !name.is_empty());
    let wanted = format.mapping_kind().name();
    if let Some(kind) = text(properties, "ingestionMappingType")?.filter(|kind| !kind.eq_ignore_ascii_case(wanted)) {
        let what = format!("A mapping of kind '{kind}' does not serve this format.");
        return Err(Failure::permanent("BadRequest_InvalidMapping", what));
    }
    match (inline, reference) {
        (None, None) => Ok(MappingSource::Identity),
        (Some(text), None) => Ok(MappingSource::Inline(text.to_owned())),
        (None, Some(name)) => Ok(MappingSource::Reference(name.to_owned())),
        (Some(_), Some(_)) => {
            let what = "Both ingestionMapping and ingestionMappingReference are given.";
            Err(Failure::permanent("BadRequest_DuplicateMapping", what))
        }
    }
}

fn text<'f>(fields: &'f Map<String, Json>, name: &str) -> Result<Option<&'f str>, Failure> {
    match fields.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(_) => Err(malformed(format!("{name} is no string."))),
    }
}

/// A bool, or one as text as some clients write it.
fn flag(fields: &Map<String, Json>, name: &str) -> Result<bool, Failure> {
    match fields.get(name) {
        None | Some(Json::Null) => Ok(false),
        Some(Json::Bool(flag)) => Ok(*flag),
        Some(Json::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Json::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(malformed(format!("{name} is no bool."))),
    }
}

/// A list as text.
fn list(properties: &Map<String, Json>, name: &str) -> Result<Vec<String>, Failure> {
    match text(properties, name)? {
        None | Some("") => Ok(Vec::new()),
        Some(text) => serde_json::from_str(text)
            .map_err(|_| malformed(format!("{name} is no string that holds a JSON array of strings."))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn valid() -> Json {
        json!({
            "Id": "7b6c5bf4-6b61-4d3f-9d53-2a5a0b1c4f4e",
            "BlobPath": "http://host/storage/c/b.multijson.gz?sig=1",
            "RawDataSize": 10,
            "DatabaseName": "D",
            "TableName": "T",
            "RetainBlobOnSuccess": true,
            "AdditionalProperties": {
                "authorizationContext": "token",
                "format": "multijson",
                "ingestionMapping": "[]",
                "ingestionMappingType": "Json",
                "tags": "[\"ingest-by:a\"]",
                "ingestIfNotExists": "[\"a\"]",
                "creationTime": "2026-01-01T00:00:00Z",
            },
        })
    }

    fn code(pointer: &str, value: Json) -> String {
        let mut message = valid();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        message.pointer_mut(parent).unwrap()[name] = value;
        read(&BASE64.encode(message.to_string()), "token").unwrap_err().failure.code.to_owned()
    }

    #[test]
    fn a_message_is_read() {
        let message = read(&BASE64.encode(valid().to_string()), "token").unwrap();
        assert_eq!(message.tags, ["ingest-by:a"]);
        assert_eq!(message.if_not_exists, ["a"]);
        assert_eq!(message.mapping, MappingSource::Inline("[]".into()));
        assert!(message.retain_blob && message.created.is_some());
    }

    #[test]
    fn each_wrong_field_has_its_code() {
        let malformed = "BadRequest_MalformedIngestionProperty";
        for (pointer, value, expected) in [
            ("/Id", json!("x"), malformed),
            ("/BlobPath", json!(""), "BadRequest_EmptyBlobUri"),
            ("/DatabaseName", json!(null), "BadRequest_EmptyDatabaseName"),
            ("/TableName", json!(""), "BadRequest_InvalidOrEmptyTableName"),
            ("/RawDataSize", json!("10"), malformed),
            ("/ReportLevel", json!(3), malformed),
            ("/ReportMethod", json!("Table"), malformed),
            ("/IngestionStatusInTable", json!("row"), malformed),
            ("/AdditionalProperties", json!(null), "BadRequest_InvalidKustoIdentityToken"),
            ("/AdditionalProperties/authorizationContext", json!("other"), "BadRequest_InvalidKustoIdentityToken"),
            ("/AdditionalProperties/format", json!("parquet"), "BadRequest_FormatNotSupported"),
            ("/AdditionalProperties/ingestionMapping", json!([]), malformed),
            ("/AdditionalProperties/ingestionMappingReference", json!("m"), "BadRequest_DuplicateMapping"),
            ("/AdditionalProperties/ingestionMappingType", json!("Csv"), "BadRequest_InvalidMapping"),
            ("/AdditionalProperties/tags", json!(["ingest-by:a"]), malformed),
            ("/AdditionalProperties/ingestIfNotExists", json!("a"), malformed),
            ("/AdditionalProperties/creationTime", json!("soon"), malformed),
        ] {
            assert_eq!(code(pointer, value.clone()), expected, "{pointer} = {value}");
        }
        assert_eq!(read("!", "token").unwrap_err().failure.code, "BadRequest_CorruptedMessage");
        assert_eq!(read(&BASE64.encode("x"), "token").unwrap_err().failure.code, "BadRequest_CorruptedMessage");
    }
}
