//! The wiring: settings to clients to functions. Everything is built once here and handed in.

use crate::adx::catalog::{Catalog, Destination};
use crate::adx::ingestion::{ChunkIdMode, Ingestor, Posted, Shelf, StoredBlob, Submission};
use crate::adx::{self, Endpoints, FreshIds, Pace};
use crate::config::Settings;
use crate::defender;
use crate::functions::{KnownThrottling, KnownTimespan};
use crate::kql::{Identifier, InvalidName};
use crate::orchestration::instance::{LoadType, TableConfig};
use crate::orchestration::ledger::{ChunkIdPlace, Head};
use crate::orchestration::limits::Limits;
use crate::orchestration::snapshot;
use crate::orchestration::window::{Seal, Window};
use crate::outbound::Outbound;
use crate::state::State;
use crate::storage::BlobStore;
use crate::timestamp::{Clock, Timestamp};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use tokio::time::Instant;

/// What every function is handed.
#[derive(Clone)]
pub struct App {
    /// The records of runs and ledgers.
    pub state: State,
    /// The numbers.
    pub limits: Limits,
    /// What copies tables, or why it cannot: then every run fails with that reason.
    pub services: Result<Arc<Services>, String>,
}

/// The two ends of a copy.
pub struct Services {
    /// The settings they were made from.
    pub settings: Settings,
    /// The source.
    pub defender: defender::Client,
    /// The destination's metadata tables and counts.
    pub catalog: Catalog,
    /// The destination's ingestion.
    pub ingestor: Ingestor,
    /// What this process knows of the source's time spans.
    pub timespan: KnownTimespan,
    /// Since when that service has said nothing but 429.
    pub throttled: KnownThrottling,
}

impl Services {
    /// The clients of `settings`, all of them over `outbound`. `clock` is the state store's, and `ids` tell requests apart.
    pub fn new(settings: Settings, outbound: Outbound, clock: Arc<dyn Clock>, ids: Arc<dyn FreshIds>) -> Self {
        let (url, resource) = (settings.hunting.clone(), settings.hunting_resource.clone());
        let defender = defender::Client::new(outbound.clone(), url, resource, defender::Limits::default());
        let endpoints = Endpoints {
            cluster: settings.cluster.clone(),
            ingest: settings.ingest.clone(),
            database: settings.database.clone(),
            app: settings.app.clone(),
        };
        let adx = adx::Client::new(outbound, endpoints, clock, ids, Pace::default());
        let catalog = Catalog::new(adx.clone(), settings.names.clone());
        let ingestor = Ingestor::new(adx, settings.ingestion);
        Self {
            settings,
            defender,
            catalog,
            ingestor,
            timespan: KnownTimespan::default(),
            throttled: KnownThrottling::default(),
        }
    }

    /// The same, with `blobs` to keep what is sent inside commands to a cluster that lends no storage.
    #[must_use]
    pub fn keeping(self, blobs: Arc<dyn BlobStore>) -> Self {
        Self { ingestor: self.ingestor.keeping(Arc::new(OwnStore(blobs))), ..self }
    }

    /// What tells the hunting endpoint from others.
    pub fn hunting_endpoint(&self) -> String {
        let url = &self.settings.hunting;
        format!("{}{}", url.host_str().unwrap_or_default(), url.path()).to_ascii_lowercase()
    }

    /// Where the rows of a table hold the id of their window: fixed by its first run, whatever the setting says now.
    pub fn chunk_id_place(&self, head: &Head) -> ChunkIdPlace {
        head.shape.as_ref().map_or(self.settings.chunk_id, |shape| shape.chunk_id)
    }

    /// How the rows of a table learn the id of their window.
    pub fn chunk_id_mode(&self, head: &Head) -> ChunkIdMode {
        mode_of(self.chunk_id_place(head))
    }

    /// Posts a sealed window to ADX.
    ///
    /// # Errors
    /// After any of them it may have been posted: count before posting again.
    pub async fn post(
        &self,
        head: &Head,
        window: &Window,
        seal: &Seal,
        deadline: Instant,
    ) -> Result<Posted, adx::Error> {
        let name =
            |text: &str| Identifier::new(text).map_err(|error| adx::Error::Corrupt { message: error.to_string() });
        let (table, watermark_column) = (name(&head.destination)?, name(&head.watermark_column)?);
        let blob = StoredBlob { url: seal.blob.clone(), compressed_bytes: seal.compressed_bytes };
        let submission = Submission {
            table: &table,
            window_id: &window.id.to_string(),
            number: window.posts.max(1),
            blob: &blob,
            raw_bytes: seal.raw_bytes,
            watermark_column: &watermark_column,
            stamp: snapshot::is_whole(head).then_some(window.id.high),
            chunk_id: self.chunk_id_mode(head),
            created: self
                .settings
                .tables
                .of(&head.destination)
                .backdated
                .then_some(window.id.high)
                .filter(|at| is_instant(*at)),
        };
        self.ingestor.post(&submission, deadline).await
    }
}

/// The state store's blobs, for blobs of rows.
struct OwnStore(Arc<dyn BlobStore>);

#[async_trait]
impl Shelf for OwnStore {
    async fn put(&self, name: &str, content: Bytes) -> Result<(), String> {
        self.0.put(name, content).await.map_err(|error| error.to_string())
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, String> {
        self.0.get(name).await.map_err(|error| error.to_string())
    }

    async fn delete(&self, name: &str) -> Result<(), String> {
        self.0.delete(name).await.map_err(|error| error.to_string())
    }
}

/// Whether it is an instant, and not one of the ends of time that stand for none.
fn is_instant(at: Timestamp) -> bool {
    at != Timestamp::MIN && at != Timestamp::MAX
}

/// The destination of a table as its configuration, the settings and its ledger, if it has one, ask for it. `must_be_there`:
/// it has rows that were proved.
///
/// # Errors
/// [`InvalidName`] for a name that Kusto does not accept.
pub fn destination(
    settings: &Settings,
    config: &TableConfig,
    head: Option<&Head>,
    must_be_there: bool,
) -> Result<Destination, InvalidName> {
    let shape = head.and_then(|head| head.shape.as_ref());
    Ok(Destination {
        table: Identifier::new(&config.destination)?,
        folder: config.folder.clone(),
        watermark_column: Identifier::new(&config.watermark_column)?,
        stamped: config.load_type == Some(LoadType::Snapshot),
        chunk_id: mode_of(shape.map_or(settings.chunk_id, |shape| shape.chunk_id)),
        ours: shape.is_some() && head.is_some_and(|head| head.made_here),
        must_be_there,
        policies: settings.tables.of(&config.destination).clone(),
    })
}

/// How rows get the id of their window to its place.
pub fn mode_of(place: ChunkIdPlace) -> ChunkIdMode {
    match place {
        ChunkIdPlace::Column => ChunkIdMode::Constant,
        ChunkIdPlace::Row => ChunkIdMode::InRow,
    }
}
