//! Forgetting runs that are over: one, those that a filter names, or the old ones. The run goes with its tables' rows;
//! its entry in the list goes last, and one without a run is not shown.

use super::again::leave;
use super::place::release;
use crate::app::App;
use crate::functions::orchestrator::purge_table;
use crate::orchestration::ids::{InstanceId, TableKey};
use crate::orchestration::instance::Instance;
use crate::orchestration::run::listed::{Filter, Listed, Place};
use crate::orchestration::run::purge::{batches, is_old, may_go};
use crate::state::{Error, State, Stored, Stretch, Transaction, readable};
use crate::storage::ETag;
use std::collections::HashSet;
use tokio::time::Instant;

/// What became of a request to forget a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purged {
    /// It is forgotten.
    Now,
    /// It goes on, and is kept.
    GoesOn,
    /// There is no such run.
    Unknown,
}

/// Forgets one run.
///
/// # Errors
/// The state store's.
pub async fn purge(app: &App, id: &InstanceId) -> Result<Purged, Error> {
    loop {
        let Some(run) = app.state.instance(id).await? else { return Ok(Purged::Unknown) };
        if !may_go(&run.record) {
            return Ok(Purged::GoesOn);
        }
        let entry = Listed::of(&run.record);
        match forget(app, run).await {
            Ok(()) => {}
            Err(Error::Conflict) => continue,
            Err(error) => return Err(error),
        }
        if let Some(entry) = app.state.entry(&entry).await? {
            unlist(&app.state, &entry).await?;
        }
        return Ok(Purged::Now);
    }
}

/// What a look through the list of runs came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    /// How many runs are forgotten.
    pub gone: u64,
    /// Whether time ran out before the end of the list.
    pub more: bool,
    /// The last place that was looked at: where to go on behind.
    pub after: Option<Place>,
}

/// Forgets the runs behind `after` that are over and that the filter wants, as many as fit before `deadline`.
///
/// # Errors
/// The state store's.
pub async fn purge_matching(
    app: &App,
    filter: &Filter,
    after: Option<Place>,
    deadline: Instant,
) -> Result<Swept, Error> {
    let wanted = |run: &Instance| may_go(run) && filter.wants(run);
    sweep(app, filter, after, deadline, wanted, None).await
}

/// Forgets the runs that ended longer ago than the history goes back, with the old windows of their tables, and entries
/// that never had a run, as many as fit before `deadline`; gives the number of runs.
///
/// # Errors
/// The state store's.
pub async fn purge_old(app: &App, deadline: Instant) -> Result<u64, Error> {
    let (now, history) = (app.state.now(), app.limits.history);
    let filter = Filter { created_to: Some(now - history), ..Filter::default() };
    let retention = Some(Retention::default());
    Ok(sweep(app, &filter, None, deadline, |run| is_old(run, now, history), retention).await?.gone)
}

/// What goes besides the runs when they are forgotten for their age.
#[derive(Default)]
struct Retention {
    /// The tables whose windows were looked at already.
    looked_at: HashSet<TableKey>,
}

impl Retention {
    /// Removes the old windows of a run's tables: for those that no run plans any more nobody else would. Before the run
    /// goes, as nobody knows of them after that; gives false when time runs out.
    async fn purge_windows(&mut self, app: &App, run: &Instance, deadline: Instant) -> Result<bool, Error> {
        let Some(tables) = readable(app.state.tables(&run.id).await)? else { return Ok(true) };
        for key in tables.into_iter().map(|table| table.record.key) {
            if self.looked_at.insert(key.clone()) {
                readable(purge_table(app, &key, deadline).await)?;
            }
        }
        Ok(Instant::now() < deadline)
    }
}

async fn sweep(
    app: &App,
    filter: &Filter,
    after: Option<Place>,
    deadline: Instant,
    wanted: impl Fn(&Instance) -> bool,
    mut retention: Option<Retention>,
) -> Result<Swept, Error> {
    let state = &app.state;
    let mut stretch = Stretch { created_from: filter.created_from, created_to: filter.created_to, after };
    let mut gone = 0;
    loop {
        let (entries, more) = state.listed(&stretch).await?;
        for entry in &entries {
            if Instant::now() >= deadline {
                tracing::info!(gone, "not all runs were purged in the time of one call; the next call goes on");
                return Ok(Swept { gone, more: true, after: stretch.after });
            }
            stretch.after = Some(entry.record.place());
            if !filter.may_want(&entry.record) {
                continue;
            }
            // An entry is kept with what cannot be read of its run.
            let Some(run) = readable(state.instance(&entry.record.instance).await)? else { continue };
            let run = run.filter(|run| entry.record.is_of(&run.record));
            let Some(run) = run else {
                // Broken off before its run was written, or the entry of a former life.
                if retention.is_some() {
                    unlist(state, entry).await?;
                }
                continue;
            };
            if !wanted(&run.record) {
                continue;
            }
            if let Some(retention) = &mut retention
                && !retention.purge_windows(app, &run.record, deadline).await?
            {
                continue;
            }
            if readable(forgotten(app, run).await)?.unwrap_or_default() {
                unlist(state, entry).await?;
                gone += 1;
            }
        }
        if !more {
            return Ok(Swept { gone, more: false, after: None });
        }
    }
}

/// Forgets a run unless it has changed since it was read.
async fn forgotten(app: &App, run: Stored<Instance>) -> Result<bool, Error> {
    match forget(app, run).await {
        Ok(()) => Ok(true),
        Err(Error::Conflict) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn forget(app: &App, run: Stored<Instance>) -> Result<(), Error> {
    let state = &app.state;
    let Stored { record: run, mut etag } = run;
    // Whoever ended it may not have come to that yet, and no place tells of a run that is gone.
    release(app, &run.id).await?;
    let rows: Vec<_> = state.tables(&run.id).await?.into_iter().map(|table| (table.record.key, table.etag)).collect();
    // The message that would stop them finds no run any more.
    for (key, _) in &rows {
        leave(app, &run.id, run.lives + 1, key).await?;
    }
    let (before, last) = batches(rows);
    let with = |start: Transaction, rows: &[(_, ETag)]| {
        rows.iter().try_fold(start, |transaction, (key, etag)| transaction.delete_table(&run.id, key, etag))
    };
    for rows in before {
        let swap = with(Transaction::new().instance(&run, Some(&etag))?, &rows)?;
        etag = state.commit(swap).await?.into_iter().next().flatten().ok_or(Error::Conflict)?;
    }
    state.commit(with(Transaction::new().delete_instance(&run.id, &etag)?, &last)?).await?;
    tracing::info!(instance = %run.id, "a run is forgotten");
    Ok(())
}

async fn unlist(state: &State, entry: &Stored<Listed>) -> Result<(), Error> {
    match state.commit(Transaction::new().unlisted(&entry.record, &entry.etag)?).await {
        Ok(_) | Err(Error::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::control::{Started, begin_again, start};
    use crate::functions::testing::World;
    use crate::orchestration::head::testing::{head, id, table};
    use crate::orchestration::instance::{RuntimeStatus, StartInput};
    use crate::orchestration::ledger::{Head, TableState};
    use crate::orchestration::run::restart;
    use serde_json::{Value, json};
    use std::time::Duration;

    /// A run that was terminated and then began again, as it was read before that; and the head that its new life has
    /// taken.
    async fn begun_again(world: &World) -> (Stored<Instance>, Head) {
        let (state, now) = (&world.app.state, world.app.state.now());
        let run = Instance::pending(id(1), StartInput::default(), Value::Null, now).terminated("x", now).unwrap();
        state.commit(Transaction::new().instance(&run, None).unwrap()).await.unwrap();
        state.commit(Transaction::new().table(&id(1), &table(), None).unwrap()).await.unwrap();
        let read = state.instance(&id(1)).await.unwrap().unwrap();
        let again = restart::request(&read.record, now).unwrap();
        assert_eq!(begin_again(&world.app, &again, &read.etag).await.unwrap(), None);
        let taken = Head { life: again.run.lives, ..head(TableState::Planning) };
        state.commit(Transaction::new().head(&table().key, &taken, None).unwrap()).await.unwrap();
        (read, taken)
    }

    #[tokio::test]
    async fn a_purge_that_comes_late_leaves_the_tables_of_the_new_life_alone() {
        let world = World::new();
        let (read, taken) = begun_again(&world).await;
        assert!(!forgotten(&world.app, read).await.unwrap());
        assert_eq!(world.app.state.head(&table().key).await.unwrap().unwrap().record, taken);
    }

    /// A run that was accepted a second later than the one before, and is over.
    async fn over(world: &World) -> InstanceId {
        world.clock.forward(1);
        let Started::New(id) = start(&world.app, StartInput::default(), json!({})).await.unwrap() else { panic!() };
        world.change(&id, |run| run.status = RuntimeStatus::Completed).await;
        release(&world.app, &id).await.unwrap();
        id
    }

    #[tokio::test]
    async fn a_purge_that_ran_out_of_time_goes_on_where_it_ended() {
        let world = World::new();
        let (all, soon) = (Filter::default(), Instant::now() + Duration::from_secs(60));
        let (first, second, newest) = (over(&world).await, over(&world).await, over(&world).await);
        let late = purge_matching(&world.app, &all, None, Instant::now()).await.unwrap();
        assert_eq!(late, Swept { gone: 0, more: true, after: None });
        let behind = Listed::of(&world.run(&newest).await.unwrap()).place();
        let rest = purge_matching(&world.app, &all, Some(behind), soon).await.unwrap();
        assert_eq!(rest, Swept { gone: 2, more: false, after: None });
        assert!(world.run(&first).await.is_none() && world.run(&second).await.is_none());
        assert!(world.run(&newest).await.is_some(), "the call before had passed it over");
    }

    #[tokio::test]
    async fn old_windows_of_a_table_that_no_run_plans_any_more_go_with_the_last_run_it_was_in() {
        let world = World::new();
        let state = &world.app.state;
        world.long_copied().await;
        let id = over(&world).await;
        state.commit(Transaction::new().table(&id, &table(), None).unwrap()).await.unwrap();
        world.clock.forward(31 * 86_400);
        assert_eq!(purge_old(&world.app, Instant::now() + Duration::from_secs(60)).await.unwrap(), 1);
        assert_eq!(state.windows(&table().key).await.unwrap().len(), 50, "those above the watermark stay");
    }

    #[tokio::test]
    async fn a_run_that_was_forgotten_before_it_left_its_place_keeps_nobody_out() {
        let world = World::new();
        let Started::New(id) = start(&world.app, StartInput::default(), json!({})).await.unwrap() else { panic!() };
        world.change(&id, |run| run.status = RuntimeStatus::Completed).await;
        assert_eq!(purge(&world.app, &id).await.unwrap(), Purged::Now);
        let next = start(&world.app, StartInput::default(), json!({})).await.unwrap();
        assert!(matches!(next, Started::New(_)), "{next:?}");
    }

    #[tokio::test]
    async fn a_run_that_could_not_begin_again_gives_its_place_back() {
        let world = World::new();
        let state = &world.app.state;
        let Started::New(id) = start(&world.app, StartInput::default(), json!({})).await.unwrap() else { panic!() };
        world.change(&id, |run| run.status = RuntimeStatus::Failed).await;
        release(&world.app, &id).await.unwrap();
        let read = state.instance(&id).await.unwrap().unwrap();
        let again = restart::request(&read.record, state.now()).unwrap();
        // A repair is put on its record.
        world.change(&id, |run| run.notes.push("repaired".into())).await;
        assert_eq!(begin_again(&world.app, &again, &read.etag).await.unwrap(), Some(id));
        assert!(state.active().await.unwrap().is_none());
        let next = start(&world.app, StartInput::default(), json!({})).await.unwrap();
        assert!(matches!(next, Started::New(_)), "{next:?}");
    }

    #[tokio::test]
    async fn a_second_restart_that_comes_late_is_refused_and_leaves_the_tables_of_the_first_alone() {
        let world = World::new();
        let (read, taken) = begun_again(&world).await;
        world.clock.forward(1);
        let again = restart::request(&read.record, world.app.state.now()).unwrap();
        assert_eq!(begin_again(&world.app, &again, &read.etag).await.unwrap(), Some(id(1)));
        assert_eq!(world.app.state.head(&table().key).await.unwrap().unwrap().record, taken);
        assert!(world.app.state.active().await.unwrap().is_some(), "the first has it");
    }
}
