//! What a tick starts, and what it forgets.

use super::*;
use crate::functions::testing::World;
use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::{Instance, RuntimeStatus};
use crate::orchestration::run::listed::Listed;
use crate::orchestration::run::place::Active;
use crate::state::{Stretch, Transaction};

fn tick(next: &str) -> Invocation {
    let status = json!({"Last": "2026-04-30T02:00:00+00:00", "Next": next, "LastUpdated": "2026-04-30T02:00:00+00:00"});
    let data = json!({"Data": {"timer": {"ScheduleStatus": status, "IsPastDue": true}}, "Metadata": {}});
    Invocation::parse(data.to_string().as_bytes()).unwrap()
}

async fn runs(world: &World) -> Vec<InstanceId> {
    let (entries, _) = world.app.state.listed(&Stretch::default()).await.unwrap();
    entries.into_iter().map(|entry| entry.record.instance).collect()
}

const DUE: &str = "2026-05-01T00:00:00+00:00";

#[tokio::test]
async fn a_timer_that_fires_again_after_a_crash_starts_nothing_twice() {
    let world = World::new();
    handle(&world.app, &tick(DUE)).await.unwrap();
    let started = runs(&world).await;
    assert_eq!(started.len(), 1);
    // The run is over before the host comes back and finds its timer past due.
    world.change(&started[0], |run| run.status = RuntimeStatus::Completed).await;
    world.clock.forward(1_000);
    handle(&world.app, &tick(DUE)).await.unwrap();
    assert_eq!(runs(&world).await, started);
    handle(&world.app, &tick("2026-05-01T00:10:00+00:00")).await.unwrap();
    assert_eq!(runs(&world).await.len(), 2, "the next occurrence is another run");
}

#[tokio::test]
async fn a_start_that_was_broken_off_between_its_writes_is_finished_by_the_next_tick() {
    let world = World::new();
    let id = run_of(DUE.parse().ok(), world.app.state.now(), world.app.limits.clock_margin).unwrap();
    let place = Active { instance: id.clone(), since: world.app.state.now() };
    let entry = Listed { instance: id.clone(), created: world.app.state.now() };
    world.app.state.commit(Transaction::new().active(&place, None).unwrap().listed(&entry).unwrap()).await.unwrap();
    world.clock.forward(5);
    handle(&world.app, &tick(DUE)).await.unwrap();
    assert_eq!(world.status(&id).await, Some(RuntimeStatus::Pending));
    assert_eq!(world.messages().await.len(), 1);
    // Broken off before its message.
    handle(&world.app, &tick(DUE)).await.unwrap();
    assert_eq!(world.messages().await.len(), 1);
}

#[tokio::test]
async fn a_timer_without_a_schedule_status_starts_a_run_each_time() {
    let world = World::new();
    let by_hand = Invocation::parse(br#"{"Data":{"timer":{"ScheduleStatus":null}}}"#).unwrap();
    for count in 1..3 {
        handle(&world.app, &by_hand).await.unwrap();
        let started = runs(&world).await;
        assert_eq!(started.len(), count);
        world.change(&started[0], |run| run.status = RuntimeStatus::Completed).await;
        world.clock.forward(60);
    }
}

#[tokio::test]
async fn runs_that_ended_longer_ago_than_the_history_are_forgotten_and_others_are_kept() {
    let world = World::new();
    let mut started = Vec::new();
    for day in 1..5 {
        handle(&world.app, &tick(&format!("2026-05-0{day}T00:00:00+00:00"))).await.unwrap();
        let id = runs(&world).await[0].clone();
        world.change(&id, |run| *run = run.terminated("x", run.created).unwrap()).await;
        started.push(id);
        world.clock.forward(86_400);
    }
    world.change(&started[0], |run| *run = Instance { status: RuntimeStatus::Suspended, ..run.clone() }).await;
    world.clock.forward(28 * 86_400);
    handle(&world.app, &tick("2026-06-02T00:00:00+00:00")).await.unwrap();
    let mut left = Vec::new();
    for id in &started {
        left.push(world.status(id).await.is_some());
    }
    assert_eq!(left, [true, false, true, true], "held, 31 days old, 30 days old, 29 days old");
}
