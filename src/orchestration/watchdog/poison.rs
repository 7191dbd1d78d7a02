//! What becomes of a message that the host gave up after its deliveries: the record it was about comes to an end that
//! says so, and nothing waits for it any longer.

use crate::orchestration::fan_in::WindowEnd;
use crate::orchestration::ids::{InstanceId, TableKey};
use crate::orchestration::instance::{Instance, RuntimeStatus, TableResult};
use crate::orchestration::limits::Limits;
use crate::orchestration::message::{ControlMessage, Debt};
use crate::orchestration::window::{Window, WindowState};
use crate::timestamp::Timestamp;

const GAVE_UP: &str = "the host gave up its message after 10 deliveries; the handler's log says why";

/// What to do about a window whose message was given up.
#[derive(Debug, Clone, PartialEq)]
pub enum Chunk {
    /// End it.
    End(WindowEnd),
    /// It has ended: send what it owes.
    Pay(Vec<Debt>),
}

/// Decides on a window. What is sealed may have been posted: that is for the count.
pub fn chunk(window: &Window) -> Chunk {
    match window.state {
        WindowState::Planned | WindowState::Claimed => Chunk::End(WindowEnd::Failed(GAVE_UP.to_owned())),
        WindowState::Sealed => Chunk::End(WindowEnd::Submitted),
        _ => Chunk::Pay(window.owed.clone()),
    }
}

/// What to do about a step whose message was given up.
#[derive(Debug, Clone, PartialEq)]
pub enum Control {
    /// Swap the run to this, then leave its place.
    Fail(Box<Instance>),
    /// Count this result of the table.
    EndTable(InstanceId, TableKey, Box<TableResult>),
    /// Send it again.
    Again(Debt),
    /// Nothing waits for it.
    Drop,
}

/// Decides on a step. `run` is the run of a start message, if there is one.
pub fn control(message: ControlMessage, run: Option<&Instance>, now: Timestamp, limits: &Limits) -> Control {
    match message {
        ControlMessage::Start { .. } => {
            let pending = run.filter(|run| run.status == RuntimeStatus::Pending);
            let failed = pending.and_then(|run| run.failed(&format!("the run could not begin: {GAVE_UP}"), now).ok());
            failed.map_or(Control::Drop, |failed| Control::Fail(Box::new(failed)))
        }
        ControlMessage::Plan { instance, table, .. } => {
            let error = Some(format!("the table could not be planned: {GAVE_UP}"));
            Control::EndTable(instance, table, Box::new(TableResult { error, ..TableResult::default() }))
        }
        again @ (ControlMessage::Verify { .. }
        | ControlMessage::Terminate { .. }
        | ControlMessage::Suspend { .. }
        | ControlMessage::Resume { .. }) => Control::Again(Debt::control(again, limits.verify_longest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{id, key, now, seen};
    use crate::orchestration::instance::StartInput;
    use serde_json::Value;

    #[test]
    fn a_window_that_was_never_sealed_fails_and_a_sealed_one_is_counted() {
        for state in [WindowState::Planned, WindowState::Claimed] {
            assert!(matches!(chunk(&seen(1, state).window), Chunk::End(WindowEnd::Failed(_))));
        }
        assert_eq!(chunk(&seen(1, WindowState::Sealed).window), Chunk::End(WindowEnd::Submitted));
        assert_eq!(chunk(&seen(1, WindowState::Submitted).window), Chunk::Pay(vec![]));
    }

    #[test]
    fn a_run_that_could_not_begin_fails_and_a_running_one_goes_on() {
        let limits = Limits::scaled(1.0);
        let start = || ControlMessage::Start { instance: id(1), attempt: 0 };
        let pending = Instance::pending(id(1), StartInput::default(), Value::Null, now());
        let Control::Fail(failed) = control(start(), Some(&pending), now(), &limits) else { panic!("not failed") };
        assert_eq!(failed.status, RuntimeStatus::Failed);
        let running = Instance { status: RuntimeStatus::Running, ..pending };
        assert_eq!(control(start(), Some(&running), now(), &limits), Control::Drop);
        assert_eq!(control(start(), None, now(), &limits), Control::Drop);
    }

    #[test]
    fn a_table_that_could_not_be_planned_has_its_result_and_counts_go_on() {
        let limits = Limits::scaled(1.0);
        let plan = ControlMessage::Plan { instance: id(1), table: key(), attempt: 0 };
        assert!(matches!(control(plan, None, now(), &limits), Control::EndTable(_, _, result) if !result.success));
        let verify = ControlMessage::Verify { table: key(), number: 3 };
        assert!(
            matches!(control(verify, None, now(), &limits), Control::Again(debt) if debt.delay == limits.verify_longest)
        );
    }
}
