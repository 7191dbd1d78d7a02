//! Before the end of a table that is copied whole: the source is counted once more, and what that says of the attempt is
//! put on record. What is decided is in `orchestration::snapshot::publish`.

use super::plan::kept::{self, Of};
use super::plan::snapshot::{CountError, count};
use super::store;
use super::verify::pay_for;
use crate::app::{App, Services};
use crate::functions::hunting::Hunting;
use crate::orchestration::head::finish::Asked;
use crate::orchestration::head::verify::Count;
use crate::orchestration::ids::TableKey;
use crate::orchestration::instance::Instance;
use crate::orchestration::ledger::Head;
use crate::orchestration::snapshot::Attempt;
use crate::orchestration::snapshot::plan::counted;
use crate::orchestration::snapshot::publish::{After, Judgement, Look, judge, judged, look};
use crate::orchestration::window::Window;
use crate::state::Error;
use tokio::time::Instant;

/// How the end of a table goes on.
pub(super) enum Settled {
    /// With its head as it was read.
    AsItWas,
    /// With its head as it is now.
    As(Box<Head>),
    /// Later: the source could not be asked now, or not for all of it.
    Later(String, Asked),
    /// Not here: the table is copied again, or another delivery has ended it.
    Elsewhere,
}

/// A table whose windows have all ended.
pub(super) struct Ending<'a> {
    pub app: &'a App,
    pub services: &'a Services,
    pub run: &'a Instance,
    pub key: &'a TableKey,
    /// The id of the message that asks for its end.
    pub by: &'a str,
    pub deadline: Instant,
}

impl Ending<'_> {
    /// Finds out what became of the latest attempt. `patient` says whether that may wait.
    ///
    /// # Errors
    /// The state store's.
    pub async fn settle(&self, head: &Head, windows: &[Window], patient: bool) -> Result<Settled, Error> {
        let (attempt, after, calls) = match look(head, windows) {
            Look::Nothing => return Ok(Settled::AsItWas),
            Look::Changed(attempt) => (attempt, After::Changed, 0),
            Look::Ask(attempt) => match self.ask(head, &attempt, patient).await {
                Ok((after, calls)) => (attempt, after, calls),
                Err((error, asked)) => return Ok(Settled::Later(error, asked)),
            },
        };
        let (time, verdict) = (attempt.time, judge(&attempt, after, self.run));
        let end = Count { number: head.verify_number, message: self.by };
        self.record(&Judgement { time, verdict, calls }, end).await
    }

    /// Asks the source, in more than one invocation where that takes more calls than one has. Gives what it shows and the calls of
    /// this one, or why that is not known yet.
    async fn ask(&self, head: &Head, attempt: &Attempt, patient: bool) -> Result<(After, u64), (String, Asked)> {
        let (app, key, of) = (self.app, self.key, Of::LastCount);
        let parts = attempt.counted.parts;
        let answers = kept::answers(app, key, head, of, attempt.time).await;
        let mut hunting = Hunting::going_on(app, self.services, self.deadline, answers);
        let found = count(head, parts, &mut hunting).await;
        let (calls, mut answers) = (hunting.take_calls(), hunting.into_answers());
        let after = match found {
            Ok(buckets) => After::Shown(counted(parts, &buckets)),
            Err(error) if may_pass(&error, patient) => {
                let came_further = answers.end_attempt(true);
                kept::keep(app, key, head, of, &answers).await;
                return Err((error.to_string(), Asked { calls, came_further }));
            }
            Err(error) => After::Unknown(error.to_string()),
        };
        if answers.were_kept() {
            kept::forget(app, key, of).await;
        }
        Ok((after, calls))
    }

    async fn record(&self, judgement: &Judgement, end: Count<'_>) -> Result<Settled, Error> {
        let Self { app, run, key, .. } = self;
        while let Some(head) = app.state.head(key).await? {
            let next = judged(key, &head.record, run, judgement, end, app.state.now());
            let Some(next) = next else { break };
            match store::head(app, key, &next, Some(&head.etag)).await {
                Ok(_) => {
                    let Judgement { time, verdict, .. } = judgement;
                    tracing::info!(table = next.source, %time, ?verdict, "a snapshot is compared");
                    if !next.is_being_planned() {
                        return Ok(Settled::As(Box::new(next)));
                    }
                    pay_for(app, key, end).await?;
                    break;
                }
                Err(Error::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Settled::Elsewhere)
    }
}

/// Whether the call is worth another attempt: the quota comes back by itself.
fn may_pass(error: &CountError, patient: bool) -> bool {
    match error {
        CountError::Call(error) => error.quota_pause().is_some() || (patient && error.is_transient()),
        CountError::Answer(_) => patient,
        CountError::NoShape | CountError::Name(_) | CountError::Weighing(_) => false,
    }
}
