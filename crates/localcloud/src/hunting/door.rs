//! The HTTP side of a call: who asks, what for, whether the quota allows it, and the answer.

use super::Hunting;
use super::catalog::{Tenant, first_table};
use super::encode::Dialect;
use super::meter::Meter;
use super::page::{Page, Wire, evaluate};
use super::refusal::{Asked, Refusal};
use super::timespan::Timespan;
use crate::blocking::off_executor;
use crate::cloud::read_body;
use crate::entra::{GRAPH, MDE, XDR};
use crate::faults::{Area, Fault};
use crate::kql::Catalog;
use crate::source::{Dice, Snapshot, guid, ticks};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use axum::routing::{any, post};
use bytes::Bytes;
use serde_json::{Map, Value as Json};
use std::sync::Arc;
use std::time::{Duration, Instant};

const BODY_CAP_BYTES: usize = 1024 * 1024;
/// Graph's id among the resources of a tenant; tokens may name it instead of its address.
const GRAPH_APP_ID: &str = "00000003-0000-0000-c000-000000000000";
/// Beyond the run time of a query, how long to wait for a slot and for the engine to notice its deadline.
const GRACE: Duration = Duration::from_secs(60);
const UNKNOWN_PACK: &str =
    "'project' operator: Failed to resolve scalar expression named 'pack_all'. Fix semantic errors in your query.";
const UNKNOWN_XXHASH: &str = "'where' operator: Failed to resolve table or column expression named 'hash_xxhash64'. Fix semantic errors in your query.";
const NO_ARRIVAL_TIME: &str =
    "'where' operator: ingestion_time() cannot be asked of this source. Fix semantic errors in your query.";
const UNKNOWN_TIMESPAN: &str = "The property 'Timespan' is not known.";
const UNREADABLE: &str = "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON format.";

/// One of the three services behind the routes.
#[derive(Clone, Copy)]
struct Service {
    dialect: Dialect,
    audiences: &'static [&'static str],
}

const OF_GRAPH: Service = Service { dialect: Dialect::Graph, audiences: &[GRAPH, GRAPH_APP_ID] };
const OF_MDE: Service = Service { dialect: Dialect::Legacy, audiences: &[MDE] };
const OF_XDR: Service = Service { dialect: Dialect::Legacy, audiences: &[XDR] };

/// The routes of the hunting API.
pub fn router(hunting: Arc<Hunting>) -> Router {
    let of = |service: Service| {
        post(move |State(hunting): State<Arc<Hunting>>, headers: HeaderMap, body: Body| async move {
            hunting.call(service, &headers, body).await
        })
    };
    Router::new()
        .route("/v1.0/security/runHuntingQuery", of(OF_GRAPH))
        .route("/v1.0/security/microsoft.graph.security.runHuntingQuery", of(OF_GRAPH))
        .route("/api/advancedqueries/run", of(OF_MDE))
        .route("/api/advancedhunting/run", of(OF_XDR))
        .route("/v1.0/{*path}", any(unknown_path))
        .with_state(hunting)
}

async fn unknown_path(State(hunting): State<Arc<Hunting>>, Path(path): Path<String>, headers: HeaderMap) -> Response {
    let segment = path.rsplit('/').next().unwrap_or_default();
    let message = format!("Resource not found for the segment '{segment}'.");
    Refusal::Body(message).answer(&hunting.asked(OF_GRAPH, &headers, hunting.recorder.next_number()), false)
}

/// A query as the body asks for it.
struct Question {
    query: String,
    timespan: Option<Timespan>,
}

impl Hunting {
    async fn call(self: Arc<Self>, service: Service, headers: &HeaderMap, body: Body) -> Response {
        let now = self.clock.now();
        let number = self.recorder.next_number();
        // Rows come in no order that a caller could rely on.
        let tables = self.source.at(now).turned(number);
        let mut open = self.recorder.open(now, tables.clone());
        let asked = self.asked(service, headers, number);
        let planned = self.faults.roll(Area::Hunting);
        let body = read_body(body, BODY_CAP_BYTES).await.map_err(|error| Refusal::Body(error.to_string()));
        let query = body.as_ref().map(|body| query_text(body, service)).unwrap_or_default();
        let fault = self.faults.standing_for(Area::Hunting, &query).or(planned);
        let gzip = self.settings.gzip && accepts_gzip(headers) && fault.is_none_or(|fault| !fault.is_of_body());
        open.asks(query);
        let result = self.answer(service, headers, body, tables, fault, gzip).await;
        let (rows, result_bytes) = result.as_ref().map_or((0, 0), |page| (page.rows, page.result_bytes));
        let mut response = match result {
            Ok(page) => self.page_response(service, page, fault, gzip),
            Err(refusal) => refusal.answer(&asked, self.settings.retry_after),
        };
        open.answered(response.status().as_u16(), rows, result_bytes);
        for (name, id) in [("request-id", &asked.request_id), ("client-request-id", &asked.client_request_id)] {
            if let Ok(value) = HeaderValue::from_str(id) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    /// The answer's page. What is wrong with the body counts only after the caller is known.
    async fn answer(
        &self,
        service: Service,
        headers: &HeaderMap,
        body: Result<Bytes, Refusal>,
        tables: Snapshot,
        fault: Option<Fault>,
        gzip: bool,
    ) -> Result<Page, Refusal> {
        if let Some(fault) = fault.filter(|fault| !fault.is_of_body()) {
            return Err(Refusal::Fault(fault));
        }
        let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let claims = self.tokens.check(authorization, service.audiences).map_err(Refusal::Unauthenticated)?;
        // Roles are modelled at Graph only.
        if service.dialect == Dialect::Graph && !claims.roles.contains(&self.settings.required_role) {
            return Err(Refusal::Forbidden);
        }
        let mut question = question(&body?, headers, service, tables.now())?;
        if self.settings.refuse_pack && question.query.contains("pack_all") {
            return Err(Refusal::Query(UNKNOWN_PACK.to_owned()));
        }
        if let Some(words) = self.settings.refuse_words.iter().find(|words| question.query.contains(words.as_str())) {
            return Err(Refusal::Query(format!("A recognition error occurred. Unexpected: {words}")));
        }
        if self.settings.refuse_xxhash && question.query.contains("hash_xxhash64") {
            return Err(Refusal::Query(UNKNOWN_XXHASH.to_owned()));
        }
        let names_refused = |table: &String| first_table(&question.query, &tables).as_ref() == Some(table);
        if question.query.contains("ingestion_time()") && self.settings.refuse_arrival_time.iter().any(names_refused) {
            return Err(Refusal::Query(NO_ARRIVAL_TIME.to_owned()));
        }
        if self.settings.refuse_timespan && question.timespan.is_some() {
            return Err(Refusal::Body(UNKNOWN_TIMESPAN.to_owned()));
        }
        if service.dialect == Dialect::Graph && question.timespan.is_none() {
            question.timespan = self.settings.default_timespan.map(|span| Timespan::before(tables.now(), span));
        }
        if self.settings.all_times_hold_nulls && question.timespan.is_some_and(Timespan::holds_every_time) {
            question.timespan = None;
        }
        self.quota.enter(tables.now()).map_err(Refusal::Exhausted)?;
        let wire = Wire {
            dialect: service.dialect,
            gzip,
            renamed: fault == Some(Fault::OtherSchema),
            dynamic_as_text: self.settings.dynamic_as_text,
            schema_last: self.settings.schema_last,
        };
        self.evaluate(question, wire, tables).await
    }

    async fn evaluate(&self, question: Question, wire: Wire, tables: Snapshot) -> Result<Page, Refusal> {
        let limits = self.settings.limits.clone();
        let patience = limits.run_time + GRACE;
        let slots = self.slots.clone();
        let evaluation = async {
            // The semaphore is never closed; were it, the query could not run either.
            let slot = slots.acquire_owned().await.map_err(|_| Refusal::TimedOut)?;
            let work = move || {
                let _slot = slot;
                let started = Instant::now();
                let meter = Meter::new(limits.read);
                let catalog: Arc<dyn Catalog> =
                    Arc::new(Tenant { tables, timespan: question.timespan, meter: meter.clone() });
                (evaluate(&question.query, &catalog, wire, &limits, &meter), started.elapsed())
            };
            // A panic of the engine shows as the service's own failure.
            off_executor(work).await.map_err(|_| Refusal::Fault(Fault::Internal))
        };
        let (page, elapsed) = tokio::time::timeout(patience, evaluation).await.map_err(|_| Refusal::TimedOut)??;
        self.quota.charge(elapsed);
        page
    }

    fn page_response(&self, service: Service, page: Page, fault: Option<Fault>, gzip: bool) -> Response {
        let length: usize = page.chunks.iter().map(Bytes::len).sum();
        let mut response = Response::new(self.faults.body(page.chunks, fault));
        let kind = match service.dialect {
            _ if fault == Some(Fault::WrongType) => "application/xml",
            Dialect::Graph => {
                "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"
            }
            Dialect::Legacy => "application/json; charset=utf-8",
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        // A shortened body that announced its length would be a cut connection.
        let short = matches!(fault, Some(Fault::TruncatedBody | Fault::EmptyBody | Fault::Reset | Fault::EndlessBody));
        if self.settings.content_length && !short {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        response
    }

    fn asked(&self, service: Service, headers: &HeaderMap, number: u64) -> Asked {
        let request_id = guid(Dice::new(number).named("hunting request")).to_string();
        let client_request_id = headers.get("client-request-id").and_then(|id| id.to_str().ok());
        let mut date = ticks::format(self.clock.now());
        date.truncate(19);
        Asked {
            dialect: service.dialect,
            client_request_id: client_request_id.unwrap_or(&request_id).to_owned(),
            request_id,
            date,
        }
    }
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next() == Some("gzip") && parts.all(|part| part != "q=0")
    })
}

/// The query for the log, however wrong the rest of the call is.
fn query_text(body: &[u8], service: Service) -> String {
    let Ok(Json::Object(body)) = serde_json::from_slice(body) else { return String::new() };
    query_of(&body, service).unwrap_or_default().to_owned()
}

/// Graph takes the key in either case, the older endpoints only as documented.
fn query_of(body: &Map<String, Json>, service: Service) -> Option<&str> {
    let lower = || body.get("query").filter(|_| service.dialect == Dialect::Graph);
    body.get("Query").or_else(lower).and_then(Json::as_str)
}

fn question(body: &[u8], headers: &HeaderMap, service: Service, now: i64) -> Result<Question, Refusal> {
    let text = decoded(body, headers);
    let Ok(Json::Object(body)) = serde_json::from_str(&text) else { return Err(Refusal::Body(UNREADABLE.to_owned())) };
    let query = query_of(&body, service).filter(|query| !query.trim().is_empty());
    let query = query.ok_or_else(|| {
        Refusal::Body(match service.dialect {
            Dialect::Graph => "The query is missing or empty. Send it as \"Query\".".to_owned(),
            Dialect::Legacy => "Request body is incorrect".to_owned(),
        })
    })?;
    let timespan = match body.get("Timespan").or_else(|| body.get("timespan")) {
        Some(Json::String(text)) if !text.is_empty() && service.dialect == Dialect::Graph => Some(
            Timespan::parse(text, now)
                .ok_or_else(|| Refusal::Body(format!("Invalid timespan '{text}'. Use the ISO 8601 format.")))?,
        ),
        _ => None,
    };
    Ok(Question { query: query.to_owned(), timespan })
}

/// Without `charset=utf-8` the service reads a body as Latin-1, and text beyond ASCII silently means
/// something else (microsoft-graph-docs pull request 22166).
fn decoded(body: &[u8], headers: &HeaderMap) -> String {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if kind.to_ascii_lowercase().replace([' ', '"'], "").contains("charset=utf-8") {
        String::from_utf8_lossy(body).into_owned()
    } else {
        body.iter().copied().map(char::from).collect()
    }
}
