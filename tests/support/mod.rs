//! A function app and the cloud it lives in: the real binary over the real function folders, the simulated cloud
//! at the network edge. Tests go through the public door only.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

pub mod azurite;
pub mod blows;
pub mod onlooker;

use localcloud::cloud::{Cloud, Settings as CloudSettings};
use localcloud::source::{Settings as SourceSettings, TableOptions, TableSettings};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use std::any::Any;
use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How much the tests shrink the host's and the protocol's times.
pub const TIME_SCALE: f64 = 20.0;
const PATIENCE: Duration = Duration::from_secs(240);

/// A copy of one table as its config row asks for it.
pub struct Copied<'a> {
    pub source: &'a str,
    pub destination: &'a str,
    pub watermark_column: &'a str,
    pub load_type: &'a str,
}

impl<'a> Copied<'a> {
    pub fn incremental(source: &'a str) -> Self {
        Self { source, destination: source, watermark_column: "Timestamp", load_type: "Incremental" }
    }
}

/// Where the function app keeps its state.
pub struct Store {
    settings: Vec<(String, String)>,
    /// Settings of another store in the same place, empty.
    elsewhere: Vec<(String, String)>,
    _keep: Box<dyn Any + Send + Sync>,
}

impl Store {
    /// A store that these settings name; `keep` lives as long as the deployment: a directory or process of the store.
    /// `elsewhere` are those of another one in the same place.
    pub fn new(settings: &[(&str, String)], elsewhere: (&str, String), keep: impl Any + Send + Sync) -> Self {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let elsewhere = vec![(elsewhere.0.to_owned(), elsewhere.1)];
        Self { settings, elsewhere, _keep: Box::new(keep) }
    }

    /// One SQLite file.
    pub fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state = |file: &str| format!("sqlite:{}", directory.path().join(file).display());
        let (settings, elsewhere) = ([("STATE_STORE", state("state.db"))], ("STATE_STORE", state("other.db")));
        Self::new(&settings, elsewhere, directory)
    }
}

/// A cloud and a function app pointed at it, in one process or several.
pub struct Deployment {
    pub cloud: Cloud,
    logs: tempfile::TempDir,
    settings: Vec<(String, String)>,
    /// More arguments of the app's processes.
    arguments: Vec<String>,
    time_scale: f64,
    apps: Vec<App>,
    http: reqwest::Client,
    store: Store,
    program: PathBuf,
    app_root: PathBuf,
}

/// A process of the function app: the embedded host, whose handler ends with it.
struct App {
    port: u16,
    log: PathBuf,
    host: Option<Child>,
}

/// The present, in the ticks of the simulated cloud.
pub fn now() -> i64 {
    use localcloud::clock::Clock;
    localcloud::clock::SystemClock.now()
}

/// Ticks of a span.
pub fn ticks(span: Duration) -> i64 {
    i64::try_from(span.as_nanos() / 100).unwrap()
}

/// A table whose rows arrived over the last `days` days.
pub fn table(name: &str, rows: u64, days: u64) -> TableSettings {
    let until = now() - ticks(Duration::from_secs(5));
    TableSettings::new(name, rows, until - ticks(Duration::from_secs(days * 86_400)), until)
}

/// A table with its own ways.
pub fn odd_table(name: &str, rows: u64, days: u64, options: TableOptions) -> TableSettings {
    table(name, rows, days).with(options)
}

/// A cloud with these tables and a quota that does not slow a test down.
pub fn cloud(tables: Vec<TableSettings>) -> CloudSettings {
    let mut settings =
        CloudSettings { source: SourceSettings { tables, ..SourceSettings::default() }, ..CloudSettings::default() };
    settings.hunting.limits.calls.clear();
    settings
}

impl Deployment {
    /// Starts cloud and app.
    pub async fn start(store: Store, cloud: CloudSettings, copied: &[Copied<'_>]) -> Self {
        Self::start_with(store, cloud, copied, &[]).await
    }

    /// Starts cloud and app with more settings. `{cloud}` in one stands for the cloud's address.
    pub async fn start_with(store: Store, cloud: CloudSettings, copied: &[Copied<'_>], more: &[(&str, &str)]) -> Self {
        Self::start_scaled(TIME_SCALE, store, cloud, copied, more).await
    }

    /// The same with another time scale.
    pub async fn start_scaled(
        time_scale: f64,
        store: Store,
        cloud: CloudSettings,
        copied: &[Copied<'_>],
        more: &[(&str, &str)],
    ) -> Self {
        let mut deployment = Self::without_app(time_scale, store, cloud, copied, more);
        deployment.add_app().await;
        deployment
    }

    /// Starts the cloud alone, for commands of the app.
    pub fn without_app(
        time_scale: f64,
        store: Store,
        cloud: CloudSettings,
        copied: &[Copied<'_>],
        more: &[(&str, &str)],
    ) -> Self {
        let cloud = Cloud::start(cloud).expect("the cloud starts");
        let mut settings = cloud.product_settings();
        settings.extend(store.settings.iter().cloned());
        settings.push(("SETTLING_LAG_MINUTES".into(), "0".into()));
        settings.push(("HUNTING_CALLS_PER_MINUTE".into(), "6000".into()));
        settings.push(("NIGHTLY_SCHEDULE".into(), "0 0 2 1 1 *".into()));
        let address = cloud.url();
        settings.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.replace("{cloud}", &address))));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        let logs = tempfile::tempdir().unwrap();
        let (program, app_root) = (env!("CARGO_BIN_EXE_adxingestor").into(), env!("CARGO_MANIFEST_DIR").into());
        let (arguments, apps) = (Vec::new(), Vec::new());
        let deployment = Self { cloud, logs, settings, arguments, time_scale, apps, http, store, program, app_root };
        deployment.metadata(copied);
        deployment
    }

    /// The metadata tables and config rows, as an administrator makes them.
    fn metadata(&self, copied: &[Copied<'_>]) {
        self.adx(
            ".create-merge table meta_MigrationConfiguration (SourceTable:string, DestinationFolder:string, DestinationTable:string, \
             WatermarkColumn:string, LastRefreshedTime:datetime, HighWatermark:datetime, LoadType:string, IsActive:bool) with (folder = 'metadata_tables')",
        );
        self.adx(
            ".create-or-alter function with (view = true, folder = 'metadata_views') vw_meta_LatestMigrationConfiguration() { \
             meta_MigrationConfiguration | extend IngestionTime = ingestion_time() | summarize arg_max(IngestionTime, *) by SourceTable | where IsActive == true }",
        );
        for table in copied {
            self.configure(table);
        }
    }

    /// Adds a config row.
    pub fn configure(&self, table: &Copied<'_>) {
        let text = |text: &str| serde_json::to_string(text).unwrap();
        self.adx(&format!(
            ".set-or-append meta_MigrationConfiguration <| print SourceTable={}, DestinationFolder=\"Defender\", DestinationTable={}, \
             WatermarkColumn={}, LastRefreshedTime=datetime(null), HighWatermark=datetime(null), LoadType={}, IsActive=true",
            text(table.source),
            text(table.destination),
            text(table.watermark_column),
            text(table.load_type)
        ));
    }

    /// Runs a command or query in the simulated ADX; gives the rows of its answer.
    pub fn adx(&self, csl: &str) -> Vec<Vec<Value>> {
        self.cloud.adx().run(csl).unwrap_or_else(|error| panic!("{csl}: {error}")).json_rows()
    }

    /// Starts one more process of the app; gives its index.
    pub async fn add_app(&mut self) -> usize {
        let index = self.apps.len();
        let log = self.logs.path().join(format!("app{index}.log"));
        self.apps.push(App { port: free_port(), log, host: None });
        self.start_app(index).await;
        index
    }

    /// Starts a process of the app, again after a kill, and waits until it answers.
    pub async fn start_app(&mut self, index: usize) {
        self.launch_app(index);
        self.answers(index).await;
    }

    /// Starts a process of the app.
    pub fn launch_app(&mut self, index: usize) {
        let App { port, log, .. } = &self.apps[index];
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut command = Command::new(&self.program);
        command
            .args([
                "standalone",
                "--port",
                &port.to_string(),
                "--time-scale",
                &self.time_scale.to_string(),
                "--app-root",
            ])
            .arg(&self.app_root)
            .args(&self.arguments)
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.apps[index].host = Some(command.spawn().unwrap());
    }

    /// Waits until a process of the app answers.
    pub async fn answers(&self, index: usize) {
        let url = format!("http://127.0.0.1:{}/", self.apps[index].port);
        let began = Instant::now();
        while self.http.get(&url).send().await.is_err() {
            assert!(began.elapsed() < PATIENCE, "the app does not start:\n{}", self.tail());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills a process of the app with SIGKILL; its handler ends with it.
    pub fn kill(&mut self, index: usize) {
        if let Some(mut host) = self.apps[index].host.take() {
            host.kill().unwrap();
            host.wait().unwrap();
        }
    }

    /// Starts all processes of the app again with another setting.
    pub async fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
        self.start_again().await;
    }

    /// Has the processes of the app start again from another place, with the program that lies there.
    pub async fn move_to(&mut self, program: PathBuf, app_root: PathBuf) {
        (self.program, self.app_root) = (program, app_root);
        self.start_again().await;
    }

    /// Starts all processes of the app again with more arguments.
    pub async fn pass(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self.start_again().await;
    }

    async fn start_again(&mut self) {
        for index in 0..self.apps.len() {
            self.kill(index);
            self.start_app(index).await;
        }
    }

    /// Kills all processes of the app, and has them start again without what was in the state store.
    pub async fn lose_the_store(&mut self) {
        for index in 0..self.apps.len() {
            self.kill(index);
        }
        self.settings.retain(|(name, _)| self.store.elsewhere.iter().all(|(lost, _)| lost != name));
        self.settings.extend(self.store.elsewhere.iter().cloned());
        for index in 0..self.apps.len() {
            self.start_app(index).await;
        }
    }

    /// Runs a command of the app beside its processes; gives whether it succeeded, and what it printed.
    pub async fn command(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = self.process(arguments);
        let ended = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
        let printed = [ended.stdout, ended.stderr].concat();
        (ended.status.success(), String::from_utf8_lossy(&printed).into_owned())
    }

    /// A setting of the app.
    pub fn setting(&self, name: &str) -> String {
        let setting = self.settings.iter().find(|(known, _)| known == name);
        setting.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    /// A command of the app, not started.
    pub fn process(&self, arguments: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_adxingestor"));
        command
            .args(arguments)
            .args(["--app-root", env!("CARGO_MANIFEST_DIR")])
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .env("ADXINGESTOR_LOG", "error")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// What a process of the app has logged.
    pub fn log(&self, index: usize) -> String {
        std::fs::read_to_string(&self.apps[index].log).unwrap_or_default()
    }

    /// At the first process that lives.
    pub fn url(&self, path: &str) -> String {
        let app = self.apps.iter().find(|app| app.host.is_some()).expect("a process of the app lives");
        format!("http://127.0.0.1:{}{path}", app.port)
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.call(self.http.get(self.url(path))).await
    }

    pub async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        self.call(self.http.post(self.url(path)).body(body.to_owned())).await
    }

    async fn call(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let (status, _, body) = answer_of(request).await;
        (status, body)
    }

    /// A call with any method and headers; gives the headers of the answer too.
    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, Value) {
        let request = self.http.request(method.parse().unwrap(), self.url(path));
        answer_of(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
    }

    /// Polls the status of a run until it is as wanted.
    pub async fn until(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let (status, body) = self.get(&format!("/api/status/{id}")).await;
            assert_eq!(status, 200, "{body}");
            if wanted(&body) {
                return body;
            }
            assert!(began.elapsed() < PATIENCE, "it never comes to that: {body:#}\n{}", self.tail());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Starts a run and gives its id.
    pub async fn start_run(&self) -> String {
        let (status, body) = self.post("/api/adxingestor/start_orchestrator", "").await;
        assert_eq!(status, 202, "{body}");
        body["id"].as_str().unwrap().to_owned()
    }

    /// Waits until a run has ended and gives its status body.
    pub async fn ended(&self, id: &str) -> Value {
        let status =
            self.until(id, |body| !matches!(body["runtimeStatus"].as_str(), Some("Pending" | "Running"))).await;
        self.assert_no_secret_is_told(&status);
        status
    }

    /// Panics if logs, status, output or audit hold a signature or a token.
    fn assert_no_secret_is_told(&self, status: &Value) {
        let mut told = vec![status.to_string()];
        told.extend((0..self.apps.len()).map(|index| self.log(index)));
        for table in ["meta_MigrationAudit", "meta_ChunkIngestionFailures"] {
            let rows = self.cloud.adx().run(table).map(|rows| rows.json_rows()).unwrap_or_default();
            told.push(Value::from_iter(rows.into_iter().map(Value::from)).to_string());
        }
        for text in &told {
            // A token begins with the Base64 of its header, `{"`.
            for secret in ["sig=", "eyJ"] {
                let found = text.find(secret).map(|at| text[..at].chars().rev().take(200).collect::<String>());
                assert!(
                    found.is_none(),
                    "`{secret}` after {}",
                    found.unwrap_or_default().chars().rev().collect::<String>()
                );
            }
        }
    }

    /// A run that has to end well; gives its processing summary.
    pub async fn completed(&self) -> Value {
        let id = self.start_run().await;
        let status = self.ended(&id).await;
        assert_eq!(status["runtimeStatus"], "Completed", "{status:#}\n{}", self.tail());
        let summary = status["output"]["result"]["processing_summary"].clone();
        assert_eq!(summary["failed_tables"], 0, "{status:#}\n{}", self.tail());
        summary
    }

    /// The end of each log.
    pub fn tail(&self) -> String {
        let end = |index| {
            let log = self.log(index);
            let lines: Vec<&str> = log.lines().collect();
            format!("process {index}:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"))
        };
        (0..self.apps.len()).map(end).collect::<Vec<_>>().join("\n")
    }

    /// Panics unless every row of `source` that had arrived by the recorded watermark is in `destination` once.
    pub fn assert_equal(&self, source: &str, destination: &str) {
        let watermark = self.watermark(source);
        let comparison =
            self.cloud.source().compare(source, i64::MIN, watermark, self.cloud.adx().identities(destination)).unwrap();
        assert!(
            comparison.is_exact(),
            "{source}: {} matched, {} missing, {} surplus\n{}",
            comparison.matched,
            comparison.missing.len(),
            comparison.surplus,
            self.tail()
        );
    }

    /// `HighWatermark` of a table as the configuration view shows it, in ticks.
    pub fn watermark(&self, source: &str) -> i64 {
        let rows = self.adx(&format!(
            "vw_meta_LatestMigrationConfiguration | where SourceTable == {} | project tostring(HighWatermark)",
            serde_json::to_string(source).unwrap()
        ));
        let text = rows[0][0].as_str().unwrap().to_owned();
        let at: adxingestor::timestamp::Timestamp =
            text.parse().unwrap_or_else(|_| panic!("no watermark for {source}: {text:?}\n{}", self.tail()));
        i64::try_from(at.ticks()).unwrap()
    }

    /// Rows in a destination.
    pub fn rows(&self, destination: &str) -> u64 {
        self.adx(&format!("{destination} | count"))[0][0].as_u64().unwrap()
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        for index in 0..self.apps.len() {
            self.kill(index);
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn answer_of(request: reqwest::RequestBuilder) -> (u16, HeaderMap, Value) {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    #[allow(clippy::disallowed_methods, reason = "the app under test is trusted with memory")]
    let text = response.text().await.unwrap();
    (status, headers, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// A start body for these tables.
pub fn only(tables: &[&str]) -> String {
    json!({"tables": tables}).to_string()
}
