//! The operations on the status table that clients of ingestion do: insert a row, and read one or all. What the Table
//! service has besides, filters among it, is refused.

use super::STATUS_TABLE;
use super::door::{Call, decoded, put_header, status};
use super::entities::Entity;
use super::refusal::Refusal;
use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use axum::response::Response;
use serde_json::{Map, Value as Json, json};

/// The most bytes of a row (Azure Table Storage).
const ROW_CAP: usize = 1024 * 1024;

impl Call<'_> {
    /// `/table/<name>`, `/table/<name>()`, `/table/<name>(PartitionKey='…',RowKey='…')`
    pub(super) async fn entity(&self, body: &mut Option<Body>) -> Result<Response, Refusal> {
        let path = decoded(self.path).ok_or(Refusal::INVALID_INPUT)?;
        let (table, keys) = path.split_once('(').unwrap_or((path.as_str(), ")"));
        let permission = match self.method {
            Method::POST => 'a',
            Method::GET => 'r',
            _ => return Err(Refusal::NOT_IMPLEMENTED),
        };
        self.storage.check(table, self.query, permission)?;
        if table != STATUS_TABLE {
            return Err(Refusal::TABLE_NOT_FOUND);
        }
        let keys = keys.strip_suffix(')').ok_or(Refusal::INVALID_INPUT)?;
        let entities = &self.storage.entities;
        match (&self.method, keys) {
            (&Method::POST, "") => {
                let text = self.text(body, ROW_CAP).await?;
                let properties = serde_json::from_slice(&text).map_err(|_| Refusal::INVALID_INPUT)?;
                let entity = entities.insert(properties, self.storage.clock.now())?;
                if self.header("prefer") == Some("return-no-content") {
                    let mut response = status(StatusCode::NO_CONTENT, Body::empty());
                    put_header(response.headers_mut(), header::ETAG, &entity.etag);
                    return Ok(response);
                }
                Ok(self.told(StatusCode::CREATED, &self.shown(&entity).into(), Some(&entity)))
            }
            (&Method::POST, _) => Err(Refusal::NOT_IMPLEMENTED),
            (_, "") => {
                if ["$filter", "$select", "$top"].iter().any(|option| self.given(option).is_some()) {
                    return Err(Refusal::NOT_IMPLEMENTED);
                }
                let all: Vec<Json> = entities.all().iter().map(|entity| self.shown(entity).into()).collect();
                Ok(self.told(StatusCode::OK, &json!({ "value": all }), None))
            }
            (_, keys) => {
                let (partition, row) = keys_of(keys).ok_or(Refusal::INVALID_INPUT)?;
                let entity = entities.get(&partition, &row).ok_or(Refusal::ENTITY_NOT_FOUND)?;
                Ok(self.told(StatusCode::OK, &self.shown(&entity).into(), Some(&entity)))
            }
        }
    }

    /// A row with the types of its values, unless the client wants it without.
    fn shown(&self, entity: &Entity) -> Map<String, Json> {
        let plain = self.is_plain();
        let kept = entity.properties.iter().filter(|(name, _)| !plain || !name.ends_with("@odata.type"));
        let mut properties: Map<String, Json> = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        if !plain {
            properties.insert("odata.etag".to_owned(), entity.etag.clone().into());
        }
        properties
    }

    fn told(&self, code: StatusCode, body: &Json, entity: Option<&Entity>) -> Response {
        let mut response = status(code, Body::from(body.to_string()));
        let kind = if self.is_plain() { "nometadata" } else { "minimalmetadata" };
        let headers = response.headers_mut();
        put_header(
            headers,
            header::CONTENT_TYPE,
            &format!("application/json;odata={kind};streaming=true;charset=utf-8"),
        );
        if let Some(entity) = entity {
            put_header(headers, header::ETAG, &entity.etag);
        }
        response
    }

    fn is_plain(&self) -> bool {
        self.header("accept").is_some_and(|accept| accept.contains("odata=nometadata"))
    }
}

/// `PartitionKey='…',RowKey='…'`, with doubled quotes inside.
fn keys_of(text: &str) -> Option<(String, String)> {
    let inside = text.strip_prefix("PartitionKey='")?.strip_suffix('\'')?;
    let (partition, row) = inside.split_once("',RowKey='")?;
    Some((partition.replace("''", "'"), row.replace("''", "'")))
}
