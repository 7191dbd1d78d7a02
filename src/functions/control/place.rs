//! The places of runs: taken by a start, confirmed as the run begins, left at the end.

use crate::app::App;
use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::Instance;
use crate::orchestration::run::listed::Listed;
use crate::orchestration::run::place::{Active, Entry, enter, is_over};
use crate::state::{Error, Stored, Transaction};

/// Takes a place, and writes the run's entry in the list with it, unless that stands there already; gives the run that is
/// active if that is refused. Where the active place is free, a run that was begun beside it by `force` may still go on.
///
/// # Errors
/// The state store's.
pub async fn take(app: &App, own: &Active, listed: Option<&Listed>, force: bool) -> Result<Option<InstanceId>, Error> {
    let mut listed = listed;
    loop {
        let place = app.state.active().await?;
        let holder = match &place {
            Some(place) => app.state.instance(&place.record.instance).await?.map(|run| run.record),
            None => None,
        };
        let active = place.as_ref().map(|place| &place.record);
        let swap = match enter(own.clone(), force, active, holder.as_ref(), app.state.now(), &app.limits) {
            Entry::Take(own) => {
                if !force && let Some(other) = beside(app, &own.instance).await? {
                    return Ok(Some(other));
                }
                Transaction::new().active(&own, place.as_ref().map(|place| &place.etag))?
            }
            Entry::Beside(own) => {
                let before = app.state.beside(&own.instance).await?;
                Transaction::new().beside(&own, before.as_ref().map(|place| &place.etag))?
            }
            Entry::Refused(active) => return Ok(Some(active)),
        };
        let swap = match listed {
            Some(entry) => swap.listed(entry)?,
            None => swap,
        };
        match app.state.commit(swap).await {
            Ok(_) => return Ok(None),
            // Somebody was faster: look again. A start that is repeated or comes twice at once finds its own entry.
            Err(Error::Conflict) => {
                if let Some(entry) = listed
                    && app.state.entry(entry).await?.is_some()
                {
                    listed = None;
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// The first run besides `own` that holds a place and is not over.
async fn beside(app: &App, own: &InstanceId) -> Result<Option<InstanceId>, Error> {
    for Stored { record: place, .. } in app.state.places().await? {
        if place.instance == *own {
            continue;
        }
        let run = app.state.instance(&place.instance).await?.map(|run| run.record);
        if !is_over(&place, run.as_ref(), app.state.now(), &app.limits) {
            return Ok(Some(place.instance));
        }
    }
    Ok(None)
}

/// Sees to it that a run which is about to begin holds a place; gives the run that is active if it lost its own to that
/// one. Between taking the place and writing the run, its start may have stood still for so long that the place was taken
/// for one that was left behind. The place is swapped although nothing in it changes: whoever still takes it for that has
/// read an older version, and looks again.
///
/// # Errors
/// The state store's.
pub async fn confirm(app: &App, run: &Instance) -> Result<Option<InstanceId>, Error> {
    while let Some((place, kind)) = held(app, &run.id).await? {
        let (own, etag) = (&place.record, Some(&place.etag));
        let swap = match kind {
            Kind::Active => Transaction::new().active(own, etag)?,
            Kind::Beside => Transaction::new().beside(own, etag)?,
        };
        match app.state.commit(swap).await {
            Ok(_) => return Ok(None),
            Err(Error::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    let own = Active { instance: run.id.clone(), since: app.state.now(), life: run.lives };
    take(app, &own, None, run.input.force).await
}

/// Which place a run holds.
#[derive(Clone, Copy)]
enum Kind {
    Active,
    Beside,
}

async fn held(app: &App, id: &InstanceId) -> Result<Option<(Stored<Active>, Kind)>, Error> {
    Ok(match app.state.active().await? {
        Some(place) if place.record.instance == *id => Some((place, Kind::Active)),
        _ => app.state.beside(id).await?.map(|place| (place, Kind::Beside)),
    })
}

/// Frees the place of a run that is over, if it still holds one. The place is read before the run, and freed as it was
/// read: a run that begins again meanwhile keeps it.
///
/// # Errors
/// The state store's.
pub async fn release(app: &App, id: &InstanceId) -> Result<(), Error> {
    let Some((place, kind)) = held(app, id).await? else { return Ok(()) };
    let run = app.state.instance(id).await?.map(|run| run.record);
    if !is_over(&place.record, run.as_ref(), app.state.now(), &app.limits) {
        return Ok(());
    }
    free(app, &place, kind).await
}

/// Gives back the place that a run took to begin again and could not, unless somebody has taken it since, or the run goes
/// on.
///
/// # Errors
/// The state store's.
pub async fn give_back(app: &App, own: &Active) -> Result<(), Error> {
    let Some((place, kind)) = held(app, &own.instance).await?.filter(|(place, _)| place.record == *own) else {
        return Ok(());
    };
    let run = app.state.instance(&own.instance).await?.map(|run| run.record);
    if run.is_some_and(|run| !run.status.is_final()) {
        return Ok(());
    }
    free(app, &place, kind).await
}

/// Frees a place as it was read.
async fn free(app: &App, place: &Stored<Active>, kind: Kind) -> Result<(), Error> {
    let free = match kind {
        Kind::Active => Transaction::new().release_active(&place.etag)?,
        Kind::Beside => Transaction::new().release_beside(&place.record.instance, &place.etag)?,
    };
    match app.state.commit(free).await {
        Ok(_) | Err(Error::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::testing::World;
    use crate::orchestration::head::testing::id;
    use crate::orchestration::instance::{RuntimeStatus, StartInput};
    use serde_json::Value;

    fn run(world: &World, bits: u128, force: bool) -> Instance {
        Instance::pending(id(bits), StartInput { force, ..StartInput::default() }, Value::Null, world.app.state.now())
    }

    fn place(world: &World, bits: u128) -> Active {
        Active { instance: id(bits), since: world.app.state.now(), life: 0 }
    }

    async fn holder(world: &World) -> Option<InstanceId> {
        world.app.state.active().await.unwrap().map(|place| place.record.instance)
    }

    #[tokio::test]
    async fn whoever_looked_before_a_run_confirmed_its_place_does_not_get_it() {
        let world = World::new();
        assert_eq!(take(&world.app, &place(&world, 1), None, false).await.unwrap(), None);
        let seen = world.app.state.active().await.unwrap().unwrap();
        assert_eq!(confirm(&world.app, &run(&world, 1, false)).await.unwrap(), None);
        let late = Transaction::new().active(&place(&world, 2), Some(&seen.etag)).unwrap();
        assert!(matches!(world.app.state.commit(late).await, Err(Error::Conflict)));
        assert_eq!(holder(&world).await, Some(id(1)));
        let since = world.app.state.active().await.unwrap().unwrap().record.since;
        assert_eq!(since, seen.record.since);
    }

    #[tokio::test]
    async fn a_run_whose_place_was_freed_takes_it_again_unless_another_one_has_it() {
        let world = World::new();
        assert_eq!(confirm(&world.app, &run(&world, 1, false)).await.unwrap(), None);
        assert_eq!(holder(&world).await, Some(id(1)));
        assert_eq!(confirm(&world.app, &run(&world, 2, false)).await.unwrap(), Some(id(1)));
        assert_eq!(confirm(&world.app, &run(&world, 2, true)).await.unwrap(), None);
        assert!(world.app.state.beside(&id(2)).await.unwrap().is_some());
        assert_eq!(confirm(&world.app, &run(&world, 2, true)).await.unwrap(), None, "it has one");
        assert_eq!(holder(&world).await, Some(id(1)));
    }

    #[tokio::test]
    async fn a_run_that_was_forced_keeps_others_out_when_the_active_one_is_over() {
        let world = World::new();
        let state = &world.app.state;
        for (bits, force) in [(1, false), (2, true)] {
            assert_eq!(take(&world.app, &place(&world, bits), None, force).await.unwrap(), None);
            state.commit(Transaction::new().instance(&run(&world, bits, force), None).unwrap()).await.unwrap();
        }
        world.change(&id(1), |run| run.status = RuntimeStatus::Completed).await;
        for released in [false, true] {
            if released {
                release(&world.app, &id(1)).await.unwrap();
            }
            assert_eq!(take(&world.app, &place(&world, 3), None, false).await.unwrap(), Some(id(2)), "{released}");
        }
        assert_eq!(take(&world.app, &place(&world, 2), None, false).await.unwrap(), None, "it is its own place");
        world.change(&id(2), |run| run.status = RuntimeStatus::Failed).await;
        assert_eq!(take(&world.app, &place(&world, 3), None, false).await.unwrap(), None);
    }

    #[tokio::test]
    async fn an_entry_that_stands_in_the_list_already_keeps_no_run_from_its_place() {
        let world = World::new();
        let entry = Listed::of(&run(&world, 1, false));
        for _ in 0..2 {
            assert_eq!(take(&world.app, &place(&world, 1), Some(&entry), false).await.unwrap(), None);
        }
        assert!(world.app.state.entry(&entry).await.unwrap().is_some());
    }
}
