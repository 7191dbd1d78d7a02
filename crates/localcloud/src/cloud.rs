//! The parts put together on one loopback address: Entra, the hunting API and Azure Data Explorer over one
//! generated tenant. Runs on threads of its own and ends when dropped.

use crate::adx::{
    self, Adx, Kind, QueuedRest, database::Database, ingestion, ingestion::Ingestion, storage, storage::Storage,
};
use crate::clock::{Clock, SystemClock};
use crate::entra::{self, App, Entra, ManagedIdentity, THREAT_HUNTING_READ_ALL, Tokens};
use crate::faults::{self, Faults};
use crate::hunting::{self, Hunting};
use crate::source::{self, Source};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::serve::ListenerExt;
use bytes::Bytes;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use time::macros::format_description;
use tokio::runtime::Handle;

const TENANT_ID: &str = "5f0a3a2c-6f1e-4a57-9f0b-3c1d2e4f5a6b";
const IDENTITY_CLIENT_ID: &str = "0d9c8b7a-1111-4222-8333-444455556666";
const DATABASE: &str = "Defender";
const BODY_PATIENCE: Duration = Duration::from_secs(60);

/// A cloud to be started.
pub struct Settings {
    /// The port on 127.0.0.1; 0 for any.
    pub port: u16,
    /// The tenant's tables.
    pub source: source::Settings,
    /// The hunting API.
    pub hunting: hunting::Settings,
    /// Queued ingestion into the database.
    pub ingestion: ingestion::Settings,
    /// Whether it is to be had over REST.
    pub queued_rest: QueuedRest,
    /// What signatures for its containers allow: some of `rwd`.
    pub container_permissions: String,
    /// What kind of a cluster it is.
    pub kind: Kind,
    /// What goes wrong.
    pub faults: faults::Plan,
    /// How long tokens last.
    pub token_lifetime: Duration,
    /// Applications besides the managed identity.
    pub apps: Vec<App>,
    /// The roles of the managed identity at Graph.
    pub managed_identity_roles: Vec<String>,
    /// Where the tenant is kept between starts; `None` keeps it in memory.
    pub state_directory: Option<PathBuf>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// By how many seconds the header `Date` of each answer is ahead of that; `None` leaves it to the server.
    pub dates_ahead_seconds: Option<i64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            port: 0,
            source: source::Settings::default(),
            hunting: hunting::Settings::default(),
            ingestion: ingestion::Settings::default(),
            queued_rest: QueuedRest::default(),
            container_permissions: storage::Settings::default().container_permissions,
            kind: Kind::default(),
            faults: faults::Plan::default(),
            token_lifetime: Duration::from_secs(3_600),
            apps: Vec::new(),
            managed_identity_roles: vec![THREAT_HUNTING_READ_ALL.to_owned()],
            state_directory: None,
            clock: Arc::new(SystemClock),
            dates_ahead_seconds: None,
        }
    }
}

/// Why a cloud cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tenant cannot be as asked for.
    #[error(transparent)]
    Source(#[from] source::Error),
    /// The address cannot be had.
    #[error("cannot listen on 127.0.0.1:{port}: {source}; choose another port or 0")]
    Listen {
        /// The port.
        port: u16,
        /// What the system said.
        source: std::io::Error,
    },
    /// There are no threads to run on.
    #[error("cannot start the cloud's threads: {0}; free some resources")]
    Threads(std::io::Error),
    /// The database cannot be brought back.
    #[error(transparent)]
    Database(#[from] adx::StoreError),
    /// The storage for ingestion has no place.
    #[error("cannot make the storage for ingestion: {0}; free some space for temporary files")]
    Storage(std::io::Error),
    /// The state directory cannot be made.
    #[error("cannot make the state directory {path}: {source}; choose another")]
    StateDirectory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A running cloud.
pub struct Cloud {
    address: SocketAddr,
    source: Arc<Source>,
    hunting: Arc<Hunting>,
    adx: Arc<Adx>,
    storage: Arc<Storage>,
    ingestion: Ingestion,
    tokens: Arc<Tokens>,
    faults: Arc<Faults>,
    identity_header: String,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Cloud {
    /// Starts it. It listens when this returns.
    ///
    /// # Errors
    /// [`Error`] says which part could not start.
    pub fn start(settings: Settings) -> Result<Self, Error> {
        let port = settings.port;
        let listen = |source| Error::Listen { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("localcloud")
            .enable_all()
            .build()
            .map_err(Error::Threads)?;
        let (mut cloud, router) = Self::build(settings, address, runtime.handle())?;
        {
            let _inside = runtime.enter();
            let listener = tokio::net::TcpListener::from_std(listener).map_err(listen)?;
            runtime.spawn(serve(listener, router));
        }
        cloud.runtime = Some(runtime);
        Ok(cloud)
    }

    /// One inside the present runtime that listens nowhere: its requests are given to the router. Addresses that it names are
    /// of `settings.port`.
    ///
    /// # Errors
    /// [`Error`] says which part could not start.
    pub fn in_process(settings: Settings) -> Result<(Self, Router), Error> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, settings.port));
        Self::build(settings, address, &Handle::current())
    }

    fn build(settings: Settings, address: SocketAddr, handle: &Handle) -> Result<(Self, Router), Error> {
        let source = Arc::new(open_source(&settings)?);
        let seed = settings.source.seed;
        let clock = settings.clock;
        let faults = Arc::new(Faults::new(seed, settings.faults));
        let tokens = Arc::new(Tokens::new(seed, TENANT_ID, settings.token_lifetime, clock.clone()));
        let identity_header = source::guid(source::Dice::new(seed).named("identity header")).to_string();
        let url = format!("http://{address}");
        let directory = entra::Settings {
            tenant_id: TENANT_ID.to_owned(),
            apps: settings.apps,
            managed_identity: ManagedIdentity {
                client_id: IDENTITY_CLIENT_ID.to_owned(),
                header: identity_header.clone(),
                roles: settings.managed_identity_roles,
            },
            audiences: [entra::GRAPH, entra::KUSTO, entra::MDE, entra::XDR, &url].map(str::to_owned).to_vec(),
        };
        let database = match &settings.state_directory {
            Some(directory) => Database::open(DATABASE, clock.clone(), &directory.join("adx"))?,
            None => Database::new(DATABASE, clock.clone()),
        };
        let database = Arc::new(database);
        let adx = Adx::new(database.clone(), tokens.clone(), faults.clone(), vec![url.clone()]);
        let adx = Arc::new(adx.with_queued_rest(settings.queued_rest).of_kind(settings.kind));
        let container_permissions = settings.container_permissions;
        let lent = storage::Settings { base_url: url, seed, container_permissions, ..storage::Settings::default() };
        let storage = Arc::new(Storage::new(lent, clock.clone(), faults.clone()).map_err(Error::Storage)?);
        if settings.kind != Kind::Emulator {
            adx.lend(storage.clone());
        }
        let ingestion = Ingestion::start(database, storage.clone(), settings.ingestion, handle);
        let entra = Entra::new(directory, tokens.clone(), clock.clone(), faults.clone());
        let dated = settings.dates_ahead_seconds.map(|ahead| (ahead, clock.clone()));
        let hunting = Arc::new(Hunting::new(settings.hunting, source.clone(), tokens.clone(), faults.clone(), clock));
        let router = entra::router(Arc::new(entra))
            .merge(hunting::router(hunting.clone()))
            .merge(adx::router(adx.clone()))
            .merge(storage::router(storage.clone()));
        let router = match dated {
            None => router,
            Some((ahead, clock)) => router.layer(map_response(move |response: Response| {
                let shown = date(clock.unix_seconds() + ahead);
                async move { dated_as(response, shown) }
            })),
        };
        let runtime = None;
        let cloud =
            Self { address, source, hunting, adx, storage, ingestion, tokens, faults, identity_header, runtime };
        Ok((cloud, router))
    }

    /// Its address, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The tenant's tables.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// The cluster.
    pub fn adx(&self) -> &Arc<Adx> {
        &self.adx
    }

    /// The storage that ingestion goes through.
    pub fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }

    /// Queued ingestion.
    pub fn ingestion(&self) -> &Ingestion {
        &self.ingestion
    }

    /// The tokens that its services accept.
    pub fn tokens(&self) -> &Arc<Tokens> {
        &self.tokens
    }

    /// What goes wrong.
    pub fn faults(&self) -> &Arc<Faults> {
        &self.faults
    }

    /// What the hunting API was asked and answered so far.
    pub fn hunting_statistics(&self) -> hunting::Statistics {
        self.hunting.statistics()
    }

    /// The machine's identity, as roles in the database name it.
    pub fn principal(&self) -> String {
        format!("aadapp={IDENTITY_CLIENT_ID};{TENANT_ID}")
    }

    /// The environment of a client of this cloud, as for any sovereign cloud.
    pub fn product_settings(&self) -> Vec<(String, String)> {
        let url = self.url();
        [
            ("DEFENDER_HUNTING_API_URL", format!("{url}/v1.0/security/runHuntingQuery")),
            ("DEFENDER_RESOURCE_URI", entra::GRAPH.to_owned()),
            ("ADX_CLUSTER_URI", url.clone()),
            ("ADX_INGEST_URI", url.clone()),
            ("ADX_DATABASE", DATABASE.to_owned()),
            ("TRUSTED_HOSTS", Ipv4Addr::LOCALHOST.to_string()),
            ("IDENTITY_ENDPOINT", format!("{url}/msi/token")),
            ("IDENTITY_HEADER", self.identity_header.clone()),
            ("AZURE_TENANT_ID", TENANT_ID.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // May happen inside another runtime, where waiting is not allowed.
            runtime.shutdown_background();
        }
    }
}

fn dated_as(mut response: Response, date: Option<HeaderValue>) -> Response {
    response.headers_mut().extend(date.map(|date| (header::DATE, date)));
    response
}

/// Seconds since 1970 as an HTTP date (RFC 9110, section 5.6.7).
fn date(unix_seconds: i64) -> Option<HeaderValue> {
    let format =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    let at = time::OffsetDateTime::from_unix_timestamp(unix_seconds).ok()?;
    HeaderValue::from_str(&at.format(format).ok()?).ok()
}

fn open_source(settings: &Settings) -> Result<Source, Error> {
    let Some(directory) = &settings.state_directory else { return Ok(Source::new(&settings.source)?) };
    let fail = |source| Error::StateDirectory { path: directory.clone(), source };
    std::fs::create_dir_all(directory).map_err(fail)?;
    Ok(Source::open(&settings.source, &directory.join("source.json"))?)
}

async fn serve(listener: tokio::net::TcpListener, router: Router) {
    // `axum::serve` ends only with the runtime: it retries failed accepts by itself.
    let listener = listener.tap_io(|connection| {
        // Without it, small answers only wait longer.
        let _ = connection.set_nodelay(true);
    });
    let _ = axum::serve(listener, router).await;
}

/// A request body that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("the request body cannot be read: {0}")]
pub struct UnreadableBody(String);

/// The whole request body, if it has at most `cap_bytes` and comes in time.
pub(crate) async fn read_body(body: Body, cap_bytes: usize) -> Result<Bytes, UnreadableBody> {
    let fail = |text: String| UnreadableBody(text);
    tokio::time::timeout(BODY_PATIENCE, axum::body::to_bytes(body, cap_bytes))
        .await
        .map_err(|_| fail("it did not come in time".to_owned()))?
        .map_err(|error| fail(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{TableSettings, ticks};
    use std::net::TcpStream;

    #[test]
    fn a_dropped_cloud_no_longer_listens() {
        let cloud = Cloud::start(Settings::default()).unwrap();
        let address = cloud.address;
        assert!(TcpStream::connect(address).is_ok());
        drop(cloud);
        let gone = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            TcpStream::connect(address).is_err()
        });
        assert!(gone);
    }

    #[tokio::test]
    async fn a_cloud_may_be_dropped_inside_a_runtime() {
        drop(Cloud::start(Settings::default()).unwrap());
    }

    #[test]
    fn a_state_directory_brings_the_tenant_back() {
        let directory = tempfile::tempdir().unwrap();
        let start = |rows| {
            let tables = vec![TableSettings::new("DeviceEvents", rows, 0, ticks::DAY)];
            let source = source::Settings { seed: 3, tables, ..source::Settings::default() };
            let state_directory = Some(directory.path().join("state"));
            Cloud::start(Settings { source, state_directory, ..Settings::default() }).unwrap()
        };
        let rows = |cloud: &Cloud| cloud.source().identities("DeviceEvents").unwrap().collect::<Vec<_>>();
        let first = start(50);
        first.source().append("DeviceEvents", 7, ticks::DAY, ticks::DAY).unwrap();
        let written = rows(&first);
        drop(first);
        assert_eq!(written.len(), 57);
        assert_eq!(rows(&start(9)), written);
    }

    #[test]
    fn a_taken_port_is_named() {
        let cloud = Cloud::start(Settings::default()).unwrap();
        let error = Cloud::start(Settings { port: cloud.address.port(), ..Settings::default() }).err().unwrap();
        assert!(error.to_string().contains(&cloud.address.port().to_string()));
    }
}
