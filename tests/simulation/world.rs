//! A tenant, a cluster, a state store and the processes of the app, all in virtual time.

use super::clock::Virtual;
use super::gate::{Death, Fate, Odds, Point};
use super::observe::{Seen, watched};
use super::process::{Dice, Process, Surroundings, adopt};
use adxingestor::config::Settings;
use adxingestor::orchestration::ids::InstanceId;
use adxingestor::orchestration::instance::Instance;
use adxingestor::outbound::http_client;
use adxingestor::state::{CHUNK_QUEUE, CONTROL_QUEUE, State, Tenant};
use adxingestor::storage::{Storage, memory, retrying};
use localcloud::adx::ingestion::{Mishap, Settings as IngestionSettings};
use localcloud::clock::Clock;
use localcloud::cloud::{Cloud, Settings as CloudSettings};
use localcloud::faults::Plan;
use localcloud::hunting::CallLimit;
use localcloud::source::{Settings as SourceSettings, TableOptions, TableSettings};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Ticks of a second.
pub const SECOND: i64 = 10_000_000;
/// The port that the addresses of the cloud name; nobody listens there.
const PORT: u16 = 1;

/// A table of the tenant.
#[derive(Debug, Clone)]
pub struct SimulatedTable {
    pub name: &'static str,
    pub rows: u64,
    pub days: i64,
}

/// What a simulation is made from.
#[derive(Debug, Clone)]
pub struct Setting {
    pub seed: u64,
    pub tables: Vec<SimulatedTable>,
    pub options: TableOptions,
    /// Those of tables that are not like the others.
    pub special: Vec<(&'static str, TableOptions)>,
    /// How many computers the tenant has.
    pub devices: u32,
    /// `LoadType` of all tables that have a time.
    pub load_type: &'static str,
    pub processes: usize,
    pub odds: Odds,
    /// What goes wrong at one effect or several.
    pub points: Vec<Point>,
    pub watched: bool,
    pub repeated: u32,
    /// How far clocks are wrong at most: two may be apart by twice as much.
    pub skew_seconds: i64,
    pub faults: Plan,
    pub mishaps: Vec<(Mishap, f64)>,
    /// How much later than others a late ingestion lands.
    pub lateness: Duration,
    /// Whether late ingestions of one window do not exclude each other.
    pub late_is_blind: bool,
    /// Whether `ingestIfNotExists` keeps nothing out.
    pub ignores_tags: bool,
    /// Calls a minute that Defender takes; `None`: any number.
    pub quota: Option<u32>,
    /// The most bytes of an answer of Defender.
    pub answer_bytes: u64,
    /// The most values of rows that a query of Defender may read; `None`: any number.
    pub values_read: Option<u64>,
    /// The most rows of one; more are cut off without a word.
    pub answer_rows: u64,
    /// Whether Defender refuses to pack rows.
    pub refuse_pack: bool,
    /// What else in a query Defender refuses, by its words.
    pub refuse_words: Vec<String>,
    pub settings: Vec<(&'static str, String)>,
    /// What every second process has set otherwise: an update of the app goes on.
    pub updated: Vec<(&'static str, String)>,
    /// Whether all that happens is noted.
    pub noted: bool,
}

impl Setting {
    /// Nothing goes wrong.
    pub fn quiet(seed: u64, tables: Vec<SimulatedTable>) -> Self {
        Self {
            seed,
            tables,
            options: TableOptions { duplicates_per_mille: 0, ..TableOptions::default() },
            special: Vec::new(),
            devices: 5,
            load_type: "Incremental",
            processes: 1,
            odds: Odds::default(),
            points: Vec::new(),
            watched: true,
            repeated: 0,
            skew_seconds: 0,
            faults: Plan::default(),
            mishaps: Vec::new(),
            lateness: Duration::from_secs(1200),
            late_is_blind: false,
            ignores_tags: false,
            quota: None,
            answer_bytes: 50_000_000,
            values_read: None,
            answer_rows: 100_000,
            refuse_pack: false,
            refuse_words: Vec::new(),
            settings: vec![("CHUNK_SIZE", "10".to_owned()), ("HUNTING_CALLS_PER_MINUTE", "600".to_owned())],
            updated: Vec::new(),
            noted: std::env::var_os("ADXINGESTOR_TRACE").is_some(),
        }
    }
}

pub struct World {
    pub cloud: Cloud,
    pub store: Storage,
    pub fate: Arc<Fate>,
    pub clock: Virtual,
    pub seen: Arc<Seen>,
    around: Surroundings,
    /// The settings of every second process.
    updated: Arc<BTreeMap<String, String>>,
    processes: Vec<Process>,
    spare: Vec<Process>,
    skew_seconds: i64,
    load_type: &'static str,
    ignores_tags: bool,
    seed: u64,
    lives: u64,
}

fn client() -> reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| http_client().unwrap()).clone()
}

impl World {
    /// Everything as it is before the first run.
    pub fn new(setting: &Setting) -> Self {
        let clock = Virtual::start();
        let until = Clock::now(&clock) - 5 * SECOND;
        let tables = setting.tables.iter().map(|table| {
            let special = setting.special.iter().find(|(name, _)| *name == table.name);
            let options = special.map_or(&setting.options, |(_, options)| options);
            TableSettings::new(table.name, table.rows, until - table.days * 86_400 * SECOND, until)
                .with(options.clone())
        });
        let mut settings = CloudSettings {
            port: PORT,
            source: SourceSettings {
                seed: setting.seed,
                devices: setting.devices,
                tables: tables.collect(),
                ..SourceSettings::default()
            },
            ingestion: IngestionSettings {
                seed: setting.seed,
                mishaps: setting.mishaps.clone(),
                lateness: setting.lateness,
                late_is_blind: setting.late_is_blind,
                ..IngestionSettings::default()
            },
            faults: setting.faults.clone(),
            clock: Arc::new(clock),
            ..CloudSettings::default()
        };
        let minute = |calls| CallLimit { calls, period: Duration::from_secs(60) };
        settings.hunting.limits.calls = setting.quota.map(minute).into_iter().collect();
        settings.hunting.limits.result_bytes = setting.answer_bytes;
        settings.hunting.limits.read = setting.values_read;
        settings.hunting.limits.rows = setting.answer_rows;
        settings.hunting.refuse_pack = setting.refuse_pack;
        settings.hunting.refuse_words.clone_from(&setting.refuse_words);
        settings.hunting.gzip = false;
        // What is shown without a time span is shown with one that holds every time: the default is documented as a part of that.
        settings.hunting.all_times_hold_nulls = true;
        let (cloud, router) = Cloud::in_process(settings).unwrap();
        if setting.ignores_tags {
            cloud.adx().ignore_tags();
        }
        let fate = Arc::new(Fate::new(setting.seed, setting.odds, setting.points.clone(), setting.noted));
        let mut app: BTreeMap<String, String> = cloud.product_settings().into_iter().collect();
        // More than clocks may be ahead.
        app.insert("SETTLING_LAG_MINUTES".to_owned(), "3".to_owned());
        let named = |(name, value): &(&str, String)| ((*name).to_owned(), value.clone());
        app.extend(setting.settings.iter().map(named));
        let mut updated = app.clone();
        updated.extend(setting.updated.iter().map(named));
        let seen = Arc::new(Seen::default());
        let store = watched(memory(Arc::new(clock)), Arc::clone(&seen));
        let around = Surroundings {
            store: store.clone(),
            cloud: router,
            tokens: Arc::clone(cloud.tokens()),
            settings: Arc::new(app),
            http: client(),
            fate: Arc::clone(&fate),
            seen: Arc::clone(&seen),
            clock,
            repeated: setting.repeated,
            watched: setting.watched,
        };
        let (skew_seconds, seed) = (setting.skew_seconds, setting.seed);
        let mut world = Self {
            cloud,
            store,
            fate,
            clock,
            seen,
            around,
            updated: Arc::new(updated),
            processes: Vec::new(),
            spare: Vec::new(),
            skew_seconds,
            load_type: setting.load_type,
            ignores_tags: setting.ignores_tags,
            seed,
            lives: 0,
        };
        world.metadata(&setting.tables);
        for _ in 0..setting.processes {
            let process = world.life(world.processes.len());
            world.processes.push(process);
        }
        world
    }

    fn metadata(&self, tables: &[SimulatedTable]) {
        self.adx(
            ".create-merge table meta_MigrationConfiguration (SourceTable:string, DestinationFolder:string, DestinationTable:string, \
             WatermarkColumn:string, LastRefreshedTime:datetime, HighWatermark:datetime, LoadType:string, IsActive:bool)",
        );
        self.adx(
            ".create-or-alter function with (view = true) vw_meta_LatestMigrationConfiguration() { meta_MigrationConfiguration \
             | extend IngestionTime = ingestion_time() | summarize arg_max(IngestionTime, *) by SourceTable | where IsActive == true }",
        );
        for table in tables {
            self.configure(table.name, table.name);
        }
    }

    /// Adds a config row: `source` is to be copied to `destination`.
    pub fn configure(&self, source: &str, destination: &str) {
        let shown = self.cloud.source().at(0).table(source);
        let has_time = shown.is_none_or(|table| table.columns().iter().any(|column| column.name == "Timestamp"));
        let load_type = if has_time { self.load_type } else { "Snapshot" };
        let column = if load_type == "Snapshot" { "" } else { "Timestamp" };
        self.adx(&format!(
            ".set-or-append meta_MigrationConfiguration <| print SourceTable='{source}', DestinationFolder='Defender', \
             DestinationTable='{destination}', WatermarkColumn='{column}', LastRefreshedTime=datetime(null), \
             HighWatermark=datetime(null), LoadType='{load_type}', IsActive=true"
        ));
    }

    /// Runs a command or query; gives the rows of its answer.
    pub fn adx(&self, csl: &str) -> Vec<Vec<Value>> {
        self.cloud.adx().run(csl).unwrap_or_else(|error| panic!("{csl}: {error}")).json_rows()
    }

    /// Whether no process's clock is wrong.
    pub fn clocks_agree(&self) -> bool {
        self.skew_seconds == 0
    }

    /// Whether `ingestIfNotExists` keeps nothing out.
    pub fn ignores_tags(&self) -> bool {
        self.ignores_tags
    }

    /// How many processes have begun so far.
    pub fn lives(&self) -> u64 {
        self.lives
    }

    /// Whether the timer of the watchdog fires, which alone empties the poison queues.
    pub fn is_watched(&self) -> bool {
        self.around.watched
    }

    /// The settings of the app.
    pub fn settings(&self) -> Settings {
        Settings::parse(&|name: &str| self.around.settings.get(name).cloned()).unwrap()
    }

    /// The records, without any gate.
    pub fn records(&self) -> State {
        let limits = adxingestor::orchestration::limits::Limits::scaled(1.0);
        State::new(retrying(self.store.clone(), Dice::new(1)), Dice::new(2), Tenant::new("", &limits))
    }

    fn life(&mut self, index: usize) -> Process {
        self.lives += 1;
        let span = 2 * self.skew_seconds + 1;
        let ahead =
            (self.seed.wrapping_mul(31).wrapping_add(index as u64 * 7919) % span as u64) as i64 - self.skew_seconds;
        let mut around = self.around.clone();
        if index % 2 == 1 {
            around.settings = Arc::clone(&self.updated);
        }
        Process::start(format!("p{index}.{}", self.lives), &around, ahead, self.seed ^ (self.lives << 32))
    }

    /// Starts dead processes again.
    fn revive(&mut self) {
        for index in 0..self.processes.len() {
            if self.processes[index].gate.death().is_some() {
                self.processes[index] = self.life(index);
            }
        }
    }

    /// Ends all processes and starts them again, as after an update of the app.
    pub fn restart_all(&mut self) {
        for process in &self.processes {
            process.gate.kill(Death::Host);
        }
        self.revive();
    }

    /// Ends a process with all that it is at, and starts it again; its host lives on.
    pub async fn crash(&mut self, index: usize) {
        self.processes[index].gate.kill(Death::Handler);
        // Its host gives the messages back.
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.revive();
    }

    /// Lets a long time go by in which no process of the app is alive.
    pub async fn stand_still(&mut self, time: Duration) {
        for process in std::mem::take(&mut self.processes) {
            process.gate.kill(Death::Host);
            self.spare.push(process);
        }
        tokio::time::sleep(time).await;
        for index in 0..std::mem::take(&mut self.spare).len() {
            let process = self.life(index);
            self.processes.push(process);
        }
    }

    /// Ends all processes, and all that the store held is gone.
    pub async fn lose_the_store(&mut self) {
        assert_eq!(self.seen.violations(), Vec::<String>::new());
        self.stand_still(Duration::from_secs(600)).await;
        self.seen = Arc::new(Seen::default());
        self.store = watched(memory(Arc::new(self.clock)), Arc::clone(&self.seen));
        (self.around.store, self.around.seen) = (self.store.clone(), Arc::clone(&self.seen));
        self.restart_all();
    }

    /// Rebuilds the ledger of a table by hand, as often as it takes.
    pub async fn adopt(&mut self, table: &str) -> Result<(), String> {
        let mut said = String::new();
        for _ in 0..5 {
            self.lives += 1;
            let (name, seed) = (format!("adopt.{}", self.lives), self.seed ^ (self.lives << 32));
            match adopt(&self.around, name, seed, table).await {
                Some(Ok(())) => return Ok(()),
                Some(Err(error)) => said = error,
                None => {}
            }
            self.pass(Duration::from_secs(60)).await;
        }
        Err(said)
    }

    /// A client's call, repeated until it is answered.
    pub async fn call(&mut self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        loop {
            self.revive();
            let process = &self.processes[(self.fate.effects() % self.processes.len() as u64) as usize];
            match process.call(method, path, body).await {
                Some((503 | 500, _)) | None => self.pass(Duration::from_secs(5)).await,
                Some(answer) => return answer,
            }
        }
    }

    /// Lets time go by.
    pub async fn pass(&mut self, time: Duration) {
        let end = self.clock.elapsed() + time;
        while self.clock.elapsed() < end {
            tokio::time::sleep(Duration::from_secs(1).min(end - self.clock.elapsed())).await;
            self.revive();
        }
    }

    /// Starts a run, or finds the one that a lost answer has started. One whose start broke off half-way never comes to
    /// be; then another has to be started.
    pub async fn start(&mut self) -> InstanceId {
        self.start_with(&json!({})).await
    }

    /// The same with what a run is asked for.
    pub async fn start_with(&mut self, input: &Value) -> InstanceId {
        loop {
            let (status, body) = self.call("POST", "/api/adxingestor/start_orchestrator", input).await;
            assert!(status == 202 || status == 409, "{status} {body}");
            let id = body["id"].as_str().or(body["instanceId"].as_str()).unwrap_or_else(|| panic!("{status} {body}"));
            let id = id.parse().unwrap();
            if self.records().instance(&id).await.unwrap().is_some() {
                return id;
            }
            self.pass(Duration::from_secs(60)).await;
        }
    }

    /// The queues that somebody empties.
    pub fn emptied_queues(&self) -> impl Iterator<Item = String> {
        let suffixes = if self.is_watched() { &["", "-poison"][..] } else { &[""] };
        [CONTROL_QUEUE, CHUNK_QUEUE]
            .into_iter()
            .flat_map(|queue| suffixes.iter().map(move |suffix| format!("{queue}{suffix}")))
    }

    /// Waits until nobody has a message left, as far as that ever comes.
    pub async fn settled(&mut self, patience: Duration) {
        let end = self.clock.elapsed() + patience;
        while self.clock.elapsed() < end {
            let mut left = 0;
            for queue in self.emptied_queues() {
                left += self.store.queues.approximate_count(&queue).await.unwrap();
            }
            if left == 0 {
                return;
            }
            self.pass(Duration::from_secs(30)).await;
        }
    }

    /// Waits until the run is final; gives it, or `None` when it is not after `patience`.
    pub async fn ended(&mut self, id: &InstanceId, patience: Duration) -> Option<Instance> {
        let (records, end) = (self.records(), self.clock.elapsed() + patience);
        // Nothing is new while nobody has written.
        let mut looked_at = None;
        while self.clock.elapsed() < end {
            let written = self.seen.writes();
            if looked_at != Some(written)
                && let Some(run) = records.instance(id).await.unwrap()
                && run.record.status.is_final()
                && records.active().await.unwrap().is_none_or(|active| active.record.instance != *id)
            {
                return Some(run.record);
            }
            looked_at = Some(written);
            self.pass(Duration::from_secs(1)).await;
        }
        None
    }
}
