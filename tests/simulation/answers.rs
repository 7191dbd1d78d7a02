//! Counts that are answered from what was: by weak consistency, or from the query results cache. Nothing is proved by them, and
//! nothing is sent twice because of them.

use super::oracle::{Copied, Findings};
use super::simulated;
use super::told::world_of;
use super::world::{SimulatedTable, World};
use localcloud::adx::Alike;
use localcloud::adx::ingestion::Mishap;
use std::time::Duration;

const TABLE: &str = "DeviceEvents";
const DAY: Duration = Duration::from_secs(86_400);

/// Rows land after they were counted for the first time.
fn world() -> World {
    world_of(SimulatedTable { name: TABLE, rows: 60, days: 3 }, 10, |setting| {
        setting.mishaps = vec![(Mishap::Late, 1.0)];
        setting.lateness = Duration::from_secs(20);
    })
}

/// Two runs of windows that are each posted once, and all is there; what is found otherwise.
async fn two_runs(world: &mut World) -> Findings {
    let mut findings = Findings::new();
    for run in 0..2 {
        let told = world.run_of(TABLE).await;
        if !told.result.success {
            findings.push(format!("run {run}: {}", told.output));
        }
        world.more_of(TABLE, 20).await;
    }
    let last = world.run_of(TABLE).await;
    let ledger = world.ledger(Copied::under_its_name(TABLE)).await;
    let posts = ledger.and_then(|ledger| ledger.windows.iter().map(|window| window.posts).max());
    if !last.result.success || posts != Some(1) {
        findings.push(format!("a window was posted {posts:?} times: {}", last.output));
    }
    findings.extend(world.not_whole(Copied::under_its_name(TABLE)).await);
    findings
}

/// What goes wrong where queries are weak unless they ask for more.
pub fn weak() -> Findings {
    simulated(async || {
        let mut world = world();
        world.cloud.adx().answer_weakly(2 * DAY);
        two_runs(&mut world).await
    })
}

/// What goes wrong where answers are kept for a day.
pub fn cached() -> Findings {
    simulated(async || {
        let mut world = world();
        world.cloud.adx().answer_from_cache(DAY, Alike::ByText);
        two_runs(&mut world).await
    })
}

/// What is said where answers are kept for a day and a count in other words gets that of the one before; what it leads to in
/// the run after.
pub fn insisting() -> Findings {
    simulated(async || {
        let late = |setting: &mut super::world::Setting| {
            setting.mishaps = vec![(Mishap::Late, 1.0)];
            setting.lateness = Duration::from_secs(300);
        };
        let mut world = world_of(SimulatedTable { name: TABLE, rows: 40, days: 3 }, 1_000, late);
        let id = world.start().await;
        world.posted(1).await;
        world.cloud.adx().answer_from_cache(DAY, Alike::ButForComments);
        let told = world.told(&id, TABLE).await;
        let mut findings = Findings::new();
        let words = "a count was answered from the query results cache, which proves nothing";
        let is_told = [&told.output, &told.audit].iter().all(|text| text.contains(words));
        if told.result.success || !is_told || !told.failures.iter().all(|failure| failure.contains(words)) {
            findings.push(format!("{told:?}"));
        }
        if world.cloud.adx().stale_answers().cached == 0 {
            findings.push("nothing came from the cache".to_owned());
        }
        world.cloud.adx().answer_at_once();
        let told = world.run_of(TABLE).await;
        let messages = world.cloud.ingestion().statistics().messages;
        if !told.result.success || messages != 1 {
            findings.push(format!("{messages} posts: {}", told.output));
        }
        findings.extend(world.not_whole(Copied::under_its_name(TABLE)).await);
        findings
    })
}

#[test]
fn where_queries_are_weak_every_count_asks_for_strong_consistency() {
    assert_eq!(weak(), Findings::new());
}

#[test]
fn where_answers_are_cached_every_count_is_asked_in_words_of_its_own() {
    assert_eq!(cached(), Findings::new());
}

#[test]
fn a_count_that_the_service_insists_on_answering_from_its_cache_proves_nothing_and_says_so() {
    assert_eq!(insisting(), Findings::new());
}
