//! A crash at every effect of a run in turn: before it, after it, and with its answer lost.

use super::gate::{Death, Point, Site, Verdict};
use super::oracle::Copied;
use super::world::{Setting, SimulatedTable, World};
use super::{each, setting, simulated};
use adxingestor::orchestration::instance::{Instance, RuntimeStatus};
use adxingestor::orchestration::window::WindowState;
use adxingestor::timestamp::Timestamp;
use localcloud::adx::ingestion::Mishap;
use localcloud::clock::Clock;
use serde_json::json;
use std::collections::HashSet;
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

/// What came of a course.
#[derive(Default)]
pub struct Played {
    /// What was found wrong.
    pub findings: Vec<String>,
    /// The effects of what is broken off, counted with those of what was before.
    pub effects: Range<u64>,
    /// All effects by name, in order, if they are named.
    pub sites: Vec<Site>,
    /// The points at which something went wrong.
    pub struck: Vec<Site>,
    pub windows: usize,
}

impl Played {
    /// The same of a world as it is now.
    pub fn of(world: &World, findings: Vec<String>, effects: Range<u64>) -> Self {
        Self { findings, effects, sites: world.fate.sites(), struck: world.fate.struck(), windows: 0 }
    }

    fn caught(play: impl FnOnce() -> Self) -> Self {
        let panicked = |_| Self { findings: vec!["it panicked".to_owned()], ..Self::default() };
        catch_unwind(AssertUnwindSafe(play)).unwrap_or_else(panicked)
    }
}

/// Whether an effect is struck in a way of [`VERDICTS`], with the watchdog or without: one of the six at each effect, in turn, unless
/// all are asked for.
pub fn is_wanted(at: usize, way: usize, watched: bool) -> bool {
    setting("ADXINGESTOR_CRASH_POINTS").is_some() || (at % VERDICTS.len() == way && at.is_multiple_of(2) == watched)
}

/// Breaks off at each effect, in each way, what `play` does with the watchdog or without, and with these points: once for each point.
pub fn broken_off_at_each(play: impl Fn(bool, Vec<Point>) -> Played + Sync) {
    broken_off(play, |_, _, _| true);
}

/// The same where [`is_wanted`] says so.
pub fn broken_off_by_turns(play: impl Fn(bool, Vec<Point>) -> Played + Sync) {
    broken_off(play, is_wanted);
}

/// The same for those of the points that are `wanted`, by the number of the effect, the way, and whether the watchdog is on.
fn broken_off(play: impl Fn(bool, Vec<Point>) -> Played + Sync, wanted: impl Fn(usize, usize, bool) -> bool) {
    for watched in [true, false] {
        let Played { findings, effects, .. } = play(watched, Vec::new());
        assert!(findings.is_empty() && !effects.is_empty(), "{findings:#?}");
        let mut struck = Vec::new();
        for (way, verdict) in VERDICTS.into_iter().enumerate() {
            let points = points(effects.clone().map(Site::Effect), verdict).into_iter().enumerate();
            struck.extend(points.filter(|(at, _)| wanted(*at, way, watched)).map(|(_, point)| point));
        }
        println!("{} effects, {} points, watchdog: {watched}", effects.end - effects.start, struck.len());
        let found = each(struck, |point| {
            let mut played = Played::caught(|| play(watched, vec![point.clone()]));
            if played.findings.is_empty() && !played.struck.contains(&point.site) {
                played.findings.push("nothing went wrong there".to_owned());
            }
            (!played.findings.is_empty()).then(|| format!("{point:?}, watchdog: {watched}: {:#?}", played.findings))
        });
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}

/// Breaks off what `play` does at each point, whose place among the effects is known, many points in each run, `apart` effects from
/// each other at least. A point that is not come to because of what went wrong before it, or that would have a message given up, is
/// left to another run: the first of a run always strikes. Gives how many runs it took.
pub fn broken_off_at_all(
    play: impl Fn(Vec<Point>) -> Played + Sync,
    mut left: Vec<(usize, Point)>,
    apart: usize,
) -> usize {
    let mut runs = 0;
    while !left.is_empty() {
        let mut groups: Vec<Vec<(usize, Point)>> = Vec::new();
        for (at, point) in left {
            let far = |group: &&mut Vec<(usize, Point)>| group.last().is_none_or(|(last, _)| last + apart <= at);
            match groups.iter_mut().find(far) {
                Some(group) => group.push((at, point)),
                None => groups.push(vec![(at, point)]),
            }
        }
        runs += groups.len();
        let missed = Mutex::new(Vec::new());
        let found = each(groups, |group| {
            let points: Vec<Point> = group.iter().map(|(_, point)| point.clone()).collect();
            let Played { findings, struck, .. } = Played::caught(|| play(points.clone()));
            let struck: HashSet<Site> = struck.into_iter().collect();
            let not_struck = group.iter().filter(|(_, point)| !struck.contains(&point.site)).cloned();
            missed.lock().unwrap().extend(not_struck);
            let stuck = struck.is_empty().then(|| "nothing went wrong at the first".to_owned());
            let findings: Vec<String> = findings.into_iter().chain(stuck).collect();
            (!findings.is_empty()).then(|| format!("{points:?}: {findings:#?}"))
        });
        assert!(found.is_empty(), "{}", found.join("\n"));
        left = missed.into_inner().unwrap();
        left.sort_by_key(|(at, _)| *at);
        println!("{} points are left after {runs} runs", left.len());
    }
    runs
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

    /// Plays it with something wrong at these effects.
    pub fn play(&self, points: Vec<Point>) -> Played {
        simulated(async || {
            let mut world = World::new(&self.setting(points));
            self.come_before(&mut world).await;
            let first = world.fate.effects();
            let run = match self.run(&mut world).await {
                Ok(run) => run,
                Err(error) => return Played::of(&world, vec![error], first..first),
            };
            let effects = first..world.fate.effects();
            let mut findings = world.check(&self.copies()).await;
            if run.status != RuntimeStatus::Completed || run.tables_failed > 0 {
                findings.push(format!("the run is {run:?}"));
            }
            let mut windows = 0;
            for copy in self.copies() {
                findings.extend(world.check_metadata(copy).await);
                let ledger = world.ledger(copy).await;
                let all = ledger.map(|ledger| ledger.windows).unwrap_or_default();
                windows += all.len();
                let failed = all.into_iter().filter(|window| window.state == WindowState::Failed);
                findings.extend(failed.map(|window| format!("failed: {window:?}")));
            }
            Played { windows, ..Played::of(&world, findings, effects) }
        })
    }

    /// Breaks it off at each effect, in each way, with the watchdog and without.
    pub fn broken_off_at_each(&self) {
        broken_off_at_each(|watched, points| Self { watched, ..self.clone() }.play(points));
    }
}

/// So many days before the present.
fn days_ago(world: &World, days: u64) -> Timestamp {
    let now = u64::try_from(Clock::now(&world.clock)).unwrap();
    Timestamp::from_ticks(now) - Duration::from_secs(days * 86_400)
}

/// One point for each of these effects.
pub fn points(sites: impl IntoIterator<Item = Site>, verdict: Verdict) -> Vec<Point> {
    // Each death in turn: a host that lives gives messages back at once, one that dies hides them for long. Where one is before an
    // effect, the other is after it.
    let deaths = [Death::Handler, Death::Host].into_iter().cycle().skip(usize::from(verdict == Verdict::DieAfter));
    sites.into_iter().zip(deaths).map(|(site, death)| Point { site, verdict, death }).collect()
}
