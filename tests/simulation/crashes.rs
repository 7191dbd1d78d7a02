//! A crash at every effect of a run in turn: before it, after it, and with its answer lost.

use super::gate::{Death, Point, Site, Verdict};
use super::oracle::Copied;
use super::world::{Setting, SimulatedTable, World};
use super::{each, simulated};
use adxingestor::orchestration::instance::{Instance, RuntimeStatus};
use adxingestor::timestamp::Timestamp;
use localcloud::adx::ingestion::Mishap;
use localcloud::clock::Clock;
use serde_json::json;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Duration;

/// The longest that a run may take.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);
/// How long a message may stay hidden after the end.
const SETTLED: Duration = Duration::from_secs(1800);

pub const VERDICTS: [Verdict; 3] = [Verdict::DieBefore, Verdict::DieAfter, Verdict::LoseAnswer];

/// What was before the run that is broken off.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Before {
    Nothing,
    /// A run, and nothing has come since.
    ARun,
    /// A run of what is old; the one that is broken off is two: of what is newest, then of what lies between.
    APart,
    /// Nothing; the one that is broken off is two: of what is newest, then of all.
    ABeginning,
    /// A run, whose store is lost: the ledgers are rebuilt, which is broken off as well.
    ALostStore,
}

/// A run that is to be broken off.
#[derive(Clone)]
pub struct Course {
    pub tables: Vec<SimulatedTable>,
    pub rows_of_a_window: u32,
    /// The most bytes of an answer of Defender.
    pub answer_bytes: u64,
    pub before: Before,
    /// Whether the timer of the watchdog fires.
    pub watched: bool,
    /// What every window meets, which the app mends by itself.
    pub mishap: Option<Mishap>,
    /// Whether `ingestIfNotExists` keeps nothing out.
    pub ignores_tags: bool,
}

/// What a run does when nothing goes wrong.
pub struct Whole {
    /// Its effects by name, in order.
    pub sites: Vec<Site>,
    /// Their numbers, counted with those of what was before.
    pub effects: Range<u64>,
    pub windows: usize,
}

impl Course {
    /// One with nothing before it, of answers of any size.
    pub fn of(tables: &[SimulatedTable], rows_of_a_window: u32) -> Self {
        Self {
            tables: tables.to_vec(),
            rows_of_a_window,
            answer_bytes: 50_000_000,
            before: Before::Nothing,
            watched: true,
            mishap: None,
            ignores_tags: false,
        }
    }

    fn setting(&self, points: Vec<Point>) -> Setting {
        let mut setting = Setting::quiet(1, self.tables.clone());
        (setting.watched, setting.answer_bytes) = (self.watched, self.answer_bytes);
        setting.ignores_tags = self.ignores_tags;
        setting.noted = points.is_empty();
        setting.points = points;
        setting.settings =
            vec![("CHUNK_SIZE", self.rows_of_a_window.to_string()), ("HUNTING_CALLS_PER_MINUTE", "6000".to_owned())];
        if let Some(mishap) = self.mishap {
            setting.mishaps = vec![(mishap, 1.0)];
            setting.settings.push(("REPAIR", "delete".to_owned()));
        }
        setting
    }

    fn copies(&self) -> Vec<Copied<'static>> {
        self.tables.iter().map(|table| Copied::under_its_name(table.name)).collect()
    }

    /// The run when nothing goes wrong.
    pub fn whole(&self) -> Whole {
        simulated(async || {
            let mut world = World::new(&self.setting(Vec::new()));
            self.come_before(&mut world).await;
            let first = world.fate.effects();
            assert_eq!(self.run(&mut world).await.unwrap().tables_failed, 0);
            let mut windows = 0;
            for copy in self.copies() {
                windows += world.ledger(copy).await.map_or(0, |ledger| ledger.windows.len());
            }
            Whole { sites: world.fate.sites(), effects: first..world.fate.effects(), windows }
        })
    }

    async fn come_before(&self, world: &mut World) {
        let id = match self.before {
            Before::Nothing | Before::ABeginning => return,
            Before::APart => world.start_with(&json!({"until": days_ago(world, 2)})).await,
            Before::ARun | Before::ALostStore => world.start().await,
        };
        world.ended(&id, PATIENCE).await.unwrap();
        world.settled(SETTLED).await;
        world.pass(Duration::from_secs(600)).await;
        if self.before == Before::ALostStore {
            world.lose_the_store().await;
        }
    }

    /// The run that is broken off, to its end.
    async fn run(&self, world: &mut World) -> Result<Instance, String> {
        if self.before == Before::ALostStore {
            for table in &self.tables {
                world.adopt(table.name).await?;
            }
        }
        if matches!(self.before, Before::APart | Before::ABeginning) {
            let id = world.start_with(&json!({"since": days_ago(world, 1)})).await;
            let run = world.ended(&id, PATIENCE).await.ok_or_else(|| format!("the run {id} does not end"))?;
            if run.tables_failed > 0 {
                return Err(format!("the run of a part is {run:?}"));
            }
            world.settled(SETTLED).await;
        }
        let id = world.start().await;
        let run = world.ended(&id, PATIENCE).await.ok_or_else(|| format!("the run {id} does not end"))?;
        world.settled(SETTLED).await;
        Ok(run)
    }

    /// What is wrong after something has gone wrong at these effects, and which effects there were, if they are named.
    fn broken_at(&self, points: Vec<Point>) -> (Vec<String>, Vec<Site>) {
        simulated(async || {
            let mut world = World::new(&self.setting(points));
            self.come_before(&mut world).await;
            let run = match self.run(&mut world).await {
                Ok(run) => run,
                Err(error) => return (vec![error], world.fate.sites()),
            };
            let mut findings = world.check(&self.copies()).await;
            if run.status != RuntimeStatus::Completed || run.tables_failed > 0 {
                findings.push(format!("the run is {run:?}"));
            }
            for copy in self.copies() {
                findings.extend(world.check_metadata(copy).await);
            }
            (findings, world.fate.sites())
        })
    }

    /// Breaks the run off at each point, in a run of its own.
    pub fn broken_off_at_each(&self, points: Vec<Point>) {
        let found = each(points, |point| self.broken_off(vec![point.clone()]).1);
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    /// Breaks the run off at each point, many of them in each run, `apart` effects from each other. A point that is not come to,
    /// because of what went wrong before it, is left to another run. Gives how many runs it took.
    pub fn broken_off_at_all(&self, mut points: Vec<Point>, apart: usize) -> usize {
        let mut runs = 0;
        while !points.is_empty() {
            let groups: Vec<Vec<Point>> = (0..apart.min(points.len()))
                .map(|first| points.iter().skip(first).step_by(apart).cloned().collect())
                .collect();
            runs += groups.len();
            let met = Mutex::new(Vec::new());
            let found = each(groups, |group| {
                let (sites, found) = self.broken_off(group.clone());
                met.lock()
                    .unwrap()
                    .extend(group.iter().filter(|point| sites.contains(&point.site)).map(|point| point.site.clone()));
                found
            });
            assert!(found.is_empty(), "{}", found.join("\n"));
            let met = met.into_inner().unwrap();
            points.retain(|point| !met.contains(&point.site));
            println!("{} points are left after {runs} runs", points.len());
        }
        runs
    }

    fn broken_off(&self, points: Vec<Point>) -> (Vec<Site>, Option<String>) {
        let broken = catch_unwind(AssertUnwindSafe(|| self.broken_at(points.clone())));
        let (findings, sites) = broken.unwrap_or_else(|_| (vec!["it panicked".to_owned()], Vec::new()));
        (sites, (!findings.is_empty()).then(|| format!("{points:?}: {findings:#?}")))
    }
}

/// So many days before the present.
fn days_ago(world: &World, days: u64) -> Timestamp {
    let now = u64::try_from(Clock::now(&world.clock)).unwrap();
    Timestamp::from_ticks(now) - Duration::from_secs(days * 86_400)
}

/// One point for each of these effects.
pub fn points(sites: impl IntoIterator<Item = Site>, verdict: Verdict) -> Vec<Point> {
    // Each death in turn: a host that lives gives messages back at once, one that dies hides them for long.
    let deaths = [Death::Handler, Death::Host].into_iter().cycle();
    sites.into_iter().zip(deaths).map(|(site, death)| Point { site, verdict, death }).collect()
}
