//! Taking a table that a plan message asks for, and bringing it to its result where no plan of it is to stand
//! (`orchestration::head::unplanned`). Knows nothing of how a plan is made.

use super::super::finish::{Audit, Ended, end_again, end_table};
use super::super::purge::purge_table;
use super::super::store;
use super::kept;
use crate::app::App;
use crate::functions::control::status_of;
use crate::orchestration::head::take::{Fresh, Take, other_holder, take};
use crate::orchestration::head::unplanned;
use crate::orchestration::ids::{InstanceId, TableKey};
use crate::orchestration::instance::{Instance, TableResult, TableRun};
use crate::orchestration::ledger::Head;
use crate::state::{Error, Stored};
use crate::telemetry::ids;
use tokio::time::Instant;

/// A table of a run that goes on, without a result so far.
pub(super) struct Asked<'a> {
    pub app: &'a App,
    pub run: Instance,
    pub table: TableRun,
    /// The id of the message that asks for it.
    pub by: String,
}

/// What became of taking a table.
pub(super) enum Taken {
    /// It is ours, as it is stored now.
    Ours(Box<Stored<Head>>),
    /// Something else is to be done.
    Not(Take),
}

impl<'a> Asked<'a> {
    /// Takes the table for its run, as the message `by` asks; `None` when nothing is to be done.
    ///
    /// # Errors
    /// The state store's.
    pub async fn take(app: &'a App, id: &InstanceId, key: &TableKey, by: &str) -> Result<Option<(Self, Taken)>, Error> {
        loop {
            // The head first: what is read after it is at least as new, or the head is not what was read any more.
            let stored = app.state.head(key).await?;
            let (Some(run), Some(table)) = (app.state.instance(id).await?, app.state.table(id, key).await?) else {
                return Ok(None);
            };
            let asked = Self { app, run: run.record, table: table.record, by: by.to_owned() };
            ids::table(&asked.table.config.source);
            #[cfg(feature = "mutants")]
            let asked = if mutated!(ConfigReadAgain) { asked.configured_again().await } else { asked };
            if asked.table.result.is_some() {
                end_again(app, id, &asked.table).await?;
                return asked.let_go().await.map(|()| None);
            }
            // A run that is suspended sends the message again when it goes on; one that begins again has other messages.
            if !asked.run.goes_on() {
                return Ok(None);
            }
            let (head, etag) = stored.map_or((None, None), |stored| (Some(stored.record), Some(stored.etag)));
            let holder = match other_holder(head.as_ref(), id) {
                Some(other) => status_of(app, other).await?,
                None => None,
            };
            let fresh = Fresh::from_bits(app.state.random());
            let was_put_off = head.as_ref().is_some_and(|head| head.put_off.is_some());
            let (taken, is_told) = match take(head.as_ref(), &asked.table, &asked.run, holder, fresh, app.state.now()) {
                Take::Ours(taken) => (*taken, false),
                Take::Told(told) => (*told, true),
                other => return Ok(Some((asked, Taken::Not(other)))),
            };
            match store::head(app, key, &taken, etag.as_ref()).await {
                Ok(_) if is_told => {}
                Ok(etag) => {
                    if was_put_off && taken.put_off.is_none() {
                        kept::forget(app, key, kept::Of::Plan).await;
                    }
                    return Ok(Some((asked, Taken::Ours(Box::new(Stored { record: taken, etag })))));
                }
                Err(Error::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// With the destination that the configuration names now.
    #[cfg(feature = "mutants")]
    async fn configured_again(mut self) -> Self {
        let deadline = tokio::time::Instant::now() + self.app.limits.invocation_deadline / 4;
        if let Ok(services) = &self.app.services
            && let Ok(rows) = services.catalog.read_config(deadline).await
            && let Some(row) = rows.into_iter().find(|row| row.source_table == self.table.config.source)
        {
            self.table.config.destination = row.destination_table;
        }
        self
    }

    pub fn id(&self) -> &InstanceId {
        &self.run.id
    }

    pub fn key(&self) -> &TableKey {
        &self.table.key
    }

    /// The head while the plan `draft` is being made; `None` once another delivery has taken it over.
    ///
    /// # Errors
    /// The state store's.
    pub async fn being_made(&self, draft: Option<&str>) -> Result<Option<Stored<Head>>, Error> {
        let head = self.app.state.head(self.key()).await?;
        let head = head.filter(|head| unplanned::is_being_made(&head.record, &self.run, draft));
        if head.is_none() {
            tracing::info!("another delivery took the plan over");
        }
        Ok(head)
    }

    /// Ends the table with an error instead of the plan `draft`, for which so many hunting calls were made as the head says, or
    /// `calls`, unless that was taken over.
    ///
    /// # Errors
    /// The state store's.
    pub async fn fail(&self, draft: Option<&str>, error: &str, calls: u64) -> Result<(), Error> {
        while let Some(head) = self.being_made(draft).await? {
            tracing::error!(table = self.table.config.source, error, "a table failed before its windows were planned");
            let result = TableResult {
                error: Some(error.to_owned()),
                calls: head.record.progress.calls.max(calls),
                ..TableResult::default()
            };
            match self.conclude(&head, result).await {
                Err(Error::Conflict) => {}
                other => return other,
            }
        }
        Ok(())
    }

    /// Ends a table whose plan is being made in `head`.
    ///
    /// # Errors
    /// [`Error::Conflict`] when somebody else was faster; the state store's.
    pub async fn conclude(&self, head: &Stored<Head>, result: TableResult) -> Result<(), Error> {
        let ended = unplanned::end(&head.record, result.clone(), self.app.state.now());
        store::head(self.app, self.key(), &ended, Some(&head.etag)).await?;
        self.count(result).await
    }

    /// Counts the table's result in the run, then lets go of the head that keeps it. Its old windows go with no plan, too. Where
    /// another message is at it, that one does.
    ///
    /// # Errors
    /// The state store's.
    pub async fn count(&self, result: TableResult) -> Result<(), Error> {
        let services = self.app.services.as_deref().ok();
        let audit = services.map(|services| Audit { services, by: &self.by });
        if end_table(self.app, audit, self.id(), &self.table, result).await? == Ended::Elsewhere {
            return Ok(());
        }
        self.let_go().await?;
        purge_table(self.app, self.key(), Instant::now() + self.app.limits.invocation_deadline / 16).await
    }

    async fn let_go(&self) -> Result<(), Error> {
        store::move_head(self.app, self.key(), |head, now| unplanned::let_go(head, &self.run, now)).await
    }
}
