//! Deliveries of a plan message that meet, over a store in memory. The app has no settings: whatever is taken cannot be
//! planned.

use super::*;
use crate::functions::testing::World;
use crate::orchestration::head::testing::{head, id, key, run, seen, table};
use crate::orchestration::head::unplanned;
use crate::orchestration::instance::{Instance, RuntimeStatus};
use crate::orchestration::ledger::{HeadDebts, TableState};
use crate::state::Transaction;

impl World {
    /// A run of one table whose plan message is under way.
    async fn begun(self) -> Self {
        let going = Instance { status: RuntimeStatus::Running, tables_total: 1, ..run(1) };
        let begun = Transaction::new().instance(&going, None).unwrap().table(&id(1), &table(), None).unwrap();
        self.app.state.commit(begun).await.unwrap();
        self
    }

    async fn with_head(self, head: &Head) -> Self {
        self.app.state.commit(Transaction::new().head(&key(), head, None).unwrap()).await.unwrap();
        self
    }

    async fn taken(&self) -> (Asked<'_>, String) {
        match Asked::take(&self.app, &id(1), &key(), "m").await.unwrap() {
            Some((asked, Taken::Ours(head))) => (asked, head.record.draft.unwrap()),
            _ => panic!("not taken"),
        }
    }

    async fn deliver(&self) {
        handle(&self.app, &id(1), &key(), 0, "m").await.unwrap();
    }

    async fn head(&self) -> Head {
        self.app.state.head(&key()).await.unwrap().unwrap().record
    }

    /// The error that is the table's result, if it has one.
    async fn result(&self) -> Option<String> {
        let table = self.app.state.table(&id(1), &key()).await.unwrap().unwrap().record;
        table.result.map(|result| result.error.unwrap())
    }
}

fn failed(error: &str) -> TableResult {
    TableResult { error: Some(error.to_owned()), ..TableResult::default() }
}

#[tokio::test]
async fn a_table_that_cannot_be_planned_ends_with_the_reason_and_is_free() {
    let world = World::new().begun().await;
    world.deliver().await;
    assert_eq!(world.result().await.as_deref(), Some("no settings"));
    assert_eq!(world.status(&id(1)).await, Some(RuntimeStatus::Completed));
    let head = world.head().await;
    assert_eq!((head.run, head.state, head.ended), (None, TableState::Idle, None));
}

#[tokio::test]
async fn a_plan_that_stands_is_not_ended_by_another_delivery_of_its_message() {
    for state in [TableState::Running, TableState::Finishing] {
        let debt = Debt::chunk(&key(), seen(10, crate::orchestration::window::WindowState::Planned).name);
        let owed = HeadDebts { step: "plan:p".into(), by: None, messages: vec![debt] };
        let stands = Head { owed_plan: Some(owed), ..head(state) };
        let world = World::new().begun().await.with_head(&stands).await;
        world.deliver().await;
        assert_eq!((world.result().await, world.head().await), (None, stands));
    }
}

#[tokio::test]
async fn a_delivery_that_was_overtaken_ends_nothing() {
    let world = World::new().begun().await;
    let (late, old) = world.taken().await;
    let (_, new) = world.taken().await;
    late.fail(Some(&old), "the time was up", 0).await.unwrap();
    assert_eq!(world.result().await, None);
    assert_eq!((world.head().await.draft, world.head().await.state), (Some(new), TableState::Planning));
}

#[tokio::test]
async fn whoever_comes_between_a_result_and_its_count_counts_the_same() {
    let ended = unplanned::end(&head(TableState::Planning), failed("no licence"), run(1).created);
    let world = World::new().begun().await.with_head(&ended).await;
    world.deliver().await;
    assert_eq!(world.result().await.as_deref(), Some("no licence"));
    assert_eq!(world.head().await.run, None);
}

#[tokio::test]
async fn whoever_comes_after_the_count_plans_nothing_and_lets_the_head_go() {
    let ended = unplanned::end(&head(TableState::Planning), failed("no licence"), run(1).created);
    for head in [Some(ended), None] {
        let world = World::new().begun().await;
        world.deliver().await;
        let stored = world.app.state.head(&key()).await.unwrap().unwrap();
        let before = head.unwrap_or_else(|| stored.record.clone());
        world.app.state.commit(Transaction::new().head(&key(), &before, Some(&stored.etag)).unwrap()).await.unwrap();
        world.deliver().await;
        let head = world.head().await;
        assert_eq!((head.run, head.state, head.draft), (None, TableState::Idle, None));
        assert_eq!(world.result().await.as_deref(), Some("no settings"), "the first one counts");
    }
}

#[tokio::test]
async fn a_plan_whose_message_is_given_up_ends_its_table_unless_it_stands() {
    let world = World::new().begun().await;
    give_up(&world.app, &id(1), &key(), "given up").await.unwrap();
    assert_eq!(world.result().await.as_deref(), Some("given up"));

    let world = World::new().begun().await.with_head(&head(TableState::Running)).await;
    give_up(&world.app, &id(1), &key(), "given up").await.unwrap();
    assert_eq!((world.result().await, world.head().await), (None, head(TableState::Running)));
    world.clock.forward(61);
    assert!(matches!(&world.messages().await[..], [ControlMessage::Plan { instance, .. }] if *instance == id(1)));
}

#[tokio::test]
async fn what_a_former_life_of_the_run_left_is_planned_anew() {
    let world = World::new().begun().await.with_head(&head(TableState::Running)).await;
    world.change(&id(1), |run| run.lives = 1).await;
    let (_, draft) = world.taken().await;
    let head = world.head().await;
    assert_eq!((head.life, head.state, head.draft), (1, TableState::Planning, Some(draft)));
}
