//! One run of the program, started and watched over HTTP as anybody would.

use crate::disturbance::{Blow, Disturbance};
use crate::error::Error;
use crate::http::{beginning, deepest, text};
use crate::product::Product;
use crate::progress::Display;
use crate::status::{Status, Table};
use reqwest::StatusCode;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a run may take.
const LIMIT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(250);
/// How long the program may be silent, for instance while it starts again.
const PATIENCE: Duration = Duration::from_secs(30);

/// A run that has completed.
#[derive(Debug, Default)]
pub struct Ended {
    /// From start to end.
    pub elapsed: Duration,
    /// What came of each table.
    pub tables: BTreeMap<String, TableEnd>,
}

/// What came of a table in a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableEnd {
    /// Rows proved.
    pub rows: u64,
    /// Bytes of packed rows.
    pub bytes: u64,
    /// Windows proved.
    pub windows: u64,
    /// From when the table was first seen at work to its end.
    pub busy: Duration,
}

/// Starts a run and waits for its end.
///
/// # Errors
/// The run was refused, failed, or took too long; or the program ended or went silent.
pub async fn run(product: &mut Product, display: &mut Display, disturbance: &mut Disturbance) -> Result<Ended, Error> {
    loop {
        match start(product).await? {
            Started::New(id) => return watch(product, &id, display, disturbance).await,
            Started::Active(id) => {
                display.say(&format!("The run {id} of an earlier demo is still active; it goes first."));
                watch(product, &id, display, &mut Disturbance::none()).await?;
            }
        }
    }
}

enum Started {
    New(String),
    Active(String),
}

async fn start(product: &Product) -> Result<Started, Error> {
    let response = product.client().post(product.url("adxingestor/start_orchestrator")).send().await;
    let response = response.map_err(|error| Error::Refused(deepest(&error)))?;
    let status = response.status();
    let body = text("starting a run", response).await?;
    let id = serde_json::from_str::<Value>(&body).ok().and_then(|body| Some(body["id"].as_str()?.to_owned()));
    match (status, id) {
        (StatusCode::ACCEPTED, Some(id)) => Ok(Started::New(id)),
        (StatusCode::CONFLICT, Some(id)) => Ok(Started::Active(id)),
        _ => Err(Error::Refused(format!("{status}: {}", beginning(&body)))),
    }
}

async fn watch(
    product: &mut Product,
    id: &str,
    display: &mut Display,
    disturbance: &mut Disturbance,
) -> Result<Ended, Error> {
    let started = Instant::now();
    let mut heard = Instant::now();
    let mut stopwatch = Stopwatch::default();
    loop {
        product.check()?;
        product.note_memory();
        match poll(product, id).await {
            Ok(status) => {
                heard = Instant::now();
                stopwatch.note(status.tables(), started.elapsed());
                display.show(status.tables(), started.elapsed());
                if !status.is_active() {
                    display.done();
                    return end(product, id, &status, started.elapsed(), &stopwatch);
                }
                strike(product, status.tables(), display, disturbance).await?;
            }
            Err(why) if heard.elapsed() > PATIENCE => {
                return Err(Error::Silent { waited: heard.elapsed(), why, log: product.log() });
            }
            Err(_) => {}
        }
        if started.elapsed() > LIMIT {
            return Err(Error::TimedOut { id: id.to_owned(), limit: LIMIT, log: product.log() });
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn poll(product: &Product, id: &str) -> Result<Status, String> {
    let response = product.client().get(product.url(&format!("status/{id}"))).send().await;
    let response = response.map_err(|error| deepest(&error))?;
    let code = response.status();
    let body = text("the status of the run", response).await.map_err(|error| error.to_string())?;
    if !code.is_success() {
        return Err(format!("{code}: {}", beginning(&body)));
    }
    serde_json::from_str(&body).map_err(|error| format!("the status cannot be read: {error}"))
}

fn end(product: &Product, id: &str, status: &Status, elapsed: Duration, stopwatch: &Stopwatch) -> Result<Ended, Error> {
    if let Some(why) = status.failure() {
        let (id, status) = (id.to_owned(), status.runtime_status.clone());
        return Err(Error::RunFailed { id, status, why, log: product.log() });
    }
    let table = |table: &Table| {
        let busy = stopwatch.busy(&table.table);
        let end = TableEnd { rows: table.rows, bytes: table.bytes, windows: table.windows_done, busy };
        (table.table.clone(), end)
    };
    Ok(Ended { elapsed, tables: status.tables().iter().map(table).collect() })
}

async fn strike(
    product: &mut Product,
    tables: &[Table],
    display: &Display,
    disturbance: &mut Disturbance,
) -> Result<(), Error> {
    match disturbance.due(tables.iter().map(|table| table.rows).sum()) {
        None => Ok(()),
        Some(Blow::Handler) => {
            let outcome = if product.kill_handler() { "killed (kill -9)" } else { "not there to be killed" };
            display.say(&format!("The handler is {outcome}; its host starts it again."));
            Ok(())
        }
        Some(Blow::Program) => {
            display.say("The whole program is killed (kill -9) and started again.");
            product.kill_and_start_again().await
        }
    }
}

/// When each table was first seen at work and when it ended.
#[derive(Debug, Default)]
struct Stopwatch(BTreeMap<String, Times>);

#[derive(Debug)]
struct Times {
    began: Duration,
    ended: Option<Duration>,
}

impl Stopwatch {
    fn note(&mut self, tables: &[Table], at: Duration) {
        for table in tables.iter().filter(|table| table.state != "waiting") {
            let times = self.0.entry(table.table.clone()).or_insert(Times { began: at, ended: None });
            if matches!(table.state.as_str(), "done" | "failed") {
                times.ended.get_or_insert(at);
            }
        }
    }

    fn busy(&self, table: &str) -> Duration {
        self.0.get(table).map_or(Duration::ZERO, |times| times.ended.unwrap_or(times.began) - times.began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_busy_from_its_first_sign_of_work_to_its_end() {
        let mut stopwatch = Stopwatch::default();
        for (second, state) in [(1, "waiting"), (2, "planning"), (5, "copying"), (9, "done"), (12, "done")] {
            let table = Table { table: "A".into(), state: state.into(), ..Table::default() };
            stopwatch.note(&[table], Duration::from_secs(second));
        }
        assert_eq!(stopwatch.busy("A"), Duration::from_secs(7));
        assert_eq!(stopwatch.busy("B"), Duration::ZERO);
    }
}
