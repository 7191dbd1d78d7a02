//! The REST client of a cluster: queries and management commands on the engine, commands on the data
//! management (ingestion) endpoint. Repeats what may be repeated, within the caller's deadline. Knows no table.

use super::answer::{Failure, decode_v1, decode_v2};
use super::error::{Error, RequestText};
use super::{FreshIds, Table};
use crate::outbound::{Outbound, Unanswered, read_capped, retry_after};
use crate::remedy::Application;
use crate::secret::Secret;
use crate::timestamp::Clock;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};
use url::Url;

/// The most bytes of an answer: the engine's own limit of a result (dataexplorer-docs `concepts/query-limits.md`).
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// The resource of the public cloud, where the cluster does not name its own.
const DEFAULT_RESOURCE: &str = "https://kusto.kusto.windows.net";
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
    /// such option, there it is not sent.
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
    scope: OnceCell<String>,
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
}

/// One request, before it has a token and an id.
struct Call<'a> {
    endpoint: &'a Endpoint,
    path: &'static str,
    operation: &'static str,
    body: Bytes,
    read_only: bool,
    text: RequestText<'a>,
    decode: fn(&[u8]) -> Result<Table, Failure>,
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
        Self { inner: Arc::new(Inner { outbound, engine, ingest, database, app, clock, ids, pace }) }
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

    /// Runs a query and gives its first result. Repeated when the service is throttling or unavailable.
    ///
    /// # Errors
    /// Any but [`Error::OutcomeUnknown`].
    pub async fn query(&self, csl: &str, options: Options, deadline: Instant) -> Result<Table, Error> {
        let inner = &self.inner;
        let mut sent = json!({"results_progressive_enabled": false});
        if options.strong_consistency && !is_fabric(&inner.engine.url) {
            sent["queryconsistency"] = Value::from("strongconsistency");
        }
        if options.read_only {
            sent["request_readonly"] = Value::Bool(true);
        }
        let properties = json!({"Options": sent}).to_string();
        let body = json!({"db": inner.database, "csl": csl, "properties": properties});
        let call = Call {
            endpoint: &inner.engine,
            path: "/v2/rest/query",
            operation: "query",
            body: body.to_string().into(),
            read_only: options.read_only,
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
            path: "/v1/rest/mgmt",
            operation: "command",
            body: body.to_string().into(),
            read_only: false,
            text,
            decode: decode_v1,
        };
        self.run(&call, effect, deadline).await
    }

    async fn run(&self, call: &Call<'_>, effect: Effect, deadline: Instant) -> Result<Table, Error> {
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

    async fn attempt(&self, call: &Call<'_>, deadline: Instant) -> Result<Table, Error> {
        let outbound = &self.inner.outbound;
        outbound.check(&call.endpoint.url)?;
        let scope = self.scope(call.endpoint, deadline).await?;
        let too_late = |_| Error::unavailable("no token in time");
        let token = timeout_at(deadline, outbound.token(scope)).await.map_err(too_late)??;
        match self.send(call, &token, deadline).await {
            Err(Error::Unauthorized { message }) => {
                let renewed = timeout_at(deadline, outbound.renewed_token(scope, &token)).await.map_err(too_late)??;
                let Some(renewed) = renewed else { return Err(Error::Unauthorized { message }) };
                self.send(call, &renewed, deadline).await
            }
            other => other,
        }
    }

    async fn send(&self, call: &Call<'_>, token: &Secret, deadline: Instant) -> Result<Table, Error> {
        let inner = &self.inner;
        let id = format!("adxingestor.{};{}", call.operation, inner.ids.fresh());
        let mut request = inner
            .outbound
            .request(Method::POST, at_path(&call.endpoint.url, call.path))
            .bearer_auth(token.expose())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .header("x-ms-client-request-id", &id)
            .header("x-ms-app", "adxingestor")
            .header("x-ms-client-version", concat!("adxingestor:", env!("CARGO_PKG_VERSION")));
        if call.read_only {
            request = request.header("x-ms-readonly", "true");
        }
        let response = match timeout_at(deadline, inner.outbound.send(request.body(call.body.clone()))).await {
            Err(_) => return Err(call.text.lost(format!("no answer before the deadline (request {id})"))),
            Ok(Err(error)) => return Err(lost_on_the_way(error, &call.text)),
            Ok(Ok(response)) => response,
        };
        let status = response.status().as_u16();
        let after = retry_after(response.headers(), inner.clock.now());
        let body = match read_capped(response, MAX_ANSWER_BYTES, deadline).await {
            Ok(body) => body,
            Err(error @ crate::outbound::BodyError::TooLarge { .. }) => return Err(Error::corrupt(error.to_string())),
            Err(error) => return Err(call.text.lost(format!("{error} (request {id})"))),
        };
        if status != 200 {
            return Err(call.text.error_of_status(status, after, &body));
        }
        (call.decode)(&body).map_err(|failure| match failure {
            Failure::Service(error) => error.into_error(status, after, &call.text),
            // What a cut answer to a change means is not known.
            Failure::Corrupt(message) if call.text.changes => call.text.lost(message),
            Failure::Corrupt(message) => Error::corrupt(message),
        })
    }

    /// The scope of tokens for `endpoint`, as the cluster itself names it, asked once.
    async fn scope<'a>(&self, endpoint: &'a Endpoint, deadline: Instant) -> Result<&'a str, Error> {
        // Others may be asking: their wait is theirs, not ours.
        let asked = endpoint.scope.get_or_try_init(async || {
            if let Some(scope) = self.discover_scope(&endpoint.url, deadline).await? {
                return Ok(scope);
            }
            let engine = &self.inner.engine;
            if std::ptr::eq(endpoint, engine) {
                return Ok(default_scope());
            }
            // The engine's cloud is the ingestion endpoint's too.
            let asked = engine.scope.get_or_try_init(async || {
                Ok::<_, Error>(self.discover_scope(&engine.url, deadline).await?.unwrap_or_else(default_scope))
            });
            asked.await.cloned()
        });
        let scope = timeout_at(deadline, asked).await;
        Ok(scope.map_err(|_| Error::unavailable("no authentication metadata before the deadline"))??)
    }

    /// What `endpoint` says itself. One without the address, or with something else there, says nothing.
    async fn discover_scope(&self, endpoint: &Url, deadline: Instant) -> Result<Option<String>, Error> {
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
            200 => Ok(scope_of(&body)),
            429 => Err(text.error_of_status(status, after, &body)),
            400..500 => Ok(None),
            _ => Err(text.error_of_status(status, after, &body)),
        }
    }
}

/// The scope that authentication metadata names (`KustoServiceResourceId`; dataexplorer-docs `api/rest/authentication.md`).
fn scope_of(metadata: &[u8]) -> Option<String> {
    let metadata: Value = serde_json::from_slice(metadata).ok()?;
    let directory = metadata.get("AzureAD")?;
    let named = directory.get("KustoServiceResourceId").and_then(Value::as_str).filter(|text| !text.is_empty())?;
    let mut resource = named.trim_end_matches('/').to_owned();
    if directory.get("LoginMfaRequired").and_then(Value::as_bool) == Some(true) {
        resource = resource.replacen(".kusto.", ".kustomfa.", 1);
    }
    Some(format!("{resource}/.default"))
}

fn default_scope() -> String {
    format!("{DEFAULT_RESOURCE}/.default")
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
        let named = |text: &str| scope_of(text.as_bytes()).unwrap();
        let own = r#"{"AzureAD":{"LoginMfaRequired":false,"KustoServiceResourceId":"https://kusto.kusto.usgovcloudapi.net/"}}"#;
        assert_eq!(named(own), "https://kusto.kusto.usgovcloudapi.net/.default");
        let mfa = r#"{"AzureAD":{"LoginMfaRequired":true,"KustoServiceResourceId":"https://kusto.kusto.windows.net"}}"#;
        assert_eq!(named(mfa), "https://kusto.kustomfa.windows.net/.default");
        for none in [r#"{"AzureAD":null}"#, "{}", "null", r#"{"AzureAD":{}}"#, "<html>"] {
            assert_eq!(scope_of(none.as_bytes()), None, "{none}");
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
