//! The HTTP side of a request: who asks, what for, and the answer.

use super::refusal::{self, Asked};
use super::request::Request;
use super::result::{Outcome, Problem};
use super::{Adx, Kind, evaluate, queued, streaming, v1, v2};
use crate::adx::commands::{Error, is_command};
use crate::blocking::off_executor;
use crate::cloud::read_body;
use crate::entra::{Claims, TokenError};
use crate::faults::{Area, Fault};
use crate::kql::time::write_datetime;
use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Inline data comes in bodies of commands.
const BODY_CAP_BYTES: usize = 64 * 1024 * 1024;
/// Beyond the time of a request, how long to wait for the engine to notice.
const GRACE: Duration = Duration::from_secs(30);

const CLIENT_REQUEST_ID: &str = "x-ms-client-request-id";

/// One of the endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Management,
    QueryV1,
    QueryV2,
}

impl Endpoint {
    fn area(self) -> Area {
        if self == Self::Management { Area::Commands } else { Area::Queries }
    }
}

/// What came of a request before it was read.
enum Asks {
    Body(Body),
    Url(BTreeMap<String, String>),
}

/// Who asks, and whether for looking only.
struct Caller {
    principal: String,
    read_only: bool,
}

/// Why a request is not even looked at.
enum Refused {
    /// The caller.
    Unknown(TokenError),
    /// The body.
    Unreadable(Error),
}

/// The routes of a cluster.
pub fn router(adx: Arc<Adx>) -> Router {
    let by_body = |endpoint| {
        post(move |State(adx): State<Arc<Adx>>, headers: HeaderMap, body: Body| {
            adx.call(endpoint, headers, Asks::Body(body))
        })
    };
    let by_both = |endpoint| {
        by_body(endpoint).get(
            move |State(adx): State<Arc<Adx>>, headers: HeaderMap, Query(url): Query<BTreeMap<String, String>>| {
                adx.call(endpoint, headers, Asks::Url(url))
            },
        )
    };
    Router::new()
        .route("/v1/rest/query", by_both(Endpoint::QueryV1))
        .route("/v2/rest/query", by_both(Endpoint::QueryV2))
        .route("/v1/rest/mgmt", by_body(Endpoint::Management))
        .route("/v1/rest/ingest/{database}/{table}", post(streaming::ingest))
        .route("/v1/rest/auth/metadata", get(metadata))
        .merge(queued::router())
        .with_state(adx)
}

/// Where tokens come from; for anybody.
async fn metadata(State(adx): State<Arc<Adx>>) -> Response {
    if adx.kind == Kind::Emulator {
        return axum::Json(json!({ "AzureAD": null })).into_response();
    }
    axum::Json(json!({ "AzureAD": {
        "LoginEndpoint": "https://login.microsoftonline.com",
        "LoginMfaRequired": false,
        "KustoClientAppId": "db662dc1-0cfe-4e1c-a843-19a68e65be58",
        "KustoClientRedirectUri": "https://microsoft/kustoclient",
        "KustoServiceResourceId": crate::entra::KUSTO,
        "FirstPartyAuthorityUrl": "https://login.microsoftonline.com/f8cdef31-a31e-4b4a-93e4-5f571e91255a",
    } }))
    .into_response()
}

impl Adx {
    async fn call(self: Arc<Self>, endpoint: Endpoint, headers: HeaderMap, asks: Asks) -> Response {
        let fault = self.faults.roll(endpoint.area());
        let mut asked = self.asked(&headers);
        let request = self.request(&headers, asks).await;
        if let (false, Ok((Request { client_request_id: Some(id), .. }, _))) =
            (headers.contains_key(CLIENT_REQUEST_ID), &request)
        {
            asked.client_request_id.clone_from(id);
        }
        let asked = Arc::new(asked);
        let response = match request {
            Ok((request, caller)) => self.answer(endpoint, &headers, (request, caller), fault, &asked).await,
            Err(Refused::Unknown(error)) => refusal::unauthenticated(&error),
            Err(Refused::Unreadable(error)) => refusal::answer(&error, &asked),
        };
        asked.echoed(response)
    }

    /// One request to an endpoint that is neither for queries nor for commands. `work` may block.
    pub(super) async fn serve(
        self: Arc<Self>,
        area: Area,
        headers: HeaderMap,
        body: Body,
        work: impl FnOnce(&Self, Bytes) -> Result<Vec<Bytes>, Error> + Send + 'static,
    ) -> Response {
        let fault = self.faults.roll(area);
        let asked = self.asked(&headers);
        // Read in any case, so that the connection can be used again.
        let body = read_body(body, BODY_CAP_BYTES).await;
        let response = match (self.caller(&headers), body) {
            (Err(error), _) => refusal::unauthenticated(&error),
            (Ok(_), Err(error)) => refusal::answer(&Error::bad_request(error.to_string()), &asked),
            (Ok(_), Ok(body)) => self.served(area, fault, &asked, move |adx| work(adx, body)).await,
        };
        asked.echoed(response)
    }

    async fn served(
        self: Arc<Self>,
        area: Area,
        fault: Option<Fault>,
        asked: &Asked,
        work: impl FnOnce(&Self) -> Result<Vec<Bytes>, Error> + Send + 'static,
    ) -> Response {
        // A gateway gives up waiting; the work behind it goes on.
        let late = fault == Some(Fault::GatewayTimeout);
        if let Some(fault) = fault.filter(|fault| !fault.is_of_body() && !late) {
            return refusal::failed(fault, area, asked);
        }
        let adx = self.clone();
        let worked = off_executor(move || work(&adx)).await;
        if late {
            return refusal::failed(Fault::GatewayTimeout, area, asked);
        }
        match worked.unwrap_or_else(|_| Err(Error::internal("The request failed inside the service."))) {
            Ok(chunks) => self.written(chunks, fault),
            Err(error) => refusal::answer(&error, asked),
        }
    }

    /// Who asks, as far as headers tell.
    fn asked(&self, headers: &HeaderMap) -> Asked {
        let activity_id = Uuid::new_v4().to_string();
        let mut now = String::new();
        write_datetime(self.database.now(), &mut now);
        let given = headers.get(CLIENT_REQUEST_ID).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let client_request_id = given.unwrap_or_else(|| format!("unspecified;{activity_id}"));
        Asked { client_request_id, activity_id, now }
    }

    /// The holder of a good token.
    fn caller(&self, headers: &HeaderMap) -> Result<Claims, TokenError> {
        if self.kind == Kind::Emulator {
            return Ok(Claims::of_anybody());
        }
        let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let audiences: Vec<&str> = self.audiences.iter().map(String::as_str).collect();
        self.tokens.check(authorization, &audiences)
    }

    /// The request of a caller that may ask. What is wrong with the body counts only after the caller is known.
    async fn request(&self, headers: &HeaderMap, asks: Asks) -> Result<(Request, Claims), Refused> {
        // The body is read in any case, so that the connection can be used again.
        let request = match asks {
            Asks::Url(url) => Request::of_url(url),
            Asks::Body(body) => read_body(body, BODY_CAP_BYTES)
                .await
                .map_err(|error| Error::bad_request(error.to_string()))
                .and_then(|body| Request::parse(&body)),
        };
        let claims = self.caller(headers).map_err(Refused::Unknown)?;
        Ok((request.map_err(Refused::Unreadable)?, claims))
    }

    async fn answer(
        self: &Arc<Self>,
        endpoint: Endpoint,
        headers: &HeaderMap,
        (request, caller): (Request, Claims),
        fault: Option<Fault>,
        asked: &Arc<Asked>,
    ) -> Response {
        let area = endpoint.area();
        // A gateway gives up waiting; the command behind it goes on.
        let late = fault == Some(Fault::GatewayTimeout) && endpoint == Endpoint::Management;
        if let Some(fault) = fault.filter(|fault| !fault.is_of_body())
            && !late
        {
            return refusal::failed(fault, area, asked);
        }
        let read_only = headers.contains_key("x-ms-readonly") || request.is_on("request_readonly");
        let own_time = if endpoint == Endpoint::Management { self.limits.command_time } else { self.limits.query_time };
        let patience = request.patience(own_time);
        let work = {
            let (adx, asked) = (self.clone(), asked.clone());
            let caller = Caller { principal: format!("aadapp={};{}", caller.client_id, caller.tenant_id), read_only };
            move || adx.work(endpoint, &request, &caller, Instant::now() + patience, fault, &asked)
        };
        let worked = tokio::time::timeout(patience + GRACE, off_executor(work)).await;
        let result = match worked {
            Err(_) => Err(Error::timed_out()),
            // A panic of the engine shows as the service's own failure.
            Ok(Err(_)) => Err(Error::internal("The request failed inside the engine.")),
            Ok(Ok(result)) => result,
        };
        if late {
            return refusal::failed(Fault::GatewayTimeout, area, asked);
        }
        match result {
            Ok(chunks) => self.written(chunks, fault),
            Err(error) => refusal::answer(&error, asked),
        }
    }

    /// An answer of 200.
    fn written(&self, chunks: Vec<Bytes>, fault: Option<Fault>) -> Response {
        let mut response = Response::new(self.faults.body(chunks, fault));
        let kind = HeaderValue::from_static("application/json; charset=UTF-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }

    /// The answer's bytes. Blocking.
    fn work(
        &self,
        endpoint: Endpoint,
        request: &Request,
        caller: &Caller,
        deadline: Instant,
        fault: Option<Fault>,
        asked: &Asked,
    ) -> Result<Vec<Bytes>, Error> {
        let any = endpoint == Endpoint::Management && matches!(request.database.as_str(), "" | "NetDefaultDB");
        if !any {
            self.check_database(&request.database)?;
        }
        self.check_rights(&request.text, &caller.principal)?;
        let planned = fault.and_then(Problem::planned);
        if endpoint == Endpoint::Management {
            if !is_command(&request.text) {
                let text = "Queries are not management commands: send them to /v2/rest/query";
                return Err(Error::syntax(&request.text, 0, text));
            }
            let table = self.command(&request.text, caller.read_only, &caller.principal)?;
            return Ok(v1::command(&Outcome {
                columns: table.columns,
                rows: table.rows,
                problem: planned,
                cached: None,
            }));
        }
        let mut outcome = evaluate::query(self, request, &caller.principal, asked, deadline)?;
        outcome.problem = planned.or(outcome.problem);
        if endpoint == Endpoint::QueryV1 {
            return Ok(v1::query(&outcome, asked));
        }
        let frames = v2::Frames {
            fragmented: request.is_on("results_v2_fragment_primary_tables"),
            progressive: request.is_on("results_progressive_enabled"),
            newlines: request.is_on("results_v2_newlines_between_frames"),
        };
        Ok(v2::query(&outcome, asked, frames))
    }

    /// Names of databases have no case. Commands may come without one, or with the default's.
    pub(super) fn check_database(&self, name: &str) -> Result<(), Error> {
        if name.eq_ignore_ascii_case(self.database.name()) {
            return Ok(());
        }
        Err(Error::not_found("Database", name))
    }
}
