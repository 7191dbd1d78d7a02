//! The REST client of a cluster: queries and management commands on the engine, commands on the data
//! management (ingestion) endpoint. Repeats what may be repeated, within the caller's deadline. Knows no table.

use super::answer::{Failure, decode_v1, decode_v2};
use super::error::{Error, RequestText};
use super::{FreshIds, Table};
use crate::outbound::{BodyError, Outbound, Unanswered, read_capped, retry_after};
use crate::remedy::Application;
use crate::secret::Secret;
use crate::telemetry::metrics;
use crate::timestamp::Clock;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;
use url::Url;

/// The most bytes of an answer: the engine's own limit of a result (dataexplorer-docs `concepts/query-limits.md`).
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// What a part of a path is written with as it is (RFC 3986, "unreserved").
const IN_A_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The option of a query that says how much of what was committed it sees.
const CONSISTENCY: &str = "queryconsistency";
/// The database that commands of the ingestion endpoint name.
const NO_DATABASE: &str = "NetDefaultDB";

/// Where the service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// The query address, `ADX_CLUSTER_URI`.
    pub cluster: Url,
    /// The ingestion address, `ADX_INGEST_URI`.
    pub ingest: Url,
    /// The database of the tables.
    pub database: String,
    /// Who asks, as far as that is known: for the commands that grant a role.
    pub app: Application,
}

/// How a query is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Sees everything that is committed, even where a workload group makes queries weak. Fabric has no
    /// such option, there it is not sent; nor to a service that has refused it.
    pub strong_consistency: bool,
    /// The service refuses to write.
    pub read_only: bool,
}

/// What a command does if it is sent twice, which decides whether the client repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It only reads: repeated freely, and a lost answer is no unknown outcome.
    Read,
    /// It changes something, and twice is the same as once.
    Idempotent,
    /// Twice would be wrong: repeated only when the service cannot have done it.
    Once,
}

/// How requests are repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The wait before the first repetition; it doubles from there.
    pub first: Duration,
    /// The longest wait, unless the service asks for a longer one.
    pub most: Duration,
    /// How often a request is repeated.
    pub times: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { first: Duration::from_millis(500), most: Duration::from_secs(30), times: 5 }
    }
}

impl Pace {
    /// Runs `attempt` until it succeeds, fails in a way that `again` does not take, or the deadline would pass
    /// during the wait. A time that the service names is waited out.
    pub(super) async fn run<T, F, Fut>(
        &self,
        seed: u64,
        deadline: Instant,
        again: impl Fn(&Error) -> bool,
        mut attempt: F,
    ) -> Result<T, Error>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        let mut waits = self.waits(seed);
        loop {
            let error = match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let Some(wait) = again(&error).then(|| waits.next_after(&error, deadline)).flatten() else {
                return Err(error);
            };
            tracing::debug!(%error, wait_ms = wait.as_millis() as u64, "a request is repeated");
            tokio::time::sleep(wait).await;
        }
    }

    /// The waits between the attempts of one request.
    pub(super) fn waits(&self, seed: u64) -> Waits {
        let waits = ExponentialBuilder::default()
            .with_min_delay(self.first)
            .with_max_delay(self.most)
            .with_max_times(self.times)
            .with_jitter()
            .with_jitter_seed(seed);
        Waits(waits.build())
    }
}

/// The waits between the attempts of one request.
pub(super) struct Waits(ExponentialBackoff);

impl Waits {
    /// How long to wait after `error`, or `None` when there is no attempt left, or no time before the deadline.
    pub fn next_after(&mut self, error: &Error, deadline: Instant) -> Option<Duration> {
        let wait = self.0.next()?.max(error.asked_pause().unwrap_or_default());
        Instant::now().checked_add(wait).is_some_and(|end| end < deadline).then_some(wait)
    }
}

struct Endpoint {
    url: Url,
    /// The scope of its tokens; `None` where it wants none.
    scope: OnceCell<Option<String>>,
}

/// The client of one database; cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    outbound: Outbound,
    engine: Endpoint,
    ingest: Endpoint,
    database: String,
    app: Application,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn FreshIds>,
    pace: Pace,
    /// The engine has refused to be asked for a consistency.
    knows_no_consistency: AtomicBool,
}

/// One request, before it has a token and an id.
struct Call<'a, T> {
    endpoint: &'a Endpoint,
    method: Method,
    url: Url,
    operation: &'static str,
    body: Bytes,
    read_only: bool,
    /// Whether there are services without the address.
    optional: bool,
    text: RequestText<'a>,
    decode: fn(&[u8]) -> Result<T, Failure>,
}

impl Client {
    /// A client for `endpoints`. Nothing is sent yet.
    pub fn new(
        outbound: Outbound,
        endpoints: Endpoints,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn FreshIds>,
        pace: Pace,
    ) -> Self {
        let Endpoints { cluster, ingest, database, app } = endpoints;
        let endpoint = |url| Endpoint { url, scope: OnceCell::new() };
        let (engine, ingest) = (endpoint(cluster), endpoint(ingest));
        let knows_no_consistency = AtomicBool::new(false);
        let inner = Inner { outbound, engine, ingest, database, app, clock, ids, pace, knows_no_consistency };
        Self { inner: Arc::new(inner) }
    }

    /// The database of the tables.
    pub fn database(&self) -> &str {
        &self.inner.database
    }

    pub(super) fn application(&self) -> &Application {
        &self.inner.app
    }

    pub(super) fn outbound(&self) -> &Outbound {
        &self.inner.outbound
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        self.inner.clock.as_ref()
    }

    pub(super) fn ids(&self) -> &dyn FreshIds {
        self.inner.ids.as_ref()
    }

    pub(super) fn pace(&self) -> Pace {
        self.inner.pace
    }

    pub(super) fn seed(&self) -> u64 {
        self.inner.ids.fresh().as_u64_pair().1
    }

    /// Gets a token for the engine, as the engine itself says what for, and sends it nowhere.
    ///
    /// # Errors
    /// [`Error::Outbound`] where the engine is not trusted with a token or there is none to be had, and what asking the engine
    /// can end in.
    pub async fn sign_in(&self, deadline: Instant) -> Result<(), Error> {
        let Inner { outbound, engine, .. } = &*self.inner;
        outbound.check(&engine.url)?;
        let Some(scope) = self.scope(engine, deadline).await? else { return Ok(()) };
        let asked = Instant::now();
        let token = timeout_at(deadline, outbound.token(scope)).await;
        let late = |_| Err(crate::outbound::Error::late_token(scope, asked.elapsed()));
        token.unwrap_or_else(late).map(drop).map_err(Error::from)
    }

    /// Runs a query and gives its first result. Repeated when the service is throttling or unavailable.
    ///
    /// # Errors
    /// Any but [`Error::OutcomeUnknown`].
    pub async fn query(&self, csl: &str, options: Options, deadline: Instant) -> Result<Table, Error> {
        let inner = &self.inner;
        let is_known = !is_fabric(&inner.engine.url) && !inner.knows_no_consistency.load(Ordering::Relaxed);
        if !options.strong_consistency || !is_known || mutated!(WeakCount) {
            return self.query_by(csl, options.read_only, None, deadline).await;
        }
        match self.query_by(csl, options.read_only, Some("strongconsistency"), deadline).await {
            Err(Error::Refused { message, permanent: true, .. })
                if message.contains(CONSISTENCY) && !csl.contains(CONSISTENCY) =>
            {
                let answer = self.query_by(csl, options.read_only, None, deadline).await?;
                tracing::warn!(
                    message,
                    "the service knows no consistency of queries, and is asked without from now on"
                );
                inner.knows_no_consistency.store(true, Ordering::Relaxed);
                Ok(answer)
            }
            other => other,
        }
    }

    async fn query_by(
        &self,
        csl: &str,
        read_only: bool,
        consistency: Option<&str>,
        deadline: Instant,
    ) -> Result<Table, Error> {
        let inner = &self.inner;
        let mut sent = json!({"results_progressive_enabled": false});
        if let Some(consistency) = consistency {
            sent[CONSISTENCY] = Value::from(consistency);
        }
        if read_only {
            sent["request_readonly"] = Value::Bool(true);
        }
        let properties = json!({"Options": sent}).to_string();
        let body = json!({"db": inner.database, "csl": csl, "properties": properties});
        let call = Call {
            endpoint: &inner.engine,
            method: Method::POST,
            url: at_path(&inner.engine.url, "/v2/rest/query"),
            operation: "query",
            body: body.to_string().into(),
            read_only,
            optional: false,
            text: RequestText { csl, database: &inner.database, app: &inner.app, changes: false },
            decode: decode_v2,
        };
        self.run(&call, Effect::Read, deadline).await
    }

    /// Runs a management command on the engine and gives its table.
    ///
    /// # Errors
    /// Any; [`Error::OutcomeUnknown`] unless the command only reads.
    pub async fn command(&self, csl: &str, effect: Effect, deadline: Instant) -> Result<Table, Error> {
        let inner = &self.inner;
        self.management(&inner.engine, &inner.database, csl, effect, deadline).await
    }

    /// Runs a management command on the ingestion endpoint.
    ///
    /// # Errors
    /// As [`Client::command`].
    pub async fn dm_command(&self, csl: &str, effect: Effect, deadline: Instant) -> Result<Table, Error> {
        self.management(&self.inner.ingest, NO_DATABASE, csl, effect, deadline).await
    }

    /// Asks the ingestion endpoint for JSON below `/v1/rest/ingestion`.
    ///
    /// # Errors
    /// [`Error::NotOffered`] where the cluster has no such address, and any but [`Error::OutcomeUnknown`].
    pub(super) async fn dm_get(&self, path: &[&str], query: Option<&str>, deadline: Instant) -> Result<Value, Error> {
        self.rest(Method::GET, path, query, Bytes::new(), deadline).await
    }

    /// Sends JSON to the ingestion endpoint, once unless it says that it did nothing.
    ///
    /// # Errors
    /// Any; [`Error::NotOffered`] where the cluster takes no such requests; after [`Error::OutcomeUnknown`] it may have been taken.
    pub(super) async fn dm_post(&self, path: &[&str], body: &Value, deadline: Instant) -> Result<Value, Error> {
        self.rest(Method::POST, path, None, body.to_string().into(), deadline).await
    }

    async fn rest(
        &self,
        method: Method,
        path: &[&str],
        query: Option<&str>,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Value, Error> {
        let Inner { ingest, database, app, .. } = &*self.inner;
        let changes = method != Method::GET;
        let mut whole = "/v1/rest/ingestion".to_owned();
        for part in path {
            whole.push('/');
            whole.extend(utf8_percent_encode(part, IN_A_PATH));
        }
        let mut url = at_path(&ingest.url, &whole);
        url.set_query(query);
        let call = Call {
            endpoint: ingest,
            method,
            url,
            operation: "ingestion",
            body,
            read_only: false,
            optional: true,
            // What is denied is denied as the command for it would be.
            text: RequestText { csl: ".ingest-from-storage-queued", database, app, changes },
            decode: |body| serde_json::from_slice(body).map_err(|error| Failure::Corrupt(error.to_string())),
        };
        self.run(&call, if changes { Effect::Once } else { Effect::Read }, deadline).await
    }

    /// Where the ingestion endpoint is.
    pub(super) fn ingestion_url(&self) -> &Url {
        &self.inner.ingest.url
    }

    async fn management(
        &self,
        endpoint: &Endpoint,
        database: &str,
        csl: &str,
        effect: Effect,
        deadline: Instant,
    ) -> Result<Table, Error> {
        let body = json!({"db": database, "csl": csl, "properties": json!({"Options": {}}).to_string()});
        let Inner { database: own, app, .. } = &*self.inner;
        let text = RequestText { csl, database: own, app, changes: effect != Effect::Read };
        let call = Call {
            endpoint,
            method: Method::POST,
            url: at_path(&endpoint.url, "/v1/rest/mgmt"),
            operation: "command",
            body: body.to_string().into(),
            read_only: false,
            optional: false,
            text,
            decode: decode_v1,
        };
        self.run(&call, effect, deadline).await
    }

    async fn run<T>(&self, call: &Call<'_, T>, effect: Effect, deadline: Instant) -> Result<T, Error> {
        let again = |error: &Error| match error {
            // Neither means that anything was done.
            Error::Throttled { .. } | Error::Unavailable { .. } => true,
            Error::OutcomeUnknown { .. } => effect == Effect::Idempotent,
            Error::Corrupt { .. } | Error::Refused { permanent: false, .. } => effect != Effect::Once,
            Error::Outbound(crate::outbound::Error::Token { transient, .. }) => *transient,
            _ => false,
        };
        self.inner.pace.run(self.seed(), deadline, again, || self.attempt(call, deadline)).await
    }

    async fn attempt<T>(&self, call: &Call<'_, T>, deadline: Instant) -> Result<T, Error> {
        let outbound = &self.inner.outbound;
        outbound.check(&call.endpoint.url)?;
        let Some(scope) = self.scope(call.endpoint, deadline).await? else {
            return self.send(call, None, deadline).await;
        };
        let too_late = |_| Error::unavailable("no token in time");
        let token = timeout_at(deadline, outbound.token(scope)).await.map_err(too_late)??;
        match self.send(call, Some(&token), deadline).await {
            Err(Error::Unauthorized { message }) => {
                let renewed = timeout_at(deadline, outbound.renewed_token(scope, &token)).await.map_err(too_late)??;
                let Some(renewed) = renewed else { return Err(Error::Unauthorized { message }) };
                self.send(call, Some(&renewed), deadline).await
            }
            other => other,
        }
    }

    async fn send<T>(&self, call: &Call<'_, T>, token: Option<&Secret>, deadline: Instant) -> Result<T, Error> {
        let span = tracing::info_span!("adx", operation = call.operation);
        let answered = self.exchange(call, token, deadline).instrument(span).await;
        metrics::adx_request(call.operation, outcome(&answered));
        answered
    }

    async fn exchange<T>(&self, call: &Call<'_, T>, token: Option<&Secret>, deadline: Instant) -> Result<T, Error> {
        let inner = &self.inner;
        let id = format!("adxingestor.{};{}", call.operation, inner.ids.fresh());
        let mut request = inner
            .outbound
            .request(call.method.clone(), call.url.clone())
            .header(ACCEPT, "application/json")
            .header("x-ms-client-request-id", &id)
            .header("x-ms-app", "adxingestor")
            .header("x-ms-client-version", concat!("adxingestor:", env!("CARGO_PKG_VERSION")));
        if let Some(token) = token {
            request = request.bearer_auth(token.expose());
        }
        if call.method != Method::GET {
            request = request.header(CONTENT_TYPE, "application/json; charset=utf-8").body(call.body.clone());
        }
        if call.read_only {
            request = request.header("x-ms-readonly", "true");
        }
        let response = match timeout_at(deadline, inner.outbound.send(request)).await {
            Err(_) => return Err(call.text.lost(format!("no answer before the deadline (request {id})"))),
            Ok(Err(error)) => return Err(lost_on_the_way(error, &call.text)),
            Ok(Ok(response)) => response,
        };
        let activity = activity_of(response.headers());
        let answer = self.read(call, response, &id, deadline).await;
        answer.map_err(|error| {
            tracing::debug!(%error, request = id, activity, "a request to ADX failed");
            error.in_activity(&activity)
        })
    }

    async fn read<T>(
        &self,
        call: &Call<'_, T>,
        response: reqwest::Response,
        id: &str,
        deadline: Instant,
    ) -> Result<T, Error> {
        let succeeded = response.status().is_success();
        let status = response.status().as_u16();
        let after = retry_after(response.headers(), self.inner.clock.now());
        let body = match read_capped(response, MAX_ANSWER_BYTES, deadline).await {
            Ok(body) => body,
            // What stands in an answer to a change that cannot be read is not known.
            Err(error @ (BodyError::TooLarge { .. } | BodyError::Encoded { .. })) if !call.text.changes => {
                return Err(Error::corrupt(error.to_string()));
            }
            Err(error) => return Err(call.text.lost(format!("{error} (request {id})"))),
        };
        if !succeeded {
            if call.optional && RequestText::is_unknown_address(status, &body) {
                return Err(Error::NotOffered {
                    what: format!("{} {}: status {status}", call.method, call.url.path()),
                });
            }
            return Err(call.text.error_of_status(status, after, &body));
        }
        (call.decode)(&body).map_err(|failure| match failure {
            Failure::Service(error) => error.into_error(status, after, &call.text),
            // What a cut answer to a change means is not known.
            Failure::Corrupt(message) if call.text.changes => call.text.lost(message),
            Failure::Corrupt(message) => Error::corrupt(message),
        })
    }

    /// The scope of tokens for `endpoint`, as the cluster itself names it, asked once; `None` where it wants none.
    async fn scope<'a>(&self, endpoint: &'a Endpoint, deadline: Instant) -> Result<Option<&'a str>, Error> {
        // Others may be asking: their wait is theirs, not ours.
        let asked = endpoint.scope.get_or_try_init(async || {
            let engine = &self.inner.engine;
            let named = self.discover_scope(&endpoint.url, deadline).await?;
            if named != Named::Nothing || std::ptr::eq(endpoint, engine) {
                return Ok(named.scope_or(self.default_scope()));
            }
            // The engine's cloud is the ingestion endpoint's too.
            let of_engine = engine.scope.get_or_try_init(async || {
                let named = self.discover_scope(&engine.url, deadline).await?;
                Ok::<_, Error>(named.scope_or(self.default_scope()))
            });
            of_engine.await.cloned()
        });
        let scope = timeout_at(deadline, asked).await;
        let scope = scope.map_err(|_| Error::unavailable("no authentication metadata before the deadline"))??;
        Ok(scope.as_deref())
    }

    /// What `endpoint` says itself. One without the address, or with something else there, says nothing.
    async fn discover_scope(&self, endpoint: &Url, deadline: Instant) -> Result<Named, Error> {
        let Inner { database, app, .. } = &*self.inner;
        let text = RequestText { csl: "", database, app, changes: false };
        let url = at_path(endpoint, "/v1/rest/auth/metadata");
        let request = self.inner.outbound.request(Method::GET, url).header(ACCEPT, "application/json");
        let response = timeout_at(deadline, self.inner.outbound.send(request))
            .await
            .map_err(|_| text.lost("no authentication metadata before the deadline".to_owned()))?
            .map_err(|error| lost_on_the_way(error, &text))?;
        let status = response.status().as_u16();
        let after = retry_after(response.headers(), self.inner.clock.now());
        let body = read_capped(response, 64 * 1024, deadline).await.map_err(|error| text.lost(error.to_string()))?;
        match status {
            200 => {
                let named = Named::read(&body, endpoint);
                if let Named::Scope(scope) = &named {
                    // A token for another service would be as good as one that was sent there.
                    let url =
                        Url::parse(scope).map_err(|_| Error::corrupt("authentication metadata with no resource"))?;
                    self.inner.outbound.check_kusto_resource(&url)?;
                }
                Ok(named)
            }
            429 => Err(text.error_of_status(status, after, &body)),
            400..500 => Ok(Named::Nothing),
            _ => Err(text.error_of_status(status, after, &body)),
        }
    }

    fn default_scope(&self) -> String {
        format!("{}/.default", self.inner.outbound.cloud().kusto_resource())
    }
}

/// What came of a request, for the count of requests.
fn outcome<T>(answered: &Result<T, Error>) -> &'static str {
    match answered {
        Ok(_) => "ok",
        Err(Error::Throttled { .. }) => "throttled",
        Err(
            Error::Refused { .. }
            | Error::Denied { .. }
            | Error::Unauthorized { .. }
            | Error::NotFound { .. }
            | Error::NotOffered { .. },
        ) => "refused",
        Err(_) => "failed",
    }
}

/// What authentication metadata says of tokens (dataexplorer-docs `api/rest/authentication.md`).
#[derive(Debug, PartialEq, Eq)]
enum Named {
    Nothing,
    /// An emulator, which takes none and should get none.
    NoToken,
    Scope(String),
}

impl Named {
    /// The scope of a token, where one is wanted.
    fn scope_or(self, default: String) -> Option<String> {
        match self {
            Self::Scope(scope) => Some(scope),
            Self::NoToken => None,
            Self::Nothing => Some(default),
        }
    }

    /// Reads the metadata of `endpoint`. Only a service on this machine, over plain http, may say that it wants no token.
    fn read(metadata: &[u8], endpoint: &Url) -> Self {
        let Ok(metadata) = serde_json::from_slice::<Value>(metadata) else { return Self::Nothing };
        match metadata.get("AzureAD") {
            // Plain http is trusted on loopback alone.
            Some(Value::Null) if endpoint.scheme() == "http" => Self::NoToken,
            Some(directory) => Self::of_directory(directory),
            None => Self::Nothing,
        }
    }

    fn of_directory(directory: &Value) -> Self {
        let named = directory.get("KustoServiceResourceId").and_then(Value::as_str);
        let Some(named) = named.filter(|text| !text.is_empty()) else { return Self::Nothing };
        let mut resource = named.trim_end_matches('/').to_owned();
        if directory.get("LoginMfaRequired").and_then(Value::as_bool) == Some(true) {
            resource = resource.replacen(".kusto.", ".kustomfa.", 1);
        }
        Self::Scope(format!("{resource}/.default"))
    }
}

/// By which the service's own log finds a request; empty if it gives none.
fn activity_of(headers: &HeaderMap) -> String {
    let id = headers.get("x-ms-activity-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect()
}

/// A request that got no status. Before a connection stands, nothing can have been done.
pub(super) fn lost_on_the_way(error: Unanswered, text: &RequestText<'_>) -> Error {
    if error.unconnected { Error::unavailable(error.message) } else { text.lost(error.message) }
}

fn at_path(endpoint: &Url, path: &str) -> Url {
    let mut url = endpoint.clone();
    // A gateway may serve the cluster below a path of its own.
    url.set_path(&format!("{}{path}", endpoint.path().trim_end_matches('/')));
    url.set_query(None);
    url
}

/// Whether the address is Fabric's, which does not know the option `queryconsistency`.
fn is_fabric(url: &Url) -> bool {
    url.host_str().is_some_and(|host| host.ends_with(".fabric.microsoft.com"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_is_the_clusters_own_resource_or_the_public_clouds() {
        let cluster = Url::parse("https://c.example").unwrap();
        let named = |text: &str| Named::read(text.as_bytes(), &cluster);
        let own = r#"{"AzureAD":{"LoginMfaRequired":false,"KustoServiceResourceId":"https://kusto.kusto.usgovcloudapi.net/"}}"#;
        assert_eq!(named(own), Named::Scope("https://kusto.kusto.usgovcloudapi.net/.default".to_owned()));
        let mfa = r#"{"AzureAD":{"LoginMfaRequired":true,"KustoServiceResourceId":"https://kusto.kusto.windows.net"}}"#;
        assert_eq!(named(mfa), Named::Scope("https://kusto.kustomfa.windows.net/.default".to_owned()));
        for none in [r#"{"AzureAD":null}"#, "{}", "null", r#"{"AzureAD":{}}"#, "<html>"] {
            assert_eq!(named(none), Named::Nothing, "{none}");
        }
    }

    #[test]
    fn only_a_service_on_this_machine_may_say_that_it_wants_no_token() {
        let named = |text: &str, url: &str| Named::read(text.as_bytes(), &Url::parse(url).unwrap());
        assert_eq!(named(r#"{"AzureAD":null}"#, "http://127.0.0.1:8080"), Named::NoToken);
        assert_eq!(named(r#"{"AzureAD":null}"#, "https://c.kusto.windows.net"), Named::Nothing);
        for silent in ["{}", r#"{"AzureAD":{}}"#, r#"{"AzureAD":""}"#, "null", ""] {
            assert_eq!(named(silent, "http://127.0.0.1:8080"), Named::Nothing, "{silent}");
        }
    }

    #[test]
    fn a_path_before_the_services_own_is_kept() {
        for (base, whole) in [
            ("https://c.example", "https://c.example/v2/rest/query"),
            ("https://c.example/", "https://c.example/v2/rest/query"),
            ("http://127.0.0.1:8080/adx/?x=1", "http://127.0.0.1:8080/adx/v2/rest/query"),
        ] {
            assert_eq!(at_path(&Url::parse(base).unwrap(), "/v2/rest/query").as_str(), whole);
        }
    }

    #[test]
    fn fabric_is_told_from_the_host() {
        let fabric = |url: &str| is_fabric(&Url::parse(url).unwrap());
        assert!(fabric("https://trd-abc.z3.kusto.fabric.microsoft.com"));
        assert!(!fabric("https://help.westeurope.kusto.windows.net"));
    }
}
