//! A table that is given up in its run although its windows have not all ended (`orchestration::head::given_up`). Reads no window: one that
//! cannot be read may be why.

use super::finish::{Audit, Ended, end_table};
use super::store;
use crate::app::App;
use crate::orchestration::head::take::is_of;
use crate::orchestration::head::{given_up, unplanned};
use crate::orchestration::ids::{InstanceId, TableKey};
use crate::orchestration::instance::TableResult;
use crate::state::{Error, readable};

/// Ends a table with `error` in the run that is at it. Where the head itself cannot be read, the run alone has the result.
///
/// # Errors
/// The state store's.
pub async fn give_up(app: &App, id: &InstanceId, key: &TableKey, error: &str) -> Result<(), Error> {
    let Some(table) = app.state.table(id, key).await?.map(|table| table.record) else { return Ok(()) };
    let result = loop {
        // The head first: that the run is as it is read then is told by the swap.
        let Some(head) = readable(app.state.head(key).await)? else {
            break TableResult { error: Some(error.to_owned()), ..TableResult::default() };
        };
        let Some(run) = app.state.instance(id).await?.map(|run| run.record) else { return Ok(()) };
        let Some(head) = head.filter(|head| is_of(&head.record, &run)) else { return Ok(()) };
        let Some(mut ended) = given_up::end(&head.record, error, app.state.now()) else { return Ok(()) };
        let Some(result) = ended.ended.take() else { return Ok(()) };
        ended.ended = Some(result.clone());
        match store::head(app, key, &ended, Some(&head.etag)).await {
            Ok(_) => break *result,
            Err(Error::Conflict) => {}
            Err(error) => return Err(error),
        }
    };
    tracing::error!(table = table.config.source, error, "a table is given up for this run");
    // No message is at it: this is the end of one.
    let by = format!("{:032x}", app.state.random());
    let audit = app.services.as_deref().ok().map(|services| Audit { services, by: &by });
    if end_table(app, audit, id, &table, result).await? == Ended::Elsewhere {
        return Ok(());
    }
    let Some(run) = app.state.instance(id).await?.map(|run| run.record) else { return Ok(()) };
    readable(store::move_head(app, key, |head, now| unplanned::let_go(head, &run, now)).await)?;
    Ok(())
}

/// The runs that are at a table, where its head does not say.
///
/// # Errors
/// The state store's.
pub async fn runs_at(app: &App, key: &TableKey) -> Result<Vec<InstanceId>, Error> {
    let mut runs = Vec::new();
    for place in app.state.places().await? {
        let id = place.record.instance;
        let table = app.state.table(&id, key).await?.map(|table| table.record);
        if table.is_some_and(|table| table.started && table.result.is_none()) {
            runs.push(id);
        }
    }
    Ok(runs)
}
