//! The two ways to a token: `POST /{tenant}/oauth2/v2.0/token` (and v1) with client credentials, and the App
//! Service managed identity endpoint, `GET /msi/token`.

use super::tokens::{Issued, Tokens, normal};
use crate::clock::Clock;
use crate::cloud::read_body;
use crate::faults::{Area, Fault, Faults};
use crate::source::Dice;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const BODY_CAP_BYTES: usize = 64 * 1024;

/// A registered application.
#[derive(Debug, Clone)]
pub struct App {
    /// Its id.
    pub client_id: String,
    /// Its secret.
    pub secret: String,
    /// Its roles at Graph.
    pub roles: Vec<String>,
}

/// The identity of the machine.
#[derive(Debug, Clone)]
pub struct ManagedIdentity {
    /// Its client id.
    pub client_id: String,
    /// What `X-IDENTITY-HEADER` must say.
    pub header: String,
    /// Its roles at Graph.
    pub roles: Vec<String>,
}

/// Who is in the directory.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The tenant that tokens are asked for.
    pub tenant_id: String,
    /// The applications.
    pub apps: Vec<App>,
    /// The identity behind `/msi/token`.
    pub managed_identity: ManagedIdentity,
    /// The services that a token can be had for.
    pub audiences: Vec<String>,
}

/// The directory.
pub struct Entra {
    settings: Settings,
    tokens: Arc<Tokens>,
    clock: Arc<dyn Clock>,
    faults: Arc<Faults>,
    requests: AtomicU64,
}

impl Entra {
    /// A directory that issues `tokens`.
    pub fn new(settings: Settings, tokens: Arc<Tokens>, clock: Arc<dyn Clock>, faults: Arc<Faults>) -> Self {
        Self { settings, tokens, clock, faults, requests: AtomicU64::new(0) }
    }

    fn knows(&self, audience: &str) -> bool {
        self.settings.audiences.iter().any(|known| normal(known).eq_ignore_ascii_case(normal(audience)))
    }

    fn new_guid(&self) -> String {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        crate::source::guid(Dice::new(number).named("entra request")).to_string()
    }
}

/// The routes of the directory.
pub fn router(entra: Arc<Entra>) -> Router {
    Router::new()
        .route("/{tenant}/oauth2/v2.0/token", post(token_v2))
        .route("/{tenant}/oauth2/token", post(token_v1))
        .route("/msi/token", get(managed_identity))
        .with_state(entra)
}

async fn token_v2(State(entra): State<Arc<Entra>>, Path(tenant): Path<String>, body: Body) -> Response {
    let audience = |form: &Form| {
        let scope = required(form, "scope")?;
        let audience =
            scope.strip_suffix("/.default").filter(|audience| !audience.is_empty() && !audience.contains(' '));
        audience.map(str::to_owned).ok_or_else(|| Refused::scope(scope))
    };
    let answer = |issued: Issued| {
        let seconds = issued.lifetime.as_secs().saturating_sub(1);
        json!({
            "token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": issued.token,
        })
    };
    entra.token(&tenant, body, audience, answer).await
}

async fn token_v1(State(entra): State<Arc<Entra>>, Path(tenant): Path<String>, body: Body) -> Response {
    let audience = |form: &Form| required(form, "resource").map(str::to_owned);
    let answer = |issued: Issued| {
        let seconds = issued.lifetime.as_secs().saturating_sub(1).to_string();
        json!({
            "token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds,
            "expires_on": issued.expires_on.to_string(), "resource": issued.audience, "access_token": issued.token,
        })
    };
    entra.token(&tenant, body, audience, answer).await
}

type Form = HashMap<String, String>;

/// Why there is no token.
struct Refused {
    status: StatusCode,
    error: &'static str,
    code: u32,
    text: String,
}

impl Refused {
    fn new(status: StatusCode, error: &'static str, code: u32, text: impl Into<String>) -> Self {
        Self { status, error, code, text: text.into() }
    }

    fn scope(scope: &str) -> Self {
        let text = format!(
            "The provided value for scope {scope} is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI)."
        );
        Self::new(StatusCode::BAD_REQUEST, "invalid_scope", 1_002_012, text)
    }
}

fn required<'a>(form: &'a Form, name: &str) -> Result<&'a str, Refused> {
    form.get(name).map(String::as_str).ok_or_else(|| {
        let text = format!("The request body must contain the following parameter: '{name}'.");
        Refused::new(StatusCode::BAD_REQUEST, "invalid_request", 900_144, text)
    })
}

impl Entra {
    async fn token(
        &self,
        tenant: &str,
        body: Body,
        audience: impl FnOnce(&Form) -> Result<String, Refused>,
        answer: impl FnOnce(Issued) -> serde_json::Value,
    ) -> Response {
        if let Some(response) = self.fault() {
            return response;
        }
        let body = match read_body(body, BODY_CAP_BYTES).await {
            Ok(body) => body,
            Err(error) => {
                return self.refusal(&Refused::new(
                    StatusCode::BAD_REQUEST,
                    "invalid_request",
                    900_144,
                    error.to_string(),
                ));
            }
        };
        let form: Form = url::form_urlencoded::parse(&body).into_owned().collect();
        match self.application(tenant, &form).and_then(|app| self.grant(tenant, app, &audience(&form)?)) {
            Ok(issued) => Json(answer(issued)).into_response(),
            Err(refused) => self.refusal(&refused),
        }
    }

    /// The application that the form names and proves to be.
    fn application(&self, tenant: &str, form: &Form) -> Result<&App, Refused> {
        let (bad, unauthorized) = (StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED);
        if !tenant.eq_ignore_ascii_case(&self.settings.tenant_id) {
            let text = format!(
                "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."
            );
            return Err(Refused::new(bad, "invalid_request", 90_002, text));
        }
        let grant_type = required(form, "grant_type")?;
        if grant_type != "client_credentials" {
            let text = format!("The app requested an unsupported grant type '{grant_type}'.");
            return Err(Refused::new(bad, "unsupported_grant_type", 70_003, text));
        }
        let id = required(form, "client_id")?;
        let app = self.settings.apps.iter().find(|app| app.client_id.eq_ignore_ascii_case(id)).ok_or_else(|| {
            let text = format!("Application with identifier '{id}' was not found in the directory '{tenant}'.");
            Refused::new(bad, "unauthorized_client", 700_016, text)
        })?;
        match form.get("client_secret") {
            Some(secret) if *secret == app.secret => Ok(app),
            Some(_) => {
                let text = format!(
                    "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '{id}'."
                );
                Err(Refused::new(unauthorized, "invalid_client", 7_000_215, text))
            }
            None => {
                let text =
                    "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.";
                Err(Refused::new(unauthorized, "invalid_client", 7_000_218, text))
            }
        }
    }

    fn grant(&self, tenant: &str, app: &App, audience: &str) -> Result<Issued, Refused> {
        if !self.knows(audience) {
            let text = format!("The resource principal named {audience} was not found in the tenant named {tenant}.");
            return Err(Refused::new(StatusCode::BAD_REQUEST, "invalid_resource", 500_011, text));
        }
        let roles: &[String] = if normal(audience) == super::GRAPH { &app.roles } else { &[] };
        Ok(self.tokens.issue(&app.client_id, audience, roles))
    }

    fn refusal(&self, refused: &Refused) -> Response {
        let Refused { status, error, code, text } = refused;
        let (trace, correlation) = (self.new_guid(), self.new_guid());
        let now = crate::source::ticks::format(self.clock.now());
        let at = format!("{} {}Z", &now[..10], &now[11..19]);
        let description =
            format!("AADSTS{code}: {text}\r\nTrace ID: {trace}\r\nCorrelation ID: {correlation}\r\nTimestamp: {at}");
        let body = json!({
            "error": error, "error_description": description, "error_codes": [code], "timestamp": at,
            "trace_id": trace, "correlation_id": correlation,
            "error_uri": format!("https://login.microsoftonline.com/error?code={code}"),
        });
        (*status, Json(body)).into_response()
    }

    fn fault(&self) -> Option<Response> {
        let (status, retry_after) = match self.faults.roll(Area::Identity)? {
            Fault::Throttled => (StatusCode::TOO_MANY_REQUESTS, true),
            Fault::ThrottledWithoutRetryAfter => (StatusCode::TOO_MANY_REQUESTS, false),
            Fault::Internal => (StatusCode::INTERNAL_SERVER_ERROR, false),
            Fault::GatewayTimeout => (StatusCode::GATEWAY_TIMEOUT, false),
            Fault::BadGateway => (StatusCode::BAD_GATEWAY, false),
            _ => (StatusCode::SERVICE_UNAVAILABLE, false),
        };
        let text = "The server is temporarily too busy to handle the request.";
        let mut response = self.refusal(&Refused::new(status, "temporarily_unavailable", 90_033, text));
        if retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        Some(response)
    }
}

/// App Service's protocol, `api-version=2019-08-01`.
async fn managed_identity(State(entra): State<Arc<Entra>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let refuse = |status: StatusCode, message: &str| {
        (status, Json(json!({ "statusCode": status.as_u16(), "message": message }))).into_response()
    };
    if let Some(response) = entra.fault() {
        return response;
    }
    let identity = &entra.settings.managed_identity;
    let header = headers.get("x-identity-header").and_then(|value| value.to_str().ok());
    if header != Some(&identity.header) {
        return refuse(StatusCode::UNAUTHORIZED, "The X-IDENTITY-HEADER header is missing or wrong.");
    }
    let query: HashMap<String, String> =
        url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect();
    if query.get("api-version").map(String::as_str) != Some("2019-08-01") {
        return refuse(StatusCode::BAD_REQUEST, "The api-version is missing or not supported; send 2019-08-01.");
    }
    if query.get("client_id").is_some_and(|id| !id.eq_ignore_ascii_case(&identity.client_id)) {
        return refuse(StatusCode::BAD_REQUEST, "Unable to load the proper Managed Identity.");
    }
    let Some(resource) = query.get("resource") else {
        return refuse(StatusCode::BAD_REQUEST, "The resource parameter is missing.");
    };
    if !entra.knows(resource) {
        let message = format!("AADSTS500011: The resource principal named {resource} was not found in the tenant.");
        return refuse(StatusCode::BAD_REQUEST, &message);
    }
    let roles: &[String] = if normal(resource) == super::GRAPH { &identity.roles } else { &[] };
    let issued = entra.tokens.issue(&identity.client_id, resource, roles);
    Json(json!({
        "access_token": issued.token, "expires_on": issued.expires_on.to_string(), "resource": resource,
        "token_type": "Bearer", "client_id": identity.client_id,
    }))
    .into_response()
}
