//! The REST client of a cluster: queries and management commands on the engine, commands on the data
//! management (ingestion) endpoint. Repeats what may be repeated, within the caller's deadline. Knows no table.

mod exchange;
mod pace;
mod scope;

pub(super) use exchange::lost_on_the_way;
pub use pace::Pace;

use super::answer::{Failure, decode_v1, decode_v2};
use super::error::{Error, RequestText};
use super::{FreshIds, Table};
use crate::outbound::Outbound;
use crate::remedy::Application;
use crate::timestamp::Clock;
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};
use url::Url;

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
