//! The places of runs: taken by a start, left at the end.

use crate::app::App;
use crate::orchestration::ids::InstanceId;
use crate::orchestration::run::listed::Listed;
use crate::orchestration::run::place::{Active, Entry, enter, is_over};
use crate::state::{Error, Transaction};

/// Takes a place, and writes the run's entry in the list with it; gives the run that is active if that is refused.
///
/// # Errors
/// The state store's.
pub async fn take(app: &App, own: &Active, listed: Option<&Listed>, force: bool) -> Result<Option<InstanceId>, Error> {
    loop {
        let place = app.state.active().await?;
        let holder = match &place {
            Some(place) => app.state.instance(&place.record.instance).await?.map(|run| run.record),
            None => None,
        };
        let active = place.as_ref().map(|place| &place.record);
        let swap = match enter(own.clone(), force, active, holder.as_ref(), app.state.now(), &app.limits) {
            Entry::Take(own) => Transaction::new().active(&own, place.as_ref().map(|place| &place.etag))?,
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
            // Somebody was faster: look again.
            Err(Error::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Frees the place of a run that is over, if it still holds one. The place is read before the run, and freed as it was
/// read: a run that begins again meanwhile keeps it.
///
/// # Errors
/// The state store's.
pub async fn release(app: &App, id: &InstanceId) -> Result<(), Error> {
    let (place, active) = match app.state.active().await? {
        Some(place) if place.record.instance == *id => (place, true),
        _ => match app.state.beside(id).await? {
            Some(place) => (place, false),
            None => return Ok(()),
        },
    };
    let run = app.state.instance(id).await?.map(|run| run.record);
    if !is_over(&place.record, run.as_ref(), app.state.now(), &app.limits) {
        return Ok(());
    }
    let free = if active {
        Transaction::new().release_active(&place.etag)?
    } else {
        Transaction::new().release_beside(id, &place.etag)?
    };
    match app.state.commit(free).await {
        Ok(_) | Err(Error::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}
