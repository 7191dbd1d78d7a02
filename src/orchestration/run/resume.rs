//! The event *resume*: a run goes on where it was held. Each of its tables is owed one message, which dispatches what
//! waits in it. The order of the writes and the number of the message are those of `suspend`.

use super::place::start_debt;
use super::suspend::{Asked, Move, Refused};
use crate::orchestration::IllegalTransition;
use crate::orchestration::instance::{Instance, RuntimeStatus, TableRun};
use crate::orchestration::message::{ControlMessage, Debt};
use crate::timestamp::Timestamp;
use std::time::Duration;

/// Asks for a resumption.
///
/// # Errors
/// The answer to give at once.
pub fn request(run: Option<&Instance>) -> Result<Asked, Refused> {
    let run = run.ok_or(Refused::Unknown)?;
    match run.status {
        status if status.is_final() => Err(Refused::TooLate),
        RuntimeStatus::Suspended => {
            let number = run.holds + 1;
            let created = run.created;
            let message = ControlMessage::Resume { instance: run.id.clone(), number, created: Some(created) };
            Ok(Asked::For { number, created, debt: Debt::control(message, Duration::ZERO) })
        }
        _ => Ok(Asked::Already(Box::new(run.numbered_on()))),
    }
}

/// What resumption `number` of the run accepted at `created` does to the run.
pub fn apply(run: &Instance, number: u64, created: Option<Timestamp>, now: Timestamp) -> Move {
    if !run.is_of(created) {
        return Move::Old;
    }
    // The same, or the run was numbered on since.
    if number <= run.holds && run.status != RuntimeStatus::Suspended {
        return Move::Again;
    }
    if run.holds + 1 != number {
        return Move::Old;
    }
    run.resumed(now).map_or(Move::Old, |resumed| Move::Swap(Box::new(resumed)))
}

/// What a resumed run is owed.
pub fn owed(run: &Instance, tables: &[TableRun]) -> Vec<Debt> {
    match run.status {
        RuntimeStatus::Pending => vec![start_debt(&run.id)],
        RuntimeStatus::Running => run.plans_owed(tables),
        _ => Vec::new(),
    }
}

impl Instance {
    /// Lets the run go on. One whose tables all came to their end meanwhile is completed.
    ///
    /// # Errors
    /// [`IllegalTransition`] unless it is suspended.
    pub fn resumed(&self, now: Timestamp) -> Result<Self, IllegalTransition> {
        if self.status != RuntimeStatus::Suspended {
            return Err(self.illegal("be resumed"));
        }
        let status = match (self.has_begun(), self.is_through()) {
            (false, _) => RuntimeStatus::Pending,
            (true, false) => RuntimeStatus::Running,
            (true, true) => RuntimeStatus::Completed,
        };
        Ok(Self { status, holds: self.holds + 1, suspended_because: None, updated: now, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{id, later, now, table};
    use crate::orchestration::instance::{StartInput, TableResult};
    use crate::orchestration::run::suspend;
    use serde_json::Value;

    fn held(tables_total: u32, tables_done: u32) -> Instance {
        let run = Instance::pending(id(1), StartInput::default(), Value::Null, now());
        Instance { tables_total, tables_done, ..run }.suspended("why", now()).unwrap()
    }

    fn resumed(run: &Instance) -> Instance {
        let Move::Swap(after) = apply(run, run.holds + 1, Some(run.created), later(1)) else { panic!("not resumed") };
        *after
    }

    #[test]
    fn a_run_goes_on_where_it_was_held() {
        let pending = resumed(&held(0, 0));
        assert_eq!((pending.status, pending.suspended_because.clone()), (RuntimeStatus::Pending, None));
        assert_eq!(owed(&pending, &[]), [start_debt(&id(1))]);
        let running = resumed(&held(2, 1));
        let done = TableRun { result: Some(TableResult::default()), ..table() };
        let waiting = TableRun { started: false, ..table() };
        assert_eq!(running.status, RuntimeStatus::Running);
        assert_eq!(owed(&running, &[done, table(), waiting]).len(), 1, "one message for each table that was at work");
    }

    #[test]
    fn a_run_whose_tables_ended_while_it_was_held_is_completed_by_its_resumption() {
        let run = Instance { status: RuntimeStatus::Suspended, tables_total: 1, ..held(0, 0) };
        let (counted, ended, _) = run.table_ended(&table(), TableResult::default(), None, later(1)).unwrap();
        assert_eq!(counted.status, RuntimeStatus::Suspended);
        let completed = resumed(&counted);
        assert_eq!(completed.status, RuntimeStatus::Completed);
        assert!(owed(&completed, &[ended]).is_empty());
    }

    #[test]
    fn the_resumption_of_a_run_that_is_not_held_makes_a_suspension_old_that_has_not_come_about() {
        let running = resumed(&held(1, 0));
        let Asked::Already(again) = request(Some(&running)).unwrap() else { panic!("it is not suspended") };
        assert_eq!(*again, Instance { holds: 3, ..running.clone() });
        assert!(matches!(suspend::apply(&running, 3, None, "", now()), Move::Swap(_)));
        assert_eq!(suspend::apply(&again, 3, None, "", now()), Move::Old);
        assert_eq!(apply(&again, 2, None, now()), Move::Again, "its tables may not have been told yet");
        assert!(matches!(suspend::apply(&again, 4, None, "", now()), Move::Swap(_)));
    }

    #[test]
    fn a_final_run_refuses_its_resumption() {
        let running = resumed(&held(1, 0));
        assert_eq!(request(Some(&running.terminated("x", now()).unwrap())), Err(Refused::TooLate));
        assert_eq!(request(None), Err(Refused::Unknown));
    }

    #[test]
    fn a_resumption_that_comes_again_pays_again_and_an_old_one_does_nothing() {
        let running = resumed(&held(1, 0));
        assert_eq!(apply(&running, 2, None, now()), Move::Again);
        let held_again = running.suspended("again", now()).unwrap();
        assert_eq!(apply(&held_again, 2, None, now()), Move::Old);
        assert!(matches!(apply(&held_again, 4, None, now()), Move::Swap(_)));
        assert_eq!(apply(&held_again, 4, Some(later(1)), now()), Move::Old, "of another run of its id");
    }
}
