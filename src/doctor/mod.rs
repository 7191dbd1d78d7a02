//! `doctor`: checks what a run needs, from the settings to the tenant's quota, and says of each what is wrong and what to do.
//! It alters nothing; all that it writes is the budget of the tenant's hunting calls, of which it takes the few that it makes.
//! Every request has a timeout, and areas that do not need each other are looked at side by side.

mod adx;
mod clock;
mod defender;
mod destination;
mod finding;
mod identity;
mod metadata;
mod quota;
mod settings;
mod state_store;
mod tables;

pub use finding::{Area, Finding, Report, Status};

use self::adx::NeedsAdmin;
use crate::adx::catalog::Catalog;
use crate::adx::ingestion::Ingestor;
use crate::adx::{Client as AdxClient, Endpoints, FreshIds, Pace};
use crate::config::{Lookup, Problem, Settings, StateStore, cloud};
use crate::defender::{Client as DefenderClient, Limits as DefenderLimits};
use crate::orchestration::instance::TableRun;
use crate::outbound::{
    Error as OutboundError, HTTPS_PROXY, Outbound, Proxy, TrustedHosts, credential, http_client_through,
};
use crate::random::Random;
use crate::state::{State, Tenant};
use crate::timestamp::Clock;
use clock::Dates;
use identity::Claims;
use metadata::Metadata;
use settings::{Usable, quoted};
use state_store::{Place, Stored};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The most time of one request.
const STEP: Duration = Duration::from_secs(15);
/// The most time of each of the two rounds: first what needs nothing else, then what needs its results.
const ROUND: Duration = Duration::from_secs(27);

/// What is checked with.
pub struct Inputs<'a> {
    /// The settings.
    pub lookup: Lookup<'a>,
    /// The names of all settings that there are.
    pub names: &'a [String],
    /// What is wrong with the files of settings.
    pub problems: Vec<Problem>,
    /// Settings that count as unset, because they cannot be read.
    pub ignored: Vec<Problem>,
    /// What an unset `STATE_STORE` stands for.
    pub default_store: StateStore,
    /// This machine's clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// Ids of requests.
    pub ids: Arc<dyn FreshIds>,
}

/// When the present round ends.
#[derive(Clone, Copy)]
struct Ends(Instant);

impl Ends {
    fn of_a_round() -> Self {
        Self(Instant::now() + ROUND)
    }

    /// When a request that begins now has to have ended.
    fn step(self) -> Instant {
        (Instant::now() + STEP).min(self.0)
    }
}

/// Who asks, and the way out.
struct Way {
    outbound: Outbound,
    kind: &'static str,
    dates: Arc<Dates>,
}

/// What is at hand to look with.
struct Look<'a> {
    inputs: &'a Inputs<'a>,
    usable: &'a Usable,
    way: Option<&'a Way>,
    parts: Option<&'a adx::Parts<'a>>,
    state: Option<&'a State>,
}

/// Checks everything. Takes about a minute at most.
pub async fn examine(inputs: Inputs<'_>) -> Report {
    let usable = Usable::read(inputs.lookup, inputs.names);
    let (place, mut problems) = Place::read(inputs.lookup, inputs.default_store.clone());
    problems.splice(0..0, inputs.problems.iter().cloned());
    problems.extend(settings::of_the_timer(inputs.lookup, inputs.names));
    let proxy = Proxy::of_settings(inputs.lookup);
    problems
        .extend(proxy.as_ref().err().map(|message| Problem { name: HTTPS_PROXY.to_owned(), message: message.clone() }));
    let mut checks = usable.findings(problems, inputs.ignored.clone());
    checks.extend(settings::without_a_time(inputs.lookup));
    checks.extend(settings::of_the_proxy(&proxy));
    if let Some(settings) = &usable.settings {
        checks.extend(settings::of_the_limits(inputs.lookup, settings));
        checks.extend(settings::of_the_trusted(settings));
    }
    let http = client(&proxy);
    let way = way(&inputs, &usable, http.clone(), &mut checks);
    let parts = way.as_ref().zip(usable.settings.as_ref()).map(|(way, settings)| parts(&inputs, way, settings));
    let mut look = Look { inputs: &inputs, usable: &usable, way: way.as_ref(), parts: parts.as_ref(), state: None };

    let ends = Ends::of_a_round();
    let ((token, claims), cluster, stored) = tokio::join!(
        look.hunting_token(),
        look.cluster(ends),
        place.look(inputs.lookup, http.as_ref().ok(), &inputs.clock)
    );
    let no_token = (token.status == Status::Fail).then(|| quoted(identity::HUNTING));
    checks.push(token);
    let state = state(&inputs, &usable, &stored);
    look.state = state.as_ref();

    let ends = Ends::of_a_round();
    let metadata = look.metadata(&cluster, ends).await;
    if let (Some(settings), Ok(tables)) = (&usable.settings, &metadata.tables)
        && !tables.is_empty()
    {
        checks.extend(settings::of_other_tables(inputs.names, settings, tables));
    }
    let ((destinations, needs), source) = tokio::join!(
        look.destinations(&metadata, stored.cause.as_deref(), ends),
        look.source(&metadata, no_token, claims, ends)
    );
    let needs = needs.as_deref().map_err(String::as_str);
    let last = look.last(&cluster, needs, &source, stored.cause.as_deref()).await;
    checks.extend([cluster.findings, metadata.findings, destinations, source.findings, last, stored.findings].concat());
    checks.extend(way.as_ref().map(|way| way.dates.finding(stored.clock.as_deref())));
    checks.sort_by_key(|check| check.area);
    Report { checks }
}

impl Look<'_> {
    /// Whether there is a token for the source, and what it says.
    async fn hunting_token(&self) -> (Finding, Option<Claims>) {
        let skip = |cause: &str| (Finding::skip(Area::Identity, identity::HUNTING, cause), None);
        match (self.way, &self.usable.settings, self.usable.no_hunting()) {
            (_, _, Some(cause)) => skip(&cause),
            (Some(way), Some(settings), None) => {
                identity::token(&way.outbound, identity::HUNTING, &settings.hunting_resource).await
            }
            _ => skip(&quoted(identity::KIND)),
        }
    }

    async fn cluster(&self, ends: Ends) -> adx::Seen {
        match (self.parts, self.usable.no_cluster()) {
            (_, Some(cause)) => adx::skipped(&cause),
            (Some(parts), None) => adx::look(parts, self.usable.no_ingestion(), ends).await,
            (None, None) => adx::skipped(&quoted(identity::KIND)),
        }
    }

    async fn metadata(&self, cluster: &adx::Seen, ends: Ends) -> Metadata {
        match (self.parts, cluster.cause.clone().or_else(|| self.usable.no_metadata())) {
            (Some(parts), None) => metadata::look(parts, cluster, ends).await,
            (_, cause) => metadata::skipped(&cause.unwrap_or_else(|| quoted(identity::KIND))),
        }
    }

    async fn destinations(
        &self,
        metadata: &Metadata,
        no_store: Option<&str>,
        ends: Ends,
    ) -> (Vec<Finding>, Result<Vec<NeedsAdmin>, String>) {
        match self.parts {
            Some(parts) => destination::look(parts, metadata, (self.state, no_store), ends).await,
            None => destination::skipped(&quoted(identity::KIND)),
        }
    }

    async fn source(
        &self,
        metadata: &Metadata,
        no_token: Option<String>,
        claims: Option<Claims>,
        ends: Ends,
    ) -> defender::Seen {
        let cause = self.usable.no_hunting().or(no_token);
        let (Some(way), Some(settings), None) = (self.way, &self.usable.settings, &cause) else {
            return defender::skipped(&cause.unwrap_or_else(|| quoted(identity::KIND)));
        };
        let (url, resource) = (settings.hunting.clone(), settings.hunting_resource.clone());
        let client = DefenderClient::new(way.outbound.clone(), url, resource, DefenderLimits::default());
        let outbound = way.outbound.clone();
        let source = defender::Source { settings, client, outbound, claims, kind: way.kind, state: self.state };
        let tables = match &metadata.tables {
            Ok(tables) => Ok(self.wanted(tables, ends).await),
            Err(cause) => Err(cause.clone()),
        };
        source.look(tables, ends).await
    }

    /// The tables that are looked for at the source, with what their ledgers say of them as far as the state store tells.
    async fn wanted(&self, tables: &[TableRun], ends: Ends) -> Vec<tables::Wanted> {
        let mut known = Vec::new();
        for table in tables.iter().filter(|table| table.result.is_none()) {
            let head = match self.state {
                Some(state) => {
                    timeout_at(ends.step(), state.head(&table.key)).await.ok().and_then(Result::ok).flatten()
                }
                None => None,
            };
            known.push((&table.config, head.map(|head| head.record)));
        }
        tables::wanted(known.iter().map(|(config, head)| (*config, head.as_ref())))
    }

    /// What needs the results of others.
    async fn last(
        &self,
        cluster: &adx::Seen,
        needs: Result<&[NeedsAdmin], &str>,
        source: &defender::Seen,
        no_store: Option<&str>,
    ) -> Vec<Finding> {
        let Some(settings) = &self.usable.settings else { return Vec::new() };
        let mut findings = adx::admins(cluster, settings, needs);
        if self.usable.no_hunting().is_none() {
            findings.push(defender::retirement(settings));
        }
        findings.push(quota::of_settings(settings));
        let (throttled, budget) = (source.throttled.as_deref(), no_store.map_or(Ok(self.state), Err));
        findings.push(quota::now(budget, self.inputs.clock.now(), source.calls, throttled).await);
        findings
    }
}

/// The HTTP client, or why no identity can be asked.
fn client(proxy: &Result<Option<Proxy>, String>) -> Result<reqwest::Client, Finding> {
    let proxy = proxy.as_ref().map_err(|_| {
        let what = format!("no service can be asked, because of {}", quoted(&settings::id_of(HTTPS_PROXY)));
        Finding::fail(Area::Identity, identity::KIND, what, "")
    })?;
    http_client_through(proxy.as_ref()).map_err(|error| {
        let remedy = "name the root certificates in SSL_CERT_FILE, or install those of the system";
        Finding::fail(Area::Identity, identity::KIND, error.to_string(), remedy)
    })
}

/// The identity, and the way out with it.
fn way(
    inputs: &Inputs<'_>,
    usable: &Usable,
    http: Result<reqwest::Client, Finding>,
    checks: &mut Vec<Finding>,
) -> Option<Way> {
    let failed = |what: String, remedy: &str| Finding::fail(Area::Identity, identity::KIND, what, remedy);
    let http = match http {
        Ok(http) => http,
        Err(finding) => {
            checks.push(finding);
            return None;
        }
    };
    let (credential, kind) = match credential(inputs.lookup, http.clone()) {
        Ok(found) => found,
        Err(error) => {
            checks.push(match error {
                OutboundError::Identity { message, remedy } => failed(message, &remedy),
                other => failed(other.to_string(), ""),
            });
            return None;
        }
    };
    let client = usable.settings.as_ref().and_then(|settings| settings.app.client.clone());
    let who = client.map(|client| format!(" {client}")).unwrap_or_default();
    checks.push(Finding::pass(Area::Identity, identity::KIND, format!("{kind}{who}")));
    let dates = Arc::new(Dates::new(http.clone(), Arc::clone(&inputs.clock)));
    let hosts = usable.settings.as_ref().map(|settings| settings.trusted_hosts.clone()).unwrap_or_default();
    let trusted = TrustedHosts::new(hosts).in_cloud(cloud(inputs.lookup));
    let outbound = Outbound::new(http, credential, trusted).through(Arc::clone(&dates) as _);
    Some(Way { outbound, kind, dates })
}

fn parts<'a>(inputs: &Inputs<'_>, way: &Way, settings: &'a Settings) -> adx::Parts<'a> {
    let endpoints = Endpoints {
        cluster: settings.cluster.clone(),
        ingest: settings.ingest.clone(),
        database: settings.database.clone(),
        app: settings.app.clone(),
    };
    let pace = Pace { first: Duration::from_millis(300), most: Duration::from_secs(2), times: 2 };
    let (clock, ids) = (Arc::clone(&inputs.clock), Arc::clone(&inputs.ids));
    let client = AdxClient::new(way.outbound.clone(), endpoints, clock, ids, pace);
    let catalog = Catalog::new(client.clone(), settings.names.clone());
    let ingestor = Ingestor::new(client.clone(), settings.ingestion);
    adx::Parts { settings, outbound: way.outbound.clone(), client, catalog, ingestor }
}

/// The records in the store, where it is there and the settings that tell the tenant are right.
fn state(inputs: &Inputs<'_>, usable: &Usable, stored: &Stored) -> Option<State> {
    let settings = usable.settings.as_ref()?;
    let storage = stored.storage.clone()?;
    let tenant = Tenant::new(&settings.tenant, &settings.limits);
    Some(State::new(storage, Arc::clone(&inputs.random), tenant))
}
