//! Suspending and resuming a run. The message goes first, then the run is swapped, and of one that is suspended the tables
//! are told; the message's handler does all of that again.

use super::release;
use super::tell::tell;
use crate::app::App;
use crate::functions::orchestrator::swap_run;
use crate::orchestration::head::hold::hold;
use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::Instance;
use crate::orchestration::run::suspend::{Asked, Move, Refused};
use crate::orchestration::run::{resume, suspend};
use crate::state::{Error, Stored, Transaction};
use crate::telemetry::metrics;
use crate::timestamp::Timestamp;

/// Suspends a run that has not ended.
///
/// # Errors
/// The state store's. The inner error says why the run is not suspended.
pub async fn suspend(app: &App, id: &InstanceId, reason: &str) -> Result<Result<(), Refused>, Error> {
    loop {
        let read = app.state.instance(id).await?;
        let run = match (suspend::request(read.as_ref().map(|run| &run.record), reason), &read) {
            (Err(refused), _) => return Ok(Err(refused)),
            (Ok(Asked::For { number, created, debt }), _) => {
                app.state.pay(&[debt]).await?;
                apply_suspension(app, id, number, Some(created), reason).await?
            }
            (Ok(Asked::Already(next)), Some(read)) => swap_run(app, read, &next).await?.then_some(*next),
            (Ok(Asked::Already(_)), None) => None,
        };
        // Where what was asked for before came about meanwhile, this is still the later one.
        let Some(run) = run else { continue };
        tell(app, id, |head, now| hold(head, id, run.holds, now)).await;
        return Ok(Ok(()));
    }
}

/// Resumes a run; one that is not suspended goes on as it did.
///
/// # Errors
/// The state store's. The inner error says why the run cannot go on.
pub async fn resume(app: &App, id: &InstanceId) -> Result<Result<(), Refused>, Error> {
    loop {
        let read = app.state.instance(id).await?;
        let is_done = match (resume::request(read.as_ref().map(|run| &run.record)), &read) {
            (Err(refused), _) => return Ok(Err(refused)),
            (Ok(Asked::For { number, created, debt }), _) => {
                app.state.pay(&[debt]).await?;
                // Completed by it, or going on.
                apply_resumption(app, id, number, Some(created)).await?.is_some()
            }
            (Ok(Asked::Already(next)), Some(read)) => swap_run(app, read, &next).await?,
            (Ok(Asked::Already(_)), None) => false,
        };
        if is_done {
            return Ok(Ok(()));
        }
    }
}

/// Swaps the run accepted at `created` for its suspension `number`; gives it if its tables are to be told.
///
/// # Errors
/// The state store's.
pub async fn apply_suspension(
    app: &App,
    id: &InstanceId,
    number: u64,
    created: Option<Timestamp>,
    reason: &str,
) -> Result<Option<Instance>, Error> {
    apply(app, id, |run, now| suspend::apply(run, number, created, reason, now)).await
}

/// Swaps the run accepted at `created` for its resumption `number`; gives it if its tables are to be told. A run that is
/// completed by it leaves its place.
///
/// # Errors
/// The state store's.
pub async fn apply_resumption(
    app: &App,
    id: &InstanceId,
    number: u64,
    created: Option<Timestamp>,
) -> Result<Option<Instance>, Error> {
    let run = apply(app, id, |run, now| resume::apply(run, number, created, now)).await?;
    if run.as_ref().is_some_and(|run| run.status.is_final()) {
        release(app, id).await?;
    }
    Ok(run)
}

async fn apply(
    app: &App,
    id: &InstanceId,
    rule: impl Fn(&Instance, Timestamp) -> Move,
) -> Result<Option<Instance>, Error> {
    while let Some(Stored { record: run, etag }) = app.state.instance(id).await? {
        let moved = match rule(&run, app.state.now()) {
            Move::Swap(moved) => moved,
            Move::Again => return Ok(Some(run)),
            Move::Old => return Ok(None),
        };
        match app.state.commit(Transaction::new().instance(&moved, Some(&etag))?).await {
            Ok(_) => {
                tracing::info!(instance = %id, status = moved.status.name(), "a run was suspended or resumed");
                if moved.status.is_final() {
                    metrics::run_ended(moved.status.name());
                }
                return Ok(Some(*moved));
            }
            Err(Error::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::orchestrator::hold as step;
    use crate::functions::testing::World;
    use crate::orchestration::head::testing::table;
    use crate::orchestration::instance::RuntimeStatus;
    use crate::orchestration::message::ControlMessage;

    /// What a door leaves that is killed between its message and its swap.
    async fn killed_before_its_swap(world: &World, asked: Result<Asked, Refused>) {
        let Ok(Asked::For { debt, .. }) = asked else { panic!("{asked:?}") };
        world.app.state.pay(&[debt]).await.unwrap();
    }

    /// Handles all messages of suspensions and resumptions, twice; gives whether tables were told to go on.
    async fn handled(world: &World) -> bool {
        let mut goes_on = false;
        for message in world.messages().await {
            for _ in 0..2 {
                match &message {
                    ControlMessage::Suspend { instance, number, created, reason } => {
                        step::suspend(&world.app, instance, *number, *created, reason).await.unwrap();
                    }
                    ControlMessage::Resume { instance, number, created } => {
                        step::resume(&world.app, instance, *number, *created).await.unwrap();
                    }
                    ControlMessage::Plan { .. } => goes_on = true,
                    other => panic!("{other:?}"),
                }
            }
        }
        goes_on
    }

    async fn is_held(world: &World) -> bool {
        world.app.state.head(&table().key).await.unwrap().unwrap().record.stop
    }

    #[tokio::test]
    async fn a_resumption_outranks_a_suspension_that_was_killed_between_its_message_and_the_run() {
        let world = World::new();
        let id = world.at_a_table().await;
        killed_before_its_swap(&world, suspend::request(world.run(&id).await.as_ref(), "a while")).await;
        resume(&world.app, &id).await.unwrap().unwrap();
        handled(&world).await;
        assert_eq!((world.status(&id).await, is_held(&world).await), (Some(RuntimeStatus::Running), false));
        suspend(&world.app, &id, "now").await.unwrap().unwrap();
        assert_eq!((world.status(&id).await, is_held(&world).await), (Some(RuntimeStatus::Suspended), true));
    }

    #[tokio::test]
    async fn a_suspension_outranks_a_resumption_that_was_killed_between_its_message_and_the_run() {
        let world = World::new();
        let id = world.at_a_table().await;
        suspend(&world.app, &id, "a while").await.unwrap().unwrap();
        killed_before_its_swap(&world, resume::request(world.run(&id).await.as_ref())).await;
        suspend(&world.app, &id, "still").await.unwrap().unwrap();
        assert!(!handled(&world).await && !handled(&world).await, "no table is told to go on");
        assert_eq!((world.status(&id).await, is_held(&world).await), (Some(RuntimeStatus::Suspended), true));
        resume(&world.app, &id).await.unwrap().unwrap();
        assert!(!handled(&world).await && handled(&world).await, "the message sends the plans");
        assert_eq!(world.status(&id).await, Some(RuntimeStatus::Running));
    }

    #[tokio::test]
    async fn what_is_asked_for_twice_is_carried_out_by_the_first_message_all_the_same() {
        let world = World::new();
        let id = world.at_a_table().await;
        suspend(&world.app, &id, "a while").await.unwrap().unwrap();
        handled(&world).await;
        for _ in 0..2 {
            resume(&world.app, &id).await.unwrap().unwrap();
        }
        assert!(!handled(&world).await && handled(&world).await, "its number is not the run's any more");
    }
}
