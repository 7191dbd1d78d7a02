//! The demo from beginning to end.

use crate::administrator::Administrator;
use crate::arguments::Arguments;
use crate::comparison::{Compared, compare};
use crate::disturbance::{self, Disturbance};
use crate::error::Error;
use crate::http;
use crate::product::{Launch, Product};
use crate::product_build::{build, workspace_root};
use crate::progress::Display;
use crate::run::run;
use crate::state_directory::StateDirectory;
use crate::summary::{Summary, Table, grouped, least_calls};
use crate::tenant;
use localcloud::clock::{Clock, SystemClock};
use localcloud::cloud::{self, Cloud, Settings};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How far behind the clock the program ends a run's range. The service's arrival times settle in minutes; the
/// simulated ones at once.
const SETTLING_LAG: Duration = Duration::from_secs(3);
/// The demo starts its runs itself: the nightly one is put off to a day that seldom comes.
const SELDOM: &str = "0 0 0 29 2 *";
const KEEP_POLL: Duration = Duration::from_secs(1);

/// A demo that has been played; everything is still running.
pub struct Played {
    /// Whether source and destination are equal.
    pub verdict: Result<(), Error>,
    product: Product,
    administrator: Administrator,
    // Serves until it is dropped.
    _cloud: Arc<Cloud>,
}

impl Played {
    /// Says where everything is, and waits for as long as the program runs.
    pub async fn keep(&mut self) -> Error {
        println!("\nEverything keeps running until Ctrl-C.");
        println!("start a run:  curl -s -X POST {}", self.product.url("adxingestor/start_orchestrator"));
        println!("status page:  {}", self.product.url("dashboard"));
        println!("status:       curl -s {}", self.product.url("status/{id}"));
        println!("its output:   {}", self.product.log().display());
        println!("the data:\n{}", self.administrator.example());
        loop {
            if let Err(ended) = self.product.check() {
                return ended;
            }
            tokio::time::sleep(KEEP_POLL).await;
        }
    }

    /// Ends the program.
    pub async fn stop(&mut self) {
        self.product.stop().await;
    }
}

/// Only the cloud, for a function app that somebody else starts. Serves until it is dropped.
///
/// # Errors
/// Why it could not be started.
pub async fn serve_cloud(arguments: &Arguments) -> Result<Infallible, Error> {
    let state = state_directory(arguments)?;
    let cloud = start_cloud(arguments, &state)?;
    let mut settings = environment(cloud.product_settings());
    if arguments.empty {
        settings.push(unprepared(&cloud)?);
    } else {
        Administrator::new(http::client()?, &settings)?.configure(tenant::table_names()).await?;
    }
    let file = state.write_settings(&settings)?;
    println!("The cloud serves at {} until Ctrl-C.", cloud.url());
    if arguments.empty {
        println!(
            "Its database holds nothing, and the app has no role in it but that of an admin: begin with `adxingestor doctor`."
        );
    }
    println!("The settings of a function app for it: set -a; . {}; set +a", file.display());
    std::future::pending().await
}

/// Has the cluster ask for roles, of which the app gets that of a Database Admin, and leaves the rest to its set-up. Gives the setting
/// by which that knows whom to grant roles.
fn unprepared(cloud: &Cloud) -> Result<(String, String), Error> {
    const ADMINISTRATOR: &str = include_str!("kql/administrator.kql");
    let setting = |wanted: &str| {
        let found = cloud.product_settings().into_iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value).ok_or_else(|| Error::call(wanted, "the cloud does not say it"))
    };
    let principal = cloud.principal();
    let grant = ADMINISTRATOR.replace("{{database}}", &setting("ADX_DATABASE")?).replace("{{principal}}", &principal);
    cloud.adx().run(grant.trim_end()).map_err(|error| Error::call("making the app an admin", error))?;
    cloud.adx().ask_for_roles();
    let client = principal.trim_start_matches("aadapp=").split(';').next().unwrap_or_default();
    Ok(("AZURE_CLIENT_ID".to_owned(), client.to_owned()))
}

fn state_directory(arguments: &Arguments) -> Result<StateDirectory, Error> {
    let path = arguments.state.clone().unwrap_or_else(|| workspace_root().join(".demo"));
    StateDirectory::open(&path, arguments.fresh)
}

/// Plays it.
///
/// # Errors
/// Why it could not be played to its end.
pub async fn play(arguments: &Arguments) -> Result<Played, Error> {
    println!("Building the program.");
    let program = build().await?;
    let began = Instant::now();
    let root = workspace_root();
    let state = state_directory(arguments)?;
    let log = state.log();
    let cloud = Arc::new(start_cloud(arguments, &state)?);
    let mut last_arrival = SystemClock.now();
    let client = http::client()?;
    let settings = cloud.product_settings();
    let administrator = Administrator::new(client.clone(), &settings)?;
    administrator.configure(tenant::table_names()).await?;
    let was_here = administrator.watermarks().await?.into_values().any(|watermark| watermark.is_some());
    let launch = Launch::new(program, &root, arguments.port, arguments.time_scale(), environment(settings))?;
    let product = Product::start(launch, state, client).await?;
    println!("The program answers at {}; its output is in {}.", product.url(""), log.display());

    let mut play = Play { cloud, administrator, product, display: Display::for_stdout(), tables: BTreeMap::new() };
    let mut running = Duration::ZERO;
    let rows = play.rows()?;
    println!("The tenant has {} tables with {} rows.", play.cloud.source().table_names().len(), grouped(rows));
    let mut disturbance = Disturbance::none();
    if was_here {
        let arrivals = tenant::let_rows_arrive(play.cloud.source(), SystemClock.now())?;
        last_arrival = arrivals.last;
        println!("An earlier demo has been here. Since then {} rows arrived.", grouped(arrivals.rows));
    }
    if arguments.faults {
        println!("Services will throttle, fail and cut answers off, and the program will be killed.");
        disturbance = Disturbance::over(if was_here { play.rows()? - rows } else { rows });
    }
    running += play.run(1, last_arrival, &mut disturbance).await?;

    let arrivals = tenant::let_rows_arrive(play.cloud.source(), SystemClock.now())?;
    println!("{} more rows arrive, some of them with old timestamps.", grouped(arrivals.rows));
    last_arrival = arrivals.last;
    running += play.run(2, last_arrival, &mut Disturbance::none()).await?;

    println!("Comparing source and destination row by row.");
    play.verdict(last_arrival, running, began).await
}

struct Play {
    cloud: Arc<Cloud>,
    administrator: Administrator,
    product: Product,
    display: Display,
    tables: BTreeMap<String, Table>,
}

impl Play {
    fn rows(&self) -> Result<u64, Error> {
        let source = self.cloud.source();
        let names = source.table_names();
        names.iter().map(|name| tenant::rows(source, name)).sum()
    }

    /// One run, once everything up to `last_arrival` has settled.
    async fn run(&mut self, number: u32, last_arrival: i64, disturbance: &mut Disturbance) -> Result<Duration, Error> {
        tokio::time::sleep(tenant::until_settled(SystemClock.now(), last_arrival, SETTLING_LAG)).await;
        let before = self.administrator.watermarks().await?;
        let calls_before = self.cloud.hunting_statistics().calls_by_table;
        let is_first_load = before.values().any(Option::is_none);
        println!("Run {number}, {}:", if is_first_load { "the first load" } else { "only what is new" });
        let ended = run(&mut self.product, &mut self.display, disturbance).await?;
        let calls_after = self.cloud.hunting_statistics().calls_by_table;
        let (mut rows, mut calls) = (0, 0);
        for (name, end) in &ended.tables {
            let table = self.tables.entry(name.clone()).or_default();
            let of_table = |calls: &BTreeMap<String, u64>| calls.get(name).copied().unwrap_or_default();
            let table_calls = of_table(&calls_after) - of_table(&calls_before);
            let is_first = before.get(name).copied().flatten().is_none();
            table.name.clone_from(name);
            table.copied += end.rows;
            table.windows += end.windows;
            table.calls += table_calls;
            table.least_calls += least_calls(end.rows, end.bytes, is_first);
            table.busy += end.busy;
            rows += end.rows;
            calls += table_calls;
        }
        let seconds = ended.elapsed.as_secs_f64();
        println!("Run {number} completed: {} rows, {calls} hunting calls, {seconds:.1} s.", grouped(rows));
        let left = disturbance.left();
        if left > 0 {
            println!("{left} of the kills did not happen: the run was over before.");
        }
        Ok(ended.elapsed)
    }

    async fn verdict(mut self, last_arrival: i64, running: Duration, began: Instant) -> Result<Played, Error> {
        let watermarks = self.administrator.watermarks().await?;
        let cloud = self.cloud.clone();
        let comparing = tokio::task::spawn_blocking(move || compare(&cloud, &watermarks, last_arrival));
        let compared = comparing.await.map_err(|error| Error::Differences(format!("cannot be told: {error}")))??;
        self.product.note_memory();
        let tables = compared.iter().map(|compared| self.figures(compared)).collect();
        let peak_memory_kib = self.product.peak_memory_kib();
        println!("\n{}", Summary { tables, running, total: began.elapsed(), peak_memory_kib }.render());
        let differences: Vec<String> = compared.iter().filter_map(Compared::difference).collect();
        let verdict = if differences.is_empty() {
            println!("Every row of the source is in the destination exactly once.");
            Ok(())
        } else {
            Err(Error::Differences(differences.join("; ")))
        };
        Ok(Played { verdict, product: self.product, administrator: self.administrator, _cloud: self.cloud })
    }

    fn figures(&self, compared: &Compared) -> Table {
        let missing = compared.rows.missing.len() as u64;
        Table {
            name: compared.table.clone(),
            source: compared.rows.matched + missing,
            destination: compared.rows.matched + compared.rows.surplus,
            missing,
            doubled: compared.rows.surplus,
            ..self.tables.get(&compared.table).cloned().unwrap_or_default()
        }
    }
}

/// Starts the cloud where it was last time, so that addresses stay the same; elsewhere if that port is taken now.
fn start_cloud(arguments: &Arguments, state: &StateDirectory) -> Result<Cloud, Error> {
    let now = SystemClock.now();
    let start = |port| {
        let mut settings = Settings {
            port,
            source: tenant::settings(arguments.seed, arguments.size, now),
            state_directory: Some(state.cloud()),
            ..Settings::default()
        };
        if arguments.faults {
            settings.faults = disturbance::faults();
            settings.ingestion = disturbance::ingestion(arguments.seed);
        }
        Cloud::start(settings)
    };
    let cloud = match start(state.port()?) {
        Err(cloud::Error::Listen { .. }) => start(0)?,
        started => started?,
    };
    if let Some(port) = cloud.url().rsplit_once(':').and_then(|(_, port)| port.parse().ok()) {
        state.keep_port(port)?;
    }
    Ok(cloud)
}

/// The program's settings: where the cloud is, and that its data settles quickly.
fn environment(mut settings: Vec<(String, String)>) -> Vec<(String, String)> {
    let lag_minutes = SETTLING_LAG.as_secs_f64() / 60.0;
    settings.push(("SETTLING_LAG_MINUTES".to_owned(), lag_minutes.to_string()));
    settings.push(("NIGHTLY_SCHEDULE".to_owned(), SELDOM.to_owned()));
    settings
}
