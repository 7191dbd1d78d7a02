//! A crash at every effect of a run in turn: before it, after it, and with its answer lost.

use super::gate::{Death, Point, Verdict};
use super::simulated;
use super::world::{Setting, SimulatedTable, World};
use adxingestor::orchestration::instance::RuntimeStatus;
use std::time::Duration;

/// The longest that a run may take.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);
/// How long a message may stay hidden after the end.
const SETTLED: Duration = Duration::from_secs(1800);

const VERDICTS: [Verdict; 3] = [Verdict::DieBefore, Verdict::DieAfter, Verdict::LoseAnswer];

/// A run that is to be broken off.
#[derive(Clone)]
pub struct Course {
    pub tables: Vec<SimulatedTable>,
    pub rows_of_a_window: u32,
    /// Whether the timer of the watchdog fires.
    pub watched: bool,
}

impl Course {
    fn setting(&self, point: Option<Point>) -> Setting {
        let mut setting = Setting::quiet(1, self.tables.clone());
        setting.watched = self.watched;
        setting.point = point;
        setting.settings =
            vec![("CHUNK_SIZE", self.rows_of_a_window.to_string()), ("HUNTING_CALLS_PER_MINUTE", "6000".to_owned())];
        setting
    }

    fn names(&self) -> Vec<&'static str> {
        self.tables.iter().map(|table| table.name).collect()
    }

    /// How many effects the run has when nothing goes wrong, and how many windows.
    pub fn effects(&self) -> (u64, usize) {
        simulated(async || {
            let mut world = World::new(&self.setting(None));
            let id = world.start().await;
            assert!(world.ended(&id, PATIENCE).await.is_some());
            world.settled(SETTLED).await;
            let mut windows = 0;
            for name in self.names() {
                windows += world.ledger(name).await.map_or(0, |ledger| ledger.windows.len());
            }
            (world.fate.effects(), windows)
        })
    }

    /// What is wrong after something has gone wrong at one effect.
    pub fn broken_at(&self, point: Point) -> Vec<String> {
        simulated(async || {
            let mut world = World::new(&self.setting(Some(point)));
            let id = world.start().await;
            let Some(run) = world.ended(&id, PATIENCE).await else {
                return vec![format!("the run {id} does not end")];
            };
            world.settled(SETTLED).await;
            let mut findings = world.check(&self.names()).await;
            if run.status != RuntimeStatus::Completed || run.tables_failed > 0 {
                findings.push(format!("the run is {run:?}"));
            }
            for name in self.names() {
                findings.extend(world.check_metadata(name).await);
            }
            findings
        })
    }
}

/// All points of the first `effects` effects.
pub fn points(effects: impl Iterator<Item = u64>) -> impl Iterator<Item = Point> {
    effects.flat_map(|effect| {
        VERDICTS.into_iter().map(move |verdict| {
            // Each death in turn: a host that lives gives messages back at once, one that dies hides them for long.
            let death = if effect % 2 == 0 { Death::Handler } else { Death::Host };
            Point { effect, verdict, death }
        })
    })
}
