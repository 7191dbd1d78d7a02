//! What people ask of runs, broken off at each of its effects: it is done or was never asked for, and the next run copies what is left.

use super::crashes::{Played, broken_off_by_turns};
use super::gate::Point;
use super::oracle::Copied;
use super::simulated;
use super::world::{SECOND, Setting, SimulatedTable, World};
use adxingestor::orchestration::ids::InstanceId;
use adxingestor::orchestration::instance::{Instance, RuntimeStatus};
use adxingestor::storage::Range as Rows;
use localcloud::clock::Clock;
use localcloud::faults::{Area, Fault};
use serde_json::{Value, json};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(6 * 3600);
const SETTLED: Duration = Duration::from_secs(1_800);
const TABLES: [SimulatedTable; 2] = [
    SimulatedTable { name: "DeviceEvents", rows: 40, days: 3 },
    SimulatedTable { name: "EmailEvents", rows: 9, days: 3 },
];
/// How often a client asks again that is told that a run goes on.
const ASKED: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Terminate,
    SuspendAndResume,
    Rewind,
    /// Under its own id.
    Restart,
    /// Under another.
    RestartAnew,
    Purge,
}

impl Asked {
    fn setting(watched: bool, points: Vec<Point>) -> Setting {
        let mut setting = Setting::quiet(9, TABLES.to_vec());
        // A permit each three seconds.
        setting.settings = vec![("CHUNK_SIZE", "10".to_owned()), ("HUNTING_CALLS_PER_MINUTE", "20".to_owned())];
        (setting.watched, setting.points) = (watched, points);
        setting
    }

    /// What comes before; gives the run of which something is asked.
    async fn before(self, world: &mut World) -> InstanceId {
        let id = world.start().await;
        if matches!(self, Self::Terminate | Self::SuspendAndResume) {
            while posted(world).await == 0 {
                world.pass(Duration::from_millis(250)).await;
            }
            assert!(!run(world, &id).await.status.is_final());
            return id;
        }
        world.ended(&id, PATIENCE).await.unwrap();
        world.settled(SETTLED).await;
        if self == Self::Purge {
            return id;
        }
        more_rows(world).await;
        if self != Self::Rewind {
            return id;
        }
        world.cloud.faults().always(Area::Hunting, &["DeviceEvents", "pack_all"], Fault::Internal);
        let id = world.start().await;
        assert_eq!(world.ended(&id, PATIENCE).await.unwrap().tables_failed, 1);
        world.settled(SETTLED).await;
        world.cloud.faults().never();
        id
    }

    /// What is asked, to its end, which is broken off; and what is wrong then.
    async fn act(self, world: &mut World, id: &InstanceId) -> Vec<String> {
        let path = |operation: &str| format!("/api/instances/{id}/{operation}");
        let mut wanted = RuntimeStatus::Completed;
        let mut waits_for = id.clone();
        match self {
            Self::Terminate => {
                // By the time that it is asked again it may have ended.
                if asked(world, &path("terminate"), &[202, 410]).await.0 == 202 {
                    wanted = RuntimeStatus::Terminated;
                } else {
                    wanted = world.ended(id, PATIENCE).await.map_or(wanted, |run| run.status);
                }
            }
            Self::SuspendAndResume => {
                asked(world, &path("suspend"), &[202, 410]).await;
                world.pass(Duration::from_secs(60)).await;
                asked(world, &path("resume"), &[202, 410]).await;
            }
            Self::Rewind => self.again(world, id, &path("rewind")).await,
            Self::Restart => self.again(world, id, &path("restart?restartWithNewInstanceId=false")).await,
            Self::RestartAnew => {
                let (_, body) = asked(world, &path("restart"), &[202, 409]).await;
                waits_for = body["id"].as_str().or(body["instanceId"].as_str()).unwrap().parse().unwrap();
                if world.records().instance(&waits_for).await.unwrap().is_none() {
                    // What began to start it is no more, and its place is free after a while.
                    waits_for = world.start().await;
                }
            }
            Self::Purge => {
                let (status, body) = world.call("DELETE", &format!("/api/instances/{id}"), &Value::Null).await;
                assert!(matches!(status, 200 | 404), "{status} {body}");
                return purged(world, id).await;
            }
        }
        let ended = world.ended(&waits_for, PATIENCE).await;
        world.settled(SETTLED).await;
        match ended {
            None => vec![format!("the run {waits_for} does not end")],
            Some(run) if run.status != wanted || run.tables_failed > 0 => vec![format!("the run is {run:?}")],
            Some(_) => Vec::new(),
        }
    }

    /// Asks until the run has begun again.
    async fn again(self, world: &mut World, id: &InstanceId, path: &str) {
        let lives = run(world, id).await.lives;
        for _ in 0..ASKED {
            let (status, _) = asked(world, path, &[202, 400, 409, 410]).await;
            if run(world, id).await.lives > lives {
                return;
            }
            assert_eq!(status, 409, "the run has not begun again");
            world.pass(Duration::from_secs(60)).await;
        }
        panic!("the run {id} does not begin again");
    }

    /// A run that begins again under its own id tells of each of its lives.
    fn is_of_two_lives(self, id: &InstanceId, finding: &str) -> bool {
        let of_two = finding.contains(": 2 ") && finding.ends_with(&format!("rows of the run \"{id}\""));
        let of_a_window = finding.contains(": 2 failure rows") && finding.ends_with(&format!("of the run \"{id}\""));
        matches!(self, Self::Rewind | Self::Restart) && (of_two || of_a_window)
    }

    fn play(self, watched: bool, points: Vec<Point>) -> Played {
        simulated(async || {
            let mut world = World::new(&Self::setting(watched, points));
            let id = self.before(&mut world).await;
            let first = world.fate.effects();
            let mut findings = self.act(&mut world, &id).await;
            let effects = first..world.fate.effects();
            more_rows(&mut world).await;
            let next = world.start().await;
            match world.ended(&next, PATIENCE).await {
                Some(run) if run.status == RuntimeStatus::Completed && run.tables_failed == 0 => {}
                run => findings.push(format!("the next run is {run:?}")),
            }
            world.settled(SETTLED).await;
            let copies = TABLES.map(|table| Copied::under_its_name(table.name));
            findings.extend(world.check(&copies).await);
            for copy in copies {
                let told = world.check_metadata(copy).await;
                findings.extend(told.into_iter().filter(|finding| !self.is_of_two_lives(&id, finding)));
                let there = world.cloud.adx().identities(copy.destination);
                let found = world.cloud.source().compare(copy.source, i64::MIN, i64::MAX, there).unwrap();
                if !found.is_exact() {
                    findings.push(format!("{}: {} rows are missing", copy.source, found.missing.len()));
                }
            }
            Played::of(&world, findings, effects)
        })
    }
}

/// Rows of the first table that were posted by now.
async fn posted(world: &World) -> u64 {
    let ledger = world.ledger(Copied::under_its_name(TABLES[0].name)).await;
    ledger.map_or(0, |ledger| ledger.head.progress.posted_rows)
}

async fn run(world: &World, id: &InstanceId) -> Instance {
    world.records().instance(id).await.unwrap().unwrap().record
}

async fn asked(world: &mut World, path: &str, expected: &[u16]) -> (u16, Value) {
    let (status, body) = world.call("POST", path, &json!({})).await;
    assert!(expected.contains(&status), "{path}: {status} {body}");
    (status, body)
}

/// Rows that the next run is to copy.
async fn more_rows(world: &mut World) {
    let now = Clock::now(&world.clock);
    for table in TABLES {
        world.cloud.source().append(table.name, 15, now, now + 60 * SECOND).unwrap();
    }
    world.pass(Duration::from_secs(600)).await;
}

/// What is left of a run that was purged.
async fn purged(world: &mut World, id: &InstanceId) -> Vec<String> {
    let (status, _) = world.call("GET", &format!("/api/instances/{id}"), &Value::Null).await;
    let (_, listed) = world.call("GET", "/api/instances", &Value::Null).await;
    let rows = Rows { partition: format!("i:{id}"), from: String::new(), to: None };
    let rows = world.store.tables.page(&rows, None).await.unwrap().rows.len();
    if (status, rows) == (404, 0) && listed == json!([]) {
        return Vec::new();
    }
    vec![format!("the run is answered with {status}, {rows} rows of it are left, and {listed} is listed")]
}

#[test]
fn a_crash_at_any_effect_of_a_termination_loses_and_doubles_nothing() {
    broken_off_by_turns(|watched, points| Asked::Terminate.play(watched, points));
}

#[test]
fn a_crash_at_any_effect_of_a_suspension_and_what_goes_on_after_it_loses_and_doubles_nothing() {
    broken_off_by_turns(|watched, points| Asked::SuspendAndResume.play(watched, points));
}

#[test]
fn a_crash_at_any_effect_of_a_rewind_loses_and_doubles_nothing() {
    broken_off_by_turns(|watched, points| Asked::Rewind.play(watched, points));
}

#[test]
fn a_crash_at_any_effect_of_a_restart_loses_and_doubles_nothing() {
    broken_off_by_turns(|watched, points| Asked::Restart.play(watched, points));
    broken_off_by_turns(|watched, points| Asked::RestartAnew.play(watched, points));
}

#[test]
fn a_crash_at_any_effect_of_a_purge_leaves_nothing_of_the_run_and_harms_no_other() {
    broken_off_by_turns(|watched, points| Asked::Purge.play(watched, points));
}
