//! Policies that hide rows which are there: a count that finds none of them proves nothing, so nothing is posted or pulled again,
//! whatever was known of the window.

use super::oracle::{Copied, Findings};
use super::simulated;
use super::told::{Told, world_of};
use super::world::{SimulatedTable, World};
use adxingestor::orchestration::ledger::TableState;
use localcloud::adx::ingestion::Mishap;
use std::time::Duration;

const TABLE: &str = "DeviceEvents";
const SECURITY: &str = "row_level_security enable \"DeviceEvents | where false\"";
const VIEW: &str = "restricted_view_access true";

fn world(mishap: Option<Mishap>) -> World {
    world_of(SimulatedTable { name: TABLE, rows: 60, days: 3 }, 10, |setting| {
        setting.mishaps = mishap.map(|mishap| (mishap, 1.0)).into_iter().collect();
    })
}

fn switch(world: &World, policy: &str) {
    world.adx(&format!(".alter table {TABLE} policy {policy}"));
}

fn switch_off(world: &World, policy: &str) {
    world.adx(&format!(".delete table {TABLE} policy {}", policy.split(' ').next().unwrap()));
}

/// A run that finds the policy switched on once it has looked at its destination; it is off again afterwards.
async fn hidden_once_planned(world: &mut World, policy: &str) -> Told {
    let id = world.start().await;
    let copy = Copied::under_its_name(TABLE);
    loop {
        let head = world.ledger(copy).await.map(|ledger| ledger.head);
        if head.is_some_and(|head| head.run.as_ref() == Some(&id) && head.state == TableState::Running) {
            break;
        }
        world.pass(Duration::from_millis(50)).await;
    }
    switch(world, policy);
    let told = world.told(&id, TABLE).await;
    switch_off(world, policy);
    told
}

/// A window of which a half has landed stays as it is while row level security hides that half; what is found otherwise.
pub fn half_hidden() -> Findings {
    simulated(async || {
        let mut world = world(Some(Mishap::Half));
        let first = world.run_of(TABLE).await;
        first.failed_saying(&[" of the 10 rows of window"]);
        world.cloud.ingestion().end_mishaps();
        let before = world.cloud.ingestion().statistics();
        let second = hidden_once_planned(&mut world, SECURITY).await;
        let mut findings = Findings::new();
        if second.result.success || !second.output.contains("has row level security") {
            findings.push(second.output);
        }
        let after = world.cloud.ingestion().statistics();
        if after.rows > before.rows
            && world.ledger(Copied::under_its_name(TABLE)).await.is_some_and(has_another_generation)
        {
            findings.push("what is hidden was pulled again under another id".to_owned());
        }
        findings
    })
}

fn has_another_generation(ledger: super::oracle::Ledger) -> bool {
    ledger.windows.iter().any(|window| window.id.generation > 0)
}

#[test]
fn a_half_that_is_hidden_is_not_taken_for_removed() {
    assert_eq!(half_hidden(), Findings::new());
}

#[test]
fn rows_that_are_hidden_amid_a_run_are_not_sent_again_and_the_policy_is_named_everywhere() {
    for (policy, words) in [(SECURITY, "has row level security"), (VIEW, "has restricted view access")] {
        simulated(async || {
            let mut world = world(None);
            let told = hidden_once_planned(&mut world, policy).await;
            told.failed_saying(&[words]);
            let posts = world.cloud.ingestion().statistics().messages;
            assert!(posts <= 6, "{policy}: {posts} posts");
            let told = world.run_of(TABLE).await;
            assert!(told.result.success, "{policy}: {told:#?}");
            assert_eq!(world.cloud.ingestion().statistics().messages, 6, "{policy}: each window is posted once");
            world.whole(TABLE).await;
        });
    }
}

#[test]
fn rows_that_are_hidden_between_two_runs_are_named_and_nothing_is_sent_until_they_are_seen() {
    for (policy, words) in [(SECURITY, "has row level security"), (VIEW, "has restricted view access")] {
        simulated(async || {
            let mut world = world(None);
            assert!(world.run_of(TABLE).await.result.success);
            world.more_of(TABLE, 20).await;
            switch(&world, policy);
            let told = world.run_of(TABLE).await;
            assert!(told.output.contains(words) && told.audit.contains(words), "{told:#?}");
            assert_eq!(world.cloud.ingestion().statistics().messages, 6, "{policy}");
            switch_off(&world, policy);
            assert!(world.run_of(TABLE).await.result.success);
            world.whole(TABLE).await;
        });
    }
}
